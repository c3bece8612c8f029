"""The part of a note that a link names (all of it, a section, a block), and its text without cards and marks."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import lru_cache
from textwrap import dedent

from .._model import NoteFile, Segment, Span
from .._settings import Settings

_NOT_WORD = re.compile(r"[\W_]+")
_LINK = re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]]*)\]\]")
_ITEM = re.compile(r"(?P<indent>[ \t]*)(?:[-*+]|[0-9]{1,9}[.)])[ \t]")
_BLOCK_MARK = re.compile(r"(?:^|[ \t])\^[A-Za-z0-9-]+[ \t]*$", re.MULTILINE)


@lru_cache(maxsize=50_000)
def heading_key(title: str) -> str:
    """Return what two spellings of a heading share: a link leaves signs out, and case does not matter."""
    return _NOT_WORD.sub(" ", _LINK.sub(r"\1", title)).strip().casefold()


def find_part(note: NoteFile, fragment: str) -> Span | None:
    """Return where the part that follows ``#`` in a link stands in a note; None where there is none.

    "" is the whole note, ``^name`` a block, ``A#B`` the section B in the section A.
    """
    if not fragment:
        return Span(0, len(note.text))
    if fragment.startswith("^"):
        return _find_block(note, fragment[1:].strip())
    span = Span(0, len(note.text))
    for title in fragment.split("#"):
        found = _find_section(note, title, span)
        if found is None:
            return None
        span = found
    return span


def _find_section(note: NoteFile, title: str, within: Span) -> Span | None:
    key = heading_key(title)
    headings = note.headings
    for i, heading in enumerate(headings):
        if within.start <= heading.start < within.end and heading_key(heading.title) == key:
            later = (other.start for other in headings[i + 1 :] if other.level <= heading.level)
            return Span(heading.start, next(later, len(note.text)))
    return None


def _find_block(note: NoteFile, name: str) -> Span | None:
    if not re.fullmatch(r"[A-Za-z0-9-]+", name):
        return None
    pattern = re.compile(rf"(?:^|(?<=[ \t]))\^{name}[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
    match = next((m for m in pattern.finditer(note.text) if _kind(note, m.start()).kind == "prose"), None)
    if match is None:
        return None
    lines = note.line_starts
    line = bisect_right(lines, match.start()) - 1
    if note.text[lines[line] : match.start()].strip():
        item = _ITEM.match(note.text, lines[line])
        if item:
            return Span(lines[line], _item_end(note, line, len(item["indent"])))
        return Span(_paragraph_start(note, line), match.start())
    last = line - 1
    while last >= 0 and not _line(note, last).strip():
        last -= 1
    return None if last < 0 else Span(_paragraph_start(note, last), lines[line])


def _line(note: NoteFile, i: int) -> str:
    end = note.line_starts[i + 1] if i + 1 < len(note.line_starts) else len(note.text)
    return note.text[note.line_starts[i] : end]


def _item_end(note: NoteFile, line: int, indent: int) -> int:
    """Return where a list item ends: before the next line that is not indented more."""
    for i in range(line + 1, len(note.line_starts)):
        words = _line(note, i)
        if words.strip() and len(words) - len(words.lstrip(" \t")) <= indent:
            return note.line_starts[i]
    return len(note.text)


def _paragraph_start(note: NoteFile, line: int) -> int:
    """Return the start of the paragraph, or of the formula or code, that a line ends."""
    segment = _kind(note, note.line_starts[line])
    while line > 0 and segment.kind in ("maths", "code") and segment.start < note.line_starts[line]:
        line -= 1
    while line > 0 and _line(note, line - 1).strip() and not _line(note, line - 1).startswith("#"):
        line -= 1
    return note.line_starts[line]


def _kind(note: NoteFile, at: int) -> Segment:
    return note.segments[bisect_right(note.segments, at, key=lambda segment: segment.start) - 1]


def shown_text(note: NoteFile, span: Span, settings: Settings) -> str:
    r"""Return what a part of a note shows where it is embedded, with ``\n`` for newlines.

    Cards, comments, front matter and the lines that only speak to Anki are left out, and so are names of blocks.
    """
    pieces, at = [], span.start
    for hole in _holes(note, span, settings):
        if hole.end <= at:
            continue
        pieces.append(note.text[at : max(at, hole.start)])
        at = hole.end
    pieces.append(note.text[at : span.end])
    text = "".join(pieces).replace("\r\n", "\n")
    return dedent(re.sub(r"\n{3,}", "\n\n", text).strip("\n").rstrip())


def _holes(note: NoteFile, span: Span, settings: Settings) -> Iterator[Span]:
    words = settings.keywords
    line = rf"(?:{re.escape(words.deck)}|{re.escape(words.tags)})(?:[ \t]*\r?\n|: ?)[^\n]*"
    frozen = rf"{re.escape(words.frozen)} - [^\n]*:[ \t]*\r?(?:\n[^\r\n]+\r?)*"
    pattern = re.compile(rf"^(?:{line}|{frozen})$\n?", re.MULTILINE)
    holes = []
    for entry in note.entries:
        if entry.kind == "regexp":
            holes += [entry.id_span] if entry.id_span else []
        elif entry.span.start < span.end and entry.span.end > span.start:
            holes.append(entry.span)
    first = max(0, bisect_right(note.segments, span.start, key=lambda segment: segment.start) - 1)
    last = bisect_left(note.segments, span.end, key=lambda segment: segment.start)
    for segment in note.segments[first:last]:
        if segment.kind in ("comment", "front matter"):
            holes.append(Span(segment.start, segment.end))
        elif segment.kind == "prose":
            start, end = max(segment.start, span.start), min(segment.end, span.end)
            holes += [Span(*match.span()) for match in pattern.finditer(note.text, start, end)]
            holes += [Span(*match.span()) for match in _BLOCK_MARK.finditer(note.text, start, end)]
    return iter(sorted(hole for hole in holes if hole.end > span.start and hole.start < span.end))
