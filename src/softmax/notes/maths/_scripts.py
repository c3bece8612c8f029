"""Subscripts, superscripts and primes behind a factor."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from . import _ast as ast
from ._ast import Node
from ._errors import MalformedError
from ._parse import Parser
from ._tokens import Token

_DECORATING = {"*": "*", "star": "*", "+": "+", "dagger": "†", "circ": "°"}


def scripted(p: Parser, value: Node) -> Node:
    """Add subscripts, superscripts and primes to a factor."""
    start = value.start
    while (token := p.peek()) is not None:
        if token.kind == "sub":
            following = p.peek(1)
            ones = isinstance(value, ast.Sym) and value.name in ("ones",)
            words, index = subscript(p)
            if words:
                if not isinstance(value, ast.Sym):
                    raise p.unknown(f"no meaning is known for the subscript {words[0]!r}", following)
                value = ast.Sym(
                    value.name + "".join("_" + w for w in words), value.style, start=start, end=p.last_end()
                )
            if index and not ones:
                old = value.index if isinstance(value, ast.Sub) else ()
                base = value.base if isinstance(value, ast.Sub) else value
                value = ast.Sub(base, old + index, start=start, end=p.last_end())
        elif token.kind == "sup":
            value = _superscript(p, value)
        elif token.kind == "char" and token.text == "'":
            count = primes(p)
            if isinstance(value, ast.Sym):
                value = ast.Sym(value.name + "'" * count, value.style, start=start, end=p.last_end())
            else:
                value = _primed(p, value, count, token)
        elif token.kind == "char" and token.text == "!":
            p.at += 1
            value = ast.Call("factorial", (value,), start=start, end=p.last_end())
        else:
            break
    return value


def _primed(p: Parser, value: Node, count: int, token: Token) -> Node:
    """(f(x) g(x))': the derivative by the one name that all functions in it are taken of."""
    arguments = {
        arg.name
        for here in ast.walk(value)
        if isinstance(here, ast.Call)
        for arg in here.args
        if isinstance(arg, ast.Sym)
    } or ast.symbols(value)
    if len(arguments) != 1:
        raise p.unknown("no meaning is known for a prime here", token)
    variable = ast.Sym(arguments.pop())
    return ast.Deriv(value, (variable,) * count, start=value.start, end=p.last_end())


def _superscript(p: Parser, value: Node) -> Node:
    token = p.peek()
    p.at += 1
    low, high = p.argument()
    end = p.last_end()
    inner = p.tokens[low:high]
    if not inner:
        raise MalformedError("the exponent is missing", token.start if token else 0, end)
    texts = [part.text for part in inner]
    if _is_transpose(p, inner):
        return ast.Transpose(value, start=value.start, end=end)
    if len(inner) == 2 and texts[0] == "-" and _is_transpose(p, inner[1:]):
        minus = ast.Num(Fraction(-1), "-1", start=value.start, end=end)
        return ast.Transpose(ast.Pow(value, minus, start=value.start, end=end), start=value.start, end=end)
    if len(inner) == 1 and texts[0] in _DECORATING and isinstance(value, ast.Sym):
        return ast.Sym(value.name + _DECORATING[texts[0]], value.style, start=value.start, end=end)
    if texts[0] == "(" and inner[0].kind == "open" and p.matching(low) == high - 1 and len(inner) > 2:
        return _labelled(p, value, low, high)
    exponent = p.within(low, high, p.expression)
    return ast.Pow(value, exponent, start=value.start, end=end)


def _is_transpose(p: Parser, inner: list[Token]) -> bool:
    if len(inner) != 1:
        return False
    token = inner[0]
    if token.text == "top" or (token.text == "T" and "rm" in token.style):
        return True
    return token.text == "T" and "T" not in p.reading.symbols


def _labelled(p: Parser, value: Node, low: int, high: int) -> Node:
    """x^{(i)}: the i-th of several x, so an index before the others."""
    index = p.within(low + 1, high - 1, p.expression)
    end = p.last_end()
    if isinstance(index, ast.Num) and isinstance(value, ast.Sym):
        return ast.Sym(f"{value.name}^({index.text})", value.style, start=value.start, end=end)
    if isinstance(value, ast.Sub):
        return replace(value, index=(index, *value.index), end=end)
    if isinstance(value, ast.Sym):
        return ast.Sub(value, (index,), start=value.start, end=end)
    return ast.Pow(value, index, start=value.start, end=end)


def subscript(p: Parser) -> tuple[list[str], tuple[Node, ...]]:
    """Read a subscript: words that are part of the name, and indices."""
    p.at += 1
    low, high = p.argument()
    if low == high:
        raise MalformedError("the subscript is missing", p.tokens[low - 1].start, p.last_end())
    return p.within(low, high, lambda: _indices(p))


def _indices(p: Parser) -> tuple[list[str], tuple[Node, ...]]:
    words: list[str] = []
    index: list[Node] = []
    while (token := p.peek()) is not None:
        if token.kind == "char" and token.text in ",;":
            p.at += 1
        elif token.kind == "text" or (token.kind == "name" and not token.style.endswith(":")):
            words.append(token.text.strip())
            p.at += 1
        elif (token.kind == "char" and token.text in "*+-" and p.peek(1) is None) or (
            token.kind == "macro" and token.text in ("infty", "star")
        ):
            words.append(token.text)
            p.at += 1
        elif token.kind == "open" and p.matching(p.at) == p.stop - 1:
            p.at, p.stop = p.at + 1, p.stop - 1
            value = _indices(p)
            p.stop += 1
            p.at += 1
            return value
        else:
            index.append(_one_index(p))
    return words, tuple(index)


def _one_index(p: Parser) -> Node:
    from ._factors import factor

    start = p.position()
    value = factor(p)
    while p.is_sign():
        sign = 1 if p.is_char("+") else -1
        p.at += 1
        value = ast.Add(value, factor(p), sign, start=start, end=p.last_end())
    return value


def primes(p: Parser) -> int:
    count = 0
    while True:
        if p.is_char("'"):
            count += 1
            p.at += 1
            continue
        token, following = p.peek(), p.peek(1)
        if token and token.kind == "sup" and following and following.kind == "lbrace":
            close = p.matching(p.at + 1)
            inner = p.tokens[p.at + 2 : close]
            if inner and all(part.text == "'" for part in inner):
                count += len(inner)
                p.at = close + 1
                continue
        return count
