"""The cases: which data, which penalty, which target, whom to beat and by how much.

`seconds` is the share of a case in the half hour of a normal run; its rivals are stopped when it is used up.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

STOP = 12.0  # a rival is stopped at so many times our time
KINDS = ("fit", "path", "cv", "lasso path", "batch", "verdict")
INF = float("inf")


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
    options: dict[str, float] = field(default_factory=dict, hash=False)

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


def _best(limit: float) -> tuple[Goal, ...]:
    return (Goal("time", limit), Goal("certified", 1))


SKLEARN = ("sklearn.newton-cholesky", "sklearn.newton-cg", "sklearn.lbfgs", "sklearn.saga")
SKLEARNEX = ("sklearnex.newton-cg", "sklearnex.lbfgs")
CYANURE = ("cyanure.auto", "cyanure.qning-miso", "cyanure.catalyst-miso", "cyanure.qning-ista")
UNPENALISED = (
    "r.glmnet", "r.multinom", "statsmodels.newton", "statsmodels.lbfgs",
    "sklearn.newton-cholesky", "sklearn.newton-cg", "sklearn.lbfgs",
)  # fmt: skip
COVTYPE_GOALS = (
    Goal("time", 2.5, "sklearn.newton-cholesky"), Goal("time", 20, "sklearn.lbfgs"), Goal("certified", 1),
)  # fmt: skip
LARGE = ("sklearn.newton-cg", "sklearn.lbfgs")
SWEEP = tuple(float(C) for C in 10 ** np.linspace(-6, 5, 45))
CV_GRID = tuple(float(C) for C in np.logspace(-4, 4, 20))
CV_METHODS = ("sklearn.cv newton-cholesky", "sklearn.cv lbfgs", "sklearn.cv newton-cg", "r.cv.glmnet")


def _embeddings() -> list[Case]:
    methods = ("sklearn.newton-cg", "sklearn.lbfgs", "torch.LBFGS")
    return [
        Case(
            f"R8-{separation}-C{C:g}", f"unit-norm embeddings 50k × 384, K = 100, classes {text}, C = {C:g}",
            f"embeddings-{separation}", "fit", 1e-8, methods, _best(3), seconds, C=(C,),
        )
        for separation, text, budgets in (("close", "close", (30, 60, 120)), ("apart", "apart", (30, 60, 100)))
        for C, seconds in zip((1.0, 100.0, 1e4), budgets, strict=True)
    ]  # fmt: skip


CASES = (
    *(
        Case(f"R1-letter-C{C:g}", f"letter, standardised, C = {C:g}", "letter", "fit", 1e-8,
             (*SKLEARN, *SKLEARNEX, *CYANURE), _best(3), seconds, C=(C,))
        for C, seconds in ((1.0, 45), (1e3, 45))
    ),
    Case("R2-covtype-raw", "covtype20k, raw units, C = 1", "covtype20k-raw", "fit", 1e-8,
         SKLEARN[:3], COVTYPE_GOALS, 45),
    Case("R2-covtype", "covtype20k, standardised, C = 1", "covtype20k", "fit", 1e-8,
         SKLEARN[:3], COVTYPE_GOALS, 45),
    *(
        Case(f"R2-{dataset}-inf", f"{text}, no penalty", dataset, "fit", 1e-8, UNPENALISED,
             (Goal("time", 2.5, "sklearn.newton-cholesky"), Goal("time", 10, "statsmodels")), 60, C=(INF,))
        for dataset, text in (("covtype20k-numeric", "covtype20k, its ten numeric columns"),
                              ("overlapping", "overlapping synthetic 50k × 30, K = 6"))
    ),
    Case("R2-covtype-separated", "covtype20k, all columns, no penalty: no optimum", "covtype20k", "verdict", 1e-8, (),
         (Goal("verdict", 1),), 40, C=(INF,)),
    *(
        Case(f"R3-shuttle-C{C:g}", f"shuttle, raw units, C = {C:g}", "shuttle-raw", "fit", 1e-8,
             (*SKLEARN, *CYANURE), _best(2), 60, C=(C,))
        for C in (1.0, 1e4)
    ),
    *(
        Case(f"R4-kddcup-{target:g}", f"kddcup 494,020 × 41, K = 23, standardised, gap {target:g}", "kddcup", "fit",
             target, ("sklearn.newton-cholesky", *LARGE), _best(4), 150)
        for target in (1e-6, 1e-9)
    ),
    *(
        Case(f"R5-mnist-{dtype}", f"mnist10k, pixels/255, λ = 1e-4, {dtype}", f"mnist10k-{dtype}", "fit", 1e-6,
             (*LARGE, "torch.LBFGS", "torch.LBFGS float64")[: 4 if dtype == "float32" else 3], _best(3), 40)
        for dtype in ("float32", "float64")
    ),
    Case("R6-clinc150", "clinc150 tf-idf, words and pairs (CSR), K = 150, C = 10", "clinc150", "fit", 1e-6,
         (*LARGE, "sklearn.saga"), _best(3), 90, C=(10.0,)),
    Case("R7-tagging", "UD-EWT tagging, 255k × 120k (CSR), 49 tags, C = 1", "ud-ewt-tagging", "fit", 1e-5, LARGE,
         (*_best(3), Goal("memory ratio", 0.5, "sklearn")), 150),
    *_embeddings(),
    Case("R9-sweep", "45 values C = 10^linspace(−6, 5), 20k × 256, K = 100", "embeddings-sweep", "path", 1e-4,
         ("sklearn.warm lbfgs", "sklearn.warm newton-cg", "sklearn.cold lbfgs", "sklearn.cold newton-cg",
          "sklearn.sweep lbfgs", "sklearn.sweep newton-cg"),
         (Goal("time", 10, "sklearn.cold"), Goal("time", 4, "sklearn.warm"), Goal("certified", 1)), 180, C=SWEEP),
    *(
        Case(f"R10-{dataset}", f"5 folds × 20 C, {dataset}, standardised", dataset, "cv", 1e-5, CV_METHODS, _best(5),
             90, C=CV_GRID)
        for dataset in ("letter", "covtype20k")
    ),
    Case("R11-clinc150-l1", "L1 path of 50 values, clinc150 tf-idf", "clinc150", "lasso path", 1e-5,
         ("r.glmnet", "sklearn.warm saga"),
         (Goal("time", 2, "r.glmnet"), Goal("time", 20, "sklearn.warm saga"), Goal("certified", 1)), 150),
    Case("R11-wide-l1", "L1 path of 50 values, wide synthetic 500 × 5000, K = 5", "wide", "lasso path", 1e-5,
         ("r.glmnet", "sklearn.warm saga"),
         (Goal("time", 2, "r.glmnet"), Goal("time", 20, "sklearn.warm saga"), Goal("certified", 1)), 60),
    Case("R11-wide-grouped", "the same, grouped by feature", "wide", "lasso path", 1e-5,
         ("adelie.grouped", "r.glmnet grouped"), (Goal("time", 2, "r.glmnet"), Goal("certified", 1)), 40, grouped=True),
    Case("R12-next-word", "next word in UD-EWT from 3 words, d = 3,000 (CSR), K = 5000, C = 1, 4 GB",
         "ud-ewt-next-word", "fit", 1e-3, ("sklearn.lbfgs", "torch.mini-batch"),
         (Goal("memory", 2), Goal("certified", 1)), 250, memory_gb=4.0),
    *(
        Case(f"R13-{dataset}", f"{dataset}, as it comes, C = 1", dataset, "fit", 1e-8,
             ("sklearn.newton-cholesky", "sklearn.newton-cg", "sklearn.lbfgs"), _best(3), 30, calls=20)
        for dataset in ("iris", "wine", "digits")
    ),
    Case("R13-thousand", "1000 fits of 160 × 384, 20 classes, C = 1", "few-shot", "batch", 1e-8,
         ("sklearn.newton-cg", "sklearn.lbfgs"), _best(3), 60),
    *(
        Case(f"Growth-{n}", f"synthetic {n:,} × 30, K = 10, C = 1", f"growth-{n}", "fit", 1e-8, (),
             (Goal("growth", 1.5),) if n == 200_000 else (), 10)
        for n in (12_500, 25_000, 50_000, 100_000, 200_000)
    ),
)  # fmt: skip


def select(patterns: list[str] | None = None) -> list[Case]:
    """Return the cases whose id is one of the patterns, or begins with one and a hyphen; all where there is none.

    A group stands for its cases: R1 is R1-letter-C1 and R1-letter-C1000, and not R10.
    """
    if not patterns:
        return list(CASES)
    chosen = [case for case in CASES if any(case.id == p or case.id.startswith(f"{p}-") for p in patterns)]
    if not chosen:
        raise ValueError(f"no case matches {patterns}; the cases are: " + ", ".join(case.id for case in CASES))
    return chosen
