"""A network that ends in `LinearCrossEntropy`, trained by two processes: what one process gives with all rows."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
dist = pytest.importorskip("torch.distributed")

SCRIPT = Path(__file__).with_name("ranks.py")


@pytest.fixture(scope="module")
def ranks():
    spec = importlib.util.spec_from_file_location("ranks", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="PyTorch here has no gloo")
@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_two_processes_give_what_one_does(way, ranks, tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), way, str(rank), "2", str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=180)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    network = ranks.Network()
    x, y = ranks.data()
    losses = ranks.steps(network, x, y)
    assert [(a + b) / 2 for a, b in zip(first["losses"], second["losses"], strict=True)] == pytest.approx(losses)
    assert losses[-1] < losses[0]
    for name, parameter in network.state_dict().items():
        torch.testing.assert_close(first["parameters"][name], parameter)
        torch.testing.assert_close(second["parameters"][name], parameter)
    hidden = torch.tanh(network.body(x))
    assert torch.equal(first["best"], network.head.topk(hidden, 2).indices[0::2])
