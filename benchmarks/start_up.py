"""How long a newcomer waits: import, the first call ever, the first call of a later process, and ``softmax --help``.

Every figure comes from fresh processes. "Ever" has an empty cache folder of its own; "later" finds it filled. Beside
the time on the clock stands the processor time, which says what other work on the machine added.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

_IMPORT = """
import time, numpy
t, c = time.perf_counter(), time.process_time()
import softmax
print(time.perf_counter() - t, time.process_time() - c)
"""
_CALL = """
import sys, time, numpy as np, softmax as sm
function, dtype = sys.argv[1:]
x = np.linspace(-3, 3, 24).reshape(3, 8).astype(dtype)
second = {"softmax_vjp": [x], "cross_entropy_and_grad": [np.array([0, 5, 7])]}.get(function, [])
t, c = time.perf_counter(), time.process_time()
getattr(sm, function)(x, *second)
print(time.perf_counter() - t, time.process_time() - c)
"""
Seconds = tuple[float, float]  # on the clock, and of processor time

FUNCTIONS = ("softmax", "log_softmax", "logsumexp", "softmax_vjp", "cross_entropy_and_grad")
DTYPES = ("float32", "float64")


def _seconds(code: str, arguments: tuple[str, ...] = (), cache: str | None = None) -> Seconds:
    """Run code in a fresh process and return the two numbers that it prints."""
    environment = dict(os.environ)
    if cache is not None:
        # Numba asks the first, a cache of our own in the user's folder would follow the second.
        environment |= {"NUMBA_CACHE_DIR": cache, "XDG_CACHE_HOME": cache}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the fresh process failed; run it by hand to see why:\n{done.stderr}")
    clock, processor = map(float, done.stdout.split())
    return clock, processor


def _record(what: str, seconds: list[Seconds], **more: str) -> dict[str, Any]:
    clock, processor = zip(*seconds, strict=True)
    figures = {"min_s": min(clock), "median_s": median(clock), "processor_s": median(processor), "runs": len(seconds)}
    return {"what": what} | more | figures


def _help_command() -> list[str]:
    """Return the installed command beside this Python, or the module where it is not installed."""
    script = Path(sys.executable).parent / "softmax"
    return [
        str(script) if script.exists() else sys.executable,
        *([] if script.exists() else ["-m", "softmax"]),
        "--help",
    ]


def _help_seconds() -> Seconds:
    start, before = time.perf_counter(), os.times()
    subprocess.run(_help_command(), stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, processor


def first_calls(function: str, dtype: str, *, ever: int, later: int) -> list[dict[str, Any]]:
    """Time the first call of a function in fresh processes, with empty caches and with filled ones."""
    cold, warm = [], []
    for _ in range(ever):
        with tempfile.TemporaryDirectory(prefix="softmax-bench-") as cache:
            cold.append(_seconds(_CALL, (function, dtype), cache))
            # The later processes of one folder are enough: they do not write to it any more.
            while len(warm) < later:
                warm.append(_seconds(_CALL, (function, dtype), cache))
    names = {"function": function, "dtype": dtype}
    return [_record("first call ever", cold, **names), _record("first call of a later process", warm, **names)]


def measure(*, quick: bool = False) -> list[dict[str, Any]]:
    """Return all start-up times in seconds."""
    runs = 3 if quick else 9
    _seconds(_IMPORT)
    _help_seconds()
    records = [
        _record("import softmax over numpy", [_seconds(_IMPORT) for _ in range(runs)]),
        _record("softmax --help", [_help_seconds() for _ in range(runs)]),
    ]
    for function in FUNCTIONS[:1] if quick else FUNCTIONS:
        for dtype in DTYPES:
            records += first_calls(function, dtype, ever=1 if quick else 2, later=2 if quick else 3)
    return records


if __name__ == "__main__":
    for record in measure(quick="--quick" in sys.argv):
        print(record)
