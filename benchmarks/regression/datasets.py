"""The data of the cases: built once, kept under ``.cache-bench`` as plain .npy files, read by every worker.

Building needs the environment of the library; `load` needs NumPy and SciPy alone, since it runs beside every rival.
Real data comes from the folder that SOFTMAX_DATA names.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from benchmarks.regression import CACHE

# Raised when a builder changes, so that nobody is compared on data of an older one.
BUILD = 1


class MissingDataError(Exception):
    """Data that a case needs is not there; the message says what to do."""


@dataclass(frozen=True, eq=False)
class Data:
    """X (n, d), dense or CSR; y in [0, K); `folds` (n,) the test fold of a row; `batches` (m, rows) indices of rows."""

    X: Any
    y: np.ndarray
    n_classes: int
    folds: np.ndarray | None = None
    batches: np.ndarray | None = None

    @property
    def sparse(self) -> bool:
        """Whether X is CSR."""
        return scipy.sparse.issparse(self.X)


def data_folder() -> Path:
    """Return the folder of the real data sets, or say why there is none."""
    name = os.environ.get("SOFTMAX_DATA", "")
    if not name:
        raise MissingDataError("SOFTMAX_DATA is not set (the folder of the data sets)")
    if not Path(name).is_dir():
        raise MissingDataError(f"SOFTMAX_DATA={name} is not a folder")
    return Path(name)


def file_of(name: str) -> Path:
    """Return a file of that folder, or say that it is absent."""
    path = data_folder() / name
    if not path.exists():
        raise MissingDataError(f"{path} is absent")
    return path


def _builders() -> dict[str, Callable[[], Data]]:
    from benchmarks.regression import features, synthetic, tables

    return {**tables.BUILDERS, **features.BUILDERS, **synthetic.BUILDERS}


def names() -> list[str]:
    """Return the names of all data sets."""
    return sorted(_builders())


def prepare(name: str, cache: Path = CACHE) -> Path:
    """Return the folder with the arrays of a data set, built on the first call."""
    folder = cache / "data" / f"{name}-v{BUILD}"
    if (folder / "about.json").exists():
        return folder
    store(_builders()[name](), folder)
    return folder


def store(data: Data, folder: Path) -> None:
    """Write the arrays beside their place, then move them there: what is there is complete."""
    beside = folder.with_name(folder.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    if data.sparse:
        parts = {f"X_{part}": getattr(data.X, part) for part in ("data", "indices", "indptr")}
    else:
        parts = {"X": data.X}
    parts["y"] = data.y.astype(np.intp)
    parts |= {name: value for name in ("folds", "batches") if (value := getattr(data, name)) is not None}
    found = blake2b(digest_size=12)
    for part, array in parts.items():
        np.save(beside / f"{part}.npy", array)
        found.update(f"{part} {array.shape} {array.dtype}".encode())
        found.update(np.ascontiguousarray(array).data)
    about = {"shape": list(data.X.shape), "n_classes": data.n_classes, "digest": found.hexdigest()}
    (beside / "about.json").write_text(json.dumps(about), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)


def about(folder: Path) -> dict[str, Any]:
    """Return shape, number of classes and fingerprint of a prepared data set."""
    found: dict[str, Any] = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    return found


def load(folder: Path) -> Data:
    """Read a prepared data set."""
    facts = about(folder)

    def array(name: str) -> np.ndarray:
        found: np.ndarray = np.load(folder / f"{name}.npy")
        return found

    if (folder / "X.npy").exists():
        X: Any = array("X")
    else:
        parts = array("X_data"), array("X_indices"), array("X_indptr")
        X = scipy.sparse.csr_matrix(parts, shape=tuple(facts["shape"]))
    optional = {name: array(name) for name in ("folds", "batches") if (folder / f"{name}.npy").exists()}
    return Data(X, array("y"), facts["n_classes"], **optional)
