"""A hook at every step of a sync at which the process could die, or the system refuse; tests make both happen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_hook: Callable[[str], None] | None = None


def step(name: str) -> None:
    """Mark a point between two changes of the outside world."""
    if _hook is not None:
        _hook(name)


@contextmanager
def watched(hook: Callable[[str], None]) -> Iterator[None]:
    """Call `hook` with the name of each step."""
    global _hook
    before, _hook = _hook, hook
    try:
        yield
    finally:
        _hook = before
