"""What the library found on this machine, and which kernels a call would run."""

from __future__ import annotations

import importlib.metadata
import inspect
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _derivative, _function, _linear, _losses
from ._arrays import NUMPY, describe
from ._checks import check_array
from ._dispatch import kernels_for, reason_for
from ._errors import OptionError
from ._linear_plan import LinearPlan
from ._threads import number_of_threads

__all__ = ["Dispatch", "explain_dispatch", "show_config"]

_FUNCTIONS = {name: getattr(part, name) for part in (_function, _derivative, _losses, _linear) for name in part.__all__}
# The kernels of the functions that have none of their own name.
_KERNELS = {
    "cross_entropy_and_grad": "cross_entropy",
    "linear_cross_entropy_and_grad": "linear_cross_entropy",
    "log_softmax_jacobian": "softmax",
    "logsumexp_hessian": "softmax",
    "softmax_jacobian": "softmax",
}
_PACKAGES = (
    "softmax",
    "numpy",
    "scipy",
    "numba",
    "scikit-learn",
    "torch",
    "triton",
    "jax",
    "cupy",
    "array-api-strict",
    "ml-dtypes",
)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Which kernel a call would run, and why."""

    function: str
    library: str
    kernel: str
    reason: str
    plan: LinearPlan | None = None

    def __str__(self) -> str:
        text = f"{self.function} runs {self.kernel}: {self.reason}."
        return text if self.plan is None else f"{text} It goes {self.plan}."


def explain_dispatch(function: Callable[..., Any] | str, /, *args: Any, **options: Any) -> Dispatch:
    """Tell which kernel a call would run, and why, without running it.

    Parameters
    ----------
    function : callable or str
        A function of this library, such as ``sm.softmax``, or its name.
    *args : object
        The arguments of the call.
    **options : object
        Its keyword arguments.

    Returns
    -------
    Dispatch
        With the attributes `function`, `library`, `kernel` (where it stands) and `reason`; `str` gives a sentence. For
        the linear cross entropy also `plan`: rows at a time, when gradients are computed, and the bytes the call needs
        beyond its arguments (`peak`), with their formula.

    Raises
    ------
    OptionError
        If the function is none of this library's array functions.
    ArrayTypeError, ArrayValueError
        If the first argument is no array that the function takes.
    TypeError
        If the arguments do not fit the signature.

    Examples
    --------
    >>> import softmax as sm
    >>> sm.explain_dispatch(sm.softmax, [1.0, 2.0]).library
    'numpy'
    """
    name = function if isinstance(function, str) else getattr(function, "__name__", repr(function))
    if name not in _FUNCTIONS or not (isinstance(function, str) or _FUNCTIONS[name] is function):
        raise OptionError(
            f"function must be one of {', '.join(sorted(_FUNCTIONS))}; got {describe(function)} {name!r}."
        )
    inspect.signature(_FUNCTIONS[name]).bind(*args, **options)
    lib, _, _ = check_array(args[0], allow_complex=name == "logsumexp")
    kernels = kernels_for(lib)
    linear = name in _linear.__all__
    kernel = getattr(kernels, "chunk_loss" if linear and lib is NUMPY else _KERNELS.get(name, name))
    reason = kernels.reason(args[0]) if hasattr(kernels, "reason") else reason_for(lib)
    plan = _linear.explain_plan(name, *args, **options) if linear else None
    return Dispatch(name, lib.name, f"{kernel.__module__}.{kernel.__name__}", reason, plan)


def show_config() -> dict[str, Any]:
    """Return what the library runs on: versions, kernels, threads and instruction set.

    Returns
    -------
    dict
        ``versions`` (of the packages that are installed, whether loaded or not), ``kernels`` (which set serves NumPy
        arrays, and why), ``threads`` (how many the kernels may use), ``processor`` and ``instruction_set`` (the
        extensions that NumPy found).

    Examples
    --------
    >>> import softmax as sm
    >>> sorted(sm.show_config())
    ['instruction_set', 'kernels', 'processor', 'threads', 'versions']
    """
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    kernels = kernels_for(NUMPY)
    threaded = hasattr(kernels, "threads")  # the portable kernels have none
    simd: Any = np.show_config(mode="dicts")
    return {
        "versions": versions,
        "kernels": f"{kernels.__name__}: {reason_for(NUMPY)}",
        "threads": number_of_threads() if threaded else 1,
        "processor": platform.processor() or platform.machine(),
        "instruction_set": list(simd.get("SIMD Extensions", {}).get("found", [])),
    }
