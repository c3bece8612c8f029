"""The softmax function, its derivatives and the classifiers built on it, with a stated error bound."""

from __future__ import annotations

import importlib
from typing import Any

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

# Loaded on first use, so that `import softmax` costs no more than NumPy.
_LAZY = {
    "SoftmaxRegression": "softmax.regression",
    "load": "softmax.persistence",
    "save": "softmax.persistence",
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
    "SoftmaxRegression",
    "SoftmaxWarning",
    "TargetError",
    "load",
    "log_softmax",
    "logsumexp",
    "save",
    "softmax",
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
