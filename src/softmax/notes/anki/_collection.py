"""Cards in a collection file, through the official `anki` package; Anki itself must be closed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..._errors import NotesError
from .._settings import STOCK_TYPES
from ._anki_package import TYPE_TABLES, add_type, build_package, has_cloze, load_anki, write_medium
from ._backend import Applied, Changes, NewNote, Update
from ._cards import AnkiNote, Medium, NoteType, normal_tags
from ._steps import step

UNDO = "softmax notes sync"
_MANY = 500  # values of one query


class AbsentCollection:
    """A collection that would be made: what a plan sees where there is none yet."""

    def __init__(self, path: Path, root: Path, own_types: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self.name, self.label = _names(path, root)
        self._types = {**(own_types or {}), **STOCK_TYPES}

    def note_types(self) -> Mapping[str, NoteType]:
        """Return Anki's stock types and those of the vault's settings."""
        return {name: NoteType(fields, "cloze" in name.lower()) for name, fields in self._types.items()}

    def stamp(self) -> str | None:
        """Return nothing: there is nothing to compare with."""
        return None

    def read(self, ids: Collection[int], guids: Mapping[str, int]) -> list[AnkiNote]:
        """Return no note."""
        return []

    def used_ids(self) -> Collection[int]:
        """Return no id."""
        return ()

    def apply(self, changes: Changes) -> Applied:
        """Refuse."""
        raise NotesError(f"there is no {self.label}.")

    def finish(self, ids: Collection[int]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class AnkiCollection:
    """A collection file, opened; a new one, with the note types of the vault's settings, where there is none.

    `root` is the vault: a collection beside it, or in it, is known by its place relative to it, so that both can be
    moved.

    Raises
    ------
    NotesError
        If Anki has it open, or it is no collection.
    MissingExtraError
        If the `anki` package is not installed.
    """

    def __init__(self, path: Path, root: Path, own_types: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self._anki = load_anki()
        self.name, self.label = _names(path, root)
        if not path.resolve().parent.is_dir():
            raise NotesError(f"cannot make {path}: the folder {path.resolve().parent} does not exist.")
        is_new = not path.exists()
        step("collection: open")
        self._collection = _open(self._anki, path)
        if is_new:
            for name, fields in (own_types or {}).items():
                add_type(self._collection, name, fields)

    def finish(self, ids: Collection[int]) -> None:
        """Do nothing: ids and GUIDs are those that were intended."""

    def close(self) -> None:
        """Close the file, so that Anki can open it."""
        self._collection.close()

    def note_types(self) -> Mapping[str, NoteType]:
        """Return the note types of the collection."""
        return {
            kind["name"]: NoteType(tuple(field["name"] for field in kind["flds"]), has_cloze(kind))
            for kind in self._collection.models.all()
        }

    def stamp(self) -> str | None:
        """Return when the collection was last changed, by a review too."""
        return str(self._collection.mod)

    def used_ids(self) -> Collection[int]:
        """Return the ids of all notes."""
        return set(self._collection.db.list("select id from notes"))

    def read(self, ids: Collection[int], guids: Mapping[str, int]) -> list[AnkiNote]:
        """Return the notes with one of these ids or GUIDs, and all that this library made."""
        there = self._collection.db.all("select id, guid from notes")
        return self._notes([i for i, guid in there if i in ids or guid in guids or guid == f"o2a:{i}"])

    def _notes(self, ids: Sequence[int]) -> list[AnkiNote]:
        kinds = {kind["id"]: kind for kind in self._collection.models.all()}
        names = {deck.id: deck.name for deck in self._collection.decks.all_names_and_ids()}
        found = []
        for part in _parts(sorted(ids)):
            listed = ",".join(map(str, part))
            decks: dict[int, set[int]] = {}
            # A card in a filtered deck is at home in another.
            query = f"select nid, case when odid then odid else did end from cards where nid in ({listed})"
            for note, deck in self._collection.db.all(query):
                decks.setdefault(note, set()).add(deck)
            query = f"select id, guid, mid, tags, flds from notes where id in ({listed})"
            for note, guid, kind, tags, fields in self._collection.db.all(query):
                model = kinds[kind]
                home = decks.get(note, set())
                values = zip((field["name"] for field in model["flds"]), fields.split("\x1f"), strict=False)
                deck_name = names.get(next(iter(home)), "") if len(home) == 1 else None
                found.append(AnkiNote(note, guid, model["name"], dict(values), normal_tags([tags]), deck_name))
        return found

    def apply(self, changes: Changes) -> Applied:
        """Make the changes under one undo entry; where one of them fails, undo them all."""
        for medium in {medium.name: medium for medium in changes.media}.values():
            write_medium(self._collection, medium)
        step("collection: begin")
        entry = self._collection.add_custom_undo_entry(UNDO)
        try:
            for work in self._works(changes):
                work()
                # At once after each: the list of undo entries is short, and the first must not fall out of it.
                self._collection.merge_undo_entries(entry)
                step("collection: next")
        except Exception as error:
            self._roll_back(entry)
            if isinstance(error, NotesError):
                raise
            raise NotesError(
                f"{self.label} refused a change ({type(error).__name__}: {error}). All changes of this sync were "
                "undone there; nothing was lost. In Anki, Tools, Check Database may repair it; then run the same "
                "command again."
            ) from error
        return self._verified(changes)

    def _roll_back(self, entry: int) -> None:
        status = self._collection.undo_status()
        if status.last_step > entry or status.undo != UNDO:
            self._collection.merge_undo_entries(entry)
        self._collection.undo()

    def _works(self, changes: Changes) -> Iterator[Callable[[], object]]:
        """Return the changes in small portions."""
        if changes.add:
            yield lambda: self._import(changes.add, changes.media)
        for part in _parts(changes.update):
            yield lambda part=part: self._update(part)  # type: ignore[misc]
        by_deck: dict[str, list[int]] = {}
        for update in changes.update:
            if update.deck is not None:
                by_deck.setdefault(update.deck, []).append(update.id)
        for deck, ids in by_deck.items():
            yield lambda deck=deck, ids=ids: self._move(deck, ids)  # type: ignore[misc]
        if changes.delete:
            yield lambda: self._collection.remove_notes(list(changes.delete))

    def _import(self, notes: Sequence[NewNote], media: Iterable[Medium]) -> None:
        anki = self._anki
        with tempfile.TemporaryDirectory(prefix="softmax-") as folder:
            package = Path(folder) / "new.apkg"
            build_package(package, notes, (), install_types=self._copy_types)
            options = anki.ImportAnkiPackageOptions(
                merge_notetypes=False, with_scheduling=False, with_deck_configs=False, update_notes=2
            )
            step("collection: import")
            self._collection.import_anki_package(
                anki.ImportAnkiPackageRequest(package_path=str(package), options=options)
            )

    def _copy_types(self, other: Any) -> None:
        """Put our note types, with their ids, into another collection."""
        for table in TYPE_TABLES:
            rows = self._collection.db.all(f"select * from {table}")
            other.db.execute(f"delete from {table}")
            other.db.executemany(f"insert into {table} values ({','.join('?' * len(rows[0]))})", rows)

    def _update(self, updates: Sequence[Update]) -> None:
        notes = []
        for update in updates:
            note = self._collection.get_note(update.id)
            for name, text in update.fields.items():
                note[name] = text
            if update.tags is not None:
                note.tags = list(update.tags)
            notes.append(note)
        cards = self._cards(updates)
        step("collection: update")
        self._collection.update_notes(notes)
        self._settle_new_cards(updates, cards)

    def _cards(self, updates: Sequence[Update]) -> dict[int, tuple[int, int]]:
        listed = ",".join(str(update.id) for update in updates)
        query = f"select id, nid, case when odid then odid else did end from cards where nid in ({listed})"
        return {card: (note, deck) for card, note, deck in self._collection.db.all(query)}

    def _settle_new_cards(self, updates: Sequence[Update], before: Mapping[int, tuple[int, int]]) -> None:
        """Put cards that an update made, those of a new cloze for example, beside the others of their note."""
        decks: dict[int, int] = {}
        for note, deck in before.values():
            decks.setdefault(note, deck)
        moved: dict[int, list[int]] = {}
        for card, (note, deck) in self._cards(updates).items():
            if card not in before and decks.get(note, deck) != deck:
                moved.setdefault(decks[note], []).append(card)
        for deck, cards in moved.items():
            self._collection.set_deck(cards, deck)

    def _move(self, deck: str, ids: Sequence[int]) -> None:
        there = self._collection.decks.id(deck)
        cards = [card for part in _parts(ids) for card in self._card_ids(part)]
        step("collection: move")
        self._collection.set_deck(cards, there)

    def _card_ids(self, notes: Sequence[int]) -> list[int]:
        listed = ",".join(map(str, notes))
        return list(self._collection.db.list(f"select id from cards where nid in ({listed})"))

    def _verified(self, changes: Changes) -> Applied:
        """Read back what was written."""
        ids, problems = {}, {}
        guids = {new.guid: new for new in changes.add}
        by_guid = {note.guid: note for note in self._notes(self._ids_of([new.guid for new in changes.add]))}
        for guid, new in guids.items():
            held = by_guid.get(guid)
            if held is None:
                problems[new.id] = "Anki did not take the note"
                continue
            ids[new.id] = held.id
            wanted = Update(new.id, new.note.fields, new.note.tags, new.note.deck)
            if wrong := difference(wanted, held):
                problems[new.id] = wrong
        there = {note.id: note for note in self._notes([update.id for update in changes.update])}
        for update in changes.update:
            wrong = difference(update, there[update.id]) if update.id in there else "it is gone"
            if wrong:
                problems[update.id] = wrong
        return Applied(ids, problems)

    def _ids_of(self, guids: Sequence[str]) -> list[int]:
        found: list[int] = []
        for part in _parts(guids):
            marks = ",".join("?" * len(part))
            found += self._collection.db.list(f"select id from notes where guid in ({marks})", *part)
        return found


def difference(wanted: Update, held: AnkiNote) -> str:
    """Say in which value a note is not what it should be after a change; "" if in none."""
    for name, text in wanted.fields.items():
        if held.fields.get(name, "") != text:
            return f"the field {name} did not become what was written"
    if wanted.tags is not None and {tag.casefold() for tag in wanted.tags} != {tag.casefold() for tag in held.tags}:
        return f"its tags are {' '.join(held.tags)} instead of {' '.join(wanted.tags)}"
    if wanted.deck is not None and (held.deck or "").casefold() != wanted.deck.casefold():
        return f"it is in {held.deck or 'several decks'} instead of {wanted.deck}"
    return ""


def _names(path: Path, root: Path) -> tuple[str, str]:
    place, around = path.resolve(), root.resolve().parent
    if place.is_relative_to(around):
        place = Path("..") / place.relative_to(around)
    return f"collection:{place.as_posix()}", f"the collection {path.name}"


def _open(anki: Any, path: Path) -> Any:
    from anki.errors import DBError

    try:
        return anki.Collection(str(path))
    except DBError as error:
        if "already open" in str(error):
            raise NotesError(
                f"{path} is open in Anki. Close Anki and run the same command again, or reach the running Anki through "
                "its add-on AnkiConnect: --anki-connect http://127.0.0.1:8765."
            ) from None
        raise NotesError(f"{path} cannot be opened as a collection of Anki: {error}.") from None
    except Exception as error:
        raise NotesError(f"{path} cannot be opened as a collection of Anki: {error}.") from None


def _parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), _MANY):
        yield values[start : start + _MANY]
