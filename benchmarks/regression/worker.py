"""One measurement in a process of its own: load, warm up, say "started", fit under the clock, write what came out.

``python -m benchmarks.regression.worker REQUEST``, run by the interpreter of the rival. The request and the record are
JSON; coefficients go beside the record. It needs NumPy and SciPy besides the rival.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import warnings
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from benchmarks.regression.datasets import load
from benchmarks.regression.registry import select
from benchmarks.regression.rivals import start
from benchmarks.regression.tasks import Answer, task_of, warm_up_of

Record = dict[str, Any]


def reset_peak() -> None:
    """Let the peak of the resident set begin again from here (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes() -> int:
    """Return the peak of the resident set."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def bind(threads: int) -> None:
    """Keep the process on as many processors as it has threads, whatever a library thinks of the machine."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:threads]))


def store(answer: Answer, folder: Path, *, sparse: bool) -> None:
    """Write the coefficients, stacked, as a dense or a sparse file."""
    if sparse:
        stacked = scipy.sparse.vstack([scipy.sparse.csr_matrix(W) for W in answer.coefs])
        scipy.sparse.save_npz(folder / "coefs.npz", stacked.tocsr(), compressed=False)
    else:
        np.save(folder / "coefs.npy", np.stack(answer.coefs))
    np.save(folder / "intercepts.npy", np.stack(answer.intercepts))


def read(folder: Path, n_classes: int) -> Answer:
    """Return what `store` wrote."""
    intercepts = list(np.load(folder / "intercepts.npy"))
    if (folder / "coefs.npy").exists():
        return Answer(list(np.load(folder / "coefs.npy")), intercepts)
    W = scipy.sparse.load_npz(folder / "coefs.npz").tocsr()
    return Answer([W[n_classes * i : n_classes * (i + 1)] for i in range(len(intercepts))], intercepts)


def say(channel: int, **event: Any) -> None:
    """Send a line to who started the worker."""
    os.write(channel, (json.dumps(event) + "\n").encode())


def measure(request: Record, channel: int) -> Record:
    """Do what the request asks and return the record."""
    (case,) = [case for case in select() if case.id == request["case"]]
    task = task_of(case, load(Path(request["data"])))
    rival, method, threads = request["rival"], request["method"], request["threads"]
    if request["warm_up"]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start(rival, method, warm_up_of(task), threads)([request["warm_up"]])
    solve = start(rival, method, task, threads)
    base = peak_bytes()
    reset_peak()
    say(channel, event="started")
    seconds = []
    for _ in range(request["calls"]):
        began = time.perf_counter()
        answer = solve(request["settings"])
        seconds.append(time.perf_counter() - began)
    peak = answer.peak or peak_bytes()
    say(channel, event="finished")
    store(answer, Path(request["output"]), sparse=bool(task.lassos))
    return {
        "seconds": [answer.seconds] if answer.seconds is not None else seconds, "peak_bytes": peak, "base_bytes": base,
        "claims": answer.claims or {},
    }  # fmt: skip


def main(arguments: list[str]) -> int:
    """Measure and write the record; an exception becomes part of it."""
    request: Record = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    bind(request["threads"])
    channel = request["channel"]
    try:
        record: Record = {"status": "ok", **measure(request, channel)}
    except MemoryError as error:
        record = {"status": "oom", "reason": str(error) or "MemoryError"}
    except Exception as error:  # whatever a rival raises is a result of the benchmark
        status = "not there yet" if isinstance(error, (NotImplementedError, AttributeError)) else "error"
        if request["rival"] != "softmax":
            status = "error"
        record = {"status": status, "reason": f"{type(error).__name__}: {error}"[:500]}
    with suppress(metadata.PackageNotFoundError):
        record["numpy"] = metadata.version("numpy")
    Path(request["output"], "record.json").write_text(json.dumps(record), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
