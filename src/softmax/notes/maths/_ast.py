"""What a formula says: a small tree of values. Two trees are equal where they say the same, wherever they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from typing import Any


@dataclass(frozen=True, slots=True)
class Node:
    """Base of all; `start` and `end` are the characters of the display that it was read from."""

    start: int = field(default=-1, compare=False, kw_only=True)
    end: int = field(default=-1, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Num(Node):
    """A number; `text` as written, for the digits of an approximation."""

    value: Fraction
    text: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Inf(Node):
    """Infinity, as a bound."""


@dataclass(frozen=True, slots=True)
class Sym(Node):
    """A name without a subscript; `style` ("bold", …) hints at its shape and is no part of the name."""

    name: str
    style: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Sub(Node):
    """Component `index` of `base`."""

    base: Node
    index: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Neg(Node):
    """Minus `arg`."""

    arg: Node


@dataclass(frozen=True, slots=True)
class Add(Node):
    """`left` plus `right`; minus where `sign` is -1."""

    left: Node
    right: Node
    sign: int = 1


@dataclass(frozen=True, slots=True)
class Mul(Node):
    """A product; `how` is "" for juxtaposition, or "cdot", "times", "odot"."""

    left: Node
    right: Node
    how: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Div(Node):
    """A quotient."""

    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Pow(Node):
    """A power."""

    base: Node
    exponent: Node


@dataclass(frozen=True, slots=True)
class Transpose(Node):
    """A transposed vector or matrix."""

    arg: Node


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function of `args`; `primes` counts derivatives written as primes, `given` the arguments before a semicolon."""

    name: str
    args: tuple[Node, ...]
    primes: int = 0


@dataclass(frozen=True, slots=True)
class Rel(Node):
    """A relation: "=", "neq", "<", ">", "leq", "geq", "in"; also "and", "or"."""

    op: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Big(Node):
    """A sum, product, maximum or minimum over `names`; bounds and conditions may be absent."""

    op: str
    names: tuple[str, ...]
    lower: Node | None
    upper: Node | None
    where: tuple[Node, ...]
    body: Node


@dataclass(frozen=True, slots=True)
class Deriv(Node):
    """The derivative of `body` by each of `wrt` in turn."""

    body: Node
    wrt: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Grad(Node):
    """Gradient (order 1) or Hessian (order 2) of `body`; "laplace" sums the diagonal of the second."""

    body: Node
    wrt: Node | None
    order: int = 1
    kind: str = "gradient"


@dataclass(frozen=True, slots=True)
class Iverson(Node):
    """One where the condition holds, zero elsewhere."""

    condition: Node


@dataclass(frozen=True, slots=True)
class Cases(Node):
    """The first value whose condition holds; None is "otherwise"."""

    rows: tuple[tuple[Node, Node | None], ...]


@dataclass(frozen=True, slots=True)
class Table(Node):
    """A matrix written out."""

    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Norm(Node):
    """A norm: `kind` is 2, 1, "inf" or "F"."""

    arg: Node
    kind: str = "2"


@dataclass(frozen=True, slots=True)
class Abs(Node):
    """An absolute value; of a matrix its determinant."""

    arg: Node


@dataclass(frozen=True, slots=True)
class Integral(Node):
    """An integral over `name`; without bounds, or with infinite ones, over the whole line."""

    name: str
    lower: Node | None
    upper: Node | None
    body: Node


@dataclass(frozen=True, slots=True)
class Expect(Node):
    """An expectation ("E"), variance ("Var") or covariance ("Cov") of `args`; `law` is what stands below the sign."""

    op: str
    args: tuple[Node, ...]
    over: tuple[str, ...] = ()
    law: str = ""
    given: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Event(Node):
    """A part of what stands in a probability: a variable, or "not", "and", "or" of others."""

    op: str
    args: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Prob(Node):
    """The probability, by the law `name`, of `events` given others."""

    name: str
    events: tuple[Event, ...]
    given: tuple[Event, ...] = ()


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below."""
    return _CHILDREN[type(node)](node)


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, from the top."""
    stack = [node]
    while stack:
        here = stack.pop()
        yield here
        below = _CHILDREN[type(here)](here)
        if below:
            stack.extend(below[::-1])


def rebuild(node: Node, change: Callable[[Node], Node]) -> Node:
    """Return the node with `change` applied to each child."""
    new = {}
    for name in _FIELDS[type(node)]:
        old = getattr(node, name)
        value = _rebuilt(old, change)
        if value is not old:
            new[name] = value
    return replace(node, **new) if new else node


def _rebuilt(value: Any, change: Callable[[Node], Node]) -> Any:
    if isinstance(value, Node):
        return change(value)
    if isinstance(value, tuple):
        changed = tuple(_rebuilt(item, change) for item in value)
        return changed if any(a is not b for a, b in zip(changed, value, strict=True)) else value
    return value


def symbols(node: Node) -> set[str]:
    """The names of all symbols at or below the node."""
    return {here.name for here in walk(node) if isinstance(here, Sym)}


_FIELDS: dict[type[Node], tuple[str, ...]] = {
    kind: tuple(f.name for f in fields(kind) if f.name not in ("start", "end"))
    for kind in (
        Num, Inf, Sym, Sub, Neg, Add, Mul, Div, Pow, Transpose, Call, Rel, Big, Deriv, Grad, Iverson, Cases, Table,
        Norm, Abs, Integral, Expect, Event, Prob,
    )
}  # fmt: skip


def _collected(fields_of: tuple[str, ...]) -> Callable[[Any], tuple[Node, ...]]:
    """A function that gathers the nodes in fields, some of which hold nodes, none, or tuples of both."""

    def gather(value: Any, out: list[Node]) -> None:
        if isinstance(value, Node):
            out.append(value)
        elif isinstance(value, tuple):
            for item in value:
                gather(item, out)

    def below(node: Any) -> tuple[Node, ...]:
        out: list[Node] = []
        for name in fields_of:
            gather(getattr(node, name), out)
        return tuple(out)

    return below


# The frequent kinds by hand, for speed; the others by their fields.
_CHILDREN: dict[type[Node], Callable[[Any], tuple[Node, ...]]] = {
    **{kind: _collected(names) for kind, names in _FIELDS.items()},
    **dict.fromkeys((Num, Inf, Sym), lambda node: ()),
    **dict.fromkeys((Add, Mul, Div, Rel), lambda node: (node.left, node.right)),
    **dict.fromkeys((Neg, Transpose, Norm, Abs), lambda node: (node.arg,)),
    Sub: lambda node: (node.base, *node.index),
    Pow: lambda node: (node.base, node.exponent),
    Call: lambda node: node.args,
}
