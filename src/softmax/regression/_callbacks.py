"""The bridge from a solver's progress to scikit-learn's callback protocol (`sklearn.callback`, scikit-learn ≥ 1.9).

An estimator with callbacks:

    class Estimator(CallbackSupport, BaseEstimator):
        @with_callbacks
        def fit(self, X, y):
            watch = bridge(self, X, y, classes=classes, also=report)
            solution = solve(problem, progress=watch, ...)
            ...                                   # sets the fitted attributes
            watch.close()

`fit` is the root task and each iteration one of its subtasks. With an older scikit-learn the mixin is empty, the
decorator does nothing but call, and a `Watch` passes its calls on to `also`.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy.typing as npt

from ._problem import Progress
from ._rows import Floats

try:
    from sklearn import callback as _protocol
except ImportError:  # scikit-learn < 1.9
    _protocol = None

CallbackSupport: Any

if _protocol is not None:
    CallbackSupport = _protocol.CallbackSupportMixin
else:

    class CallbackSupport:  # type: ignore[no-redef]
        """Stands for scikit-learn's mixin where there is none."""


Method = TypeVar("Method", bound=Callable[..., Any])


def with_callbacks(method: Method) -> Method:
    """Tear the callbacks of an estimator down when the method ends, whichever way.

    It adds one frame to the stack of the method, whatever the version of scikit-learn: a warning that should point to
    the caller of `fit` needs a `stacklevel` of one more.
    """
    if _protocol is not None:
        decorated: Method = _protocol.with_callbacks(method)
        return decorated

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return method(*args, **kwargs)

    return call  # type: ignore[return-value]


class Watch:
    """A `Progress` that tells the callbacks of an estimator about every iteration.

    A solver may set `current`, before its first call, to a function that returns the coefficients (K, d) and the
    intercepts (K,) of the iterate that the next call is about. It is called only where a callback asks for the fitted
    estimator; the arrays must not change afterwards. Without it, callbacks get none.

    A call raises StopIteration where a callback asks to stop; what a callback itself raises goes through.
    """

    current: Callable[[], tuple[Floats, Floats]] | None = None

    def __init__(
        self, estimator: Any, root: Any | None, also: Progress | None, arguments: dict[str, Any], fitted: dict[str, Any]
    ) -> None:
        self._estimator = estimator
        self._root = root
        self._also = also
        self._arguments = arguments
        self._fitted = fitted
        self._task: Any | None = None

    def __call__(self, iteration: int, passes: float, objective: float, gap: float) -> None:
        if self._also is not None:
            self._also(iteration, passes, objective, gap)  # type: ignore[arg-type]
        if self._root is None:
            return
        if iteration > 0:
            task = self._task if self._task is not None else self._begin()
            if task.call_on_fit_task_end(**self._state()):
                self._task = None
                raise StopIteration(f"a callback asked to stop after iteration {iteration}")
        elif self._task is not None:
            return  # a path of fits begins anew at 0; the task that is open will be its first iteration
        # Nobody knows yet whether there will be another iteration; `close` ends a task that remained empty.
        self._task = self._begin()

    def close(self) -> None:
        """End the task of the whole fit; the estimator has its fitted attributes."""
        if self._root is None:
            return
        if self._task is not None:
            self._task.call_on_fit_task_end(estimator=self._estimator)
        self._root.call_on_fit_task_end(
            estimator=self._estimator, **self._arguments, reconstruction_attributes=self._nothing
        )

    def _begin(self) -> Any:
        return self._root.subcontext(task_name="iteration").call_on_fit_task_begin(**self._state())  # type: ignore[union-attr]

    def _state(self) -> dict[str, Any]:
        return {
            "estimator": self._estimator,
            **self._arguments,
            "reconstruction_attributes": None if self.current is None else self._reconstruction,
        }

    def _reconstruction(self) -> dict[str, Any]:
        assert self.current is not None  # for the checker of types
        coef, intercept = self.current()
        return {**self._fitted, "coef_": coef, "intercept_": intercept}

    @staticmethod
    def _nothing() -> dict[str, Any]:
        return {}


def bridge(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    classes: npt.NDArray[Any],
    also: Progress | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Watch:
    """Begin the task of a fit, and return what to call after each iteration.

    Parameters
    ----------
    estimator : a `CallbackSupport`
        Its method that calls this is decorated by `with_callbacks`.
    X, y : what callbacks get to see
    classes : ndarray (K,)
        The labels, for an estimator in the middle of its fit.
    also : Progress or None
        Called first, with the same figures.
    metadata : mapping or None
        Arguments of fit besides X and y, such as ``{"sample_weight": ...}``; those that are None are left out.
    """
    state = vars(estimator)
    if _protocol is None or not ("_skl_callbacks" in state or "_parent_callback_ctx" in state):
        return Watch(estimator, None, also, {}, {})
    given = {name: value for name, value in (metadata or {}).items() if value is not None}
    arguments = {"X": X, "y": y, "metadata": given or None}
    # The number of Newton steps is not known beforehand.
    root = estimator._init_callback_context(max_subtasks=None)
    root.call_on_fit_task_begin(estimator=estimator, **arguments)
    return Watch(estimator, root, also, arguments, {"classes_": classes, "temperature_": 1.0})
