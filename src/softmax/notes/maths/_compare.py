"""Both sides of the steps of a chain at random points, in several dimensions and domains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import _ast as ast
from . import _dual as dual
from ._arrays import Val
from ._ast import Node
from ._domains import RUNGS, USUAL, Domains, shown, words_for
from ._errors import FormulaError, NotUnderstoodError, UndefinedError
from ._evaluate import Evaluator
from ._scope import Scope
from ._shapes import Shapes

POINTS = 8
DIMENSIONS = ((3, 4, 5), (4, 5, 3), (5, 3, 4))
HOLDS = 1e-7  # relative difference up to which two sides are equal
FAILS = 1e-5  # from which they are not; between the two nothing is said
FLOOR = 1e-3  # sides smaller than this are compared absolutely
ENOUGH = 0.2  # share of points where both sides must have a value


@dataclass
class Outcome:
    """What the points say of one step: "holds", "fails", "unsure" or "no points"; `why` of the last two."""

    status: str
    points: int = 0
    difference: float = 0.0
    witness: dict[str, Any] | None = None
    assumed: str = ""
    why: str = ""


@dataclass
class Table:
    """Values of members in all batches, under one rung."""

    batches: list[tuple[Evaluator, list[Val | FormulaError]]] = field(default_factory=list)


class Comparison:
    """Evaluates members once per rung and compares any two of them."""

    def __init__(
        self,
        members: Sequence[Node | None],
        conditions: Sequence[Node],
        scope: Scope,
        shapes: Shapes,
        free: list[str],
        *,
        independent: bool = False,
    ) -> None:
        self.members, self.conditions, self.scope, self.shapes = members, conditions, scope, shapes
        self.free = free
        self.independent = independent
        self.tables: dict[str, Table] = {}

    def table(self, rung: str) -> Table:
        if rung not in self.tables:
            self.tables[rung] = Table([self._batch(rung, number) for number in range(len(DIMENSIONS))])
        return self.tables[rung]

    def _batch(self, rung: str, number: int) -> tuple[Evaluator, list[Val | FormulaError]]:
        evaluator = self.evaluator(rung, number)
        values: list[Val | FormulaError] = []
        for member in self.members:
            if member is None:
                values.append(NotUnderstoodError("this side could not be read"))
                continue
            values.append(evaluated(evaluator, member))
        return evaluator, values

    def evaluator(self, rung: str, number: int) -> Evaluator:
        """An evaluator for one batch of points: its own sizes and seed, with the axes of the free indices."""
        domains = Domains(rung, self.scope.domains, number)
        evaluator = Evaluator(self.scope, self.shapes, domains, sizes_for(self.shapes, number), POINTS)
        evaluator.independent = self.independent
        evaluator.add_free(self.free)
        return evaluator

    def compare(self, left: int, right: int, relation: str) -> Outcome:
        """Compare two members under the first rung that gives both a value, and as usual where they differ."""
        first: Outcome | None = None
        for rung in RUNGS:
            found = self._under(rung, left, right, relation)
            if found.status == "no points" and not found.why:
                continue
            first = found
            break
        if first is None or first.status == "fails" or first.status == "no points":
            usual = self._under(USUAL, left, right, relation)
            if usual.status == "holds":
                return usual
            if first is None or (first.status == "no points" and usual.status == "fails"):
                first = usual
        return first

    def _under(self, rung: str, left: int, right: int, relation: str) -> Outcome:
        points = total = 0
        worst, witness, failing = 0.0, None, 0
        drawn: dict[str, str] = {}
        for evaluator, values in self.table(rung).batches:
            a, b = values[left], values[right]
            for value in (a, b):
                if isinstance(value, FormulaError) and not isinstance(value, UndefinedError):
                    return Outcome("no points", why=value.text)
            if isinstance(a, FormulaError) or isinstance(b, FormulaError):
                continue
            x, y = aligned(evaluator, a, b)
            mask = self._mask(evaluator)
            difference, valid = differences(x, y, relation)
            extra = x.ndim - mask.ndim if mask.ndim else 0
            # conditions have axes of indices and points only
            rank = max(a.rank, b.rank)
            if mask.ndim:
                mask = mask.reshape(mask.shape + (1,) * rank)
                valid = valid & np.broadcast_to(mask, np.broadcast_shapes(mask.shape, valid.shape))
                difference = np.broadcast_to(difference, valid.shape)
            del extra
            total += int(np.broadcast_to(mask, valid.shape).sum()) if mask.ndim else valid.size
            points += int(valid.sum())
            drawn |= evaluator.domains.drawn
            if valid.any():
                shown_difference = np.where(valid, difference, -1.0)
                here = float(shown_difference.max())
                failing += int((shown_difference > HOLDS).sum())
                if here > worst or witness is None:
                    worst = max(worst, here)
                    witness = self._witness(evaluator, x, y, shown_difference)
        if points == 0 or points < ENOUGH * total:
            return Outcome("no points", points)
        status = "holds" if worst <= HOLDS else ("fails" if worst > FAILS and failing > 1 else "unsure")
        assumed = words_for(drawn, self.scope.domains) if rung == USUAL else ""
        if rung in ("positive", "unit"):
            assumed = {"positive": "all names positive", "unit": "all names between 0 and 1"}[rung]
        return Outcome(status, points, worst, witness, assumed)

    def _mask(self, evaluator: Evaluator) -> Any:
        mask: Any = np.asarray(True)
        for condition in self.conditions:
            mask = np.logical_and(mask, evaluator.truth(condition))
        return mask

    def _witness(self, evaluator: Evaluator, x: Any, y: Any, difference: Any) -> dict[str, Any]:
        """The point where the sides differ most: values of its names, and both sides."""
        place = np.unravel_index(int(np.argmax(difference)), difference.shape)
        rank = difference.ndim - evaluator.depth
        batch = place[: evaluator.depth] if rank >= 0 else place
        out: dict[str, Any] = {
            "left": float(np.broadcast_to(x, difference.shape)[place]),
            "right": float(np.broadcast_to(y, difference.shape)[place]),
        }
        point: dict[str, Any] = {}
        for axis, name in enumerate(self.free, 1):
            position = len(batch) - 1 - axis
            if position >= 0:
                point[shown(name)] = int(batch[position]) + 1
        number = int(batch[-1]) if batch else 0
        for name, value in sorted(evaluator.samples.items()):
            array = np.asarray(dual.primal(value.array))
            values = array[number % len(array)]
            point[shown(name)] = np.round(values, 6).tolist()
        out["point"] = point
        return out


def evaluated(evaluator: Evaluator, node: Node) -> Val | FormulaError:
    """The value of a node, or why it has none."""
    try:
        with np.errstate(all="ignore"):
            return evaluator.value(node)
    except FormulaError as error:
        return error
    except np.linalg.LinAlgError:
        return UndefinedError("a matrix without an inverse", node.start, node.end)
    except (RecursionError, MemoryError):
        return NotUnderstoodError("the formula is too large to evaluate", node.start, node.end)
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, AssertionError):
        # Shapes that were unified and still do not fit: nothing can be said, and nothing must break.
        return NotUnderstoodError("its numbers, vectors and matrices do not go together", node.start, node.end)


def sizes_for(shapes: Shapes, number: int) -> dict[int, int]:
    """A size from 3 to 5 for each class, different ones for different classes as far as they go."""
    roots = sorted({shapes.find(family) for family in range(len(shapes.parents))})
    fixed = {shapes.find(root): size for root, size in shapes.fixed.items()}
    out, free = {}, 0
    for root in roots:
        if root in fixed:
            out[root] = fixed[root]
        else:
            out[root] = DIMENSIONS[number % len(DIMENSIONS)][free % 3]
            free += 1
    return out


def aligned(evaluator: Evaluator, a: Val, b: Val) -> tuple[Any, Any]:
    """Both sides as arrays with the same axes behind; a number beside a vector stands for each of its entries."""
    if a.rank == b.rank == 2:
        a, b = evaluator._matched(a, b)
    rank = max(a.rank, b.rank)
    out = []
    for value in (a, b):
        array = np.asarray(dual.primal(value.array), dtype=float)
        if value.rank < rank:
            if array.size > 1 and value.rank == 0:
                raise_shape = array.reshape(array.shape + (1,) * rank)
                array = raise_shape
            else:
                array = array.reshape(array.shape + (1,) * (rank - value.rank))
        batch = array.ndim - rank
        if batch < evaluator.depth:
            array = array.reshape((1,) * (evaluator.depth - batch) + array.shape)
        out.append(array)
    try:
        x, y = np.broadcast_arrays(*out)
    except ValueError:
        raise NotUnderstoodError("the two sides are vectors or matrices of different sizes") from None
    return x, y


def differences(x: Any, y: Any, relation: str) -> tuple[Any, Any]:
    """Relative difference, entry by entry; for ≤ and ≥ how far the wrong side is above; and where both have a value."""
    with np.errstate(all="ignore"):
        valid = np.isfinite(x) & np.isfinite(y)
        scale = np.maximum(np.maximum(np.abs(x), np.abs(y)), FLOOR)
        if relation in ("leq", "<"):
            gap = np.maximum(x - y, 0.0)
        elif relation in ("geq", ">"):
            gap = np.maximum(y - x, 0.0)
        else:
            gap = np.abs(x - y)
        return np.where(valid, gap / np.where(valid, scale, 1.0), 0.0), valid


def free_indices(members: Sequence[Node | None], scope: Scope) -> list[str]:
    """Names of indices and of values of random variables that nothing binds, in all members and what they use."""
    found: set[str] = set()
    bodies = [d.body for d in scope.variables.values() if not d.indices]
    for node in [*members, *bodies]:
        if node is not None:
            _free(node, frozenset(), scope, found)
    for definition in [*scope.variables.values(), *scope.functions.values()]:
        _free(definition.body, frozenset(definition.indices) | frozenset(definition.parameters), scope, found)
    return sorted(found)


def _free(node: Node, bound: frozenset[str], scope: Scope, found: set[str]) -> None:
    if isinstance(node, ast.Sym):
        if node.name in scope.index_names | scope.support_names and node.name not in bound:
            found.add(node.name)
        return
    if isinstance(node, ast.Event) and node.op == "var" and node.args[0] not in bound:
        found.add(node.args[0])
    if isinstance(node, ast.Big):
        inside = bound | set(node.names)
        for part in (node.lower, node.upper):
            if part is not None:
                _free(part, bound, scope, found)
        for part in (*node.where, node.body):
            _free(part, inside, scope, found)
        return
    if isinstance(node, ast.Integral):
        for part in (node.lower, node.upper):
            if part is not None:
                _free(part, bound, scope, found)
        _free(node.body, bound | {node.name}, scope, found)
        return
    if isinstance(node, ast.Expect):
        bound = bound | set(node.over)
    for child in ast.children(node):
        _free(child, bound, scope, found)
