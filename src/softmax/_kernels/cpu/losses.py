"""Cross entropy of contiguous rows against class indices: the loss and its gradient, from one read of a row.

    loss = weight (log sum exp(x - m) + m - x_y),   gradient = factor (p - onehot(y)),

the entry of the true class being minus the sum of the others. A target of -1 marks a row to leave out: loss and
gradient are 0, and the row is not read; one of n or more, which is out of range, gives nan. Read: x twice (the second
time from cache); written: loss, and the gradient once (float32) or twice (float64, where it holds the exponentials
meanwhile), which may lie over x. Probabilities are never stored.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
import numpy as np

from .exp import quotient, reciprocal, scratch, two_sum, unit
from .rows import buffer, log_of_sum, rest_sum, row_max
from .simd import LANES, align_stack, kernel, load, splat, store, store_part


@kernel
def cross_entropy_rows(x, n, target, weight, factor, loss, gradient):
    """weight and factor: one number per row, or of length 1 for all; gradient: of length 0 if it is not wanted."""
    align_stack()
    whole = n // LANES * LANES
    wanted = gradient.size > 0
    memory = buffer(n if wanted and x.itemsize < 8 else 0)
    for row in range(target.size):
        start = row * n
        y = target[row]
        if y < 0:
            loss[row] = 0.0
            if wanted:
                gradient[start : start + n] = 0.0
            continue
        if y >= n:
            loss[row] = np.nan
            if wanted:
                gradient[start : start + n] = np.nan
            continue
        m = row_max(x, start, n)
        tops = splat(m)
        own = x[np.uintp(start + y)]
        e, offset = scratch(memory, gradient, start)
        ties, rest, rounding, part = rest_sum(x, start, n, m, e, offset, wanted)
        below, error = two_sum(np.float64(m), -np.float64(own))
        log_sum = log_of_sum(ties, rest, rounding, tops)
        loss[row] = weight[row % weight.size] * (below + (log_sum + (error if below < np.inf else 0.0)))
        if wanted:
            scale = factor[row % factor.size]
            total, error = two_sum(ties * unit(tops), rest)
            error += rounding
            high, low = reciprocal(total, error, 1.0)
            if own == m:
                others = (ties - 1) * unit(tops) + (rest + rounding)
            elif y < whole:
                others = total - e[np.uintp(offset + y)]
            else:
                store(memory, memory.size - LANES, part)
                others = total - memory[np.uintp(memory.size - LANES + y - whole)]
            highs, lows = splat(high * scale), splat(low * scale)
            for i in range(0, whole, LANES):
                store(gradient, start + i, quotient(load(e, offset + i), highs, lows, tops))
            if whole < n:
                store_part(gradient, start + whole, n - whole, quotient(part, highs, lows, tops))
            gradient[np.uintp(start + y)] = -scale * (others * high)
