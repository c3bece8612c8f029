"""``softmax cv``: the scores are those of the library, the choice is shown, the model is saved with it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

import softmax as sm
from softmax.cli import _progress, main


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
    stages = done.err.splitlines()
    assert stages[:2] == ["reading iris", "cross-validating 3 values in 5 folds"]
    assert stages[6] == "cross-validating 3 values in 5 folds: 5 of 5 done"


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


def test_the_bar_of_a_terminal():
    assert _progress._bar(0.0) == "─" * 20 + " "
    assert _progress._bar(0.5) == "━" * 10 + "─" * 10 + " "
    assert _progress._bar(1.0) == "━" * 20 + " "


def test_the_group_knows_the_command():
    assert main(["cv", "--help"]) == 0
