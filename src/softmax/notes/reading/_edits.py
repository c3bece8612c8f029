"""Changes of a note's text that leave every other byte as it is, and the writing of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..._errors import NotesError
from ..._files import FileChangedError, replace_file
from .._model import Entry, NoteFile

_NUMBER = re.compile(r"(?<=ID:)(?P<space>[ \t]*)[0-9]+")


class Edit(NamedTuple):
    """Characters `start` to `end` of a note's text become `text`."""

    start: int
    end: int
    text: str


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """Return the text with the edits made; positions are those of the text that comes in.

    Raises
    ------
    ValueError
        If two edits overlap, or one lies outside the text.
    """
    parts, at = [], 0
    for start, end, new in sorted(edits):
        if not at <= start <= end <= len(text):
            raise ValueError(
                f"edits must lie in [0, {len(text)}] and not overlap; got one of [{start}, {end}) after {at}"
            )
        parts += [text[at:start], new]
        at = end
    return "".join([*parts, text[at:]])


def id_edit(note: NoteFile, entry: Entry, number: int, *, comment: bool = True) -> Edit:
    """Return the edit that gives an entry this id, in the place of the one it has.

    Block: a line ``<!--ID: n-->`` above END; inline: ``<!--ID: n-->`` and a space before ENDI; style: a line below the
    match. `comment` is the vault's `id_comments`; an id that is there keeps its form.
    """
    if entry.id_span is not None:
        old = _NUMBER.search(note.text, *entry.id_span)
        if old is not None:
            return Edit(*old.span(), f"{old['space']}{number}")
    mark = f"<!--ID: {number}-->" if comment else f"ID: {number}"
    if entry.kind == "block":
        return Edit(entry.id_at, entry.id_at, f"{mark}{note.newline}")
    if entry.kind == "inline":
        space = "" if note.text[entry.id_at - 1 : entry.id_at].isspace() else " "
        return Edit(entry.id_at, entry.id_at, f"{space}{mark} ")
    return Edit(entry.id_at, entry.id_at, f"{note.newline}{mark}")


def removal_edits(note: NoteFile, entry: Entry) -> list[Edit]:
    """Return the edits that take the marks of a deleted entry out of a note, so that it is no card any more.

    A DELETE line goes with its id. Of a block that holds one, the lines with START, the note type, DELETE, the id and
    END go; what the card said stays as text. A card of one line or of a style loses its id.
    """
    if entry.kind == "block":
        start, end = entry.span
        body = note.text.find("\n", note.text.find("\n", start) + 1) + 1
        last = note.text.rfind("\n", start, end) + 1
        after = end + len(note.newline) * note.text.startswith(note.newline, end)
        edits = [Edit(start, body, ""), Edit(last, after, "")]
    else:
        edits = []
    if entry.id_span is not None:
        edits.append(Edit(*entry.id_span, ""))
    return edits


def write_edits(root: Path, note: NoteFile, edits: Iterable[Edit], *, bom: bool | None = None) -> bytes:
    """Make the edits in the file of a note, and return its new bytes.

    The file is replaced whole, and only if it still holds the bytes that were read. It keeps its byte order mark unless
    `bom` says otherwise.

    Raises
    ------
    NotesError
        If the file has changed meanwhile, or cannot be written. Nothing is changed then.
    """
    kept = note if bom is None else replace(note, bom=bom)
    data = kept.encode(apply_edits(note.text, edits))
    try:
        replace_file(root / note.path, data, expected=note.raw)
    except FileChangedError:
        raise NotesError(
            f"{note.path} has changed since it was read; nothing was written to it. Run the command again."
        ) from None
    except OSError as error:
        raise NotesError(f"cannot write {note.path}: {error.strerror or error}. The file is as it was.") from error
    return data
