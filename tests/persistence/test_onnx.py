"""The graph in ONNX Runtime says what the model says: every kind of label, dtype, size of logits and column."""

import builtins
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import softmax as sm
from softmax.persistence import _onnx, _onnx_verify, to_onnx

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

LABELS = {
    "str": np.array(["a", "b", "c"]),
    "unicode": np.array(["ä ö", "日本\n", "😀"]),
    "str-odd": np.array(["", " ", "nul\0inside", "longer label"]),
    "object-str": np.array(["x", "y", "z"], dtype=object),
    "int64": np.array([-3, 0, 7]),
    "int64-far": np.array([-(2**63) + 1, 0, 2**63 - 1]),
    "int8": np.array([-128, 5, 127], dtype=np.int8),
    "uint8": np.array([0, 255], dtype=np.uint8),
    "uint64": np.array([0, 2**63 - 1], dtype=np.uint64),
    "object-int": np.array([3, 4, 5], dtype=object),
    "big-endian": np.array([1, 2, 3], dtype=">i4"),
    "bool": np.array([False, True]),
    "object-bool": np.array([False, True], dtype=object),
    "float64": np.array([-1.0, 0.0, 2.0]),
    "float32": np.array([1.0, 3.0], dtype=np.float32),
}
REFUSED = {
    "bytes": np.array([b"a", b"b"]),
    "object-bytes": np.array([b"a", b"b"], dtype=object),
    "datetime": np.array(["2020-01-01", "2021-02-03"], dtype="datetime64[D]"),
    "timedelta": np.array([1, 2], dtype="timedelta64[s]"),
    "uint64-far": np.array([0, 2**64 - 1], dtype=np.uint64),
    "int64-mark": np.array([-(2**63), 0]),
    "object-huge": np.array([1, 10**25], dtype=object),
    "surrogate": np.array(["a", "b\udc80"]),
}


def model_of(labels, *, d=4, seed=0, scale=1.0):
    """A model whose probabilities no constant answer would match."""
    rng = np.random.default_rng(seed)
    codes = np.arange(40) % len(labels)
    X = rng.standard_normal((40, d)) + 2 * np.eye(len(labels), d)[codes]
    model = sm.SoftmaxRegression(n_threads=1).fit(X, codes)
    model.classes_ = np.asarray(labels)
    model.coef_ = model.coef_ * scale
    model.intercept_ = rng.standard_normal(len(labels))
    return model, np.concatenate([X, rng.standard_normal((20, d))])


def run(graph, feeds):
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip((out.name for out in session.get_outputs()), session.run(None, feeds), strict=True))


def props(graph):
    return {prop.key: prop.value for prop in graph.metadata_props}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels_of_every_kind(labels, dtype):
    model, X = model_of(labels)
    X = X.astype(dtype)
    got = run(to_onnx(model, dtype=dtype), {"X": X})
    expected = model.predict_proba(X.astype(np.float64))
    assert got["probabilities"].dtype == dtype
    assert expected.std() > 0.1
    np.testing.assert_allclose(got["probabilities"], expected, rtol=0, atol=1e-6)
    assert got["label"].tolist() == model.predict(X.astype(np.float64)).tolist()
    assert len(set(got["label"].tolist())) == len(labels)
    kinds = {"i": np.int64, "u": np.int64, "U": object, "O": got["label"].dtype}
    assert got["label"].dtype == kinds.get(labels.dtype.kind, labels.dtype)


@pytest.mark.parametrize("labels", REFUSED.values(), ids=REFUSED)
def test_labels_that_onnx_has_no_type_for(tmp_path, labels):
    model, _ = model_of(labels)
    with pytest.raises(sm.TargetError, match=r"label"):
        to_onnx(model, tmp_path / "m.onnx")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e3, 1e6, 1e12])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("k", [2, 3])
def test_logits_of_every_size(k, dtype, scale):
    model, X = model_of(np.arange(k), scale=scale)
    X = X.astype(dtype)
    got = run(to_onnx(model, dtype=dtype, logits=True), {"X": X})
    wide = X.astype(np.float64)
    np.testing.assert_allclose(got["probabilities"], model.predict_proba(wide), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(got["label"], model.predict(wide))
    logits = wide @ model.coef_.T + model.intercept_
    np.testing.assert_allclose(got["logits"], logits, rtol=1e-12 if dtype == "float64" else 1e-6)
    assert got["logits"].dtype == dtype


@pytest.mark.parametrize("temperature", [0.1, 3.7, 1e3])
def test_the_temperature_is_in_the_graph(temperature):
    model, X = model_of(np.arange(3))
    plain = model.predict_proba(X)
    model.temperature_ = temperature
    graph = to_onnx(model, logits=True)
    got = run(graph, {"X": X})
    assert np.abs(plain - model.predict_proba(X)).max() > 0.1
    np.testing.assert_allclose(got["probabilities"], model.predict_proba(X), rtol=0, atol=1e-6)
    np.testing.assert_allclose(got["logits"], X @ model.coef_.T + model.intercept_, rtol=1e-12)
    assert float(props(graph)["softmax.temperature"]) == temperature


def test_fast_float32_holds_no_float64():
    model, X = model_of(np.arange(3))
    graph = to_onnx(model, dtype="float32", precision="fast", logits=True)
    assert all(c.data_type != onnx.TensorProto.DOUBLE for c in graph.graph.initializer)
    assert all(a.i != onnx.TensorProto.DOUBLE for node in graph.graph.node for a in node.attribute if a.name == "to")
    X = X.astype(np.float32)
    got = run(graph, {"X": X})
    np.testing.assert_allclose(got["probabilities"], model.predict_proba(X.astype(np.float64)), rtol=0, atol=1e-5)


def test_rows_without_probabilities_are_marked():
    for labels, mark in ((np.array(["a", "b"]), ""), (np.arange(2), np.iinfo(np.int64).min), (np.arange(3.0), np.nan)):
        model, X = model_of(labels)
        X = X[:4].copy()
        X[1, 0], X[2, 1] = np.nan, np.inf
        got = run(to_onnx(model), {"X": X})
        np.testing.assert_array_equal(np.isnan(got["probabilities"]).all(axis=1), [False, True, True, False])
        np.testing.assert_array_equal(got["label"][1:3], np.array([mark] * 2, dtype=got["label"].dtype))
        np.testing.assert_array_equal(got["label"][[0, 3]], model.predict(X[[0, 3]]))


def test_no_rows_and_one_row():
    model, X = model_of(np.array(["a", "b", "c"]))
    graph = to_onnx(model)
    assert run(graph, {"X": X[:0]})["probabilities"].shape == (0, 3)
    assert run(graph, {"X": X[:1]})["label"].tolist() == model.predict(X[:1]).tolist()


def test_opsets_and_the_checker():
    graph = to_onnx(model_of(np.arange(2))[0])
    onnx.checker.check_model(graph, full_check=True)
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 17)]
    assert graph.ir_version == 8
    from onnx.reference import ReferenceEvaluator

    reference = ReferenceEvaluator(graph)
    model, X = model_of(np.arange(2))
    np.testing.assert_allclose(reference.run(None, {"X": X})[1], model.predict_proba(X), atol=1e-12)


def test_metadata():
    model, _ = model_of(np.array(["a", "ü"]))
    model.feature_names_in_ = np.array(["α", "b", "c d", ""], dtype=object)
    found = props(to_onnx(model))
    assert found["softmax.version"] == sm.__version__
    assert found["softmax.kind"] == "SoftmaxRegression"
    assert json.loads(found["softmax.classes"]) == ["a", "ü"]
    assert json.loads(found["softmax.features"]) == ["α", "b", "c d", ""]
    certificate = json.loads(found["softmax.certificate"])
    assert certificate["status"] == "certified"
    assert certificate["gap"] == model.gap_
    assert f"64 made-up rows in ONNX Runtime {ort.__version__}" in found["softmax.verified"]
    assert props(to_onnx(model, verify=False))["softmax.verified"] == "not asked for"
    model.gap_ = np.inf
    assert json.loads(props(to_onnx(model))["softmax.certificate"])["gap"] is None


def test_the_file_is_the_graph_and_equal_models_give_equal_bytes(tmp_path):
    model, _ = model_of(np.arange(3))
    graph = to_onnx(model, tmp_path / "a.onnx")
    to_onnx(model, str(tmp_path / "b.onnx"))
    assert onnx.load(tmp_path / "a.onnx") == graph
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def wrong(tmp_path, monkeypatch, change):
    """Export with a graph builder that errs."""
    model, _ = model_of(np.array(["a", "b", "c"]))
    (tmp_path / "m.onnx").write_bytes(b"old")
    real = _onnx._Graph.model

    def err(self, described, *, logits):
        real(self, change(described), logits=logits)

    monkeypatch.setattr(_onnx._Graph, "model", err)
    with pytest.raises(RuntimeError, match="differ from the model's by"):
        to_onnx(model, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == b"old"
    to_onnx(model, tmp_path / "m.onnx", verify=False)
    assert (tmp_path / "m.onnx").read_bytes() != b"old"


def replaced(**values):
    import dataclasses

    return lambda described: dataclasses.replace(described, **values)


def test_a_graph_that_says_something_else_is_not_written(tmp_path, monkeypatch):
    wrong(
        tmp_path,
        monkeypatch,
        lambda described: replaced(intercept=described.intercept + np.array([0, 0, 1e-4]))(described),
    )


def test_a_graph_with_other_labels_is_not_written(tmp_path, monkeypatch):
    wrong(tmp_path, monkeypatch, replaced(classes=np.array(["a", "c", "b"])))


def test_without_the_runtime_the_graph_says_that_nobody_looked(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    model, _ = model_of(np.arange(2))
    real = builtins.__import__

    def refuse(name, *arguments, **options):
        if name == "onnxruntime":
            raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert props(to_onnx(model))["softmax.verified"] == "not verified: onnxruntime is not installed"


def test_a_missing_extra_says_what_to_type(tmp_path):
    code = """
import sys
sys.modules["onnx"] = None
import numpy as np, softmax as sm
model = sm.SoftmaxRegression().fit(np.eye(4), [0, 1, 0, 1])
try:
    sm.to_onnx(model, "m.onnx")
except sm.MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert "pip install 'softmax[onnx]'" in done.stdout, done.stderr
    assert os.listdir(tmp_path) == []


def test_options_and_models_that_are_refused(tmp_path):
    model, _ = model_of(np.arange(2))
    with pytest.raises(sm.OptionError, match="dtype must be 'float64' or 'float32', got 'float16'"):
        to_onnx(model, dtype="float16")
    with pytest.raises(sm.OptionError, match="precision must be 'accurate' or 'fast', got 'exact'"):
        to_onnx(model, precision="exact")
    words = r"softmax\.to_onnx takes a fitted SoftmaxRegression, NeuralSoftmaxClassifier or table model, got a dict"
    with pytest.raises(TypeError, match=words):
        to_onnx({})
    with pytest.raises(ValueError, match="not fitted"):
        to_onnx(sm.SoftmaxRegression())
    with pytest.raises(IsADirectoryError):
        to_onnx(model, tmp_path)


def test_a_graph_that_no_file_can_hold_is_refused_before_it_is_built(monkeypatch):
    monkeypatch.setattr(_onnx, "LARGEST_FILE", 60)
    model, _ = model_of(np.arange(2))
    with pytest.raises(sm.OptionError, match=r"2 classes and 4 features needs .* GiB"):
        to_onnx(model)
    assert to_onnx(model, dtype="float32", precision="fast") is not None


# Models of tables


def penguin_frame(n=120):
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(3)
    kind = np.arange(n) % 3
    return pd.DataFrame(
        {
            "bill (mm)": 38 + 5.0 * kind + rng.normal(0, 2, n),
            "epoch": 1.7e9 + rng.normal(0, 1, n) + kind,
            "label": rng.integers(0, 9, n),
            "probabilities": rng.choice(["yes", "no"], n),
            "island": rng.choice(["Biscoe", "Drëam", "", " x"], n),
            "sunny": rng.random(n) < 0.3 + 0.2 * kind,
            "constant": 4.0,
            "species": np.array(["Adélie", "Chinstrap", "Gentoo, large"])[kind],
        }
    )


def table_model(frame, target="species", **settings):
    pytest.importorskip("pyarrow")
    from softmax import tables
    from softmax._table_fit import FitSettings, fit_table

    return fit_table(tables.as_table(frame), FitSettings(target, **settings)).model


def feeds_of(graph, frame, dtype="float64"):
    """What a user feeds: raw columns, "" and nan where something is missing, booleans as text."""
    feeds = {}
    for column, name in json.loads(props(graph)["softmax.inputs"]).items():
        values = frame[column]
        if values.dtype.kind in "if":
            feeds[name] = values.to_numpy(dtype=dtype)[:, None]
        else:
            texts = ["" if v is None or v != v else str(v) for v in values.tolist()]
            feeds[name] = np.array(texts, dtype=object)[:, None]
    return feeds


def holed_frame():
    """Holes in every column but the target; booleans and categories are text."""
    frame = penguin_frame().drop(columns=["island"])
    frame["sunny"] = frame["sunny"].map({True: "TRUE", False: "false"})
    frame["label"] = frame["label"].astype(float)
    rng = np.random.default_rng(5)
    for name in frame.columns.drop("species"):
        frame.loc[rng.random(len(frame)) < 0.15, name] = None
    return frame


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_table_without_holes(tmp_path, dtype):
    frame = penguin_frame()
    model = table_model(frame)
    graph = to_onnx(model, tmp_path / "m.onnx", dtype=dtype, logits=True)
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 17), ("ai.onnx.ml", 3)]
    inputs = [value.name for value in graph.graph.input]
    assert sorted(inputs) == sorted(
        ["bill (mm)", "epoch", "column_label", "column_probabilities", "island", "sunny", "constant"]
    )
    feeds = feeds_of(graph, frame, dtype)
    got = run(graph, feeds)
    rounded = frame.copy()
    for name in ("bill (mm)", "epoch"):
        rounded[name] = frame[name].to_numpy().astype(dtype).astype(np.float64)
    expected = model.predict_proba(rounded)
    assert expected.std() > 0.1
    np.testing.assert_allclose(got["probabilities"], expected, rtol=0, atol=1e-6)
    assert got["label"].tolist() == model.predict(rounded).tolist()
    assert props(graph)["softmax.target"] == "species"


@pytest.mark.parametrize("missing", ["mean", "indicator"])
def test_holes_are_filled_as_the_model_fills_them(missing):
    frame = holed_frame()
    model = table_model(frame, missing=missing)
    assert model.encoder.kinds["sunny"] == "bool"
    new = frame.copy()
    new.loc[0, "probabilities"], new.loc[1, "probabilities"], new.loc[2, "sunny"] = "unseen", "Yes", "maybe"
    graph = to_onnx(model)
    got = run(graph, feeds_of(graph, new))
    expected = model.predict_proba(new)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(got["probabilities"], expected, rtol=0, atol=1e-6)
    assert got["label"].tolist() == model.predict(new).tolist()


@pytest.mark.parametrize("missing", ["error", "drop"])
def test_a_hole_that_the_model_does_not_accept_gives_no_prediction(missing):
    frame = penguin_frame().drop(columns=["island"])
    model = table_model(frame, missing=missing)
    graph = to_onnx(model)
    new = frame[:5].copy()
    new["epoch"] = new["epoch"].astype(float)
    new.loc[1, "epoch"] = np.nan
    new.loc[3, "probabilities"] = None
    got = run(graph, feeds_of(graph, new))
    np.testing.assert_array_equal(np.isnan(got["probabilities"]).all(axis=1), [False, True, False, True, False])
    assert got["label"].tolist()[1::2] == ["", ""]
    if missing == "drop":
        np.testing.assert_allclose(got["probabilities"], model.predict_proba(new), rtol=0, atol=1e-6)


def test_booleans_in_every_spelling():
    frame = penguin_frame()[["bill (mm)", "sunny", "species"]]
    model = table_model(frame)
    graph = to_onnx(model)
    spellings = ["true", "TRUE", "True", "tRuE", "1", "false", "FALSE", "fAlse", "0", "maybe", "tru"]
    feeds = {"bill (mm)": np.full((len(spellings), 1), 40.0), "sunny": np.array(spellings, dtype=object)[:, None]}
    got = run(graph, feeds)["probabilities"]
    pd = pytest.importorskip("pandas")
    expected = model.predict_proba(pd.DataFrame({"bill (mm)": 40.0, "sunny": spellings}))
    assert np.abs(expected[0] - expected[5]).max() > 0.01
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("columns", [["island"], ["bill (mm)"], ["bill (mm)", "constant"], ["island", "sunny"]])
def test_tables_of_few_columns(columns):
    frame = penguin_frame()[[*columns, "species"]]
    model = table_model(frame, C=10.0)
    graph = to_onnx(model)
    got = run(graph, feeds_of(graph, frame))
    np.testing.assert_allclose(got["probabilities"], model.predict_proba(frame), rtol=0, atol=1e-6)


def test_integer_targets_of_tables_stay_integers():
    frame = penguin_frame()[["bill (mm)", "species"]].assign(species=lambda f: f["species"].str.len())
    model = table_model(frame)
    graph = to_onnx(model)
    got = run(graph, feeds_of(graph, frame))
    assert got["label"].dtype == np.int64
    assert got["label"].tolist() == model.predict(frame).tolist()


def test_names_of_columns_that_clash_with_everything():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    names = ["label", "column_label", "logits", "weights", "matmul", "raw_logits", "sum", "softmax", "X", "a/b\n", "é"]
    frame = pd.DataFrame({name: rng.standard_normal(60) + np.arange(60) % 2 * i for i, name in enumerate(names)})
    frame["weights"] = rng.choice(["u", "v"], 60)
    frame["y"] = np.arange(60) % 2
    model = table_model(frame, "y")
    for options in ({}, {"dtype": "float32", "precision": "fast"}, {"dtype": "float32"}):
        graph = to_onnx(model, logits=True, **options)
        inputs = json.loads(props(graph)["softmax.inputs"])
        assert sorted(inputs) == sorted(names)
        assert len(set(inputs.values())) == len(names)
        got = run(graph, feeds_of(graph, frame, options.get("dtype", "float64")))
        np.testing.assert_allclose(got["probabilities"], model.predict_proba(frame), rtol=0, atol=1e-5)


def test_a_loaded_table_model_gives_the_same_graph(tmp_path):
    model = table_model(penguin_frame(), missing="indicator")
    sm.save(model, tmp_path / "m")
    again = to_onnx(sm.load(tmp_path / "m"))
    assert again.SerializeToString(deterministic=True) == to_onnx(model).SerializeToString(deterministic=True)


def test_made_up_rows_meet_holes_and_unknown_categories():
    from softmax.persistence._describe import describe

    frame = penguin_frame()
    frame.loc[::5, "bill (mm)"] = np.nan
    model = table_model(frame, missing="indicator")
    described = describe(model, "test")
    inputs = {column.name: column.name for column in described.columns}
    feeds, proba, _, _ = _onnx_verify._table_rows(
        model, described, inputs, np.dtype(np.float64), np.random.default_rng(0)
    )
    assert np.isnan(feeds["bill (mm)"]).any()
    assert {"no such category", "Biscoe", ""} <= set(feeds["island"].ravel().tolist())
    assert proba.std() > 0.1
