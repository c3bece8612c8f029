"""The benchmark of the GPU kernels: floors, the gate, and what it says where there is no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from benchmarks.gpu import __main__ as command  # noqa: E402
from benchmarks.gpu import gate  # noqa: E402
from benchmarks.gpu.cases import CASES  # noqa: E402
from benchmarks.gpu.providers import OURS, Data  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("name", "gigabytes"), [
    ("1-softmax-forward-float32-1048576x1000", 8.39),
    ("1-softmax-backward-float32-1048576x1000", 12.58),
    ("4-cross_entropy-forward-bfloat16-8192x128256", 2.10),
    ("4-cross_entropy-loss-and-gradient-bfloat16-8192x128256", 4.20),
    ("4-cross_entropy-autograd-bfloat16-8192x128256", 6.30),
])  # fmt: skip
def test_floors_in_bytes(name: str, gigabytes: float) -> None:
    (case,) = (case for case in CASES if case.name == name)
    assert case.bytes == pytest.approx(gigabytes * 1e9, rel=3e-3)
    assert case.flops is None


def test_floors_in_operations() -> None:
    found = [case.flops / 1e12 for case in CASES if case.number in (8, 9, 10)]
    assert found == pytest.approx([25.8, 3.23, 25.8, 3.79, 12.6, 8.80], rel=3e-3)


def test_there_are_ten_cases_and_each_has_a_name() -> None:
    assert {case.number for case in CASES} == set(range(1, 11))
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line(capsys: Any) -> None:
    assert command.main([]) == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert "CUDA" in error


def test_the_gate_passes_in_a_tiny_size() -> None:
    pytest.importorskip("triton", reason="needs triton, the compiler of the GPU kernels")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--dry"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(CASES)} cases in a tiny size" in done.stdout
    assert "no results wrong; times: not measured" in done.stdout


@pytest.mark.parametrize("number", [2, 4, 8])
def test_the_gate_can_fail(number: int) -> None:
    for case in [case.tiny() for case in CASES if case.number == number]:
        data = Data(case, "cpu")
        call = OURS.build(case, data)
        assert call is not None
        right = call()
        assert gate.check(case, data, right) == []
        for k in range(len(right)):
            wrong = [r.clone() for r in right]
            wrong[k] = wrong[k] * 1.1
            assert gate.check(case, data, tuple(wrong)), (case.name, k)
            wrong[k] = right[k] * float("nan")
            assert gate.check(case, data, tuple(wrong)), (case.name, k)
