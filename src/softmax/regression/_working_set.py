"""The quadratic model of a fit with a lasso penalty, on the coordinates that matter: sweeps and steps on a face.

Coordinate descent finds which coefficients are 0. Where that has settled, the model is smooth in the others, a face of
the penalty, and conjugate gradients reach its minimum in far fewer rounds than coordinates one by one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from softmax._kernels.cpu import coordinate

from ._columns import DenseColumns, Indices, Residuals, SparseColumns
from ._fenchel import Penalties
from ._rows import Floats

# Sweeps after which, and the rate of convergence above which, a step on the face pays.
SWEEPS_BEFORE_FACE = 4
SLOW = 0.95
CG_LIMIT = 100
# Products between coordinates of a class are computed if they cost no more than so many rounds without them.
GRAM_WORTH = 16
# After a round over all classes come two over those with more than this share of the largest violation.
PARTIAL = 0.1
# Up to this number of classes a grouped feature is solved with its whole Hessian block.
WHOLE_BLOCKS = 16

Product: TypeAlias = Callable[[Floats, Floats], tuple[Floats, Floats]]
SWEEP_LIMIT = 100


@dataclass(eq=False)
class WorkingSet:
    """Coordinates by class: `keys` = k·d + j in ascending order; class k has those from ends[k] to ends[k + 1].

    With `grouped`, every class has the same features. `slots` says where the columns are stored; `unit` is what a
    violation of the optimality conditions is measured in.
    """

    keys: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    features: npt.NDArray[np.int64]
    ends: Indices
    slots: Indices
    ridge: Floats
    lasso: Floats
    unit: Floats
    low: Floats
    high: Floats
    limited: bool
    grouped: bool
    coef: Floats

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def penalties(self) -> Penalties:
        """h at these coordinates."""
        if self.grouped:
            first = slice(0, int(self.ends[1]))
            return Penalties(self.ridge[first], self.lasso[first], grouped=True)
        limits = (self.low, self.high) if self.limited else (None, None)
        return Penalties(self.ridge, self.lasso, *limits)

    def shaped(self, values: Floats) -> Floats:
        """Values at the coordinates as `penalties` takes them."""
        return values.reshape(len(self.ends) - 1, -1) if self.grouped else values

    def penalty(self, coef: Floats) -> float:
        """h(W)."""
        return self.penalties.value(self.shaped(coef))


class QuadraticModel:
    """Minimises the model around the current probabilities; holds the change of the logits that it arrives at."""

    def __init__(
        self, columns: SparseColumns | DenseColumns, residuals: Residuals, intercept: bool, probability: Floats
    ) -> None:
        self.columns = columns
        self.residuals = residuals
        self.intercept = intercept
        self.probability = probability
        self.change = np.zeros_like(probability)
        self.mean = np.zeros(residuals.width)
        self.curvature_sums = np.zeros(residuals.n_classes)
        self._extra, self._damping = np.zeros(0), 0.0
        self._spare: tuple[Floats, Floats] | None = None
        self._scratch = np.zeros(3 * residuals.width)
        self.n_sweeps = 0
        self.n_products = 0

    def gradients(self, ws: WorkingSet, moved: bool = False) -> tuple[Floats, Floats]:
        """Derivatives of the loss, or of its model after the change, at the coordinates of `ws`, and at intercepts."""
        return self._gradients(ws.ends, ws.slots, moved)

    def _gradients(self, ends: Indices, slots: Indices, moved: bool) -> tuple[Floats, Floats]:
        out, excess = np.empty(len(slots)), np.empty(self.residuals.n_classes)
        coordinate.some_gradients(
            self.columns.arrays, ends, slots, self.probability, self.change, self.mean, *self.residuals.arrays,
            not moved, self._scratch, out, excess,
        )  # fmt: skip
        return out, excess

    def minimise(
        self,
        ws: WorkingSet,
        slopes: tuple[Floats, Floats],
        damping: float,
        stiffness: Floats,
        radius: float,
        eta: float,
        goal: float,
    ) -> tuple[Floats, Floats, float]:
        """Lower the model until the violation is `eta` of the first, or `goal`: (coef, intercept change, violation).

        `slopes` are the derivatives of the loss at the coordinates and the intercepts. `damping` adds
        ½·damping·stiffness·(w − w₀)² to each coordinate, and none moves a logit by more than `radius`: where p is next
        to 0 the model has so little curvature that single coordinates would go much too far.
        """
        reach = radius / self.columns.reach(ws.slots)
        ws = replace(ws, low=np.maximum(ws.low, ws.coef - reach), high=np.minimum(ws.high, ws.coef + reach))
        # A direction without curvature has no scale: a very small share of the bound ½ Σ π x² on curvatures gives one.
        self._extra, self._damping = max(damping, 1e-10) * stiffness, 0.5 * damping
        self.change[...] = 0.0
        self.mean[...] = 0.0
        rounds = _GroupedSweeps(self, ws, slopes) if ws.grouped else _Sweeps(self, ws)
        coef, shift = ws.coef.copy(), np.zeros(self.residuals.n_classes)
        first, last, since_face = 0.0, np.inf, 0
        for i in range(SWEEP_LIMIT):
            worst = rounds.sweep(coef, shift)
            self.n_sweeps += 1
            since_face += 1
            first = first or worst
            if i > 0 and worst <= max(goal, eta * first):
                break
            if since_face >= SWEEPS_BEFORE_FACE and worst > SLOW * last:
                self._face_step(ws, rounds.curvature, coef, shift, max(0.3 * goal, 0.1 * eta * first))
                since_face, last = 0, np.inf
            else:
                last = worst
        return coef, shift, first

    def _face_step(self, ws: WorkingSet, curvature: Floats, coef: Floats, shift: Floats, accuracy: float) -> None:
        """Minimise over the coefficients that are neither 0 nor at a limit, as far as the penalty stays smooth."""
        face = _GroupedFace(ws, coef) if ws.grouped else _Face(ws, coef)
        on = face.on
        if not len(on):
            return
        slots, ends = ws.slots[on], np.searchsorted(on, ws.ends).astype(np.int64)
        stiff = ws.ridge[on] + self._extra[on]
        slope, excess = self._gradients(ends, slots, True)
        slope += ws.ridge[on] * coef[on] + self._extra[on] * (coef[on] - ws.coef[on])
        if not self.intercept:
            excess[:] = 0.0
        spare, spare_mean = self._spare_arrays()

        def quadratic(d: Floats, e: Floats) -> tuple[Floats, Floats]:
            out, sums = np.empty(len(on)), np.zeros(len(e))
            coordinate.products(
                self.columns.arrays, ends, slots, d, self.intercept, e, self.probability, self.residuals.weights,
                self.residuals.width, spare, spare_mean, self._scratch[: self.residuals.width], out, sums,
            )  # fmt: skip
            self.n_products += 1
            return out + stiff * d, sums + self._damping * e

        def product(d: Floats, e: Floats) -> tuple[Floats, Floats]:
            out, sums = quadratic(d, e)
            return out + face.curved(d), sums

        inverse = 1.0 / (curvature[on] + stiff + face.stiffness)
        inverse_sums = 1.0 / (self.curvature_sums + self._damping + 1e-300)
        d, e = _conjugate_gradients(product, slope + face.slope, excess, inverse, inverse_sums, accuracy * ws.unit[on])
        move, e = face.allowed(d, e, slope, excess, quadratic)
        if move is not None:
            coef[on] = np.where(move == -coef[on], 0.0, coef[on] + move)
            shift += e
            self.change += spare
            self.mean += spare_mean

    def _spare_arrays(self) -> tuple[Floats, Floats]:
        if self._spare is None:
            self._spare = np.empty_like(self.change), np.empty_like(self.mean)
        return self._spare


class _Sweeps:
    """Coordinate descent on one model, and what is computed once for it."""

    def __init__(self, model: QuadraticModel, ws: WorkingSet) -> None:
        self._model = model
        self._ws = ws
        self.curvature = np.empty(len(ws))
        counts = np.diff(ws.ends)
        width = model.residuals.width
        work = np.add.reduceat(np.append(model.columns.sizes(ws.slots), 0.0), ws.ends[:-1]) * (counts > 0)
        moving = np.bincount(ws.classes[ws.coef != 0], minlength=len(counts))
        # Products between coordinates pay where they cost less than a few rounds without them.
        by_gram = (moving * work <= GRAM_WORTH * (width + work)) & (counts < width)
        self._places = np.concatenate([[0], np.cumsum(by_gram * (counts + 1) ** 2)]).astype(np.int64)
        self._gram = np.empty(self._places[-1])
        self._ready = np.zeros(len(ws) + len(counts), dtype=np.bool_)
        self._last = np.full(len(counts), np.inf)
        self._scratch = np.zeros(4 * width + int(counts.max(initial=0)) + 1)
        self._fresh = True

    def sweep(self, coef: Floats, shift: Floats) -> float:
        """One round; the largest violation that it met."""
        model, ws = self._model, self._ws
        worst = 0.0
        for tolerance in (0.0, PARTIAL, PARTIAL):
            change: float = coordinate.sweep(
                model.columns.arrays, ws.ends, ws.slots, coef, ws.coef, ws.ridge, ws.lasso, ws.unit, ws.low, ws.high,
                model._extra, self.curvature, model.probability, model.change, model.mean, *model.residuals.arrays,
                model.intercept, shift, model.curvature_sums, model._damping, self._fresh,
                self._gram, self._places, self._ready, tolerance * worst, self._last, self._scratch,
            )  # fmt: skip
            worst, self._fresh = worst or change, False
        return worst


class _GroupedSweeps:
    """The same with one penalty for all coefficients of a feature."""

    def __init__(self, model: QuadraticModel, ws: WorkingSet, slopes: tuple[Floats, Floats]) -> None:
        self._model = model
        self._ws = ws
        n_classes = model.residuals.n_classes
        self._features = len(ws) // n_classes
        self._slopes, self._excess = np.ascontiguousarray(ws.shaped(slopes[0]).T), slopes[1]
        whole = n_classes if n_classes <= WHOLE_BLOCKS else 1
        self._blocks = np.empty((self._features, n_classes, whole))
        self._slots = ws.slots[: self._features]
        coordinate.block_curvatures(
            model.columns.arrays, self._slots, model.probability, model.residuals.weights, model.residuals.width,
            self._blocks, np.empty(2 * model.residuals.width),
        )  # fmt: skip
        diagonal = self._blocks[:, :, 0] if whole == 1 else np.diagonal(self._blocks, axis1=1, axis2=2)
        self.curvature = np.ascontiguousarray(diagonal.T).reshape(-1)
        self._base = np.ascontiguousarray(ws.shaped(ws.coef).T)

    def sweep(self, coef: Floats, shift: Floats) -> float:
        """One round; the largest violation that it met."""
        model, ws = self._model, self._ws
        first = slice(0, self._features)
        now = np.ascontiguousarray(ws.shaped(coef).T)
        radius = 0.5 * (ws.high - ws.low)[first]  # there are no other limits
        worst = 0.0
        for whole in (True, False, False):
            change: float = coordinate.grouped_sweep(
                model.columns.arrays, self._slots, self._slopes, now, self._base, ws.ridge[first], ws.lasso[first],
                ws.unit[first], model._extra[first], self._blocks, model.probability, model.change, model.mean,
                model.residuals.weights, model.residuals.width, model.intercept, self._excess, shift,
                model.curvature_sums, model._damping, radius, whole,
            )  # fmt: skip
            worst = worst or change
        coef[...] = now.T.reshape(-1)
        return worst


class _Face:
    """Coefficients of which none changes sign: there the penalty μ|w| has the derivative `slope` and no curvature."""

    def __init__(self, ws: WorkingSet, coef: Floats) -> None:
        inside = (coef > ws.low) & (coef < ws.high)
        self.on = np.flatnonzero(inside & ((coef != 0) | (ws.lasso == 0)))
        self._old = coef[self.on]
        self._lasso = ws.lasso[self.on]
        self._low, self._high = ws.low[self.on], ws.high[self.on]
        self.slope: Floats = self._lasso * np.sign(self._old)
        self.stiffness: Floats = np.zeros(len(self.on))

    def curved(self, d: Floats) -> Floats:
        """The penalty's Hessian times d."""
        return np.zeros(len(d))

    def allowed(
        self, d: Floats, e: Floats, slope: Floats, excess: Floats, quadratic: Product
    ) -> tuple[Floats | None, Floats]:
        """The move to take: all the way, with coefficients that change sign set to 0, if that lowers the model; else up
        to the first of them. `quadratic` was called with it last.
        """
        old = self._old
        aim = np.clip(old + d, self._low, self._high)
        aim[(aim * old < 0) & (self._lasso > 0)] = 0.0
        move = aim - old
        curved = quadratic(move, e)
        change = (slope + self.slope) @ move + excess @ e + 0.5 * (move @ curved[0] + e @ curved[1])
        if change < 0:
            return move, e
        with np.errstate(divide="ignore", invalid="ignore"):
            to_zero = np.where((self._lasso > 0) & (d * old < 0), -old / d, np.inf)
            to_limit = np.where(d > 0, (self._high - old) / d, np.where(d < 0, (self._low - old) / d, np.inf))
        alpha = min(1.0, float(to_zero.min()), float(to_limit.min()))
        if not alpha > 0:
            return None, e
        move = alpha * d
        move[to_zero == alpha] = -old[to_zero == alpha]
        quadratic(move, alpha * e)
        return move, alpha * e


class _GroupedFace:
    """Features with some coefficient: there the penalty μ‖w‖ is smooth."""

    def __init__(self, ws: WorkingSet, coef: Floats) -> None:
        self._classes = len(ws.ends) - 1
        whole = ws.shaped(coef)
        features = np.flatnonzero(np.any(whole != 0, axis=0) | (ws.shaped(ws.lasso)[0] == 0))
        self.on = (np.arange(self._classes)[:, None] * whole.shape[1] + features).reshape(-1)
        self._old = whole[:, features]
        self._lasso = ws.shaped(ws.lasso)[0, features]
        self._norms = np.sqrt(np.square(self._old).sum(axis=0))
        safe = np.where(self._norms > 0, self._norms, 1.0)
        self._unit, self._over = self._old / safe, self._lasso / safe
        self.slope: Floats = (self._lasso * self._unit).reshape(-1)
        self.stiffness: Floats = (self._over * (1 - self._unit**2)).reshape(-1)

    def curved(self, d: Floats) -> Floats:
        """The penalty's Hessian times d."""
        whole = d.reshape(self._classes, -1)
        out: Floats = self._over * (whole - self._unit * (self._unit * whole).sum(axis=0))
        return out.reshape(-1)

    def allowed(
        self, d: Floats, e: Floats, slope: Floats, excess: Floats, quadratic: Product
    ) -> tuple[Floats | None, Floats]:
        """The move, halved until the model falls. `quadratic` was called with it last."""
        curved = quadratic(d, e)
        linear, square = slope @ d + excess @ e, 0.5 * (d @ curved[0] + e @ curved[1])
        whole = d.reshape(self._classes, -1)
        alpha = 1.0
        for _ in range(20):
            norms = np.sqrt(np.square(self._old + alpha * whole).sum(axis=0))
            if alpha * linear + alpha**2 * square + float(self._lasso @ (norms - self._norms)) < 0:
                if alpha < 1:
                    quadratic(alpha * d, alpha * e)
                return alpha * d, alpha * e
            alpha *= 0.5
        return None, e


def _conjugate_gradients(
    product: Product, slope: Floats, excess: Floats, inverse: Floats, inverse_sums: Floats, accuracy: Floats
) -> tuple[Floats, Floats]:
    """Approximately −H⁻¹ of the slopes, until every residual is below `accuracy`."""
    d, e = np.zeros_like(slope), np.zeros_like(excess)
    r, q = -slope, -excess
    z, y = inverse * r, inverse_sums * q
    p, o = z.copy(), y.copy()
    rho = r @ z + q @ y
    for _ in range(CG_LIMIT):
        if not rho > 0:
            break
        hp, ho = product(p, o)
        curvature = p @ hp + o @ ho
        if not curvature > 1e-15 * rho:
            break
        alpha = rho / curvature
        d += alpha * p
        e += alpha * o
        r -= alpha * hp
        q -= alpha * ho
        if np.all(np.abs(r) <= accuracy):
            break
        z, y = inverse * r, inverse_sums * q
        previous, rho = rho, r @ z + q @ y
        p = z + (rho / previous) * p
        o = y + (rho / previous) * o
    return d, e
