"""What is to be minimised, as the solvers get it, and what they give back. Everything is checked before it comes here.

    f(W, b) = Σ_i π_i [⟨y_i, 1⟩ lse(z_i) − ⟨y_i, z_i⟩] + ½ Σ_j λ_j ‖W_:j‖² + Σ_j μ_j Ω(W_:j),      z_i = W x_i + b + o_i

with π_i = weight_i / Σ weight, y_i the one-hot vector of a label or a row of probabilities (⟨y_i, 1⟩ = 1), o_i an
offset, and Ω the 1-norm, or the 2-norm where features are grouped; W within box limits where there are any.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ._rows import Floats

# Progress(iteration, passes, objective, gap): called after each iteration. What it raises ends the fit.
Progress = Callable[[int, int, float, float], None]


@dataclass(frozen=True, eq=False)
class Problem:
    """One fit.

    Attributes
    ----------
    X : ndarray (n, d) of float32 or float64 in any order, or a SciPy CSR array or matrix with sorted unique indices
        Never written, never copied as a whole.
    labels : intp (n,) in [0, K), or None where `probabilities` are given
    n_classes : K ≥ 2
    ridge : (d,), λ_j ≥ 0
    probabilities : float64 (n, K), rows ≥ 0 that sum to 1, or None
    weights : float64 (n,), > 0, or None where all are 1
    offset : float64 (n, K), or None
    intercept : whether b is fitted
    lasso : (d,), μ_j ≥ 0, or None
    grouped : whether μ_j multiplies ‖W_:j‖₂ and not ‖W_:j‖₁
    lower, upper : (K, d), lower ≤ upper, ±inf where there is no limit; or None
    """

    X: Any
    labels: npt.NDArray[np.intp] | None
    n_classes: int
    ridge: Floats
    probabilities: Floats | None = None
    weights: Floats | None = None
    offset: Floats | None = None
    intercept: bool = True
    lasso: Floats | None = None
    grouped: bool = False
    lower: Floats | None = None
    upper: Floats | None = None

    @property
    def smooth(self) -> bool:
        """Whether there is neither a lasso penalty nor a limit."""
        return self.lasso is None and self.lower is None and self.upper is None


@dataclass(eq=False)
class Solution:
    """The end of a fit.

    `coef` (K, d) and `intercept` (K,) in the coordinates of X; `objective` f there, in nats; `gap` an upper bound of
    objective − optimum, or, with `estimated`, an estimate of it; `grad_norm` the Euclidean norm of the gradient, of
    the smallest subgradient where there is a lasso penalty, of the projected gradient where there are limits; `reason`
    "certified" (the gap is at most tol · objective), "iterations", "rounding", "interrupted", "separated" (no finite
    optimum exists) or "undecided" (it ended with large steps, and whether a finite optimum exists is not known);
    `direction` (K, d + 1) the direction, intercepts last, along which the classes are separated, or None, and
    `decision` the verdict on it where one was asked for, with a `message` for users; `condition` the condition of the
    Hessian at the end of a smooth fit whose gap is an estimate, with a `message` too, or None.
    """

    coef: Floats
    intercept: Floats
    objective: float
    gap: float
    grad_norm: float
    reason: str
    n_iter: int
    n_passes: int
    estimated: bool = False
    direction: Floats | None = None
    decision: Any = None
    condition: Any = None
    history: list[dict[str, Any]] = field(default_factory=list)
