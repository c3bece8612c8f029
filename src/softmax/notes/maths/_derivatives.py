r"""Fractions, and derivatives written as such: \frac{\partial f}{\partial x}, \frac{d}{dx} f, \partial_x f, \nabla_x f.

What lacks a ∂ above or below is read as if it had it, and noted as a problem with the edit that adds it.
"""

from __future__ import annotations

from . import _ast as ast
from ._ast import Node
from ._errors import Edit, MalformedError
from ._parse import Parser, Problem, symbol_name, top_level
from ._scripts import subscript
from ._tokens import Token


def fraction(p: Parser) -> Node:
    r"""Read \frac: a quotient or a derivative."""
    start = p.position()
    p.at += 1
    above, below = p.argument(), p.argument()
    end = p.last_end()
    for (low, high), which in ((above, "numerator"), (below, "denominator")):
        if low >= high:
            raise MalformedError(f"the {which} of the fraction is missing", start, end)
    partial_above, partial_below = _is_partial(p, above[0]), _is_partial(p, below[0])
    if partial_above or partial_below:
        return _derivative(p, start, end, above, below, "partial")
    if _is_d(p, above) and _is_d(p, below) and below[1] - below[0] > 1:
        return _derivative(p, start, end, above, below, "d")
    top = p.within(*above, p.expression)
    bottom = p.within(*below, p.expression)
    return ast.Div(top, bottom, start=start, end=end)


def _is_partial(p: Parser, at: int) -> bool:
    token = p.tokens[at]
    if token.kind == "macro" and token.text == "partial":
        following = p.tokens[at + 1] if at + 1 < len(p.tokens) else None
        return following is None or following.kind != "sub"
    return False


def _is_d(p: Parser, argument: tuple[int, int]) -> bool:
    token = p.tokens[argument[0]]
    return token.kind == "letter" and token.text == "d" and (token.style in ("", "rm"))


def _derivative(p: Parser, start: int, end: int, above: tuple[int, int], below: tuple[int, int], sign: str) -> Node:
    sign_text = "\\partial " if sign == "partial" else "d"
    what = "∂" if sign == "partial" else "d"
    if sign == "partial" and not _is_partial(p, below[0]):
        at = p.tokens[below[0]].start
        whole = (p.tokens[below[0]].start, p.tokens[below[1] - 1].end)
        p.reading.problems.append(
            Problem("the ∂ below the bar of a derivative is missing", *whole, (Edit(at, at, sign_text),))
        )
        if not _looks_like_variable(p, below):
            raise MalformedError("the ∂ below the bar of a derivative is missing", *whole)
        variables, orders = [p.within(*below, lambda: _variable(p))], [1]
    else:
        variables, orders = p.within(*below, lambda: _variables(p, sign), empty="the variable is missing")
    order, low, high = 1, above[0], above[1]
    if sign == "partial" and not _is_partial(p, low):
        first, last = p.tokens[low].start, p.tokens[high - 1].end
        power = f"^{sum(orders)}" if sum(orders) > 1 else ""
        whole_sum = any(p.tokens[i].text in ("+", "-") for i in top_level(p, low, high))
        edits: tuple[Edit, ...] = (Edit(first, first, "\\partial" + power + " " + ("\\left(" if whole_sum else "")),)
        if whole_sum:
            edits = (*edits, Edit(last, last, "\\right)"))
        p.reading.problems.append(Problem("the ∂ above the bar of a derivative is missing", start, end, edits))
        order = sum(orders)
    else:
        low += 1
        order, low = _order(p, low, high)
        if order != sum(orders):
            raise MalformedError(f"a derivative of order {order} above the bar and {sum(orders)} below", start, end)
    wrt = tuple(variable for variable, times in zip(variables, orders, strict=True) for _ in range(times))
    if low < high:
        body = p.within(low, high, p.expression)
    else:
        if p.ends():
            raise MalformedError(f"{what}/{what}x stands before nothing", start, end)
        body = p.signed_term()
        end = p.last_end()
    return ast.Deriv(body, wrt, start=start, end=end)


def _looks_like_variable(p: Parser, argument: tuple[int, int]) -> bool:
    low, high = argument
    token = p.tokens[low]
    return token.kind in ("letter", "name") and (high - low == 1 or p.tokens[low + 1].kind == "sub")


def _order(p: Parser, low: int, high: int) -> tuple[int, int]:
    """The order written as a power after the first ∂, and where the function starts."""
    if low < high and p.tokens[low].kind == "sup":
        at = low + 1
        if at < high and p.tokens[at].kind == "num":
            return int(float(p.tokens[at].text)), at + 1
        if at + 2 < high + 1 and p.tokens[at].kind == "lbrace" and p.tokens[at + 1].kind == "num":
            return int(float(p.tokens[at + 1].text)), at + 3
        raise p.unknown("an order that is no number", p.tokens[low])
    return 1, low


def _variables(p: Parser, sign: str) -> tuple[list[Node], list[int]]:
    variables: list[Node] = []
    orders: list[int] = []
    while (token := p.peek()) is not None:
        is_sign = token.text == ("partial" if sign == "partial" else "d")
        if not is_sign:
            raise p.unknown("a variable with its ∂ was expected below the bar", token)
        p.at += 1
        if p.peek() is None:
            raise MalformedError("the variable after ∂ is missing", token.start, token.end)
        variables.append(_variable(p))
        times = 1
        script = p.peek()
        if script is not None and script.kind == "sup":
            p.at += 1
            low, high = p.argument()
            inner = p.tokens[low:high]
            if len(inner) == 1 and inner[0].kind == "num":
                times = int(float(inner[0].text))
            elif len(inner) == 1 and inner[0].text in ("top", "T"):
                times = 1
            else:
                raise p.unknown("an order that is no number", script)
        orders.append(times)
    if not 0 < sum(orders) <= 4:
        raise MalformedError("a derivative has an order of 1 to 4", p.position(), p.position())
    return variables, orders


def _variable(p: Parser) -> Node:
    """A name, with indices perhaps."""
    token = p.peek()
    if token is not None and token.kind == "lbrace":
        low, high = p.argument()
        return p.within(low, high, lambda: _variable(p), empty="the variable is missing")
    if token is None or token.kind not in ("letter", "name"):
        raise p.unknown("a derivative by something that is no variable", token)
    p.at += 1
    value: Node = _symbol(token)
    while (script := p.peek()) is not None and script.kind == "sub":
        words, index = subscript(p)
        if words and isinstance(value, ast.Sym):
            value = ast.Sym(value.name + "".join("_" + word for word in words), value.style, start=token.start)
        if index:
            value = ast.Sub(value, index, start=token.start, end=p.last_end())
    return value


def _symbol(token: Token) -> ast.Sym:
    style = "bold" if "bold" in token.style else token.style
    return ast.Sym(symbol_name(token), style, start=token.start, end=token.end)


def partial(p: Parser) -> Node:
    r"""Read \partial_x f."""
    token = p.peek()
    assert token is not None
    p.at += 1
    script = p.peek()
    if script is None or script.kind != "sub":
        raise MalformedError("∂ stands alone: neither in a fraction nor with a variable below", token.start, token.end)
    p.at += 1
    low, high = p.argument()
    variable = p.within(low, high, lambda: _variable(p), empty="the variable after ∂ is missing")
    if p.ends():
        raise MalformedError("∂ stands before nothing", token.start, p.last_end())
    body = p.signed_term()
    if isinstance(body, ast.Deriv) and token.text == "partial":
        return ast.Deriv(body.body, (variable, *body.wrt), start=token.start, end=p.last_end())
    return ast.Deriv(body, (variable,), start=token.start, end=p.last_end())


def nabla(p: Parser) -> Node:
    r"""Read \nabla_x f, \nabla^2 f."""
    token = p.peek()
    assert token is not None
    p.at += 1
    wrt: Node | None = None
    order = 1
    while (script := p.peek()) is not None and script.kind in ("sub", "sup"):
        p.at += 1
        low, high = p.argument()
        if script.kind == "sub":
            wrt = p.within(low, high, lambda: _variable(p), empty="the variable below ∇ is missing")
        elif [t.text for t in p.tokens[low:high]] == ["2"]:
            order = 2
        else:
            raise p.unknown("no meaning is known for this power of ∇", script)
    if p.is_macro("cdot", "times", "top"):
        raise p.unknown("divergence and rotation are not evaluated", p.peek())
    if p.ends():
        raise MalformedError("∇ stands before nothing", token.start, p.last_end())
    body = p.signed_term()
    return ast.Grad(body, wrt, order, start=token.start, end=p.last_end())
