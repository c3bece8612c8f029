"""Small files for the tests of tables."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes text or bytes to a file in a folder with a space in its name."""
    folder = tmp_path / "a folder"
    folder.mkdir()

    def write_file(content: str | bytes, name: str = "t.csv") -> Path:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file
