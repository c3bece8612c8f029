"""What the result file says, and nothing else: the ratio of each case, its goals, the goals over all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from benchmarks.regression.registry import CASES, Case, Goal

Record = dict[str, Any]
BY_ID = {case.id: case for case in CASES}
OVERALL_MEAN, OVERALL_LEAST = 3.0, 0.8


@dataclass(frozen=True)
class Ratio:
    """A rival's time over ours; `bound` where the rival was stopped, so that the ratio is larger than `value`.

    `value` is inf where the rival never reaches the target.
    """

    method: str
    value: float
    bound: bool = False

    def __str__(self) -> str:
        if math.isinf(self.value):
            return "never reached"
        return f"> {figure(self.value)}" if self.bound else f"{figure(self.value)}×"


@dataclass(frozen=True)
class Outcome:
    """One goal of one case (or of all): what was measured, and whether that is met; None where it was not measured."""

    case: str
    text: str
    measured: str
    met: bool | None

    @property
    def verdict(self) -> str:
        """Return the word for the table."""
        return {True: "met", False: "**MISSED**", None: "not measured"}[self.met]


def figure(value: float) -> str:
    """Return a number with two or three figures."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def reached(record: Record, target: float) -> bool:
    """Whether a measurement was finished within the target."""
    return record["status"] == "ok" and record.get("gap") is not None and record["gap"] <= target


def trouble(record: Record, target: float) -> str | None:
    """Return why ours of a case has no figure, or None."""
    ours = record["ours"]
    if reached(ours, target):
        return None
    if ours["status"] == "ok":
        return f"ours ended at a gap of {ours['gap']:.1e}" if ours.get("gap") is not None else "ours is wrong"
    return f"ours: {ours['status']}" + (f" ({ours['reason']})" if ours.get("reason") else "")


def ratio_of(rival: Record, record: Record) -> Ratio | None:
    """Return a rival's time over ours, or None where it says nothing (skipped, or without our time)."""
    ours = record["ours"].get("median_s")
    if not ours:
        return None
    if reached(rival, record["target"]):
        return Ratio(rival["method"], rival["median_s"] / ours)
    if rival["status"] == "stopped":
        return Ratio(rival["method"], rival["limit"] / ours, bound=True) if rival.get("limit") else None
    if rival["status"] in ("ok", "missed", "oom", "error"):
        return Ratio(rival["method"], math.inf)
    return None


def ratios(record: Record, against: str = "") -> list[Ratio]:
    """Return the ratios of all rivals, or of those whose name begins so, the smallest first."""
    found = [ratio_of(rival, record) for rival in record["rivals"] if rival["method"].startswith(against)]
    return sorted((ratio for ratio in found if ratio is not None), key=lambda ratio: (ratio.value, not ratio.bound))


def skipped(record: Record, against: str = "") -> list[Record]:
    """Return the rivals that were not measured."""
    return [r for r in record["rivals"] if r["method"].startswith(against) and r["status"] == "skipped"]


def _time(goal: Goal, case: Case, record: Record) -> tuple[str, bool | None]:
    if reason := trouble(record, case.target):
        return reason, None if record["ours"]["status"] in ("skipped", "not there yet") else False
    found = ratios(record, goal.against)
    if not found:
        absent = "; ".join(sorted({r.get("reason", "") for r in skipped(record, goal.against)}))
        return f"no rival was measured ({absent or 'none was asked for'})", None
    least = found[0]
    met: bool | None = least.value >= goal.limit
    if not met and least.bound:
        met = None  # stopped before it was decided
    return f"{least} ({least.method})", met


def _certified(record: Record, target: float) -> tuple[str, bool | None]:
    ours = record["ours"]
    if ours["status"] in ("skipped", "not there yet"):
        return trouble(record, target) or "", None
    if reason := trouble(record, target):
        return reason, False
    status = ours.get("claims", {}).get("status", "no status")
    return f"{status}, verified gap {ours['gap']:.1e}", status == "certified"


def _memory(goal: Goal, record: Record) -> tuple[str, bool | None]:
    ours = record["ours"]
    if "peak_bytes" not in ours:
        return trouble(record, record["target"]) or "not measured", None
    mine = ours["peak_bytes"] / 1e9
    if goal.what == "memory":
        return f"{mine:.2f} GB", mine <= goal.limit and reached(ours, record["target"])
    theirs = [r["peak_bytes"] for r in record["rivals"] if r["method"].startswith(goal.against) and "peak_bytes" in r]
    if not theirs:
        return f"{mine:.2f} GB; no rival was measured", None
    least = min(theirs) / 1e9
    return f"{mine:.2f} of {least:.2f} GB: {mine / least:.2f}", mine <= goal.limit * least


def _verdict(record: Record) -> tuple[str, bool | None]:
    ours = record["ours"]
    if ours["status"] != "ok":
        return trouble(record, record["target"]) or "", None if ours["status"] in (
            "skipped",
            "not there yet",
        ) else False
    status = ours.get("claims", {}).get("status", "no status")
    right = ours.get("gap") == 0
    return f"{status}; direction {'right' if right else 'not shown'}", status == "separated" and right


def _growth(goal: Goal, case: Case, records: list[Record]) -> tuple[str, bool | None]:
    sizes = {int(r["id"].split("-")[1]): r for r in records if r["id"].startswith("Growth-")}
    if len(sizes) < 5 or any(trouble(r, case.target) for r in sizes.values()):
        return "not all sizes were measured", None
    rows = {n: record["ours"]["median_s"] / n for n, record in sorted(sizes.items())}
    each = ", ".join(f"{n // 100 / 10:g}k: {seconds * 1e6:.2f}" for n, seconds in rows.items())
    times = rows[max(rows)] / rows[min(rows)]
    return f"{times:.2f}× over four doublings (µs per row: {each})", times <= goal.limit


def outcomes(records: list[Record]) -> list[Outcome]:
    """Return every goal of every case that is in the records."""
    found = []
    for record in records:
        case = BY_ID.get(record["id"])
        for goal in case.goals if case else ():
            if goal.what == "time":
                measured, met = _time(goal, case, record)
            elif goal.what == "certified":
                measured, met = _certified(record, case.target)
            elif goal.what == "verdict":
                measured, met = _verdict(record)
            elif goal.what == "growth":
                measured, met = _growth(goal, case, records)
            else:
                measured, met = _memory(goal, record)
            found.append(Outcome(case.id, goal.text, measured, met))
    return found


def overall(records: list[Record]) -> list[Outcome]:
    """Return the goals over all cases: mean and least of the ratios, share of the penalised cases certified."""
    best = {r["id"]: found[0] for r in records if not trouble(r, r["target"]) and (found := ratios(r))}
    finite = {name: ratio for name, ratio in best.items() if math.isfinite(ratio.value)}
    lines = []
    if finite:
        mean = math.exp(sum(math.log(ratio.value) for ratio in finite.values()) / len(finite))
        stopped = sum(ratio.bound for ratio in finite.values())
        text = f"{mean:.2f}× over {len(finite)} cases" + (f", {stopped} of them lower bounds" if stopped else "")
        worst = min(finite, key=lambda name: finite[name].value)
        lines = [
            Outcome("all", f"geometric mean of best rival ÷ ours ≥ {OVERALL_MEAN:g}", text, mean >= OVERALL_MEAN),
            Outcome("all", f"never below {OVERALL_LEAST:g}", f"{finite[worst]} ({worst}, {finite[worst].method})",
                    finite[worst].value >= OVERALL_LEAST),
        ]  # fmt: skip
    wanted = [r for r in records if r["id"] in BY_ID and BY_ID[r["id"]].penalised]
    known = [r for r in wanted if r["ours"]["status"] not in ("skipped", "not there yet")]
    certified = [r for r in known if _certified(r, r["target"])[1]]
    text = f"{len(certified)} of {len(known)} measured" + (
        f" ({len(wanted)} in the run)" if len(wanted) > len(known) else ""
    )
    met = len(certified) == len(known) if known else None
    return [*lines, Outcome("all", "100 % of the penalised cases certified", text, met)]
