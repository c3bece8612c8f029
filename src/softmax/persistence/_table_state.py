"""Whether a model of tables from a file is one that a fit can have left: its encoding, its labels and its record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from softmax._errors import ModelFileError

STATE = {"target", "encoder", "labels", "classifier", "record"}
LABEL_KINDS = ("int", "bool", "text")
# Parts of a record that hold values by name, where they are there.
RECORDS = ("settings", "certificate", "held_out", "held_out_certificate", "class_sizes", "versions")


def check_table_model(model: Any, state: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Raise ModelFileError, with what is wrong, unless a rebuilt model and the state that it came from are in order."""
    wrong = (
        _state_fault(state, arrays)
        or _encoder_fault(model.encoder.features, arrays)
        or _labels_fault(model)
        or _record_fault(model.record)
    )
    if wrong:
        raise ModelFileError(f"the saved table model is damaged: {wrong}.")


def _state_fault(state: Mapping[str, Any], arrays: Mapping[str, Any]) -> str:
    if surplus := sorted(set(state) - STATE):
        return f"it holds the unknown {surplus}"
    known = ("class_counts", "encoder.mean", "encoder.scale")
    if surplus := sorted(name for name in arrays if name not in known and not name.startswith("classifier.")):
        return f"it holds the unknown arrays {surplus}"
    return ""


def _encoder_fault(features: Sequence[Any], arrays: Mapping[str, Any]) -> str:
    numbers = [feature for feature in features if feature.kind == "number"]
    for name in ("encoder.mean", "encoder.scale"):
        if arrays[name].shape != (len(numbers),) or arrays[name].dtype.kind != "f":
            return f"{name} should be a number for each of {len(numbers)} numeric columns"
    for feature in numbers:
        if not math.isfinite(feature.mean) or not 0 < feature.scale < math.inf:
            return f"column {feature.name!r} has mean {feature.mean} and scale {feature.scale}"
    if twice := _twice([feature.name for feature in features]):
        return f"two columns are called {twice!r}"
    for feature in features:
        if feature.kind != "number" and (twice := _twice(feature.categories)):
            return f"column {feature.name!r} has the category {twice!r} twice"
    return ""


def _labels_fault(model: Any) -> str:
    if model.labels.kind not in LABEL_KINDS:
        return f"labels of the unknown kind {model.labels.kind!r}"
    if len(set(model.labels.values)) < len(model.labels.values):
        return "a class stands in it twice"
    counts = model.class_counts
    if counts.dtype.kind not in "iu" or np.any(counts < 0):
        return "the rows per class should be whole numbers ≥ 0"
    return ""


def _record_fault(record: Any) -> str:
    parts = [record, *(record.get(name) or {} for name in RECORDS)] if isinstance(record, Mapping) else [record]
    return "" if all(isinstance(part, Mapping) for part in parts) else "its record is not one that a fit leaves"


def _twice(names: Sequence[str]) -> str | None:
    """The first name that has stood before, or None."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
