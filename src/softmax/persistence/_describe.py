"""A fitted model in plain values, the same for every kind: what the exports, the model card and `softmax info` tell.

A kind of model is known here by a function in `DESCRIBERS`, under the name that its own state gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from ._save import content_of

Floats = npt.NDArray[np.float64]

# Why the fit of a network ended, by its status.
ENDINGS = {
    "no progress": "where further epochs brought no progress on its rows",
    "early stopping": "where further epochs brought no progress on rows held out of it",
    "converged": "where the gradient was nearly 0",
    "max_epochs": "at its largest number of epochs",
    "interrupted": "because it was interrupted, with the best weights so far",
    "diverged": "because the loss was no longer finite, with the best weights so far",
    "partial_fit": "when no more rows came: they were given in parts",
}

CERTIFICATE = ("status", "objective", "gap", "grad_norm", "condition", "penalty", "n_iter", "n_passes")


@dataclass(frozen=True)
class Column:
    """How a column of a table becomes features.

    `kind` is "number", "category" or "bool". Of a number: (x − mean) / scale, 0 where missing, and a 0/1 feature for
    missing with `missing`. Of the others: a 0/1 feature per category, and one for missing with `missing`.
    """

    name: str
    kind: str
    mean: float = 0.0
    scale: float = 1.0
    categories: tuple[str, ...] = ()
    missing: bool = False

    @property
    def width(self) -> int:
        """The number of features it becomes."""
        return (1 if self.kind == "number" else len(self.categories)) + self.missing


@dataclass(frozen=True, eq=False)
class Layer:
    """Weights (width, width before) and intercepts (width,) of a layer of a network."""

    coef: Floats
    intercept: Floats


@dataclass(frozen=True)
class Description:
    """A fitted model.

    `classes (K,)` in the order of `coef (K, d)` and `intercept (K,)`. `features` are d names, made up if not `named`.
    Of a network these two are the last layer, `hidden` those before it, and `activation` what stands between; of others
    `activation` is None.
    `changed` are the names of the parameters that are not at their defaults. `columns`, `missing` (the policy) and
    `target` are those of a model of tables, else None. `sizes` are rows per class of the fit, where they are known.
    `record` is what a model of tables knows of its making, `calibration` what `calibrate` found, if it was called.
    """

    kind: str
    classes: npt.NDArray[Any]
    features: list[str]
    named: bool
    coef: Floats
    intercept: Floats
    temperature: float
    certificate: dict[str, Any]
    params: dict[str, Any]
    changed: list[str]
    versions: dict[str, str]
    target: str | None = None
    columns: list[Column] | None = None
    missing: str | None = None
    sizes: list[int] | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    hidden: tuple[Layer, ...] = ()
    activation: str | None = None

    @property
    def layers(self) -> list[Layer]:
        """All layers, the last one too."""
        return [*self.hidden, Layer(self.coef, self.intercept)]

    @property
    def names(self) -> list[str]:
        """The classes as text."""
        return [label_text(label) for label in self.classes.tolist()]


def describe(model: Any, asker: str) -> Description:
    """Describe a fitted model; `asker` is for the messages.

    Raises
    ------
    TypeError
        If it is no model of ours.
    ModelFileError
        If it is damaged.
    """
    content = content_of(model, asker)
    return DESCRIBERS[content.kind](model, content.kind, content.versions)


def _of_classifier(model: Any, kind: str, versions: dict[str, str]) -> Description:
    d = model.n_features_in_
    named = hasattr(model, "feature_names_in_")
    hidden: tuple[Layer, ...] = ()
    activation = None
    if hasattr(model, "coefs_"):
        pairs = zip(model.coefs_, model.intercepts_, strict=True)
        *hidden_layers, last = (Layer(c.T.astype(np.float64), b.astype(np.float64)) for c, b in pairs)
        hidden, activation = tuple(hidden_layers), model.activation
    else:
        last = Layer(model.coef_, model.intercept_)
    certificate = {name: _plain(getattr(model, f"{name}_", None)) for name in CERTIFICATE}
    tol, calibration = model.tol, getattr(model, "calibration_", None)
    params, defaults = model.get_params(deep=False), type(model)().get_params(deep=False)
    return Description(
        kind=kind,
        classes=model.classes_,
        features=[str(name) for name in model.feature_names_in_] if named else [f"x{j}" for j in range(d)],
        named=named,
        coef=last.coef,
        intercept=last.intercept,
        temperature=float(getattr(model, "temperature_", 1.0)),
        certificate=certificate | {"tol": _plain(tol) if isinstance(tol, Real) else None},
        params=params,
        changed=[name for name, value in params.items() if repr(value) != repr(defaults[name])],
        versions=versions,
        calibration=calibration if isinstance(calibration, Mapping) else {},
        hidden=hidden,
        activation=activation,
    )


def _of_table(model: Any, kind: str, versions: dict[str, str]) -> Description:
    inner = _of_classifier(model.classifier, kind, versions)
    columns = [
        Column(f.name, "number", mean=f.mean, scale=f.scale, missing=f.indicator)
        if f.kind == "number"
        else Column(f.name, f.kind, categories=f.categories, missing=f.missing)
        for f in model.encoder.features
    ]
    return replace(
        inner,
        classes=model.classes_,
        features=list(model.encoder.feature_names),
        named=True,
        target=model.target,
        columns=columns,
        missing=model.encoder.missing,
        sizes=[int(size) for size in model.class_counts],
        record=model.record,
    )


DESCRIBERS: dict[str, Callable[[Any, str, dict[str, str]], Description]] = {
    "SoftmaxRegression": _of_classifier,
    "SoftmaxRegressionCV": _of_classifier,
    "NeuralSoftmaxClassifier": _of_classifier,
    "TableModel": _of_table,
}


def meaning(certificate: Mapping[str, Any]) -> str:
    """What a certificate says, in one sentence; of a network, that there is none."""
    if (ending := ENDINGS.get(certificate["status"])) is not None:
        return f"The fit ended {ending}. Nothing bounds how far a network is from its optimum: there is no certificate."
    objective, gap, tol = certificate["objective"], certificate["gap"], certificate["tol"]
    within = f"{gap:.2g} nats"
    if objective and math.isfinite(gap / objective):
        within += f" ({gap / objective:.1g} of the objective)"
    match certificate["status"]:
        case "certified":
            return (
                "No other coefficients can make the objective on the training data smaller by more than "
                f"{within}; this is proven, not estimated."
            )
        case "estimated":
            return (
                f"The objective is within {within} of its lowest value by an estimate, not by a proof: for features "
                "without a penalty there is none."
            )
        case "separated":
            return (
                "Some direction separates classes of the training data without error, so that no finite optimum exists "
                "and the coefficients are one point on the way to infinity."
            )
    if not math.isfinite(gap):
        return "The fit stopped early, and nothing is known of its distance from the optimum."
    asked = "" if tol is None else f"; asked for was {tol:g} of the objective"
    return f"The fit stopped early: its objective may be {within} above the lowest{asked}."


def label_text(label: Any) -> str:
    """A class label as text for people."""
    return label if isinstance(label, str) else str(label)


def finite(value: Any) -> Any:
    """Plain values for JSON: nan and infinities, which it does not know, become None; arrays become lists."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {label_text(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
