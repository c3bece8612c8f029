"""One case, live, while a kernel is being tuned: ``python -m benchmarks.compare_call B3 --dtype float32``.

Prints a line per implementation, error first; a red result is marked and timed all the same, and nothing is written.
"""

from __future__ import annotations

import argparse
import os
import sys

from benchmarks.registry import FLOAT_DTYPES, inputs, select
from benchmarks.rivals import RIVALS
from benchmarks.table import duration
from benchmarks.timing import FULL, QUICK, summary, time_interleaved
from benchmarks.worker import environment, gate, implementations, pin

_READY = "SOFTMAX_COMPARE_CALL_READY"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.compare_call", description=__doc__.split("\n", 1)[0])
    parser.add_argument("case", nargs="+", help="part of a name, such as B3 or logsumexp-1000x1000")
    parser.add_argument("--dtype", action="append", choices=FLOAT_DTYPES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rival", action="append", choices=(*RIVALS, "none"), help="default: torch and onnxruntime")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--no-gate", action="store_true", help="do not measure the error")
    parser.add_argument("--quick", action="store_true", help="three short rounds")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Compare, `--repeat` times."""
    options = parse(arguments)
    rivals = [name for name in options.rival or ("torch", "onnxruntime") if name != "none"]
    pin(options.threads)
    for case in select(options.case):
        for dtype in options.dtype or ("float32",):
            arrays = inputs(case, dtype)
            ways = implementations(case, arrays, options.threads, rivals)
            verdicts = {} if options.no_gate else {r["name"]: r for r in gate(case, arrays, ways)}
            for _ in range(options.repeat):
                print(f"{case.id} {dtype} threads={options.threads}")
                seconds = time_interleaved(ways, QUICK if options.quick else FULL)
                best = min(summary(seconds[way.name])["median_s"] for way in ways)
                for way in ways:
                    found = summary(seconds[way.name])
                    verdict = verdicts.get(way.name)
                    error = "" if verdict is None else f"{verdict['error']:10.3g} {verdict['unit']}"
                    mark = "  RED " + verdict["reason"] if verdict and way.own and not verdict["passed"] else ""
                    median, least = (duration(case.id, found[key]) for key in ("median_s", "min_s"))
                    ratio = found["median_s"] / best
                    print(f"  {way.name:24} median {median:>9}  min {least:>9}  {ratio:6.2f} × best {error}{mark}")
    return 0


if __name__ == "__main__":
    if not os.environ.get(_READY):
        # The libraries read their number of threads when they are loaded: start again with it set.
        again = [sys.executable, "-m", "benchmarks.compare_call", *sys.argv[1:]]
        os.execve(sys.executable, again, environment(parse(None).threads) | {_READY: "1"})
    raise SystemExit(main())
