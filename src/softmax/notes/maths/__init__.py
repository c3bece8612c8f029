"""Checks the formulas of notes: their syntax by the rules of MathJax, their meaning by evaluating both sides of a step.

The way of a display::

    text ─ _tokens ─ _syntax                                   what MathJax would not typeset
                  └─ _chains ─ _parse ─ _resolve ─ _shapes ─ _evaluate ─ _steps     a verdict for each step
                                                                  └─ _repair        the smallest edit that heals a chain
"""

from ._note import MathsFinding, MathsReport, MathsStep, check_notes

__all__ = ["MathsFinding", "MathsReport", "MathsStep", "check_notes"]
