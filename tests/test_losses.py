"""Cross entropy and kin: every option against the exact reference, in every library, value and derivatives together."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import softmax as sm
from softmax import _reference as reference
from softmax._typing import LossOptions
from tests.accuracy import BACKENDS, MAIN, backends, find_backend, portable_kernels
from tests.ulp import EPS, as_float64, assert_within, dtype_name


@pytest.fixture
def backend(request):
    return find_backend(request.param)


@pytest.fixture(params=["compiled", "portable"])
def kernels(request):
    """Both kernel sets for NumPy."""
    if request.param == "portable":
        with portable_kernels():
            yield
    else:
        pytest.importorskip("numba")
        yield


ROWS, CLASSES = 7, 5
WHERE = np.array([[True, True, False, True, True]] * 3 + [[True, True, True, True, False]] * 4)
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "weight": {"weight": np.array([0.5, 2.0, 1.0, 0.0, 3.0])},
    "ignore_index": {"ignore_index": 1},
    "ignore_index and weight": {"ignore_index": 1, "weight": np.array([0.5, 2.0, 1.0, 0.25, 3.0])},
    "smoothing": {"label_smoothing": 0.1},
    "smoothing and weight": {"label_smoothing": 0.3, "weight": np.array([0.5, 2.0, 1.0, 0.25, 3.0])},
    "full smoothing": {"label_smoothing": 1.0},
    "where": {"where": WHERE},
    "where and smoothing": {"where": WHERE, "label_smoothing": 0.2},
    "temperature": {"temperature": 0.25},
    "softcap": {"softcap": 2.5},
    "z_loss": {"z_loss": 0.3},
    "all": {
        "weight": np.array([0.5, 2.0, 1.0, 0.25, 3.0]),
        "label_smoothing": 0.1,
        "where": WHERE,
        "temperature": 1.5,
        "softcap": 4.0,
        "z_loss": 1e-2,
    },
}
OPTION = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def targets(rng, kind):
    """Class indices (1 among them, none masked), or probabilities on the classes that are possible."""
    if kind == "indices":
        return np.array([0, 1, 3, 0, 1, 2, 3])
    return rng.dirichlet(np.ones(CLASSES), ROWS) * WHERE


def problem(rng, kind, options, dtype="float64"):
    if kind == "probabilities":
        options = {k: v for k, v in options.items() if k != "ignore_index"}
    x = (3 * rng.normal(size=(ROWS, CLASSES))).astype(dtype)
    target = targets(rng, kind)
    return x, target if kind == "indices" else target.astype(dtype), options


def denominator(target, options):
    """What the mean of PyTorch divides by."""
    if target.dtype.kind == "f":
        return float(len(target))
    weight = options.get("weight", np.ones(CLASSES))
    return math.fsum(weight[t] for t in target if t != options.get("ignore_index"))


def close(got, truth, dtype="float64"):
    scale = np.abs(truth).max(initial=1e-300)
    np.testing.assert_allclose(as_float64(got), truth, rtol=32 * EPS[dtype], atol=8 * EPS[dtype] * scale)


# JAX compiles anew for each case, so it gets the ones that differ most.
CASES = [
    pytest.param(name, reduction, option, id=f"{name}-{reduction}-{option}")
    for name in BACKENDS
    for option in OPTIONS
    for reduction in ("none", "mean", "sum")
    if name != "jax" or (reduction == "mean" and option in ("ignore_index and weight", "softcap", "all"))
]


@pytest.mark.parametrize(("backend", "reduction", "option"), CASES, indirect=["backend"])
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
def test_value_gradient_and_hessian_product(backend, option, kind, reduction, rng):
    x, target, options = problem(rng, kind, OPTIONS[option])
    v = rng.normal(size=x.shape)
    checked = LossOptions(**options)
    value = reference.cross_entropy(x, target, -1, checked).rounded()
    gradient = reference.cross_entropy_grad(x, target, -1, checked).rounded()
    product = reference.cross_entropy_hvp(x, target, v, -1, checked).rounded()
    if reduction != "none":
        total = 1.0 if reduction == "sum" else denominator(target, options)
        value, gradient, product = math.fsum(value) / total, gradient / total, product / total
    arrays = {name: backend.array(option) for name, option in options.items()}
    with backend.context():
        got = backend.call("cross_entropy", x, target, reduction=reduction, **arrays)
        close(got, value)
        got_value, got_gradient = sm.cross_entropy_and_grad(
            backend.array(x), backend.array(target), reduction=reduction, **arrays
        )
        close(got_value, value)
        close(got_gradient, gradient)
        close(backend.call("cross_entropy_hvp", x, target, v, reduction=reduction, **arrays), product)


@OPTION
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_narrow_dtypes(kernels, options, kind, dtype, rng):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    x, target, options = problem(rng, kind, options, dtype)
    if kind == "probabilities":
        target = target.astype(np.float32)
    checked = LossOptions(**options)
    value, gradient = sm.cross_entropy_and_grad(x, target, reduction="sum", **options)
    assert value.dtype == np.float32
    assert gradient.dtype == x.dtype
    close(value, math.fsum(reference.cross_entropy(x, target, -1, checked).rounded()), "float32")
    close(gradient, reference.cross_entropy_grad(x, target, -1, checked).rounded(), dtype_name(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
@pytest.mark.parametrize("n", [2, 10, 1000, 50_257])
@pytest.mark.parametrize("spread", [1, 30])
def test_losses_and_gradients_of_many_classes(kernels, dtype, kind, n, spread, rng):
    x = (spread * rng.normal(size=(3, n))).astype(dtype)
    target = rng.integers(0, n, 3) if kind == "indices" else rng.dirichlet(np.ones(n), 3).astype(dtype)
    value, gradient = sm.cross_entropy_and_grad(x, target, reduction="none")
    truth = reference.cross_entropy(x, target)
    assert np.ptp(truth.rounded()) > 1e-4  # a constant answer would be caught
    assert_within(value, truth, 4)
    exact = reference.cross_entropy_grad(x, target).rounded()
    np.testing.assert_allclose(gradient, exact, rtol=8 * EPS[dtype], atol=2 * EPS[dtype] * np.abs(exact).max())


# Row 8 of the bounds


@backends(*MAIN)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_certain_answer_has_a_small_loss_and_not_none(backend, dtype):
    for x in ([30.0, 0.0], [40.0, 0.0, 1.0], [0.0, -18.0], [0.0, -80.0]):
        x = np.array(x, dtype)
        got = backend.call("cross_entropy", x[None], np.array([0]), reduction="none")
        assert_within(got, reference.cross_entropy(x[None], np.array([0])), 2 if dtype == "float32" else 4)
    assert float(sm.cross_entropy(np.array([30.0, 0.0], dtype), 0)) == pytest.approx(9.357622968839737e-14, rel=2e-7)


@backends(*MAIN)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gap", [1, 5, 20, 40, 80])
@pytest.mark.parametrize("n", [2, 5, 1000])
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
def test_the_gradient_of_the_true_class_keeps_its_relative_accuracy(backend, dtype, gap, n, kind, rng):
    x = np.concatenate([[0.0], -gap - rng.random(n - 1)]).astype(dtype)
    target = np.array([0]) if kind == "indices" else np.eye(1, n, dtype=dtype)
    truth = reference.cross_entropy_grad(x[None], target).rounded()
    with backend.context():
        _, gradient = sm.cross_entropy_and_grad(backend.array(x[None]), backend.array(target))
    error = np.abs(as_float64(gradient)[0, 0] - truth[0, 0])
    assert error <= 4 * EPS[dtype] * abs(truth[0, 0])
    naive = x.dtype.type(1) / np.exp(x).sum() - x.dtype.type(1)
    if (dtype, gap) in {("float32", 20), ("float64", 40)}:
        assert abs(float(naive) - truth[0, 0]) > 4 * EPS[dtype] * abs(truth[0, 0])  # the input can fail


@backends()
def test_an_impossible_class_with_no_target_adds_nothing(backend):
    x = np.array([[0.0, -np.inf, 1.0]])
    q = np.array([[0.25, 0.0, 0.75]])
    kept = [[0, 2]]
    with backend.context():
        value, gradient = sm.cross_entropy_and_grad(backend.array(x), backend.array(q))
        expected, expected_gradient = sm.cross_entropy_and_grad(x[:, kept[0]], q[:, kept[0]])
        assert float(value) == pytest.approx(float(expected), rel=1e-15)
        np.testing.assert_allclose(as_float64(gradient), np.insert(expected_gradient, 1, 0.0, axis=1), atol=1e-16)
        value, gradient = sm.cross_entropy_and_grad(backend.array(x), backend.array(np.array([2])))
        assert math.isfinite(float(value))
        assert np.isfinite(as_float64(gradient)).all()
        assert float(sm.cross_entropy(backend.array(x), backend.array(np.array([1])))) == math.inf


# Reductions, axes, shapes


@OPTION
@pytest.mark.parametrize("shape", [(7, 5), (2, 5, 3), (2, 3, 4, 5)], ids=str)
def test_the_class_axis_may_be_any(kernels, options, shape, rng):
    options = {k: v for k, v in options.items() if k != "where"}
    axis = shape.index(5)
    x = rng.normal(size=shape)
    rows = np.moveaxis(x, axis, -1)
    t = rng.integers(0, 4, rows.shape[:-1])
    for target, target_rows in ((t, t), (np.exp(x), np.exp(rows))):
        kept = {k: v for k, v in options.items() if target is t or k != "ignore_index"}
        value, gradient = sm.cross_entropy_and_grad(x, target, axis=axis, reduction="none", **kept)
        expected, expected_gradient = sm.cross_entropy_and_grad(
            np.ascontiguousarray(rows), target_rows, reduction="none", **kept
        )
        np.testing.assert_allclose(value, expected, rtol=1e-14)
        np.testing.assert_allclose(np.moveaxis(gradient, axis, -1), expected_gradient, rtol=1e-13, atol=1e-16)


def test_one_row_needs_no_batch(kernels):
    value, gradient = sm.cross_entropy_and_grad([1.0, 2.0, 3.0], 2)
    assert isinstance(value, np.float64)
    assert gradient.shape == (3,)
    assert value == sm.cross_entropy(np.array([[1.0, 2.0, 3.0]]), [2])
    assert sm.cross_entropy([1.0, 2.0], [0.5, 0.5]) == pytest.approx(1.5 + math.log(2 * math.cosh(0.5)) - 1.5)


def test_no_classes(kernels):
    x = np.zeros((2, 0), np.float32)
    for value in (sm.entropy(x), sm.kl_divergence(x, x), sm.cross_entropy(x, x, reduction="none")):
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, [0.0, 0.0])
    value, gradient = sm.cross_entropy_and_grad(x, x, label_smoothing=0.1)
    assert (value, gradient.shape, gradient.dtype) == (0.0, (2, 0), x.dtype)
    assert sm.cross_entropy_hvp(x, x, x).shape == (2, 0)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
def test_no_rows(kernels, reduction, kind):
    target = [] if kind == "indices" else np.zeros((0, 3))
    value, gradient = sm.cross_entropy_and_grad(np.zeros((0, 3)), target, reduction=reduction)
    assert gradient.shape == (0, 3)
    if reduction == "none":
        assert value.shape == (0,)
    else:
        np.testing.assert_array_equal(value, np.nan if reduction == "mean" else 0.0)
        np.testing.assert_array_equal(sm.cross_entropy(np.zeros((0, 3)), target, reduction=reduction), value)


def test_the_mean_over_ignored_rows_is_nan_and_their_gradient_zero(kernels):
    value, gradient = sm.cross_entropy_and_grad(np.ones((2, 3)), [-100, -100], ignore_index=-100)
    assert np.isnan(value)
    assert (gradient == 0).all()
    value, gradient = sm.cross_entropy_and_grad(np.ones((2, 3)), [-1, -1], ignore_index=-1, reduction="sum")
    assert value == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("content", [np.nan, np.inf, -np.inf])
def test_an_ignored_row_may_hold_anything(kernels, content):
    x = np.array([[1.0, 2.0], [content, content]])
    value, gradient = sm.cross_entropy_and_grad(x, [0, 9], ignore_index=9)
    assert value == sm.cross_entropy(x[:1], [0])
    assert (gradient[1] == 0).all()


def test_masked_classes(kernels):
    x = np.array([[1.0, np.nan, 2.0]])
    where = np.array([True, False, True])
    for options in ({}, {"label_smoothing": 0.1}):
        value, gradient = sm.cross_entropy_and_grad(x, [2], where=where, **options)
        expected, expected_gradient = sm.cross_entropy_and_grad(x[:, where], [1], **options)
        assert value == pytest.approx(expected, rel=1e-15)
        np.testing.assert_allclose(gradient[:, where], expected_gradient, rtol=1e-14)
        assert gradient[0, 1] == 0
        assert sm.cross_entropy(np.ma.masked_array(x, ~where[None]), [2], **options) == value
    assert sm.cross_entropy(x, [1], where=where) == np.inf
    value, gradient = sm.cross_entropy_and_grad(x, [1], where=False)
    assert value == np.inf
    assert (gradient == 0).all()


def test_rows_without_a_softmax_have_a_nan_loss(kernels):
    for row in ([np.inf, 0.0], [np.nan, 0.0], [-np.inf, -np.inf]):
        value, gradient = sm.cross_entropy_and_grad([row, [0.0, 1.0]], [0, 0], reduction="none")
        assert np.isnan(value[0])
        assert np.isnan(gradient[0]).all()
        assert np.isfinite(value[1])


def test_probabilities_need_not_sum_to_one(kernels, rng):
    x, q = rng.normal(size=(4, 3)), rng.random((4, 3))
    np.testing.assert_allclose(
        sm.cross_entropy(x, 3 * q, reduction="none"), 3 * sm.cross_entropy(x, q, reduction="none"), rtol=1e-14
    )
    assert sm.cross_entropy(x, 0 * q) == 0


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64", ">i4"])
def test_indices_of_any_integer_dtype(kernels, dtype, rng):
    x, t = rng.normal(size=(4, 3)), np.array([0, 2, 1, 1])
    assert sm.cross_entropy(x, t.astype(dtype)) == sm.cross_entropy(x, t.tolist()) == sm.cross_entropy(x, t)


def test_integers_are_logits_too(kernels):
    assert sm.cross_entropy(np.array([[127, -128]], np.int8), [1]) == 255.0


def test_the_caller_s_arrays_stay(kernels, rng):
    x, t, w = rng.normal(size=(4, 3)), np.array([0, 2, 1, -1]), rng.random(3)
    before = x.tobytes(), t.tobytes(), w.tobytes()
    sm.cross_entropy_and_grad(x, t, ignore_index=-1, weight=w, label_smoothing=0.1)
    sm.cross_entropy_hvp(x, t, x, ignore_index=-1, weight=w)
    assert (x.tobytes(), t.tobytes(), w.tobytes()) == before


# Beside PyTorch


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(("kind", "ignore"), [("indices", None), ("indices", 2), ("probabilities", None)])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_agreement_with_pytorch(reduction, kind, smoothing, weighted, ignore, rng):
    torch = pytest.importorskip("torch")
    x, w = rng.normal(size=(6, 4, 5)), rng.random(4) if weighted else None
    t = rng.integers(0, 4, (6, 5)) if kind == "indices" else np.moveaxis(rng.dirichlet(np.ones(4), (6, 5)), -1, 1)
    logits = torch.tensor(x, requires_grad=True)
    theirs = torch.nn.functional.cross_entropy(
        logits,
        torch.tensor(t),
        weight=None if w is None else torch.tensor(w),
        ignore_index=-100 if ignore is None else ignore,
        label_smoothing=smoothing,
        reduction=reduction,
    )
    (gradient,) = torch.autograd.grad(theirs.sum(), logits)
    ours = sm.cross_entropy_and_grad(
        x, t, axis=1, weight=w, ignore_index=ignore, label_smoothing=smoothing, reduction=reduction
    )
    np.testing.assert_allclose(ours[0], theirs.detach().numpy(), rtol=1e-13)
    np.testing.assert_allclose(ours[1], gradient.numpy(), rtol=1e-11, atol=1e-15)


@OPTION
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_autograd_gives_the_gradient_and_the_hessian_product(options, kind, reduction, rng):
    torch = pytest.importorskip("torch")
    x, target, options = problem(rng, kind, options)
    options = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    logits, labels = torch.tensor(x, requires_grad=True), torch.tensor(target)
    v = torch.tensor(rng.normal(size=x.shape))
    loss = sm.cross_entropy(logits, labels, reduction=reduction, **options)
    (gradient,) = torch.autograd.grad(loss.sum(), logits, create_graph=True)
    (product,) = torch.autograd.grad((gradient * v).sum(), logits)
    close(gradient, as_float64(sm.cross_entropy_and_grad(logits, labels, reduction=reduction, **options)[1]))
    close(product, as_float64(sm.cross_entropy_hvp(logits, labels, v, reduction=reduction, **options)))


def test_a_compiled_loss(rng):
    torch = pytest.importorskip("torch")
    x, t, w = torch.tensor(rng.normal(size=(6, 4))), torch.tensor([0, 1, 2, 3, 1, 1]), torch.tensor(rng.random(4))

    def loss(x, t, w):
        return sm.cross_entropy(x, t, weight=w, ignore_index=1, label_smoothing=0.1)

    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    assert float(compiled(x, t, w)) == pytest.approx(float(loss(x, t, w)), rel=1e-14)


def test_a_traced_loss_and_a_label_nobody_could_look_at(rng):
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        x = jax.numpy.asarray(rng.normal(size=(3, 4)))
        loss = jax.jit(lambda x, t: sm.cross_entropy(x, t, reduction="none"))
        got = loss(x, jax.numpy.asarray([0, 4, -1]))
        assert float(got[0]) == pytest.approx(float(sm.cross_entropy(x[0], jax.numpy.asarray(0))), rel=1e-14)
        assert np.isnan(np.asarray(got[1:])).all()


# Divergence and entropy


@backends()
@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("axis", [-1, 0, None], ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_divergence_and_entropy(backend, temperature, axis, masked, rng):
    x, y = 3 * rng.normal(size=(4, 5)), 3 * rng.normal(size=(4, 5))
    where = rng.random(x.shape) < 0.7 if masked else None

    def rows(a):
        return None if a is None else a.reshape(-1) if axis is None else np.moveaxis(a, axis, -1)

    options = {"axis": axis, "temperature": temperature} | ({"where": backend.array(where)} if masked else {})
    plain = {"where": rows(where), "temperature": temperature}
    close(backend.call("entropy", x, **options), reference.entropy(rows(x), **plain).rounded())
    close(backend.call("kl_divergence", x, y, **options), reference.kl_divergence(rows(x), rows(y), **plain).rounded())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("distance", [1e-1, 1e-3, 1e-6])
def test_a_small_divergence_is_accurate_to_its_own_size(kernels, dtype, distance, rng):
    x = rng.normal(size=20).astype(dtype)
    y = (x + distance * rng.normal(size=20)).astype(dtype)
    truth = float(reference.kl_divergence(x, y).rounded())
    assert truth < distance**2
    assert sm.kl_divergence(x, y) == pytest.approx(truth, rel=1e-6 if dtype == "float32" else 1e-9)
    assert sm.kl_divergence(x, x) == 0


def test_divergence_of_impossible_classes(kernels):
    ninf = -np.inf
    assert sm.kl_divergence([0.0, 0.0], [0.0, ninf]) == np.inf
    assert sm.kl_divergence([0.0, ninf], [0.0, 0.0]) == pytest.approx(math.log(2))
    assert sm.kl_divergence([0.0, ninf], [1.0, ninf]) == 0
    assert sm.entropy([0.0, ninf]) == 0
    assert sm.entropy([0.0, ninf, 0.0]) == pytest.approx(math.log(2))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_reductions_of_divergence_and_entropy(kernels, reduction, rng):
    x, y = rng.normal(size=(4, 5)), rng.normal(size=(4, 5))
    reduce = {"none": lambda a: a, "mean": np.mean, "sum": np.sum}[reduction]
    np.testing.assert_allclose(sm.entropy(x, reduction=reduction), reduce(sm.entropy(x)), rtol=1e-14)
    np.testing.assert_allclose(sm.kl_divergence(x, y, reduction=reduction), reduce(sm.kl_divergence(x, y)), rtol=1e-14)
    assert sm.entropy(x.astype(np.float16), reduction=reduction).dtype == np.float32
    if reduction == "mean":
        assert np.isnan(sm.entropy(np.zeros((0, 3)), reduction="mean"))


def test_masks_of_both_logits_combine():
    x = np.ma.masked_array([1.0, 2.0, 3.0], [1, 0, 0])
    y = np.ma.masked_array([3.0, 1.0, 2.0], [0, 1, 0])
    assert sm.kl_divergence(x, y) == 0
    assert sm.kl_divergence(x, y.data) == sm.kl_divergence([2.0, 3.0], [1.0, 2.0])
    assert sm.kl_divergence(x.data, y) == pytest.approx(float(sm.kl_divergence([1.0, 3.0], [3.0, 2.0])))


# Bad input

X = np.zeros((3, 4))
T = [0, 1, 2]


@pytest.mark.parametrize("function", ["cross_entropy", "cross_entropy_and_grad"])
@pytest.mark.parametrize(
    ("target", "options", "error", "message"),
    [
        ([0, 4, 2], {}, sm.TargetError, r"target must lie in \[0, 4\); got 4 at row 1\. If it marks padding, pass ign"),
        ([0, 1, -100], {}, sm.TargetError, r"got -100 at row 2.*ignore_index=-100"),
        ([0, 5, -100], {"ignore_index": -100}, sm.TargetError, r"got 5 at row 1"),
        ([0, 1], {}, sm.TargetError, r"integers of shape \(3,\).*probabilities\); got numpy.*shape \(2,\)\.$"),
        ([[0], [1], [2]], {}, sm.TargetError, r"Reshape it to \(3,\)"),
        ([0.0, 1.0, 2.0], {}, sm.TargetError, "have to be integers: cast them"),
        (np.eye(3, 4, dtype=int), {}, sm.TargetError, "one-hot, cast it to a floating dtype"),
        (np.eye(3, 4, dtype=bool), {}, sm.TargetError, "one-hot, cast it"),
        ([True, False, True], {}, sm.TargetError, "dtype bool"),
        (["a", "b", "c"], {}, sm.TargetError, "dtype <U1"),
        ([[0], [1, 2]], {}, sm.TargetError, "no rectangular array"),
        ("abc", {}, sm.ArrayTypeError, "got str"),
        (np.ma.masked_array([0, 1, 2], [0, 0, 1]), {}, sm.TargetError, "masked array.*ignore_index"),
        (-np.eye(3, 4), {}, sm.TargetError, r"finite and not negative; got -1\.0 at \(0, 0\)"),
        (np.full((3, 4), np.nan), {}, sm.TargetError, r"got nan at \(0, 0\)"),
        (np.full((3, 4), np.inf), {}, sm.TargetError, r"got inf at \(0, 0\)"),
        (np.ones((3, 4)), {"ignore_index": 1}, sm.OptionError, "ignore_index needs class indices"),
        (T, {"ignore_index": 1.5}, sm.OptionError, r"integer or None; got 1\.5"),
        (T, {"ignore_index": True}, sm.OptionError, "got True"),
        (T, {"weight": [1, 2, 3]}, sm.ArrayValueError, r"shape \(4,\); got shape \(3,\)"),
        (T, {"weight": [1, 2, 3, -1]}, sm.ArrayValueError, r"finite and not negative; got -1\.0 at 3"),
        (T, {"weight": [1, 2, np.nan, 1]}, sm.ArrayValueError, "got nan at 2"),
        (T, {"weight": [1j, 1, 1, 1]}, sm.ArrayTypeError, "weight must hold real numbers"),
        (T, {"weight": ["a"] * 4}, sm.ArrayTypeError, "weight must hold real numbers"),
        (T, {"label_smoothing": 1.5}, sm.OptionError, r"label_smoothing must be a number in \[0, 1\]; got 1\.5"),
        (T, {"label_smoothing": np.nan}, sm.OptionError, "got nan"),
        (T, {"label_smoothing": "a"}, sm.OptionError, "got 'a'"),
        (T, {"softcap": 0}, sm.OptionError, "softcap must be a finite number above 0; got 0"),
        (T, {"softcap": np.inf}, sm.OptionError, "got inf"),
        (T, {"z_loss": -1.0}, sm.OptionError, "z_loss must be a finite number, 0 or more"),
        (T, {"temperature": 0.0}, sm.OptionError, "temperature"),
        (T, {"reduction": "avg"}, sm.OptionError, "reduction must be one of 'none', 'mean', 'sum'; got 'avg'"),
        (T, {"precision": "exact"}, sm.OptionError, "precision"),
        (T, {"where": np.ones((3, 5), bool)}, sm.ArrayValueError, r"\(3, 4\); got \(3, 5\)"),
        (T, {"axis": 2}, sm.AxisError, "out of range"),
        (T, {"axis": None}, sm.AxisError, "one integer here, the class axis"),
        (T, {"axis": (0, 1)}, sm.AxisError, "one integer here"),
    ],
    ids=lambda v: "" if isinstance(v, type) else None,
)
def test_bad_targets_and_options(function, target, options, error, message):
    with pytest.raises(error, match=message):
        getattr(sm, function)(X, target, **options)


def test_bad_logits():
    with pytest.raises(sm.ArrayValueError, match="need an axis for the classes"):
        sm.cross_entropy(3.0, 0)
    with pytest.raises(sm.ArrayTypeError, match="logits is complex"):
        sm.cross_entropy([1j, 0.0], 0)
    with pytest.raises(sm.ArrayTypeError, match=r"logits is no array.*got str"):
        sm.cross_entropy("abc", 0)
    with pytest.raises(sm.TargetError, match=r"\[0, 0\)"):
        sm.cross_entropy(np.zeros((1, 0)), [0])
    with pytest.raises(sm.ArrayValueError, match=r"v must have the shape of the logits, \(3, 4\); got \(4,\)"):
        sm.cross_entropy_hvp(X, T, np.ones(4))
    with pytest.raises(sm.ArrayValueError, match=r"logits_q must have the shape of the logits, \(3, 4\); got \(4,\)"):
        sm.kl_divergence(X, X[0])
    with pytest.raises(sm.ArrayTypeError, match="logits_q is no array"):
        sm.kl_divergence(X, "abc")
    with pytest.raises(sm.OptionError, match="reduction"):
        sm.entropy(X, reduction="avg")


def test_libraries_do_not_mix():
    torch = pytest.importorskip("torch")
    with pytest.raises(sm.ArrayTypeError, match=r"target must be an array of numpy.*Convert it"):
        sm.cross_entropy(X, torch.tensor(T))
    with pytest.raises(sm.ArrayValueError, match=r"weight requires a gradient.*detach"):
        sm.cross_entropy(torch.tensor(X), torch.tensor(T), weight=torch.ones(4, requires_grad=True))
    with pytest.raises(sm.TargetError, match=r"got 4 at row 1"):
        sm.cross_entropy(torch.tensor(X), torch.tensor([0, 4, 1]))
    assert float(sm.cross_entropy(torch.tensor(X), np.array(T), weight=[1, 1, 1, 1])) == pytest.approx(math.log(4))
