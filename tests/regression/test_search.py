"""What becomes of a search when it is interrupted, and what callbacks hear of it."""

import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedKFold

import softmax as sm
from softmax.regression import _callbacks, _search
from softmax.regression._search import Curve

needs_protocol = pytest.mark.skipif(_callbacks._protocol is None, reason="scikit-learn < 1.9 has no callback protocol")

GRID = [0.01, 0.1, 1.0, 10.0]


def blobs(n=200, d=4, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    return rng.standard_normal((n, d)) + 0.7 * rng.standard_normal((n_classes, d))[y], y


class Recorder:
    """Writes down what it is told; asks to stop at the end of the task whose number in the search is `stop`."""

    def __init__(self, stop=None, error=None):
        self.stop, self.error = stop, error
        self.calls, self.ended = [], []

    def setup(self, estimator, context):
        self.calls.append(("setup", context.task_name))

    def teardown(self, estimator, context):
        self.calls.append(("teardown", context.task_name))

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
        self.calls.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
        self.calls.append(("end", context.task_name, context.task_id))
        self.ended.append((context, X, y, metadata, fitted_estimator))
        if context.task_name == "candidate-split-evaluation" and context.task_id == self.stop:
            if self.error is not None:
                raise self.error
            return True
        return False

    def tasks(self, name):
        """(number, X, y, metadata, fitted estimator) of each task of a name."""
        return [(context.task_id, *rest) for context, *rest in self.ended if context.task_name == name]


class Propagated(Recorder):
    """The same, for the estimators within too."""

    max_propagation_depth = None


def shape_of(calls):
    """Names of hooks and tasks, repeats taken together."""
    names = [call[:2] for call in calls]
    return [name for i, name in enumerate(names) if not i or name != names[i - 1]]


@needs_protocol
@pytest.mark.parametrize("n_threads", [1, 2])
def test_each_value_and_fold_is_a_task(n_threads):
    X, y = blobs()
    weights = 1.0 + (np.arange(len(y)) % 2)
    recorder = Recorder()
    model = sm.SoftmaxRegressionCV(GRID, cv=3, n_threads=n_threads).set_callbacks(recorder)
    model.fit(X, np.array(["a", "b", "c"])[y], weights)
    alone = clone(model).set_callbacks().fit(X, np.array(["a", "b", "c"])[y], weights)
    np.testing.assert_array_equal(model.scores_, alone.scores_)
    np.testing.assert_array_equal(model.coef_, alone.coef_)

    assert recorder.calls[:3] == [("setup", "fit"), ("begin", "fit", 0), ("begin", "search", 0)]
    assert recorder.calls[-5:] == [
        ("end", "search", 0),
        ("begin", "refit-with-best-params", 1),
        ("end", "refit-with-best-params", 1),
        ("end", "fit", 0),
        ("teardown", "fit"),
    ]
    begun = [call[1:] for call in recorder.calls if call[0] == "begin"]
    ended = [call[1:] for call in recorder.calls if call[0] == "end"]
    assert sorted(begun) == sorted(ended)
    assert len(begun) == len(set(begun)) == 1 + 1 + len(GRID) * (3 + 1) + 1

    folds = list(StratifiedKFold(3).split(X, y))
    found = recorder.tasks("candidate-split-evaluation")
    assert sorted(task[0] for task in found) == list(range(12))
    for number, seen_X, seen_y, metadata, fitted in found:
        candidate, fold = divmod(number, 3)
        train, test = folds[fold]
        np.testing.assert_array_equal(seen_X, X[train])
        np.testing.assert_array_equal(seen_y, np.array(["a", "b", "c"])[y[train]])
        np.testing.assert_array_equal(metadata["sample_weight"], weights[train])
        log_p = fitted.predict_log_proba(X[test])[np.arange(len(test)), y[test]]
        assert np.average(log_p, weights=weights[test]) == pytest.approx(model.scores_[fold, candidate], rel=1e-9)
        assert (fitted.C_, fitted.l1_ratio_) == (GRID[candidate], 0.0)
    everything = recorder.tasks("candidate-fit")
    assert sorted(task[0] for task in everything) == [12, 13, 14, 15]
    np.testing.assert_array_equal(everything[model.best_index_][4].coef_, model.coef_)
    assert recorder.ended[-1][4].coef_ is model.coef_
    assert not {"_callback_fit_ctx", "_skl_callbacks_to_teardown"} & set(vars(model))


@needs_protocol
def test_the_tasks_are_those_of_a_search_of_scikit_learn():
    """Their names and order, where the last fit is made after the search; the iterations of the folds aside."""
    X, y = blobs()
    ours, theirs = Propagated(), Propagated()
    sm.SoftmaxRegressionCV(GRID, cv=3, l1_ratio=0.5, n_threads=1).set_callbacks(ours).fit(X, y)
    search = GridSearchCV(sm.SoftmaxRegression(l1_ratio=0.5), {"C": GRID}, cv=3, scoring="neg_log_loss")
    search.set_callbacks(theirs).fit(X, y)

    def outside(recorder):
        """Tasks as the estimator of the search names them."""
        names = [(c.source_task_name or c.task_name, c.task_id) for c, *_ in recorder.ended]
        return [name for name in names if name[0] != "iteration"]

    # Ours are fold by fold, theirs value by value.
    assert sorted(outside(ours)) == sorted(outside(theirs))
    assert outside(ours)[-3:] == outside(theirs)[-3:]
    last = [(c.estimator_name, c.source_estimator_name) for c, *_ in ours.ended if c.source_task_name]
    assert last == [("SoftmaxRegression", "SoftmaxRegressionCV")]
    assert shape_of(ours.calls)[-4:] == shape_of(theirs.calls)[-4:]
    iterations = [c for c, *_ in ours.ended if c.task_name == "iteration"]
    assert iterations and iterations[0].estimator_name == "SoftmaxRegression"
    assert ours.calls.count(("teardown", "fit")) == 1


@needs_protocol
def test_a_search_within_a_search():
    X, y = blobs()
    recorder = Propagated()
    inner = sm.SoftmaxRegressionCV(GRID, cv=2, n_threads=1)
    GridSearchCV(inner, {"l1_ratio": [0.0, 0.5]}, cv=2, refit=False).set_callbacks(recorder).fit(X, y)
    inner_tasks = [c for c, *_ in recorder.ended if c.task_name == "search" and c.estimator_name != "GridSearchCV"]
    assert len(inner_tasks) == 4
    assert recorder.calls.count(("setup", "fit")) == recorder.calls.count(("teardown", "fit")) == 1


@needs_protocol
@pytest.mark.parametrize("options", [{"cv": "alo"}, {"cv": 3, "refit": False}, {"cv": 3, "l1_ratio": [0.0, 1.0]}])
def test_every_task_that_begins_ends(options):
    X, y = blobs()
    recorder = Recorder()
    model = sm.SoftmaxRegressionCV(GRID, **options).set_callbacks(recorder).fit(X, y)
    begun = [call[1:] for call in recorder.calls if call[0] == "begin"]
    assert sorted(begun) == sorted(call[1:] for call in recorder.calls if call[0] == "end")
    evaluations = sorted(task[0] for task in recorder.tasks("candidate-split-evaluation"))
    assert evaluations == list(range(model.scores_.size))
    search = next(context for context, *_ in recorder.ended if context.task_name == "search")
    assert search.max_subtasks == len(search._children_map)
    root = recorder.ended[-1][0]
    assert root.max_subtasks == len(root._children_map)
    assert (recorder.ended[-1][4] is None) == (options.get("refit") is False)


@needs_protocol
def test_the_callbacks_of_scikit_learn(capsys):
    pytest.importorskip("rich")
    pytest.importorskip("pandas")
    from sklearn.callback import ProgressBar, ScoringMonitor

    X, y = blobs()
    monitor = ScoringMonitor(scoring="neg_log_loss")
    model = sm.SoftmaxRegressionCV(GRID, cv=3).set_callbacks(monitor, ProgressBar()).fit(X, y)
    assert "SoftmaxRegressionCV - search" in capsys.readouterr().out
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "candidate-split-evaluation"]
    assert len(rows) == 12
    train, _ = next(iter(StratifiedKFold(3).split(X, y)))
    truth = sm.SoftmaxRegression(10.0, tol=1e-10).fit(X[train], y[train]).predict_log_proba(X[train])
    row = next(row for row in rows if row["task_id"] == 9)
    assert row["neg_log_loss"] == pytest.approx(truth[np.arange(len(train)), y[train]].mean(), abs=1e-3)
    assert pickle.loads(pickle.dumps(clone(model).set_callbacks().fit(X, y))).C_ == model.C_


@needs_protocol
@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_callback_ends_the_search(n_threads):
    X, y = blobs()
    recorder = Recorder(stop=4)  # the second value in the second fold
    model = sm.SoftmaxRegressionCV(GRID, cv=3, n_threads=n_threads).set_callbacks(recorder)
    with pytest.warns(sm.NotCertifiedWarning, match=r"the search was interrupted after \d+ of 12 scores"):
        model.fit(X, y)
    assert recorder.calls[-1] == ("teardown", "fit") and recorder.calls[-2] == ("end", "fit", 0)
    assert sorted(call[1:] for call in recorder.calls if call[0] == "begin") == sorted(
        call[1:] for call in recorder.calls if call[0] == "end"
    )
    assert model.status_ == "certified" and 2 <= np.sum(~np.isnan(model.scores_)) < 12
    if n_threads == 1:
        full = sm.SoftmaxRegressionCV(GRID, cv=3, n_threads=1).fit(X, y)
        np.testing.assert_array_equal(model.scores_[0], full.scores_[0])
        np.testing.assert_array_equal(np.isnan(model.scores_), [[False] * 4, [False] * 2 + [True] * 2, [True] * 4])
        np.testing.assert_array_equal(model.mean_scores_, full.scores_[0])  # the fold that is complete


@needs_protocol
def test_a_callback_ends_the_search_at_the_end_of_a_fold():
    model = sm.SoftmaxRegressionCV(GRID, cv=3, n_threads=1).set_callbacks(Recorder(stop=9))
    with pytest.warns(sm.NotCertifiedWarning, match="interrupted after 4 of 12 scores"):
        model.fit(*blobs())


@needs_protocol
def test_a_callback_that_ends_the_search_with_the_last_score_interrupts_nothing():
    model = sm.SoftmaxRegressionCV(GRID, cv=3, n_threads=1).set_callbacks(Recorder(stop=11)).fit(*blobs())
    assert not np.isnan(model.scores_).any()


@needs_protocol
@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_error_of_a_callback_goes_through(n_threads):
    recorder = Recorder(stop=0, error=KeyError("mine"))
    model = sm.SoftmaxRegressionCV(60, cv=2, n_threads=n_threads).set_callbacks(recorder)
    with pytest.raises(KeyError, match="mine"):
        model.fit(*blobs(2000, 10, 5))
    assert recorder.calls[-1] == ("teardown", "fit")
    # The fold of the other thread ends too.
    assert len(recorder.tasks("candidate-split-evaluation")) < 60


def interrupt_at(monkeypatch, number, times=1):
    """Let Ctrl-C come when the score of that number, from 0, is due."""
    original, calls = _search.Search._score_on, []

    def score_on(self, test):
        score = original(self, test)

        def interrupted(*point):
            calls.append(1)
            if number <= len(calls) - 1 < number + times:
                raise KeyboardInterrupt
            return score(*point)

        return interrupted

    monkeypatch.setattr(_search.Search, "_score_on", score_on)


@pytest.mark.parametrize("number", [1, 3, 4, 6, 11])
def test_an_interrupt_keeps_the_best_so_far(monkeypatch, number):
    X, y = blobs()
    full = sm.SoftmaxRegressionCV(GRID, cv=3, n_threads=1).fit(X, y)
    interrupt_at(monkeypatch, number)
    model = sm.SoftmaxRegressionCV(GRID, cv=3, n_threads=1)
    with pytest.warns(sm.NotCertifiedWarning, match=rf"interrupted after {number} of 12 scores: C=") as caught:
        model.fit(X, y)
    assert [w.filename for w in caught] == [__file__]
    known = np.arange(12).reshape(3, 4) < number
    np.testing.assert_array_equal(np.isnan(model.scores_), ~known)
    np.testing.assert_array_equal(model.scores_[known], full.scores_[known])
    n_folds, n_Cs = max(1, number // 4), min(number, 4)
    np.testing.assert_allclose(model.mean_scores_[:n_Cs], full.scores_[:n_folds, :n_Cs].mean(axis=0))
    assert np.isnan(model.mean_scores_[n_Cs:]).all()
    assert model.best_index_ == np.nanargmax(model.mean_scores_) and GRID[model.best_index_] == model.C_
    best = sm.SoftmaxRegression(model.C_, tol=1e-10).fit(X, y)
    assert best.objective_ - best.gap_ <= model.objective_ <= best.objective_ * (1 + 1e-6)
    assert f"C={model.C_:.4g} is the best of {n_Cs} by {n_folds} of 3 folds" in str(caught[0].message)


@pytest.mark.parametrize("cv", [3, "alo"])
def test_an_interrupt_before_any_score_goes_on(monkeypatch, cv):
    interrupt_at(monkeypatch, 0)
    monkeypatch.setattr(_search, "leave_one_out_logits", _raise_interrupt)
    model = sm.SoftmaxRegressionCV(GRID, cv=cv, n_threads=1)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*blobs())
    assert not hasattr(model, "coef_") and not hasattr(model, "C_")


def _raise_interrupt(*_):
    raise KeyboardInterrupt


def test_an_interrupt_of_approximate_leave_one_out(monkeypatch):
    X, y = blobs()
    full = sm.SoftmaxRegressionCV(GRID, cv="alo").fit(X, y)
    original, calls = _search.leave_one_out_logits, []

    def logits(*arguments):
        calls.append(1)
        return original(*arguments) if len(calls) < 3 else _raise_interrupt()

    monkeypatch.setattr(_search, "leave_one_out_logits", logits)
    with pytest.warns(sm.NotCertifiedWarning, match="interrupted after 2 of 4 scores"):
        model = sm.SoftmaxRegressionCV(GRID, cv="alo").fit(X, y)
    np.testing.assert_allclose(model.mean_scores_, [*full.mean_scores_[:2], np.nan, np.nan], rtol=1e-6)
    assert model.C_ == 0.1 and model.status_ == "certified"


def test_a_share_of_l1_that_is_not_complete_is_not_compared(monkeypatch):
    X, y = blobs()
    first = sm.SoftmaxRegressionCV(GRID, cv=3, l1_ratio=[0.5], n_threads=1).fit(X, y)
    interrupt_at(monkeypatch, 12 + 6)
    model = sm.SoftmaxRegressionCV(GRID, cv=3, l1_ratio=[0.5, 1.0, 0.0], n_threads=1)
    with pytest.warns(sm.NotCertifiedWarning, match="interrupted after 18 of 36 scores: .* of 4 by 3 of 3 folds"):
        model.fit(X, y)
    assert (model.C_, model.l1_ratio_) == (first.C_, 0.5) and model.best_index_ == (first.best_index_[0], 0)
    assert model.scores_.shape == (3, 4, 3) and np.sum(~np.isnan(model.scores_)) == 18
    np.testing.assert_array_equal(np.isnan(model.mean_scores_), [[False, True, True]] * 4)


def test_an_interrupt_of_the_last_fit_keeps_where_it_stands(monkeypatch):
    X, y = blobs()
    original = sm.SoftmaxRegression.fit

    def fit(self, *arguments):
        self._progress = lambda iteration, *_: _raise_interrupt() if iteration == 1 else None
        return original(self, *arguments)

    monkeypatch.setattr(sm.SoftmaxRegression, "fit", fit)
    model = sm.SoftmaxRegressionCV(GRID, cv=3, l1_ratio=0.5, tol=1e-9, n_threads=1)
    with pytest.warns(sm.NotCertifiedWarning, match="it was interrupted: these are the best coefficients") as caught:
        model.fit(X, y)
    assert [w.filename for w in caught] == [__file__]
    assert model.status_ == "not converged" and not np.isnan(model.scores_).any()
    assert model.predict(X).shape == y.shape


def test_what_can_be_compared():
    curve = Curve.empty(3, 4)
    assert not any(mask.any() for mask in curve.compared)
    for fold, reached in ((0, 3), (2, 2)):
        curve.done[fold, :reached] = True
    folds, Cs = curve.compared
    assert (folds.tolist(), Cs.tolist()) == ([True, False, True], [True, True, False, False])
    curve.done[1] = True
    folds, Cs = curve.compared
    assert (folds.tolist(), Cs.tolist()) == ([False, True, False], [True] * 4)
    curve.scores[1] = np.arange(4)
    curve.average()
    np.testing.assert_array_equal(curve.means, np.arange(4))
    assert np.isnan(curve.errors).all()


@pytest.mark.parametrize("options", [{}, {"cv": "alo"}, {"l1_ratio": [0.0, 1.0]}])
def test_a_hook_hears_of_every_fit(options):
    heard = []
    model = sm.SoftmaxRegressionCV(GRID, **{"cv": 3, **options}, n_threads=2)
    model._progress = lambda *figures: heard.append(figures)
    model.fit(*blobs())
    total = {"alo": 4}.get(options.get("cv"), 16 if "l1_ratio" not in options else 28)
    assert [figures[:2] for figures in heard] == [(i + 1, total) for i in range(total)]
    assert heard[0][2] == "all rows, C = 0.01"
    assert heard[-1][2].startswith("all rows" if options.get("cv") == "alo" else "fold ")
    assert "_progress" not in vars(pickle.loads(pickle.dumps(model)))


LONG = """
import signal, sys, threading, time, warnings
import numpy as np
import softmax as sm
rng = np.random.default_rng(0)
n, d, K = {size}
y = np.arange(n) % K
X = rng.standard_normal((n, d)) + 0.3 * rng.standard_normal((K, d))[y]
model = sm.SoftmaxRegressionCV(np.logspace(-3, 3, 13), cv=5, tol=1e-8, n_threads={threads})
def tell(done, total, words):
    if done == {at}:
        print("now", flush=True)
model._progress = tell
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    try:
        model.fit(X, y)
    except KeyboardInterrupt:
        print("passed on", hasattr(model, "coef_"))
        sys.exit(0)
print(*(warning.message for warning in caught))
print(model.C_, model.status_, np.isfinite(model.coef_).all(), np.sum(~np.isnan(model.scores_)))
"""


@pytest.mark.parametrize(
    ("size", "threads", "at"),
    [((20_000, 30, 6), 1, 20), ((20_000, 30, 6), 1, 3), ((20_000, 30, 6), 2, 20)],
    ids=["fold by fold", "before any score", "a fold each"],
)
def test_a_real_interrupt(size, threads, at, tmp_path):
    script = tmp_path / "search.py"
    script.write_text(LONG.format(size=size, threads=threads, at=at))
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGINT)
        start = time.perf_counter()
        out, err = process.communicate(timeout=60)
    assert time.perf_counter() - start < 10.0
    assert err == ""
    lines = out.splitlines()
    if at < 13:
        assert lines == ["passed on False"]
        return
    done = int(lines[1].split()[-1])
    assert lines[0].startswith(f"the search was interrupted after {done} of 65 scores: C=")
    assert lines[1].split()[1:3] == ["certified", "True"] and 7 <= done < 65
