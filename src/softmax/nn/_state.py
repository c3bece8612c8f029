"""A fitted network as plain values and arrays, for `softmax.save`, and back: what no fit leaves is refused."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from softmax._errors import ModelFileError

from ._network import ACTIVATIONS

Arrays = Mapping[str, npt.NDArray[Any]]

KIND = "NeuralSoftmaxClassifier"
# Plain values that every fit leaves.
FITTED = ("n_iter_", "objective_", "penalty_", "validation_loss_", "status_", "temperature_", "history_")
STATUS = ("no progress", "early stopping", "converged", "max_epochs", "interrupted", "diverged", "partial_fit")


def state_of(model: Any) -> tuple[str, dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """What `softmax.save` writes: a kind, a header of plain Python values, and arrays."""
    check_is_fitted(model)
    params = dict(model.get_params(deep=False))
    params["hidden_layer_sizes"] = [int(size) for size in params["hidden_layer_sizes"]]
    left_out = {}
    if not isinstance(params["random_state"], Integral | None):
        left_out["random_state"] = repr(params.pop("random_state"))
    fitted = {name: getattr(model, name) for name in FITTED}
    if hasattr(model, "calibration_"):
        fitted["calibration_"] = model.calibration_
    header = {"params": params, "fitted": fitted}
    arrays = {"classes": model.classes_}
    if hasattr(model, "feature_names_in_"):
        arrays["feature_names"] = model.feature_names_in_
    for i, (coef, intercept) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        arrays |= {f"layers.{i}.coef": coef, f"layers.{i}.intercept": intercept}
    return KIND, header | ({"left_out": left_out} if left_out else {}), arrays


def restore(model: Any, header: Mapping[str, Any], arrays: Arrays) -> None:
    """Give a new estimator what `state_of` said of a fitted one.

    Raises
    ------
    ModelFileError
        If the state is not one that `state_of` could have returned.
    """
    try:
        params, fitted = _unpacked(model, header, arrays)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ModelFileError(f"the saved {KIND} is damaged: {what}.") from None
    vars(model).update(params)
    vars(model).update(fitted)


def _unpacked(model: Any, header: Mapping[str, Any], arrays: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and fitted attributes, checked."""
    header, arrays = dict(header), dict(arrays)
    params, fitted = dict(header.pop("params")), dict(header.pop("fitted"))
    header.pop("left_out", None)
    if unknown := sorted(set(params) - set(model.get_params(deep=False))):
        raise ValueError(f"the unknown parameters {', '.join(unknown)}")
    if set(fitted) - {"calibration_"} != set(FITTED):
        raise ValueError(f"it should hold {', '.join(FITTED)}, and holds {', '.join(sorted(fitted))}")
    params["hidden_layer_sizes"] = tuple(params["hidden_layer_sizes"])
    n_layers = len(params["hidden_layer_sizes"]) + 1
    coefs = [arrays.pop(f"layers.{i}.coef") for i in range(n_layers)]
    intercepts = [arrays.pop(f"layers.{i}.intercept") for i in range(n_layers)]
    classes, names = arrays.pop("classes"), arrays.pop("feature_names", None)
    if surplus := [*header, *arrays]:
        raise ValueError(f"it holds the unknown {', '.join(map(repr, sorted(surplus)))}")
    _check_values(params, fitted)
    _check_layers(params, coefs, intercepts, classes, names)
    fitted |= {"coefs_": coefs, "intercepts_": intercepts, "classes_": classes, "n_features_in_": coefs[0].shape[0]}
    return params, fitted if names is None else fitted | {"feature_names_in_": names}


def _check_values(params: Mapping[str, Any], fitted: Mapping[str, Any]) -> None:
    if params["activation"] not in ACTIVATIONS:
        raise ValueError(f"the unknown activation {params['activation']!r}")
    if fitted["status_"] not in STATUS:
        raise ValueError(f"the unknown status {fitted['status_']!r}")
    for name in ("objective_", "penalty_"):
        if not _is_number(fitted[name]):
            raise ValueError(f"{name} should be a number, and is {fitted[name]!r}")
    if not (fitted["validation_loss_"] is None or _is_number(fitted["validation_loss_"])):
        raise ValueError("validation_loss_ should be None or a number")
    if not _is_number(fitted["temperature_"]) or not 0 < fitted["temperature_"] < np.inf:
        raise ValueError("temperature_ should be a finite number > 0")
    if isinstance(fitted["n_iter_"], bool) or not isinstance(fitted["n_iter_"], Integral) or fitted["n_iter_"] < 0:
        raise ValueError("n_iter_ should be a whole number ≥ 0")
    if not isinstance(fitted.get("calibration_", {}), dict):
        raise ValueError("calibration_ should be a record")
    if not isinstance(fitted["history_"], list) or not all(isinstance(r, dict) for r in fitted["history_"]):
        raise ValueError("history_ should be a list of records")


def _check_layers(params: Mapping[str, Any], coefs: Any, intercepts: Any, classes: Any, names: Any) -> None:
    labels = classes.tolist()
    if classes.ndim != 1 or len(labels) < 2 or len(set(labels)) < len(labels):
        raise ValueError("classes should be two or more different labels")
    widths = [coefs[0].shape[0], *params["hidden_layer_sizes"], len(labels)]
    for i, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
        for array, shape in ((coef, (widths[i], widths[i + 1])), (intercept, (widths[i + 1],))):
            if array.dtype.name != params["dtype"] or array.shape != shape:
                what = f"should hold {params['dtype']} of shape {shape}, and holds {array.dtype} of {array.shape}"
                raise ValueError(f"layer {i} {what}")
            if not np.isfinite(array).all():
                raise ValueError(f"layer {i} holds numbers that are not finite")
    if names is not None and (names.shape != (widths[0],) or not all(isinstance(name, str) for name in names)):
        raise ValueError("feature names should be text, one per feature")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
