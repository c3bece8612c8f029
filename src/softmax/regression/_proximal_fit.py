"""One fit with a lasso penalty: the point, its sums over rows, its working set, its certificate, the step.

One step minimises the penalty plus the quadratic model of the loss with its exact Hessian, over the coordinates of a
working set, by coordinate descent (`_working_set`); a search along it makes the objective fall. When the working set is
solved, one pass over all features says which others have to come in, and, if none, what the duality gap is
(`_fenchel`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
from scipy.special import xlogy

from softmax._kernels.cpu import coordinate

from ._certificate import EPS
from ._columns import LANES, DenseColumns, Residuals, SparseColumns, class_shares, padded
from ._fenchel import Repair, RowSums, duality_gap, repair_of, soft_divergence
from ._problem import Problem
from ._rows import Floats
from ._threads import Workers
from ._working_set import QuadraticModel, WorkingSet

HALVINGS = 40
# Below this number of logits, threads cost more than they save.
POOLED_LOGITS = 1 << 17

Keys = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Level:
    """The penalties at one point of a path: `factor` times those of the problem."""

    factor: float
    ridge: Floats
    lasso: Floats


@dataclass
class Point:
    """Where a fit stands; `slopes`, `excess`: derivatives of the loss at the working set and at the intercepts."""

    ws: WorkingSet
    loss: float
    objective: float
    slopes: Floats
    excess: Floats


class ProximalFit:
    """One problem with everything that its penalties share: columns, sums, work arrays, the last solution."""

    def __init__(self, problem: Problem, workers: Workers) -> None:
        self.problem = problem
        self.workers = workers
        n, self.d = problem.X.shape
        self.n, self.n_classes, self.width = n, problem.n_classes, padded(n)
        weights = np.zeros(self.width)
        weights[:n] = 1.0 if problem.weights is None else problem.weights
        weights /= weights.sum()
        self.residuals = self._residuals(weights)
        kind = SparseColumns if scipy.sparse.issparse(problem.X) else DenseColumns
        self.columns: Any = kind(problem.X, weights, problem.intercept, workers)
        size = self.n_classes * self.width
        self.logits, self.probability = np.empty(size), np.zeros(size)
        self.log_sums = np.empty(self.width)
        self.model = QuadraticModel(self.columns, self.residuals, problem.intercept, self.probability)
        self.coef = np.zeros((self.n_classes, self.d))
        self.constant = np.zeros(self.n_classes)
        self.gradient = np.empty((self.n_classes, self.d))
        self.target_sums = np.empty((self.n_classes, self.d))
        self.frequency: Floats = -self.columns.gradients(
            self.probability, self.residuals, self.model.change, self.target_sums
        )
        self.target_sums *= -1.0
        self.n_passes = 2
        self._pooled = size >= POOLED_LOGITS and workers.n_threads > 1
        self._row_shares = self._shares()
        self._own_places = (0 if problem.labels is None else problem.labels * self.width) + np.arange(n)
        self._mean_offset = 0.0 if problem.offset is None else weights[:n] @ problem.offset
        targets = problem.probabilities
        self._entropy = 0.0 if targets is None else -float(weights[:n] @ xlogy(targets, targets).sum(axis=1))
        self._largest_target: float | None = None

    # -- rows ------------------------------------------------------------------------------------------------------

    def _residuals(self, weights: Floats) -> Residuals:
        """Targets class by class; zeros among probabilities are left out."""
        problem = self.problem
        if problem.probabilities is None:
            assert problem.labels is not None
            rows = np.argsort(problem.labels, kind="stable")
            counts = np.bincount(problem.labels, minlength=self.n_classes)
            values = weights[rows]
        else:
            classes, rows = np.nonzero(problem.probabilities.T)
            counts = np.bincount(classes, minlength=self.n_classes)
            values = weights[rows] * problem.probabilities[rows, classes]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Residuals(weights, values, rows.astype(np.int32), starts)

    def _shares(self) -> list[tuple[int, int]]:
        blocks = self.width // LANES
        shares = min(blocks, 4 * self.workers.n_threads) if self._pooled else 1
        return [(LANES * (blocks * i // shares), LANES * (blocks * (i + 1) // shares)) for i in range(shares)]

    def _over(self, task: Callable[[tuple[int, int]], None], shares: list[tuple[int, int]]) -> None:
        if len(shares) == 1:
            task(shares[0])
        else:
            self.workers.map(task, shares)

    def evaluate(self, ws: WorkingSet) -> float:
        """Logits and probabilities at the coefficients, from nothing; returns the loss."""
        matrix = self.logits.reshape(self.n_classes, self.width)
        matrix[...] = 0.0
        if self.problem.offset is not None:
            matrix[:, : self.n] = self.problem.offset.T

        def task(classes: tuple[int, int]) -> None:
            coordinate.logits_of(
                self.columns.arrays, ws.slots, ws.ends, ws.coef, self.constant, self.width, *classes, self.logits
            )

        self._over(task, class_shares(self.n_classes, self.workers, pooled=self._pooled))
        return self._advance(0.0)

    def _advance(self, step: float) -> float:
        """Move the logits along the change of the model; returns the loss there."""

        def task(rows: tuple[int, int]) -> None:
            coordinate.probabilities(
                self.logits, self.model.change, step, self.width, *rows, self.probability, self.log_sums
            )

        self._over(task, self._row_shares)
        return self._loss()

    def _loss(self) -> float:
        weights, starts = self.residuals.weights, self.residuals.starts
        if self.problem.probabilities is None:
            return -float(weights[: self.n] @ self._own_logs())
        inner = 0.0
        for k in range(self.n_classes):
            here = slice(starts[k], starts[k + 1])
            inner += float(self.residuals.targets[here] @ self.logits[k * self.width + self.residuals.rows[here]])
        return max(0.0, float(weights @ self.log_sums) - inner)

    def _own_logs(self) -> Floats:
        """Log-probabilities of the labels."""
        own: Floats = self.logits[self._own_places] - self.log_sums[: self.n]
        return np.minimum(own, 0.0, out=own)

    def _row_sums(self, ws: WorkingSet, loss: float) -> RowSums:
        weights, targets = self.residuals.weights[: self.n], self.problem.probabilities
        apart = (self.columns.mean - self.columns.origin)[ws.features]
        mean_logits = self.constant + self._mean_offset + np.bincount(ws.classes, apart * ws.coef, self.n_classes)

        def divergence(s: float) -> float:
            assert targets is not None
            now = self.probability.reshape(self.n_classes, self.width)[:, : self.n]
            return soft_divergence(now, targets.T, weights, s)

        return RowSums(
            weights=weights,
            own_log=self._own_logs() if targets is None else None,
            divergence=None if targets is None else divergence,
            mean_divergence=max(0.0, loss - self._entropy),
            mean_lse=float(self.residuals.weights @ self.log_sums),
            mean_logits=mean_logits,
        )

    # -- working sets ----------------------------------------------------------------------------------------------

    def working_set(self, level: Level, keys: Keys) -> WorkingSet:
        """The coordinates `keys` with what belongs to them at `level`."""
        classes, features = np.divmod(keys, self.d)
        lasso = level.lasso[features]
        typical = float(np.max(level.lasso, initial=0.0)) or 1.0
        lower, upper = self.problem.lower, self.problem.upper
        return WorkingSet(
            keys=keys,
            classes=classes,
            features=features,
            ends=np.searchsorted(keys, np.arange(self.n_classes + 1) * self.d).astype(np.int64),
            slots=self.columns.store(features),
            ridge=level.ridge[features],
            lasso=lasso,
            unit=np.where(lasso > 0, lasso, typical),
            low=np.full(len(keys), -np.inf) if lower is None else lower[classes, features],
            high=np.full(len(keys), np.inf) if upper is None else upper[classes, features],
            limited=lower is not None,
            grouped=self.problem.grouped,
            coef=self.coef[classes, features],
        )

    def keys(self, threshold: Floats, level: Level, support: Keys) -> Keys:
        """Coordinates with |gradient| above a threshold per feature, those without lasso, and `support`."""
        everywhere = level.lasso == 0
        if self.problem.grouped:
            norms = np.sqrt(np.square(self.gradient).sum(axis=0))
            inside = everywhere | (norms > threshold)
            inside[support % self.d] = True
            return self.of_features(np.flatnonzero(inside))
        mask = np.abs(self.gradient) > threshold
        mask[:, everywhere] = True
        mask.reshape(-1)[support] = True
        found: Keys = np.flatnonzero(mask).astype(np.int64)
        return found

    def of_features(self, features: npt.NDArray[Any]) -> Keys:
        """All coordinates of some features."""
        all_keys: Keys = (np.arange(self.n_classes)[:, None] * self.d + features).reshape(-1).astype(np.int64)
        return all_keys

    def support(self) -> Keys:
        """Coordinates whose coefficient is not 0."""
        found: Keys = np.flatnonzero(self.coef).astype(np.int64)
        return found

    # -- points ----------------------------------------------------------------------------------------------------

    def start(self, coef: Floats | None = None, intercept: Floats | None = None) -> None:
        """Begin at given coefficients, else at W = 0 (or the limit next to it) with the class frequencies."""
        self.coef[...] = 0.0 if coef is None else coef
        if self.problem.lower is not None:
            np.clip(self.coef, self.problem.lower, self.problem.upper, out=self.coef)
        if not self.problem.intercept:
            return
        logs = np.log(np.maximum(self.frequency, 1e-300))
        self.constant = logs - logs.mean() if intercept is None else intercept + self.coef @ self.columns.origin

    def rounded_constant(self, ws: WorkingSet) -> Floats:
        """The intercept b for columns as they are, rounded as it is returned; `constant` becomes what it stands for."""
        if not self.problem.intercept:
            return np.zeros(self.n_classes)
        moved = np.zeros(self.n_classes, dtype=np.longdouble)
        np.add.at(moved, ws.classes, ws.coef.astype(np.longdouble) * self.columns.origin[ws.features])
        self.constant = self.constant - self.constant.mean()
        intercept: Floats = (self.constant - moved).astype(np.float64)
        self.constant = (intercept + moved).astype(np.float64)
        return intercept

    def point(self, ws: WorkingSet, loss: float) -> Point:
        """The point that the probabilities belong to."""
        slopes, excess = self.model.gradients(ws)
        if not self.problem.intercept:
            excess[:] = 0.0
        return Point(ws, loss, loss + ws.penalty(ws.coef), slopes, excess)

    def commit(self, ws: WorkingSet) -> None:
        """Write the coefficients of a working set to where those of the fit stand."""
        self.coef[ws.classes, ws.features] = ws.coef

    # -- certificates ----------------------------------------------------------------------------------------------

    def _repair(self, point: Point) -> Repair:
        if not self.problem.intercept:
            return Repair(0.0, self.frequency)
        return repair_of(point.excess, self.frequency, point.loss)

    def _gap(self, point: Point, ws: WorkingSet, gradient: Floats, target_sums: Floats) -> float:
        """The duality gap from the coordinates of `ws`; `gradient` is that of centred features."""
        gap = duality_gap(
            coef=ws.shaped(ws.coef),
            gradient=ws.shaped(gradient),
            targets=ws.shaped(target_sums),
            rounding=ws.shaped(self._rounding(ws.features, point.loss)),
            penalties=ws.penalties,
            repair=self._repair(point),
            rows=self._row_sums(ws, point.loss),
            objective=point.objective,
        )
        return gap + self._unpenalised_part(ws, gradient)

    def restricted_gap(self, point: Point) -> float:
        """The duality gap as if there were no other coordinates than those of the working set."""
        ws = point.ws
        apart = (self.columns.mean - self.columns.origin)[ws.features]
        gradient = point.slopes - point.excess[ws.classes] * apart
        return self._gap(point, ws, gradient, self.target_sums[ws.classes, ws.features])

    def certificate(self, point: Point, level: Level) -> tuple[float, float, Keys]:
        """(gap, norm of the smallest subgradient, coordinates that have to come in), after a pass over all features."""
        ws = point.ws
        excess = self.columns.gradients(self.probability, self.residuals, self.model.change, self.gradient)
        self.n_passes += 1
        if self.problem.intercept:
            point.excess = excess
        # What the repair adds must not lift a coordinate that is left out above μ.
        near = 0.9 if self._repair(point).t * self._target_ratio(level) < 0.05 else 0.0
        wide = self.working_set(level, self.keys(near * level.lasso, level, ws.keys))
        gradient = self.gradient.reshape(-1)[wide.keys]
        gap = self._gap(point, wide, gradient, self.target_sums.reshape(-1)[wide.keys])
        subgradient = smallest_subgradient(wide, gradient)
        norm = float(np.sqrt(np.sum(subgradient**2) + np.sum(point.excess**2)))
        new = wide.keys[(subgradient != 0) & ~np.isin(wide.keys, ws.keys, assume_unique=True)]
        if self.problem.grouped and len(new):
            new = self.of_features(np.unique(new % self.d))
        return gap, norm, new

    def _target_ratio(self, level: Level) -> float:
        """The largest |Σ π y x̃| over μ."""
        if self._largest_target is None:
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios = np.where(level.lasso > 0, np.abs(self.target_sums) / level.lasso, 0.0)
            classes = self.n_classes if self.problem.grouped else 1
            self._largest_target = float(ratios.max(initial=0.0)) * np.sqrt(classes) * level.factor
        return self._largest_target / level.factor

    def _rounding(self, features: Keys, loss: float) -> Floats:
        """Of Σ π (p − y) x̃: a few units in the last place of what a sum of such terms can be."""
        size: Floats = np.hypot(self.columns.spread, self.columns.mean - self.columns.origin)[features]
        return 4 * EPS * min(1.0, float(np.sqrt(2 * loss))) * size

    def _unpenalised_part(self, ws: WorkingSet, gradient: Floats) -> float:
        """Half the squared gradient over the curvature where there is no penalty at all."""
        bare = (ws.lasso == 0) & (ws.ridge == 0)
        if not bare.any():
            return 0.0
        # Σ π x² p (1 − p) as if p (1 − p) and x² were independent.
        p = self.probability.reshape(self.n_classes, -1)
        left = (self.residuals.weights * p * (1 - p)).sum(axis=1)
        curvature = left[ws.classes[bare]] * self.columns.spread[ws.features[bare]] ** 2
        inside = np.where(gradient > 0, ws.coef > ws.low, ws.coef < ws.high)[bare]
        return float(np.sum(inside * gradient[bare] ** 2 / (2 * np.maximum(curvature, 1e-300))))

    # -- steps -----------------------------------------------------------------------------------------------------

    def step(self, point: Point, damping: float, radius: float, eta: float, goal: float) -> tuple[Point, float]:
        """One proximal Newton step: the new point, and the length of the step, 0 where none helped."""
        ws = point.ws
        size = self.columns.spread**2 + (self.columns.mean - self.columns.origin) ** 2
        aim, shift, _ = self.model.minimise(
            ws, (point.slopes, point.excess), damping, 0.5 * size[ws.features], radius, eta, goal
        )
        old, old_constant = ws.coef, self.constant
        move = aim - old
        fall = float(point.slopes @ move + point.excess @ shift) + ws.penalty(aim) - ws.penalty(old)
        slack = 4 * EPS * point.objective
        at, step = 0.0, 1.0
        for _ in range(HALVINGS):
            loss, at = self._advance(step - at), step
            coef = aim if step == 1.0 else old + step * move
            if loss + ws.penalty(coef) <= point.objective + 1e-4 * step * min(fall, 0.0) + slack:
                ws.coef, self.constant = coef, old_constant + step * shift
                return self.point(ws, loss), step
            step *= 0.5
        return self.point(ws, self.evaluate(ws)), 0.0


def smallest_subgradient(ws: WorkingSet, gradient: Floats) -> Floats:
    """The element of ∇loss + ∂h that is smallest, coordinate by coordinate."""
    slope = gradient + ws.ridge * ws.coef
    if ws.grouped:
        shape = (len(ws.ends) - 1, -1)
        lasso = ws.lasso.reshape(shape)[0]
        coef, slope = ws.coef.reshape(shape), slope.reshape(shape)
        norm, size = np.sqrt(np.square(coef).sum(axis=0)), np.sqrt(np.square(slope).sum(axis=0))
        with np.errstate(divide="ignore", invalid="ignore"):
            on = slope + lasso * coef / norm
            off = slope * np.where(size > lasso, 1 - lasso / size, 0.0)
        return np.where(norm > 0, on, off).reshape(-1)
    on = slope + ws.lasso * np.sign(ws.coef)
    off = np.sign(slope) * np.maximum(np.abs(slope) - ws.lasso, 0.0)
    result = np.where(ws.coef != 0, on, off)
    blocked = ((result > 0) & (ws.coef <= ws.low)) | ((result < 0) & (ws.coef >= ws.high))
    return np.where(blocked, 0.0, result)
