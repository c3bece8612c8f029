"""The one place where an array function uses more than one thread: rows are dealt to a pool in contiguous shares.

Kernels are serial, release the interpreter lock and treat every row alike, so that the number of threads changes no
bit.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from ..._threads import number_of_threads

SHARE = 1 << 15  # elements below which a second thread costs more than it saves

_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def _pool_of(size: int) -> ThreadPoolExecutor:
    global _pool, _pool_size
    if _pool is None or _pool_size < size:
        _pool, _pool_size = ThreadPoolExecutor(size, "softmax"), size
    return _pool


def _forget_pool() -> None:
    global _pool, _pool_size
    _pool, _pool_size = None, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)  # a child has none of its parent's threads


def over_rows(task: Callable[[int, int], None], rows: int, elements: int) -> None:
    """task(start, stop) over contiguous shares of `rows`."""
    threads = min(number_of_threads(), elements // SHARE, rows) if elements >= 2 * SHARE else 1
    if threads <= 1:
        task(0, rows)
        return
    edges = [rows * k // threads for k in range(threads)] + [rows]
    pool = _pool_of(threads - 1)
    others = [pool.submit(task, start, stop) for start, stop in pairwise(edges[1:])]
    task(edges[0], edges[1])
    for other in others:
        other.result()
