"""The temperature: against SciPy, at its limits, and on folds held out."""

import doctest
import json

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import KFold, StratifiedKFold

import softmax as sm
from softmax.regression._calibration import calibrate, fit_temperature


def sample(true_temperature, n=2000, n_classes=5, seed=0):
    """Logits, and labels drawn from them at a temperature."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(n, n_classes)) + 50 * rng.normal(size=(n, 1))
    p = sm.softmax(logits, temperature=true_temperature)
    y = np.minimum((np.cumsum(p, axis=1) < rng.uniform(size=(n, 1))).sum(axis=1), n_classes - 1)
    return logits, y


def by_scipy(logits, y, weights=None):
    def loss(log_t):
        losses = sm.cross_entropy(logits, y, temperature=float(np.exp(log_t)), reduction="none")
        return float(np.average(losses, weights=weights))

    found = scipy.optimize.minimize_scalar(loss, bounds=(-12, 12), method="bounded", options={"xatol": 1e-9})
    return np.exp(found.x), loss(0.0), found.fun


@pytest.mark.parametrize("true", [0.02, 0.5, 1.0, 3.0, 40.0])
@pytest.mark.parametrize("kind", ["labels", "weights", "probabilities"])
def test_the_temperature_is_that_of_scipy(true, kind):
    logits, y = sample(true)
    weights = None
    if kind == "weights":
        weights = np.random.default_rng(1).uniform(0, 2, len(y))
        weights[::5] = 0
    if kind == "probabilities":
        y = 0.9 * np.eye(5)[y] + 0.02
    found, before, after = fit_temperature(logits, y, weights)
    expected = by_scipy(logits, y, weights)
    np.testing.assert_allclose(found, expected[0], rtol=3e-6)
    np.testing.assert_allclose([before, after], expected[1:], rtol=1e-12)
    # Means of 2000 losses are rounded differently by different sums.
    assert after <= expected[2] * (1 + 1e-12)
    if kind == "labels":
        assert 0.75 < found / true < 1.25


@pytest.mark.parametrize("true", [0.5, 3.0])
def test_the_slope_at_the_temperature_is_zero_to_rounding(true):
    logits, y = sample(true)
    found, _, _ = fit_temperature(logits, y)
    p = sm.softmax(logits, temperature=found)
    residual = np.sum((p - np.eye(5)[y]) * (logits - logits.max(axis=1, keepdims=True)), axis=1)
    assert abs(residual.mean()) < 1e-14 * np.abs(residual).mean() * len(y)


def test_units_of_the_logits_scale_the_temperature():
    logits, y = sample(2.0)
    one = fit_temperature(logits, y)
    for factor in (1e-6, 1e6):
        other = fit_temperature(logits * factor, y)
        np.testing.assert_allclose([other[0] / factor, other[2]], [one[0], one[2]], rtol=1e-9)


def test_impossible_classes_take_no_part():
    logits, y = sample(2.0)
    logits[:, 4] = -np.inf
    kept = y != 4
    with_it = fit_temperature(logits[kept], y[kept])
    without = fit_temperature(logits[kept, :4], y[kept])
    np.testing.assert_allclose(with_it, without, rtol=1e-12)
    with pytest.raises(sm.TargetError, match="−inf"):
        fit_temperature(logits, y)


def test_logits_that_say_nothing_keep_temperature_one():
    assert fit_temperature(np.full((4, 3), 7.0), [0, 1, 2, 0]) == pytest.approx((1.0, np.log(3), np.log(3)))


def test_the_limits_are_refused():
    logits, _ = sample(1.0)
    with pytest.raises(sm.OptionError, match="smaller the temperature"):
        fit_temperature(logits, logits.argmax(axis=1))
    with pytest.raises(sm.OptionError, match="no better than chance"):
        fit_temperature(logits, logits.argmin(axis=1))
    # One row that is wrong by a little is enough for an optimum.
    y = logits.argmax(axis=1)
    y[0] = np.argsort(logits[0])[-2]
    found, _, after = fit_temperature(logits, y)
    np.testing.assert_allclose([found, after], np.array(by_scipy(logits, y))[[0, 2]], rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1.0, 2.0], [0, 1]), sm.ArrayValueError, r"shape \(n, K\)"),
        (([[1.0, np.nan]], [0]), sm.ArrayValueError, "got nan at row 0, class 1"),
        (([[1.0, np.inf]], [0]), sm.ArrayValueError, "got inf at row 0, class 1"),
        (([[1.0, 2.0]], [2]), sm.TargetError, "from 0 to 1"),
        (([[1.0, 2.0]], ["a"]), sm.TargetError, "from 0 to 1"),
        (([[1.0, 2.0]], [0, 1]), sm.TargetError, "for these logits"),
        (([[1.0, 2.0]], [[0.5, 0.6]]), sm.TargetError, "sum to 1"),
        (([[1.0, 2.0]], [0], [-1.0]), sm.ArrayValueError, "sample_weight"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        fit_temperature(*arguments)


def digits(n=600):
    X, y = load_digits(return_X_y=True)
    return X[:n] / 16, y[:n]


def held_out(model, X, y, splits, **fit):
    logits = np.full((len(y), len(model.classes_)), np.nan)
    for train, test in splits:
        fold = clone(model).fit(X[train], y[train], **{name: value[train] for name, value in fit.items()})
        logits[test] = X[test] @ fold.coef_.T + fold.intercept_
    return logits


def test_calibration_takes_the_temperature_of_rows_held_out():
    X, y = digits()
    model = sm.SoftmaxRegression(C=100.0).fit(X, y)
    coef, before = model.coef_.copy(), model.predict_proba(X)
    assert calibrate(model, X, y, cv=3) is model
    logits = held_out(model, X, y, StratifiedKFold(3).split(X, y))
    found, loss, after = fit_temperature(logits, y)
    record = model.calibration_
    np.testing.assert_allclose(model.temperature_, found, rtol=1e-6)
    assert found > 1.5 and after < 0.9 * loss  # an almost unpenalised fit is too sure of itself
    np.testing.assert_allclose([record["log_loss_before"], record["log_loss_after"]], [loss, after], rtol=1e-6)
    for name, t in (("ece_before", 1.0), ("ece_after", found)):
        np.testing.assert_allclose(
            record[name], sm.reliability_table(y, sm.softmax(logits, temperature=t)).ece, rtol=1e-4
        )
    assert record["ece_after"] < record["ece_before"]
    assert (record["folds"], record["n_rows"], record["n_left_out"]) == (3, 600, 0)
    assert json.loads(json.dumps(record)) == record
    np.testing.assert_array_equal(model.coef_, coef)
    np.testing.assert_allclose(model.predict_proba(X), sm.softmax(X @ coef.T + model.intercept_, temperature=found))
    assert np.max(np.abs(model.predict_proba(X) - before)) > 0.01
    np.testing.assert_array_equal(model.predict(X), before.argmax(axis=1))


def test_rows_that_the_model_has_not_seen():
    X, y = digits()
    model = sm.SoftmaxRegression(C=100.0).fit(X[:400], y[:400])
    calibrate(model, X[400:], y[400:], cv="prefit")
    logits = X[400:] @ model.coef_.T + model.intercept_
    np.testing.assert_allclose(model.temperature_, fit_temperature(logits, y[400:])[0], rtol=1e-10)
    assert model.calibration_["folds"] == 0 and model.calibration_["n_rows"] == 200
    # Calibrating again does not divide twice.
    first = model.temperature_
    np.testing.assert_allclose(calibrate(model, X[400:], y[400:], cv="prefit").temperature_, first, rtol=1e-12)


def test_two_classes_and_names():
    X, y = digits()
    labels = np.where(y % 2, "odd", "even")
    model = sm.SoftmaxRegression(C=50.0).fit(X, labels)
    calibrate(model, X, labels, cv=4)
    logits = held_out(model, X, labels, StratifiedKFold(4).split(X, labels))
    codes = (labels == "odd").astype(int)
    np.testing.assert_allclose(model.temperature_, fit_temperature(logits, codes)[0], rtol=1e-6)


def test_weights_and_offsets_go_to_the_folds():
    X, y = digits(300)
    rng = np.random.default_rng(0)
    weights, offset = rng.uniform(0.5, 2, 300), rng.normal(size=(300, 10))
    weights[::10] = 0
    model = sm.SoftmaxRegression(C=10.0).fit(X, y, sample_weight=weights, offset=offset)
    calibrate(model, X, y, cv=KFold(3), sample_weight=weights, offset=offset)
    logits = held_out(model, X, y, KFold(3).split(X), sample_weight=weights, offset=offset) + offset
    np.testing.assert_allclose(model.temperature_, fit_temperature(logits, y, weights)[0], rtol=1e-6)
    assert model.calibration_["n_rows"] == 270


@pytest.mark.parametrize("kind", ["csr", "frame", "iterable"])
def test_storage_and_splits(kind):
    X, y = digits(300)
    model = sm.SoftmaxRegression(C=10.0).fit(X, y)
    expected = calibrate(model, X, y, cv=3).temperature_
    cv = 3
    if kind == "csr":
        X = scipy.sparse.csr_array(X)
    elif kind == "frame":
        polars = pytest.importorskip("polars")
        X = polars.DataFrame(X, schema=[f"p{j}" for j in range(64)])
    else:
        cv = list(StratifiedKFold(3).split(X, y))
    model = sm.SoftmaxRegression(C=10.0).fit(X, y)
    np.testing.assert_allclose(calibrate(model, X, y, cv=cv).temperature_, expected, rtol=1e-6)


def test_a_class_that_is_missing_from_the_other_folds_is_counted():
    X, y = digits(200)
    y = np.where(np.arange(200) == 17, 99, y)
    model = sm.SoftmaxRegression().fit(X, y)
    calibrate(model, X, y, cv=4)
    assert model.calibration_["n_left_out"] == 1 and model.calibration_["n_rows"] == 199
    assert np.isfinite(model.temperature_)


def test_probabilities_as_targets():
    X, y = digits(300)
    target = 0.8 * np.eye(10)[y] + 0.02
    model = sm.SoftmaxRegression(C=10.0).fit(X, target)
    calibrate(model, X, target, cv=3)
    logits = held_out(model, X, target, KFold(3).split(X))
    np.testing.assert_allclose(model.temperature_, fit_temperature(logits, target)[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("cv", "message"),
    [("self", "cv must be"), (1, "from 2 to the number of rows"), (601, "from 2 to"), ([], "holds no rows out")],
)
def test_wrong_folds_are_named(cv, message):
    X, y = digits()
    model = sm.SoftmaxRegression(tol=1e-2).fit(X, y)
    with pytest.raises(sm.OptionError, match=message):
        calibrate(model, X, y, cv=cv)


def test_unknown_classes_are_named():
    X, y = digits()
    model = sm.SoftmaxRegression(tol=1e-2).fit(X, y)
    with pytest.raises(sm.TargetError, match="does not know the class 77 of row 3"):
        calibrate(model, X, np.where(np.arange(600) == 3, 77, y), cv="prefit")


def test_the_example_gives_what_it_shows():
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    tests = [test for test in doctest.DocTestFinder().find(calibrate, globs={}) if test.examples]
    assert tests
    for test in tests:
        runner.run(test)
    assert runner.failures == 0
