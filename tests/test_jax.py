"""JAX in its default configuration (float64 switched off): values, derivatives in both modes, jit, vmap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="needs jax")

import softmax as sm  # noqa: E402
from softmax import _jax as kernels  # noqa: E402
from softmax import _reference as reference  # noqa: E402
from softmax._kernels import portable  # noqa: E402
from softmax._typing import LossOptions  # noqa: E402
from tests.accuracy import naive_softmax  # noqa: E402
from tests.ulp import EPS, assert_within, must_fail  # noqa: E402

jnp = jax.numpy
INF, NAN = float("inf"), float("nan")


@pytest.fixture(autouse=True)
def _default_configuration() -> None:
    assert not jax.config.jax_enable_x64


def normal(*shape: int, scale: float = 1.0, seed: int = 0) -> Any:
    return jnp.asarray((scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32))


# Values


@pytest.mark.parametrize("compile_", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("n", [1, 3, 1000, 100_000])
@pytest.mark.parametrize("scale", [1.0, 15.0])
def test_float32_keeps_its_bound_without_float64(scale: float, n: int, compile_: bool) -> None:
    x = normal(max(1, 4000 // n), n, scale=scale)
    exact = np.asarray(x)
    for name in ("softmax", "log_softmax", "logsumexp"):
        function = getattr(sm, name)
        got = (jax.jit(function) if compile_ else function)(x)
        assert got.dtype == jnp.float32
        truth = getattr(reference, name)(exact)
        got = np.asarray(got)
        size = np.abs(truth.rounded())
        normal_range = (size >= np.finfo(np.float32).tiny) | (size == 0)
        assert normal_range.mean() > 0.5
        assert_within(np.where(normal_range, got, np.float32(0)), _zero_outside(truth, normal_range), 1.0)
    if scale > 1 and n == 1000:
        with must_fail():
            assert_within(naive_softmax(exact), reference.softmax(exact), 1.0)


def _zero_outside(truth: Any, inside: Any) -> Any:
    return reference.Pair(
        np.where(inside, truth.hi, 0), np.where(inside, truth.lo, 0), np.where(inside, truth.exponent, 0)
    )


def test_long_skewed_row() -> None:
    x = jnp.full(100_001, -15.0).at[50_000].set(0.0)
    assert abs(float(np.asarray(sm.softmax(x), np.float64).sum()) - 1) <= 1e-7
    got = np.asarray(sm.log_softmax(jnp.array([0.0, -18.0])))
    assert_within(got, reference.log_softmax(np.array([0.0, -18.0], np.float32)), 1.0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype: str) -> None:
    x = jnp.stack([normal(70_000), jnp.zeros(70_000)]).astype(dtype)
    exact = np.asarray(x.astype(jnp.float32), np.float64)
    got = sm.log_softmax(x)
    assert got.dtype == jnp.dtype(dtype)
    assert_within(np.asarray(got), reference.log_softmax(exact), 0.51)


def test_integers() -> None:
    with jax.enable_x64(True):
        assert sm.softmax(jnp.array([-128, 127], jnp.int8)).dtype == jnp.float64
    got = sm.softmax(jnp.array([0, 200], jnp.uint8))
    assert got.tolist() == [0.0, 1.0]
    assert sm.softmax(jnp.array([-128, 127], jnp.int8)).tolist() == [0.0, 1.0]


def test_special_values() -> None:
    x = jnp.array([[-INF, -INF], [INF, 0.0], [NAN, 0.0], [-INF, 0.0]])
    p, log_p = sm.softmax(x), sm.log_softmax(x)
    assert jnp.isnan(p[:3]).all()
    assert jnp.isnan(log_p[:3]).all()
    assert p[3].tolist() == [0.0, 1.0]
    assert log_p[3].tolist() == [-INF, 0.0]
    np.testing.assert_equal(np.asarray(sm.logsumexp(x)), np.array([-INF, INF, NAN, 0.0], np.float32))
    assert sm.softmax(jnp.zeros((3, 0))).shape == (3, 0)
    assert (sm.logsumexp(jnp.zeros((3, 0))) == -INF).all()


def test_signed_and_complex_sums() -> None:
    value, sign = sm.logsumexp(jnp.array([1.0, 2.0]), b=jnp.array([1.0, -1.0]), return_sign=True)
    assert float(value) == pytest.approx(1.541324854612918)
    assert float(sign) == -1
    assert jnp.isnan(sm.logsumexp(jnp.array([1.0, 2.0]), b=jnp.array([1.0, -1.0])))
    z = normal(3, 7) + 1j * normal(3, 7, seed=1)
    got = jax.jit(sm.logsumexp)(z)
    assert got.dtype == jnp.complex64
    np.testing.assert_allclose(np.asarray(got), np.log(np.exp(np.asarray(z)).sum(-1)), rtol=1e-6)


# Derivatives against JAX's own functions


W = jnp.asarray(np.random.default_rng(3).random((4, 5)) < 0.7).at[0].set(False).at[1].set(True)
LABELS = jnp.array([0, 4, 2, 2])


def _picked(log_p: Any) -> Any:
    return -jnp.take_along_axis(log_p, LABELS[:, None], axis=1)[:, 0]


def _capped(x: Any) -> Any:
    return 2 * jnp.tanh(x / 2) / 0.7


def _divergence(x: Any) -> Any:
    log_p, log_q = jax.nn.log_softmax(x), jax.nn.log_softmax(x**2 / 4)
    return (jnp.exp(log_p) * (log_p - log_q)).sum(-1)


def _smoothed(x: Any) -> Any:
    log_p = jax.nn.log_softmax(x)
    return 0.9 * _picked(log_p) - 0.1 * log_p.mean(-1)


PAIRS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "softmax": (lambda x: kernels.softmax(x, 1, temperature=0.5), lambda x: jax.nn.softmax(x / 0.5)),
    "masked": (lambda x: kernels.softmax(x, 1, where=W), lambda x: jax.nn.softmax(x, where=W)),
    "log_softmax": (lambda x: kernels.log_softmax(x, 1), jax.nn.log_softmax),
    "logsumexp": (lambda x: kernels.logsumexp(x, 1), lambda x: jax.nn.logsumexp(x, axis=-1)),
    "weighted": (
        lambda x: kernels.logsumexp(x, 1, b=x**2 + 0.1),
        lambda x: jax.nn.logsumexp(x, axis=-1, b=x**2 + 0.1),
    ),
    "complex": (
        lambda x: kernels.logsumexp(x + 1j * x**2, 1).real,
        lambda x: jnp.log(jnp.abs(jnp.exp(x + 1j * x**2).sum(-1))),
    ),
    "vjp": (lambda x: kernels.softmax_vjp(x, x**2, 1), lambda x: jax.vjp(jax.nn.softmax, x)[1](x**2)[0]),
    "log vjp": (lambda x: kernels.log_softmax_vjp(x, x**2, 1), lambda x: jax.vjp(jax.nn.log_softmax, x)[1](x**2)[0]),
    "log jvp": (lambda x: kernels.log_softmax_jvp(x, x**2, 1), lambda x: jax.jvp(jax.nn.log_softmax, (x,), (x**2,))[1]),
    "entropy": (lambda x: kernels.entropy(x, 1), lambda x: -(jax.nn.softmax(x) * jax.nn.log_softmax(x)).sum(-1)),
    "divergence": (lambda x: kernels.kl_divergence(x, x**2 / 4, 1), _divergence),
    "cross entropy": (
        lambda x: kernels.cross_entropy(x, LABELS, 1, LossOptions(label_smoothing=0.1))[0],
        _smoothed,
    ),
    "capped": (
        lambda x: kernels.cross_entropy(x, LABELS, 1, LossOptions(softcap=2.0, temperature=0.7, z_loss=0.1))[0],
        lambda x: _picked(jax.nn.log_softmax(_capped(x))) + 0.1 * jax.nn.logsumexp(_capped(x), axis=-1) ** 2,
    ),
}


def _close(got: Any, expected: Any, tolerance: float) -> None:
    assert got.dtype == expected.dtype
    scale = float(jnp.abs(expected).max())
    assert scale > 1e-3
    np.testing.assert_allclose(np.asarray(got), np.asarray(expected), rtol=0, atol=tolerance * scale)


def _derivatives(function: Callable[[Any], Any], x: Any, v: Any) -> dict[str, Any]:
    def number(x: Any) -> Any:
        return (function(x) ** 3).sum()

    return {
        "value": function(x),
        "tangent": jax.jvp(function, (x,), (v,))[1],
        "gradient": jax.grad(number)(x),
        "hessian": jax.hessian(number)(x),
    }


@pytest.mark.parametrize("name", PAIRS)
def test_derivatives(name: str) -> None:
    x, v = normal(4, 5, scale=1.5), normal(4, 5, seed=1)
    got, expected = (jax.jit(_derivatives, static_argnums=0)(function, x, v) for function in PAIRS[name])
    for what, tolerance in {"value": 3e-6, "tangent": 1e-5, "gradient": 1e-5, "hessian": 1e-4}.items():
        _close(got[what], expected[what], tolerance)


def test_derivatives_without_jit() -> None:
    x, v = normal(4, 5), normal(4, 5, seed=1)
    got, expected = (_derivatives(function, x, v) for function in PAIRS["softmax"])
    for what in got:
        _close(got[what], expected[what], 1e-4)


def test_vmap() -> None:
    x = normal(4, 5)
    expected = jax.nn.softmax(x)
    _close(jax.vmap(lambda z: kernels.softmax(z, 0))(x), expected, 1e-6)
    _close(jax.vmap(lambda z, w: kernels.softmax(z, 0, where=w))(x, W), jax.nn.softmax(x, where=W), 1e-6)
    loss = lambda z, y: kernels.cross_entropy(z, y, 0, LossOptions())[0]  # noqa: E731
    got = jax.jit(jax.vmap(jax.grad(loss)))(x, LABELS)
    _close(got, expected - jax.nn.one_hot(LABELS, 5), 1e-6)
    _close(jax.vmap(jax.hessian(loss))(x, LABELS), jax.vmap(jax.jacrev(jax.nn.softmax))(x), 1e-5)


def test_loss_gradient_and_hessian_product() -> None:
    x, v = normal(4, 5), normal(4, 5, seed=1)
    scale = jnp.array([1.0, 2.0, 0.0, -1.0])
    weight = jnp.array([0.5, 1.0, 2.0, 0.1, 3.0])
    where = W.at[jnp.arange(4), LABELS].set(True)
    options = LossOptions(weight=weight, label_smoothing=0.1, where=where, softcap=3.0, z_loss=0.1, ignore_index=4)
    plain = LossOptions(
        weight=np.asarray(weight), label_smoothing=0.1, where=np.asarray(where), softcap=3.0, z_loss=0.1, ignore_index=4
    )
    arrays = np.asarray(x), np.asarray(LABELS)
    loss, gradient = kernels.cross_entropy(x, LABELS, 1, options, row_scale=scale, want_grad=True)
    expected = portable.cross_entropy(*arrays, 1, plain, row_scale=np.asarray(scale), want_grad=True)
    _close(loss, expected[0], 1e-6)
    _close(gradient, expected[1], 1e-6)
    product = kernels.cross_entropy_hvp(x, LABELS, v, 1, options, row_scale=2.0)
    _close(product, portable.cross_entropy_hvp(*arrays, np.asarray(v), 1, plain, row_scale=2.0), 1e-6)
    out_of_range = kernels.cross_entropy(x, jnp.array([0, 9, 1, 1]), 1, LossOptions())[0]
    assert jnp.isnan(out_of_range).tolist() == [False, True, False, False]


def test_gradients_behind_masks_and_at_infinity() -> None:
    x = jnp.array([[NAN, INF, 1.0, 2.0], [NAN, -INF, 3.0, INF], [-INF, 0.0, 1.0, 2.0]])
    where = jnp.array([[False, False, True, True], [False] * 4, [True] * 4])
    functions = {
        "softmax": lambda x: (kernels.softmax(x, 1, where=where) ** 2).sum(),
        "log_softmax": lambda x: jnp.where(where[:, 2:], kernels.log_softmax(x, 1, where=where)[:, 2:], 0).sum() ** 2,
        "logsumexp": lambda x: (kernels.logsumexp(x, 1, where=where)[::2] ** 2).sum(),
        "entropy": lambda x: (kernels.entropy(x, 1, where=where) ** 2).sum(),
    }
    for name, function in functions.items():
        gradient = jax.jit(jax.grad(function))(x)
        assert jnp.isfinite(gradient).all(), name
        assert (gradient[~where] == 0).all(), name
        assert gradient[0, 2] != 0, name
        second = jax.jit(jax.grad(lambda x, f=function: (jax.grad(f)(x) ** 2).sum()))(x)
        assert jnp.isfinite(second).all(), name
        assert (second[~where] == 0).all(), name


@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("peak", [1.0, 20.0])
def test_reverse_mode_is_accurate(x64: bool, peak: float) -> None:
    """JAX transposes the rule; a cotangent with an offset shows whether the transposed code still shifts it."""
    with jax.enable_x64(x64):
        dtype = "float64" if x64 else "float32"
        x, g = (np.random.default_rng(i).normal(size=1000).astype(dtype) for i in (0, 1))
        x, g = peak * x, g + np.asarray(1e4, dtype)
        got = np.asarray(jax.vjp(sm.softmax, jnp.asarray(x))[1](jnp.asarray(g))[0])
        assert got.dtype == np.dtype(dtype)
    exact = reference.softmax_vjp(x, g).rounded()
    p = reference.softmax(x).rounded()
    spread = (p * np.abs(g.astype(float) - float(g[p.argmax()]))).sum()
    # In float64 the sums of the transposed code are XLA's.
    bound = 4 * EPS[dtype] * (np.abs(exact).max() + (spread if x64 else p * spread))
    assert (np.abs(got - exact) <= bound).all()
    naive = naive_softmax(x)
    assert not (np.abs(naive * (g - (naive * g).sum()) - exact) <= bound).all()
