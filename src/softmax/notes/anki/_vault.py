"""The cards of a vault as Anki shall have them, and the edits of its files that a sync needs."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import __version__
from .._model import Entry, Message, NoteFile, Vault
from .._render import render_fields
from .._settings import Settings
from ..reading import apply_edits, id_edit, read_note, removal_edits
from ._cards import (
    Deletion,
    Desired,
    DesiredNote,
    Medium,
    Problem,
    digest,
    normal_deck,
    normal_tags,
    normal_text,
)
from ._writeback import hash_bytes

# Anywhere in a file, so that no id is thought to be gone from the vault while a mistake hides its card.
_ANY_ID = re.compile(rb"ID: (\d{1,19})")

# What Anki and this program write may lie in the vault too, and changes no card.
_NO_MEDIA = (".anki2", ".anki2-wal", ".anki2-shm", ".anki2-journal", ".media.db2", ".apkg", ".json")

Progress = Callable[[str, float | None], None]


def desired_of(vault: Vault, progress: Progress = lambda what, share: None) -> Desired:
    """Render every card of a vault.

    A card with an error is left out, and the error becomes a problem; its id still counts as being in the vault.
    """
    notes: list[DesiredNote] = []
    deletions: list[Deletion] = []
    problems = [_problem(message) for message in vault.messages if message.severity == "error"]
    hurt = {(message.place.path, message.place.line) for message in vault.messages if message.severity == "error"}
    for i, note in enumerate(vault.notes.values()):
        errors = [message for message in note.messages if message.severity == "error"]
        problems += map(_problem, errors)
        lines = sorted({message.place.line for message in errors} | {line for path, line in hurt if path == note.path})
        for entry in note.entries:
            if _is_hurt(note, entry, lines):
                continue
            if entry.delete:
                if entry.id is not None:
                    deletions.append(Deletion(note.path, entry.place.line, entry.id))
            else:
                notes.append(_desired(note, entry, vault))
        if i % 100 == 0:
            progress("rendering cards", i / len(vault.notes))
    sources = {path: hash_bytes(note.raw) for path, note in vault.notes.items()}
    return Desired(tuple(notes), tuple(deletions), sources, tuple(problems), frozenset(_all_ids(vault)))


def _desired(note: NoteFile, entry: Entry, vault: Vault) -> DesiredNote:
    fields, media = render_fields(entry, vault)
    return DesiredNote(
        path=note.path,
        line=entry.place.line,
        offset=entry.span.start,
        type=entry.note_type,
        fields={name: normal_text(text) for name, text in fields.items()},
        tags=normal_tags(entry.tags),
        deck=normal_deck(entry.deck),
        id=entry.id,
        media=tuple(Medium(name, Path(path)) for name, path in media),
        source=_source(entry),
    )


def _source(entry: Entry) -> str:
    """Hash of what a card says in Markdown, wherever it stands."""
    return digest(entry.note_type, *(part for pair in entry.fields.items() for part in pair))


def _is_hurt(note: NoteFile, entry: Entry, lines: Sequence[int]) -> bool:
    """Whether one of these lines lies in an entry."""
    first, last = note.place(entry.span.start).line, note.place(max(entry.span.start, entry.span.end - 1)).line
    if entry.id_span is not None:
        last = max(last, note.place(entry.id_span.end - 1).line)
    i = bisect_right(lines, first - 1)
    return i < len(lines) and lines[i] <= last


def _problem(message: Message) -> Problem:
    advice = f" {message.suggestion}" if message.suggestion else ""
    return Problem(message.place.path, message.place.line, message.text + advice)


def _all_ids(vault: Vault) -> Iterator[int]:
    for path in vault.library:
        raw = vault.notes[path].raw if path in vault.notes else _bytes(vault.root / path)
        for match in _ANY_ID.finditer(raw):
            yield int(match[1])


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


class VaultEditor:
    """Puts ids into the files of a vault and takes DELETE marks out, byte by byte otherwise as they are."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root = root
        self._settings = settings

    def edited(self, path: str, raw: bytes, ids: Mapping[int, int], erased: Collection[int]) -> bytes:
        """Return the file with an id for each entry that begins at an offset, and without the marks of these ids."""
        note = read_note(path, raw, self._settings)
        edits = []
        for entry in note.entries:
            if entry.delete and entry.id in erased:
                edits += removal_edits(note, entry)
            elif entry.span.start in ids and entry.id is None:
                number = ids[entry.span.start]
                edits.append(id_edit(note, entry, number, comment=self._settings.id_comments))
        return note.encode(apply_edits(note.text, edits))

    def offsets(self, path: str, raw: bytes, notes: Sequence[DesiredNote]) -> list[int | None]:
        """Return where the entries of these notes, which have no id, begin in another version of the file."""
        there = [entry for entry in read_note(path, raw, self._settings).entries if entry.id is None]
        found: list[int | None] = []
        for note in notes:
            same = next((entry for entry in there if _source(entry) == note.source), None)
            if same is not None:
                there.remove(same)
            found.append(None if same is None else same.span.start)
        return found


def vault_marks(root: Path, paths: Iterable[str]) -> dict[str, str]:
    """Return for each file what changes when it does: the hash of a note, size and time of another file."""
    marks = {}
    for path in paths:
        if path.lower().endswith(_NO_MEDIA):
            continue
        try:
            if path.lower().endswith(".md"):
                marks[path] = hash_bytes((root / path).read_bytes())
            else:
                status = (root / path).stat()
                marks[path] = f"{status.st_size} {status.st_mtime_ns}"
        except OSError as error:
            marks[path] = f"error {error.errno}"
    return marks


def stamp_of(marks: Mapping[str, str], settings: Settings) -> str:
    """Return a hash of all that the cards of a vault are made from: its files, its settings, and this program."""
    lines = [f"{path}\0{mark}" for path, mark in sorted(marks.items())]
    joined = "\n".join([__version__, repr(settings), *lines])
    return hash_bytes(joined.encode("utf-8", "surrogateescape"))


def as_json(desired: Desired) -> dict[str, Any]:
    """Return the cards as a value that `from_json` takes."""
    return {
        "notes": [[getattr(note, name) for name in _NAMES] for note in desired.notes],
        "media": [[[medium.name, str(medium.path)] for medium in note.media] for note in desired.notes],
        "deletions": desired.deletions,
        "sources": dict(desired.sources),
        "problems": desired.problems,
        "ids": sorted(desired.ids),
    }


_NAMES = ("path", "line", "offset", "type", "fields", "tags", "deck", "id", "source")


def from_json(value: Mapping[str, Any]) -> Desired:
    """Return what `as_json` gave."""
    notes = []
    for values, media in zip(value["notes"], value["media"], strict=True):
        known = dict(zip(_NAMES, values, strict=True))
        known["tags"] = tuple(known["tags"])
        notes.append(DesiredNote(**known, media=tuple(Medium(name, Path(path)) for name, path in media)))
    return Desired(
        tuple(notes),
        tuple(Deletion(*deletion) for deletion in value["deletions"]),
        value["sources"],
        tuple(Problem(*problem) for problem in value["problems"]),
        frozenset(value["ids"]),
    )
