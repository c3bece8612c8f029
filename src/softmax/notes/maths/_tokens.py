r"""TeX into tokens with positions.

Styles that wrap one name are one token: ``\mathrm{SOFTMAX}``, ``\hat{y}``, ``\mathbf x``. Space is dropped but for
``\quad``, which separates statements. Linear in the length of the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ._errors import MalformedError
from ._names import words


@dataclass(frozen=True, slots=True)
class Token:
    r"""A token.

    `kind` is one of num, letter (one letter, also Greek), name (several letters in roman), macro, char, open, close,
    bar (``|`` or ``\|``, whose side is not known), sup, sub, amp, row (``\\``), begin, end, text, quad, lbrace, rbrace.

    `style` of a letter or name: "" or "rm", "bold", "cal", "bb", and accents before a colon: "hat:". `sized`: the
    delimiter stood after ``\left`` or ``\right``.
    """

    kind: str
    text: str
    start: int
    end: int
    style: str = ""
    sized: str = ""


GREEK = words(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa varkappa lambda mu nu xi omicron pi "
    "varpi rho varrho sigma varsigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon "
    "Phi Psi Omega ell imath jmath"
)
STYLES = {
    "mathrm": "rm", "operatorname": "rm", "textrm": "rm", "mathsf": "rm", "mathtt": "rm", "mathit": "rm", "rm": "rm",
    "mathbf": "bold", "boldsymbol": "bold", "bm": "bold", "mathbfit": "bold", "vec": "bold", "textbf": "bold",
    "pmb": "bold", "underline": "bold", "mathcal": "cal", "mathscr": "cal", "mathbb": "bb", "mathfrak": "cal",
    "Bbb": "bb", "textsf": "rm", "texttt": "rm",
}  # fmt: skip
ACCENTS = words("hat widehat bar overline tilde widetilde check breve acute grave mathring")
# Without a meaning of their own: dropped. Those of the second group take one argument, which goes with them.
SKIPPED = words(
    ", ; : ! > displaystyle textstyle scriptstyle scriptscriptstyle limits nolimits nonumber notag hfill null "
    "mathstrut strut enspace thinspace medspace thickspace negthinspace negmedspace negthickspace allowbreak relax "
    "big Big bigg Bigg bigl bigr bigm Bigl Bigr Bigm biggl biggr biggm Biggl Biggr Biggm middle mathopen mathclose "
    "mathord mathbin mathrel mathinner mathop noindent newline hline cr"
) | {" "}
SKIPPED_WITH_ARGUMENT = words("tag tag* label hspace hspace* vspace phantom hphantom vphantom color mspace kern cssId")
# Only their content counts: argument numbers that are dropped, then one that stays.
WRAPPERS = {"textcolor": 1, "colorbox": 1, "boxed": 0, "mathchoice": 0, "cancel": 0, "fbox": 0, "class": 1, "smash": 0}
LEFT = {"{": "{", "lbrace": "{", "lbrack": "[", "lVert": "‖", "lvert": "|", "langle": "⟨", "lfloor": "⌊", "lceil": "⌈"}
RIGHT = {"}": "}", "rbrace": "}", "rbrack": "]", "rVert": "‖", "rvert": "|", "rangle": "⟩", "rfloor": "⌋", "rceil": "⌉"}
BARS = {"|": "‖", "Vert": "‖", "vert": "|", "parallel": "‖"}
SYNONYMS = {
    "le": "leq", "ge": "geq", "ne": "neq", "lt": "<", "gt": ">", "land": "wedge", "lor": "vee", "to": "rightarrow",
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "leqslant": "leq",
    "geqslant": "geq", "leqq": "leq", "geqq": "geq", "lnot": "neg", "ast": "*", "intercal": "top", "coloneqq": ":=",
    "coloneq": ":=", "triangleq": ":=", "dotsc": "dots", "dotsb": "dots", "dotsm": "dots", "ldots": "dots",
    "cdots": "dots", "dotso": "dots", "dotsi": "dots", "prime": "'", "implies": "Rightarrow", "iff": "Leftrightarrow",
    "Longrightarrow": "Rightarrow", "Longleftrightarrow": "Leftrightarrow", "colon": ":", "tanh": "tanh",
    "mid": "mid", "slash": "/", "shortmid": "mid",
}  # fmt: skip
_UNICODE = {
    "−": "-", "–": "-", "·": "\\cdot", "×": "\\times", "≤": "\\leq", "≥": "\\geq", "≠": "\\neq", "≈": "\\approx",
    "∑": "\\sum", "∏": "\\prod", "∂": "\\partial", "∇": "\\nabla", "∞": "\\infty", "∈": "\\in", "→": "\\rightarrow",
    "′": "'", "∫": "\\int", "√": "\\sqrt", "⇒": "\\Rightarrow", "‖": "‖", "∼": "\\sim", "…": "\\dots",
}  # fmt: skip
_MACRO = re.compile(r"\\([A-Za-z]+\*?|.)", re.DOTALL)
_NUMBER = re.compile(r"\d+(?:\{,\}\d{3})*(?:\.\d+)?|\.\d+")
_NAME = re.compile(r"[A-Za-z0-9 \-_.*\\]+\Z")
MOST_CHARACTERS = 20_000


def tokenize(text: str, start: int = 0, end: int | None = None) -> list[Token]:
    """Return the tokens of text[start:end]; positions are those of `text`."""
    return _Tokenizer(text, start, len(text) if end is None else end).run()


class _Tokenizer:
    def __init__(self, text: str, start: int, end: int) -> None:
        self.text, self.at, self.end = text, start, end
        self.out: list[Token] = []
        self.wrapped: list[int] = []  # depth of braces at which a wrapper's argument closes
        self.depth = 0

    def run(self) -> list[Token]:
        while self.at < self.end:
            self._one()
        return self.out

    def _put(self, kind: str, text: str, start: int, style: str = "", sized: str = "") -> None:
        self.out.append(Token(kind, text, start, self.at, style, sized))

    def _one(self) -> None:
        start, char = self.at, self.text[self.at]
        if char == "\\":
            self._macro()
            return
        self.at += 1
        if char == "%":
            line = self.text.find("\n", start)
            self.at = self.end if line < 0 else min(line + 1, self.end)
        elif char.isspace() or char == "~":
            pass
        elif "0" <= char <= "9" or (char == "." and self.text[self.at : self.at + 1].isdigit()):
            number = _NUMBER.match(self.text, start, self.end)
            assert number is not None
            self.at = number.end()
            self._put("num", number.group().replace("{,}", ""), start)
        elif char == "{":
            self.depth += 1
            self._put("lbrace", char, start)
        elif char == "}":
            self.depth -= 1
            self._put("rbrace", char, start)
        elif char in "^_&":
            self._put({"^": "sup", "_": "sub", "&": "amp"}[char], char, start)
        elif char in "([":
            self._put("open", char, start)
        elif char in ")]":
            self._put("close", char, start)
        elif char == "|" or char == "‖":
            if char == "|" and self.text[self.at : self.at + 1] == "|" and self.at < self.end:
                self.at += 1
                char = "‖"
            self._put("bar", char, start)
        elif char in _UNICODE:
            meant = _UNICODE[char]
            self._put("macro" if meant[0] == "\\" else "char", meant.lstrip("\\"), start)
        elif char == ":" and self.text[self.at : self.at + 1] == "=":
            self.at += 1
            self._put("macro", ":=", start)
        elif char.isalpha():
            self._put("letter", _greek_letter(char), start)
        else:
            self._put("char", char, start)

    def _macro(self) -> None:
        start = self.at
        found = _MACRO.match(self.text, start, self.end)
        if found is None:  # a backslash at the very end
            self.at = self.end
            return
        self.at = found.end()
        name = found.group(1)
        starred = name.rstrip("*")
        if name != starred and name not in SKIPPED_WITH_ARGUMENT and starred != "operatorname":
            self.at -= 1
            name = starred
        name = starred if starred == "operatorname" else name
        if name == "\\":
            self._row(start)
        elif name.isspace() or name in SKIPPED:
            pass
        elif name in ("quad", "qquad"):
            self._put("quad", name, start)
        elif name in ("begin", "end"):
            self._put(name, self._argument(start), start)
        elif name in ("left", "right"):
            self._delimiter(start, name)
        elif name in LEFT:
            self._put("open", LEFT[name], start)
        elif name in RIGHT:
            self._put("close", RIGHT[name], start)
        elif name in BARS:
            self._put("bar", BARS[name], start)
        elif name in ("text", "mbox", "textnormal", "textit", "intertext", "mathrm", "operatorname", "hbox"):
            self._words(start, name)
        elif name in STYLES:
            self._styled(start, STYLES[name])
        elif name in ACCENTS:
            self._styled(start, {"widehat": "hat", "overline": "bar", "widetilde": "tilde"}.get(name, name) + ":")
        elif name in SKIPPED_WITH_ARGUMENT:
            self._argument(start)
        elif name in WRAPPERS:
            for _ in range(WRAPPERS[name]):
                self._argument(start)
        elif name in ("underbrace", "overbrace"):
            self._brace_annotation(start)
        elif name == "not":
            self._negation(start)
        elif name in GREEK:
            self._put("letter", "l" if name == "ell_" else name, start)
        else:
            self._put("macro", SYNONYMS.get(name, name), start)

    def _negation(self, start: int) -> None:
        before = len(self.out)
        self._space()
        if self.at < self.end:
            self._one()
        if len(self.out) > before:
            denied = {"=": "neq", "in": "notin"}.get(self.out.pop().text, "not")
            self._put("macro", denied, start)

    def _row(self, start: int) -> None:
        if self.text.startswith("*", self.at):
            self.at += 1
        skip = re.compile(r"\s*\[\s*-?[\d.]+\s*[a-z]{2}\s*\]").match(self.text, self.at, self.end)
        if skip:
            self.at = skip.end()
        self._put("row", "\\\\", start)

    def _space(self) -> None:
        while self.at < self.end and self.text[self.at].isspace():
            self.at += 1

    def _argument(self, start: int) -> str:
        """Take one argument as text: a group, or the next character or macro."""
        self._space()
        if self.at >= self.end:
            raise MalformedError("an argument is missing", start, self.at)
        if self.text[self.at] != "{":
            found = _MACRO.match(self.text, self.at, self.end)
            first = self.at
            self.at = found.end() if found else self.at + 1
            return self.text[first : self.at]
        close = self._closing(self.at, start)
        inner = self.text[self.at + 1 : close]
        self.at = close + 1
        return inner

    def _closing(self, at: int, start: int) -> int:
        depth = 0
        index = at
        while index < self.end:
            char = self.text[index]
            if char == "\\":
                index += 1
            elif char == "{":
                depth += 1
            elif char == "}":
                depth -= 1
                if depth == 0:
                    return index
            index += 1
        raise MalformedError("a closing brace } is missing", start, self.end)

    def _delimiter(self, start: int, side: str) -> None:
        self._space()
        found = _MACRO.match(self.text, self.at, self.end)
        if found and found.start() == self.at:
            self.at, name = found.end(), found.group(1)
        elif self.at < self.end:
            name = self.text[self.at]
            self.at += 1
        else:
            raise MalformedError(f"a delimiter is missing after \\{side}", start, self.at)
        plain = {"(": "(", ")": ")", "[": "[", "]": "]", ".": ".", "/": "/", "<": "⟨", ">": "⟩", "|": "|"}
        if found and found.end() == self.at and name == "|":
            delimiter = "‖"
        else:
            named = {**LEFT, **RIGHT, **BARS} if found and name != "|" else plain
            delimiter = named.get(name, plain.get(name, name))
        if delimiter == "." and side == "left":
            self._put("open", ".", start, sized=side)
            return
        self._put("open" if side == "left" else "close", delimiter, start, sized=side)

    def _words(self, start: int, macro: str) -> None:
        r"""A \text{…} or \mathrm{…}: a name where it can be one, words otherwise."""
        inner = self._argument(start)
        bare = inner.strip().replace("\\,", "").replace("\\_", "_").replace("\\ ", " ").replace("\\-", "")
        roman = macro in ("mathrm", "operatorname")
        if bare in GREEK_MACROS:
            self._put("letter", bare[1:], start, "rm")
        elif len(bare) == 1 and bare.isalpha():
            self._put("letter", bare, start, "rm")
        elif bare == "1" and roman:
            self._put("name", "1", start, "rm")
        elif bare and _NAME.match(bare) and (roman or not _is_prose(bare)):
            self._put("name", bare.replace(" ", ""), start, "rm")
        else:
            self._put("text", inner, start)

    def _styled(self, start: int, style: str) -> None:
        inner_start = self.at
        inner = self._argument(start)
        stop = self.at
        first = inner_start + self.text[inner_start:stop].find(inner) if inner else stop
        tokens = tokenize(self.text, first, first + len(inner))
        if len(tokens) == 1 and tokens[0].kind in ("letter", "name", "num"):
            token = tokens[0]
            kind = "name" if token.kind == "num" else token.kind
            self._put(kind, token.text, start, style + token.style)
        elif tokens and all(token.kind == "letter" and not token.style for token in tokens):
            self._put("name", "".join(token.text for token in tokens), start, style)
        elif style in ("bold", "rm", "cal", "bb"):
            self.out.append(Token("lbrace", "{", start, first))
            self.out.extend(tokens)
            self.out.append(Token("rbrace", "}", first + len(inner), stop))
        else:
            self._put("macro", style.rstrip(":"), start)

    def _brace_annotation(self, start: int) -> None:
        inner_start = self.at
        inner = self._argument(start)
        stop = self.at
        first = inner_start + self.text[inner_start:stop].find(inner) if inner else stop
        self.out.append(Token("lbrace", "{", start, first))
        self.out.extend(tokenize(self.text, first, first + len(inner)))
        self.out.append(Token("rbrace", "}", first + len(inner), stop))
        self._space()
        if self.text[self.at : self.at + 1] in ("_", "^") and self.at < self.end:
            self.at += 1
            self._argument(start)


GREEK_MACROS = frozenset("\\" + name for name in GREEK)
_LETTERS = dict(
    zip(
        "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ",
        [
            "alpha",
            "beta",
            "gamma",
            "delta",
            "epsilon",
            "zeta",
            "eta",
            "theta",
            "iota",
            "kappa",
            "lambda",
            "mu",
            "nu",
            "xi",
            "pi",
            "rho",
            "sigma",
            "tau",
            "upsilon",
            "phi",
            "chi",
            "psi",
            "omega",
            "Gamma",
            "Delta",
            "Theta",
            "Lambda",
            "Xi",
            "Pi",
            "Sigma",
            "Phi",
            "Psi",
            "Omega",
        ],
        strict=True,
    )
)
_PROSE = words(
    "for if where with and or else otherwise when all in is the a of on as to by let so not any some falls sonst und "
    "für at then thus hence since from iff such that const constant const. given subject s.t. st"
)


def _greek_letter(char: str) -> str:
    return _LETTERS.get(char, char)


def _is_prose(text: str) -> bool:
    words = text.lower().strip(" .,:;").split()
    return not words or len(words) > 2 or any(word in _PROSE for word in words)
