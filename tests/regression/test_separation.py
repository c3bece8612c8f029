"""The verdict on separation, against one linear programme with all constraints, and its direction on all rows."""

import re
from fractions import Fraction

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse

from softmax.regression import _recession, _separation
from softmax.regression._problem import Problem
from softmax.regression._recession import by_linear_programme, by_newton
from softmax.regression._separation import decide_separation
from softmax.regression._threads import Workers


def truth_of(problem):
    """(n, K): classes with a positive target."""
    if problem.probabilities is not None:
        return problem.probabilities > 0
    return problem.labels[:, None] == np.arange(problem.n_classes)


def dense(problem):
    """X in float64 with a column of ones where there is an intercept."""
    X = problem.X.toarray() if scipy.sparse.issparse(problem.X) else problem.X.astype(np.float64)
    return np.column_stack([X, np.ones(len(X))]) if problem.intercept else X


def all_constraints(problem):
    """The kind by its definition, and the number of pairs that can be separated: maximise Σ s_ik over 0 ≤ s_ik ≤ 1,
    s_ik ≤ m_ik(D), m = 0 among the true classes of a row. A cone can be scaled, so that every s_ik is 0 or 1.
    """
    X, truth = dense(problem), truth_of(problem)
    X = X / np.maximum(np.abs(X).max(axis=0), 1e-300)
    penalised = np.flatnonzero(problem.ridge > 0)
    n_classes, width = truth.shape[1], X.shape[1]
    positive, zero = [], []
    for x, row in zip(X, truth, strict=True):
        own = int(np.argmax(row))
        for k in range(n_classes):
            if k != own:
                constraint = np.zeros((n_classes, width))
                constraint[own], constraint[k] = x, -x
                (zero if row[k] else positive).append(constraint.ravel())
    A, E = (np.array(part).reshape(-1, n_classes * width) for part in (positive, zero))
    m = len(A)
    low, high = np.full((n_classes, width), -np.inf), np.full((n_classes, width), np.inf)
    if problem.lower is not None:
        d = problem.X.shape[1]
        low[:, :d], high[:, :d] = (
            np.where(np.isinf(problem.lower), -np.inf, 0),
            np.where(np.isinf(problem.upper), np.inf, 0),
        )
    low[:, penalised] = high[:, penalised] = 0.0
    result = scipy.optimize.linprog(
        np.append(np.zeros(n_classes * width), -np.ones(m)),
        A_ub=np.hstack([-A, np.eye(m)]) if m else None,
        b_ub=np.zeros(m) if m else None,
        A_eq=np.hstack([E, np.zeros((len(E), m))]) if len(E) else None,
        b_eq=np.zeros(len(E)) if len(E) else None,
        bounds=[*zip(low.ravel(), high.ravel(), strict=True), *[(0, 1)] * m],
    )
    assert result.status == 0
    separated = int((result.x[n_classes * width :] > 0.5).sum())
    if separated == 0:
        return None, 0
    return ("complete" if separated == m and len(E) == 0 else "quasi-complete"), separated


def check_direction(problem, separation, tolerance=1e-9):
    """The definition, row by row; returns how many pairs have a positive margin."""
    X, truth = dense(problem), truth_of(problem)
    D = separation.direction if problem.intercept else separation.direction[:, :-1]
    assert np.abs(D).max() == pytest.approx(1.0)
    assert not separation.direction[:, np.append(problem.ridge > 0, False)].any()
    logits = X @ D.T
    size = (np.abs(X) @ np.abs(D).T).max(axis=1) + np.abs(X).mean(axis=0) @ np.abs(D).max(axis=0)
    count = 0
    for i in range(len(X)):
        own = np.flatnonzero(truth[i])
        assert np.ptp(logits[i, own]) <= tolerance * size[i]
        margins = logits[i, own].min() - np.delete(logits[i], own)
        assert (margins >= -tolerance * size[i]).all()
        count += int((margins > tolerance * size[i]).sum())
    assert separation.violation <= tolerance
    return count


def random_problem(seed):
    """Labels from a linear model, with and without noise, on normal, integer and binary columns, or after rounding."""
    rng = np.random.default_rng(seed)
    n_classes, d, n = int(rng.integers(2, 7)), int(rng.integers(1, 6)), int(rng.integers(3, 50))
    X = [rng.standard_normal((n, d)), rng.integers(-2, 3, (n, d)).astype(float), 1.0 * (rng.random((n, d)) < 0.3)][
        seed % 3
    ]
    logits = X @ rng.standard_normal((d, n_classes)) * rng.choice([1, 3, 10, 100]) + rng.standard_normal(n_classes)
    mode = rng.integers(3)
    if mode == 0:
        logits = np.round(logits) + 1e-3 * rng.random(logits.shape)
    elif mode == 1:
        logits = logits + rng.gumbel(size=logits.shape)
    labels, probabilities = logits.argmax(axis=1), None
    if rng.random() < 0.25:
        several = (labels[:, None] == np.arange(n_classes)) | (
            rng.random((n, n_classes)) < 0.1 * rng.integers(0, 2, (n, 1))
        )
        labels, probabilities = None, several / several.sum(axis=1, keepdims=True)
    if rng.random() < 0.2:
        X = scipy.sparse.csr_array(X)
    ridge = np.where(rng.random(d) < 0.1, 0.1, 0.0)
    return Problem(X, labels, n_classes, ridge, probabilities=probabilities, intercept=bool(rng.random() < 0.7))


def agrees(problem, decision):
    """Compare a decision with the programme of all constraints; returns the kind."""
    kind, separated = all_constraints(problem)
    if kind is None:
        assert decision.verdict == "overlapping"
        assert decision.separation is None
    else:
        assert decision.verdict == "separated"
        assert decision.separation.kind == kind
        assert decision.separation.exact_kind
        assert check_direction(problem, decision.separation) == separated
    return kind


@pytest.mark.parametrize("start", range(0, 240, 40))
def test_verdict_and_direction_agree_with_all_constraints(start):
    kinds = []
    for seed in range(start, start + 40):
        problem = random_problem(seed)
        kinds.append(agrees(problem, decide_separation(problem)))
    assert min(kinds.count(kind) for kind in (None, "complete", "quasi-complete")) >= 2


@pytest.mark.parametrize("method", ["linear programme", "newton"])
def test_each_search_alone_agrees(monkeypatch, method):
    search = by_linear_programme if method == "linear programme" else lambda cone: by_newton(cone, None)
    monkeypatch.setattr(_separation, "search", lambda cone, start: search(cone))
    monkeypatch.setattr(_separation._Search, "by_columns", lambda self: None)
    undecided = 0
    for seed in range(60):
        problem = random_problem(1000 + seed)
        decision = decide_separation(problem)
        separation = decision.separation
        if decision.verdict == "undecided" or (separation is not None and not separation.exact_kind):
            undecided += 1
            if separation is not None:
                check_direction(problem, separation)
        else:
            agrees(problem, decision)
    assert undecided <= (6 if method == "newton" else 0)


def test_columns_and_classes_that_separate_are_named():
    rng = np.random.default_rng(0)
    n = 400
    X = np.column_stack([rng.standard_normal((n, 2)), rng.random(n) < 0.2, np.full(n, 3.0)])
    labels = rng.integers(0, 4, n)
    X[labels == 2, 2] = 0.0
    separation = decide_separation(Problem(X, labels, 4, np.zeros(4))).separation
    assert separation.kind == "quasi-complete"
    assert separation.exact_kind
    assert separation.n_separated == int(X[:, 2].sum())
    (split,) = separation.splits
    assert (split.feature, split.classes, split.threshold) == (2, (2,), 0.0)
    assert separation.features == (2,)
    assert separation.classes == (2,)
    message = separation.message(["a", "b", "rare", "one"], ["w", "x", "y", "z"])
    for word in ("Quasi-complete", "rare", "class y", "C=1e4", "drop", "merge"):
        assert word in message
    assert "column 2 is" in separation.message().lower()


def test_complete_separation_needs_several_columns():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((300, 4))
    labels = (X @ rng.standard_normal((4, 3))).argmax(axis=1)
    separation = decide_separation(Problem(X, labels, 3, np.zeros(4))).separation
    assert separation.kind == "complete"
    assert (separation.n_separated, separation.n_boundary, separation.splits) == (300, 0, ())
    assert "together separate" in separation.message()


def test_one_row_decides():
    X = np.linspace(-1, 1, 100)[:, None]
    labels = (X[:, 0] > 0).astype(np.intp)
    assert decide_separation(Problem(X, labels, 2, np.zeros(1))).separation.kind == "complete"
    labels[10] = 1
    decision = decide_separation(Problem(X, labels, 2, np.zeros(1)))
    assert decision.separation is None
    assert decision.verdict == "overlapping"


@pytest.mark.parametrize("seed", range(0, 60, 4))
def test_units_and_superfluous_columns_change_no_verdict(seed):
    problem = random_problem(3 * seed)
    X = problem.X.toarray() if scipy.sparse.issparse(problem.X) else problem.X
    d = X.shape[1]
    kind, separated = all_constraints(problem)
    units = 10.0 ** (6.0 * (np.arange(d) % 3 - 1))
    wide = np.column_stack([X, X[:, 0], np.full(len(X), 7.0 * problem.intercept), X @ np.ones(d)])
    # A shift in X is one of the intercept; penalised columns would change their cone with a copy that is not.
    changed = [(X * units + problem.intercept * 1e3 * units, problem.ridge)]
    if not problem.ridge.any():
        changed.append((wide, np.zeros(d + 3)))
    for columns, ridge in changed:
        other = Problem(
            columns,
            problem.labels,
            problem.n_classes,
            ridge,
            probabilities=problem.probabilities,
            intercept=problem.intercept,
        )
        decision = decide_separation(other)
        assert decision.verdict != "undecided"
        assert (decision.separation.kind if decision.separation else None) == kind
        if kind is not None:
            assert check_direction(other, decision.separation) == separated


def test_margins_are_right_in_exact_arithmetic():
    """On small integers a float64 direction can be checked without rounding."""
    rng = np.random.default_rng(2)
    X = rng.integers(0, 2, (200, 5)).astype(float)
    labels = np.where(X[:, 0] > 0, rng.integers(0, 2, 200), rng.integers(0, 3, 200))
    separation = decide_separation(Problem(X, labels, 3, np.zeros(5))).separation
    D = [[Fraction(float(v)) for v in row] for row in separation.direction]
    scale = max(abs(v) for row in D for v in row)
    worst = Fraction(0)
    for x, y in zip(X, labels, strict=True):
        logits = [sum(Fraction(int(a)) * v for a, v in zip([*x, 1.0], row, strict=True)) for row in D]
        worst = max(worst, *(logit - logits[y] for logit in logits))
    assert worst <= Fraction(1, 10**12) * scale
    assert 0 < separation.n_separated < 200


def test_a_class_without_rows_separates():
    rng = np.random.default_rng(3)
    X, labels = rng.standard_normal((60, 2)), rng.integers(0, 2, 60)
    separation = decide_separation(Problem(X, labels, 3, np.zeros(2))).separation
    assert separation.classes == (2,)
    assert separation.n_separated == 60
    assert "Class 2 has no rows" in separation.message()


def test_penalised_columns_are_left_alone():
    X = np.linspace(-1, 1, 40)[:, None]
    labels = (X[:, 0] > 0).astype(np.intp)
    noise = np.random.default_rng(4).standard_normal((40, 1))
    both = np.hstack([X, noise])
    assert decide_separation(Problem(both, labels, 2, np.array([0.1, 0.0]))).separation is None
    assert decide_separation(Problem(both, labels, 2, np.array([0.1, 0.1]))).separation is None
    assert decide_separation(Problem(both, labels, 2, np.array([0.0, 0.1]))).separation.features == (0,)
    assert decide_separation(Problem(both, labels, 2, np.zeros(2), lasso=np.array([0.1, 0.0]))).separation is None


def test_limits_on_the_coefficients_can_forbid_the_direction():
    X = np.linspace(-1, 1, 40)[:, None]
    labels = (X[:, 0] > 0).astype(np.intp)
    wide = np.full((2, 1), np.inf)
    for low, high, kind in (
        (-wide, wide, "complete"),
        (np.zeros((2, 1)), wide, "complete"),
        (-wide, np.zeros((2, 1)), "complete"),
        (np.array([[0.0], [-np.inf]]), np.array([[np.inf], [0.0]]), None),
        (-np.ones((2, 1)), np.ones((2, 1)), None),
    ):
        problem = Problem(X, labels, 2, np.zeros(1), lower=low, upper=high)
        assert agrees(problem, decide_separation(problem)) == kind
    rng = np.random.default_rng(5)
    kinds = []
    for seed in range(30):
        problem = random_problem(2000 + seed)
        shape = (problem.n_classes, problem.X.shape[1])
        low, high = np.where(rng.random(shape) < 0.4, -1.0, -np.inf), np.where(rng.random(shape) < 0.4, 1.0, np.inf)
        limited = Problem(
            problem.X,
            problem.labels,
            problem.n_classes,
            problem.ridge,
            lower=low,
            upper=high,
            probabilities=problem.probabilities,
            intercept=problem.intercept,
        )
        decision = decide_separation(limited)
        kinds.append(agrees(limited, decision))
        if decision.separation is not None:
            D = decision.separation.direction[:, :-1]
            assert not ((D < 0) & (low == -1)).any()
            assert not ((D > 0) & (high == 1)).any()
    assert len(set(kinds)) == 3


def test_an_iterate_that_separates_is_taken_at_once():
    rng = np.random.default_rng(6)
    X = rng.standard_normal((500, 6))
    W = rng.standard_normal((4, 6))
    problem = Problem(X, (X @ W.T).argmax(axis=1), 4, np.zeros(6))
    separation = decide_separation(problem, (30 * W, np.zeros(4))).separation
    assert (separation.kind, separation.how, separation.steps) == ("complete", "iterate", 0)
    check_direction(problem, separation)
    wrong = decide_separation(problem, np.column_stack([-W, np.ones(4)]))
    assert wrong.separation.kind == "complete"
    assert wrong.how != "iterate"


def test_rows_beyond_the_first_part_count(monkeypatch):
    """A part of the rows is separated and the whole is not, and the other way round nothing is missed."""
    monkeypatch.setattr(_recession, "ASSEMBLY", 1.0)
    rng = np.random.default_rng(7)
    X = rng.standard_normal((6000, 3))
    logits = X @ rng.standard_normal((3, 3))
    for labels, kind in (
        (logits.argmax(axis=1), "complete"),
        ((logits + 0.01 * rng.gumbel(size=logits.shape)).argmax(axis=1), None),
        ((logits + rng.gumbel(size=logits.shape)).argmax(axis=1), None),
    ):
        decision = decide_separation(Problem(X, labels, 3, np.zeros(3)))
        assert decision.verdict == ("overlapping" if kind is None else "separated")
        assert (decision.separation.kind if decision.separation else None) == kind
        if decision.separation is not None:
            check_direction(Problem(X, labels, 3, np.zeros(3)), decision.separation)


def _ended(status):
    return lambda *_, **__: scipy.optimize.OptimizeResult(status=status)


OPEN = {  # what to make impossible, and what the message says of it
    "work": (_recession.Cone.__init__, "__defaults__", (None, None, 0.0), "Newton's method, .*work .* was spent"),
    "coefficients": (_recession, "MAX_PARAMETERS", 7, "8 coefficients .* limit is 7"),
    "programme": (_recession, "LP_ENTRIES", 1.0, "linear programme of 8e.02 numbers"),
    "time": (scipy.optimize, "linprog", _ended(status=1), "a linear programme, .*limit of 60 s was reached"),
    "rounding": (scipy.optimize, "linprog", _ended(status=4), "a linear programme, .*rounding made it fail"),
    "rounds": (_recession, "LP_ROUNDS", 0, "a linear programme, .*not done after 0 rounds"),
    "table": (_separation, "LARGEST_COPY", 10, r"no column separates classes by itself; .*3e\+02 entries"),
}


@pytest.mark.parametrize("limit", OPEN)
def test_what_stands_in_the_way_of_a_verdict_is_said(monkeypatch, limit):
    rng = np.random.default_rng(8)
    problem = Problem(rng.standard_normal((100, 3)), rng.integers(0, 3, 100), 3, np.zeros(3))
    assert decide_separation(problem).verdict == "overlapping"
    if limit in ("programme", "time", "rounding", "rounds"):  # what comes after Newton's method
        monkeypatch.setattr(_recession, "_proves_overlap", lambda *_: False)
    target, name, value, words = OPEN[limit]
    monkeypatch.setattr(target, name, value)
    decision = decide_separation(problem)
    assert decision.verdict == "undecided"
    assert decision.separation is None
    assert re.search(words, decision.message())
    assert "Penalise" in decision.message()


def test_a_direction_found_before_the_search_ends_is_a_verdict(monkeypatch):
    """That the classes are separated is known; that no direction separates more rows is not."""
    rng = np.random.default_rng(9)
    X, labels = rng.standard_normal((200, 2)), rng.integers(0, 3, 200)
    X[:, 0] = np.where(labels == 1, np.abs(X[:, 0]), 0.0)
    problem = Problem(X, labels, 3, np.zeros(2))
    assert decide_separation(problem).separation.exact_kind
    monkeypatch.setattr(_separation, "LARGEST_COPY", 10)
    decision = decide_separation(problem)
    assert decision.verdict == "separated"
    assert not decision.separation.exact_kind
    check_direction(problem, decision.separation)


def test_nothing_of_the_callers_is_changed():
    problem = random_problem(9)
    guess = np.ones((problem.n_classes, problem.X.shape[1] + 1))
    before = [np.copy(problem.X), np.copy(problem.ridge), guess.copy()]
    decide_separation(problem, guess)
    for a, b in zip(before, (problem.X, problem.ridge, guess), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_covertype(data_folder):
    """All 54 columns are quasi-separated, whatever the units; its ten numeric columns have a finite optimum."""
    table = np.loadtxt(data_folder / "covtype20k.csv.gz", delimiter=",")
    X, labels = table[:, :-1], np.unique(table[:, -1], return_inverse=True)[1]
    spread = X.std(axis=0)
    standard = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    counts = []
    for columns in (X, standard):
        problem = Problem(columns, labels, 7, np.zeros(54))
        separation = decide_separation(problem).separation
        assert separation.kind == "quasi-complete"
        assert separation.exact_kind
        counts.append(check_direction(problem, separation))
        decision = decide_separation(Problem(columns[:, :10], labels, 7, np.zeros(10)))
        assert decision.verdict == "overlapping"
    assert counts[0] == counts[1]


def test_true_classes_of_a_row_must_stay_level():
    truth = np.array([[True, True, False], [True, False, False]])
    cone = _recession.Cone(np.array([[1.0], [1.0]]), truth, ~truth, Workers(None))
    assert cone.recedes(np.array([[1.0], [1.0], [0.0]]))[0]
    good, _, violation = cone.recedes(np.array([[1.0], [0.5], [0.0]]))
    assert not good
    np.testing.assert_array_equal(violation, [0.5, 0.0])
