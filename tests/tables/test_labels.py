"""Targets: which classes a column has, and the columns that are no targets."""

import json

import numpy as np
import pyarrow as pa
import pytest

import softmax as sm
from softmax.tables import MISSING, UNKNOWN, Labels, as_table, read_table


def learn(values, **options):
    return Labels.learn(as_table(pa.table({"y": values})), "y", **options)


LABELS = {
    "int": ([3, 1, 3, 10], "int", (1, 3, 10), [1, 0, 1, 2]),
    "whole-floats": ([2.0, 1.0, 2.0], "int", (1, 2), [1, 0, 1]),
    "text": (["b", "a", "b"], "text", ("a", "b"), [1, 0, 1]),
    "text-digits": (["10", "9", "9"], "int", (9, 10), [1, 0, 0]),
    "leading-zeros": (["02", "01", "02"], "text", ("01", "02"), [1, 0, 1]),
    "negative": ([-1, 1, -1], "int", (-1, 1), [0, 1, 0]),
    "bool": ([True, False, True], "bool", ("false", "true"), [1, 0, 1]),
    "bool-text": (["True", "False", "True"], "bool", ("False", "True"), [1, 0, 1]),
    "bool-mixed": (["True", "False", "true", "True"], "bool", ("false", "true"), [1, 0, 1, 1]),
    "big": ([2**62, 5, 2**62], "int", (5, 2**62), [1, 0, 1]),
    "beyond-int64": (["99999999999999999999", "5", "5"], "text", ("5", "99999999999999999999"), [1, 0, 0]),
    "two-rows": (["a", "b"], "text", ("a", "b"), [0, 1]),
}


@pytest.mark.parametrize(("values", "kind", "classes", "codes"), LABELS.values(), ids=LABELS)
def test_classes(values, kind, classes, codes):
    labels, found = learn(values)
    assert (labels.kind, labels.values, found.tolist()) == (kind, classes, codes)
    assert Labels.from_state(json.loads(json.dumps(labels.to_state()))) == labels
    assert [str(v) for v in labels.decode(found).to_pylist()] == [labels.names[code] for code in codes]


BAD_TARGETS = {
    "continuous": (
        [0.5, 1.5, 0.5],
        "holds numbers with a fraction, such as 0.5 in row 1; softmax regression needs class",
    ),
    "one-class": ([1, 1, 1], "has one class only, 1; a classifier needs two or more."),
    "missing": (
        ["a", None, "b", None],
        "is missing in 2 rows (first in row 2). Fill it in, or leave such rows out with",
    ),
    "empty": ([None, None], "has no values at all."),
    "all-different": ([1, 2, 3], "differs in every row (3 values); it should hold the same few labels"),
    "dates": (pa.array([1, 1, 2], pa.date32()), "holds dates; it should hold class labels."),
    "infinite": ([1.0, float("inf"), 1.0], "holds an infinite value in row 2."),
}


@pytest.mark.parametrize(("values", "message"), BAD_TARGETS.values(), ids=BAD_TARGETS)
def test_refused_targets(values, message):
    with pytest.raises(sm.DataError) as caught:
        learn(values)
    assert str(caught.value).startswith("the target 'y' of the frame ")
    assert message in str(caught.value)


def test_absent_target(write):
    table = read_table(write("height,species\n1,a\n2,b\n"))
    with pytest.raises(sm.DataError) as caught:
        Labels.learn(table, "Specis")
    assert str(caught.value) == "the target 'Specis' is not a column of t.csv. Did you mean 'species'?"
    with pytest.raises(sm.DataError, match=r"The columns are: 'height', 'species'\."):
        Labels.learn(table, "zzz")


def test_fractions_as_names_of_classes():
    labels, codes = learn([0.5, 1.5, 0.5], categorical=True)
    assert labels == Labels("text", ("0.5", "1.5"))
    assert codes.tolist() == [0, 1, 0]


def test_missing_and_unknown_labels():
    labels, codes = learn(["a", None, "b"], drop_missing=True)
    assert codes.tolist() == [0, MISSING, 1]
    other = as_table(pa.table({"y": ["c", "a", "c", None, "d"]}))
    assert labels.encode(other, "y").tolist() == [UNKNOWN, 0, UNKNOWN, MISSING, UNKNOWN]
    assert labels.unknown(other, "y") == {"c": 2, "d": 1}
    assert labels.decode(np.array([1, MISSING, 0])).to_pylist() == ["b", None, "a"]


SAME = {
    "int-text": ([1, 2, 2], ["1", "2.0", "2"]),
    "int-float": ([1, 2, 2], [1.0, 2.0, 2.0]),
    "bool-int": ([True, False, True], [1, 0, 1]),
    "bool-text": ([True, False, True], ["TRUE", "False", "true"]),
    "text-bool": (["True", "False", "True"], [True, False, True]),
}


@pytest.mark.parametrize(("first", "second"), SAME.values(), ids=SAME)
def test_labels_match_whatever_their_type(first, second):
    labels, codes = learn(first)
    np.testing.assert_array_equal(labels.encode(as_table(pa.table({"y": second})), "y"), codes)


def test_classes_without_rows_are_left_out():
    labels, codes = learn(["a", "b", "c", "c"])
    notes = []
    fewer, recoded = labels.restricted(codes, np.array([0, 2, 3]), "y", notes)
    assert fewer.values == ("a", "c")
    assert recoded.tolist() == [0, UNKNOWN, 1, 1]
    assert notes == ["classes that lost all their rows are left out: 'b'"]
    with pytest.raises(sm.DataError, match="fewer than two classes"):
        labels.restricted(codes, np.array([2, 3]), "y", notes)


def test_a_quantity_is_noted():
    labels, codes = learn([i // 2 for i in range(120)])
    assert "60 different integers, 2.0 rows each" in labels.note(np.bincount(codes), "y")
    labels, codes = learn([i % 60 for i in range(1200)])
    assert labels.note(np.bincount(codes), "y") is None


def test_damaged_state():
    with pytest.raises(sm.ModelFileError, match="the saved class labels are damaged"):
        Labels.from_state({"kind": "int", "values": ["x"]})
