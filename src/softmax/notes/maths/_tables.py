"""Environments that stand within a formula: cases and matrices."""

from __future__ import annotations

from . import _ast as ast
from ._ast import Node
from ._errors import MalformedError
from ._names import words
from ._parse import Parser, top_level
from ._tokens import Token

MATRICES = words("matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix array")
CASES = frozenset({"cases", "dcases", "rcases"})
_OTHERWISE = words("otherwise else sonst elsewhere")
_LEADING = words("for if when where falls für whenever , ; : ( and all")


def environment(p: Parser) -> Node:
    r"""Read \begin{…} … \end{…} at a factor."""
    token = p.peek()
    assert token is not None
    name = token.text.rstrip("*")
    close = _end_of(p, p.at)
    low = p.at + 1
    if name == "array" and p.tokens[low].kind == "lbrace":
        low = p.matching(low) + 1
    rows = _cells(p, low, close)
    if name in CASES:
        value: Node = _cases(p, rows, token, close)
    elif name in MATRICES:
        value = _matrix(p, rows, token, close)
    elif name in ("aligned", "split", "gathered", "subarray"):
        if len(rows) != 1 or len(rows[0]) != 1:
            raise p.unknown("several rows within a formula", token)
        value = p.within(*rows[0][0], p.expression)
    else:
        raise p.unknown(f"no meaning is known for the environment {token.text}", token)
    p.at = close + 1
    if name == "vmatrix":
        return ast.Abs(value, start=token.start, end=p.last_end())
    return value


def _end_of(p: Parser, begin: int) -> int:
    depth = 0
    for index in range(begin, p.stop):
        depth += {"begin": 1, "end": -1}.get(p.tokens[index].kind, 0)
        if depth == 0:
            if p.tokens[index].text != p.tokens[begin].text:
                break
            return index
    token = p.tokens[begin]
    raise MalformedError(f"\\end{{{token.text}}} is missing", token.start, token.end)


def _cells(p: Parser, low: int, high: int) -> list[list[tuple[int, int]]]:
    rows: list[list[tuple[int, int]]] = [[]]
    begin = low
    for index in top_level(p, low, high):
        kind = p.tokens[index].kind
        if kind in ("amp", "row"):
            rows[-1].append((begin, index))
            begin = index + 1
            if kind == "row":
                rows.append([])
    rows[-1].append((begin, high))
    return [row for row in rows if any(a < b for a, b in row)]


def _cases(p: Parser, rows: list[list[tuple[int, int]]], token: Token, close: int) -> Node:
    out: list[tuple[Node, Node | None]] = []
    for cells in rows:
        low, high = cells[0]
        condition: tuple[int, int] | None = cells[1] if len(cells) > 1 else None
        while high > low and p.tokens[high - 1].text in (",", ";", ".") and p.tokens[high - 1].kind == "char":
            high -= 1
        if condition is None:
            condition, high = _condition_behind(p, low, high)
        value = p.within(low, high, p.expression, empty="a case has no value")
        out.append((value, _condition(p, *condition) if condition else None))
    if not out:
        raise MalformedError("the cases are empty", token.start, p.tokens[close].end)
    return ast.Cases(tuple(out), start=token.start, end=p.tokens[close].end)


def _condition_behind(p: Parser, low: int, high: int) -> tuple[tuple[int, int] | None, int]:
    """Find the words or the wide space that part a value from its condition, where no & does."""
    for index in range(low, high):
        if p.tokens[index].kind in ("text", "quad") or _word(p, index, high) in _LEADING - {",", ";", ":", "("}:
            end = index
            while end > low and p.tokens[end - 1].text in (",", ";"):
                end -= 1
            return (index, high), end
    return None, high


def _word(p: Parser, at: int, high: int) -> str:
    r"""Letters that follow one another without space, as in ``for\ i=j`` without \text."""
    letters = ""
    while at < high and p.tokens[at].kind in ("letter", "name") and not p.tokens[at].style:
        if letters and p.tokens[at].start != p.tokens[at - 1].end:
            break
        letters += p.tokens[at].text
        at += 1
        if letters in _LEADING and (at >= high or p.tokens[at].start != p.tokens[at - 1].end):
            return letters
    return letters


def _condition(p: Parser, low: int, high: int) -> Node | None:
    low, high = skip_words(p, low, high)
    if low >= high:
        return None
    return p.within(low, high, p.condition)


def skip_words(p: Parser, low: int, high: int) -> tuple[int, int]:
    """Leave out "for", "if" and punctuation around a condition; nothing is left of "otherwise"."""
    while low < high:
        token = p.tokens[low]
        if token.kind == "quad" or (token.kind == "char" and token.text in ",;:"):
            low += 1
        elif token.kind == "text":
            words = token.text.lower().strip(" .,:;")
            if words in _OTHERWISE or any(word in _OTHERWISE for word in words.split()):
                return high, high
            if words and not set(words.split()) <= _LEADING | {"all", "any", "every", "each", "i.e.", "and"}:
                raise p.unknown(f"words within a formula: {token.text.strip()!r}", token)
            low += 1
        elif token.kind == "macro" and token.text == "forall":
            low += 1
        else:
            word = _word(p, low, high)
            if word in _OTHERWISE:
                return high, high
            if word not in _LEADING:
                break
            read = 0
            while read < len(word):
                read += len(p.tokens[low].text)
                low += 1
    while high > low and p.tokens[high - 1].kind == "char" and p.tokens[high - 1].text in ",;.:":
        high -= 1
    return low, high


def _matrix(p: Parser, rows: list[list[tuple[int, int]]], token: Token, close: int) -> Node:
    widths = {len(row) for row in rows}
    if not rows or len(widths) != 1:
        raise MalformedError("the rows of the matrix differ in length", token.start, p.tokens[close].end)
    values = tuple(
        tuple(p.within(low, high, p.expression, empty="an entry of the matrix is missing") for low, high in row)
        for row in rows
    )
    return ast.Table(values, start=token.start, end=p.tokens[close].end)
