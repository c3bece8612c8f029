"""The Triton kernels: on a GPU where there is one, else in Triton's interpreter on the CPU."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.gpu import interpreter


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """NumPy computes for the interpreter, and warns where it meets an infinity; the kernels know what they do."""
    for item in items:
        if "tests/gpu" in item.path.as_posix():
            item.add_marker(pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"))
            item.add_marker(pytest.mark.filterwarnings("ignore::RuntimeWarning:numpy"))


@pytest.fixture(scope="session")
def gpu() -> Any:
    """The kernel set."""
    pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("triton", reason="needs triton, the compiler of the GPU kernels")
    return importlib.import_module("softmax._kernels.gpu")


@pytest.fixture(scope="session")
def device(gpu: Any) -> str:
    """Where the tensors go."""
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        return "cuda"
    if not gpu.INTERPRETED:
        pytest.skip("needs a CUDA device, or TRITON_INTERPRET=1 before Triton is imported")
    interpreter.repair()
    return "cpu"


@pytest.fixture
def small_blocks(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Rows of more than 16 entries go in blocks of 8."""
    launch = gpu.launch
    monkeypatch.setattr(launch, "LIMITS", {mode: launch.Limits(16, 8, 64, 2) for mode in launch.LIMITS})
    launch.choose.cache_clear()
    yield
    launch.choose.cache_clear()


@pytest.fixture
def served(gpu: Any, device: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The public functions and their bindings run on the kernels, in the interpreter too."""
    monkeypatch.setattr("softmax._torch_gpu.serves", lambda x: x.device.type == device)
    monkeypatch.setattr("softmax._torch_rows.short_kernels", dict)
    return device
