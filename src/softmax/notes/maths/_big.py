"""Sums, products, maxima, integrals, expectations and probabilities: signs that bind names."""

from __future__ import annotations

from . import _ast as ast
from ._ast import Node
from ._errors import MalformedError
from ._names import RELATIONS
from ._parse import Parser, split_top, symbol_name, top_level
from ._scripts import subscript
from ._tokens import Token

_ENDS = frozenset({"amp", "row", "close", "rbrace", "end", "quad", "text"})


def _scripts(p: Parser) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    lower = upper = None
    while (token := p.peek()) is not None and token.kind in ("sub", "sup"):
        p.at += 1
        found = p.argument()
        if token.kind == "sub":
            lower = found
        else:
            upper = found
    return lower, upper


def big_operator(p: Parser) -> Node:
    r"""Read \sum, \prod, or \max and \min with something below."""
    token = p.peek()
    assert token is not None
    start, op = token.start, token.text
    p.at += 1
    below, above = _scripts(p)
    names: list[str] = []
    where: list[Node] = []
    lower: Node | None = None
    if below is not None:
        names, lower, where = p.within(*below, lambda: _bound_names(p), empty=f"the bounds of \\{op} are missing")
    else:
        raise p.unknown(f"\\{op} without an index", token)
    upper = None
    if above is not None:
        upper = p.within(*above, p.expression, empty=f"the upper bound of \\{op} is missing")
    if p.ends() and not p.is_sign():
        raise MalformedError(f"there is nothing under \\{op}", start, p.last_end())
    body = p.signed_term()
    while p.is_sign() and op in ("sum", "prod") and _names_again(p, names):
        p.reading.ambiguous.add("sum")
        if "sum" not in p.reading.wide:
            break
        sign = 1 if p.is_char("+") else -1
        p.at += 1
        body = ast.Add(body, p.term(), sign, start=body.start, end=p.last_end())
    return ast.Big(op, tuple(names), lower, upper, tuple(where), body, start=start, end=p.last_end())


def _names_again(p: Parser, names: list[str]) -> bool:
    """Whether the term behind the sign here uses a bound name: then the sum may have been meant to go on."""
    for index in top_level(p, p.at + 1, p.stop):
        token = p.tokens[index]
        if (token.kind == "char" and token.text in "+-,;") or token.kind in _ENDS:
            return False
        if token.kind == "macro" and (token.text in RELATIONS or token.text in ("sum", "prod")):
            return False
        if token.kind == "lbrace":
            inside = p.tokens[index : p.matching(index)]
            if any(part.kind == "letter" and symbol_name(part) in names for part in inside):
                return True
        if token.kind == "letter" and symbol_name(token) in names:
            return True
    return False


def _bound_names(p: Parser) -> tuple[list[str], Node | None, list[Node]]:
    names: list[str] = []
    where: list[Node] = []
    lower: Node | None = None
    while (token := p.peek()) is not None:
        if (token.kind == "char" and token.text in ",;:") or token.kind in ("row", "quad", "bar", "lbrace", "rbrace"):
            p.at += 1
            continue
        if token.kind == "macro" and token.text in ("substack", "mid"):
            p.at += 1
            continue
        here = p.at
        left = p.expression()
        operator = p.peek()
        relation = RELATIONS.get(operator.text) if operator and operator.kind in ("char", "macro") else None
        if relation is None:
            names += [name for name in _names(left, p, token) if name not in names]
            continue
        p.at += 1
        if relation in ("in", "other"):
            names += [name for name in _names(left, p, token) if name not in names]
            while not (p.peek() is None or p.is_char(",")):
                p.at += 1
            continue
        right = p.expression()
        if relation == "=" and not names and isinstance(left, ast.Sym):
            names.append(left.name)
            lower = right
            continue
        if not names:
            names += _names(left, p, p.tokens[here])
        where.append(ast.Rel(relation, left, right, start=left.start, end=right.end))
        chained = p.peek()
        if chained is not None and RELATIONS.get(chained.text) in ("<", "leq", "neq"):
            p.at += 1
            more = p.expression()
            where.append(ast.Rel(RELATIONS[chained.text], right, more, start=right.start, end=more.end))
            names[:] = _names(right, p, p.tokens[here])
    return names, lower, where


def _names(node: Node, p: Parser, token: Token) -> list[str]:
    if isinstance(node, ast.Sym):
        return [node.name]
    if isinstance(node, ast.Mul):  # \sum_{ij}
        return _names(node.left, p, token) + _names(node.right, p, token)
    raise p.unknown("an index was expected here", token)


def integral(p: Parser) -> Node:
    r"""Read \int with or without bounds; its differential ends the integrand."""
    token = p.peek()
    assert token is not None
    p.at += 1
    below, above = _scripts(p)
    lower = upper = None
    if below is not None and above is not None:
        lower = p.within(*below, p.expression, empty="the lower bound is missing")
        upper = p.within(*above, p.expression, empty="the upper bound is missing")
    if p.is_differential():
        name = _differential(p)
        body = p.signed_term()
        return ast.Integral(name, lower, upper, body, start=token.start, end=p.last_end())
    p.integrals += 1
    if p.ends() and not p.is_sign():
        raise MalformedError("there is nothing under the integral", token.start, token.end)
    body = p.expression()
    p.integrals -= 1
    if not p.is_differential():
        raise MalformedError("the integral lacks its differential, such as dx", token.start, p.last_end())
    name = _differential(p)
    return ast.Integral(name, lower, upper, body, start=token.start, end=p.last_end())


def _differential(p: Parser) -> str:
    variable = p.peek(1)
    assert variable is not None
    p.at += 2
    return symbol_name(variable)


def expectation(p: Parser, op: str) -> Node:
    """Read an expectation, variance or covariance with its law and its brackets."""
    from ._factors import factor

    token = p.peek()
    assert token is not None
    p.at += 1
    over: tuple[str, ...] = ()
    law = ""
    if (script := p.peek()) is not None and script.kind == "sub":
        p.at += 1
        low, high = p.argument()
        over, law = _law(p.tokens[low:high])
    opening = p.peek()
    if opening is None or p.ends():
        raise MalformedError(f"{token.text} lacks its argument", token.start, token.end)
    if opening.kind not in ("open", "lbrace"):
        arg = factor(p)
        return ast.Expect(op, (arg,), over, law, start=token.start, end=p.last_end())
    close = p.matching(p.at)
    conditional = [i for i in range(p.at, close) if p.tokens[i].text == "mid" or p.tokens[i].text == "|"]
    if len(conditional) % 2 == 1:
        raise p.unknown("conditional expectations are not evaluated", p.tokens[conditional[0]])
    parts = split_top(p, p.at + 1, close, ",")
    args = tuple(p.within(low, high, p.expression, empty="the expectation is empty") for low, high in parts)
    p.at = close + 1
    return ast.Expect(op, args, over, law, start=token.start, end=p.last_end())


def _law(tokens: list[Token]) -> tuple[tuple[str, ...], str]:
    """What stands below an expectation: names before a tilde, the letter of the law after it."""
    names: list[str] = []
    for index, token in enumerate(tokens):
        if token.text in ("sim", "~"):
            after = tokens[index + 1] if index + 1 < len(tokens) else None
            return tuple(names), symbol_name(after) if after is not None and after.kind in ("letter", "name") else ""
        if token.kind == "letter":
            names.append(symbol_name(token))
    if len(names) == 1 and names[0] in ("p", "q", "P", "pi", "r"):
        return (), names[0]
    return tuple(names), ""


# --- probabilities ---


def probability(p: Parser, name: str) -> Node:
    """Read P(events | events)."""
    token = p.peek()
    assert token is not None
    p.at += 1
    if (script := p.peek()) is not None and script.kind in ("sub", "sup"):
        raise p.unknown("a probability with a script of its own", script)
    opening = p.peek()
    if opening is None or opening.kind != "open":
        raise p.unknown(f"no meaning is known for {name} without parentheses", token)
    close = p.matching(p.at)
    bars = [i for i in top_level(p, p.at + 1, close) if p.tokens[i].text in ("|", "mid")]
    if len(bars) > 1:
        raise p.unknown("two bars in one probability", p.tokens[bars[1]])
    middle = bars[0] if bars else close
    events = p.within(p.at + 1, middle, lambda: _events(p), empty="a probability of nothing")
    given: tuple[ast.Event, ...] = ()
    if bars:
        given = p.within(middle + 1, close, lambda: _events(p), empty="nothing is given after the bar")
    p.at = close + 1
    return ast.Prob(name, events, given, start=token.start, end=p.last_end())


def _events(p: Parser) -> tuple[ast.Event, ...]:
    out: list[ast.Event] = []
    while p.peek() is not None:
        out.append(_either(p))
        if p.is_char(",") or p.is_char(";"):
            p.at += 1
    return tuple(out)


def _either(p: Parser) -> ast.Event:
    value = _single(p)
    while p.is_macro("cap", "cup", "wedge", "vee"):
        token = p.peek()
        assert token is not None
        p.at += 1
        op = "and" if token.text in ("cap", "wedge") else "or"
        value = ast.Event(op, (value, _single(p)), start=value.start, end=p.last_end())
    return value


def _single(p: Parser) -> ast.Event:
    token = p.peek()
    if token is None:
        raise p.missing("an event is missing")
    if p.is_macro("neg"):
        p.at += 1
        return ast.Event("not", (_single(p),), start=token.start, end=p.last_end())
    if token.kind == "open":
        close = p.matching(p.at)
        value = p.within(p.at + 1, close, lambda: _either(p))
        p.at = close + 1
        return _complement(p, value)
    if token.kind not in ("letter", "name"):
        raise p.unknown("an event was expected", token)
    p.at += 1
    name = symbol_name(token)
    negated = name.startswith("bar:")
    name = name.removeprefix("bar:")
    index: tuple[Node, ...] = ()
    if (script := p.peek()) is not None and script.kind == "sub":
        words, index = subscript(p)
        name += "".join("_" + word for word in words)
        if len(index) > 1:
            raise p.unknown("an event with several indices", script)
        if index and isinstance(index[0], ast.Num):
            name, index = f"{name}_{index[0].text}", ()
    if p.is_char("="):
        p.at += 1
        held = p.signed_term()
        name = name.lower() if len(name) == 1 else name
        if isinstance(held, ast.Sym) and held.name == name:
            return ast.Event("var", (name,), start=token.start, end=p.last_end())
        return ast.Event("at", (name, held), start=token.start, end=p.last_end())
    event = ast.Event("at", (name, index[0])) if index else ast.Event("var", (name,))
    event = _complement(p, event)
    return ast.Event("not", (event,), start=token.start, end=p.last_end()) if negated else event


def _complement(p: Parser, event: ast.Event) -> ast.Event:
    token, following = p.peek(), p.peek(1)
    if token is not None and token.kind == "sup" and following is not None:
        if following.text in ("c", "complement"):
            p.at += 2
            return ast.Event("not", (event,), start=event.start, end=p.last_end())
        raise p.unknown("an event with a superscript", token)
    return event
