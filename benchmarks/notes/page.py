"""The page of results, from the result file and nothing else: ``python -m benchmarks.notes.page``."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.notes import PAGE, RESULTS
from benchmarks.table import _markdown as markdown
from benchmarks.table import machine_text

Results = dict[str, Any]

FIRST = ("check", "plan", "first sync")
FIRST_SECONDS, AGAIN_SECONDS, PEAK_BYTES = 60.0, 2.0, 500e6


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def goals(results: Results) -> list[tuple[str, str, bool]]:
    """Return each goal with what was measured and whether it was met."""
    steps = {record["step"]: record for record in results["steps"]}
    first = sum(steps[name]["seconds"] for name in FIRST)
    again = steps["sync again"]["seconds"]
    peaks = {name: record["peak_bytes"] for name, record in steps.items() if record["peak_bytes"]}
    largest = max(peaks, key=lambda name: peaks[name], default=None)
    return [
        ("check, plan and first sync in ≤ 60 s", _seconds(first), first <= FIRST_SECONDS),
        ("a second sync of an unchanged vault in ≤ 2 s", _seconds(again), again <= AGAIN_SECONDS),
        (
            "memory ≤ 500 MB",
            f"{peaks[largest] / 1e6:.0f} MB ({largest})" if largest else "not measured",
            bool(largest) and peaks[largest] <= PEAK_BYTES,
        ),
    ]


def page(results: Results) -> str:
    """Return the page."""
    c = results["contents"]
    rows = [
        [
            record["step"],
            _seconds(record["seconds"]),
            _seconds(record["processor_seconds"]),
            f"{record['peak_bytes'] / 1e6:.0f} MB" if record["peak_bytes"] else "–",
        ]
        for record in results["steps"]
    ]
    size = (
        f"{c['notes']:,} notes with {c['cards']:,} cards: {c['bytes'] / 1e6:.1f} MB of text, {c['displays']:,} "
        f"displayed and {c['inline_formulas']:,} short formulas ({c['wrong_formulas']} of them wrong), "
        f"{c['links']:,} links, {c['embeds']:,} embedded sections, "
        f"{c['images']:,} images of {c['image_bytes'] / 1e6:.1f} MB together"
    )
    return (
        "\n\n".join(
            [
                "# A large vault",
                f"`make bench-notes` writes a vault and times each command in a fresh process. {machine_text(results)}",
                f"The vault is generated: {size}.",
                markdown(
                    ["goal", "measured", ""], [[g, m, "met" if ok else "**MISSED**"] for g, m, ok in goals(results)]
                ),
                markdown(["step", "on the clock", "processor time", "peak memory"], rows),
                "Memory: the process and all its children, shared pages in proportion, looked at 20 times a second.",
            ]
        )
        + "\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")
