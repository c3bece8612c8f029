"""Three-way merge: what was last synced, what the vault wants, what Anki holds.

A value that only the vault changed goes to Anki; one that only Anki changed stays; where both did, Anki's stays and the
conflict is told, until `prefer` decides it. Without a record of the last sync two values that say the same in different
HTML are taken for the vault's change, since that is what another program's rendering looks like; others are a conflict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ._cards import AnkiNote, DesiredNote, digest, visible

Prefer = Literal["", "vault", "anki"]


@dataclass(frozen=True, slots=True)
class Base:
    """What a sync left in Anki: hashes of the fields, the vault's tags, the deck.

    A field is missing, and the deck is "", where no sync has settled it: what the two sides then hold is not known to
    come from one another.
    """

    fields: Mapping[str, str]
    tags: tuple[str, ...]
    deck: str

    @classmethod
    def of(cls, note: DesiredNote) -> Base:
        """Return the record of a note that was just synced."""
        return cls({name: digest(text) for name, text in note.fields.items()}, note.tags, note.deck)

    def without(self, differences: tuple[Difference, ...], before: Base | None) -> Base:
        """Return the record after a sync that left some values as they were: for a conflict the old record holds."""
        fields, deck = dict(self.fields), self.deck
        for name in [d.what.removeprefix("field ") for d in differences if d.conflict]:
            if name == "deck":
                deck = before.deck if before else ""
            elif before is not None and name in before.fields:
                fields[name] = before.fields[name]
            else:
                fields.pop(name, None)
        return Base(fields, self.tags, deck)

    def as_json(self) -> dict[str, Any]:
        """Return a value that `from_json` takes."""
        return {"fields": dict(self.fields), "tags": list(self.tags), "deck": self.deck}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Base:
        """Return what `as_json` gave."""
        return cls(dict(value["fields"]), tuple(value["tags"]), str(value["deck"]))


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that the vault and Anki disagree on and that is not overwritten.

    `what` is "field Front" or "deck"; `conflict` says that both sides changed it, or may have.
    """

    what: str
    vault: str
    anki: str
    conflict: bool
    why: str


@dataclass(frozen=True, slots=True)
class Merged:
    """What a note in Anki becomes."""

    fields: dict[str, str]  # only those that change
    tags: tuple[str, ...] | None  # None: they stay
    deck: str | None  # None: it stays
    differences: tuple[Difference, ...]


def merge(desired: DesiredNote, found: AnkiNote, bases: tuple[Base, ...], prefer: Prefer = "") -> Merged:
    """Decide each value of a note.

    `bases` are the records of the last sync, and of one that was interrupted: a value equal to either was not changed
    in Anki by hand.
    """
    changed: dict[str, str] = {}
    differences: list[Difference] = []
    for name, wanted in desired.fields.items():
        held = found.fields.get(name, "")
        if wanted == held:
            continue
        why = _verdict(digest(wanted), digest(held), [base.fields.get(name) for base in bases])
        if why == _UNKNOWN and visible(wanted) == visible(held):
            why = _VAULT
        if why == _VAULT or (why != _ANKI and prefer == "vault"):
            changed[name] = wanted
        else:
            differences.append(Difference(f"field {name}", wanted, held, why != _ANKI and prefer != "anki", why))
    tags = merge_tags(desired.tags, found.tags, bases)
    deck, difference = _merge_deck(desired.deck, found.deck, [base.deck for base in bases if base.deck], prefer)
    if difference is not None:
        differences.append(difference)
    return Merged(changed, None if tags == found.tags else tags, deck, tuple(differences))


_VAULT = "changed in the vault"
_ANKI = "changed in Anki"
_BOTH = "changed in the vault and in Anki"
_UNKNOWN = "there is no record of the last sync"


def _verdict(wanted: str, held: str, bases: list[str | None]) -> str:
    known = [base for base in bases if base is not None]
    if held in known:
        return _VAULT
    if not known:
        return _UNKNOWN
    return _ANKI if wanted in known else _BOTH


def merge_tags(wanted: tuple[str, ...], held: tuple[str, ...], bases: tuple[Base, ...]) -> tuple[str, ...]:
    """Return the tags: Anki's, with what the vault added and without what it took away since the last sync."""
    before = _tags_before({tag.casefold() for tag in held}, bases)
    now = {tag.casefold(): tag for tag in wanted}
    kept = {tag.casefold(): tag for tag in held if tag.casefold() in now or tag.casefold() not in before}
    added = {key: tag for key, tag in now.items() if key not in before}
    result = added | kept
    return tuple(result[key] for key in sorted(result))


def _tags_before(held: set[str], bases: tuple[Base, ...]) -> set[str]:
    """Return the vault's tags of the last sync; an interrupted one counts if what it intended is there."""
    records = [{tag.casefold() for tag in base.tags} for base in bases]
    if not records:
        return set()
    old, new = records[0], records[-1]
    return new if new - old <= held and not (old - new) & held else old


def _merge_deck(
    wanted: str, held: str | None, bases: list[str], prefer: Prefer
) -> tuple[str | None, Difference | None]:
    if held is not None and wanted.casefold() == held.casefold():
        return None, None
    shown = held or "several decks"
    why = _verdict(wanted.casefold(), shown.casefold(), [base.casefold() for base in bases])
    if why == _UNKNOWN and held == "Default":
        why = _VAULT  # where Anki puts what nobody put anywhere
    if why == _VAULT or (why != _ANKI and prefer == "vault"):
        return wanted, None
    return None, Difference("deck", wanted, shown, why != _ANKI and prefer != "anki", why)
