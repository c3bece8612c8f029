"""What all tests share: back-ends, random numbers, NaN-filled memory, the folder of real data, fixed caches."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]

# Compiled kernels of tests stay in one folder of their own, for child processes and parallel workers too: a fresh
# checkout starts cold, and neither the user's cache nor the source tree is touched. Set before Numba is imported.
os.environ["NUMBA_CACHE_DIR"] = str(ROOT / ".pytest_cache" / "numba")

# Without a GPU, Triton runs its kernels in an interpreter. It looks at this when it is imported.
if not any(Path("/dev").glob("nvidia[0-9]*")):
    os.environ.setdefault("TRITON_INTERPRET", "1")

# The same examples in every run, and no limit of time on a machine that others share.
hypothesis.settings.register_profile("tests", derandomize=True, deadline=None, database=None, print_blob=True)
hypothesis.settings.load_profile("tests")


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers from a fixed seed."""
    return np.random.default_rng(20250728)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of larger real data sets, which are not part of the repository."""
    value = os.environ.get("SOFTMAX_DATA")
    if not value:
        pytest.skip("SOFTMAX_DATA is not set: it names the folder of the larger data sets")
    folder = Path(value)
    if not folder.is_dir():
        pytest.fail(f"SOFTMAX_DATA names {value!r}, which is no folder")
    return folder


@dataclass(frozen=True)
class Backend:
    """An array library, and the way from NumPy into it and back."""

    name: str
    asarray: Callable[[Any], Any]

    def to_numpy(self, array: Any) -> np.ndarray:
        """Return the array as NumPy's, of the same dtype."""
        if self.name == "torch":
            return np.asarray(array.detach().numpy())
        if self.name == "array_api_strict":
            return np.from_dlpack(array)
        return np.asarray(array)


def _torch() -> Backend:
    torch = importlib.import_module("torch")
    return Backend("torch", lambda x: torch.from_numpy(np.array(x)))


def _jax() -> Backend:
    jax = importlib.import_module("jax")
    return Backend("jax", jax.numpy.asarray)


def _strict() -> Backend:
    strict = importlib.import_module("array_api_strict")
    return Backend("array_api_strict", lambda x: strict.asarray(np.array(x)))


BACKENDS: dict[str, Callable[[], Backend]] = {
    "numpy": lambda: Backend("numpy", np.asarray),
    "torch": _torch,
    "jax": _jax,
    "array_api_strict": _strict,
}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each array library in turn; one that is not installed skips, by name."""
    try:
        return BACKENDS[request.param]()
    except ImportError as error:
        pytest.skip(f"{error.name} is not installed")


def _filled(empty: Callable[..., Any]) -> Callable[..., Any]:
    """Return an `empty` that fills what it gives with NaN, or with the largest integer."""

    def nan_filled(*args: Any, **kwargs: Any) -> Any:
        array = empty(*args, **kwargs)
        if isinstance(array, np.ndarray):
            kind = array.dtype.kind
            if kind in "fc":
                array.fill(np.nan)
            elif kind in "iu":
                array.fill(np.iinfo(array.dtype).max)
        elif array.is_floating_point():
            array.fill_(float("nan"))
        return array

    return nan_filled


@pytest.fixture
def on_nan_memory() -> Callable[..., Any]:
    """Return `call(function, *args, **kwargs)`: new memory holds NaN, so that an entry left unwritten shows."""

    @contextlib.contextmanager
    def nan_memory() -> Iterator[None]:
        modules = [np, *filter(None, [sys.modules.get("torch")])]
        with pytest.MonkeyPatch.context() as patch:
            for module in modules:
                for name in ("empty", "empty_like"):
                    patch.setattr(module, name, _filled(getattr(module, name)))
            yield

    def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        function(*args, **kwargs)  # compiles what is compiled: Numba does not know a patched numpy.empty
        with nan_memory():
            return function(*args, **kwargs)

    return call
