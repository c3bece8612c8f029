"""The recipes in docs/ do what they say: every block runs, in order, in an empty folder, and its assertions hold."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "docs" / "recipes").glob("*.md"))
# What a recipe needs that the tests do without: transformers and what it brings take 150 MB.
OPTIONAL = ("transformers",)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_there_are_recipes():
    assert {"language-model", "neural-classifier", "output-layer"} <= {path.stem for path in RECIPES}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_runs(recipe, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    text = recipe.read_text(encoding="utf-8")
    for package in OPTIONAL:
        if f"import {package}" in text:
            pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    python, shell = blocks(text, "python"), blocks(text, "sh")
    assert python
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        exec(compile("\n".join(python), str(recipe), "exec"), {"__name__": recipe.stem})  # as one script of a reader's
        for line in "".join(shell).splitlines():
            run(line)
    finally:
        torch.set_num_threads(threads)
    assert any("assert " in block for block in python)


def run(line: str) -> None:
    """Run a line of shell that calls our command, in this process."""
    pytest.importorskip("click")
    pytest.importorskip("pyarrow")
    from softmax.cli import main

    program, *arguments = shlex.split(line)
    assert program == "softmax"
    assert main(arguments) == 0
