"""A sample of the changes of `benchmarks.notes.mutation`: those that matter are noticed."""

from __future__ import annotations

from collections import Counter

from benchmarks.notes.mutation import judged, mutants
from tests.notes.maths.formulas import FORMULAS


def test_changes_that_matter_are_caught():
    sample = [mutant for formula in FORMULAS[::9] for mutant in mutants(formula)]
    counts = Counter(mutant.outcome for mutant in sample)
    missed = [(mutant.formula, mutant.words, mutant.text) for mutant in sample if mutant.outcome == "missed"]
    assert counts["caught"] >= 200
    assert counts["missed"] <= (counts["caught"] + counts["missed"]) // 100, missed


def test_every_right_formula_passes_in_the_benchmark_too():
    assert {judged(formula) for formula in FORMULAS[::4]} == {"passed"}
