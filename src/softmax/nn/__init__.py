"""PyTorch modules of the output layer, and a neural network as a scikit-learn classifier.

Parts: `_modules` (thin over the public functions), `_classifier` (options, attributes, scikit-learn's conventions),
`_network` (the function that a fit leaves, in NumPy), `_training` (the way there, in PyTorch), `_state` (to a file and
back). Each name is loaded on first use; modules need PyTorch, and of the classifier only its fit does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from softmax._errors import MissingExtraError

if TYPE_CHECKING:
    from ._classifier import NeuralSoftmaxClassifier
    from ._modules import CrossEntropyLoss, LinearCrossEntropy, SoftmaxOutput, TopK

_LAZY = {
    "CrossEntropyLoss": "_modules",
    "LinearCrossEntropy": "_modules",
    "NeuralSoftmaxClassifier": "_classifier",
    "SoftmaxOutput": "_modules",
    "TopK": "_modules",
}

__all__ = ["CrossEntropyLoss", "LinearCrossEntropy", "NeuralSoftmaxClassifier", "SoftmaxOutput", "TopK"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtraError.for_extra(f"softmax.nn.{name}", "torch", "torch") from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
