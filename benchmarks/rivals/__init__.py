"""The rivals, one file each, named after the library.

Each file has ``NAME``, ``DISTRIBUTION`` (whose version is written down), ``NOTE`` (how it is called, what it
allocates) and ``implementations(case, arrays, threads)``, which returns what the library offers for a case: nothing
where it has no such operation. A file imports its library, so it is loaded only in the worker process, where the
threads are set.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any

RIVALS = ("scipy", "torch", "onnxruntime", "jax")


@dataclass(frozen=True)
class Implementation:
    """One way to compute a case: `call` is timed; `result` turns what it returns into a tuple of NumPy arrays.

    `context` is entered around the clock, not within it.
    """

    name: str
    call: Callable[[], Any]
    result: Callable[[Any], tuple[Any, ...]]
    own: bool = False
    precision: str = "accurate"
    context: Callable[[], AbstractContextManager[Any]] = nullcontext


def load(name: str) -> ModuleType | None:
    """Return the module of a rival, or None where its library is not installed."""
    needs = {"onnxruntime": ("onnxruntime", "onnx")}.get(name, (name,))
    if any(importlib.util.find_spec(package) is None for package in needs):
        return None
    return importlib.import_module(f"benchmarks.rivals.{name}")
