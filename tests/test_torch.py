"""PyTorch: values, derivatives of every order and mode, transforms, compiled graphs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

import softmax as sm  # noqa: E402
from softmax import _reference as reference  # noqa: E402
from softmax import _torch as kernels  # noqa: E402
from softmax import _torch_rows  # noqa: E402
from softmax._typing import LossOptions  # noqa: E402
from tests.ulp import assert_within  # noqa: E402

# PyTorch loads its decompositions for forward mode through a function that it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

forward_ad = torch.autograd.forward_ad
func = torch.func
F = torch.nn.functional
INF, NAN = float("inf"), float("nan")
D = torch.float64


@pytest.fixture(params=["compiled", "portable"])
def kernel_set(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The kernels behind CPU tensors: Numba's and NumPy's."""
    if request.param == "compiled":
        pytest.importorskip("numba", reason="needs numba")
        monkeypatch.delenv("SOFTMAX_KERNELS", raising=False)
    else:
        monkeypatch.setenv("SOFTMAX_KERNELS", "portable")
    _torch_rows.cpu_kernels.cache_clear()
    _torch_rows.short_kernels.cache_clear()
    yield request.param
    _torch_rows.cpu_kernels.cache_clear()
    _torch_rows.short_kernels.cache_clear()


class Subclass(torch.Tensor):
    """What NumPy is not shown: takes the way of a tensor on another device."""


def normal(*shape: int, dtype: Any = D, scale: float = 1.0, seed: int = 0) -> Any:
    return scale * torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def leaf(*shape: int, scale: float = 1.0, seed: int = 0) -> Any:
    return normal(*shape, scale=scale, seed=seed).requires_grad_()


def mask(*shape: int, seed: int = 3) -> Any:
    where = torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.7
    where[..., 0] = True
    return where


# Values


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_values_are_those_of_numpy(kernel_set: str, dtype: Any, axis: int) -> None:
    x, g = normal(4, 5, 6, dtype=dtype, scale=5), normal(4, 5, 6, dtype=dtype, seed=1)
    where = mask(4, 5, 6)
    numpy_set = _torch_rows.cpu_kernels()
    for options in ({}, {"where": where, "temperature": 0.7}):
        plain = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
        for name in ("softmax", "log_softmax", "logsumexp", "entropy"):
            got = getattr(kernels, name)(x, axis, **options)
            assert got.dtype == dtype
            assert np.array_equal(got.numpy(), getattr(numpy_set, name)(x.numpy(), axis, **plain))
        for name in ("softmax_vjp", "log_softmax_vjp", "log_softmax_jvp", "kl_divergence"):
            got = getattr(kernels, name)(x, g, axis, **options)
            assert np.array_equal(got.numpy(), getattr(numpy_set, name)(x.numpy(), g.numpy(), axis, **plain))


@pytest.mark.parametrize("make", [
    lambda x: x.T.contiguous().T,
    lambda x: torch.stack([x, x], -1)[..., 0],
    lambda x: torch.cat([x, x])[: len(x)],
    torch.nn.Parameter,
    lambda x: torch._neg_view(-x),
    lambda x: x.as_subclass(Subclass),
], ids=["transposed", "strided", "sliced", "parameter", "negated view", "subclass"])  # fmt: skip
def test_layouts(kernel_set: str, make: Callable[[Any], Any]) -> None:
    x = normal(6, 33, dtype=torch.float32, scale=4)
    expected = kernels.softmax(x, 1)
    got = kernels.softmax(make(x), 1)
    assert got.shape == x.shape
    torch.testing.assert_close(got.detach().as_subclass(torch.Tensor), expected, rtol=2e-7, atol=0)
    repeated = x[:1].expand(5, 33)
    assert torch.equal(kernels.softmax(repeated, 1)[4], expected[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("n", [3, 1000, 70_000])
def test_half_precision(kernel_set: str, dtype: Any, n: int) -> None:
    x = torch.stack([normal(n), 4 * normal(n, seed=1), torch.zeros(n, dtype=D)]).to(dtype)
    exact = x.double().numpy()
    for name in ("softmax", "log_softmax", "logsumexp"):
        got = getattr(kernels, name)(x, 1)
        assert got.dtype == dtype
        assert_within(got, getattr(reference, name)(exact), 0.51)
    g = normal(3, n).to(dtype)
    truth = reference.softmax_vjp(exact, g.double().numpy()).rounded()
    got = kernels.softmax_vjp(x, g, 1)
    assert np.abs(got.double().numpy() - truth).max() <= torch.finfo(dtype).eps * np.abs(truth).max()


@pytest.mark.parametrize("subclass", [False, True], ids=["memory", "operations"])
@pytest.mark.parametrize("row", [[-INF, -INF], [INF, 0.0], [NAN, 0.0], [-INF, 0.0]], ids=str)
def test_special_values(kernel_set: str, row: list[float], subclass: bool) -> None:
    x = torch.tensor([row, [1.0, 2.0]])
    x = x.as_subclass(Subclass) if subclass else x
    p, log_p, lse = (np.asarray(getattr(kernels, name)(x, 1)) for name in ("softmax", "log_softmax", "logsumexp"))
    if row == [-INF, 0.0]:
        assert p[0].tolist() == [0, 1]
        assert log_p[0].tolist() == [-INF, 0]
        return
    assert np.isnan(p[0]).all()
    assert np.isnan(log_p[0]).all()
    np.testing.assert_equal(lse[0], {-INF: -INF, INF: INF}.get(row[0], NAN))
    assert np.isfinite(p[1]).all()


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3)])
def test_empty(kernel_set: str, shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape, requires_grad=True)
    axis = len(shape) - 1
    kernels.softmax(x, axis).sum().backward()
    assert x.grad.shape == shape
    assert (kernels.logsumexp(x, axis) == -INF).all()


def test_integers_are_float64() -> None:
    for dtype in (torch.int8, torch.uint8, torch.int64, torch.bool):
        got = sm.softmax(torch.tensor([0, 1], dtype=dtype))
        assert got.dtype == D
        assert torch.equal(got, torch.from_numpy(sm.softmax(np.array([0.0, 1.0]))))


def test_a_call_that_nothing_watches_records_nothing() -> None:
    x = leaf(3, 4)
    with torch.no_grad():
        assert not kernels.softmax(x, 1).requires_grad
    with torch.inference_mode():
        assert kernels.softmax(x, 1).shape == (3, 4)
    assert not kernels.softmax(x.detach(), 1).requires_grad
    assert kernels.softmax(x, 1).requires_grad


# Derivatives of every order


W = mask(2, 3, 2)
W[:, 0] = True
INDICES = torch.tensor([[0, 2], [1, -100]])
TARGET_MASK = W.scatter(1, INDICES.clamp(min=0)[:, None], True)
PROBABILITIES = torch.softmax(normal(2, 3, 2, seed=9), 1)
LOSSES = {
    "plain": LossOptions(),
    "everything": LossOptions(
        weight=torch.tensor([0.5, 2.0, 0.1], dtype=D),
        label_smoothing=0.1,
        temperature=0.6,
        softcap=2.0,
        z_loss=0.05,
    ),
    "masked": LossOptions(where=TARGET_MASK, label_smoothing=0.2, softcap=3.0, z_loss=0.1),
}  # fmt: skip


def _within_mask(values: Any, where: Any) -> Any:
    return values if where is None else torch.where(where, values, 0.0)


ROW_FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "softmax": (lambda x: kernels.softmax(x, 1, temperature=0.7), 1),
    "softmax masked": (lambda x: kernels.softmax(x, 1, where=W), 1),
    "log_softmax": (lambda x: kernels.log_softmax(x, 1, temperature=0.7), 1),
    "log_softmax masked": (lambda x: _within_mask(kernels.log_softmax(x, 1, where=W, temperature=2.0), W), 1),
    "logsumexp": (lambda x: kernels.logsumexp(x, 1, temperature=0.7), 1),
    "logsumexp masked": (lambda x: kernels.logsumexp(x, 1, where=W), 1),
    "logsumexp b": (lambda x, b: kernels.logsumexp(x, 1, b=b, temperature=0.7, return_sign=True)[0], 2),
    "softmax_vjp": (lambda x, g: kernels.softmax_vjp(x, g, 1, temperature=0.7, where=W), 2),
    "log_softmax_vjp": (lambda x, g: kernels.log_softmax_vjp(x, g, 1, temperature=0.7, where=W), 2),
    "log_softmax_jvp": (lambda x, v: kernels.log_softmax_jvp(x, v, 1, temperature=0.7, where=W), 2),
    "entropy": (lambda x: kernels.entropy(x, 1, temperature=0.7, where=W), 1),
    "kl_divergence": (lambda x, y: kernels.kl_divergence(x, y, 1, temperature=0.7, where=W), 2),
}


def check(function: Callable[..., Any], *inputs: Any, second: bool = True) -> None:
    """First derivatives in both modes, second ones forward over reverse, and batches of cotangents."""
    assert torch.autograd.gradcheck(
        function, inputs, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )
    if second:
        assert torch.autograd.gradgradcheck(function, inputs, check_fwd_over_rev=True)


@pytest.mark.parametrize("name", ROW_FUNCTIONS)
def test_derivatives_of_rows(kernel_set: str, name: str) -> None:
    function, n = ROW_FUNCTIONS[name]
    check(function, *(leaf(2, 3, 2, scale=2, seed=i) for i in range(n)))


@pytest.mark.parametrize("with_b", [False, True])
def test_derivatives_of_complex_sums(with_b: bool) -> None:
    z, b = (torch.complex(normal(2, 4, seed=i), normal(2, 4, seed=i + 5)).requires_grad_() for i in (0, 1))
    if with_b:
        check(lambda z, b: kernels.logsumexp(z, 1, b=b), z, b)
    else:
        check(lambda z: kernels.logsumexp(z, 1, temperature=0.7), z)
        check(lambda z: kernels.logsumexp(z, 1, return_sign=True), z)


@pytest.mark.parametrize("options", LOSSES.values(), ids=LOSSES)
def test_derivatives_of_cross_entropy(kernel_set: str, options: LossOptions) -> None:
    x, v, q = leaf(2, 3, 2), leaf(2, 3, 2, seed=1), PROBABILITIES.clone().requires_grad_()
    scale = leaf(2, 2, seed=2)
    where = options.where
    indices = LossOptions(**{k: getattr(options, k) for k in LossOptions.__slots__} | {"ignore_index": -100})
    check(lambda x: kernels.cross_entropy(x, INDICES, 1, indices)[0], x)
    check(lambda x: kernels.cross_entropy(x, INDICES, 1, indices, want_grad=True, row_scale=2.0)[1], x, second=False)
    check(lambda x, q: kernels.cross_entropy(x, _within_mask(q, where), 1, options)[0], x, q)
    gradient = lambda x, q, r: kernels.cross_entropy(  # noqa: E731
        x, _within_mask(q, where), 1, options, want_grad=True, row_scale=r
    )[1]
    check(gradient, x, q, scale, second=False)
    product = lambda x, v, r: kernels.cross_entropy_hvp(x, INDICES, v, 1, indices, row_scale=r)  # noqa: E731
    check(product, x, v, scale, second=False)


def test_hessian_product_formula_is_the_kernel(kernel_set: str) -> None:
    x, v = normal(2, 3, 2), normal(2, 3, 2, seed=1)
    for options in LOSSES.values():
        for target in (INDICES.clamp(min=0), _within_mask(PROBABILITIES, options.where)):
            plain = kernels.cross_entropy_hvp(x, target, v, 1, options, row_scale=0.5)
            watched = kernels.cross_entropy_hvp(x.clone().requires_grad_(), target, v, 1, options, row_scale=0.5)
            torch.testing.assert_close(plain, watched.detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ROW_FUNCTIONS)
def test_operations_of_other_devices_agree(name: str) -> None:
    """The portable kernels in PyTorch's operations, and the rules on top of them."""
    function, n = ROW_FUNCTIONS[name]
    inputs = [normal(2, 3, 2, scale=2, seed=i) for i in range(n)]
    plain, other = (
        [make(x).requires_grad_() for x in inputs] for make in (torch.clone, lambda x: x.as_subclass(Subclass))
    )
    results = function(*plain), function(*other)
    torch.testing.assert_close(results[1].as_subclass(torch.Tensor), results[0], rtol=1e-14, atol=1e-14)
    gradients = [torch.autograd.grad(r.pow(2).sum(), xs) for r, xs in zip(results, (plain, other), strict=True)]
    for got, expected in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(got.as_subclass(torch.Tensor), expected, rtol=1e-12, atol=1e-13)


def test_masked_entries_have_no_gradient(kernel_set: str) -> None:
    values = torch.tensor([[NAN, INF, 1.0, 2.0], [NAN, -INF, 3.0, INF]], dtype=D)
    where = torch.tensor([[False, False, True, True], [False] * 4])
    v = torch.tensor([[NAN, 1.0, 2.0, 3.0]] * 2, dtype=D)
    functions = {
        "softmax": lambda x: kernels.softmax(x, 1, where=where).pow(2).sum(),
        "log_softmax": lambda x: kernels.log_softmax(x, 1, where=where)[:, 2].nan_to_num(neginf=0.0).sum(),
        "logsumexp": lambda x: kernels.logsumexp(x, 1, where=where)[0],
        "entropy": lambda x: kernels.entropy(x, 1, where=where).sum(),
        "vjp": lambda x: kernels.softmax_vjp(x, v, 1, where=where).pow(2).sum(),
        "cross entropy": lambda x: kernels.cross_entropy(x, torch.tensor([2, 2]), 1, LossOptions(where=where))[0].sum(),
    }
    for name, function in functions.items():
        x = values.clone().requires_grad_()
        (first,) = torch.autograd.grad(function(x), x, create_graph=True)
        assert (first[~where] == 0).all(), name
        assert first[0, 2:].isfinite().all(), name
        assert first[0, 2] != 0, name
        (second,) = torch.autograd.grad(first[0, 2:].pow(2).sum(), x)
        assert (second[~where] == 0).all(), name
        assert second.isfinite().all(), name


def test_gradients_at_infinite_logits(kernel_set: str) -> None:
    x = torch.tensor([-INF, 0.0, 1.0], dtype=D, requires_grad=True)
    for function in (kernels.softmax, kernels.logsumexp, kernels.entropy):
        (gradient,) = torch.autograd.grad(function(x, 0).pow(2).sum(), x)
        assert gradient.isfinite().all()
        assert gradient[0] == 0
    loss = kernels.cross_entropy(x, torch.tensor([0.0, 0.5, 0.5], dtype=D), 0, LossOptions())[0]
    assert loss.isfinite()
    assert torch.autograd.grad(loss, x)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_backward_is_accurate(kernel_set: str, dtype: Any) -> None:
    """A cotangent with an offset and a peaked softmax: where p·(g - <p, g>) loses everything."""
    x = normal(1000, dtype=dtype, scale=20).requires_grad_()
    g = 1e4 + normal(1000, dtype=dtype, seed=1)
    kernels.softmax(x, 0).backward(g)
    exact = reference.softmax_vjp(x.detach().numpy(), g.numpy()).rounded()
    p = reference.softmax(x.detach().numpy()).rounded()
    top = int(p.argmax())
    eps = torch.finfo(dtype).eps
    bound = 2 * eps * (np.abs(exact).max() + p * (p * np.abs(g.double().numpy() - float(g[top]))).sum())
    assert (np.abs(x.grad.double().numpy() - exact) <= bound).all()
    naive = torch.autograd.grad(torch.softmax(y := x.detach().requires_grad_(), 0), y, g)[0]
    assert not (np.abs(naive.double().numpy() - exact) <= bound).all()


def test_gradient_of_a_certain_class(kernel_set: str) -> None:
    x = torch.tensor([30.0, 0.0], requires_grad=True)
    loss = kernels.cross_entropy(x, torch.tensor(0), 0, LossOptions())[0]
    loss.backward()
    assert loss.item() == pytest.approx(9.357622968839e-14, rel=1e-6, abs=0)
    assert x.grad.tolist() == pytest.approx([-9.357622968839e-14, 9.357622968839e-14], rel=1e-6, abs=0)


# Forward mode and transforms


def native(x: Any) -> Any:
    return torch.softmax(x, -1)


def ours(x: Any) -> Any:
    return kernels.softmax(x, x.ndim - 1)


def cubes(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: function(x).pow(3).sum()


def test_tangents_have_values(kernel_set: str) -> None:
    x, v = normal(5, 4), normal(5, 4, seed=1)
    expected = func.jvp(native, (x,), (v,))
    assert expected[1].abs().max() > 0.1
    torch.testing.assert_close(func.jvp(ours, (x,), (v,)), expected)
    with forward_ad.dual_level():
        result = forward_ad.unpack_dual(ours(forward_ad.make_dual(x, v)))
        torch.testing.assert_close(result.tangent, expected[1])
        loss = kernels.cross_entropy(forward_ad.make_dual(x, v), torch.zeros(5, dtype=torch.int64), 1, LossOptions())[0]
        tangent = forward_ad.unpack_dual(loss).tangent
        torch.testing.assert_close(tangent, (expected[0] * v).sum(1) - v[:, 0])


TRANSFORMS: dict[str, Callable[[Callable[[Any], Any]], Callable[[Any], Any]]] = {
    "vmap": func.vmap,
    "vmap over columns": lambda f: func.vmap(f, in_dims=1, out_dims=1),
    "vmap of vmap": lambda f: lambda x: func.vmap(func.vmap(f))(x[None]),
    "grad": lambda f: func.grad(cubes(f)),
    "jacrev": func.jacrev,
    "jacfwd": func.jacfwd,
    "hessian": lambda f: func.hessian(cubes(f)),
    "hessian of each row": lambda f: func.vmap(func.hessian(cubes(f))),
    "third order": lambda f: func.jacfwd(func.jacrev(func.jacfwd(f))),
    "grad of grad of grad": lambda f: func.grad(cubes(func.grad(cubes(func.grad(cubes(f)))))),
    "vectorised jacobian": lambda f: lambda x: torch.autograd.functional.jacobian(f, x, vectorize=True),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(kernel_set: str, name: str) -> None:
    x = normal(3, 4, scale=2)
    got, expected = TRANSFORMS[name](ours)(x), TRANSFORMS[name](native)(x)
    assert expected.abs().max() > 1e-5
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-13)


def test_vmap_over_some_arguments(kernel_set: str) -> None:
    x, where = normal(6, 4), mask(6, 4)
    one_mask = func.vmap(lambda z: kernels.softmax(z, 0, where=where[0]))(x)
    torch.testing.assert_close(one_mask, kernels.softmax(x, 1, where=where[0].expand(6, 4)))
    many = func.vmap(lambda z, w: kernels.log_softmax(z, 0, where=w))(x, where)
    torch.testing.assert_close(many, kernels.log_softmax(x, 1, where=where))
    masks = func.vmap(lambda w: kernels.softmax(x[0], 0, where=w))(where)
    torch.testing.assert_close(masks, kernels.softmax(x[:1].expand(6, 4), 1, where=where))


def test_vmap_of_cross_entropy(kernel_set: str) -> None:
    x, target, weight = normal(6, 4), torch.tensor([0, 1, 2, 3, 0, 1]), torch.rand(6, 4, dtype=D)

    def mine(z: Any, y: Any, w: Any) -> Any:
        return kernels.cross_entropy(z, y, z.ndim - 1, LossOptions(weight=w))[0]

    def theirs(z: Any, y: Any, w: Any) -> Any:
        return F.cross_entropy(z, y, weight=w, reduction="none")

    torch.testing.assert_close(func.vmap(mine, (0, 0, None))(x, target, weight[0]), theirs(x, target, weight[0]))
    each = torch.stack([theirs(*arguments) for arguments in zip(x, target, weight, strict=True)])
    torch.testing.assert_close(func.vmap(mine)(x, target, weight), each)
    for transform in (func.grad, func.hessian):
        torch.testing.assert_close(
            func.vmap(transform(mine), (0, 0, None))(x, target, weight[0]),
            func.vmap(transform(theirs), (0, 0, None))(x, target, weight[0]),
        )


# Compiled graphs


@pytest.fixture
def compiled() -> Iterator[Callable[..., Any]]:
    """torch.compile without graph breaks, without generated code."""
    torch._dynamo.reset()
    yield lambda f, backend="aot_eager": torch.compile(f, fullgraph=True, backend=backend)
    torch._dynamo.reset()


def test_compiled_forward_and_backward(compiled: Any) -> None:
    def model(x: Any, w: Any) -> Any:
        p = kernels.softmax(x.sin(), 1, temperature=0.5)
        q = kernels.log_softmax(x * 2, 1, where=w)
        return p.pow(3).sum() + torch.where(w, q, 0.0).sum() + kernels.logsumexp(x, 1).sum()

    x, w = leaf(6, 5), mask(6, 5)
    value = compiled(model)(x, w)
    torch.testing.assert_close(value, model(x, w), rtol=1e-12, atol=0)
    got, expected = (torch.autograd.grad(v, x)[0] for v in (value, model(x, w)))
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


def test_compiled_losses(compiled: Any) -> None:
    target = torch.tensor([0, 1, 2, 3, 0, 1])

    def model(x: Any, y: Any) -> Any:
        options = LossOptions(label_smoothing=0.1, softcap=5.0, z_loss=0.01)
        loss = kernels.cross_entropy(x, target, 1, options)[0]
        return loss.sum() + kernels.entropy(x, 1).sum() + kernels.kl_divergence(x, y, 1).sum()

    x, y = leaf(6, 4), leaf(6, 4, seed=1)
    value = compiled(model)(x, y)
    torch.testing.assert_close(value, model(x, y), rtol=1e-12, atol=0)
    for got, expected in zip(torch.autograd.grad(value, (x, y)), torch.autograd.grad(model(x, y), (x, y)), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", ["vmap", "grad", "jacfwd", "hessian"])
def test_compiled_transforms(compiled: Any, name: str) -> None:
    x = normal(4, scale=2) if name != "vmap" else normal(3, 4)
    torch.testing.assert_close(compiled(TRANSFORMS[name](ours))(x), TRANSFORMS[name](native)(x), rtol=1e-9, atol=1e-13)


def test_compiled_tangents_have_values(compiled: Any) -> None:
    x, v = normal(5, 4), normal(5, 4, seed=1)
    expected = func.jvp(native, (x,), (v,))
    torch.testing.assert_close(compiled(lambda x, v: func.jvp(ours, (x,), (v,)))(x, v), expected)
    function = compiled(ours)
    torch.testing.assert_close(function(x), expected[0])
    with forward_ad.dual_level():  # after a graph without tangents has been compiled
        result = forward_ad.unpack_dual(function(forward_ad.make_dual(x, v)))
        assert result.tangent is not None
        torch.testing.assert_close(result.tangent, expected[1])


def test_compiled_public_functions(compiled: Any) -> None:
    def model(x: Any, y: Any) -> Any:
        return sm.softmax(x, axis=0).pow(2).sum() + sm.logsumexp(x, axis=(0, 1)) + sm.log_softmax(x)[:, 0].sum()

    x = leaf(6, 4)
    value = compiled(model)(x, None)
    torch.testing.assert_close(value, model(x, None), rtol=1e-12, atol=0)
    got, expected = (torch.autograd.grad(v, x)[0] for v in (value, model(x, None)))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++, which PyTorch's inductor compiles with")
@pytest.mark.skipif(" " in torch.__file__, reason="PyTorch's inductor does not quote the paths that it gives to g++")
def test_inductor(compiled: Any) -> None:
    def model(x: Any) -> Any:
        return kernels.softmax(x.sin(), 1).pow(3).sum()

    x = leaf(6, 5)
    value = compiled(model, "inductor")(x)
    torch.testing.assert_close(value, model(x))
    torch.testing.assert_close(torch.autograd.grad(value, x)[0], torch.autograd.grad(model(x), x)[0])


def test_operators_are_well_formed() -> None:
    """PyTorch's own checks of a custom operator: schema, fake kernel, autograd registration."""
    x, where = leaf(3, 4), mask(3, 4)
    options = (1, 1.0, "accurate", None, 0.0, None, 0.0)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    for arguments, name in (
        ((x, where), "softmax"),
        ((x, None), "logsumexp"),
        ((x, torch.tensor([0, 1, 2]), None, where, None), "cross_entropy_gradient"),
    ):
        torch.library.opcheck(getattr(torch.ops.softmax, name), (*arguments, *options), test_utils=tests)


def test_fake_tensors_have_shapes() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        x = torch.randn(3, 4)
        assert kernels.softmax(x, 1).shape == (3, 4)
        assert kernels.logsumexp(x, 0).shape == (4,)
        assert kernels.cross_entropy(x, torch.tensor([0, 1, 2]), 1, LossOptions())[0].shape == (3,)
    assert kernels.softmax(torch.zeros(2, 3, device="meta"), 1).shape == (2, 3)


def test_public_losses_inside_transforms(compiled: Any) -> None:
    x, target = normal(6, 4), torch.tensor([0, 1, 2, 3, -100, 1])

    def mine(x: Any) -> Any:
        return sm.cross_entropy(x, target, ignore_index=-100, label_smoothing=0.1)

    def theirs(x: Any) -> Any:
        return F.cross_entropy(x, target, label_smoothing=0.1)

    torch.testing.assert_close(func.jvp(mine, (x,), (x,)), func.jvp(theirs, (x,), (x,)))
    torch.testing.assert_close(func.hessian(mine)(x), func.hessian(theirs)(x))
    y = x.clone().requires_grad_()
    torch.testing.assert_close(torch.autograd.grad(compiled(mine)(y), y)[0], func.grad(theirs)(x))
    with pytest.raises(sm.TargetError, match="got 9 at row 4"):
        sm.cross_entropy(x, torch.tensor([0, 1, 2, 3, 9, 1]))
    probabilities = torch.softmax(normal(6, 4, seed=2), 1).requires_grad_()
    (got,) = torch.autograd.grad(sm.cross_entropy(x, probabilities), probabilities)
    torch.testing.assert_close(got, -torch.log_softmax(x, 1) / 6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cuda(dtype: Any) -> None:
    x = normal(50, 1000, dtype=dtype, scale=10)
    y = x.cuda().requires_grad_()
    p = kernels.softmax(y, 1)
    assert p.is_cuda
    assert_within(p.cpu(), reference.softmax(x.numpy()), 1.0 if dtype == torch.float32 else 4.0)
    g = normal(50, 1000, dtype=dtype, seed=1)
    (gradient,) = torch.autograd.grad(p, y, g.cuda())
    torch.testing.assert_close(gradient.cpu(), kernels.softmax_vjp(x, g, 1))
    loss, slope = kernels.cross_entropy(y, torch.zeros(50, dtype=torch.int64).cuda(), 1, LossOptions(), want_grad=True)
    assert loss.is_cuda
    assert slope.is_cuda
