"""Notes: what they say of their names, and the findings in their formulas, each told once with all its places."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._model import NoteFile, Place, Segment
from ._chains import split_chains
from ._display import DisplayResult, Found, StepSeen, check_display
from ._errors import FormulaError
from ._knowledge import Knowledge, learn_chain, learn_independence, learn_membership, learn_words
from ._steps import Surroundings
from ._syntax import defined_macros
from ._tokens import MOST_CHARACTERS, tokenize
from ._workers import over_processes

_HEADING = re.compile(r"^#{1,6}\s", re.M)
_CLOZE = re.compile(r"(\{\{c\d+::)(.*?)(::[^{}]*)?\}\}", re.S)
_LONGEST_LEARNT = 4000  # characters of a formula that may define something


@dataclass(frozen=True)
class Formula:
    """A formula of a note with what is known where it stands."""

    segment: Segment
    text: str
    around: Surroundings


@dataclass(frozen=True)
class MathsFinding:
    """A finding with every place where its formula stands; `path` and `place` are those of the first."""

    found: Found
    places: tuple[Place, ...]
    end: Place


@dataclass(frozen=True)
class MathsStep:
    """A step with its verdict and its first place."""

    seen: StepSeen
    place: Place
    places: int


@dataclass
class MathsReport:
    """Findings and steps of some notes; `edits` by path, in positions of the notes' texts."""

    findings: list[MathsFinding] = field(default_factory=list)
    steps: list[MathsStep] = field(default_factory=list)
    edits: dict[str, list[tuple[int, int, str]]] = field(default_factory=dict)
    formulas: int = 0


def formulas_of(note: NoteFile) -> list[Formula]:
    """The formulas of a note, each with all that the note says."""
    knowledge = Knowledge()
    headings = [found.start() for found in _HEADING.finditer(note.text)]
    prose = [note.text[segment.start : segment.end] for segment in note.segments if segment.kind == "prose"]
    learn_independence(prose, knowledge)
    out = []
    seen: set[tuple[str, bool]] = set()
    for segment in note.segments:
        if segment.kind != "maths":
            continue
        text = _without_clozes(note.text[segment.inner.start : segment.inner.end])
        section = bisect.bisect_right(headings, segment.start)
        out.append(Formula(segment, text, Surroundings(knowledge, segment.start, section, text)))
        if (text, segment.display) in seen or len(text) > _LONGEST_LEARNT:
            continue  # a pasted copy says nothing new
        seen.add((text, segment.display))
        _learn(note, segment, text, section, knowledge)
    return out


def _without_clozes(text: str) -> str:
    """Leave out the marks of clozes, {{c1::a::hint}}, but for a pair of braces; every character keeps its place."""
    if "{{c" not in text:
        return text

    def kept(found: re.Match[str]) -> str:
        mark, inner, hint = found.group(1), found.group(2), found.group(3) or ""
        return "{" + " " * (len(mark) - 1) + inner + " " * len(hint) + " }"

    return _CLOZE.sub(kept, text)


def _learn(note: NoteFile, segment: Segment, text: str, section: int, knowledge: Knowledge) -> None:
    if not segment.display:
        learn_membership(text, knowledge)
        before, after = note.text[max(0, segment.start - 60) : segment.start], note.text[segment.end : segment.end + 60]
        learn_words(before, text, after, knowledge)
    if not any(sign in text for sign in ("=", "<", ">", "\\l", "\\g", "≤", "≥", "\\eq", "\\coloneq")):
        return
    try:
        for chain in split_chains(tokenize(text)):
            learn_chain(chain, knowledge, segment.start, section, display=segment.display)
    except (FormulaError, RecursionError, ValueError, IndexError):
        return


def check_notes(
    notes: Iterable[NoteFile], *, repairs: bool = True, progress: Callable[[int, int], None] | None = None
) -> MathsReport:
    """Check the formulas of notes. What stands in several places, in the same surroundings, is checked once."""
    report = MathsReport()
    groups: dict[Any, tuple[Formula, list[tuple[NoteFile, Segment]]]] = {}
    macros: frozenset[str] = frozenset()
    for note in notes:
        formulas = formulas_of(note)
        if formulas:
            macros |= defined_macros(note.text)
        for formula in formulas:
            key = (formula.text, formula.segment.display, _fingerprint(formula))
            groups.setdefault(key, (formula, []))[1].append((note, formula.segment))
            report.formulas += 1
    jobs = [(formula, macros, repairs) for formula, _ in groups.values()]
    for result, (_, places) in zip(over_processes(_checked, jobs, progress), groups.values(), strict=True):
        _add(report, result, places)
    return report


def _checked(job: tuple[Formula, frozenset[str], bool]) -> DisplayResult:
    formula, macros, repairs = job
    if len(formula.text) > MOST_CHARACTERS * 50:
        return DisplayResult((), ())
    return check_display(
        formula.text, formula.around, repairs=repairs, macros=macros, inline=not formula.segment.display
    )


def _fingerprint(formula: Formula) -> Any:
    """What the verdict on a formula depends on besides its text: the names in it as the note knows them."""
    around = formula.around
    knowledge = around.knowledge
    if not knowledge.definitions and not knowledge.domains and not knowledge.shapes:
        return ()
    definitions = around.definitions()
    relevant: dict[str, Any] = {}
    todo = [_words(formula.text)]
    while todo:
        for name in todo.pop() & definitions.keys() - relevant.keys():
            relevant[name] = definitions[name].parameters, definitions[name].indices, definitions[name].body
            todo.append(definitions[name].names)
    used = _words(formula.text).union(*(definitions[name].names for name in relevant))
    return (
        tuple(sorted((name, repr(value)) for name, value in relevant.items())),
        tuple(sorted(item for item in knowledge.domains.items() if item[0].rpartition(":")[2] in used)),
        tuple(sorted(item for item in knowledge.shapes.items() if item[0].rpartition(":")[2] in used)),
        knowledge.independent,
    )


def _words(text: str) -> set[str]:
    """Everything in a formula that may be a name: letters, and words after a backslash or in braces."""
    words = set(re.findall(r"[A-Za-z]+", text))
    return (
        words
        | {letter for word in words for letter in word}
        | {f"{a}:{b}" for a, b in re.findall(r"\\(\w+)\s*\{?\s*\\?(\w+)", text)}
    )


def _add(report: MathsReport, result: DisplayResult, places: Sequence[tuple[NoteFile, Segment]]) -> None:
    first_note, first = places[0]
    for found in result.found:
        where = tuple(note.place(segment.inner.start + found.start) for note, segment in places)
        end = first_note.place(first.inner.start + found.end)
        report.findings.append(MathsFinding(found, where, end))
    for seen in result.steps:
        report.steps.append(MathsStep(seen, first_note.place(first.inner.start + seen.start), len(places)))
    if result.repair:
        for note, segment in places:
            report.edits.setdefault(note.path, []).extend(
                (segment.inner.start + edit.start, segment.inner.start + edit.end, edit.text) for edit in result.repair
            )
