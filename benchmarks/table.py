"""Markdown from the result file, and from nothing else: the short tables of the README and the long page.

``python -m benchmarks.table`` writes both again from ``results/cpu.json``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.goals import BY_ID, Results, by_place, extra_bytes, outcomes, threads_text

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results" / "cpu.json"
PAGE = Path(__file__).resolve().parent / "RESULTS.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
_ONE_CALL = 100  # up to this many elements a call is told in microseconds, not per element


def number(value: float | None) -> str:
    """Return three significant figures without an exponent where that is readable; "wrong" for an error of nothing."""
    if value is None:
        return "wrong"
    if value >= 1e4:
        return f"{value:.1e}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def duration(case: str, seconds: float) -> str:
    """Return nanoseconds per element, or microseconds per call on a handful of elements."""
    size = BY_ID[case].size
    return f"{number(seconds * 1e6)} µs" if size <= _ONE_CALL else f"{number(seconds * 1e9 / size)} ns"


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _case_text(case_id: str) -> str:
    case = BY_ID[case_id]
    shape = "×".join(f"{n:,}".replace(",", " ") for n in case.shape)
    axis = "" if case.axis == -1 else f", axis {case.axis}"
    return f"{case.group} {case.operation} {shape}{axis}"


def best_rival(found: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """Return the record of the rival with the smallest median."""
    return min((record for record in found.values() if not record["own"]), key=lambda r: r["median_s"], default=None)


def _cell(case: str, record: dict[str, Any] | None) -> str:
    return f"{duration(case, record['median_s'])} · {number(record['error'])}" if record else "–"


def _names(places: list[dict[str, dict[str, Any]]]) -> list[str]:
    """Return the names of implementations for the short table: ours, then the rivals, as they come in the file."""
    seen = dict.fromkeys(name for found in places for name in found)
    return [name for name in seen if "out=" not in name and "torch.masked" not in name]


def wide_table(results: Results, dtype: str, threads: int) -> str:
    """Return the table with one line per case: time and error of everyone, and ours over the best rival's."""
    places = {key[0]: found for key, found in by_place(results).items() if key[1:] == (dtype, threads)}
    names = _names(list(places.values()))
    rows = []
    for case, found in places.items():
        best = best_rival(found)
        ratio = f"{found['softmax']['median_s'] / best['median_s']:.2f} ({best['name']})" if best else "–"
        rows.append([_case_text(case), *(_cell(case, found.get(name)) for name in names), ratio])
    return _markdown(["case", *names, "ours ÷ best rival"], rows)


def goals_table(results: Results) -> str:
    """Return the goals with what was measured and whether it was met."""
    rows = [[o.text, o.measured, "met" if o.met else "**MISSED**"] for o in outcomes(results)]
    return _markdown(["goal", "measured", ""], rows)


def machine_text(results: Results) -> str:
    """Return one paragraph: date, processor, system, versions."""
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return (
        f"Measured on {results['date']}: {machine['cpu']} (family {machine['cpu_family']}, model "
        f"{machine['cpu_model']}), {machine['cores']} cores, {machine['instruction_set']}, {machine['system']}, "
        f"Python {machine['python']}; {versions}. Load before the start: {machine['load_average']}."
    )


_READING = (
    "Each cell: median time per element (per call where it says µs) · largest error in ulp of the exact result (vjp: "
    "in eps of the row's largest entry). 3·randn; inputs shared, results allocated as each library does by default."
)


def readme_part(results: Results) -> str:
    """Return what stands between the markers of the README."""
    return "\n\n".join(
        [
            "`make bench` checks every result against the exact one, then times, and writes this part and "
            "[benchmarks/RESULTS.md](benchmarks/RESULTS.md) from "
            "[benchmarks/results/cpu.json](benchmarks/results/cpu.json). " + machine_text(results),
            goals_table(results),
            f"float32, {threads_text(1)}. {_READING}",
            wide_table(results, "float32", 1),
            f"float64, {threads_text(1)}:",
            wide_table(results, "float64", 1),
        ]
    )


def _long_rows(results: Results, dtype: str, threads: int) -> list[list[str]]:
    rows = []
    for (case, *place), found in by_place(results).items():
        if place != [dtype, threads]:
            continue
        best, native = best_rival(found), found.get("PyTorch")
        for name, record in found.items():
            median = record["median_s"]
            rows.append(
                [
                    _case_text(case), name, duration(case, median), duration(case, record["min_s"]),
                    number(BY_ID[case].bytes_moved(dtype) / median / 1e9),
                    number(record["error"]) + ("" if record["unit"] == "ulp" else " eps"),
                    f"{median / best['median_s']:.2f}" if best else "–",
                    f"{median / native['median_s']:.2f}" if native else "–",
                ]
            )  # fmt: skip
    return rows


def _missed(results: Results) -> str:
    lines = [f"- {o.text}: " + "; ".join(o.missed or (o.measured,)) for o in outcomes(results) if not o.met]
    return "\n".join(lines) or "None."


def _start_up(results: Results) -> str:
    rows = [
        [
            r["what"],
            r.get("function", ""),
            r.get("dtype", ""),
            f"{r['min_s']:.3f}",
            f"{r['median_s']:.3f}",
            f"{r['processor_s']:.3f}",
            str(r["runs"]),
        ]
        for r in results.get("start_up", [])
    ]
    return _markdown(["what", "function", "dtype", "min [s]", "median [s]", "processor [s]", "runs"], rows)


def _memory(results: Results) -> str:
    rows = [
        [
            r["function"], "×".join(str(n) for n in r["shape"]), str(r["axis"]), r["dtype"], str(r["threads"]),
            f"{extra_bytes(r) / 2**20:.2f}", f"{r['allowed_bytes'] / 2**20:.2f}",
        ]
        for r in results.get("memory", [])
    ]  # fmt: skip
    return _markdown(["function", "shape", "axis", "dtype", "threads", "extra [MiB]", "row buffers [MiB]"], rows)


def page(results: Results) -> str:
    """Return the long page: goals, how it was measured, every figure."""
    parts = [
        "# Benchmark results",
        "Written by `make bench` from [results/cpu.json](results/cpu.json); do not edit. " + machine_text(results),
        "## Goals", goals_table(results),
        "## Missed", _missed(results),
        "## How", "\n".join(f"- {line}" for line in results["settings"]["method"]),
        "\n".join(f"- **{name}**: {note}" for name, note in results["settings"]["notes"].items()),
    ]  # fmt: skip
    header = ["case", "implementation", "median", "min", "GB/s", "error [ulp]", "÷ best rival", "÷ PyTorch"]
    for threads in results["settings"]["threads"]:
        for dtype in results["settings"]["dtypes"]:
            rows = _long_rows(results, dtype, threads)
            parts += [f"## {dtype}, {threads_text(threads)}", _markdown(header, rows)]
    parts += ["## Start-up", _start_up(results), "## Memory of a call with out=", _memory(results)]
    return "\n\n".join(parts) + "\n"


def replace_between(text: str, part: str) -> str:
    """Return the text with what stands between the two markers replaced."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"expected {BEGIN} and then {END} once each; put them where the tables shall stand")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{part}\n{END}{rest.split(END)[1]}"


def write(results_path: Path = RESULTS, page_path: Path = PAGE, readme_path: Path = README) -> None:
    """Write the long page, and the part of the README where it has the markers."""
    results = json.loads(results_path.read_text(encoding="utf-8"))
    page_path.write_text(page(results), encoding="utf-8")
    readme = readme_path.read_text(encoding="utf-8") if readme_path.exists() else ""
    if BEGIN in readme or END in readme:
        readme_path.write_text(replace_between(readme, readme_part(results)), encoding="utf-8")
    else:
        print(f"{readme_path.name} has no {BEGIN} … {END}; its tables were not written")


if __name__ == "__main__":
    write()
