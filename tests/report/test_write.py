"""The file of a report: its parts, its bytes, and what happens to an older file."""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
pytest.importorskip("pyarrow", reason="pyarrow is not installed")

import softmax as sm
from softmax.report import _write

PARTS = [
    "data",
    "certificate",
    "scores",
    "confusion",
    "classes",
    "calibration",
    "coefficients",
    "path",
    "notes",
    "origin",
]


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return X[::2], y[::2], X[1::2], y[1::2]


@pytest.fixture(scope="module")
def model(iris):
    return sm.SoftmaxRegression().fit(*iris[:2])


def write(model, path, *rest, **options):
    sm.write_report(model, path, *rest, **options)
    return Path(path).read_text(encoding="utf-8")


def sections(text):
    return re.findall(r'<section id="(\w+)"', text)


def test_all_parts_are_there_and_nothing_points_outside(iris, model, tmp_path):
    text = write(model, tmp_path / "r.html", data=iris[:2], evaluation=iris[2:], command="a <command>", notes=["a & b"])
    assert sections(text) == PARTS
    assert re.findall(r'href="(?!#|data:)[^"]*"|src=', text) == []
    assert "http://" not in text and "https://" not in text and "<script" not in text
    assert "a &lt;command&gt;" in text and "<li>a &amp; b</li>" in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_the_figures_are_those_of_the_model(iris, model, tmp_path):
    text = write(model, tmp_path / "r.html", data=iris[:2], evaluation=iris[2:])
    accuracy = np.mean(model.predict(iris[2]) == iris[3])
    assert f"{accuracy:.3f}" in text and f"{100 * accuracy:.1f} %" in text
    assert f"{model.objective_:.8g}" in text
    assert "certified" in text
    largest = np.abs(model.coef_).max()
    assert f"{largest:.4g}" in text
    result = model_inference(model, iris)
    k, j = np.unravel_index(np.argmax(np.abs(model.coef_)), model.coef_.shape)
    assert f"{result.bse[k, j + 1]:.3g}" in text
    assert "The penalty draws the coefficients towards 0" in text


def model_inference(model, iris):
    from softmax.regression._inference import infer

    return infer(model, *iris[:2], assume="sandwich", parametrisation="symmetric")


def test_equal_input_gives_equal_bytes(iris, model, tmp_path):
    for name in ("a", "b"):
        sm.write_report(model, tmp_path / name, data=iris[:2], evaluation=iris[2:])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_is_missing_is_said(model, tmp_path):
    text = write(model, tmp_path / "r.html")
    assert sections(text) == [part for part in PARTS if part not in ("confusion", "classes", "calibration")]
    for sentence in ("No rows were scored:", "No intervals: the rows of the fit were not passed", "not searched for"):
        assert sentence in text


def test_labels_that_are_markup(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.array(["<script>x</script>", "]]>", "שלום", "🙂" * 50 + "\x00", "y" * 10_000])
    y = labels[rng.integers(0, 5, 100)]
    X = pd.DataFrame(rng.normal(size=(100, 2)), columns=["<b>", "$a$"])
    fitted = sm.SoftmaxRegression().fit(X, y)
    text = write(fitted, tmp_path / "r.html", data=(X, y), evaluation=(X, y), title="<i>")
    assert "<script" not in text and "<i>" not in text and "<b></bdi>" not in text
    assert "&lt;script&gt;x&lt;/script&gt;" in text and "y" * 100 not in text


def test_a_label_that_the_model_does_not_know(iris, model, tmp_path):
    y = iris[3].copy()
    y[:5] = 77
    text = write(model, tmp_path / "r.html", evaluation=(iris[2], y))
    assert "5 rows with a label that the model does not know" in text
    only = write(model, tmp_path / "r.html", evaluation=(iris[2], np.full(len(y), 77)))
    assert "calibration" not in sections(only) and "confusion" in sections(only)


def test_probabilities_as_targets_and_sparse_rows(tmp_path):
    import scipy.sparse

    rng = np.random.default_rng(0)
    X = scipy.sparse.random_array((60, 5), density=0.4, rng=rng, format="csr")
    y = rng.dirichlet(np.ones(3), 60)
    fitted = sm.SoftmaxRegression().fit(X, y)
    assert sections(write(fitted, tmp_path / "r.html", data=(X, y), evaluation=(X, y))) == PARTS


def test_too_many_coefficients_for_intervals(iris, model, tmp_path, monkeypatch):
    monkeypatch.setattr(_write, "MOST_INFERRED", 3)
    assert "would take longer than the fit" in write(model, tmp_path / "r.html", data=iris[:2])


def test_an_older_report_stays_whole_where_writing_fails(model, tmp_path, monkeypatch):
    path = tmp_path / "r.html"
    path.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        sm.write_report(model, path)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["r.html"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": [1, 2]}, r"data must be a tuple \(X, y\) or \(X, y, sample_weight\), got list"),
        ({"evaluation": (1, 2, 3)}, r"evaluation must be a tuple \(X, y\), got tuple"),
        ({"evaluation": (np.ones((2, 4)), np.ones((2, 2, 2)))}, r"the labels of evaluation must be one column"),
    ],
)
def test_wrong_arguments(model, tmp_path, options, message):
    with pytest.raises(sm.OptionError, match=message):
        sm.write_report(model, tmp_path / "r.html", **options)
    assert not list(tmp_path.iterdir())


def test_an_unfitted_model(tmp_path):
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        sm.write_report(sm.SoftmaxRegression(), tmp_path / "r.html")


def test_a_model_of_tables_from_its_file(tmp_path, iris):
    from softmax._table_fit import FitSettings, fit_table
    from softmax.tables import as_table

    frame = pd.DataFrame(iris[0], columns=["a", "b", "c", "d"]).assign(kind=np.array(["x", "y", "z"])[iris[1]])
    sm.save(fit_table(as_table(frame), FitSettings("kind", test_size=0)).model, tmp_path / "m.safetensors")
    loaded = sm.load(tmp_path / "m.safetensors")
    text = write(loaded, tmp_path / "r.html", evaluation=frame)
    assert sections(text) == PARTS
    assert "75 rows of the frame" in text and f"{100 * np.mean(loaded.predict(frame) == frame.kind):.1f} %" in text
    with pytest.raises(sm.OptionError, match="knows its data"):
        sm.write_report(loaded, tmp_path / "r.html", data=iris[:2])


def test_a_cross_validated_model_shows_its_search(tmp_path, iris):
    found = sm.SoftmaxRegressionCV([1.0, 0.1], cv=3, l1_ratio=[0.0, 0.5]).fit(*iris[:2])
    text = write(found, tmp_path / "r.html", data=iris[:2], evaluation=iris[2:])
    assert sections(text) == PARTS
    assert "Score over C by 3 folds" in text and "chosen of 2 values" in text
    ratio = list(found.l1_ratios_).index(found.l1_ratio_)
    for score in found.mean_scores_[:, ratio]:
        assert f"{score:.5g}".replace("-", "−") in text
