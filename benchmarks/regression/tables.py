"""Data sets that are tables of numbers: read, and standardised where the case says so."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.regression.datasets import Data, file_of

FOLDS = 5


def _read(name: str, *, header: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns but the last as float64, and the last as labels in [0, K)."""
    from pyarrow import csv

    reading = csv.ReadOptions(autogenerate_column_names=not header)
    parsing = csv.ParseOptions(delimiter="\t" if ".tsv" in name else ",")
    table = csv.read_csv(file_of(name), read_options=reading, parse_options=parsing)
    columns = [table.column(i).to_numpy().astype(np.float64) for i in range(table.num_columns - 1)]
    labels = np.unique(table.column(table.num_columns - 1).to_numpy(), return_inverse=True)[1]
    return np.stack(columns, axis=1), labels


def standardised(X: np.ndarray) -> np.ndarray:
    """Return X with mean 0 and variance 1 in each column; a constant column becomes 0."""
    spread = X.std(axis=0)
    # The computed deviation of a constant column is rounding, not always 0.
    spread[spread <= 1e-12 * (1 + np.abs(X).max(axis=0))] = np.inf
    return np.ascontiguousarray((X - X.mean(axis=0)) / spread)


def stratified_folds(y: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return for each row the fold in which it is tested; each class is spread evenly."""
    rng = np.random.default_rng(seed)
    folds = np.empty(len(y), dtype=np.intp)
    order = np.argsort(rng.permutation(len(y)) + len(y) * y)  # by class, shuffled inside
    folds[order] = np.arange(len(y)) % FOLDS
    return folds


def _table(name: str, *, header: bool, scale: bool, columns: slice = slice(None)) -> Data:
    X, y = _read(name, header=header)
    X = X[:, columns]
    X = standardised(X) if scale else np.ascontiguousarray(X)
    return Data(X, y, int(y.max()) + 1, folds=stratified_folds(y))


def _mnist(dtype: str) -> Data:
    X, y = _read("mnist10k.csv.gz", header=False)
    return Data((X / 255).astype(dtype), y, 10)


def _bundled(name: str) -> Data:
    from sklearn import datasets

    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return Data(np.ascontiguousarray(X, dtype=np.float64), y, int(y.max()) + 1)


BUILDERS = {
    "letter": partial(_table, "letter.tsv.gz", header=True, scale=True),
    "covtype20k-raw": partial(_table, "covtype20k.csv.gz", header=False, scale=False),
    "covtype20k": partial(_table, "covtype20k.csv.gz", header=False, scale=True),
    "covtype20k-numeric": partial(_table, "covtype20k.csv.gz", header=False, scale=True, columns=slice(10)),
    "shuttle-raw": partial(_table, "shuttle.tsv.gz", header=True, scale=False),
    "kddcup": partial(_table, "kddcup.tsv.gz", header=True, scale=True),
    "mnist10k-float32": partial(_mnist, "float32"),
    "mnist10k-float64": partial(_mnist, "float64"),
    "iris": partial(_bundled, "iris"),
    "wine": partial(_bundled, "wine"),
    "digits": partial(_bundled, "digits"),
}
