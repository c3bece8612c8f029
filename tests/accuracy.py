"""The back-ends whose error bounds are tested, the adversarial inputs, and the formulas everybody writes."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import softmax as sm
from softmax import _dispatch

try:
    import ml_dtypes
except ImportError:
    ml_dtypes = None


def numpy_dtype(name: str) -> np.dtype[Any]:
    """A dtype by name; bfloat16 needs ml_dtypes."""
    if name != "bfloat16":
        return np.dtype(name)
    if ml_dtypes is None:
        pytest.skip("needs ml_dtypes")
    return np.dtype(ml_dtypes.bfloat16)


@dataclass(frozen=True)
class Backend:
    """A way to call the public functions: what it needs, how an array gets there, and its bound in float64."""

    name: str
    module: str
    float64_ulp: float
    convert: Callable[[Any], Any]
    context: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    flushes_subnormals: bool = False

    def call(self, function: str, *arrays: Any, **options: Any) -> Any:
        """The public function of NumPy arrays, computed by this back-end; results as they come."""
        with self.context():
            result = getattr(sm, function)(*map(self.array, arrays), **options)
            return np.asarray(result) if self.name == "jax" else result

    def array(self, x: Any) -> Any:
        """A NumPy array as one of this back-end."""
        return self.convert(x) if isinstance(x, np.ndarray) else x

    def softmax_ulp(self, dtype: str) -> float:
        """The bound of softmax."""
        return {"float64": self.float64_ulp, "float32": 1.0}.get(dtype, 0.51)

    def other_ulp(self, dtype: str) -> float:
        """The bound of log_softmax and logsumexp."""
        return {"float64": self.float64_ulp, "float32": 2.0}.get(dtype, 0.51)


def _to_torch(x: Any) -> Any:
    torch = importlib.import_module("torch")
    if x.dtype.name == "bfloat16":
        return torch.from_numpy(x.astype(np.float32)).to(torch.bfloat16)
    return torch.from_numpy(np.ascontiguousarray(x))


def _to_jax(x: Any) -> Any:
    return importlib.import_module("jax.numpy").asarray(x)


def _to_strict(x: Any) -> Any:
    return importlib.import_module("array_api_strict").asarray(x)


@contextlib.contextmanager
def portable_kernels() -> Iterator[None]:
    """SOFTMAX_KERNELS=portable, for this process and for a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTMAX_KERNELS", "portable")
        _dispatch.forget()
        try:
            yield
        finally:
            _dispatch.forget()


@contextlib.contextmanager
def triton_kernels() -> Iterator[None]:
    """Tensors go to the Triton kernels: on a GPU, or in the interpreter on the CPU."""
    from benchmarks.gpu import interpreter
    from softmax import _torch_gpu, _torch_rows

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        if not importlib.import_module("torch").cuda.is_available():
            if not importlib.import_module("softmax._kernels.gpu").INTERPRETED:
                pytest.skip("needs a CUDA device, or TRITON_INTERPRET=1 before Triton is imported")
            interpreter.repair()
            warnings.simplefilter("ignore", RuntimeWarning)  # NumPy computes for the interpreter
            patch.setattr(_torch_gpu, "serves", lambda x: x.is_cpu)
            patch.setattr(_torch_rows, "short_kernels", dict)
        yield


def _to_triton(x: Any) -> Any:
    x = _to_torch(x)
    return x.cuda() if importlib.import_module("torch").cuda.is_available() else x


def _jax_float64() -> contextlib.AbstractContextManager[Any]:
    context: contextlib.AbstractContextManager[Any] = importlib.import_module("jax").enable_x64(True)
    return context


BACKENDS = {
    backend.name: backend
    for backend in (
        Backend("numpy", "numba", 2.0, lambda x: x),
        Backend("portable", "numpy", 4.0, lambda x: x, portable_kernels),
        Backend("torch", "torch", 2.0, _to_torch),
        Backend("strict", "array_api_strict", 4.0, _to_strict),
        Backend("jax", "jax", 4.0, _to_jax, _jax_float64, flushes_subnormals=True),
    )
}
# What the interpreter of Triton is too slow for is measured in tests/gpu; its special values are those of all.
WITH_TRITON = BACKENDS | {"triton": Backend("triton", "triton", 4.0, _to_triton, triton_kernels)}
MAIN = ("numpy", "portable", "torch")


def backends(*names: str) -> Any:
    """Parametrise a test over back-ends; what is not installed is skipped by name."""
    return pytest.mark.parametrize("backend", names or tuple(BACKENDS), indirect=True)


def find_backend(name: str) -> Backend:
    """The back-end, or a skip that names what is missing."""
    backend = WITH_TRITON[name]
    if importlib.util.find_spec(backend.module) is None:
        pytest.skip(f"needs {backend.module}")
    return backend


# Inputs

LENGTHS = (1, 2, 3, 7, 8, 16, 17, 1000, 100_000, 1_000_000)
_OFFSET = 1e15

GENERATORS: dict[str, dict[str, Callable[[np.random.Generator, Any], Any]]] = {
    "float32": {
        "randn": lambda rng, shape: rng.normal(size=shape),
        "30 randn": lambda rng, shape: 30 * rng.normal(size=shape),
        "U(-103, 0)": lambda rng, shape: rng.uniform(-103, 0, shape),
    },
    "float64": {
        "randn": lambda rng, shape: rng.normal(size=shape),
        "30 randn": lambda rng, shape: 30 * rng.normal(size=shape),
        "100 randn": lambda rng, shape: 100 * rng.normal(size=shape),
        "U(-745, 0)": lambda rng, shape: rng.uniform(-745, 0, shape),
        "1e15 + 30 randn": lambda rng, shape: _OFFSET + 30 * rng.normal(size=shape),
    },
}


def logits(dtype: str, generator: str, n: int, elements: int = 4000) -> Any:
    """Rows of length n, as many as make about `elements`; the same at every call."""
    rng = np.random.default_rng([n, sum(map(ord, generator))])
    return GENERATORS[dtype][generator](rng, (max(1, elements // n), n)).astype(dtype)


# The formulas everybody writes, in the dtype of the input


def naive_softmax(x: Any, axis: int = -1) -> Any:
    """exp(x - max) over its sum."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def naive_log_softmax(x: Any, axis: int = -1) -> Any:
    """The shifted logits minus the log of the sum of their exponentials."""
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def naive_logsumexp(x: Any, axis: int = -1) -> Any:
    """The maximum plus the log of the sum of the shifted exponentials."""
    top = x.max(axis=axis, keepdims=True)
    return np.squeeze(top + np.log(np.exp(x - top).sum(axis=axis, keepdims=True)), axis=axis)


def constant_softmax(x: Any, axis: int = -1) -> Any:
    """1 / n throughout: what inputs that are too flat cannot tell from the truth."""
    return np.full_like(x, 1 / x.shape[axis])
