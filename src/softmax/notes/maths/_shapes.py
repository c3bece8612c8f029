"""Which names are numbers, vectors and matrices, and which sizes are the same.

A formula is walked with a guess of the rank of each name, numbers first. Where parts do not go together, the guesses of
the names in that part are raised, until everything fits: the least guess that fits is taken. Sizes are unified on the
way, so that a matrix of features has as many columns as there are coefficients, and other sizes stay different.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from . import _ast as ast
from ._ast import Node
from ._errors import NotUnderstoodError, ShapeError
from ._names import ELEMENTWISE
from ._scope import Scope, is_index_use

MOST_GUESSES = 160
_VARIABLES = frozenset("XYZUVW")
SUPPORT = 3  # values of a random variable in a probability


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes along each axis, as numbers of classes; `row`: a transposed vector; `number`: a literal, which fits all."""

    sizes: tuple[int, ...] = ()
    row: bool = False
    number: bool = False


SCALAR = Shape()


@dataclass
class Shapes:
    """What was found: the shape of each name, and which class of sizes belongs to each index and size symbol."""

    ranks: dict[str, int]
    symbols: dict[str, Shape] = field(default_factory=dict)
    parents: list[int] = field(default_factory=list)
    indices: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    fixed: dict[int, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    declared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def fresh(self) -> int:
        self.parents.append(len(self.parents))
        return len(self.parents) - 1

    def find(self, a: int) -> int:
        while self.parents[a] != a:
            self.parents[a] = a = self.parents[self.parents[a]]
        return a

    def unify(self, a: int, b: int) -> None:
        a, b = self.find(a), self.find(b)
        if a != b:
            self.parents[b] = a
            if b in self.fixed:
                self.fixed.setdefault(a, self.fixed[b])

    def index(self, name: str) -> int:
        if name not in self.indices:
            self.indices[name] = self.sizes[name] if name in self.sizes else self.fresh()
        return self.indices[name]

    def size(self, name: str) -> int:
        if name not in self.sizes:
            self.sizes[name] = self.fresh()
        return self.sizes[name]

    def symbol(self, name: str) -> Shape:
        if name not in self.symbols:
            self.symbols[name] = Shape(tuple(self.fresh() for _ in range(self.ranks.get(name, 0))))
            for size, of in zip(self.declared.get(name, ()), self.symbols[name].sizes, strict=False):
                self.unify(self.size(size), of)
        return self.symbols[name]


def find_shapes(nodes: list[Node], scope: Scope, start: Mapping[str, int]) -> Shapes:
    """Return the least shapes that all of the nodes have a meaning with.

    Raises
    ------
    NotUnderstoodError
        If none was found.
    """
    queue: deque[dict[str, int]] = deque([dict(start)])
    seen = {tuple(sorted(start.items()))}
    first: NotUnderstoodError | None = None
    for _ in range(MOST_GUESSES):
        if not queue:
            break
        ranks = queue.popleft()
        shapes = Shapes(ranks, declared=scope.declared)
        walker = _Walker(scope, shapes)
        try:
            for node in nodes:
                walker.walk(node)
        except ShapeError as error:
            first = first or error
            for name in sorted(error.symbols):
                if ranks.get(name, 0) < 2 and name not in scope.settled:
                    raised = {**ranks, name: ranks.get(name, 0) + 1}
                    key = tuple(sorted(raised.items()))
                    if key not in seen:
                        seen.add(key)
                        queue.append(raised)
            continue
        return shapes
    if first is not None:
        raise NotUnderstoodError(first.text, first.start, first.end)
    raise NotUnderstoodError("too many ways to read its names as numbers, vectors and matrices")


class _Walker:
    def __init__(self, scope: Scope, shapes: Shapes) -> None:
        self.scope, self.shapes = scope, shapes
        self.local: list[dict[str, Shape]] = []
        self.defined: dict[str, Shape] = {}
        self.pending: set[str] = set()

    def fail(self, text: str, node: Node) -> ShapeError:
        error = ShapeError(text, node.start, node.end)
        error.symbols = frozenset(self._reachable(node))
        return error

    def _reachable(self, node: Node, depth: int = 0) -> set[str]:
        found = set()
        for name in ast.symbols(node):
            if name in self.shapes.indices and name not in self.shapes.symbols:
                continue
            definition = self.scope.variables.get(name)
            if definition is not None and depth < 4:
                found |= self._reachable(definition.body, depth + 1)
            else:
                found.add(name)
        return found - self.scope.index_names

    def walk(self, node: Node) -> Shape:
        method = getattr(self, "_" + type(node).__name__.lower())
        shape: Shape = method(node)
        return shape

    def scalar(self, node: Node, what: str) -> None:
        if self.walk(node).sizes:
            raise self.fail(f"{what} is a vector or a matrix where a number was expected", node)

    def unify(self, a: Shape, b: Shape) -> None:
        for x, y in zip(a.sizes, b.sizes, strict=True):
            self.shapes.unify(x, y)

    # --- leaves ---

    def _num(self, node: ast.Num) -> Shape:
        return Shape(number=True)

    def _inf(self, node: ast.Inf) -> Shape:
        return Shape(number=True)

    def _sym(self, node: ast.Sym) -> Shape:
        name = node.name
        for frame in reversed(self.local):
            if name in frame:
                return frame[name]
        if name in self.scope.index_names:
            self.shapes.index(name)
            return SCALAR
        if name == "ones" or name in self.scope.identities:
            return self.shapes.symbol(name) if name == "ones" else self._identity()
        if name in self.scope.variables:
            return self._variable(name, node)
        if name in self.scope.functions:
            return self._function_value(name, node)
        if name in self.shapes.sizes or name in self.scope.size_names:
            self.shapes.size(name)
            return SCALAR
        return self.shapes.symbol(name)

    def _identity(self) -> Shape:
        size = self.shapes.fresh()
        return Shape((size, size))

    def _variable(self, name: str, node: Node) -> Shape:
        if name in self.defined:
            return self.defined[name]
        if name in self.pending:
            raise NotUnderstoodError(f"{name} is defined by itself", node.start, node.end)
        self.pending.add(name)
        definition = self.scope.variables[name]
        kept, self.local = self.local, []
        sizes = tuple(self.shapes.index(index) for index in definition.indices)
        body = self.walk(definition.body)
        self.local = kept
        self.pending.discard(name)
        if body.row or len(sizes) + len(body.sizes) > 2:
            raise self.fail(f"{name} would be an array of more than two axes", node)
        self.defined[name] = Shape(sizes + body.sizes)
        return self.defined[name]

    def _function_value(self, name: str, node: Node) -> Shape:
        definition = self.scope.functions[name]
        return self._apply(definition, [self.walk(ast.Sym(p)) for p in definition.parameters], node)

    def _apply(self, definition: object, args: list[Shape], node: Node) -> Shape:
        from ._scope import Definition

        assert isinstance(definition, Definition)
        if definition.name in self.pending:
            raise NotUnderstoodError(f"{definition.name} is defined by itself", node.start, node.end)
        if len(args) != len(definition.parameters):
            raise NotUnderstoodError(
                f"{definition.name} was defined with {len(definition.parameters)} arguments; here it has {len(args)}",
                node.start,
                node.end,
            )
        self.pending.add(definition.name)
        kept, self.local = self.local, [dict(zip(definition.parameters, args, strict=True))]
        sizes = []
        frame = self.local[0]
        for index in definition.indices:
            sizes.append(self.shapes.index(index))
            frame[index] = SCALAR
        body = self.walk(definition.body)
        self.local = kept
        self.pending.discard(definition.name)
        return Shape((*sizes, *body.sizes), body.row)

    def _sub(self, node: ast.Sub) -> Shape:
        base = node.base
        if isinstance(base, ast.Sym) and base.name in self.scope.basis:
            self.walk(node.index[0])
            return Shape((self._index_size(node.index[0]),))
        shape = self.walk(base)
        if len(shape.sizes) < len(node.index):
            raise self.fail("more indices than axes", node)
        for index, size in zip(node.index, shape.sizes, strict=False):
            if isinstance(index, ast.Num):
                continue
            self.scalar(index, "an index")
            self.shapes.unify(self._index_size(index), size)
        return Shape(shape.sizes[len(node.index) :])

    def _index_size(self, index: Node) -> int:
        """The class of sizes that an index runs over; of i + 1 that of i."""
        if isinstance(index, ast.Sym):
            if index.name in self.scope.index_names:
                return self.shapes.index(index.name)
            if index.name in self.scope.size_names:
                return self.shapes.size(index.name)
            return self.shapes.labels.setdefault(index.name, self.shapes.fresh())
        if isinstance(index, ast.Sub) and isinstance(index.base, ast.Sym):
            for part in index.index:
                self._index_size(part)
            return self.shapes.labels.setdefault(index.base.name, self.shapes.fresh())
        for part in ast.walk(index):
            if isinstance(part, ast.Sym):
                return self._index_size(part)
        return self.shapes.fresh()

    # --- arithmetic ---

    def _neg(self, node: ast.Neg) -> Shape:
        return self.walk(node.arg)

    def _add(self, node: ast.Add) -> Shape:
        left, right = self.walk(node.left), self.walk(node.right)
        if left.number and not left.sizes:
            return Shape(right.sizes, right.row, right.number)
        if right.number and not right.sizes:
            return left
        if len(left.sizes) != len(right.sizes) or left.row != right.row:
            raise self.fail("a sum of unlike things (number, vector, matrix)", node)
        self.unify(left, right)
        return left

    def _mul(self, node: ast.Mul) -> Shape:
        left, right = self.walk(node.left), self.walk(node.right)
        if not left.sizes:
            return Shape(right.sizes, right.row, left.number and right.number)
        if not right.sizes:
            return left
        if node.how == "odot" or (node.how == "cdot" and len(left.sizes) == len(right.sizes) == 1 and not left.row):
            if len(left.sizes) != len(right.sizes) or left.row != right.row:
                raise self.fail("a product entry by entry of unlike things", node)
            self.unify(left, right)
            return left if node.how == "odot" else SCALAR
        if node.how == "otimes" and len(left.sizes) == len(right.sizes) == 1:
            return Shape(left.sizes + right.sizes)
        return self._product(left, right, node)

    def _product(self, left: Shape, right: Shape, node: Node) -> Shape:
        column = len(left.sizes) == 1 and not left.row
        if column:
            if len(right.sizes) == 1 and right.row:
                return Shape(left.sizes + right.sizes)
            raise self.fail("a product that lacks a transposition", node)
        if len(right.sizes) == 1 and right.row:
            raise self.fail("a product that lacks a transposition", node)
        self.shapes.unify(left.sizes[-1], right.sizes[0])
        if left.row:
            return Shape(right.sizes[1:], len(right.sizes) == 2)
        return Shape(left.sizes[:1] + right.sizes[1:])

    def _div(self, node: ast.Div) -> Shape:
        left, right = self.walk(node.left), self.walk(node.right)
        if right.sizes:
            raise self.fail("a division by a vector or a matrix", node)
        return Shape(left.sizes, left.row, left.number and right.number)

    def _pow(self, node: ast.Pow) -> Shape:
        if isinstance(node.base, ast.Sym) and node.base.name == "e" and self.scope.is_constant("e"):
            return self.walk(node.exponent)
        base, exponent = self.walk(node.base), self.walk(node.exponent)
        if exponent.sizes:
            raise self.fail("a vector or a matrix in an exponent", node)
        if base.sizes:
            if len(base.sizes) != 2 or not exponent.number:
                raise self.fail("a power of a vector", node)
            self.shapes.unify(*base.sizes)
        return Shape(base.sizes, base.row, base.number and exponent.number)

    def _transpose(self, node: ast.Transpose) -> Shape:
        shape = self.walk(node.arg)
        if not shape.sizes:
            raise self.fail("a transposed number", node)
        if len(shape.sizes) == 1:
            return Shape(shape.sizes, not shape.row)
        return Shape(shape.sizes[::-1])

    # --- functions ---

    def _call(self, node: ast.Call) -> Shape:
        if node.name in self.scope.functions and node.args:
            return self._apply(self.scope.functions[node.name], [self.walk(arg) for arg in node.args], node)
        if not node.args:
            if node.name in self.scope.functions and len(self.scope.functions[node.name].parameters) == 1:
                return self._function_value(node.name, node)
            raise NotUnderstoodError(f"{node.name} is not defined in this note", node.start, node.end)
        name = node.name
        if name in ("kl", "H") and all(
            isinstance(arg, ast.Sym) and arg.name.lower() in self.scope.laws for arg in node.args
        ):
            return SCALAR
        if name == "H" and any(isinstance(arg, ast.Sym) and arg.name in _VARIABLES for arg in node.args):
            raise NotUnderstoodError("the entropy of a random variable is not evaluated", node.start, node.end)
        args = [self.walk(arg) for arg in node.args]
        if name in ELEMENTWISE or (name == "sigma" and "sigma" not in self.scope.functions):
            return Shape(args[0].sizes, args[0].row)
        if name in ("softmax", "logsoftmax"):
            return self._of_vector(node, args, Shape(args[0].sizes[:1]) if args[0].sizes else None)
        if name in ("lse", "H", "kl"):
            for arg in args[1:]:
                if len(arg.sizes) == len(args[0].sizes):
                    self.unify(args[0], arg)
            return self._of_vector(node, args, SCALAR)
        if name == "diag":
            return self._diag(node, args[0])
        if name in ("tr", "det"):
            if len(args[0].sizes) != 2:
                raise self.fail(f"{name} of something that is no matrix", node)
            self.shapes.unify(*args[0].sizes)
            return SCALAR
        if name == "cal:N":
            return self._normal(node, args)
        if name == "logbase":
            return Shape(args[1].sizes, args[1].row)
        if name in ("max", "min"):
            if len(args) == 1:
                return self._of_vector(node, args, SCALAR)
            if any(arg.sizes for arg in args):
                raise self.fail("a maximum of vectors", node)
            return SCALAR
        if name in ("binom", "factorial"):
            if any(arg.sizes for arg in args):
                raise self.fail("a factorial of a vector", node)
            return SCALAR
        if name in self.scope.generic:
            return SCALAR
        raise NotUnderstoodError(f"no meaning is known for the function {name}", node.start, node.end)

    def _of_vector(self, node: ast.Call, args: list[Shape], result: Shape | None) -> Shape:
        if result is None or any(len(arg.sizes) != 1 or arg.row for arg in args):
            raise self.fail(f"{node.name} takes vectors", node)
        return result

    def _diag(self, node: ast.Call, arg: Shape) -> Shape:
        if len(arg.sizes) == 1:
            return Shape((arg.sizes[0], arg.sizes[0]))
        if len(arg.sizes) == 2:
            self.shapes.unify(*arg.sizes)
            return Shape(arg.sizes[:1])
        raise self.fail("diag takes a vector or a matrix", node)

    def _normal(self, node: ast.Call, args: list[Shape]) -> Shape:
        if len(args) != 3:
            raise NotUnderstoodError("a Gaussian density with a variable, a mean and a variance was expected")
        if not args[2].sizes and not args[1].sizes and not args[0].sizes:
            return SCALAR
        if len(args[2].sizes) == 2 and len(args[0].sizes) == 1 and len(args[1].sizes) == 1:
            for size in (*args[2].sizes, *args[1].sizes):
                self.shapes.unify(args[0].sizes[0], size)
            return SCALAR
        raise self.fail("a Gaussian density of unlike things", node)

    # --- what binds ---

    def _big(self, node: ast.Big) -> Shape:
        frame: dict[str, Shape] = {}
        for name in node.names:
            if name in self.scope.support_names:
                frame[name] = SCALAR
        for bound in (node.lower, node.upper):
            if bound is not None and not isinstance(bound, ast.Inf):
                self.scalar(bound, "a bound")
        if isinstance(node.upper, ast.Sym) and node.upper.name in self.scope.size_names:
            for name in node.names:
                self.shapes.unify(self.shapes.index(name), self.shapes.size(node.upper.name))
        elif isinstance(node.upper, ast.Num) and _whole(node.lower) in (0, 1):
            for name in node.names:
                if is_index_use(name, node.body):
                    size = int(node.upper.value) + (1 if _whole(node.lower) == 0 else 0)
                    self.shapes.fixed.setdefault(self.shapes.find(self.shapes.index(name)), size)
        self.local.append(frame)
        for condition in node.where:
            self.walk(condition)
        body = self.walk(node.body)
        self.local.pop()
        if body.sizes and node.op in ("max", "min", "prod"):
            raise self.fail(f"a {node.op} of vectors", node)
        return Shape(body.sizes, body.row)

    def _deriv(self, node: ast.Deriv) -> Shape:
        body = self.walk(node.body)
        sizes: list[int] = []
        for variable in node.wrt:
            sizes += self.walk(variable).sizes
        if len(body.sizes) + len(sizes) > 2 or body.row:
            raise self.fail("a derivative with more than two axes", node)
        return Shape(body.sizes + tuple(sizes))

    def _grad(self, node: ast.Grad) -> Shape:
        wrt = node.wrt
        body = self.walk(node.body)
        if wrt is None:
            wrt = self.scope.gradient_variable(node.body)
            if wrt is None:
                raise NotUnderstoodError("a gradient whose variable is not named", node.start, node.end)
        shape = self.walk(wrt)
        if not shape.sizes:
            raise self.fail("a gradient by a number", wrt)
        if node.order == 2:
            if body.sizes or len(shape.sizes) != 1:
                raise self.fail("a Hessian of a vector", node)
            return Shape(shape.sizes * 2)
        if len(body.sizes) + len(shape.sizes) > 2:
            raise self.fail("a gradient with more than two axes", node)
        return Shape(body.sizes + shape.sizes)

    def _rel(self, node: ast.Rel) -> Shape:
        left, right = self.walk(node.left), self.walk(node.right)
        if node.op in ("and", "or"):
            return SCALAR
        if node.op in ("=", "neq", "<", ">", "leq", "geq"):
            self._same_range(node.left, node.right)
        if node.op != "in" and left.sizes and right.sizes:
            raise self.fail("a condition on vectors", node)
        return SCALAR

    def _same_range(self, left: Node, right: Node) -> None:
        """An index equal to another, or to a label, runs over the same range."""
        a, b = self._ranging(left), self._ranging(right)
        if a is not None and b is not None:
            self.shapes.unify(a, b)
        for one, other in ((a, right), (b, left)):
            label = other.base if isinstance(other, ast.Sub) else other
            if one is None or not isinstance(label, ast.Sym) or label.name in self.scope.variables:
                continue
            if isinstance(other, ast.Sub) or label.name not in self.scope.index_names | self.scope.size_names:
                self.shapes.unify(one, self.shapes.labels.setdefault(label.name, self.shapes.fresh()))

    def _ranging(self, node: Node) -> int | None:
        if isinstance(node, ast.Sym) and node.name in self.scope.index_names:
            return self.shapes.index(node.name)
        return None

    def _iverson(self, node: ast.Iverson) -> Shape:
        self.walk(node.condition)
        return SCALAR

    def _cases(self, node: ast.Cases) -> Shape:
        shape: Shape | None = None
        for value, condition in node.rows:
            here = self.walk(value)
            if condition is not None:
                self.walk(condition)
            if shape is not None and len(shape.sizes) != len(here.sizes):
                raise self.fail("cases of unlike things", node)
            shape = here
        assert shape is not None
        return Shape(shape.sizes, shape.row)

    def _table(self, node: ast.Table) -> Shape:
        for row in node.rows:
            for entry in row:
                self.scalar(entry, "an entry of a matrix")
        sizes = []
        for count in (len(node.rows), len(node.rows[0])):
            size = self.shapes.fresh()
            self.shapes.fixed[size] = count
            sizes.append(size)
        if len(node.rows[0]) == 1:
            return Shape((sizes[0],))
        if len(node.rows) == 1:
            return Shape((sizes[1],), row=True)
        return Shape(tuple(sizes))

    def _norm(self, node: ast.Norm) -> Shape:
        shape = self.walk(node.arg)
        if len(shape.sizes) == 0:
            raise self.fail("a norm of a number", node)
        if len(shape.sizes) == 2 and node.kind != "F":
            raise NotUnderstoodError("a norm of a matrix other than the Frobenius norm", node.start, node.end)
        return SCALAR

    def _abs(self, node: ast.Abs) -> Shape:
        shape = self.walk(node.arg)
        if len(shape.sizes) == 1:
            raise self.fail("an absolute value of a vector", node)
        if shape.sizes:
            self.shapes.unify(*shape.sizes)
        return SCALAR

    def _integral(self, node: ast.Integral) -> Shape:
        for bound in (node.lower, node.upper):
            if bound is not None:
                self.scalar(bound, "a bound")
        self.local.append({node.name: SCALAR})
        body = self.walk(node.body)
        self.local.pop()
        if body.sizes:
            raise self.fail("an integral of a vector", node)
        return SCALAR

    def _expect(self, node: ast.Expect) -> Shape:
        for arg in node.args:
            self.scalar(arg, "what an expectation is taken of")
        return SCALAR

    def _prob(self, node: ast.Prob) -> Shape:
        for event in (*node.events, *node.given):
            self._event(event)
        return SCALAR

    def _event(self, event: Node) -> Shape:
        assert isinstance(event, ast.Event)
        if event.op == "at":
            self.scalar(event.args[1], "a value")
            if isinstance(event.args[1], ast.Sym) and event.args[1].name in self.scope.index_names:
                self.shapes.fixed[self.shapes.find(self.shapes.index(event.args[1].name))] = SUPPORT
        for arg in event.args:
            if isinstance(arg, ast.Event):
                self._event(arg)
        return SCALAR


def _whole(node: Node | None) -> int | None:
    return int(node.value) if isinstance(node, ast.Num) and node.value.denominator == 1 else None
