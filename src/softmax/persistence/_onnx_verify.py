"""Whether a graph computes what its model does, in ONNX Runtime, on rows made up from a fixed seed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._describe import Column, Description

if TYPE_CHECKING:
    import onnx

N_ROWS = 64
TOLERANCE = 1e-6

Array = npt.NDArray[Any]


def verified_graph(
    proto: onnx.ModelProto,
    model: Any,
    described: Description,
    inputs_of: Mapping[str, str],
    dtype: np.dtype[Any],
    inner: np.dtype[Any],
) -> str:
    """Say how near graph and model are, or why that is not known.

    Raises
    ------
    RuntimeError
        If they are further apart than rounding explains.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        return "not verified: onnxruntime is not installed"
    rng = np.random.default_rng(0)
    if described.columns is None:
        feeds, expected, labels, logits = _matrix_rows(model, described, dtype, rng)
    else:
        feeds, expected, labels, logits = _table_rows(model, described, inputs_of, dtype, rng)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    got_labels, got, *_ = session.run(None, feeds)
    allowed = TOLERANCE
    if inner == np.float32:  # rounding of the products, of the logits and of their differences
        size = np.abs(logits).max(initial=1.0) + _size_of_products(described, feeds)
        allowed += 8 * float(np.finfo(np.float32).eps) * float(size) / described.temperature
    difference = np.abs(got - expected).max(initial=0.0)
    clear = np.sort(expected, axis=1)[:, -1] - np.sort(expected, axis=1)[:, -2] > 2 * allowed
    alike = np.array_equal(np.asarray(got_labels)[clear], np.asarray(labels)[clear])
    if not (difference <= allowed and alike and np.isfinite(expected).all()):
        raise RuntimeError(
            f"ONNX Runtime {onnxruntime.__version__} computes probabilities that differ from the model's by "
            f"{difference:.1e} (allowed: {allowed:.1e}{'' if alike else ', and other labels'}). "
            "Please report this; verify=False leaves the comparison out."
        )
    return (
        f"probabilities of {len(got)} made-up rows in ONNX Runtime {onnxruntime.__version__} differ from the model's "
        f"by at most {difference:.1e}"
    )


def _matrix_rows(
    model: Any, described: Description, dtype: np.dtype[Any], rng: np.random.Generator
) -> tuple[dict[str, Array], Array, Array, Array]:
    """Rows whose logits are of all sizes, from none to hundreds; the input, and what the model says of them."""
    d = described.coef.shape[1]
    norm = float(np.linalg.norm(described.coef, axis=1).max()) or 1.0
    X = rng.standard_normal((N_ROWS, d)) * np.logspace(-2, 2, N_ROWS)[:, None] / norm
    X[0] = 0.0
    X = X.astype(dtype)
    wide = X.astype(np.float64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*feature names")
        return {"X": X}, model.predict_proba(wide), model.predict(wide), wide @ described.coef.T + described.intercept


def _table_rows(
    model: Any,
    described: Description,
    inputs_of: Mapping[str, str],
    dtype: np.dtype[Any],
    rng: np.random.Generator,
) -> tuple[dict[str, Array], Array, Array, Array]:
    """Rows near those of the fit, with missing values and unknown categories where the model accepts them."""
    import pyarrow as pa

    feeds: dict[str, Array] = {}
    columns: dict[str, Any] = {}
    holes = described.missing in ("mean", "indicator")
    for column in described.columns or []:
        if column.kind == "number":
            values = (column.mean + column.scale * 2 * rng.standard_normal(N_ROWS)).astype(dtype)
            if holes:
                values[rng.random(N_ROWS) < 0.1] = np.nan
            columns[column.name] = pa.array(values.astype(np.float64), from_pandas=True)
        else:
            values = _made_up_text(column, rng, holes=holes)
            texts = [None if holes and not text and "" not in column.categories else text for text in values.tolist()]
            columns[column.name] = pa.array(texts, pa.string())
        feeds[inputs_of[column.name]] = values[:, None]
    table = pa.table(columns)
    proba = model.predict_proba(table)
    return feeds, proba, model.predict(table), np.log(np.maximum(proba, np.finfo(np.float64).tiny))


def _made_up_text(column: Column, rng: np.random.Generator, *, holes: bool) -> Array:
    """Known categories, one that no table has, and missing ones."""
    unknown = "no such category"
    while unknown in column.categories:
        unknown += "!"
    texts = np.array([*column.categories, unknown, *([""] if holes else [])], dtype=object)
    return texts[rng.integers(0, len(texts), N_ROWS)]


def _size_of_products(described: Description, feeds: Mapping[str, Array]) -> float:
    """Bound of Σ |w x| over the rows, from which the rounding of float32 comes."""
    if described.columns is None:
        return float((np.abs(feeds["X"]).astype(np.float64) @ np.abs(described.coef.T)).max())
    shifts = [1.0 + abs(c.mean / c.scale) if c.kind == "number" else 1.0 for c in described.columns]
    return float(np.abs(described.coef).sum(axis=1).max() * 10.0 * max(shifts))
