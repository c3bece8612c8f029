"""``softmax fit``: its report is true, its file is the model it says, and each refusal says what to do."""

import gzip
import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.preprocessing import StandardScaler

import softmax as sm
from softmax.tables import stratified_split

from .conftest import penguins


def report_of(done):
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_digits_from_the_first_command(softmax):
    done = softmax("fit", "digits")
    assert done.code == 0, done.err
    for line in (
        "digits: 1,797 rows, 64 features, 10 classes",
        "0: 178  1: 182  2: 177",
        "Held out: 359 rows (seed 0), fitted on 1,438",
        "Baseline: the largest class, ",
        "Saved digits.safetensors: fitted on all rows, 1,797. Took ",
        "Next: softmax predict digits.safetensors DATA -o out.csv",
    ):
        assert line in done.out
    for figure in ("accuracy", "log-loss (nats per row)", "objective (nats)", "above the optimum by at most"):
        assert len(re.search(rf"^{re.escape(figure)} +(\S+) +(\S+)$", done.out, re.M).groups()) == 2
    assert re.search(r"^status +certified +certified$", done.out, re.M)
    assert re.search(r"^passes over the data +\d+ +\d+$", done.out, re.M)
    assert max(map(len, done.out.splitlines())) <= 80
    assert "\x1b" not in done.out + done.err
    stages = [line for line in done.err.splitlines() if ": pass" not in line]  # those come where a fit takes long
    assert stages == [
        "reading digits",
        "fitting on 1,438 training rows",
        "scoring 359 held-out rows",
        "fitting on 1,797 rows",
        "saving digits.safetensors",
    ]


def test_the_figures_are_those_of_another_tool(softmax):
    """scikit-learn, on the same split, standardised by hand, at a tight tolerance."""
    report = report_of(softmax("fit", "digits", "--json", "--seed", 3, "--tol", 1e-10))
    X, y = load_digits(return_X_y=True)
    train, held = stratified_split(y, 0.2, 3)
    scaler = StandardScaler().fit(X[train])
    other = LogisticRegression(C=1.0, tol=1e-8, max_iter=10_000).fit(scaler.transform(X[train]), y[train])
    proba = other.predict_proba(scaler.transform(X[held]))
    assert report["held_out"]["accuracy"] == pytest.approx(accuracy_score(y[held], proba.argmax(1)), abs=1e-12)
    assert report["held_out"]["log_loss"] == pytest.approx(log_loss(y[held], proba), abs=1e-5)
    prior = np.bincount(y[train]) / len(train)
    assert report["held_out"]["baseline_log_loss"] == pytest.approx(log_loss(y[held], np.tile(prior, (len(held), 1))))
    assert report["held_out"]["baseline_accuracy"] == pytest.approx(np.mean(y[held] == prior.argmax()))
    certificate = report["held_out_certificate"]
    logs = -other.predict_log_proba(scaler.transform(X[train]))[np.arange(len(train)), y[train]]
    objective = logs.mean() + 0.5 / len(train) * np.sum(other.coef_**2)
    assert abs(certificate["objective"] - objective) <= certificate["gap"] + 1e-7


@pytest.mark.parametrize("kind", ["csv", "tsv", "csv.gz", "parquet", "arrow"])
def test_every_format_gives_the_same_model(softmax, penguin_file, kind):
    frame = pl.read_csv(penguin_file)
    path = Path(f"data.{kind}")
    match kind:
        case "tsv":
            frame.write_csv(path, separator="\t")
        case "csv":
            path.write_bytes(penguin_file.read_bytes().replace(b"\r\n", b"\n"))
        case "csv.gz":
            path.write_bytes(gzip.compress(penguin_file.read_bytes()))
        case "parquet":
            frame.write_parquet(path)
        case "arrow":
            frame.write_ipc(path)
    report = report_of(softmax("fit", path, "--target", "species", "--json"))
    truth = report_of(softmax("fit", penguin_file, "--target", "species", "--json"))
    assert report["model"] == "data.safetensors"
    assert report["certificate"]["objective"] == truth["certificate"]["objective"]
    assert report["held_out"] == truth["held_out"]
    assert report["features"] == truth["features"]
    proba = sm.load("data.safetensors").predict_proba(frame)
    np.testing.assert_array_equal(proba, sm.load("penguins.safetensors").predict_proba(frame))


def test_a_seed_repeats_and_another_differs(softmax, penguin_file):
    runs = [
        report_of(softmax("fit", penguin_file, "--target", "species", "--json", "--seed", seed)) for seed in (5, 5, 6)
    ]
    for run in runs:
        assert 0 < run.pop("fit_seconds") < run.pop("seconds")
    assert runs[0] == runs[1]
    assert runs[0]["held_out"] != runs[2]["held_out"]
    assert runs[0]["certificate"] == runs[2]["certificate"]  # all rows, whatever the split
    states = []
    for _ in range(2):
        softmax("fit", penguin_file, "--target", "species", "-q")
        states.append(sm.load("penguins.safetensors").__softmax_state__())
    assert states[0][1] == states[1][1]
    for name, array in states[0][2].items():
        np.testing.assert_array_equal(array, states[1][2][name])


def test_the_saved_model_is_the_one_of_all_rows_unless_asked_otherwise(softmax, penguin_file):
    refitted = softmax("fit", penguin_file, "--target", "species")
    assert "fitted on all rows, 90." in refitted.out
    assert re.search(r"^fitted on +72 rows +90 rows, saved$", refitted.out, re.M)
    model = sm.load("penguins.safetensors")
    assert model.class_counts.tolist() == [30, 30, 30]
    kept = softmax("fit", penguin_file, "--target", "species", "--no-refit", "-o", "kept.safetensors")
    assert "fitted on the training rows only, 72." in kept.out
    assert re.search(r"^fitted on +72 rows, saved$", kept.out, re.M)
    other = sm.load("kept.safetensors")
    assert other.class_counts.tolist() == [24, 24, 24]
    assert other.encoder.features[0].mean != model.encoder.features[0].mean


def test_a_test_file(softmax, penguin_file):
    Path("test.csv").write_text(penguins(30) + "Emperor,60,9000,Biscoe,male\n" + "Gentoo,40,4000,Skye,male\n" * 2)
    done = softmax("fit", penguin_file, "--target", "species", "--test", "test.csv")
    assert "Test: 33 rows of test.csv, fitted on 90" in done.out
    assert "Saved penguins.safetensors: fitted on all rows, 90." in done.out
    flat = " ".join(done.out.split())
    assert "Note: test.csv: labels that the model does not know: 'Gentoo' (2 rows), 'Emperor' (1 row); it knows" in flat
    assert "'island' has categories that the model has not seen, in 2 rows: 'Skye' (2 rows)." in flat


def test_no_held_out_rows(softmax, penguin_file):
    done = softmax("fit", penguin_file, "--target", "species", "--test-size", 0)
    assert "Held out" not in done.out
    assert re.search(r"^fitted on +90 rows, saved$", done.out, re.M)


def test_tiny_classes_survive_the_split(softmax):
    Path("tiny.csv").write_text(
        "a,y\n" + "".join(f"{i * i % 17},{['x', 'y'][i % 2]}\n" for i in range(50)) + "3,rare\n"
    )
    report = report_of(softmax("fit", "tiny.csv", "--target", "y", "--json"))
    assert report["class_sizes"] == {"rare": 1, "x": 25, "y": 25}
    assert report["held_out"]["rows"] == 10


@pytest.mark.parametrize(("policy", "rows", "width"), [("mean", 90, 8), ("indicator", 90, 9), ("drop", 81, 7)])
def test_missing_values(softmax, policy, rows, width):
    Path("holes.csv").write_text(penguins(missing=True))
    refused = softmax("fit", "holes.csv", "--target", "species")
    assert refused.code == 1
    assert refused.err.splitlines()[-1] == (
        "Error: holes.csv has missing values in 2 columns: 'bill length (mm)' (9 rows), 'sex' (9 rows). "
        "Choose --missing mean, indicator or drop; or leave a column out with --drop COLUMN."
    )
    done = softmax("fit", "holes.csv", "--target", "species", "--missing", policy)
    assert done.code == 0, done.err
    assert f"holes.csv: {rows} rows, {width} features from 4 columns, 3 classes" in done.out
    flat = " ".join(done.out.split())
    if policy == "drop":
        assert "Note: left out 9 rows with missing values." in flat
    else:
        assert "Note: filled in missing values in 'bill length (mm)' (9 rows), 'sex' (9 rows)." in flat


def test_rows_without_a_target_and_classes_that_vanish(softmax):
    rows = [f"{i * i % 17},{['x', 'y'][i % 2]}\n" for i in range(40)]
    Path("t.csv").write_text("a,y\n" + "".join(rows) + "1,\n,z\n,z\n")
    assert (
        "the target 'y' of t.csv is missing in 1 row (first in row 41)" in softmax("fit", "t.csv", "--target", "y").err
    )
    done = softmax("fit", "t.csv", "--target", "y", "--missing", "drop")
    flat = " ".join(done.out.split())
    assert "t.csv: 40 rows, 1 feature, 2 classes" in flat
    assert "left out 1 row without a value of the target 'y'" in flat
    assert "left out 2 rows with missing values" in flat
    assert "classes that lost all their rows are left out: 'z'" in flat


def test_options_reach_the_solver(softmax, penguin_file):
    def fit(*options):
        softmax("fit", penguin_file, "--target", "species", "-q", *options)
        return sm.load("penguins.safetensors").classifier

    plain = fit()
    assert (plain.C, plain.tol, plain.fit_intercept, plain.class_weight) == (1.0, 1e-6, True, None)
    strong = fit("-C", 0.01, "--tol", 1e-9, "--no-intercept", "--class-weight", "balanced", "--max-iter", 50)
    assert (strong.C, strong.tol, strong.max_iter) == (0.01, 1e-9, 50)
    assert strong.class_weight == "balanced"
    assert not strong.intercept_.any()
    assert np.linalg.norm(strong.coef_) < np.linalg.norm(plain.coef_)
    assert fit("--C", 5).C == 5


def test_columns_chosen_by_hand(softmax):
    rows = [f"{i},{i % 4},{i * 7 % 5},{i % 3}\n" for i in range(60)]
    Path("t.csv").write_text("id,zip,x,y\n" + "".join(rows))
    refused = softmax("fit", "t.csv", "--target", "y")
    assert refused.code == 1
    assert "'id' counts the rows (0, 1, 2, ...)" in refused.err
    assert refused.err.endswith("To leave it out: --drop id\n")
    report = report_of(softmax("fit", "t.csv", "--target", "y", "--json", "--drop", "id", "--categorical", "zip"))
    assert report["features"] == ["zip=0", "zip=1", "zip=2", "zip=3", "x"]
    report = report_of(softmax("fit", "t.csv", "--target", "y", "--json", "--numeric", "id", "--drop", "zip"))
    assert report["features"] == ["id", "x"]
    assert "'idd' is not a column" in softmax("fit", "t.csv", "--target", "y", "--drop", "idd").err
    assert "the target 'y' cannot be dropped" in softmax("fit", "t.csv", "--target", "y", "--drop", "y").err


def test_sample_weights(softmax):
    rows = [f"{i * 7 % 11},{i % 3},{(i % 4) / 2}\n" for i in range(80)]
    Path("w.csv").write_text("x,y,w\n" + "".join(rows))
    frame = pd.read_csv("w.csv")
    done = softmax("fit", "w.csv", "--target", "y", "--sample-weight", "w", "--test-size", 0, "--tol", 1e-12)
    assert "left out 20 rows of weight 0" in done.out
    model = sm.load("w.safetensors")
    used = frame[frame.w > 0]
    X = StandardScaler().fit_transform(used[["x"]])
    direct = sm.SoftmaxRegression(tol=1e-12).fit(X, used.y, used.w)
    np.testing.assert_allclose(model.predict_proba(used), direct.predict_proba(X), atol=1e-9)
    Path("w.csv").write_text("x,y,w\n1,0,1\n2,1,-1\n3,1,2\n")
    err = softmax("fit", "w.csv", "--target", "y", "--sample-weight", "w").err
    assert "sample weights must be finite and not negative; 'w' is -1 in row 2." in err


def test_a_fit_that_is_not_certified_says_so(softmax, penguin_file):
    done = softmax("fit", penguin_file, "--target", "species", "--max-iter", 1, "--tol", 1e-12)
    assert done.code == 0
    assert re.search(r"^status +not converged +not converged$", done.out, re.M)
    assert "Note: the fit is certified to " in " ".join(done.out.split())


def test_headerless_files(softmax):
    Path("n.csv").write_text("".join(f"{i * 7 % 11},{i * 5 % 7},{i % 3}\n" for i in range(60)))
    done = softmax("fit", "n.csv", "--target", "c3", "--no-header")
    assert done.code == 0, done.err
    assert sm.load("n.safetensors").encoder.feature_names == ["c1", "c2"]


def test_a_headerless_file_is_recognised(softmax):
    Path("iris.data").write_text("5.1,3.5,0.2,setosa\n4.9,3.0,0.2,setosa\n6.3,3.3,2.5,virginica\n")
    hint = "These look like values: if the file has no header line, pass --no-header."
    for target in ((), ("--target", "species")):
        assert hint in softmax("fit", "iris.data", *target).err


def test_a_full_disk_leaves_the_old_model(softmax, monkeypatch):
    softmax("fit", "iris", "-q")
    old = Path("iris.safetensors").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done = softmax("fit", "iris", "-C", 5)
    assert done.code == 1
    assert done.err.splitlines()[-1] == "Error: iris.safetensors cannot be saved: No space left on device."
    assert Path("iris.safetensors").read_bytes() == old
    assert [path.name for path in Path().iterdir()] == ["iris.safetensors"]


def test_other_ways_to_write_a_table(softmax):
    content = "größe;y\n" + "".join(f"{i * 7 % 11},5;{'ab'[i % 2]}\n" for i in range(40)) + "?;a\n"
    Path("t.csv").write_bytes(content.encode("latin-1"))
    options = ["--delimiter", ";", "--decimal", ",", "--encoding", "latin-1", "--na", "?", "--missing", "mean"]
    done = softmax("fit", "t.csv", "--target", "y", *options)
    assert done.code == 0, done.err
    assert sm.load("t.safetensors").encoder.feature_names == ["größe"]
    Path("t.csv").write_bytes(content.replace(";", "\t").encode("latin-1"))
    options[1] = "\\t"
    assert softmax("fit", "t.csv", "--target", "y", *options).code == 0


def test_standard_input(softmax, penguin_file, monkeypatch):
    with penguin_file.open() as file:
        monkeypatch.setattr("sys.stdin", file)
        done = softmax("fit", "-", "--target", "species")
    assert "standard input: 90 rows" in done.out
    assert Path("model.safetensors").exists()


def test_a_model_is_replaced_and_another_file_is_not(softmax, penguin_file):
    assert softmax("fit", "iris").code == 0
    assert softmax("fit", "iris").code == 0
    Path("notes.txt").write_text("precious")
    refused = softmax("fit", "iris", "-o", "notes.txt")
    assert refused.code == 1
    assert refused.err == "Error: notes.txt exists and is no model. Name another file with -o, or pass --force.\n"
    assert Path("notes.txt").read_text() == "precious"
    assert softmax("fit", "iris", "-o", "notes.txt", "--force").code == 0
    refused = softmax("fit", penguin_file, "--target", "species", "-o", penguin_file, "--force")
    assert refused.err == "Error: penguins.csv is the data; name another file with -o.\n"
    refused = softmax("fit", "iris", "-o", "nowhere/m.safetensors")
    assert "nowhere/m.safetensors cannot be written: the folder " in refused.err


def test_quiet(softmax):
    assert softmax("fit", "iris", "-q") == softmax("fit", "iris", "--quiet")
    done = softmax("fit", "iris", "-q")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_the_target_is_asked_for(softmax, penguin_file):
    done = softmax("fit", penguin_file)
    assert done.code == 2
    assert "Name the column to predict with --target. penguins.csv has: 'species', 'bill length (mm)'," in done.err
    assert softmax("fit", penguin_file, "--target", "Species").err.endswith("Did you mean 'species'?\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["iris", "--test-size", "1"], "1.0 is not in the range 0<=x<1"),
        (["iris", "--test-size", ".5", "--test", "iris"], "--test and --test-size exclude each other"),
        (["iris", "--seed", "-1"], "-1 is not in the range"),
        (["iris", "-C", "0"], "is not in the range x>0"),
        (["iris", "--missing", "skip"], "'skip' is not one of"),
        (["iris", "--frobnicate"], "No such option"),
        ([], "Missing argument 'DATA'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(softmax, arguments, message):
    done = softmax("fit", *arguments)
    assert done.code == 2
    assert message in done.err
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "t.csv is empty."),
        ("a;y\n1;2\n", "pass --delimiter ';'."),
        ("a,y\n1,2.5\n2,3.5\n", "softmax regression needs class labels"),
        ("a,y\n1,x\n2,x\n", "has one class only, 'x'"),
        ("a,y\ninf,x\n2,z\n", "holds an infinite (or too large) value in row 1"),
        ("y\nx\nz\n", "t.csv has no column left to learn from"),
    ],
)
def test_bad_tables_end_in_one_message(softmax, content, message):
    Path("t.csv").write_text(content)
    done = softmax("fit", "t.csv", "--target", "y")
    assert (done.code, done.out) == (1, "")
    assert message in done.err
    assert "Traceback" not in done.err
    assert [p.name for p in Path().iterdir()] == ["t.csv"]


def test_names_that_look_like_markup(softmax):
    Path("[red]t.csv").write_text("[bold]a,y\n" + "".join(f"{i * 7 % 11},[/green]{i % 2}\n" for i in range(40)))
    done = softmax("fit", "[red]t.csv", "--target", "y")
    assert done.code == 0, done.err
    assert "[red]t.csv: 40 rows" in done.out
    assert "[/green]0: 20  [/green]1: 20" in done.out


def test_letter(softmax, data_folder):
    done = softmax("fit", data_folder / "letter.tsv.gz", "--target", "target")
    assert done.code == 0, done.err
    assert "letter.tsv.gz: 20,000 rows, 16 features, 26 classes" in done.out
    assert re.search(r"^status +certified +certified$", done.out, re.M)
    accuracy = float(re.search(r"^accuracy +(\S+)", done.out, re.M)[1])
    assert 0.74 < accuracy < 0.80
