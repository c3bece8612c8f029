"""What changes in a field, in words and tags rather than lines: fields are HTML, and have few lines."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

# A tag, a word, a run of spaces, or anything else on its own.
_TOKEN = re.compile(r"<[^<>]*>|\\[A-Za-z]+|\w+|\s+|.", re.DOTALL)
_MANY = 4000  # tokens up to which the finest difference is looked for
_CONTEXT = 40  # characters shown around a change


class Piece(NamedTuple):
    """A part of a text that is in both, only in the old, or only in the new one."""

    kind: Literal["same", "old", "new"]
    text: str


def pieces(old: str, new: str) -> list[Piece]:
    """Return parts in order: those of kinds "same" and "old" make `old`, those of "same" and "new" make `new`."""
    a, b = _TOKEN.findall(old), _TOKEN.findall(new)
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    end = 0
    while end < min(len(a), len(b)) - start and a[-1 - end] == b[-1 - end]:
        end += 1
    found = [Piece("same", "".join(a[:start]))]
    middle_a, middle_b = a[start : len(a) - end], b[start : len(b) - end]
    if len(middle_a) + len(middle_b) > _MANY:
        found += [Piece("old", "".join(middle_a)), Piece("new", "".join(middle_b))]
    else:
        matcher = SequenceMatcher(None, middle_a, middle_b, autojunk=False)
        for kind, a1, a2, b1, b2 in matcher.get_opcodes():
            if kind == "equal":
                found.append(Piece("same", "".join(middle_a[a1:a2])))
            else:
                found += [Piece("old", "".join(middle_a[a1:a2])), Piece("new", "".join(middle_b[b1:b2]))]
    found.append(Piece("same", "".join(a[len(a) - end :])))
    return [piece for piece in found if piece.text]


def shortened(found: list[Piece], context: int = _CONTEXT) -> list[Piece]:
    """Return the parts with long ones that did not change cut down to what stands around a change."""
    result = []
    for i, piece in enumerate(found):
        text = piece.text
        if piece.kind == "same" and len(text) > 2 * context:
            head = text[:context] if i > 0 else ""
            tail = text[-context:] if i < len(found) - 1 else ""
            text = f"{head} … {tail}"
        result.append(Piece(piece.kind, text))
    return result
