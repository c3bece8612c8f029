r"""A display into chains of expressions: rows, columns, relations, and the conditions behind them."""

from __future__ import annotations

from dataclasses import dataclass, field

from ._names import RELATIONS, words
from ._tokens import Token

LAYOUT = words(
    "split align aligned gather gathered eqnarray multline equation alignat alignedat flalign displaymath math "
    "multlined dmath subequations"
)
STEPS = frozenset({"=", ":=", "approx", "leq", "geq", "<", ">"})
_OPEN = frozenset({"open", "lbrace", "begin"})
_OPEN_OF = {"close": "open", "rbrace": "lbrace", "end": "begin"}
_CLOSE = frozenset(_OPEN_OF)
_CONDITION_WORDS = words("for if when where with falls für whenever provided all given")


@dataclass
class Member:
    """One expression of a chain, the relation before it and the row that it ends in."""

    relation: str
    tokens: list[Token]
    row: int

    @property
    def start(self) -> int:
        return self.tokens[0].start if self.tokens else -1

    @property
    def end(self) -> int:
        return self.tokens[-1].end if self.tokens else -1


@dataclass
class Chain:
    """Expressions joined by relations; `conditional`: it stands beside an implication."""

    members: list[Member]
    conditions: list[list[Token]] = field(default_factory=list)
    conditional: bool = False


def split_chains(tokens: list[Token]) -> list[Chain]:
    """Return the chains of a display."""
    body, rows = _unwrap(tokens)
    splitter = _Splitter()
    for number, row in enumerate(rows or [body], 1):
        for column, equation in enumerate(_columns(row)):
            splitter.equation(equation, number, column)
    return splitter.chains


def _unwrap(tokens: list[Token]) -> tuple[list[Token], list[list[Token]]]:
    tokens = _without_punctuation(tokens)
    while tokens and tokens[0].kind == "begin" and tokens[0].text.rstrip("*") in LAYOUT:
        close = _closing(tokens, 0)
        if close is None or close != len(tokens) - 1:
            break
        name = tokens[0].text.rstrip("*")
        tokens = tokens[1:close]
        if name in ("alignat", "alignedat") and tokens and tokens[0].kind == "lbrace":
            end = next((i for i, token in enumerate(tokens) if token.kind == "rbrace"), -1)
            tokens = tokens[end + 1 :]
        if len(tokens) >= 3 and tokens[0].text == "[" and tokens[2].text == "]" and name in ("aligned", "gathered"):
            tokens = tokens[3:]
    rows: list[list[Token]] = [[]]
    for token, depth in _with_depth(tokens):
        if token.kind == "row" and depth == 0:
            rows.append([])
        else:
            rows[-1].append(token)
    return tokens, [row for row in rows if row] or [[]]


def _closing(tokens: list[Token], begin: int) -> int | None:
    depth = 0
    for index in range(begin, len(tokens)):
        depth += {"begin": 1, "end": -1}.get(tokens[index].kind, 0)
        if depth == 0:
            return index
    return None


def _without_punctuation(tokens: list[Token]) -> list[Token]:
    low, high = 0, len(tokens)
    while high > low and (
        tokens[high - 1].kind in ("quad", "row") or (tokens[high - 1].kind == "char" and tokens[high - 1].text in ".,;")
    ):
        high -= 1
    while low < high and tokens[low].kind in ("quad", "row"):
        low += 1
    return tokens[low:high]


def _with_depth(tokens: list[Token]) -> list[tuple[Token, int]]:
    """The depth of each token in brackets that are closed again; one that is not hides nothing."""
    partner: set[int] = set()
    stack: list[int] = []
    for index, token in enumerate(tokens):
        if token.kind in _OPEN:
            stack.append(index)
        elif token.kind in _CLOSE:
            opening = _OPEN_OF[token.kind]
            while stack and tokens[stack[-1]].kind == "open" != opening:
                stack.pop()
            if stack and tokens[stack[-1]].kind == opening:
                partner |= {stack.pop(), index}
    depth, out = 0, []
    for index, token in enumerate(tokens):
        if index in partner and token.kind in _CLOSE:
            out.append((token, depth))
            depth -= 1
            continue
        out.append((token, depth))
        depth += index in partner
    return out


def _columns(row: list[Token]) -> list[list[Token]]:
    """The equations of a row: every two columns of an alignment are one."""
    cells: list[list[Token]] = [[]]
    for token, depth in _with_depth(row):
        if token.kind == "amp" and depth == 0:
            cells.append([])
        else:
            cells[-1].append(token)
    out = []
    while cells:
        pair, cells = cells[:2], cells[2:]
        if len(cells) == 1 and pair and _relations(cells[0]) and not any(_relations(cell) for cell in pair):
            pair, cells = [*pair, *cells], []  # a & = & b
        if len(pair) == 2 and len(cells) == 1 and len(pair[1]) == 1 and _relations(pair[1]):
            pair, cells = [*pair, *cells], []
        out.append([token for cell in pair for token in cell])
    return out


def _relations(tokens: list[Token]) -> bool:
    return any(depth == 0 and _relation(token) for token, depth in _with_depth(tokens))


def _relation(token: Token) -> str | None:
    return RELATIONS.get(token.text) if token.kind in ("char", "macro") else None


class _Splitter:
    def __init__(self) -> None:
        self.chains: list[Chain] = []
        self.open: Chain | None = None
        self.columns: dict[int, Chain | None] = {}

    def equation(self, tokens: list[Token], row: int, column: int) -> None:
        """Add the statements of one equation of a row; it may go on with the one above it."""
        self.open = self.columns.get(column)
        self._equation(tokens, row)
        self.columns[column] = self.open

    def _equation(self, tokens: list[Token], row: int) -> None:
        first = True
        for part, lead in _statements(tokens):
            part = _without_punctuation(part)
            if not part:
                continue
            if lead == "condition":
                if self.open is not None and _is_condition(part):
                    self.open.conditions.append(part)
                continue
            if lead == "implies":
                if self.open is not None:
                    self.open.conditional = True
                self.open = None
            self._statement(part, row, new=not first)
            if lead == "implies" and self.open is not None:
                self.open.conditional = True
            first = False

    def _statement(self, tokens: list[Token], row: int, *, new: bool) -> None:
        pieces = _pieces(tokens)
        relation, head = pieces[0]
        if self.open is not None and not new and not relation and head and _continues(head[0]):
            self.open.members[-1].tokens.extend(head)
            self.open.members[-1].row = row
            pieces = pieces[1:]
        elif (self.open is not None and relation and not head) or (self.open is not None and relation):
            pass
        else:
            self.open = Chain([])
            self.chains.append(self.open)
        for operator, part in pieces:
            part = _without_punctuation(part)
            if operator and operator not in STEPS:
                kept = self.open
                self.open = Chain([])
                self.chains.append(self.open)
                if operator == "implies" and kept is not None:
                    kept.conditional = self.open.conditional = True
                if operator in ("in", "other", "neq"):
                    # The relation and what follows it make no step; what the note declares is read elsewhere.
                    if kept is not None and len(kept.members) <= 1:
                        self.chains = [chain for chain in self.chains if chain is not kept]
                    self.chains.remove(self.open)
                    self.open = Chain([])
                    if operator == "other":
                        return
                    continue
            self.open.members.append(Member(operator if operator in STEPS else "", part, row))


def _continues(token: Token) -> bool:
    return (token.kind == "char" and token.text in "+-*/") or (
        token.kind == "macro" and token.text in ("cdot", "times", "odot", "pm", "otimes")
    )


def _pieces(tokens: list[Token]) -> list[tuple[str, list[Token]]]:
    """Split at relations: (relation, what follows it); the first relation may be empty."""
    out: list[tuple[str, list[Token]]] = [("", [])]
    index = 0
    depths = _with_depth(tokens)
    while index < len(tokens):
        token, depth = depths[index]
        relation = _relation(token) if depth == 0 else None
        if relation is None:
            out[-1][1].append(token)
            index += 1
            continue
        index += 1
        if token.text in ("overset", "stackrel"):
            relation, index = _overset(tokens, index)
        elif token.text == "=" and index < len(tokens) and tokens[index].text == ":":
            index += 1
        out.append((relation, []))
    if len(out) > 1 and not out[0][1]:
        out = out[1:]
    return out


def _overset(tokens: list[Token], index: int) -> tuple[str, int]:
    """A relation with something above it: a demand where that is ! or ?, the relation otherwise."""
    groups = []
    for _ in range(2):
        if index < len(tokens) and tokens[index].kind == "lbrace":
            depth, at = 0, index
            while at < len(tokens):
                depth += {"lbrace": 1, "rbrace": -1}.get(tokens[at].kind, 0)
                if depth == 0:
                    break
                at += 1
            groups.append(tokens[index + 1 : at])
            index = at + 1
        elif index < len(tokens):
            groups.append([tokens[index]])
            index += 1
    above = "".join(token.text for token in groups[0]) if groups else ""
    below = _relation(groups[1][0]) if len(groups) > 1 and groups[1] else None
    if below is None or any(mark in above for mark in "!?"):
        return "other", index
    return (":=" if above in ("def", "Def", "Delta", "triangle") and below == "=" else below), index


def _statements(tokens: list[Token]) -> list[tuple[list[Token], str]]:
    """Split at wide spaces, words, implications, and commas before another relation; with what leads each part."""
    out: list[tuple[list[Token], str]] = [([], "")]
    depths = _with_depth(tokens)
    for index, (token, depth) in enumerate(depths):
        if depth == 0 and token.kind == "text":
            out.append(([], _lead(token.text, out[-1][1])))
        elif depth == 0 and token.kind == "quad":
            if not out[-1][0] and out[-1][1] == "condition":
                continue
            rest = [t for t, d in depths[index + 1 :] if d == 0]
            if out[-1][0] and rest and (rest[0].kind == "open" and _relation_within(tokens[index + 1 :])):
                out.append(([], "condition"))
            elif out[-1][0] and _relations(tokens[index + 1 :]) and not _relation(rest[0]):
                out.append(([], out[-1][1] if out[-1][1] == "condition" else ""))
        elif depth == 0 and token.kind == "macro" and token.text == "forall":
            out.append(([], "condition"))
        elif depth == 0 and _relation(token) == "implies":
            out.append(([], "implies"))
        elif depth == 0 and token.kind == "char" and token.text in ",;" and _relations(out[-1][0]):
            lead = "condition" if out[-1][1] == "condition" or _looks_like_condition(tokens[index + 1 :]) else ""
            out.append(([], lead))
        else:
            out[-1][0].append(token)
    return out


def _lead(words: str, before: str) -> str:
    found = set(words.lower().strip(" .,:;()").split())
    if found & _CONDITION_WORDS:
        return "condition"
    return before if found & {"and", "or"} and before == "condition" else ""


def _relation_within(tokens: list[Token]) -> bool:
    return bool(tokens) and tokens[-1].kind == "close" and _relations(tokens[1:-1])


def _looks_like_condition(tokens: list[Token]) -> bool:
    """Whether what follows a comma says for which values the statement holds: i ≠ j, x > 0, i = 1, …, n."""
    while tokens and tokens[0].kind == "quad":
        tokens = tokens[1:]
    end = next(
        (i for i, (t, d) in enumerate(_with_depth(tokens)) if d == 0 and t.kind in ("quad", "text")), len(tokens)
    )
    part = tokens[:end]
    if any(token.text == "dots" for token in part):
        return True
    return any(_relation(t) in ("neq", "<", ">", "leq", "geq", "in") for t, d in _with_depth(part) if d == 0)


def _is_condition(tokens: list[Token]) -> bool:
    return not any(token.text == "dots" for token in tokens) and any(
        _relation(token) in ("=", "neq", "<", ">", "leq", "geq") for token, depth in _with_depth(tokens) if depth <= 1
    )
