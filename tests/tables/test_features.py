"""Which columns become features, and the one message that refuses the others."""

import random
import re

import numpy as np
import pyarrow as pa
import pytest

import softmax as sm
from softmax.tables import as_table, plan_features, read_table

N = 40


def column_file(values, name="a"):
    """A CSV of one feature column and a target."""
    return f"{name},y\n" + "".join(f"{value},{i % 3}\n" for i, value in enumerate(values))


def test_kinds(write):
    table = read_table(write("a,b,c,y\n1,u,True,0\n2,v,False,1\n2,u,True,1\n"))
    assert plan_features(table, leave_out={"y"}).kinds == {"a": "number", "b": "category", "c": "bool"}
    assert plan_features(table, leave_out={"y"}, categorical=["a"]).kinds["a"] == "category"


TWICE = [i // 2 for i in range(N)]
BAD_COLUMNS = {
    "every-row": ([f"k{i}" for i in range(N)], "'a' is text that differs in every row, such as 'k0'"),
    "too-many": ([f"k{i % 1001}" for i in range(2002)], "'a' has 1,001 categories, more than 1,000, such as 'k0'"),
    "long-text": (["x" * 50 + str(i) for i in range(N)], "such as '" + "x" * 37 + "...'"),
    "row-numbers": (range(3, N + 3), "'a' counts the rows (3, 4, 5, ...); if it is data, pass --numeric a"),
    "dates": ([f"2024-01-{i % 28 + 1:02}" for i in range(N)], "'a' holds dates; turn them into numbers first"),
    "timestamps": ([f"2024-01-01 10:{i}:00" for i in range(10, 50)], "'a' holds dates"),
    "empty": ([""] * N, "'a' has no values at all"),
    "question-marks": (
        ["?", "?", *(i * 0.5 for i in range(2, N))],
        (
            "'a' holds numbers, save for '?' (2 rows); if that marks a missing value, pass --na '?'; "
            "if these are codes, --categorical a"
        ),
    ),
    "several-odd-words": (
        ["none", "?", "?", *(i * 0.5 for i in range(3, N))],
        "save for '?' (2 rows) and 1 other text;",
    ),
    "decimal-commas": (
        [f'"{i // 2},5"' for i in range(N)],
        "'a' holds numbers with a comma, such as '0,5'; if it is a decimal comma, pass --decimal ','",
    ),
}


@pytest.mark.parametrize(("values", "message"), BAD_COLUMNS.values(), ids=BAD_COLUMNS)
def test_refused_columns(write, values, message):
    table = read_table(write(column_file(values)))
    with pytest.raises(sm.DataError) as caught:
        plan_features(table, leave_out={"y"}, missing="mean")
    assert message in str(caught.value)
    assert str(caught.value).startswith("t.csv has a column that cannot be used as it stands:\n  ")
    assert str(caught.value).endswith("\nTo leave it out: --drop a")


GOOD_COLUMNS = {
    "thousand-categories": [f"k{i % 1000}" for i in range(2002)],
    "floats-that-differ": [i + 0.25 for i in range(N)],
    "short-row-numbers": range(19),
    "numbers-descending": range(N, 0, -1),
    "many-codes": [f"{i // 2}A" if i % 2 else i for i in TWICE],
}


@pytest.mark.parametrize("values", GOOD_COLUMNS.values(), ids=GOOD_COLUMNS)
def test_accepted_columns(write, values):
    plan_features(read_table(write(column_file(values))), leave_out={"y"})


def test_all_refusals_stand_in_one_message(write):
    rows = "".join(f"p{i},{i},2024-01-0{i % 9 + 1},u{i % 2},{i % 3}\n" for i in range(N))
    table = read_table(write("name of it,id,day,kind,y\n" + rows))
    with pytest.raises(sm.DataError) as caught:
        plan_features(table, leave_out={"y"})
    lines = str(caught.value).splitlines()
    assert lines[0] == "t.csv has 3 columns that cannot be used as they stand:"
    assert [re.match(r"  '(.*?)' ", line)[1] for line in lines[1:-1]] == ["name of it", "id", "day"]
    assert lines[-1] == "To leave them out: --drop 'name of it' --drop id --drop day"
    plan = plan_features(table, leave_out={"y", "name of it", "day"}, numeric=["id"])
    assert plan.kinds == {"id": "number", "kind": "category"}


NESTED = {
    "list": (pa.array([[1], [2], [3]]), "'a' holds lists or records"),
    "struct": (pa.array([{"u": 1}, {"u": 2}, {"u": 3}]), "'a' holds lists or records"),
    "date": (pa.array([1, 2, 3], pa.date32()), "'a' holds dates"),
    "time": (pa.array([1, 2, 3], pa.time32("s")), "'a' holds times of day"),
    "duration": (pa.array([1, 2, 3], pa.duration("s")), "'a' holds durations"),
    "binary": (pa.array([b"1", b"2", b"3"]), "'a' holds binary data"),
    "null": (pa.nulls(3), "'a' has no values at all"),
    "dictionary-of-dates": (pa.array([1, 2, 1], pa.date32()).dictionary_encode(), "'a' holds dates"),
}


@pytest.mark.parametrize(("values", "message"), NESTED.values(), ids=NESTED)
def test_refused_types(values, message):
    with pytest.raises(sm.DataError) as caught:
        plan_features(as_table(pa.table({"a": values, "b": [1, 2, 4]})), missing="mean")
    assert message in str(caught.value)


def test_infinities_name_their_row(write):
    table = read_table(write(column_file([1, 2, "inf", 4, "-inf", "1e999"])))
    with pytest.raises(sm.DataError, match=r"column 'a' of t\.csv holds an infinite .* in row 3, and in 2 more rows"):
        plan_features(table, leave_out={"y"})


def test_missing_values_are_refused_by_name_and_count(write):
    table = read_table(write("a,b,c,y\n1,u,1,0\n,v,2,1\n,,3,1\n4,u,5,0\n"))
    with pytest.raises(sm.DataError) as caught:
        plan_features(table, leave_out={"y"})
    assert str(caught.value) == (
        "t.csv has missing values in 2 columns: 'a' (2 rows), 'b' (1 row). "
        "Choose --missing mean, indicator or drop; or leave a column out with --drop COLUMN."
    )
    assert list(plan_features(table, leave_out={"y"}, missing="mean").kinds) == ["a", "b", "c"]


def test_notes(write):
    order = random.Random(0).sample(range(1000, 1000 + N), N)
    rows = "".join(f"7,{i},{i % 5},k,{i % 3}\n" for i in order)
    plan = plan_features(read_table(write("a,id,b,c,y\n" + rows)), leave_out={"y"})
    assert plan.notes == [
        "column 'id' is a whole number that differs in every row; if it is an identifier, pass --drop id",
        "2 columns hold one value in every row, which says nothing: 'a', 'c'",
    ]


def test_names_that_are_no_columns(write):
    table = read_table(write(column_file(TWICE, "height")))
    with pytest.raises(sm.DataError, match=r"column 'hieght' is not a column of t\.csv\. Did you mean 'height'\?"):
        plan_features(table, leave_out={"y"}, categorical=["hieght"])
    with pytest.raises(sm.DataError, match="cannot be categorical and numeric at once: 'height'"):
        plan_features(table, leave_out={"y"}, categorical=["height"], numeric=["height"])
    with pytest.raises(sm.DataError, match="has no column left to learn from"):
        plan_features(table, leave_out={"y", "height"})


def test_forced_number_names_what_is_none(write):
    table = read_table(write(column_file([1, "x", 3, "y", 5])))
    with pytest.raises(sm.DataError, match=r"should hold numbers, but it holds 'x' in row 2 and text in 1 more row\."):
        plan_features(table, leave_out={"y"}, numeric=["a"])


def test_codes_keep_their_leading_zeros(write):
    table = read_table(write(column_file([f"{i % 4:03}" for i in range(N)])))
    plan_features(table, leave_out={"y"}, categorical=["a"])
    assert table.texts("a").levels.to_pylist() == ["000", "001", "002", "003"]
    np.testing.assert_array_equal(table.numbers("a")[:4], [0, 1, 2, 3])
