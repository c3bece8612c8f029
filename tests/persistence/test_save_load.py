"""Models come back from disk as they were, and nothing else is taken for a model."""

import json
import os
import pickle
import stat
import struct

import numpy as np
import pytest
import safetensors.numpy

import softmax as sm
from softmax.persistence import _format, _save

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
    monkeypatch.setattr(_format, "VERSION", 2)
    sm.save(fitted()[0], tmp_path / "m")
    monkeypatch.undo()
    with pytest.raises(sm.ModelFileError, match=r"file version 2.*reads up to 1.*Upgrade"):
        sm.load(tmp_path / "m")


def test_an_unknown_kind_is_refused_and_nothing_imported(tmp_path):
    data = _format.to_bytes({"kind": "os:system", "state": {}, "versions": {"softmax": "9.0"}}, {})
    with pytest.raises(sm.ModelFileError, match=r"kind 'os:system', written by softmax 9\.0"):
        load_bytes(tmp_path, data)


def tampered(path, change):
    """Bytes of a model file with another state and a checksum that fits it."""
    content, arrays = _format.from_bytes(path.read_bytes(), "m")
    change(content["state"], arrays)
    return _format.to_bytes(content, arrays)


@pytest.mark.parametrize(
    "change",
    [
        lambda state, arrays: arrays.pop("coef"),
        lambda state, arrays: state.pop("params"),
        lambda state, arrays: state["params"].update(penalty="l3"),
        lambda state, arrays: arrays.update(coef=arrays["coef"][:2]),
        lambda state, arrays: arrays.update(intercept=arrays["intercept"][:, None]),
        lambda state, arrays: state["certificate"].pop("gap"),
        lambda state, arrays: arrays.update(feature_names=np.array(["a"])),
    ],
    ids=["no-coef", "no-params", "unknown-param", "coef-shape", "intercept-shape", "no-gap", "names"],
)
def test_a_state_that_no_model_has_is_refused(tmp_path, change):
    sm.save(fitted()[0], tmp_path / "m")
    with pytest.raises(sm.ModelFileError, match="damaged"):
        load_bytes(tmp_path, tampered(tmp_path / "m", change))


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path, monkeypatch):
    path = tmp_path / "m"
    sm.save(fitted()[0], path)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_save.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        sm.save(fitted(C=2.0)[0], path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m"]


def test_saving_replaces_what_a_link_points_to_and_keeps_its_mode(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    sm.save(fitted()[0], link)
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert sm.load(target).status_ == "certified"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the folder .*absent does not exist"):
        sm.save(fitted()[0], tmp_path / "absent" / "m")


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
    with pytest.raises(TypeError, match=r"header\.state\.params\.class_weight\[0\] holds a object"):
        sm.save(model, tmp_path / "m")
    assert os.listdir(tmp_path) == []


def test_the_header_is_readable_by_any_safetensors_reader(tmp_path):
    model, _ = fitted()
    sm.save(model, tmp_path / "m")
    with safetensors.safe_open(tmp_path / "m", "np") as file:
        header = json.loads(file.metadata()["header"])
        np.testing.assert_array_equal(file.get_tensor("coef"), model.coef_)
    assert header["versions"]["softmax"] == sm.__version__
    assert header["state"]["certificate"]["status"] == "certified"
