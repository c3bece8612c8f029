"""The command line: parses, calls the library, prints. Nobody imports it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_EXTRA = ("click", "rich", "pyarrow", "narwhals")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``softmax`` with these arguments (default: those of the process) and return the exit code.

    0: done; 1: it failed, and the message on standard error says why and what to do; 2: the command line itself is
    wrong; 130: interrupted.
    """
    try:
        from ._app import run
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        sys.stderr.write(f"The command line needs {error.name}:  pip install 'softmax[cli]'\n")
        return 1
    return run(arguments)
