"""The plan of a sync: for each note what is added, updated, moved, retagged or deleted, and what is left alone and why.

A plan is made from the cards of a vault, the state and what the target holds; `apply` does what it says and nothing
else.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from ._backend import Backend
from ._cards import CLOZE, AnkiNote, Deletion, Desired, DesiredNote, NoteType, Problem, digest, guid_of
from ._identity import adopted, remembered
from ._merge import Base, Difference, Merged, Prefer, merge
from ._state import State

Kind = Literal["add", "change", "link", "delete"]
VERSION = 1


class Change(NamedTuple):
    """A value in Anki before and after."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Action:
    """What is done about one note.

    Attributes
    ----------
    kind
        "add", "change", "delete", or "link" where only the id is missing in the file.
    note
        The note as the vault wants it; None for a deletion.
    path, line
        Where it stands.
    id
        Its id in the vault; None for a note that gets one.
    anki_id
        Its id in the target; None where it is not there.
    guid
        Its GUID there, or the one it gets; "" where that follows from an id to come.
    fields, tags, deck
        What changes; for a new note from nothing.
    write_id
        The id is to be written into the file.
    why
        For people, where the reason is not plain.
    was
        The id that an interrupted sync intended for a note to which Anki gave another.
    """

    kind: Kind
    note: DesiredNote | None
    path: str
    line: int
    id: int | None
    anki_id: int | None
    guid: str
    fields: Mapping[str, Change]
    tags: Change | None
    deck: Change | None
    write_id: bool
    base: Base | None = None
    why: str = ""
    was: int | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """What is done, in the words of the summary."""
        if self.kind in ("add", "delete"):
            return (self.kind,)
        parts = {"update": bool(self.fields), "move": bool(self.deck), "retag": bool(self.tags)}
        return tuple(word for word, done in parts.items() if done) or ("link",)

    def as_json(self) -> dict[str, Any]:
        """Return it for a file; everything that is done stands in it."""
        value: dict[str, Any] = {"actions": self.words, "path": self.path, "line": self.line}
        if self.note is not None:
            value |= {"type": self.note.type, "front": self.note.front}
        value |= {"id": self.id, "anki_id": self.anki_id, "guid": self.guid}
        value["fields"] = {name: change._asdict() for name, change in self.fields.items()}
        value |= {name: change and change._asdict() for name, change in (("tags", self.tags), ("deck", self.deck))}
        if self.note is not None and self.note.media:
            value["media"] = [medium.name for medium in self.note.media]
        return value | {"write_id": self.write_id} | ({"why": self.why} if self.why else {})


class Kept(NamedTuple):
    """A value that stays as Anki has it, though the vault has another."""

    path: str
    line: int
    id: int
    front: str
    difference: Difference


class Orphan(NamedTuple):
    """A note that was synced and whose card is in the vault no longer."""

    id: int
    path: str
    front: str


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a sync would do.

    Attributes
    ----------
    quiet
        Notes with nothing to do: their identity in the target and the record that the state shall have of them.
    """

    target: str
    label: str
    actions: tuple[Action, ...]
    kept: tuple[Kept, ...]
    problems: tuple[Problem, ...]
    orphans: tuple[Orphan, ...]
    quiet: tuple[tuple[DesiredNote, AnkiNote, Base], ...]
    sources: Mapping[str, str]
    ids: frozenset[int]

    @property
    def conflicts(self) -> tuple[Kept, ...]:
        """What both sides changed."""
        return tuple(kept for kept in self.kept if kept.difference.conflict)

    @property
    def counts(self) -> dict[str, int]:
        """How many notes are added, updated, moved, retagged, linked, deleted; a note may be in several."""
        counted = Counter(word for action in self.actions for word in action.words)
        return {word: counted[word] for word in ("add", "update", "move", "retag", "link", "delete")}

    @property
    def digest(self) -> str:
        """Hash of all that the plan does; the same for two plans that do the same. Lines of the notes do not count."""
        lines = [
            json.dumps({**action.as_json(), "line": 0}, sort_keys=True, ensure_ascii=False) for action in self.actions
        ]
        return digest(self.target, *lines)

    def as_json(self) -> dict[str, Any]:
        """Return the plan for a file."""
        return {
            "softmax_plan": VERSION,
            "digest": self.digest,
            "target": self.target,
            "counts": self.counts,
            "actions": [action.as_json() for action in self.actions],
            "conflicts": [_kept_json(kept) for kept in self.conflicts],
            "kept": [_kept_json(kept) for kept in self.kept if not kept.difference.conflict],
            "problems": [problem._asdict() for problem in self.problems],
            "removed_from_vault": [orphan._asdict() for orphan in self.orphans],
        }


def _kept_json(kept: Kept) -> dict[str, Any]:
    difference = kept.difference
    values = {"what": difference.what, "vault": difference.vault, "anki": difference.anki, "why": difference.why}
    return {"path": kept.path, "line": kept.line, "id": kept.id, "front": kept.front, **values}


def make_plan(
    desired: Desired,
    state: State,
    backend: Backend,
    *,
    prefer: Prefer = "",
    prune: bool = False,
    scope: Sequence[str] = ("",),
) -> Plan:
    """Compare what the vault wants with what the target holds.

    Parameters
    ----------
    prefer
        Whose value a conflict ends with; "" leaves Anki's and tells it.
    prune
        Delete notes whose card is in the vault no longer.
    scope
        The files and folders that were read, "" being the whole vault: of others no card is missed.
    """
    identities = state.identities()
    bases = state.bases(backend.name)
    notes = remembered(desired.notes, identities, desired.ids)
    guids = {identity.guid: identity.id for identity in identities}
    guid_by_id = {identity.id: identity.guid for identity in identities}
    wanted_ids = {note.id for note in notes if note.id is not None} | {gone.id for gone in desired.deletions}
    guids |= {guid_of(unknown): unknown for unknown in wanted_ids - guid_by_id.keys()}
    pruned = _orphans(desired, identities, bases, wanted_ids, scope)
    found = backend.read(wanted_ids | {orphan.id for orphan in pruned}, guids)
    if not identities:
        notes = adopted(notes, found, desired.ids)
    there = _Found(found, guids)
    kinds = backend.note_types()
    sources = {(note.path, note.offset): note.id for note in desired.notes}
    actions: list[Action] = []
    kept: list[Kept] = []
    quiet: list[tuple[DesiredNote, AnkiNote, Base]] = []
    problems = list(desired.problems)
    for note in notes:
        held = there.find(note.id)
        problem = unfit(note, held, kinds)
        if problem:
            problems.append(Problem(note.path, note.line, problem))
            continue
        write_id = sources[note.path, note.offset] is None
        if held is None:
            guid = "" if note.id is None else guid_by_id.get(note.id, guid_of(note.id))
            actions.append(_addition(note, guid, write_id, in_target_before=note.id in bases and bases[note.id][0]))
            continue
        if not held.guid and note.id is not None:  # AnkiConnect does not tell it
            held = replace(held, guid=guid_by_id.get(note.id, guid_of(note.id)))
        action, differences, base = _compare(note, held, bases, guid_by_id, prefer, write_id=write_id)
        kept += [Kept(note.path, note.line, held.id, note.front, difference) for difference in differences]
        if action is not None:
            actions.append(action)
        elif base is not None:
            quiet.append((note, held, base))
    actions += _deletions(desired.deletions, there)
    if prune:
        actions += [
            replace(action, why="its card is in the vault no longer")
            for action in _deletions((Deletion(orphan.path, 0, orphan.id) for orphan in pruned), there)
            if action.anki_id is not None
        ]
    orphans = [orphan._replace(front=_front(there.find(orphan.id))) for orphan in pruned if there.find(orphan.id)]
    return Plan(
        backend.name,
        backend.label,
        tuple(actions),
        tuple(kept),
        tuple(problems),
        () if prune else tuple(orphans),
        tuple(quiet),
        desired.sources,
        desired.ids,
    )


def _compare(
    note: DesiredNote,
    held: AnkiNote,
    bases: Mapping[int, tuple[Base | None, Base | None]],
    guids: Mapping[int, str],
    prefer: Prefer,
    *,
    write_id: bool,
) -> tuple[Action | None, tuple[Difference, ...], Base | None]:
    """Say what is done about a note that is in the target, what is left, and, with nothing to do, what to remember."""
    note_id = note.id
    assert note_id is not None
    before, intended = bases.get(note_id, (None, None))
    merged = merge(note, held, tuple(base for base in (before, intended) if base is not None), prefer)
    base = Base.of(note).without(merged.differences, before)
    if merged.fields or merged.tags is not None or merged.deck is not None or write_id:
        was = note_id if write_id and held.id != note_id else None
        if was is not None:
            note = replace(note, id=held.id)
        return replace(_change(note, held, merged, write_id, base), was=was), merged.differences, None
    is_news = before != base or intended is not None or guids.get(note_id) != held.guid
    return None, merged.differences, base if is_news else None


class _Found:
    """Notes of the target, by the id that they have in the vault."""

    def __init__(self, found: Iterable[AnkiNote], guids: Mapping[str, int]) -> None:
        self._by_id = {note.id: note for note in found}
        self._by_guid = {guids[note.guid]: note for note in self._by_id.values() if note.guid in guids}

    def find(self, note_id: int | None) -> AnkiNote | None:
        """Return the note with this id, or with the GUID that goes with it."""
        if note_id is None:
            return None
        return self._by_id.get(note_id) or self._by_guid.get(note_id)


def _front(note: AnkiNote | None) -> str:
    return "" if note is None else next(iter(note.fields.values()), "")


def unfit(note: DesiredNote, held: AnkiNote | None, kinds: Mapping[str, NoteType]) -> str | None:
    """Say why a note cannot be synced, and what to do."""
    kind = kinds.get(note.type)
    if kind is None:
        return (
            f"the target has no note type {note.type!r}. It has: {', '.join(sorted(kinds))}. Change the card's type, "
            "or add the note type in Anki."
        )
    unknown = [name for name in note.fields if name not in kind.fields]
    if unknown:
        return (
            f"the note type {note.type!r} has no field {unknown[0]!r} there. It has: {', '.join(kind.fields)}. "
            "Rename the field in the card or in Anki."
        )
    if held is not None and held.type != note.type and kinds.get(held.type) != kind:
        return (
            f"the note {note.id} in Anki is of type {held.type!r}, the card of type {note.type!r}. If it is the same "
            "note, change its type in Anki (Browse, Notes, Change Note Type); if the id belongs to another note, "
            "take its line away, and the card gets an id of its own."
        )
    if kind.cloze and not any(CLOZE.search(text) for text in note.fields.values()):
        return "a cloze card without a cloze makes no card in Anki. Mark what to ask for, such as {{c1::word}}."
    if not note.front.strip():
        return "the first field is empty, and Anki makes no card of that. Write its question."
    return None


def _addition(note: DesiredNote, guid: str, write_id: bool, in_target_before: object) -> Action:
    fields = {name: Change("", text) for name, text in note.fields.items() if text}
    tags, deck = Change("", " ".join(note.tags)), Change("", note.deck)
    why = "it was deleted in Anki; a DELETE line before its id keeps it away" if in_target_before else ""
    return Action(
        "add", note, note.path, note.line, note.id, None, guid, fields, tags, deck, write_id, Base.of(note), why
    )


def _change(
    note: DesiredNote,
    held: AnkiNote,
    merged: Merged,
    write_id: bool,
    base: Base,
) -> Action:
    fields, tags, deck = merged.fields, merged.tags, merged.deck
    return Action(
        "change" if fields or tags is not None or deck is not None else "link",
        note,
        note.path,
        note.line,
        note.id,
        held.id,
        held.guid,
        {name: Change(held.fields.get(name, ""), text) for name, text in fields.items()},
        None if tags is None else Change(" ".join(held.tags), " ".join(tags)),
        None if deck is None else Change(held.deck or "several decks", deck),
        write_id,
        base,
        "its id is missing in the file" if write_id else "",
    )


def _deletions(deletions: Iterable[Deletion], there: _Found) -> Iterator[Action]:
    for gone in deletions:
        held = there.find(gone.id)
        fields = {} if held is None else {name: Change(text, "") for name, text in held.fields.items() if text}
        why = "" if held else "it is not in Anki; only its mark is taken from the file"
        anki_id, guid = (held.id, held.guid) if held else (None, "")
        yield Action("delete", None, gone.path, gone.line, gone.id, anki_id, guid, fields, None, None, False, None, why)


def _orphans(
    desired: Desired,
    identities: Iterable[Any],
    bases: Mapping[int, Any],
    wanted: set[int],
    scope: Sequence[str],
) -> list[Orphan]:
    """Return the notes that were synced to the target and that no file names any more."""
    return [
        Orphan(identity.id, identity.path, "")
        for identity in identities
        if identity.id in bases
        and desired.sources.get(identity.path) != ""  # a file that could not be read
        and identity.id not in desired.ids
        and identity.id not in wanted
        and in_scope(identity.path, scope)
    ]


def in_scope(path: str, scope: Sequence[str]) -> bool:
    """Whether a file is one of these files, or lies in one of these folders; "" is the whole vault."""
    return any(not part or path == part or path.startswith(f"{part}/") for part in scope)
