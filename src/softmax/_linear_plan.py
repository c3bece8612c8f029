"""How a linear cross entropy goes over its rows: the one owner of chunk sizes and of the formula of their memory.

N rows of D features, V classes. A pass computes the logits of `rows` rows at a time, turns them into their gradient
where they lie, and multiplies that by the weights and the features. Sizes are in bytes and count what a call needs
beyond its arguments, results included.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ._errors import OptionError

Way: TypeAlias = Literal["stored", "chunks", "recompute"]
When: TypeAlias = Literal["no gradient", "with the loss", "after the loss"]

CACHED = 1 << 20  # logits of a chunk that stay in cache, where rows are short
ROWS = 384  # fewer rows than this, and reading the weights costs as much as multiplying by them
# On a GPU a product of fewer rows leaves processors idle, and each chunk adds all of the gradient of the weights: the
# larger a chunk, the faster. Without gradients the logits are all that is held.
GPU_ROWS = 1024
GPU_CHUNK, GPU_CHUNK_WITH_GRADIENT = 1 << 28, 1 << 30
PART = 1 << 16  # logits that are worked on at a time where that takes temporaries
BLOCK = 1 << 22  # bytes of a block of weights that has to be converted, or of a product that has to be added


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes that a plan depends on; element sizes in bytes."""

    n: int
    d: int
    v: int
    item: int  # of x, the weights and the gradients that are returned
    logit: int  # of the logits of a chunk, in which products are computed
    wide: int  # of sums over chunks, and of the loss
    gradient: When = "no gradient"
    extras: bool = False
    adds: bool = False  # whether a product can be added where the sum lies
    chunk: int = 0  # bytes of the logits that a GPU works on at a time; 0 on a CPU

    @property
    def converted(self) -> bool:
        """Whether the weights have to be converted, block by block, for the products."""
        return self.logit != self.item


@dataclass(frozen=True, slots=True)
class LinearPlan:
    """How a linear cross entropy goes over its rows, and the bytes it needs beyond its arguments.

    `way` is "stored" (the logits of all rows at a time), "chunks" (of `rows` rows at a time, each computed once) or
    "recompute" (computed twice, the second time `columns` classes at a time). `gradient` says when it is computed.
    """

    way: Way
    gradient: When
    rows: int
    columns: int
    peak: int
    formula: str
    reason: str

    def __str__(self) -> str:
        many = f"{self.columns} classes" if self.way == "recompute" else f"{self.rows} rows"
        gradient = "without gradients" if self.gradient == "no gradient" else f"with gradients computed {self.gradient}"
        return (
            f"by way of {self.way!r}, {many} at a time, {gradient} ({self.reason}); "
            f"it takes {self.peak:,} bytes = {self.formula}"
        )


def terms(sizes: Sizes, way: Way, rows: int, columns: int) -> list[tuple[str, int]]:
    """Name and bytes of everything that is held at the peak of a plan."""
    s = sizes
    held = [("loss", s.n * s.wide)]
    if s.extras:
        held.append(("extras", s.n * (3 * s.wide + 8)))
    block = min(s.v * s.d * s.logit, BLOCK)
    if way == "recompute":
        held += [("states", 9 * 8 * s.n), ("gradient of x", s.n * s.d * s.wide)]
        held += [
            ("gradient of the weights", s.v * (s.d * s.item + s.wide)),
            ("block of logits", s.n * columns * s.logit),
        ]
        held += [("product", columns * s.d * s.logit), ("temporaries", 16 * 8 * min(PART, s.n * columns))]
        if s.converted:
            held.append(("x and weights in the dtype of products", s.n * s.d * s.logit + block))
        return held
    chunk = [("chunk of logits", rows * s.v * s.logit)]
    if s.converted:
        chunk.append(("x and weights in the dtype of products", rows * s.d * s.logit + block))
    if s.logit < 4 and not s.chunk:
        chunk.append(("logits in float32", 4 * max(PART, s.v)))
    if s.gradient == "no gradient":
        return held + chunk
    summed = s.wide if rows < s.n else s.logit
    held += [("gradient of x", s.n * s.d * s.logit), ("gradient of the weights", s.v * (s.d * summed + s.wide))]
    if rows < s.n and not s.adds:
        chunk.append(("product", block))
    rounded = (s.n * s.d * (s.logit != s.item) + s.v * s.d * (summed != s.item)) * s.item
    return held + max(chunk, [("rounded gradients", rounded)], key=total)


def total(held: list[tuple[str, int]]) -> int:
    """Bytes of all terms."""
    return sum(size for _, size in held)


def plan_for(sizes: Sizes, budget: int | None = None) -> LinearPlan:
    """The fastest plan, or the fastest that fits into `budget` bytes; an error says the smallest that one would."""
    s = sizes
    rows = max(CACHED // max(1, s.v), ROWS)
    if s.chunk:
        rows = max(GPU_ROWS, s.chunk // max(1, s.v * s.logit))
    rows = max(1, min(s.n, rows))
    reason = "the fastest"
    if budget is None or total(terms(s, "chunks", rows, s.v)) <= budget:
        return _plan(s, "chunks", rows, s.v, reason)
    reason = f"the fastest in {budget:,} bytes"
    fits = _largest(rows, lambda c: total(terms(s, "chunks", c, s.v)) <= budget)
    if fits:
        return _plan(s, "chunks", fits, s.v, reason)
    if s.gradient != "no gradient":
        columns = _largest(s.v, lambda k: total(terms(s, "recompute", 1, k)) <= budget)
        if columns:
            fits = _largest(rows, lambda c: total(terms(s, "recompute", c, columns)) <= budget)
            return _plan(s, "recompute", fits, columns, reason)
    smallest = total(terms(s, "chunks", 1, s.v))
    if s.gradient != "no gradient":
        smallest = min(smallest, total(terms(s, "recompute", 1, 1)))
    raise OptionError(
        f"memory_budget must be at least {smallest} bytes for N = {s.n}, D = {s.d}, V = {s.v}; got {budget}. "
        "The gradients and the logits of one row take that much."
    )


def _plan(sizes: Sizes, way: Way, rows: int, columns: int, reason: str) -> LinearPlan:
    rows = -(-sizes.n // -(-sizes.n // rows)) if sizes.n else 1  # chunks of one size
    held = terms(sizes, way, rows, columns)
    formula = " + ".join(f"{size:,} ({name})" for name, size in held)
    if way == "chunks" and rows >= sizes.n:
        way = "stored"
    return LinearPlan(way, sizes.gradient, rows, columns, total(held), formula, reason)


def _largest(upper: int, fits: Any) -> int:
    """The largest number in [1, upper] that fits, 0 if none does; what fits is downward closed."""
    low, high = 0, upper
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def free_memory() -> int:
    """Bytes of memory that a process could still take without swapping."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    raise OptionError("the free memory of this system cannot be told. Give memory_budget in bytes.")
