"""`save` and `load`: models that describe themselves, to disk and back.

A model can be saved if it has a method ``__softmax_state__() -> (kind, header, arrays)`` and its kind stands in
`KINDS`, with a class whose ``from_state(header, arrays)`` rebuilds it. Loading imports nothing but the classes named
here.
"""

import importlib
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn

from softmax import __version__
from softmax._errors import ModelFileError

from .._files import replace_file
from ._codec import printable
from ._format import Content, read_file, to_bytes
from ._table_state import check_table_model

# kind -> (module, class)
KINDS = {
    "SoftmaxRegression": ("softmax.regression", "SoftmaxRegression"),
    "SoftmaxRegressionCV": ("softmax.regression", "SoftmaxRegressionCV"),
    "NeuralSoftmaxClassifier": ("softmax.nn", "NeuralSoftmaxClassifier"),
    "TableModel": ("softmax._table_model", "TableModel"),
}


def save(model: Any, path: str | os.PathLike[str], *, timestamp: bool = False) -> None:
    """Write a fitted model to one safetensors file.

    The file holds everything that the model has from its fit: parameters, coefficients, labels, names, the certificate,
    the calibration, and the versions of softmax, NumPy, scikit-learn and Python. Equal models give equal bytes.

    The file is written beside its place and then renamed, so that a full disk or an interruption leaves an older file
    of that name whole.

    Parameters
    ----------
    model : SoftmaxRegression, SoftmaxRegressionCV, nn.NeuralSoftmaxClassifier or a fitted model of tables
    path : str or path
        Name of the file; an existing file is replaced.
    timestamp : bool, default False
        Whether the file says when it was written (UTC). Its bytes are then different every second.

    Raises
    ------
    TypeError
        If the model is of another class, or has labels or parameters that a file cannot hold.
    ModelFileError
        If the model is damaged, so that it could not be loaded again: coefficients that are not finite, shapes that
        disagree.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    OSError
        If the file cannot be written.

    Notes
    -----
    `cv`, `scoring` and `random_state` are not saved where they are objects or functions: the loaded model has their
    defaults. No prediction depends on them.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import softmax as sm
    >>> model = sm.SoftmaxRegression().fit(*load_iris(return_X_y=True))
    >>> sm.save(model, "iris.safetensors")
    """
    replace_file(path, to_bytes(content_of(model, "softmax.save", timestamp=timestamp)))


def content_of(model: Any, asker: str, *, timestamp: bool = False) -> Content:
    """What a file would hold of a model, checked as on loading; `asker` is for the messages.

    Raises
    ------
    TypeError
        If it is no model of ours.
    ModelFileError
        If it could not be loaded again.
    """
    if isinstance(model, type) or not hasattr(model, "__softmax_state__"):
        raise TypeError(
            f"{asker} takes a fitted SoftmaxRegression, NeuralSoftmaxClassifier or table model, got "
            f"{_described(model)}. "
            "Of a Pipeline, take the classifier and keep the other steps yourself."
        )
    kind, state, arrays = model.__softmax_state__()
    if kind not in KINDS:
        raise TypeError(f"softmax.load does not know models of kind {kind!r}; it knows {', '.join(sorted(KINDS))}.")
    rebuild(kind, state, arrays)
    versions = {
        "softmax": __version__,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "python": platform.python_version(),
    }
    created = datetime.now(UTC).isoformat(timespec="seconds") if timestamp else None
    return Content(kind, state, arrays, versions, created)


def load(path: str | os.PathLike[str]) -> Any:
    """Read a model that `save` wrote. Nothing in the file is executed.

    Files of all earlier versions of softmax are read. What the fit of an earlier version did not record is None, nan or
    its default.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    SoftmaxRegression, SoftmaxRegressionCV, nn.NeuralSoftmaxClassifier or a fitted model of tables
        Gives the same predictions, bit for bit, as the model that was saved.

    Raises
    ------
    ModelFileError
        If the file is damaged, was written by something else, or by a newer version.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import softmax as sm
    >>> X, y = load_iris(return_X_y=True)
    >>> model = sm.SoftmaxRegression().fit(X, y)
    >>> sm.save(model, "iris.safetensors")
    >>> bool((sm.load("iris.safetensors").predict_proba(X) == model.predict_proba(X)).all())
    True
    """
    return load_with_content(path)[0]


def load_with_content(path: str | os.PathLike[str]) -> tuple[Any, Content]:
    """Read a model, and return beside it what its file holds."""
    name = os.fspath(path)
    content = read_file(Path(path), name)
    if content.kind not in KINDS:
        raise ModelFileError(
            f"{name} holds a model of kind {content.kind!r}, written by softmax "
            f"{content.versions.get('softmax', 'of no stated version')}; this is softmax {__version__}, which knows "
            f"{', '.join(sorted(KINDS))}. Upgrade: pip install -U softmax"
        )
    try:
        return rebuild(content.kind, content.state, content.arrays), content
    except ModelFileError as error:
        raise ModelFileError(f"{name}: {printable(str(error))}") from None


def rebuild(kind: str, state: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Any:
    """The model of a known kind from its state; ModelFileError if no fit can have left such a state."""
    module, name = KINDS[kind]
    try:
        model = getattr(importlib.import_module(module), name).from_state(state, arrays)
        if kind == "TableModel":
            check_table_model(model, state, arrays)
    except ModelFileError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise ModelFileError(f"the saved {kind} is damaged ({error!r}).") from None
    return model


def _described(model: Any) -> str:
    return f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
