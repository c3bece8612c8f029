import numpy as np
import scipy.sparse

from softmax import SoftmaxRegression
from softmax.regression import _duplicates
from softmax.regression._duplicates import with_equal_rows_together
from softmax.regression._problem import Problem


def problem(n=300, d=8, k=5, seed=0, **options):
    """One-hot rows with some equal ones, a value of 2 in some, and an empty row."""
    rng = np.random.default_rng(seed)
    X = np.zeros((n, d))
    X[np.arange(n), rng.integers(0, d, n)] = rng.choice([1.0, 2.0], n)
    X[n // 2] = 0.0
    labels = rng.integers(0, k, n)
    return Problem(scipy.sparse.csr_array(X), labels, k, np.full(d, 1e-3), **options)


def rows_of(p):
    weights = np.ones(p.X.shape[0]) if p.weights is None else p.weights
    return sorted(zip(map(tuple, p.X.toarray()), p.labels, weights, strict=True))


def test_equal_rows_come_together_with_their_labels_and_weights(monkeypatch):
    monkeypatch.setattr(_duplicates, "WORTH_FROM", 0)
    before = problem(weights=np.random.default_rng(1).exponential(size=300))
    after = with_equal_rows_together(before)
    assert after is not before
    assert rows_of(after) == rows_of(before)
    rows = after.X.toarray()
    changes = np.count_nonzero((np.diff(rows, axis=0) != 0).any(axis=1))
    assert changes == len(np.unique(rows, axis=0)) - 1


def test_rows_stay_where_little_is_to_be_gained(monkeypatch):
    rng = np.random.default_rng(2)
    assert with_equal_rows_together(few := problem()) is few
    monkeypatch.setattr(_duplicates, "WORTH_FROM", 0)
    different = Problem(scipy.sparse.csr_array(rng.standard_normal((50, 3))), rng.integers(0, 3, 50), 3, np.ones(3))
    assert with_equal_rows_together(different) is different
    shifted = problem(offset=rng.standard_normal((300, 5)))
    assert with_equal_rows_together(shifted) is shifted
    dense = Problem(problem().X.toarray(), problem().labels, 5, np.ones(8))
    assert with_equal_rows_together(dense) is dense


def test_a_fit_of_equal_rows_is_the_fit_of_the_rows_as_they_came(monkeypatch):
    p = problem(n=4000)
    weights = np.random.default_rng(3).exponential(size=4000)
    fits = []
    for worth_from in (0, 1 << 60):
        monkeypatch.setattr(_duplicates, "WORTH_FROM", worth_from)
        models = [SoftmaxRegression(tol=1e-12, solver=solver) for solver in ("newton", "newton-cg")]
        fits += [model.fit(p.X, p.labels, sample_weight=weights) for model in models]
    for fit in fits[1:]:
        np.testing.assert_allclose(fit.coef_, fits[0].coef_, atol=1e-5)
        assert abs(fit.objective_ - fits[0].objective_) <= 1e-12
