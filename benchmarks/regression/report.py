"""The page and the plot, from the result file and nothing else: ``python -m benchmarks.regression.report``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.regression import PAGE, PLOT, RESULTS
from benchmarks.regression.goals import BY_ID, Outcome, figure, outcomes, overall, ratio_of, ratios, reached, trouble
from benchmarks.regression.methods import METHODS
from benchmarks.table import _markdown as markdown

Results = dict[str, Any]
Record = dict[str, Any]


def seconds(value: float | None) -> str:
    """Return a time with its unit."""
    if value is None:
        return "–"
    if value < 1e-3:
        return f"{figure(value * 1e6)} µs"
    return f"{figure(value * 1e3)} ms" if value < 1 else f"{figure(value)} s"


def gap(value: float | None) -> str:
    """Return a relative gap; rounding may make it a little negative."""
    return "–" if value is None else f"{max(value, 0.0):.0e}" if value > 0 else "0"


def gigabytes(value: int | None) -> str:
    """Return a memory."""
    return "–" if value is None else f"{value / 1e9:.2f}"


def _rival_cell(rival: Record, record: Record) -> str:
    """Return what came of a rival in a few words."""
    ratio = ratio_of(rival, record)
    if reached(rival, record["target"]):
        times = f" ({ratio})" if ratio else ""
        return f"{seconds(rival['median_s'])}{times}"
    if rival["status"] == "stopped":
        return str(ratio) if ratio else "stopped"
    if rival["status"] in ("ok", "missed"):
        return f"ended at gap {gap(rival.get('gap'))}"
    return rival["status"]


def main_table(results: Results) -> str:
    """Return one line per case: ours, the best rival, the ratio and the goals."""
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes(results["cases"]):
        found.setdefault(outcome.case, []).append(outcome)
    rows = []
    for record in results["cases"]:
        case, ours = BY_ID[record["id"]], record["ours"]
        mine = trouble(record, case.target) or seconds(ours.get("median_s"))
        best = ratios(record)[:1]
        rival = next((r for r in record["rivals"] if best and r["method"] == best[0].method), None)
        goals = "<br>".join(f"{o.text}: {o.measured}: {o.verdict}" for o in found.get(record["id"], []))
        rows.append(
            [
                record["id"], case.text, f"{case.target:.0e}", mine, gap(ours.get("gap")),
                gigabytes(ours.get("peak_bytes")), f"{rival['method']} {_rival_cell(rival, record)}" if rival else "–",
                str(best[0]) if best else "–", goals,
            ]
        )  # fmt: skip
    header = ["case", "what", "target", "ours", "gap", "GB", "best rival", "ratio", "goals"]
    return markdown(header, rows)


def rivals_table(results: Results) -> str:
    """Return everything about every rival: time, ratio, gap, memory and the setting that was timed."""
    rows = []
    for record in results["cases"]:
        for rival in record["rivals"]:
            ratio = ratio_of(rival, record)
            rows.append(
                [
                    record["id"], rival["method"], rival["status"], seconds(rival.get("median_s")),
                    seconds(rival.get("min_s")), str(len(rival.get("seconds", []))), str(ratio) if ratio else "–",
                    gap(rival.get("gap")), gigabytes(rival.get("peak_bytes")), _settings(rival.get("settings", [])),
                    rival.get("reason", ""),
                ]
            )  # fmt: skip
    header = ["case", "rival", "status", "median", "min", "runs", "÷ ours", "gap", "GB", "settings", ""]
    return markdown(header, [[cell.replace("|", "/") for cell in row] for row in rows])


def _settings(settings: list[dict[str, Any]]) -> str:
    """Return the settings in a few words; a path that has many as a range."""
    if not settings:
        return "–"
    if len(settings) == 1:
        return ", ".join(f"{key}={value:g}" for key, value in settings[0].items())
    keys = settings[0]
    values = {key: [setting[key] for setting in settings] for key in keys}
    return ", ".join(f"{key}={min(found):g} to {max(found):g}, each its own" for key, found in values.items())


def goals_table(found: list[Outcome]) -> str:
    """Return goals with what was measured and whether that meets them."""
    return markdown(["case", "goal", "measured", ""], [[o.case, o.text, o.measured, o.verdict] for o in found])


def machine_text(results: Results) -> str:
    """Return what was measured on, in a paragraph."""
    machine = results["machine"]
    ours = ", ".join(f"{name} {results['versions'][name]}" for name in ("softmax", "numpy", "scipy", "numba"))
    rivals = []
    for name, found in results["rival_versions"].items():
        main = [f"{key} {value}" for key, value in found.items() if key not in ("numpy", "scipy")]
        rivals.append(f"{name}: {', '.join(main)}")
    return (
        f"Measured on {results['date']}: {machine['cpu']} (family {machine['cpu_family']}, model "
        f"{machine['cpu_model']}), {machine['cores']} cores, {results['threads']} threads, "
        f"{machine['instruction_set']}, {machine['system']}, Python {machine['python']}; {ours}. Rivals: "
        f"{'; '.join(rivals)}. Load before the start: {machine['load_average']}. The run took "
        f"{results['seconds'] / 60:.0f} minutes."
    )


HOW = """
- Everybody is brought to the same relative gap, (f − f*) / f, of scikit-learn's objective over the number of rows. f is
  computed in float64 from the coefficients that came back, f* from below by a dual bound, both by one function
  (`regression/gap.py`) that shares no code with the library.
- A rival's setting is the loosest of a ladder that reaches the target, found once (`regression/settings.json`); all its
  solvers take part and the fastest one counts. In loops over C each point has the loosest setting of its own.
- Every measurement is a process of its own. Reading the data, a small fit to compile and load, and the form of the data
  that a rival likes best are outside the clock.
- A normal run stops a rival at 12 × our time, or at the limit of its goal where that is higher, and shows `> 12`; where
  the half hour does not last, earlier, and the figure says so. `make bench-regression-full` stops nobody.
- Fits below 5 s are repeated at least three times, ours and the fastest rival in turn; ratios are of medians.
- GB is the peak of the resident set during the fit, the interpreter and the data included.
""".strip()


def page(results: Results) -> str:
    """Return the page."""
    done = outcomes(results["cases"])
    missed = [o for o in [*overall(results["cases"]), *done] if o.met is not True]
    notes = [f"- **{method.id}**: {method.note}" for method in METHODS.values() if method.note]
    parts = [
        "# Benchmark of the classifiers",
        f"Written by `make bench-regression{'-full' if results['full'] else ''}` from "
        "[results/regression.json](results/regression.json); do not edit. " + machine_text(results),
        "## Over all", goals_table(overall(results["cases"])),
        f"![ratio of each case]({PLOT.name})",
        "## Cases", main_table(results),
        "## Missed or not measured", goals_table(missed) if missed else "None.",
        "## How", HOW + "\n" + "\n".join(notes),
        "## All rivals", rivals_table(results),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def summary(results: Results) -> str:
    """Return what a terminal shows at the end."""
    parts = [main_table(results), goals_table(overall(results["cases"])), f"{results['seconds']} s in all"]
    return "\n\n".join(parts)


def write(results_path: Path = RESULTS, page_path: Path = PAGE, plot_path: Path = PLOT) -> None:
    """Write the page and the plot."""
    from benchmarks.regression import plot

    results = json.loads(results_path.read_text(encoding="utf-8"))
    page_path.write_text(page(results), encoding="utf-8")
    plot.write(results, plot_path)


if __name__ == "__main__":
    write()
