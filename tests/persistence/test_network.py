"""Networks in files and exports: bit for bit, refused where no fit left them, and the same in ONNX Runtime."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler

import softmax as sm
from softmax._table_fit import FitSettings, fit_table
from softmax.persistence import plain
from softmax.persistence._describe import describe
from softmax.tables import as_table

pytest.importorskip("torch")
pd = pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def data():
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), np.array(["setosa", "versicolor", "virginica"])[y]


def fitted(data, *sizes: int, **options):
    options = {"learning_rate": 0.01, "max_epochs": 20, "random_state": 0} | options
    return sm.nn.NeuralSoftmaxClassifier(sizes, **options).fit(*data)


def run(graph, feeds):
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, feeds), strict=True))


@pytest.mark.parametrize("sizes", [(), (5,), (6, 4)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_comes_back_bit_for_bit(data, tmp_path, sizes, dtype):
    model = fitted(data, *sizes, dtype=dtype, activation="tanh", early_stopping=bool(sizes))
    sm.save(model, tmp_path / "m.safetensors")
    loaded = sm.load(tmp_path / "m.safetensors")
    assert np.array_equal(loaded.predict_proba(data[0]), model.predict_proba(data[0]))
    assert np.array_equal(loaded.predict(data[0]), model.predict(data[0]))
    assert repr(loaded.get_params()) == repr(model.get_params())
    for name in ("history_", "objective_", "validation_loss_", "penalty_", "status_", "n_iter_"):
        assert getattr(loaded, name) == getattr(model, name)
    sm.save(loaded, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "m.safetensors").read_bytes()


def test_a_loaded_network_can_be_fitted_on(data, tmp_path):
    model = fitted(pd.DataFrame(data[0], columns=list("abcd")).pipe(lambda X: (X, data[1])), 5, warm_start=True)
    sm.save(model, tmp_path / "m.safetensors")
    loaded = sm.load(tmp_path / "m.safetensors")
    assert list(loaded.feature_names_in_) == list("abcd")
    more = pd.DataFrame(data[0], columns=list("abcd"))
    assert loaded.fit(more, data[1]).objective_ < model.objective_


DAMAGE = {
    "a layer of another shape": lambda h, a: a.update({"layers.0.coef": np.zeros((4, 6), np.float32)}),
    "a layer of another dtype": lambda h, a: a.update({"layers.0.coef": np.zeros((4, 5))}),
    "nan in a layer": lambda h, a: a["layers.1.coef"].__setitem__((0, 0), np.nan),
    "no layer": lambda h, a: a.pop("layers.1.intercept"),
    "a layer too many": lambda h, a: a.update({"layers.2.coef": np.zeros((3, 3))}),
    "one class twice": lambda h, a: a["classes"].__setitem__(0, a["classes"][1]),
    "another activation": lambda h, a: h["params"].update(activation="step"),
    "an unknown parameter": lambda h, a: h["params"].update(momentum=0.9),
    "an unknown attribute": lambda h, a: h["fitted"].update(fit="x"),
    "no status": lambda h, a: h["fitted"].pop("status_"),
    "an unknown status": lambda h, a: h["fitted"].update(status_="certified"),
    "a temperature of 0": lambda h, a: h["fitted"].update(temperature_=0.0),
    "text for a number": lambda h, a: h["fitted"].update(objective_="small"),
    "a negative count": lambda h, a: h["fitted"].update(n_iter_=-1),
    "other widths": lambda h, a: h["params"].update(hidden_layer_sizes=[7]),
    "widths that are no list": lambda h, a: h["params"].update(hidden_layer_sizes=None),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_state_that_no_fit_leaves_is_refused(data, damage):
    model = fitted(data, 5)
    _, header, arrays = model.__softmax_state__()
    arrays = {name: array.copy() for name, array in arrays.items()}
    type(model).from_state(header, arrays)
    damage(header, arrays)
    with pytest.raises(sm.ModelFileError, match="the saved NeuralSoftmaxClassifier is damaged"):
        type(model).from_state(header, arrays)


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "gelu", "silu"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_graph_says_what_the_network_says(data, activation, dtype):
    pytest.importorskip("onnx")
    model = fitted(data, 7, 5, activation=activation)
    model.temperature_ = 0.5
    graph = sm.to_onnx(model, dtype=dtype, logits=True)
    X = (10 * data[0]).astype(dtype)
    out = run(graph, {"X": X})
    assert out["probabilities"] == pytest.approx(model.predict_proba(X.astype(np.float64)), abs=1e-6)
    assert out["logits"] == pytest.approx(model.decision_function(X.astype(np.float64)), rel=1e-5, abs=1e-5)
    assert np.array_equal(out["label"], model.predict(X))
    verified = next(p.value for p in graph.metadata_props if p.key == "softmax.verified")
    assert "differ from the model's by at most" in verified


def test_the_graph_in_float32(data):
    pytest.importorskip("onnx")
    model = fitted(data, 7, 5)
    graph = sm.to_onnx(model, dtype="float32", precision="fast")
    out = run(graph, {"X": data[0].astype(np.float32)})
    assert out["probabilities"] == pytest.approx(model.predict_proba(data[0]), abs=1e-5)


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "gelu", "silu"])
@pytest.mark.parametrize("precision", ["accurate", "fast"])
def test_a_row_that_is_not_finite_has_no_probabilities(data, activation, precision):
    pytest.importorskip("onnx")
    graph = sm.to_onnx(fitted(data, 5, activation=activation), dtype="float32", precision=precision)
    X = data[0][:4].astype(np.float32)
    X[1, 2], X[2, 0], X[3, 0] = np.nan, np.inf, -np.inf
    out = run(graph, {"X": X})
    assert np.isnan(out["probabilities"]).all(axis=1).tolist() == [False, True, True, True]
    assert out["label"].tolist()[1:] == ["", "", ""]


def test_a_graph_that_differs_is_not_written(data, tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = fitted(data, 5)
    monkeypatch.setattr(type(model), "predict_proba", lambda self, X: np.full((len(X), 3), 1 / 3))
    with pytest.raises(RuntimeError, match="differ from the model's"):
        sm.to_onnx(model, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def frame(rng, n=200):
    size = rng.normal(50.0, 10.0, n)
    colour = rng.choice(["red", "green", "blue"], n)
    size[rng.random(n) < 0.1] = np.nan
    kind = np.where(np.nan_to_num(size, nan=50.0) + 5 * (colour == "red") > 52, "large", "small")
    return pd.DataFrame({"size": size, "colour": colour, "kind": kind})


@pytest.mark.parametrize("missing", ["mean", "indicator"])
def test_a_network_of_a_table(rng, tmp_path, missing):
    pytest.importorskip("onnx")
    rows = frame(rng)
    settings = FitSettings("kind", hidden=(8, 4), missing=missing, max_iter=20)
    report = fit_table(as_table(rows, "rows"), settings)
    sm.save(report.model, tmp_path / "t.safetensors")
    loaded = sm.load(tmp_path / "t.safetensors")
    proba = report.model.predict_proba(rows)
    assert np.array_equal(loaded.predict_proba(rows), proba)
    graph = sm.to_onnx(loaded)
    numbers, texts = rows["size"].to_numpy()[:, None], rows["colour"].to_numpy(dtype=object)[:, None]
    out = run(graph, {"size": numbers, "colour": texts})
    assert out["probabilities"] == pytest.approx(proba, abs=1e-6)


def test_the_plain_model_is_enough_to_predict(data):
    model = fitted(data, 7, 5)
    content = json.loads(json.dumps(plain(describe(model, "a test"))))
    z = data[0]
    for layer in content["hidden"]:
        z = np.maximum(z @ np.array(layer["coefficients"]).T + layer["intercepts"], 0.0)
    z = z @ np.array(content["coefficients"]).T + content["intercepts"]
    assert sm.softmax(z) == pytest.approx(model.predict_proba(data[0]), abs=1e-12)
    assert content["activation"] == "relu"
    assert "hidden" not in plain(describe(sm.SoftmaxRegression().fit(*data), "a test"))


def test_a_card_of_a_network(data):
    card = sm.model_card(fitted(data, 7, 5), data="irises", evaluation={"accuracy": 0.9})
    front = yaml.safe_load(card.split("---")[1])
    assert "neural-network" in front["tags"]
    assert "A neural network with hidden layers of 7 and 5 (relu) that gives probabilities of 3 classes from 4" in card
    assert "there is no certificate" in card
    assert "| 2 | 5 | 35 |" in card
    assert "linear in the features" not in card and "## Certificate" not in card
