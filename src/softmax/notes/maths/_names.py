"""Names with a fixed meaning."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


# As written in roman or as a macro, lower-case, without "_" and "-"  ->  name in the tree.
FUNCTIONS = {
    "exp": "exp", "log": "log", "ln": "log", "sin": "sin", "cos": "cos", "tan": "tan", "sinh": "sinh", "cosh": "cosh",
    "tanh": "tanh", "csc": "csc", "arcsin": "arcsin", "arccos": "arccos", "arctan": "arctan", "cot": "cot",
    "sigmoid": "sigmoid", "expit": "sigmoid", "logistic": "sigmoid", "sigm": "sigmoid", "logit": "logit", "sec": "sec",
    "relu": "relu", "softplus": "softplus", "sign": "sign", "sgn": "sign", "erf": "erf", "abs": "abs",
    "softmax": "softmax", "logsoftmax": "logsoftmax", "lse": "lse", "logsumexp": "lse",
    "diag": "diag", "tr": "tr", "trace": "tr", "det": "det", "kl": "kl", "argmax": "argmax", "artanh": "artanh",
    "odds": "odds", "silu": "silu", "swish": "silu", "sqrt": "sqrt",
}  # fmt: skip
ELEMENTWISE = words(
    "exp log sin cos tan sinh cosh tanh arcsin arccos arctan cot sec csc sigmoid logit relu softplus sign erf abs sqrt "
    "artanh odds silu"
)
# Functions of this library: a note's definition of one is checked against it, and does not replace it.
LIBRARY = frozenset({"softmax", "logsoftmax", "lse"})
# Calls that have a standard meaning unless the note gives another.
STANDARD = frozenset({"kl", "H", "cal:N"})
# Letters that are functions where parentheses follow; those of the second group only where they always do.
STRONG_LETTERS = words("f g h F G L J phi psi ell Phi cal:L cal:N cal:J cal:F cal:H cal:l ell")
# Of these, what follows is an argument even where it looks like a factor: sigma(2a - b).
ALWAYS = frozenset({"sigma", "H", "Phi"})
WEAK_LETTERS = words("sigma H u v Q U V S R B Gamma eta y z a q s ell D Psi varphi varsigma")
EXPECTATIONS = {
    "bb:E": "E", "E": "E", "cal:E": "E", "Var": "Var", "var": "Var", "bb:V": "Var", "Cov": "Cov", "cov": "Cov",
    "bb:C": "Cov", "V": "Var",
}  # fmt: skip
PROBABILITIES = frozenset({"P", "Pr", "bb:P", "Q", "p", "q"})
INDICATORS = frozenset({"I", "bb:I", "bb:1", "1", "chi", "bb:11"})
RELATIONS = {
    "=": "=", "approx": "approx", "leq": "leq", "geq": "geq", "<": "<", ">": ">", "equiv": "=", ":=": ":=",
    "simeq": "approx", "lesssim": "other", "propto": "other", "Rightarrow": "implies", "Leftrightarrow": "implies",
    "rightarrow": "other", "in": "in", "sim": "other", "neq": "neq", "subset": "other", "subseteq": "other",
    "mapsto": "other", "leftarrow": "other", "perp": "other", "ll": "other", "gg": "other", "notin": "other",
    "not": "other", "cong": "other", "Leftarrow": "implies", "longrightarrow": "other", "longmapsto": "other",
    "asymp": "other", "doteq": "other", "succeq": "other", "preceq": "other", "succ": "other", "prec": "other",
    "gets": "other", "therefore": "implies", "because": "implies", "models": "other", "vdash": "other",
    "xrightarrow": "other", "overset": "other", "stackrel": "other", "hookrightarrow": "other", "iid": "other",
    "uparrow": "other", "downarrow": "other", "leftrightarrow": "other", "gtrsim": "other", "thicksim": "other",
    "Longleftarrow": "implies", "supset": "other", "supseteq": "other", "ni": "other", "approxeq": "approx",
    "upharpoonright": "other", "nearrow": "other", "searrow": "other", "backsim": "other", "gtrless": "other",
}  # fmt: skip
BIG = {"sum": "sum", "prod": "prod", "max": "max", "min": "min"}
USUAL_INDICES = words("i j k l m n c r")


def canonical(name: str) -> str | None:
    """The function that a roman name or a macro stands for, if it is a known one."""
    return FUNCTIONS.get(name.lower().replace("_", "").replace("-", "").replace(" ", ""))
