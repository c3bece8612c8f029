r"""What MathJax 3.2.2, which Anki shows cards with, does not typeset: one pass over the text, linear in its length."""

from __future__ import annotations

import contextlib
import difflib
import re
from dataclasses import dataclass, field

from ._mathjax import ARGUMENTS, DELIMITERS, ENVIRONMENTS, MACROS, TEXT
from ._names import words
from ._tokens import GREEK

_NAME = re.compile(r"\\([A-Za-z]+|.|\Z)", re.DOTALL)
_SIGNS = frozenset(",:>;! _#$%&{}|\\\u00a0\n\t")
_ONE_COLUMN = words("equation equation* multline multline* multlined")
_DEFINING = words("newcommand renewcommand def let DeclareMathOperator newenvironment renewenvironment providecommand")
_BIG = words("big Big bigg Bigg bigl Bigl biggl Biggl bigr Bigr biggr Biggr bigm Bigm biggm Biggm")
_WITH_ARGUMENT = words("array array* alignat alignat* alignedat xalignat xalignat* xxalignat subarray")
_INFIX = words("over choose atop above brace brack overwithdelims atopwithdelims abovewithdelims")


@dataclass(frozen=True, slots=True)
class Fault:
    """A place where typesetting fails; `structural`: nothing behind it can be judged."""

    rule: str
    text: str
    start: int
    end: int
    suggestion: str | None = None
    structural: bool = False


@dataclass(slots=True)
class _Frame:
    kind: str  # "top", "{", "left", "begin"
    start: int
    name: str = ""
    sub: bool = False
    sup: bool = False
    prime: bool = False
    pending: list[tuple[str, int, int]] = field(default_factory=list)  # who waits for an argument, and where it stands
    operator: bool = False
    infix: bool = False


def find_faults(text: str, known: frozenset[str] = frozenset()) -> list[Fault]:
    """Return what MathJax refuses in a formula; `known` are macros that the note defines."""
    scanner = _Scanner(text, known | _defined(text))
    with contextlib.suppress(_StopScanError):
        scanner.run()
    return scanner.faults


def defined_macros(text: str) -> frozenset[str]:
    """Macros that a text defines."""
    return frozenset(_defined(text))


def _defined(text: str) -> set[str]:
    if "newcommand" not in text and "\\def" not in text and "\\let" not in text and "Operator" not in text:
        return set()
    pattern = r"\\(?:(?:re)?newcommand|providecommand|DeclareMathOperator\*?|def|let)\s*\{?\s*\\([A-Za-z]+)"
    return set(re.findall(pattern, text))


class _StopScanError(Exception):
    pass


class _Scanner:
    def __init__(self, text: str, known: frozenset[str] | set[str]) -> None:
        self.text, self.known = text, known
        self.at = 0
        self.faults: list[Fault] = []
        self.stack = [_Frame("top", 0)]
        self.tags = 0

    @property
    def frame(self) -> _Frame:
        return self.stack[-1]

    def fault(self, rule: str, text: str, start: int, end: int, suggestion: str | None = None) -> None:
        self.faults.append(Fault(rule, text, start, end, suggestion))

    def stop(self, rule: str, text: str, start: int, end: int, suggestion: str | None = None) -> None:
        self.faults.append(Fault(rule, text, start, end, suggestion, structural=True))
        raise _StopScanError

    def run(self) -> None:
        text = self.text
        while self.at < len(text):
            start, char = self.at, text[self.at]
            if char == "\\":
                self.macro()
                continue
            self.at += 1
            if char.isspace() or char == "~":
                continue
            if char == "%":
                line = text.find("\n", start)
                self.at = len(text) if line < 0 else line + 1
            elif char == "{":
                self.atom()
                self.stack.append(_Frame("{", start))
            elif char == "}":
                self.close_brace(start)
            elif char in "^_":
                self.script(char, start)
            elif char in "'\u2019":
                self.primed(start)
            elif char == "&":
                self.alignment(start)
            elif char == "#":
                self.fault("parameter-character", "# cannot stand in a formula", start, start + 1, "write \\#")
                self.atom()
            else:
                self.atom()
        self.at_end()

    def at_end(self) -> None:
        frame = self.frame
        self.close(frame, len(self.text))
        if frame.kind == "{":
            self.stop("missing-brace", "a closing brace } is missing", frame.start, frame.start + 1, "add }")
        if frame.kind == "left":
            self.stop("left-without-right", "\\left has no \\right", frame.start, frame.start + 5, "add \\right")
        if frame.kind == "begin":
            end = frame.start + 8 + len(frame.name)
            self.stop(
                "missing-end", f"\\end{{{frame.name}}} is missing", frame.start, end, f"add \\end{{{frame.name}}}"
            )

    # --- atoms and scripts ---

    def atom(self, *, operator: bool = False) -> None:
        """Something begins: the argument that is waited for, or what scripts may follow."""
        frame = self.frame
        if frame.pending:
            frame.pending.pop()
            return
        frame.sub = frame.sup = frame.prime = False
        frame.operator = operator

    def close(self, frame: _Frame, end: int) -> None:
        """A group ends: nothing may be waited for."""
        if not frame.pending:
            return
        who, start, stop = frame.pending[-1]
        frame.pending.clear()
        if who in "^_":
            kind = "superscript" if who == "^" else "subscript"
            self.fault("missing-argument", f"the {kind} is missing", start, stop)
        else:
            self.fault("missing-argument", f"an argument of \\{who} is missing", start, stop)

    def needs_braces(self, name: str, start: int) -> None:
        r"""Stop where an argument or a script is a macro that must stand in braces: \hat\mathbb{a}, x^\log."""
        if not self.frame.pending:
            return
        who = self.frame.pending[-1][0]
        script = who in "^_"
        if who == "sqrt" and name in ("frac", "dfrac", "tfrac"):
            return
        if name in _UNBRACED if script else (ARGUMENTS.get(name, 0) or name in _BIG or name in ("left", "begin")):
            kind = {"^": "the superscript", "_": "the subscript"}.get(who, f"the argument of \\{who}")
            self.stop("missing-argument", f"{kind} lacks its braces", start, self.at, "put it in braces")

    def script(self, char: str, start: int) -> None:
        frame = self.frame
        kind = "superscript" if char == "^" else "subscript"
        if frame.pending:
            who = frame.pending[-1][0]
            what = f"the {kind}" if who in "^_" else f"an argument of \\{who}"
            self.stop("missing-argument", f"{what} is missing", frame.pending[-1][1], start + 1)
        if char == "_":
            if frame.sub:
                self.fault("double-subscript", "two subscripts: braces must say what belongs to what", start, start + 1)
            frame.sub = True
            if frame.prime:
                frame.sup, frame.prime = True, False
        else:
            if frame.sup:
                self.fault(
                    "double-superscript", "two superscripts: braces must say what belongs to what", start, start + 1
                )
            frame.sup, frame.prime = True, False
        frame.pending.append((char, start, start + 1))

    def primed(self, start: int) -> None:
        frame = self.frame
        if frame.pending:
            if frame.pending[-1][0] in "^_":
                self.stop("missing-argument", "the script is missing before the prime", frame.pending[-1][1], start + 1)
            self.atom()
            return
        if frame.sup:
            self.fault(
                "double-superscript",
                "a prime after a superscript: braces must say what belongs to what",
                start,
                start + 1,
            )
        while self.at < len(self.text) and self.text[self.at] in "'\u2019":
            self.at += 1
        frame.prime = True

    def alignment(self, start: int) -> None:
        frame = self.frame
        self.close(frame, start)
        allowed = frame.kind == "begin" and frame.name not in _ONE_COLUMN
        if not allowed:
            where = {"{": "between braces", "left": "between \\left and \\right"}.get(
                frame.kind, "outside of an alignment"
            )
            suggestion = "write \\& for the sign" if frame.kind == "top" else None
            self.fault("misplaced-alignment", f"& stands {where}", start, start + 1, suggestion)
        self.fresh(frame)

    def fresh(self, frame: _Frame) -> None:
        frame.sub = frame.sup = frame.prime = frame.operator = frame.infix = False
        frame.pending.clear()

    def close_brace(self, start: int) -> None:
        frame = self.frame
        if frame.kind == "left":
            self.stop(
                "left-without-right",
                "\\left has no \\right before this brace",
                frame.start,
                frame.start + 5,
                "add \\right",
            )
        if frame.kind != "{":
            self.stop("extra-brace", "there is no opening brace for }", start, start + 1, "remove it, or add {")
        self.close(frame, start)
        self.stack.pop()

    # --- macros ---

    def macro(self) -> None:
        start = self.at
        found = _NAME.match(self.text, start)
        assert found is not None
        name, self.at = found.group(1), found.end()
        self.needs_braces(name, start)
        if name == "\\":
            self.new_row(start)
        elif name == "begin":
            self.begin(start)
        elif name == "end":
            self.end(start)
        elif name == "left":
            self.atom()
            self.delimiter(start, "left")
            self.stack.append(_Frame("left", start))
        elif name == "right":
            self.right(start)
        elif name == "middle":
            if self.frame.kind != "left":
                self.fault("extra-middle", "\\middle stands outside of \\left and \\right", start, self.at)
            self.close(self.frame, start)
            self.delimiter(start, "middle")
            self.fresh(self.frame)
        elif name in _BIG:
            self.atom()
            self.delimiter(start, name)
        elif name in ("limits", "nolimits"):
            if not self.frame.operator:
                self.fault("misplaced-limits", f"\\{name} stands behind something that is no operator", start, self.at)
        elif name == "hline":
            if self.frame.kind != "begin":
                self.fault("misplaced-hline", "\\hline stands outside of a table", start, self.at)
        elif name in _DEFINING:
            self.definition()
        elif name in _INFIX:
            self.infix(name, start)
        elif len(name) == 1 and not name.isalpha():
            if name and name not in _SIGNS:
                self.fault("unknown-macro", f"MathJax does not know \\{name}", start, self.at)
            elif name in "_#$%&{}|" or self.frame.pending:
                self.atom()
        elif name:
            self.named(name, start)

    def named(self, name: str, start: int) -> None:
        if name in _SPACES:
            if self.frame.pending:
                self.atom()
            return
        if name not in MACROS and name not in self.known:
            suggestion = f"did you mean \\{nearest}?" if (nearest := _nearest(name)) else None
            self.fault("unknown-macro", f"MathJax does not know \\{name}", start, self.at, suggestion)
        if self.text.startswith("*", self.at) and name in ("operatorname", "tag", "hspace"):
            self.at += 1
        if name in ("tag", "label", "nonumber", "notag"):
            if name == "tag":
                self.tags += 1
                if self.tags > 1 and self.frame.kind == "top":
                    self.fault("two-tags", "a formula has two \\tag", start, self.at)
        else:
            self.atom(
                operator=name in _OPERATORS or name in ("operatorname", "mathop", "overset", "underset", "stackrel")
            )
        count = ARGUMENTS.get(name, 0)
        if name not in self.known and count:
            if name in ("sqrt", "cfrac", "smash", "xrightarrow", "xleftarrow", "bbox"):
                self.optional(name, start)
            if name in TEXT:
                self.raw_argument(name, start)
                return
            if name in ("textcolor", "colorbox", "href", "class", "cssId", "style", "enclose"):
                self.raw_argument(name, start)
                count = 1
            self.frame.pending.extend([(name, start, self.at)] * count)

    def definition(self) -> None:
        """Skip what a macro is defined as."""
        depth = 0
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == "\n" and depth == 0:
                return
            depth += (char == "{") - (char == "}")
            self.at += 2 if char == "\\" else 1
            if char == "}" and depth <= 0 and not re.match(r"\s*[\[{]", self.text[self.at : self.at + 9]):
                return

    def infix(self, name: str, start: int) -> None:
        if self.frame.infix:
            self.fault("ambiguous-over", f"a second \\{name}: braces must say what belongs to what", start, self.at)
        self.close(self.frame, start)
        self.fresh(self.frame)
        self.frame.infix = True
        if name.endswith("delims"):
            self.delimiter(start, name)
            self.delimiter(start, name)

    def space(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def delimiter(self, start: int, name: str) -> None:
        self.space()
        found = _NAME.match(self.text, self.at)
        if found:
            sign, self.at = found.group(), found.end()
        elif self.text[self.at : self.at + 1] == "{":  # \big{(}
            close = self.text.find("}", self.at)
            sign, self.at = (
                self.text[self.at + 1 : close].strip() if close > 0 else "{",
                close + 1 if close > 0 else self.at + 1,
            )
        else:
            sign = self.text[self.at : self.at + 1]
            self.at += len(sign)
        if sign not in DELIMITERS:
            what = f"got {sign}" if sign else "nothing follows"
            self.stop(
                "unknown-delimiter",
                f"\\{name} must be followed by a delimiter such as ( or \\{{; {what}",
                start,
                self.at,
            )

    def raw_argument(self, name: str, start: int) -> None:
        self.space()
        if self.at >= len(self.text) or self.text[self.at] in "}&":
            self.fault("missing-argument", f"an argument of \\{name} is missing", start, self.at)
            return
        if self.text[self.at] != "{":
            found = _NAME.match(self.text, self.at)
            self.at = found.end() if found else self.at + 1
            return
        opening, depth = self.at, 0
        while self.at < len(self.text):
            char = self.text[self.at]
            depth += (char == "{") - (char == "}")
            self.at += 2 if char == "\\" else 1
            if depth == 0:
                self.at = min(self.at, len(self.text))
                return
        self.stop("missing-brace", "a closing brace } is missing", opening, opening + 1, "add }")

    def optional(self, name: str, start: int) -> None:
        self.space()
        if self.text[self.at : self.at + 1] != "[":
            return
        depth, at = 0, self.at + 1
        while at < len(self.text):
            char = self.text[at]
            if char == "]" and depth == 0:
                self.at = at + 1
                return
            depth += (char == "{") - (char == "}")
            if depth < 0:
                break
            at += 2 if char == "\\" else 1
        self.stop("missing-bracket", f"a closing bracket ] is missing for \\{name}", start, self.at + 1, "add ]")

    def new_row(self, start: int) -> None:
        frame = self.frame
        self.close(frame, start)
        if self.text.startswith("*", self.at):
            self.at += 1
        ahead = self.at
        while ahead < len(self.text) and self.text[ahead] in " \t\n":
            ahead += 1
        if self.text[self.at : self.at + 1] == "[":
            self.optional("\\", start)
        self.fresh(frame)

    def environment(self, start: int) -> str:
        self.space()
        if self.text[self.at : self.at + 1] != "{":
            self.stop("missing-argument", "the name of an environment is missing", start, self.at)
        close = self.text.find("}", self.at)
        if close < 0:
            self.stop("missing-brace", "a closing brace } is missing", self.at, self.at + 1, "add }")
        name = self.text[self.at + 1 : close]
        self.at = close + 1
        return name

    def begin(self, start: int) -> None:
        name = self.environment(start)
        self.atom()
        if name not in ENVIRONMENTS and name not in self.known:
            nearest = difflib.get_close_matches(name, ENVIRONMENTS, 1, 0.6)
            suggestion = f"did you mean {nearest[0]}?" if nearest else None
            self.stop(
                "unknown-environment", f"MathJax does not know the environment {name!r}", start, self.at, suggestion
            )
        if name in _WITH_ARGUMENT:
            self.optional(name, start)
            self.raw_argument(name, start)
        elif name in ("aligned", "gathered", "multlined"):
            self.optional(name, start)
        self.stack.append(_Frame("begin", start, name))

    def end(self, start: int) -> None:
        name = self.environment(start)
        frame = self.frame
        if frame.kind == "{":
            self.stop("missing-brace", "a closing brace } is missing", frame.start, frame.start + 1, "add }")
        if frame.kind == "left":
            self.stop("left-without-right", "\\left has no \\right", frame.start, frame.start + 5, "add \\right")
        if frame.kind != "begin":
            self.stop("extra-end", f"there is no \\begin{{{name}}} for this end", start, self.at)
        self.close(frame, start)
        if frame.name != name:
            text = f"\\begin{{{frame.name}}} is ended by \\end{{{name}}}"
            self.stop("mismatched-end", text, start, self.at, f"write \\end{{{frame.name}}}")
        self.stack.pop()

    def right(self, start: int) -> None:
        frame = self.frame
        if frame.kind != "left":
            self.stop("right-without-left", "\\right has no \\left here", start, self.at, "add \\left")
        self.close(frame, start)
        self.delimiter(start, "right")
        self.stack.pop()


_SPACES = words("quad qquad enspace thinspace medspace thickspace negthinspace displaystyle textstyle scriptstyle "
                    "scriptscriptstyle strut mathstrut")  # fmt: skip
_OPERATORS = words(
    "sum prod coprod int iint iiint oint bigcup bigcap bigoplus bigotimes bigvee bigwedge bigsqcup biguplus bigodot "
    "lim max min sup inf limsup liminf det gcd Pr injlim projlim varinjlim varprojlim varlimsup varliminf idotsint "
    "intop underbrace overbrace underline overline xrightarrow"
)
# What TeX does not take for a script without braces.
_UNBRACED = words(
    "begin mathop displaystyle textstyle scriptstyle not log exp sin cos tan cot sec csc sinh cosh tanh coth arcsin "
    "arccos arctan ln lg arg deg dim hom ker"
)


def _nearest(name: str) -> str | None:
    """The known macro that is most like a name, a frequent one first."""
    found = difflib.get_close_matches(name, _CANDIDATES, 4, 0.6)
    return next((other for other in found if other in _FREQUENT), found[0] if found else None)


_FREQUENT = frozenset(ARGUMENTS) | _OPERATORS | _UNBRACED | GREEK
# Names that people mean when they mistype: without those of rare packages.
_CANDIDATES = sorted(name for name in MACROS if len(name) > 1 and not name.startswith("text"))
