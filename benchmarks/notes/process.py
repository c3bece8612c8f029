"""One command in a fresh process: wall-clock time, processor time, and the peak of its memory with all its children."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_INTERVAL = 0.05  # seconds between two looks at the memory
PYTHON = (sys.executable, "-m", "softmax")


@dataclass(frozen=True)
class Measured:
    """What one process took."""

    command: list[str]
    exit_code: int
    seconds: float
    processor_seconds: float
    peak_bytes: int | None  # None where the system does not tell
    output: str
    errors: str


def tree(pid: int) -> list[int]:
    """Return a process and its descendants (Linux)."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in children.read_text().split()]
            except OSError:
                continue
    return found


def resident(pid: int) -> int:
    """Return the memory of a process in bytes; pages that it shares with others count in proportion."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _watch(pid: int, done: threading.Event, peaks: list[int]) -> None:
    while not done.wait(_INTERVAL):
        peaks.append(sum(map(resident, tree(pid))))


def measure(arguments: Sequence[str], *, cwd: Path | None = None) -> Measured:
    """Run ``softmax …`` to its end."""
    command = [*PYTHON, *arguments]
    before, start = os.times(), time.perf_counter()
    process = subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    done, peaks = threading.Event(), []
    watcher = threading.Thread(target=_watch, args=(process.pid, done, peaks))
    watcher.start()
    try:
        output, errors = process.communicate()
        seconds = time.perf_counter() - start
    finally:
        done.set()
        watcher.join()
    after = os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return Measured(
        list(arguments), process.returncode, seconds, processor, max(peaks, default=0) or None, output, errors
    )
