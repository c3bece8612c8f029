"""softmax, log_softmax, logsumexp and the products with their derivatives in Triton, against the exact reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from softmax import _reference as reference  # noqa: E402
from tests.ulp import EPS, FORMATS, assert_within, must_fail  # noqa: E402

INF, NAN = float("inf"), float("nan")
FLOATS = ["float32", "bfloat16", "float16", "float64"]
DTYPE = pytest.mark.parametrize("dtype", FLOATS)
FORWARD = ("softmax", "log_softmax", "logsumexp")
PRODUCTS = ("softmax_vjp", "log_softmax_vjp", "log_softmax_jvp")
ONE_BLOCK = {"float32": 8192, "bfloat16": 16384, "float16": 16384, "float64": 4096}
# float32 is computed in float64 with exponentials of error 2^-28, half precision in float32; then rounded once.
BOUND = {"float32": 0.57, "bfloat16": 0.51, "float16": 0.51, "float64": 4.0}


def tensor(values: Any, dtype: str, device: str) -> Any:
    return torch.as_tensor(np.asarray(values)).to(getattr(torch, dtype)).to(device)


def rows_of(n: int, dtype: str, device: str, seed: int = 0) -> Any:
    """A flat row, a peaked one, and one with classes ruled out."""
    rng = np.random.default_rng([seed, n])
    x = np.stack([0.1 * rng.normal(size=n), 8 * rng.normal(size=n), 3 * rng.normal(size=n)])
    x[2, ::3] = -INF if n > 3 else 0.5
    return tensor(x, dtype, device)


def wide(x: Any) -> Any:
    return x.double().cpu().numpy()


def check_forward(gpu: Any, x: Any, **options: Any) -> None:
    """Within the bound; and a constant answer would not be."""
    dtype = str(x.dtype).removeprefix("torch.")
    exact = wide(x)
    for name in FORWARD:
        truth = getattr(reference, name)(exact)
        got = getattr(gpu, name)(x, x.ndim - 1).cpu()
        assert str(got.dtype) == f"torch.{dtype}"
        assert_within(got, truth, BOUND[dtype])
    if x.shape[-1] > 1:
        with must_fail():
            assert_within(torch.full_like(x, 1 / x.shape[-1]).cpu(), reference.softmax(exact), BOUND[dtype])


@DTYPE
@pytest.mark.parametrize("n", [1, 2, 3, 17, 64, 1000])
def test_forward(gpu: Any, device: str, dtype: str, n: int) -> None:
    check_forward(gpu, rows_of(n, dtype, device))


@DTYPE
@pytest.mark.parametrize("beyond", [0, 1])
def test_forward_at_the_longest_row_of_one_block(gpu: Any, device: str, dtype: str, beyond: int) -> None:
    n = ONE_BLOCK[dtype] + beyond
    x = rows_of(n, dtype, device)[1:]
    x[1, : n // 2 + 7] = -INF  # the first block holds nothing
    check_forward(gpu, x)


ARITHMETIC = pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])


@ARITHMETIC
@pytest.mark.parametrize("n", [17, 24])
def test_forward_in_blocks(gpu: Any, device: str, small_blocks: None, dtype: str, n: int) -> None:
    x = rows_of(n, dtype, device)
    x[0, :9] = -INF
    x[1, 8:16] = -INF
    check_forward(gpu, x)


def check_products(gpu: Any, x: Any, g: Any) -> None:
    """The documented bound, 2 eps (max |r| + p_i Σ_j p_j |g_j - g_k|); of the others without p_i, or with |g_j|."""
    dtype = str(x.dtype).removeprefix("torch.")
    eps = max(EPS[dtype], 2 * EPS["float32"] if dtype in ("bfloat16", "float16") else 0)
    p = reference.softmax(wide(x)).rounded()
    top = p.argmax(1)[:, None]
    spread = (p * np.abs(wide(g) - np.take_along_axis(wide(g), top, 1))).sum(1, keepdims=True)
    for name in PRODUCTS:
        truth = getattr(reference, name)(wide(x), wide(g)).rounded()
        got = wide(getattr(gpu, name)(x, g, x.ndim - 1))
        lead = {"softmax_vjp": p * spread, "log_softmax_jvp": spread}.get(
            name, p * np.abs(wide(g)).sum(1, keepdims=True)
        )
        bound = 2 * eps * (np.abs(truth).max(1, keepdims=True) + lead) + 2.0 ** (FORMATS[dtype][1] - FORMATS[dtype][0])
        assert (np.abs(got - truth) <= bound).all(), name
        assert not (np.abs(0.5 * truth) <= bound).all(), name
    if dtype == "float32":  # what is no difference of nearly equal numbers is rounded once
        truth = reference.softmax_vjp(wide(x), wide(g))
        error = np.abs(wide(gpu.softmax_vjp(x, g, 1)) - truth.rounded())
        assert (error <= 0.57 * np.spacing(np.abs(truth.rounded()).astype(np.float32)) + 1e-8 * p * spread).all()


@DTYPE
@pytest.mark.parametrize("offset", [0.0, 1.0], ids=["centred", "with an offset"])
@pytest.mark.parametrize("n", [2, 17, 300])
def test_products(gpu: Any, device: str, dtype: str, n: int, offset: float) -> None:
    x = rows_of(n, dtype, device)
    offset *= 1e4 if dtype in ("float32", "float64") else 50  # which half precision still tells apart
    g = tensor(offset + np.random.default_rng(n).normal(size=(3, n)), dtype, device)
    check_products(gpu, x, g)


@DTYPE
def test_products_at_the_longest_row_of_one_block(gpu: Any, device: str, dtype: str) -> None:
    n = ONE_BLOCK[dtype] + 1
    x = rows_of(n, dtype, device)[1:2]
    x[0, : n // 2 + 7] = -INF
    check_products(gpu, x, tensor(np.random.default_rng(n).normal(size=(1, n)), dtype, device))


@ARITHMETIC
def test_products_in_blocks(gpu: Any, device: str, small_blocks: None, dtype: str) -> None:
    x = rows_of(24, dtype, device)
    x[0, :9] = -INF
    x[1, 8:16] = -INF
    check_products(gpu, x, tensor(np.random.default_rng(1).normal(size=(3, 24)), dtype, device))


@pytest.mark.parametrize("function", PRODUCTS)
def test_two_entries_of_a_product_are_opposite(gpu: Any, device: str, function: str) -> None:
    x = tensor([[1.0, 0.3], [-20.0, 4.0]], "float32", device)
    g = tensor([[1.0, 7.0], [3.0, 1.0]], "float32", device)
    if function == "softmax_vjp":
        assert (gpu.softmax_vjp(x, g, 1).sum(1) == 0).all()


# Temperature


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_temperature_divides_in_the_dtype_of_the_logits(gpu: Any, device: str, dtype: str) -> None:
    x, g = rows_of(33, dtype, device), rows_of(33, dtype, device, seed=1).nan_to_num(neginf=0.5)
    for name in FORWARD:
        assert torch.equal(getattr(gpu, name)(x, 1, temperature=0.7), getattr(gpu, name)(x / 0.7, 1))
    for name in PRODUCTS:
        got = getattr(gpu, name)(x, g, 1, temperature=0.7)
        expected = getattr(gpu, name)(x / 0.7, g, 1) / 0.7
        torch.testing.assert_close(got, expected, rtol=2 * EPS[dtype], atol=0)


def test_temperature_per_row(gpu: Any, device: str) -> None:
    x, t = rows_of(20, "float64", device), tensor([0.5, 1.0, 3.0], "float64", device)
    for name in FORWARD:
        got = getattr(gpu, name)(x, 1, temperature=t)
        torch.testing.assert_close(got, getattr(gpu, name)(x / t[:, None], 1), rtol=1e-14, atol=1e-14)


# Masks and special values

MASKED = [("softmax", 0.0), ("log_softmax", -INF)]


@ARITHMETIC
@pytest.mark.parametrize("blocks", [False, True])
def test_masks(gpu: Any, device: str, dtype: str, blocks: bool, request: pytest.FixtureRequest) -> None:
    if blocks:
        request.getfixturevalue("small_blocks")
    x = rows_of(21, dtype, device).nan_to_num(neginf=-1.0)
    where = torch.rand(3, 21, generator=torch.Generator().manual_seed(0)) < 0.6
    where[0, :10] = False  # the first block
    where[2] = False  # everything
    where = where.to(device)
    hidden = torch.where(where, x, torch.tensor([NAN, INF, -INF], device=device, dtype=x.dtype).repeat(7))
    for name, blank in MASKED:
        got = getattr(gpu, name)(hidden, 1, where=where)
        for row in (0, 1):
            kept = where[row]
            truth = getattr(reference, name)(wide(x[row][kept]))
            assert_within(got[row][kept].cpu(), truth, BOUND[dtype])
        assert (got[~where] == blank).all()
    lse = gpu.logsumexp(hidden, 1, where=where)
    assert lse[2] == -INF
    assert lse[:2].isfinite().all()
    g = torch.where(where, rows_of(21, dtype, device, seed=2).nan_to_num(neginf=0.5), NAN)
    for name in PRODUCTS:
        got = getattr(gpu, name)(hidden, g, 1, where=where)
        assert (got[~where] == 0).all()
        kept = where[1]
        alone = getattr(gpu, name)(x[1][kept][None], g[1][kept][None], 1)
        torch.testing.assert_close(got[1][kept], alone[0], rtol=4 * EPS[dtype], atol=1e-6)


BAD = [[-INF, -INF], [INF, 0.0], [NAN, 0.0], [0.0, NAN], [NAN, -INF], [INF, -INF], [NAN, INF], [INF, INF], [NAN, NAN]]


@ARITHMETIC
@pytest.mark.parametrize("at", [0, 15], ids=["first block", "last block"])
def test_rows_without_a_softmax(gpu: Any, device: str, small_blocks: None, dtype: str, at: int) -> None:
    rows = np.full((len(BAD), 17), -INF)
    rows[1:, :] = np.where(np.arange(17) % 5 == 0, 1.0, -INF)
    for row, pair in zip(rows, BAD, strict=True):
        row[at : at + 2] = pair
    x = tensor(rows, dtype, device)
    assert gpu.softmax(x, 1).isnan().all()
    assert gpu.log_softmax(x, 1).isnan().all()
    expected = [-INF, INF, NAN, NAN, NAN, INF, NAN, INF, NAN]
    np.testing.assert_array_equal(wide(gpu.logsumexp(x, 1)), expected)
    assert gpu.softmax_vjp(x, torch.ones_like(x), 1).isnan().all()


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0,), (3, 0, 2)])
def test_nothing(gpu: Any, device: str, shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape, device=device)
    axis = min(1, len(shape) - 1)
    assert gpu.softmax(x, axis).shape == shape
    assert gpu.softmax_vjp(x, x, axis).shape == shape
    assert (gpu.logsumexp(x, axis) == -INF).all()


# Memory

LAYOUTS: dict[str, tuple[Callable[[Any], Any], int]] = {
    "rows": (lambda x: x, 2),
    "middle axis": (lambda x: x.transpose(1, 2).contiguous().transpose(1, 2), 2),
    "first axis": (lambda x: x.permute(2, 0, 1).contiguous().permute(1, 2, 0), 2),
    "every other": (lambda x: torch.stack([x, x + 1], -1)[..., 0], 2),
    "a part": (lambda x: torch.cat([x, x], 2)[:, :, 3 : 3 + x.shape[2]] * 0 + x, 2),
    "sliced": (lambda x: torch.cat([x[..., :3] * 0, x, x], 2)[:, :, 3 : 3 + x.shape[2]], 2),
    "reversed dimensions": (lambda x: x.permute(2, 1, 0).contiguous().permute(2, 1, 0), 2),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("blocks", [False, True])
def test_layouts(gpu: Any, device: str, layout: str, blocks: bool, request: pytest.FixtureRequest) -> None:
    if blocks:
        request.getfixturevalue("small_blocks")
    make, axis = LAYOUTS[layout]
    plain = tensor(np.random.default_rng(0).normal(size=(2, 2, 17)), "float32", device)
    g = tensor(np.random.default_rng(1).normal(size=(2, 2, 17)), "float32", device)
    where = torch.rand(2, 2, 17, generator=torch.Generator().manual_seed(0)).to(device) < 0.7
    x = make(plain)
    assert torch.equal(x, plain)
    for name in FORWARD:
        got = getattr(gpu, name)(x, axis, where=where)
        torch.testing.assert_close(got, getattr(gpu, name)(plain, axis, where=where), rtol=2e-7, atol=0)
    got = gpu.softmax_vjp(x, g, axis)
    torch.testing.assert_close(got, gpu.softmax_vjp(plain, g, axis), rtol=1e-6, atol=1e-9)


def test_layouts_of_four_dimensions(gpu: Any, device: str) -> None:
    x = tensor(np.random.default_rng(0).normal(size=(2, 3, 4, 5)), "float32", device)
    moved = x.permute(3, 1, 0, 2)  # no two strides walk through three of them
    for axis in range(4):
        truth = reference.softmax(np.moveaxis(wide(moved), axis, -1)).rounded()
        np.testing.assert_allclose(np.moveaxis(wide(gpu.softmax(moved, axis)), axis, -1), truth, rtol=1e-7)
    repeated = x[:1, :1].expand(3, 4, 4, 5)
    assert torch.equal(gpu.softmax(repeated, 3)[2, 3], gpu.softmax(x[:1, :1], 3)[0, 0])
    where = torch.ones(5, dtype=torch.bool, device=device).expand(2, 3, 4, 5)
    assert torch.equal(gpu.softmax(x, 3, where=where), gpu.softmax(x, 3))


@pytest.mark.parametrize("far", ["rows", "columns"])
def test_places_beyond_two_to_the_31(gpu: Any, device: str, far: str) -> None:
    """Memory that is asked for but not touched costs nothing: only the rows are."""
    step = 2**30 + 8
    storage = torch.empty(2 * step + 4096, dtype=torch.bfloat16, device=device)
    x = storage.as_strided((3, 33), (step, 1)) if far == "rows" else storage.as_strided((5, 3), (1, step))
    values = tensor(np.random.default_rng(0).normal(size=tuple(x.shape)), "bfloat16", device)
    x.copy_(values)
    assert torch.equal(gpu.softmax(x, 1), gpu.softmax(values, 1))
    assert torch.equal(gpu.softmax_vjp(x, values, 1), gpu.softmax_vjp(values, values, 1))


def test_every_entry_is_written_and_nothing_else(gpu: Any, device: str, small_blocks: None, on_nan_memory: Any) -> None:
    for n in (5, 17):
        x, g = rows_of(n, "float32", device), rows_of(n, "float32", device, seed=1).nan_to_num(neginf=1.0)
        where = torch.ones_like(x, dtype=torch.bool)
        before = x.clone(), g.clone()
        for name in FORWARD:
            assert not on_nan_memory(getattr(gpu, name), x, 1).isnan().any()
        for name in PRODUCTS:
            assert not on_nan_memory(getattr(gpu, name), x, g, 1, where=where).isnan().any()
        assert torch.equal(x, before[0])
        assert torch.equal(g, before[1])


# Who computes a row, and with whom, changes no bit


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_row_of_a_batch_is_the_row_alone(
    gpu: Any, device: str, small_blocks: None, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone, its blocks go to several programs; in a batch, one program takes them one after the other."""
    x, g = rows_of(20, dtype, device), rows_of(20, dtype, device, seed=1).nan_to_num(neginf=1.0)
    results = {}
    for processors, rows in ((1, 3), (100, 3), (100, 1)):
        monkeypatch.setattr(gpu.launch, "processors", lambda device, count=processors: count)
        assert gpu.launch.choose(20, rows, 0, False, processors).split == (processors == 100)
        results[processors, rows] = [
            *(getattr(gpu, name)(x[:rows], 1)[:1] for name in FORWARD),
            *(getattr(gpu, name)(x[:rows], g[:rows], 1)[:1] for name in PRODUCTS),
        ]
    first, *others = results.values()
    for other in others:
        for one, several in zip(first, other, strict=True):
            assert torch.equal(one, several)
