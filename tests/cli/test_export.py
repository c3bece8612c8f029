"""``softmax export``: what it writes is the model, and a wrong request leaves everything as it was."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import softmax as sm

from .conftest import penguins


@pytest.fixture
def model(softmax, penguin_file):
    assert softmax("fit", "penguins.csv", "--target", "species", "-q").code == 0
    return sm.load("penguins.safetensors")


def test_onnx_predicts_as_the_model_does(softmax, model):
    ort = pytest.importorskip("onnxruntime")
    done = softmax("export", "penguins.safetensors", "-o", "p.onnx")
    assert (done.code, done.out) == (0, "")
    assert re.match(r"Wrote p\.onnx: \d\.\d kB\.\n", done.err)
    assert "In: 'bill length (mm)', 'mass', 'island', 'sex'\n" in done.err
    assert "Out: 'label', 'probabilities'\n" in done.err
    assert re.search(r"Verified: probabilities of 64 made-up rows in ONNX Runtime [\d.]+ differ", done.err)
    assert max(map(len, done.err.splitlines())) <= 80
    frame = pd.read_csv("penguins.csv")
    session = ort.InferenceSession("p.onnx", providers=["CPUExecutionProvider"])
    feeds = {value.name: frame[[value.name]].to_numpy() for value in session.get_inputs()}
    feeds = {name: v.astype(np.float64 if v.dtype.kind in "if" else object) for name, v in feeds.items()}
    label, probabilities = session.run(None, feeds)
    assert label.tolist() == model.predict(frame).tolist()
    np.testing.assert_allclose(probabilities, model.predict_proba(frame), rtol=0, atol=1e-6)


def test_options_of_onnx(softmax, model):
    onnx = pytest.importorskip("onnx")
    options = ("--dtype", "float32", "--fast", "--logits", "--no-verify", "-q")
    done = softmax("export", "penguins.safetensors", "-o", "p.bin", "--format", "onnx", *options)
    assert (done.code, done.out, done.err) == (0, "", "")
    graph = onnx.load("p.bin")
    assert [value.name for value in graph.graph.output] == ["label", "probabilities", "logits"]
    kinds = {c.data_type for c in graph.graph.initializer}
    assert onnx.TensorProto.FLOAT in kinds and onnx.TensorProto.DOUBLE not in kinds
    assert {p.key: p.value for p in graph.metadata_props}["softmax.verified"] == "not asked for"


def test_a_card(softmax, model):
    done = softmax("export", "penguins.safetensors", "-o", "README.md")
    assert done.code == 0
    assert done.err.startswith("Wrote README.md: ")
    card = Path("README.md").read_text(encoding="utf-8")
    assert card == sm.model_card(model)
    number = card.count("To be filled in by the author")
    assert number and f"{number} lines are left for you" in done.err
    assert softmax("export", "penguins.safetensors", "--format", "md").out == card


def test_json(softmax, model):
    assert softmax("export", "penguins.safetensors", "-o", "p.json").code == 0
    found = json.loads(Path("p.json").read_text(encoding="utf-8"))
    np.testing.assert_array_equal(found["coefficients"], model.classifier.coef_)
    assert found["classes"] == ["Adélie", "Chinstrap", "Gentoo, large"]
    assert [column["name"] for column in found["columns"]] == ["bill length (mm)", "mass", "island", "sex"]
    done = softmax("export", "penguins.safetensors", "--format", "json")
    assert json.loads(done.out) == found
    assert done.err == ""


def test_a_classifier_saved_from_python(softmax):
    X = np.arange(12.0).reshape(6, 2)
    sm.save(sm.SoftmaxRegression().fit(X, list("abcabc")), "m")
    for name in ("m.onnx", "m.md", "m.json"):
        assert softmax("export", "m", "-o", name).code == 0
    assert json.loads(Path("m.json").read_text())["classes"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "x.txt"), "x.txt does not say what to write; end it in .onnx, .md or .json, or pass --format"),
        (("-o", "x"), "x does not say what to write"),
        ((), "Say where to write with -o FILE"),
        (("--format", "onnx"), "ONNX is no text for a terminal"),
        (("--format", "pickle"), "'pickle' is not one of"),
        (("-o", "x.md", "--dtype", "float32"), "--dtype is an option of ONNX, and md is to be written"),
        (("-o", "x.json", "--logits"), "--logits is an option of ONNX"),
        (("-o", "x.onnx", "--dtype", "float16"), "'float16' is not one of"),
    ],
)
def test_a_wrong_command_line(softmax, model, arguments, message):
    before = sorted(os.listdir())
    done = softmax("export", "penguins.safetensors", *arguments)
    assert done.code == 2
    assert message in done.err
    assert sorted(os.listdir()) == before


def test_what_cannot_be_done(softmax, model):
    for arguments, message in [
        (("penguins.csv", "-o", "x.onnx"), "penguins.csv is not a softmax model file"),
        (("absent", "-o", "x.onnx"), "absent: No such file or directory"),
        (("penguins.safetensors", "-o", "penguins.safetensors", "--format", "json"), "is the model itself"),
        (("penguins.safetensors", "-o", "no/x.json"), "the folder"),
        (("penguins.safetensors", "-o", "folder", "--format", "json"), "is a folder"),
    ]:
        Path("folder").mkdir(exist_ok=True)
        before = Path("penguins.safetensors").read_bytes()
        done = softmax("export", *arguments)
        assert done.code == 1
        assert message in done.err
        assert len(done.err.splitlines()) == 1
        assert sorted(os.listdir()) == ["folder", "penguins.csv", "penguins.safetensors"]
        assert Path("penguins.safetensors").read_bytes() == before


def test_labels_that_onnx_cannot_hold(softmax):
    sm.save(sm.SoftmaxRegression().fit(np.eye(4), np.array([b"a", b"b", b"a", b"b"])), "m")
    done = softmax("export", "m", "-o", "m.onnx")
    assert done.code == 1
    assert "ONNX has no type for labels of dtype |S1 (bytes)" in done.err
    assert os.listdir() == ["m"]


def test_a_full_disk_leaves_the_old_export(softmax, model, monkeypatch):
    from softmax import _files

    def full(_):
        raise OSError(28, "No space left on device")

    Path("p.json").write_text("old")
    monkeypatch.setattr(_files.os, "fsync", full)
    done = softmax("export", "penguins.safetensors", "-o", "p.json")
    assert done.code == 1
    assert "No space left on device" in done.err
    assert Path("p.json").read_text() == "old"
    assert sorted(os.listdir()) == ["p.json", "penguins.csv", "penguins.safetensors"]


def test_a_missing_extra_says_what_to_type(softmax, model, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnx", None)
    done = softmax("export", "penguins.safetensors", "-o", "p.onnx")
    assert done.code == 1
    assert "pip install 'softmax[onnx]'" in done.err


def test_holes_reach_the_graph(softmax):
    pytest.importorskip("onnxruntime")
    Path("holes.csv").write_text(penguins(missing=True), encoding="utf-8")
    assert softmax("fit", "holes.csv", "--target", "species", "--missing", "indicator", "-q").code == 0
    assert softmax("export", "holes.safetensors", "-o", "h.onnx").code == 0
