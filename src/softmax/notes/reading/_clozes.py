"""Clozes: ``{{c1::…}}``, and ``{…}``, ``{2:…}``, ``{c2|…}`` where the vault's settings make clozes of curly braces."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .._model import Span
from ._draft import Draft, Found
from ._edits import Edit
from ._tokens import tokenize

OPEN = re.compile(r"\{\{c[0-9]+::")
_CURLY = re.compile(r"(?<!\{)\{(?!\{)(?:c?(?P<number>[0-9]+)[:|])?(?P<text>(?:[^{}\n]|\n(?!\n))++)\}(?!\})")
_BRACES = re.compile(r"\\[^\n]|\{\{c[0-9]+::|[{}]")


def number_clozes(text: str) -> str:
    """Make clozes of curly braces; those without a number are 1, 2, … in order."""
    count = 0

    def numbered(match: re.Match[str]) -> str:
        nonlocal count
        count += match["number"] is None
        return f"{{{{c{match['number'] or count}::{match['text']}}}}}"

    return _CURLY.sub(numbered, text)


def close_apart(formula: str, between: str = " ") -> str:
    r"""Put something between two closing braces that close no cloze: Anki ends a cloze at the first ``}}``.

    ``\frac{1}{\sqrt{2}}`` becomes ``\frac{1}{\sqrt{2} }``, which TeX reads alike.
    """
    return "".join(_apart(formula, between))


def _apart(formula: str, between: str) -> Iterator[str]:
    depths: list[int] = []  # one for each cloze that is open: braces open in it
    at = 0
    last = -2  # where the last brace closed that belongs to TeX
    for match in _BRACES.finditer(formula):
        start, sign = match.start(), match[0]
        if start < at:
            continue
        yield formula[at:start]
        at = match.end()
        if sign.startswith("{{"):
            depths.append(0)
        elif sign == "{" and depths:
            depths[-1] += 1
        elif sign == "}":
            if depths and not depths[-1] and formula.startswith("}}", start):
                depths.pop()
                at = start + 2
                yield f"{between}}}}}" if last == start - 1 else "}}"
                last = -2
                continue
            if depths:
                depths[-1] -= 1
            if last == start - 1:
                yield between
            last = start
        elif sign == r"\}":
            last = start + 1
        yield sign
    yield formula[at:]


def cloze_faults(text: str, draft: Draft, *, curly: bool) -> Iterator[Found]:
    """Say where a card of a cloze type has no cloze, and where Anki would end one too early."""
    if not draft.is_cloze:
        return
    if not any(OPEN.search(words) or (curly and _CURLY.search(words)) for words in draft.fields.values()):
        if draft.kind != "regexp":
            words = "There is no cloze in this card; Anki makes no card of it."
            yield Found("no-cloze", "error", *draft.span, words, "Write {{c1::the hidden words}}.")
        return
    for spans in draft.field_spans.values():
        for start, end in spans:
            source = text[start:end]
            opened = OPEN.search(source)
            for segment in tokenize(source):
                formula = source[segment.start : segment.end]
                inside = curly or (opened is not None and opened.start() < segment.end)
                if segment.kind != "maths" or not inside or (apart := close_apart(formula)) == formula:
                    continue
                place = Span(start + segment.start, start + segment.end)
                words = "Anki ends a cloze at the first }}, which stands in this formula; a space goes between here."
                yield Found("cloze-cut", "warning", *place, words, "Write } } in the formula.", (Edit(*place, apart),))
