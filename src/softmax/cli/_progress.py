"""What a command shows while it works, on standard error: a moving line on a terminal, a few lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite, isnan
from time import monotonic
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from softmax._table_fit import Step

# Lines come at most this often, and ever more rarely in a long fit: a log of hours should still be readable.
SECONDS_BETWEEN_LINES = 1.0
SHARE_BETWEEN_LINES = 0.1
BAR = 20  # letters


class ProgressDisplay:
    """Says what is being done; `status` is rich's moving line, or None where there is no terminal."""

    def __init__(self, console: Any, status: Any | None) -> None:
        self._console = console
        self._status = status
        self._stage = ""
        self._start = self._last_line = monotonic()

    def say(self, what: str, share: float | None = None) -> None:
        """Show a stage of the work, with a bar where it is known how much of it is done."""
        if self._status is not None:
            bar = "" if share is None else _bar(share)
            self._status.update(Text(bar + what, no_wrap=True, overflow="ellipsis"))
        elif self._console is not None:
            self._console.print(what, markup=False, highlight=False, soft_wrap=True)
            self._last_line = monotonic()

    def pause(self) -> None:
        """Take the moving line away, for a question to be asked; the next `say` does not bring it back."""
        if self._status is not None:
            self._status.stop()

    def iteration(self, step: Step) -> None:
        """Show where the solver is; a new stage at once, its steps at most once a second where lines are printed."""
        if step.detail:
            if self._status is not None or self._line_is_due():
                self.say(f"{step.stage}: {step.detail}", step.share)
        elif isnan(step.objective):
            if step.stage != self._stage or self._status is not None:
                self.say(step.stage, step.share)
            self._stage = step.stage
        elif self._status is not None or self._line_is_due():
            gap = f"{step.gap:.1e}" if isfinite(step.gap) else "none yet"
            self.say(f"{step.stage}: pass {step.passes:.0f}, objective {step.objective:.6g}, gap {gap}")

    def _line_is_due(self) -> bool:
        now = monotonic()
        pause = max(SECONDS_BETWEEN_LINES, SHARE_BETWEEN_LINES * (now - self._start))
        return now - self._last_line >= pause


def _bar(share: float) -> str:
    """A bar of text."""
    full = round(BAR * share)
    return "━" * full + "─" * (BAR - full) + " "


@contextmanager
def progress_display(*, visible: bool) -> Iterator[ProgressDisplay]:
    """Open a display for the time of the work."""
    if not visible:
        yield ProgressDisplay(None, None)
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield ProgressDisplay(console, None)
        return
    with console.status("starting") as status:
        yield ProgressDisplay(console, status)
