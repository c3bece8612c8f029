"""One process, one case and dtype: the gate, the clock, or the memory of one contender."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
from typing import Any

import torch

from benchmarks.nn.cases import BY_ID, DTYPES, Case, data, truth
from benchmarks.nn.contenders import OURS, losses, step
from benchmarks.rivals import Implementation
from benchmarks.timing import Effort, summary, time_interleaved

EFFORT = Effort(rounds=5, most_rounds=25, least_seconds=0.02, case_seconds=20.0)
# Largest error over the largest entry. bfloat16 rounds the logits, of size 10, and their gradients before the products.
BOUNDS = {"float32": 2e-5, "bfloat16": 4e-2}


def gate(case: Case, dtype: str) -> list[dict[str, Any]]:
    """Loss and gradients of every contender against float64."""
    arrays = data(case, dtype)
    exact = truth(case, arrays)
    records = []
    for name, loss in losses(case).items():
        call, leaves = step(loss, arrays)
        value = call()
        gradients = dict(zip((key for key in arrays if key != "target"), (leaf.grad for leaf in leaves), strict=True))
        errors = {"loss": abs(float(value) - float(exact["loss"])) / max(1.0, abs(float(exact["loss"])))}
        for key, gradient in gradients.items():
            assert gradient is not None
            errors[key] = float((gradient.double() - exact[key]).abs().max() / exact[key].abs().max())
        passed = all(error <= BOUNDS[dtype] for error in errors.values())
        records.append({"name": name, "errors": {k: float(f"{v:.3g}") for k, v in errors.items()}, "passed": passed})
    return records


def clock(case: Case, dtype: str) -> list[dict[str, Any]]:
    """Seconds of a forward and backward pass of every contender, in turn."""
    arrays = data(case, dtype)
    ways = [
        Implementation(name, step(loss, arrays)[0], lambda out: (out,), own=name == OURS)
        for name, loss in losses(case).items()
    ]
    for way in ways:
        way.call()  # compiles what is compiled
    return [{"name": name, **summary(seconds)} for name, seconds in time_interleaved(ways, EFFORT).items()]


def _status(name: str) -> int:
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def memory(case: Case, dtype: str, name: str) -> list[dict[str, Any]]:
    """The peak of a second pass beyond the arguments, in bytes, and how many of them the gradients are."""
    call, leaves = step(losses(case)[name], data(case, dtype))
    call()
    size = sum(leaf.numel() * leaf.element_size() for leaf in leaves)
    for leaf in leaves:
        leaf.grad = None
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # the peak is counted from here
    before = _status("VmRSS")
    call()
    return [{"name": name, "peak": _status("VmHWM") - before, "gradients": size}]


def main(arguments: list[str] | None = None) -> int:
    """Print the records of one phase as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phase", choices=("gate", "clock", "memory"))
    parser.add_argument("case", choices=BY_ID)
    parser.add_argument("dtype", choices=DTYPES)
    parser.add_argument("--name")
    options = parser.parse_args(arguments)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    more = (options.name,) if options.phase == "memory" else ()
    phase = {"gate": gate, "clock": clock, "memory": memory}[options.phase]
    head = {"case": options.case, "dtype": options.dtype}
    json.dump([head | record for record in phase(BY_ID[options.case], options.dtype, *more)], sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
