"""``softmax evaluate``: its figures against scikit-learn's, and screens that stay readable with many classes."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support

import softmax as sm
from softmax._evaluation import evaluate

from .conftest import penguins


@pytest.fixture
def model(softmax):
    """A poor model, so that every figure has something to show."""
    Path("noisy.csv").write_text(penguins(300))
    frame = pd.read_csv("noisy.csv")
    frame["bill length (mm)"] += np.random.default_rng(0).normal(0, 6, len(frame))
    frame[:200].to_csv("train.csv", index=False)
    frame[200:].to_csv("new.csv", index=False)
    assert softmax("fit", "train.csv", "--target", "species", "-q").code == 0
    return sm.load("train.safetensors")


def test_figures_are_those_of_scikit_learn(softmax, model):
    done = softmax("evaluate", "train.safetensors", "new.csv", "--target", "species", "--json")
    assert done.code == 0
    figures = json.loads(done.out)
    frame = pd.read_csv("new.csv")
    proba, predicted = model.predict_proba(frame), model.predict(frame)
    labels = list(model.classes_)
    assert figures["rows"] == 100
    assert figures["accuracy"] == pytest.approx(accuracy_score(frame.species, predicted))
    assert figures["log_loss"] == pytest.approx(log_loss(frame.species, proba, labels=labels), rel=1e-12)
    table = precision_recall_fscore_support(frame.species, predicted, labels=labels)
    for name, column in zip(("precision", "recall", "f1", "rows"), table, strict=True):
        assert [row[name] for row in figures["per_class"]] == pytest.approx(column.tolist())
    assert figures["macro_f1"] == pytest.approx(table[2].mean())
    assert figures["confusion"] == {
        "classes": labels,
        "rows": confusion_matrix(frame.species, predicted, labels=labels).tolist(),
    }
    for k, row in enumerate(figures["per_class"]):
        mine = frame.species == labels[k]
        assert row["log_loss"] == pytest.approx(-np.log(proba[mine, k]).mean())
    train = pd.read_csv("train.csv").species.value_counts()
    assert figures["baseline"]["class"] == train.idxmax()
    assert figures["baseline_accuracy"] == pytest.approx((frame.species == train.idxmax()).mean())
    assert figures["baseline_log_loss"] == pytest.approx(-np.log(frame.species.map(train / 200)).mean())
    assert figures["accuracy"] < 0.95  # the model is poor indeed


def test_the_screen(softmax, model):
    done = softmax("evaluate", "train.safetensors", "new.csv")
    assert done.code == 0
    assert done.err == ""
    assert max(map(len, done.out.splitlines())) <= 80
    assert done.out.startswith("new.csv: 100 rows, 3 classes\n")
    assert re.search(r"^class +precision +recall +F1 +log-loss +rows$", done.out, re.M)
    assert len(re.findall(r"^(?:Adélie|Chinstrap|Gentoo, large)(?: +\d\.\d{4}){4} +\d+$", done.out, re.M)) == 3
    matrix = done.out.partition("Confusion matrix: rows are true classes, columns predicted ones\n")[2]
    counts = np.array([re.findall(r"\d+|·", line)[-3:] for line in matrix.splitlines()[2:5]])
    counts = np.where(counts == "·", "0", counts).astype(int)
    frame = pd.read_csv("new.csv")
    np.testing.assert_array_equal(counts, confusion_matrix(frame.species, model.predict(frame)))


@pytest.mark.parametrize(("classes", "heading"), [(20, "Confusion matrix"), (21, "Most frequent confusions")])
def test_many_classes(softmax, classes, heading):
    draw = np.random.default_rng(0)
    labels = np.arange(classes * 12) % classes
    frame = pd.DataFrame({"a": labels + draw.normal(0, 1, len(labels)), "b": draw.normal(0, 1, len(labels))})
    frame["y"] = [f"class number {k}" for k in labels]
    frame.to_csv("many.csv", index=False)
    assert softmax("fit", "many.csv", "--target", "y", "-q").code == 0
    done = softmax("evaluate", "many.safetensors", "many.csv")
    assert heading in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    if classes == 20:
        assert re.search(r"^ +1 +2 .* 20$", done.out, re.M)
        assert re.search(r"^13 class number 2 .*$", done.out, re.M)  # the 13th of the names, as text sorts them
    else:
        rows = re.findall(r"^(class number \d+) +(class number \d+) +(\d+) +(\d+\.\d)%$", done.out, re.M)
        assert len(rows) == 20
        counts = [int(row[2]) for row in rows]
        assert counts == sorted(counts, reverse=True)
        predicted = sm.load("many.safetensors").predict(frame)
        pairs = pd.crosstab(frame.y, predicted)
        assert all(pairs.loc[true, taken] == int(n) for true, taken, n, _ in rows)


def test_unknown_and_missing_labels(softmax, model):
    frame = pd.read_csv("new.csv")
    frame.loc[:4, "species"] = "Emperor"
    frame.loc[5:6, "species"] = None
    frame.to_csv("odd.csv", index=False)
    done = softmax("evaluate", "train.safetensors", "odd.csv", "--json")
    figures = json.loads(done.out)
    known = frame[7:]
    right = (model.predict(known) == known.species).sum()
    assert figures["rows"] == 98
    assert figures["unknown_labels"] == 5
    assert figures["accuracy"] == pytest.approx(right / 98)
    assert figures["log_loss"] == pytest.approx(log_loss(known.species, model.predict_proba(known)))
    assert figures["notes"][0] == "left out 2 rows without a value of the target 'species'"
    assert figures["notes"][1].startswith("labels that the model does not know: 'Emperor' (5 rows); it knows 'Adélie',")


def test_classes_without_rows(softmax, model):
    frame = pd.read_csv("new.csv")
    frame[frame.species == "Chinstrap"].to_csv("one.csv", index=False)
    done = softmax("evaluate", "train.safetensors", "one.csv")
    assert done.code == 0
    assert re.search(r"^Adélie +\d\.\d{4} +– +0\.0000 +– +0$", done.out, re.M)
    for row in json.loads(softmax("evaluate", "train.safetensors", "one.csv", "--json").out)["per_class"]:
        assert (row["rows"] > 0) == (row["recall"] is not None)


def test_another_name_of_the_target(softmax, model):
    pd.read_csv("new.csv").rename(columns={"species": "kind"}).to_csv("renamed.csv", index=False)
    done = softmax("evaluate", "train.safetensors", "renamed.csv")
    assert done.code == 1
    assert "the target 'species' is not a column of renamed.csv." in done.err
    renamed = softmax("evaluate", "train.safetensors", "renamed.csv", "--target", "kind")
    same = softmax("evaluate", "train.safetensors", "new.csv")
    assert renamed.out.partition("\n")[2] == same.out.partition("\n")[2]


def test_the_built_in_sets(softmax):
    for name, classes in (("iris", 3), ("wine", 3)):
        assert softmax("fit", name, "-q").code == 0
        done = softmax("evaluate", f"{name}.safetensors", name)
        assert f"{classes} classes" in done.out
        assert float(re.search(r"^accuracy +(\S+)", done.out, re.M)[1]) > 0.95


def test_a_perfect_model_has_no_confusions(softmax):
    frame = pd.DataFrame({"a": np.repeat(np.arange(21), 3) ** 2, "y": np.repeat(np.arange(21), 3)})
    frame = pd.concat([frame, pd.get_dummies(frame.y.astype(str), dtype=float)], axis=1)
    frame.to_parquet("p.parquet")
    assert softmax("fit", "p.parquet", "--target", "y", "-C", 1000, "-q").code == 0
    assert "none: every known row is right" in softmax("evaluate", "p.safetensors", "p.parquet").out


def test_scores_by_hand():
    log_proba = np.log([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.1, 0.1, 0.8], [0.2, 0.6, 0.2]])
    scores = evaluate(np.array([0, 1, -1, 1]), log_proba, np.array([1.0, 2.0, 1.0]))
    assert scores.accuracy == 2 / 4
    assert scores.log_loss == pytest.approx(-np.log([0.7, 0.4, 0.6]).mean())
    assert scores.baseline.code == 1
    assert scores.baseline.accuracy == 2 / 4
    assert scores.baseline.log_loss == pytest.approx(-np.log([0.25, 0.5, 0.5]).mean())
    np.testing.assert_array_equal(scores.confusion, [[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(scores.precision, [0.5, 1.0, np.nan])
    np.testing.assert_array_equal(scores.recall, [1.0, 0.5, np.nan])
    assert scores.f1[:2] == pytest.approx([2 / 3, 2 / 3])
    assert scores.macro_f1 == pytest.approx(2 / 3)
    assert scores.confusions(5) == [(1, 0, 1)]
