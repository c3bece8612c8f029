"""Gate first, then time: ``python -m benchmarks.gpu``, or ``make bench-gpu``.

Writes ``benchmarks/results/gpu.json`` after a run of all cases. ``--dry`` runs the gate alone, on tiny shapes, in
Triton's interpreter where there is no GPU. Exit 1 where a result of ours is wrong, or where there is no GPU to time on.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import os
import sys
from datetime import date
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results" / "gpu.json"


def missing() -> str | None:
    """Return in one line what a run needs and is not here."""
    for package in ("torch", "triton"):
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed. Type: pip install 'softmax[gpu]'"
    import torch

    if not torch.cuda.is_available():
        return "there is no CUDA device, or this PyTorch was built without CUDA"
    return None


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--case", action="append", help="only the cases whose name contains this (repeatable)")
    parser.add_argument("--dry", action="store_true", help="the gate on tiny shapes, in the interpreter; times nothing")
    parser.add_argument("--output", type=Path, help="result file of a run of some cases")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Gate, time, write; return the exit status."""
    options = parse(arguments)
    lack = missing()
    if options.dry:
        return dry(options.case)
    if lack is not None:
        print(f"The GPU benchmark cannot run: {lack}. The CPU benchmark is 'make bench'.", file=sys.stderr)
        return 1
    return run(options)


def chosen(names: list[str] | None) -> list[Any]:
    """Return the cases whose name contains one of these."""
    from .cases import CASES

    return [case for case in CASES if not names or any(name in case.name for name in names)]


def dry(names: list[str] | None) -> int:
    """Run every case in a tiny size through the gate."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
            print("set TRITON_INTERPRET=1 before Triton is imported", file=sys.stderr)
            return 1
        os.environ["TRITON_INTERPRET"] = "1"
        from .interpreter import repair

        repair()
    from softmax import _torch_gpu

    from . import gate
    from .providers import OURS, Data

    _torch_gpu.serves = lambda x: x.device.type == device
    failures = []
    cases = chosen(names)
    for case in cases:
        small = case.tiny()
        data = Data(small, device)
        call = OURS.build(small, data)
        failures += gate.check(small, data, call())
    wrong = len(failures) or "no"
    verdict = f"{len(cases)} cases in a tiny size on {device}, {wrong} results wrong; times: not measured"
    print("\n".join([*failures, verdict]))
    return 1 if failures else 0


def run(options: argparse.Namespace) -> int:
    """Gate every case, then time ours beside the peers."""
    from . import measure

    cases = chosen(options.case)
    failures = [line for case in cases for line in _gate(case)]
    if failures:
        print("red gate, nothing was timed:\n  " + "\n  ".join(failures), file=sys.stderr)
        return 1
    clock = measure.Clock()
    rates = measure.rates(clock)
    results: dict[str, Any] = {"date": date.today().isoformat(), "machine": measure.describe(), "rates": rates}
    print(json.dumps(results["machine"]))
    copy, product = rates["bytes_per_second"] / 1e12, rates["operations_per_second"] / 1e12
    print(f"copy {copy:.3f} TB/s, product {product:.0f} TFLOP/s\n")
    results["cases"] = []
    for case in cases:
        record = _time(case, clock, rates)
        results["cases"].append(record)
        print("\n".join(lines(record)), flush=True)
    output = options.output or (None if options.case else RESULTS)
    if output is not None:
        output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(f"written: {output}")
    return 0


def _free() -> None:
    import torch

    gc.collect()
    torch.cuda.empty_cache()


def _gate(case: Any) -> list[str]:
    from . import gate
    from .providers import OURS, Data

    data = Data(case, "cuda")
    try:
        return gate.check(case, data, OURS.build(case, data)())
    finally:
        del data
        _free()


def _time(case: Any, clock: Any, rates: dict[str, float]) -> dict[str, Any]:
    """Return the record of one case; what could not be measured says so, and why."""
    from . import measure
    from .providers import OURS, PEERS, Data

    data = Data(case, "cuda")
    calls: dict[str, Any] = {}
    providers: dict[str, Any] = {}
    for provider in (OURS, *PEERS):
        try:
            call = provider.build(case, data)
            if call is None:
                providers[provider.name] = {"time": "not measured", "reason": "does not do this case"}
                continue
            call()
            calls[provider.name] = call
            providers[provider.name] = {"extra_bytes": measure.peak_memory(call)}
        except ModuleNotFoundError:
            providers[provider.name] = {"time": "not measured", "reason": "absent"}
        except Exception as error:  # a peer that fails on a case is a finding, not the end of the run
            providers[provider.name] = {"time": "not measured", "reason": f"{type(error).__name__}: {error}"[:200]}
            _free()
    for name, times in clock.in_turn(calls).items():
        providers[name]["time"] = times
        if case.latency:
            providers[name]["wall"] = clock.wall(calls[name])
            providers[name]["graph"] = clock.graph(calls[name]) or "not measured"
            providers[name]["waits"] = measure.waits_for_the_device(calls[name])
    floor = case.bytes / rates["bytes_per_second"] if case.bytes else case.flops / rates["operations_per_second"]
    calls.clear()
    del data
    _free()
    return {
        "case": case.name,
        "bytes": case.bytes,
        "operations": case.flops,
        "floor_ms": floor * 1e3,
        "providers": providers,
    }


def lines(record: dict[str, Any]) -> list[str]:
    """Return the lines of a record in the table."""
    text = [f"{record['case']}   floor {record['floor_ms']:.3f} ms"]
    for name, found in record["providers"].items():
        times = found["time"]
        if isinstance(times, str):
            text.append(f"  {name:<14} not measured: {found['reason']}")
            continue
        share = record["floor_ms"] / times["median"]
        text.append(
            f"  {name:<14} {times['median']:9.3f} ms  (least {times['minimum']:.3f})  {share:6.1%} of the floor's rate"
            f"  extra memory {found['extra_bytes'] / 2**20:9.1f} MiB"
            + "".join(f"  {key} {found[key]}" for key in ("wall", "graph", "waits") if key in found)
        )
    return text


if __name__ == "__main__":
    raise SystemExit(main())
