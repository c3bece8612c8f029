"""Ids into the files of a vault: a file is replaced whole, and only if it still holds what was read.

What else may happen to a file between the reading and the writing is told, and the id then waits in the state.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from ..._errors import NotesError
from ._cards import DesiredNote
from ._steps import step

_FEW = 8  # files up to which each is brought to the disk on its own
_PART = re.compile(r"\.\d+-[0-9a-f]{8}\.part$")


class Editor(Protocol):
    """Knows how cards stand in a file (see `VaultEditor`)."""

    root: Path

    def edited(self, path: str, raw: bytes, ids: Mapping[int, int], erased: Collection[int]) -> bytes:
        """Return the file with ids for the entries that begin at these offsets, and without these DELETE marks."""
        ...

    def with_ids(self, raw: bytes, ids: Iterable[tuple[DesiredNote, int]]) -> bytes:
        """Return the file that these notes were read from, with their ids."""
        ...

    def offsets(self, path: str, raw: bytes, notes: Sequence[DesiredNote]) -> list[int | None]:
        """Return where the entries of these notes, which have no id, begin in another version of the file."""
        ...


@dataclass(frozen=True, slots=True)
class Edit:
    """What is to be written into one file: notes with their new ids, and ids whose DELETE mark goes."""

    path: str
    source: str  # hash of the bytes that were read
    ids: tuple[tuple[DesiredNote, int], ...]
    erased: tuple[int, ...]


def hash_bytes(data: bytes) -> str:
    """Return the hash by which a file is known to be unchanged."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def check_unchanged(root: Path, sources: Mapping[str, str], paths: Collection[str]) -> None:
    """Raise if a file holds no longer what the plan was made from."""
    for path in sorted(paths):
        step(f"check: {path}")
        try:
            now = hash_bytes((root / path).read_bytes())
        except OSError as error:
            raise NotesError(
                f"{path} cannot be read any more: {error.strerror}. Nothing was changed; make the plan again."
            ) from None
        if now != sources[path]:
            raise NotesError(
                f"{path} has changed since the plan was made. Nothing was changed; run the same command again, and "
                "the plan is made anew."
            )


def check_writable(root: Path, paths: Collection[str]) -> None:
    """Raise if a file that shall be given an id may not be written."""
    for path in sorted(paths):
        target = Path(os.path.realpath(root / path))
        # The mode too, since a rename asks the folder alone, and an administrator may do anything.
        mode = target.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
        if not mode or not os.access(target, os.W_OK) or not os.access(target.parent, os.W_OK):
            raise NotesError(
                f"{path} is read-only, and the ids of its new cards have to be written into it. Nothing was changed; "
                f"make it writable (chmod u+w {path!r}), or leave its folder out."
            )


def write_edits(editor: Editor, edits: Sequence[Edit]) -> Written:
    """Write the ids of many files.

    A file that has changed since it was read is read again, and a note is found by what it says; an edit that falls
    into the moment of writing has the file read once more. All files are on the disk before the first is replaced; that
    is asked of the system once for many, since for each it takes longer than all the rest.
    """
    unplaced: list[tuple[DesiredNote, int]] = []
    errors: list[tuple[str, str]] = []
    sources: dict[str, str] = {}
    waiting = list(edits)
    for _ in range(5):
        ready = []
        for edit in waiting:
            try:
                lost, prepared = _prepare(editor, edit, sync=len(waiting) <= _FEW or not hasattr(os, "sync"))
            except OSError as error:
                lost, prepared = list(edit.ids), None
                errors.append((edit.path, error.strerror or str(error)))
            unplaced += lost
            ready += [prepared] if prepared else []
        if len(waiting) > _FEW and hasattr(os, "sync"):
            step("file: sync all")
            os.sync()
        waiting = []
        for prepared in ready:
            try:
                if prepared.put():
                    sources[prepared.edit.path] = prepared.source
                else:
                    waiting.append(prepared.edit)
            except OSError as error:
                unplaced += prepared.edit.ids
                errors.append((prepared.edit.path, error.strerror or str(error)))
        if not waiting:
            break
    unplaced += [pair for edit in waiting for pair in edit.ids]
    return Written(unplaced, errors, sources)


def _prepare(editor: Editor, edit: Edit, *, sync: bool) -> tuple[list[tuple[DesiredNote, int]], _Prepared | None]:
    """Write the new file beside the old one; return the ids that have no place in it, and what is to be renamed."""
    place = Path(os.path.realpath(editor.root / edit.path))
    try:
        old = place.read_bytes()
    except FileNotFoundError:
        return list(edit.ids), None
    lost: list[tuple[DesiredNote, int]] = []
    ids = {note.offset: note_id for note, note_id in edit.ids}
    if hash_bytes(old) != edit.source:
        ids = {}
        offsets = editor.offsets(edit.path, old, [note for note, _ in edit.ids])
        for pair, offset in zip(edit.ids, offsets, strict=True):
            if offset is None:
                lost.append(pair)
            else:
                ids[offset] = pair[1]
    if hash_bytes(old) == edit.source and not edit.erased and all(note.insert for note, _ in edit.ids):
        new = editor.with_ids(old, edit.ids)
    else:
        new = editor.edited(edit.path, old, ids, edit.erased)
    if new == old:
        return lost, None
    temporary = place.with_name(f".{place.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        step("file: create")
        with open(temporary, "xb") as file:
            step("file: write")
            file.write(new)
            file.flush()
            if sync:
                step("file: sync")
                os.fsync(file.fileno())
        shutil.copymode(place, temporary)
        step("file: written")
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    return lost, _Prepared(edit, place, temporary, old, hash_bytes(new))


class _Prepared(NamedTuple):
    """A new file, of hash `source`, that is ready to take the place of the one that held `old`."""

    edit: Edit
    place: Path
    temporary: Path
    old: bytes
    source: str

    def put(self) -> bool:
        """Rename it, if the file still holds what it was made from; say whether it did."""
        try:
            step("file: check")
            if self.place.read_bytes() != self.old:
                self.temporary.unlink()
                return False
            step("file: rename")
            os.replace(self.temporary, self.place)
            step("file: renamed")
        except BaseException:
            with suppress(OSError):
                self.temporary.unlink()
            raise
        return True


class Written(NamedTuple):
    """What came of it.

    `unplaced` are notes without a place for their id, `errors` files that the system refused, with why, and `sources`
    the hashes of those that were written.
    """

    unplaced: list[tuple[DesiredNote, int]]
    errors: list[tuple[str, str]]
    sources: dict[str, str]


def sweep(root: Path, paths: Collection[str]) -> None:
    """Remove what a killed sync left beside these files; the lock is held, so that no other one is at work."""
    for folder in {Path(os.path.realpath(root / path)).parent for path in paths}:
        for part in folder.glob(".*.part"):
            if _PART.search(part.name):
                with suppress(OSError):
                    part.unlink()
