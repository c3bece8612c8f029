"""What a separating direction says, in classes and features: which classes no finite coefficients can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Margins below this part of the largest one are rounding.
ROUNDING = 1e-9
MOST_PAIRS = 4
MOST_FEATURES = 4


@dataclass(frozen=True)
class Verdict:
    """Which classes a direction separates.

    `complete` and `quasi`: pairs (a, b), a < b, of classes with all rows strictly on their own side, and of those where
    some rows lie on the border. `features`: those that the direction moves along, the most important first.
    """

    complete: list[tuple[int, int]]
    quasi: list[tuple[int, int]]
    features: list[int]

    def words(self, classes: Sequence[str], features: Sequence[str]) -> str:
        """One sentence with names."""
        some = [features[j] for j in self.features[:MOST_FEATURES]]
        more = len(self.features) - len(some)
        columns = ", ".join(map(repr, some)) + (f" and {more} more" if more > 0 else "")
        parts = [
            f"{_pairs(pairs, classes)} {how}"
            for pairs, how in ((self.complete, "completely"), (self.quasi, "but for rows on the border"))
            if pairs
        ]
        verb = "separates" if len(self.features) == 1 else "together separate"
        return f"{columns} {verb} {' and '.join(parts)}" if parts else f"{columns} {verb} classes"


def separation_verdict(direction: Floats, X: Any, codes: Ints) -> Verdict:
    """Read a separating direction `(K, d + 1)`, intercepts last, on the rows `(n, d)` and their class codes `(n,)`."""
    n_classes = len(direction)
    logits = np.asarray(X @ direction[:, :-1].T) + direction[:, -1]
    least = np.full((n_classes, n_classes), np.inf)
    most = np.full((n_classes, n_classes), -np.inf)
    for a in range(n_classes):
        rows = logits[codes == a]
        if len(rows):
            margins = rows[:, [a]] - rows
            least[a], most[a] = margins.min(axis=0), margins.max(axis=0)
    tolerance = ROUNDING * max(float(np.abs(logits).max(initial=0.0)), np.finfo(float).tiny)
    complete, quasi = [], []
    for a in range(n_classes):
        for b in range(a + 1, n_classes):
            low, high = min(least[a, b], least[b, a]), max(most[a, b], most[b, a])
            if low > tolerance:
                complete.append((a, b))
            elif low >= -tolerance and high > tolerance:
                quasi.append((a, b))
    return Verdict(complete, quasi, _features_of(direction, X))


def _features_of(direction: Floats, X: Any) -> list[int]:
    """Features by how far they move the logits: spread of the column times spread of its coefficients."""
    mean = np.asarray(X.mean(axis=0)).ravel()
    squares = np.asarray((X.multiply(X) if hasattr(X, "multiply") else np.square(X)).mean(axis=0)).ravel()
    spread = np.sqrt(np.maximum(squares - mean**2, 0.0))
    effect = spread * np.ptp(direction[:, :-1], axis=0)
    order = np.argsort(-effect, kind="stable")
    return [int(j) for j in order if effect[j] > 1e-6 * effect[order[0]]]


def _pairs(pairs: Sequence[tuple[int, int]], classes: Sequence[str]) -> str:
    """Pairs in words; a class that stands against all others is said once."""
    left = list(pairs)
    parts = []
    for a in range(len(classes)):
        mine = [pair for pair in left if a in pair]
        if len(classes) > 2 and len(mine) == len(classes) - 1:
            parts.append(f"{classes[a]!r} from all other classes")
            left = [pair for pair in left if a not in pair]
    parts += [f"{classes[a]!r} from {classes[b]!r}" for a, b in left]
    more = len(parts) - MOST_PAIRS
    return ", ".join(parts[:MOST_PAIRS]) + (f" and {more} more pairs" if more > 0 else "")
