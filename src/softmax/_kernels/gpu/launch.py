"""How a kernel is laid over the rows: tile, warps, who shares a row. The only place where such a choice is made.

The tile depends on the length of a row, the arithmetic and which axis is contiguous, and never on how many rows there
are: a row of a batch is summed in the order of the row alone. Only `split`, which changes who adds and not what is
added, looks at the number of rows.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch

NARROW, DOUBLE, FULL = 0, 1, 2  # the arithmetics of row.py


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program holds in registers, in elements: 16 warps with 32, 16 or 8 of them a thread spill nothing."""

    one_block: int  # the longest row that is read once
    block: int  # of a longer row, which is read twice: the second time from L2 while the rows at work fit in there
    tile: int  # of several short rows
    per_thread: int


LIMITS = {NARROW: Limits(16384, 8192, 2048, 16), DOUBLE: Limits(8192, 4096, 1024, 8), FULL: Limits(4096, 4096, 1024, 8)}
MOST_ROWS = 128  # of a tile
COLUMN_TILE_ROWS = 64  # where neighbours in memory belong to different rows: two 128-byte lines of bfloat16
MOST_BLOCKS = 1024  # of a row that several programs share: each of them joins all their states


@dataclass(frozen=True, slots=True)
class Launch:
    """The shape of a program's tile and what a program does with a row."""

    rows: int
    columns: int
    warps: int
    one_block: bool  # the tile holds whole rows: they are read once
    split: bool  # every block of a row has a program of its own: two launches in place of one

    def blocks(self, n: int) -> int:
        """Return how many blocks a row of length n has."""
        return -(-n // self.columns)

    def grid(self, n: int, n_rows: int) -> tuple[int, int]:
        """Return the number of programs over the rows, and over the blocks of a row."""
        return -(-n_rows // self.rows), self.blocks(n) if self.split else 1


@functools.lru_cache(maxsize=4096)
def choose(n: int, n_rows: int, mode: int, by_columns: bool, processors: int) -> Launch:
    """Choose for `n_rows` rows of length `n`; `by_columns` says that neighbours in memory belong to different rows."""
    limits = LIMITS[mode]
    columns = 1 << (n - 1).bit_length()
    if by_columns:
        columns = min(columns, 2 * limits.tile // COLUMN_TILE_ROWS)
        return Launch(COLUMN_TILE_ROWS, columns, 4, columns >= n, False)
    if columns <= limits.one_block:
        rows = max(1, min(MOST_ROWS, limits.tile // columns))
        return Launch(rows, columns, _warps(rows * columns, limits), True, False)
    blocks = -(-n // limits.block)
    split = 2 * n_rows <= processors and blocks <= MOST_BLOCKS
    return Launch(1, limits.block, _warps(limits.block, limits), False, split)


def _warps(elements: int, limits: Limits) -> int:
    return max(1, min(16, elements // (32 * limits.per_thread)))


@functools.cache
def processors(device: torch.device) -> int:
    """Return the number of multiprocessors; of the interpreter, where more would only be slow, a few."""
    if device.type != "cuda":
        return 4
    count: int = torch.cuda.get_device_properties(device).multi_processor_count
    return count
