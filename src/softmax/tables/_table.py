"""A table in memory: named columns, read once as numbers or as text, whichever the caller asks for.

Nothing here knows of targets or encodings. A column is turned from Arrow into NumPy when it is first asked for,
and the *whole* column decides its type, so that the answer does not depend on how a reader cut the file into blocks.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from softmax._errors import DataError

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]

NUMBER_PATTERN = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


@dataclass(frozen=True)
class TextColumn:
    """Text as codes into distinct levels, which are sorted; code -1 marks a missing value."""

    codes: IntArray
    levels: pa.Array

    def counts(self) -> IntArray:
        """Return how many rows hold each level."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.levels))


@dataclass
class Table:
    """Named columns of equal length.

    Parameters
    ----------
    data
        The columns; names are distinct.
    source
        What to call the table in messages: a file name, or "the frame".
    text
        True where every cell came as text (CSV, TSV), so that types are still to be found out.
    decimal
        The decimal mark of such text.
    notes
        What the reader did that the user should know.
    """

    data: pa.Table
    source: str
    text: bool = False
    decimal: str = "."
    notes: list[str] = field(default_factory=list)
    _numbers: dict[str, FloatArray] = field(default_factory=dict, repr=False)
    _texts: dict[str, TextColumn] = field(default_factory=dict, repr=False)
    _kinds: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def names(self) -> list[str]:
        """The column names in order."""
        return list(self.data.column_names)

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return int(self.data.num_rows)

    def require(self, name: str, purpose: str) -> None:
        """Raise unless there is a column `name`, with the nearest names as a suggestion."""
        if name not in self.names:
            hint = suggest(name, self.names) + self.header_hint()
            raise DataError(f"{purpose} {name!r} is not a column of {self.source}. {hint}")

    def header_hint(self) -> str:
        """Return advice where the names of the columns look like a row of data."""
        numeric = sum(bool(re.match(NUMBER_PATTERN, name)) for name in self.names)
        if not self.text or 2 * numeric < len(self.names):
            return ""
        return " These look like values: if the file has no header line, pass --no-header."

    def kind(self, name: str) -> str:
        """Return "number", "text", "bool", "empty", or what else the column holds, in words ("dates", "lists")."""
        if name not in self._kinds:
            self._kinds[name] = self._find_kind(name)
        return self._kinds[name]

    def numbers(self, name: str) -> FloatArray:
        """Return the column as float64 with nan where a value is missing; raise if a value is no number."""
        if name not in self._numbers:
            self._numbers[name] = self._read_numbers(name)
        return self._numbers[name]

    def texts(self, name: str) -> TextColumn:
        """Return the column as text: numbers and bools in one canonical spelling, text as it stands."""
        if name not in self._texts:
            self._texts[name] = self._read_texts(name)
        return self._texts[name]

    def _find_kind(self, name: str) -> str:
        column = self.data.column(name)
        if column.null_count == len(column):
            return "empty"
        if not self.text:
            return _arrow_kind(column.type)
        if _parses(self._dotted(name), pa.float64()):
            return "number"
        if _parses(column, pa.timestamp("us")) or _parses(column, pa.timestamp("us", tz="UTC")):
            return "dates"
        return "text"

    def _dotted(self, name: str) -> pa.ChunkedArray:
        column = self.data.column(name)
        return column if self.decimal == "." else pc.replace_substring(column, self.decimal, ".")

    def _read_numbers(self, name: str) -> FloatArray:
        kind = self.kind(name)
        if kind == "empty":
            return np.full(self.n_rows, np.nan)
        column = self._dotted(name) if self.text else self.data.column(name)
        if kind not in ("number", "bool"):
            held = self._describe(name)
            raise DataError(f"column {name!r} of {self.source} should hold numbers, but it holds {held}")
        if kind == "bool":
            column = column.cast(pa.uint8())
        cast = column.cast(pa.float64(), safe=False)
        values = cast.combine_chunks().to_numpy(zero_copy_only=False)
        return np.asarray(values, dtype=np.float64)

    def _describe(self, name: str) -> str:
        """Say what a column that is not numeric holds: its kind, or the values that are no numbers."""
        kind = self.kind(name)
        if kind != "text":
            return kind + "."
        column = self.texts(name)
        levels = pc.replace_substring(column.levels, self.decimal, ".")
        strange = np.flatnonzero(~pc.match_substring_regex(levels, NUMBER_PATTERN).to_numpy(zero_copy_only=False))
        if not len(strange):
            return "numbers that are spelt in unusual ways."
        rows = np.flatnonzero(np.isin(column.codes, strange))
        first = column.levels[int(column.codes[rows[0]])].as_py()
        more = f" and text in {plural(len(rows) - 1, 'more row')}" if len(rows) > 1 else ""
        return f"{first!r} in row {rows[0] + 1}{more}."

    def _read_texts(self, name: str) -> TextColumn:
        column = self.data.column(name)
        kind = self.kind(name)
        if kind == "empty":
            return TextColumn(np.full(self.n_rows, -1, dtype=np.int64), pa.array([], pa.string()))
        if kind not in ("number", "bool", "text"):
            if not self.text:
                raise DataError(f"column {name!r} of {self.source} should hold text, but it holds {kind}.")
        elif not self.text:
            column = _spell(column, kind)
        encoded = column.combine_chunks()
        if isinstance(encoded, pa.ChunkedArray):  # more text than one array of 32-bit offsets can hold
            encoded = encoded.cast(pa.large_string()).combine_chunks()
        encoded = encoded.dictionary_encode()
        levels = encoded.dictionary
        order = pc.sort_indices(levels).to_numpy()
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        known = codes >= 0
        codes[known] = rank[codes[known]]
        return TextColumn(codes, levels.take(pa.array(order)))


def suggest(name: str, known: Iterable[str]) -> str:
    """Say which names come nearest, or list them where none does."""
    names = list(known)
    folded = {n.casefold(): n for n in reversed(names)}
    near = [folded[n] for n in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)]
    if near:
        return f"Did you mean {' or '.join(repr(n) for n in near)}?"
    return f"The columns are: {listing(names)}." if names else "It has no columns."


def listing(items: Iterable[object], limit: int = 12) -> str:
    """Join reprs with commas; after `limit` of them say how many more there are."""
    shown = [repr(i) for i in items]
    if len(shown) <= limit:
        return ", ".join(shown)
    return ", ".join(shown[:limit]) + f" and {len(shown) - limit} more"


def counted(counts: Mapping[str, int], unit: str = "row", limit: int = 12) -> str:
    """Join names with their counts: ``'age' (177 rows), 'cabin' (1 row)``."""
    shown = [f"{name!r} ({plural(n, unit)})" for name, n in counts.items()]
    rest = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + rest


def plural(n: int, unit: str) -> str:
    """Return the number with its unit: ``1 row``, ``1,797 rows``, ``2 classes``, ``3 categories``."""
    if n != 1:
        unit = unit[:-1] + "ies" if unit.endswith("y") else unit + ("es" if unit.endswith("s") else "s")
    return f"{n:,} {unit}"


def _parses(column: pa.ChunkedArray, to: pa.DataType) -> bool:
    try:
        pc.cast(column, to)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


def _arrow_kind(kind: pa.DataType) -> str:
    t = pa.types
    if t.is_dictionary(kind):
        return "text" if _arrow_kind(kind.value_type) in ("number", "bool", "text") else _arrow_kind(kind.value_type)
    tests: list[tuple[str, Any]] = [
        ("bool", t.is_boolean),
        ("number", lambda k: t.is_integer(k) or t.is_floating(k) or t.is_decimal(k)),
        ("text", lambda k: t.is_string(k) or t.is_large_string(k) or getattr(t, "is_string_view", t.is_string)(k)),
        ("empty", t.is_null),
        ("dates", lambda k: t.is_date(k) or t.is_timestamp(k)),
        ("times", t.is_time),
        ("durations", lambda k: t.is_duration(k) or t.is_interval(k)),
        ("nested values", t.is_nested),
        ("binary data", lambda k: t.is_binary(k) or t.is_large_binary(k) or t.is_fixed_size_binary(k)),
    ]
    return next((word for word, test in tests if test(kind)), f"values of type {kind}")


def _spell(column: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    """Cast a typed column to text: false/true, 3 for 3.0, the shortest exact decimals for other numbers."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
        kind = _arrow_kind(column.type)
    if kind == "number" and not pa.types.is_integer(column.type):
        numbers = column.cast(pa.float64())
        whole = pc.and_(pc.equal(pc.floor(numbers), numbers), pc.less(pc.abs(numbers), 2.0**53))
        if pc.all(whole).as_py():
            column = numbers.cast(pa.int64())
        else:
            return pa.chunked_array([pa.array([_spell_number(v) for v in numbers.to_pylist()], pa.string())])
    return column.cast(pa.string())


def _spell_number(value: float | None) -> str | None:
    if value is None or value != value:
        return None
    return str(int(value)) if abs(value) < 2**53 and value == int(value) else repr(value)
