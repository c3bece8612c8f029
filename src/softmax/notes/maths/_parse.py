"""Tokens into a tree: precedence climbing over sums, products and what stands at a factor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeVar

from . import _ast as ast
from ._ast import Node
from ._errors import Edit, MalformedError, NotUnderstoodError
from ._names import ALWAYS, RELATIONS, STRONG_LETTERS, WEAK_LETTERS, words
from ._tokens import Token

T = TypeVar("T")
DEEPEST = 60
MOST_PARTS = 150  # terms of one sum, or factors of one product
CLOSING = {"(": ")", "[": "]", "{": "}", "⟨": "⟩", "⌊": "⌋", "⌈": "⌉", "‖": "‖", "|": "|", ".": "."}
_STOPS = frozenset({"close", "rbrace", "amp", "row", "end", "quad", "text"})
_OPERATORS = frozenset({"cdot", "times", "odot", "circ", "otimes", "*", "div", "/", "bullet"})


@dataclass(frozen=True, slots=True)
class Problem:
    """Something missing that could be read over: what, where, and the edit that it was read as."""

    text: str
    start: int
    end: int
    edits: tuple[Edit, ...]


@dataclass(slots=True)
class Reading:
    r"""How to read what can be read in two ways, and which of these came up.

    `functions`: letters that parentheses make a call. `wide`: ways taken in their wider sense: "argument" (``\log a b``
    is the logarithm of ab), "slash" (``a/bc`` divides by bc), "sum" (a sum goes on past +).
    """

    functions: frozenset[str] = frozenset()
    symbols: frozenset[str] = frozenset()
    wide: frozenset[str] = frozenset()
    ambiguous: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


def functions_in(tokens: list[Token], known: frozenset[str]) -> frozenset[str]:
    """Letters that are functions in these tokens: those known, and those written with arguments as functions are."""
    called: set[str] = set()
    bare: set[str] = set()
    plain: set[str] = set()  # called with names alone, or a capital letter with anything that begins with a name
    for index, token in enumerate(tokens):
        if token.kind not in ("letter", "name"):
            continue
        name = symbol_name(token)
        at = index + 1
        while at < len(tokens) and tokens[at].kind == "char" and tokens[at].text == "'":
            at += 1
        while at < len(tokens) and tokens[at].kind in ("sub", "sup"):
            at = _after_argument(tokens, at + 1)
        inside = _content(tokens, at)
        if inside and _looks_called(name, inside):
            called.add(name)
        else:
            bare.add(name)
        if inside and (_only_names(inside) or (name.isupper() and inside[0].kind == "letter")):
            plain.add(name)
    strong = {name for name in called if name in STRONG_LETTERS}
    weak = {name for name in called if name in WEAK_LETTERS and name not in bare}
    other = {name for name in plain & called - bare if token_is_letter(name)}
    return known | strong | weak | other


def token_is_letter(name: str) -> bool:
    """Whether a name may be that of a function by its form: one letter that stands for nothing else."""
    return (len(name) == 1 or name.partition(":")[2] != "") and name not in _NO_FUNCTIONS


def _only_names(inside: list[Token]) -> bool:
    return all(
        token.kind in ("letter", "name", "sub", "lbrace", "rbrace", "bar") or token.text in (",", ";", "mid")
        for token in inside
    )


def called_first(tokens: list[Token]) -> str | None:
    """The name of a function in a member that is nothing but its call with names: p(y), x(t), F(Z)_i."""
    if len(tokens) < 4 or tokens[0].kind not in ("letter", "name") or tokens[1].text != "(":
        return None
    inside = _content(tokens, 1)
    end = 2 + len(inside)
    if not inside or not _only_names(inside) or end >= len(tokens) or tokens[end].kind != "close":
        return None
    rest = tokens[end + 1 :]
    return symbol_name(tokens[0]) if not rest or rest[0].kind == "sub" else None


def _looks_called(name: str, inside: list[Token]) -> bool:
    """Whether what stands in the parentheses behind a letter is its argument and not a factor."""
    if name in ALWAYS:
        return True
    if name in STRONG_LETTERS:
        return not _is_sum(inside)
    first = inside[0]
    return (
        first.text == "-"
        or first.kind == "macro"
        or (first.kind in ("letter", "name", "lbrace") and not _is_sum(inside))
    )


def _after_argument(tokens: list[Token], at: int) -> int:
    if at >= len(tokens) or tokens[at].kind != "lbrace":
        return at + 1
    depth = 0
    for index in range(at, len(tokens)):
        depth += {"lbrace": 1, "rbrace": -1}.get(tokens[index].kind, 0)
        if depth == 0:
            return index + 1
    return len(tokens)


def _content(tokens: list[Token], at: int) -> list[Token]:
    """The tokens in the parentheses that open at `at`, as far as 40 of them."""
    if at >= len(tokens) or tokens[at].kind != "open" or tokens[at].text != "(":
        return []
    depth, out = 1, []
    for token in tokens[at + 1 : at + 41]:
        depth += {"open": 1, "close": -1}.get(token.kind, 0)
        if depth == 0:
            break
        out.append(token)
    return out


def _is_sum(inside: list[Token]) -> bool:
    """Whether it looks like the second factor of a product, such as 1 - p, and not like an argument."""
    return inside[0].kind == "num" and any(token.text in "+-" for token in inside[1:])


def symbol_name(token: Token) -> str:
    """The name of a letter's symbol: accents and script styles belong to it, bold and roman do not."""
    style = token.style.replace("bold", "").replace("rm", "")
    if style in ("cal", "bb"):
        style += ":"
    return style + token.text


class Parser:
    """Reads the tokens from `at` to `stop`; `parse` reads all of them."""

    def __init__(self, tokens: list[Token], reading: Reading) -> None:
        self.tokens, self.reading = _digits_apart(tokens), reading
        self.at, self.stop = 0, len(self.tokens)
        self.bars: list[str] = []
        self.depth = 0
        self.integrals = 0

    # --- tokens ---

    def peek(self, ahead: int = 0) -> Token | None:
        return self.tokens[self.at + ahead] if self.at + ahead < self.stop else None

    def is_char(self, text: str, ahead: int = 0) -> bool:
        token = self.peek(ahead)
        return token is not None and token.kind == "char" and token.text == text

    def is_macro(self, *names: str) -> bool:
        token = self.peek()
        return token is not None and token.kind == "macro" and token.text in names

    def position(self) -> int:
        """Where the next token starts; at the end, where the last one ended."""
        token = self.peek()
        if token is not None:
            return token.start
        return self.tokens[self.stop - 1].end if self.stop else 0

    def last_end(self) -> int:
        return self.tokens[self.at - 1].end if self.at else self.position()

    def missing(self, what: str, start: int | None = None) -> MalformedError:
        at = self.position() if start is None else start
        return MalformedError(what, at, max(self.position(), at))

    def unknown(self, what: str, token: Token | None) -> NotUnderstoodError:
        return NotUnderstoodError(what, token.start if token else self.position(), token.end if token else -1)

    def within(self, low: int, high: int, read: Callable[[], T], *, empty: str = "") -> T:
        """Read the tokens low to high, all of them, and come back."""
        kept = self.at, self.stop, self.bars
        self.at, self.stop, self.bars = low, high, []
        if low >= high and empty:
            start = self.tokens[low - 1].start if low else 0
            raise MalformedError(empty, start, self.tokens[min(high, len(self.tokens) - 1)].end)
        value = read()
        self.finish()
        self.at, self.stop, self.bars = kept
        return value

    def finish(self) -> None:
        """Raise unless all tokens have been read."""
        token = self.peek()
        if token is None:
            return
        if token.kind in ("close", "rbrace"):
            raise MalformedError(f"there is no opening bracket for {token.text}", token.start, token.end)
        if token.kind == "text":
            raise self.unknown(f"words within a formula: {token.text.strip()!r}", token)
        raise self.unknown(f"no meaning is known for {_shown(token)} here", token)

    def argument(self) -> tuple[int, int]:
        """Take one argument and return the range of its tokens, without its braces."""
        token = self.peek()
        if token is None:
            raise self.missing("an argument is missing")
        low = self.at
        if token.kind == "lbrace":
            high = self.matching(low)
            self.at = high + 1
            return low + 1, high
        if token.kind == "macro" and token.text in ("frac", "sqrt", "binom"):
            self.at += 1
            for _ in range(1 if token.text == "sqrt" else 2):
                self.argument()
            return low, self.at
        if token.kind in ("sub", "sup", "amp", "row", "rbrace", "end"):
            raise self.missing("an argument is missing")
        self.at += 1
        return low, self.at

    def matching(self, low: int) -> int:
        """Index of the brace or bracket that closes the one at `low`."""
        opening = self.tokens[low]
        up, down = ("lbrace", "rbrace") if opening.kind == "lbrace" else ("open", "close")
        depth = 0
        for index in range(low, self.stop):
            kind = self.tokens[index].kind
            depth += (kind == up) - (kind == down)
            if depth == 0:
                return index
        closing = "}" if up == "lbrace" else CLOSING.get(opening.text, ")")
        raise MalformedError(f"a closing {closing} is missing", opening.start, self.tokens[self.stop - 1].end)

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise NotUnderstoodError("the formula is nested too deeply", self.position(), self.position() + 1)

    # --- sums and products ---

    def parse(self) -> Node:
        """Read all tokens as one expression."""
        if self.stop == 0:
            raise MalformedError("an expression is missing")
        value = self.expression()
        self.finish()
        return value

    def expression(self) -> Node:
        self.deeper()
        start = self.position()
        value = self.signed_term()
        count = 0
        while self.is_char("+") or self.is_char("-"):
            count = self.one_more(count)
            sign = 1 if self.is_char("+") else -1
            operator = self.position()
            self.at += 1
            if self.ends():
                raise MalformedError(f"an operand is missing after {'+' if sign > 0 else '-'}", operator, operator + 1)
            value = ast.Add(value, self.signed_term(), sign, start=start, end=self.last_end())
        if self.is_macro("pm", "mp"):
            raise self.unknown("± stands for two statements", self.peek())
        self.depth -= 1
        return value

    def one_more(self, count: int) -> int:
        """Count a term or factor; too many are not read."""
        if count >= MOST_PARTS:
            raise self.unknown(f"more than {MOST_PARTS} terms or factors", self.peek())
        return count + 1

    def ends(self) -> bool:
        token = self.peek()
        return (
            token is None
            or token.kind in _STOPS
            or (token.kind == "char" and token.text in ",;.:")
            or (token.kind in ("char", "macro") and token.text in RELATIONS)
        )

    def signed_term(self) -> Node:
        start = self.position()
        if self.is_char("-") or self.is_char("+"):
            self.deeper()
            negative = self.is_char("-")
            self.at += 1
            if self.ends():
                raise MalformedError("an operand is missing after the sign", start, start + 1)
            value = self.signed_term()
            self.depth -= 1
            return ast.Neg(value, start=start, end=self.last_end()) if negative else value
        return self.term()

    def term(self) -> Node:
        from ._factors import factor

        start = self.position()
        if not self.starts_factor():
            token = self.peek()
            if token is not None and token.kind in ("char", "macro") and token.text in _OPERATORS:
                raise MalformedError(f"an operand is missing before {_shown(token)}", token.start, token.end)
            if token is not None and not self.ends():
                raise self.unknown(f"no meaning is known for {_shown(token)}", token)
            raise self.missing("an operand is missing")
        value = factor(self)
        count = 0
        while True:
            count = self.one_more(count)
            token = self.peek()
            if token is None:
                return value
            if token.kind in ("char", "macro") and token.text in _OPERATORS:
                self.at += 1
                if self.ends():
                    raise MalformedError(f"an operand is missing after {_shown(token)}", token.start, token.end)
                negative = False
                while self.is_char("-"):
                    negative = not negative
                    self.at += 1
                if token.text in ("/", "div"):
                    right = self._divisor()
                    if negative:
                        right = ast.Neg(right, start=right.start, end=right.end)
                    value = ast.Div(value, right, start=start, end=self.last_end())
                    continue
                right = factor(self)
                if negative:
                    right = ast.Neg(right, start=right.start, end=right.end)
                how = {"circ": "odot", "*": "cdot", "bullet": "cdot"}.get(token.text, token.text)
                value = ast.Mul(value, right, how, start=start, end=self.last_end())
            elif self.starts_factor():
                value = ast.Mul(value, factor(self), "", start=start, end=self.last_end())
            else:
                return value

    def _divisor(self) -> Node:
        from ._factors import factor

        value = factor(self)
        while self.starts_factor() and not self.is_sign():
            self.reading.ambiguous.add("slash")
            if "slash" not in self.reading.wide:
                break
            value = ast.Mul(value, factor(self), "", start=value.start, end=self.last_end())
        return value

    def is_sign(self) -> bool:
        return self.is_char("+") or self.is_char("-")

    def starts_factor(self) -> bool:
        token = self.peek()
        if token is None:
            return False
        if token.kind in ("num", "open", "lbrace", "begin"):
            return True
        if token.kind in ("letter", "name"):
            return not (self.integrals and self.is_differential())
        if token.kind == "bar":
            return not (self.bars and self.bars[-1] == token.text)
        return token.kind == "macro" and token.text not in RELATIONS and token.text not in _OPERATORS | _NO_FACTOR

    def is_differential(self) -> bool:
        """Whether a d with a letter after it stands here."""
        token, following = self.peek(), self.peek(1)
        return (
            token is not None
            and token.kind == "letter"
            and token.text == "d"
            and following is not None
            and following.kind == "letter"
        )

    # --- conditions ---

    def condition(self) -> Node:
        """Relations joined by commas, "and", "or"."""
        value = self._relation()
        while True:
            token = self.peek()
            if token is None or token.kind in ("close", "rbrace", "amp", "row", "end"):
                return value
            joined = "and"
            if token.kind == "char" and token.text in ",;:":
                self.at += 1
            elif token.kind == "macro" and token.text in ("wedge", "vee"):
                joined = "or" if token.text == "vee" else "and"
                self.at += 1
            elif token.kind == "text" and token.text.strip().lower() in ("and", "or", "und", "oder"):
                joined = "or" if token.text.strip().lower() in ("or", "oder") else "and"
                self.at += 1
            elif token.kind == "quad":
                self.at += 1
            else:
                return value
            if self.peek() is None:
                return value
            value = ast.Rel(joined, value, self._relation(), start=value.start, end=self.last_end())

    def _relation(self) -> Node:
        start = self.position()
        left = self.expression()
        value: Node | None = None
        while True:
            token = self.peek()
            op = RELATIONS.get(token.text) if token is not None and token.kind in ("char", "macro") else None
            if op is None or op in ("other", "implies", "approx"):
                break
            self.at += 1
            if op == "in":
                return self._membership(left, start)
            right = self.expression()
            one = ast.Rel("=" if op == ":=" else op, left, right, start=start, end=self.last_end())
            value = one if value is None else ast.Rel("and", value, one, start=start, end=self.last_end())
            left = right
        if value is None:
            raise self.unknown("a condition with = or < was expected", self.peek())
        return value

    def _membership(self, left: Node, start: int) -> Node:
        while not (self.peek() is None or self.is_char(",")):
            self.at += 1
        return ast.Rel("in", left, left, start=start, end=self.last_end())

    def number(self, token: Token) -> Node:
        return ast.Num(Fraction(token.text), token.text, start=token.start, end=token.end)


def _digits_apart(tokens: list[Token]) -> list[Token]:
    r"""Split numbers where TeX takes one digit alone: x^10 is x^1 0, and \\frac12 is one half."""
    out: list[Token] = []
    for token in tokens:
        previous = out[-1] if out else None
        alone = 0
        if token.kind == "num" and previous is not None:
            alone = {"sup": 1, "sub": 1}.get(previous.kind, 0)
            if previous.kind == "macro" and previous.text in ("frac", "sqrt", "binom"):
                alone = 2
        for _ in range(min(alone, len(token.text) - 1)):
            out.append(Token("num", token.text[0], token.start, token.start + 1))
            token = Token("num", token.text[1:], token.start + 1, token.end)
        out.append(token)
    return out


_NO_FUNCTIONS = words("p q P Q e d E V I D")
_NO_FACTOR = words("pm mp wedge vee cap cup setminus mid dots vdots ddots neg top forall exists cdotp ' dagger") - {
    "dots"
}


def split_top(p: Parser, low: int, high: int, marks: str = ",;‖|") -> list[tuple[int, int]]:
    """Ranges between separators outside of brackets; bars separate where there is one of them alone."""
    bars = [i for i in top_level(p, low, high) if p.tokens[i].kind == "bar" or p.tokens[i].text == "mid"]
    out, begin = [], low
    for index in top_level(p, low, high):
        token = p.tokens[index]
        separates = (token.kind == "char" and token.text in ",;" and token.text in marks) or (
            len(bars) == 1 and index == bars[0] and begin <= index
        )
        if separates:
            out.append((begin, index))
            begin = index + 1
    return [*out, (begin, high)]


def top_level(p: Parser, low: int, high: int) -> list[int]:
    """Numbers of the tokens from low to high that stand outside of brackets, the brackets included."""
    depth, out = 0, []
    for index in range(low, high):
        kind = p.tokens[index].kind
        if kind in ("close", "rbrace", "end"):
            depth -= 1
        if depth == 0:
            out.append(index)
        if kind in ("open", "lbrace", "begin"):
            depth += 1
    return out


def _shown(token: Token) -> str:
    return f"\\{token.text}" if token.kind == "macro" and token.text.isalpha() else token.text
