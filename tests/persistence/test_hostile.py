"""Files that are damaged, or made to harm: each is refused with what is wrong and where, and none runs anything."""

import json
import os
import resource
import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy

import softmax as sm
from softmax.persistence import _format

from .test_save_load import fitted


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a good model."""
    path = tmp_path_factory.mktemp("good") / "m"
    model, _ = fitted()
    model.penalty_weights = np.array([1.0, 2.0, 3.0, 4.0])
    sm.save(model, path)
    return path.read_bytes()


def refused(tmp_path, data, message):
    path = tmp_path / "given.safetensors"
    path.write_bytes(data)
    with pytest.raises(sm.ModelFileError, match=message) as info:
        sm.load(path)
    assert "given.safetensors" in str(info.value)
    return str(info.value)


def parts(data):
    """The outer header, the inner header and the numbers of a file."""
    (length,) = struct.unpack("<Q", data[:8])
    outer = json.loads(data[8 : 8 + length])
    return outer, json.loads(outer["__metadata__"]["header"]), data[8 + length :]


def built(data, change, *, text=None):
    """A file whose inner header went through `change`, or reads `text`, with a checksum that fits it."""
    outer, inner, _ = parts(data)
    if text is None:
        change(inner)
        text = json.dumps(inner)
    tensors = safetensors.numpy.load(data)
    metadata = {**outer["__metadata__"], "header": text}
    metadata["sha256"] = _format._checksum(metadata["version"], text, tensors)
    return safetensors.numpy.save(tensors, metadata)


def with_outer(data, outer):
    text = outer if isinstance(outer, bytes) else json.dumps(outer).encode()
    return struct.pack("<Q", len(text)) + text + parts(data)[2]


def with_state(data, change):
    """A file with another state and other arrays, with a checksum that fits."""
    content = _format.from_bytes(data, "m")
    change(content.state, content.arrays)
    return _format.to_bytes(content)


def test_the_tools_of_these_tests_give_good_files(tmp_path, whole):
    path = tmp_path / "m"
    for data in (
        built(whole, lambda inner: None),
        with_outer(whole, parts(whole)[0]),
        with_state(whole, lambda state, arrays: None),
    ):
        path.write_bytes(data)
        np.testing.assert_array_equal(sm.load(path).penalty_weights, [1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize("length", [0, 1, 2**63, 2**64 - 1, 99_999_999, 100_000_001])
def test_a_header_length_that_lies(tmp_path, whole, length):
    refused(tmp_path, struct.pack("<Q", length) + whole[8:], r"not a softmax model file|cut off|damaged|not JSON")


def test_a_length_that_cuts_into_the_numbers(tmp_path, whole):
    (length,) = struct.unpack("<Q", whole[:8])
    for wrong in (length - 1, length - 8, length + 8, len(whole) - 8, len(whole)):
        refused(tmp_path, struct.pack("<Q", wrong) + whole[8:], r"cut off|damaged|not JSON")


def test_bytes_behind_the_end(tmp_path, whole):
    refused(tmp_path, whole + b"\0", "damaged")


def test_a_file_that_never_ends_is_refused_at_its_start():
    with pytest.raises(sm.ModelFileError, match="not a softmax model file"):
        sm.load("/dev/zero")


def test_a_huge_foreign_file_is_not_read_whole(tmp_path):
    path = tmp_path / "film"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 90) + b"{" + b" " * 87 + b"}" * 2)
        file.truncate(2**32)
    tracemalloc.start()
    with pytest.raises(sm.ModelFileError):
        sm.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("coef", {"dtype": "F64", "shape": [3, 4], "data_offsets": [0, 8]}),
        ("coef", {"dtype": "F64", "shape": [3, 4], "data_offsets": [0, 10**15]}),
        ("coef", {"dtype": "F64", "shape": [3, 4], "data_offsets": [-8, 88]}),
        ("coef", {"dtype": "F64", "shape": [2**62, 4], "data_offsets": [0, 96]}),
        ("coef", {"dtype": "F32", "shape": [3, 8], "data_offsets": [24, 120]}),
        ("coef", {"dtype": "I64", "shape": [3, 4]}),
        ("coef", {"dtype": "NONE", "shape": [3, 4], "data_offsets": [24, 120]}),
        ("coef", []),
        ("surplus", {"dtype": "F64", "shape": [0], "data_offsets": [0, 0]}),
    ],
)
def test_a_tensor_that_lies(tmp_path, whole, name, entry):
    outer = parts(whole)[0]
    refused(tmp_path, with_outer(whole, {**outer, name: entry}), r"damaged|cannot read")


def test_keys_that_stand_twice(tmp_path, whole):
    outer, inner, _ = parts(whole)
    text = json.dumps(outer)
    doubled = text[:-1] + ', "__metadata__": {"format": "softmax-model"}}'
    assert "'__metadata__' stands twice" in refused(tmp_path, with_outer(whole, doubled.encode()), "damaged")
    entry = '"coef": {"dtype": "F64", "shape": [0], "data_offsets": [0, 0]}, '
    refused(tmp_path, with_outer(whole, b"{" + entry.encode() + text[1:].encode()), "'coef' stands twice")
    text = json.dumps(inner)
    refused(tmp_path, built(whole, None, text=text[:-1] + ', "kind": "TableModel"}'), "'kind' stands twice")
    again = text.replace('"state": {', '"state": {"params": {"C": 2.0}, ', 1)
    refused(tmp_path, built(whole, None, text=again), "'params' stands twice")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        '{"kind": ' + "9" * 100_000 + "}",
        '{"kind": NaN}',
        '{"kind": -Infinity}',
        "[]",
        "null",
        '"softmax"',
        "",
        '{"kind": "SoftmaxRegression"',
        '{"kind": "SoftmaxRegression", "state": [], "versions": {}, "arrays": {}}',
        '{"kind": ["SoftmaxRegression"], "state": {}, "versions": {}, "arrays": {}}',
        '{"kind": "SoftmaxRegression", "state": {}, "versions": [], "arrays": []}',
    ],
    ids=lambda text: text[:20] or "empty",
)
def test_headers_that_are_no_description_of_a_model(tmp_path, whole, text):
    refused(tmp_path, built(whole, None, text=text), "cannot read")
    outer = parts(whole)[0]
    del outer["__metadata__"]
    refused(tmp_path, with_outer(whole, text.encode()), r"damaged|not a softmax model|only")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda inner: inner.pop("kind"), "kind"),
        (lambda inner: inner.update(code="import os"), r"unknown keys \['code'\]"),
        (lambda inner: inner["arrays"]["coef"].update(strides=[0, 0]), r"unknown keys \['strides'\]"),
        (lambda inner: inner["arrays"].update(coef2=inner["arrays"]["coef"]), "coef2"),
        (lambda inner: inner["arrays"].pop("coef"), "without a description"),
        (lambda inner: inner["arrays"]["coef"].update(shape=[4, 3]), r"should be float64 \(4, 3\)"),
        (lambda inner: inner["arrays"]["coef"].update(shape="3"), r"cannot read|damaged"),
        (lambda inner: inner["arrays"]["coef"].update(shape=None), r"cannot read"),
        (lambda inner: inner["arrays"]["coef"].update(dtype="<f4"), "should be float32"),
        (lambda inner: inner["arrays"]["coef"].update(dtype="<m8[s]"), "should be timedelta"),
        (lambda inner: inner["arrays"]["coef"].update(dtype="i4,f8"), "unknown dtype"),
        (lambda inner: inner["arrays"]["coef"].update(dtype={"names": ["a"]}), "cannot read"),
        (lambda inner: inner["arrays"]["coef"].update(items=[1.0] * 12), "should be a tensor"),
        (lambda inner: inner["arrays"]["classes"].update(dtype="<U9", items=["a"] * 3), "without|cannot read|damaged"),
        (
            lambda inner: inner["state"]["params"].update(C={"$": "python", "value": "os.system"}),
            "unknown kind of value",
        ),
        (lambda inner: inner["state"]["params"].update(C={"$": "float", "value": "x"}), "cannot read"),
        (lambda inner: inner["state"]["params"].update(C={"$": "float", "value": "1", "more": 1}), "tagged value"),
        (lambda inner: inner["state"]["params"].update(C={"$": "array", "value": "absent"}), "absent"),
        (lambda inner: inner["state"]["params"].update(C={"$": "array", "value": ["coef"]}), "cannot read"),
        (lambda inner: inner["state"]["params"].update(C={"$": "dict", "value": [[[1], 2]]}), "cannot read"),
        (lambda inner: inner["state"]["params"].update(C={"$": "bytes", "value": "zz"}), "cannot read"),
    ],
)
def test_descriptions_that_lie(tmp_path, whole, change, message):
    refused(tmp_path, built(whole, change), message)


@pytest.mark.parametrize("depth", [60, 440, 100_000])
def test_values_too_deep_to_read(tmp_path, whole, depth):
    text = json.dumps(parts(whole)[1]).replace('"C": 1.0', '"C": ' + '{"$":"tuple","value":[' * depth + "]}" * depth)
    refused(tmp_path, built(whole, None, text=text), "cannot read")


def wide_text(inner):
    inner["arrays"]["names"] = {"dtype": "<U250000000", "shape": [3], "items": ["a", "b", "c"]}
    inner["state"]["fitted"]["names_"] = {"$": "array", "value": "names"}


def test_a_kilobyte_cannot_ask_for_gigabytes(tmp_path, whole):
    refused(tmp_path, built(whole, wide_text), r"names asks for 3,000,000,000 bytes of text")


def set_array(name, change):
    def apply(state, arrays):
        arrays[name] = change(arrays[name].copy())

    return apply


def put(value, *place):
    """Set an entry of an array."""

    def change(array):
        array[place] = value
        return array

    return change


def fitted_value(name, value):
    return lambda state, arrays: state["fitted"].update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state, arrays: arrays.pop("coef"), "it lacks 'coef'"),
        (lambda state, arrays: arrays.pop("classes"), "it lacks 'classes'"),
        (lambda state, arrays: state.pop("params"), "it lacks 'params'"),
        (lambda state, arrays: state.pop("fitted"), "it lacks 'fitted'"),
        (lambda state, arrays: state["fitted"].pop("gap_"), "it lacks 'gap_'"),
        (lambda state, arrays: state.update(code="x"), "unknown 'code'"),
        (lambda state, arrays: arrays.update(surplus=np.ones(2)), "unknown 'surplus'"),
        (lambda state, arrays: state["params"].update(penalty="l3"), "unknown parameters penalty"),
        (lambda state, arrays: state.update(params=[1, 2]), "damaged"),
        (lambda state, arrays: state.update(fitted="text"), "damaged"),
        (set_array("coef", put(np.nan, 0, 0)), "coef_ should be finite"),
        (set_array("coef", put(-np.inf, 2, 3)), "coef_ should be finite"),
        (set_array("intercept", put(np.nan, 1)), "intercept_ should be finite"),
        (set_array("coef", lambda a: a[:2]), r"coef_ should be .* of shape \(2, 4\); there are 3 classes"),
        (set_array("coef", lambda a: a.ravel()), "damaged"),
        (set_array("coef", lambda a: a.astype(np.float32)), "coef_ should be"),
        (set_array("coef", lambda a: a.astype(np.int64)), "coef_ should be"),
        (set_array("coef", lambda a: a.astype(str)), "coef_ should be"),
        (set_array("coef", lambda a: a.astype(object)), "coef_ should be"),
        (set_array("intercept", lambda a: a[:, None]), "intercept_ should be"),
        (set_array("classes", lambda a: a[:, None]), "classes_ should be"),
        (set_array("classes", lambda a: np.array([1, 1, 2])), "two or more different labels"),
        (set_array("classes", lambda a: np.array([0.0, np.nan, 2])), "two or more different labels"),
        (set_array("classes", lambda a: np.array([[1], [1], {}], dtype=object)), "damaged"),
        (set_array("classes", lambda a: np.array(3)), "damaged"),
        (lambda state, arrays: arrays.update(feature_names=np.array(["a"])), "feature_names_in_ should be text"),
        (lambda state, arrays: arrays.update(feature_names=np.arange(4)), "feature_names_in_ should be text"),
        (fitted_value("predict", "x"), "'predict', which no fit leaves"),
        (fitted_value("__class__", "x"), "'__class__', which no fit leaves"),
        (fitted_value("_progress", "x"), "'_progress', which no fit leaves"),
        (fitted_value("__sklearn_tags__", 1), "which no fit leaves"),
        (fitted_value("gap_", "0"), "gap_ should be a number"),
        (fitted_value("gap_", -1.0), "gap_ should be a number"),
        (fitted_value("objective_", None), "objective_ should be a number"),
        (fitted_value("status_", 1), "status_ should be text"),
        (fitted_value("n_iter_", 1.5), "n_iter_ should be a whole number"),
        (fitted_value("n_iter_", True), "n_iter_ should be a whole number"),
        (fitted_value("history_", {"a": 1}), "history_ should be a list of records"),
        (fitted_value("history_", [1]), "history_ should be a list of records"),
        (fitted_value("temperature_", 0.0), "temperature_ should be a finite number > 0"),
        (fitted_value("temperature_", float("nan")), "temperature_ should be a finite number > 0"),
        (fitted_value("temperature_", float("inf")), "temperature_ should be a finite number > 0"),
        (fitted_value("penalty_", -1), "penalty_ should be a number"),
        (fitted_value("condition_", 0.5), "condition_ should be None, or a number"),
        (fitted_value("condition_", float("nan")), "condition_ should be None, or a number"),
        (fitted_value("separating_direction_", np.ones((3, 4))), r"separating_direction_ should be None, or finite"),
        (fitted_value("separating_direction_", np.full((3, 5), np.nan)), "separating_direction_ should be"),
    ],
)
def test_a_state_that_no_fit_leaves_is_refused(tmp_path, whole, change, message):
    text = refused(tmp_path, with_state(whole, change), message)
    assert "the saved SoftmaxRegression is damaged" in text


def test_a_boolean_that_is_neither(tmp_path):
    model, _ = fitted(np.array([False, True]))
    sm.save(model, tmp_path / "m")
    data = (tmp_path / "m").read_bytes()
    outer, _, numbers = parts(data)
    place = outer["classes"]["data_offsets"][0]
    tensors = safetensors.numpy.load(data)
    tensors["classes"] = np.array([0, 7], dtype=np.uint8).view(bool)
    metadata = outer["__metadata__"]
    metadata["sha256"] = _format._checksum(metadata["version"], metadata["header"], tensors)
    outer["__metadata__"] = metadata
    numbers = numbers[:place] + b"\0\7" + numbers[place + 2 :]
    refused(tmp_path, with_outer(data, outer)[: -len(numbers)] + numbers, "neither 0 nor 1")


@pytest.mark.parametrize("version", ["0", "3", "99999999999", "-1", "1.0", "", "two", "²"])
def test_unknown_versions(tmp_path, whole, version):
    outer = parts(whole)[0]
    outer["__metadata__"]["version"] = version
    refused(tmp_path, with_outer(whole, outer), "file version")


@pytest.mark.parametrize("value", [1, None, ["2"], {"a": "b"}])
@pytest.mark.parametrize("key", ["version", "header", "sha256"])
def test_metadata_that_is_no_text(tmp_path, whole, key, value):
    outer = parts(whole)[0]
    outer["__metadata__"][key] = value
    refused(tmp_path, with_outer(whole, outer), "something else than text")


def test_a_flip_in_any_number_is_seen(tmp_path, whole):
    numbers = len(parts(whole)[2])
    for place in range(len(whole) - numbers, len(whole), 5):
        data = bytearray(whole)
        data[place] ^= 0x10
        refused(tmp_path, bytes(data), "checksum")


def test_a_model_that_could_not_be_loaded_is_not_saved(tmp_path):
    model, _ = fitted()
    model.coef_ = np.full_like(model.coef_, np.nan)
    with pytest.raises(sm.ModelFileError, match="coef_ should be finite"):
        sm.save(model, tmp_path / "m")
    model, _ = fitted()
    model.classes_ = np.array(["a", "b\udc80", "c"])
    with pytest.raises(TypeError, match="half a character"):
        sm.save(model, tmp_path / "m")
    assert os.listdir(tmp_path) == []


def test_loading_stays_within_a_limit_of_memory(tmp_path, whole):
    """A file of 4 MB of the costliest JSON is refused, or read, in a gigabyte."""
    path = tmp_path / "bomb"
    path.write_bytes(built(whole, lambda inner: inner["state"]["fitted"].update(bomb_=[[]] * 1_000_000)))
    code = """
import resource, sys, softmax as sm
sm.load
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, resource.RLIM_INFINITY))
try:
    sm.load(sys.argv[1])
except sm.ModelFileError:
    pass
"""
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("this system does not say how much memory a process uses")
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=120)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 2**21


def test_loading_runs_and_imports_nothing(tmp_path, whole):
    """Seen by the interpreter's own audit: a second load compiles, imports and starts nothing, and opens one file."""
    path = tmp_path / "m"
    path.write_bytes(whole)
    code = """
import sys, softmax as sm
sm.load(sys.argv[1])
seen = []
sys.addaudithook(lambda event, arguments: seen.append(event))
sm.load(sys.argv[1])
events = sorted(set(seen))
seen.clear()
exec("1")
assert "exec" in seen, "the audit sees nothing"
print(*events)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= {"open", "builtins.id", "object.__getattr__"}


def test_a_file_cannot_hide_a_property(tmp_path, whole, monkeypatch):
    monkeypatch.setattr(sm.SoftmaxRegression, "derived_", property(lambda self: 1), raising=False)
    refused(tmp_path, with_state(whole, fitted_value("derived_", 2)), "'derived_', which no fit leaves")
