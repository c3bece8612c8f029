"""What is read off an estimate and its covariance: tests, intervals, other parametrisations, and a table of text."""

import sys
from dataclasses import dataclass
from functools import cached_property
from math import lgamma, log
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import erfc, gammaincc, log_ndtr, ndtri
from sklearn.utils.validation import check_array

from softmax._errors import ArrayValueError, MissingExtraError, OptionError

from ._information import Design, marginal_effects
from ._problem import Problem
from ._rows import Floats
from ._threads import Workers


@dataclass(frozen=True, eq=False)
class WaldTests:
    """Joint tests that a feature has the same coefficient in every class: χ² with `df` degrees of freedom.

    `statistics`, `pvalues` and `log_pvalues` (natural logarithms) are (p,), one per entry of `feature_names`.
    """

    feature_names: list[str]
    statistics: Floats
    df: int
    pvalues: Floats
    log_pvalues: Floats


@dataclass(frozen=True, eq=False)
class MarginalEffects:
    """Average effects of the features on the probabilities, per unit of the feature, (K, d); columns sum to 0.

    `bse` are delta-method standard errors, `low` and `high` the ends of the intervals.
    """

    effects: Floats
    bse: Floats
    zvalues: Floats
    pvalues: Floats
    low: Floats
    high: Floats


@dataclass(eq=False, repr=False)
class SoftmaxInference:
    r"""The estimate of a softmax regression with its covariance; made by ``SoftmaxRegression.inference``.

    Coefficients are only determined up to a vector that is added to those of all classes. Two ways of fixing it are
    offered, and each is a contrast of the coefficients W (K, p), whatever vector they contain:

    .. math:: \text{params} = A\,W, \qquad A\mathbf 1 = 0, \qquad \operatorname{Cov} = (A \otimes I)
              \operatorname{Cov}(W) (A \otimes I)^T,

    with rows :math:`e_k - e_r` for differences from the reference class r ("reference", K − 1 rows), and :math:`A = I -
    \mathbf 1 \mathbf 1^T / K` for coefficients that sum to 0 ("symmetric", K rows, of rank K − 1, as in ``coef_``).
    ``contrast`` is A; `to_reference` and `to_symmetric` go from one to the other.

    Attributes
    ----------
    classes : ndarray (K,)
        The labels.
    feature_names : list of str
        The p columns; "intercept" is the first where the model has one.
    intercept, penalised : bool
        Whether the model has an intercept; whether it has a penalty (then the target is the penalised optimum).
    covariance : {"classical", "HC0", "HC1", "cluster"}
        What `cov_params` is, with `n_clusters` clusters.
    level : float
        Default coverage of intervals.
    llf, llnull : float
        Log-likelihood Σ w log p in nats of the model, and with nothing but an intercept per class (and the offset). A
        model whose columns do not span a constant is compared with equal probabilities.
    df_model : int
        Parameters that the first has over the second.
    n_obs, sum_weights, n_effective : int, float, float
        Rows of weight > 0, the sum of the weights, and Kish's (Σ w)² / Σ w².
    condition_number : float
        Of the information, in the 1-norm, with columns centred, in units of their spread, and the diagonal scaled to 1.
    n_newton, distance, score_norm : int, float, float
        Newton steps taken from the fit's coefficients, and how far those, and the end, are from the optimum in standard
        errors, √(gᵀ I⁻¹ g).
    base : tuple of ndarray (K−1, p), ndarray ((K−1)p, (K−1)p), int
        Parameters and covariance against the class that the computation took as its reference.
    reference : label or None
        The reference class; None for the symmetric parametrisation.
    """

    classes: npt.NDArray[Any]
    feature_names: list[str]
    intercept: bool
    covariance: str
    n_clusters: int | None
    level: float
    penalised: bool
    llf: float
    llnull: float
    df_model: int
    n_obs: int
    sum_weights: float
    n_effective: float
    condition_number: float
    n_newton: int
    distance: float
    score_norm: float
    base: tuple[Floats, Floats, int]
    reference: Any = None
    parametrisation: str = "reference"

    def __repr__(self) -> str:
        shape = f"{len(self.row_classes)} x {len(self.feature_names)}"
        return f"<SoftmaxInference: {shape} parameters, {self.parametrisation}, {self.covariance} covariance>"

    def to_symmetric(self) -> "SoftmaxInference":
        """The same estimate with the coefficients of all K classes, which sum to 0."""
        return self._recast(None, "symmetric")

    def to_reference(self, reference: Any) -> "SoftmaxInference":
        """The same estimate as differences from the class with the label `reference`.

        Raises
        ------
        OptionError
            If there is no such class.
        """
        labels = self.classes.tolist()
        if reference not in labels:
            raise OptionError(f"reference must be a class of the model, one of {labels!r}; got {reference!r}.")
        return self._recast(reference, "reference")

    def _recast(self, reference: Any, parametrisation: str) -> "SoftmaxInference":
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return SoftmaxInference(**(fields | {"reference": reference, "parametrisation": parametrisation}))

    @cached_property
    def row_classes(self) -> list[Any]:
        """The class of each row of `params`."""
        return [label for label in self.classes.tolist() if self.reference is None or label != self.reference]

    @cached_property
    def contrast(self) -> Floats:
        """A (K−1, K) or (K, K): `params` = A W."""
        n_classes = len(self.classes)
        identity = np.eye(n_classes)
        if self.reference is None:
            return identity - 1.0 / n_classes
        place = self.classes.tolist().index(self.reference)
        return np.delete(identity - identity[place], place, axis=0)

    @cached_property
    def _map(self) -> Floats | None:
        """The matrix from the rows of `base` to those of `params`; None for the identity."""
        columns = np.delete(self.contrast, self.base[2], axis=1)
        square = columns.shape[0] == columns.shape[1]
        return None if square and np.array_equal(columns, np.eye(len(columns))) else columns

    @cached_property
    def params(self) -> Floats:
        """Coefficients, (K−1, p) or, symmetric, (K, p), in nats per unit of the feature."""
        return self.base[0] if self._map is None else self._map @ self.base[0]

    @cached_property
    def cov_params(self) -> Floats:
        """Covariance of ``params.ravel()``: all parameters of the first row, then those of the second."""
        theta, cov, _ = self.base
        if self._map is None:
            return cov
        n, p = theta.shape
        half = np.tensordot(self._map, cov.reshape(n, p, n, p), axes=(1, 0))
        full = np.tensordot(half, self._map, axes=(2, 1)).transpose(0, 1, 3, 2)
        size = self._map.shape[0] * p
        return np.ascontiguousarray(full).reshape(size, size)

    @cached_property
    def bse(self) -> Floats:
        """Standard errors, like `params`."""
        return np.sqrt(np.maximum(np.diag(self.cov_params), 0.0)).reshape(self.params.shape)

    @cached_property
    def zvalues(self) -> Floats:
        """`params` over `bse`."""
        return self.params / self.bse

    @cached_property
    def pvalues(self) -> Floats:
        """Two-sided p-values of z, 2 Φ(−|z|) = erfc(|z| / √2), to full relative precision until they underflow."""
        values: Floats = erfc(np.abs(self.zvalues) / np.sqrt(2.0))
        return values

    @cached_property
    def log_pvalues(self) -> Floats:
        """Natural logarithms of the p-values, which do not underflow."""
        values: Floats = np.minimum(np.log(2.0) + log_ndtr(-np.abs(self.zvalues)), 0.0)
        return values

    def conf_int(self, level: float | None = None) -> Floats:
        """Wald intervals, (…, 2): params ∓ z bse.

        Parameters
        ----------
        level : float, optional
            Coverage; that of ``inference`` by default.
        """
        half = _quantile(self.level if level is None else level) * self.bse
        return np.stack([self.params - half, self.params + half], axis=-1)

    def odds_ratios(self, level: float | None = None) -> tuple[Floats, Floats]:
        """exp(params) and its interval (…, 2): the factor of the odds against the reference class per unit of a
        feature; in the symmetric parametrisation, of the odds against the geometric mean of all classes.
        """
        with np.errstate(over="ignore"):
            return np.exp(self.params), np.exp(self.conf_int(level))

    def wald_tests(self) -> WaldTests:
        """For each feature, the test that it does not matter: all classes have the same coefficient.

        θᵀ Cov⁻¹ θ over the K − 1 contrasts of the feature; the same in every parametrisation.
        """
        theta, cov, _ = self.base
        df, p = theta.shape
        blocks = cov.reshape(df, p, df, p)
        statistics = np.array([_quadratic(blocks[:, j, :, j], theta[:, j]) for j in range(p)])
        return WaldTests(
            self.feature_names,
            statistics,
            df,
            chi2_sf(statistics, df),
            np.array([log_chi2_sf(s, df) for s in statistics]),
        )

    @property
    def llr(self) -> float:
        """Likelihood ratio 2 (llf − llnull), χ² with `df_model` degrees of freedom if no feature matters."""
        return 2.0 * (self.llf - self.llnull)

    @property
    def llr_pvalue(self) -> float:
        """p-value of `llr`; nan where the likelihood is penalised. Takes weights as frequencies."""
        return float("nan") if self.penalised else float(chi2_sf(np.array(self.llr), self.df_model))

    @property
    def n_parameters(self) -> int:
        """(K − 1) p."""
        return int(self.base[0].size)

    @property
    def aic(self) -> float:
        """2 (K−1)p − 2 llf; nan for a penalised model, whose parameters do not count in full."""
        return float("nan") if self.penalised else 2.0 * self.n_parameters - 2.0 * self.llf

    @property
    def bic(self) -> float:
        """(K−1)p log Σw − 2 llf; nan for a penalised model."""
        return float("nan") if self.penalised else self.n_parameters * log(self.sum_weights) - 2.0 * self.llf

    @property
    def pseudo_r2(self) -> dict[str, float]:
        """Measures of fit, with n = Σ w and L the likelihoods of the model and of the one without features.

        "mcfadden" 1 − log L / log L₀; "adjusted" 1 − (log L − (K−1)p) / log L₀, McFadden's less one for each parameter;
        "cox_snell" 1 − (L₀ / L)^(2/n); "nagelkerke", the same over its largest value, 1 − L₀^(2/n).
        """
        n, null = self.sum_weights, self.llnull
        cox_snell = -float(np.expm1(2.0 * (null - self.llf) / n))
        return {
            "mcfadden": 1.0 - self.llf / null,
            "adjusted": float("nan") if self.penalised else 1.0 - (self.llf - self.n_parameters) / null,
            "cox_snell": cox_snell,
            "nagelkerke": cox_snell / -float(np.expm1(2.0 * null / n)),
        }

    def average_marginal_effects(
        self, X: Any, *, sample_weight: Any = None, offset: Any = None, level: float | None = None
    ) -> MarginalEffects:
        """How much each probability changes per unit of each feature, on average over rows.

        Parameters
        ----------
        X : array or sparse matrix of shape (n, d)
            The rows to average over, as a rule those of the fit.
        sample_weight : array of shape (n,), optional
            Their weights.
        offset : array of shape (n, K), optional
            Their offset.
        level : float, optional
            Coverage of the intervals; that of ``inference`` by default.

        Returns
        -------
        MarginalEffects
            Σ w_i ∂p_ik/∂x_ij / Σ w_i, (K, d), with delta-method standard errors. A derivative, also for features that
            take two values only.
        """
        X = check_array(X, dtype=[np.float64, np.float32], accept_sparse="csr")
        first, n_classes = int(self.intercept), len(self.classes)
        if X.shape[1] != len(self.feature_names) - first:
            raise ArrayValueError(f"X must have {len(self.feature_names) - first} columns, got {X.shape[1]}.")
        weights = np.ones(X.shape[0]) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        shifts = None if offset is None else np.asarray(offset, dtype=np.float64)
        if weights.shape != (X.shape[0],) or (shifts is not None and shifts.shape != (X.shape[0], n_classes)):
            raise ArrayValueError(f"sample_weight and offset must have {X.shape[0]} rows, as X has.")
        if not np.all(np.isfinite(weights) & (weights >= 0)) or not weights.any():
            raise ArrayValueError("sample_weight must be finite and ≥ 0, and not 0 throughout.")
        theta, cov, place = self.base
        problem = Problem(
            X, None, n_classes, np.zeros(X.shape[1]), weights=weights, offset=shifts, intercept=self.intercept
        )
        with Workers(1):
            design = Design(problem, float(weights.sum()), place)
            effects, slopes = marginal_effects(design, theta @ design.forth().T)
        slopes = (slopes @ design.forth()).reshape(effects.size, theta.size)
        bse = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", slopes, cov, slopes, optimize=True), 0.0))
        bse = bse.reshape(effects.shape) / design.scale
        effects = effects / design.scale
        z = effects / bse
        half = _quantile(self.level if level is None else level) * bse
        return MarginalEffects(effects, bse, z, erfc(np.abs(z) / np.sqrt(2.0)), effects - half, effects + half)

    def to_dict(self, level: float | None = None) -> dict[str, list[Any]]:
        """The table as columns: class, feature, coef, std_err, z, p, log_p, low, high; one row per parameter."""
        bounds = self.conf_int(level).reshape(-1, 2)
        columns: dict[str, list[Any]] = {
            "class": [label for label in self.row_classes for _ in self.feature_names],
            "feature": self.feature_names * len(self.row_classes),
        }
        numbers = {
            "coef": self.params,
            "std_err": self.bse,
            "z": self.zvalues,
            "p": self.pvalues,
            "log_p": self.log_pvalues,
            "low": bounds[:, 0],
            "high": bounds[:, 1],
        }
        return columns | {name: values.ravel().tolist() for name, values in numbers.items()}

    def to_frame(self, level: float | None = None) -> Any:
        """`to_dict` as a data frame of pandas, or else polars, whichever the program has imported.

        Raises
        ------
        MissingExtraError
            If it has imported neither.
        """
        for name in ("pandas", "polars"):
            module = sys.modules.get(name)
            if module is not None:
                return module.DataFrame(self.to_dict(level))
        raise MissingExtraError("to_frame needs pandas or polars: import one of them first, or use to_dict().")

    def summary(self, level: float | None = None) -> str:
        """The estimate as text of at most 80 columns: the fit, the parameters by class, the joint tests."""
        from ._inference_text import text_of

        return text_of(self, self.level if level is None else level)


def _quantile(level: float) -> float:
    """The z of a two-sided interval."""
    if not 0 < level < 1:
        raise OptionError(f"level must be a number between 0 and 1, such as 0.95; got {level!r}.")
    return float(-ndtri((1.0 - level) / 2.0))


def _quadratic(matrix: Floats, vector: Floats) -> float:
    """vᵀ M⁻¹ v, with M scaled to a unit diagonal; nan where M is singular, as it is with too few clusters."""
    scale = np.sqrt(np.diag(matrix))
    if not np.all(scale > 0):
        return float("nan")
    values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
    if values[0] <= 1e-13 * values[-1]:
        return float("nan")
    return float(np.sum((vectors.T @ (vector / scale)) ** 2 / values))


def chi2_sf(statistic: Floats, df: int) -> Floats:
    """P(χ²_df > statistic)."""
    values: Floats = gammaincc(df / 2.0, np.maximum(statistic, 0.0) / 2.0) if df else np.ones_like(statistic)
    return values


def log_chi2_sf(statistic: float, df: int) -> float:
    """log P(χ²_df > statistic), also where the probability underflows.

    There from the continued fraction of the incomplete gamma function (DLMF 8.9.2, evaluated by Lentz's method):
    Γ(a, x) = e⁻ˣ xᵃ / (x + 1 − a − 1(1 − a) / (x + 3 − a − …)).
    """
    tail = float(chi2_sf(np.array(statistic), df))
    if not tail < 1e-280:
        return log(tail)  # of nan too
    a, x = df / 2.0, statistic / 2.0
    b = x + 1.0 - a
    c, d = np.inf, 1.0 / b
    h = d
    for i in range(1, 1000):
        factor = -i * (i - a)
        b += 2.0
        d = 1.0 / (factor * d + b)
        c = b + factor / c
        h *= d * c
        if abs(d * c - 1.0) < 1e-15:
            break
    return -x + a * log(x) - lgamma(a) + float(np.log(h))
