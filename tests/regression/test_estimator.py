"""SoftmaxRegression as scikit-learn and users meet it."""

import gc
import os
import pickle
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn import datasets
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import softmax as sm
from softmax.regression import _solvers

LOADERS = {
    "digits": datasets.load_digits,
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast-cancer": datasets.load_breast_cancer,
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [
        sm.SoftmaxRegression(),
        sm.SoftmaxRegression(solver="newton-cg"),
        sm.SoftmaxRegression(class_weight="balanced", warm_start=True, n_threads=2),
    ]
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def theirs(X, y, C=1.0, sample_weight=None, tol=1e-14, **options):
    """scikit-learn's optimum of the same objective, as tight as it gets."""
    if len(np.unique(y)) == 2:
        C = 2 * C
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it cannot reach tol, which is below its rounding
        return LogisticRegression(C=C, solver="newton-cholesky", tol=tol, max_iter=60, **options).fit(
            X, y, sample_weight
        )


def assert_same_model(model, reference, X):
    np.testing.assert_allclose(model.predict_proba(X), reference.predict_proba(X), atol=1e-6)
    np.testing.assert_array_equal(model.predict(X), reference.predict(X))
    assert model.decision_function(X).shape == reference.decision_function(X).shape
    np.testing.assert_allclose(model.decision_function(X), reference.decision_function(X), atol=1e-4)


@pytest.mark.parametrize("solver", ["newton", "newton-cg"])
@pytest.mark.parametrize("name", LOADERS)
def test_agrees_with_logistic_regression(name, solver):
    X, y = LOADERS[name](return_X_y=True)
    if name == "digits":
        X, y = X[:300], y[:300]
    model = sm.SoftmaxRegression(solver=solver, tol=1e-11).fit(X, y)
    assert model.status_ == "certified"
    assert_same_model(model, theirs(X, y, tol=1e-8), X)


@pytest.mark.parametrize("name", ["wine", "breast-cancer"])
@pytest.mark.parametrize("C", [1e-3, 1e3])
@pytest.mark.parametrize(
    ("options", "weighted"),
    [
        ({"fit_intercept": False}, False),
        ({}, True),
        ({"class_weight": "balanced"}, False),
        ({"class_weight": {0: 3.0, 1: 0.5}}, True),
    ],
    ids=["no-intercept", "sample-weight", "balanced", "both-weights"],
)
def test_agrees_with_logistic_regression_in_every_option(name, C, options, weighted):
    X, y = LOADERS[name](return_X_y=True)
    X = StandardScaler().fit_transform(X)
    weights = np.random.default_rng(0).exponential(size=len(X)) ** 2 if weighted else None
    model = sm.SoftmaxRegression(C, tol=1e-12, **options).fit(X, y, weights)
    assert_same_model(model, theirs(X, y, C, weights, **options), X)


def shared_data(name):
    """X, y of a set of the folder SOFTMAX_DATA, which no checkout holds."""
    folder = os.environ.get("SOFTMAX_DATA")
    if not folder:
        pytest.skip("SOFTMAX_DATA is not set: it names the folder of the larger data sets")
    file = next(Path(folder).glob(f"{name}.*"), None)
    if file is None:
        pytest.skip(f"SOFTMAX_DATA has no {name}")
    delimiter, header = ("\t", 1) if ".tsv" in file.name else (",", 0)
    table = np.loadtxt(file, delimiter=delimiter, skiprows=header)
    return table[:, :-1], table[:, -1].astype(int)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rows"), [("letter", 6000), ("shuttle", 20000), ("covtype20k", 6000)])
def test_agrees_with_logistic_regression_on_raw_units(name, rows):
    X, y = shared_data(name)
    X, y = X[:rows], y[:rows]
    # Probabilities differ by about the root of the gap.
    model = sm.SoftmaxRegression(tol=1e-12).fit(X, y)
    assert_same_model(model, theirs(X, y, tol=1e-9), X)


@pytest.mark.slow
@pytest.mark.parametrize("C", [1.0, 1e4])
@pytest.mark.parametrize("name", ["letter", "shuttle", "covtype20k"])
def test_raw_units_are_certified_without_a_warning(name, C):
    X, y = shared_data(name)
    model = sm.SoftmaxRegression(C).fit(X, y)
    assert model.gap_ <= 1e-6 * model.objective_


@pytest.fixture(scope="module")
def overlapping():
    """Three classes of four features with a finite optimum without penalty."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((300, 4)) * [1.0, 2.0, 0.5, 1.0]
    y = (X @ rng.standard_normal((4, 3)) + rng.gumbel(size=(300, 3))).argmax(axis=1)
    return X, y


@pytest.fixture
def wine():
    return datasets.load_wine(return_X_y=True)


def test_attributes_describe_the_fit(wine):
    X, y = wine
    model = sm.SoftmaxRegression(2.0, tol=1e-8, n_threads=1).fit(X, y)
    assert model.coef_.shape == (3, 13)
    assert model.intercept_.shape == (3,)
    np.testing.assert_allclose(model.coef_.sum(axis=0), 0, atol=1e-12 * np.abs(model.coef_).max())
    log_p = model.predict_log_proba(X)
    loss = -log_p[np.arange(len(y)), y].mean()
    np.testing.assert_allclose(model.objective_, loss + np.sum(model.coef_**2) / (2 * 2.0 * len(y)), rtol=1e-12)
    assert 0 < model.gap_ <= 1e-8 * model.objective_
    assert model.status_ == "certified"
    assert model.n_iter_ == model.history_[-1]["iteration"] == len(model.history_) - 1
    assert model.n_passes_ == model.history_[-1]["passes"]
    assert model.history_[-1]["gap"] == model.gap_
    assert model.history_[0]["solver"] == "newton"
    assert model.history_[0]["because"] == "K·d = 39 ≤ 3000"


def test_two_classes_have_two_sets_and_one_score():
    X, y = datasets.load_breast_cancer(return_X_y=True)
    labels = np.array(["no", "yes"])[y]
    model = sm.SoftmaxRegression().fit(X, labels)
    assert model.coef_.shape == (2, 30)
    scores = model.decision_function(X)
    assert scores.shape == (569,)
    np.testing.assert_array_equal(model.predict(X), np.where(scores > 0, "yes", "no"))
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], 1 / (1 + np.exp(-scores)), atol=1e-14)
    assert model.score(X, labels) > 0.95


def test_units_change_neither_speed_nor_certificate(wine):
    X, y = wine
    scale = 10.0 ** np.linspace(-4, 4, 13)
    plain = sm.SoftmaxRegression(1e3).fit(X, y)
    scaled = sm.SoftmaxRegression(1e3).fit(X * scale, y)
    assert scaled.status_ == plain.status_ == "certified"
    assert scaled.n_passes_ <= 3 * plain.n_passes_


@pytest.mark.parametrize(("offset", "tol"), [(1e6, 1e-9), (1.7e9, 1e-7), (1.7e12, 1e-4)], ids=["1e6", "seconds", "ms"])
def test_far_offsets_cost_few_digits(wine, offset, tol):
    """The intercept, a multiple of the offset, is rounded to float64; the certificate knows what that costs."""
    X, y = wine
    X = np.round(X * 2.0**10) / 2.0**10  # so that the shifted numbers are exact
    moved = X + offset * (np.arange(13) == 4)
    plain, shifted = (sm.SoftmaxRegression(tol=tol).fit(data, y) for data in (X, moved))
    assert shifted.status_ == "certified"
    np.testing.assert_allclose(shifted.predict_proba(moved), plain.predict_proba(X), atol=3e-2)


def test_constant_duplicated_and_surplus_columns(wine):
    X, y = wine
    X = np.column_stack([X[:30], np.full(30, 0.1), X[:30], np.zeros((30, 40))])
    y = np.arange(30) % 3
    model = sm.SoftmaxRegression(tol=1e-10).fit(X, y)
    assert model.status_ == "certified"
    assert not model.coef_[:, 27:].any()
    np.testing.assert_allclose(model.coef_[:, 13], 0, atol=1e-12)
    np.testing.assert_allclose(model.coef_[:, :13], model.coef_[:, 14:27], atol=1e-7)


@pytest.mark.parametrize("solver", ["newton", "newton-cg"])
@pytest.mark.parametrize("others", [0.0, 0.1], ids=["unpenalised", "penalised"])
def test_constant_columns_without_penalty_have_no_part(overlapping, solver, others):
    X, y = overlapping
    v = np.full(X.shape[1] + 2, others)
    v[[0, -1, -2]] = 0.0
    wide = np.column_stack([X, np.full(len(X), 0.1), np.full(len(X), 3e7)])
    expected = sm.SoftmaxRegression(penalty_weights=v[:-2], solver=solver, tol=1e-10).fit(X, y)
    with pytest.warns(sm.NotCertifiedWarning, match="not determined"):
        model = sm.SoftmaxRegression(penalty_weights=v, solver=solver, tol=1e-10).fit(wide, y)
    assert model.status_ == "estimated"
    np.testing.assert_allclose(model.coef_[:, :-2], expected.coef_, atol=1e-6)
    np.testing.assert_array_equal(model.coef_[:, -2:], 0.0)


def test_separable_data_with_hardly_any_penalty_is_certified():
    X, y = datasets.load_iris(return_X_y=True)
    model = sm.SoftmaxRegression(1e9).fit(X[:100], y[:100])
    assert model.status_ == "certified"
    assert model.objective_ < 1e-6


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, bool])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numbers_of_any_dtype_and_order(wine, dtype, order):
    X, y = wine
    X = np.asarray(np.median(X, axis=0) < X if dtype is bool else X, dtype=dtype, order=order)
    X.setflags(write=False)
    model = sm.SoftmaxRegression(tol=1e-9).fit(X, y)
    reference = sm.SoftmaxRegression(tol=1e-9).fit(np.array(X, dtype=np.float64, order="C"), y)
    assert model.coef_.dtype == np.float64
    np.testing.assert_allclose(model.predict_proba(X), reference.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["b", "a", "ü"]),
        np.array(["b", "a", "ü"], dtype=object),
        np.array([2, -1, 10**12]),
        np.array([2, 1, 3], dtype=object),
        np.array([1.0, 0.0, -3.0]),
        np.array([b"x", b"y", b"\xff"]),
        np.array(["2021-05-05", "2020-01-01", "1999-01-01"], dtype="datetime64[D]"),
    ],
    ids=["str", "object", "int", "object-int", "float", "bytes", "date"],
)
def test_labels_of_any_dtype(wine, labels):
    X, y = wine
    model = sm.SoftmaxRegression().fit(X, labels[y])
    np.testing.assert_array_equal(model.classes_, np.sort(labels))
    predicted = model.predict(X)
    assert predicted.dtype == labels.dtype
    assert np.mean(predicted == labels[y]) > 0.9


def test_a_fit_repeats_bitwise_at_a_fixed_number_of_threads(monkeypatch):
    monkeypatch.setattr(_solvers, "POOL_FROM", 0.0)
    X, y = (part[:500] for part in datasets.load_digits(return_X_y=True))
    first = sm.SoftmaxRegression(n_threads=2).fit(X, y)
    for _ in range(3):
        np.testing.assert_array_equal(sm.SoftmaxRegression(n_threads=2).fit(X, y).coef_, first.coef_)
    np.testing.assert_allclose(
        sm.SoftmaxRegression(n_threads=1).fit(X, y).predict_proba(X), first.predict_proba(X), atol=1e-3
    )


def test_the_environment_sets_the_number_of_threads(wine, monkeypatch):
    monkeypatch.setenv("SOFTMAX_NUM_THREADS", "1")
    sm.SoftmaxRegression().fit(*wine)
    monkeypatch.setenv("SOFTMAX_NUM_THREADS", "many")
    with pytest.raises(sm.OptionError, match="SOFTMAX_NUM_THREADS must be a positive integer, got 'many'"):
        sm.SoftmaxRegression().fit(*wine)


def test_fits_and_predictions_in_several_threads_at_once(monkeypatch):
    monkeypatch.setattr(_solvers, "POOL_FROM", 0.0)
    X, y = (part[:500] for part in datasets.load_digits(return_X_y=True))
    expected = sm.SoftmaxRegression(n_threads=2).fit(X, y)
    results = []

    def work():
        model = sm.SoftmaxRegression(n_threads=2).fit(X, y)
        results.append((model.predict_proba(X), expected.predict_proba(X)))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    for own, shared in results:
        np.testing.assert_allclose(own, expected.predict_proba(X), atol=1e-4)
        np.testing.assert_array_equal(shared, expected.predict_proba(X))


def test_memory_is_one_array_of_logits(tmp_path):
    tracemalloc = pytest.importorskip("tracemalloc")
    n, d, n_classes = 40_000, 4, 25
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((n, d)), rng.integers(0, n_classes, n)
    sm.SoftmaxRegression(n_threads=1).fit(X, y)  # what compiling takes is not meant
    gc.collect()
    tracemalloc.start()
    sm.SoftmaxRegression(n_threads=1).fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * 8 * n * n_classes


def test_warm_start_saves_iterations_and_never_hurts(wine):
    X, y = wine
    model = sm.SoftmaxRegression(1.0, warm_start=True).fit(X, y)
    cold = model.n_iter_
    model.set_params(C=1.05).fit(X, y)
    assert model.status_ == "certified"
    assert model.n_iter_ < cold
    np.testing.assert_allclose(model.predict_proba(X), sm.SoftmaxRegression(1.05).fit(X, y).predict_proba(X), atol=1e-3)
    model.coef_ = 1e8 * np.ones_like(model.coef_)
    assert model.fit(X, y).status_ == "certified"
    assert model.fit(X[:, :5], y).coef_.shape == (3, 5)


def test_a_fit_that_is_not_certified_warns_once_and_says_why(wine):
    X, y = wine
    with pytest.warns(sm.NotCertifiedWarning) as caught:
        model = sm.SoftmaxRegression(max_iter=2).fit(X, y)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "max_iter=2 was reached: raise max_iter or tol" in message
    assert f"{model.gap_ / model.objective_:.1e} of the objective" in message
    assert caught[0].filename == __file__
    assert model.status_ == "not converged"
    assert model.n_iter_ == 2


def test_a_tolerance_below_rounding_ends_with_the_reached_gap(wine):
    X, y = wine
    with pytest.warns(sm.NotCertifiedWarning, match=r"rounding in float64 allows no more: pass tol="):
        model = sm.SoftmaxRegression(tol=1e-30).fit(X, y)
    assert model.gap_ < 1e-10 * model.objective_
    assert model.n_iter_ < 50


def test_progress_is_printed_and_reported(wine, capsys):
    X, y = wine
    seen = []
    model = sm.SoftmaxRegression(verbose=1)
    model._progress = lambda *record: seen.append(record)
    model.fit(X, y)
    assert [record[0] for record in seen] == list(range(model.n_iter_ + 1))
    assert seen[-1] == (model.n_iter_, model.n_passes_, model.objective_, model.gap_)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "solver newton (K·d = 39 ≤ 3000)"
    assert len(lines) == 2 + len(seen)
    assert not hasattr(clone(model), "_progress")
    assert not hasattr(pickle.loads(pickle.dumps(model)), "_progress")


def test_logarithms_of_probabilities_are_accurate_in_the_tails():
    X = np.array([[-1.0], [1.0]] * 20)
    model = sm.SoftmaxRegression(1e6).fit(X, np.arange(40) % 2)
    far = np.array([[1e4]])
    logs = model.predict_log_proba(far)[0]
    margin = model.decision_function(far)[0]
    np.testing.assert_allclose(logs, [-margin, 0.0], rtol=1e-15)
    assert margin > 1e4
    assert model.predict_proba(far)[0, 0] == 0.0


def test_works_in_pipelines_and_searches(wine):
    X, y = wine
    search = GridSearchCV(
        make_pipeline(StandardScaler(), sm.SoftmaxRegression()),
        {"softmaxregression__C": [1e-3, 1.0], "softmaxregression__solver": ["newton", "newton-cg"]},
        scoring="neg_log_loss",
        cv=3,
    ).fit(X, y)
    assert search.best_params_["softmaxregression__C"] == 1.0
    assert search.score(X, y) > -0.1
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(again.predict_proba(X), search.predict_proba(X))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_keep_their_names(wine, library):
    frames = pytest.importorskip(library)
    X, y = wine
    names = [f"column {i}" for i in range(13)]
    frame = frames.DataFrame(dict(zip(names, X.T, strict=True)))
    labels = frames.Series(np.array(["a", "b", "c"])[y])
    model = sm.SoftmaxRegression().fit(frame, labels)
    assert list(model.feature_names_in_) == names
    assert list(model.classes_) == ["a", "b", "c"]
    expected = sm.SoftmaxRegression().fit(X, y).predict_proba(X)  # from another memory layout: not bit for bit
    np.testing.assert_allclose(model.predict_proba(frame), expected, atol=1e-12)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[names[::-1]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"C": 0}, "C must be a number > 0, got 0"),
        ({"C": -1.0}, "C must be a number > 0"),
        ({"C": np.nan}, "C must be a number > 0"),
        ({"C": "1"}, "C must be a number > 0, got '1'"),
        ({"C": True}, "C must be a number > 0"),
        ({"l1_ratio": 1.5}, "l1_ratio must be a number from 0"),
        ({"penalty_weights": [1.0]}, "one number per feature, shape"),
        ({"penalty_weights": -np.ones(13)}, "finite and ≥ 0, got -1.0 for feature 0"),
        ({"bounds": (1.0, 0.0)}, "lower 1.0 and upper 0.0 for class 0, feature 0"),
        ({"bounds": 3}, "must be a pair"),
        ({"tol": 0}, "tol must be a finite number > 0"),
        ({"max_iter": 0}, "max_iter must be a positive integer or None"),
        ({"max_iter": 2.5}, "max_iter must be a positive integer or None"),
        ({"solver": "lbfgs"}, "solver must be one of auto, newton, newton-cg; got 'lbfgs'"),
        ({"n_threads": 0}, "n_threads must be a positive integer or None, got 0"),
    ],
    ids=str,
)
def test_parameters_outside_their_range(wine, options, message):
    with pytest.raises(sm.OptionError, match=message):
        sm.SoftmaxRegression(**options).fit(*wine)


def test_bad_data_is_named(wine):
    sparse = pytest.importorskip("scipy.sparse")
    X, y = wine
    model = sm.SoftmaxRegression()
    broken = sparse.csr_array(X)
    broken.indices = broken.indices.copy()
    broken.indices[3] = 99
    with pytest.raises(sm.ArrayValueError, match=r"damaged CSR matrix: index 99 at position 3 .* outside \[0, 13\)"):
        model.fit(broken, y)
    holed = X.copy()
    holed[7, 2] = np.nan
    with pytest.raises(sm.ArrayValueError, match="NaN at row 7, column 2"):
        model.fit(holed, y)
    with pytest.raises(sm.ArrayValueError, match="NaN at row 7, column 2"):
        model.fit(sparse.csr_array(holed), y)
    with pytest.raises(sm.ArrayValueError, match=r"offset must have shape \(n, K\) = \(178, 3\)"):
        model.fit(X, y, offset=np.zeros(178))
    with pytest.raises(sm.TargetError, match="row 0 sums to 2"):
        model.fit(X, np.full((178, 2), 1.0))
    with pytest.raises(sm.TargetError, match="at least 2 classes, got 1 class: 7"):
        model.fit(X, np.full(len(X), 7))
    with pytest.raises(sm.TargetError, match=r"mixes labels that cannot be sorted \(int, str\)"):
        model.fit(X, np.array([1, "a"] * 89, dtype=object))
    with pytest.raises(sm.TargetError, match="class 2 has total weight 0"):
        model.fit(X, y, (y != 2).astype(float))
    with pytest.raises(sm.OptionError, match="class weights must be finite and ≥ 0"):
        sm.SoftmaxRegression(class_weight={0: -1.0}).fit(X, y)
    with pytest.raises(sm.ArrayValueError, match="squares of column 0 of X overflow float64"):
        model.fit(X * 1e200, y)
    with pytest.raises(ValueError, match=r"[Nn]egative values"):
        model.fit(X, y, np.where(y == 0, -1.0, 1.0))
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.where(X > 1000, np.nan, X), y)
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        model.fit(X, X[:, 0])


def test_rows_of_weight_zero_count_as_absent(wine):
    X, y = wine
    kept = np.arange(len(y)) % 3 > 0
    weighted = sm.SoftmaxRegression(tol=1e-12).fit(X, y, 2.0 * kept)
    absent = sm.SoftmaxRegression(2.0, tol=1e-12).fit(X[kept], y[kept])
    np.testing.assert_allclose(weighted.coef_, absent.coef_, atol=1e-9)


def test_a_fit_without_penalty_agrees_with_statsmodels(overlapping):
    models = pytest.importorskip("statsmodels.api")
    X, y = overlapping
    ours = sm.SoftmaxRegression(np.inf, tol=1e-15).fit(X, y)
    assert ours.status_ == "estimated"
    theirs = models.MNLogit(y, models.add_constant(X)).fit(disp=0, method="newton", tol=1e-14)
    params = np.column_stack([ours.intercept_, ours.coef_])
    np.testing.assert_allclose(params[1:] - params[0], theirs.params.T, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(ours.objective_, -theirs.llf / len(X), rtol=1e-12)


def test_separated_classes_are_said_to_be(wine):
    X, y = wine
    with pytest.warns(sm.NotCertifiedWarning, match="eparation: no finite optimum exists"):
        model = sm.SoftmaxRegression(np.inf).fit(X, y)
    assert model.status_ == "separated"
    scores = np.column_stack([X, np.ones(len(X))]) @ model.separating_direction_.T
    margins = scores[np.arange(len(X)), y][:, None] - scores
    assert margins.min() >= -1e-9 * np.abs(scores).max()
    assert margins.max() > 0


def test_a_fit_that_may_have_no_finite_optimum_says_so(wine, monkeypatch):
    """Separated or not, neither is claimed where it was not proven."""
    monkeypatch.setattr("softmax.regression._separation._Search.by_columns", lambda self: None)
    monkeypatch.setattr("softmax.regression._separation._Search.complete", lambda self, D: False)
    monkeypatch.setattr("softmax.regression._recession.MAX_PARAMETERS", 1)
    X, y = wine
    for options, words in (
        ({"tol": 0.5}, "^Whether a finite optimum exists .* is undecided"),
        ({"tol": 1e-12}, "^Whether a finite optimum exists .* is undecided"),
        ({"max_iter": 3}, "raise max_iter or tol. Whether a finite optimum exists .* is undecided"),
    ):
        with pytest.warns(sm.NotCertifiedWarning, match=words) as caught:
            model = sm.SoftmaxRegression(np.inf, **options).fit(X, y)
        assert len(caught) == 1
        assert model.status_ == "not converged"
        assert model.separating_direction_ is None


def test_a_fit_that_ends_with_small_steps_needs_no_verdict(overlapping, monkeypatch):
    monkeypatch.setattr("softmax.regression._separation._Search.by_columns", lambda self: None)
    monkeypatch.setattr("softmax.regression._recession.MAX_PARAMETERS", 1)
    assert sm.SoftmaxRegression(np.inf, tol=1e-9).fit(*overlapping).status_ == "estimated"


def test_sparse_soft_and_weighted_data_give_the_same_optimum(overlapping):
    sparse = pytest.importorskip("scipy.sparse")
    X, y = overlapping
    expected = sm.SoftmaxRegression(tol=1e-12).fit(X, y).coef_
    unsorted = sparse.csr_matrix(X[:, ::-1])[:, ::-1]
    for data in (sparse.csr_array(X), sparse.csc_matrix(X), unsorted, np.asfortranarray(X)):
        np.testing.assert_allclose(sm.SoftmaxRegression(tol=1e-12).fit(data, y).coef_, expected, atol=1e-8)
    soft = sm.SoftmaxRegression(tol=1e-12).fit(X, np.eye(3)[y])
    np.testing.assert_allclose(soft.coef_, expected, atol=1e-8)
    assert soft.classes_.tolist() == [0, 1, 2]
    # An offset that the coefficients could have given is made up for by them, where nothing holds them back.
    shift = X @ np.ones((X.shape[1], 3)) * [0.1, 0.0, -0.1]
    free = sm.SoftmaxRegression(np.inf, tol=1e-13).fit(X, y)
    moved = sm.SoftmaxRegression(np.inf, tol=1e-13).fit(X, y, offset=shift)
    np.testing.assert_allclose(moved.coef_ + np.outer([0.1, 0.0, -0.1], np.ones(X.shape[1])), free.coef_, atol=1e-6)


def test_a_feature_without_penalty_has_no_gradient_of_its_own(overlapping):
    X, y = overlapping
    v = np.array([0.0, 1.0, 2.0, 0.5])
    model = sm.SoftmaxRegression(0.1, penalty_weights=v, tol=1e-12).fit(X, y)
    assert model.status_ == "estimated"
    residual = (model.predict_proba(X) - np.eye(3)[y]) / len(X)
    np.testing.assert_allclose(residual.T @ X + model.penalty_ * v * model.coef_, 0.0, atol=1e-7)


def test_an_interrupted_fit_keeps_its_best_coefficients(overlapping):
    X, y = overlapping
    model = sm.SoftmaxRegression(tol=1e-12)

    def stop(iteration, passes, objective, gap):
        if iteration == 2:
            raise KeyboardInterrupt

    model._progress = stop
    with pytest.warns(sm.NotCertifiedWarning, match="it was interrupted"):
        model.fit(X, y)
    assert model.status_ == "not converged"
    assert np.isfinite(model.gap_)
    assert model.objective_ < np.log(3)


def test_a_long_fit_starts_from_a_part_of_the_rows():
    rng = np.random.default_rng(5)
    X = rng.standard_normal((12_000, 4))
    y = (X @ rng.standard_normal((4, 3)) + rng.gumbel(size=(12_000, 3))).argmax(axis=1)
    model = sm.SoftmaxRegression(tol=1e-10).fit(X, y)
    assert model.status_ == "certified"
    assert model.history_[0]["objective"] < 1.01 * model.objective_, "the start is near the optimum"


def test_the_memory_of_too_many_coefficients_is_named():
    sparse = pytest.importorskip("scipy.sparse")
    X = sparse.csr_array((np.ones(4), ([0, 1, 2, 3], [0, 1, 2, 3])), shape=(4, 10**11))
    with pytest.raises(MemoryError, match=r"available, enough for .* features"):
        sm.SoftmaxRegression().fit(X, [0, 1, 0, 1])
