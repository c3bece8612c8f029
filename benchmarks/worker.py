"""One process, one number of threads: gate the cases, or time them.

``run`` starts it with the environment that fixes the threads of every library; a rival is imported only in here.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.registry import FLOAT_DTYPES, Case, inputs, select
from benchmarks.rivals import RIVALS, Implementation, load
from benchmarks.timing import FULL, QUICK, summary, time_interleaved
from benchmarks.truth import Truth, judge, truth

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


def digest(outputs: tuple[Any, ...]) -> str:
    """Return a fingerprint of the form and the bits of a result."""
    found = blake2b(digest_size=16)
    for array in map(np.asarray, outputs):
        found.update(f"{array.shape} {array.dtype}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def gate(
    case: Case, arrays: dict[str, Any], ways: list[Implementation], known: list[Record] | None = None
) -> list[Record]:
    """Compare every implementation with the truth; a rival that fails is only written down.

    A result with the bits of a `known` one, found with other threads, keeps its verdict.
    """
    place = (case.id, str(arrays["x"].dtype))
    verdicts = {(r["name"], r["digest"]): r for r in known or [] if (r["case"], r["dtype"]) == place}
    expected: Truth | None = None
    records = []
    for way in ways:
        with way.context(), warnings.catch_warnings():
            if not way.own:
                warnings.simplefilter("ignore")
            outputs = way.result(way.call())
        fingerprint = digest(outputs)
        seen = verdicts.get((way.name, fingerprint))
        if seen is not None:
            records.append(seen)
            continue
        expected = truth(case, arrays) if expected is None else expected
        verdict = judge(outputs, expected, precision=way.precision, portable=portable_kernels(), everything=way.own)
        records.append(
            {"name": way.name, "own": way.own, "error": verdict.error, "unit": verdict.unit}
            | {"passed": verdict.passed, "reason": verdict.reason, "digest": fingerprint}
        )
    return records


def clock(ways: list[Implementation], *, quick: bool) -> list[Record]:
    """Time every implementation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds = time_interleaved(ways, QUICK if quick else FULL)
    return [{"name": way.name, "own": way.own} | summary(seconds[way.name]) for way in ways]


def work(options: argparse.Namespace) -> list[Record]:
    """Gate or time all cases in all dtypes; one record for each implementation."""
    rivals = [name for name in options.rival or RIVALS if name != "none"]
    known = json.loads(options.known.read_text(encoding="utf-8")) if options.known else None
    records: list[Record] = []
    for case in select(options.case, quick=options.quick):
        for dtype in options.dtype or FLOAT_DTYPES:
            arrays = inputs(case, dtype)
            ways = implementations(case, arrays, options.threads, rivals)
            gating = options.phase == "gate"
            found = gate(case, arrays, ways, known) if gating else clock(ways, quick=options.quick)
            head = {"case": case.id, "dtype": dtype, "threads": options.threads}
            records += [head | record | head for record in found]
            print(f"  {options.phase} {case.id} {dtype} threads={options.threads}", file=sys.stderr, flush=True)
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
    parser.add_argument("--known", type=Path, help="records of a gate with other threads")
    options = parser.parse_args(arguments)
    pin(options.threads)
    records = work(options)
    options.output.write_text(json.dumps(records), encoding="utf-8")
    return int(any(record["own"] and not record.get("passed", True) for record in records))


if __name__ == "__main__":
    raise SystemExit(main())
