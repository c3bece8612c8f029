"""Whether an equation that fails at some points claims to hold at all of them. Nothing is refuted that does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from . import _ast as ast
from ._ast import Node
from ._domains import shown
from ._scope import Scope

_FUNCTIONS = (ast.Call, ast.Deriv, ast.Grad, ast.Integral, ast.Expect, ast.Prob, ast.Cases, ast.Iverson, ast.Big)
_FEW = 3  # nodes of a side that says too little to be more than a condition, such as AB = BA


def why_no_identity(left: Node, right: Node, relation: str, scope: Scope, *, first: bool) -> str:
    """Return why a step may be a condition, a definition or a model and no identity; "" where it claims to hold.

    `first`: `left` begins the chain, where a new name may stand.
    """
    if relation == "approx":
        return "an approximation without a stated range cannot be judged"
    return (
        _by_functions(left, right, relation, scope)
        or _by_chance(left, right, scope)
        or _by_integrals(left, right)
        or _by_names(left, right, relation, scope, first=first)
    )


def _by_functions(left: Node, right: Node, relation: str, scope: Scope) -> str:
    """A function that nothing defines may have any property; only rules of differentiation hold for all of them."""
    generic = sorted({here.name for here in _both(left, right) if isinstance(here, ast.Call)} & scope.generic)
    if not generic:
        return ""
    text = f"nothing in the note says which function {shown(generic[0])} is"
    if relation not in ("=", ":="):
        return text
    rules = (ast.Deriv, ast.Grad, ast.Integral)
    if not any(isinstance(here, rules) or (isinstance(here, ast.Call) and here.primes) for here in _both(left, right)):
        return text
    return text if _bare_derivative(left, scope) or _bare_derivative(right, scope) else ""


def _bare_derivative(node: Node, scope: Scope) -> bool:
    """Whether a side is f'(x) and nothing else: then the step says what the derivative is."""
    if isinstance(node, ast.Call):
        return node.primes > 0 and node.name in scope.generic
    body = node.body if isinstance(node, ast.Deriv | ast.Grad) else None
    return isinstance(body, ast.Call) and body.name in scope.generic and all(isinstance(a, ast.Sym) for a in body.args)


def _by_chance(left: Node, right: Node, scope: Scope) -> str:
    kinds = [{type(here) for here in ast.walk(side)} & {ast.Prob, ast.Expect} for side in (left, right)]
    for own, other, node in ((kinds[0], kinds[1], right), (kinds[1], kinds[0], left)):
        if ast.Prob in own and ast.Prob not in other and not isinstance(node, ast.Num):
            return "the note does not say which probabilities these are"
    apart = (ast.symbols(left) ^ ast.symbols(right)) & scope.random_names
    return f"the note does not say how {sorted(apart)[0]} is distributed" if apart else ""


def _by_integrals(left: Node, right: Node) -> str:
    """An integral without bounds may be meant as an antiderivative."""
    for here in _both(left, right):
        if isinstance(here, ast.Integral) and here.lower is None:
            return "an integral without bounds is only judged where it holds over the whole line"
    return ""


def _by_names(left: Node, right: Node, relation: str, scope: Scope, *, first: bool) -> str:
    a, b = unknowns(left, scope), unknowns(right, scope)
    computed = has_function(left) or has_function(right)
    if _imaginary(left, right, scope):
        return "i may be the imaginary unit; complex numbers are not evaluated"
    names = [name for name in (_bare(left), _bare(right)) if name and _is_unknown(name, scope)]
    new = _bare(left)
    if first and new and _is_unknown(new, scope):
        where = "stands on both sides" if new in ast.symbols(right) else "is explained nowhere in the note"
        return f"{shown(new)} {where}: an equation or an assignment, and no identity"
    if names and not computed:
        return "an equation between names, and no identity"
    for own, other, node, opposite in ((a, b, right, left), (b, a, left, right)):
        if isinstance(node, ast.Num) and own and not other:
            equation = node.value == 0 and relation in ("=", ":=")
            if equation or not has_function(opposite):
                return "a condition on its names, and no identity"
    if (a - b) and (b - a) and relation in ("=", ":="):
        listed = ", ".join([*sorted(map(shown, a - b)), *sorted(map(shown, b - a))])
        return f"nothing in the note says how the two sides are related: {listed} are on one side only"
    if a != b and not computed:
        return "an equation between names, and no identity"
    if a != b and names and not set(names) & (a & b):
        return f"nothing in the note says what {shown(names[0])} is"
    if not computed and max(_count(left), _count(right)) <= _FEW and relation in ("=", ":="):
        return "an equation between names, and no identity"
    return ""


def _imaginary(left: Node, right: Node, scope: Scope) -> bool:
    return any(
        isinstance(here, ast.Pow)
        and isinstance(here.base, ast.Sym)
        and here.base.name == "e"
        and {"i", "j", "imath"} & ast.symbols(here.exponent) - scope.index_names
        for here in _both(left, right)
    )


def _both(left: Node, right: Node) -> Iterator[Node]:
    yield from ast.walk(left)
    yield from ast.walk(right)


def _count(node: Node) -> int:
    return sum(1 for _ in ast.walk(node))


def _bare(node: Node) -> str | None:
    """The name that a side consists of, with indices perhaps."""
    base = node.base if isinstance(node, ast.Sub) else node
    return base.name if isinstance(base, ast.Sym) else None


def _is_unknown(name: str, scope: Scope) -> bool:
    return not (
        name in scope.variables
        or name in scope.functions
        or name in scope.index_names
        or name in scope.support_names
        or name in scope.size_names
        or name in scope.identities
        or name == "ones"
        or scope.is_constant(name)
    )


def has_function(node: Node) -> bool:
    """Whether anything but arithmetic of names is claimed."""
    return any(isinstance(here, _FUNCTIONS) for here in ast.walk(node))


def unknowns(node: Node, scope: Scope) -> set[str]:
    """Names with values that nothing defines, in a node and the definitions it uses."""
    found: set[str] = set()
    seen: set[str] = set()
    todo = [node]
    while todo:
        for name in _names_in(todo.pop(), scope):
            if name in seen:
                continue
            seen.add(name)
            definition = scope.variables.get(name) or scope.functions.get(name)
            if definition is not None:
                todo.append(definition.body)
                seen |= set(definition.parameters)
            elif _is_unknown(name, scope):
                found.add(name)
    return found - {part.name for part in ast.walk(node) if isinstance(part, ast.Integral)}


def _names_in(node: Node, scope: Scope) -> Iterable[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Sym) or (isinstance(part, ast.Call) and part.name in scope.functions):
            yield part.name


__all__ = ["has_function", "unknowns", "why_no_identity"]
