"""The smallest edits that make a chain hold: of each side that differs from the others, and then verified."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, replace

from . import _ast as ast
from ._arrays import Val
from ._ast import Node
from ._chains import Chain, split_chains
from ._compare import ENOUGH, HOLDS, Comparison, aligned, differences, evaluated
from ._domains import RUNGS, USUAL
from ._edits import Change, Vocabulary, small_changes, vocabulary_of
from ._errors import Edit, FormulaError, MalformedError, apply_edits
from ._scope import relabelled
from ._steps import ChainResult, Checker, Side, Surroundings, check_chain
from ._tokens import tokenize

SECONDS = 2.0  # for the search of one display
MOST_PAIRS = 1500


@dataclass(frozen=True, slots=True)
class Repair:
    """Edits of a display, member by member, that were verified to make its chain hold."""

    changes: dict[int, Change]

    @property
    def edits(self) -> tuple[Edit, ...]:
        return tuple(sorted((e for c in self.changes.values() for e in c.edits), key=lambda e: (e.start, e.end)))


def find_repair(text: str, chain: Chain, result: ChainResult, around: Surroundings, number: int) -> Repair | None:
    """Return the smallest repair of the `number`-th chain of a display, or None where none was found in time."""
    deadline = time.monotonic() + SECONDS
    bad = [step for step in result.steps if step.verdict in ("refuted", "malformed")]
    problems = any(side.problems for side in result.sides)
    if not bad and not problems:
        return None
    search = _Search(text, chain, result, around, deadline)
    for changes in search.proposals():
        if _verified(text, changes, around, number):
            return Repair(changes)
        if time.monotonic() > deadline:
            break
    return None


def _verified(text: str, changes: dict[int, Change], around: Surroundings, number: int) -> bool:
    edits = [edit for change in changes.values() for edit in change.edits]
    try:
        chains = split_chains(tokenize(apply_edits(text, edits)))
    except FormulaError:
        return False
    if number >= len(chains):
        return False
    found = check_chain(chains[number], around)
    return found.fits and not any(side.problems or side.error for side in found.sides)


class _Search:
    def __init__(self, text: str, chain: Chain, result: ChainResult, around: Surroundings, deadline: float) -> None:
        self.text, self.chain, self.result, self.around = text, chain, result, around
        self.deadline = deadline
        checker = result.checker
        assert checker is not None
        self.checker: Checker = checker

    def late(self) -> bool:
        return time.monotonic() > self.deadline

    def proposals(self) -> list[dict[int, Change]]:
        """Sets of changes that would make all sides equal, the cheapest first."""
        sides = self.result.sides
        comparison = self._comparison()
        if comparison is None:
            return self._without_values()
        rung = self._rung(comparison)
        if rung is None:
            return []
        families = self._families(comparison, rung)
        found: list[tuple[float, int, dict[int, Change]]] = []
        for place, reference in enumerate(families):
            changes: dict[int, Change] = {}
            for number, side in enumerate(sides):
                minimal = _problem_change(side)
                if number in reference:
                    if minimal is not None:
                        changes[number] = minimal
                    continue
                change = self._change_for(comparison, rung, number, min(reference))
                if change is None:
                    break
                changes[number] = change
            else:
                if changes:
                    found.append((sum(change.cost for change in changes.values()), place, changes))
            if self.late():
                break
        return [changes for _, _, changes in sorted(found, key=lambda item: item[:2])]

    def _without_values(self) -> list[dict[int, Change]]:
        """Where nothing can be evaluated, what lacks a ∂ can still be completed."""
        changes = {n: c for n, side in enumerate(self.result.sides) if (c := _problem_change(side)) is not None}
        return [changes] if changes else []

    def _comparison(self) -> Comparison | None:
        """Values of all sides that can be read."""
        nodes = [side.node for side in self.result.sides]
        if sum(node is not None for node in nodes) < 1:
            return None
        steps = [step for step in self.result.steps if nodes[step.left] is not None and nodes[step.right] is not None]
        readable = [step for step in steps if step.relation in ("=", ":=")]
        if not readable:
            present = [number for number, node in enumerate(nodes) if node is not None]
            template = self.result.steps[0]
            readable = [replace(template, left=present[0], right=present[-1])]
        try:
            return self.checker.prepare(nodes, readable)
        except FormulaError:
            return None

    def _rung(self, comparison: Comparison) -> str | None:
        """The first domain in which all sides have values at enough points."""
        assumed = [
            step.outcome.assumed for step in self.result.steps if step.outcome is not None and step.outcome.assumed
        ]
        order = (USUAL, *RUNGS) if any("all names" not in words for words in assumed) else (*RUNGS, USUAL)
        for rung in order:
            shares = []
            for evaluator, values in comparison.table(rung).batches:
                for value in values:
                    if isinstance(value, Val):
                        x, y = aligned(evaluator, value, value)
                        _, valid = differences(x, y, "=")
                        shares.append(float(valid.mean()))
            if shares and min(shares) >= ENOUGH:
                return rung
        return None

    def _families(self, comparison: Comparison, rung: str) -> list[set[int]]:
        """Sides of equal value, the most likely right family first: the largest, then the one with the first side."""
        families: list[set[int]] = []
        for number, node in enumerate(comparison.members):
            if node is None:
                continue
            for family in families:
                if self._equal(comparison, rung, min(family), number):
                    family.add(number)
                    break
            else:
                families.append({number})
        return sorted(families, key=lambda family: (-len(family), min(family)))[:3]

    def _equal(self, comparison: Comparison, rung: str, a: int, b: int) -> bool:
        return all(
            isinstance(values[a], Val) and isinstance(values[b], Val) and _same(evaluator, values[a], values[b])
            for evaluator, values in comparison.table(rung).batches
        )

    def _change_for(self, comparison: Comparison, rung: str, number: int, reference: int) -> Change | None:
        """The smallest change of one side that gives it the value of another."""
        side = self.result.sides[number]
        given = _problem_change(side)
        bases = [given] if given is not None else [None]
        for base in bases:
            singles = self._singles(comparison, number, base)
            for change in singles:
                if self.late():
                    return None
                if self._fits(comparison, rung, number, change, reference):
                    return change
            if side.error is not None:
                continue
            cheap = [change for change in singles if change.cost <= 1.4][:60]
            for count, (one, two) in enumerate(itertools.combinations(cheap, 2)):
                if self.late() or count > MOST_PAIRS:
                    return None
                joined = _joined(one, two, base)
                if joined is not None and self._fits(comparison, rung, number, joined, reference):
                    return joined
        return None

    def _singles(self, comparison: Comparison, number: int, base: Change | None) -> list[Change]:
        side, member = self.result.sides[number], self.chain.members[number]
        if side.node is None:
            return _closings(self.text, member.tokens, side)
        nodes = [other.node for other in self.result.sides if other.node is not None]
        indices = sorted(comparison.scope.index_names & set(comparison.free)) or sorted(comparison.scope.index_names)
        names = {name for node in nodes for name in ast.symbols(node)} - comparison.scope.index_names
        vocabulary: Vocabulary = vocabulary_of(self.text, nodes, indices, names)
        changes = small_changes(self.text, member.tokens, side.node, vocabulary)
        if base is None:
            return changes
        joined = [_joined(change, base, None) for change in changes]
        return [base, *(change for change in joined if change is not None)]

    def _fits(self, comparison: Comparison, rung: str, number: int, change: Change, reference: int) -> bool:
        """Whether the changed side has the value of the reference in every batch."""
        node = self._changed(comparison, number, change)
        if node is None:
            return False
        for batch in range(len(comparison.table(rung).batches)):
            expected = comparison.table(rung).batches[batch][1][reference]
            if not isinstance(expected, Val):
                return False
            evaluator = comparison.evaluator(rung, batch)
            value = evaluated(evaluator, node)
            if not isinstance(value, Val) or value.rank != expected.rank or not _same(evaluator, value, expected):
                return False
        return True

    def _changed(self, comparison: Comparison, number: int, change: Change) -> Node | None:
        member = self.chain.members[number]
        start, end = member.start, member.end
        edits = [replace(e, start=e.start - start, end=e.end - start) for e in change.edits]
        if any(e.start < 0 or e.end > end - start for e in edits):
            return None
        try:
            tokens = [
                token
                for token in tokenize(apply_edits(self.text[start:end], edits))
                if token.kind not in ("amp", "row")
            ]
            node, error, problems = self.checker.read(tokens)
        except MalformedError:
            return None
        if node is None or error is not None or problems:
            return None
        return relabelled(node, comparison.scope)


def _problem_change(side: Side) -> Change | None:
    """The edits that complete what was missing and was read over."""
    if not side.problems:
        return None
    edits = tuple(edit for problem in side.problems for edit in problem.edits)
    return Change("missing", "; ".join(problem.text for problem in side.problems), 0.5, edits)


def _joined(one: Change, two: Change, three: Change | None) -> Change | None:
    """Two changes at once, if they do not touch the same characters."""
    parts = [one, two, *([three] if three is not None and three.edits not in (one.edits, two.edits) else [])]
    edits = tuple(dict.fromkeys(edit for part in parts for edit in part.edits))
    ordered = sorted(edits, key=lambda edit: (edit.start, edit.end))
    for first, second in itertools.pairwise(ordered):
        if second.start < first.end or (second.start == first.start and second.end == first.end):
            return None
    words = "; ".join(dict.fromkeys(part.words for part in parts))
    return Change("several", words, sum(part.cost for part in parts), edits)


def _same(evaluator: object, a: object, b: object) -> bool:
    try:
        x, y = aligned(evaluator, a, b)  # type: ignore[arg-type]
    except FormulaError:
        return False
    difference, valid = differences(x, y, "=")
    return bool(valid.mean() >= ENOUGH and difference.max() <= HOLDS)


def _closings(text: str, tokens: list, side: Side) -> list[Change]:  # type: ignore[type-arg]
    """Where a bracket or an operand is missing: every place where it could stand."""
    error = side.error
    if not isinstance(error, MalformedError) or not tokens:
        return []
    out = []
    if error.text.startswith("a closing "):
        mark = error.text.split()[2]
        mark = {"}": "}", "‖": "\\|"}.get(mark, mark)
        for token in tokens:
            if token.end > error.start:
                words = f"a closing {mark} more"
                out.append(
                    Change(
                        "bracket", words, 1.0 + 0.001 * (token.end - error.start), (Edit(token.end, token.end, mark),)
                    )
                )
    elif error.text.startswith("there is no opening"):
        out.append(
            Change("bracket", f"without {text[error.start : error.end]}", 1.0, (Edit(error.start, error.end, ""),))
        )
    elif error.text.startswith("an operand is missing"):
        out.append(
            Change(
                "operand", f"without {text[error.start : error.end].strip()}", 1.0, (Edit(error.start, error.end, ""),)
            )
        )
    return out
