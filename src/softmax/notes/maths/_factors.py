"""What can stand at a factor: names with their scripts, functions, brackets, fractions, derivatives, big operators."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from . import _ast as ast
from ._ast import Node
from ._big import big_operator, expectation, integral, probability
from ._derivatives import fraction, nabla, partial
from ._errors import MalformedError, NotUnderstoodError
from ._indicators import indicator, kronecker, opens_condition, subscript_condition
from ._names import BIG, EXPECTATIONS, INDICATORS, PROBABILITIES, RELATIONS, canonical
from ._parse import CLOSING, Parser, split_top, symbol_name, top_level
from ._scripts import primes, scripted, subscript
from ._tables import environment
from ._tokens import Token

_SIMPLE = frozenset({"num", "letter"})


def factor(p: Parser) -> Node:
    """Read one factor with its scripts."""
    p.deeper()
    value = scripted(p, _base(p))
    p.depth -= 1
    return value


def _base(p: Parser) -> Node:
    token = p.peek()
    if token is None:
        raise p.missing("an operand is missing")
    if token.kind == "num":
        if token.text == "1" and opens_condition(p, 1):
            return indicator(p)
        p.at += 1
        return p.number(token)
    if token.kind in ("letter", "name"):
        return _named(p, token)
    if token.kind == "lbrace":
        low, high = p.argument()
        if low == high:
            return _empty(p, token)
        value = p.within(low, high, p.expression)
        return replace(value, start=token.start, end=p.last_end())
    if token.kind == "open":
        return _bracketed(p, token)
    if token.kind == "bar":
        return _barred(p, token)
    if token.kind == "begin":
        return environment(p)
    if token.kind == "macro":
        return _macro(p, token)
    raise p.unknown(f"no meaning is known for {token.text}", token)


def _empty(p: Parser, token: Token) -> Node:
    """Empty braces, {}, hold up a script and mean nothing: as a factor, one."""
    if p.peek() is None or not p.starts_factor():
        raise MalformedError("an expression is missing between the braces", token.start, p.last_end())
    return factor(p)


def _macro(p: Parser, token: Token) -> Node:
    name = token.text
    if name == "frac":
        return fraction(p)
    if name == "sqrt":
        return _root(p)
    if name == "binom":
        return _binomial(p)
    if name in BIG and (name in ("sum", "prod") or _has_script(p)):
        return big_operator(p)
    if name == "int":
        return integral(p)
    if name == "nabla":
        return nabla(p)
    if name == "partial":
        return partial(p)
    if name == "infty":
        p.at += 1
        return ast.Inf(start=token.start, end=token.end)
    if name in ("Pr",):
        return probability(p, "p")
    if name in ("max", "min"):
        p.at += 1
        return ast.Call(name, _arguments(p, token), start=token.start, end=p.last_end())
    if name == "arg":
        raise p.unknown("arg max gives a place and not a value; it is not evaluated", token)
    known = canonical(name)
    if known is not None:
        return _function(p, token, known)
    if name in RELATIONS:
        raise p.unknown(f"no meaning is known for \\{name}", token)
    if name == "dots":
        raise p.unknown("dots leave out what stands between", token)
    raise p.unknown(f"no meaning is known for \\{name}", token)


def _has_script(p: Parser) -> bool:
    following = p.peek(1)
    return following is not None and following.kind in ("sub", "sup")


def _root(p: Parser) -> Node:
    start = p.position()
    p.at += 1
    degree: Node | None = None
    token = p.peek()
    if token is not None and token.kind == "open" and token.text == "[":
        close = p.matching(p.at)
        degree = p.within(p.at + 1, close, p.expression, empty="the degree of the root is missing")
        p.at = close + 1
    low, high = p.argument()
    inner = p.within(low, high, p.expression, empty="the argument of the root is missing")
    end = p.last_end()
    if degree is None:
        return ast.Call("sqrt", (inner,), start=start, end=end)
    one = ast.Num(Fraction(1), "1", start=start, end=end)
    return ast.Pow(inner, ast.Div(one, degree, start=start, end=end), start=start, end=end)


def _binomial(p: Parser) -> Node:
    start = p.position()
    p.at += 1
    parts = []
    for _ in range(2):
        low, high = p.argument()
        parts.append(p.within(low, high, p.expression, empty="a part of the binomial coefficient is missing"))
    return ast.Call("binom", tuple(parts), start=start, end=p.last_end())


# --- names ---


def _named(p: Parser, token: Token) -> Node:
    name = symbol_name(token)
    after = p.peek(1)
    opens = after is not None and after.kind == "open"
    if name in INDICATORS and (opens_condition(p, 1) or subscript_condition(p)):
        return indicator(p)
    if name == "delta" and after is not None and after.kind == "sub" and (value := kronecker(p)) is not None:
        return value
    if name in EXPECTATIONS and _is_expectation(p, token, name):
        return expectation(p, EXPECTATIONS[name])
    if name in PROBABILITIES and opens and _is_probability(p, name):
        return probability(p, {"Pr": "p", "bb:P": "p"}.get(name, name.lower()))
    if token.kind == "name":
        if name in ("D", "DKL"):
            return _divergence(p, token)
        if token.text == "1":
            p.at += 1
            return ast.Sym("ones", "bold", start=token.start, end=token.end)
        if name in ("max", "min"):
            return big_operator(p) if _has_script(p) else _called(p, token, name)
        known = canonical(token.text)
        if known is not None and (known not in ("abs",) or opens):
            return _function(p, token, known)
    if name == "D" and _is_divergence(p):
        return _divergence(p, token)
    if name in p.reading.functions:
        return _called(p, token, name)
    p.at += 1
    return ast.Sym(name, "bold" if "bold" in token.style else token.style, start=token.start, end=token.end)


def _called(p: Parser, token: Token, name: str) -> Node:
    """A function by its letter: with primes, a subscript and arguments; without arguments it stands for its value."""
    p.at += 1
    order = primes(p)
    label: tuple[Node, ...] = ()
    following = p.peek()
    if following is not None and following.kind == "sub":
        kept = p.at
        words, index = subscript(p)
        name, label = name + "".join("_" + word for word in words), index
        order += primes(p)
        following = p.peek()
        if following is None or following.kind != "open":
            p.at = kept
            name, label = symbol_name(token), ()
    power = _power_before_arguments(p)
    following = p.peek()
    if following is None or following.kind != "open" or following.text not in "([":
        if order:
            return ast.Call(name, (), order, start=token.start, end=p.last_end())
        return ast.Sym(name, token.style, start=token.start, end=p.last_end())
    value: Node = ast.Call(name, _arguments(p, token), order, start=token.start, end=p.last_end())
    if label:
        value = ast.Sub(value, label, start=token.start, end=p.last_end())
    return value if power is None else ast.Pow(value, power, start=token.start, end=p.last_end())


def _power_before_arguments(p: Parser) -> Node | None:
    """The exponent in f^2(x), if an argument follows it."""
    token = p.peek()
    if token is None or token.kind != "sup":
        return None
    kept = p.at
    p.at += 1
    low, high = p.argument()
    following = p.peek()
    if following is None or following.kind != "open" or following.text != "(":
        p.at = kept
        return None
    return p.within(low, high, p.expression, empty="the exponent is missing")


def _function(p: Parser, token: Token, name: str) -> Node:
    """A known function: scripts on its name, then its argument, with or without parentheses."""
    p.at += 1
    power: Node | None = None
    index: tuple[Node, ...] = ()
    order = primes(p)
    base: Node | None = None
    while (script := p.peek()) is not None and script.kind in ("sup", "sub"):
        if script.kind == "sup":
            p.at += 1
            low, high = p.argument()
            power = p.within(low, high, p.expression, empty="the exponent is missing")
        elif name == "log":
            p.at += 1
            low, high = p.argument()
            base = p.within(low, high, p.expression, empty="the base of the logarithm is missing")
        else:
            _, index = subscript(p)
    if power == ast.Num(Fraction(-1)) or power == ast.Neg(ast.Num(Fraction(1))):
        inverse = {"sin": "arcsin", "cos": "arccos", "tan": "arctan", "tanh": "artanh", "sigmoid": "logit"}.get(name)
        if inverse is None:
            raise p.unknown(f"{token.text}^-1 can be an inverse or a power", token)
        name, power = inverse, None
    args = _function_arguments(p, token, name)
    end = p.last_end()
    if base is not None:
        args, name = (base, *args), "logbase"
    value: Node = ast.Call(name, args, order, start=token.start, end=end)
    if index:
        value = ast.Sub(value, index, start=token.start, end=end)
    if power is not None:
        value = ast.Pow(value, power, start=token.start, end=end)
    return value


def _function_arguments(p: Parser, token: Token, name: str) -> tuple[Node, ...]:
    following = p.peek()
    if following is None or p.ends():
        raise MalformedError(f"{token.text} lacks its argument", token.start, token.end)
    if following.kind == "open" and following.text in "([{":
        return _arguments(p, token)
    if following.kind == "lbrace":
        low, high = p.argument()
        if low < high:
            inner = p.within(low, high, p.expression)
            return (inner,)
        raise MalformedError(f"{token.text} lacks its argument", token.start, p.last_end())
    if not p.starts_factor():
        raise MalformedError(f"{token.text} lacks its argument", token.start, token.end)
    start = p.position()
    value = factor(p)
    many = "argument" in p.reading.wide
    while (more := p.peek()) is not None and _goes_on(p, more):
        if not isinstance(value, ast.Num) and not many:
            p.reading.ambiguous.add("argument")
            break
        if not _is_number(value):
            p.reading.ambiguous.add("argument")
            if not many:
                break
        value = ast.Mul(value, factor(p), "", start=start, end=p.last_end())
    return (value,)


def _is_number(value: Node) -> bool:
    """Whether all of it is a number times at most one more factor: sin 2x is sin of 2x beyond doubt."""
    return isinstance(value, ast.Num) or (isinstance(value, ast.Mul) and _is_number(value.left))


def _goes_on(p: Parser, token: Token) -> bool:
    """Whether an argument without parentheses may go on with this token."""
    if token.kind in _SIMPLE:
        return p.starts_factor() and symbol_name(token) not in p.reading.functions
    return token.kind == "macro" and token.text in ("frac", "sqrt")


def _arguments(p: Parser, token: Token) -> tuple[Node, ...]:
    """Arguments in brackets, separated by commas, semicolons or bars."""
    opening = p.peek()
    if opening is None or opening.kind not in ("open", "lbrace"):
        raise MalformedError(f"{token.text} lacks its argument", token.start, token.end)
    close = p.matching(p.at)
    parts = split_top(p, p.at + 1, close)
    values = tuple(
        p.within(low, high, p.expression, empty=f"an argument of {token.text} is missing") for low, high in parts
    )
    p.at = close + 1
    return values


# --- brackets ---


def _bracketed(p: Parser, token: Token) -> Node:
    close = p.matching(p.at)
    closing = p.tokens[close]
    fits = CLOSING.get(token.text, ")")
    if closing.text != fits and "." not in (token.text, closing.text):
        raise p.unknown(f"{token.text} is closed by {closing.text}", token)
    if token.text in "⟨⌊⌈." or closing.text == ".":
        raise p.unknown(f"no meaning is known for {token.text}…{closing.text}", token)
    if token.text == "[" and opens_condition(p, 0):
        condition = p.within(p.at + 1, close, p.condition)
        p.at = close + 1
        return ast.Iverson(condition, start=token.start, end=p.last_end())
    if token.text in ("|", "‖"):
        inner = p.within(p.at + 1, close, p.expression, empty="an expression is missing between the bars")
        p.at = close + 1
        return _norm(p, token, inner)
    if len(split_top(p, p.at + 1, close, ",")) > 1:
        raise p.unknown("a list in parentheses", token)
    inner = p.within(p.at + 1, close, p.expression, empty="an expression is missing between the brackets")
    p.at = close + 1
    return replace(inner, start=token.start, end=p.last_end())


def _barred(p: Parser, token: Token) -> Node:
    p.at += 1
    p.bars.append(token.text)
    integrals, p.integrals = p.integrals, 0
    inner = p.expression()
    p.integrals = integrals
    closing = p.peek()
    if closing is None or closing.kind != "bar" or closing.text != token.text:
        raise MalformedError(f"a closing {token.text} is missing", token.start, p.last_end())
    p.at += 1
    p.bars.pop()
    return _norm(p, token, inner)


def _norm(p: Parser, token: Token, inner: Node) -> Node:
    if token.text == "|":
        return ast.Abs(inner, start=token.start, end=p.last_end())
    kind, script = "2", p.peek()
    if script is not None and script.kind == "sub":
        p.at += 1
        low, high = p.argument()
        kind = "".join(part.text for part in p.tokens[low:high])
        if kind not in ("1", "2", "infty", "F"):
            raise p.unknown(f"no meaning is known for the norm {kind}", script)
    return ast.Norm(inner, kind, start=token.start, end=p.last_end())


# --- what only the arguments tell ---


def _is_divergence(p: Parser) -> bool:
    following = p.peek(1)
    if following is not None and following.kind == "sub":
        token = p.peek(2)
        inside = p.peek(3) if token is not None and token.kind == "lbrace" else token
        return inside is not None and inside.text.replace("\\", "").upper() in ("KL", "K")
    if following is not None and following.kind == "open" and "D" not in p.reading.symbols:
        try:
            close = p.matching(p.at + 1)
        except MalformedError:
            return False
        return any(p.tokens[i].text == "‖" for i in top_level(p, p.at + 2, close))
    return False


def _divergence(p: Parser, token: Token) -> Node:
    p.at += 1
    following = p.peek()
    if following is not None and following.kind == "sub":
        p.at += 1
        p.argument()
    args = _arguments(p, token)
    if len(args) != 2:
        raise NotUnderstoodError("a divergence has two arguments", token.start, p.last_end())
    return ast.Call("kl", args, start=token.start, end=p.last_end())


def _is_expectation(p: Parser, token: Token, name: str) -> bool:
    following = p.peek(1)
    if following is None:
        return False
    if name not in ("E", "V"):
        return following.kind in ("open", "sub", "letter", "lbrace") or following.kind == "macro"
    if following.kind == "sub":
        p.at += 1
        try:
            subscript_end = p.at + 1
            kept = p.at
            p.at += 1
            p.argument()
            subscript_end, p.at = p.at, kept
        except MalformedError:
            return False
        finally:
            p.at -= 1
        after = p.tokens[subscript_end] if subscript_end < p.stop else None
        return after is not None and after.kind == "open" and after.text == "["
    if following.kind != "open":
        return False
    inside = p.peek(2)
    return following.text == "[" or (
        inside is not None and inside.kind == "letter" and inside.text.isupper() and len(inside.text) == 1
    )


def _is_probability(p: Parser, name: str) -> bool:
    """Whether what stands in the parentheses are variables and conditions, and not the rest of a product."""
    close = p.matching(p.at + 1)
    if name in ("P", "Pr", "bb:P"):
        return p.at + 2 < close and p.tokens[p.at + 2].kind != "num"
    if name in p.reading.symbols and name != "Q":
        return False
    inside = [p.tokens[i] for i in top_level(p, p.at + 2, close)]
    plain = [
        t
        for t in inside
        if t.kind in ("letter", "name", "num", "bar", "sub", "sup", "lbrace", "rbrace")
        or t.text in ",;=|"
        or t.text == "mid"
    ]
    return bool(inside) and len(plain) == len(inside) and inside[0].kind in ("letter", "name")
