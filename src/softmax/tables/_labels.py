"""The target column: class labels to codes 0 … K−1 and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa

from softmax._errors import DataError, ModelFileError

from ._table import IntArray, Table, counted, listing, plural

UNKNOWN = -1
MISSING = -2
MANY_CLASSES = 50


@dataclass(frozen=True)
class Labels:
    """The classes of a target, sorted.

    `kind` is "int" (values are int; 1 and 1.0 are one class), "bool" (false and true in any spelling, or 0 and 1),
    or "text".
    """

    kind: str
    values: tuple[int | str, ...]

    @classmethod
    def learn(
        cls, table: Table, name: str, *, drop_missing: bool = False, categorical: bool = False
    ) -> tuple[Self, IntArray]:
        """Find the classes of a target column and the code of each row (`MISSING` where it has none).

        Parameters
        ----------
        table, name
            The column.
        drop_missing
            Accept rows without a target, which the caller leaves out.
        categorical
            Accept any numbers as names of classes.

        Raises
        ------
        DataError
            If the column is not there, has missing values, is continuous, has one class, or differs in every row.
        """
        table.require(name, "the target")
        kind = table.kind(name)
        if kind == "empty":
            raise DataError(f"the target {name!r} of {table.source} has no values at all.")
        if kind not in ("number", "bool", "text"):
            raise DataError(f"the target {name!r} of {table.source} holds {kind}; it should hold class labels.")
        if kind == "number" and not categorical:
            _refuse_continuous(table, name)
        column = table.texts(name)
        absent = int(np.count_nonzero(column.codes < 0))
        if absent and not drop_missing:
            first = int(np.flatnonzero(column.codes < 0)[0]) + 1
            raise DataError(
                f"the target {name!r} of {table.source} is missing in {plural(absent, 'row')} (first in row {first}). "
                "Fill it in, or leave such rows out with --missing drop."
            )
        present = table.n_rows - absent
        if len(column.levels) == present and present > 2:
            raise DataError(
                f"the target {name!r} of {table.source} differs in every row ({plural(present, 'value')}); "
                "it should hold the same few labels again and again. Is it another column?"
            )
        levels = column.levels.to_pylist()
        label_kind = "int" if not categorical and _all_int(levels) else "text"
        values = sorted({_as_label(level, label_kind) for level in levels}, key=_order)
        if {str(value).lower() for value in values} == {"false", "true"}:
            label_kind = "bool"
            values = values if len(values) == 2 else ["false", "true"]
        labels = cls(label_kind, tuple(values))
        if len(labels.values) < 2:
            raise DataError(
                f"the target {name!r} of {table.source} has one class only, {labels.values[0]!r}; "
                "a classifier needs two or more."
            )
        return labels, labels.encode(table, name)

    def encode(self, table: Table, name: str) -> IntArray:
        """Return the code of each row: `UNKNOWN` for a label that is none of these, `MISSING` for none at all."""
        table.require(name, "the target")
        column = table.texts(name)
        place = {_as_label(str(value), self.kind): i for i, value in enumerate(self.values)}
        codes = [place.get(_as_label(level, self.kind), UNKNOWN) for level in column.levels.to_pylist()]
        return np.array([*codes, MISSING])[column.codes]

    def unknown(self, table: Table, name: str) -> dict[str, int]:
        """Count the rows of each label that is none of these, the most frequent first."""
        column = table.texts(name)
        counts = np.bincount(column.codes[self.encode(table, name) == UNKNOWN], minlength=len(column.levels))
        order = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]
        return {column.levels[i].as_py(): int(counts[i]) for i in order}

    @property
    def names(self) -> list[str]:
        """The classes as text."""
        return [str(value) for value in self.values]

    def decode(self, codes: IntArray) -> pa.Array:
        """Return the labels of codes as an Arrow array of integers or text; a negative code gives a missing label."""
        known = codes >= 0
        values = pa.array(list(self.values), pa.int64() if self.kind == "int" else pa.string())
        return values.take(pa.array(np.where(known, codes, 0), mask=~known))

    def restricted(self, codes: IntArray, rows: IntArray, name: str, notes: list[str]) -> tuple[Self, IntArray]:
        """Return labels and codes without the classes that no row of `rows` has.

        Raises
        ------
        DataError
            If fewer than two classes are left.
        """
        counts = np.bincount(codes[rows], minlength=len(self.values))
        gone = [value for value, count in zip(self.values, counts, strict=True) if not count]
        if len(gone) > len(self.values) - 2:
            raise DataError(f"without the rows that are left out, the target {name!r} has fewer than two classes.")
        if gone:
            notes.append(f"classes that lost all their rows are left out: {listing(gone)}")
        place = np.where(counts > 0, np.cumsum(counts > 0) - 1, UNKNOWN)
        kept = tuple(value for value in self.values if value not in gone)
        return type(self)(self.kind, kept), np.where(codes >= 0, place[codes], codes)

    def note(self, counts: IntArray, name: str) -> str | None:
        """Return a warning if the classes look like a quantity: many integers, few rows each."""
        if self.kind == "int" and len(self.values) > MANY_CLASSES and counts.mean() < 10:
            return (
                f"target {name!r} has {len(self.values):,} different integers, {counts.mean():.1f} rows each; "
                "they are taken for classes without an order"
            )
        return None

    def to_state(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {"kind": self.kind, "values": list(self.values)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild labels from what `to_state` returned."""
        try:
            convert = int if state["kind"] == "int" else str
            return cls(str(state["kind"]), tuple(convert(v) for v in state["values"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"the saved class labels are damaged ({error!r}).") from None


def unknown_message(counts: Mapping[str, int], labels: Labels) -> str:
    """Say which labels of a table the model does not know."""
    return f"labels that the model does not know: {counted(counts, limit=5)}; it knows {listing(labels.values, 6)}"


def _refuse_continuous(table: Table, name: str) -> None:
    values = table.numbers(name)
    fractional = np.flatnonzero((values != np.floor(values)) & ~np.isnan(values))
    if len(fractional):
        raise DataError(
            f"the target {name!r} of {table.source} holds numbers with a fraction, such as {values[fractional[0]]:g} "
            f"in row {fractional[0] + 1}; softmax regression needs class labels. Put the values into classes first; "
            f"if they are names of classes, pass --categorical {name}."
        )
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise DataError(f"the target {name!r} of {table.source} holds an infinite value in row {infinite[0] + 1}.")


def _all_int(levels: list[str]) -> bool:
    return all(_int_or_none(level) is not None for level in levels)


def _int_or_none(level: str) -> int | None:
    """Read "3", "-3", "3.0"; not "03", which is a code, nor what a 64-bit integer cannot hold."""
    digits, _dot, zeros = level.removeprefix("-").partition(".")
    if not digits.isascii() or not digits.isdigit() or (len(digits) > 1 and digits[0] == "0") or zeros.strip("0"):
        return None
    value = int(level.partition(".")[0])
    return value if abs(value) < 2**63 else None


def _as_label(level: str, kind: str) -> int | str:
    if kind == "int":
        value = _int_or_none(level)
        return level if value is None else value  # stays unknown
    return {"0": "false", "1": "true"}.get(level.lower(), level.lower()) if kind == "bool" else level


def _order(value: int | str) -> tuple[bool, int | str]:
    return isinstance(value, str), value
