"""A fitted estimator as plain values and arrays, for `softmax.save`, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from softmax._errors import ModelFileError

# What SoftmaxRegression keeps of a fit as plain numbers.
CERTIFICATE = ("objective_", "gap_", "grad_norm_", "status_", "n_iter_", "n_passes_", "history_")


def state_of(model: Any) -> tuple[str, dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """What `softmax.save` writes: a kind, a header of plain Python values, and arrays."""
    check_is_fitted(model)
    header = {
        "params": model.get_params(deep=False),
        "certificate": {name.rstrip("_"): getattr(model, name) for name in CERTIFICATE},
    }
    arrays = {"coef": model.coef_, "intercept": model.intercept_, "classes": model.classes_}
    if hasattr(model, "feature_names_in_"):
        arrays["feature_names"] = model.feature_names_in_
    return "SoftmaxRegression", header, arrays


def restore(model: Any, header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Give a new estimator what `state_of` said of a fitted one.

    Raises
    ------
    ModelFileError
        If the state is not one that `state_of` could have returned.
    """
    try:
        model.set_params(**header["params"])
        model.coef_, model.intercept_, model.classes_ = arrays["coef"], arrays["intercept"], arrays["classes"]
        for name in CERTIFICATE:
            setattr(model, name, header["certificate"][name.rstrip("_")])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"the saved SoftmaxRegression is damaged ({error!r}).") from None
    n_classes = len(model.classes_)
    if (
        model.coef_.ndim != 2
        or len(model.coef_) != n_classes
        or model.intercept_.shape != (n_classes,)
        or n_classes < 2
        or not np.isfinite(model.coef_).all()
        or not np.isfinite(model.intercept_).all()
    ):
        raise ModelFileError(
            "the saved SoftmaxRegression is damaged: "
            f"coef {model.coef_.shape}, intercept {model.intercept_.shape} and {n_classes} classes "
            "do not belong together, or are not finite."
        )
    model.n_features_in_ = model.coef_.shape[1]
    if "feature_names" in arrays:
        if arrays["feature_names"].shape != (model.n_features_in_,):
            raise ModelFileError(
                "the saved SoftmaxRegression is damaged: feature names and coefficients differ in number."
            )
        model.feature_names_in_ = arrays["feature_names"]
