"""One way to retire a keyword argument: warn with the version and the substitute, then pass the value on."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def deprecated_argument(old: str, *, use: str, removed_in: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Accept the keyword `old` as `use`, with a DeprecationWarning that names the version which drops it."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            if old in kwargs:
                name = function.__name__
                if use in kwargs:
                    raise TypeError(f"{name}() got both {use!r} and its former name {old!r}; pass {use!r} alone.")
                message = f"{name}({old}=...) will be removed in {removed_in}; use {use}=... instead."
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                renamed: dict[str, Any] = kwargs
                renamed[use] = renamed.pop(old)
            return function(*args, **kwargs)

        return wrapper

    return decorate
