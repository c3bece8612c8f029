"""What the rivals can do: which of their solvers, and the settings to try, from loose to tight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Setting = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """A solver of a rival.

    `ladder` are its settings, the loosest first; `per_point` says whether each problem of a path may have its own, as a
    loop of single fits allows.
    """

    rival: str
    name: str
    ladder: tuple[Setting, ...]
    per_point: bool = False
    note: str = ""

    @property
    def id(self) -> str:
        """Return the name under which it stands in tables, such as sklearn.lbfgs."""
        return f"{self.rival}.{self.name}"


def _tols(first: int, last: int) -> tuple[Setting, ...]:
    """Return tolerances 10^−first … 10^−last."""
    return tuple({"tol": float(f"1e-{k}")} for k in range(first, last + 1))


_GRADIENT = _tols(2, 12)
_ALL = (
    Method("sklearn", "lbfgs", _GRADIENT),
    Method("sklearn", "newton-cg", _GRADIENT),
    Method("sklearn", "newton-cholesky", _GRADIENT),
    Method("sklearn", "saga", _tols(2, 9)),
    Method("sklearn", "cold lbfgs", _GRADIENT, per_point=True, note="a loop of single fits"),
    Method("sklearn", "cold newton-cg", _GRADIENT, per_point=True, note="a loop of single fits"),
    Method("sklearn", "warm lbfgs", _GRADIENT, per_point=True, note="a loop with warm_start=True, C rising"),
    Method("sklearn", "warm newton-cg", _GRADIENT, per_point=True, note="a loop with warm_start=True, C rising"),
    Method("sklearn", "warm saga", _tols(2, 8), per_point=True, note="l1_ratio=1, warm_start=True, C rising"),
    Method("sklearn", "sweep lbfgs", _GRADIENT, note="LogisticRegressionCV on one split that trains on all rows"),
    Method("sklearn", "sweep newton-cg", _GRADIENT, note="LogisticRegressionCV on one split that trains on all rows"),
    Method("sklearn", "cv lbfgs", _GRADIENT, note="LogisticRegressionCV, refit=False"),
    Method("sklearn", "cv newton-cg", _GRADIENT, note="LogisticRegressionCV, refit=False"),
    Method("sklearn", "cv newton-cholesky", _GRADIENT, note="LogisticRegressionCV, refit=False"),
    Method("sklearnex", "lbfgs", _GRADIENT, note="scikit-learn patched by sklearnex"),
    Method("sklearnex", "newton-cg", _GRADIENT, note="scikit-learn patched by sklearnex"),
    *(
        Method("cyanure", solver, _tols(0, 11), note="its tol is a relative duality gap")
        for solver in ("auto", "qning-miso", "catalyst-miso", "qning-ista")
    ),
    Method("statsmodels", "newton", _tols(1, 12), note="MNLogit with its covariance, which fit always computes"),
    Method("statsmodels", "lbfgs", _tols(2, 12), note="MNLogit with its covariance, which fit always computes"),
    Method("torch", "LBFGS", _tols(3, 12), note="full batch, strong Wolfe line search, 20 pairs, autograd"),
    Method("torch", "LBFGS float64", _tols(3, 12), note="the same on a float64 copy made before the clock"),
    Method(
        "torch", "mini-batch", tuple({"epochs": n, "rate": r} for n, r in ((2, 0.1), (5, 0.1), (15, 0.05), (40, 0.03))),
        note="Adam, 1024 rows a step, falling rate; a row is a sum of three rows of coefficients",
    ),
    Method("adelie", "grouped", _tols(4, 13), note="grpnet, both tolerances"),
    Method("r", "glmnet", _tols(5, 15), note="standardize=FALSE; without penalty a path that ends at 0"),
    Method("r", "glmnet grouped", _tols(5, 15), note='type.multinomial="grouped"'),
    Method("r", "cv.glmnet", _tols(5, 15), note="alpha=0, foldid given; folds refitted after the clock to be judged"),
    Method("r", "multinom", _tols(6, 15), note="nnet, no Hessian"),
)  # fmt: skip
METHODS = {method.id: method for method in _ALL}
