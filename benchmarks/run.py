"""Gate first, then time: ``python -m benchmarks.run``.

A full run (no ``--case``, ``--quick``, ``--threads``, ``--dtype`` or ``--rival``) writes ``results/cpu.json`` and the
tables made from it. Anything less prints its tables, and writes only where ``--output`` says. Exit 1 where a result of
ours is outside its bound: then nothing is timed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import date
from math import isfinite
from pathlib import Path
from typing import Any

from benchmarks import memory, start_up, table
from benchmarks.machine import cores, describe, versions
from benchmarks.registry import FLOAT_DTYPES
from benchmarks.rivals import RIVALS, load
from benchmarks.timing import FULL, QUICK, SETTLE_SECONDS, Effort
from benchmarks.worker import environment

Record = dict[str, Any]


def worker_command(phase: str, output: Path, threads: int, extra: list[str]) -> list[str]:
    """Return the command line of one worker."""
    return [sys.executable, "-m", "benchmarks.worker", phase, str(output), "--threads", str(threads), *extra]


def run_worker(phase: str, threads: int, extra: list[str], known: list[Record] | None = None) -> list[Record]:
    """Run one phase in a fresh process with its own threads and return the records."""
    with tempfile.TemporaryDirectory(prefix="softmax-bench-") as folder:
        output = Path(folder) / "records.json"
        if known:
            before = Path(folder) / "known.json"
            before.write_text(json.dumps(known), encoding="utf-8")
            extra = [*extra, "--known", str(before)]
        done = subprocess.run(
            worker_command(phase, output, threads, extra), env=environment(threads), cwd=table.ROOT, check=False
        )
        if not output.exists():
            raise SystemExit(f"the worker ({phase}, {threads} threads) ended with {done.returncode} and wrote nothing")
        records: list[Record] = json.loads(output.read_text(encoding="utf-8"))
    return records


def red(records: list[Record]) -> list[str]:
    """Return one line for each result of ours that is outside its bound."""
    return [
        f"{r['case']} {r['dtype']} threads={r['threads']}: {r['name']}: {r['reason']}"
        for r in records
        if r["own"] and not r["passed"]
    ]


def merge(gated: list[Record], timed: list[Record]) -> list[Record]:
    """Put the error of the gate beside the time, place by place."""
    keys = ("case", "dtype", "threads", "name")
    errors = {tuple(r[k] for k in keys): {"error": _rounded(r["error"]), "unit": r["unit"]} for r in gated}
    return [record | errors[tuple(record[k] for k in keys)] for record in timed]


def _rounded(error: float) -> float | None:
    """Return four figures, or nothing for a result that is simply wrong: JSON has no infinity."""
    return float(f"{error:.4g}") if isfinite(error) else None


def _method(effort: Effort) -> list[str]:
    """Return how it was measured, a line per point."""
    checked = (
        "Every result of ours is checked before anything is timed, all of it against a float64 evaluation; errors are "
        "the largest over 2 million (float32) or 300 000 (float64) entries of a case, or all where there are fewer or "
        "a row is longer, against a float64 evaluation or a reference of 100 bits."
    )
    turns = (
        f"All implementations of a case are timed in turn in one process: {effort.rounds} to {effort.most_rounds} "
        f"rounds, every other one backwards, at least {effort.least_seconds * 1e3:g} ms a measurement, one call before "
        f"it uncounted, {SETTLE_SECONDS * 1e3:g} ms of sleep before it so that others' spinning threads rest."
    )
    processes = (
        "One process per number of threads; with one thread it is bound to one processor. Median and minimum over the "
        "rounds; ratios are of medians."
    )
    traffic = "GB/s: the least traffic of an operation (arrays read once, results written once) over the median."
    inputs = "Inputs are 3·randn in the same memory for all; results are allocated as each library does by default."
    return [checked, turns, processes, traffic, inputs]


def settings(threads: list[int], dtypes: list[str], quick: bool) -> dict[str, Any]:
    """Return how it was measured, in words and numbers."""
    from benchmarks import ours

    modules = [ours, *(module for module in map(load, RIVALS) if module is not None)]
    return {
        "threads": threads,
        "dtypes": dtypes,
        "quick": quick,
        "method": _method(QUICK if quick else FULL),
        "notes": {module.NAME: module.NOTE for module in modules},
    }


def dump(results: Record, path: Path) -> None:
    """Write the result file with one record on a line."""
    plain = {key: value for key, value in results.items() if not isinstance(value, list)}
    text = json.dumps(plain, indent=1, ensure_ascii=False).removesuffix("\n}")
    for key in (key for key in results if key not in plain):
        lines = ",\n  ".join(json.dumps(record, ensure_ascii=False) for record in results[key])
        text += f',\n "{key}": [\n  {lines}\n ]' if lines else f',\n "{key}": []'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n}\n", encoding="utf-8")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--case", action="append", help="only the cases whose name contains this (repeatable)")
    parser.add_argument("--dtype", action="append", choices=FLOAT_DTYPES)
    parser.add_argument("--threads", action="append", type=int, help="default: 1 and all processors")
    parser.add_argument("--rival", action="append", choices=(*RIVALS, "none"), help="default: all that are installed")
    parser.add_argument("--quick", action="store_true", help="few cases, few rounds")
    parser.add_argument("--output", type=Path, help="result file of a run that is not a full one")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Gate, time, write; return the exit status."""
    options = parse(arguments)
    full = not (options.case or options.dtype or options.threads or options.rival or options.quick)
    threads = sorted(set(options.threads or (1, cores())))
    dtypes = options.dtype or list(FLOAT_DTYPES)
    began, machine = time.perf_counter(), describe()
    if (machine["load_average"] or 0) > machine["cores"] / 2:
        print(f"the machine is busy (load {machine['load_average']}): the times will say so too", file=sys.stderr)
    extra = ["--quick"] if options.quick else []
    for flag, values in (("--case", options.case), ("--dtype", dtypes), ("--rival", options.rival)):
        extra += [word for value in values or [] for word in (flag, value)]

    gated: list[Record] = []
    for count in threads:
        gated += run_worker("gate", count, extra, known=gated)
    failures = red(gated)
    if failures:
        print("red gate, nothing was timed:\n  " + "\n  ".join(failures), file=sys.stderr)
        return 1
    timed = [record for count in threads for record in run_worker("time", count, extra)]

    results: Record = {
        "date": date.today().isoformat(),
        "machine": machine,
        "versions": versions(),
        "settings": settings(threads, dtypes, options.quick),
        "times": merge(gated, timed),
    }
    if not options.case:
        results["start_up"] = start_up.measure(quick=options.quick)
        results["memory"] = memory.measure(threads, quick=options.quick)
    results["settings"]["seconds"] = round(time.perf_counter() - began)
    show(results)
    output = options.output or (table.RESULTS if full else None)
    if output is not None:
        dump(results, output)
        print(f"written: {output}")
    if full:
        table.write(output)
    return 0


def show(results: Record) -> None:
    """Print the tables of the run on the terminal."""
    for threads in results["settings"]["threads"]:
        for dtype in results["settings"]["dtypes"]:
            print(f"\n{dtype}, {table.threads_text(threads)}\n")
            print(table.wide_table(results, dtype, threads))
    if "start_up" in results:
        print("\n" + table.goals_table(results))
    print(f"\n{results['settings']['seconds']} s in all")


if __name__ == "__main__":
    raise SystemExit(main())
