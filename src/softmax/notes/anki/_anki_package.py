"""A package (``.apkg``) of notes with the ids and GUIDs that they shall have; the only way that sets both.

The official `anki` package makes it from a collection of its own in a temporary folder, so cards are generated and text
is normalised by Anki itself.
"""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..._errors import MissingExtraError, NotesError
from ..._files import replace_file
from ._backend import NewNote
from ._cards import Medium
from ._steps import step

# Note types of packages have these ids, so that the next package is found to have the same types. The number is a
# moment before this library was, in milliseconds, as Anki's ids are.
FIRST_TYPE_ID = 1577836800001
_MANY = 1000  # notes added at a time
TYPE_TABLES = ("notetypes", "fields", "templates")


def load_anki() -> Any:
    """Return the module `anki.collection`.

    Raises
    ------
    MissingExtraError
        If the official `anki` package is not installed.
    """
    try:
        import anki.collection
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "anki":
            raise
        raise MissingExtraError.for_extra("writing Anki collections and packages", "anki", "anki") from None
    return anki.collection


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a collection, new where there is none, and close it."""
    collection = load_anki().Collection(str(path))
    try:
        yield collection
    finally:
        collection.close()


def build_package(
    path: Path,
    notes: Sequence[NewNote],
    media: Iterable[Medium],
    *,
    install_types: Callable[[Any], None] | None = None,
    own_types: Mapping[str, tuple[str, ...]] | None = None,
) -> None:
    """Write a package.

    Parameters
    ----------
    install_types
        Called with the temporary collection before notes are added: puts the note types of the target
        there, so that an import finds them to be its own. Default: Anki's stock types under ids that are always the
        same.
    own_types
        Note types, name -> fields, that are made where the collection lacks them.
    """
    anki = load_anki()
    with tempfile.TemporaryDirectory(prefix="softmax-") as folder:
        place = Path(folder) / "package.anki2"
        step("package: new collection")
        with opened(place) as collection:
            for name, fields in (own_types or {}).items():
                add_type(collection, name, fields)
            if install_types is not None:
                install_types(collection)
            else:
                _fix_type_ids(collection)
        _never_newer(place)
        with opened(place) as collection:
            ids = _add(anki, collection, notes)
        _force_ids(place, ids)
        with opened(place) as collection:
            for medium in {medium.name: medium for medium in media}.values():
                write_medium(collection, medium)
            step("package: export")
            options = anki.ExportAnkiPackageOptions(
                with_scheduling=False, with_deck_configs=False, with_media=True, legacy=True
            )
            collection.export_anki_package(out_path=str(path), options=options, limit=None)
        step("package: written")


def add_type(collection: Any, name: str, fields: Sequence[str]) -> None:
    """Add a note type that asks the first field and answers with the others, unless there is one of this name."""
    models = collection.models
    if models.by_name(name) is not None:
        return
    kind = models.copy(models.by_name("Cloze" if "cloze" in name.lower() else "Basic"), add=False)
    kind["id"], kind["name"] = 0, name
    template = kind["tmpls"][0]
    kind["flds"] = []
    for field in fields:
        models.add_field(kind, models.new_field(field))
    shown = f"{{{{cloze:{fields[0]}}}}}" if "cloze" in name.lower() else f"{{{{{fields[0]}}}}}"
    rest = "\n<br>\n".join(f"{{{{{field}}}}}" for field in fields[1:])
    template["qfmt"] = shown
    template["afmt"] = (shown if "cloze" in name.lower() else "{{FrontSide}}") + "\n\n<hr id=answer>\n\n" + rest
    models.add_dict(kind)


def write_medium(collection: Any, medium: Medium) -> None:
    """Put a file into the media folder, unless it is there: its name holds the hash of its content."""
    if collection.media.have(medium.name):
        return
    step(f"media: {medium.name}")
    try:
        data = medium.path.read_bytes()
    except OSError as error:
        raise NotesError(
            f"cannot read {medium.path}: {error.strerror}. A card shows it; make it readable, or take its link away."
        ) from None
    # Not by the media manager, whose record of each file takes longer than the file: Anki looks through the folder when
    # it syncs media. A name that it would change, the reader has not given.
    replace_file(Path(collection.media.dir()) / medium.name, data)


def _add(anki: Any, collection: Any, notes: Sequence[NewNote]) -> list[tuple[int, int]]:
    """Add the notes and return pairs: the id that each has, and the one that it shall have."""
    kinds: dict[str, Any] = {}
    decks: dict[str, Any] = {}
    ids: list[tuple[int, int]] = []
    for start in range(0, len(notes), _MANY):
        part = notes[start : start + _MANY]
        requests = []
        for new in part:
            wanted = new.note
            if wanted.type not in kinds:
                kinds[wanted.type] = collection.models.by_name(wanted.type)
            if wanted.deck not in decks:
                decks[wanted.deck] = collection.decks.id(wanted.deck)
            note = collection.new_note(kinds[wanted.type])
            note.guid = new.guid
            for name, text in wanted.fields.items():
                note[name] = text
            note.tags = list(wanted.tags)
            requests.append(anki.AddNoteRequest(note, decks[wanted.deck]))
        step("package: add notes")
        collection.add_notes(requests)
        ids += [(int(request.note.id), new.id) for request, new in zip(requests, part, strict=True)]
    return ids


@contextmanager
def _database(place: Path) -> Iterator[sqlite3.Connection]:
    database = sqlite3.connect(place)
    try:
        with database:
            yield database
    finally:
        database.close()


def _force_ids(place: Path, ids: Iterable[tuple[int, int]]) -> None:
    """Give notes their ids; by way of negative ones, since those wanted may be others' of now."""
    pairs = [(wanted, -given) for given, wanted in ids]
    with _database(place) as database:
        database.execute("update notes set id = -id")
        database.execute("update cards set nid = -nid")
        database.executemany("update notes set id = ? where id = ?", pairs)
        database.executemany("update cards set nid = ? where nid = ?", pairs)


def _fix_type_ids(collection: Any) -> None:
    """Give note types, their fields and templates ids that are the same in every package.

    An import takes a note type of another id for another one, and fields of other ids for new ones.
    """
    for kind in collection.models.all():
        for part in (*kind["flds"], *kind["tmpls"]):
            hashed = hashlib.blake2b(f"{kind['name']}\0{part['name']}".encode(), digest_size=8).digest()
            part["id"] = int.from_bytes(hashed, "big", signed=True)
        collection.models.update_dict(kind)
        set_type_id(collection, kind["id"], FIRST_TYPE_ID + _hashed(kind["name"]))


def set_type_id(collection: Any, old: int, new: int) -> None:
    """Give a note type an id; to be seen after the collection has been opened anew."""
    for table, column in (("notetypes", "id"), ("fields", "ntid"), ("templates", "ntid")):
        collection.db.execute(f"update {table} set {column} = ? where {column} = ?", new, old)


def _hashed(name: str) -> int:
    """A number below a billion that stands for a name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big") % 1_000_000_000


def _never_newer(place: Path) -> None:
    """Make the note types of the package older than any, so that an import leaves the templates of the target alone."""
    with _database(place) as database:
        database.execute("update notetypes set mtime_secs = 0")
        database.execute("update templates set mtime_secs = 0")


def has_cloze(kind: Mapping[str, Any]) -> bool:
    """Whether a note type of `anki` makes its cards of clozes."""
    return bool(kind["type"] == 1)
