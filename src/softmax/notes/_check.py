"""`check_vault`: everything there is to say about notes, the findings of reading and of mathematics in one list."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ._model import Message, NoteFile, Place, Severity, Vault
from .reading import Edit, findings, read_vault

ORDER: Mapping[str, int] = {"error": 0, "warning": 1, "remark": 2}
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Finding:
    """Something to tell, with every place where it stands.

    Attributes
    ----------
    rule
        A stable name, such as ``maths/refuted`` or ``unclosed-start``.
    verdict
        Of a formula: "refuted", "malformed", "not understood", or "proved" for a row that only repeats another. None
        for what is no formula.
    severity
        "error", "warning", or "remark" for what is worth knowing and no fault.
    places
        The first is where `line` and `column` of a report point; the others hold pasted copies.
    data
        Of a refuted step: "left", "right", "difference" (relative, the largest), "points", "point" (name to value),
        "row", and "repair" with "repaired" where a repair was found and verified.
    """

    rule: str
    verdict: str | None
    severity: Severity
    text: str
    places: tuple[Place, ...]
    end: Place | None = None
    suggestion: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        """The first place."""
        return self.places[0]


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes
    ----------
    vault
        As it was read.
    findings
        In the order of their first places.
    steps
        Every step of every display: place, verdict, relation, rows, and what is known of it.
    edits
        Path -> the edits of all repairs that were verified, in the text of that note.
    """

    vault: Vault
    findings: tuple[Finding, ...]
    steps: tuple[Mapping[str, Any], ...]
    edits: Mapping[str, tuple[Edit, ...]]

    def worst(self, *, strict: bool = False) -> bool:
        """Whether there is an error or a warning; with `strict`, or a remark."""
        return any(strict or finding.severity != "remark" for finding in self.findings)


def check_vault(
    paths: Iterable[str | os.PathLike[str]],
    *,
    root: str | os.PathLike[str] | None = None,
    repairs: bool = True,
    progress: Progress | None = None,
) -> Checked:
    """Read notes and check them.

    Parameters
    ----------
    paths, root
        As of `reading.read_vault`.
    repairs
        Search for repairs of what is wrong; that takes up to two seconds for a display.
    progress
        Called with (formulas checked, formulas in all).

    Raises
    ------
    NotesError
        If the notes cannot be read.
    """
    vault = read_vault(paths, root=root)
    return check_read(vault, repairs=repairs, progress=progress)


def check_read(vault: Vault, *, repairs: bool = True, progress: Progress | None = None) -> Checked:
    """Check notes that have been read."""
    from .maths import check_notes

    notes = list(vault.notes.values())
    report = check_notes(notes, repairs=repairs, progress=progress)
    told = [_of_message(message) for message in findings(vault)]
    for found in report.findings:
        item = found.found
        told.append(
            Finding(
                item.rule,
                item.verdict,
                _severity(item.severity),
                item.text,
                found.places,
                found.end,
                item.suggestion,
                item.data,
            )
        )
    steps = []
    for step in report.steps:
        seen = step.seen
        steps.append(
            {
                "place": step.place,
                "copies": step.places,
                "verdict": seen.verdict,
                "relation": seen.relation,
                "rows": list(seen.rows),
                **seen.data,
            }
        )
    edits = {path: tuple(Edit(*edit) for edit in sorted(set(of))) for path, of in report.edits.items()}
    ordered = sorted(told, key=lambda finding: (finding.place, ORDER[finding.severity]))
    return Checked(vault, tuple(ordered), tuple(steps), edits)


def _severity(word: str) -> Severity:
    return "error" if word == "error" else ("warning" if word == "warning" else "remark")


def _of_message(message: Message) -> Finding:
    return Finding(
        message.rule, None, message.severity, message.text, (message.place,), message.end, message.suggestion
    )


def repaired(note: NoteFile, edits: Iterable[Edit]) -> str:
    """The text of a note with its repairs."""
    from .reading import apply_edits

    return apply_edits(note.text, edits)


def shown_path(vault: Vault, path: str) -> str:
    """A path as it opens from the current folder."""
    full = Path(vault.root) / path
    relative = os.path.relpath(full)
    return str(full) if relative.startswith("..") else Path(relative).as_posix()
