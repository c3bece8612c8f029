"""``softmax cv``: the scores are those of the library, the choice is shown, the model is saved with it."""

import json
import os
import re
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

import softmax as sm
from softmax import report
from softmax._table_fit import Step
from softmax.cli import _progress, main

from .test_app import finish, start


def test_the_table_of_a_search(softmax):
    done = softmax("cv", "iris", "--Cs", "0.01,1,100", "--seed", 3)
    assert done.code == 0, done.err
    assert "iris: 150 rows, 4 features, 3 classes" in done.out
    assert "Score of each C: minus the log-loss in nats, mean over 5 folds" in done.out
    rows = re.findall(r"^(0\.01|1|100) +(\S+) +(\S+) *(.*)$", done.out, re.M)
    assert [row[0] for row in rows] == ["0.01", "1", "100"]
    assert sum("chosen" in row[3] for row in rows) == 1
    assert "Certificate of the fit to all rows at C = " in done.out
    assert re.search(r"^status +certified$", done.out, re.M)
    assert "Saved iris.safetensors: fitted on all rows, 150." in done.out
    assert "Each row by a fit to the other folds, at the chosen C" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    stages = [line for line in done.err.splitlines() if not line.startswith("cross-validating: ")]
    assert stages[:2] == ["reading iris", "cross-validating 3 values in 5 folds"]
    assert stages[2] == "scoring each row by a fit to the other folds"


def test_the_scores_are_those_of_the_library(softmax):
    done = softmax("cv", "wine", "--Cs", "0.1,1", "--folds", 4, "--seed", 7, "--scoring", "accuracy", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    X, y = load_wine(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    truth = sm.SoftmaxRegressionCV([0.1, 1.0], cv=4, random_state=7, scoring="accuracy").fit(X, y)
    np.testing.assert_allclose(found["scores"]["scores"], truth.scores_, atol=1e-12)
    assert found["chosen"] == {"C": truth.C_, "l1_ratio": 0.0}
    model = sm.load("wine.safetensors")
    np.testing.assert_allclose(model.classifier.coef_, truth.coef_, atol=1e-6)
    assert list(model.record["search"]["Cs"]) == [0.1, 1.0]
    again = softmax("predict", "wine.safetensors", "wine")
    assert again.code == 0 and len(again.out.splitlines()) == 179


def test_one_standard_error_takes_a_smaller_c(softmax):
    best = json.loads(softmax("cv", "iris", "--json", "--Cs", 6).out)["chosen"]["C"]
    plain = json.loads(softmax("cv", "iris", "--json", "--Cs", 6, "--one-standard-error").out)["chosen"]["C"]
    assert plain < best
    shown = softmax("cv", "iris", "--Cs", 6, "--one-standard-error").out
    assert "Chosen: the smallest C within one standard error of the best." in shown
    assert len(re.findall(r"chosen$|best$", shown, re.M)) == 2


def test_several_shares_of_l1(softmax, penguin_file):
    done = softmax(
        "cv", penguin_file, "--target", "species", "--Cs", "0.1,1", "--l1-ratio", "0,1", "--folds", 3, "--json"
    )
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert np.shape(found["scores"]["scores"]) == (3, 2, 2)
    shown = softmax("cv", penguin_file, "--target", "species", "--Cs", "0.1,1", "--l1-ratio", "0,1", "--folds", 3)
    assert re.search(r"^C +L1 ratio +mean +std. error", shown.out, re.M)


def test_options_reach_the_search(softmax, penguin_file):
    options = ["--penalty", "l1", "--grouped", "--no-intercept", "--class-weight", "balanced", "--tol", 1e-4]
    done = softmax("cv", penguin_file, "--target", "species", "--Cs", 2, "--folds", 3, "-q", *options)
    assert (done.code, done.out, done.err) == (0, "", "")
    model = sm.load("penguins.safetensors").classifier
    assert (model.l1_ratio, model.grouped, model.class_weight, model.tol) == (1.0, True, "balanced", 1e-4)
    assert not model.intercept_.any() and model.verbose == 0


def test_a_report_shows_the_path(softmax):
    done = softmax("cv", "iris", "--Cs", 4, "--report", "r.html")
    assert done.code == 0, done.err
    assert "Wrote r.html: the report, for a browser." in done.out
    text = Path("r.html").read_text(encoding="utf-8")
    assert "On 150 rows, each by a fit to the other folds" in text and '<section id="calibration"' in text
    assert "Score over C by 5 folds" in text and 'class="mark">chosen' in text
    assert "softmax cv iris --Cs 4 --report r.html" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--Cs", "0"], "0 is no number of values"),
        (["--Cs", "1,x"], "'1,x' should be how many values"),
        (["--Cs", "1,-2"], "finite values > 0"),
        (["--Cs", "inf,1"], "finite values > 0"),
        (["--folds", "1"], "1 is not in the range"),
        (["--l1-ratio", "0,2"], "'0,2' should be a number from 0 to 1"),
        (["--l1-ratio", "0.3", "--penalty", "l1"], "--penalty l1 has the L1 ratio 1"),
        (["--grouped"], "--grouped is about the L1 part"),
        (["--scoring", "f7"], "'f7' is not one of"),
    ],
)
def test_wrong_usage(softmax, arguments, message):
    done = softmax("cv", "iris", *arguments)
    assert done.code == 2
    assert message in done.err
    assert not list(Path().iterdir())


def test_too_few_rows_for_the_folds(softmax):
    Path("t.csv").write_text("a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(6)))
    done = softmax("cv", "t.csv", "--target", "y", "--numeric", "a", "--folds", 5)
    assert done.code == 1
    assert "cv=5 stratified folds need a class with 5 rows" in done.err
    assert [path.name for path in Path().iterdir()] == ["t.csv"]


def numbers(path, n=20_000, d=10, n_classes=6):
    """A table of numbers whose classes overlap."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % n_classes
    X = rng.standard_normal((n, d)) + 0.3 * rng.standard_normal((n_classes, d))[y]
    rows = [",".join(f"{value:.3f}" for value in row) + f",k{label}" for row, label in zip(X, y, strict=True)]
    path.write_text("\n".join([",".join([*(f"f{j}" for j in range(d)), "y"]), *rows]))


@pytest.mark.parametrize("named", [True, False], ids=["-o", "no -o"])
def test_a_real_interrupt_keeps_the_best_so_far(tmp_path, named):
    numbers(tmp_path / "t.csv")
    options = ["-o", "m.safetensors"] if named else []
    with start("cv", "t.csv", "--target", "y", "--Cs", 60, "--folds", 40, *options, cwd=tmp_path) as process:
        lines = iter(process.stderr.readline, b"")
        reached = next(line for line in lines if b"(fold " in line).decode()
        process.send_signal(signal.SIGINT)
        code, out, err = finish(process)
    assert re.fullmatch(r"cross-validating: \d+ of 2460 fits \(fold \d+ of 40, C = \S+\)\n", reached)
    assert code == 130 and "Traceback" not in err
    last = err.splitlines()[-1]
    flat = " ".join(out.split())
    note = re.search(r"Note: the search was interrupted after (\d+) of 2400 scores: C=(\S+) is the best of", flat)
    assert note and "Each row by a fit to the other folds" not in out and "nan" not in out
    if not named:
        assert last == "Interrupted; nothing was saved; -o FILE would keep what there is."
        assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
        return
    assert last == f"Interrupted; m.safetensors holds the model at C = {note[2]}, the best by {note[1]} of 2400 scores."
    model = sm.load(tmp_path / "m.safetensors")
    assert model.classifier.status_ == "certified" and model.record["held_out"] is None
    assert np.sum(~np.isnan(model.classifier.scores_)) == int(note[1])


def interrupt_before(monkeypatch, owner, name, number=1):
    """Let Ctrl-C come at the first call of a function, or a later one."""
    original, calls = getattr(owner, name), []

    def call(*arguments, **options):
        calls.append(1)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(5)  # the signal comes between two steps of the interpreter
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, call)


def test_an_interrupt_after_the_search_leaves_rows_without_scores(softmax, monkeypatch):
    interrupt_before(monkeypatch, sm.SoftmaxRegression, "fit")
    done = softmax("cv", "iris", "--Cs", "0.1,1", "-o", "m.safetensors", "--report", "r.html")
    assert done.code == 130
    said = "the choice of the whole search; its rows were not scored"
    assert done.err.splitlines()[-1] == f"Interrupted; m.safetensors holds the model at C = 1, {said}."
    assert "Each row by a fit" not in done.out and "Saved m.safetensors" in done.out
    assert "No rows were scored" in Path("r.html").read_text(encoding="utf-8")


def test_an_interrupt_of_the_report_says_that_the_model_is_saved(softmax, monkeypatch):
    interrupt_before(monkeypatch, report, "save_content")
    done = softmax("cv", "iris", "--Cs", "0.1,1", "--report", "r.html")
    assert done.code == 130
    assert done.err.splitlines()[-1] == "Interrupted; iris.safetensors is saved, the report was not written."
    assert sm.load("iris.safetensors").classifier.C_ == 1.0


def test_an_interrupted_search_is_shown_where_it_has_been(softmax, monkeypatch):
    """The second fold is not complete: the first alone counts."""
    from softmax.regression import _search

    original, calls = _search.Search._score_on, []

    def score_on(self, test):
        score = original(self, test)

        def interrupted(*point):
            calls.append(1)
            if len(calls) > 4:
                raise KeyboardInterrupt
            return score(*point)

        return interrupted

    monkeypatch.setattr(_search.Search, "_score_on", score_on)
    done = softmax("cv", "iris", "--Cs", "0.1,1,10", "--threads", 1, "--report", "r.html")
    assert "mean over 1 fold" in done.out
    assert re.search(r"^10 +-0\.\d+ +– ", done.out, re.M)
    assert "interrupted after 4 of 15 scores" in " ".join(done.out.split())
    assert "Score over C by 1 fold;" in Path("r.html").read_text(encoding="utf-8")


def test_the_last_fit_after_an_interrupt_is_announced_and_ends_at_the_next(softmax, monkeypatch):
    """A lasso has no fit to all rows yet when the search is interrupted."""
    from softmax.regression import _search

    interrupt_before(monkeypatch, _search, "weighted_mean", number=4)
    original = sm.SoftmaxRegression.fit

    def fit(self, *arguments):
        def press(iteration, *_):
            if iteration == 1:
                os.kill(os.getpid(), signal.SIGINT)
                threading.Event().wait(5)

        self._progress = press
        return original(self, *arguments)

    monkeypatch.setattr(sm.SoftmaxRegression, "fit", fit)
    done = softmax(
        "cv", "iris", "--penalty", "l1", "--Cs", "1,10", "--threads", 1, "--tol", "1e-9", "-o", "m.safetensors"
    )
    assert done.code == 130
    stages = done.err.splitlines()
    assert "interrupted: fitting the best so far to all rows, until Ctrl-C comes again" in stages
    assert re.search(r"holds the model at C = \d+, not converged, the best by 3 of 10 scores\.$", stages[-1])
    assert sm.load("m.safetensors").classifier.status_ == "not converged"


class Lines:
    """A console that keeps what is printed."""

    def __init__(self):
        self.lines = []

    def print(self, what, **_):
        self.lines.append(what)


def test_lines_of_a_search_come_once_a_second(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(_progress, "monotonic", lambda: now[0])
    console = Lines()
    display = _progress.ProgressDisplay(console, None)
    display.iteration(Step("cross-validating 2 values in 2 folds", share=0.0))
    for i, second in enumerate([0.1, 1.2, 1.3, 2.0, 2.3]):
        now[0] = second
        display.iteration(Step("cross-validating", share=i / 6, detail=f"{i} of 6 fits"))
    for share in (0.0, 0.5):
        display.iteration(Step("scoring", share=share))
    assert console.lines == [
        "cross-validating 2 values in 2 folds",
        "cross-validating: 1 of 6 fits",
        "cross-validating: 4 of 6 fits",
        "scoring",
    ]


def test_the_bar_of_a_terminal():
    assert _progress._bar(0.0) == "─" * 20 + " "
    assert _progress._bar(0.5) == "━" * 10 + "─" * 10 + " "
    assert _progress._bar(1.0) == "━" * 20 + " "


def test_the_group_knows_the_command():
    assert main(["cv", "--help"]) == 0
