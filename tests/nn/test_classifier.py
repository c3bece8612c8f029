"""The neural classifier: scikit-learn's conventions, the objective that it says it has, and what ends a fit."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_classification
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import softmax as sm

torch = pytest.importorskip("torch")
Neural = sm.nn.NeuralSoftmaxClassifier


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    return X[:1200], y[:1200], X[1200:], y[1200:]


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def quick(*sizes: int, **options):
    return Neural(sizes, **{"learning_rate": 0.01, "max_epochs": 30, "random_state": 0} | options)


def objective(model, X, y, weights=None) -> float:
    """The objective of the docstring, from public attributes."""
    weights = np.ones(len(X)) if weights is None else weights
    losses = -model.predict_log_proba(X)[np.arange(len(X)), np.searchsorted(model.classes_, y)]
    squares = sum(np.sum(coef.astype(np.float64) ** 2) for coef in model.coefs_)
    return float(np.average(losses, weights=weights) + model.alpha / (2 * weights.sum()) * squares)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks():
    # The order of the rows and the mini-batches are others where a row is repeated instead of weighted.
    expected = {
        f"check_sample_weight_equivalence_on_{kind}_data": "mini-batches differ" for kind in ("dense", "sparse")
    }
    model = Neural((8,), learning_rate=0.03, batch_size=64, max_epochs=60)
    results = check_estimator(model, expected_failed_checks=expected, on_skip=None)
    assert {r["check_name"] for r in results if r["status"] == "xfail"} <= set(expected)
    assert sum(r["status"] == "passed" for r in results) > 40


@pytest.mark.parametrize("alpha", [10.0, 1.0, 0.01])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_without_hidden_layers_it_reaches_the_optimum_of_the_regression(digits, alpha, dtype):
    X, y, _, _ = digits
    best = sm.SoftmaxRegression(C=1 / alpha).fit(X, y)
    model = Neural((), alpha=alpha, dtype=dtype, random_state=0).fit(X, y)
    assert best.status_ == "certified"
    assert model.objective_ <= best.objective_ * (1 + 1e-4)
    assert model.objective_ >= best.objective_ - best.gap_ - 1e-12
    assert model.objective_ == pytest.approx(objective(model, X, y), rel=1e-12)


def test_the_same_with_weights(iris, rng):
    X, y = iris
    weights = rng.uniform(0.0, 3.0, len(X))
    weights[::7] = 0.0
    best = sm.SoftmaxRegression(C=2.0, class_weight={0: 1, 1: 2, 2: 0.5}).fit(X, y, weights)
    model = Neural((), alpha=0.5, class_weight={0: 1, 1: 2, 2: 0.5}, dtype="float64").fit(X, y, weights)
    assert model.objective_ == pytest.approx(best.objective_, rel=1e-4)
    assert model.penalty_ == pytest.approx(best.penalty_)


def test_adam_goes_to_the_same_place(iris):
    X, y = iris
    best = sm.SoftmaxRegression(C=1.0).fit(X, y)
    options = {"alpha": 1.0, "solver": "adam", "learning_rate": 0.03, "batch_size": 150, "max_epochs": 2000}
    model = Neural((), tol=1e-7, n_iter_no_change=20, dtype="float64", random_state=0, **options).fit(X, y)
    assert model.objective_ == pytest.approx(best.objective_, rel=1e-4)
    assert model.status_ == "no progress"


def test_it_learns_what_no_linear_model_can(rng):
    X = rng.uniform(-1, 1, (600, 2))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    assert sm.SoftmaxRegression().fit(X, y).score(X, y) < 0.7
    assert quick(32, 16, max_epochs=150).fit(X, y).score(X, y) > 0.95


def test_digits_held_out(digits):
    X, y, X_new, y_new = digits
    model = quick(64, max_epochs=20).fit(X, y)
    assert model.score(X_new, y_new) > 0.93
    assert model.objective_ == pytest.approx(objective(model, X, y), rel=1e-9)
    assert model.predict_proba(X_new).sum(axis=1) == pytest.approx(1.0)


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "gelu", "silu"])
def test_numpy_computes_what_the_network_does(iris, activation):
    X, y = iris
    model = quick(7, 5, activation=activation, dtype="float64", max_epochs=10).fit(X, y)
    with torch.no_grad():
        logits = model.network()(torch.from_numpy(X)).numpy()
    assert model.decision_function(X) == pytest.approx(logits, rel=1e-12, abs=1e-12)
    assert np.ptp(logits) > 0.1


def test_rows_come_in_pieces_and_in_csr(iris, monkeypatch):
    X, y = iris
    model = quick(16).fit(X, y)
    whole = model.decision_function(X)
    monkeypatch.setattr(sys.modules["softmax.nn._network"], "MOST_NUMBERS", 16 * 7)
    assert model.decision_function(X) == pytest.approx(whole, rel=1e-12)
    assert model.decision_function(scipy.sparse.csr_array(X)) == pytest.approx(whole, rel=1e-12)
    assert model.decision_function(X.astype(np.float32)) == pytest.approx(whole, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("form", [scipy.sparse.csr_array, scipy.sparse.csc_matrix])
def test_a_sparse_fit_is_the_dense_one(iris, form):
    X, y = np.maximum(iris[0], 0.0), iris[1]
    dense, sparse = quick(8, max_epochs=5).fit(X, y), quick(8, max_epochs=5).fit(form(X), y)
    assert all(np.array_equal(a, b) for a, b in zip(dense.coefs_, sparse.coefs_, strict=True))


def test_a_fit_repeats_bitwise_and_leaves_the_generator_of_pytorch_alone(iris):
    X, y = iris
    before = torch.random.get_rng_state()
    first, second = (quick(8, early_stopping=True, random_state=3).fit(X, y) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(np.array_equal(a, b) for a, b in zip(first.coefs_, second.coefs_, strict=True))
    assert first.history_ == second.history_
    other = quick(8, early_stopping=True, random_state=4).fit(X, y)
    assert not np.array_equal(first.coefs_[0], other.coefs_[0])


def test_probabilities_as_targets(iris):
    X, y = iris
    hard, soft = quick(8, max_epochs=5).fit(X, y), quick(8, max_epochs=5).fit(X, np.eye(3)[y])
    assert soft.coefs_[0] == pytest.approx(hard.coefs_[0], abs=1e-4)
    assert soft.objective_ == pytest.approx(hard.objective_, rel=1e-4)
    blurred = 0.4 * np.eye(3)[y] + 0.2
    model = quick(8, max_epochs=100, dtype="float64").fit(X, blurred)
    assert model.predict_proba(X).mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.02)
    assert 0.5 < model.predict_proba(X)[y == 0, 0].mean() < 0.65


def test_early_stopping_keeps_the_best_epoch(digits):
    X, y, _, _ = digits
    model = quick(64, early_stopping=True, n_iter_no_change=3, max_epochs=200, alpha=0.0).fit(X, y)
    losses = [record["validation"] for record in model.history_]
    assert model.status_ == "early stopping"
    assert model.validation_loss_ == pytest.approx(min(losses), rel=1e-4)
    assert len(losses) == model.n_iter_ < 200
    rates = [record["learning_rate"] for record in model.history_]
    assert rates[0] == 0.01
    assert rates[-1] == pytest.approx(0.01 / 5**3)


def test_rows_held_out_are_of_every_class_but_never_the_last_of_one(rng):
    X = rng.normal(size=(41, 3))
    y = np.array(["a"] * 20 + ["b"] * 20 + ["c"])
    model = quick(4, early_stopping=True, validation_fraction=0.5).fit(X, y)
    assert list(model.classes_) == ["a", "b", "c"]
    with pytest.raises(sm.OptionError, match="holds none out"):
        quick(4, early_stopping=True, validation_fraction=0.01).fit(X, y)


def test_weights_count(iris):
    X, y = iris
    weights = np.where(y == 0, 100.0, 1.0)
    X_noisy = 0.05 * X
    plain = quick(4).fit(X_noisy, y).predict_proba(X_noisy)[:, 0].mean()
    assert quick(4).fit(X_noisy, y, weights).predict_proba(X_noisy)[:, 0].mean() > plain + 0.05
    assert quick(4, class_weight={0: 100}).fit(X_noisy, y).predict_proba(X_noisy)[:, 0].mean() > plain + 0.05
    assert quick(4, class_weight="balanced").fit(X, y).score(X, y) > 0.9


def test_rows_of_weight_0_are_absent(iris):
    X, y = iris
    weights = np.ones(len(X))
    weights[::3] = 0.0
    kept = weights > 0
    with_zeros, without = quick(4).fit(X, y, weights), quick(4).fit(X[kept], y[kept], weights[kept])
    assert np.array_equal(with_zeros.coefs_[0], without.coefs_[0])


def test_warm_start_goes_on(iris):
    X, y = iris
    model = quick(8, warm_start=True, max_epochs=5).fit(X, y)
    before = model.objective_
    assert model.fit(X, y).objective_ < before
    assert model.set_params(hidden_layer_sizes=(9,)).fit(X, y).coefs_[0].shape == (4, 9)


def test_partial_fit(iris):
    X, y = iris
    order = np.random.default_rng(0).permutation(len(X))
    model = quick(16, batch_size=32)
    for _ in range(30):
        for part in np.array_split(order, 3):
            model.partial_fit(X[part], y[part], classes=[0, 1, 2])
    assert model.score(X, y) > 0.9
    assert model.n_iter_ == len(model.history_) == 90
    assert model.status_ == "partial_fit"
    again = pickle.loads(pickle.dumps(model)).partial_fit(X, y)
    assert again.n_iter_ == 91


def test_partial_fit_takes_a_part_without_every_class(iris):
    X, y = iris
    names = np.array(["a", "b", "c"])
    model = quick(8).partial_fit(X[y < 2], names[y[y < 2]], classes=names)
    assert list(model.classes_) == ["a", "b", "c"]
    with pytest.raises(sm.TargetError, match="none of the classes"):
        model.partial_fit(X[:1], ["d"])
    with pytest.raises(sm.TargetError, match="those of the first call"):
        model.partial_fit(X[:1], ["a"], classes=["a", "b"])
    with pytest.raises(sm.TargetError, match="needs classes"):
        quick(8).partial_fit(X, y)


def test_partial_fit_with_weights(iris):
    X, y = iris
    model = quick(8, class_weight={0: 2.0}).partial_fit(X[y > 0], y[y > 0], [0, 1, 2], np.full(100, 0.5))
    assert model.predict_proba(X).shape == (150, 3)
    with pytest.raises(ValueError, match=r"weight 0|non-zero"):  # scikit-learn's own from 1.9 on
        model.partial_fit(X, y, sample_weight=np.zeros(150))
    with pytest.raises(sm.OptionError, match="needs all rows"):
        quick(8, class_weight="balanced").partial_fit(X, y, [0, 1, 2])


def test_calibration(digits, tmp_path):
    X, y, X_new, y_new = digits
    model = quick(32, max_epochs=15).fit(X, y)
    before = model.predict_proba(X_new)
    model.calibrate(X_new, y_new, cv="prefit")
    assert model.temperature_ > 1.0
    assert model.calibration_["log_loss_after"] < model.calibration_["log_loss_before"]
    assert model.predict_proba(X_new).max() < before.max()
    sm.save(model, tmp_path / "m.safetensors")
    loaded = sm.load(tmp_path / "m.safetensors")
    assert loaded.calibration_ == model.calibration_
    assert np.array_equal(loaded.predict_proba(X_new), model.predict_proba(X_new))
    assert quick(4, max_epochs=3).fit(X, y).calibrate(X, y, cv=2).calibration_["folds"] == 2


def test_inside_what_scikit_learn_has(iris):
    X, y = iris
    scaled = make_pipeline(StandardScaler(), quick(8))
    assert cross_val_score(scaled, X, y, cv=3).mean() > 0.8
    search = GridSearchCV(quick(8), {"hidden_layer_sizes": [(), (4,)]}, cv=3).fit(X, y)
    assert search.best_params_["hidden_layer_sizes"] in [(), (4,)]
    assert clone(quick(8, alpha=0.3)).alpha == 0.3


def test_callbacks_see_each_epoch_and_can_end_the_fit(iris):
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9 has no callbacks")
    X, y = iris
    seen = []

    class StopAtThree:
        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            if context.task_name == "iteration":
                seen.append(fitted_estimator.score(X, y))
            return len(seen) == 3

        def teardown(self, estimator, context):
            pass

    assert callback
    model = quick(8)
    model.set_callbacks(StopAtThree())
    with pytest.warns(sm.NotCertifiedWarning, match="interrupted"):
        model.fit(X, y)
    assert model.n_iter_ == 3
    assert model.status_ == "interrupted"
    assert seen[2] > 1 / 3


def test_an_interrupt_keeps_the_best_so_far(iris):
    X, y = iris
    model = quick(8, max_epochs=50)

    def interrupt(epoch, passes, objective, gap):
        if epoch == 4:
            raise KeyboardInterrupt

    model._progress = interrupt
    with pytest.warns(sm.NotCertifiedWarning, match="best weights so far"):
        model.fit(X, y)
    assert model.n_iter_ == 4
    assert model.history_[-1]["objective"] < model.history_[0]["objective"]
    assert "_progress" not in model.__getstate__()


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_verbose_prints_a_line_per_epoch(iris, capsys, solver):
    quick(8, max_epochs=3, verbose=1, solver=solver).fit(*iris)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if "nan" not in line] == ["1", "2", "3"]


def test_lbfgs_fits_hidden_layers_too(iris):
    X, y = iris
    model = Neural((8,), solver="lbfgs", alpha=0.1, dtype="float64", random_state=0, max_epochs=300).fit(X, y)
    assert model.objective_ < 0.1
    assert model.history_[-1]["learning_rate"] is None


def test_a_fit_that_diverges_says_so(iris):
    X, y = iris
    with pytest.warns(sm.NotCertifiedWarning, match="smaller learning_rate"):
        model = Neural((8,), learning_rate=1e30, max_epochs=20, random_state=0).fit(X * 1e20, y)
    assert model.status_ == "diverged"
    assert all(np.isfinite(coef).all() for coef in model.coefs_)


BAD_PARAMETERS = {
    "hidden_layer_sizes": [16, "16", (0,), (4.0,), (True,), None],
    "activation": ["swish", None],
    "solver": ["sgd"],
    "alpha": [-1, float("inf"), float("nan"), "1", True],
    "learning_rate": [0, -1, float("inf")],
    "batch_size": [0, 2.5, "all"],
    "max_epochs": [0, 1.0],
    "validation_fraction": [0.0, 1.0, 1.5],
    "n_iter_no_change": [0],
    "tol": [-1e-3, float("nan")],
    "dtype": ["float16", np.float32],
    "device": ["gpu", "cuda:99", 7.5],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in BAD_PARAMETERS.items() for v in values], ids=str)
def test_a_parameter_out_of_range_is_named(iris, name, value):
    with pytest.raises(sm.OptionError, match=f"{name} must"):
        quick(4).set_params(**{name: value}).fit(*iris)


def test_early_stopping_and_lbfgs_exclude_each_other(iris):
    with pytest.raises(sm.OptionError, match="early_stopping is for solver='adam'"):
        Neural((4,), solver="lbfgs", early_stopping=True).fit(*iris)


def test_bad_rows_and_targets(iris):
    X, y = iris
    bad = X.copy()
    bad[5, 2] = np.nan
    with pytest.raises(sm.ArrayValueError, match="NaN at row 5, column 2"):
        quick(4).fit(bad, y)
    with pytest.raises(sm.ArrayValueError, match="NaN at row 5, column 2"):
        quick(4).fit(X, y).predict(bad)
    with pytest.raises(sm.TargetError, match="at least 2 classes"):
        quick(4).fit(X, np.zeros(len(X)))
    with pytest.raises(sm.TargetError, match="150 rows and y 149"):
        quick(4).fit(X, y[:-1])
    with pytest.raises(sm.TargetError, match="sum to 1"):
        quick(4).fit(X, np.full((len(X), 3), 0.5))
    with pytest.raises(ValueError, match="features"):
        quick(4).fit(X, y).predict(X[:, :3])
    with pytest.raises(sm.OptionError, match="class_weight needs labels"):
        quick(4, class_weight="balanced").fit(X, np.eye(3)[y])


def test_two_classes_have_one_decision(rng):
    X, y = make_classification(100, random_state=0)
    model = quick(4).fit(X, y)
    margin = model.decision_function(X)
    assert margin.shape == (100,)
    assert np.array_equal(model.predict(X), (margin > 0).astype(int))
    p = model.predict_proba(X)
    assert np.log(p[:, 1] / p[:, 0]) == pytest.approx(margin)


def test_nothing_of_the_callers_is_changed(iris):
    X, y = (array.copy() for array in iris)
    X.flags.writeable = y.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(4, max_epochs=2).fit(X, y)
        quick(4, max_epochs=2, dtype="float64").fit(X, y)


def test_without_pytorch_a_fit_says_what_to_install_and_predictions_work(iris, tmp_path):
    X, y = iris
    quick(4).fit(X, y)
    sm.save(quick(4).fit(X, y), tmp_path / "m.safetensors")
    code = f"""
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, NoTorch())
import numpy as np, softmax as sm
model = sm.load({str(tmp_path / "m.safetensors")!r})
assert model.predict_proba(np.zeros((2, 4))).shape == (2, 3)
for use in (lambda: model.fit(np.eye(4), [0, 1, 2, 0]), lambda: sm.nn.CrossEntropyLoss, lambda: model.network()):
    try:
        use()
    except sm.MissingExtraError as error:
        assert "pip install 'softmax[torch]'" in str(error)
    else:
        raise SystemExit("no error")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
