"""``softmax fit --report``, and the options of ``softmax fit`` around the penalty, the intervals and an interrupt."""

import json
import os
import re
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

import softmax as sm
from softmax import _table_fit
from softmax.cli import _options
from softmax.regression import _inputs

from .conftest import penguins


def report(done, name="r.html"):
    assert done.code == 0, done.err
    return Path(name).read_text(encoding="utf-8")


def test_a_report_of_a_table(softmax, penguin_file):
    done = softmax("fit", penguin_file, "--target", "species", "--report", "r.html", "--seed", 2)
    text = report(done)
    assert "Wrote r.html: the report, for a browser." in done.out
    assert "<title>species from penguins.csv</title>" in text
    assert "softmax fit penguins.csv --target species --report r.html --seed 2" in text
    assert "18 held-out rows, by the fit on 72 rows" in text
    assert '<bdi class="whole">Gentoo, large</bdi>' in text and "category, 0/1" in text
    scores = json.loads(softmax("fit", penguin_file, "--target", "species", "--json", "--seed", 2).out)["held_out"]
    assert f"{100 * scores['accuracy']:.1f} %" in text
    for name in ("bill length (mm)", "island=Biscoe"):
        assert f">{name}</bdi>" in text


def test_a_report_says_what_was_missing(softmax):
    Path("holes.csv").write_text(penguins(missing=True))
    text = report(softmax("fit", "holes.csv", "--target", "species", "--missing", "mean", "--report", "r.html"))
    row = re.search(r"bill length \(mm\)</bdi></th><td[^>]*>number</td><td>(\d+)</td>", text)
    assert row[1] == "9"
    assert "filled in missing values in" in text


def test_without_held_out_rows_the_report_says_so(softmax):
    text = report(softmax("fit", "iris", "--test-size", 0, "--report", "r.html"))
    assert "No rows were scored:" in text and "no rows were held out" in text


def test_a_report_is_replaced_and_another_file_is_not(softmax, penguin_file):
    assert softmax("fit", "iris", "--report", "r.html").code == 0
    assert softmax("fit", "iris", "--report", "r.html").code == 0
    Path("notes.txt").write_text("precious")
    refused = softmax("fit", "iris", "--report", "notes.txt")
    assert refused.code == 1
    assert refused.err == "Error: notes.txt exists and is no report. Name another file, or pass --force.\n"
    assert Path("notes.txt").read_text() == "precious"
    assert softmax("fit", "iris", "--report", "notes.txt", "--force").code == 0
    same = softmax("fit", penguin_file, "--target", "species", "--report", penguin_file, "--force")
    assert same.err == "Error: penguins.csv cannot be both the report and penguins.csv; name another file.\n"
    nowhere = softmax("fit", "iris", "--report", "nowhere/r.html")
    assert nowhere.code == 1 and "nowhere/r.html cannot be written" in nowhere.err


@pytest.mark.parametrize(
    ("options", "C", "l1_ratio", "grouped"),
    [
        ([], 1.0, 0.0, False),
        (["-C", 3], 3.0, 0.0, False),
        (["--penalty", "l1"], 1.0, 1.0, False),
        (["--penalty", "elastic-net", "--grouped"], 1.0, 0.5, True),
        (["--penalty", "elastic-net", "--l1-ratio", 0.25], 1.0, 0.25, False),
        (["--l1-ratio", 0.75, "-C", 0.1], 0.1, 0.75, False),
    ],
)
def test_penalties_reach_the_solver(softmax, options, C, l1_ratio, grouped):
    done = softmax("fit", "iris", "-q", "--solver", "newton-cg", "--threads", 1, *options)
    assert done.code == 0, done.err
    model = sm.load("iris.safetensors").classifier
    assert (model.C, model.l1_ratio, model.grouped) == (C, l1_ratio, grouped)
    assert (model.solver, model.n_threads) == ("newton-cg", 1)
    X, y = load_iris(return_X_y=True)
    direct = sm.SoftmaxRegression(C, l1_ratio=l1_ratio, grouped=grouped).fit(StandardScaler().fit_transform(X), y)
    assert model.objective_ == pytest.approx(direct.objective_, rel=3e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--penalty", "none", "-C", "2"], "--penalty none is C = inf"),
        (["-C", "inf", "--penalty", "l1"], "-C inf is no penalty"),
        (["-C", "inf", "--l1-ratio", "0.5"], "--l1-ratio divides a penalty"),
        (["--penalty", "l2", "--l1-ratio", "0.5"], "--penalty l2 has the L1 ratio 0"),
        (["--grouped"], "--grouped is about the L1 part"),
        (["--inference"], "--inference needs a fit without a penalty"),
        (["--l1-ratio", "1.5"], "is not in the range"),
        (["--solver", "magic"], "'magic' is not one of"),
    ],
)
def test_wrong_usage(softmax, arguments, message):
    done = softmax("fit", "iris", *arguments)
    assert done.code == 2
    assert message in " ".join(done.err.split())
    assert not list(Path().iterdir())


def test_the_solvers_are_those_of_the_library():
    assert _options.SOLVERS == _inputs.SOLVERS


def test_separation_is_said_in_words(softmax):
    done = softmax("fit", "wine", "-C", "inf", "--report", "r.html", "--inference")
    text = report(done)
    flat = " ".join(done.out.split())
    assert re.search(r"^status +separated +separated$", done.out, re.M)
    assert "Note: no finite optimum exists: " in flat and "'class_0' from all other classes" in flat
    assert "pass a finite -C" in flat and flat.count("no finite optimum exists") == 1
    assert "No standard errors: " in flat
    assert '<section id="separation"' in text and "separate &#x27;class_0&#x27; from all other classes" in text
    found = json.loads(softmax("fit", "wine", "--penalty", "none", "--json").out)
    assert found["separation"].startswith("no finite optimum exists: '")


def test_inference_of_a_table_with_categories(softmax, penguin_file):
    Path("more.csv").write_text(penguins(300))
    done = softmax("fit", "more.csv", "--target", "species", "-C", "inf", "--inference", "--test-size", 0)
    assert done.code == 0, done.err
    assert "Class Chinstrap, against Adélie" in done.out
    block = done.out.partition("Class Chinstrap, against Adélie")[2].partition("Class ")[0]
    names = re.findall(r"^(\S.*?)  +-?\d", block, re.M)
    assert names == ["intercept", "bill length (mm)", "mass", "island=Dream", "island=Torgersen", "sex=male"]
    assert "island=Biscoe" not in done.out
    assert "per standard deviation of the column" in done.out
    quiet = softmax("fit", "more.csv", "--target", "species", "-C", "inf", "--inference", "--test-size", 0, "-q")
    assert "Class Chinstrap, against Adélie" in quiet.out


def test_a_temperature(softmax):
    done = softmax("fit", "iris", "--calibrate", "--report", "r.html")
    text = report(done)
    words = r"Temperature (\S+): log-loss of rows held out in 5 folds (\S+) before, (\S+) after\."
    found = re.search(words, " ".join(done.out.split()))
    assert found and float(found[3]) <= float(found[2])
    temperature = sm.load("iris.safetensors").classifier.temperature_
    assert temperature != 1.0 and f"{temperature:.4g}" == found[1]
    held_out = json.loads(softmax("fit", "iris", "--calibrate", "--json").out)["held_out"]
    plain = json.loads(softmax("fit", "iris", "--json").out)["held_out"]
    assert held_out["accuracy"] == plain["accuracy"] and held_out["log_loss"] != plain["log_loss"]
    assert "before, T = 1" in text and "after calibration, T = " in text


def test_a_temperature_that_does_not_exist_is_a_note(softmax):
    Path("t.csv").write_text("a,y\n" + "".join(f"{i},{'ab'[i >= 20]}\n" for i in range(40)))
    done = softmax("fit", "t.csv", "--target", "y", "--numeric", "a", "--calibrate", "--test-size", 0)
    assert done.code == 0, done.err
    flat = " ".join(done.out.split())
    assert ("Note: not calibrated: every row has its largest logit at its class" in flat) or "Temperature" in flat


def interrupt_at_the_third_iteration(monkeypatch):
    """Let Ctrl-C come while the solver works."""
    original = _table_fit._classifier

    def classifier(*arguments):
        made = original(*arguments)
        seen = []

        def hook(iteration, *figures):
            seen.append(iteration)
            if len(seen) == 3:
                os.kill(os.getpid(), signal.SIGINT)
                threading.Event().wait(5)  # the signal comes between two steps of the interpreter

        made._progress = hook
        return made

    monkeypatch.setattr(_table_fit, "_classifier", classifier)


@pytest.mark.parametrize("named", [False, True], ids=["no -o", "-o"])
def test_an_interrupt_keeps_what_was_reached_where_a_file_is_named(softmax, monkeypatch, named):
    interrupt_at_the_third_iteration(monkeypatch)
    before = signal.getsignal(signal.SIGINT)
    done = softmax("fit", "digits", *(["-o", "m.safetensors"] if named else []))
    assert done.code == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert "Traceback" not in done.err
    last = done.err.splitlines()[-1]
    if not named:
        assert last == "Interrupted; nothing was saved; -o FILE would keep what there is."
        assert not list(Path().iterdir())
        return
    assert last == "Interrupted; m.safetensors holds the best coefficients so far, not converged."
    model = sm.load("m.safetensors").classifier
    assert model.status_ == "not converged" and np.isfinite(model.gap_)
    assert "Note: the fit is certified to " in " ".join(done.out.split())
