"""The encoder: its numbers against the formulas, what it remembers, and what it says of tables that changed."""

import json

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import softmax as sm
from softmax.tables import TableEncoder, as_table, plan_features, read_table

TRAIN = {
    "size": [1.0, 2.0, None, -4.0, 7.5],
    "colour": ["red", "blue", "red", None, "green"],
    "sold": [True, False, False, True, True],
    "whole": [5, 5, 5, 5, 5],
}
COMPLETE = {name: [v if v is not None else values[0] for v in values] for name, values in TRAIN.items()}


def fitted(frame=COMPLETE, missing="error", **options):
    table = as_table(pa.table(frame))
    return TableEncoder(missing).fit(table, plan_features(table, missing=missing, **options)), table


def test_values():
    encoder, table = fitted()
    encoded = encoder.transform(table)
    size = np.array(COMPLETE["size"])
    assert encoder.feature_names == [
        "size", "colour=blue", "colour=green", "colour=red", "sold=false", "sold=true", "whole",
    ]  # fmt: skip
    np.testing.assert_allclose(encoded.X[:, 0], (size - size.mean()) / size.std(), rtol=1e-15)
    np.testing.assert_array_equal(encoded.X[:, 1:4], [[0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(encoded.X[:, 4], [0, 1, 1, 0, 0])
    np.testing.assert_array_equal(encoded.X[:, 6], 0)
    assert encoded.X.flags.c_contiguous
    assert encoded.X.dtype == np.float64
    assert encoded.notes == []


@pytest.mark.parametrize(
    ("offset", "scale"), [(0, 1.0), (0, 1e-300), (0, 1e-320), (0, 1e300), (1e15, 1.0), (-1e300, 1e298), (1e-5, 1e-20)]
)
def test_standardising_survives_offsets_and_scales(offset, scale):
    values = np.array([-3.0, -1.0, 0.0, 1.0, 3.0]) * scale + offset
    encoder, table = fitted({"a": values})
    X = encoder.transform(table).X[:, 0]
    rounding = np.finfo(float).eps * abs(offset) / scale + 5e-324 / scale
    np.testing.assert_allclose(X, np.array([-1.5, -0.5, 0, 0.5, 1.5]), atol=1e-15 + 2 * rounding)


POLICIES = {
    "mean": (
        ["size", "colour=blue", "colour=green", "colour=red", "colour is missing"],
        [[-0.15, 0, 0, 1, 0], [0.09, 1, 0, 0, 0], [0, 0, 0, 1, 0], [-1.38, 0, 0, 0, 1], [1.44, 0, 1, 0, 0]],
    ),
    "indicator": (
        ["size", "size is missing", "colour=blue", "colour=green", "colour=red", "colour is missing"],
        [
            [-0.15, 0, 0, 0, 1, 0],
            [0.09, 0, 1, 0, 0, 0],
            [0, 1, 0, 0, 1, 0],
            [-1.38, 0, 0, 0, 0, 1],
            [1.44, 0, 0, 1, 0, 0],
        ],
    ),
    "drop": (
        ["size", "colour=blue", "colour=green", "colour=red"],
        [[-0.88, 0, 0, 1], [-0.53, 1, 0, 0], [1.4, 0, 1, 0]],
    ),
}


@pytest.mark.parametrize(("policy", "names", "X"), [(p, *v) for p, v in POLICIES.items()], ids=POLICIES)
def test_missing_policies(policy, names, X):
    frame = {name: TRAIN[name] for name in ("size", "colour")}
    encoder, table = fitted(frame, policy)
    encoded = encoder.transform(table)
    assert encoder.feature_names == names
    np.testing.assert_allclose(encoded.X, X, atol=0.006)
    if policy == "drop":
        assert encoded.rows.tolist() == [0, 1, 4]
        assert encoded.notes == ["left out 2 rows with missing values in 'size' (1 row), 'colour' (1 row)"]
    else:
        assert encoded.rows.tolist() == [0, 1, 2, 3, 4]
        assert encoded.notes == ["filled in missing values in 'size' (1 row), 'colour' (1 row)"]


def test_a_subset_is_fitted_alone():
    table = as_table(pa.table({"a": [0.0, 2.0, 100.0, 5.0], "b": ["u", "v", "w", "w"]}))
    encoder = TableEncoder().fit(table, plan_features(table), np.array([0, 1]))
    encoded = encoder.transform(table)
    np.testing.assert_array_equal(encoded.X[:, 0], [-1, 1, 99, 4])
    assert encoder.feature_names == ["a", "b=u", "b=v"]
    np.testing.assert_array_equal(encoded.X[2:, 1:], 0)
    np.testing.assert_array_equal(encoder.transform(table, np.array([3, 0])).X[:, 0], [4, -1])


def test_unseen_categories_are_zeros_and_counted():
    encoder, _ = fitted()
    frame = {**COMPLETE, "colour": ["pink", "red", "pink", "puce", "blue"]}
    encoded = encoder.transform(as_table(pa.table(frame)))
    np.testing.assert_array_equal(encoded.X[:, 1:4], [[0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0], [1, 0, 0]])
    assert encoded.notes == [
        "column 'colour' has categories that the model has not seen, in 3 rows: 'pink' (2 rows), 'puce' (1 row)"
    ]


def test_order_and_further_columns_do_not_matter():
    encoder, table = fitted()
    shuffled = {"new": ["z"] * 5, **{name: COMPLETE[name] for name in reversed(COMPLETE)}}
    np.testing.assert_array_equal(encoder.transform(as_table(pa.table(shuffled))).X, encoder.transform(table).X)


def test_absent_columns_are_named():
    encoder, _ = fitted()
    with pytest.raises(sm.DataError) as caught:
        encoder.transform(as_table(pa.table({"Size": [1.0], "sold": [True], "colour": ["red"], "whole": [1]})))
    assert str(caught.value) == "the frame lacks 1 column that the model needs: 'size'. Did you mean 'Size'?"
    with pytest.raises(sm.DataError) as caught:
        encoder.transform(as_table(pa.table({"sold": [True], "x": [1]})))
    assert str(caught.value) == (
        "the frame lacks 3 columns that the model needs: 'size', 'colour', 'whole'. Its columns are: 'sold', 'x'."
    )


CHANGED = {
    "text-for-number": ({"size": list("abcde")}, "column 'size' of the frame should hold numbers, but it holds 'a' in"),
    "dates-for-number": ({"size": pa.array([1, 2, 3, 4, 5], pa.date32())}, "should hold numbers, but it holds dates"),
    "dates-for-text": (
        {"colour": pa.array([1, 2, 3, 4, 5], pa.date32())},
        "should hold categories, but it holds dates",
    ),
    "infinity": ({"size": [1, 2, 3, float("inf"), 5.0]}, "column 'size' of the frame holds an infinite"),
    "missing": (
        {"size": TRAIN["size"]},
        "The model was fitted with --missing error, so it expects none. Pass --missing",
    ),
    "far-away": ({"size": [1e308, -1e308, 1, 1, 1]}, None),
}


@pytest.mark.parametrize(("change", "message"), CHANGED.values(), ids=CHANGED)
def test_changed_columns(change, message):
    encoder, _ = fitted()
    table = as_table(pa.table({**COMPLETE, **change}))
    if message is None:
        assert np.isfinite(encoder.transform(table).X).all()
        return
    with pytest.raises(sm.DataError) as caught:
        encoder.transform(table)
    assert message in str(caught.value)


def test_values_beyond_float64_after_scaling_are_refused():
    encoder, _ = fitted({"a": [1e-300, 2e-300]})
    with pytest.raises(sm.DataError, match=r"column 'a' .* holds 1e\+300 in row 2, too far from what the model saw"):
        encoder.transform(as_table(pa.table({"a": [0.0, 1e300]})))


def test_types_may_change_where_the_values_do_not(write):
    encoder, table = fitted()
    truth = encoder.transform(table).X
    frame = pl.DataFrame(COMPLETE).with_columns(
        pl.col("colour").cast(pl.Categorical), pl.col("sold").cast(pl.Int8), pl.col("whole").cast(pl.Float32)
    )
    np.testing.assert_array_equal(encoder.transform(as_table(frame)).X, truth)
    path = write(b"")
    pl.DataFrame(COMPLETE).write_csv(path)
    np.testing.assert_array_equal(encoder.transform(read_table(path)).X, truth)
    path.write_text(path.read_text().replace("true", "True").replace("false", "FALSE"))
    np.testing.assert_array_equal(encoder.transform(read_table(path)).X, truth)


def test_numeric_categories_match_whatever_their_type(write):
    table = read_table(write("a,y\n1,0\n2,1\n3A,0\n1,1\n"))
    encoder = TableEncoder().fit(table, plan_features(table, leave_out={"y"}))
    truth = [[1, 0, 0], [0, 1, 0]]
    np.testing.assert_array_equal(encoder.transform(read_table(write("a\n1\n2\n", "new.csv"))).X, truth)
    np.testing.assert_array_equal(encoder.transform(as_table(pa.table({"a": [1, 2]}))).X, truth)
    np.testing.assert_array_equal(encoder.transform(as_table(pa.table({"a": [1.0, 2.0]}))).X, truth)


def test_policy_at_prediction():
    encoder, _ = fitted()
    table = as_table(pa.table(TRAIN))
    filled = encoder.transform(table, missing="mean")
    assert filled.X[2, 0] == 0
    assert not filled.X[3, 1:4].any()
    assert filled.notes == [
        "filled in missing values in 'size' (1 row), 'colour' (1 row)",
        "column 'colour' is missing in 1 row, which the model has not seen: no category is set",
    ]
    assert encoder.transform(table, missing="drop").rows.tolist() == [0, 1, 4]


@pytest.mark.parametrize("policy", ["mean", "indicator", "drop"])
def test_state_round_trip(policy):
    encoder, table = fitted(TRAIN, policy)
    header, arrays = encoder.to_state()
    again = TableEncoder.from_state(json.loads(json.dumps(header)), arrays)
    assert again.features == encoder.features
    assert again.feature_names == encoder.feature_names
    np.testing.assert_array_equal(again.transform(table).X, encoder.transform(table).X)


def test_damaged_state():
    encoder, _ = fitted()
    header, arrays = encoder.to_state()
    for broken in ({}, {**header, "missing": "?"}, {**header, "columns": [{"name": "a"}]}):
        with pytest.raises(sm.ModelFileError, match="the saved encoding of the columns is damaged"):
            TableEncoder.from_state(broken, arrays)
    with pytest.raises(sm.ModelFileError, match="damaged"):
        TableEncoder.from_state(header, {"mean": arrays["mean"][:1], "scale": arrays["scale"]})


def test_bad_policy_and_empty_rows():
    with pytest.raises(sm.OptionError, match="missing must be one of error, mean, indicator, drop, got 'skip'"):
        TableEncoder("skip")
    with pytest.raises(sm.DataError, match="has no row without a missing value"):
        fitted({"a": [1.0, None, 2.0], "b": [None, 1.0, None]}, "drop")


def test_a_matrix_beyond_memory_is_refused(monkeypatch):
    encoder, table = fitted()
    monkeypatch.setattr("softmax.tables._encoder.os.sysconf", lambda name: 8)
    with pytest.raises(
        sm.DataError, match=r"becomes a matrix of 5 rows and 7 columns, .* widest columns are 'colour' \(3\)"
    ):
        encoder.transform(table)
