r"""How far a point is from the optimum, at most, where the penalty has a corner.

With weights π_i, targets y_i, logits z_i = W x_i + b + o_i, p_i = softmax(z_i) and a penalty that is a sum over
coordinates or features, h(W) = Σ_j h_j(W_:j), weak duality reads, for rows q_i of the simplex with Σ π_i (q_i − y_i) =
0 where there is an intercept, and with G = Σ π_i (q_i − y_i) x_iᵀ,

    f(W, b) − f*  ≤  Σ π_i KL(q_i ‖ p_i) + Σ_j [h_j(W_:j) + h_j*(−G_:j) + ⟨G_:j, W_:j⟩].      (1)

Every bracket is ≥ 0 (Fenchel and Young), so that nothing cancels. The conjugates are

    μ|w| + ½λw²                 (|G| − μ)₊² / (2λ); at λ = 0: 0 where |G| ≤ μ, otherwise ∞
    μ‖w‖₂ + ½λ‖w‖²              the same of ‖G‖₂
    either on l ≤ w ≤ u         the largest value of −Gw − μ|w| − ½λw² there: finite where the limits are.

Where λ = 0, P is feasible only at the optimum. The dual point is therefore Q = Y + s (P′ − Y), for which G shrinks to
sG, with the largest s ≤ 1 that is feasible. P′ = (1−t)P + t 1rᵀ is P with the column sums that the intercept asks for,
as in `_certificate`, and KL is convex:

    Σ π KL(q ‖ p)  ≤  (1−t) Σ π KL(y + s(p − y) ‖ p) + t [(1−s) Σ π KL(y ‖ p) + s Σ π KL(r ‖ p)].
    (2)

For labels the first divergence is s(1−p_y) log s + q_y log(q_y / p_y) with q_y = 1 − s(1−p_y): a number per row. Since
the constraint lets features be centred, G is that of centred ones.

A feature without any penalty asks for G_:j = 0, which no scaling gives. It is left out of (1), and half its squared
gradient over its curvature is added, the decrease that a Newton step would bring: an estimate, and labelled as one.

Rounding: |G| grows by that of its sum over rows before s is chosen, and the gap by a few units in the last place.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr, xlogy

from ._certificate import EPS
from ._rows import Floats


@dataclass(frozen=True)
class Penalties:
    """h at some coordinates: arrays of one length, or of shape (K, m) where features are grouped.

    `ridge` λ, `lasso` μ; `low` and `high` the limits, or None. With `grouped`, axis 0 belongs to one norm, and `ridge`
    and `lasso` are (m,).
    """

    ridge: Floats
    lasso: Floats
    low: Floats | None = None
    high: Floats | None = None
    grouped: bool = False

    def value(self, coef: Floats) -> float:
        """h(W)."""
        size = np.sqrt(np.square(coef).sum(axis=0)) if self.grouped else np.abs(coef)
        return float(np.sum(self.lasso * size) + 0.5 * np.sum(self.ridge * size * size))

    def scales(self, gradient: Floats) -> tuple[float, float]:
        """The largest s ≤ 1 for which all conjugates are finite at −s·gradient, and that for which those of the
        coordinates with a lasso are 0.
        """
        size, bound = self._free_size(gradient)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where((self.lasso > 0) & (size > self.lasso), self.lasso / size, 1.0)
        return float(np.min(ratios, initial=1.0, where=bound)), float(np.min(ratios, initial=1.0))

    def _free_size(self, gradient: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """|G|, and where the conjugate is infinite beyond μ."""
        if self.grouped:
            return np.sqrt(np.square(gradient).sum(axis=0)), (self.ridge == 0) & (self.lasso > 0)
        bound = (self.ridge == 0) & (self.lasso > 0)
        if self.low is not None and self.high is not None:
            bound = bound & ~np.isfinite(np.where(gradient > 0, self.low, self.high))
        return np.abs(gradient), np.broadcast_to(bound, gradient.shape)

    def brackets(self, coef: Floats, gradient: Floats) -> Floats:
        """h(w) + h*(−G) + ⟨G, w⟩ where λ or μ is > 0, and 0 elsewhere; `scales` has seen to it that this is finite."""
        penalised = (self.ridge > 0) | (self.lasso > 0)
        if self.grouped:
            size, slope = np.sqrt(np.square(coef).sum(axis=0)), np.sqrt(np.square(gradient).sum(axis=0))
            inner = (gradient * coef).sum(axis=0)
            conjugate = self._conjugate(slope)
            terms = self.lasso * size + 0.5 * self.ridge * size * size + inner
        elif self.low is None or self.high is None:
            conjugate = self._conjugate(np.abs(gradient))
            terms = self.lasso * np.abs(coef) + 0.5 * self.ridge * coef * coef + gradient * coef
        else:
            conjugate = self._limited_conjugate(gradient, self.low, self.high)
            terms = self.lasso * np.abs(coef) + 0.5 * self.ridge * coef * coef + gradient * coef
        return np.where(penalised, np.maximum(terms + conjugate, 0.0), 0.0)

    def _conjugate(self, slope: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            quotient = np.maximum(slope - self.lasso, 0.0) ** 2 / (2 * self.ridge)
        return np.where(self.ridge > 0, quotient, 0.0)

    def _limited_conjugate(self, gradient: Floats, low: Floats, high: Floats) -> Floats:
        """max of −Gw − μ|w| − ½λw² on [low, high]: at 0 or a limit where λ = 0, at a clipped stationary point else."""
        excess = np.maximum(np.abs(gradient) - self.lasso, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            peak = np.where(self.ridge > 0, -np.sign(gradient) * excess / self.ridge, 0.0)
        to_limit = (self.ridge == 0) & (excess > 0)
        limit = np.where(gradient > 0, low, high)
        peak = np.where(to_limit & np.isfinite(limit), limit, peak)
        peak = np.clip(peak, low, high)
        return -gradient * peak - self.lasso * np.abs(peak) - 0.5 * self.ridge * peak * peak


@dataclass(frozen=True)
class RowSums:
    """What the rows say about a point, in nats.

    `weights` π (n,); `own_log` (n,) = log p of the label, or None for probabilities as targets, and then
    `divergence`(s) is Σ π KL(y + s(p − y) ‖ p); `mean_divergence` Σ π KL(y ‖ p); `mean_lse` Σ π lse(z);
    `mean_logits` (K,) Σ π z.
    """

    weights: Floats
    own_log: Floats | None
    divergence: Callable[[float], float] | None
    mean_divergence: float
    mean_lse: float
    mean_logits: Floats

    def towards_targets(self, s: float) -> float:
        """Σ π KL(y + s(p − y) ‖ p)."""
        if s >= 1.0:
            return 0.0
        if self.own_log is None:
            assert self.divergence is not None
            return self.divergence(s)
        others = -np.expm1(self.own_log)
        terms = xlogy(s * others, s) + (1 - s * others) * (np.log1p(-s * others) - self.own_log)
        return max(0.0, float(self.weights @ terms))

    def from_row(self, r: Floats) -> float:
        """Σ π KL(r ‖ p) for one row r."""
        return max(0.0, float(xlogy(r, r).sum()) + self.mean_lse - float(r @ self.mean_logits))


def soft_divergence(probabilities: Floats, targets: Floats, weights: Floats, s: float) -> float:
    """Σ π KL(y + s(p − y) ‖ p) for targets (K, n), class by class."""
    total = np.zeros(len(weights))
    for p, y in zip(probabilities, targets, strict=True):
        total += rel_entr(y + s * (p - y), p)
    return max(0.0, float(weights @ total))


@dataclass(frozen=True)
class Repair:
    """P′ = (1 − t) P + t 1rᵀ."""

    t: float
    r: Floats


def repair_of(excess: Floats, frequency: Floats, loss: float) -> Repair:
    """The repair of the column sums, p̄ = ȳ + excess; t = 0 for a model without intercept (excess all 0 and loss 0)."""
    mean_probability = frequency + excess
    floor = float(mean_probability.min())
    if not floor > 0:
        return Repair(1.0, frequency / frequency.sum())
    t = max(0.0, float(np.max(excess / mean_probability))) + 4 * EPS * min(1.0, loss / floor)
    if t == 0.0:
        return Repair(0.0, mean_probability)
    if t >= 1.0:
        return Repair(1.0, frequency / frequency.sum())
    r = np.maximum(mean_probability - excess / t, 0.0)
    return Repair(t, r / r.sum())


def duality_gap(
    *,
    coef: Floats,
    gradient: Floats,
    targets: Floats,
    rounding: Floats,
    penalties: Penalties,
    repair: Repair,
    rows: RowSums,
    objective: float,
) -> float:
    """The bound (1) at the better of two dual points: s as large as may be, or so small that every conjugate of a
    coordinate with a lasso is 0, which is the better one where λ is small and the point is far from the optimum.

    Parameters
    ----------
    coef, gradient, targets, rounding : arrays of one shape
        w, Σ π (p − y) x̃, Σ π y x̃ and the rounding of the gradient, at the coordinates that may matter: all with w ≠ 0
        or |G| near μ or beyond. At the others (1) has to be 0 for every s ≤ 1.
    penalties : h at these coordinates
    repair : of the column sums; t = 0 without intercept
    rows : the sums over rows at this point
    objective : f
    """
    moved = (1 - repair.t) * gradient - repair.t * targets
    outward = moved + np.copysign(rounding, moved)
    feasible, small = penalties.scales(outward)
    # A rounded gradient moves a bracket by as much as the coefficient is large.
    allowance = float(np.sum(rounding * np.abs(coef))) + 8 * EPS * objective

    def bound(s: float) -> float:
        data = (1 - repair.t) * rows.towards_targets(s)
        if repair.t > 0:
            data += repair.t * ((1 - s) * rows.mean_divergence + s * rows.from_row(repair.r))
        return data + float(penalties.brackets(coef, s * outward).sum()) + allowance

    gap = bound(feasible)
    return min(gap, bound(small)) if small < feasible else gap
