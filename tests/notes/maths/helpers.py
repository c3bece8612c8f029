"""A formula in a note, checked."""

from __future__ import annotations

from softmax.notes.maths import check_notes
from softmax.notes.maths._display import DisplayResult, check_display
from softmax.notes.maths._note import formulas_of
from softmax.notes.reading import read_note


def note_of(text, path="note.md"):
    return read_note(path, text.encode())


def check(display, before="", *, repairs=False) -> DisplayResult:
    """Check a display in a note that says something before it."""
    note = note_of(f"{before}\n\n$$\n{display}\n$$\n")
    formula = [found for found in formulas_of(note) if found.segment.display][-1]
    return check_display(formula.text, formula.around, repairs=repairs)


def verdicts(display, before=""):
    """The verdict on each step."""
    return [step.verdict for step in check(display, before).steps]


def report(text, **options):
    return check_notes([note_of(text)], **options)
