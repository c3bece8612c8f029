"""From a table's feature columns to a matrix, remembered for the tables that come later."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from softmax._errors import DataError, ModelFileError, OptionError

from ._features import FeaturePlan, missing_counts, missing_message, refuse_infinite
from ._table import FloatArray, IntArray, Table, TextColumn, counted, listing, plural, suggest

POLICIES = ("error", "mean", "indicator", "drop")


@dataclass(frozen=True)
class NumberFeature:
    """A numeric column: (x − mean) / scale, where a missing value becomes 0; `indicator` adds a 0/1 column for that."""

    name: str
    mean: float
    scale: float
    indicator: bool
    kind = "number"

    @property
    def outputs(self) -> list[str]:
        return [self.name, f"{self.name} is missing"] if self.indicator else [self.name]


@dataclass(frozen=True)
class CategoryFeature:
    """A text or bool column: a 0/1 column per category, and one for "missing" if `missing`."""

    name: str
    categories: tuple[str, ...]
    missing: bool
    is_bool: bool

    @property
    def kind(self) -> str:
        return "bool" if self.is_bool else "category"

    @property
    def outputs(self) -> list[str]:
        return [f"{self.name}={c}" for c in self.categories] + ([f"{self.name} is missing"] if self.missing else [])


@dataclass
class Encoded:
    """Features of a table: `X (m, d)` float64, the `rows (m,)` of the table they come from, and notes for the user."""

    X: FloatArray
    rows: IntArray
    notes: list[str] = field(default_factory=list)


class TableEncoder:
    """Turns columns into features as it learnt to from the table it was fitted on.

    Numeric columns are standardised with the mean and the (population) standard deviation of their known values; a
    constant column keeps scale 1 and so becomes 0. Text and bool columns become one 0/1 column per category, sorted;
    a category that was not there when fitting is all zeros, and counted in a note.

    Parameters
    ----------
    missing
        What to do with a missing value. "error": refuse. "mean": a number becomes the mean of its column, a category
        one of its own, "missing". "indicator": the same, and a numeric column with missing values gets a second
        column that is 1 where it was missing. "drop": leave the row out.

    Attributes
    ----------
    features
        The `NumberFeature` and `CategoryFeature` of the columns, in the order of the table.
    feature_names
        Names of the d columns of X, such as ``age``, ``city=Oslo``, ``city is missing``.
    """

    def __init__(self, missing: str = "error") -> None:
        if missing not in POLICIES:
            raise OptionError(f"missing must be one of {', '.join(POLICIES)}, got {missing!r}.")
        self.missing = missing
        self.features: list[NumberFeature | CategoryFeature] = []

    @property
    def feature_names(self) -> list[str]:
        return [name for feature in self.features for name in feature.outputs]

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each column, as `plan_features` gives it."""
        return {feature.name: feature.kind for feature in self.features}

    def fit(self, table: Table, plan: FeaturePlan, rows: IntArray | None = None) -> Self:
        """Learn means, scales and categories from the given rows (default: all)."""
        rows = np.arange(table.n_rows) if rows is None else np.asarray(rows)
        if self.missing == "drop":
            rows = rows[complete_rows(table, plan)[rows]]
        if not len(rows):
            raise DataError(f"{table.source} has no row without a missing value. Choose --missing mean or indicator.")
        self.features = [
            self._fit_number(table, name, rows) if kind == "number" else self._fit_category(table, name, kind, rows)
            for name, kind in plan.kinds.items()
        ]
        return self

    def _fit_number(self, table: Table, name: str, rows: IntArray) -> NumberFeature:
        values = table.numbers(name)[rows]
        known = values[~np.isnan(values)]
        mean, scale = _mean_and_scale(known)
        return NumberFeature(name, mean, scale, indicator=self.missing == "indicator" and len(known) < len(values))

    def _fit_category(self, table: Table, name: str, kind: str, rows: IntArray) -> CategoryFeature:
        column = table.texts(name)
        codes = column.codes[rows]
        present = np.unique(codes[codes >= 0])
        levels = column.levels.take(pa.array(present)).to_pylist()
        if kind == "bool":
            levels = sorted({_as_bool(level) for level in levels})
        return CategoryFeature(name, tuple(levels), bool(np.any(codes < 0)), kind == "bool")

    def transform(self, table: Table, rows: IntArray | None = None, *, missing: str | None = None) -> Encoded:
        """Encode the given rows (default: all) of a table that has the columns of the first one, in any order.

        Parameters
        ----------
        table, rows
            The rows to encode; columns that were not there when fitting are left aside.
        missing
            "error", "mean" or "drop" instead of the policy of the fit.

        Raises
        ------
        DataError
            If a column is not there, changed its type, holds infinities, or has missing values under "error".
        """
        policy = self.missing if missing is None else missing
        rows = np.arange(table.n_rows) if rows is None else np.asarray(rows)
        self._check_columns(table)
        notes: list[str] = []
        counts = missing_counts(table, self.kinds, rows)
        if counts and policy == "error":
            raise DataError(missing_message(table, counts, "predict"))
        if counts and policy == "drop":
            kept = rows[complete_rows(table, FeaturePlan(self.kinds))[rows]]
            notes.append(f"left out {plural(len(rows) - len(kept), 'row')} with missing values in {counted(counts)}")
            rows = kept
        elif counts:
            notes.append(f"filled in missing values in {counted(counts)}")
        width = len(self.feature_names)
        _check_memory(table, len(rows), self.features)
        X = np.zeros((len(rows), width))
        start = 0
        for feature in self.features:
            block = X[:, start : start + len(feature.outputs)]
            if isinstance(feature, NumberFeature):
                _fill_number(block, feature, table, rows)
            else:
                _fill_category(block, feature, table.texts(feature.name), rows, notes)
            start += len(feature.outputs)
        return Encoded(X, rows, notes)

    def _check_columns(self, table: Table) -> None:
        there = set(table.names)
        absent = [f.name for f in self.features if f.name not in there]
        if absent:
            near = suggest(absent[0], table.names) if len(absent) == 1 else f"Its columns are: {listing(table.names)}."
            number = plural(len(absent), "column")
            raise DataError(f"{table.source} lacks {number} that the model needs: {listing(absent)}. {near}")
        for feature in self.features:
            kind = table.kind(feature.name)
            if isinstance(feature, NumberFeature):
                refuse_infinite(table, feature.name)
            elif not table.text and kind not in ("number", "bool", "text", "empty"):
                raise DataError(
                    f"column {feature.name!r} of {table.source} should hold categories, but it holds {kind}."
                )

    def to_state(self) -> tuple[dict[str, Any], dict[str, FloatArray]]:
        """Return what JSON can hold and, apart, the means and scales, bit for bit."""
        columns: list[dict[str, Any]] = []
        for feature in self.features:
            if isinstance(feature, NumberFeature):
                columns.append({"name": feature.name, "kind": "number", "indicator": feature.indicator})
            else:
                column = {"name": feature.name, "kind": feature.kind, "missing": feature.missing}
                columns.append({**column, "categories": list(feature.categories)})
        numbers = [f for f in self.features if isinstance(f, NumberFeature)]
        arrays = {"mean": np.array([f.mean for f in numbers]), "scale": np.array([f.scale for f in numbers])}
        return {"missing": self.missing, "columns": columns}, arrays

    @classmethod
    def from_state(cls, header: Mapping[str, Any], arrays: Mapping[str, FloatArray]) -> Self:
        """Rebuild an encoder from what `to_state` returned.

        Raises
        ------
        ModelFileError
            If the state is not one that `to_state` could have returned.
        """
        try:
            encoder = cls(header["missing"])
            place = 0
            for column in header["columns"]:
                name, is_bool = str(column["name"]), column["kind"] == "bool"
                if column["kind"] == "number":
                    mean, scale = float(arrays["mean"][place]), float(arrays["scale"][place])
                    encoder.features.append(NumberFeature(name, mean, scale, bool(column["indicator"])))
                    place += 1
                else:
                    categories = tuple(str(c) for c in column["categories"])
                    encoder.features.append(CategoryFeature(name, categories, bool(column["missing"]), is_bool))
        except (OptionError, KeyError, IndexError, TypeError, ValueError) as error:
            raise ModelFileError(f"the saved encoding of the columns is damaged ({error!r}).") from None
        return encoder


def complete_rows(table: Table, plan: FeaturePlan) -> npt.NDArray[np.bool_]:
    """Return a mask of the rows that miss no value in any feature column."""
    mask = np.ones(table.n_rows, dtype=bool)
    for name, kind in plan.kinds.items():
        mask &= ~np.isnan(table.numbers(name)) if kind == "number" else table.texts(name).codes >= 0
    return mask


def _mean_and_scale(known: FloatArray) -> tuple[float, float]:
    """Mean and population standard deviation, safe from overflow; scale 1 for a constant or empty column."""
    if not len(known):
        return 0.0, 1.0
    if known.min() == known.max():
        return float(known[0]), 1.0
    exponent = int(np.frexp(np.abs(known).max())[1])
    scaled = np.ldexp(known, -exponent)  # exact, so that the digits behind a large offset are kept
    mean = scaled.mean()
    deviation = np.sqrt(np.mean((scaled - mean) ** 2))
    return float(np.ldexp(mean, exponent)), float(np.ldexp(deviation, exponent)) or 1.0


def _fill_number(block: FloatArray, feature: NumberFeature, table: Table, rows: IntArray) -> None:
    values = table.numbers(feature.name)[rows]
    absent = np.isnan(values)
    with np.errstate(over="ignore"):
        block[:, 0] = np.where(absent, 0.0, (values - feature.mean) / feature.scale)
    if feature.indicator:
        block[:, 1] = absent
    if not np.isfinite(block[:, 0]).all():
        worst = int(np.flatnonzero(~np.isfinite(block[:, 0]))[0])
        raise DataError(
            f"column {feature.name!r} of {table.source} holds {values[worst]:g} in row {rows[worst] + 1}, "
            f"too far from what the model saw (mean {feature.mean:g}, standard deviation {feature.scale:g})."
        )


def _fill_category(
    block: FloatArray, feature: CategoryFeature, column: TextColumn, rows: IntArray, notes: list[str]
) -> None:
    codes = column.codes[rows]
    levels = column.levels.to_pylist()
    place = {category: i for i, category in enumerate(feature.categories)}
    known = np.array([place.get(_as_bool(v) if feature.is_bool else v, -1) for v in levels] + [-1])
    target = known[codes]  # a missing value, code -1, reads the last entry
    if feature.missing:
        target = np.where(codes < 0, len(feature.categories), target)
    hit = np.flatnonzero(target >= 0)
    block[hit, target[hit]] = 1.0
    unseen = codes[(target < 0) & (codes >= 0)]
    if len(unseen):
        counts = np.bincount(unseen, minlength=len(levels))
        order = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]
        worst = counted({levels[i]: int(counts[i]) for i in order}, limit=3)
        number = plural(len(unseen), "row")
        notes.append(f"column {feature.name!r} has categories that the model has not seen, in {number}: {worst}")
    absent = int(np.count_nonzero((target < 0) & (codes < 0)))
    if absent:
        number = plural(absent, "row")
        notes.append(
            f"column {feature.name!r} is missing in {number}, which the model has not seen: no category is set"
        )


def _as_bool(level: str) -> str:
    lowered = level.lower()
    return {"0": "false", "1": "true"}.get(lowered, lowered)


def _check_memory(table: Table, rows: int, features: list[NumberFeature | CategoryFeature]) -> None:
    """Refuse a matrix that the machine cannot hold, naming the columns that make it wide."""
    width = sum(len(f.outputs) for f in features)
    need = rows * width * 8
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return
    if need > there:
        widest = sorted(features, key=lambda f: -len(f.outputs))[:3]
        names = ", ".join(f"{f.name!r} ({len(f.outputs):,})" for f in widest)
        raise DataError(
            f"{table.source} becomes a matrix of {rows:,} rows and {width:,} columns, {need / 2**30:.1f} GiB, "
            f"and this machine has {there / 2**30:.1f} GiB. The widest columns are {names}; leave some out with --drop."
        )
