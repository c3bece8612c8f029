"""Whether a graph computes what its model does, in ONNX Runtime, on rows made up from a fixed seed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from softmax.nn._network import ACTIVATIONS

from ._describe import Column, Description

if TYPE_CHECKING:
    import onnx

N_ROWS = 64
TOLERANCE = 1e-6
STEEPEST = 1.13  # no activation grows faster than that: GELU and SiLU are a little steeper than 1

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
        rows = _matrix_rows(model, described, dtype, rng)
    else:
        rows = _table_rows(model, described, inputs_of, dtype, rng)
    expected = rows.proba
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    got_labels, got, *_ = session.run(None, rows.feeds)
    allowed = TOLERANCE
    if inner == np.float32:
        allowed += _rounding(described, rows) / described.temperature
    difference = np.abs(got - expected).max(initial=0.0)
    clear = np.sort(expected, axis=1)[:, -1] - np.sort(expected, axis=1)[:, -2] > 2 * allowed
    alike = np.array_equal(np.asarray(got_labels)[clear], np.asarray(rows.labels)[clear])
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


class _Rows(NamedTuple):
    """Inputs of the graph, what the model says of them, and the features (n, d) that they become."""

    feeds: dict[str, Array]
    proba: Array
    labels: Array
    features: Array


def _matrix_rows(model: Any, described: Description, dtype: np.dtype[Any], rng: np.random.Generator) -> _Rows:
    """Rows whose logits are of all sizes, from none to hundreds; the input, and what the model says of them."""
    first = described.layers[0].coef
    norm = float(np.linalg.norm(first, axis=1).max()) or 1.0
    d = first.shape[1]
    X = rng.standard_normal((N_ROWS, d)) * np.logspace(-2, 2, N_ROWS)[:, None] / norm
    X[0] = 0.0
    X = X.astype(dtype)
    wide = X.astype(np.float64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*feature names")
        return _Rows({"X": X}, model.predict_proba(wide), model.predict(wide), wide)


def _table_rows(
    model: Any,
    described: Description,
    inputs_of: Mapping[str, str],
    dtype: np.dtype[Any],
    rng: np.random.Generator,
) -> _Rows:
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
    return _Rows(feeds, model.predict_proba(table), model.predict(table), model.features(table))


def _made_up_text(column: Column, rng: np.random.Generator, *, holes: bool) -> Array:
    """Known categories, one that no table has, and missing ones."""
    unknown = "no such category"
    while unknown in column.categories:
        unknown += "!"
    texts = np.array([*column.categories, unknown, *([""] if holes else [])], dtype=object)
    return texts[rng.integers(0, len(texts), N_ROWS)]


def _rounding(described: Description, rows: _Rows) -> float:
    """Bound of what float32 arithmetic can do to a difference of two logits of these rows, layer by layer."""
    unit = 4 * float(np.finfo(np.float32).eps)
    features = np.abs(rows.features)
    shifts = [1.0 + abs(c.mean / c.scale) for c in described.columns or () if c.kind == "number"]
    error = unit * (features + max(shifts, default=1.0))
    values = rows.features
    for i, layer in enumerate(described.layers):
        if i:
            values, error = ACTIVATIONS[str(described.activation)](values), STEEPEST * error
        sizes = np.abs(values) @ np.abs(layer.coef.T) + np.abs(layer.intercept)
        error = error @ np.abs(layer.coef.T) + unit * sizes
        values = values @ layer.coef.T + layer.intercept
    return float(2 * error.max(initial=0.0))
