"""What ends the reading of a formula: a part that is missing, or one that this checker has no meaning for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the characters `start` to `end` of a display by `text`."""

    start: int
    end: int
    text: str


def apply_edits(text: str, edits: tuple[Edit, ...] | list[Edit]) -> str:
    """Return `text` after all edits, whose positions are those of the unchanged text."""
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end), reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


class FormulaError(Exception):
    """Base: `text` says what, `start` and `end` where in the display."""

    def __init__(self, text: str, start: int = -1, end: int = -1) -> None:
        super().__init__(text)
        self.text, self.start, self.end = text, start, end


class MalformedError(FormulaError):
    """Something is missing, or stands where nothing can stand."""


class NotUnderstoodError(FormulaError):
    """Well-formed perhaps, but without a meaning here."""


class ShapeError(NotUnderstoodError):
    """Numbers, vectors and matrices that do not go together; `symbols` could be of another shape."""

    symbols: frozenset[str] = frozenset()


class UndefinedError(NotUnderstoodError):
    """No point was found where both sides have a value."""
