"""The threads of a fit: a pool over chunks of rows, with BLAS held to one thread inside it.

`threadpool_limits` acts on the whole process and costs about a millisecond, so only fits that are long enough come
here.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from types import TracebackType
from typing import Self, TypeVar

from threadpoolctl import ThreadpoolController

Task = TypeVar("Task")
Result = TypeVar("Result")


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
        self.limited = n_threads is not None
        self._pool: ThreadPoolExecutor | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self.limited:
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
