"""Cross entropy in Triton, every option, against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from softmax import _torch  # noqa: E402, F401  # gives the portable kernels PyTorch's functions
from softmax._kernels import portable  # noqa: E402
from softmax._typing import LossOptions  # noqa: E402
from tests.ulp import EPS, must_fail  # noqa: E402

INF, NAN = float("inf"), float("nan")
ARITHMETIC = pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
LOSS_EPS = {"float32": 2.0**-24, "bfloat16": 2.0**-24, "float16": 2.0**-24, "float64": 2.0**-53}
ONE_BLOCK = {"float32": 8192, "bfloat16": 16384, "float16": 16384, "float64": 4096}

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "ignored": {"ignore_index": -100},
    "weights": {"weight": True, "ignore_index": 1},
    "smoothed": {"label_smoothing": 0.1, "ignore_index": -100},
    "smoothed weights": {"label_smoothing": 0.2, "weight": True},
    "z-loss": {"z_loss": 0.02},
    "softcap": {"softcap": 5.0, "temperature": 0.5},
    "temperature": {"temperature": 0.7},
    "everything": {"label_smoothing": 0.1, "weight": True, "z_loss": 0.01, "softcap": 8.0, "temperature": 2.0},
}  # fmt: skip


def logits_of(n: int, dtype: str, device: str, seed: int = 0) -> Any:
    """Flat, peaked at the first label, peaked elsewhere, with classes ruled out."""
    rng = np.random.default_rng([seed, n])
    x = np.stack([0.1 * rng.normal(size=n), rng.normal(size=n), 6 * rng.normal(size=n), 3 * rng.normal(size=n)])
    x[1, min(1, n - 1)] += 15
    x[3, 3:9] = -INF
    return torch.as_tensor(x).to(getattr(torch, dtype)).to(device)


def labels_of(n: int, device: str, options: LossOptions) -> Any:
    last = n - 1
    third = options.ignore_index if options.ignore_index is not None else last
    return torch.tensor([0, min(1, last), third, last], device=device)


def probabilities_of(n: int, device: str, dtype: Any) -> Any:
    q = torch.softmax(2 * torch.randn(4, n, dtype=torch.float64, generator=torch.Generator().manual_seed(n)), 1)
    q[0] = 0
    q[0, -1] = 1
    q[3, 3:9] = 0
    return q.to(dtype).to(device)


def filled(options: dict[str, Any], n: int, device: str, dtype: Any) -> LossOptions:
    weight = torch.linspace(0.1, 2.0, n, dtype=torch.float64).to(dtype).to(device) if "weight" in options else None
    return LossOptions(**options | {"weight": weight})


def truth_of(x: Any, target: Any, o: LossOptions, row_scale: Any) -> tuple[Any, Any, Any]:
    """Loss and gradient in float64 of the same logits, and what the terms of the gradient add up to."""
    z = x if o.temperature == 1.0 or o.softcap is not None else x / o.temperature  # as the division before would
    factor = 1.0 if o.softcap is not None else 1 / o.temperature
    wide = {
        "weight": None if o.weight is None else o.weight.double().cpu(),
        "temperature": 1.0 if o.softcap is None else o.temperature,
        "where": None if o.where is None else o.where.cpu(),
    }
    fields = {name: getattr(o, name) for name in LossOptions.__slots__} | wide
    target = target.cpu() if target.ndim == 1 else target.double().cpu()
    scale = factor * (1.0 if row_scale is None else row_scale.double().cpu())
    options = LossOptions(**fields)
    loss, gradient = portable.cross_entropy(
        z.double().cpu(), target, 1, options, row_scale=torch.as_tensor(scale).expand(len(x)), want_grad=True
    )
    size = torch.as_tensor(scale).abs().expand(len(x))[:, None] * (1 if o.weight is None else o.weight.max().cpu())
    return loss, gradient, size.double()


def check(gpu: Any, x: Any, target: Any, o: LossOptions, row_scale: Any = None) -> None:
    """Loss within 4·2⁻²⁴·max(1, loss); gradient within one unit of its dtype, beside what its terms cancel."""
    dtype = str(x.dtype).removeprefix("torch.")
    truth, exact, size = truth_of(x, target, o, row_scale)
    loss, gradient = gpu.cross_entropy(x, target, 1, o, row_scale=row_scale, want_grad=True)
    assert loss.dtype == (torch.float64 if dtype == "float64" else torch.float32)
    assert gradient.dtype == x.dtype
    cap = 8 if dtype == "float64" and o.softcap is not None else 1  # the rounding of a capped logit
    allowed = 4 * cap * LOSS_EPS[dtype] * truth.abs().clamp(min=1)
    bad = ~((loss.double().cpu() - truth).abs() <= allowed) & (loss.double().cpu() != truth)
    assert not (bad & ~truth.isnan()).any(), (loss, truth)
    assert torch.equal(loss.isnan().cpu(), truth.isnan())

    got = gradient.double().cpu()
    terms = {"float32": 2.0**-27, "float64": 2.0**-50}.get(dtype, 2.0**-21)
    unit = np.spacing(exact.abs().to(getattr(torch, dtype)).double().numpy()) * 2.0**52 * EPS[dtype]
    bound = torch.as_tensor(unit) * (4 if dtype == "float64" else 1) + cap * terms * size
    fine = ((got - exact).abs() <= bound) | (got.isnan() & exact.isnan())
    assert fine.all(), (got[~fine], exact[~fine])
    if x.shape[1] > 1:
        with must_fail():
            assert ((0.9 * exact - exact).abs() <= bound).all()


@ARITHMETIC
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("probabilities", [False, True], ids=["labels", "probabilities"])
def test_options(gpu: Any, device: str, dtype: str, name: str, probabilities: bool) -> None:
    x = logits_of(21, dtype, device)
    given = dict(OPTIONS[name])
    if probabilities:
        given.pop("ignore_index", None)
    o = filled(given, 21, device, torch.float64 if dtype == "float64" else torch.float32)
    target = probabilities_of(21, device, x.dtype) if probabilities else labels_of(21, device, o)
    if name in ("everything", "smoothed", "smoothed weights"):
        x = x.nan_to_num(neginf=-7.0)  # smoothing asks for every class: a loss of inf tells nothing
    check(gpu, x, target, o, torch.tensor([0.3, -2.0, 1.5, 1.0], device=device))


@ARITHMETIC
@pytest.mark.parametrize("name", ["ignored", "smoothed weights", "everything"])
@pytest.mark.parametrize("masked", [False, True])
def test_options_in_blocks(gpu: Any, device: str, small_blocks: None, dtype: str, name: str, masked: bool) -> None:
    n = 20
    x = logits_of(n, dtype, device).nan_to_num(neginf=-7.0)
    o = filled(OPTIONS[name], n, device, torch.float64 if dtype == "float64" else torch.float32)
    if masked:
        where = torch.rand(4, n, generator=torch.Generator().manual_seed(0)) < 0.7
        where[1, :9] = False  # the first block, where the label lies: an infinite loss
        where[3, -1] = True
        fields = {name: getattr(o, name) for name in LossOptions.__slots__}
        o = LossOptions(**fields | {"where": where.to(device)})
    check(gpu, x, labels_of(n, device, o), o)
    if o.ignore_index is None:
        check(gpu, x, probabilities_of(n, device, x.dtype), o)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("beyond", [0, 1])
def test_the_longest_row_of_one_block(gpu: Any, device: str, dtype: str, beyond: int) -> None:
    n = ONE_BLOCK[dtype] + beyond
    x = logits_of(n, dtype, device)[2:]
    x[1, : n // 2 + 9] = -INF
    check(gpu, x, torch.tensor([5, n - 1], device=device), LossOptions())
    check(gpu, x[:1], torch.tensor([n - 1], device=device), LossOptions(label_smoothing=0.1))


def test_upstream_scales(gpu: Any, device: str) -> None:
    x, y = logits_of(9, "float32", device), torch.tensor([0, 1, 2, 2], device=device)
    plain = gpu.cross_entropy(x, y, 1, LossOptions(), want_grad=True)[1]
    for scale in (0.25, torch.tensor(0.25, device=device), torch.full((), 0.25, device=device).expand(4)):
        got = gpu.cross_entropy(x, y, 1, LossOptions(), row_scale=scale, want_grad=True)[1]
        assert torch.equal(got, 0.25 * plain)


def test_a_certain_class_keeps_its_digits(gpu: Any, device: str) -> None:
    """Where p of the label rounds to 1, the gradient is minus the sum of the others and not 0."""
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.tensor([[30.0, 0.0, 1.0]], dtype=dtype, device=device)
        loss, gradient = gpu.cross_entropy(x, torch.tensor([0], device=device), 1, LossOptions(), want_grad=True)
        others = np.exp(-30.0) + np.exp(-29.0)
        assert loss.item() == pytest.approx(others, rel=1e-6, abs=0)
        assert gradient[0, 0].item() == pytest.approx(-others, rel=torch.finfo(dtype).eps, abs=0)


# Labels


@pytest.mark.parametrize("blocks", [False, True])
def test_labels_out_of_range_give_nan(gpu: Any, device: str, blocks: bool, request: pytest.FixtureRequest) -> None:
    if blocks:
        request.getfixturevalue("small_blocks")
    x = logits_of(20, "float32", device)
    y = torch.tensor([20, -1, 2**40, 3], device=device)
    loss, gradient = gpu.cross_entropy(x, y, 1, LossOptions(weight=torch.ones(20, device=device)), want_grad=True)
    assert loss.isnan().tolist() == [True, True, True, False]
    assert gradient.isnan().all(1).tolist() == [True, True, True, False]


@pytest.mark.parametrize("blocks", [False, True])
def test_ignored_rows_are_not_read(gpu: Any, device: str, blocks: bool, request: pytest.FixtureRequest) -> None:
    if blocks:
        request.getfixturevalue("small_blocks")
    x = logits_of(20, "float32", device)
    x[1] = NAN
    y = torch.tensor([1, -100, 3, -100], device=device)
    loss, gradient = gpu.cross_entropy(x, y, 1, LossOptions(ignore_index=-100), want_grad=True)
    assert loss[[1, 3]].tolist() == [0, 0]
    assert (gradient[[1, 3]] == 0).all()
    assert loss[[0, 2]].isfinite().all()


@pytest.mark.parametrize("blocks", [False, True])
def test_bad_rows(gpu: Any, device: str, blocks: bool, request: pytest.FixtureRequest) -> None:
    if blocks:
        request.getfixturevalue("small_blocks")
    x = logits_of(20, "float32", device).nan_to_num(neginf=0.0)
    x[0, 3], x[1, 17], x[2] = NAN, INF, -INF
    where = torch.ones(4, 20, dtype=torch.bool, device=device)
    where[3] = False
    y = torch.zeros(4, dtype=torch.int64, device=device)
    loss, gradient = gpu.cross_entropy(x, y, 1, LossOptions(where=where), want_grad=True)
    assert loss.isnan().tolist() == [True, True, True, False]
    assert loss[3] == INF
    assert gradient[:3].isnan().all()
    assert (gradient[3] == 0).all()


@pytest.mark.parametrize("shape", [(0, 5), (3, 0)])
def test_nothing(gpu: Any, device: str, shape: tuple[int, int]) -> None:
    x, y = torch.zeros(shape, device=device), torch.zeros(shape[0], dtype=torch.int64, device=device)
    loss, gradient = gpu.cross_entropy(x, y, 1, LossOptions(), want_grad=True)
    assert loss.shape == shape[:1]
    assert gradient.shape == shape


# Memory, and who computes


def test_class_axis_in_the_middle(gpu: Any, device: str) -> None:
    x = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0)).to(device)
    y = torch.randint(0, 5, (2, 7), generator=torch.Generator().manual_seed(1)).to(device)
    q = torch.softmax(x.flip(1), 1).transpose(1, 2).contiguous().transpose(1, 2)
    scale = torch.rand(2, 7, device=device)
    for target in (y, q):
        loss, gradient = gpu.cross_entropy(x, target, 1, LossOptions(), row_scale=scale, want_grad=True)
        moved = target if target.ndim == 2 else target.movedim(1, 2).reshape(14, 5)
        rows = gpu.cross_entropy(
            x.movedim(1, 2).reshape(14, 5), moved.reshape(14, *moved.shape[2:]) if target.ndim == 2 else moved, 1,
            LossOptions(), row_scale=scale.reshape(14), want_grad=True,
        )  # fmt: skip
        torch.testing.assert_close(loss.reshape(14), rows[0], rtol=3e-7, atol=0)
        torch.testing.assert_close(gradient.movedim(1, 2).reshape(14, 5), rows[1], rtol=3e-7, atol=1e-8)


def test_every_entry_is_written_and_nothing_else(gpu: Any, device: str, small_blocks: None, on_nan_memory: Any) -> None:
    x, y = logits_of(20, "float32", device), torch.tensor([0, 1, -100, 19], device=device)
    before = x.clone()
    loss, gradient = on_nan_memory(gpu.cross_entropy, x, y, 1, LossOptions(ignore_index=-100), want_grad=True)
    assert not loss.isnan().any()
    assert not gradient.isnan().any()
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", ["ignored", "smoothed weights"])
def test_a_row_of_a_batch_is_the_row_alone(
    gpu: Any, device: str, small_blocks: None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = logits_of(20, "float32", device).nan_to_num(neginf=-7.0)
    o = filled(OPTIONS[name], 20, device, torch.float32)
    y = labels_of(20, device, o)
    results = []
    for processors, rows in ((1, 4), (100, 4), (100, 3)):
        monkeypatch.setattr(gpu.launch, "processors", lambda device, count=processors: count)
        results.append(gpu.cross_entropy(x[:rows], y[:rows], 1, o, want_grad=True))
    for loss, gradient in results[1:]:
        assert torch.equal(loss[:3], results[0][0][:3])
        assert torch.equal(gradient[:3], results[0][1][:3])


# Chunks of a linear layer


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("probabilities", [False, True])
def test_chunks(
    gpu: Any, device: str, dtype: str, blocks: bool, probabilities: bool, request: pytest.FixtureRequest
) -> None:
    """The gradient over the logits, one temperature a row, and what else a row says."""
    if blocks:
        request.getfixturevalue("small_blocks")
    x = logits_of(20, dtype, device).nan_to_num(neginf=-7.0)
    where = torch.rand(4, 20, generator=torch.Generator().manual_seed(0)) < 0.8
    where[:, [0, 1, 19]] = True
    where[2] = False
    t = torch.tensor([0.5, 1.0, 2.0, 0.9], device=device)
    o = LossOptions(temperature=t, where=where.to(device))
    y = probabilities_of(20, device, torch.float32) if probabilities else torch.tensor([0, 1, 5, 19], device=device)
    expected = portable.chunk_loss(
        x.double().cpu(), y.double().cpu() if probabilities else y.cpu(),
        LossOptions(temperature=t.double().cpu(), where=where), row_scale=0.5, want_grad=True, extras=True,
    )  # fmt: skip
    z = x.clone()
    loss, gradient, extras = gpu.chunk_loss(z, y, o, row_scale=0.5, want_grad=True, extras=True)
    assert gradient is z
    torch.testing.assert_close(loss.double().cpu(), expected[0], rtol=4 * 2.0**-24, atol=4 * 2.0**-24)
    torch.testing.assert_close(gradient.double().cpu(), expected[1], rtol=EPS[dtype], atol=2.0**-24)
    assert set(extras) == set(expected[2])
    for name, value in expected[2].items():
        got = extras[name].cpu()
        if name == "argmax":
            assert torch.equal(got[[0, 1, 3]], value[[0, 1, 3]])
        else:
            torch.testing.assert_close(got.double(), value.double(), rtol=3e-7, atol=3e-7)
