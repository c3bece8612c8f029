"""The cards of a vault as Anki shall have them, and the edits of its files that a sync needs."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .._model import Entry, Message, NoteFile, Vault
from .._render import render_fields
from .._settings import Settings
from ..reading import Edit as TextEdit
from ..reading import apply_edits, id_edit, read_note, removal_edits, shows
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

_BOM = b"\xef\xbb\xbf"
_NUMBER = 8888888888888  # stands for an id that is still to be found
_ANY_ID = re.compile(rb"ID: (\d{1,19})")

# What Anki and this program write may lie in the vault too, and changes no card.
_NO_MEDIA = (".anki2", ".anki2-wal", ".anki2-shm", ".anki2-journal", ".media.db2", ".apkg", ".json")

Progress = Callable[[str, float | None], None]


@dataclass(frozen=True, slots=True)
class FileCards:
    """What one file wants of Anki.

    Attributes
    ----------
    source
        Hash of its bytes.
    ids
        Every id that stands anywhere in it, so that none is thought to be gone because a mistake hides its card.
    shows
        The other files that its cards show: notes that are embedded, media.
    """

    source: str
    notes: tuple[DesiredNote, ...]
    deletions: tuple[Deletion, ...]
    problems: tuple[Problem, ...]
    ids: tuple[int, ...]
    shows: tuple[str, ...]


def cards_of(note: NoteFile, vault: Vault) -> FileCards:
    """Render the cards of a file; one with an error is left out, and the error becomes a problem."""
    errors = [message for message in note.messages if message.severity == "error"]
    lines = sorted(message.place.line for message in errors)
    notes: list[DesiredNote] = []
    deletions: list[Deletion] = []
    shown: set[str] = set()
    for entry in note.entries:
        if _is_hurt(note, entry, lines):
            continue
        if entry.delete:
            if entry.id is not None:
                deletions.append(Deletion(note.path, entry.place.line, entry.id))
            continue
        notes.append(_desired(note, entry, vault))
        if any("![[" in text for text in (*entry.fields.values(), *entry.frozen.values())):
            shown |= shows(entry, vault)
            shown |= {medium.path.relative_to(vault.root).as_posix() for medium in notes[-1].media}
    problems = tuple(Problem(m.place.path, m.place.line, _advice(m)) for m in errors)
    ids = tuple(ids_in(note.raw))
    return FileCards(hash_bytes(note.raw), tuple(notes), tuple(deletions), problems, ids, tuple(sorted(shown)))


def ids_in(raw: bytes) -> set[int]:
    """Return every id that stands anywhere in a file."""
    return {int(match[1]) for match in _ANY_ID.finditer(raw)}


def read_bytes(path: Path) -> bytes:
    """Return what a file holds, nothing where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def desired_from(files: Mapping[str, FileCards], others: Iterable[int] = ()) -> Desired:
    """Return what all files together want; `others` are ids that stand in further files of the vault.

    Where two cards have one id, neither is synced: each would overwrite the other.
    """
    notes = [note for cards in files.values() for note in cards.notes]
    problems = [problem for cards in files.values() for problem in cards.problems]
    uses: dict[int, list[DesiredNote]] = {}
    for note in notes:
        if note.id is not None:
            uses.setdefault(note.id, []).append(note)
    for number, same in uses.items():
        for note in same if len(same) > 1 else ():
            elsewhere = ", ".join(f"{other.path}:{other.line}" for other in same if other is not note)
            problems.append(
                Problem(
                    note.path,
                    note.line,
                    f"The id {number} stands at another card too: {elsewhere}. Each would overwrite the other. "
                    "Remove it from the copy; that one becomes a new note.",
                )
            )
    return Desired(
        tuple(note for note in notes if note.id is None or len(uses[note.id]) == 1),
        tuple(deletion for cards in files.values() for deletion in cards.deletions),
        {path: cards.source for path, cards in files.items()},
        tuple(dict.fromkeys(problems)),
        frozenset(others).union(*(cards.ids for cards in files.values())),
    )


def _desired(note: NoteFile, entry: Entry, vault: Vault) -> DesiredNote:
    fields, media = render_fields(entry, vault)
    insert = None if entry.id is not None else id_edit(note, entry, _NUMBER, comment=vault.settings.id_comments)
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
        insert=insert,
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


def _advice(message: Message) -> str:
    return message.text + (f" {message.suggestion}" if message.suggestion else "")


class VaultEditor:
    """Puts ids into the files of a vault and takes DELETE marks out, byte by byte otherwise as they are."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root = root
        self._settings = settings

    def edited(self, path: str, raw: bytes, ids: Mapping[int, int], erased: Collection[int]) -> bytes:
        """Return the file with an id for each entry that begins at an offset, and without the marks of these ids."""
        note = read_note(path, raw, self._settings)
        edits: list[TextEdit] = []
        for entry in note.entries:
            if entry.delete and entry.id in erased:
                edits += removal_edits(note, entry)
            elif entry.span.start in ids and entry.id is None:
                number = ids[entry.span.start]
                edits.append(id_edit(note, entry, number, comment=self._settings.id_comments))
        return note.encode(apply_edits(note.text, edits))

    def with_ids(self, raw: bytes, ids: Iterable[tuple[DesiredNote, int]]) -> bytes:
        """Return the file that these notes were read from with their ids, without reading it anew."""
        mark = _BOM if raw.startswith(_BOM) else b""
        text = raw[len(mark) :].decode("utf-8", "surrogateescape")
        edits = [
            TextEdit(start, end, new.replace(str(_NUMBER), str(note_id)))
            for note, note_id in ids
            if note.insert is not None
            for start, end, new in (note.insert,)
        ]
        return mark + apply_edits(text, edits).encode("utf-8", "surrogateescape")

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


def surroundings(paths: Iterable[str], settings: Settings) -> str:
    """Return a hash of what all cards depend on: the names that links may lead to, the settings, and this program."""
    from softmax import __version__

    program = max(path.stat().st_mtime_ns for path in Path(__file__).parents[1].rglob("*.py"))
    joined = "\n".join([__version__, str(program), repr(settings), *sorted(paths)])
    return hash_bytes(joined.encode("utf-8", "surrogateescape"))


def stamp_of(marks: Mapping[str, str], around: str) -> str:
    """Return a hash of all that the cards of a vault are made from."""
    lines = [f"{path}\0{mark}" for path, mark in sorted(marks.items())]
    return hash_bytes("\n".join([around, *lines]).encode("utf-8", "surrogateescape"))
