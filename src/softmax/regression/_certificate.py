r"""How far a point is from the optimum, at most.

With y_i the one-hot targets, π_i the weights (Σ π_i = 1) and z_i = W x_i + b, the objective and its Fenchel dual are

    f(W, b) = Σ π_i [lse(z_i) − ⟨y_i, z_i⟩] + (λ/2)‖W‖²      (with λ_j of each feature, the same column by column)
    D(Q)    = −Σ π_i Σ_j q_ij log q_ij − ‖G(Q)‖² / (2λ),      G(Q) = Σ π_i (q_i − y_i) x_iᵀ

for rows q_i of the simplex; an intercept, being free of penalty, adds the constraint Σ π_i q_i = Σ π_i y_i =: ȳ. By
weak duality D(Q) ≤ f* for every feasible Q. Fenchel–Young, lse(z) + Σ q log q = ⟨q, z⟩ + KL(q ‖ p) with p = softmax(z),
and the constraint, which makes b drop out of Σ π_i ⟨q_i − y_i, z_i⟩ = ⟨G(Q), W⟩, turn the difference into

    f(W, b) − f*  ≤  f(W, b) − D(Q)  =  Σ π_i KL(q_i ‖ p_i) + ‖G(Q) + λW‖² / (2λ).
    (1)

Without intercept Q = P is feasible, the first term vanishes and the second is ‖∇_W f‖² / (2λ). With an intercept P is
feasible only where the intercept gradient c = Σ π_i (p_i − y_i) is 0. Otherwise move P to Q = (1−t) P + t 1rᵀ with the
column sums that are asked for,

    Σ π_i q_i = (1−t) p̄ + t r = ȳ   ⇔   r = p̄ − c / t,      p̄ = Σ π_i p_i = ȳ + c,

where Σ_j r_j = 1 since Σ_j c_j = 0, and r ≥ 0 as soon as t ≥ max_j c_j / p̄_j (which is ≤ 1). As Σ π_i (q_i − y_i) = 0,
features may be centred in G(Q), x̃_i = x_i − mean, and the constant row r then adds nothing:

    G(Q) = Σ π_i (q_i − y_i) x̃_iᵀ = (1−t) G̃ − t Ỹ,      G̃ = Σ π_i (p_i − y_i) x̃_iᵀ,      Ỹ = Σ π_i y_i x̃_iᵀ.
    (2)

KL is convex in its first argument, so that Σ π_i KL(q_i ‖ p_i) ≤ t Σ π_i KL(r ‖ p_i), and the right side needs no pass:

    Σ π_i KL(r ‖ p_i) = Σ_j r_j log r_j + Σ π_i lse(z_i) − ⟨r, W·mean + b⟩,      Σ π_i lse(z_i) = loss + ⟨W, Ỹ⟩ + ⟨ȳ,
    W·mean + b⟩.    (3)

Everything is evaluated in float64 from sums over the original rows at the coefficients that are returned. Rounding is
allowed for by adding a first-order estimate of it, so that the bound holds for the numbers as they are stored: t and
‖G(Q) + λW‖ grow by the rounding of the sums c and G̃, the gap by a few units in the last place of the objective. The
rounding of the logits needs no allowance: P as computed is as good a dual point as any, and KL(P computed ‖ P) is of
second order.

Sources: Fenchel duality for regularised losses as in Shalev-Shwartz and Zhang (2013), "Stochastic dual coordinate
ascent methods"; (1)–(3) are worked out here.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy

from ._rows import Floats
from ._slices import slices

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Certificate:
    """`gap` ≥ objective − optimum; `coefficient_gap` the part of it that the coefficients cause, `shift` the t of the
    repair, `unmoved_gap` the same part at t = 0: what would be left if the intercepts had no gradient.
    """

    objective: float
    gap: float
    coefficient_gap: float
    grad_norm: float
    shift: float
    unmoved_gap: float

    def holds(self, tol: float) -> bool:
        """Whether the gap is at most `tol` relative to the objective."""
        return self.gap <= tol * self.objective


@dataclass(frozen=True)
class Targets:
    """What the certificate has to know of the data: ȳ (K,), Ỹ (K, d), the feature means (d,), root second moments (d,),
    and with offsets o_i their mean (K,) and Σ π_i ⟨y_i, o_i⟩.
    """

    frequency: Floats
    centred_sums: Floats
    mean: Floats
    spread: Floats
    offset: Floats | float = 0.0
    own_offset: float = 0.0


def certify(
    *,
    coef: Floats,
    intercept: Floats | None,
    loss: float,
    gradient_sum: Floats,
    excess: Floats,
    penalty: float | Floats,
    targets: Targets,
) -> Certificate:
    """The certificate of a point from the sums of one pass over the rows; the module docstring has the mathematics.

    Parameters
    ----------
    coef, intercept : (K, d) and (K,) or None for a model without intercept
    loss : Σ π_i ℓ_i, in nats
    gradient_sum : (K, d), G̃; for a model without intercept `targets.mean` is 0 and G̃ = G
    excess : (K,), c
    penalty : λ > 0, or (d,), λ_j > 0 of each feature
    targets : sums that do not depend on the point
    """
    t = 0.0 if intercept is None else _shift(loss, excess, targets.frequency + excess)
    squares = _squares(coef, gradient_sum, excess, penalty, targets, t)
    objective = loss + 0.5 * squares.penalty
    # Sums over rows carry an error of a few eps in Σ π_i |p_ik − y_ik| |x̃_ij|, with Σ_k |p_ik − y_ik|² ≤ 2 (1 − p_iy)
    # and 1 − p_iy ≤ ℓ_i.
    per_feature = 1.0 / np.sqrt(2.0 * penalty)
    rounding = 4 * EPS * float(np.linalg.norm(per_feature * targets.spread)) * min(1.0, float(np.sqrt(2 * loss)))
    allowance = 8 * EPS * objective
    if intercept is None:
        gap = (float(np.sqrt(squares.uncentred)) + rounding) ** 2 + allowance
        return Certificate(objective, gap, gap, float(np.sqrt(squares.gradient)), 0.0, gap)

    r = np.maximum(targets.frequency + excess - excess / t, 0.0)
    r /= r.sum()
    mean_logits = coef @ targets.mean + intercept
    mean_lse = loss + squares.targets + float(targets.frequency @ mean_logits)
    mean_lse += targets.own_offset
    mean_logits = mean_logits + targets.offset
    divergence = max(0.0, float(xlogy(r, r).sum()) + mean_lse - float(r @ mean_logits))
    coefficient_gap = (float(np.sqrt(squares.moved)) + rounding) ** 2 + allowance
    gap = coefficient_gap + t * divergence
    unmoved_gap = (float(np.sqrt(squares.unmoved)) + rounding) ** 2 + allowance
    grad_norm = float(np.hypot(np.sqrt(squares.gradient), np.linalg.norm(excess)))
    return Certificate(objective, gap, coefficient_gap, grad_norm, t, unmoved_gap)


def _shift(loss: float, excess: Floats, mean_probability: Floats) -> float:
    """The t of the repair."""
    # The rounding of c_j is a few eps in Σ π_i |p_ij − y_ij|, which is at most p̄_j + ȳ_j and at most Σ π_i ℓ_i.
    t = max(0.0, float(np.max(excess / mean_probability))) + 4 * EPS * min(1.0, loss / float(mean_probability.min()))
    return min(1.0, t)


@dataclass
class _Squares:
    """⟨λW, W⟩, ⟨W, Ỹ⟩, ‖∇_W f‖², and Σ_j ‖·‖² / (2λ_j) of ∇_W f, of (1−t) G̃ − t Ỹ + λW and of G̃ + λW."""

    penalty: float = 0.0
    targets: float = 0.0
    gradient: float = 0.0
    uncentred: float = 0.0
    moved: float = 0.0
    unmoved: float = 0.0


def _squares(
    coef: Floats, gradient_sum: Floats, excess: Floats, penalty: float | Floats, targets: Targets, t: float
) -> _Squares:
    """The sums over coefficients, some classes at a time: matrices of them may be larger than all else of a fit."""
    sums = _Squares()
    per_feature = 1.0 / np.sqrt(2.0 * penalty)
    for own in slices(*coef.shape):
        w, g, y = coef[own], gradient_sum[own], targets.centred_sums[own]
        pulled = penalty * w
        sums.penalty += float(np.vdot(pulled, w))
        sums.targets += float(np.vdot(w, y))
        unmoved = g + pulled
        uncentred = unmoved + np.outer(excess[own], targets.mean)
        sums.gradient += float(np.vdot(uncentred, uncentred))
        moved = (1 - t) * g - t * y + pulled
        for name, part in (("uncentred", uncentred), ("moved", moved), ("unmoved", unmoved)):
            part *= per_feature
            setattr(sums, name, getattr(sums, name) + float(np.vdot(part, part)))
    return sums
