"""The bridge from a solver's progress to scikit-learn's callback protocol (`sklearn.callback`, scikit-learn ≥ 1.9).

An estimator with callbacks:

    class Estimator(CallbackSupport, BaseEstimator):
        @with_callbacks
        def fit(self, X, y):
            watch = bridge(self, X, y, classes=classes, also=report)
            solution = solve(problem, progress=watch, ...)
            ...                                   # sets the fitted attributes
            watch.close()

`fit` is the root task and each iteration one of its subtasks. A search has a watch of its own, `SearchWatch`. With an
older scikit-learn the mixin is empty, the decorator does nothing but call, and a `Watch` passes its calls on to `also`.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypeVar

import numpy.typing as npt

from ._problem import Progress

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
    intercepts (K,) of the iterate that the next call is about, or what else becomes the attributes `names`. It is
    called only where a callback asks for the fitted estimator; the arrays must not change afterwards. Without it,
    callbacks get none.

    A call raises StopIteration where a callback asks to stop; what a callback itself raises goes through.
    """

    current: Callable[[], tuple[Any, Any]] | None = None
    names = ("coef_", "intercept_")

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
        return {**self._fitted, **dict(zip(self.names, self.current(), strict=True))}

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
    if not _has_callbacks(estimator):
        return Watch(estimator, None, also, {}, {})
    arguments = _arguments(X, y, metadata)
    # The number of Newton steps is not known beforehand.
    root = estimator._init_callback_context(max_subtasks=None)
    root.call_on_fit_task_begin(estimator=estimator, **arguments)
    return Watch(estimator, root, also, arguments, {"classes_": classes, "temperature_": 1.0})


# SearchProgress(done, total, words): called after each fit of a search, from any of its threads, one at a time; and
# before the last fit, with done = total, where the search has not made it.
SearchProgress = Callable[[int, int, str], None]


class SearchWatch:
    """Tells the callbacks of a search, and `also`, about each of its `total` fits, and about the last one to all rows.

    The tasks are those of scikit-learn's searches: "search", with one leaf for each candidate and fold, and
    "refit-with-best-params", which is one with the fit of the estimator that makes it. Fits to all rows that go ahead
    are leaves of the search too, under another name. Threads may call at once; callbacks hear one call at a time.

    `stopped`: whether a callback has asked to stop. `asks`: whether there is a callback.
    """

    def __init__(
        self,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        total: int,
        refit: bool,
        also: SearchProgress | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self._estimator = estimator
        self._also = also
        self._total = total
        self._done = 0
        self._lock = Lock()
        self._tasks: dict[int, Any] = {}
        self.stopped = False
        self.asks = _has_callbacks(estimator)
        if self.asks:
            self._arguments = _arguments(X, y, metadata)
            self._root = estimator._init_callback_context(max_subtasks=1 + refit)
            self._root.call_on_fit_task_begin(estimator=estimator, **self._arguments)
            self._search = self._root.subcontext(task_name="search", max_subtasks=total, sequential_subtasks=False)
            self._search.call_on_fit_task_begin(estimator=estimator, **self._arguments)

    def begin(self, number: int, name: str, arguments: Mapping[str, Any]) -> None:
        """Begin the task of one fit; `arguments` are X, y and metadata, or functions that return them."""
        if self.asks:
            with self._lock:
                task = self._tasks[number] = self._search.subcontext(task_name=name, task_id=number)
                task.call_on_fit_task_begin(estimator=self._estimator, **arguments)

    def end(self, number: int, words: str, fitted: Callable[[], dict[str, Any]], arguments: Mapping[str, Any]) -> None:
        """End it; `fitted` returns the attributes that the fit gives the estimator."""
        with self._lock:
            self._done += 1
            if self._also is not None:
                self._also(self._done, self._total, words)
            if self.asks:
                task = self._tasks.pop(number)
                self.stopped |= task.call_on_fit_task_end(
                    estimator=self._estimator, **arguments, reconstruction_attributes=fitted
                )

    def end_search(self) -> None:
        """End the search, and the tasks that an interrupt has left open."""
        if self.asks:
            for task in self._tasks.values():
                task.call_on_fit_task_end(estimator=self._estimator)
            self._tasks.clear()
            self._search.call_on_fit_task_end(estimator=self._estimator, **self._arguments)

    @contextmanager
    def refit(self, model: Any | None) -> Iterator[None]:
        """Around the last fit: that of `model`, or none where the search has made it already."""
        if model is not None and self._also is not None:
            self._also(self._total, self._total, f"the last fit, C = {model.C:.3g}")
        if not self.asks:
            yield
            return
        task = self._root.subcontext(task_name="refit-with-best-params")
        if model is None:
            task.call_on_fit_task_begin(estimator=self._estimator, **self._arguments)
            yield
        else:
            with task.propagate_callback_context(model):
                task.call_on_fit_task_begin(estimator=self._estimator, **self._arguments)
                yield
        task.call_on_fit_task_end(estimator=self._estimator, **self._arguments)

    def close(self) -> None:
        """End the task of the whole fit; the estimator has its fitted attributes."""
        if self.asks:
            fitted: dict[str, Any] | None = {} if hasattr(self._estimator, "coef_") else None
            self._root.call_on_fit_task_end(
                estimator=self._estimator, **self._arguments, reconstruction_attributes=fitted
            )


def _has_callbacks(estimator: Any) -> bool:
    """Whether somebody wants to hear of a fit: a callback, or a search that the estimator is a part of."""
    state = vars(estimator)
    return _protocol is not None and ("_skl_callbacks" in state or "_parent_callback_ctx" in state)


def _arguments(X: Any, y: Any, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    given = {name: value for name, value in (metadata or {}).items() if value is not None}
    return {"X": X, "y": y, "metadata": given or None}
