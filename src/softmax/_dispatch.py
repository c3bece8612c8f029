"""From an array library to the kernel set that serves it, with the reason; and the short cut for plain NumPy rows."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Any

from ._arrays import NUMPY, Library
from ._errors import OptionError

# Kernel sets by library, filled on first use. Threads may race to fill an entry: both write the same module.
_found: dict[str, tuple[Any, str]] = {}


def kernels_for(lib: Library) -> Any:
    """The kernel set: a module with the functions of the contract in `_kernels/README.md`."""
    entry = _found.get(lib.name)
    if entry is None:
        entry = _found[lib.name] = _find(lib.name)
    return entry[0]


def reason_for(lib: Library) -> str:
    """Why `kernels_for` gives what it gives."""
    kernels_for(lib)
    return _found[lib.name][1]


def _find(library: str) -> tuple[Any, str]:
    # Import statements and not importlib: torch.compile traces through this function.
    if library == "torch":
        from . import _torch

        return _torch, "the input is a torch.Tensor: these functions carry autograd and torch.compile"
    if library == "jax":
        from . import _jax

        return _jax, "the input is a jax.Array: the portable kernels, compiled by XLA, in float64 inside"
    from ._kernels import portable

    if library != "numpy":
        return portable, f"the input is an array of {library}: only array-API calls are made on it"
    if wants_portable():
        return portable, "SOFTMAX_KERNELS=portable is set"
    if importlib.util.find_spec("numba") is None:
        return portable, "Numba is not installed, so nothing can be compiled"
    try:
        from ._kernels import cpu
    except ImportError as error:
        return portable, f"the compiled kernels could not be loaded ({error})"
    return cpu, "the input is a NumPy array and Numba is installed"


def wants_portable() -> bool:
    """Whether SOFTMAX_KERNELS asks for the portable kernels."""
    value = os.environ.get("SOFTMAX_KERNELS", "")
    if value in ("", "auto", "portable"):
        return value == "portable"
    raise OptionError(f"SOFTMAX_KERNELS must be 'portable', 'auto' or unset; got {value!r}.")


class Rows:
    """Short cut for NumPy: aligned, C-contiguous, non-empty float32 or float64 arrays, last axis, no option.

    Each attribute takes such an array and returns the result. The first call binds it to the kernel, so that a later
    one costs an attribute look-up; the values are those of the kernel set.
    """

    __slots__ = ("log_softmax", "log_softmax_fast", "logsumexp", "softmax", "softmax_fast")

    softmax: Callable[[Any], Any]
    softmax_fast: Callable[[Any], Any]
    log_softmax: Callable[[Any], Any]
    log_softmax_fast: Callable[[Any], Any]
    logsumexp: Callable[[Any], Any]

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Bind again at the next call."""
        for name in self.__slots__:
            setattr(self, name, self._binder(name))

    def _binder(self, name: str) -> Callable[[Any], Any]:
        def bind_and_call(x: Any) -> Any:
            kernels = kernels_for(NUMPY)
            kernel = getattr(kernels, f"{name}_last", None)
            if kernel is None:
                general = getattr(kernels, name)

                def kernel(x: Any) -> Any:
                    return NUMPY.unwrap(general(x, x.ndim - 1))

            setattr(self, name, kernel)
            return kernel(x)

        return bind_and_call


rows = Rows()


def forget() -> None:
    """Choose the kernel sets anew, as after a change of SOFTMAX_KERNELS."""
    _found.clear()
    rows.forget()
