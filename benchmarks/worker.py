"""One process, one number of threads: gate the cases, or time them.

``run`` starts it with the environment that fixes the threads of every library; a rival is imported only in here.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.registry import FLOAT_DTYPES, Case, inputs, select
from benchmarks.rivals import RIVALS, Implementation, load
from benchmarks.timing import FULL, QUICK, summary, time_interleaved
from benchmarks.truth import judge, truth

Record = dict[str, Any]


def pin(threads: int) -> None:
    """Keep a one-thread process on one processor, the last one that it may use."""
    if threads == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def environment(threads: int) -> dict[str, str]:
    """Return the environment in which every library of the worker uses that many threads."""
    names = ("SOFTMAX_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    chosen = dict(os.environ) | dict.fromkeys(names, str(threads)) | {"JAX_PLATFORMS": "cpu"}
    if threads == 1:
        chosen["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    return chosen


def implementations(case: Case, arrays: dict[str, Any], threads: int, rivals: list[str]) -> list[Implementation]:
    """Return ours, then what the installed rivals offer for a case."""
    from benchmarks import ours

    ways = ours.implementations(case, arrays, threads)
    for name in rivals:
        module = load(name)
        if module is not None:
            ways += module.implementations(case, arrays, threads)
    return ways


def portable_kernels() -> bool:
    """Say whether our calls take the portable path, whose float64 bound is wider."""
    return os.environ.get("SOFTMAX_KERNELS") == "portable" or find_spec("numba") is None


def gate(case: Case, arrays: dict[str, Any], ways: list[Implementation]) -> list[Record]:
    """Compare every implementation with the truth; a rival that fails is only written down."""
    expected = truth(case, arrays)
    records = []
    for way in ways:
        with way.context(), warnings.catch_warnings():
            if not way.own:
                warnings.simplefilter("ignore")
            outputs = way.result(way.call())
        verdict = judge(outputs, expected, precision=way.precision, portable=portable_kernels())
        records.append(
            {"name": way.name, "own": way.own, "error": verdict.error, "unit": verdict.unit}
            | {"passed": verdict.passed, "reason": verdict.reason}
        )
    return records


def clock(ways: list[Implementation], *, quick: bool) -> list[Record]:
    """Time every implementation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds = time_interleaved(ways, QUICK if quick else FULL)
    return [{"name": way.name, "own": way.own} | summary(seconds[way.name]) for way in ways]


def work(
    phase: str, cases: list[Case], dtypes: list[str], threads: int, rivals: list[str], quick: bool
) -> list[Record]:
    """Gate or time all cases in all dtypes; one record for each implementation."""
    records: list[Record] = []
    for case in cases:
        for dtype in dtypes:
            arrays = inputs(case, dtype)
            ways = implementations(case, arrays, threads, rivals)
            found = gate(case, arrays, ways) if phase == "gate" else clock(ways, quick=quick)
            head = {"case": case.id, "dtype": dtype, "threads": threads}
            records += [head | record for record in found]
            print(f"  {phase} {case.id} {dtype} threads={threads}", file=sys.stderr, flush=True)
    return records


def main(arguments: list[str] | None = None) -> int:
    """Run one phase and write its records as JSON; 1 where a result of ours is outside its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phase", choices=("gate", "time"))
    parser.add_argument("output", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--case", action="append")
    parser.add_argument("--dtype", action="append", choices=FLOAT_DTYPES)
    parser.add_argument("--rival", action="append", choices=(*RIVALS, "none"))
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    pin(options.threads)
    rivals = [name for name in options.rival or RIVALS if name != "none"]
    cases = select(options.case, quick=options.quick)
    dtypes = options.dtype or list(FLOAT_DTYPES)
    records = work(options.phase, cases, dtypes, options.threads, rivals, options.quick)
    options.output.write_text(json.dumps(records), encoding="utf-8")
    return int(any(record["own"] and not record.get("passed", True) for record in records))


if __name__ == "__main__":
    raise SystemExit(main())
