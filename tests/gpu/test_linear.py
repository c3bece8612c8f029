"""The linear cross entropy with its chunks scored by the Triton kernels."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")

import softmax as sm  # noqa: E402
from softmax import _torch_gpu  # noqa: E402
from softmax._linear_plan import GPU_CHUNK, GPU_CHUNK_WITH_GRADIENT, Sizes, plan_for  # noqa: E402

F = torch.nn.functional


def layer(n: int, d: int, v: int, device: str, dtype: Any) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(n)
    x = torch.randn(n, d, generator=generator)
    weight = 2 * torch.randn(v, d, generator=generator)
    bias = torch.randn(v, generator=generator)
    y = torch.randint(0, v, (n,), generator=generator).to(device)
    return *(t.to(dtype).to(device) for t in (x, weight, bias)), y


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_loss_and_gradients(gpu: Any, served: str, dtype: Any, reduction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    chunk_loss = gpu.chunk_loss
    monkeypatch.setattr(gpu, "chunk_loss", lambda *args, **kwargs: calls.append(1) or chunk_loss(*args, **kwargs))
    x, weight, bias, y = layer(7, 5, 19, served, dtype)
    y[3] = -100
    leaves = [t.requires_grad_() for t in (x, weight, bias)]
    loss = sm.linear_cross_entropy(x, weight, y, bias, ignore_index=-100, label_smoothing=0.1, reduction=reduction)
    assert calls
    wide = [t.detach().double().requires_grad_() for t in leaves]
    exact = F.cross_entropy(F.linear(*wide), y, label_smoothing=0.1, reduction=reduction)
    torch.testing.assert_close(loss.double(), exact, rtol=2e-6 if dtype == torch.float32 else 1e-12, atol=1e-7)
    upstream = torch.rand(exact.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(served)
    got = torch.autograd.grad(loss, leaves, upstream.to(loss.dtype))
    for g, e in zip(got, torch.autograd.grad(exact, wide, upstream), strict=True):
        torch.testing.assert_close(g.double(), e, rtol=1e-5 if dtype == torch.float32 else 1e-11, atol=2e-6)


@pytest.mark.parametrize("bad", [19, -1])
def test_labels_out_of_range(served: str, bad: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("softmax._arrays.Torch.readable", lambda self, x: False)
    x, weight, bias, y = layer(4, 5, 19, served, torch.float32)
    y[1] = bad
    loss = sm.linear_cross_entropy(x, weight, y, bias, reduction="none")
    assert loss.isnan().tolist() == [False, True, False, False]


def test_plans_of_a_gpu() -> None:
    """4,096 rows of 128,256 classes with gradients, a quarter of a GiB without."""
    sizes = Sizes(8192, 4096, 128_256, 2, 2, 4, "with the loss", adds=True, chunk=GPU_CHUNK_WITH_GRADIENT)
    plan = plan_for(sizes)
    assert plan.rows == 4096
    assert "oneDNN" not in plan.formula
    forward = plan_for(Sizes(8192, 4096, 131_072, 2, 2, 4, chunk=GPU_CHUNK))
    assert forward.rows == 1024
    assert forward.peak < 300e6


def test_products_are_added_in_float32_where_pytorch_can(device: str) -> None:
    assert not _torch_gpu.adds_wide(torch.device("cpu"), torch.bfloat16)
    if device == "cpu":
        pytest.skip("needs a CUDA device: PyTorch adds such products there alone")
    assert _torch_gpu.adds_wide(torch.device("cuda", 0), torch.bfloat16)
    a, b = torch.randn(64, 32, device=device).bfloat16(), torch.randn(32, 48, device=device).bfloat16()
    total = torch.full((64, 48), float("nan"), device=device)
    _torch_gpu.add_product(total, a, b, first=True)
    _torch_gpu.add_product(total, a, b, first=False)
    torch.testing.assert_close(total.double(), 2 * a.double() @ b.double(), rtol=1e-5, atol=1e-5)


def test_a_budget_is_a_share_of_the_memory_where_the_tensors_lie(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 2 * 10**9))
    assert _torch_gpu.free_memory(torch.zeros(1, device=served)) == 10**9
    if served == "cuda":
        x, weight, bias, y = layer(4, 5, 19, served, torch.float32)
        with pytest.raises(sm.OptionError, match="must be at least"):
            sm.linear_cross_entropy(x, weight, y, bias, memory_budget=1e-9)
