"""The plot of the page: how much longer the best rival of each case takes, on a logarithmic axis."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from benchmarks.regression.goals import BY_ID, ratios, trouble

REACHED, BOUND, BELOW = "#2f6f9f", "#9fc3dc", "#c0504d"


def bars(results: dict[str, Any]) -> list[tuple[str, float, bool, float | None]]:
    """Return (case, ratio, whether it is a lower bound, the goal against the best rival) of each case that has one."""
    found = []
    for record in results["cases"]:
        best = ratios(record)
        if trouble(record, record["target"]) or not best or math.isinf(best[0].value):
            continue
        goals = BY_ID[record["id"]].goals
        goal = next((goal.limit for goal in goals if goal.what == "time" and not goal.against), None)
        found.append((record["id"], best[0].value, best[0].bound, goal))
    return found


def write(results: dict[str, Any], path: Path) -> None:
    """Draw the bars into an SVG that repeats byte for byte."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    chosen = bars(results)
    with matplotlib.rc_context({"svg.hashsalt": "softmax", "svg.fonttype": "none", "font.size": 9}):
        figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.26 * max(len(chosen), 1)))
        for place, (name, ratio, bound, goal) in enumerate(reversed(chosen)):
            colour = BELOW if ratio < 1 else BOUND if bound else REACHED
            # From 1, the line of equal time, to either side.
            axes.barh(place, ratio - 1, left=1, color=colour, height=0.7)
            # The figure keeps clear of the mark of the goal.
            edge = goal if goal is not None and ratio <= goal < 1.6 * ratio else max(ratio, 1)
            axes.text(edge * 1.05, place, f"> {ratio:.2g}" if bound else f"{ratio:.2g}", va="center")
            axes.text(0.02, place, name, va="center", ha="right", transform=axes.get_yaxis_transform())
            if goal is not None:
                axes.plot([goal, goal], [place - 0.42, place + 0.42], color="black", linewidth=1.2)
        axes.set_xscale("log")
        axes.set_xticks([0.5, 1, 2, 5, 10, 20, 50, 100], labels=["½", "1", "2", "5", "10", "20", "50", "100"])
        axes.minorticks_off()
        axes.set_yticks([])
        axes.set_ylim(-0.7, max(len(chosen), 1) - 0.3)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_xlim(
            min([0.5, *(ratio * 0.8 for _, ratio, _, _ in chosen)]), max([20, *(r * 2 for _, r, _, _ in chosen)])
        )
        axes.set_xlabel(
            "time of the best rival ÷ ours, at the same verified gap\n(dark line: goal; pale: stopped there)"
        )
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        figure.subplots_adjust(left=0.28)
        figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})
        pyplot.close(figure)
