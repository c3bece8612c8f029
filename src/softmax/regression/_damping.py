"""How strongly a Newton step is held back: Levenberg's and Marquardt's damping.

A damped step solves (H + μD)·v = −∇f with D the identity for features of unit spread. Rows that the model gets wrong by
far have a gradient but hardly any curvature, so that Newton's own step runs far along directions that only they
determine, and a search along it leaves next to nothing for the others. Damping shortens the former alone.
"""

import numpy as np

from ._rows import Floats

# The damping after the first step that had to be shortened by much: entries of the Hessian are of the order of 0.1.
FIRST = 1e-2
MUCH = 0.25
# What it grows by after a short step, and falls by after one that brought what it promised.
FACTOR = 4.0
# The shares of the promised fall of the objective that count as too little, and as enough.
POOR = 0.25
GOOD = 0.75
# Where the promise holds to within this share, the quadratic model does, and damping has done its work.
CLOSE = 0.15
RELIEF = 30.0
# A weaker damping than this changes no step.
NONE = 1e-10


class Damping:
    """μ, from step to step; 0 until a step had to be shortened by much.

    `scale` (p,) is the diagonal of D: the squared spread of each feature, and 1 for an intercept.
    """

    def __init__(self, spread: Floats, intercept: bool) -> None:
        scale = spread**2
        self.scale: Floats = np.append(scale, 1.0) if intercept else scale
        self.strength = 0.0

    @property
    def row(self) -> Floats | None:
        """μ times the diagonal of D, (p,), or None."""
        return self.strength * self.scale if self.strength > 0.0 else None

    def learn(self, step: float, share: float) -> None:
        """Take note of a step: its length, and the fall of the objective as a share of what was promised."""
        if step < 1.0:
            self.strength = FACTOR * self.strength if self.strength > 0.0 else FIRST * (step < MUCH)
        elif share < POOR:
            self.strength *= 2.0
        elif share > GOOD:
            relief = RELIEF if abs(share - 1.0) < CLOSE else FACTOR * step
            self.strength = self.strength / relief if self.strength > NONE else 0.0
