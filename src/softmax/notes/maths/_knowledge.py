"""What a note says of its names: definitions, domains, sizes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from . import _ast as ast
from ._ast import Node
from ._chains import Chain
from ._errors import FormulaError
from ._names import ELEMENTWISE, LIBRARY, STANDARD, USUAL_INDICES, words
from ._parse import Parser, Reading, functions_in
from ._scope import Definition
from ._tokens import Token, tokenize

_KNOWN = (ELEMENTWISE - {"sigma"}) | LIBRARY | STANDARD | words("diag tr det max min logbase binom factorial")


_LONGEST_HEAD = 30  # tokens


@dataclass
class Knowledge:
    """Definitions by name in the order of the note, domains and shapes by name."""

    definitions: dict[str, list[Definition]] = field(default_factory=dict)
    domains: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    independent: bool = False

    def at(self, position: int, section: int | None = None) -> dict[str, Definition]:
        """The definitions in force at a position: of each name the last one before it, else the first one after; only
        those of a section where one is given.
        """
        out = {}
        for name, all_of in self.definitions.items():
            known = [definition for definition in all_of if section is None or definition.section == section]
            before = [definition for definition in known if definition.at <= position]
            if known:
                out[name] = before[-1] if before else known[0]
        return out

    def functions(self) -> frozenset[str]:
        """Names that some definition gives parameters."""
        return frozenset(name for name, all_of in self.definitions.items() if any(d.parameters for d in all_of))

    def learn(self, definition: Definition) -> None:
        """Take a definition, unless the same section has one of this name."""
        known = self.definitions.setdefault(definition.name, [])
        if not any(other.section == definition.section for other in known):
            known.append(definition)


def head_of(node: Node) -> tuple[str, tuple[str, ...], tuple[str, ...]] | None:
    """Name, parameters and indices of what can be defined: S, p_i, F(Z), F(Z)_i."""
    indices: tuple[str, ...] = ()
    if isinstance(node, ast.Sub):
        if not all(isinstance(index, ast.Sym) for index in node.index):
            return None
        indices = tuple(index.name for index in node.index)  # type: ignore[attr-defined]
        node = node.base
    if isinstance(node, ast.Sym):
        if node.name in ("e", "pi", "ones") or len(set(indices)) != len(indices):
            return None
        return node.name, (), indices
    if not isinstance(node, ast.Call) or node.primes or not node.args or node.name in _KNOWN:
        return None
    parameters = tuple(arg.name for arg in node.args if isinstance(arg, ast.Sym))
    distinct = len(set(parameters + indices)) == len(parameters + indices)
    return (node.name, parameters, indices) if distinct and len(parameters) == len(node.args) else None


def definition_in(left: Node, right: Node, at: int, section: int) -> Definition | None:
    """The definition that an equation can be: its left side a new name that the right side does not use."""
    head = head_of(left)
    if head is None:
        return None
    name, parameters, indices = head
    if any(isinstance(here, ast.Sym | ast.Call) and here.name == name for here in ast.walk(right)):
        return None
    if not parameters and (name in USUAL_INDICES or not any(isinstance(here, ast.Sym) for here in ast.walk(right))):
        return None  # i = j is a condition, n = 3 an example
    if isinstance(right, ast.Sym) and right.name in parameters:
        return None
    return Definition(name, parameters, indices, right, at, section)


def learn_chain(chain: Chain, knowledge: Knowledge, at: int, section: int, *, display: bool = True) -> None:
    """Take the definition or the declaration of a chain; within a line an equation of two names defines nothing."""
    members = chain.members
    if len(members) < 2 or chain.conditional:
        return
    if members[1].relation not in ("=", ":="):
        _learn_inequality(chain, knowledge)
        return
    if not _may_be_head(members[0].tokens) or (left := parsed(members[0].tokens, knowledge)) is None:
        return
    if head_of(left) is None and not isinstance(left, ast.Big | ast.Transpose | ast.Mul):
        return
    if (right := parsed(members[1].tokens, knowledge)) is None:
        return
    if _learn_sum(left, right, knowledge):
        return
    definition = definition_in(left, right, at, section)
    if definition is not None and (display or not isinstance(right, ast.Sym | ast.Sub | ast.Num)):
        knowledge.learn(definition)


def _may_be_head(tokens: list[Token]) -> bool:
    """Whether a left side can define or declare, by its first token and its length; most sides are left at that."""
    if not tokens or len(tokens) > _LONGEST_HEAD:
        return False
    first = tokens[0]
    return first.kind in ("letter", "name", "lbrace") or (first.kind == "macro" and first.text in ("sum", "ell"))


def parsed(tokens: list[Token], knowledge: Knowledge) -> Node | None:
    """The tree of an expression, or None where it cannot be read."""
    try:
        reading = Reading(functions=functions_in(tokens, knowledge.functions()))
        return Parser(tokens, reading).parse()
    except (FormulaError, RecursionError):
        return None


def _learn_sum(left: Node, right: Node, knowledge: Knowledge) -> bool:
    """Take Σ p_i = 1: p is a probability mass function, or sums to 0. Aᵀ = A is symmetric, QᵀQ = I orthogonal."""
    if isinstance(left, ast.Big) and left.op == "sum" and isinstance(right, ast.Num) and right.value in (0, 1):
        body = left.body
        if isinstance(body, ast.Sub) and isinstance(body.base, ast.Sym) and body.base.name not in knowledge.definitions:
            knowledge.domains.setdefault(body.base.name, "pmf" if right.value == 1 else "sum zero")
            return True
    for one, other in ((left, right), (right, left)):
        if isinstance(one, ast.Transpose) and one.arg == other and isinstance(other, ast.Sym):
            knowledge.domains[other.name] = "symmetric"
            return True
    if isinstance(left, ast.Mul) and isinstance(right, ast.Sym) and right.name.startswith("I"):
        for one, other in ((left.left, left.right), (left.right, left.left)):
            if isinstance(one, ast.Transpose) and one.arg == other and isinstance(other, ast.Sym):
                knowledge.domains[other.name] = "orthogonal"
                return True
    return False


def _learn_inequality(chain: Chain, knowledge: Knowledge) -> None:
    nodes = [parsed(member.tokens, knowledge) for member in chain.members]
    relations = [member.relation for member in chain.members]
    if len(nodes) == 3 and _number(nodes[0]) == 0 and _number(nodes[2]) == 1 and set(relations[1:]) <= {"<", "leq"}:
        _declare(nodes[1], "unit", knowledge)
    elif len(nodes) == 2 and _number(nodes[1]) == 0:
        _declare(nodes[0], {"<": "negative", "leq": "negative"}.get(relations[1], "positive"), knowledge)
    elif len(nodes) == 2 and _number(nodes[0]) == 0 and relations[1] in ("<", "leq"):
        _declare(nodes[1], "positive", knowledge)
    elif len(nodes) == 2 and _number(nodes[1]) == 1 and relations[1] in (">", "geq"):
        _declare(nodes[0], "above one", knowledge)


def _number(node: Node | None) -> int | None:
    return int(node.value) if isinstance(node, ast.Num) and node.value.denominator == 1 else None


def _declare(node: Node | None, domain: str, knowledge: Knowledge) -> None:
    base = node.base if isinstance(node, ast.Sub) else node
    if not isinstance(base, ast.Sym) or base.name in knowledge.definitions:
        return
    if knowledge.domains.get(base.name) != "pmf":
        knowledge.domains[base.name] = domain


# --- declarations by membership and in words ---

_SETS = {
    "\\mathbb{R}": "", "\\R": "", "\\mathbb{N}": "integer", "\\mathbb{Z}": "integer", "\\mathbb R": "",
    "\\mathrm{R}": "", "\\Delta": "pmf",
}  # fmt: skip
_MEMBER = re.compile(
    r"([A-Za-z]|\\[A-Za-z]+(?:\s*\{\s*\\?[A-Za-z]+\s*\})?)(?:_\{?\w\}?)?((?:\s*,\s*(?:[A-Za-z]|\\[a-z]+))*)\s*\\in\s*(.+)",
    re.S,
)
_POWER = re.compile(
    r"\\(?:mathbb|mathrm)?\s*\{?\s*R\s*\}?\s*(?:_\S+)?\s*\^\s*\{?\s*([A-Za-z])(?:\s*\\times\s*([A-Za-z]))?\s*\}?"
)
_SCALE = re.compile(r"_\s*\{?\s*(\+\+?|>\s*0|\\geq?\s*0)")


def learn_membership(text: str, knowledge: Knowledge) -> None:
    r"""Take x \in \mathbb{R}^n, p \in [0, 1], y \in \{0, 1\}, from the text of a formula."""
    found = _MEMBER.fullmatch(text.strip().rstrip(".,;"))
    if found is None:
        return
    names = [symbol for symbol in (_symbol(part) for part in (found[1] + found[2]).split(",")) if symbol]
    where = found[3].strip()
    domain = next((value for key, value in _SETS.items() if where.startswith(key)), None)
    if re.match(r"[(\[]\s*0\s*,\s*1\s*[)\]]", where):
        domain = "unit"
    elif re.match(r"\\\{\s*0\s*,\s*1\s*\\\}", where):
        domain = "binary"
    elif re.match(r"[(\[]\s*0\s*,\s*\\infty", where):
        domain = "positive"
    if domain is None:
        return
    if _SCALE.search(where):
        domain = "positive"
    power = _POWER.match(where)
    for name in names:
        if power is not None:
            sizes = tuple(size for size in power.groups() if size)
            knowledge.shapes[name] = sizes
        if domain:
            knowledge.domains[name] = domain


def _symbol(text: str) -> str | None:
    from ._parse import symbol_name

    try:
        tokens = tokenize(text.strip())
    except FormulaError:
        return None
    return symbol_name(tokens[0]) if len(tokens) == 1 and tokens[0].kind in ("letter", "name") else None


_WORDS = (
    (re.compile(r"symmetric (?:and )?positive[- ](?:semi-?)?definite|positive[- ](?:semi-?)?definite", re.I), "spd"),
    (re.compile(r"\bsymmetric\b", re.I), "symmetric"),
    (re.compile(r"one-hot", re.I), "onehot"),
    (
        re.compile(
            r"\b(?:pmfs?|probability mass functions?|probability vectors?|distributions?|probabilities)\b", re.I
        ),
        "pmf",
    ),
    (re.compile(r"\bpositive\b", re.I), "positive"),
)


def learn_words(before: str, formula: str, after: str, knowledge: Knowledge) -> None:
    """Take "symmetric $A$", "$y$ is one-hot", "the true PMF $q$" from the words around a name."""
    name = _symbol(formula)
    if name is None or name in knowledge.domains:
        return
    left = re.split(r"[.;:!?\n]|\$", before)[-1][-40:]
    right = re.split(r"[.;:,!?\n]|\$", after)[0][:30]
    for pattern, domain in _WORDS:
        near = pattern.search(right) if re.match(r"\s*(?:is|are|be|,|a|one|sym|pos)\b", right, re.I) else None
        if near or re.search(pattern.pattern + r"[^,]{0,20}$", left, re.I):
            if domain in ("symmetric", "spd") or name not in knowledge.definitions:
                knowledge.domains[name] = domain
            return


def learn_independence(prose: Iterable[str], knowledge: Knowledge) -> None:
    """Take that random variables are independent, where the note says so."""
    knowledge.independent = any(
        re.search(r"\b(?:independent|iid|i\.i\.d\.|unabhängig)\b", part, re.I) for part in prose
    )
