"""What a command shows while it works, on standard error: a moving line on a terminal, a few lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from time import monotonic
from typing import TYPE_CHECKING, Any

from softmax.tables import plural

if TYPE_CHECKING:
    from softmax._table_model import Step

SECONDS_BETWEEN_LINES = 1.0


class ProgressDisplay:
    """Says what is being done; `status` is rich's moving line, or None where there is no terminal."""

    def __init__(self, console: Any, status: Any | None) -> None:
        self._console = console
        self._status = status
        self._last_line = -SECONDS_BETWEEN_LINES
        self._stage = ""

    def say(self, what: str) -> None:
        """Show a stage of the work."""
        if self._status is not None:
            self._status.update(what)
        elif self._console is not None:
            self._console.print(what, markup=False, highlight=False, soft_wrap=True)
            self._last_line = monotonic()

    def iteration(self, step: Step) -> None:
        """Show where the solver is; a new stage at once, its steps at most once a second where lines are printed."""
        stage = f"fitting on {plural(step.rows, step.what)}"
        if not step.iteration:
            self.say(stage)
        elif self._status is not None or monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            gap = f"{step.gap:.1e}" if isfinite(step.gap) else "none yet"
            self.say(f"{stage}: pass {step.passes:.0f}, objective {step.objective:.6g}, gap {gap}")


@contextmanager
def progress_display(*, visible: bool) -> Iterator[ProgressDisplay]:
    """Open a display for the time of the work."""
    if not visible:
        yield ProgressDisplay(None, None)
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield ProgressDisplay(console, None)
        return
    with console.status("starting") as status:
        yield ProgressDisplay(console, status)
