"""The threads of a fit: a pool over chunks of rows, with BLAS held to one thread inside it.

`threadpool_limits` acts on the whole process and costs about a millisecond, so only fits that are long enough come
here.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from numbers import Integral
from types import TracebackType
from typing import Any, Self, TypeVar

from threadpoolctl import ThreadpoolController

from softmax._errors import OptionError

Task = TypeVar("Task")
Result = TypeVar("Result")

VARIABLE = "SOFTMAX_NUM_THREADS"


def resolve_threads(n_threads: Any) -> int:
    """`n_threads` as a number: the argument, else SOFTMAX_NUM_THREADS, else the processors this process may use."""
    if n_threads is not None:
        if isinstance(n_threads, bool) or not isinstance(n_threads, Integral) or n_threads < 1:
            raise OptionError(f"n_threads must be a positive integer or None, got {n_threads!r}.")
        return int(n_threads)
    text = os.environ.get(VARIABLE, "").strip()
    if text:
        if not text.isdigit() or int(text) < 1:
            raise OptionError(f"the environment variable {VARIABLE} must be a positive integer, got {text!r}.")
        return int(text)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _controller() -> ThreadpoolController:
    """The BLAS libraries of this process; SciPy's own copy is loaded before the look."""
    import scipy.linalg  # noqa: F401  its OpenBLAS must be loaded to be found

    return ThreadpoolController()


class Workers:
    """Runs tasks over chunks of rows; results come back in the order of the tasks, so that sums repeat bitwise.

    `n_threads` of None stands for a fit too small to gain from a pool: everything runs in the calling thread and BLAS
    is left alone.
    """

    def __init__(self, n_threads: int | None) -> None:
        self.n_threads = n_threads or 1
        self._limited = n_threads is not None
        self._pool: ThreadPoolExecutor | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self._limited:
            self._stack.enter_context(_controller().limit(limits=self.n_threads, user_api="blas"))
            if self.n_threads > 1:
                self._pool = self._stack.enter_context(ThreadPoolExecutor(self.n_threads, "softmax-fit"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool = None
        self._stack.close()

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> list[Result]:
        """`[function(task) for task in tasks]`, over the pool where there is one."""
        if self._pool is None:
            return [function(task) for task in tasks]
        with _controller().limit(limits=1, user_api="blas"):
            return list(self._pool.map(function, tasks))
