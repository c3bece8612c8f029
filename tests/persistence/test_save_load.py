"""Models come back from disk as they were, and nothing else is taken for a model."""

import json
import os
import pickle
import struct
import subprocess
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import scipy.sparse

import softmax as sm
from softmax.persistence import _format

DATA = Path(__file__).parent / "data"

LABELS = {
    "int64": np.array([-3, 0, 7]),
    "uint8": np.array([1, 2, 250], dtype=np.uint8),
    "bool": np.array([False, True]),
    "float64": np.array([-1.0, 0.0, 2.0]),
    "str": np.array(["a", "ä ö", "long\nlabel"]),
    "bytes": np.array([b"\x00x", b"\xff\xfe"]),
    "object-str": np.array(["x", "y", "z"], dtype=object),
    "object-int": np.array([1, 2, 10**25], dtype=object),
    "object-bool": np.array([False, True], dtype=object),
    "datetime": np.array(["2020-01-01", "2021-02-03"], dtype="datetime64[D]"),
    "big-endian": np.array([1, 2, 3], dtype=">i4"),
}


def fitted(labels=LABELS["int64"], **options):
    rng = np.random.default_rng(0)
    codes = np.arange(60) % len(labels)
    X = rng.standard_normal((60, 4)) + codes[:, None]
    return sm.SoftmaxRegression(**options).fit(X, labels[codes]), X


@pytest.fixture
def model_bytes(tmp_path):
    sm.save(fitted()[0], tmp_path / "model")
    return (tmp_path / "model").read_bytes()


def load_bytes(tmp_path, data):
    path = tmp_path / "given.safetensors"
    path.write_bytes(data)
    return sm.load(path)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_a_model_comes_back_bit_for_bit(tmp_path, labels):
    model, X = fitted(labels)
    sm.save(model, tmp_path / "model.safetensors")
    again = sm.load(str(tmp_path / "model.safetensors"))
    assert type(again) is sm.SoftmaxRegression
    np.testing.assert_array_equal(again.coef_, model.coef_)
    np.testing.assert_array_equal(again.intercept_, model.intercept_)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(again.classes_, model.classes_)
    assert again.classes_.dtype == model.classes_.dtype.newbyteorder("=")
    assert [type(label) for label in again.classes_.tolist()] == [type(label) for label in model.classes_.tolist()]
    for name in ("objective_", "gap_", "grad_norm_", "status_", "n_iter_", "n_passes_", "n_features_in_", "history_"):
        assert getattr(again, name) == getattr(model, name)


def test_everything_that_a_fit_leaves_comes_back(tmp_path):
    model, X = fitted(C=3.0)
    model.penalty_weights = [1.0, 2.0, 0.5, 1.0]
    model.separating_direction_ = np.arange(15.0).reshape(3, 5)
    model.temperature_, model.calibration_ = 1.75, {"rows": np.int64(60), "folds": np.arange(60) % 5, "note": None}
    sm.save(model, tmp_path / "m")
    again = sm.load(tmp_path / "m")
    left, came = ({k: v for k, v in vars(m).items() if k.endswith("_")} for m in (model, again))
    assert sorted(left) == sorted(came)
    for name, value in left.items():
        np.testing.assert_equal(came[name], value, err_msg=name)
    assert isinstance(again.calibration_["folds"], np.ndarray)
    assert not np.array_equal(again.predict_proba(X), fitted()[0].predict_proba(X))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("penalty_weights", np.array([1.0, 0.0, 2.0, 0.5])),
        ("penalty_weights", np.array([1, 0, 2, 3], dtype=np.int32)),
        ("penalty_weights", [1.0, 2.0, np.inf, 4.0]),
        ("bounds", (np.full((3, 4), -1.0), np.full((3, 4), np.inf))),
        ("bounds", (0, None)),
        ("bounds", (-np.inf, [1.0, 2.0, 3.0, 4.0])),
        ("C", np.inf),
        ("C", np.nan),
        ("random_state", 7),
        ("l1_ratio", np.float32(0.1)),
        ("class_weight", {"ä": 1.0, None: 2, 3: np.float64(0.5), (1, "a"): True}),
        ("solver", "née \n\t\x00 ∞"),
    ],
)
def test_parameters_of_every_kind_come_back(tmp_path, name, value):
    model, _ = fitted()
    setattr(model, name, value)  # any value: a parameter is checked by fit, and not when it is set
    sm.save(model, tmp_path / "m")
    again = getattr(sm.load(tmp_path / "m"), name)
    np.testing.assert_equal(again, value)
    assert type(again) is type(value) or isinstance(value, np.generic)
    if isinstance(value, np.ndarray):
        assert again.dtype == value.dtype
    if isinstance(value, tuple):
        assert [type(item) for item in again] == [type(item) for item in value]


MODES = {
    "sparse": {"sparse": True},
    "probabilities": {"soft": True},
    "offset": {"offset": True},
    "weights": {"penalty_weights": np.array([1.0, 2.0, 0.0, 1.0])},
    "estimated": {"C": np.inf},
    "lasso": {"l1_ratio": 1.0, "C": 5.0},
    "grouped": {"l1_ratio": 0.5, "grouped": True},
    "bounds": {"bounds": (0.0, None)},
    "bound-arrays": {"bounds": (np.full((3, 4), -0.5), np.full(4, 0.5))},
    "calibrated": {"calibrate": True},
}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_fits_of_every_kind_come_back(tmp_path, mode):
    options = dict(mode)
    sparse, soft, offset, calibrate = (options.pop(name, False) for name in ("sparse", "soft", "offset", "calibrate"))
    rng = np.random.default_rng(0)
    codes = np.arange(90) % 3
    X = rng.standard_normal((90, 4)) + 0.5 * codes[:, None]
    target = np.where(np.eye(3)[codes] > 0, 0.8, 0.1) if soft else codes
    data = scipy.sparse.csr_array(X) if sparse else X
    model = sm.SoftmaxRegression(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sm.NotCertifiedWarning)  # how near a fit came is not asked here
        model.fit(data, target, offset=rng.standard_normal((90, 3)) if offset else None)
        if calibrate:
            model.calibrate(X, codes, cv=3)
    sm.save(model, tmp_path / "m")
    again = sm.load(tmp_path / "m")
    left, came = ({k: v for k, v in vars(m).items() if not k.startswith("_")} for m in (model, again))
    np.testing.assert_equal(came, left)
    np.testing.assert_array_equal(again.predict_proba(data), model.predict_proba(data))


def test_a_separated_fit_comes_back_with_its_direction(tmp_path):
    X = np.arange(8.0)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sm.NotCertifiedWarning)
        model = sm.SoftmaxRegression(C=np.inf).fit(X, X[:, 0] > 3.5)
    sm.save(model, tmp_path / "m")
    again = sm.load(tmp_path / "m")
    assert again.status_ == "separated"
    np.testing.assert_array_equal(again.separating_direction_, model.separating_direction_)
    assert np.isinf(again.C)


def test_a_series_of_weights_becomes_an_array(tmp_path):
    pandas = pytest.importorskip("pandas")
    model, _ = fitted()
    model.penalty_weights = pandas.Series([1.0, 2.0, 3.0, 4.0])
    sm.save(model, tmp_path / "m")
    np.testing.assert_array_equal(sm.load(tmp_path / "m").penalty_weights, [1.0, 2.0, 3.0, 4.0])


def test_what_no_prediction_depends_on_may_be_left_out(tmp_path):
    model, X = fitted()
    model.random_state = np.random.default_rng(0)
    sm.save(model, tmp_path / "m")
    again = sm.load(tmp_path / "m")
    assert again.random_state is None
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_a_loaded_model_can_be_saved_again_and_gives_the_same_bytes(tmp_path):
    model, _ = fitted(LABELS["object-str"], class_weight={"x": 1.0, "y": 2.0, "z": 3})
    model.penalty_weights = np.arange(4.0) + 1
    sm.save(model, tmp_path / "one")
    sm.save(sm.load(tmp_path / "one"), tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_equal_fits_give_equal_bytes_in_every_process(tmp_path):
    code = """
import sys, numpy as np, softmax as sm
X = np.random.default_rng(0).standard_normal((40, 3))
sm.save(sm.SoftmaxRegression(n_threads=1).fit(X, np.array(["a", "b"])[np.arange(40) % 2]), sys.argv[1])
"""
    for i in range(2):
        environment = {**os.environ, "PYTHONHASHSEED": str(i)}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / str(i))], env=environment, check=True, timeout=120)
    assert len({(tmp_path / str(i)).read_bytes() for i in range(2)}) == 1


def test_the_time_is_in_the_file_only_if_asked_for(tmp_path):
    model, _ = fitted()
    before = datetime.now(UTC).replace(microsecond=0)
    sm.save(model, tmp_path / "with", timestamp=True)
    sm.save(model, tmp_path / "without")
    with_time, without = (_format.read_file(tmp_path / name, name) for name in ("with", "without"))
    assert before <= datetime.fromisoformat(with_time.created) <= datetime.now(UTC)
    assert without.created is None
    assert sm.load(tmp_path / "with").status_ == "certified"


@pytest.mark.parametrize("value", [None, 1.5e3, np.inf])
def test_the_condition_comes_back_and_older_files_say_nothing_of_it(tmp_path, value):
    model, _ = fitted()
    model.condition_ = value
    sm.save(model, tmp_path / "m")
    assert sm.load(tmp_path / "m").condition_ == value
    del model.condition_
    sm.save(model, tmp_path / "older")
    assert sm.load(tmp_path / "older").condition_ is None


@pytest.mark.parametrize("name", ["version-1", "version-1-bytes", "version-1-table"])
def test_files_of_version_1_are_read(name):
    path = DATA / f"{name}.model"
    assert _format.read_file(path, name).version == 1
    expected = json.loads((DATA / "version-1.json").read_text(encoding="utf-8"))
    model = sm.load(path)
    if name == "version-1-table":
        frame = pytest.importorskip("pandas").DataFrame(expected["table_rows"])
        assert model.predict(frame).tolist() == expected["table_labels"]
        np.testing.assert_allclose(model.predict_proba(frame), expected["table_proba"], rtol=1e-14)
        return
    if name == "version-1-bytes":
        assert model.classes_.tolist() == [b"\x00x", b"\xff\xfe"]
        return
    X = pytest.importorskip("pandas").DataFrame(expected["X"], columns=["α", "two", "c d"])
    assert model.predict(X).tolist() == expected["labels"]
    np.testing.assert_allclose(model.predict_proba(X), expected["proba"], rtol=1e-14)
    assert model.get_params()["class_weight"] == {"ä": 2.0, "b": 1.0, "c d": 1.0}
    assert model.get_params()["C"] == 0.5
    assert (model.l1_ratio, model.temperature_, model.separating_direction_) == (0.0, 1.0, None)
    assert np.isnan(model.penalty_)
    assert (model.status_, model.n_features_in_) == ("certified", 3)


def test_parameters_come_back_with_their_types(tmp_path):
    weights = {0: 1.0, 7: np.float64(2.5), -3: 3}
    model, _ = fitted(C=np.float32(0.5), class_weight=weights, tol=1e-9, n_threads=1, fit_intercept=False)
    sm.save(model, tmp_path / "m")
    params = sm.load(tmp_path / "m").get_params()
    assert params == model.get_params()
    assert all(type(key) is int for key in params["class_weight"])


def test_feature_names_come_back(tmp_path):
    pandas = pytest.importorskip("pandas")
    model, X = fitted()
    frame = pandas.DataFrame(X, columns=["α", "b", "c d", ""])
    model.fit(frame, np.arange(60) % 3)
    sm.save(model, tmp_path / "m")
    again = sm.load(tmp_path / "m")
    assert list(again.feature_names_in_) == ["α", "b", "c d", ""]
    np.testing.assert_array_equal(again.predict(frame), model.predict(frame))


def test_numbers_that_json_lacks_come_back(tmp_path):
    model, _ = fitted()
    model.gap_, model.history_ = np.inf, [{"gap": np.nan, "objective": -np.inf, "pair": (1, 2.0)}]
    sm.save(model, tmp_path / "m")
    again = sm.load(tmp_path / "m")
    assert again.gap_ == np.inf
    assert np.isnan(again.history_[0]["gap"])
    assert again.history_[0]["objective"] == -np.inf
    assert again.history_[0]["pair"] == (1, 2.0)


def test_every_truncation_is_refused(tmp_path, model_bytes):
    for size in [0, 1, 7, 8, 9, 100, *range(200, len(model_bytes), 37), len(model_bytes) - 1]:
        with pytest.raises(sm.ModelFileError, match=r"cut off|damaged"):
            load_bytes(tmp_path, model_bytes[:size])


def test_every_flipped_bit_is_refused_or_harmless(tmp_path, model_bytes):
    whole = load_bytes(tmp_path, model_bytes)
    refused = 0
    for place in range(len(model_bytes)):
        data = bytearray(model_bytes)
        data[place] ^= 1 << (place % 8)
        try:
            _format.from_bytes(bytes(data), "flipped")
        except sm.ModelFileError:
            refused += 1
        else:  # a space that pads the header, say
            again = load_bytes(tmp_path, bytes(data))
            np.testing.assert_array_equal(again.coef_, whole.coef_)
            assert again.get_params() == whole.get_params()
    assert refused > 0.99 * len(model_bytes)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pickle.dumps({"coef": [1.0] * 9}), "pickle"),
        (b"PK\x03\x04" + bytes(50), "zip archive"),
        (b"sepal length,species\n5.1,setosa\n", "no safetensors header"),
        (safetensors.numpy.save({"weight": np.ones(3)}), "not a softmax model"),
        (safetensors.numpy.save({"weight": np.ones(3)}, {"format": "pt"}), "not a softmax model"),
        (safetensors.numpy.save({"coef": np.ones(3)}, {"format": "softmax-model"}), "no header and no sha256"),
        (struct.pack("<Q", 60) + b"{" * 60, "not JSON"),
        (struct.pack("<Q", 50_000) + b"[" * 50_000, "not a softmax model file"),
        (struct.pack("<Q", 60_000) + b'{"a":' + b"[" * 59_995, "not JSON"),
    ],
    ids=["pickle", "zip", "csv", "other-safetensors", "torch-safetensors", "half-header", "no-json", "list", "deep"],
)
def test_foreign_files_are_refused(tmp_path, data, message):
    with pytest.raises(sm.ModelFileError, match=message) as info:
        load_bytes(tmp_path, data)
    assert "given.safetensors" in str(info.value)


def test_a_newer_layout_is_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(_format, "VERSION", 3)
    sm.save(fitted()[0], tmp_path / "m")
    monkeypatch.undo()
    with pytest.raises(sm.ModelFileError, match=r"file version 3.*reads up to 2.*Upgrade"):
        sm.load(tmp_path / "m")


def test_an_unknown_kind_is_refused_and_nothing_imported(tmp_path):
    data = _format.to_bytes(_format.Content("os:system", {}, {}, {"softmax": "9.0"}))
    with pytest.raises(sm.ModelFileError, match=r"kind 'os:system', written by softmax 9\.0"):
        load_bytes(tmp_path, data)


def test_what_cannot_be_saved_is_named(tmp_path):
    pipeline = pytest.importorskip("sklearn.pipeline").make_pipeline(fitted()[0])
    with pytest.raises(TypeError, match="got a Pipeline"):
        sm.save(pipeline, tmp_path / "m")
    with pytest.raises(TypeError, match="got the class SoftmaxRegression"):
        sm.save(sm.SoftmaxRegression, tmp_path / "m")
    with pytest.raises(ValueError, match="not fitted"):
        sm.save(sm.SoftmaxRegression(), tmp_path / "m")
    model, _ = fitted()
    model.class_weight = {0: object()}
    with pytest.raises(TypeError, match=r"state\.params\.class_weight\[0\] holds a object"):
        sm.save(model, tmp_path / "m")
    assert os.listdir(tmp_path) == []


def test_the_header_is_readable_by_any_safetensors_reader(tmp_path):
    model, _ = fitted()
    sm.save(model, tmp_path / "m")
    with safetensors.safe_open(tmp_path / "m", "np") as file:
        header = json.loads(file.metadata()["header"])
        np.testing.assert_array_equal(file.get_tensor("coef"), model.coef_)
    assert header["versions"]["softmax"] == sm.__version__
    assert header["state"]["fitted"]["status_"] == "certified"
