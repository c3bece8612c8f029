"""The clock: providers in turn, each call between two events on a cold cache; the rates of a copy and of a product."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from .providers import Call

ROUNDS = 15
LONGEST = 2.0  # seconds of one provider on one case, warm-up left out
FLUSH = 256 * 2**20  # bytes: several times the second-level cache


class Clock:
    """Times calls in turn, with the second-level cache emptied before each."""

    def __init__(self) -> None:
        self.cache = torch.empty(FLUSH, dtype=torch.int8, device="cuda")

    def once(self, call: Call) -> float:
        """Return milliseconds of one call."""
        self.cache.zero_()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)

    def in_turn(self, calls: dict[str, Call]) -> dict[str, dict[str, float]]:
        """Return median and minimum, in milliseconds, of each; every other round goes backwards."""
        times: dict[str, list[float]] = {name: [] for name in calls}
        for call in calls.values():
            self.once(call)
            self.once(call)
        for k in range(ROUNDS):
            for name in list(calls) if k % 2 else reversed(list(calls)):
                if sum(times[name]) < LONGEST * 1e3 or len(times[name]) < 3:
                    times[name].append(self.once(calls[name]))
        return {name: {"median": statistics.median(t), "minimum": min(t), "calls": len(t)} for name, t in times.items()}

    def wall(self, call: Call, repeat: int = 200) -> float:
        """Return milliseconds of a call on the host's clock, launches included, one after the other."""
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(repeat):
            call()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) / repeat * 1e3

    def graph(self, call: Call, repeat: int = 20) -> float | None:
        """Return milliseconds of a call replayed from a graph; None where it cannot be captured."""
        stream = torch.cuda.Stream()
        try:
            with torch.cuda.stream(stream):
                call()
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                for _ in range(repeat):
                    call()
        except RuntimeError:
            torch.cuda.synchronize()
            return None
        return self.wall(graph.replay, 20) / repeat  # type: ignore[arg-type]


def peak_memory(call: Call) -> int:
    """Return bytes at the peak of a call beyond what was there before it."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def waits_for_the_device(call: Call) -> bool:
    """Whether the host waits for the device inside the call."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        call()
    except RuntimeError:
        return True
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return False


def rates(clock: Clock) -> dict[str, float]:
    """Return the bytes a second of a copy of 4 GiB, and the operations a second of a bfloat16 product of 8192 cubed."""
    source = torch.empty(2**31, dtype=torch.bfloat16, device="cuda").normal_()
    target = torch.empty_like(source)
    copy = clock.in_turn({"copy": lambda: (target.copy_(source),)})["copy"]["median"]
    moved = 2 * source.numel() * source.element_size()
    source = target = None
    a, b = (torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    product = clock.in_turn({"product": lambda: (a @ b,)})["product"]["median"]
    return {"bytes_per_second": moved / copy * 1e3, "operations_per_second": 2 * 8192**3 / product * 1e3}


def describe() -> dict[str, Any]:
    """Return card, driver and versions."""
    import importlib.metadata
    import platform
    import subprocess

    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        card = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip().splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        card = torch.cuda.get_device_name()
    versions = {"python": platform.python_version(), "cuda": torch.version.cuda}
    for package in ("softmax", "torch", "triton", "liger-kernel", "quack-kernels"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "absent"
    return {"card, driver, memory": card, "versions": versions}
