"""Fenced code: where the fences of a text stand and which closes which. Everything that follows trusts this."""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import NamedTuple

_MARK = re.compile("```+|~~~+")
# Before a fence there may be quotation marks, list markers and indentation, and only those.
_BEFORE = re.compile(r"[ \t>]*+(?P<marker>(?:(?:[-*+]|[0-9]{1,9}[.)])[ \t]++)*+)")
_LONGEST_INDENT = 200


class Fence(NamedTuple):
    """A line that opens or closes a fence: the line's start, where the text after it starts, the mark."""

    start: int
    end: int  # of the line with its newline
    mark: str  # "`" or "~"
    length: int
    can_open: bool
    can_close: bool


class Fences:
    r"""The fences of a text in order. Newlines are ``\n``."""

    def __init__(self, text: str) -> None:
        self._fences = list(_find(text))
        self._starts = [fence.start for fence in self._fences]
        self._longest = _longest_later(self._fences)

    def first(self, start: int, end: int) -> int | None:
        """Return the index of the first fence that can open in [start, end)."""
        for i in range(bisect_left(self._starts, start), len(self._fences)):
            if self._starts[i] >= end:
                return None
            if self._fences[i].can_open:
                return i
        return None

    def at(self, start: int) -> int | None:
        """Return the index of the opening fence whose line starts here."""
        i = bisect_left(self._starts, start)
        found = i < len(self._starts) and self._starts[i] == start and self._fences[i].can_open
        return i if found else None

    def closer(self, i: int, stop: int) -> Fence | None:
        """Return the fence that closes fence `i` before `stop`, or None."""
        opener = self._fences[i]
        for j in range(i + 1, len(self._fences)):
            fence = self._fences[j]
            if fence.start >= stop or self._longest[j][opener.mark] < opener.length:
                return None
            if fence.can_close and fence.mark == opener.mark and fence.length >= opener.length:
                return fence
        return None

    def __getitem__(self, i: int) -> Fence:
        return self._fences[i]


def _find(text: str) -> list[Fence]:
    found = []
    line = seen = 0  # the start of the line of the last mark; how far newlines were looked for
    for match in _MARK.finditer(text):
        at = match.start()
        newline = text.rfind("\n", seen, at)
        line, seen = (newline + 1 if newline >= 0 else line), at
        if at - line > _LONGEST_INDENT:
            continue
        before = _BEFORE.fullmatch(text, line, at)
        if before is None:
            continue
        stop = text.find("\n", match.end())
        stop = len(text) if stop < 0 else stop
        mark = match[0][0]
        plain = mark == "~" or text.find("`", match.end(), stop) < 0
        closes = not before["marker"] and not text[match.end() : stop].strip()
        if plain:
            found.append(Fence(line, min(stop + 1, len(text)), mark, len(match[0]), True, closes))
    return found


def _longest_later(fences: list[Fence]) -> list[dict[str, int]]:
    """For each fence the length of the longest closing one from it on, so that a hopeless search ends at once."""
    longest = {"`": 0, "~": 0}
    result = []
    for fence in reversed(fences):
        if fence.can_close and fence.length > longest[fence.mark]:
            longest = {**longest, fence.mark: fence.length}
        result.append(longest)
    return result[::-1]
