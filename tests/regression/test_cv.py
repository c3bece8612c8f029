"""SoftmaxRegressionCV against a plain loop over folds and values of C."""

import warnings

import numpy as np
import pytest
import scipy.sparse
from sklearn import datasets
from sklearn.base import clone
from sklearn.metrics import make_scorer, top_k_accuracy_score
from sklearn.model_selection import GroupKFold, LeaveOneOut, ShuffleSplit, StratifiedKFold, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import softmax as sm
from softmax.regression._search import choose

GRID = [0.01, 0.1, 1.0, 10.0, 100.0]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [
        sm.SoftmaxRegressionCV(3, cv=3),
        sm.SoftmaxRegressionCV([0.1, 1.0], cv="alo", n_threads=1),
    ]
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def blobs(n, d, n_classes, spread=0.7, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    y[: 3 * n_classes] = np.arange(3 * n_classes) % n_classes
    return rng.standard_normal((n, d)) + spread * rng.standard_normal((n_classes, d))[y], y


def plain_scores(X, y, Cs, splits, score, **options):
    """Fit after fit, each far closer to its optimum than those that are compared."""
    return np.array(
        [
            [score(sm.SoftmaxRegression(C, tol=1e-11, **options).fit(X[train], y[train]), X[test], y[test]) for C in Cs]
            for train, test in splits
        ]
    )


def log_score(model, X, y):
    return model.predict_log_proba(X)[np.arange(len(y)), np.searchsorted(model.classes_, y)].mean()


def brier_score(model, X, y):
    return -((model.predict_proba(X) - (y[:, None] == model.classes_)) ** 2).sum(axis=1).mean()


@pytest.mark.parametrize(
    ("scoring", "score"),
    [("neg_log_loss", log_score), ("brier", brier_score), ("accuracy", lambda m, X, y: m.score(X, y))],
)
@pytest.mark.parametrize("n_threads", [1, 2])
def test_scores_are_those_of_a_plain_loop(scoring, score, n_threads):
    X, y = blobs(300, 8, 4)
    splits = list(StratifiedKFold(4).split(X, y))
    model = sm.SoftmaxRegressionCV(GRID, cv=4, scoring=scoring, tol=1e-9, n_threads=n_threads).fit(X, y)
    expected = plain_scores(X, y, GRID, splits, score)
    np.testing.assert_allclose(model.scores_, expected, atol=1e-3 if scoring == "accuracy" else 1e-4)
    np.testing.assert_allclose(model.mean_scores_, model.scores_.mean(axis=0))
    np.testing.assert_allclose(model.std_errors_, model.scores_.std(axis=0, ddof=1) / 2)
    assert model.best_index_ == int(np.argmax(model.mean_scores_))
    assert GRID[model.best_index_] == model.C_


def test_scores_equal_cross_val_score_within_the_gaps():
    X, y = datasets.load_wine(return_X_y=True)
    tol = 1e-8
    model = sm.SoftmaxRegressionCV(GRID, cv=5, tol=tol).fit(X, y)
    for i, C in enumerate(GRID):
        theirs = cross_val_score(sm.SoftmaxRegression(C, tol=tol), X, y, cv=5, scoring="neg_log_loss")
        # A gap of ε in the objective moves the coefficients by √(2ε/λ) at most, and a logit by |x| times that.
        np.testing.assert_allclose(model.scores_[:, i], theirs, atol=2e-3)


@pytest.mark.parametrize("kind", ["many parameters", "few"])
def test_fits_of_folds_are_within_their_gaps(kind, monkeypatch):
    """The objective of every fold's fit, from its coefficients."""
    from softmax.regression import _follow, _search

    monkeypatch.setattr(_follow, "FACTOR_LIMIT", 0 if kind == "many parameters" else 3000)
    X, y = blobs(400, 10, 6, spread=0.4)
    seen = []
    original = _search.fit_points

    def recorded(problem, Cs, **options):
        solutions = original(problem, Cs, **options)
        seen.append((problem, Cs, solutions))
        return solutions

    monkeypatch.setattr(_search, "fit_points", recorded)
    sm.SoftmaxRegressionCV(np.logspace(-3, 3, 13), cv=3, tol=1e-7, n_threads=1).fit(X, y)
    assert len(seen) == 4
    for problem, Cs, solutions in seen:
        for C, solution in zip(Cs[::3], solutions[::3], strict=True):
            best = sm.SoftmaxRegression(C, tol=1e-11).fit(problem.X, problem.labels)
            assert best.objective_ - best.gap_ <= solution.objective <= best.objective_ * (1 + 1e-7)
            assert solution.objective - solution.gap <= best.objective_
            assert solution.gap <= 1e-7 * solution.objective


def test_the_model_is_the_fit_to_all_rows():
    X, y = blobs(300, 8, 4)
    labels = np.array(["a", "b", "ü", "d"])[y]
    search = sm.SoftmaxRegressionCV(GRID, cv=3).fit(X, labels)
    model = sm.SoftmaxRegression(search.C_, tol=1e-10).fit(X, labels)
    assert search.classes_.tolist() == ["a", "b", "d", "ü"]
    assert search.status_ == "certified"
    assert search.gap_ <= 1e-6 * search.objective_
    assert model.objective_ <= search.objective_ <= model.objective_ * (1 + 1e-6)
    assert search.penalty_ == pytest.approx(model.penalty_)
    np.testing.assert_allclose(search.predict_proba(X), model.predict_proba(X), atol=2e-3)
    assert search.predict(X).dtype == labels.dtype
    assert search.total_passes_ > search.n_passes_ > 0
    assert search.coef_.shape == (4, 8)


def test_without_a_refit_there_are_scores_alone():
    X, y = blobs(100, 3, 3)
    search = sm.SoftmaxRegressionCV(GRID, cv=3, refit=False).fit(X, y)
    assert search.C_ in GRID
    assert not hasattr(search, "coef_")
    with pytest.raises(ValueError, match="not fitted"):
        search.predict(X)


def test_a_search_repeats_bitwise_and_folds_do_not_depend_on_threads():
    X, y = blobs(300, 8, 4)
    one, two, again = (sm.SoftmaxRegressionCV(GRID, n_threads=k).fit(X, y) for k in (1, 2, 2))
    np.testing.assert_array_equal(two.scores_, again.scores_)
    np.testing.assert_array_equal(two.coef_, again.coef_)
    np.testing.assert_allclose(one.scores_, two.scores_, atol=1e-3)


def test_the_order_of_the_grid_and_repeats_do_not_matter():
    X, y = blobs(200, 5, 3)
    search = sm.SoftmaxRegressionCV([10.0, 0.1, 1.0, 0.1], cv=3).fit(X, y)
    ordered = sm.SoftmaxRegressionCV([0.1, 1.0, 10.0], cv=3).fit(X, y)
    np.testing.assert_array_equal(search.scores_, ordered.scores_[:, [2, 0, 1, 0]])
    assert search.Cs_.tolist() == [10.0, 0.1, 1.0, 0.1]
    assert search.C_ == ordered.C_ == search.Cs_[search.best_index_]


def test_the_rule_of_one_standard_error():
    means = np.array([[-1.0], [-0.6], [-0.5], [-0.45], [-0.5]])
    errors = np.full((5, 1), 0.1)
    assert choose(means, errors, one_standard_error=False) == (3, 0)
    assert choose(means, errors, one_standard_error=True) == (2, 0)
    assert choose(means, errors / 2.1, one_standard_error=True) == (3, 0)
    assert choose(means, errors * 100, one_standard_error=True) == (0, 0)
    assert choose(means, errors * np.nan, one_standard_error=True) == (3, 0)


def test_ties_are_won_by_the_stronger_penalty():
    means = np.array([[0.5, 0.6], [0.7, np.nan], [0.7, 0.7]])
    assert choose(means, means * 0, one_standard_error=False) == (1, 0)


def test_the_rule_is_used():
    X, y = blobs(200, 10, 3, spread=0.5)
    best = sm.SoftmaxRegressionCV(np.logspace(-3, 3, 13)).fit(X, y)
    simple = sm.SoftmaxRegressionCV(np.logspace(-3, 3, 13), one_standard_error=True).fit(X, y)
    i = best.best_index_
    allowed = best.mean_scores_ >= best.mean_scores_[i] - best.std_errors_[i]
    assert simple.best_index_ == int(np.argmax(allowed))
    assert simple.C_ < best.C_


def with_a_single_row(n=60, seed=0):
    X, y = blobs(n, 3, 3, seed=seed)
    y[7] = 3
    return X, y


def test_a_class_with_one_row_is_scored_where_it_is_missing():
    X, y = with_a_single_row()
    search = sm.SoftmaxRegressionCV(GRID, cv=3, tol=1e-10).fit(X, y)
    assert np.isfinite(search.scores_).all()
    fold = next(i for i, (_, b) in enumerate(splits_quietly(X, y)) if 7 in b)
    train, test = splits_quietly(X, y)[fold]
    for i, C in enumerate(GRID):
        model = sm.SoftmaxRegression(C, tol=1e-11).fit(X[train], y[train])  # knows three classes
        z_train, z_test = (X[rows] @ model.coef_.T + model.intercept_ for rows in (train, test))
        # The intercept of the fourth: its mean probability on the rows of the fit is that of one more row.
        levels = np.linspace(-30, 10, 400_001)
        share = np.zeros(len(levels))
        for row in z_train:
            share += 1 / (1 + np.exp(sm.logsumexp(row) - levels))
        level = levels[np.argmin(np.abs(share / len(train) - 1 / (len(train) + 1)))]
        log_p = sm.log_softmax(np.column_stack([z_test, np.full(len(test), level)]))
        expected = log_p[np.arange(len(test)), y[test]].mean()
        assert search.scores_[fold, i] == pytest.approx(expected, abs=2e-4)
    assert search.classes_.tolist() == [0, 1, 2, 3]


def splits_quietly(X, y, folds=3):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(StratifiedKFold(folds).split(X, y))


def test_a_fold_of_one_class_is_scored():
    X, y = blobs(40, 3, 2)
    first = np.flatnonzero(y == 0)
    splits = [(first, np.arange(40)), (np.arange(30), np.arange(30, 40))]
    search = sm.SoftmaxRegressionCV([1.0, 10.0], cv=splits).fit(X, y)
    n = len(first)
    expected = np.where(y == 0, np.log(n / (n + 1)), -np.log(n + 1)).mean()
    np.testing.assert_allclose(search.scores_[0], expected, atol=1e-8)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("scoring", ["accuracy", "balanced_accuracy", "brier"])
def test_missing_classes_with_other_scores(scoring):
    X, y = with_a_single_row()
    search = sm.SoftmaxRegressionCV(GRID, cv=3, scoring=scoring).fit(X, np.array(["p", "q", "r", "s"])[y])
    assert np.isfinite(search.scores_).all()


def test_scorers_of_scikit_learn_and_callables():
    X, y = blobs(200, 5, 3)
    named = sm.SoftmaxRegressionCV(GRID, cv=3, scoring="f1_macro").fit(X, y)
    made = sm.SoftmaxRegressionCV(
        GRID, cv=3, scoring=make_scorer(top_k_accuracy_score, response_method="predict_proba", k=2)
    ).fit(X, y)
    own = sm.SoftmaxRegressionCV(GRID, cv=3, scoring=lambda model, X, y: model.score(X, y)).fit(X, y)
    for i, C in enumerate(GRID):
        theirs = cross_val_score(sm.SoftmaxRegression(C), X, y, cv=3, scoring="f1_macro")
        np.testing.assert_allclose(named.scores_[:, i], theirs, atol=1e-2)
    assert np.all(made.scores_ >= own.scores_)
    accuracy = sm.SoftmaxRegressionCV(GRID, cv=3, scoring="accuracy").fit(X, y)
    np.testing.assert_allclose(own.scores_, accuracy.scores_)


def test_weights_count_in_fits_and_scores():
    X, y = blobs(150, 4, 3)
    weights = np.random.default_rng(0).integers(0, 4, 150).astype(float)
    splits = splits_quietly(X, y)
    repeated = np.repeat(np.arange(150), weights.astype(int))
    places = [np.flatnonzero(np.isin(repeated, part)) for pair in splits for part in pair]
    again = list(zip(places[::2], places[1::2], strict=True))
    for scoring in ("neg_log_loss", "accuracy", "f1_macro"):
        options = {"scoring": scoring, "tol": 1e-10}
        one = sm.SoftmaxRegressionCV(GRID, cv=splits, **options).fit(X, y, weights)
        other = sm.SoftmaxRegressionCV(GRID, cv=again, **options).fit(X[repeated], y[repeated])
        np.testing.assert_allclose(one.scores_, other.scores_, atol=1e-4)
        np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), atol=1e-4)


def test_a_fold_without_weight_is_left_out_of_the_means():
    X, y = blobs(90, 4, 3)
    splits = splits_quietly(X, y)
    weights = np.ones(90)
    weights[splits[0][1]] = 0
    search = sm.SoftmaxRegressionCV(GRID, cv=splits).fit(X, y, weights)
    assert np.isnan(search.scores_[0]).all()
    np.testing.assert_allclose(search.mean_scores_, search.scores_[1:].mean(axis=0))


@pytest.mark.parametrize("weight", ["balanced", {0: 3.0, 1: 0.5, 2: 1.0}])
def test_class_weights_follow_the_rows_of_each_fit(weight):
    X, y = blobs(150, 4, 3)
    y[:60] = 0
    search = sm.SoftmaxRegressionCV(GRID, cv=3, class_weight=weight, tol=1e-9).fit(X, y)
    expected = plain_scores(X, y, GRID, splits_quietly(X, y), log_score, class_weight=weight)
    np.testing.assert_allclose(search.scores_, expected, atol=1e-4)


def test_class_weights_of_a_missing_class():
    X, y = with_a_single_row()
    for weight in ("balanced", {0: 1.0, 3: 2.0}):
        assert np.isfinite(sm.SoftmaxRegressionCV([1.0], cv=3, class_weight=weight).fit(X, y).scores_).all()


def test_sparse_data():
    X, y = blobs(200, 20, 3)
    X[np.abs(X) < 1] = 0
    dense, sparse = (
        sm.SoftmaxRegressionCV(GRID, cv=3, tol=1e-9).fit(data, y) for data in (X, scipy.sparse.csr_array(X))
    )
    np.testing.assert_allclose(sparse.scores_, dense.scores_, atol=1e-4)


def test_probabilities_for_targets():
    X, y = blobs(120, 4, 3)
    hard = np.eye(3)[y]
    search = sm.SoftmaxRegressionCV(GRID, cv=4, tol=1e-9).fit(X, hard)
    from sklearn.model_selection import KFold

    expected = plain_scores(X, y, GRID, list(KFold(4).split(X)), log_score)
    np.testing.assert_allclose(search.scores_, expected, atol=1e-4)
    soft = 0.9 * hard + 0.1 / 3
    assert np.isfinite(sm.SoftmaxRegressionCV(GRID, scoring="brier").fit(X, soft).scores_).all()
    with pytest.raises(sm.TargetError, match="accuracy needs labels"):
        sm.SoftmaxRegressionCV(GRID, scoring="accuracy").fit(X, soft)
    with pytest.raises(sm.OptionError, match="probabilities as targets"):
        sm.SoftmaxRegressionCV(GRID, scoring="f1_macro").fit(X, soft)


def test_offsets_count_in_fits_and_scores():
    X, y = blobs(120, 4, 3)
    # A column that is offset as it stands is one whose coefficients are known.
    offset = np.outer(X[:, 0], [1.0, -2.0, 0.5])
    search = sm.SoftmaxRegressionCV([1e4], cv=3, tol=1e-10).fit(X[:, 1:], y, offset=offset)
    for fold, (train, test) in enumerate(splits_quietly(X, y)):
        model = sm.SoftmaxRegression(1e4, tol=1e-10).fit(X[train, 1:], y[train], offset=offset[train])
        log_p = sm.log_softmax(X[test, 1:] @ model.coef_.T + model.intercept_ + offset[test])
        assert search.scores_[fold, 0] == pytest.approx(log_p[np.arange(len(test)), y[test]].mean(), abs=1e-4)
    with pytest.raises(sm.OptionError, match="an offset can be scored by"):
        sm.SoftmaxRegressionCV(scoring="f1_macro").fit(X, y, offset=offset)


@pytest.mark.parametrize("grouped", [False, True])
def test_shares_of_l1_are_searched_together(grouped):
    X, y = blobs(150, 10, 3)
    ratios, Cs = [0.0, 0.5, 1.0], [0.03, 0.3]
    search = sm.SoftmaxRegressionCV(Cs, cv=3, l1_ratio=ratios, grouped=grouped, tol=1e-7).fit(X, y)
    assert search.scores_.shape == (3, 2, 3)
    for j, ratio in enumerate(ratios):
        expected = [
            [
                log_score(
                    sm.SoftmaxRegression(C, l1_ratio=ratio, grouped=grouped, tol=1e-9).fit(X[train], y[train]),
                    X[test],
                    y[test],
                )
                for C in Cs
            ]
            for train, test in splits_quietly(X, y)
        ]
        np.testing.assert_allclose(search.scores_[..., j], expected, atol=1e-4)
    i, j = search.best_index_
    assert search.mean_scores_[i, j] == search.mean_scores_.max()
    assert (search.C_, search.l1_ratio_) == (Cs[i], ratios[j])
    model = sm.SoftmaxRegression(search.C_, l1_ratio=search.l1_ratio_, grouped=grouped, tol=1e-9).fit(X, y)
    np.testing.assert_allclose(search.objective_, model.objective_, rtol=1e-6)
    assert search.status_ == "certified"


def test_bounds():
    X, y = blobs(120, 4, 3)
    search = sm.SoftmaxRegressionCV([0.1, 1.0], cv=3, bounds=(0.0, None), tol=1e-7).fit(X, y)
    assert search.coef_.min() >= 0
    expected = plain_scores_at(X, y, [0.1, 1.0], bounds=(0.0, None))
    np.testing.assert_allclose(search.scores_, expected, atol=1e-4)


def plain_scores_at(X, y, Cs, **options):
    return [
        [log_score(sm.SoftmaxRegression(C, tol=1e-8, **options).fit(X[a], y[a]), X[b], y[b]) for C in Cs]
        for a, b in splits_quietly(X, y)
    ]


def test_groups_splitters_and_pairs():
    X, y = blobs(120, 4, 3)
    groups = np.arange(120) // 20
    search = sm.SoftmaxRegressionCV(GRID, cv=GroupKFold(3), tol=1e-9).fit(X, y, groups=groups)
    expected = plain_scores(X, y, GRID, list(GroupKFold(3).split(X, y, groups)), log_score)
    np.testing.assert_allclose(search.scores_, expected, atol=1e-4)
    for cv in (ShuffleSplit(3, random_state=0), [(np.arange(120) < 80, np.arange(120) >= 80)]):
        assert sm.SoftmaxRegressionCV(GRID, cv=cv).fit(X, y).scores_.shape[1] == 5


def test_random_state_shuffles_folds():
    X, y = blobs(120, 4, 3)
    plain, first, second = (
        sm.SoftmaxRegressionCV(GRID, cv=3, random_state=state).fit(X, y).scores_ for state in (None, 0, 0)
    )
    np.testing.assert_array_equal(first, second)
    assert np.any(plain != first)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X, y))
    np.testing.assert_array_equal(first, sm.SoftmaxRegressionCV(GRID, cv=expected).fit(X, y).scores_)


def test_data_frames_and_clones():
    X, y = datasets.load_iris(return_X_y=True, as_frame=True)
    search = clone(sm.SoftmaxRegressionCV(3, cv=3)).fit(X, y)
    assert list(search.feature_names_in_) == list(X.columns)
    assert search.score(X, y) > 0.9
    search.fit(X.to_numpy(), y)
    assert not hasattr(search, "feature_names_in_")


def test_uncertified_fits_of_folds_give_one_warning():
    X, y = blobs(100, 5, 3)
    with pytest.warns(sm.NotCertifiedWarning) as caught:
        sm.SoftmaxRegressionCV([10.0, 100.0], cv=3, max_iter=1, tol=1e-12, n_threads=1).fit(X, y)
    assert ["fits to folds" in str(w.message) for w in caught] == [True, False]


def test_nothing_of_the_callers_is_changed():
    X, y = blobs(100, 4, 3)
    weights = np.ones(100)
    arrays = (X, y, weights)
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.setflags(write=False)
    sm.SoftmaxRegressionCV(GRID, cv=3).fit(X, y, weights)
    sm.SoftmaxRegressionCV(GRID, cv="alo").fit(X, y, weights)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_verbose_prints_a_line_per_fold(capsys):
    X, y = blobs(100, 3, 3)
    sm.SoftmaxRegressionCV(2, cv=3, verbose=1, n_threads=1).fit(X, y)
    assert [line.split()[:4] for line in capsys.readouterr().out.splitlines()] == [
        ["fold", str(i), "of", "3:"] for i in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"Cs": []}, "Cs is empty"),
        ({"Cs": [1.0, -1.0]}, "got -1.0 at position 1"),
        ({"Cs": [np.nan]}, "got nan at position 0"),
        ({"cv": 1}, "cv must be at least 2 folds, got 1"),
        ({"cv": 0}, "cv must be at least 2 folds, got 0"),
        ({"cv": 31}, "X has 30"),
        ({"cv": 20}, r"need a class with 20 rows, and the largest has \d+: pass cv=\d+"),
        ({"cv": "loo"}, "cv must be a number of folds"),
        ({"cv": 2.5}, "cv must be a number of folds"),
        ({"cv": True}, "cv must be a number of folds"),
        ({"cv": []}, "cv gives no folds"),
        ({"cv": [(np.arange(30), np.arange(0))]}, "fold 0 of cv has 30 rows to train on and 0 to score"),
        ({"cv": [(np.arange(10), np.array([40]))]}, "names row 40, and X has 30 rows"),
        ({"cv": [(np.arange(10), np.array([0.5]))]}, "arrays of row numbers"),
        ({"scoring": "likelihood"}, "scoring must be one of neg_log_loss, accuracy, brier"),
        ({"scoring": 3}, "scoring must be a name or a callable"),
        ({"scoring": lambda model, X, y: np.nan}, "every score is nan"),
        ({"l1_ratio": [0.0, 1.5]}, "l1_ratio must be a number from 0 to 1"),
        ({"l1_ratio": "half"}, "l1_ratio must be a number from 0 to 1"),
        ({"tol": -1}, "tol must be"),
        ({"cv": "alo", "scoring": "f1_macro"}, "cv='alo' can be scored by neg_log_loss, accuracy, brier"),
        ({"cv": "alo", "penalty_weights": [0, 1, 1]}, "cv='alo' needs an L2 penalty on every feature"),
        ({"cv": "alo", "l1_ratio": 0.5}, "cv='alo' needs an L2 penalty on every feature"),
    ],
)
def test_options_that_are_refused(options, message):
    X, y = blobs(30, 3, 3)
    with pytest.raises(sm.OptionError, match=message):
        sm.SoftmaxRegressionCV(**options).fit(X, y)


def test_data_that_are_refused():
    X, y = blobs(30, 3, 3)
    with pytest.raises(sm.TargetError, match="at least 2 classes"):
        sm.SoftmaxRegressionCV().fit(X, np.zeros(30))
    with pytest.raises(sm.TargetError, match="class 2 has total weight 0"):
        sm.SoftmaxRegressionCV().fit(X, y, (y != 2).astype(float))
    with pytest.raises(ValueError, match="shape"):
        sm.SoftmaxRegressionCV().fit(X, y, np.ones(7))
    X[3, 2] = np.inf
    with pytest.raises(ValueError, match="row 3, column 2"):
        sm.SoftmaxRegressionCV().fit(X, y)


def test_leave_one_out_by_a_splitter():
    X, y = blobs(30, 3, 3)
    search = sm.SoftmaxRegressionCV([1.0], cv=LeaveOneOut()).fit(X, y)
    assert search.scores_.shape == (30, 1)
