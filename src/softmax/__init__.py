"""The softmax function, its derivatives and the classifiers built on it, with a stated error bound."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._errors import (
    ArrayTypeError,
    ArrayValueError,
    AxisError,
    DataError,
    MissingExtraError,
    ModelFileError,
    NotCertifiedWarning,
    NotesError,
    OptionError,
    SoftmaxError,
    SoftmaxWarning,
    TargetError,
)

if TYPE_CHECKING:
    from . import nn as nn
    from ._derivative import (
        log_softmax_jacobian,
        log_softmax_jvp,
        log_softmax_vjp,
        logsumexp_hessian,
        softmax_jacobian,
        softmax_jvp,
        softmax_vjp,
    )
    from ._evaluation import reliability_table
    from ._function import log_softmax, logsumexp, softmax
    from ._introspection import explain_dispatch, show_config
    from ._jacobian import SoftmaxJacobian
    from ._linear import linear_cross_entropy, linear_cross_entropy_and_grad
    from ._losses import cross_entropy, cross_entropy_and_grad, cross_entropy_hvp, entropy, kl_divergence
    from .persistence import load, model_card, save, to_onnx
    from .regression import SoftmaxRegression, SoftmaxRegressionCV, softmax_path
    from .report import write_report

# Loaded on first use: importing softmax costs nothing, its functions NumPy, and its classifiers scikit-learn and SciPy.
_LAZY = {
    "SoftmaxJacobian": "_jacobian",
    "SoftmaxRegression": "regression",
    "SoftmaxRegressionCV": "regression",
    "cross_entropy": "_losses",
    "cross_entropy_and_grad": "_losses",
    "cross_entropy_hvp": "_losses",
    "entropy": "_losses",
    "explain_dispatch": "_introspection",
    "kl_divergence": "_losses",
    "linear_cross_entropy": "_linear",
    "linear_cross_entropy_and_grad": "_linear",
    "load": "persistence",
    "log_softmax": "_function",
    "log_softmax_jacobian": "_derivative",
    "log_softmax_jvp": "_derivative",
    "log_softmax_vjp": "_derivative",
    "logsumexp": "_function",
    "logsumexp_hessian": "_derivative",
    "model_card": "persistence",
    "reliability_table": "_evaluation",
    "save": "persistence",
    "show_config": "_introspection",
    "softmax": "_function",
    "softmax_jacobian": "_derivative",
    "softmax_jvp": "_derivative",
    "softmax_path": "regression",
    "softmax_vjp": "_derivative",
    "to_onnx": "persistence",
    "write_report": "report",
}

__all__ = [
    "ArrayTypeError",
    "ArrayValueError",
    "AxisError",
    "DataError",
    "MissingExtraError",
    "ModelFileError",
    "NotCertifiedWarning",
    "NotesError",
    "OptionError",
    "SoftmaxError",
    "SoftmaxJacobian",
    "SoftmaxRegression",
    "SoftmaxRegressionCV",
    "SoftmaxWarning",
    "TargetError",
    "cross_entropy",
    "cross_entropy_and_grad",
    "cross_entropy_hvp",
    "entropy",
    "explain_dispatch",
    "kl_divergence",
    "linear_cross_entropy",
    "linear_cross_entropy_and_grad",
    "load",
    "log_softmax",
    "log_softmax_jacobian",
    "log_softmax_jvp",
    "log_softmax_vjp",
    "logsumexp",
    "logsumexp_hessian",
    "model_card",
    "reliability_table",
    "save",
    "show_config",
    "softmax",
    "softmax_jacobian",
    "softmax_jvp",
    "softmax_path",
    "softmax_vjp",
    "to_onnx",
    "write_report",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "nn":  # a module, which sets itself as an attribute
        return importlib.import_module(".nn", __name__)
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "nn"})
