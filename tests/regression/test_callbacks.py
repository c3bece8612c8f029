"""The bridge to scikit-learn's callbacks: every iteration is told, a request to stop stops, and without callbacks (or
with an older scikit-learn) nothing happens."""

import importlib.util
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_iris

import softmax
from softmax.regression import _callbacks
from softmax.regression._callbacks import CallbackSupport, Watch, bridge, with_callbacks

needs_protocol = pytest.mark.skipif(_callbacks._protocol is None, reason="scikit-learn < 1.9 has no callback protocol")

POINTS = [(np.full((3, 4), float(i)), np.full(3, -float(i))) for i in range(4)]


def toy_class(callbacks=_callbacks):
    """An estimator whose solver takes three steps, along POINTS."""

    class Toy(callbacks.CallbackSupport, BaseEstimator):
        def __init__(self, offer=True):
            self.offer = offer

        @callbacks.with_callbacks
        def fit(self, X, y, sample_weight=None):
            """Fit."""
            self.seen_ = []
            watch = callbacks.bridge(
                self,
                X,
                y,
                classes=np.unique(y),
                also=lambda *figures: self.seen_.append(figures),
                metadata={"sample_weight": sample_weight},
            )
            for i, point in enumerate(POINTS):
                if self.offer:
                    watch.current = lambda point=point: point
                watch(i, 2 * i, 1.0 - 0.1 * i, 10.0**-i)
            self.coef_, self.intercept_ = POINTS[-1]
            self.classes_ = np.unique(y)
            watch.close()
            return self

    return Toy


class Recorder:
    """Writes down what it is told; asks to stop at the end of task `stop`, or raises `error` there."""

    def __init__(self, stop=None, error=None):
        self.calls = []
        self.stop, self.error = stop, error

    def setup(self, estimator, context):
        self.calls.append(("setup", context.task_name, None))

    def teardown(self, estimator, context):
        self.calls.append(("teardown", context.task_name, None))

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
        self.calls.append(("begin", context.task_name, fitted_estimator))
        self.X, self.metadata = X, metadata

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.calls.append(("end", context.task_name, fitted_estimator))
        if context.task_name == "iteration" and context.task_id == self.stop:
            if self.error is not None:
                raise self.error
            return True
        return False

    @property
    def order(self):
        return [(hook, task) for hook, task, _ in self.calls]


@pytest.fixture
def data():
    return load_iris(return_X_y=True)


@needs_protocol
def test_every_iteration_is_told_with_the_coefficients_of_its_end(data):
    recorder = Recorder()
    model = toy_class()().set_callbacks(recorder).fit(*data, sample_weight=np.ones(150))
    iteration = [("begin", "iteration"), ("end", "iteration")]
    assert recorder.order == [
        ("setup", "fit"),
        ("begin", "fit"),
        *iteration * 4,  # the last one was begun before anybody knew that it would not run
        ("end", "fit"),
        ("teardown", "fit"),
    ]
    ends = [fitted for hook, task, fitted in recorder.calls if (hook, task) == ("end", "iteration")]
    assert [None if e is None else (e.coef_[0, 0], e.intercept_[0]) for e in ends] == [(1, -1), (2, -2), (3, -3), None]
    begins = [fitted for hook, task, fitted in recorder.calls if (hook, task) == ("begin", "iteration")]
    assert [b.coef_[0, 0] for b in begins] == [0, 1, 2, 3]
    assert ends[0].classes_.tolist() == [0, 1, 2]
    assert recorder.calls[-2][2].coef_ is model.coef_
    assert recorder.X is data[0] and list(recorder.metadata) == ["sample_weight"]
    assert model.seen_[1] == (1, 2, 0.9, 0.1) and len(model.seen_) == 4
    assert not {"_callback_fit_ctx", "_skl_callbacks_to_teardown"} & set(vars(model))


@needs_protocol
def test_a_solver_that_offers_no_coefficients_gives_none(data):
    recorder = Recorder()
    toy_class()(offer=False).set_callbacks(recorder).fit(*data)
    assert {fitted for hook, task, fitted in recorder.calls if task == "iteration"} == {None}


@needs_protocol
@pytest.mark.parametrize(
    ("error", "caught"), [(None, StopIteration), (StopIteration(), StopIteration), (KeyError, KeyError)]
)
def test_a_callback_can_stop_the_fit(data, error, caught):
    recorder = Recorder(stop=1, error=error)
    model = toy_class()().set_callbacks(recorder)
    with pytest.raises(caught):
        model.fit(*data)
    assert [figures[0] for figures in model.seen_] == [0, 1, 2]
    assert recorder.order[-2:] == [("end", "iteration"), ("teardown", "fit")]


@needs_protocol
def test_a_stopped_fit_can_still_be_closed(data):
    class Stopped(toy_class()):
        @with_callbacks
        def fit(self, X, y):
            watch = bridge(self, X, y, classes=np.unique(y))
            watch(0, 0, 1.0, 1.0)
            with pytest.raises(StopIteration):
                watch(1, 1, 1.0, 1.0)
            watch.close()
            return self

    recorder = Recorder(stop=0)
    Stopped().set_callbacks(recorder).fit(*data)
    assert recorder.order[-3:] == [("end", "iteration"), ("end", "fit"), ("teardown", "fit")]


@pytest.mark.parametrize("callbacks", [True, False], ids=["with the mixin", "without callbacks"])
def test_nothing_happens_without_callbacks(data, callbacks):
    model = toy_class()()
    if callbacks and hasattr(model, "set_callbacks"):
        model.set_callbacks()
    model.fit(*data)
    assert set(vars(model)) == {"offer", "seen_", "coef_", "intercept_", "classes_"}
    assert pickle.loads(pickle.dumps(Watch(None, None, None, {}, {}))).current is None


def test_an_older_scikit_learn(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    monkeypatch.delattr("sklearn.callback", raising=False)
    path = Path(softmax.__file__).parent / "regression" / "_callbacks.py"
    spec = importlib.util.spec_from_file_location("softmax.regression._callbacks_of_old", path)
    old = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(old)
    assert old._protocol is None
    toy = toy_class(old)
    model = toy().fit(*data)
    assert len(model.seen_) == 4 and not hasattr(model, "set_callbacks")
    assert toy.fit.__doc__ == "Fit." and clone(model).offer


@needs_protocol
def test_the_progress_bar_of_scikit_learn(data, capsys):
    pytest.importorskip("rich")
    from sklearn.callback import ProgressBar

    toy_class()().set_callbacks(ProgressBar()).fit(*data)
    assert "Toy - fit" in capsys.readouterr().out


@needs_protocol
def test_the_mixin_is_the_one_of_scikit_learn():
    from sklearn.callback import CallbackSupportMixin

    assert CallbackSupport is CallbackSupportMixin


def fits(data):
    """The estimator with each of its solvers."""
    X, y = data
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return (
        X,
        y,
        {
            "newton": softmax.SoftmaxRegression(tol=1e-9),
            "newton-cg": softmax.SoftmaxRegression(tol=1e-9, solver="newton-cg"),
            "lasso": softmax.SoftmaxRegression(C=0.1, l1_ratio=1.0, tol=1e-9),
            "bounds": softmax.SoftmaxRegression(bounds=(0.0, None), tol=1e-9),
            "no penalty": softmax.SoftmaxRegression(C=np.inf, tol=1e-3),
        },
    )


SOLVERS = ["newton", "newton-cg", "lasso", "bounds", "no penalty"]


@needs_protocol
@pytest.mark.filterwarnings("ignore::softmax.NotCertifiedWarning")
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_scores_of_every_iteration_are_monitored(data, solver):
    pytest.importorskip("pandas")
    from sklearn.callback import ScoringMonitor

    X, y, models = fits(data)
    monitor = ScoringMonitor(scoring="neg_log_loss")
    model = models[solver].set_callbacks(monitor).fit(X, y)
    alone = clone(model).set_callbacks().fit(X, y)
    np.testing.assert_allclose(model.coef_, alone.coef_, rtol=1e-9, atol=1e-12)
    rows = monitor.get_logs().data
    scores = [row["neg_log_loss"] for row in rows if row["task_name"] == "iteration"]
    final = [row["neg_log_loss"] for row in rows if row["task_name"] == "fit"]
    truth = np.log(model.predict_proba(X)[np.arange(len(y)), y]).mean()
    assert final == [pytest.approx(truth, rel=1e-12)]
    assert len(scores) == model.n_iter_ and scores[-1] == pytest.approx(truth, rel=1e-6)
    assert len(set(scores)) > 1 or len(scores) == 1


@needs_protocol
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_callback_ends_the_fit_with_what_was_reached(data, solver):
    X, y, models = fits(data)
    recorder = Recorder(stop=0)
    with pytest.warns(softmax.NotCertifiedWarning, match="it was interrupted"):
        model = models[solver].set_callbacks(recorder).fit(X, y)
    assert model.status_ == "not converged" and model.n_iter_ <= 2
    assert np.isfinite(model.coef_).all() and model.predict(X[:3]).shape == (3,)
    assert recorder.order[-3:] == [("end", "iteration"), ("end", "fit"), ("teardown", "fit")]


@needs_protocol
def test_callbacks_in_a_search_of_scikit_learn(data):
    """A meta-estimator hands its callbacks down, and a clone keeps its own."""
    from sklearn.model_selection import cross_val_score

    recorder = Recorder()
    model = softmax.SoftmaxRegression().set_callbacks(recorder)
    assert cross_val_score(model, *data, cv=3).shape == (3,)
    assert recorder.order.count(("setup", "fit")) == recorder.order.count(("teardown", "fit")) == 3
    assert pickle.loads(pickle.dumps(softmax.SoftmaxRegression().fit(*data))).status_ == "certified"


@needs_protocol
def test_the_progress_bar_follows_the_estimator(data, capsys):
    pytest.importorskip("rich")
    from sklearn.callback import ProgressBar

    softmax.SoftmaxRegression().set_callbacks(ProgressBar()).fit(*data)
    assert "SoftmaxRegression - fit" in capsys.readouterr().out


def test_a_warning_points_to_the_caller_of_fit(data):
    with pytest.warns(softmax.NotCertifiedWarning) as caught:
        softmax.SoftmaxRegression(max_iter=1, tol=1e-12).fit(*data)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.filterwarnings("ignore::softmax.NotCertifiedWarning")
def test_a_line_per_iteration_with_verbose_and_none_without(data, solver, capsys):
    X, y, models = fits(data)
    models[solver].fit(X, y)
    assert capsys.readouterr() == ("", "")
    model = models[solver].set_params(verbose=1).fit(X, y)
    out = capsys.readouterr().out.splitlines()
    starts = [int(line.split()[0]) for line in out if line.split()[0].isdigit()]
    # A lasso may step through stronger penalties first, each beginning at 0.
    assert len(starts) == model.n_iter_ + starts.count(0) and starts[0] == 0
