"""Every entry of a result is written: on memory filled with NaN the answers stay the same, bit for bit."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import softmax as sm

X = np.random.default_rng(5).normal(size=(5, 33)) * 3
G = np.random.default_rng(6).normal(size=(5, 33))
TARGET = np.array([0, 32, 5, -100, 7])
WHERE = np.arange(33) % 3 != 1

FUNCTIONS = {
    "softmax": lambda x, g, **kw: sm.softmax(x, **kw),
    "log_softmax": lambda x, g, **kw: sm.log_softmax(x, **kw),
    "logsumexp": lambda x, g, **kw: sm.logsumexp(x, **kw),
    "softmax_jvp": sm.softmax_jvp,
    "softmax_vjp": sm.softmax_vjp,
    "log_softmax_jvp": sm.log_softmax_jvp,
    "log_softmax_vjp": sm.log_softmax_vjp,
    "softmax_jacobian": lambda x, g, **kw: sm.softmax_jacobian(x, **kw),
    "entropy": lambda x, g, **kw: sm.entropy(x, **kw),
    "kl_divergence": sm.kl_divergence,
}
LAYOUTS = {
    "contiguous": (X, G, {}),
    "columns": (X.T.copy(), G.T.copy(), {"axis": 0}),
    "strided": (X[:, ::-2], G[:, ::-2], {}),
    "masked": (X, G, {"where": WHERE}),
    "float32": (X.astype(np.float32), G.astype(np.float32), {}),
    "float16": (X.astype(np.float16), G.astype(np.float16), {}),
    "single": (X[:, :1], G[:, :1], {}),
    "empty rows": (X[:, :0], G[:, :0], {}),
    "fully masked": (X, G, {"where": np.zeros(33, bool)}),
}
LOSSES = {
    "plain": {},
    "weights": {"weight": np.linspace(0.5, 2, 33)},
    "smoothing and mask": {"label_smoothing": 0.1, "where": WHERE},
    "none": {"reduction": "none"},
}


def same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_memory_is_filled_with_nan(on_nan_memory):
    def forgets_one_entry(n):
        y = np.empty(n)
        y[1:] = 0
        return y

    assert np.isnan(on_nan_memory(forgets_one_entry, 3)[0])
    assert not np.isnan(on_nan_memory(np.zeros, 3)).any()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_arrays(name, layout, on_nan_memory):
    x, g, options = LAYOUTS[layout]
    function = partial(FUNCTIONS[name], x, g, **options)
    if layout == "empty rows" and name == "softmax_jacobian":
        assert function().shape == (5, 0, 0)
    assert same_bits(function(), on_nan_memory(function))


@pytest.mark.parametrize("options", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses(options, dtype, on_nan_memory):
    # In place of a masked class the target takes its neighbour.
    target = np.where(TARGET % 3 == 1, TARGET - 1, TARGET)
    function = partial(sm.cross_entropy_and_grad, X.astype(dtype), target, ignore_index=-100, **options)
    for plain, on_nan in zip(function(), on_nan_memory(function), strict=True):
        assert same_bits(plain, on_nan)


@pytest.mark.parametrize("backend", ["torch", "array_api_strict"], indirect=True)  # JAX has no unwritten memory
def test_tensors(backend, on_nan_memory):
    x, g = backend.asarray(X), backend.asarray(G)
    for name, function in FUNCTIONS.items():
        plain = backend.to_numpy(function(x, g))
        assert same_bits(plain, backend.to_numpy(on_nan_memory(function, x, g))), name
