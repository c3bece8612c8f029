"""The clock: every implementation of a case in turn, round after round, in one process."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from statistics import median
from typing import Any

from benchmarks.rivals import Implementation


@dataclass(frozen=True)
class Effort:
    """How long to look: rounds, the least time of one measurement in seconds, and when to stop adding rounds."""

    rounds: int = 7
    most_rounds: int = 25
    least_seconds: float = 0.005
    case_seconds: float = 1.0


FULL = Effort()
QUICK = Effort(rounds=3, most_rounds=3, least_seconds=0.001, case_seconds=0.2)

# The worker threads of PyTorch (libgomp) and of ONNX Runtime spin for a while after their last call before they sleep;
# the pause lets them, so that they do not take the core from whoever is measured next.
SETTLE_SECONDS = 0.003


def _measure(call: Callable[[], Any], calls: int) -> float:
    """Return the seconds that one of `calls` calls takes; the one call before them is not counted.

    A single call that fills the time alone (megabytes, far out of the cache) needs no such call.
    """
    if calls > 1:
        call()
    start = time.perf_counter()
    for _ in repeat(None, calls):
        call()
    return (time.perf_counter() - start) / calls


def _calls_needed(call: Callable[[], Any], least_seconds: float) -> int:
    """Return how many calls fill the least time."""
    call()
    calls = 1
    while True:
        elapsed = _measure(call, calls) * calls
        if elapsed >= least_seconds:
            return calls
        calls = max(2 * calls, int(1.1 * calls * least_seconds / max(elapsed, 1e-9)))


def time_interleaved(implementations: list[Implementation], effort: Effort = FULL) -> dict[str, list[float]]:
    """Return the seconds per call of each implementation in each round; a round goes through all of them in turn."""
    seconds: dict[str, list[float]] = {way.name: [] for way in implementations}
    calls = {}
    for way in implementations:
        with way.context():
            calls[way.name] = _calls_needed(way.call, effort.least_seconds)
    gc.collect()
    gc.disable()
    try:
        began = time.perf_counter()
        for done in range(effort.most_rounds):
            if done >= effort.rounds and time.perf_counter() - began > effort.case_seconds:
                break
            # Every other round runs backwards, so that nobody always follows the same neighbour.
            for way in implementations if done % 2 == 0 else reversed(implementations):
                time.sleep(SETTLE_SECONDS)
                with way.context():
                    seconds[way.name].append(_measure(way.call, calls[way.name]))
    finally:
        gc.enable()
    return seconds


def summary(seconds: list[float]) -> dict[str, float | int]:
    """Return the minimum, the median and the number of rounds; seconds per call."""
    return {"min_s": min(seconds), "median_s": median(seconds), "rounds": len(seconds)}
