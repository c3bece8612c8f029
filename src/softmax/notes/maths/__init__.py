"""Checks the formulas of notes: their syntax by the rules of MathJax, their meaning by evaluating both sides of a step.

The way of a display::

    text ── _syntax                                          what MathJax would not typeset
        └── _tokens ── _chains ── _parse ── _scope ── _shapes ── _evaluate ── _compare ── _steps     verdicts
                          └── _knowledge (what the note says of its names)           └── _repair     edits

`_identity` keeps conditions and models from being refuted; `_note` gathers the formulas of notes and their places.
"""

from ._note import MathsFinding, MathsReport, MathsStep, check_notes

__all__ = ["MathsFinding", "MathsReport", "MathsStep", "check_notes"]
