"""Linear cross entropy of arrays: every option against the exact reference, value, gradients and extras."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import softmax as sm
from softmax import _linear_plan as planning
from softmax import _reference_linear as reference
from softmax._typing import LossOptions
from tests.accuracy import numpy_dtype, portable_kernels

INF, NAN = math.inf, math.nan
N, D, V = 13, 5, 7
WEIGHT = np.array([0.5, 2.0, 1.0, 0.25, 3.0, 1.0, 0.0])
WHERE = np.ones((N, V), bool)
WHERE[:6, 2] = WHERE[3:, 6] = False
TEMPERATURES = np.linspace(0.5, 2.0, N)
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "weight": {"weight": WEIGHT},
    "ignore_index": {"ignore_index": 1},
    "ignore_index and weight": {"ignore_index": 1, "weight": WEIGHT},
    "smoothing": {"label_smoothing": 0.1},
    "full smoothing and weight": {"label_smoothing": 1.0, "weight": WEIGHT},
    "where": {"where": WHERE},
    "one mask for all rows": {"where": WHERE[0], "label_smoothing": 0.2},
    "temperature": {"temperature": 0.25},
    "a temperature per row": {"temperature": TEMPERATURES},
    "softcap": {"softcap": 2.5},
    "z_loss": {"z_loss": 0.3},
    "all": {
        "weight": WEIGHT,
        "ignore_index": 1,
        "label_smoothing": 0.1,
        "where": WHERE,
        "temperature": TEMPERATURES,
        "softcap": 4.0,
        "z_loss": 1e-2,
    },
}
OPTION = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
KIND = pytest.mark.parametrize("kind", ["indices", "probabilities"])
REDUCTIONS = ("none", "mean", "sum")
# Peaked logits and flat ones: a constant answer 1/V passes where there are flat ones alone.
SCALES = pytest.mark.parametrize("scale", [0.1, 3.0], ids=["flat", "peaked"])


@pytest.fixture(params=["compiled", "portable"])
def kernels(request):
    """Both kernel sets for NumPy."""
    if request.param == "portable":
        with portable_kernels():
            yield
    else:
        pytest.importorskip("numba")
        yield


@pytest.fixture
def small_chunks(monkeypatch):
    """Several chunks, the last ones shorter, of a problem that would fit in one."""
    monkeypatch.setattr(planning, "CACHED", 1)
    monkeypatch.setattr(planning, "ROWS", 4)


def layer(rng, scale=1.0, dtype="float64", n=N, d=D, v=V):
    kind = numpy_dtype(dtype)
    x, w = rng.normal(size=(n, d)), scale * rng.normal(size=(v, d))
    return x.astype(kind), w.astype(kind), rng.normal(size=v).astype(kind)


def problem(rng, kind, options, scale=1.0, dtype="float64"):
    x, w, b = layer(rng, scale, dtype)
    if kind == "probabilities":
        options = {name: value for name, value in options.items() if name != "ignore_index"}
        target = rng.dirichlet(np.ones(V), N) * np.broadcast_to(options.get("where", WHERE), (N, V))
        target = target.astype("float64" if dtype == "float64" else "float32")
    else:
        target = np.array([0, 1, 3, 0, 1, 5, 3, 4, 1, 0, 5, 3, 4])
    return x, w, b, target, options


def denominator(target, options):
    """What a mean divides by."""
    if target.ndim == 2:
        return float(len(target))
    weight = options.get("weight", np.ones(V))
    return math.fsum(weight[t] for t in target if t != options.get("ignore_index"))


def truth_of(x, w, b, target, options, reduction="sum", row_scale=1.0):
    scale = row_scale / denominator(target, options) if reduction == "mean" else row_scale
    given = dict(options)
    return reference.linear_cross_entropy(
        *(np.asarray(a, np.float64) for a in (x, w)),
        target,
        np.asarray(b, np.float64),
        options=LossOptions(**given),
        row_scale=scale,
    )


def close(got, truth, eps=1e-12):
    truth = np.asarray(truth, np.float64)
    got = np.asarray(got, np.float64)
    assert got.shape == truth.shape
    np.testing.assert_allclose(got, truth, rtol=eps, atol=eps * np.abs(truth[np.isfinite(truth)]).max(initial=1e-300))


@SCALES
@KIND
@OPTION
def test_numpy(kernels, small_chunks, options, kind, scale, rng):
    x, w, b, target, options = problem(rng, kind, options, scale)
    of_sum = truth_of(x, w, b, target, options)
    for reduction in REDUCTIONS:
        truth, scale = of_sum, denominator(target, options) if reduction == "mean" else 1.0
        total = {"none": truth.loss, "sum": math.fsum(truth.loss)}
        total["mean"] = total["sum"] / denominator(target, options)
        value, extras = sm.linear_cross_entropy(x, w, target, b, reduction=reduction, return_extras=True, **options)
        close(value, total[reduction])
        value, gradients = sm.linear_cross_entropy_and_grad(x, w, target, b, reduction=reduction, **options)
        close(value, total[reduction])
        for got, wanted in zip(gradients, (truth.x, truth.linear_weight, truth.bias), strict=True):
            close(got, wanted / scale)
    counts = np.ones(N, bool) if target.ndim == 2 else target != options.get("ignore_index")
    for name in ("logsumexp", "entropy", "max_probability"):
        close(getattr(extras, name)[counts], getattr(truth, name)[counts])
        assert (getattr(extras, name)[~counts] == 0).all()
    assert (extras.argmax[counts] == truth.argmax[counts]).all()
    label = target.argmax(1) if target.ndim == 2 else target
    assert extras.accuracy == np.mean(truth.argmax[counts] == label[counts])


@KIND
@OPTION
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_numpy_dtypes(kernels, small_chunks, options, kind, dtype, rng):
    x, w, b, target, options = problem(rng, kind, options, dtype=dtype)
    truth = truth_of(x, w, b, target, options)
    value, gradients = sm.linear_cross_entropy_and_grad(x, w, target, b, reduction="none", **options)
    assert value.dtype == np.float32
    close(value, truth.loss, 2e-6)
    eps = {"float16": 2**-10, "bfloat16": 2**-7, "float32": 2e-6}[dtype]
    for got, like, wanted in zip(gradients, (x, w, b), (truth.x, truth.linear_weight, truth.bias), strict=True):
        assert got.dtype == like.dtype
        close(got, wanted, eps)


def test_without_a_bias(rng):
    x, w, b, target, _ = problem(rng, "indices", {})
    value, gradients = sm.linear_cross_entropy_and_grad(x, w, target)
    close(value, truth_of(x, w, 0 * b, target, {}).loss.mean())
    assert gradients.bias is None


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,), (2, 0)])
def test_shapes_of_rows(shape, rng):
    x, w, b = layer(rng)
    x, target = rng.normal(size=(*shape, D)), rng.integers(0, V, shape)
    value, extras = sm.linear_cross_entropy(x, w, target, b, reduction="none", return_extras=True)
    assert np.shape(value) == np.shape(extras.argmax) == shape
    close(value, sm.cross_entropy(x @ w.T + b, target, reduction="none"))
    mean, gradients = sm.linear_cross_entropy_and_grad(x, w, target, b)
    assert gradients.x.shape == x.shape
    assert gradients.linear_weight.shape == w.shape
    if 0 in shape:
        assert math.isnan(mean) and math.isnan(extras.accuracy)
        assert not gradients.linear_weight.any()
        assert sm.linear_cross_entropy(x, w, target, b, reduction="sum") == 0


def test_strides_and_read_only_memory(rng):
    x, w, b = layer(rng)
    target = rng.integers(0, V, N)
    wanted = sm.linear_cross_entropy_and_grad(x, w, target, b)
    views = [np.asfortranarray(x), np.repeat(w, 2, axis=0)[::2], b[::-1].copy()[::-1], np.repeat(target, 3)[::3]]
    for view in views:
        view.flags.writeable = False
    got = sm.linear_cross_entropy_and_grad(views[0], views[1], views[3], views[2])
    close(got[0], wanted[0])
    for a, c in zip(got[1], wanted[1], strict=True):
        close(a, c)


def test_nothing_of_the_callers_is_changed(rng, small_chunks):
    x, w, b, target, options = problem(rng, "indices", OPTIONS["all"])
    given = (x, w, b, target, *(v for v in options.values() if isinstance(v, np.ndarray)))
    before = [a.copy() for a in given]
    sm.linear_cross_entropy(x, w, target, b, **options)
    sm.linear_cross_entropy_and_grad(x, w, target, b, **options)
    assert all(np.array_equal(a, c) for a, c in zip(given, before, strict=True))


def test_every_entry_is_written(on_nan_memory, small_chunks, rng):
    x, w, b, target, options = problem(rng, "indices", OPTIONS["all"])
    value, gradients = on_nan_memory(sm.linear_cross_entropy_and_grad, x, w, target, b, reduction="none", **options)
    assert all(np.isfinite(a).all() for a in (value, *gradients))
    value, extras = on_nan_memory(
        sm.linear_cross_entropy, x, w, target, b, reduction="none", return_extras=True, **options
    )
    assert np.isfinite(value).all() and np.isfinite(extras.entropy).all()


def test_impossible_classes(kernels, rng):
    """A logit of −inf, by the bias or the mask: no nan, no gradient; a target there has an infinite loss."""
    x, w, b = layer(rng)
    b[2] = -INF
    target = np.array([0, 1, 3, 0, 1, 2, 3, 4, 1, 0, 5, 3, 4])
    value, gradients = sm.linear_cross_entropy_and_grad(x, w, target, b, reduction="none")
    assert value[5] == INF and np.isfinite(np.delete(value, 5)).all()
    truth = truth_of(x, w, b, target, {})
    close(np.delete(value, 5), np.delete(truth.loss, 5))
    assert np.isfinite(np.delete(gradients.x, 5, axis=0)).all()
    masked = sm.linear_cross_entropy(
        x, w, target, np.where(np.arange(V) == 2, 1e30, b), where=b > -INF, reduction="none"
    )
    close(masked, value)


def test_rows_without_a_softmax(kernels, rng):
    x, w, b = layer(rng)
    x[0, 0] = NAN
    x[1] = INF
    where = np.ones((N, V), bool)
    where[2] = False
    value, gradients = sm.linear_cross_entropy_and_grad(x, w, np.zeros(N, int), b, where=where, reduction="none")
    assert np.isnan(value[:2]).all() and value[2] == INF and np.isfinite(value[3:]).all()
    assert np.isnan(gradients.x[:2]).all()
    assert (gradients.x[2] == 0).all() and np.isfinite(gradients.x[3:]).all()


def test_ignored_rows_are_not_looked_at(small_chunks, rng):
    x, w, b = layer(rng)
    target = np.where(np.arange(N) % 3, rng.integers(0, V, N), -100)
    x[target == -100] = NAN
    value, gradients = sm.linear_cross_entropy_and_grad(x, w, target, b, ignore_index=-100)
    kept = target != -100
    wanted, of_kept = sm.linear_cross_entropy_and_grad(x[kept], w, target[kept], b)
    close(value, wanted)
    close(gradients.linear_weight, of_kept.linear_weight)
    close(gradients.x[kept], of_kept.x)
    assert (gradients.x[~kept] == 0).all()
    value, gradients = sm.linear_cross_entropy_and_grad(x, w, np.full(N, -100), b, ignore_index=-100)
    assert math.isnan(value) and not np.nan_to_num(gradients.x).any()


@pytest.mark.parametrize("options", [{}, {"where": np.ones(3, bool)}], ids=["plain", "with options"])
def test_the_gradient_of_a_sure_prediction_keeps_its_digits(kernels, options):
    """The entry of the true class is minus the sum of the others, and not p − 1."""
    x, w = np.ones((1, 1), np.float32), np.array([[40.0], [0.0], [0.0]], np.float32)
    _, gradients = sm.linear_cross_entropy_and_grad(x, w, [0], **options)
    others = math.exp(-40) / (1 + 2 * math.exp(-40))
    np.testing.assert_allclose(gradients.linear_weight[:, 0], [-2 * others, others, others], rtol=1e-6)


def test_chunks_change_nothing_but_the_order_of_sums(monkeypatch, rng):
    x, w, b = layer(rng, n=300, v=50)
    target = rng.integers(0, 50, 300)
    whole = sm.linear_cross_entropy_and_grad(x, w, target, b)
    monkeypatch.setattr(planning, "CACHED", 1)
    monkeypatch.setattr(planning, "ROWS", 7)
    parts = sm.linear_cross_entropy_and_grad(x, w, target, b)
    close(parts[0], whole[0], 1e-14)
    for a, c in zip(parts[1], whole[1], strict=True):
        close(a, c, 1e-13)
    again = sm.linear_cross_entropy_and_grad(x, w, target, b)
    assert all(np.array_equal(a, c) for a, c in zip(parts[1], again[1], strict=True))


# What it refuses


def refused(error, message, x=None, w=None, target=None, b=None, **options):
    x = np.ones((2, 3)) if x is None else x
    w = np.ones((4, 3)) if w is None else w
    target = [0, 3] if target is None else target
    for function in (sm.linear_cross_entropy, sm.linear_cross_entropy_and_grad):
        with pytest.raises(error, match=message):
            function(x, w, target, b, **options)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"x": np.ones((2, 4))},
            sm.ArrayValueError,
            r"with D features and V classes; got \(2, 4\) and \(4, 3\)\. Pass .*\.T",
        ),
        ({"x": 1.0}, sm.ArrayValueError, r"x must have shape \(\.\.\., D\)"),
        ({"w": np.ones(3)}, sm.ArrayValueError, r"linear_weight \(V, D\)"),
        ({"w": np.ones((0, 3)), "target": []}, sm.ArrayValueError, r"at least one class; got shape \(0, 3\)"),
        ({"b": np.ones(3)}, sm.ArrayValueError, r"bias must hold one number for each class, shape \(4,\); got \(3,\)"),
        ({"x": np.ones((2, 3), np.float32)}, sm.ArrayTypeError, "must have the dtype of x, float32; got float64. Cast"),
        ({"b": np.ones(4, np.float16)}, sm.ArrayTypeError, "bias must have the dtype of x, float64; got float16"),
        ({"x": "abc"}, sm.ArrayTypeError, "x is no array"),
        ({"x": np.ma.masked_array(np.ones((2, 3)))}, sm.ArrayTypeError, "got a masked array"),
        ({"w": np.ma.masked_array(np.ones((4, 3)))}, sm.ArrayTypeError, r"linear_weight.filled\(0\)"),
        ({"target": [0, 4]}, sm.TargetError, r"target must lie in \[0, 4\); got 4 at row 1. .* ignore_index=4"),
        ({"target": [0.0, 1.0]}, sm.TargetError, "Class indices have to be integers"),
        ({"target": [0]}, sm.TargetError, r"integers of shape \(2,\)"),
        ({"target": -np.ones((2, 4))}, sm.TargetError, "finite and not negative"),
        ({"weight": np.ones(3)}, sm.ArrayValueError, r"weight must hold one number for each class, shape \(4,\)"),
        ({"where": np.ones((3, 4), bool)}, sm.ArrayValueError, "where must broadcast"),
        ({"temperature": [1.0, 0.0]}, sm.OptionError, "finite and above 0; got 0.0 at row 1"),
        ({"temperature": np.ones(3)}, sm.OptionError, r"one for each row, shape \(2,\); got shape \(3,\)"),
        ({"temperature": -1.0}, sm.OptionError, "above 0; got -1.0"),
        ({"softcap": 0.0}, sm.OptionError, "softcap"),
        ({"reduction": "average"}, sm.OptionError, "reduction must be one of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_bad_input(arguments, error, message):
    refused(error, message, **arguments)


def test_another_library_is_refused():
    strict = pytest.importorskip("array_api_strict")
    refused(sm.ArrayTypeError, "x must be a NumPy array", x=strict.ones((2, 3)))
