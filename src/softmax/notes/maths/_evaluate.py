"""The value of a formula at many points at once.

An array has one axis for each index that is free or bound at that place, then one for the points, then those of a
vector or matrix. A new index comes in front of all others, so that NumPy's broadcasting joins parts that use different
indices. Bound names are such axes that are summed away, gradients such axes that become those of a vector.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from . import _ast as ast
from . import _calls, _chance
from . import _dual as dual
from ._arrays import Val, column, flat, line, raised, reduce, take, where_converged
from ._ast import Node
from ._domains import Domains
from ._dual import Array, Dual
from ._errors import NotUnderstoodError, UndefinedError
from ._scope import Definition, Scope
from ._shapes import SUPPORT, Shapes

MOST_ENTRIES = 1_000_000
HIGHEST_ORDER = 4
SECONDS = 2.0  # for one formula in one batch of points
MOST_NODES = 20_000
TERMS = 120  # of an infinite series


@dataclass(slots=True)
class Index:
    """Values of an index, as whole numbers from `base` on; `whole`: they are its axis from end to end."""

    values: Any
    base: int = 1
    whole: bool = True


class Evaluator:
    """Evaluates nodes at `points` points, with sizes for the classes of `shapes` and values from `domains`."""

    def __init__(self, scope: Scope, shapes: Shapes, domains: Domains, sizes: dict[int, int], points: int) -> None:
        self.scope, self.shapes, self.domains, self.sizes, self.points = scope, shapes, domains, sizes, points
        self.depth = 1  # axes of indices and points
        self.overlay: dict[str, Val] = {}
        self.locals: dict[str, Val] = {}
        self.indices: dict[str, Index] = {}
        self.samples: dict[str, Val] = {}
        self.cache: dict[str, Val] = {}
        self.touched: set[str] = set()
        self.tags = 0
        self.nodes = 0
        self.calls = 0
        self.independent = False
        self.deadline = time.monotonic() + SECONDS

    # --- axes ---

    def size_of(self, family: int) -> int:
        return self.sizes[self.shapes.find(family)]

    @contextmanager
    def axis(self, count: int) -> Iterator[Any]:
        """A new axis in front; gives the positions along it."""
        if count * self.points * 5 ** max(self.depth - 1, 0) > MOST_ENTRIES * 20:
            raise NotUnderstoodError("too many indices at once")
        positions = np.arange(count).reshape((count,) + (1,) * self.depth)
        self.depth += 1
        try:
            yield positions
        finally:
            self.depth -= 1

    def add_free(self, names: list[str]) -> None:
        """Give the free indices their axes."""
        for name in names:
            count = SUPPORT if name in self.scope.support_names else self.size_of(self.shapes.index(name))
            positions = np.arange(count).reshape((count,) + (1,) * self.depth)
            self.depth += 1
            self.indices[name] = Index(positions + 1)

    # --- walking ---

    def value(self, node: Node) -> Val:
        self.nodes += 1
        if self.nodes > MOST_NODES or time.monotonic() > self.deadline:
            raise NotUnderstoodError("the formula takes too long to evaluate")
        method = getattr(self, "_" + type(node).__name__.lower())
        result: Val = method(node)
        if dual.primal(result.array).size > MOST_ENTRIES:
            raise NotUnderstoodError("the formula is too large to evaluate", node.start, node.end)
        return result

    def scalar(self, node: Node) -> Array:
        value = self.value(node)
        if value.rank:
            raise NotUnderstoodError("a vector or matrix where a number was expected", node.start, node.end)
        return value.array

    def _num(self, node: ast.Num) -> Val:
        return Val(np.asarray(float(node.value)))

    def _inf(self, node: ast.Inf) -> Val:
        return Val(np.asarray(np.inf))

    def _sym(self, node: ast.Sym) -> Val:
        name = node.name
        if name in self.locals:
            self.touched.add(name)
            return self.locals[name]
        if name in self.indices:
            return self._index_value(name)
        if name in self.overlay:
            self.touched.add(name)
            return self.overlay[name]
        if name in self.scope.variables:
            return self._variable(name)
        if name in self.scope.functions:
            definition = self.scope.functions[name]
            return self.apply(definition, [self._sym(ast.Sym(p)) for p in definition.parameters])
        if name in self.scope.identities:
            return self._identity(node)
        if self.scope.is_constant(name):
            return Val(np.asarray(np.e if name == "e" else np.pi))
        if name in self.shapes.sizes:
            return Val(np.asarray(float(self.size_of(self.shapes.sizes[name]))))
        if name in self.scope.random_names:
            raise NotUnderstoodError(
                f"the random variable {name} stands outside of an expectation", node.start, node.end
            )
        if name == "ones":
            return Val(np.ones((1, self.size_of(self.shapes.symbol(name).sizes[0]))), 1)
        return self.sample(name)

    def _index_value(self, name: str) -> Val:
        index = self.indices[name]
        if name in self.scope.support_names:
            table = self.domains.table(f"value of {name}", (self.points, SUPPORT))
            return Val(self.component(table, 1, Index(index.values)))
        return Val(np.asarray(index.values, dtype=float))

    def sample(self, name: str) -> Val:
        """Values of a name that nothing defines: random ones."""
        if name not in self.samples:
            if name in self.shapes.labels:
                count = self.size_of(self.shapes.labels[name])
                self.samples[name] = self._labels(name, count)
            else:
                shape = tuple(self.size_of(size) for size in self.shapes.symbol(name).sizes)
                self.samples[name] = Val(self.domains.draw(name, self.points, shape), len(shape))
        return self.samples[name]

    def _labels(self, name: str, count: int) -> Val:
        shape = tuple(self.size_of(size) for size in self.shapes.symbol(name).sizes)
        generator = np.random.default_rng(zlib.crc32(name.encode("utf-8", "replace")))
        return Val(generator.integers(1, count + 1, (self.points, *shape)).astype(float), len(shape))

    def _identity(self, node: Node) -> Val:
        return Val(np.ones(()), 2, row=True)  # stands for itself until it meets a matrix: see _matched

    def _variable(self, name: str) -> Val:
        if name in self.cache:
            self.touched |= set(self.overlay) & self._names_below(name)
            return self.cache[name]
        definition = self.scope.variables[name]
        value = self._component(definition, {})
        self.cache[name] = value
        return value

    def _names_below(self, name: str) -> set[str]:
        found: set[str] = set()
        todo = [name]
        while todo:
            here = todo.pop()
            for table in (self.scope.variables, self.scope.functions):
                if here in table:
                    new = {n.name for n in ast.walk(table[here].body) if isinstance(n, ast.Sym | ast.Call)} - found
                    found |= new
                    todo += new
        return found

    def _component(self, definition: Definition, arguments: dict[str, Val]) -> Val:
        """The value of a definition with all its components: each index of it becomes an axis of the value."""
        self.calls += 1
        if self.calls > 300:
            raise NotUnderstoodError(f"{definition.name} leads through too many definitions")
        kept_locals, kept_indices = self.locals, self.indices
        self.locals = arguments
        self.indices = {name: index for name, index in kept_indices.items() if name not in definition.indices}
        try:
            value = self._along(list(definition.indices), definition.body)
        finally:
            self.locals, self.indices = kept_locals, kept_indices
        return value

    def _along(self, names: list[str], body: Node) -> Val:
        if not names:
            return self.value(body)
        count = self.size_of(self.shapes.index(names[0]))
        with self.axis(count) as positions:
            self.indices[names[0]] = Index(positions + 1)
            inner = self._along(names[1:], body)
        return Val(self.gather(inner.array, inner.rank, count, last=False), inner.rank + 1)

    def gather(self, array: Array, rank: int, count: int, *, last: bool) -> Array:
        """Turn the front axis of an array, made by `axis`, into an axis of its value."""
        depth = self.depth + 1

        def move(x: Any) -> Any:
            x = np.asarray(x)
            if x.ndim - rank < depth:
                shape = (count,) + (1,) * (depth - 1 - (x.ndim - rank)) + x.shape
                x = np.broadcast_to(x.reshape((1, *shape[1:])), shape)
            elif x.shape[0] != count:
                x = np.broadcast_to(x, (count, *x.shape[1:]))
            return np.moveaxis(x, 0, -1 if last else x.ndim - 1 - rank)

        return dual.linear(move, array)

    def apply(self, definition: Definition, arguments: list[Val]) -> Val:
        return self._component(definition, dict(zip(definition.parameters, arguments, strict=True)))

    # --- components ---

    def _sub(self, node: ast.Sub) -> Val:
        base = node.base
        if isinstance(base, ast.Sym) and base.name in self.scope.basis:
            index = self.index_of(node.index[0])
            count = self.size_of(self._walker_size(node.index[0]))
            return Val(((index.values - index.base)[..., None] == np.arange(count)).astype(float), 1)
        value = self.value(base)
        for position in node.index:
            index = self._position(position)
            value = Val(self.component(value.array, value.rank, index), value.rank - 1)
        return value

    def _walker_size(self, index: Node) -> int:
        if isinstance(index, ast.Sym) and index.name in self.shapes.indices:
            return self.shapes.indices[index.name]
        raise NotUnderstoodError("a unit vector whose index is no name", index.start, index.end)

    def _position(self, node: Node) -> Index:
        return Index(np.asarray(int(node.value))) if isinstance(node, ast.Num) else self.index_of(node)

    def index_of(self, node: Node) -> Index:
        """The values of an index: those of a name with its base, or of an expression from 1 on."""
        if isinstance(node, ast.Sym) and node.name in self.indices:
            return self.indices[node.name]
        value = dual.primal(self.scalar(node))
        base = 1
        for part in ast.walk(node):
            if isinstance(part, ast.Sym) and part.name in self.indices:
                base = self.indices[part.name].base
        return Index(np.rint(value).astype(int), base, whole=False)

    def component(self, array: Array, rank: int, index: Index) -> Array:
        """The component of the first axis of a vector or matrix at the values of an index."""
        if rank < 1:
            raise NotUnderstoodError("a component of a number")
        positions = np.asarray(index.values) - index.base
        return dual.linear(lambda x: take(x, rank, positions, index.whole), array)

    # --- arithmetic ---

    def _neg(self, node: ast.Neg) -> Val:
        value = self.value(node.arg)
        return Val(dual.neg(value.array), value.rank, value.row)

    def _matched(self, a: Val, b: Val) -> tuple[Val, Val]:
        """Write out an identity matrix where the other side tells its size."""
        if a.rank == 2 and a.row and not (b.rank == 2 and b.row):
            a = self._written(a, dual.primal(b.array).shape[-1])
        elif b.rank == 2 and b.row and not a.row:
            b = self._written(b, dual.primal(a.array).shape[-1])
        return a, b

    def _written(self, identity: Val, count: int) -> Val:
        eye = np.eye(count)
        return Val(dual.linear(lambda x: np.asarray(x)[..., None, None] * eye, identity.array), 2)

    def _add(self, node: ast.Add) -> Val:
        left, right = self.value(node.left), self.value(node.right)
        if left.rank == right.rank == 2:
            left, right = self._matched(left, right)
        operate = dual.add if node.sign > 0 else dual.sub
        rank = max(left.rank, right.rank)
        row = left.row if left.rank >= right.rank else right.row
        return Val(operate(raised(left, rank), raised(right, rank)), rank, row)

    def _mul(self, node: ast.Mul) -> Val:
        left, right = self.value(node.left), self.value(node.right)
        return self.product(left, right, node.how)

    def product(self, left: Val, right: Val, how: str) -> Val:
        """The product of numbers, vectors and matrices in every combination that `Shapes` lets through."""
        if not left.rank or not right.rank:
            rank = max(left.rank, right.rank)
            if rank == 2 and (left.row or right.row):  # an identity times a number
                return Val(dual.mul(left.array, right.array), 2, row=True)
            return Val(dual.mul(raised(left, rank), raised(right, rank)), rank, left.row or right.row)
        if left.rank == 2 and left.row:
            return Val(dual.mul(raised(Val(left.array), right.rank), right.array), right.rank, right.row)
        if right.rank == 2 and right.row:
            return Val(dual.mul(left.array, raised(Val(right.array), left.rank)), left.rank, left.row)
        if how == "odot":
            return Val(dual.mul(left.array, right.array), left.rank, left.row)
        if left.rank == right.rank == 1:
            if (how == "otimes") or (right.row and not left.row):
                return Val(dual.mul(column(left.array), line(right.array)), 2)
            return Val(dual.sum_last(dual.mul(left.array, right.array)))
        if left.rank == 1:
            return Val(flat(dual.matmul(line(left.array), right.array), -2), 1, row=True)
        if right.rank == 1:
            return Val(flat(dual.matmul(left.array, column(right.array)), -1), 1)
        return Val(dual.matmul(left.array, right.array), 2)

    def _div(self, node: ast.Div) -> Val:
        left, right = self.value(node.left), self.scalar(node.right)
        if left.rank == 2 and left.row:
            return Val(dual.div(left.array, right), 2, row=True)
        return Val(dual.div(left.array, raised(Val(right), left.rank)), left.rank, left.row)

    def _pow(self, node: ast.Pow) -> Val:
        base = node.base
        if isinstance(base, ast.Sym) and base.name == "e" and self.scope.is_constant("e"):
            exponent = self.value(node.exponent)
            return Val(dual.exp(exponent.array), exponent.rank, exponent.row)
        value, power = self.value(base), self.scalar(node.exponent)
        if value.rank == 2:
            return self._matrix_power(value, int(np.ravel(dual.primal(power))[0]), node)
        return Val(dual.power(value.array, power))

    def _matrix_power(self, value: Val, power: int, node: Node) -> Val:
        if value.row:
            return value
        if not -3 <= power <= 6:
            raise NotUnderstoodError("a high power of a matrix", node.start, node.end)
        array = dual.inverse(value.array) if power < 0 else value.array
        if power == 0:
            return Val(np.ones(()), 2, row=True)
        out = array
        for _ in range(abs(power) - 1):
            out = dual.matmul(out, array)
        return Val(out, 2)

    def _transpose(self, node: ast.Transpose) -> Val:
        value = self.value(node.arg)
        if value.rank == 1:
            return Val(value.array, 1, not value.row)
        if value.row:
            return value
        return Val(dual.linear(lambda x: np.swapaxes(x, -1, -2), value.array), 2)

    def _call(self, node: ast.Call) -> Val:
        return _calls.call(self, node)

    # --- what binds ---

    def _big(self, node: ast.Big) -> Val:
        return self._bound(node, list(node.names))

    def _bound(self, node: ast.Big, names: list[str]) -> Val:
        if not names:
            return self._masked(node)
        name = names[0]
        values, base = self._range(node, name)
        kept = self.indices.get(name)
        infinite = isinstance(node.upper, ast.Inf)
        hidden = self.locals.pop(name, None)
        with self.axis(len(values)) as positions:
            whole = base == values[0] and len(values) > 0
            self.indices[name] = Index(values[positions], base, whole=bool(whole))
            inner = self._bound(node, names[1:])
        if kept is None:
            del self.indices[name]
        else:
            self.indices[name] = kept
        if hidden is not None:
            self.locals[name] = hidden
        array = self.gather(inner.array, inner.rank, len(values), last=True)
        if infinite:
            array = where_converged(array, node)
        return Val(reduce(node.op, array), inner.rank, inner.row)

    def _range(self, node: ast.Big, name: str) -> tuple[Any, int]:
        if name in self.scope.support_names:
            return np.arange(1, SUPPORT + 1), 1
        low = 1 if node.lower is None else self._whole(node.lower)
        base = 0 if low == 0 else 1
        if node.upper is None:
            return np.arange(low, self.size_of(self.shapes.index(name)) + low), base
        if isinstance(node.upper, ast.Inf):
            return np.arange(low, low + TERMS), base
        high = self._whole(node.upper)
        if high - low + 1 > 2000:
            raise NotUnderstoodError("a sum with more than 2000 terms", node.start, node.end)
        if high < low:
            raise UndefinedError("an empty range of a sum", node.start, node.end)
        return np.arange(low, high + 1), base

    def _whole(self, node: Node) -> int:
        value = np.ravel(dual.primal(self.scalar(node)))
        if value.size == 0 or not np.isfinite(value[0]) or not (value == value[0]).all():
            raise NotUnderstoodError("a bound that is not the same everywhere", node.start, node.end)
        if value[0] != round(value[0]):
            raise NotUnderstoodError("a bound that is no whole number", node.start, node.end)
        return int(value[0])

    def _masked(self, node: ast.Big) -> Val:
        value = self.value(node.body)
        if not node.where:
            return value
        mask: Any = True
        for condition in node.where:
            mask = np.logical_and(mask, self.truth(condition))
        mask = mask.reshape(mask.shape + (1,) * value.rank)
        neutral = {"sum": 0.0, "prod": 1.0, "max": -np.inf, "min": np.inf}[node.op]
        return Val(dual.where(mask, value.array, np.asarray(neutral)), value.rank, value.row)

    def _deriv(self, node: ast.Deriv) -> Val:
        return self._slope(node.body, list(node.wrt))

    def _slope(self, body: Node, wrt: list[Node]) -> Val:
        if not wrt:
            return self.value(body)
        variable = wrt[0]
        name = variable_name(variable)
        value = self._sym(ast.Sym(name))
        if isinstance(variable, ast.Sub):
            rank = len(variable.index)
            if rank != value.rank:
                raise NotUnderstoodError("a derivative by a row of a matrix", variable.start, variable.end)
            axes = [self._position(index) for index in variable.index]
            return self._along_seed(name, value, self._seed(value, axes), body, wrt[1:])
        if value.rank == 0:
            return self._along_seed(name, value, np.ones(()), body, wrt[1:])
        return self._gradient(name, value, body, wrt[1:])

    def _gradient(self, name: str, value: Val, body: Node, rest: list[Node]) -> Val:
        counts = dual.primal(value.array).shape[-value.rank :]
        axes: list[Index] = []

        def inner() -> Val:
            if len(axes) == len(counts):
                return self._along_seed(name, value, self._seed(value, axes), body, rest)
            count = counts[len(axes)]
            with self.axis(count) as positions:
                axes.append(Index(positions + 1))
                found = inner()
            return Val(self.gather(found.array, found.rank, count, last=True), found.rank + 1)

        # The axes are made from the first to the last and gathered from the last to the first.
        found = inner()
        if len(counts) == 2:
            return Val(dual.linear(lambda x: np.swapaxes(x, -1, -2), found.array), 2)
        return found

    def _seed(self, value: Val, axes: list[Index]) -> Any:
        shape = dual.primal(value.array).shape[-value.rank :]
        out: Any = np.ones(())
        for place, index in enumerate(axes):
            hot = (np.asarray(index.values) - index.base)[..., None] == np.arange(shape[place])
            after, before = len(shape) - place - 1, place
            hot = hot.reshape(hot.shape[:-1] + (1,) * before + hot.shape[-1:] + (1,) * after)
            out = out * hot
        return out

    def _along_seed(self, name: str, value: Val, seed: Any, body: Node, rest: list[Node]) -> Val:
        """The derivative of the body in the direction `seed` of a name."""
        if self.tags >= HIGHEST_ORDER:
            raise NotUnderstoodError(f"a derivative of an order above {HIGHEST_ORDER}", body.start, body.end)
        self.tags += 1
        tag = self.tags
        shape = np.broadcast_shapes(np.shape(seed), dual.primal(value.array).shape)
        moved = Val(Dual(value.array, np.broadcast_to(seed, shape), tag), value.rank, value.row)
        kept = self.overlay, self.locals, self.cache, self.touched
        self.cache, self.touched = {}, set()
        if name in self.locals:
            self.locals = {**self.locals, name: moved}
        else:
            self.overlay = {**self.overlay, name: moved}
        try:
            found = self._slope(body, rest)
            touched = self.touched
        finally:
            self.overlay, self.locals, self.cache, self.touched = kept
        self.touched |= touched - {name}
        self.tags = tag - 1
        if name not in touched:
            self._check_dependence(body, name)
        return Val(dual.slope_of(found.array, tag), found.rank, found.row)

    def _check_dependence(self, body: Node, name: str) -> None:
        """A name that nothing defines does not depend on anything; its derivative would be zero by ignorance."""
        bare = body.base if isinstance(body, ast.Sub) else body
        if isinstance(bare, ast.Call) and bare.name in self.scope.generic and not bare.args:
            bare = ast.Sym(bare.name)
        if (
            isinstance(bare, ast.Sym)
            and bare.name not in self.scope.variables
            and bare.name not in self.scope.functions
        ):
            raise NotUnderstoodError(f"{bare.name} is not given as a function of {name}", body.start, body.end)

    def _grad(self, node: ast.Grad) -> Val:
        wrt = node.wrt or self.scope.gradient_variable(node.body)
        if wrt is None:
            raise NotUnderstoodError("a gradient whose variable is not named", node.start, node.end)
        return self._slope(node.body, [wrt] * node.order)

    def truth(self, condition: Node) -> Any:
        """Where a condition holds."""
        if not isinstance(condition, ast.Rel):
            raise NotUnderstoodError("a condition was expected", condition.start, condition.end)
        op = condition.op
        if op in ("and", "or"):
            join = np.logical_and if op == "and" else np.logical_or
            return join(self.truth(condition.left), self.truth(condition.right))
        if op == "in":
            return np.asarray(True)
        left, right = dual.primal(self.scalar(condition.left)), dual.primal(self.scalar(condition.right))
        operate = {
            "=": np.equal, "neq": np.not_equal, "<": np.less, ">": np.greater, "leq": np.less_equal,
            "geq": np.greater_equal,
        }.get(op)  # fmt: skip
        if operate is None:
            raise NotUnderstoodError("a condition with another relation", condition.start, condition.end)
        return operate(left, right)

    def _rel(self, node: ast.Rel) -> Val:
        return Val(np.asarray(self.truth(node), dtype=float))

    def _iverson(self, node: ast.Iverson) -> Val:
        return Val(np.asarray(self.truth(node.condition), dtype=float))

    def _cases(self, node: ast.Cases) -> Val:
        out: Val | None = None
        for value_node, condition in reversed(node.rows):
            value = self.value(value_node)
            mask = np.asarray(True) if condition is None else np.asarray(self.truth(condition))
            other = np.full(dual.primal(value.array).shape, np.nan) if out is None else out.array
            mask = mask.reshape(mask.shape + (1,) * value.rank)
            out = Val(dual.where(mask, value.array, other), value.rank, value.row)
        assert out is not None
        return out

    def _table(self, node: ast.Table) -> Val:
        entries = [[self.scalar(entry) for entry in row] for row in node.rows]
        shape = np.broadcast_shapes(*(dual.primal(entry).shape for row in entries for entry in row), (1,))
        columns, lines = len(entries[0]), len(entries)
        out: Array = np.zeros((*shape, lines, columns))
        for i, row in enumerate(entries):
            for j, entry in enumerate(row):
                place = np.zeros((lines, columns))
                place[i, j] = 1.0
                out = dual.add(out, dual.linear(partial(_placed, place), entry))
        if columns == 1:
            return Val(flat(out, -1), 1)
        if lines == 1:
            return Val(flat(out, -2), 1, row=True)
        return Val(out, 2)

    def _norm(self, node: ast.Norm) -> Val:
        value = self.value(node.arg)
        array, axes = value.array, value.rank
        if node.kind == "1":
            return Val(dual.sum_last(dual.absolute(array), axes))
        if node.kind == "infty":
            return Val(reduce("max", dual.absolute(array)))
        return Val(dual.sqrt(dual.sum_last(dual.square(array), axes)))

    def _abs(self, node: ast.Abs) -> Val:
        value = self.value(node.arg)
        if value.rank == 2:
            return Val(dual.determinant(value.array))
        return Val(dual.absolute(value.array))

    def _integral(self, node: ast.Integral) -> Val:
        return _chance.integral(self, node)

    def _expect(self, node: ast.Expect) -> Val:
        return _chance.expectation(self, node)

    def _prob(self, node: ast.Prob) -> Val:
        return _chance.probability(self, node)


def _placed(place: Any, x: Any) -> Any:
    return np.asarray(x)[..., None, None] * place


def variable_name(node: Node) -> str:
    base = node.base if isinstance(node, ast.Sub) else node
    if not isinstance(base, ast.Sym):
        raise NotUnderstoodError("a derivative by something that is no variable", node.start, node.end)
    return base.name
