"""Many formulas over several processes: each worker takes pickled batches on its standard input and answers so.

Processes of our own and not multiprocessing: that would import a caller's script anew, or fork one with threads.
"""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import IO, Any

from ..._threads import number_of_threads

FEWEST = 400  # formulas from which workers are worth their start
BATCH = 100
_HEADER = struct.Struct("<Q")
_START = "from softmax.notes.maths._workers import serve; serve()"


def over_processes(
    check: Callable[[Any], Any], jobs: Sequence[Any], progress: Callable[[int, int], None] | None = None
) -> list[Any]:
    """Return check(job) for each job, in order. `check` is a function of a module, and jobs and results pickle."""
    workers = min(number_of_threads(), len(jobs) // (FEWEST // 2), 16)
    done = 0

    def tell(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, len(jobs))

    if workers < 2:
        out = []
        for job in jobs:
            out.append(check(job))
            tell(1)
        return out
    batches = [jobs[at : at + BATCH] for at in range(0, len(jobs), BATCH)]
    results: list[list[Any]] = [[] for _ in batches]
    waiting = iter(range(len(batches)))

    def run() -> None:
        with _worker() as process:
            for number in waiting:
                results[number] = _asked(process, check, batches[number])
                tell(len(batches[number]))

    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(run) for _ in range(workers)]:
            future.result()
    return [result for batch in results for result in batch]


def _worker() -> subprocess.Popen[bytes]:
    # -P: a module that lies in the folder of the notes is not imported.
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _START],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    )


def _asked(process: subprocess.Popen[bytes], check: Callable[[Any], Any], batch: Sequence[Any]) -> list[Any]:
    """A worker's answers; where it has died, ours."""
    with suppress(OSError, EOFError, pickle.PickleError):
        if process.stdin is not None and process.stdout is not None:
            _send(process.stdin, (check, list(batch)))
            answer: list[Any] = _receive(process.stdout)
            return answer
    return [check(job) for job in batch]


def _send(stream: IO[bytes], value: Any) -> None:
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    stream.write(_HEADER.pack(len(data)))
    stream.write(data)
    stream.flush()


def _receive(stream: IO[bytes]) -> Any:
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise EOFError
    return pickle.loads(stream.read(_HEADER.unpack(header)[0]))


def serve() -> None:
    """Answer batches until the input ends: the life of a worker."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what anything prints must not mix with the answers
    with suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            check, batch = _receive(sys.stdin.buffer)
            _send(out, [check(job) for job in batch])
