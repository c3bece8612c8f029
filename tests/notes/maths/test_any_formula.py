"""Any text gives findings or silence: never an exception, and never a long wait."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softmax.notes.maths import check_notes
from softmax.notes.maths._display import check_display
from softmax.notes.maths._knowledge import Knowledge
from softmax.notes.maths._steps import Surroundings
from tests.notes.maths.helpers import note_of

PIECES = [
    *(
        "x",
        "y_i",
        "z_{ij}",
        "p",
        "A",
        "2",
        "0.5",
        "1",
        "n",
        "i",
        "k",
        "e",
        r"\pi",
        r"\sigma",
        r"\mathbf{x}",
        r"\hat{y}",
    ),
    *("=", r"\approx", r"\le", "<", "+", "-", r"\cdot", "/", "^", "^2", "^{-1}", "_", "_i", "'", "!", ",", "|", r"\|"),
    *(
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        r"\{",
        r"\}",
        r"\left(",
        r"\right)",
        r"\left|",
        r"\right|",
        "&",
        r"\\",
        " ",
        r"\quad",
    ),
    *(
        r"\frac{a}{b}",
        r"\frac",
        r"\sqrt",
        r"\sum_i",
        r"\sum_{k=1}^n",
        r"\prod_k",
        r"\int_0^1",
        "dx",
        r"\max_k",
        r"\log",
    ),
    *(r"\exp", r"\frac{\partial}{\partial x_j}", r"\frac{\partial f}{\partial x}", r"\nabla_x", r"\partial", r"^\top"),
    *(
        r"\mathbb{E}[X]",
        r"\mathrm{Var}(X)",
        "P(A|B)",
        r"\delta_{ij}",
        r"\mathrm{I}[i=j]",
        r"\begin{cases}",
        r"\end{cases}",
    ),
    *(
        r"\begin{split}",
        r"\end{split}",
        r"\text{for }",
        r"\implies",
        r"\mathrm{softmax}(z)_i",
        r"\infty",
        r"\in",
        "é",
        "∑",
    ),
]
formulas = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


def around(text):
    return Surroundings(Knowledge(), 0, 0, text)


@settings(max_examples=300, deadline=None)
@given(formulas)
def test_pieces_of_formulas(text):
    check_display(text, around(text), repairs=False)


@settings(max_examples=40, deadline=None)
@given(formulas)
def test_the_search_for_repairs_never_fails(text):
    check_display(text, around(text))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_text(text):
    check_display(text, around(text), repairs=False)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(formulas.map("$${}$$".format), formulas.map("${}$".format), st.text(max_size=20)), max_size=6)
)
def test_notes_of_anything(parts):
    check_notes([note_of("\n\n".join(parts))], repairs=False)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 3000,
        "{" * 3000 + "}" * 3000,
        r"\frac{" * 500,
        r"\sqrt{" * 200 + "x" + "}" * 200,
        "+".join(["x_i"] * 3000) + "=0",
        "=".join(["x"] * 300),
        r"\sum_i " * 40 + "x_i = y",
        "^{2" * 300,
        r"\begin{split}" * 200,
        "a=" + "b" * 5000,
        "x" * 30_000 + "=1",
        "".join(rf"\sum_{{{letter}}} " for letter in "abcdfghijklmnopqrstuvwxyz") + "x_a x_b = 1",
        r"\frac{\partial}{\partial x_i}" * 30 + "f(x) = 0",
        "|" * 501,
        "-" * 2000 + "x = y",
        r"\int_0^1 " * 12 + "x" + "dx" * 12 + "= 1",
    ],
    ids=lambda text: text[:12],
)
def test_large_and_deep_formulas_end_soon(text):
    start = time.perf_counter()
    check_display(text, around(text))
    assert time.perf_counter() - start < 20
