"""glmnet, cv.glmnet and nnet::multinom through one Rscript, which keeps the data and does its own timing.

The arrays go over as raw little-endian numbers in a folder; see `worker.R`.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import scipy.sparse

from benchmarks.regression.methods import Setting
from benchmarks.regression.rivals import Solve
from benchmarks.regression.tasks import Answer, Task

SCRIPT = Path(__file__).resolve().parent / "worker.R"


def start(method: str, task: Task, threads: int) -> Solve:
    """Write the data, start R, wait until it has loaded and warmed up, and return the call."""
    folder = Path(tempfile.mkdtemp(prefix="r-", dir=os.environ.get("BENCH_SCRATCH")))
    _write(task, method, folder)
    process = subprocess.Popen(
        ["Rscript", "--vanilla", str(SCRIPT), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    _expect("ready", process.stdout)
    send, receive = process.stdin, process.stdout

    def solve(settings: list[Setting]) -> Answer:
        send.write(f"{settings[0]['tol']!r}\n")
        send.flush()
        seconds, peak = _expect("done", receive)
        return _answer(task, folder, float(seconds), int(peak) * 1024)

    return solve


def _write(task: Task, method: str, folder: Path) -> None:
    facts: dict[str, Any] = {
        "method": method.replace(" ", "_"), "n": task.X.shape[0], "d": task.X.shape[1], "K": task.n_classes,
        "sparse": int(scipy.sparse.issparse(task.X)), "kind": task.kind.replace(" ", "-"),
    }  # fmt: skip
    if facts["sparse"]:
        X = task.X.tocsc()
        parts: dict[str, np.ndarray] = {"i": X.indices.astype("<i4"), "p": X.indptr.astype("<i4"), "x": X.data}
        facts["nnz"] = X.nnz
    else:
        parts = {"x": task.X.astype("<f8").ravel(order="F")}
    parts["y"] = task.y.astype("<i4")
    # A path without penalty runs down to 0, as the manual of glmnet advises.
    unpenalised = np.append(np.geomspace(1e-1, 1e-6, 20), 0.0)
    penalties = task.lassos or [1 / (C * len(task.y)) for C in task.C]
    if task.kind == "cv":
        assert task.folds is not None
        parts["folds"] = (task.folds + 1).astype("<i4")
        penalties = [1 / (C * sum(task.folds != 0)) for C in task.C]
    elif not task.lassos and not all(np.isfinite(task.C)):
        penalties = list(unpenalised)
    parts["penalties"] = np.sort(np.asarray(penalties, dtype="<f8"))[::-1].copy()
    facts["penalties"] = len(penalties)
    for name, array in parts.items():
        array.tofile(folder / f"{name}.bin")
    (folder / "facts.txt").write_text("".join(f"{key} {value}\n" for key, value in facts.items()), encoding="utf-8")


def _expect(word: str, lines: IO[str]) -> list[str]:
    """Return what follows a line that begins with `word`; other lines are R's talk."""
    for line in lines:
        if line.startswith(word + " ") or line.strip() == word:
            return line.split()[1:]
    raise RuntimeError("R ended before its result; its message is above")


def _answer(task: Task, folder: Path, seconds: float, peak: int) -> Answer:
    """Read coefficients: for each fold and penalty, largest first, (K, d + 1) with the intercept in front."""
    K, d = task.n_classes, task.X.shape[1]
    found = np.fromfile(folder / "coefs.bin", dtype="<f8")
    if task.lassos:
        # (entries, then row, column, value for each problem) since nearly all are 0.
        found = found.reshape(-1, 4)
        problems = found[:, 0].astype(int)
        stacks = []
        for p in range(task.count):
            rows = found[problems == p]
            indices = (rows[:, 1].astype(int), rows[:, 2].astype(int))
            stacks.append(scipy.sparse.csr_matrix((rows[:, 3], indices), shape=(K, d + 1)))
        return Answer([W[:, 1:] for W in stacks], [W[:, 0].toarray().ravel() for W in stacks], seconds, peak)
    W = found.reshape(-1, K, d + 1)
    # Ours go from small to large C, which is from large to small penalty as well.
    if len(W) != task.count:
        raise RuntimeError(f"glmnet ended its path early: {len(W)} solutions of {task.count}")
    return Answer([w[:, 1:] for w in W], [w[:, 0] for w in W], seconds, peak)
