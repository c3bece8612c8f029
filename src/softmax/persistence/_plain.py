"""A model as plain JSON: coefficients, labels, and what turns a row of a table into the numbers they belong to."""

from __future__ import annotations

import json
from typing import Any

from ._describe import Description, describe, finite

FORMAT, VERSION = "softmax-coefficients", 1


def to_json(model: Any) -> str:
    """Return a fitted model as JSON text, for programs that compute softmax(W x + b) themselves.

    The keys are those of `plain`. Numbers have all their digits; nan and infinities are null. Labels that JSON does not
    know are text, as Python shows them.

    Raises
    ------
    TypeError
        If the model is of another class.
    """
    return json.dumps(plain(describe(model, "softmax export")), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def plain(described: Description) -> dict[str, Any]:
    """What `to_json` writes.

    Probabilities of a row x of features are softmax((coefficients · x + intercepts) / temperature), in the order of
    `classes`. `columns` of a model of tables say how x comes about, in order: a number becomes (value − mean) / scale,
    0 where missing, followed, with `missing`, by 1 where it is missing and 0 elsewhere; a category or boolean becomes
    one 0/1 number per category, followed, with `missing`, by one for missing.

    Of a network x goes through the `hidden` layers first: each is activation(coefficients · x + intercepts).
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "kind": described.kind,
        "target": described.target,
        "classes": described.classes,
        "features": described.features,
        "hidden": [{"coefficients": layer.coef, "intercepts": layer.intercept} for layer in described.hidden],
        "activation": described.activation,
        "coefficients": described.coef,
        "intercepts": described.intercept,
        "temperature": described.temperature,
        "missing": described.missing,
        "columns": None if described.columns is None else [column_entry(column) for column in described.columns],
        "class_sizes": described.sizes,
        "calibration": dict(described.calibration) or None,
        "certificate": described.certificate,
        "parameters": described.params,
        "versions": described.versions,
    }
    if described.activation is None:
        del content["hidden"], content["activation"]
    return {key: finite(value) for key, value in content.items()}


def column_entry(column: Any) -> dict[str, Any]:
    """How a column of a table is encoded."""
    entry: dict[str, Any] = {"name": column.name, "kind": column.kind}
    if column.kind == "number":
        entry |= {"mean": column.mean, "scale": column.scale}
    else:
        entry["categories"] = list(column.categories)
    return entry | {"missing": column.missing}
