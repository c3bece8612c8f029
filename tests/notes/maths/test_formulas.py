"""The suite: no right formula is refuted, no wrong one passes, and few right ones are not understood."""

from __future__ import annotations

import pytest

from tests.notes.maths.formulas import FORMULAS
from tests.notes.maths.helpers import check


def told(display, before):
    result = check(display, before)
    return {step.verdict for step in result.steps} | {item.verdict for item in result.found if item.verdict != "proved"}


@pytest.mark.parametrize("formula", FORMULAS, ids=lambda formula: formula.name)
def test_a_right_formula_is_not_refuted(formula):
    assert not told(formula.right, formula.before) & {"refuted", "malformed"}


@pytest.mark.parametrize("formula", FORMULAS, ids=lambda formula: formula.name)
def test_a_wrong_formula_is_refuted(formula):
    assert "refuted" in told(formula.wrong, formula.before)


def test_at_most_a_tenth_of_the_right_ones_is_not_understood():
    assert len(FORMULAS) >= 60
    lost = [formula.name for formula in FORMULAS if "not understood" in told(formula.right, formula.before)]
    assert len(lost) <= len(FORMULAS) // 10, lost


def test_names_are_distinct():
    assert len({formula.name for formula in FORMULAS}) == len(FORMULAS)
