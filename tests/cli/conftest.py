"""Run commands as a user does, in a folder of their own."""

from __future__ import annotations

import csv
import io
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("click", reason="click is not installed")
pytest.importorskip("pyarrow", reason="pyarrow is not installed")


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code, standard output and standard error."""

    code: int
    out: str
    err: str


@pytest.fixture
def softmax(tmp_path, monkeypatch, capfdbinary):
    """Return a function that runs ``softmax`` with arguments, in this process and in an empty folder."""
    from softmax.cli import main

    folder = tmp_path / "a folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("SOFTMAX_TRACEBACK", raising=False)

    def run(*arguments: object) -> Done:
        capfdbinary.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfdbinary.readouterr()
        return Done(code, out.decode(), err.decode())

    return run


def penguins(n: int = 90, *, missing: bool = False) -> str:
    """A CSV of three classes, four features of which two are text, and, if asked for, holes."""
    draw = random.Random(7)
    rows = [["species", "bill length (mm)", "mass", "island", "sex"]]
    for i in range(n):
        kind = i % 3
        hole = missing and i % 10 == 3
        rows.append(
            [
                ["Adélie", "Chinstrap", "Gentoo, large"][kind],
                "" if hole else f"{draw.gauss(38 + 5 * kind, 2):.1f}",
                draw.randrange(3000, 6000, 50),
                draw.choice(["Biscoe", "Dream", "Torgersen"]),
                "NA" if hole else draw.choice(["male", "female"]),
            ]
        )
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


@pytest.fixture
def penguin_file(softmax) -> Path:
    """The path of such a CSV in the folder of the commands."""
    path = Path("penguins.csv")
    path.write_bytes(penguins().encode())
    return path
