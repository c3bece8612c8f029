"""The softmax function, its derivatives and the classifiers built on it, with a stated error bound."""

from __future__ import annotations

import importlib
from typing import Any

from ._derivative import (
    log_softmax_jacobian,
    log_softmax_jvp,
    log_softmax_vjp,
    logsumexp_hessian,
    softmax_jacobian,
    softmax_jvp,
    softmax_vjp,
)
from ._errors import (
    ArrayTypeError,
    ArrayValueError,
    AxisError,
    DataError,
    MissingExtraError,
    ModelFileError,
    NotCertifiedWarning,
    OptionError,
    SoftmaxError,
    SoftmaxWarning,
    TargetError,
)
from ._function import log_softmax, logsumexp, softmax
from ._jacobian import SoftmaxJacobian
from ._losses import cross_entropy, cross_entropy_and_grad, cross_entropy_hvp, entropy, kl_divergence

# Loaded on first use, so that `import softmax` costs no more than NumPy.
_LAZY = {
    "SoftmaxRegression": "softmax.regression",
    "SoftmaxRegressionCV": "softmax.regression",
    "explain_dispatch": "softmax._introspection",
    "load": "softmax.persistence",
    "model_card": "softmax.persistence",
    "reliability_table": "softmax._evaluation",
    "save": "softmax.persistence",
    "show_config": "softmax._introspection",
    "softmax_path": "softmax.regression",
    "to_onnx": "softmax.persistence",
    "write_report": "softmax.report",
}

__all__ = [
    "ArrayTypeError",
    "ArrayValueError",
    "AxisError",
    "DataError",
    "MissingExtraError",
    "ModelFileError",
    "NotCertifiedWarning",
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
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
