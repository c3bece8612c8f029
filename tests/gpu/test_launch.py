"""How tensors become rows, and how kernels are laid over them."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")


@pytest.mark.parametrize(("make", "axis", "by_columns", "inner"), [
    (lambda x: x, 2, False, 1),
    (lambda x: x, 1, True, 4),
    (lambda x: x, 0, True, 1),
    (lambda x: x.transpose(1, 2), 1, False, 1),
    (lambda x: x.transpose(0, 2), 1, False, 2),
    (lambda x: x[:, :, :1], 2, False, 1),
    (lambda x: x[:1, :1], 2, False, 1),
])  # fmt: skip
def test_rows(gpu: Any, make: Any, axis: int, by_columns: bool, inner: int) -> None:
    x = make(torch.arange(24).reshape(2, 3, 4))
    r = gpu.as_rows(axis, x, None, x.clone())
    assert r.by_columns == by_columns
    assert r.inner == inner
    assert r.strides[1] == (0, 0, 0)
    for t, (outer, within, step) in zip(r.tensors, r.strides, strict=True):
        if t is None:
            continue
        memory = t.as_strided((24,), (1,), 0) if t.untyped_storage().nbytes() == 24 * 8 else t.flatten()
        rows = [
            [memory[(k // inner) * outer + (k % inner) * within + j * step].item() for j in range(r.n)]
            for k in range(r.n_rows)
        ]
        assert rows == x.movedim(axis, -1).reshape(r.n_rows, r.n).tolist()


def test_what_no_two_strides_describe_is_copied(gpu: Any) -> None:
    x = torch.arange(16).reshape(2, 2, 2, 2).permute(2, 0, 3, 1)
    r = gpu.as_rows(3, x)
    assert r.tensors[0] is not x
    assert r.tensors[0].is_contiguous()


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("by_columns", [False, True])
def test_the_tile_depends_on_the_row_alone(gpu: Any, mode: int, by_columns: bool) -> None:
    choose = gpu.launch.choose
    for n in (1, 2, 10, 1000, 4096, 5000, 16384, 16385, 128256, 1_000_000):
        ways = {choose(n, rows, mode, by_columns, 132) for rows in (1, 7, 66, 67, 10**6)}
        assert len({(way.rows, way.columns, way.warps, way.one_block) for way in ways}) == 1
        for way in ways:
            assert way.one_block == (way.columns >= n)
            assert way.columns & (way.columns - 1) == 0
            assert way.rows * way.columns <= 16384
            assert not (way.split and way.one_block)
            assert way.grid(n, 100)[0] * way.rows >= 100
            assert way.grid(n, 100)[1] == (way.blocks(n) if way.split else 1)


def test_few_long_rows_are_shared(gpu: Any) -> None:
    assert gpu.launch.choose(131072, 1, 0, False, 132).split
    assert gpu.launch.choose(131072, 66, 0, False, 132).split
    assert not gpu.launch.choose(131072, 67, 0, False, 132).split
    assert not gpu.launch.choose(1000, 1, 0, False, 132).split
