"""Iverson brackets, indicators and Kronecker deltas."""

from __future__ import annotations

from . import _ast as ast
from ._ast import Node
from ._errors import MalformedError
from ._names import RELATIONS
from ._parse import Parser, top_level
from ._scripts import subscript


def opens_condition(p: Parser, ahead: int) -> bool:
    """Whether brackets that hold a relation stand there."""
    token = p.peek(ahead)
    if token is None or token.kind not in ("open", "lbrace"):
        return False
    try:
        close = p.matching(p.at + ahead)
    except MalformedError:
        return False
    return has_relation(p, p.at + ahead + 1, close)


def has_relation(p: Parser, low: int, high: int) -> bool:
    return any(
        p.tokens[i].kind in ("char", "macro") and RELATIONS.get(p.tokens[i].text, "other") not in ("other", "implies")
        for i in top_level(p, low, high)
    )


def subscript_condition(p: Parser) -> bool:
    following = p.peek(1)
    if following is None or following.kind != "sub":
        return False
    group = p.peek(2)
    return group is not None and group.kind == "lbrace" and condition_range(p, p.at + 2) is not None


def condition_range(p: Parser, brace: int) -> tuple[int, int] | None:
    low, high = brace + 1, p.matching(brace)
    if low < high and p.tokens[low].kind == "open" and p.matching(low) == high - 1:
        low, high = low + 1, high - 1
    return (low, high) if has_relation(p, low, high) else None


def indicator(p: Parser) -> Node:
    start = p.position()
    p.at += 1
    token = p.peek()
    if token is not None and token.kind == "sub":
        found = condition_range(p, p.at + 1)
        close = p.matching(p.at + 1)
        assert found is not None
        low, high = found
    else:
        close = p.matching(p.at)
        low, high = p.at + 1, close
    condition = p.within(low, high, p.condition)
    p.at = close + 1
    return ast.Iverson(condition, start=start, end=p.last_end())


def kronecker(p: Parser) -> Node | None:
    start, kept = p.position(), p.at
    p.at += 1
    found = None
    token = p.peek(1)
    if token is not None and token.kind == "lbrace":
        found = condition_range(p, p.at + 1)
    if found is not None:
        close = p.matching(p.at + 1)
        condition = p.within(*found, p.condition)
        p.at = close + 1
        return ast.Iverson(condition, start=start, end=p.last_end())
    words, index = subscript(p)
    if not words and len(index) == 2:
        where = ast.Rel("=", index[0], index[1], start=start, end=p.last_end())
        return ast.Iverson(where, start=start, end=p.last_end())
    p.at = kept
    return None
