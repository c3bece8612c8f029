"""softmax_path: every point is the optimum that a fit of its own finds."""

import warnings

import numpy as np
import pytest
import scipy.sparse
from sklearn import datasets

import softmax as sm
from softmax.regression import _follow
from softmax.regression._path import grid_of

GRID = np.logspace(-4, 4, 9)


def blobs(n, d, n_classes, spread=0.7, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    y[:n_classes] = np.arange(n_classes)
    return rng.standard_normal((n, d)) + spread * rng.standard_normal((n_classes, d))[y], y


def objective_of(X, y, coef, intercept, C, weights=None, l1_ratio=0.0, grouped=False, factors=1.0, offset=0.0):
    """The function that a point minimises, from its definition."""
    weights = np.ones(len(y)) if weights is None else weights
    log_p = sm.log_softmax(X @ coef.T + intercept + offset)
    targets = np.eye(len(coef))[y] if np.ndim(y) == 1 else y
    loss = -(weights @ (targets * log_p).sum(axis=1)) / weights.sum()
    squares = 0.5 * (coef**2).sum(axis=0)
    lasso = np.sqrt((coef**2).sum(axis=0)) if grouped else np.abs(coef).sum(axis=0)
    penalty = np.sum(factors * ((1 - l1_ratio) * squares + l1_ratio * lasso))
    return loss + penalty / (C * weights.sum())


def assert_points_are_optima(path, X, y, *, tol, fit=None, every=2, **options):
    """Objectives are those of the coefficients, and within the gaps of those of separate, much closer fits."""
    weights = options.get("sample_weight")
    for i, C in list(enumerate(path.Cs))[::every]:
        own = objective_of(X, y, path.coefs[i], path.intercepts[i], C, weights)
        np.testing.assert_allclose(path.objectives[i], own, rtol=1e-12)
        best = sm.SoftmaxRegression(C, tol=tol * 1e-3, **(fit or {})).fit(X, y, weights).objective_
        assert path.objectives[i] - path.gaps[i] <= best * (1 + 1e-12)
        assert path.objectives[i] <= best * (1 + tol)
        assert path.gaps[i] <= tol * path.objectives[i]


@pytest.mark.parametrize("tol", [1e-3, 1e-8])
@pytest.mark.parametrize("shape", [(400, 5, 3), (200, 20, 4), (500, 2, 2)], ids=str)
def test_points_are_the_optima_of_separate_fits(shape, tol):
    X, y = blobs(*shape)
    path = sm.softmax_path(X, y, GRID, tol=tol)
    assert set(path.statuses) == {"certified"}
    assert_points_are_optima(path, X, y, tol=tol)


@pytest.mark.parametrize("limit", [0, 3000])
def test_both_preconditioners_find_the_optima(limit, monkeypatch):
    X, y = blobs(600, 8, 6, spread=0.4)
    monkeypatch.setattr(_follow, "FACTOR_LIMIT", limit)
    path = sm.softmax_path(X, y, np.logspace(-3, 4, 25), tol=1e-8)
    assert set(path.statuses) == {"certified"}
    assert_points_are_optima(path, X, y, tol=1e-8, every=8)


def test_objectives_fall_as_the_penalty_does():
    X, y = blobs(500, 10, 5)
    path = sm.softmax_path(X, y, np.logspace(-6, 6, 25), tol=1e-8)
    assert np.all(np.diff(path.objectives) < 0)


def test_points_come_in_the_order_asked_for():
    X, y = blobs(300, 6, 4)
    Cs = [10.0, 0.1, 1000.0, 0.1, 1.0]
    path, sorted_path = sm.softmax_path(X, y, Cs), sm.softmax_path(X, y, np.unique(Cs))
    assert path.Cs.tolist() == Cs
    np.testing.assert_array_equal(path.coefs, sorted_path.coefs[[2, 0, 3, 0, 1]])
    np.testing.assert_array_equal(path.intercepts, sorted_path.intercepts[[2, 0, 3, 0, 1]])


def test_a_path_takes_fewer_passes_than_its_fits():
    X, y = blobs(2000, 20, 10, spread=0.3)
    path = sm.softmax_path(X, y, np.logspace(-4, 4, 16), tol=1e-5)
    separate = sum(sm.SoftmaxRegression(C, tol=1e-5, solver="newton-cg").fit(X, y).n_passes_ for C in path.Cs[::3])
    assert path.n_passes[::3].sum() < 0.5 * separate


def test_a_path_repeats_bitwise():
    X, y = blobs(700, 15, 5)
    first, second = (sm.softmax_path(X, y, GRID, n_threads=2) for _ in range(2))
    np.testing.assert_array_equal(first.coefs, second.coefs)


def test_weights_classes_and_offsets():
    X, y = blobs(400, 6, 4)
    rng = np.random.default_rng(1)
    weights, offset = rng.exponential(size=400), rng.standard_normal((400, 4))
    path = sm.softmax_path(X, y, GRID, sample_weight=weights)
    assert_points_are_optima(path, X, y, tol=1e-6, sample_weight=weights)
    balanced = sm.softmax_path(X, y, [0.1, 1.0], class_weight="balanced")
    model = sm.SoftmaxRegression(1.0, class_weight="balanced", tol=1e-9).fit(X, y)
    np.testing.assert_allclose(balanced.predict_proba(X, 1), model.predict_proba(X), atol=1e-2)
    shifted = sm.softmax_path(X, y, [1.0], offset=offset)
    own = objective_of(X, y, shifted.coefs[0], shifted.intercepts[0], 1.0, offset=offset)
    np.testing.assert_allclose(shifted.objectives[0], own, rtol=1e-12)


def test_probabilities_for_targets():
    X, y = blobs(300, 5, 3)
    soft = 0.8 * np.eye(3)[y] + 0.2 / 3
    path = sm.softmax_path(X, soft, GRID)
    assert set(path.statuses) == {"certified"}
    for i, C in enumerate(path.Cs):
        own = objective_of(X, soft, path.coefs[i], path.intercepts[i], C)
        np.testing.assert_allclose(path.objectives[i], own, rtol=1e-12)


def test_without_intercept():
    X, y = blobs(300, 5, 3)
    path = sm.softmax_path(X, y, GRID, fit_intercept=False)
    assert not path.intercepts.any()
    assert_points_are_optima(path, X, y, tol=1e-6, fit={"fit_intercept": False})


@pytest.mark.parametrize("kind", [scipy.sparse.csr_array, scipy.sparse.csc_matrix])
def test_sparse_data(kind):
    X, y = blobs(400, 30, 4)
    X[np.abs(X) < 1] = 0
    dense, sparse = sm.softmax_path(X, y, GRID, tol=1e-8), sm.softmax_path(kind(X), y, GRID, tol=1e-8)
    np.testing.assert_allclose(sparse.objectives, dense.objectives, rtol=1e-8)
    np.testing.assert_allclose(sparse.predict_proba(kind(X), 4), dense.predict_proba(X, 4), atol=1e-4)


def test_separable_data_and_raw_units():
    X, y = datasets.load_iris(return_X_y=True)
    X = X * [1e-3, 1, 1e4, 1] + [0, 1e3, 0, -5]
    path = sm.softmax_path(X[:100], y[:100], np.logspace(-6, 8, 29))
    assert set(path.statuses) == {"certified"}


def test_rare_classes():
    X, y = blobs(3000, 4, 2)
    y[:3], y[3] = 2, 3
    path = sm.softmax_path(X, y, GRID)
    assert set(path.statuses) == {"certified"}


def test_models_of_points():
    X, y = datasets.load_iris(return_X_y=True, as_frame=True)
    labels = np.array(["setosa", "versicolor", "virginica"])[y]
    path = sm.softmax_path(X, labels, [1.0, 10.0])
    model = path.model(1)
    assert len(path) == 2
    assert model.C == 10.0
    assert model.status_ == "certified"
    assert model.penalty_ == pytest.approx(1 / (10 * 150))
    assert list(model.feature_names_in_) == list(X.columns)
    assert model.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    np.testing.assert_array_equal(model.coef_, path.coefs[1])
    np.testing.assert_array_equal(path.predict_log_proba(X, 1), model.predict_log_proba(X))
    np.testing.assert_array_equal(path.predict_proba(X, 0), path.model(0).predict_proba(X))
    assert model.score(X, labels) > 0.95


def test_an_integer_is_a_grid():
    np.testing.assert_array_equal(grid_of(10), np.logspace(-4, 4, 10))
    assert grid_of(np.int64(1)).tolist() == [1.0]
    X, y = blobs(100, 3, 3)
    assert len(sm.softmax_path(X, y, 4)) == 4


def test_points_without_a_certificate_give_one_warning():
    X, y = blobs(300, 6, 3)
    with pytest.warns(sm.NotCertifiedWarning, match=r"2 of 3 points .* at C=") as caught:
        path = sm.softmax_path(X, y, [1e-9, 1.0, 1e3], max_iter=1, tol=1e-10)
    assert len(caught) == 1
    assert path.statuses == ["certified", "not converged", "not converged"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert path.model(1).status_ == "not converged"


def test_a_path_falls_back_on_the_general_solver(monkeypatch):
    X, y = blobs(300, 6, 3)
    monkeypatch.setattr(_follow, "MAX_EVALUATIONS", 2)
    path = sm.softmax_path(X, y, GRID, tol=1e-8)
    assert_points_are_optima(path, X, y, tol=1e-8)


def test_verbose_prints_a_line_per_point(capsys):
    X, y = blobs(100, 3, 3)
    sm.softmax_path(X, y, [1.0, 0.1], verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["0.1", "1"]


@pytest.mark.parametrize(
    ("Cs", "message"),
    [
        ([], "Cs is empty"),
        (0, "Cs must be a positive number"),
        (-3, "Cs must be a positive number"),
        ([1.0, 0.0], r"got 0.0 at position 1"),
        ([-1.0], r"got -1.0 at position 0"),
        ([1.0, np.nan], r"got nan at position 1"),
        ("many", "Cs must be an integer or"),
        ([[1.0, 2.0]], "Cs must be an integer or"),
        (1.5, "Cs must be an integer or"),
        (None, "Cs must be an integer or"),
    ],
)
def test_grids_that_are_refused(Cs, message):
    X, y = blobs(30, 3, 3)
    with pytest.raises(sm.OptionError, match=message):
        sm.softmax_path(X, y, Cs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tol": 0.0}, "tol must be"),
        ({"l1_ratio": 2.0}, "l1_ratio must be"),
        ({"max_iter": 0}, "max_iter must be"),
        ({"penalty_weights": [1.0]}, "penalty_weights"),
    ],
)
def test_options_that_are_refused(options, message):
    X, y = blobs(30, 3, 3)
    with pytest.raises(ValueError, match=message):
        sm.softmax_path(X, y, [1.0], **options)


def test_data_that_are_refused():
    X, y = blobs(30, 3, 3)
    X[4, 1] = np.nan
    with pytest.raises(ValueError, match="row 4, column 1"):
        sm.softmax_path(X, y, [1.0])
    with pytest.raises(sm.TargetError, match="at least 2 classes"):
        sm.softmax_path(np.ones((5, 2)), np.zeros(5, int), [1.0])


def test_predictions_extrapolate_a_polynomial():
    track = _follow.Track()
    assert track.predict(0.0) is None
    for t in (0.0, 1.0, 2.0, 3.0):
        track.add(t, np.array([t**2, 1.0 - t]))
    np.testing.assert_allclose(track.predict(4.0), [16.0, -3.0])


@pytest.mark.parametrize(("l1_ratio", "grouped"), [(1.0, False), (1.0, True), (0.5, False)])
def test_lasso_penalties(l1_ratio, grouped):
    X, y = blobs(200, 12, 3)
    Cs = [0.05, 0.01, 1.0, 0.2]
    path = sm.softmax_path(X, y, Cs, l1_ratio=l1_ratio, grouped=grouped, tol=1e-7)
    assert set(path.statuses) == {"certified"}
    for i, C in enumerate(Cs):
        own = objective_of(X, y, path.coefs[i], path.intercepts[i], C, l1_ratio=l1_ratio, grouped=grouped)
        np.testing.assert_allclose(path.objectives[i], own, rtol=1e-10)
        best = sm.SoftmaxRegression(C, l1_ratio=l1_ratio, grouped=grouped, tol=1e-9).fit(X, y)
        assert best.objective_ - best.gap_ <= path.objectives[i] <= best.objective_ * (1 + 1e-7)
    zeros = (path.coefs == 0).sum(axis=(1, 2))
    assert zeros[1] > zeros[0] >= zeros[3] >= zeros[2]


def test_penalty_weights():
    X, y = blobs(300, 5, 3)
    factors = np.array([0.1, 1.0, 10.0, 1.0, 3.0])
    path = sm.softmax_path(X, y, GRID, penalty_weights=factors, tol=1e-8)
    assert set(path.statuses) == {"certified"}
    for i, C in enumerate(GRID):
        own = objective_of(X, y, path.coefs[i], path.intercepts[i], C, factors=factors)
        np.testing.assert_allclose(path.objectives[i], own, rtol=1e-12)
        best = sm.SoftmaxRegression(C, penalty_weights=factors, tol=1e-10).fit(X, y)
        assert best.objective_ - best.gap_ <= path.objectives[i] <= best.objective_ * (1 + 1e-8)
    free = sm.softmax_path(X, y, [0.1, 1.0], penalty_weights=[0, 1, 1, 1, 1])
    assert free.statuses == ["estimated", "estimated"]


def test_no_penalty_at_the_end_of_a_path():
    X, y = blobs(400, 3, 3, spread=0.3)
    path = sm.softmax_path(X, y, [1.0, np.inf])
    assert path.statuses == ["certified", "estimated"]
    assert path.objectives[1] < path.objectives[0]
    assert path.model(1).penalty_ == 0.0


def test_an_interrupt_leaves_the_points_that_are_done(monkeypatch):
    X, y = blobs(100, 3, 3)
    original, calls = _follow.Follower.fit, []

    def fit(self, C, **options):
        calls.append(C)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return original(self, C, **options)

    monkeypatch.setattr(_follow.Follower, "fit", fit)
    with pytest.warns(sm.NotCertifiedWarning, match=r"interrupted after 2 of 4 points: the path ends at C=0\.1"):
        path = sm.softmax_path(X, y, [1.0, 0.1, 0.01, 10.0])
    assert path.Cs.tolist() == [0.1, 0.01]
    assert path.statuses == ["certified"] * 2
    with pytest.raises(KeyboardInterrupt):
        sm.softmax_path(X, y, [1.0])
