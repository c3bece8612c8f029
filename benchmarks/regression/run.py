"""Bring every tool to the same verified gap and time it: ``python -m benchmarks.regression.run``.

A normal run takes the settings that a search found, stops a rival at 12 × our time, and ends within half an hour; with
``--find`` it searches settings that are not known yet, with ``--full`` it has no limits. A run of all cases writes
``results/regression.json``, the page and the plot; a part (``--case``, ``--rivals``) writes where ``--output`` says.
``--resume`` goes on with that file: it measures the cases that ran out of time, or those named, and keeps the others.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.machine import describe, versions
from benchmarks.regression import RESULTS, SETTINGS, datasets, environments, report
from benchmarks.regression.measure import Measurement
from benchmarks.regression.methods import Method
from benchmarks.regression.optimum import TIGHTER, Optimum
from benchmarks.regression.registry import CASES, Case, select
from benchmarks.regression.search import (
    Found,
    Settings,
    known_methods,
    measured,
    read_settings,
    search,
    write_settings,
)
from benchmarks.regression.tasks import Task, task_of
from benchmarks.run import dump

OURS = Method(environments.OURS, "auto", ())
THREADS = 2
REPETITIONS = 3
SHORT = 5.0  # a case below so many seconds is repeated
RUN_SECONDS = 28 * 60.0  # a normal run, with a little left for what cannot be stopped
# Without the 12 ×: nobody may hang for ever.
FULL_LIMIT = 4 * 3600.0
# Ours has no rival to be measured by; a case that hangs must not eat the half hour.
OUR_LIMIT = 300.0
ORDER = {case.id: place for place, case in enumerate(CASES)}


@dataclass
class Bench:
    """Options of a run, and what is known of the settings."""

    threads: int = THREADS
    full: bool = False
    find: bool = False
    refresh: bool = False
    rivals: list[str] | None = None
    limit: float = math.inf
    ends: float = math.inf
    settings: Settings = field(default_factory=dict)

    def our_limit(self) -> float:
        """Return the seconds that a fit of ours may take."""
        return min(self.limit, FULL_LIMIT if self.full else OUR_LIMIT, max(self.ends - time.perf_counter(), 1.0))


@dataclass
class Place:
    """A case at work: its problems, what is known of the optimum, and when its time is used up."""

    case: Case
    task: Task
    optimum: Optimum
    ends: float

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.ends - time.perf_counter()


def log(text: str) -> None:
    """Say how far it is."""
    print(text, file=sys.stderr, flush=True)


def run_case(case: Case, bench: Bench, seconds: float = math.inf) -> dict[str, Any]:
    """Measure one case and return its record; its rivals together have so many seconds."""
    began = time.perf_counter()
    record: dict[str, Any] = {"id": case.id, "target": case.target, "rivals": []}
    try:
        data = datasets.prepare(case.dataset)
    except datasets.MissingDataError as error:
        log(f"{case.id}: skipped, {error}")
        return record | {"ours": Measurement("skipped", reason=str(error)).line()}
    task = task_of(case, datasets.load(data))
    if began > bench.ends:
        return record | {"ours": Measurement("skipped", reason="the time of the run was used up").line()}
    place = Place(case, task, Optimum(case, task.count, data), math.inf)
    ours = _ours(place, bench)
    # Only now: what has to be compiled or known once on a machine shall not shorten the time of the rivals.
    place.ends = min(time.perf_counter() + seconds, bench.ends)
    timed: dict[str, Measurement] = {}
    for method, found in _in_order(place, bench):
        measurement = _rival(place, bench, method, found, ours)
        timed[method.id] = measurement
        log(f"  {method.id}: {_short(measurement)}")
    _repeat(place, bench, ours, timed)
    record["ours"] = ours.line()
    record["rivals"] = [{"method": name} | m.line() | _settings_of(bench, case, name) for name, m in timed.items()]
    return record | {"seconds": round(time.perf_counter() - began, 2)}


def _short(measurement: Measurement) -> str:
    if measurement.status != "ok":
        return f"{measurement.status} {measurement.reason}".strip()
    return f"{measurement.best:.4g} s, gap {max(measurement.gaps):.1e}"


def _ours(place: Place, bench: Bench) -> Measurement:
    """Measure ours once, after a fit at a tighter tolerance has shown where the optimum is."""
    case, task, optimum = place.case, place.task, place.optimum
    if case.kind != "verdict" and not optimum.near().all():
        began = time.perf_counter()
        tight = [{"tol": max(TIGHTER * case.target, 1e-13)}]
        # Without it ours and the rivals are judged by their own bounds: it is not worth more time than they have.
        limit = bench.our_limit() if bench.full else min(bench.our_limit(), 2 * case.seconds)
        reference = measured(case, task, OURS, tight, optimum, limit=limit, threads=bench.threads, calls=1)
        log(f"{case.id}: reference {_short(reference)} ({time.perf_counter() - began:.1f} s with its bound)")
    settings = [{"tol": case.target}]
    ours = measured(case, task, OURS, settings, optimum, limit=bench.our_limit(), threads=bench.threads)
    log(f"{case.id}: ours {_short(ours)}")
    return ours


def _in_order(place: Place, bench: Bench) -> list[tuple[Method, Found]]:
    """Return the methods with what is known of them: the fastest first, those that were stopped or missed last."""
    known = bench.settings.setdefault(place.case.id, {})
    order = {"reached": 0, "": 1, "oom": 2, "stopped": 3, "error": 4, "missed": 5}
    found = [(method, known.get(method.id, {})) for method in known_methods(place.case, bench.rivals)]
    return sorted(found, key=lambda pair: (order.get(pair[1].get("status", ""), 9), pair[1].get("seconds", 0.0)))


def _rival(place: Place, bench: Bench, method: Method, found: Found, ours: Measurement) -> Measurement:
    """Time a method at its setting, found before or now."""
    case = place.case
    if reason := environments.missing(method.rival, method.name):
        return Measurement("skipped", reason=reason)
    limit = min(bench.limit, FULL_LIMIT)
    if not bench.full:
        limit = min(limit, case.stop(method.id) * ours.best)
    if not math.isfinite(limit) or limit <= 0:
        limit = OUR_LIMIT
    if bench.find and (bench.refresh or found.get("status") not in ("reached", "missed")):
        found = search(case, place.task, method, place.optimum, limit=limit, threads=bench.threads)
        found["settings"] = _compact(found["settings"])
        bench.settings[case.id][method.id] = found | ({"ours": round(ours.best, 5)} if ours.seconds else {})
        log(f"  found {method.id}: {found}")
        if found["status"] == "stopped":
            return Measurement("stopped", limit=found["limit"], peak_bytes=found.get("peak_bytes"))
    if not found:
        return Measurement("skipped", reason="its settings are not known yet (--find)")
    if found["status"] in ("missed", "error"):
        return Measurement(
            found["status"], reason=found.get("reason", ""), gaps=[found["gap"]] if found.get("gap") else []
        )
    limit = min(limit, place.left() / case.calls)
    if limit < min(1.0, ours.best) and found["status"] != "reached":
        return Measurement("stopped", limit=found.get("limit"), reason="in the search for its settings")
    if limit <= 0:
        return Measurement("skipped", reason="the time of the case was used up")
    return measured(case, place.task, method, found["settings"], place.optimum, limit=limit, threads=bench.threads)


def _settings_of(bench: Bench, case: Case, name: str) -> dict[str, Any]:
    found = bench.settings.get(case.id, {}).get(name, {})
    return {"settings": _compact(found["settings"])} if "settings" in found else {}


def _compact(settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one setting where all are the same."""
    return settings[:1] if all(setting == settings[0] for setting in settings) else settings


def _repeat(place: Place, bench: Bench, ours: Measurement, timed: dict[str, Measurement]) -> None:
    """Repeat ours and the fastest in turn where a fit is short, so that a disturbance meets both."""
    case, task = place.case, place.task
    reached = {name: m for name, m in timed.items() if m.status == "ok" and max(m.gaps) <= case.target}
    best = min(reached, key=lambda name: reached[name].best, default=None)
    if ours.status != "ok" or ours.best > SHORT:
        return
    turns: list[tuple[Method, Measurement, list[dict[str, Any]]]] = [(OURS, ours, [{"tol": case.target}])]
    if best is not None:
        method = next(m for m in known_methods(case, bench.rivals) if m.id == best)
        turns.append((method, reached[best], bench.settings[case.id][best]["settings"]))
    for repetition in range(1, REPETITIONS):
        for method, kept, settings in turns if repetition % 2 else reversed(turns):
            if place.left() <= 0:
                return
            limit = max(10 * kept.best, 5.0)
            again = measured(case, task, method, settings, place.optimum, limit=limit, threads=bench.threads)
            if again.status == "ok":
                kept.seconds += again.seconds
                kept.peak_bytes = max(kept.peak_bytes or 0, again.peak_bytes or 0)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.regression.run", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--case", help="only these cases or groups, with commas: R1,R3-shuttle-C1")
    parser.add_argument("--rivals", help="only these rivals, with commas (sklearn, torch, r, ...), or none")
    parser.add_argument("--find", action="store_true", help="search the settings that no search reached yet")
    parser.add_argument("--refresh", action="store_true", help="with --find: search all settings again")
    parser.add_argument("--full", action="store_true", help="no limits of time")
    parser.add_argument("--resume", action="store_true", help="keep what the results file holds, measure the rest")
    parser.add_argument("--limit", type=float, default=math.inf, help="stop every fit at so many seconds")
    parser.add_argument("--settings", type=Path, default=SETTINGS, help="file of the settings")
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--output", type=Path, help="result file of a run that is not of all cases")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the cases, write the results; return the exit status."""
    options = parse(arguments)
    # A worker is in a session of its own: an end from outside has to pass through what ends the worker.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cases = select(options.case.split(",") if options.case else None, full=options.full or options.find)
    rivals = None if options.rivals is None else [name for name in options.rivals.split(",") if name != "none"]
    whole = (options.case is None or options.resume) and rivals is None and not math.isfinite(options.limit)
    began, machine = time.perf_counter(), describe()
    find = options.find or options.full
    bench = Bench(
        options.threads,
        options.full,
        find,
        options.refresh,
        rivals,
        options.limit,
        math.inf if find else began + RUN_SECONDS,
        read_settings(options.settings),
    )
    if (machine["load_average"] or 0) > machine["cores"] / 2:
        log(f"the machine is busy (load {machine['load_average']}): the times will say so too")
    output = options.output or (RESULTS if whole else None)
    kept = _kept(output, options.case is not None, {case.id for case in cases}) if options.resume and output else {}
    results: dict[str, Any] = {
        "date": date.today().isoformat(),
        "machine": machine,
        "versions": versions(),
        "rival_versions": _rival_versions(),
        "threads": bench.threads,
        "full": bench.full,
        "seconds": 0,
        "cases": [],
    }
    spare = 0.0  # what a case leaves of its share, the next ones may use
    results["cases"] = list(kept.values())
    cases = [case for case in cases if case.id not in kept]
    more = max(1.0, RUN_SECONDS / max(sum(case.seconds for case in cases), 1.0))  # of a few cases each has more
    for case in cases:
        before, share = time.perf_counter(), more * case.seconds + spare
        results["cases"].append(run_case(case, bench, math.inf if find else share))
        results["cases"].sort(key=lambda record: ORDER[record["id"]])
        spare = max(0.0, share - (time.perf_counter() - before))
        results["seconds"] = round(sum(record.get("seconds", 0.0) for record in results["cases"]))
        if bench.find:
            write_settings({case.id: bench.settings.get(case.id, {})}, options.settings)
        if output is not None:  # after each case: a full run takes hours
            dump(results, output)
    print(report.summary(results))
    if output is not None:
        print(f"written: {output}")
    if whole:
        report.write(RESULTS if output is None else output)
    return 0


def _kept(output: Path, named: bool, chosen: set[str]) -> dict[str, dict[str, Any]]:
    """Return the records of an earlier run that stay: of cases that were not named, or that came to an end."""
    if not output.exists():
        raise SystemExit(f"there is nothing to resume: {output} does not exist. Run without --resume first.")
    earlier = json.loads(output.read_text(encoding="utf-8"))
    for what, now in (("versions", versions()), ("rival_versions", _rival_versions())):
        if earlier[what] != now:
            raise SystemExit(f"the {what} are not those of {output}: figures of both would be mixed. Run all cases.")
    records = {record["id"]: record for record in earlier["cases"]}
    if named:
        return {name: record for name, record in records.items() if name not in chosen}
    return {name: record for name, record in records.items() if record["ours"]["status"] == "ok"}


def _rival_versions() -> dict[str, dict[str, str]]:
    """Return the versions of every rival with NumPy's and SciPy's beside it."""
    telling = {"scikit-learn", "scikit-learn-intelex", "cyanure", "statsmodels", "torch", "adelie", "numpy", "scipy"}
    names = [name for name in environments.PACKAGES if environments.installed(name)]
    found = {name: {k: v for k, v in environments.versions(name).items() if k in telling} for name in names}
    if not all(map(environments.r_reason, environments.R_PACKAGES)):
        found["r"] = environments.versions("r")
    return found


if __name__ == "__main__":
    raise SystemExit(main())
