"""What the documentation says is what the code does: sections, defaults, examples, and the README."""

from __future__ import annotations

import ast
import doctest
import functools
import importlib.util
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import softmax as sm

ROOT = Path(__file__).resolve().parents[1]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS | doctest.FAIL_FAST


def public(name: str) -> Any:
    """Return what a public name stands for; "nn.SoftmaxOutput" is one too."""
    return functools.reduce(getattr, name.split("."), sm)


NAMES = [n for n in sm.__all__ if not (inspect.isclass(public(n)) and issubclass(public(n), Exception))]
EXCEPTIONS = sorted(set(sm.__all__) - set(NAMES))
if importlib.util.find_spec("torch"):
    NAMES += [f"nn.{n}" for n in sm.nn.__all__ if n != "TopK"]  # a result, which nobody makes


def sections(text: str) -> dict[str, str]:
    """Split a numpydoc docstring at its underlined titles; what stands before the first is the summary."""
    parts = re.split(r"^([A-Z][A-Za-z ]+)\n-{3,}\n", text, flags=re.MULTILINE)
    return {"Summary": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def documented_parameters(text: str) -> dict[str, str]:
    """Return name -> type, in the order of the section; "x, y : array" counts as two."""
    fields = {}
    for names, kind in re.findall(
        r"^(\*{0,2}\w+(?:, \w+)*) : (.*)$", sections(text).get("Parameters", ""), re.MULTILINE
    ):
        fields |= dict.fromkeys((name.lstrip("*") for name in names.split(", ")), kind)
    return fields


def documented_default(kind: str) -> Any:
    """Return the default that a type states: "default 1.0", "default=1.0", or None for "optional"."""
    found = re.search(r"\bdefault[ =:]+(.+)$", kind)
    if found:
        return ast.literal_eval(found[1].strip("`"))
    return None if kind.endswith("optional") else inspect.Parameter.empty


def disagreements(function: Any) -> list[str]:
    """Return a line for each difference between the documented parameters and the signature."""
    signature = inspect.signature(function).parameters
    documented = documented_parameters(inspect.getdoc(function) or "")
    if list(documented) != list(signature):
        return [f"documented: {', '.join(documented)}; signature: {', '.join(signature)}"]
    wrong = []
    for name, kind in documented.items():
        said, is_ = documented_default(kind), signature[name].default
        if said != is_ or type(said) is not type(is_):
            wrong.append(f"{name}: documented {kind!r}, default {is_!r}")
    return wrong


@pytest.mark.parametrize("name", NAMES)
def test_documented_parameters_are_those_of_the_signature(name):
    assert disagreements(public(name)) == []


@pytest.mark.parametrize(
    "text",
    [
        "Do it.\n\nParameters\n----------\nx : array\naxis : int, default 0\n",
        "Do it.\n\nParameters\n----------\nx : array\naxis : int\n",
        "Do it.\n\nParameters\n----------\nx : array, optional\naxis : int, default -1\n",
        "Do it.\n\nParameters\n----------\naxis : int, default -1\n",
        "Do it.\n\nParameters\n----------\nx : array\naxis : int, default -1\nout : array, optional\n",
        "Do it.\n\nParameters\n----------\nx : array\naxis : int, default -1.0\n",
    ],
    ids=["other value", "no value", "not optional", "missing", "too many", "other type"],
)
def test_the_comparison_can_fail(text):
    def function(x, axis=-1):
        return x, axis

    function.__doc__ = text
    assert disagreements(function)


def test_the_comparison_can_pass():
    def function(x, axis=-1, where=None):
        return x, axis, where

    function.__doc__ = "Do it.\n\nParameters\n----------\nx : array\naxis : int, default -1\nwhere : mask, optional\n"
    assert disagreements(function) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_has_its_sections(name):
    value = public(name)
    found = sections(inspect.getdoc(value) or "")
    wanted = ["Examples"]
    if inspect.signature(value).parameters:
        wanted.append("Parameters")
    if not inspect.isclass(value):
        returns = inspect.signature(value).return_annotation
        wanted += ["Returns"] if returns not in (None, "None") else []
        wanted += ["Raises"] if inspect.signature(value).parameters else []
    assert [title for title in wanted if not found.get(title, "").strip()] == []
    first = found["Summary"].strip().splitlines()[0]
    assert first.endswith(".")
    assert len(first) <= 120


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_exception_says_when_it_comes(name):
    assert vars(getattr(sm, name))["__doc__"].strip().endswith(".")


def public_methods() -> list[Any]:
    classes = [public(name) for name in NAMES if inspect.isclass(public(name))]
    return [
        pytest.param(value, id=f"{cls.__name__}.{name}")
        for cls in classes
        for name, value in vars(cls).items()
        if not name.startswith("_") and (callable(value) or isinstance(value, property))
    ]


@pytest.mark.parametrize("method", public_methods())
def test_a_public_method_is_documented(method):
    assert (method.__doc__ or "").strip()


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_a_docstring_give_what_they_show(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    report: list[str] = []
    tests = [t for t in doctest.DocTestFinder(exclude_empty=True).find(public(name), name, globs={}) if t.examples]
    assert tests
    for test in tests:
        runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)


def readme_examples() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```pycon\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_the_readme_shows_what_its_examples_give(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = readme_examples()
    assert blocks
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "README.md", "README.md", 0)
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    report: list[str] = []
    runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)
    assert runner.tries >= 10


def links_and_names(text: str) -> tuple[list[str], list[str]]:
    """Return the relative links of a Markdown file, and the tests and files that it names in code."""
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    names = re.findall(
        r"`((?:tests|src|benchmarks|docs)/[\w./-]*|[\w.-]+\.(?:md|txt|toml|cff)|\.ci/run)(?:::(\w+))?`", text
    )
    return links, ["::".join(filter(None, name)) for name in names]


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_what_a_document_names_exists(document):
    links, names = links_and_names((ROOT / document).read_text(encoding="utf-8"))
    missing = [link for link in links if not (ROOT / link).exists()]
    for name in names:
        path, _, test = name.partition("::")
        if not (ROOT / path).exists() or (test and f"def {test}(" not in (ROOT / path).read_text(encoding="utf-8")):
            missing.append(name)
    assert names
    assert missing == []


def test_the_documents_name_every_make_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, flags=re.MULTILINE))
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert {name for name in targets - {"help"} if f"make {name}" not in contributing} == set()
