"""Start a worker, watch its time and memory, and judge what it returned."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.regression import CACHE, ROOT, datasets, environments
from benchmarks.regression.gap import separates
from benchmarks.regression.methods import METHODS, Setting
from benchmarks.regression.optimum import Optimum
from benchmarks.regression.registry import Case
from benchmarks.regression.tasks import Answer, Task
from benchmarks.regression.worker import read
from benchmarks.worker import environment

# Loading, compiling and warming up are outside the clock, and have this long.
PREPARATION_SECONDS = 180.0
WATCH_SECONDS = 0.02
SHORTEST_SECONDS = 1.0  # a process cannot be watched by the millisecond
# No worker may take more of the machine than this, whatever the case allows.
LARGEST_SHARE = 0.7


@dataclass
class Measurement:
    """What came of one worker.

    `status` is "ok", "stopped" (at `limit` seconds), "oom", "error", "not there yet" or "skipped"; `gaps` the verified
    relative gap of each problem, filled in by `judge`.
    """

    status: str
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int | None = None
    base_bytes: int | None = None
    limit: float | None = None
    reason: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    gaps: list[float] = field(default_factory=list)

    @property
    def best(self) -> float:
        """Return the shortest time, inf where there is none."""
        return min(self.seconds, default=float("inf"))

    def line(self) -> dict[str, Any]:
        """Return it as a JSON object without what is empty; of the gaps the largest, of the times also the median."""
        found = {key: value for key, value in asdict(self).items() if value not in (None, "", [], {})}
        if gaps := found.pop("gaps", None):
            # JSON has no infinity.
            found["gap"] = float(f"{max(gaps):.3g}") if np.isfinite(max(gaps)) else None
        if self.seconds:
            found["seconds"] = [float(f"{value:.5g}") for value in self.seconds]
            found |= {"median_s": float(f"{median(self.seconds):.5g}"), "min_s": float(f"{self.best:.5g}")}
        if found.get("limit") == float("inf"):
            del found["limit"]
        for name in ("status", "gap"):
            if isinstance(found.get("claims", {}).get(name), list):
                found["claims"] |= {name: _worst(found["claims"][name])}
        return found


def _worst(values: list[Any]) -> Any:
    """Return the largest number, or the one status that all have, or else the others."""
    if all(isinstance(value, float) for value in values):
        return max(values) if np.isfinite(max(values)) else None
    others = sorted({value for value in values if value != "certified"})
    return ", ".join(others) or "certified"


def total_memory() -> int:
    """Return the memory of the machine in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _resident(pid: int) -> int:
    """Return the resident bytes of a process and its children, 0 where /proc does not say."""
    total = 0
    with suppress(OSError, ValueError, IndexError):
        total += int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
            total += _resident(int(child))
    return total


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a worker and what it started; they have a process group of their own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _watch(process: subprocess.Popen[bytes], channel: int, limit: float, memory: float) -> tuple[str, int]:
    """Wait for the end, or end it; return how it ended and the largest resident set that was seen."""
    selector = selectors.DefaultSelector()
    selector.register(channel, selectors.EVENT_READ)
    deadline, phase, largest, began = PREPARATION_SECONDS, "preparing", 0, time.perf_counter()
    while process.poll() is None:
        resident = _resident(process.pid)
        if phase == "running":
            largest = max(largest, resident)
        if resident > memory:
            _end(process)
            return "oom", max(largest, resident)
        if selector.select(WATCH_SECONDS):
            for line in os.read(channel, 4096).decode().split("\n"):
                if line and json.loads(line)["event"] == "started":
                    phase, deadline, began = "running", limit, time.perf_counter()
                elif line:
                    phase, deadline, began = "writing", PREPARATION_SECONDS, time.perf_counter()
        if time.perf_counter() - began > deadline:
            _end(process)
            return ("stopped" if phase == "running" else f"error: too long while {phase}"), largest
    return "ended", largest


def _warm_up(rival: str, method: str) -> Setting | None:
    """Return the setting of the warm-up fit; none where nothing is compiled and rows without penalty are needed."""
    if rival in ("r", "statsmodels"):
        return None
    return {"tol": 1e-2} if rival == environments.OURS else METHODS[f"{rival}.{method}"].ladder[0]


def run_worker(
    case: Case, rival: str, method: str, settings: list[Setting], *, folder: Path, limit: float, threads: int,
    calls: int | None = None,
) -> Measurement:  # fmt: skip
    """Measure once in a fresh process, which is ended at `limit` seconds per fit; the coefficients stay in `folder`."""
    if reason := environments.missing(rival, method):
        return Measurement("skipped", reason=reason)
    try:
        data = datasets.prepare(case.dataset)
    except datasets.MissingDataError as error:
        return Measurement("skipped", reason=str(error))
    calls = calls or case.calls
    limit = max(limit, SHORTEST_SECONDS / calls)
    reading, writing = os.pipe()
    request = {
        "case": case.id, "rival": rival, "method": method, "settings": settings, "data": str(data), "threads": threads,
        "output": str(folder), "channel": writing, "calls": calls, "warm_up": _warm_up(rival, method),
    }  # fmt: skip
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    command = [str(environments.python_of(rival)), "-m", "benchmarks.regression.worker", str(folder / "request.json")]
    chosen = environment(threads) | {"PYTHONPATH": str(ROOT), "BENCH_SCRATCH": str(folder)}
    memory = min(LARGEST_SHARE * total_memory(), (case.memory_gb or float("inf")) * 1e9)
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=chosen, stdout=output, stderr=output, pass_fds=(writing,), start_new_session=True
        )
        os.close(writing)
        try:
            ending, largest = _watch(process, reading, limit * calls, memory)
        finally:
            _end(process)
            os.close(reading)
    if ending == "stopped":
        return Measurement("stopped", limit=round(limit, 5), peak_bytes=largest)
    if ending == "oom":
        return Measurement("oom", peak_bytes=largest, reason=f"more than {memory / 1e9:.1f} GB")
    if (folder / "record.json").exists():
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        record.pop("numpy", None)
        return Measurement(**record)
    last = (folder / "output.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    reason = ending if ending != "ended" else f"ended with {process.returncode}: {' '.join(last)}"
    return Measurement("error", reason=reason[:500])


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for the files of one worker: they may be large, so that they lie beside the data."""
    CACHE.mkdir(exist_ok=True)
    return tempfile.TemporaryDirectory(prefix="run-", dir=CACHE)


def judge(measurement: Measurement, answer: Answer, task: Task, optimum: Optimum) -> None:
    """Put the verified relative gap of each problem into the measurement."""
    if task.kind == "verdict":
        found = separates(task.X, task.y, np.column_stack([answer.coefs[0], answer.intercepts[0]]))
        measurement.gaps = [0.0 if found else float("inf")]
        return
    if len(answer.coefs) != task.count:
        measurement.status = "error"
        measurement.reason = f"{len(answer.coefs)} solutions came back; {task.count} were asked for"
        return
    measurement.gaps = optimum.gaps(task, answer)


def answer_of(folder: Path, task: Task) -> Answer:
    """Return the coefficients that a worker left."""
    return read(folder, task.n_classes)
