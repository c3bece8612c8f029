"""What a result is compared with: the optima of a case, each between two numbers.

The upper one is the least objective that anybody reached, the lower one the best bound that `gap` found from anybody's
coefficients, first of all from our fit at a much tighter tolerance. Where the two are too far apart to decide about a
result, its own bound is computed as well, so that nobody is judged by a poor reference.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path

import numpy as np

from benchmarks.regression import CACHE
from benchmarks.regression.datasets import about
from benchmarks.regression.gap import lower_bound, relative_gap
from benchmarks.regression.registry import Case
from benchmarks.regression.tasks import Answer, Task

# Our tolerance for the reference, times the target; and the distance of the two numbers that is near enough.
TIGHTER, NEAR = 1e-2, 0.1


class Optimum:
    """Bounds of the optima of all problems of a case, kept in a file."""

    def __init__(self, case: Case, count: int, data: Path | None = None, cache: Path = CACHE) -> None:
        self.target = case.target
        self.lower, self.upper = np.full(count, -np.inf), np.full(count, np.inf)
        self.path: Path | None = None
        if data is not None:
            key = f"{about(data)['digest']} {case.kind} {case.C} {case.grouped}"
            self.path = cache / "optimum" / f"{case.id}-{blake2b(key.encode(), digest_size=8).hexdigest()}.json"
            if self.path.exists():
                kept = json.loads(self.path.read_text(encoding="utf-8"))
                self.lower, self.upper = np.asarray(kept["lower"]), np.asarray(kept["upper"])

    def near(self) -> np.ndarray:
        """Return for each problem whether its optimum is known well enough to judge others."""
        with np.errstate(invalid="ignore"):
            close: np.ndarray = self.upper - self.lower <= NEAR * self.target * self.upper
        return close & np.isfinite(self.upper)

    def refer(self, task: Task, answer: Answer) -> None:
        """Take both numbers from an answer where they are better than those at hand."""
        for p, (objective, W, b) in enumerate(zip(task.objectives(), answer.coefs, answer.intercepts, strict=True)):
            self.upper[p] = min(self.upper[p], objective.value(W, b))
            self.lower[p] = max(self.lower[p], lower_bound(objective, W, b))
        self._keep()

    def gaps(self, task: Task, answer: Answer) -> list[float]:
        """Return the relative gap of each solution, an upper bound of the true one."""
        near, found = self.near(), []
        for p, (objective, W, b) in enumerate(zip(task.objectives(), answer.coefs, answer.intercepts, strict=True)):
            value = objective.value(W, b)
            if not near[p] and np.isfinite(value) and relative_gap(value, self.lower[p]) > self.target:
                self.lower[p] = max(self.lower[p], lower_bound(objective, W, b))
            if np.isfinite(value):
                self.upper[p] = min(self.upper[p], value)
            found.append(relative_gap(value, self.lower[p]))
        self._keep()
        return found

    def _keep(self) -> None:
        if self.path is not None and np.all(np.isfinite(self.lower)):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            kept = {"lower": self.lower.tolist(), "upper": self.upper.tolist()}
            self.path.write_text(json.dumps(kept), encoding="utf-8")
