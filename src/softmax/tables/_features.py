"""Which columns become features, and as what; the columns that cannot are refused together, in one message."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow.compute as pc

from softmax._errors import DataError

from ._table import NUMBER_PATTERN, IntArray, Table, TextColumn, counted, listing, plural

MAX_CATEGORIES = 1000
MOSTLY = 0.9  # share of numbers from which a text column is taken for numbers with a few odd values
INDEX_ROWS = 20  # a column 1, 2, 3, ... of fewer rows may well be data


@dataclass
class FeaturePlan:
    """The kind of each feature column in the order of the table, and what the user should know.

    `kinds` maps a name to "number", "bool" or "category".
    """

    kinds: dict[str, str]
    notes: list[str] = field(default_factory=list)


def plan_features(
    table: Table,
    *,
    leave_out: Collection[str] = (),
    categorical: Collection[str] = (),
    numeric: Collection[str] = (),
    missing: str = "error",
) -> FeaturePlan:
    """Decide what each column is: a number, a bool or a category.

    Parameters
    ----------
    table
        All rows; whether a column is text that differs in every row can only be seen on all of them.
    leave_out
        Columns that are no features: the target, weights, and those that the user drops.
    categorical, numeric
        Columns whose kind the user gives.
    missing
        The policy for missing values; under "error" any missing value is refused.

    Raises
    ------
    DataError
        Naming every column that cannot be used, why, and what to do.
    """
    for name in (*categorical, *numeric):
        table.require(name, "column")
    both = sorted(set(categorical) & set(numeric))
    if both:
        raise DataError(f"columns cannot be categorical and numeric at once: {listing(both)}.")
    plan = FeaturePlan({}, list(table.notes))
    constant: list[str] = []
    problems: dict[str, str] = {}
    for name in table.names:
        if name in leave_out:
            continue
        kind = "category" if name in categorical else "number" if name in numeric else table.kind(name)
        if kind in ("text", "category"):
            problem = _category_problem(table, name, chosen=name in categorical)
            plan.kinds[name] = "bool" if problem is None and _is_bool(table.texts(name)) else "category"
            if len(table.texts(name).levels) == 1 and not np.any(table.texts(name).codes < 0):
                constant.append(name)
        elif kind == "bool":
            problem = None
            plan.kinds[name] = "bool"
        elif kind == "number":
            problem = _number_problem(table, name, chosen=name in numeric, constant=constant, notes=plan.notes)
            plan.kinds[name] = "number"
        else:
            problem = _PROBLEMS.get(kind, f"holds {kind}")
        if problem is not None:
            problems[name] = problem
    if problems:
        raise DataError(_refusal(table, problems))
    if not plan.kinds:
        raise DataError(f"{table.source} has no column left to learn from.")
    counts = missing_counts(table, plan.kinds)
    if missing == "error" and counts:
        raise DataError(missing_message(table, counts, "fit"))
    if constant:
        number = f"{len(constant)} columns hold" if len(constant) > 1 else "1 column holds"
        plan.notes.append(f"{number} one value in every row, which says nothing: {listing(constant, 6)}")
    return plan


def missing_counts(table: Table, kinds: dict[str, str], rows: IntArray | None = None) -> dict[str, int]:
    """Count missing values per feature column; columns without any are not listed."""
    counts = {}
    for name, kind in kinds.items():
        values = np.isnan(table.numbers(name)) if kind == "number" else table.texts(name).codes < 0
        counts[name] = int(np.count_nonzero(values if rows is None else values[rows]))
    return {name: n for name, n in counts.items() if n}


def missing_message(table: Table, counts: dict[str, int], step: str) -> str:
    """Say which columns have missing values, how many, and what to do when fitting ("fit") or afterwards."""
    where = f"{table.source} has missing values in {plural(len(counts), 'column')}: {counted(counts)}."
    if step == "fit":
        return f"{where} Choose --missing mean, indicator or drop; or leave a column out with --drop COLUMN."
    return (
        f"{where} The model was fitted with --missing error, so it expects none. "
        "Pass --missing mean or drop here, or fit it again with one of them."
    )


def refuse_infinite(table: Table, name: str) -> None:
    """Raise if a numeric column holds an infinity, with its row."""
    rows = np.flatnonzero(np.isinf(table.numbers(name)))
    if len(rows):
        more = f", and in {plural(len(rows) - 1, 'more row')}" if len(rows) > 1 else ""
        raise DataError(
            f"column {name!r} of {table.source} holds an infinite (or too large) value in row {rows[0] + 1}{more}. "
            "Mend the value, or leave the column out with --drop."
        )


_PROBLEMS = {
    "empty": "has no values at all",
    "dates": "holds dates; turn them into numbers first (year, day of the week, days since ...)",
    "times": "holds times of day; turn them into numbers first",
    "durations": "holds durations; turn them into numbers first",
    "nested values": "holds lists or records; spread them over columns of their own",
}


def _category_problem(table: Table, name: str, *, chosen: bool) -> str | None:
    column = table.texts(name)
    levels, present = len(column.levels), int(np.count_nonzero(column.codes >= 0))
    example = column.levels[0].as_py() if levels else ""
    if not chosen and (odd := _odd_values(table, name)):
        return odd
    if levels == present and levels > 1:
        return f"is text that differs in every row, such as {_short(example)}"
    if levels > MAX_CATEGORIES:
        return f"has {levels:,} categories, more than {MAX_CATEGORIES:,}, such as {_short(example)}"
    return None


def _odd_values(table: Table, name: str) -> str | None:
    """Say what stands among the numbers of a text column that holds numbers almost everywhere."""
    column = table.texts(name)
    if not table.text or not len(column.levels):
        return None
    counts = column.counts()
    is_number = pc.match_substring_regex(column.levels, NUMBER_PATTERN).to_numpy(zero_copy_only=False)
    total = counts.sum()
    if counts[is_number].sum() < MOSTLY * total:
        with_comma = pc.match_substring_regex(column.levels, r"^[+-]?\d+,\d+$").to_numpy(zero_copy_only=False)
        if counts[is_number | with_comma].sum() < MOSTLY * total:
            return None
        example = column.levels[int(np.flatnonzero(with_comma)[0])].as_py()
        return f"holds numbers with a comma, such as {example!r}; if it is a decimal comma, pass --decimal ','"
    strange = np.flatnonzero(~is_number)
    strange = strange[np.argsort(-counts[strange], kind="stable")]
    first = column.levels[int(strange[0])].as_py()
    others = f" and {plural(len(strange) - 1, 'other text')}" if len(strange) > 1 else ""
    return (
        f"holds numbers, save for {_short(first)} ({plural(int(counts[strange[0]]), 'row')}){others}; "
        f"if that marks a missing value, pass --na {first!r}; if these are codes, --categorical {shlex.quote(name)}"
    )


def _number_problem(table: Table, name: str, *, chosen: bool, constant: list[str], notes: list[str]) -> str | None:
    values = table.numbers(name)
    refuse_infinite(table, name)
    known = values[~np.isnan(values)]
    if not len(known):
        return _PROBLEMS["empty"]
    if known.min() == known.max():
        constant.append(name)
        return None
    if chosen or len(known) < len(values) or len(values) < INDEX_ROWS or np.any(values != np.floor(values)):
        return None
    if np.all(np.diff(values) == 1):
        start = ", ".join(f"{value:g}" for value in values[:3])
        return f"counts the rows ({start}, ...); if it is data, pass --numeric {shlex.quote(name)}"
    if len(np.unique(values)) == len(values):
        hint = f"if it is an identifier, pass --drop {shlex.quote(name)}"
        notes.append(f"column {name!r} is a whole number that differs in every row; {hint}")
    return None


def _is_bool(column: TextColumn) -> bool:
    return {level.lower() for level in column.levels.to_pylist()} == {"false", "true"}


def _refusal(table: Table, problems: dict[str, str]) -> str:
    lines = [f"  {name!r} {problem}" for name, problem in problems.items()]
    shown = lines[:20] + ([f"  ... and {len(lines) - 20} more"] if len(lines) > 20 else [])
    number, stand, them = (
        ("a column", "it stands", "it") if len(lines) == 1 else (f"{len(lines)} columns", "they stand", "them")
    )
    first = f"{table.source} has {number} that cannot be used as {stand}:"
    return "\n".join([first, *shown, f"To leave {them} out: {drop_options(problems)}"])


def drop_options(names: Iterable[str]) -> str:
    """Return the options that drop these columns, as one would type them."""
    return " ".join(f"--drop {shlex.quote(name)}" for name in names)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
