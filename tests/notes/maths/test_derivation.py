r"""A derivation in which exponents have the wrong sign and two derivatives lack their ∂, pasted three times."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from softmax.notes._check import check_vault
from softmax.notes.maths import check_notes
from softmax.notes.reading import Edit, apply_edits, read_note
from tests.notes.maths.helpers import note_of, report

DERIVATION = r"""$$
\begin{split}
\frac{\partial\, \mathrm{softmax}(x)_a}{\partial x_b}
=& \frac{\partial}{\partial x_b} \frac{e^{x_a}}{\sum_{c} e^{x_c}} \\
=& \frac{\partial}{\partial x_b} \frac{e^{x_a}}{\sum_{c} e^{x_c}} \\
=& \frac{\partial e^{x_a}}{\partial x_b} \frac{1}{\sum_{c} e^{x_c}} + e^{x_a} \frac{\left(\sum_{c} e^{x_c}\right)^{-2}}{\partial x_b} \\
=& \mathrm{softmax}(x)_b\, \mathrm{I}[a = b] + \frac{-e^{x_a}}{\left(\sum_{c} e^{x_c}\right)^{-2}} \frac{\sum_{c} e^{x_c}}{\partial x_b} \\
=& \mathrm{softmax}(x)_b\, \mathrm{I}[a = b] + \frac{-e^{x_a}}{\left(\sum_{c} e^{x_c}\right)^{-2}} e^{x_b} \\
=& \mathrm{softmax}(x)_b\, \mathrm{I}[a = b] - \mathrm{softmax}(x)_b\, \mathrm{softmax}(x)_a \\
=& \begin{cases}
\mathrm{softmax}(x)_b (1 - \mathrm{softmax}(x)_b) & ,for\ a = b \\
-\mathrm{softmax}(x)_b\, \mathrm{softmax}(x)_a & ,for\ a \neq b
\end{cases}
\end{split}
$$
"""  # noqa: E501 - rows of a derivation
NOTE = f"# one\n\n{DERIVATION}\n## two\n\n{DERIVATION}\nthree\n\n{DERIVATION}"
ROWS = dict(enumerate(range(6, 13), 1))  # row of the derivation -> line of the first copy


def of(findings, rule):
    return [finding for finding in findings if finding.found.rule == rule]


def test_exactly_the_wrong_steps_are_refuted_at_the_line_of_their_right_row():
    found = of(report(NOTE).findings, "maths/refuted")
    assert [finding.places[0].line for finding in found] == [ROWS[3], ROWS[4], ROWS[6]]
    assert all(finding.found.verdict == "refuted" and len(finding.places) == 3 for finding in found)


def test_the_other_steps_hold():
    steps = report(NOTE).steps
    assert [step.seen.verdict for step in steps] == [
        *("consistent", "proved", "refuted", "refuted", "consistent", "refuted", "consistent")
    ]


def test_what_lacks_a_partial_is_malformed_and_its_reading_is_named():
    found = of(report(NOTE).findings, "maths/malformed")
    assert [finding.places[0].line for finding in found] == [ROWS[3], ROWS[4]]
    for finding in found:
        assert finding.found.verdict == "malformed" and r"\frac{\partial " in finding.found.text
    refuted = of(report(NOTE).findings, "maths/refuted")
    assert r"\partial \left(\sum_{c} e^{x_c}\right)^{-2}" in refuted[0].found.text


def test_a_repeated_row_is_told():
    (found,) = of(report(NOTE).findings, "maths/repeated-row")
    assert found.found.text == "row 2 repeats row 1" and len(found.places) == 3


def test_a_refuted_step_shows_a_point_and_both_sides():
    data = of(report(NOTE).findings, "maths/refuted")[0].found.data
    assert set(data["point"]) == {"a", "b", "x"} and abs(data["left"] - data["right"]) > 1e-3
    assert data["difference"] > 0.1 and data["points"] >= 100


def test_the_repairs_make_all_three_copies_hold_and_change_nothing_else():
    note = note_of(NOTE)
    found = check_notes([note])
    edits = [Edit(*edit) for edit in found.edits["note.md"]]
    assert len(edits) == 3 * 5  # three exponents and two ∂ in each copy
    repaired = apply_edits(note.text, edits)
    again = report(repaired)
    assert {step.seen.verdict for step in again.steps} == {"consistent", "proved"}
    assert [finding.found.rule for finding in again.findings] == ["maths/repeated-row"]
    changed = [a != b for a, b in zip(NOTE.split("\n"), repaired.split("\n"), strict=True)]
    assert sum(changed) == 9


def test_two_rows_that_are_wrong_alike_agree_with_each_other():
    text = NOTE.replace(r"\right)^{-2}} e^{x_b}", r"\right)^{2}} e^{x_b}")
    found = of(report(text).findings, "maths/refuted")
    assert [finding.places[0].line for finding in found] == [ROWS[3], ROWS[4], ROWS[5]]


def test_the_note_of_the_anchor():
    data = os.environ.get("SOFTMAX_DATA")
    path = Path(data or "").parent / "notes" / "softmax function.md"
    if not data or not path.is_file():
        pytest.skip("SOFTMAX_DATA names no folder beside which notes/softmax function.md lies")
    checked = check_vault([path])
    by_rule = {}
    for finding in checked.findings:
        by_rule.setdefault(finding.rule, []).append(finding)
    assert [finding.place.line for finding in by_rule["maths/refuted"]] == [21, 22, 24]
    assert [finding.place.line for finding in by_rule["maths/malformed"]] == [21, 22]
    assert [finding.place.line for finding in by_rule["maths/repeated-row"]] == [20]
    assert all(len(finding.places) == 3 for rule, of in by_rule.items() if rule.startswith("maths/") for finding in of)
    assert by_rule.keys() == {"maths/refuted", "maths/malformed", "maths/repeated-row", "link-nowhere", "proof-shown"}
    note = read_note("n.md", path.read_bytes())
    (edits,) = checked.edits.values()
    again = check_notes([read_note("n.md", note.encode(apply_edits(note.text, edits)))])
    assert {step.seen.verdict for step in again.steps} == {"consistent", "proved"}
