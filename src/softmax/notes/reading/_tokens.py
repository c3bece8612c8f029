r"""What each character of a text is: code, maths, HTML, comment or prose, in one pass of linear time.

The scanner is asked for one stretch after another (between cards, each field of a card), so that an unclosed formula in
one card never reaches the next. Newlines are ``\n`` here.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import NamedTuple

from .._model import Segment, SegmentKind, Span
from ._dollars import blank_line, display_end, inline_end, line_before, paragraph_end, stands_alone
from ._fences import Fences

# Every alternative starts with a fixed character: the search then skips base64 and prose at memory speed.
_SPECIAL = re.compile(r"\\[^\n]|`|~~~|\$|<[A-Za-z/!]|%%")
_TICKS = re.compile("`+")
_ATTRIBUTE = r"""(?>[ \t\n]++[A-Za-z_:@][\w:.@-]*+(?:[ \t\n]*+=[ \t\n]*+(?:"[^"]*+"|'[^']*+'|[^\s"'=<>`]++))?+)"""
_TAG = re.compile(rf"<(?:(?P<name>[A-Za-z][A-Za-z0-9-]*+){_ATTRIBUTE}*+[ \t\n]*+/?>|/[A-Za-z][A-Za-z0-9-]*+[ \t\n]*+>)")
_AUTOLINK = re.compile(r"<[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*+>")
_RAW_TAGS = frozenset({"code", "kbd", "pre", "samp", "script", "style", "svg", "textarea"})
_FRONT_MATTER = re.compile(r"---[ \t]*\n(?:(?!---[ \t]*$).*\n)*?---[ \t]*$", re.MULTILINE)


class Fault(NamedTuple):
    """Something that the scanner had to read as text: what, where, and how much of the text it shows best."""

    rule: str
    start: int
    end: int


class Scanner:
    """Tokenizes stretches of one text.

    `fences` are the fences of the text; a fence that starts in a stretch may end after it where `scan` is told so.
    """

    def __init__(self, text: str, fences: Fences | None = None) -> None:
        self.text = text
        self.fences = Fences(text) if fences is None else fences
        self.segments: list[Segment] = []
        self.faults: list[Fault] = []
        self._paragraph = Span(0, 0)
        self._block = Span(0, 0)
        self._ticks = Span(0, 0)
        self._runs: dict[int, list[int]] = {}
        self._next: dict[str, int] = {}
        self._tags: dict[str, Span] = {}

    def front_matter(self) -> int:
        """Take the YAML at the start of the text, if there is any, and return where it ends."""
        match = _FRONT_MATTER.match(self.text)
        if match is None:
            return 0
        self._add("front matter", match.start(), match.end(), Span(4, max(4, match.end() - 4)), True)
        return match.end()

    def scan(self, start: int, limit: int, stop: int | None = None) -> int:
        """Tokenize from `start` to `limit` and return where that ended.

        Code fences and comments may reach beyond `limit`, up to `stop`; then the end lies beyond it too.
        """
        stop = limit if stop is None else stop
        at = prose = start
        while at < limit:
            match = _SPECIAL.search(self.text, at, limit)
            if match is None:
                at = limit
                break
            at = match.start()
            segment = self._segment(match[0], at, limit, stop)
            if segment is None:
                at = self._after_text(match[0], at)
                continue
            if segment.start > prose:
                self._add("prose", prose, segment.start)
            self.segments.append(segment)
            at = prose = segment.end
        end = max(at, limit) if at <= limit else at
        if end > prose:
            self._add("prose", prose, end)
        return end

    def _add(self, kind: SegmentKind, start: int, end: int, inner: Span | None = None, display: bool = False) -> None:
        self.segments.append(Segment(kind, start, end, inner or Span(start, end), display))

    def _after_text(self, special: str, at: int) -> int:
        """Return where to go on after a special character that is only text."""
        if special[0] == "`":
            return self._run_end(at)
        if special == "$" and self.text.startswith("$$", at):
            return at + 2
        return at + len(special) if special[0] in "\\~%" else at + 1

    def _run_end(self, at: int) -> int:
        match = _TICKS.match(self.text, at)
        assert match is not None
        return match.end()

    def _segment(self, special: str, at: int, limit: int, stop: int) -> Segment | None:
        if special[0] == "`":
            return self._fence(at, limit, stop) or self._code(at, limit)
        if special == "~~~":
            return self._fence(at, limit, stop)
        if special == "$":
            return self._maths(at, limit)
        if special == "%%":
            return self._obsidian_comment(at, limit, stop)
        if special[0] == "<":
            return self._comment(at, limit, stop) if self.text.startswith("<!--", at) else self._html(at, limit)
        return None

    def _fence(self, at: int, limit: int, stop: int) -> Segment | None:
        before = line_before(self.text, at)
        if before is None or before.strip(" \t>-*+.)0123456789"):
            return None
        i = self.fences.at(at - len(before))
        if i is None:
            return None
        opener = self.fences[i]
        closer = self.fences.closer(i, stop)
        if closer is None:
            self.faults.append(Fault("unclosed-code", at, min(opener.end, limit)))
            if stop > limit:  # between cards: text, or one lost fence would hide every card below it
                return None
            return Segment("code", at, limit, Span(min(opener.end, limit), limit), True)
        end = closer.end - 1 if self.text.endswith("\n", 0, closer.end) else closer.end
        return Segment("code", at, end, Span(opener.end, closer.start), True)

    def _code(self, at: int, limit: int) -> Segment | None:
        """Return the code that a run of backticks opens: to the next run of that length in the paragraph."""
        end = self._end_of_paragraph(at, limit)
        if not self._ticks.start <= at < self._ticks.end:
            self._ticks, self._runs = Span(at, end), {}
            for match in _TICKS.finditer(self.text, at, end):
                self._runs.setdefault(len(match[0]), []).append(match.start())
        length = self._run_end(at) - at
        runs = self._runs.get(length, [])
        i = bisect_right(runs, at)
        if i == len(runs):
            return None
        return Segment("code", at, runs[i] + length, Span(at + length, runs[i]))

    def _maths(self, at: int, limit: int) -> Segment | None:
        if self.text.startswith("$$", at):
            if not stands_alone(self.text, at, limit):
                if not self._block.start <= at < self._block.end:
                    self._block = Span(at, blank_line(self.text, at, limit))
                limit = min(limit, self._block.end)
            end = display_end(self.text, at, limit)
            if end is None:
                self.faults.append(Fault("unclosed-maths", at, at + 2))
                return None
            return Segment("maths", at, end, Span(at + 2, end - 2), True)
        end = inline_end(self.text, at, self._end_of_paragraph(at, limit))
        if end is None:
            self.faults.append(Fault("dollar", at, at + 1))
            return None
        return Segment("maths", at, end, Span(at + 1, end - 1))

    def _end_of_paragraph(self, at: int, limit: int) -> int:
        if not self._paragraph.start <= at < self._paragraph.end:
            self._paragraph = Span(at, paragraph_end(self.text, at, limit))
        return min(self._paragraph.end, limit)

    def _comment(self, at: int, limit: int, stop: int) -> Segment | None:
        close = self._find("-->", at + 4)
        if close is None or close + 3 > stop or self.text.find("<!--", at + 4, close) >= 0:
            self.faults.append(Fault("unclosed-comment", at, min(at + 4, limit)))
            return None
        inner = Span(at + 4, close)
        return Segment("comment", at, close + 3, inner, "\n" in self.text[inner.start : inner.end])

    def _obsidian_comment(self, at: int, limit: int, stop: int) -> Segment | None:
        """Return ``%%…%%``: from a line's start to wherever it is closed, elsewhere within the paragraph."""
        before = line_before(self.text, at)
        block = before is not None and not before.strip()
        close = self._find("%%", at + 2)
        if close is None or close + 2 > (stop if block else self._end_of_paragraph(at, limit)):
            return None
        inner = Span(at + 2, close)
        return Segment("comment", at, close + 2, inner, "\n" in self.text[inner.start : inner.end])

    def _find(self, what: str, at: int) -> int | None:
        """Find text from `at` on; what was found once is not looked for again."""
        known = self._next.get(what, -1)
        if known < at and known != len(self.text):
            found = self.text.find(what, at)
            known = self._next[what] = len(self.text) if found < 0 else found
        return None if known == len(self.text) else known

    def _html(self, at: int, limit: int) -> Segment | None:
        match = _TAG.match(self.text, at, limit)
        if match is None:
            link = _AUTOLINK.match(self.text, at, limit)
            return Segment("html", at, link.end(), Span(at + 1, link.end() - 1)) if link else None
        end = match.end()
        name = (match["name"] or "").lower()
        if name in _RAW_TAGS and not match[0].endswith("/>"):
            close = self._closing_tag(name, end)
            if close.end <= limit and close.start >= end:
                return Segment("html", at, close.end, Span(end, close.start), "\n" in self.text[at : close.end])
        return Segment("html", at, end, Span(at, end))

    def _closing_tag(self, name: str, at: int) -> Span:
        """Return the next closing tag; beyond the text if there is none. What was found is not looked for again."""
        known = self._tags.get(name)
        if known is None or known.start < at:
            match = re.compile(rf"</{name}[ \t\n]*+>", re.IGNORECASE).search(self.text, at)
            beyond = len(self.text) + 1
            known = self._tags[name] = Span(*match.span()) if match else Span(beyond, beyond)
        return known


def tokenize(text: str) -> list[Segment]:
    r"""Tokenize a text that stands alone, such as a field of a card; newlines are ``\n``."""
    scanner = Scanner(text)
    scanner.scan(0, len(text))
    return scanner.segments
