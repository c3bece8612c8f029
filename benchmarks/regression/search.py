"""Find for each method the loosest setting that reaches the target: what a normal run then times.

What was found is kept in `settings.json`, so that a normal run spends its half hour on the right settings.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.regression import SETTINGS
from benchmarks.regression.measure import Measurement, answer_of, judge, run_worker, scratch
from benchmarks.regression.methods import METHODS, Method, Setting
from benchmarks.regression.optimum import Optimum
from benchmarks.regression.registry import Case
from benchmarks.regression.tasks import Task

Found = dict[str, Any]
Settings = dict[str, dict[str, Found]]


def read_settings(path: Path = SETTINGS) -> Settings:
    """Return {case: {method: what was found}}."""
    found: Settings = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def write_settings(settings: Settings, path: Path = SETTINGS) -> None:
    """Put the settings of these cases into the file, one method on a line; those of others stay."""
    settings = read_settings(path) | settings
    lines = []
    for case in sorted(settings):
        inner = ",\n".join(f"  {json.dumps(m)}: {json.dumps(found)}" for m, found in sorted(settings[case].items()))
        lines.append(f" {json.dumps(case)}: {{\n{inner}\n }}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def measured(
    case: Case, task: Task, method: Method, settings: list[Setting], optimum: Optimum, *, limit: float, threads: int,
    calls: int | None = None,
) -> Measurement:  # fmt: skip
    """Run a worker once and judge what it returned."""
    with scratch() as folder:
        place = Path(folder)
        measurement = run_worker(
            case, method.rival, method.name, settings, folder=place, limit=limit, threads=threads, calls=calls
        )
        if measurement.status == "ok":
            judge(measurement, answer_of(place, task), task, optimum)
    return measurement


def tightened(levels: list[int], gaps: list[float], target: float) -> list[int]:
    """Return the next levels of the ladder: higher where the gap is too large, by the decades that are missing.

    A gap is about the square of a gradient, so that half of its missing decades are missing from the tolerance. With
    one level for all problems the worst of them counts.
    """
    worst = gaps if len(levels) > 1 else [max(gaps)]

    def higher(level: int, gap: float) -> int:
        if gap <= target:
            return level
        return level + (max(1, int(math.log10(gap / target) / 2)) if math.isfinite(gap) else 1)

    return [higher(level, gap) for level, gap in zip(levels, worst, strict=True)]


def search(case: Case, task: Task, method: Method, optimum: Optimum, *, limit: float, threads: int) -> Found:
    """Climb the ladder of a method until the target is reached, the limit stops it or the ladder ends."""
    levels = [0] * (task.count if method.per_point else 1)
    best = math.inf
    while True:
        settings = [method.ladder[level] for level in levels]
        found = measured(case, task, method, settings, optimum, limit=limit, threads=threads, calls=1)
        record: Found = {"settings": settings, "status": found.status}
        if found.status != "ok":
            extra = {"reason": found.reason, "limit": found.limit}
            if found.status in ("oom", "stopped"):
                extra["peak_bytes"] = found.peak_bytes
            if math.isfinite(best):
                extra["gap_before"] = best
            return record | {key: value for key, value in extra.items() if value}
        best = max(found.gaps)
        # JSON has no infinity, and a rival may return one.
        record |= {"gap": best if math.isfinite(best) else None, "seconds": round(found.best, 5)}
        if best <= case.target:
            return record | {"status": "reached"}
        levels = tightened(levels, found.gaps, case.target)
        top = len(method.ladder) - 1
        if all(gap <= case.target or level == top for gap, level in _with_levels(found.gaps, record, method)):
            return record | {"status": "missed"}
        levels = list(np.minimum(levels, top))


def _with_levels(gaps: list[float], record: Found, method: Method) -> list[tuple[float, int]]:
    """Return each gap with the level at which it was measured."""
    levels = [method.ladder.index(setting) for setting in record["settings"]]
    return list(zip(gaps, levels * (len(gaps) if len(levels) == 1 else 1), strict=True))


def known_methods(case: Case, rivals: list[str] | None) -> list[Method]:
    """Return the methods of a case, of all rivals or of some."""
    return [METHODS[name] for name in case.methods if rivals is None or METHODS[name].rival in rivals]
