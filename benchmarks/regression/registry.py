"""The cases: which data, which penalty, which target, whom to beat and by how much.

`seconds` is the share of a case in the half hour of a normal run: its rivals are stopped when it is used up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STOP = 12.0  # a rival is stopped at so many times our time
KINDS = ("fit", "path", "cv", "lasso path", "batch", "verdict")


@dataclass(frozen=True)
class Goal:
    """A figure that ours has to reach: what is compared (see `goals`), with whom, and the limit."""

    what: str  # "time", "memory ratio", "memory", "certified", "verdict", "growth"
    limit: float
    against: str = ""  # a method or a rival by the start of its name; "" for the best of all

    @property
    def text(self) -> str:
        """Return the goal in words."""
        whom = self.against or "the best rival"
        return {
            "time": f"≥ {self.limit:g}× {whom}",
            "memory ratio": f"≤ {self.limit:g} of the memory of {whom}",
            "memory": f"finishes in ≤ {self.limit:g} GB",
            "certified": "certified, no failure",
            "verdict": "separation found, its direction right",
            "growth": f"cost per row of the largest ≤ {self.limit:g}× that of the smallest",
        }[self.what]


@dataclass(frozen=True)
class Case:
    """One line of the table.

    `C` are scikit-learn's (inf without penalty); a "lasso path" takes its penalties from the data instead. `target` is
    the relative gap, `methods` the rivals' ways (`methods.METHODS`), `calls` how often a worker repeats a fit of
    milliseconds, `memory_gb` the cap of the memory.
    """

    id: str
    text: str
    dataset: str
    kind: str
    target: float
    methods: tuple[str, ...]
    goals: tuple[Goal, ...]
    seconds: float
    C: tuple[float, ...] = (1.0,)
    grouped: bool = False
    calls: int = 1
    memory_gb: float | None = None
    full_only: bool = False

    @property
    def group(self) -> str:
        """Return R1 … R13, or Growth."""
        return self.id.split("-", 1)[0]

    @property
    def penalised(self) -> bool:
        """Whether every fit of the case has a penalty."""
        return all(np.isfinite(self.C))

    def stop(self, method: str) -> float:
        """Return how many times our time a method may take: longer where a goal asks for more than 12."""
        limits = [goal.limit for goal in self.goals if goal.what == "time" and goal.against]
        named = [
            goal for goal in self.goals if goal.what == "time" and goal.against and method.startswith(goal.against)
        ]
        return max([STOP, *(goal.limit * 1.02 for goal in named)]) if limits else STOP


CERTIFIED = Goal("certified", 1)
INF = float("inf")
SWEEP = tuple(float(C) for C in 10 ** np.linspace(-6, 5, 45))
CV_GRID = tuple(float(C) for C in np.logspace(-4, 4, 20))
GROWTH = (12_500, 25_000, 50_000, 100_000, 200_000)

SKLEARN = ("sklearn.newton-cholesky", "sklearn.newton-cg", "sklearn.lbfgs", "sklearn.saga")
SKLEARNEX = ("sklearnex.newton-cg", "sklearnex.lbfgs")
CYANURE = ("cyanure.auto", "cyanure.qning-miso", "cyanure.catalyst-miso", "cyanure.qning-ista")
EXACT = ("sklearn.newton-cholesky", "sklearn.newton-cg", "sklearn.lbfgs")
LARGE = ("sklearn.newton-cg", "sklearn.lbfgs")
UNPENALISED = ("r.glmnet", "r.multinom", "statsmodels.newton", "statsmodels.lbfgs", *EXACT)


def _best(limit: float) -> tuple[Goal, ...]:
    return (Goal("time", limit), CERTIFIED)


def _against(*pairs: tuple[str, float]) -> tuple[Goal, ...]:
    return tuple(Goal("time", limit, method) for method, limit in pairs)


def _letter(C: float) -> Case:
    methods = (*SKLEARN, *SKLEARNEX, *CYANURE)
    return Case(
        f"R1-letter-C{C:g}", f"letter, standardised, C = {C:g}", "letter", "fit", 1e-8, methods, _best(3), 40, (C,)
    )


def _covtype() -> list[Case]:
    goals = _against(("sklearn.newton-cholesky", 2.5), ("sklearn.lbfgs", 20))
    free = _against(("sklearn.newton-cholesky", 2.5), ("statsmodels", 10))
    return [
        Case("R2-covtype-raw", "covtype20k, raw units, C = 1", "covtype20k-raw", "fit", 1e-8, EXACT,
             (*goals, CERTIFIED), 30),
        Case("R2-covtype", "covtype20k, standardised, C = 1", "covtype20k", "fit", 1e-8, EXACT,
             (*goals, CERTIFIED), 30),
        Case("R2-covtype-free", "covtype20k, its ten numeric columns, no penalty", "covtype20k-numeric", "fit", 1e-8,
             UNPENALISED, free, 40, (INF,)),
        Case("R2-overlapping-free", "overlapping synthetic 50k × 30, K = 6, no penalty", "overlapping", "fit", 1e-8,
             UNPENALISED, free, 40, (INF,)),
        Case("R2-covtype-separated", "covtype20k, all columns, no penalty: there is no optimum", "covtype20k",
             "verdict", 1e-8, (), (Goal("verdict", 1),), 30, (INF,)),
    ]  # fmt: skip


def _shuttle(C: float) -> Case:
    methods = (*SKLEARN, *CYANURE)
    text = f"shuttle, raw units, C = {C:g}"
    return Case(f"R3-shuttle-C{C:g}", text, "shuttle-raw", "fit", 1e-8, methods, _best(2), 40, (C,))


def _kddcup(target: float, seconds: float) -> Case:
    text = f"kddcup 494,020 × 41, K = 23, standardised, gap {target:g}"
    return Case(f"R4-kddcup-{target:g}", text, "kddcup", "fit", target, EXACT, _best(4), seconds)


def _mnist(dtype: str) -> Case:
    methods = (*LARGE, "torch.LBFGS", *(("torch.LBFGS float64",) if dtype == "float32" else ()))
    text = f"mnist10k, pixels/255, λ = 1e-4, {dtype}"
    return Case(f"R5-mnist-{dtype}", text, f"mnist10k-{dtype}", "fit", 1e-6, methods, _best(3), 30)


def _texts() -> list[Case]:
    return [
        Case("R6-clinc150", "clinc150 tf-idf, words and pairs (CSR), K = 150, C = 10", "clinc150", "fit", 1e-6,
             (*LARGE, "sklearn.saga"), _best(3), 80, (10.0,)),
        Case("R7-tagging", "UD-EWT tagging, 255k × 120k (CSR), 49 tags, C = 1", "ud-ewt-tagging", "fit", 1e-5, LARGE,
             (*_best(3), Goal("memory ratio", 0.5, "sklearn")), 120),
    ]  # fmt: skip


def _embeddings(classes: str, C: float, seconds: float) -> Case:
    # The half hour lasts for one of the two separations: the one whose classes overlap, as those of real data do.
    text = f"unit-norm embeddings 50k × 384, K = 100, classes {classes}, C = {C:g}"
    return Case(f"R8-{classes}-C{C:g}", text, f"embeddings-{classes}", "fit", 1e-8, (*LARGE, "torch.LBFGS"), _best(3),
                seconds, (C,), full_only=classes == "apart")  # fmt: skip


def _sweep() -> Case:
    methods = tuple(f"sklearn.{way} {solver}" for way in ("warm", "sweep", "cold") for solver in ("lbfgs", "newton-cg"))
    goals = (*_against(("sklearn.cold", 10), ("sklearn.warm", 4)), CERTIFIED)
    return Case("R9-sweep", "45 values C = 10^linspace(−6, 5), 20k × 256, K = 100", "embeddings-sweep", "path", 1e-4,
                methods, goals, 120, SWEEP)  # fmt: skip


def _folds(dataset: str) -> Case:
    methods = ("sklearn.cv newton-cholesky", "sklearn.cv lbfgs", "sklearn.cv newton-cg", "r.cv.glmnet")
    text = f"5 folds × 20 C, {dataset}, standardised"
    return Case(f"R10-{dataset}", text, dataset, "cv", 1e-5, methods, _best(5), 45, CV_GRID)


def _lasso() -> list[Case]:
    methods, goals = (
        ("r.glmnet", "sklearn.warm saga"),
        (*_against(("r.glmnet", 2), ("sklearn.warm saga", 20)), CERTIFIED),
    )
    return [
        Case("R11-clinc150", "L1 path of 50 values, clinc150 tf-idf (CSR)", "clinc150", "lasso path", 1e-5, methods,
             goals, 110),
        Case("R11-wide", "L1 path of 50 values, wide synthetic 500 × 5000, K = 5", "wide", "lasso path", 1e-5, methods,
             goals, 40),
        Case("R11-wide-grouped", "the same grouped by feature", "wide", "lasso path", 1e-5,
             ("adelie.grouped", "r.glmnet grouped"), (*_against(("r.glmnet", 2)), CERTIFIED), 30,
             grouped=True),
    ]  # fmt: skip


def _next_word() -> Case:
    text = "next word in UD-EWT from 3 words, d = 3,000 (CSR), K = 5000, C = 1, memory capped at 4 GB"
    return Case("R12-next-word", text, "ud-ewt-next-word", "fit", 1e-3, ("sklearn.lbfgs", "torch.mini-batch"),
                (Goal("memory", 2), CERTIFIED), 130, memory_gb=4.0)  # fmt: skip


def _small(dataset: str) -> Case:
    return Case(f"R13-{dataset}", f"{dataset}, as it comes, C = 1", dataset, "fit", 1e-8, EXACT, _best(3), 20, calls=20)


CASES = (
    _letter(1), _letter(1e3),
    *_covtype(),
    _shuttle(1), _shuttle(1e4),
    _kddcup(1e-6, 110), _kddcup(1e-9, 150),
    _mnist("float32"), _mnist("float64"),
    *_texts(),
    *(_embeddings("close", C, seconds) for C, seconds in ((1, 25), (100, 60), (1e4, 100))),
    *(_embeddings("apart", C, seconds) for C, seconds in ((1, 25), (100, 60), (1e4, 100))),
    _sweep(),
    _folds("letter"), _folds("covtype20k"),
    *_lasso(),
    _next_word(),
    _small("iris"), _small("wine"), _small("digits"),
    Case("R13-thousand", "1000 fits of 160 × 384, 20 classes, C = 1", "few-shot", "batch", 1e-8, LARGE, _best(3), 40),
    *(
        Case(f"Growth-{n}", f"synthetic {n:,} × 30, K = 10, C = 1", f"growth-{n}", "fit", 1e-8, (),
             (Goal("growth", 1.5),) if n == GROWTH[-1] else (), 5)
        for n in GROWTH
    ),
)  # fmt: skip


def select(patterns: list[str] | None = None, *, full: bool = True) -> list[Case]:
    """Return the cases whose id is one of the patterns, or begins with one and a hyphen; all where there is none.

    A group stands for its cases: R1 is R1-letter-C1 and R1-letter-C1000, and not R10. Without `full` the cases that the
    half hour has no room for are left out, unless they are named.
    """
    if not patterns:
        return [case for case in CASES if full or not case.full_only]
    chosen = [case for case in CASES if any(case.id == p or case.id.startswith(f"{p}-") for p in patterns)]
    if not chosen:
        raise ValueError(f"no case matches {patterns}; the cases are: " + ", ".join(case.id for case in CASES))
    named = [case for case in chosen if full or not case.full_only or case.id in patterns]
    return named or chosen
