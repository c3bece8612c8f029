"""The public functions on the Triton kernels: autograd of every order, transforms, graphs, checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")

import softmax as sm  # noqa: E402
from softmax import _arrays, _torch_gpu  # noqa: E402

# PyTorch loads its decompositions for forward mode through a function that it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

func = torch.func
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def normal(*shape: int, device: str, seed: int = 0, dtype: Any = torch.float64) -> Any:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed)).to(device)


def native(x: Any) -> Any:
    return torch.softmax(x, -1)


def native_loss(x: Any, y: Any) -> Any:
    return torch.nn.functional.cross_entropy(x, y, label_smoothing=0.1)


def loss(x: Any, y: Any) -> Any:
    return sm.cross_entropy(x, y, label_smoothing=0.1)


@pytest.fixture
def launches(gpu: Any, served: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels that were launched: a test that none served would prove nothing."""
    seen: list[str] = []
    run = gpu.run

    def spy(kernel: Any, *args: Any, **kwargs: Any) -> None:
        seen.append(kernel.fn.__name__)
        run(kernel, *args, **kwargs)

    monkeypatch.setattr(gpu, "run", spy)
    return seen


def test_values_and_gradients(served: str, launches: list[str]) -> None:
    x = normal(3, 5, device=served).requires_grad_()
    y = torch.tensor([0, 4, 2], device=served)
    for ours, theirs in (
        (sm.softmax, native),
        (sm.log_softmax, lambda x: torch.log_softmax(x, -1)),
        (sm.logsumexp, lambda x: torch.logsumexp(x, -1)),
        (lambda x: loss(x, y), lambda x: native_loss(x, y)),
    ):
        launches.clear()
        got, expected = ours(x), theirs(x)
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)
        g = normal(*got.shape, device=served, seed=1)
        gradients = [torch.autograd.grad(value, x, g)[0] for value in (got, expected)]
        torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-14)
        assert len(launches) >= 2


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp", "cross_entropy"])
def test_derivatives_of_every_order_and_mode(served: str, launches: list[str], name: str) -> None:
    x = normal(1, 3, device=served).requires_grad_()
    y = torch.tensor([1], device=served)
    function: Callable[[Any], Any] = getattr(sm, name)
    given = (lambda x: sm.cross_entropy(x, y, z_loss=0.1)) if name == "cross_entropy" else function
    assert torch.autograd.gradcheck(given, (x,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(given, (x,))
    assert launches


TRANSFORMS: dict[str, Callable[[Callable[[Any], Any]], Callable[[Any], Any]]] = {
    "vmap": func.vmap,
    "jacrev": func.jacrev,
    "jacfwd": func.jacfwd,
    "hessian": lambda f: func.hessian(lambda x: f(x).pow(3).sum()),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(served: str, launches: list[str], name: str) -> None:
    x = normal(2, 3, device=served)
    torch.testing.assert_close(TRANSFORMS[name](sm.softmax)(x), TRANSFORMS[name](native)(x), rtol=1e-9, atol=1e-13)
    assert launches


def test_tangents_have_values(served: str, launches: list[str]) -> None:
    x, v = normal(3, 4, device=served), normal(3, 4, device=served, seed=1)
    y = torch.tensor([0, 1, 2], device=served)
    torch.testing.assert_close(func.jvp(sm.softmax, (x,), (v,)), func.jvp(native, (x,), (v,)))
    got = func.jvp(lambda x: loss(x, y), (x,), (v,))
    expected = func.jvp(lambda x: native_loss(x, y), (x,), (v,))
    assert expected[1].abs() > 1e-3
    torch.testing.assert_close(got, expected)
    assert launches


def test_batched_cotangents(served: str) -> None:
    x = normal(2, 3, device=served).requires_grad_()
    basis = torch.eye(6, dtype=x.dtype, device=served).reshape(6, 2, 3)
    (got,) = torch.autograd.grad(sm.softmax(x), x, basis, is_grads_batched=True)
    (expected,) = torch.autograd.grad(native(x), x, basis, is_grads_batched=True)
    torch.testing.assert_close(got, expected)


def test_compiled(served: str, launches: list[str]) -> None:
    y = torch.tensor([0, 1, 2], device=served)

    def model(x: Any) -> Any:
        return sm.softmax(x.sin()).pow(2).sum() + loss(x, y)

    torch._dynamo.reset()
    x = normal(3, 4, device=served).requires_grad_()
    value = torch.compile(model, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(value, model(x))
    (got,), (expected,) = (torch.autograd.grad(v, x) for v in (value, model(x)))
    torch.testing.assert_close(got, expected)
    assert len(launches) >= 8
    torch._dynamo.reset()


def test_half_precision_gradients_are_rounded_once(served: str, launches: list[str]) -> None:
    x = (5 * normal(4, 33, device=served)).bfloat16().requires_grad_()
    y = torch.tensor([0, 1, 2, 32], device=served)
    value = sm.cross_entropy(x, y)
    assert value.dtype == torch.float32
    (got,) = torch.autograd.grad(value, x, torch.tensor(0.7, device=served))
    z = x.detach().double().requires_grad_()
    (exact,) = torch.autograd.grad(
        torch.nn.functional.cross_entropy(z, y), z, torch.tensor(0.7, device=served).double()
    )
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.double(), exact, rtol=2.0**-8 * 1.001, atol=1e-9)


def test_retained_graphs_and_the_callers_memory(served: str) -> None:
    x = normal(3, 5, device=served, dtype=torch.float32).requires_grad_()
    before = x.detach().clone()
    value = sm.cross_entropy(x, torch.tensor([0, 1, 2], device=served))
    first = torch.autograd.grad(value, x, retain_graph=True)[0]
    second = torch.autograd.grad(value, x)[0]
    assert torch.equal(first, second)
    assert torch.equal(x, before)


def test_hessian_products(served: str, launches: list[str]) -> None:
    x, v = normal(2, 4, device=served), normal(2, 4, device=served, seed=1)
    y = torch.tensor([0, 3], device=served)
    got = sm.cross_entropy_hvp(x, y, v, reduction="sum", label_smoothing=0.1)
    exact = func.jvp(
        func.grad(lambda x: torch.nn.functional.cross_entropy(x, y, reduction="sum", label_smoothing=0.1)), (x,), (v,)
    )[1]
    torch.testing.assert_close(got, exact)


def test_it_says_which_kernels_serve(served: str) -> None:
    assert "Triton kernels" in sm.explain_dispatch(sm.softmax, normal(2, 3, device=served)).reason


def test_integers_and_complex_numbers_go_elsewhere(served: str) -> None:
    assert _torch_gpu.gpu_kernels(torch.zeros(2, dtype=torch.complex64, device=served)) is None
    assert _torch_gpu.gpu_kernels(torch.zeros(2, device=served)) is not None
    assert sm.softmax(torch.tensor([1, 2], device=served)).dtype == torch.float64


# Checks that would wait for the device


class OnDevice:
    """A tensor as far as the question whether to look at its values goes."""

    device = torch.device("cuda", 0)


@pytest.mark.parametrize(("value", "readable"), [(None, False), ("0", False), ("", False), ("1", True)])
def test_values_on_a_device_are_looked_at_on_request(
    value: str | None, readable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOFTMAX_CHECK", raising=False)
    if value is not None:
        monkeypatch.setenv("SOFTMAX_CHECK", value)
    library = _arrays.Torch(torch)
    assert library.readable(OnDevice()) is readable
    assert library.readable(torch.zeros(1))


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch, served: str) -> str:
    """Tensors whose values nobody looks at, as on a device."""
    monkeypatch.delenv("SOFTMAX_CHECK", raising=False)
    monkeypatch.setattr(_arrays.Torch, "readable", lambda self, x: False)
    return served


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_labels_out_of_range_on_a_device(unread: str, reduction: str) -> None:
    x, y = normal(3, 4, device=unread).requires_grad_(), torch.tensor([0, 4, 1], device=unread)
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0], device=unread, dtype=x.dtype)
    for options in ({}, {"weight": weight}, {"ignore_index": 1}):
        value = sm.cross_entropy(x, y, reduction=reduction, **options)
        assert value.isnan().tolist() == ([False, True, False] if reduction == "none" else True)
        (gradient,) = torch.autograd.grad(value.sum(), x)
        assert gradient[1].isnan().all()


@needs_cuda
def test_the_check_waits_and_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = torch.zeros(3, 4, device="cuda"), torch.tensor([0, 4, 1], device="cuda")
    monkeypatch.setenv("SOFTMAX_CHECK", "1")
    with pytest.raises(sm.TargetError, match="got 4 at row 1"):
        sm.cross_entropy(x, y)


@needs_cuda
def test_nothing_waits_for_the_device() -> None:
    x = torch.randn(64, 1000, device="cuda", requires_grad=True)
    y = torch.randint(0, 1000, (64,), device="cuda")
    weight = torch.rand(1000, device="cuda")
    sm.cross_entropy(x, y, weight=weight, ignore_index=3).backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        sm.softmax(x).sum().backward()
        sm.cross_entropy(x, y, weight=weight, ignore_index=3, label_smoothing=0.1).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_cuda
def test_graphs_of_the_device() -> None:
    x = torch.randn(64, 1000, device="cuda", requires_grad=True)
    y = torch.randint(0, 1000, (64,), device="cuda")

    def step() -> Any:
        return torch.autograd.grad(sm.cross_entropy(x, y), x)[0]

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        captured = step()
    with torch.no_grad():
        x.copy_(torch.randn_like(x))
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(captured, step())
