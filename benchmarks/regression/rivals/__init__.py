"""One module per environment: ``start(method, task, threads)`` gives a call that takes settings and returns an Answer.

A module imports its library only inside `start`. What `start` does is outside the clock: reading X into the form that
the library likes best. `settings` has one entry, or one for each problem of a path where the method allows that.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from benchmarks.regression.methods import Setting
from benchmarks.regression.tasks import Answer, Task

Solve = Callable[[list[Setting]], Answer]


def start(rival: str, method: str, task: Task, threads: int) -> Solve:
    """Prepare a rival outside the clock; the result is what is timed."""
    # "r" alone is no name for a module of a language with one-letter variables.
    module = import_module(f"benchmarks.regression.rivals.{'r_packages' if rival == 'r' else rival + '_solvers'}")
    solve: Solve = module.start(method, task, threads)
    return solve


def spread(settings: list[Setting], count: int) -> list[Setting]:
    """Return one setting for each of `count` problems."""
    if len(settings) not in (1, count):
        raise ValueError(f"got {len(settings)} settings for {count} problems; give one, or one for each")
    return settings * count if len(settings) == 1 else settings
