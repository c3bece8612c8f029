"""`read_vault`: the notes in folders and files, and what they link to."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ..._errors import NotesError
from .._model import Entry, Message, NoteFile, Place, Vault
from .._settings import OWN_FILE, PLUGIN_FILE, Settings, read_settings
from ._file import read_note
from ._links import Links
from ._styles import style_fault

_MARKERS = (".obsidian", ".softmax")
Progress = Callable[[int, int], None]


class Library(Mapping[str, NoteFile]):
    """Every note of a vault by path; a note is read when it is first asked for, and kept."""

    def __init__(self, root: Path, paths: Iterable[str], settings: Settings, notes: Mapping[str, NoteFile]) -> None:
        self._root, self._settings = root, settings
        self._paths = frozenset(paths) | notes.keys()
        self._notes = dict(notes)

    def __getitem__(self, path: str) -> NoteFile:
        if path not in self._notes:
            if path not in self._paths:
                raise KeyError(path)
            try:
                data = (self._root / path).read_bytes()
            except OSError:
                data = b""
            self._notes[path] = read_note(path, data, self._settings)
        return self._notes[path]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._paths))

    def __len__(self) -> int:
        return len(self._paths)


def read_vault(
    paths: Iterable[str | os.PathLike[str]],
    *,
    root: str | os.PathLike[str] | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Vault:
    """Read notes.

    Parameters
    ----------
    paths
        Files, and folders whose ``.md`` files are all read but for those in folders that start with a dot.
    root
        The vault's folder. Default: the nearest folder above that holds ``.obsidian`` or ``.softmax``; else the folder
        that was given, or the one of the file.
    settings
        Default: those of the vault.
    progress
        Called with (notes read, notes in all).

    Raises
    ------
    NotesError
        If a path does not exist, is no note, or lies outside the root; or if the settings cannot be read.
    """
    given = [Path(path) for path in paths]
    if not given:
        raise NotesError("no note was given. Name files or folders.")
    for path in given:
        if not path.exists():
            raise NotesError(f"there is no file or folder {path}.")
        if path.is_file() and path.suffix.lower() != ".md":
            raise NotesError(f"{path} is no note. Notes are files that end with .md.")
    folder, marked = find_root(given) if root is None else (Path(root).resolve(), True)
    settings = read_settings(folder) if settings is None else settings
    whole = marked or any(path.is_dir() for path in given)
    files = list(files_below(folder, deep=whole))
    asked = sorted({_relative(file, folder) for path in given for file in _notes_at(path)})
    notes, messages = _read(folder, asked, settings, progress)
    known = sorted({*files, *asked})
    library = Library(folder, (path for path in known if path.lower().endswith(".md")), settings, notes)
    return Vault(
        root=folder,
        notes=notes,
        library=library,
        media={path: folder / path for path in known if not path.lower().endswith(".md")},
        settings=settings,
        links=Links(known),
        messages=(*messages, *_style_faults(folder, settings), *_shared_ids(notes.values())),
    )


def find_root(given: Sequence[Path]) -> tuple[Path, bool]:
    """Return the vault's folder, and whether something marks it as one."""
    folders = [path.resolve() if path.is_dir() else path.resolve().parent for path in given]
    common = Path(os.path.commonpath(folders))
    for folder in (common, *common.parents):
        if any((folder / marker).is_dir() for marker in _MARKERS):
            return folder, True
    return common, False


def files_below(folder: Path, *, deep: bool) -> Iterator[str]:
    """Give every file below a folder by its path from there, without those in folders that start with a dot.

    Pipes and devices are no files: to read one could wait for ever. A link to nothing is given, to be told.
    """
    todo = [(folder, "")]
    while todo:
        where, base = todo.pop()
        try:
            entries = sorted(os.scandir(where), key=lambda entry: entry.name)
        except OSError:
            continue
        inner = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                inner.append((Path(entry.path), f"{base}{entry.name}/"))
            elif entry.is_file() or not os.path.exists(entry.path):
                yield base + entry.name
        if deep:
            todo += reversed(inner)


def _notes_at(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path.resolve()
    else:
        top = path.resolve()
        yield from (top / name for name in files_below(top, deep=True) if name.lower().endswith(".md"))


def _relative(file: Path, folder: Path) -> str:
    try:
        return file.relative_to(folder).as_posix()
    except ValueError:
        raise NotesError(f"{file} does not lie in the vault {folder}.") from None


def _read(
    folder: Path, paths: Sequence[str], settings: Settings, progress: Progress | None
) -> tuple[dict[str, NoteFile], list[Message]]:
    notes, messages = {}, []
    for i, path in enumerate(paths):
        try:
            notes[path] = read_note(path, (folder / path).read_bytes(), settings)
        except OSError as error:
            text = f"This file cannot be read: {error.strerror or error}."
            messages.append(Message(Place(path, 1, 1), "unreadable", "error", text, "See who may read it."))
        if progress is not None:
            progress(i + 1, len(paths))
    return notes, messages


def _style_faults(folder: Path, settings: Settings) -> Iterator[Message]:
    file = OWN_FILE if (folder / OWN_FILE).is_file() else PLUGIN_FILE
    for note_type, style in settings.styles.items():
        fault = style_fault(note_type, style, settings)
        if fault is not None:
            yield Message(Place(file, 1, 1), "bad-style", "error", fault, "Correct the settings; START and END work.")


def _shared_ids(notes: Iterable[NoteFile]) -> Iterator[Message]:
    """Say which ids stand in more than one file; within a file its own messages say so."""
    by_id: dict[int, list[tuple[NoteFile, Entry]]] = defaultdict(list)
    for note in notes:
        for entry in note.entries:
            if entry.id is not None:
                by_id[entry.id].append((note, entry))
    for number, uses in by_id.items():
        if len({note.path for note, _ in uses}) < 2:
            continue
        for note, entry in uses:
            others = ", ".join(str(other.place) for _, other in uses if other is not entry)
            yield Message(
                note.place(entry.id_span.start if entry.id_span else entry.span.start),
                "duplicate-id",
                "error",
                f"The id {number} stands at another card too: {others}. Each would overwrite the other.",
                "Remove it from the card that is the copy; that one becomes a new note.",
            )
