"""One display: its syntax, its chains, the findings in it and their repair, all in positions of its own text."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from ._chains import split_chains
from ._errors import Edit, FormulaError, MalformedError, NotUnderstoodError, apply_edits
from ._identity import has_function
from ._repair import Repair, find_repair
from ._steps import _WAYS, ChainResult, Side, Step, Surroundings, check_chain
from ._syntax import find_faults
from ._tokens import MOST_CHARACTERS, tokenize

SECONDS = 6.0  # for all of one display
SIGNS = {"=": "=", ":=": "=", "approx": "≈", "leq": "≤", "geq": "≥", "<": "<", ">": ">"}


@dataclass(frozen=True)
class Found:
    """A finding in a display: characters `start` to `end`, and the edits that repair it, if they are known.

    `verdict` is "refuted", "malformed", "not understood" or, for what is only worth knowing, "proved". `data` holds the
    point, the sides and what else a report shows.
    """

    rule: str
    verdict: str
    severity: str
    text: str
    start: int
    end: int
    suggestion: str | None = None
    edits: tuple[Edit, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StepSeen:
    """A step and its verdict, for reports that list all of them."""

    verdict: str
    relation: str
    rows: tuple[int, int]
    start: int
    end: int
    data: dict[str, Any]


@dataclass(frozen=True)
class DisplayResult:
    """What was found in a display; `repair` holds the edits of all its chains together."""

    found: tuple[Found, ...]
    steps: tuple[StepSeen, ...]
    repair: tuple[Edit, ...] = ()


def check_display(
    text: str, around: Surroundings, *, repairs: bool = True, macros: frozenset[str] = frozenset(), inline: bool = False
) -> DisplayResult:
    """Check a formula. Any text gives a result; one that takes too long is not understood."""
    found = [
        Found("syntax/" + fault.rule, "malformed", "error", fault.text, fault.start, fault.end, fault.suggestion)
        for fault in find_faults(text, macros)
    ]
    if any(item.rule != "syntax/unknown-macro" for item in found):
        return DisplayResult(tuple(found), ())
    if len(text) > MOST_CHARACTERS:
        too_long = Found("maths/not-understood", "not understood", "remark", "the formula is too long to check", 0, 1)
        return DisplayResult((*found, too_long), ())
    deadline = time.monotonic() + SECONDS
    steps: list[StepSeen] = []
    edits: list[Edit] = []
    try:
        chains = split_chains(tokenize(text))
    except FormulaError as error:
        return DisplayResult((*found, _unreadable(error)), ())
    for number, chain in enumerate(chains):
        if time.monotonic() > deadline:
            late = NotUnderstoodError(
                "the display takes too long to check", *_span(chain.members[0].start, chain.members[0].end)
            )
            found.append(_unreadable(late))
            break
        try:
            result = check_chain(chain, around)
        except (RecursionError, MemoryError):
            large = NotUnderstoodError(
                "the formula is too large to check", chain.members[0].start, chain.members[0].end
            )
            found.append(_unreadable(large))
            continue
        seen = [_seen(step, result) for step in result.steps]
        if inline and not _worth_telling(result):
            steps += [step for step in seen if step.verdict not in ("refuted", "malformed", "not understood")]
            continue
        steps += seen
        wrong = any(step.verdict in ("refuted", "malformed") for step in result.steps) or any(
            s.problems for s in result.sides
        )
        repair = find_repair(text, chain, result, around, number) if wrong and repairs else None
        if repair is not None:
            edits += repair.edits
        found += _findings(text, result, repair)
    return DisplayResult(tuple(found), tuple(steps), tuple(sorted(edits, key=lambda edit: (edit.start, edit.end))))


def _span(start: int, end: int) -> tuple[int, int]:
    return max(start, 0), max(end, start, 1)


def _unreadable(error: FormulaError) -> Found:
    start, end = _span(error.start, error.end)
    malformed = isinstance(error, MalformedError)
    return Found(
        "maths/malformed" if malformed else "maths/not-understood",
        "malformed" if malformed else "not understood",
        "error" if malformed else "remark",
        error.text,
        start,
        end,
    )


def _worth_telling(result: ChainResult) -> bool:
    """Within a line, conditions and examples abound: only a refuted equation that computes something is told."""
    return any(
        step.verdict == "refuted"
        and step.relation in ("=", "approx")
        and any(
            node is not None and has_function(node) for node in (result.sides[n].node for n in (step.left, step.right))
        )
        for step in result.steps
    )


def _findings(text: str, result: ChainResult, repair: Repair | None) -> list[Found]:
    out: list[Found] = []
    rows = len({side.row for side in result.sides}) > 1
    for side in result.sides:
        for problem in side.problems:
            read = apply_edits(text, list(problem.edits))
            grown = sum(len(edit.text) for edit in problem.edits)
            what = _one_line(read[problem.start : problem.end + grown])
            message = f"{_where(side, rows)}{problem.text}; read as {what}"
            out.append(
                Found(
                    "maths/malformed",
                    "malformed",
                    "error",
                    message,
                    problem.start,
                    problem.end,
                    f"write {what}",
                    problem.edits,
                    {"row": side.row},
                )
            )
    for step in result.steps:
        out += _of_step(text, result, step, repair, rows)
    return out


def _of_step(text: str, result: ChainResult, step: Step, repair: Repair | None, rows: bool) -> list[Found]:
    left, right = result.sides[step.left], result.sides[step.right]
    if step.verdict == "malformed":
        side = right if right.error is not None else left
        start, end = _span(*(step.span or (side.start, side.end)))
        message = f"{_where(side, rows)}{step.text}"
        return [
            _with_repair(
                Found("maths/malformed", "malformed", "error", message, start, end), text, repair, result, side
            )
        ]
    if step.verdict == "not understood":
        start, end = _span(*(step.span or (right.start, right.end)))
        message = f"{_between(left, right, step, rows)}not understood: {step.text}"
        return [Found("maths/not-understood", "not understood", "remark", message, start, end)]
    if step.verdict == "refuted":
        return [_refuted(text, result, step, repair, rows)]
    if left.node is not None and left.node == right.node and left.row != right.row and step.relation == "=":
        message = f"row {right.row} repeats row {left.row}"
        return [
            Found(
                "maths/repeated-row",
                step.verdict,
                "warning",
                message,
                right.start,
                right.end,
                "remove it",
                (),
                {"row": right.row},
            )
        ]
    return []


def _refuted(text: str, result: ChainResult, step: Step, repair: Repair | None, rows: bool) -> Found:
    left, right = result.sides[step.left], result.sides[step.right]
    outcome = step.outcome
    assert outcome is not None
    witness = outcome.witness or {}
    data: dict[str, Any] = {
        "left": witness.get("left"),
        "right": witness.get("right"),
        "difference": outcome.difference,
        "points": outcome.points,
        "point": witness.get("point", {}),
        "row": right.row,
    }
    sign = SIGNS.get(step.relation, "=")
    message = f"{_between(left, right, step, rows)}the two sides of {sign} differ"
    if witness:
        message += f": {witness['left']:.6g} against {witness['right']:.6g}"
        if point := _point_words(witness.get("point", {})):
            message += f" at {point}"
        message += f" (largest relative difference {outcome.difference:.2g} at {outcome.points} points)"
    read = [side for side in (left, right) if side.problems]
    if read:
        forms = ", ".join(_one_line(_read_as(text, side)) for side in read)
        message += f"; what lacks a ∂ was read as {forms}"
    found = Found("maths/refuted", "refuted", "error", message, right.start, right.end, None, (), data)
    return _with_repair(found, text, repair, result, right)


def _read_as(text: str, side: Side) -> str:
    problem = side.problems[0]
    grown = sum(len(edit.text) for edit in problem.edits)
    return apply_edits(text, list(problem.edits))[problem.start : problem.end + grown]


def _with_repair(found: Found, text: str, repair: Repair | None, result: ChainResult, side: Side) -> Found:
    """Add what the repair does: to this side, or where it leaves this one alone, to the others."""
    if repair is None:
        return found
    number = result.sides.index(side)
    change = repair.changes.get(number)
    if change is None:
        others = [(n, c) for n, c in repair.changes.items()]
        words = "; ".join(f"row {result.sides[n].row}: {c.words}" for n, c in others)
        return Found(**{**found.__dict__, "suggestion": f"the chain holds with this change: {words}"})
    new = _one_line(apply_edits(text[: side.end], list(change.edits))[side.start :])
    data = {**found.data, "repair": change.words, "repaired": new}
    return Found(**{**found.__dict__, "suggestion": f"{change.words}: {new}", "edits": change.edits, "data": data})


def _where(side: Side, rows: bool) -> str:
    return f"row {side.row}: " if rows else ""


def _between(left: Side, right: Side, step: Step, rows: bool) -> str:
    if not rows:
        return ""
    if left.row == right.row:
        return f"row {right.row}: "
    return f"from row {left.row} to row {right.row} "


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _point_words(point: dict[str, Any]) -> str:
    parts = []
    for name, value in point.items():
        if isinstance(value, list):
            flat = str(value).replace("[", "(").replace("]", ")")
            parts.append(f"{name} = {flat if len(flat) <= 60 else flat[:57] + '…)'}")
        else:
            parts.append(f"{name} = {value:g}")
    return ", ".join(parts[:6]) + (", …" if len(parts) > 6 else "")


def _seen(step: Step, result: ChainResult) -> StepSeen:
    left, right = result.sides[step.left], result.sides[step.right]
    data: dict[str, Any] = {}
    if step.outcome is not None:
        data = {"points": step.outcome.points, "difference": step.outcome.difference}
        if step.outcome.assumed:
            data["assumed"] = step.outcome.assumed
    if step.text:
        data["text"] = step.text
    if result.wide:
        data["read"] = "; ".join(_WAYS[way] for way in sorted(result.wide))
    return StepSeen(
        step.verdict, SIGNS.get(step.relation, step.relation), (left.row, right.row), right.start, right.end, data
    )
