"""A chain of expressions: what becomes of each step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from . import _ast as ast
from ._ast import Node
from ._chains import Chain
from ._compare import Comparison, Outcome, free_indices
from ._errors import FormulaError, MalformedError, NotUnderstoodError
from ._exact import Prover
from ._identity import unknowns, why_no_identity
from ._knowledge import Knowledge, definition_in, head_of
from ._names import words
from ._parse import Parser, Problem, Reading, called_first, functions_in, token_is_letter
from ._scope import Definition, Scope, build_scope
from ._shapes import Shapes, find_shapes
from ._tokens import Token

_WAYS = {
    "argument": "the argument of a function without parentheses goes on to the next factor",
    "slash": "a/bc is read as a/(bc)",
    "sum": "the sum goes on past the +",
}


@dataclass
class Side:
    """A member of a chain, read: its tree, or what was wrong; problems that were read over."""

    node: Node | None
    error: FormulaError | None
    problems: list[Problem]
    start: int
    end: int
    row: int


@dataclass
class Step:
    """The verdict on one relation of a chain.

    `verdict` is "consistent", "not refuted", "proved", "refuted", "malformed", "not understood" or "definition"; `left`
    and `right` number the members.
    """

    verdict: str
    relation: str
    left: int
    right: int
    text: str = ""
    span: tuple[int, int] | None = None
    outcome: Outcome | None = None


@dataclass
class ChainResult:
    """A chain with its sides and steps; `reading` in words where it was read in a second way."""

    sides: list[Side]
    steps: list[Step]
    conditional: bool = False
    wide: frozenset[str] = frozenset()
    checker: Checker | None = field(default=None, repr=False)

    @property
    def fits(self) -> bool:
        """Whether no step is refuted or not understood and one at least was judged."""
        verdicts = {step.verdict for step in self.steps}
        return not verdicts & {"refuted", "malformed", "not understood"} and verdicts != {"definition"}


@dataclass
class Surroundings:
    """What is known where a chain stands."""

    knowledge: Knowledge
    at: int = 0
    section: int = 0
    display: str = ""

    near: bool = False  # only definitions of the same section
    shapeless: bool = False  # without the sizes that the note declares

    def definitions(self) -> dict[str, Definition]:
        return self.knowledge.at(self.at, self.section if self.near else None)


def check_chain(chain: Chain, around: Surroundings) -> ChainResult:
    """Check all steps; where one fails and the text can be read in another way, in that way too.

    Other ways are the wider sense of what is ambiguous, and names as this section alone defines them: a letter may mean
    something else in another. A second way counts only if all steps hold in it.
    """
    result = Checker(chain, around, frozenset()).run()
    checker = result.checker
    if result.fits or checker is None:
        return result
    for count in range(1, len(checker.ambiguous) + 1):
        for ways in itertools.combinations(sorted(checker.ambiguous), count):
            other = Checker(chain, around, frozenset(ways)).run()
            if other.fits:
                other.wide = frozenset(ways)
                return other
    refuted = any(step.verdict == "refuted" for step in result.steps)
    for shapeless in (False,) if refuted else (False, True):
        if shapeless or checker.uses_far_definitions():
            other = Checker(chain, replace(around, near=True, shapeless=shapeless), frozenset()).run()
            if other.fits:
                return other
    return result


class Checker:
    """Checks one chain in one reading; keeps what a search for repairs needs."""

    def __init__(self, chain: Chain, around: Surroundings, wide: frozenset[str]) -> None:
        self.chain, self.around, self.wide = chain, around, wide
        self.ambiguous: set[str] = set()
        tokens = [token for member in chain.members for token in member.tokens]
        self.symbols = frozenset(_bare(tokens))
        self.functions = functions_in(tokens, around.knowledge.functions())
        self.head = called_first(chain.members[0].tokens) if chain.members else None
        self.comparison: Comparison | None = None
        self.scope: Scope | None = None
        self.shapes: Shapes | None = None
        self.start_ranks: dict[str, int] = {}

    def uses_far_definitions(self) -> bool:
        """Whether a definition of another section took part."""
        if self.around.near:
            return False
        if self.scope is None:
            return bool(self.around.knowledge.definitions)
        used = [*self.scope.variables.values(), *self.scope.functions.values()]
        return any(definition.section != self.around.section for definition in used)

    def read(self, tokens: list[Token]) -> tuple[Node | None, FormulaError | None, list[Problem]]:
        """Read one expression."""
        reading = Reading(functions=self.functions, symbols=self.symbols, wide=self.wide)
        if self.head is not None and called_first(tokens) == self.head:
            reading.symbols = self.symbols - {self.head}
            if token_is_letter(self.head):
                reading.functions = self.functions | {self.head}
        try:
            node = Parser(tokens, reading).parse()
        except FormulaError as error:
            if error.start < 0 and tokens:
                error.start, error.end = tokens[0].start, tokens[-1].end
            return None, error, reading.problems
        except (RecursionError, ValueError, ZeroDivisionError, AssertionError, IndexError):
            start, end = (tokens[0].start, tokens[-1].end) if tokens else (0, 0)
            return None, NotUnderstoodError("the formula could not be read", start, end), reading.problems
        self.ambiguous |= reading.ambiguous
        return node, None, reading.problems

    def run(self) -> ChainResult:
        sides = [self._side(member.tokens, member.row, member.start, member.end) for member in self.chain.members]
        steps = [
            Step("", self.chain.members[k].relation, k - 1, k)
            for k in range(1, len(sides))
            if self.chain.members[k].relation
        ]
        result = ChainResult(sides, steps, self.chain.conditional, checker=self)
        if not steps:
            return result
        self._judge(result)
        return result

    def _side(self, tokens: list[Token], row: int, start: int, end: int) -> Side:
        node, error, problems = self.read(tokens)
        return Side(node, error, problems, start, end, row)

    def _judge(self, result: ChainResult) -> None:
        sides, steps = result.sides, result.steps
        for step in steps:
            for number in (step.left, step.right):
                error = sides[number].error
                if error is not None and not step.verdict:
                    step.verdict = "malformed" if isinstance(error, MalformedError) else "not understood"
                    step.text, step.span = error.text, (error.start, error.end)
        self._definition(sides, steps)
        pending = [step for step in steps if not step.verdict]
        if not pending:
            return
        try:
            comparison = self.prepare([side.node for side in sides], pending)
        except FormulaError as error:
            self._apart(sides, pending, error)
            return
        self.comparison = comparison
        for step in pending:
            self._compare(comparison, step, sides)

    def _apart(self, sides: list[Side], pending: list[Step], error: FormulaError) -> None:
        """Judge steps one by one where they do not all have a meaning together."""
        if len(pending) == 1:
            self._abstain(pending[0], error)
            return
        for step in pending:
            nodes = [side.node if number in (step.left, step.right) else None for number, side in enumerate(sides)]
            try:
                comparison = self.prepare(nodes, [step])
            except FormulaError as reason:
                self._abstain(step, reason)
                continue
            self.comparison = comparison
            self._compare(comparison, step, sides)

    def _abstain(self, step: Step, error: FormulaError) -> None:
        step.verdict, step.text = "not understood", error.text
        step.span = (error.start, error.end) if error.start >= 0 else None

    def _definition(self, sides: list[Side], steps: list[Step]) -> None:
        """The first step is a definition where the note takes it for one."""
        first, second = sides[0].node, sides[1].node
        if not steps or steps[0].left != 0 or steps[0].verdict or first is None or second is None:
            return
        if steps[0].relation not in ("=", ":="):
            return
        if isinstance(first, ast.Prob) and not any(isinstance(here, ast.Prob) for here in ast.walk(second)):
            steps[0].verdict = "definition"  # a model: what the probability is said to be
            return
        head = head_of(first)
        if head is None:
            return
        known = self.around.definitions().get(head[0])
        if known is None:
            return
        if (known.body == second and known.at == self.around.at) or (
            known.at != self.around.at
            and known.section != self.around.section
            and definition_in(first, second, self.around.at, self.around.section)
        ):
            steps[0].verdict = "definition"

    def prepare(self, nodes: Sequence[Node | None], steps: Sequence[Step]) -> Comparison:
        """Find scope, shapes and free indices for the sides that the steps need."""
        needed = sorted({number for step in steps for number in (step.left, step.right)})
        conditions = self._conditions()
        used = [nodes[number] for number in needed]
        present = [node for node in used if node is not None]
        knowledge = self.around.knowledge
        definitions = self.around.definitions()
        read, scope = build_scope(
            [*present, *conditions], definitions, knowledge.domains, {} if self.around.shapeless else knowledge.shapes
        )
        conditions = read[len(present) :]
        read = read[: len(present)]
        members: list[Node | None] = [None] * len(nodes)
        for number, node in zip([n for n in needed if nodes[n] is not None], read, strict=True):
            members[number] = node
        read = bound_pairs(read, scope)
        for number, node in zip([n for n in needed if nodes[n] is not None], read, strict=True):
            members[number] = node
        equalities = []
        for step in steps:
            left, right = members[step.left], members[step.right]
            if left is not None and right is not None:
                equalities.append(ast.Add(left, right, -1, start=left.start, end=right.end))
        bodies = [*read, *(definition.body for definition in scope.variables.values())]
        start = {
            name: len(scope.declared[name]) if name in scope.declared else _least_rank(name, bodies)
            for name in _names(read, scope)
        }
        shapes = self._shapes([*equalities, *conditions], scope, start, bodies)
        self.scope, self.shapes = scope, shapes
        return Comparison(
            members,
            conditions,
            scope,
            shapes,
            free_indices([*members, *conditions], scope),
            independent=knowledge.independent,
        )

    def _shapes(self, nodes: list[Node], scope: Scope, start: dict[str, int], bodies: list[Node]) -> Shapes:
        """The least shapes that fit; beside vectors capital letters are matrices if that fits."""
        if any(_is_linear_algebra(body) for body in bodies):
            capitals = {name: 2 for name, rank in start.items() if name in _MATRICES and name not in scope.declared}
            if capitals:
                try:
                    return find_shapes(nodes, scope, {**start, **capitals})
                except FormulaError:
                    pass
        return find_shapes(nodes, scope, start)

    def _conditions(self) -> list[Node]:
        out = []
        for tokens in self.chain.conditions:
            reading = Reading(functions=self.functions, symbols=self.symbols)
            try:
                parser = Parser(tokens, reading)
                low, high = 0, len(tokens)
                if tokens[0].kind == "open" and parser.matching(0) == high - 1:
                    low, high = 1, high - 1
                from ._tables import skip_words

                low, high = skip_words(parser, low, high)
                out.append(parser.within(low, high, parser.condition))
            except FormulaError:
                continue
        return out

    def _compare(self, comparison: Comparison, step: Step, sides: list[Side]) -> None:
        left, right = comparison.members[step.left], comparison.members[step.right]
        if left is None or right is None:
            step.verdict, step.text = "not understood", "a side could not be read"
            return
        if step.relation in ("=", ":=") and self._proved(left, right):
            step.verdict, step.text = "proved", "both sides are the same quotient of polynomials in their parts"
            if left == right:
                step.text = "both sides are the same expression"
            return
        rounded, sign = (right.arg, -1) if isinstance(right, ast.Neg) else (right, 1)
        if step.relation == "approx" and isinstance(rounded, ast.Num):
            self._digits(comparison, step, left, rounded, sign)
            return
        try:
            outcome = comparison.compare(step.left, step.right, step.relation)
        except FormulaError as error:
            self._abstain(step, error)
            return
        step.outcome = outcome
        if outcome.status == "holds":
            step.verdict = "consistent" if step.relation in ("=", ":=", "approx") else "not refuted"
        elif outcome.status == "fails":
            self._refute(step, left, right, outcome)
        elif outcome.status == "unsure":
            step.verdict = "not understood"
            step.text = f"the sides differ by {outcome.difference:.1e} at most, which may be rounding"
        else:
            step.verdict = "not understood"
            step.text = outcome.why or "no points were found where both sides have a value"

    def _proved(self, left: Node, right: Node) -> bool:
        shapes = self.shapes
        assert shapes is not None
        arrays = frozenset(name for name, shape in shapes.symbols.items() if shape.sizes)
        if left == right:
            return True
        return Prover(arrays).equal(left, right)

    def _refute(self, step: Step, left: Node, right: Node, outcome: Outcome) -> None:
        assert self.scope is not None
        reason = why_no_identity(left, right, step.relation, self.scope, first=step.left == 0)
        if self.chain.conditional:
            reason = "it stands beside an implication, so it may hold under a condition only"
        if not reason and self._holds_if_independent(step, left, right):
            reason = "it holds for independent random variables only, and the note does not say that they are"
        if reason:
            step.verdict, step.text = "not understood", reason
        else:
            step.verdict = "refuted"

    def _holds_if_independent(self, step: Step, left: Node, right: Node) -> bool:
        """Whether independence, which nobody mentions, is all that is missing."""
        comparison, scope = self.comparison, self.scope
        assert comparison is not None
        assert scope is not None
        parts = [*ast.walk(left), *ast.walk(right)]
        told = any(
            (isinstance(p, ast.Expect) and p.op == "Cov") or (isinstance(p, ast.Prob) and p.given) for p in parts
        )
        if self.around.knowledge.independent or told or not (scope.laws or scope.random_names):
            return False
        other = independently(comparison)
        return other.compare(step.left, step.right, step.relation).status == "holds"

    def _digits(self, comparison: Comparison, step: Step, left: Node, right: ast.Num, sign: int) -> None:
        """A value with so many digits: it must be the rounded one."""
        evaluator, values = comparison.table("real").batches[0]
        del evaluator
        value = values[step.left]
        import numpy as np

        from . import _dual as dual
        from ._arrays import Val

        if not isinstance(value, Val) or value.rank or unknowns(left, comparison.scope):
            step.verdict, step.text = "not understood", "an approximation without a stated range cannot be judged"
            return
        exact = sign * float(np.ravel(dual.primal(value.array))[0])
        decimals = len(right.text.partition(".")[2])
        unit = 10.0**-decimals
        if not np.isfinite(exact):
            step.verdict, step.text = "not understood", "the left side has no value"
        elif abs(exact - float(right.value)) <= 0.5000001 * unit or (decimals == 0 and _rounded(exact, right)):
            step.verdict, step.text = "consistent", f"to the digits given ({exact:.10g})"
            step.outcome = Outcome("holds", 1, abs(exact - float(right.value)) / max(abs(exact), 1e-300))
        else:
            step.verdict = "refuted"
            difference = abs(exact - float(right.value)) / max(abs(exact), abs(float(right.value)))
            step.outcome = Outcome(
                "fails", 1, difference, {"left": sign * exact, "right": sign * float(right.value), "point": {}}
            )


def independently(comparison: Comparison) -> Comparison:
    """The same comparison over independent random variables."""
    return Comparison(
        comparison.members,
        comparison.conditions,
        comparison.scope,
        comparison.shapes,
        comparison.free,
        independent=True,
    )


_MATRICES = words("A B M W X Q U V P H J R S Z Y Sigma Lambda Theta Omega Phi Psi")


def _is_linear_algebra(node: Node) -> bool:
    kinds = (ast.Transpose, ast.Norm, ast.Grad)
    return any(
        isinstance(here, kinds)
        or (isinstance(here, ast.Sym) and here.style == "bold")
        or (isinstance(here, ast.Call) and here.name in ("tr", "det", "diag"))
        for here in ast.walk(node)
    )


def _rounded(exact: float, right: ast.Num) -> bool:
    """Whether 1200 is 1234 rounded at some of its final zeros."""
    digits = right.text.rstrip("0")
    unit = 10.0 ** (len(right.text) - len(digits))
    return abs(exact - float(right.value)) <= 0.5000001 * unit


def _bare(tokens: list[Token]) -> set[str]:
    """Letters that stand alone somewhere, without parentheses behind them."""
    from ._parse import symbol_name

    out = set()
    for index, token in enumerate(tokens):
        if token.kind in ("letter", "name"):
            following = tokens[index + 1] if index + 1 < len(tokens) else None
            before = tokens[index - 1] if index else None
            scripted = before is not None and (before.kind == "sup" or before.text == "sim")
            in_group = (
                before is not None
                and before.kind == "lbrace"
                and index > 1
                and tokens[index - 2].kind == "sup"
                and following is not None
                and following.kind == "rbrace"
            )
            if scripted or in_group:
                continue
            if following is None or not (following.kind == "open" and following.text in "(["):
                out.add(symbol_name(token))
    return out


def _names(nodes: Sequence[Node], scope: Scope) -> set[str]:
    found: set[str] = set()
    for node in [*nodes, *(d.body for d in scope.variables.values()), *(d.body for d in scope.functions.values())]:
        found |= ast.symbols(node)
    for definition in scope.functions.values():
        found |= set(definition.parameters)
    return found - set(scope.variables) - scope.index_names - scope.support_names


def _least_rank(name: str, nodes: Sequence[Node]) -> int:
    """The axes that a name must have: as many as its indices; one or two where it is bold; one for ones."""
    if name == "ones":
        return 1
    rank = 0
    for node in nodes:
        for here in ast.walk(node):
            if isinstance(here, ast.Sub) and isinstance(here.base, ast.Sym) and here.base.name == name:
                rank = max(rank, len(here.index))
            elif isinstance(here, ast.Sym) and here.name == name and here.style == "bold":
                rank = max(rank, 2 if name[0].isupper() else 1)
    return min(rank, 2)


def bound_pairs(nodes: list[Node], scope: Scope) -> list[Node]:
    r"""In \sum_{i \neq j} and \sum_{i<j} bind j too, where j is free nowhere else in the chain."""
    outside: set[str] = set()
    for node in nodes:
        _outer(node, frozenset(), outside)

    def change(node: Node) -> Node:
        node = ast.rebuild(node, change)
        if isinstance(node, ast.Big) and len(node.names) == 1 and node.where:
            other = [
                name
                for c in node.where
                for name in ast.symbols(c)
                if name in scope.index_names and name not in node.names
            ]
            new = tuple(name for name in dict.fromkeys(other) if name not in outside)
            if new:
                return replace(node, names=node.names + new)
        return node

    return [change(node) for node in nodes]


def _outer(node: Node, bound: frozenset[str], found: set[str]) -> None:
    """Names that stand free somewhere, not counting what stands in a sum whose condition names them."""
    if isinstance(node, ast.Sym):
        if node.name not in bound:
            found.add(node.name)
        return
    if isinstance(node, ast.Big):
        inside = bound | set(node.names)
        for condition in node.where:
            inside |= ast.symbols(condition)
        for part in (node.lower, node.upper):
            if part is not None:
                _outer(part, bound, found)
        _outer(node.body, frozenset(inside), found)
        return
    for child in ast.children(node):
        _outer(child, bound, found)
