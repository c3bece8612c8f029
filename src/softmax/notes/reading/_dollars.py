r"""Which dollar signs enclose a formula.

``$x$``: no space after the first sign and before the second, no digit after the second, no blank line between;
otherwise the first sign is a dollar. That makes text of ``$5 and $6``. ``$$`` goes to the next ``$$``, where text
stands around it no further than a blank line. ``\$`` is a dollar everywhere.
"""

from __future__ import annotations

import re

# A paragraph ends before a blank line, a heading, a list item, a fence or a display.
PARAGRAPH_END = re.compile(r"\n(?=[ \t>]*+(?:\n|\Z|(?:[-*+]|[0-9]{1,9}[.)])[ \t\n]|#{1,6}[ \t]|```|~~~|\$\$[ \t]*\n))")
_INLINE_NEXT = re.compile(r"\\[^\n]|\$")
_DISPLAY_NEXT = re.compile(r"\\[^\n]|\$\$")
_LINE_REST = re.compile(r"[ \t]*+(?:\n|\Z)")
_BLANK = re.compile(r"\n[ \t]*+\n")


def inline_end(text: str, at: int, limit: int) -> int | None:
    """Return where the formula that the single dollar at `at` opens ends, after its second dollar, before `limit`."""
    if at + 1 >= limit or text[at + 1].isspace() or text[at + 1] == "$":
        return None
    for match in _INLINE_NEXT.finditer(text, at + 1, limit):
        if match[0] != "$":
            continue
        close = match.start()
        followed = text[close + 1 : close + 2] if close + 1 < limit else ""
        return None if text[close - 1].isspace() or followed.isdecimal() else close + 1
    return None


def display_end(text: str, at: int, limit: int) -> int | None:
    """Return where the display that the two dollars at `at` open ends, after its second two dollars, before `limit`."""
    for match in _DISPLAY_NEXT.finditer(text, at + 2, limit):
        if match[0] == "$$":
            return match.end()
    return None


def stands_alone(text: str, at: int, limit: int) -> bool:
    """Whether the two dollars at `at` begin or end their line, so that their formula may have blank lines."""
    before = line_before(text, at)
    return (before is not None and not before.strip(" \t>")) or _LINE_REST.match(text, at + 2, limit) is not None


def line_before(text: str, at: int, most: int = 200) -> str | None:
    """Return what stands before `at` in its line; None for more than `most` characters."""
    start = max(0, at - most)
    newline = text.rfind("\n", start, at)
    return None if newline < 0 < start else text[newline + 1 if newline >= 0 else start : at]


def blank_line(text: str, at: int, limit: int) -> int:
    """Return where the first blank line from `at` on begins, at most `limit`."""
    match = _BLANK.search(text, at, limit)
    return match.start() if match else limit


def paragraph_end(text: str, at: int, limit: int) -> int:
    """Return the end of the paragraph that `at` stands in, at most `limit`."""
    match = PARAGRAPH_END.search(text, at, limit)
    return match.start() if match else limit
