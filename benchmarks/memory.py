"""What a call with ``out=`` allocates beyond its result: peak of tracemalloc and of the resident set.

tracemalloc sees what NumPy and Python allocate, the resident set also what compiled code does (Linux only; the peak is
reset through /proc/self/clear_refs). The larger one counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from benchmarks.worker import environment

# (shape, axis): many rows, long columns, one row.
SHAPES = (((4000, 4000), -1), ((4000, 4000), 0), ((1, 10_000_000), -1))
SLACK = 2**20

_CHILD = """
import json, sys, tracemalloc, numpy as np, softmax as sm
function, shape, axis, dtype = json.loads(sys.argv[1])
x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32).astype(dtype, copy=False)
out = np.zeros_like(x)
call = lambda: getattr(sm, function)(x, axis=axis, out=out)
getattr(sm, function)(x[:2, :64].copy(), axis=axis)
def status(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
resident = None
try:
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")
    before = status("VmRSS")
    call()
    resident = max(0, status("VmHWM") - before)
except OSError:
    pass
tracemalloc.start()
call()
print(json.dumps([tracemalloc.get_traced_memory()[1], resident]))
"""


def allowance(shape: tuple[int, ...], axis: int, threads: int) -> int:
    """Return what "row buffers only" allows in bytes: one float64 row and a mebibyte for each thread."""
    return threads * (8 * shape[axis] + SLACK)


def measure(threads: list[int], *, quick: bool = False) -> list[dict[str, Any]]:
    """Return the extra memory of softmax and log_softmax with ``out=``, in bytes."""
    records = []
    for function in ("softmax",) if quick else ("softmax", "log_softmax"):
        for shape, axis in SHAPES[:1] if quick else SHAPES:
            for dtype in ("float32", "float64"):
                for count in threads:
                    done = subprocess.run(
                        [sys.executable, "-c", _CHILD, json.dumps([function, shape, axis, dtype])],
                        env=environment(count),
                        capture_output=True,
                        text=True,
                        check=False,
                    )
                    if done.returncode:
                        raise RuntimeError(f"the fresh process failed:\n{done.stderr}")
                    traced, resident = json.loads(done.stdout)
                    records.append(
                        {"function": function, "shape": list(shape), "axis": axis, "dtype": dtype, "threads": count}
                        | {"traced_bytes": traced, "resident_bytes": resident}
                        | {"allowed_bytes": allowance(shape, axis, count)}
                    )
    return records


if __name__ == "__main__":
    for record in measure([1, os.cpu_count() or 1], quick="--quick" in sys.argv):
        print(record)
