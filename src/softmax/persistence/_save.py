"""`save` and `load`: models that describe themselves, to disk and back.

A model can be saved if it has a method ``__softmax_state__() -> (kind, header, arrays)`` and its kind stands in
`KINDS`, with a class whose ``from_state(header, arrays)`` rebuilds it. Loading imports nothing but the classes named
here.
"""

import importlib
import os
import platform
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import sklearn

from softmax import __version__
from softmax._errors import ModelFileError

from ._format import from_bytes, to_bytes

# kind -> (module, class)
KINDS = {
    "SoftmaxRegression": ("softmax.regression", "SoftmaxRegression"),
    "TableModel": ("softmax._table_model", "TableModel"),
}


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted model to one safetensors file.

    The file is written beside its place and then renamed, so that a full disk or an interruption leaves an older file
    of that name whole.

    Parameters
    ----------
    model : SoftmaxRegression or a fitted model of tables
    path : str or path
        Name of the file; an existing file is replaced.

    Raises
    ------
    TypeError
        If the model is of another class, or has labels or parameters that a file cannot hold.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import softmax as sm
    >>> model = sm.SoftmaxRegression().fit(*load_iris(return_X_y=True))
    >>> sm.save(model, "iris.safetensors")
    """
    if isinstance(model, type) or not hasattr(model, "__softmax_state__"):
        raise TypeError(
            f"softmax.save takes a fitted SoftmaxRegression or table model, got {_described(model)}. "
            "Of a Pipeline, save the classifier and keep the other steps yourself."
        )
    kind, header, arrays = model.__softmax_state__()
    if kind not in KINDS:
        raise TypeError(f"softmax.load does not know models of kind {kind!r}; it knows {', '.join(sorted(KINDS))}.")
    content = {
        "kind": kind,
        "state": header,
        "versions": {
            "softmax": __version__,
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
            "python": platform.python_version(),
        },
    }
    _replace(Path(path), to_bytes(content, arrays))


def load(path: str | os.PathLike[str]) -> Any:
    """Read a model that `save` wrote. Nothing in the file is executed.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    SoftmaxRegression or a fitted model of tables
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
    content, arrays = from_bytes(Path(path).read_bytes(), os.fspath(path))
    kind = content["kind"]
    if kind not in KINDS:
        writer = content["versions"]["softmax"]
        raise ModelFileError(
            f"{os.fspath(path)} holds a model of kind {kind!r}, written by softmax {writer}; this is softmax "
            f"{__version__}, which knows {', '.join(sorted(KINDS))}. Upgrade: pip install -U softmax"
        )
    module, name = KINDS[kind]
    return getattr(importlib.import_module(module), name).from_state(content["state"], arrays)


def _described(model: Any) -> str:
    return f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that its name never stands for a part of it."""
    path = path.resolve()  # a link stays a link
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot save to {path}: the folder {path.parent} does not exist.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        # Opened like any new file, so that the umask of the process decides who may read it.
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
