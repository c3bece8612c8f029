"""What the names of a chain mean: index, size, component, label, definition, function."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from . import _ast as ast
from ._ast import Node
from ._names import ELEMENTWISE, LIBRARY, STANDARD, USUAL_INDICES, words

KNOWN_CALLS = ELEMENTWISE | LIBRARY | STANDARD | words("sigma diag tr det logbase max min binom factorial")
_CONSTANTS = frozenset({"e", "pi"})


@dataclass(frozen=True, slots=True)
class Definition:
    """`name`(`parameters`) with `indices` is `body`; `line` is where the note says so."""

    name: str
    parameters: tuple[str, ...]
    indices: tuple[str, ...]
    body: Node
    at: int = 0
    section: int = 0

    @property
    def names(self) -> set[str]:
        """The names that the body uses."""
        return {here.name for here in ast.walk(self.body) if isinstance(here, ast.Sym | ast.Call)}


@dataclass
class Scope:
    """The meaning of names in one chain and in the definitions that it uses."""

    variables: dict[str, Definition] = field(default_factory=dict)
    functions: dict[str, Definition] = field(default_factory=dict)
    index_names: set[str] = field(default_factory=set)
    size_names: set[str] = field(default_factory=set)
    support_names: set[str] = field(default_factory=set)
    random_names: set[str] = field(default_factory=set)
    laws: dict[str, list[str]] = field(default_factory=dict)
    generic: set[str] = field(default_factory=set)
    basis: set[str] = field(default_factory=set)
    identities: set[str] = field(default_factory=set)
    arrays: set[str] = field(default_factory=set)
    settled: set[str] = field(default_factory=set)
    domains: Mapping[str, str] = field(default_factory=dict)
    declared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def is_constant(self, name: str) -> bool:
        """Whether a name is e or π, and nothing in the note makes it anything else."""
        return name in _CONSTANTS and name not in self.variables and name not in self.arrays

    def gradient_variable(self, body: Node) -> Node | None:
        """What ∇ without a subscript goes by: the argument of its function, if it has one that is a name."""
        if isinstance(body, ast.Call) and len(body.args) == 1 and isinstance(body.args[0], ast.Sym):
            return body.args[0]
        if isinstance(body, ast.Sym) and body.name in self.functions:
            parameters = self.functions[body.name].parameters
            if len(parameters) == 1:
                return ast.Sym(parameters[0])
        return None


def is_index_use(name: str, node: Node) -> bool:
    """Whether a name stands in a subscript within the node."""
    return any(
        isinstance(part, ast.Sym) and part.name == name
        for here in ast.walk(node)
        if isinstance(here, ast.Sub)
        for index in here.index
        for part in ast.walk(index)
    )


def build_scope(
    nodes: list[Node],
    definitions: Mapping[str, Definition],
    domains: Mapping[str, str],
    shapes: Mapping[str, tuple[str, ...]],
) -> tuple[list[Node], Scope]:
    """Return the nodes with labels made parts of names, and the scope that they are read in."""
    scope = Scope(domains=domains, declared={name: sizes for name, sizes in shapes.items() if name not in definitions})
    sizes = {size for of in shapes.values() for size in of}
    used = _closure(nodes, definitions)
    for definition in used.values():
        (scope.functions if definition.parameters else scope.variables)[definition.name] = definition
    roots = [*nodes, *(definition.body for definition in used.values())]
    parts = [here for root in roots for here in ast.walk(root)]
    _find_sizes(parts, scope, sizes)
    _find_probabilities(parts, scope)
    _find_indices(parts, used.values(), scope)
    for here in parts:
        if not isinstance(here, ast.Call) or here.name in KNOWN_CALLS or here.name in scope.functions:
            continue
        if len(here.name) == 1 or here.name.partition(":")[2] or here.name in _GREEK_FUNCTIONS:
            scope.generic.add(here.name)
    change = _Relabel(scope, parts)
    out = [change(node) for node in nodes]
    for table in (scope.variables, scope.functions):
        for name, definition in table.items():
            table[name] = replace(definition, body=change(definition.body))
    _find_special(parts, scope)
    return out, scope


_GREEK_FUNCTIONS = words("phi psi ell sigma Phi Psi eta Gamma varphi")


def _closure(nodes: list[Node], definitions: Mapping[str, Definition]) -> dict[str, Definition]:
    """The definitions that the nodes use, and those that these use."""
    found: dict[str, Definition] = {}
    todo = list(nodes)
    while todo:
        node = todo.pop()
        for here in ast.walk(node):
            name = None
            if isinstance(here, ast.Sym) or (isinstance(here, ast.Call) and here.name not in LIBRARY):
                name = here.name
            if name is not None and name in definitions and name not in found:
                found[name] = definitions[name]
                todo.append(definitions[name].body)
    return found


def _find_sizes(parts: list[Node], scope: Scope, sizes: set[str]) -> None:
    names = {here.name for here in parts if isinstance(here, ast.Sym)}
    scope.size_names |= {name for name in sizes if name not in scope.variables and name in names}
    for here in parts:
        if isinstance(here, ast.Big) and here.upper is not None:
            scope.size_names |= ast.symbols(here.upper) - set(scope.variables)
    bound = {name for here in parts if isinstance(here, ast.Big) for name in here.names}
    scope.size_names -= bound


def _find_probabilities(parts: list[Node], scope: Scope) -> None:
    for here in parts:
        if isinstance(here, ast.Prob):
            for event in (*here.events, *here.given):
                _event_names(event, scope, scope.laws.setdefault(here.name, []))
        elif isinstance(here, ast.Expect):
            _random_names(here, scope)
    for here in parts:
        if isinstance(here, ast.Expect) and here.law.lower() in scope.laws:
            scope.support_names |= set(here.over)
    scope.random_names -= scope.support_names
    for names in scope.laws.values():
        names.sort()


def _event_names(event: ast.Event, scope: Scope, names: list[str]) -> None:
    if event.op in ("var", "at"):
        if event.args[0] not in names:
            names.append(event.args[0])
        if event.op == "var":
            scope.support_names.add(event.args[0])
        return
    for arg in event.args:
        _event_names(arg, scope, names)


def _random_names(node: ast.Expect, scope: Scope) -> None:
    if node.over:
        scope.random_names |= set(node.over)
        return
    names = {name for arg in node.args for name in ast.symbols(arg)}
    capital = {name for name in names if name[0].isupper() and len(name.partition("_")[0]) == 1}
    lower = {name for name in names if name in ("x", "y", "z", "u", "v")}
    scope.random_names |= (capital or lower) - set(scope.variables)


def _find_indices(parts: list[Node], definitions: Iterable[Definition], scope: Scope) -> None:
    names = scope.index_names
    for definition in definitions:
        names |= set(definition.indices)
    subscripts: dict[str, set[str]] = {}
    bases: set[str] = set()
    for here in parts:
        if isinstance(here, ast.Big):
            names |= set(here.names)
        if isinstance(here, ast.Sub):
            if isinstance(here.base, ast.Sym):
                bases.add(here.base.name)
            for index in here.index:
                for part in ast.walk(index):
                    if isinstance(part, ast.Sym):
                        base = here.base.name if isinstance(here.base, ast.Sym) else ""
                        subscripts.setdefault(part.name, set()).add(base)
    names -= scope.support_names
    arrays = _arrays(parts, names)
    for name, of in subscripts.items():
        indexing = len(name) == 1 and name.islower() and (of & arrays or "" in of)
        taken = name in scope.size_names or name in bases or name in scope.variables
        if (name in USUAL_INDICES or indexing) and not taken:
            names.add(name)
    for here in parts:
        if isinstance(here, ast.Iverson):
            _compared(here.condition, names, bases, scope)
        if isinstance(here, ast.Event) and here.op == "at" and isinstance(here.args[1], ast.Sym):
            names.add(here.args[1].name)
    names -= scope.size_names


def _arrays(parts: list[Node], names: set[str]) -> set[str]:
    """Names that have an index from `names` somewhere."""
    return {
        here.base.name
        for here in parts
        if isinstance(here, ast.Sub) and isinstance(here.base, ast.Sym)
        if any(
            isinstance(index, ast.Sym) and (index.name in names or index.name in USUAL_INDICES) for index in here.index
        )
    }


def _compared(condition: Node, names: set[str], bases: set[str], scope: Scope) -> None:
    """A letter that is compared with an index is one too: y in [y = k]."""
    if not isinstance(condition, ast.Rel):
        return
    sides = (condition.left, condition.right)
    if condition.op in ("and", "or"):
        for side in sides:
            _compared(side, names, bases, scope)
    elif condition.op in ("=", "neq"):
        for one, other in (sides, sides[::-1]):
            if isinstance(one, ast.Sym) and isinstance(other, ast.Sym) and other.name in names | USUAL_INDICES:
                for side in (one, other):
                    if len(side.name) == 1 and side.name not in bases and side.name not in scope.variables:
                        names.add(side.name)


def relabelled(node: Node, scope: Scope) -> Node:
    """Return a node read in a scope that was built for others."""
    relabel = _Relabel.__new__(_Relabel)
    relabel.scope, relabel.arrays = scope, scope.arrays
    return relabel(node)


class _Relabel:
    """Make a subscript that is no index a part of the name, x_A or w_0."""

    def __init__(self, scope: Scope, parts: list[Node]) -> None:
        self.scope = scope
        self.arrays = {
            here.base.name
            for here in parts
            if isinstance(here, ast.Sub) and isinstance(here.base, ast.Sym)
            if any(ast.symbols(index) & (scope.index_names | scope.size_names) for index in here.index)
        }
        self.arrays |= {name for name, definition in scope.variables.items() if definition.indices}
        self.arrays |= {here.name for here in parts if isinstance(here, ast.Sym) and here.style == "bold"}
        self.arrays |= set(scope.declared)
        scope.arrays = self.arrays

    def __call__(self, node: Node) -> Node:
        if isinstance(node, ast.Sub) and isinstance(node.base, ast.Sym):
            name = node.base.name
            indexing = self.scope.index_names | self.scope.size_names
            number = all(isinstance(index, ast.Num) for index in node.index)
            label = all(
                isinstance(index, ast.Sym) and index.name not in indexing and index.name not in self.scope.variables
                for index in node.index
            )
            if name not in self.arrays and (number or label):
                text = "".join(i.text if isinstance(i, ast.Num) else i.name for i in node.index)  # type: ignore[attr-defined]
                return ast.Sym(f"{name}_{text}", node.base.style, start=node.start, end=node.end)
        return ast.rebuild(node, self)


def _find_special(parts: list[Node], scope: Scope) -> None:
    """The identity matrix I and the unit vectors e_k, where these letters are not used for something else."""
    bare: dict[str, bool] = {}
    for here in parts:
        if isinstance(here, ast.Sym):
            bare[here.name] = True
    if "I" in bare and "I" not in scope.variables and "I" not in scope.arrays and "I" not in scope.random_names:
        scope.identities.add("I")
    for name in list(bare):
        if name.startswith("I_") and name not in scope.variables and "I" not in scope.arrays:
            scope.identities.add(name)
    if "e" in scope.arrays and "e" not in scope.variables:
        scope.basis.add("e")
