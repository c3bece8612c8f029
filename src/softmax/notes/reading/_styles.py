"""Cards in a style of one's own: a regular expression per note type, whose groups are the fields in order."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType

from .._model import Span
from .._settings import Settings
from ._draft import ID_LINE, Draft, Found, as_id, cut, source, split_tags, trimmed

# Written for this library; a line that holds an id in a comment ends each.
_NOT_ID = r"(?!<!--|ID: [0-9])"
_LINE = rf"{_NOT_ID}[^\n]+"
RECIPES = MappingProxyType(
    {
        "header": rf"^#{{1,6}}[ \t]+([^\n]+)\n+((?:(?!#{{1,6}}[ \t]){_LINE}(?:\n|\Z))+)",
        "question": rf"^Q: ({_LINE}(?:\n(?!A: ){_LINE})*)\n+A: ({_LINE}(?:\n(?!Q: ){_LINE})*)",
        "remnote": r"^([^\n]*[^\n:]):: ?([^\n:][^\n]*)",
        "ruled": rf"^({_LINE}(?:\n(?!---[ \t]*$){_LINE})*)\n\n*---[ \t]*\n+({_LINE}(?:\n{_LINE})*)",
        "table": r"^\|([^\n|]+)\|[ \t]*\n\|[ \t:]*-[-: \t]*\|[ \t]*\n\|([^\n|]+)\|",
        "cloze paragraph": rf"^({_LINE}(?:\n{_LINE})*)",
    }
)
_LARGEST = 20_000_000  # characters; an expression from a settings file may take quadratic time
_AFTER = re.compile(rf"\n?(?P<line>{ID_LINE.pattern})(?=\n|\Z)")
_CLOZE = re.compile(r"\{\{c[0-9]+::|\{(?!\{)[^\n{}]+\}|==[^=\n]+==")


@dataclass(slots=True)
class Styles:
    """Finds the cards that the styles of the settings describe.

    `taken` are spans that no card may start in or lie across: blocks, inline cards, marks; `hidden` those that no card
    may lie within: code, formulas, comments.
    """

    text: str
    settings: Settings
    taken: Sequence[Span]
    hidden: Sequence[Span]
    found: list[Found] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)

    def read(self) -> None:
        """Find everything."""
        if len(self.text) > _LARGEST and self.settings.styles:
            text = "This file is too large to look for cards of a style of one's own in it."
            self.found.append(Found("large-file", "warning", 0, 0, text, "Use START and END."))
            return
        taken = sorted(self.taken)
        for note_type, style in self.settings.styles.items():
            names = self.settings.note_types.get(note_type)
            if names is None or style_fault(note_type, style, self.settings) is not None:
                continue  # a message of the vault says so
            pattern = compiled(style)
            for match in pattern.finditer(self.text):
                span = Span(*match.span())
                if span.start == span.end or _within(span, self.hidden) or _within(span, taken):
                    continue
                if _overlaps(span, taken):
                    self._say_overlap(note_type, span)
                    continue
                draft = self._draft(note_type, names, match)
                if draft is not None:
                    self.drafts.append(draft)
                    taken.insert(bisect_right(taken, draft.span), draft.span)

    def _say_overlap(self, note_type: str, span: Span) -> None:
        self.found.append(
            Found(
                "overlap",
                "warning",
                span.start,
                span.start + len(self.text[span.start : span.end].partition("\n")[0]),
                f"What the style of {note_type!r} finds here runs into another card: no card is made.",
                "Put a blank line between the two.",
            )
        )

    def _draft(self, note_type: str, names: Sequence[str], match: re.Match[str]) -> Draft | None:
        span = Span(*match.span())
        stripped = self.text[span.start : span.end].rstrip()
        draft = Draft("regexp", note_type, Span(span.start, span.start + len(stripped)))
        holes = self._tail(draft)
        draft.id_at = draft.span.end
        groups = [Span(*match.span(i)) for i in range(1, match.re.groups + 1)] or [draft.span]
        parts = [trimmed(self.text, cut(group, holes)) if group.start >= 0 else () for group in groups]
        parts += [()] * (len(names) - len(parts))
        draft.field_spans = dict(zip(names, parts, strict=False))
        draft.fields = {name: source(self.text, spans) for name, spans in draft.field_spans.items()}
        if "cloze" in note_type.lower() and not any(_CLOZE.search(words) for words in draft.fields.values()):
            return None
        return draft

    def _tail(self, draft: Draft) -> list[Span]:
        """Take id and tags from the lines after the match and from its last ones; return what to leave out."""
        holes = []
        start, end = draft.span
        after = _AFTER.match(self.text, end)
        if after is not None:
            draft.id = as_id(after["id"])
            draft.id_span = Span(*after.span())
        while True:
            line = self.text.rfind("\n", start, end) + 1
            if line <= start:
                break
            words = self.text[line:end].strip()
            id_line = ID_LINE.fullmatch(words)
            if id_line and draft.id_span is None:
                draft.id, draft.id_span = as_id(id_line["id"]), Span(line - 1, end)
            elif words.startswith("Tags: ") and not draft.tags:
                draft.tags = split_tags(words[6:])
                self.found.append(
                    Found(
                        "tags-in-style",
                        "remark",
                        line,
                        end,
                        "The plugin makes text of the last field of these tags; here they are tags.",
                    )
                )
            elif words:
                break
            holes.append(Span(line - 1, draft.span.end))
            end = line - 1
        if draft.id_span is not None and draft.id_span.start < draft.span.end:
            draft.span = Span(start, draft.id_span.start)
        return holes


def style_fault(note_type: str, style: str, settings: Settings) -> str | None:
    """Return what is wrong with a style of the settings, or None."""
    if note_type not in settings.note_types:
        return f"There is a style for {note_type!r}, which is no note type."
    try:
        compiled(style)
    except (re.error, RecursionError, OverflowError) as error:
        return f"The style of {note_type!r} is no regular expression that can be used: {error}."
    return None


@cache
def compiled(style: str) -> re.Pattern[str]:
    """Return the pattern of a recipe's name or of a JavaScript regular expression."""
    if style in RECIPES:
        return re.compile(RECIPES[style], re.MULTILINE)
    python = re.sub(r"\(\?<(?![=!])", "(?P<", style).replace("[^]", r"[\s\S]")
    return re.compile(python, re.MULTILINE)


def _overlaps(span: Span, taken: Sequence[Span]) -> bool:
    i = bisect_right(taken, (span.start, span.start))
    before = i > 0 and taken[i - 1].end > span.start
    return before or (i < len(taken) and taken[i].start < span.end)


def _within(span: Span, hidden: Sequence[Span]) -> bool:
    """Whether a span lies in one of the others, give or take a character at its ends."""
    i = bisect_right(hidden, span.start + 1, key=lambda other: other.start)
    return i > 0 and hidden[i - 1].start <= span.start + 1 and hidden[i - 1].end >= span.end - 1
