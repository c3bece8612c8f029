"""Markdown from ``results/nn.json`` and nothing else: ``python -m benchmarks.nn.report`` writes the page again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results" / "nn.json"
PAGE = RESULTS.parents[1] / "NN.md"
OURS, DENSE = "softmax", "torch"
# What the page holds itself to: ours over the fastest other, and our memory over that of stored logits.
TIME, LOGITS_TIME, MEMORY, MANY = 1.0, 0.6, 0.15, 32_000

Record = dict[str, Any]


def _places(results: Record) -> list[tuple[str, str]]:
    return list(dict.fromkeys((r["case"], r["dtype"]) for r in results["times"]))


def _of(records: list[Record], place: tuple[str, str]) -> dict[str, Record]:
    return {r["name"]: r for r in records if (r["case"], r["dtype"]) == place}


def _seconds(record: Record) -> str:
    return f"{record['median_s'] * 1e3:.4g} (min {record['min_s'] * 1e3:.4g})"


def beyond_gradients(record: Record) -> int:
    """Bytes at the peak besides the gradients that are returned."""
    return max(0, int(record["peak"]) - int(record["gradients"]))


def is_linear(case: str) -> bool:
    """Whether a case has the linear layer: N x D x V."""
    return case.count("x") == 2


def verdicts(results: Record) -> list[Record]:
    """Each goal at each place: what was measured, the limit, and whether it was met."""
    found = []
    for place in _places(results):
        times, memory = _of(results["times"], place), _of(results["memory"], place)
        best = min(r["median_s"] for name, r in times.items() if name != OURS)
        limit = TIME if is_linear(place[0]) else LOGITS_TIME
        ratio = times[OURS]["median_s"] / best
        found.append({"place": place, "what": "time over the fastest", "value": ratio, "limit": limit})
        if is_linear(place[0]) and int(place[0].split("x")[2]) >= MANY:
            ratio = beyond_gradients(memory[OURS]) / max(1, beyond_gradients(memory[DENSE]))
            found.append({"place": place, "what": "memory over stored logits", "value": ratio, "limit": MEMORY})
    return found


def table(results: Record) -> str:
    """Times, memory and goals as Markdown."""
    names = list(dict.fromkeys(r["name"] for r in results["times"]))
    lines = ["Milliseconds of a forward and backward pass, median (minimum):", ""]
    lines += ["| case | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for place in _places(results):
        times = _of(results["times"], place)
        cells = (_seconds(times[name]) if name in times else "–" for name in names)
        lines.append(f"| {place[0]} {place[1]} | " + " | ".join(cells) + " |")
    lines += ["", "Megabytes at the peak, beyond the arguments and the gradients that are returned:", ""]
    lines += ["| case | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for place in _places(results):
        memory = _of(results["memory"], place)
        if memory:
            cells = (f"{beyond_gradients(memory[n]) / 1e6:.4g}" if n in memory else "–" for n in names)
            lines.append(f"| {place[0]} {place[1]} | " + " | ".join(cells) + " |")
    lines += ["", "Largest error over the largest entry, against float64 (loss; gradients):", ""]
    lines += ["| case | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for place in _places(results):
        gated = _of(results["gate"], place)
        cells = ("; ".join(f"{e:.2g}" for e in gated[n]["errors"].values()) if n in gated else "–" for n in names)
        lines.append(f"| {place[0]} {place[1]} | " + " | ".join(cells) + " |")
    lines += ["", "| goal | case | measured | limit | met |", "|---|---|---|---|---|"]
    for v in verdicts(results):
        met = "yes" if v["value"] <= v["limit"] else "no"
        lines.append(f"| {v['what']} | {v['place'][0]} {v['place'][1]} | {v['value']:.2f} | {v['limit']:g} | {met} |")
    return "\n".join(lines)


def page(results: Record) -> str:
    """The whole page."""
    machine, versions = results["machine"], results["versions"]
    return f"""# The output layer on a CPU

Written by `make bench-nn` on {results["date"]}: {machine["cpu"]} ({machine["instruction_set"]}),
{machine["cores"]} cores, {results["threads"]} threads, Python {machine["python"]}, PyTorch {versions["torch"]},
NumPy {versions["numpy"]}.

A case is N x D x V for the linear layer with its cross entropy, and N x V for the cross entropy of given logits. All
results are checked against float64 before anything is timed; contenders are timed in turn in one process, with 0.5
flowing back. Memory is the peak of the resident set of a second pass in a process of its own.

{table(results)}
"""


def main() -> int:
    """Write the page from the result file."""
    PAGE.write_text(page(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
