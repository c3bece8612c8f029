"""How many wrong formulas does `softmax notes check` notice? Every small change of every formula of the suite is tried.

A change matters if the changed side has another value than the right one at random points. Of those, a change is caught
if a step is refuted or found malformed, missed if all steps pass, and abstained on if a step is not understood. The
right formulas must all pass. Writes benchmarks/results/notes-mutation.json and notes-mutation.md.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from softmax.notes.maths import _ast as ast
from softmax.notes.maths._arrays import Val
from softmax.notes.maths._chains import Chain, split_chains
from softmax.notes.maths._compare import Comparison, aligned, differences, evaluated
from softmax.notes.maths._display import check_display
from softmax.notes.maths._domains import RUNGS, USUAL
from softmax.notes.maths._edits import Change, small_changes, vocabulary_of
from softmax.notes.maths._errors import FormulaError, apply_edits
from softmax.notes.maths._note import Formula as Placed
from softmax.notes.maths._note import formulas_of
from softmax.notes.maths._scope import relabelled
from softmax.notes.maths._steps import ChainResult, Checker, check_chain
from softmax.notes.maths._tokens import tokenize
from softmax.notes.reading import read_note
from tests.notes.maths.formulas import FORMULAS, Formula

RESULTS = Path(__file__).resolve().parents[1] / "results"
MATTERS = 1e-6  # relative difference from which a change matters
MOST_PER_SIDE = 400
KINDS = ("sign", "exponent", "index", "number", "factor", "function", "fraction", "transpose", "name", "derivative")


@dataclass(frozen=True)
class Mutant:
    """A formula with one small change: `text` of the display, and what became of it."""

    formula: str
    kind: str
    words: str
    text: str
    outcome: str  # "caught", "missed", "abstained", "same"


def placed(formula: Formula, text: str) -> Placed:
    """Return a display as it stands in a note with what the formula says before."""
    source = f"{formula.before}\n\n$$\n{text}\n$$\n"
    note = read_note("formula.md", source.encode())
    return [found for found in formulas_of(note) if found.segment.display][-1]


def verdicts(formula: Formula, text: str) -> set[str]:
    """Return the verdicts on the steps of a display, and "malformed" where its syntax is."""
    found = placed(formula, text)
    result = check_display(found.text, found.around, repairs=False)
    said = {step.verdict for step in result.steps}
    return said | {item.verdict for item in result.found if item.verdict != "proved"}


def mutants(formula: Formula) -> Iterator[Mutant]:
    """Yield every changed version of a formula that is right."""
    found = placed(formula, formula.right)
    for chain in split_chains(tokenize(found.text)):
        if any(member.relation not in ("", "=", ":=", "approx") for member in chain.members):
            continue  # a bound that is a little changed often holds as well
        result = check_chain(chain, found.around)
        for number in range(len(chain.members)):
            for change in _changes(found.text, chain, result, number):
                yield _tried(formula, found, chain, result, number, change)


def _changes(text: str, chain: Chain, result: ChainResult, number: int) -> list[Change]:
    side = result.sides[number]
    if side.node is None or result.checker is None or result.checker.scope is None:
        return []
    scope = result.checker.scope
    names = (
        set().union(*(ast.symbols(s.node) for s in result.sides if s.node)) - scope.index_names - set(scope.functions)
    )
    nodes = [other.node for other in result.sides if other.node is not None]
    vocabulary = vocabulary_of(text, nodes, scope.index_names, names)
    small = replace(vocabulary, names=vocabulary.names[:4], factors=())
    changes = list(small_changes(text, chain.members[number].tokens, side.node, small))
    for token in chain.members[number].tokens:
        if token.kind == "macro" and token.text == "partial":
            edit = type(changes[0].edits[0])(token.start, token.end, "") if changes else None
            if edit is not None:
                changes.append(Change("derivative", "a ∂ less", 1.0, (edit,)))
    return changes[:MOST_PER_SIDE]


def _tried(formula: Formula, found: Placed, chain: Chain, result: ChainResult, number: int, change: Change) -> Mutant:
    text = apply_edits(found.text, change.edits)
    outcome = "same"
    if _matters(found, chain, result, number, text):
        try:
            said = verdicts(formula, text)
        except IndexError:
            said = {"not understood"}
        if said & {"refuted", "malformed"}:
            outcome = "caught"
        elif "not understood" in said or not said:
            outcome = "abstained"
        elif _matters(found, chain, result, number, text, wide=True):
            outcome = "missed"
    return Mutant(formula.name, change.kind, change.words, text, outcome)


def _matters(found: Placed, chain: Chain, result: ChainResult, number: int, text: str, *, wide: bool = False) -> bool:
    """Whether the changed side has another value than the right one; what cannot be evaluated counts.

    With `wide`, what can be read in two ways is read in the wider one.
    """
    checker = result.checker
    assert checker is not None
    try:
        changed = split_chains(tokenize(text))
        place = [
            i
            for i, other in enumerate(split_chains(tokenize(found.text)))
            if other.members[0].start == chain.members[0].start
        ]
        member = changed[place[0]].members[number]
    except (FormulaError, IndexError):
        return True
    if wide:
        other = Checker(chain, found.around, frozenset({"argument", "slash", "sum"}))
        node, error, problems = other.read(member.tokens)
    else:
        node, error, problems = checker.read(member.tokens)
    if node is None or error is not None or problems:
        return True
    comparison = checker.comparison
    assert comparison is not None
    node = relabelled(node, comparison.scope)
    right = comparison.members[number]
    if right is None:
        return True
    for rung in (*RUNGS, USUAL):
        verdict = _differs(comparison, rung, right, node)
        if verdict is not None:
            return verdict
    return True


def _differs(comparison: Comparison, rung: str, right: Any, changed: Any) -> bool | None:
    seen = False
    for batch in range(3):
        evaluator = comparison.evaluator(rung, batch)
        a, b = evaluated(evaluator, right), evaluated(evaluator, changed)
        if not isinstance(a, Val) or not isinstance(b, Val) or a.rank != b.rank:
            return True if isinstance(a, Val) else None
        try:
            x, y = aligned(evaluator, a, b)
        except FormulaError:
            return True
        difference, valid = differences(x, y, "=")
        if valid.mean() < 0.2:
            continue
        seen = True
        if float(np.where(valid, difference, 0.0).max()) > MATTERS:
            return True
    return False if seen else None


def table(tried: list[Mutant], right: Counter[str], seconds: float) -> str:
    """The figures in Markdown."""
    by_kind: dict[str, Counter[str]] = {}
    for mutant in tried:
        by_kind.setdefault(mutant.kind, Counter())[mutant.outcome] += 1
    lines = [
        "# Wrong formulas that `softmax notes check` notices",
        "",
        f"Every small change of {len(FORMULAS)} right formulas, {len(tried)} in all; {seconds:.0f} s on one core.",
        "Of the changes that matter, the share caught is taken among those that were understood.",
        "",
        "| change | tried | matter | caught | missed | abstained | caught of understood |",
        "|---|---|---|---|---|---|---|",
    ]
    total: Counter[str] = Counter()
    for kind in sorted(by_kind):
        lines.append(_row(kind, by_kind[kind]))
        total += by_kind[kind]
    lines.append(_row("**all**", total))
    words = ", ".join(f"{name} {right[name]}" for name in ("passed", "refuted", "not understood"))
    lines += ["", f"Right formulas: {sum(right.values())}; {words}.", ""]
    return "\n".join(lines)


def _row(name: str, counts: Counter[str]) -> str:
    matter = counts["caught"] + counts["missed"] + counts["abstained"]
    understood = counts["caught"] + counts["missed"]
    share = f"{counts['caught'] / understood:.2%}" if understood else "–"
    cells = (sum(counts.values()), matter, counts["caught"], counts["missed"], counts["abstained"], share)
    return f"| {name} | " + " | ".join(map(str, cells)) + " |"


def judged(formula: Formula) -> str:
    """What becomes of the right version: "passed", "refuted" or "not understood"."""
    said = verdicts(formula, formula.right)
    if said & {"refuted", "malformed"}:
        return "refuted"
    return "not understood" if "not understood" in said or not said else "passed"


def main() -> int:
    start = time.perf_counter()
    right = Counter(judged(formula) for formula in FORMULAS)
    tried = [mutant for formula in FORMULAS for mutant in mutants(formula)]
    seconds = time.perf_counter() - start
    text = table(tried, right, seconds)
    missed = [mutant for mutant in tried if mutant.outcome == "missed"]
    counts = Counter(mutant.outcome for mutant in tried)
    content = {
        "formulas": len(FORMULAS),
        "right": dict(right),
        "mutants": dict(counts),
        "kinds": {
            kind: dict(Counter(m.outcome for m in tried if m.kind == kind)) for kind in sorted({m.kind for m in tried})
        },
        "missed": [{"formula": m.formula, "change": m.words, "text": m.text} for m in missed],
        "seconds": round(seconds, 1),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "notes-mutation.json").write_text(
        json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (RESULTS / "notes-mutation.md").write_text(text, encoding="utf-8")
    print(text)
    for mutant in missed:
        print(f"missed: {mutant.formula}: {mutant.words}: {' '.join(mutant.text.split())}")
    understood = counts["caught"] + counts["missed"]
    fine = right["refuted"] == 0 and counts["caught"] >= 0.99 * understood
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
