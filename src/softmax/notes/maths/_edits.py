r"""Small changes of an expression, as edits of its text: of a sign, an exponent, an index, a factor, a name.

The same list serves the search for repairs and, the other way round, the test that a wrong formula is noticed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from . import _ast as ast
from ._ast import Node
from ._errors import Edit
from ._tokens import Token

_TWINS = {"sin": "cos", "cos": "sin", "sinh": "cosh", "cosh": "sinh", "max": "min", "min": "max", "sum": "prod"}


@dataclass(frozen=True, slots=True)
class Change:
    """A small change: what kind it is, what it does in words, its cost, and its edits."""

    kind: str
    words: str
    cost: float
    edits: tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What changes may bring in: indices, names (as text), factors (as text), transpositions."""

    indices: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()
    matrices: bool = False


def small_changes(text: str, tokens: list[Token], node: Node, vocabulary: Vocabulary) -> list[Change]:
    """Return the small changes of an expression, each once, the cheapest first."""
    seen: set[tuple[Edit, ...]] = set()
    out = []
    for change in _all(text, tokens, node, vocabulary):
        if change.edits not in seen:
            seen.add(change.edits)
            out.append(change)
    return sorted(out, key=lambda change: change.cost)


def _all(text: str, tokens: list[Token], node: Node, vocabulary: Vocabulary) -> Iterator[Change]:
    protected = _protected(tokens)
    yield from _signs(tokens, protected)
    yield from _exponents(text, tokens)
    yield from _indices(tokens, vocabulary)
    yield from _numbers(tokens)
    yield from _functions(tokens)
    for here in _parts(node):
        if 0 <= here.start < here.end:
            yield from _structure(text, here, vocabulary)
    yield from _names(tokens, vocabulary)


def _parts(node: Node) -> Iterator[Node]:
    """The node and all below it but for indices, bounds and the variables of derivatives."""
    stack = [node]
    while stack:
        here = stack.pop()
        yield here
        if isinstance(here, ast.Sub):
            below = [here.base] if not isinstance(here.base, ast.Sym) else []
        elif isinstance(here, ast.Deriv | ast.Big | ast.Grad | ast.Integral):
            below = [here.body]
        elif isinstance(here, ast.Iverson | ast.Prob):
            below = []
        elif isinstance(here, ast.Cases):
            below = [value for value, _ in here.rows]
        else:
            below = list(ast.children(here))
        stack.extend(reversed(below))


def _protected(tokens: list[Token]) -> set[int]:
    """Positions of tokens within the bounds or scripts of something."""
    out: set[int] = set()
    for index, token in enumerate(tokens):
        if token.kind in ("sub", "sup") and index + 1 < len(tokens):
            depth = 0
            for at in range(index + 1, len(tokens)):
                depth += {"lbrace": 1, "rbrace": -1}.get(tokens[at].kind, 0)
                out.add(at)
                if depth == 0:
                    break
    return out


def _signs(tokens: list[Token], protected: set[int]) -> Iterator[Change]:
    for index, token in enumerate(tokens):
        if token.kind != "char" or token.text not in "+-" or index in protected:
            continue
        before = tokens[index - 1] if index else None
        unary = (
            before is None
            or before.kind in ("open", "lbrace", "amp", "row", "begin")
            or before.text in ("=", "+", "-", ",")
        )
        if token.text == "+":
            yield Change("sign", "+ becomes −", 1.0, (Edit(token.start, token.end, "-"),))
        elif unary:
            yield Change("sign", "a minus less", 1.0, (Edit(token.start, token.end, ""),))
        else:
            yield Change("sign", "− becomes +", 1.0, (Edit(token.start, token.end, "+"),))


def _exponents(text: str, tokens: list[Token]) -> Iterator[Change]:
    for index, token in enumerate(tokens):
        if token.kind != "sup" or index + 1 >= len(tokens):
            continue
        group, value = _whole_exponent(tokens, index + 1)
        if value is None:
            continue
        start, end = group
        for new in dict.fromkeys((-value, value - 1, value + 1, -value + 1, -value - 1)):
            if new in (value, 0, 1):
                continue
            written = str(new) if 0 <= new < 10 else f"{{{new}}}"
            if text[start] == "{":
                written = f"{{{new}}}"
            cost = 1.0 if new == -value else 1.1
            yield Change("exponent", f"the exponent {value} becomes {new}", cost, (Edit(start, end, written),))
        yield Change("exponent", f"without the exponent {value}", 1.2, (Edit(token.start, end, ""),))


def _whole_exponent(tokens: list[Token], at: int) -> tuple[tuple[int, int], int | None]:
    token = tokens[at]
    if token.kind == "num" and token.text[:1].isdigit():
        return (token.start, token.start + 1), int(token.text[0])
    if token.kind == "lbrace":
        inner: list[Token] = []
        for close in range(at + 1, len(tokens)):
            if tokens[close].kind == "rbrace":
                sign = -1 if inner and inner[0].text == "-" else 1
                digits = inner[1:] if sign < 0 else inner
                if len(digits) == 1 and digits[0].kind == "num" and digits[0].text.isdigit():
                    return (token.start, tokens[close].end), sign * int(digits[0].text)
                break
            inner.append(tokens[close])
    return (0, 0), None


def _indices(tokens: list[Token], vocabulary: Vocabulary) -> Iterator[Change]:
    for index, token in enumerate(tokens):
        if token.kind != "letter" or token.text not in vocabulary.indices:
            continue
        if not _is_subscript(tokens, index):
            continue
        for name in vocabulary.indices:
            if name != token.text:
                edit = Edit(token.start, token.end, name)
                yield Change("index", f"the index {token.text} becomes {name}", 1.0, (edit,))


def _is_subscript(tokens: list[Token], index: int) -> bool:
    at = index - 1
    while (at >= 0 and tokens[at].kind in ("letter", "num")) or (at >= 0 and tokens[at].text == ","):
        at -= 1
    if at >= 0 and tokens[at].kind == "lbrace":
        at -= 1
        return at >= 0 and tokens[at].kind == "sub" and not _is_big(tokens, at)
    return at == index - 1 and at >= 0 and tokens[at].kind == "sub" and not _is_big(tokens, at)


def _is_big(tokens: list[Token], sub: int) -> bool:
    return sub > 0 and tokens[sub - 1].kind == "macro" and tokens[sub - 1].text in ("sum", "prod", "max", "min", "int")


def _numbers(tokens: list[Token]) -> Iterator[Change]:
    for index, token in enumerate(tokens):
        if token.kind != "num" or not token.text.isdigit() or len(token.text) > 3:
            continue
        before = tokens[index - 1] if index else None
        if before is not None and (before.kind in ("sub", "sup") or before.text == "frac"):
            continue
        value = int(token.text)
        for new in (value + 1, value - 1):
            if new > 0:
                yield Change("number", f"{value} becomes {new}", 1.3, (Edit(token.start, token.end, str(new)),))


def _functions(tokens: list[Token]) -> Iterator[Change]:
    for token in tokens:
        twin = _TWINS.get(token.text) if token.kind == "macro" else None
        if twin:
            yield Change("function", f"{token.text} becomes {twin}", 2.0, (Edit(token.start, token.end, "\\" + twin),))


def _structure(text: str, node: Node, vocabulary: Vocabulary) -> Iterator[Change]:
    written = text[node.start : node.end]
    if isinstance(node, ast.Mul):
        yield from _factors_lost(text, node)
    if isinstance(node, ast.Mul | ast.Div | ast.Big | ast.Call | ast.Sub | ast.Sym | ast.Deriv | ast.Pow):
        at = node.start
        for factor in ("2", "\\frac{1}{2}", *vocabulary.factors):
            if factor != written:
                space = " " if factor[-1:].isalpha() and text[at : at + 1].isalpha() else ""
                yield Change("factor", f"times {factor}", 1.6, (Edit(at, at, factor + space),))
        if not isinstance(node, ast.Sym):
            yield Change("sign", "a minus more", 1.5, (Edit(at, at, "-"),))
    if isinstance(node, ast.Sub | ast.Sym | ast.Call | ast.Norm | ast.Abs) and text[node.end : node.end + 1] != "^":
        yield Change("exponent", "squared", 1.7, (Edit(node.end, node.end, "^2"),))
    if (
        isinstance(node, ast.Call)
        and written.startswith("\\" + node.name)
        and "^" not in written[len(node.name) + 1 :][:1]
    ):
        at = node.start + 1 + len(node.name)
        yield Change("exponent", f"{node.name} squared", 1.4, (Edit(at, at, "^2"),))
    if vocabulary.matrices and isinstance(node, ast.Sub | ast.Sym | ast.Table) and text[node.end : node.end + 1] != "^":
        yield Change("transpose", "transposed", 1.4, (Edit(node.end, node.end, "^\\top"),))
    if isinstance(node, ast.Transpose):
        inner = node.arg
        if inner.end <= node.end and inner.start >= node.start:
            edit = Edit(inner.end, node.end, "")
            yield Change("transpose", "not transposed", 1.2, (edit,))
    if isinstance(node, ast.Div) and written.startswith(("\\frac", "\\dfrac", "\\tfrac")):
        top, bottom = text[node.left.start : node.left.end], text[node.right.start : node.right.end]
        if top and bottom and node.left.start > node.start:
            edits = (Edit(node.left.start, node.left.end, bottom), Edit(node.right.start, node.right.end, top))
            yield Change("fraction", "the fraction turned over", 1.9, edits)
            for factor in vocabulary.factors:
                edit = Edit(node.right.start, node.right.start, factor + " ")
                yield Change("factor", f"{factor} below the bar", 2.1, (edit,))
    if isinstance(node, ast.Call) and len(node.args) == 1 and node.name in ("log", "exp"):
        inner = node.args[0]
        if inner.start >= 0 and inner.end <= node.end:
            edit = Edit(node.start, inner.start, "")
            yield Change("function", f"without {node.name}", 2.2, (edit,))
        yield Change("function", "with a logarithm", 2.3, (Edit(node.start, node.start, "\\log "),))


def _factors_lost(text: str, node: ast.Mul) -> Iterator[Change]:
    left, right = node.left, node.right
    if 0 <= left.end <= right.start:
        lost = Edit(left.end, right.end, "")
        yield Change("factor", f"without the factor {text[right.start : right.end].strip()}", 1.8, (lost,))
        if not text[left.start : left.end].endswith("_"):
            first = Edit(left.start, right.start, "")
            yield Change("factor", f"without the factor {text[left.start : left.end].strip()}", 1.8, (first,))


def _names(tokens: list[Token], vocabulary: Vocabulary) -> Iterator[Change]:
    for index, token in enumerate(tokens):
        if token.kind not in ("letter", "name") or _is_subscript(tokens, index):
            continue
        before = tokens[index - 1] if index else None
        if before is not None and (before.kind in ("sub", "sup") or before.text == "partial"):
            continue
        for name in vocabulary.names:
            if name != _written(token) and _written(token) in vocabulary.names:
                edit = Edit(token.start, token.end, name)
                yield Change("name", f"{token.text} becomes {name.lstrip(chr(92))}", 2.4, (edit,))


def _written(token: Token) -> str:
    return token.text if len(token.text) == 1 else "\\" + token.text


def vocabulary_of(text: str, nodes: Iterable[Node], indices: Iterable[str], names: Iterable[str]) -> Vocabulary:
    """What the sides of a chain are made of: their indices, single names, and the factors of their terms."""
    factors: dict[str, None] = {}
    matrices = False
    for node in nodes:
        for here in ast.walk(node):
            matrices = matrices or isinstance(here, ast.Transpose | ast.Norm | ast.Grad)
            if isinstance(here, ast.Mul):
                for part in (here.left, here.right):
                    written = text[part.start : part.end].strip() if part.start >= 0 else ""
                    if 0 < len(written) <= 40 and not isinstance(part, ast.Mul | ast.Add | ast.Neg):
                        factors.setdefault(written)
            elif isinstance(here, ast.Sub | ast.Sym) and here.start >= 0:
                written = text[here.start : here.end].strip()
                if 0 < len(written) <= 12:
                    factors.setdefault(written)
    written_names = tuple(
        name if len(name) == 1 else "\\" + name for name in sorted(names) if name.isalpha() and name != "e"
    )
    return Vocabulary(tuple(sorted(indices)), written_names, tuple(factors)[:14], matrices)
