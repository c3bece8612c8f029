r"""What a note is once it has been read: places, messages, segments, entries, files, vaults.

Everything here is a value: nothing reads a file, and nothing changes after it was made. Positions are offsets into
`NoteFile.text`, the decoded text with its own newlines (``\r\n`` stays two characters), so that an edit of the text is
an edit of the file; `NoteFile.place` turns an offset into line and column.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from ._settings import Settings
    from .reading._links import Links

Severity = Literal["error", "warning", "remark"]
EntryKind = Literal["block", "inline", "regexp", "delete"]
SegmentKind = Literal["prose", "code", "maths", "html", "comment", "front matter"]


class Place(NamedTuple):
    """A position in a file: `path` relative to the vault with forward slashes, `line` and `column` counted from 1.

    A column counts characters (code points), as editors do.
    """

    path: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


class Span(NamedTuple):
    """Characters `start` to `end` (exclusive) of a text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Message:
    """Something to tell about a place in a note.

    `error`: a card is lost, or a statement is wrong. `warning`: it does not do what it seems to. `remark`: worth
    knowing.
    `rule` is a stable name (``unclosed-start``), `text` a sentence or two, `suggestion` what to type or do instead.
    """

    place: Place
    rule: str
    severity: Severity
    text: str
    suggestion: str | None = None
    end: Place | None = None


class Heading(NamedTuple):
    """A heading ``## title``: `start` is that of its line, `end` the end of the line."""

    level: int
    title: str
    start: int
    end: int


class Segment(NamedTuple):
    """A run of one kind of text. The segments of a file follow one another without a gap from its start to its end.

    `inner` leaves the delimiters out (``$``, backticks, the fence lines, ``<!--``); for prose it is the whole.
    `display` is true for ``$$``, for fenced code and for a comment of several lines. No maths, code or prose segment
    crosses the border of a START/END block.
    """

    kind: SegmentKind
    start: int
    end: int
    inner: Span
    display: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    r"""One card's source: what becomes one note in Anki.

    Attributes
    ----------
    kind
        "block" for START…END, "inline" for STARTI…ENDI, "regexp" for a custom style, "delete" for a DELETE line that
        stands alone (it has an `id` and no fields).
    note_type
        Name of the Anki note type, "" for "delete".
    fields
        Markdown source of every field of the note type, in its order, trimmed, newlines as ``\n``; "" where the note
        gives none. FROZEN text is not part of it.
    tags
        All tags the note shall have: its own, those of the file, of the folders, and the default tag; each once.
    deck
        Resolved: the file's TARGET DECK, else the innermost folder's deck, else the default deck.
    id
        The note's id in Anki as the file says it, or None.
    delete
        The note is marked by DELETE: to be removed from Anki, and its mark from the file.
    frozen
        Field -> Markdown that FROZEN lines of this file append to it.
    span
        The whole entry in the text: from START to END, the match of a style, or DELETE with its id.
    id_span
        The id with its comment marks and the newline before or after that goes with it: what to cut to take it away.
    id_at
        Where an id is inserted if there is none (see `reading.id_edit`).
    field_spans
        Field -> the parts of the text that its source was read from, in order.
    place
        Of the first character of the entry.
    """

    kind: EntryKind
    note_type: str
    fields: Mapping[str, str]
    tags: tuple[str, ...]
    deck: str
    id: int | None
    delete: bool
    frozen: Mapping[str, str]
    span: Span
    id_span: Span | None
    id_at: int
    field_spans: Mapping[str, tuple[Span, ...]]
    place: Place

    @property
    def is_cloze(self) -> bool:
        """Whether the note type makes cards of clozes; as the plugin does, by its name."""
        return "cloze" in self.note_type.lower()


@dataclass(frozen=True)
class NoteFile:
    r"""One file, read: its bytes, its text, the cards and the messages in it.

    Attributes
    ----------
    path
        Relative to the vault, with forward slashes.
    raw
        The bytes as they were read; an edit is refused where the file no longer holds them.
    text
        Decoded as UTF-8 without the byte order mark; a byte that is not UTF-8 is a lone surrogate
        (``surrogateescape``), so that encoding gives the bytes back. Newlines are kept.
    newline
        The newline that the file uses more often: "\n" or "\r\n".
    """

    path: str
    raw: bytes
    text: str
    newline: str
    bom: bool
    final_newline: bool
    file_tags: tuple[str, ...]
    target_deck: str | None
    entries: tuple[Entry, ...]
    messages: tuple[Message, ...]
    segments: tuple[Segment, ...]

    @property
    def name(self) -> str:
        """The name that links use: the file's without folder and ending."""
        name = self.path.rpartition("/")[2]
        return name[: -len(".md")] if name.lower().endswith(".md") else name

    @cached_property
    def line_starts(self) -> tuple[int, ...]:
        """Offset of the first character of each line."""
        return line_starts(self.text)

    @cached_property
    def headings(self) -> tuple[Heading, ...]:
        """The headings outside of code and of START/END blocks, in order."""
        blocks = [entry.span for entry in self.entries if entry.kind == "block"]
        starts = [
            match.start()
            for segment in self.segments
            if segment.kind == "prose"
            for match in _HEADING.finditer(self.text, max(0, segment.start - 1), segment.end)
            if match.start() >= segment.start and not _within(match.start(), blocks)
        ]
        found = [match for start in starts if (match := _HEADING.match(self.text, start))]
        return tuple(Heading(len(m["marks"]), m["title"].rstrip(" \t#"), m.start(), m.end()) for m in found)

    def place(self, offset: int) -> Place:
        """Return line and column of a position in the text."""
        line = bisect_right(self.line_starts, offset)
        return Place(self.path, line, offset - self.line_starts[line - 1] + 1)

    def encode(self, text: str) -> bytes:
        """Return the bytes of a file with this text, and with a byte order mark where this one has it."""
        return (b"\xef\xbb\xbf" if self.bom else b"") + text.encode("utf-8", "surrogateescape")


_HEADING = re.compile(r"^(?P<marks>#{1,6})[ \t]+(?P<title>[^\r\n]*)", re.MULTILINE)


def _within(at: int, spans: Sequence[Span]) -> bool:
    i = bisect_right(spans, (at, math.inf)) - 1
    return i >= 0 and spans[i].end > at


def line_starts(text: str) -> tuple[int, ...]:
    r"""Return the offset of the first character of each line; lines end with ``\n``."""
    starts = [0]
    at = text.find("\n")
    while at >= 0:
        starts.append(at + 1)
        at = text.find("\n", at + 1)
    return tuple(starts)


@dataclass(frozen=True)
class Vault:
    """A folder of notes that link to one another.

    Attributes
    ----------
    root
        The folder that paths are relative to.
    notes
        Path -> note, for every note that was asked for, in order of path.
    library
        Path -> note for every note of the vault, asked for or not: what embeds show. A note is read at its first use.
    media
        Path -> file for everything in the vault that is not a note: images, sounds.
    settings
        Of the plugin where the vault used it, and ours.
    links
        Finds the note or file that a link names (`links.resolve`).
    messages
        About the vault as a whole: settings, files that could not be read.
    """

    root: Path
    notes: Mapping[str, NoteFile]
    library: Mapping[str, NoteFile]
    media: Mapping[str, Path]
    settings: Settings
    links: Links
    messages: tuple[Message, ...] = field(default=())
