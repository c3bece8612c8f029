"""`NeuralSoftmaxClassifier`: options, attributes and scikit-learn's conventions around the training; no arithmetic.

The loop is a thin one of our own and not skorch: a hundred lines, against more packages to install, and what is wanted
here (fits that repeat, weights, sparse rows, files without pickle, predictions without PyTorch) would have to be
written around skorch's as well.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from softmax._errors import MissingExtraError, NotCertifiedWarning, OptionError, TargetError
from softmax._function import log_softmax
from softmax.regression._callbacks import CallbackSupport, Watch, bridge, with_callbacks
from softmax.regression._inputs import Sample, check_sample
from softmax.regression._predictions import SoftmaxClassifierMixin

from . import _network
from ._state import restore, state_of

if TYPE_CHECKING:
    from torch import nn

    from ._training import Epoch, Rows, Trainer

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

DTYPES = ("float32", "float64")
SOLVERS = ("auto", "adam", "lbfgs")
# What a parameter that counts may be besides an integer.
OTHER = {"batch_size": "auto", "max_epochs": None}
WORDS = {
    "diverged": "the loss is no longer finite: pass a smaller learning_rate, or scale the columns of X",
    "interrupted": "it was interrupted: these are the best weights so far",
}


class NeuralSoftmaxClassifier(CallbackSupport, SoftmaxClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    r"""A multilayer perceptron with a softmax output, fitted by PyTorch, with scikit-learn's interface.

    The logits are z = W_L a(… a(W_1 x + b_1) …) + b_L with the `activation` a. With weights π_i = s_i / Σ s (sample
    times class weight) the fit makes small

    .. math:: f = \sum_i \pi_i\,[\operatorname{lse}(z_i) - z_{i, y_i}]
              + \frac{\alpha}{2 \sum_i s_i} \sum_l \lVert W_l \rVert_2^2

    in nats, by Adam on mini-batches or by L-BFGS on all rows. With no hidden layer this is the objective of
    ``SoftmaxRegression(C=1 / alpha)``, which finds and certifies its optimum; for a network there is no certificate,
    and `status_` says why the fit ended. Columns of X should be of similar scale, as from ``StandardScaler``.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=(256,)
        Widths of the hidden layers; () for none.
    activation : {"relu", "tanh", "logistic", "gelu", "silu"}, default="relu"
        What stands between two layers; "gelu" is the one with tanh.
    alpha : float, default=0.0001
        Strength of the L2 penalty, ≥ 0, over the sum of the weights of the rows. Intercepts are not penalised.
    solver : {"auto", "adam", "lbfgs"}, default="auto"
        "adam" takes mini-batches; "lbfgs" all rows at each step, and ends where no entry of the gradient is above
        `tol` / 1000. "auto" is "lbfgs" where there is no hidden layer and no `early_stopping`, else "adam".
    learning_rate : float, default=0.001
        First step size of Adam. Where `n_iter_no_change` epochs bring nothing, the best weights so far are taken up
        again with a fifth of it, three times; then the fit ends.
    batch_size : int or "auto", default="auto"
        Rows per step of Adam; "auto" is a twentieth of all rows, between 16 and 256.
    max_epochs : int or None, default=None
        Largest number of passes over the rows, or of iterations of L-BFGS; None is 200 and 5000.
    early_stopping : bool, default=False
        Whether a part of the rows is held out and its loss decides when progress ends, and which weights are kept.
        Without it the objective on the training rows decides.
    validation_fraction : float, default=0.1
        Share of the rows that is held out with `early_stopping`, classes in proportion.
    n_iter_no_change : int, default=10
        Epochs without progress after which the learning rate falls.
    tol : float, default=0.0001
        What counts as progress of Adam, in nats; of L-BFGS see `solver`.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class, by label; "balanced" is n / (K · n_k). Multiplies `sample_weight`.
    warm_start : bool, default=False
        Whether to start from the weights of the last fit, where it had the same classes, features and layers.
    dtype : {"float32", "float64"}, default="float32"
        Of weights and arithmetic in the fit. Predictions are computed in float64 from either.
    device : str, default="auto"
        Where the fit runs, as PyTorch calls it; "auto" is "cuda" where there is one, else "cpu".
    random_state : int, RandomState or None, default=None
        Decides the initial weights, the order of the rows and those held out. With an integer a fit repeats, on one
        device at a fixed number of threads of PyTorch bitwise; PyTorch's own generator is not touched.
    verbose : int, default=0
        With 1, print a line per epoch.

    Attributes
    ----------
    coefs_ : list of ndarray (width before, width after)
        W_1ᵀ … W_Lᵀ, in `dtype`.
    intercepts_ : list of ndarray (width after,)
        b_1 … b_L.
    classes_ : ndarray of shape (K,)
        The labels, sorted; 0 … K−1 where y was a matrix of probabilities.
    n_features_in_ : int
        d.
    feature_names_in_ : ndarray of shape (d,)
        Names of the columns, where X had any.
    n_iter_ : int
        Epochs.
    objective_ : float
        f at the returned weights on the rows of the fit, those held out apart, evaluated in float64; of `partial_fit`
        on those of the last call.
    penalty_ : float
        alpha / Σ s.
    validation_loss_ : float or None
        Mean loss of the rows held out at the returned weights, in nats; None without `early_stopping`.
    status_ : {"no progress", "early stopping", "converged", "max_epochs", "interrupted", "diverged", "partial_fit"}
        Why the fit ended; "converged" is that of L-BFGS. None of them proves that an optimum was reached.
    temperature_ : float
        What `calibrate` found; 1.0 before.
    history_ : list of dict
        One record per epoch or iteration: number, objective (of Adam averaged over the epoch), validation,
        learning_rate.

    Notes
    -----
    Predictions are computed by NumPy, on the CPU and without PyTorch; ``network`` gives the module for elsewhere. The
    output layer in the fit is `softmax.nn.LinearCrossEntropy`. CSR data stays sparse, and batches of it are dense.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import softmax as sm
    >>> X, y = load_iris(return_X_y=True)
    >>> model = sm.nn.NeuralSoftmaxClassifier((32,), learning_rate=0.01, max_epochs=50, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.9)
    True
    """

    coefs_: list[Array]
    intercepts_: list[Array]
    n_iter_: int
    history_: list[dict[str, Any]]

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (256,),
        *,
        activation: str = "relu",
        alpha: float = 0.0001,
        solver: str = "auto",
        learning_rate: float = 0.001,
        batch_size: int | str = "auto",
        max_epochs: int | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 0.0001,
        class_weight: Mapping[Any, float] | str | None = None,
        warm_start: bool = False,
        dtype: str = "float32",
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.alpha = alpha
        self.solver = solver
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.dtype = dtype
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n, d)
            Finite numbers. Read and never changed.
        y : array of shape (n,) or (n, K)
            Labels of any sortable dtype, at least two different ones; or probabilities of K classes, rows that sum to
            1.
        sample_weight : array of shape (n,), optional
            Weights ≥ 0; every class needs a positive sum. A row of weight 0 counts as absent.

        Returns
        -------
        self

        Raises
        ------
        OptionError
            If a parameter is outside its range.
        ArrayValueError, TargetError
            As in `SoftmaxRegression`.
        MissingExtraError
            If PyTorch is not installed.
        ValueError, TypeError
            scikit-learn's own, if X or y is not numeric, empty or of the wrong shape.
        """
        training = _training()
        check_parameters(self)
        sample = check_sample(self, X, y, sample_weight)
        rng = check_random_state(self.random_state)
        rows, held_out, total = self._rows(sample, rng)
        trainer = self._trainer_at(*self._start(sample, rng), n_rows=len(rows))
        watch = bridge(
            self,
            X,
            y,
            classes=sample.classes,
            also=self._reporter(),
            metadata={"sample_weight": sample_weight},
        )
        watch.names, watch.current = ("coefs_", "intercepts_"), trainer.parameters
        self.penalty_ = float(self.alpha) / total
        self.classes_ = sample.classes
        tell, tol = _teller(watch), float(self.tol)
        if self._solver() == "lbfgs":
            most = 5000 if self.max_epochs is None else int(self.max_epochs)
            status, epochs = training.descend(
                trainer, rows, penalty=self.penalty_, max_iter=most, tol=tol / 1000, tell=tell
            )
        else:
            status, epochs = training.train(
                trainer,
                rows,
                held_out,
                penalty=self.penalty_,
                max_epochs=200 if self.max_epochs is None else int(self.max_epochs),
                patience=int(self.n_iter_no_change),
                tol=tol,
                rng=rng,
                tell=tell,
            )
        self._keep(trainer, status, epochs, rows, held_out)
        watch.close()
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Pass once over some more rows, in mini-batches; rows may come in any number of calls.

        Parameters
        ----------
        X, y, sample_weight : as in `fit`
            A class may be missing here.
        classes : array of shape (K,), optional
            All labels that will ever come; needed in the first call.

        Returns
        -------
        self

        Raises
        ------
        TargetError
            If the first call lacks `classes`, a later one has others, or y holds a label that is none of them.
        """
        check_parameters(self)
        first = not hasattr(self, "coefs_")
        if self.class_weight == "balanced":
            raise OptionError(
                "class_weight='balanced' needs all rows, and partial_fit sees a part. Pass a weight for each class."
            )
        if classes is None and first:
            raise TargetError("the first call of partial_fit needs classes: all labels that will come in any call.")
        if classes is not None:
            known = np.unique(np.asarray(classes))
            if len(known) < 2:
                raise TargetError(f"classes must hold at least 2 labels, got {known.tolist()}.")
            if not first and not np.array_equal(known, self.classes_):
                raise TargetError(
                    f"classes must be those of the first call, {self.classes_.tolist()}; got {known.tolist()}."
                )
        else:
            known = self.classes_
        sample = check_sample(self, X, y, sample_weight, classes=known, first=first)
        if not sample.X.shape[0]:
            raise TargetError("every row has weight 0: there is nothing to learn from.")
        trainer: Trainer | None = self.__dict__.get("_trainer")
        if first:
            self._shuffle = check_random_state(self.random_state)
        rng = self.__dict__.setdefault("_shuffle", check_random_state(self.random_state))
        if trainer is None:
            start = self._start(sample, rng) if first else (self.coefs_, self.intercepts_)
            trainer = self._trainer_at(*start, n_rows=sample.X.shape[0])
        rows, _, total = self._rows(sample, rng, split=False)
        self.penalty_, self.classes_ = float(self.alpha) / total, known
        objective = trainer.epoch(rows, self.penalty_, rng)
        number = 1 if first else self.n_iter_ + 1
        earlier = [] if first else self.history_
        self._keep(trainer, "partial_fit" if np.isfinite(objective) else "diverged", [], rows, None)
        record = {"number": number, "objective": objective, "validation": None, "learning_rate": trainer.learning_rate}
        self.n_iter_, self.history_, self._trainer = number, [*earlier, record], trainer
        return self

    def calibrate(self, X: Any, y: Any, *, cv: Any = 5, sample_weight: Any = None) -> Self:
        """Set `temperature_`, which divides the logits of ``predict_proba``, from rows that had no part in a fit.

        Parameters
        ----------
        X, y, sample_weight : as in `fit`
            The data of the fit; with ``cv="prefit"``, other data.
        cv : int, splitter, iterable of (train, test) or "prefit", default=5
            How rows are held out from clones of the model; "prefit" takes the model's own logits for X, which it must
            not have seen.

        Returns
        -------
        self
        """
        from softmax.regression._calibration import calibrate

        return calibrate(self, X, y, cv=cv, sample_weight=sample_weight)

    def network(self) -> nn.Module:
        """Return a new PyTorch module of the fitted weights, on the CPU: inputs (n, d) to logits (n, K)."""
        check_is_fitted(self)
        torch, training = _torch(), _training()
        layers, head = training.build(
            self.coefs_, self.intercepts_, self.activation, getattr(torch, self.dtype), torch.device("cpu")
        )
        last = torch.nn.Linear(head.in_features, head.num_classes, device="meta")
        last.weight, last.bias = head.weight, head.bias
        return layers.append(last)  # type: ignore[no-any-return]

    def _logits(self, X: Any) -> Floats:
        return _network.logits(X, self.coefs_, self.intercepts_, self.activation)

    def _margin(self, X: Any) -> Floats:
        both = self._logits(X)
        difference: Floats = both[:, 1] - both[:, 0]
        return difference

    def _solver(self) -> str:
        """Which of "adam" and "lbfgs"."""
        if self.solver != "auto":
            return self.solver
        return "adam" if len(self.hidden_layer_sizes) or self.early_stopping else "lbfgs"

    def _rows(
        self, sample: Sample, rng: np.random.RandomState, *, split: bool = True
    ) -> tuple[Rows, Rows | None, float]:
        """The rows to learn from, those held out, and the sum of the weights of the first."""
        targets: Any = sample.labels if sample.labels is not None else sample.probabilities
        rows, held_out = _training().Rows(sample.X, targets, sample.weights), None
        if split and self.early_stopping:
            inner, outer = _split(targets, float(self.validation_fraction), rng)
            rows, held_out = rows.part(inner), rows.part(outer)
        if rows.weights is None:
            return rows, held_out, float(len(rows))
        total = float(rows.weights.sum())
        mean_one = type(rows)(rows.X, rows.targets, rows.weights * (len(rows) / total))
        return mean_one, held_out, total

    def _start(self, sample: Sample, rng: np.random.RandomState) -> tuple[list[Array], list[Array]]:
        """The weights of the last fit, or new ones."""
        widths = [sample.X.shape[1], *map(int, self.hidden_layer_sizes), len(sample.classes)]
        if self.warm_start and hasattr(self, "coefs_") and np.array_equal(self.classes_, sample.classes):
            last = [*(coef.shape[0] for coef in self.coefs_), len(self.classes_)]
            if last == widths:
                return self.coefs_, self.intercepts_
        coefs, intercepts = _network.initial(widths, self.activation, rng)
        return [*coefs], [*intercepts]

    def _trainer_at(self, coefs: list[Array], intercepts: list[Array], *, n_rows: int) -> Trainer:
        size = min(max(n_rows // 20, 16), 256) if isinstance(self.batch_size, str) else int(self.batch_size)
        return _training().Trainer(  # type: ignore[no-any-return]
            coefs,
            intercepts,
            activation=self.activation,
            learning_rate=float(self.learning_rate),
            batch_size=size,
            dtype=self.dtype,
            device=self.device,
        )

    def _keep(self, trainer: Trainer, status: str, epochs: list[Epoch], rows: Rows, held_out: Rows | None) -> None:
        """Set the fitted attributes, and warn where the weights are not those that were asked for."""
        for name in ("_trainer", "calibration_"):  # of an earlier fit
            self.__dict__.pop(name, None)
        self.coefs_, self.intercepts_ = trainer.parameters()
        self.temperature_ = 1.0
        self.n_iter_ = len(epochs)
        self.history_ = [asdict(epoch) for epoch in epochs]
        self.status_ = status
        squares = sum(float(np.sum(np.square(coef, dtype=np.float64))) for coef in self.coefs_)
        self.objective_ = self._mean_loss(rows) + 0.5 * self.penalty_ * squares
        self.validation_loss_ = None if held_out is None else self._mean_loss(held_out)
        if status in WORDS:
            warnings.warn(
                f"the fit ended after {len(epochs)} epochs: {WORDS[status]}.", NotCertifiedWarning, stacklevel=4
            )

    def _mean_loss(self, rows: Rows) -> float:
        """Mean loss in float64, weighted."""
        logs = log_softmax(self._logits(rows.X))
        if rows.targets.ndim == 1:
            losses = -logs[np.arange(len(rows)), rows.targets]
        else:
            losses = -np.sum(rows.targets * logs, axis=1, where=rows.targets > 0)
        return float(np.average(losses, weights=rows.weights))

    def _reporter(self) -> Any:
        """What is called after each epoch: prints with `verbose`, and the hook `_progress` where one is set."""
        hook = getattr(self, "_progress", None)
        if not self.verbose:
            return hook

        def report(epoch: int, passes: float, objective: float, gap: float) -> None:
            print(f"epoch {epoch:5d}  objective {objective:.6g}", flush=True)  # noqa: T201  verbose asks
            if hook is not None:
                hook(epoch, passes, objective, gap)

        return report

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        for name in ("_progress", "_trainer", "_shuffle"):  # of one fit, or one sequence of them
            state.pop(name, None)
        return state

    def __softmax_state__(self) -> tuple[str, dict[str, Any], dict[str, Array]]:
        """What `softmax.save` writes: a kind, a header of plain Python values, and arrays."""
        return state_of(self)

    @classmethod
    def from_state(cls, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> Self:
        """The estimator that `__softmax_state__` described.

        Raises
        ------
        ModelFileError
            If the state is not one that `__softmax_state__` could have returned.
        """
        model = cls()
        restore(model, header, arrays)
        return model


def check_parameters(model: NeuralSoftmaxClassifier) -> None:
    """Refuse parameters outside their ranges.

    Raises
    ------
    OptionError
        Names the parameter, what came and what is allowed.
    """
    sizes = model.hidden_layer_sizes
    if isinstance(sizes, str | bytes) or not isinstance(sizes, Sequence | np.ndarray):
        raise OptionError(
            f"hidden_layer_sizes must be a sequence of widths, such as (256,) or (); got {sizes!r}. "
            "For one layer write (n,)."
        )
    if not all(_is_count(size) for size in sizes):
        raise OptionError(f"hidden_layer_sizes must hold integers, 1 or more; got {sizes!r}.")
    if model.activation not in _network.ACTIVATIONS:
        raise OptionError(f"activation must be one of {', '.join(_network.ACTIVATIONS)}; got {model.activation!r}.")
    if model.dtype not in DTYPES:
        raise OptionError(f"dtype must be one of {', '.join(DTYPES)}; got {model.dtype!r}.")
    if model.solver not in SOLVERS:
        raise OptionError(f"solver must be one of {', '.join(SOLVERS)}; got {model.solver!r}.")
    if model.solver == "lbfgs" and model.early_stopping:
        raise OptionError("early_stopping is for solver='adam'; L-BFGS ends by its gradient. Leave one of them out.")
    for name in ("batch_size", "max_epochs", "n_iter_no_change"):
        value, other = getattr(model, name), OTHER.get(name, 1)
        if not _is_count(value) and not (type(value) is type(other) and value == other):
            also = "" if other == 1 else f" or {other!r}"
            raise OptionError(f"{name} must be an integer, 1 or more{also}; got {value!r}.")
    for name, lowest, highest, words in (
        ("alpha", True, np.inf, "a finite number ≥ 0"),
        ("learning_rate", False, np.inf, "a finite number > 0"),
        ("tol", True, np.inf, "a finite number ≥ 0"),
        ("validation_fraction", False, 1.0, "a number between 0 and 1"),
    ):
        value = getattr(model, name)
        if not _is_real(value) or not (0 < value < highest or (lowest and value == 0)):
            raise OptionError(f"{name} must be {words}; got {value!r}.")


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and value is not True and int(value) >= 1


def _split(
    targets: Array, fraction: float, rng: np.random.RandomState
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Places of the rows to learn from and of those held out: of each class a share, but never its last row."""
    codes = targets if targets.ndim == 1 else np.argmax(targets, axis=1)
    order = rng.permutation(len(codes))
    rank = np.empty(len(codes), dtype=np.intp)
    sizes = np.bincount(codes)
    for code in np.flatnonzero(sizes):
        rank[order[codes[order] == code]] = np.arange(sizes[code])
    out = rank < np.minimum(np.round(fraction * sizes), np.maximum(sizes - 1, 0))[codes]
    if not out.any():
        raise OptionError(
            f"validation_fraction={fraction:g} of {len(codes)} rows holds none out. Raise it, or pass "
            "early_stopping=False."
        )
    return np.flatnonzero(~out), np.flatnonzero(out)


def _teller(watch: Watch) -> Any:
    """Tell the watch of an epoch; there is no bound on the distance to the optimum."""
    watch(0, 0, float("nan"), float("inf"))
    return lambda epoch: watch(epoch.number, epoch.number, epoch.objective, float("inf"))


def _torch() -> Any:
    """PyTorch, at the first fit."""
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtraError.for_extra("NeuralSoftmaxClassifier.fit", "torch", "torch") from None
    return torch


def _training() -> Any:
    _torch()
    from . import _training

    return _training
