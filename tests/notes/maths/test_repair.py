"""The smallest edit that makes a chain hold is found, verified, and told; where there is none, nothing is said."""

from __future__ import annotations

import pytest

from softmax.notes.maths._errors import apply_edits
from tests.notes.maths.formulas import FORMULAS
from tests.notes.maths.helpers import check


def repaired(display, before=""):
    result = check(display, before, repairs=True)
    return apply_edits("\n" + display + "\n", result.repair).strip() if result.repair else None


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (r"\frac{d}{dx} x^3 = 2x^2", r"\frac{d}{dx} x^3 = 3x^2"),
        (r"\sin'(x) = -\cos(x)", r"\sin'(x) = \cos(x)"),
        (r"\frac{d}{dx} \tanh x = 1 - \tanh x", r"\frac{d}{dx} \tanh x = 1 - \tanh^2 x"),
        (r"\sum_{k=1}^n k = \frac{n(n-1)}{2}", r"\sum_{k=1}^n k = \frac{n(n+1)}{2}"),
        (r"\nabla_w \|Xw - y\|^2 = 2 X (Xw - y)", r"\nabla_w \|Xw - y\|^2 = 2 X^\top (Xw - y)"),
        (
            r"\frac{\partial}{\partial x_j} \sum_i x_i^2 = 2 x_j^2",
            r"\frac{\partial}{\partial x_j} \sum_i x_i^2 = 2 x_j",
        ),
        (r"\log(ab = \log a + \log b", r"\log(ab) = \log a + \log b"),
        (r"\frac{f(x)}{\partial x} = f'(x)", r"\frac{\partial f(x)}{\partial x} = f'(x)"),
        (r"\frac{\partial f(x)}{x} = f'(x)", r"\frac{\partial f(x)}{\partial x} = f'(x)"),
    ],
)
def test_the_smallest_repair(wrong, right):
    assert repaired(wrong) == right


def test_a_lost_factor_is_put_back():
    assert repaired(r"\frac{d}{dx} \sin(3 x) = \cos(3 x)") == r"\frac{d}{dx} \sin(3 x) = 3\cos(3 x)"
    assert repaired(r"\frac{d}{dx} \sin(a x) = \cos(a x)") == r"\frac{d}{dx} \sin(a x) = a\cos(a x)"


def test_nothing_is_invented():
    assert repaired(r"\sin^2 x = \sum_{k=1}^7 \frac{k}{x}") is None
    assert repaired(r"a^2 + b^2 = c^2") is None


def test_a_right_formula_is_left_alone():
    assert repaired(r"\frac{d}{dx} x^3 = 3x^2") is None


def test_a_repair_holds():
    """Of every wrong formula of the suite: what is proposed passes."""
    found = 0
    for formula in FORMULAS[::3]:
        proposal = repaired(formula.wrong, formula.before)
        if proposal is not None:
            found += 1
            said = {step.verdict for step in check(proposal, formula.before).steps}
            assert said <= {"consistent", "proved", "not refuted", "definition"}, (formula.name, proposal)
    assert found >= len(FORMULAS[::3]) // 3


def test_the_change_is_told_in_words():
    (finding,) = check(r"\frac{d}{dx} x^3 = 2x^2", repairs=True).found
    assert finding.suggestion == "2 becomes 3: 3x^2" and finding.data["repair"] == "2 becomes 3"
