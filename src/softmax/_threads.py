"""How many threads may be used. They are used in `_kernels/cpu/threads.py` and in `regression/_threads.py`."""

import os
from numbers import Integral
from typing import Any

from ._errors import OptionError

VARIABLE = "SOFTMAX_NUM_THREADS"


def number_of_threads(n_threads: Any = None) -> int:
    """`n_threads` if it is given, else SOFTMAX_NUM_THREADS, else the processors that this process may use."""
    if n_threads is not None:
        if isinstance(n_threads, bool) or not isinstance(n_threads, Integral) or n_threads < 1:
            raise OptionError(f"n_threads must be a positive integer or None, got {n_threads!r}.")
        return int(n_threads)
    text = os.environ.get(VARIABLE, "").strip()
    if text:
        if not (text.isascii() and text.isdigit()) or int(text) < 1:
            raise OptionError(f"the environment variable {VARIABLE} must be a positive integer, got {text!r}.")
        return int(text)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
