"""``python -m benchmarks.nn.run``: the gate, then the clock and the memory, then the result file and its page.

A run of some cases or dtypes prints its table and writes nothing. Exit 1 where a result of ours is wrong: then nothing
is timed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.machine import cores, describe, versions
from benchmarks.nn.report import PAGE, RESULTS, page, table
from benchmarks.worker import environment

ROOT = Path(__file__).resolve().parents[2]
Record = dict[str, Any]


def work(phase: str, case: str, dtype: str, threads: int, name: str | None = None) -> list[Record]:
    """Run one phase in a process of its own; its records."""
    command = [sys.executable, "-m", "benchmarks.nn.worker", phase, case, dtype]
    done = subprocess.run(
        command + (["--name", name] if name else []),
        env=environment(threads),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    records: list[Record] = json.loads(done.stdout.splitlines()[-1])
    print(f"  {phase} {case} {dtype}{f' {name}' if name else ''}", file=sys.stderr, flush=True)
    return records


def main(arguments: list[str] | None = None) -> int:
    """Gate, time, write; the exit status."""
    from benchmarks.nn.cases import CASES, DTYPES, LINEAR
    from benchmarks.nn.contenders import OURS

    parser = argparse.ArgumentParser(prog="benchmarks.nn.run", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--case", action="append", help="only the cases whose name contains this (repeatable)")
    parser.add_argument("--dtype", action="append", choices=DTYPES)
    parser.add_argument("--threads", type=int, default=cores())
    options = parser.parse_args(arguments)
    full = not (options.case or options.dtype)
    chosen = [case for case in CASES if not options.case or any(part in case.id for part in options.case)]
    places = [(case, dtype) for case in chosen for dtype in options.dtype or DTYPES]
    machine = describe()
    if (machine["load_average"] or 0) > machine["cores"] / 2:
        print(f"the machine is busy (load {machine['load_average']}): the times will say so too", file=sys.stderr)

    gated = [record for case, dtype in places for record in work("gate", case.id, dtype, options.threads)]
    wrong = [r for r in gated if r["name"] == OURS and not r["passed"]]
    if wrong:
        print("red gate, nothing was timed:", *wrong, sep="\n  ", file=sys.stderr)
        return 1
    timed = [record for case, dtype in places for record in work("clock", case.id, dtype, options.threads)]
    memory = [
        record
        for r in gated
        if any(case.id == r["case"] and case.kind == LINEAR for case, _ in places)
        for record in work("memory", r["case"], r["dtype"], options.threads, r["name"])
    ]
    results = {
        "date": date.today().isoformat(),
        "machine": machine,
        "versions": versions(),
        "threads": options.threads,
        "gate": gated,
        "times": timed,
        "memory": memory,
    }
    print(table(results))
    if full:
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(page(results), encoding="utf-8")
        print(f"written: {RESULTS.relative_to(ROOT)}, {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
