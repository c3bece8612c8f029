"""The goals and whether the measured figures meet them. Everything is read from the result file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.registry import CASES, Case

Results = dict[str, Any]
BY_ID = {case.id: case for case in CASES}


@dataclass(frozen=True)
class Ratio:
    """Ours divided by a rival's median time, for one case, dtype and number of threads."""

    case: str
    dtype: str
    threads: int
    value: float
    limit: float

    @property
    def met(self) -> bool:
        """Say whether the ratio is within its limit."""
        return self.value <= self.limit

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.case}, {self.dtype}, {threads_text(self.threads)})"


@dataclass(frozen=True)
class RatioGoal:
    """A limit on ours over a rival's time on the cases that `applies` picks."""

    text: str
    ours: str
    rival: str
    limit: float
    applies: Callable[[Case], bool]


@dataclass(frozen=True)
class Outcome:
    """One goal: its text, what was measured, whether it was met, and the figures that missed it."""

    text: str
    measured: str
    met: bool
    missed: tuple[str, ...] = ()


def threads_text(threads: int) -> str:
    """Return "1 thread" or "n threads"."""
    return "1 thread" if threads == 1 else f"{threads} threads"


_VALUES = ("softmax", "log_softmax", "logsumexp", "masked_softmax")
_SHORT_ROWS = {"B2-softmax-1000x10", "B2-softmax-100000x10"}

RATIO_GOALS = (
    RatioGoal(
        "accurate mode ≤ 1.0 × PyTorch on every case but the call on 8 elements",
        "softmax", "PyTorch", 1.0, lambda case: case.operation in _VALUES and case.group != "B1",
    ),
    RatioGoal(
        "accurate mode ≤ 0.15 × PyTorch on 1000×10 and 1e5×10",
        "softmax", "PyTorch", 0.15, lambda case: case.id in _SHORT_ROWS,
    ),
    RatioGoal("fast mode ≤ 1.0 × ONNX Runtime", "softmax (fast)", "ONNX Runtime", 1.0, lambda case: True),
    RatioGoal("logsumexp ≤ 0.05 × SciPy", "softmax", "SciPy", 0.05, lambda case: case.operation == "logsumexp"),
    RatioGoal(
        "vjp ≤ 1.0 × PyTorch's forward plus backward",
        "softmax", "PyTorch", 1.0, lambda case: case.operation == "softmax_vjp",
    ),
    RatioGoal(
        "fused cross entropy and gradient ≤ 0.6 × F.cross_entropy forward and backward",
        "softmax", "PyTorch", 0.6, lambda case: case.operation == "cross_entropy_and_grad",
    ),
    RatioGoal("a call on 8 elements ≤ 2 × PyTorch's", "softmax", "PyTorch", 2.0, lambda case: case.group == "B1"),
    RatioGoal("a call on 8 elements ≤ 0.35 × SciPy's", "softmax", "SciPy", 0.35, lambda case: case.group == "B1"),
)  # fmt: skip

# Text, what of the start-up records, the limit in seconds.
START_UP_GOALS = (
    ("first call ever ≤ 2 s per dtype", "first call ever", 2.0),
    ("first call of a later process ≤ 0.6 s", "first call of a later process", 0.6),
    ("import softmax ≤ 0.1 s over NumPy", "import softmax over numpy", 0.1),
    ("softmax --help ≤ 0.3 s", "softmax --help", 0.3),
)
MEMORY_GOAL = "extra memory of a call with out=: row buffers only (one float64 row and 1 MiB per thread)"


def by_place(results: Results) -> dict[tuple[str, str, int], dict[str, dict[str, Any]]]:
    """Return {(case, dtype, threads): {implementation: its record}}, in the order of the file."""
    places: dict[tuple[str, str, int], dict[str, dict[str, Any]]] = {}
    for record in results["times"]:
        places.setdefault((record["case"], record["dtype"], record["threads"]), {})[record["name"]] = record
    return places


def ratios(goal: RatioGoal, results: Results) -> Iterator[Ratio]:
    """Yield the measured ratio of every place where the goal applies and both were timed."""
    for (case, dtype, threads), found in by_place(results).items():
        if case in BY_ID and goal.applies(BY_ID[case]) and goal.ours in found and goal.rival in found:
            value = found[goal.ours]["median_s"] / found[goal.rival]["median_s"]
            yield Ratio(case, dtype, threads, value, goal.limit)


def _ratio_outcome(goal: RatioGoal, results: Results) -> Outcome:
    found = sorted(ratios(goal, results), key=lambda ratio: -ratio.value)
    if not found:
        return Outcome(goal.text, "not measured", False)
    missed = tuple(str(ratio) for ratio in found if not ratio.met)
    kept = f"{len(found) - len(missed)} of {len(found)} within; " if len(found) > 1 else ""
    return Outcome(goal.text, f"{kept}largest {found[0]}", not missed, missed)


def _start_up_outcome(text: str, what: str, limit: float, results: Results) -> Outcome:
    found = sorted(
        (record for record in results.get("start_up", []) if record["what"] == what), key=lambda r: -r["median_s"]
    )
    if not found:
        return Outcome(text, "not measured", False)

    def line(record: dict[str, Any]) -> str:
        where = " ".join(record[key] for key in ("function", "dtype") if key in record)
        return f"{record['median_s']:.2f} s" + (f" ({where})" if where else "")

    missed = tuple(line(record) for record in found if not record["median_s"] <= limit)
    return Outcome(text, ("largest " if len(found) > 1 else "") + line(found[0]), not missed, missed)


def extra_bytes(record: dict[str, Any]) -> int:
    """Return the larger of what tracemalloc and the resident set saw."""
    return max(record["traced_bytes"], record["resident_bytes"] or 0)


def _memory_outcome(results: Results) -> Outcome:
    found = sorted(results.get("memory", []), key=lambda r: -extra_bytes(r) / r["allowed_bytes"])
    if not found:
        return Outcome(MEMORY_GOAL, "not measured", False)

    def line(record: dict[str, Any]) -> str:
        shape = "×".join(str(n) for n in record["shape"])
        where = (
            f"{record['function']} {shape} axis {record['axis']}, {record['dtype']}, {threads_text(record['threads'])}"
        )
        return f"{extra_bytes(record) / 2**20:.2f} of {record['allowed_bytes'] / 2**20:.2f} MiB ({where})"

    missed = tuple(line(record) for record in found if extra_bytes(record) > record["allowed_bytes"])
    return Outcome(MEMORY_GOAL, "largest " + line(found[0]), not missed, missed)


def outcomes(results: Results) -> list[Outcome]:
    """Return every goal with what was measured; a goal without a measurement is not met."""
    return [
        *(_ratio_outcome(goal, results) for goal in RATIO_GOALS),
        *(_start_up_outcome(*goal, results) for goal in START_UP_GOALS),
        _memory_outcome(results),
    ]
