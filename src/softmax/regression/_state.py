"""A fitted estimator as plain values and arrays, for `softmax.save`, and back.

Everything public that a fit leaves (names that end in "_") goes to the file. What comes back from one is checked: the
attributes in `CHECKS` for what they should be, every other for being no name that the class itself defines.
"""

import importlib
import re
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from softmax._errors import ModelFileError

Arrays = Mapping[str, npt.NDArray[Any]]

# Estimators that a file may hold; of a subclass the base is saved.
KINDS = ("SoftmaxRegression", "SoftmaxRegressionCV")
# Arrays that every estimator has, under names that other readers of the file can guess.
NAMED = {"coef_": "coef", "intercept_": "intercept", "classes_": "classes", "feature_names_in_": "feature_names"}
# Parameters that may be objects or functions and that no prediction depends on; such values are left out.
OPAQUE = ("cv", "scoring", "random_state")
ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9_]*_")
# What older files say nothing of, and those of version 1 besides.
LATER: dict[str, Any] = {"condition_": None}
DEFAULTS: dict[str, Any] = {"temperature_": 1.0, "penalty_": float("nan"), "separating_direction_": None}


def _finite(value: Any, shape: tuple[int, ...]) -> bool:
    array = isinstance(value, np.ndarray) and value.dtype == np.float64 and value.shape == shape
    return array and bool(np.isfinite(value).all())


def _number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _count(value: Any) -> bool:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    return (whole and int(value) >= 0) or (isinstance(value, np.ndarray) and value.dtype.kind in "iu")


# For each attribute: whether a value can be one of a model of K classes and d features, and what it should be.
CHECKS: dict[str, tuple[Callable[[Any, int, int], bool], str]] = {
    "coef_": (lambda v, K, d: _finite(v, (K, d)), "finite float64 numbers, one row per class"),
    "intercept_": (lambda v, K, d: _finite(v, (K,)), "finite float64 numbers, one per class"),
    "classes_": (lambda v, K, d: v.ndim == 1 and K >= 2 and _distinct(v), "two or more different labels"),
    "feature_names_in_": (
        lambda v, K, d: isinstance(v, np.ndarray) and v.shape == (d,) and all(isinstance(name, str) for name in v),
        "text, one per feature",
    ),
    "objective_": (lambda v, K, d: _number(v), "a number"),
    "gap_": (lambda v, K, d: _number(v) and not v < 0, "a number ≥ 0"),
    "grad_norm_": (lambda v, K, d: _number(v) and not v < 0, "a number ≥ 0"),
    "penalty_": (lambda v, K, d: _number(v) and not v < 0, "a number ≥ 0"),
    "temperature_": (lambda v, K, d: _number(v) and 0 < v < np.inf, "a finite number > 0"),
    "status_": (lambda v, K, d: isinstance(v, str), "text"),
    "condition_": (lambda v, K, d: v is None or (_number(v) and v >= 1), "None, or a number ≥ 1"),
    "n_iter_": (lambda v, K, d: _count(v), "a whole number ≥ 0"),
    "n_passes_": (lambda v, K, d: _number(v) and v >= 0, "a number ≥ 0"),
    "history_": (lambda v, K, d: isinstance(v, list) and all(isinstance(r, dict) for r in v), "a list of records"),
    "separating_direction_": (lambda v, K, d: v is None or _finite(v, (K, d + 1)), "None, or finite, (K, d + 1)"),
}
# Every fit leaves these, in every version.
NEEDED = ("objective_", "gap_", "grad_norm_", "status_", "n_iter_", "n_passes_", "history_")


def state_of(model: Any) -> tuple[str, dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """What `softmax.save` writes: a kind, a header of plain Python values and arrays, and the arrays in `NAMED`."""
    check_is_fitted(model)
    kind = next((base.__name__ for base in type(model).__mro__ if base.__name__ in KINDS), type(model).__name__)
    params, left_out = {}, {}
    for name, value in model.get_params(deep=False).items():
        if name in OPAQUE and not _is_plain(value):
            left_out[name] = repr(value)
        else:
            params[name] = np.asarray(value) if hasattr(value, "__array__") else value
    fitted = {name: value for name, value in vars(model).items() if ATTRIBUTE.fullmatch(name)}
    fitted.pop("n_features_in_", None)  # the coefficients say it
    arrays = {short: fitted.pop(name) for name, short in NAMED.items() if name in fitted}
    header = {"params": params, "fitted": fitted}
    return kind, header | ({"left_out": left_out} if left_out else {}), arrays


def restored(kind: Any, header: Mapping[str, Any], arrays: Arrays) -> Any:
    """The fitted estimator of a kind that `state_of` gave.

    Raises
    ------
    ModelFileError
        If there is no such kind, or the state is not one that `state_of` could have returned.
    """
    found = getattr(importlib.import_module("softmax.regression"), kind, None) if kind in KINDS else None
    if found is None:
        raise ModelFileError(f"the saved classifier is of the unknown kind {kind!r}.")
    return found.from_state(header, arrays)


def restore(model: Any, header: Mapping[str, Any], arrays: Arrays) -> None:
    """Give a new estimator what `state_of` said of a fitted one.

    Raises
    ------
    ModelFileError
        If the state is not one that `state_of` could have returned.
    """
    kind = type(model).__name__
    try:
        params, fitted = _unpacked(header, arrays)
        if unknown := sorted(set(params) - set(model.get_params(deep=False))):
            raise ValueError(f"the unknown parameters {', '.join(unknown)}")
        for name in fitted:
            if name not in CHECKS and (not ATTRIBUTE.fullmatch(name) or hasattr(type(model), name)):
                raise ValueError(f"the name {name!r}, which no fit leaves")
        _check(fitted)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ModelFileError(f"the saved {kind} is damaged: {what}.") from None
    vars(model).update(params)
    vars(model).update(fitted, n_features_in_=fitted["coef_"].shape[1])


def _unpacked(header: Mapping[str, Any], arrays: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and fitted attributes of a state of any version."""
    header, arrays = dict(header), dict(arrays)
    params = dict(header.pop("params"))
    header.pop("left_out", None)
    if "certificate" in header:
        fitted = DEFAULTS | {f"{name}_": value for name, value in header.pop("certificate").items()}
    else:
        fitted = dict(header.pop("fitted"))
    fitted = LATER | fitted
    for name, short in NAMED.items():
        if short in arrays or name != "feature_names_in_":
            fitted[name] = arrays.pop(short)
    if missing := [name for name in NEEDED if name not in fitted]:
        raise KeyError(*missing)
    if surplus := [*header, *arrays]:
        raise ValueError(f"it holds the unknown {', '.join(map(repr, sorted(surplus)))}")
    return params, fitted


def _check(fitted: Mapping[str, Any]) -> None:
    n_classes, d = len(fitted["classes_"]), fitted["coef_"].shape[1]
    for name, value in fitted.items():
        fits, wanted = CHECKS.get(name, (None, ""))
        if fits is not None and not fits(value, n_classes, d):
            shape = f" of shape {value.shape}" if isinstance(value, np.ndarray) else ""
            raise ValueError(
                f"{name} should be {wanted}, and is {type(value).__name__}{shape}; there are {n_classes} classes and "
                f"{d} features"
            )


def _distinct(labels: npt.NDArray[Any]) -> bool:
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        return False
    return len(set(labels.tolist())) == len(labels)


def _is_plain(value: Any) -> bool:
    """Whether a file can hold a parameter as it is."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufmMUS"
    return value is None or isinstance(value, bool | int | float | str | bytes | np.generic)
