r"""What the parsers of blocks, lines and styles hand to `_file`: cards without deck and file tags, and messages.

Positions are offsets into the text with ``\n`` for newlines; `_file` turns them into those of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from .._model import EntryKind, Severity, Span
from ._edits import Edit

# The id as the plugin writes it, alone in its line; and what the plugin takes for an id anywhere in a last line.
ID_LINE = re.compile(r"(?:<!--[ \t]*)?ID: (?P<id>[0-9]+)[ \t]*(?:-->)?[ \t]*")
ID_COMMENT = re.compile(r"<!--[ \t]*ID: (?P<id>[0-9]+)[ \t]*-->")
ID_ANYWHERE = re.compile(r"(?:<!--)?ID: (?P<id>[0-9]+)")
LARGEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Found:
    """A message before its positions are those of the file."""

    rule: str
    severity: Severity
    start: int
    end: int
    text: str
    suggestion: str | None = None
    edits: tuple[Edit, ...] = ()  # that repair it


@dataclass(slots=True)
class Draft:
    """A card without what the rest of the file says about it."""

    kind: EntryKind
    note_type: str
    span: Span
    fields: Mapping[str, str] = field(default_factory=dict)
    field_spans: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    id: int | None = None
    id_span: Span | None = None
    id_at: int = 0
    delete: bool = False

    @property
    def is_cloze(self) -> bool:
        """Whether the note type makes cards of clozes, see `Entry.is_cloze`."""
        return "cloze" in self.note_type.lower()


def as_id(digits: str) -> int | None:
    """Return the number, or None where no note can have it."""
    value = int(digits) if len(digits) < 20 else 0
    return value if 0 < value <= LARGEST_ID else None


def split_tags(words: str) -> tuple[str, ...]:
    """Split at white space; a comma after a tag does not belong to it."""
    return tuple(dict.fromkeys(tag for word in words.split() if (tag := word.strip(",;"))))


def cut(span: Span, holes: Iterable[Span]) -> tuple[Span, ...]:
    """Return the span without the holes, as spans in order."""
    parts, at = [], span.start
    for hole in sorted(holes):
        if hole.end <= at or hole.start >= span.end:
            continue
        if hole.start > at:
            parts.append(Span(at, hole.start))
        at = hole.end
    if at < span.end:
        parts.append(Span(at, span.end))
    return tuple(parts)


def trimmed(text: str, spans: Sequence[Span]) -> tuple[Span, ...]:
    """Return the spans without the white space at the start of the first and the end of the last."""
    parts = list(spans)
    while parts and not text[parts[0].start : parts[0].end].strip():
        del parts[0]
    while parts and not text[parts[-1].start : parts[-1].end].strip():
        del parts[-1]
    if parts:
        first = text[parts[0].start : parts[0].end]
        parts[0] = Span(parts[0].end - len(first.lstrip()), parts[0].end)
        last = text[parts[-1].start : parts[-1].end]
        parts[-1] = Span(parts[-1].start, parts[-1].start + len(last.rstrip()))
    return tuple(parts)


def source(text: str, spans: Sequence[Span]) -> str:
    """Return the text of the spans together."""
    return "".join(text[start:end] for start, end in spans)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the name that this one was most likely meant to be, or None."""
    by_key = {other.casefold(): other for other in names}
    if name.casefold() in by_key:
        return by_key[name.casefold()]
    close = get_close_matches(name.casefold()[:100], by_key, n=1, cutoff=0.75)
    return by_key[close[0]] if close else None


def did_you_mean(name: str, names: Iterable[str]) -> str | None:
    """Return the suggestion for a name that is none of these."""
    names = list(names)
    near = nearest(name, names)
    return f"Did you mean {near!r}?" if near else None
