"""Reading: every format gives the same table, and every file that is not one is refused in words."""

import csv
import gzip
import io
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather as pafeather
import pyarrow.parquet as papq
import pytest

import softmax as sm
from softmax.tables import as_table, read_table

ROWS = {"size": [1.5, 2.0, None, -4.0], "colour": ["red", "blue", "red", None], "n": [1, 2, 3, 4]}
CSV = "size,colour,n\n1.5,red,1\n2.0,blue,2\n,red,3\n-4.0,,4\n"


def check_rows(table):
    assert table.names == ["size", "colour", "n"]
    np.testing.assert_array_equal(table.numbers("size"), [1.5, 2.0, np.nan, -4.0])
    np.testing.assert_array_equal(table.numbers("n"), [1, 2, 3, 4])
    colour = table.texts("colour")
    assert colour.levels.to_pylist() == ["blue", "red"]
    assert colour.codes.tolist() == [1, 0, 1, -1]
    assert [table.kind(name) for name in table.names] == ["number", "text", "number"]


def by_csv_module(path):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(ROWS)
        writer.writerows(zip(*ROWS.values(), strict=True))


def ipc(path, new):
    table = pa.table(ROWS)
    with new(str(path), table.schema) as writer:
        writer.write_table(table)


WRITERS = {
    "csv-module": ("t.csv", by_csv_module),
    "csv-pandas": ("t.csv", lambda path: pd.DataFrame(ROWS).to_csv(path, index=False)),
    "csv-polars": ("t.csv", lambda path: pl.DataFrame(ROWS).write_csv(path)),
    "csv-gz-pandas": ("t.csv.gz", lambda path: pd.DataFrame(ROWS).to_csv(path, index=False)),
    "tsv": ("t.tsv", lambda path: pd.DataFrame(ROWS).to_csv(path, index=False, sep="\t")),
    "tab": ("t.TAB", lambda path: pd.DataFrame(ROWS).to_csv(path, index=False, sep="\t")),
    "crlf": ("t.csv", lambda path: path.write_bytes(CSV.replace("\n", "\r\n").encode())),
    "bom": ("t.csv", lambda path: path.write_bytes(b"\xef\xbb\xbf" + CSV.encode())),
    "no-final-newline": ("t.csv", lambda path: path.write_text(CSV.rstrip("\n"))),
    "empty-lines": ("t.csv", lambda path: path.write_text(CSV.replace("\n", "\n\n") + "\n\n")),
    "spaces": ("t.csv", lambda path: path.write_text(CSV.replace(",", " ,  "))),
    "parquet-pandas": ("t.parquet", lambda path: pd.DataFrame(ROWS).to_parquet(path)),
    "parquet-polars": ("t.parquet", lambda path: pl.DataFrame(ROWS).write_parquet(path)),
    "parquet-by-another-name": ("t.csv", lambda path: papq.write_table(pa.table(ROWS), path)),
    "arrow-file": ("t.arrow", lambda path: ipc(path, pa.ipc.new_file)),
    "arrow-stream": ("t.arrow", lambda path: ipc(path, pa.ipc.new_stream)),
    "feather": ("t.feather", lambda path: pafeather.write_feather(pa.table(ROWS), str(path))),
    "ipc-polars": ("t.ipc", lambda path: pl.DataFrame(ROWS).write_ipc(path)),
}


@pytest.mark.parametrize(("name", "writer"), WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
def test_every_format_gives_the_same_table(write, name, writer, zipped):
    path = write(b"", name)
    writer(path)
    if zipped and not name.endswith(".gz"):
        path = write(gzip.compress(path.read_bytes()), f"{name}.gz")
    table = read_table(path)
    check_rows(table)
    assert table.source == path.name


FRAMES = {
    "pandas": pd.DataFrame(ROWS),
    "pandas-nullable": pd.DataFrame(ROWS).convert_dtypes(),
    "pandas-categorical": pd.DataFrame(ROWS).astype({"colour": "category"}),
    "pandas-indexed": pd.DataFrame(ROWS, index=[7, 5, 3, 1]),
    "polars": pl.DataFrame(ROWS),
    "polars-categorical": pl.DataFrame(ROWS).with_columns(pl.col("colour").cast(pl.Categorical)),
    "arrow": pa.table(ROWS),
    "arrow-large": pa.table(ROWS).cast(
        pa.schema([("size", pa.float32()), ("colour", pa.large_string()), ("n", pa.uint8())])
    ),
    "arrow-chunked": pa.concat_tables([pa.table(ROWS).slice(0, 1), pa.table(ROWS).slice(1)]),
    "arrow-decimal": pa.table(ROWS).cast(
        pa.schema([("size", pa.decimal128(10, 2)), ("colour", pa.string()), ("n", pa.float64())])
    ),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_frames(frame):
    check_rows(as_table(frame))


def test_types_follow_the_whole_column_not_its_first_block(write):
    rows = 200_000  # several blocks of any reader
    lines = [f"{i % 7},{i % 5}\n" for i in range(rows - 1)]
    table = read_table(write("a,b\n" + "".join(lines) + "0.5,x\n"))
    assert table.numbers("a")[-1] == 0.5
    assert table.kind("b") == "text"
    assert table.texts("b").levels.to_pylist() == ["0", "1", "2", "3", "4", "x"]


def test_quoted_newlines_and_delimiters(write):
    table = read_table(write('a,b\n"x\ny",1\n"u,""v""",2\n'))
    assert table.texts("a").levels.to_pylist() == ['u,"v"', "x\ny"]


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(CSV.encode())))
    check_rows(read_table("-"))


def test_no_header(write):
    table = read_table(write("1,a\n2,b\n"), header=False)
    assert table.names == ["c1", "c2"]
    assert table.n_rows == 2


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16"])
def test_encodings(write, encoding):
    table = read_table(write("a,b\né,1\nö,2\n".encode(encoding)), encoding=encoding)
    assert table.texts("a").levels.to_pylist() == ["é", "ö"]


def test_delimiter_and_decimal_comma(write):
    table = read_table(write("a;b\n1,5;x\n2,25;y\n"), delimiter=";", decimal=",")
    np.testing.assert_array_equal(table.numbers("a"), [1.5, 2.25])


def test_missing_marks(write):
    content = "a,b\n1,x\nNA,n/a\n?,?\n"
    assert read_table(write(content)).kind("a") == "text"
    table = read_table(write(content), na=["?", "NA"])
    np.testing.assert_array_equal(table.numbers("a"), [1, np.nan, np.nan])
    assert table.texts("b").levels.to_pylist() == ["n/a", "x"]


def test_huge_integers_and_odd_spellings(write):
    table = read_table(write("a,b,c\n99999999999999999999,+5,0x10\n1,-.5e1,7\n"))
    np.testing.assert_array_equal(table.numbers("a"), [1e20, 1])
    np.testing.assert_array_equal(table.numbers("b"), [5, -5])
    assert table.kind("c") == "text"  # hexadecimal is no decimal number


def test_saved_index_is_left_out_with_a_note(write):
    frame = pd.DataFrame(ROWS)
    path = write(b"")
    frame.to_csv(path)
    table = read_table(path)
    check_rows(table)
    assert table.notes == ["left out the first column, which has no name and counts the rows (a saved index)"]
    frame.set_axis([5, 6, 8, 9]).to_parquet(path)
    check_rows(read_table(path))


def test_numbers_and_bools_as_text():
    frame = pa.table(
        {"f": [1.0, 2.5, None], "w": [1.0, 2.0, None], "b": [True, False, None], "n": [float("nan"), 1, 3.5]}
    )
    table = as_table(frame)
    assert table.texts("f").levels.to_pylist() == ["1", "2.5"]
    assert table.texts("w").levels.to_pylist() == ["1", "2"]
    assert table.texts("b").levels.to_pylist() == ["false", "true"]
    assert table.texts("n").codes.tolist() == [-1, 0, 1]
    np.testing.assert_array_equal(table.numbers("b"), [1, 0, np.nan])


BAD_FILES = {
    "empty": (b"", "t.csv", "t.csv is empty."),
    "blank": (b"\n \n", "t.csv", "t.csv is empty."),
    "only-bom": (b"\xef\xbb\xbf", "t.csv", "t.csv is empty."),
    "header-only": (b"a,b\n", "t.csv", "t.csv has a header ('a', 'b') but no rows."),
    "header-only-unended": (b"a,b", "t.csv", "t.csv has a header ('a', 'b') but no rows."),
    "duplicate-names": (b"a,b,a\n1,2,3\n", "t.csv", "several columns of one name: 'a' (2 columns). Rename them."),
    "headerless": (b"1,0,0\n1,2,3\n", "t.csv", "If the file has no header line, pass --no-header."),
    "nameless": (b"a,,b\n1,2,3\n1,5,3\n", "t.csv", "column 2 of t.csv has no name."),
    "ragged": (b'a,b\n"x\ny",2\n1,2,3\n', "t.csv", "t.csv: line 4 has 3 fields where the first line has 2."),
    "open-quote": (b'a,b\n1,2\n3,"x\n4,5\n', "t.csv", 'a quotation mark (") opened near line 3 is never closed'),
    "open-quote-ragged": (b'a,b\n1,0\n"x,2\n3,4\n', "t.csv", 'a quotation mark (") opened near line 3 is never closed'),
    "semicolons": (b"a;b\n1;2\n", "t.csv", "They seem to be divided by a semicolon: pass --delimiter ';'."),
    "tabs-in-csv": (b"a\tb\n1\t2\n", "t.csv", "divided by a tab: pass --delimiter '\\t'."),
    "commas-in-tsv": (b"a,b\n1,2\n", "t.tsv", "divided by a comma: pass --delimiter ','."),
    "latin-1": ("a,b\n1,2\n1,é\n".encode("latin-1"), "t.csv", "t.csv is not UTF-8: byte 0xe9 in line 3."),
    "latin-1-header": ("é,b\n1,2\n".encode("latin-1"), "t.csv", "byte 0xe9 in line 1."),
    "utf-16": ("a,b\n1,2\n".encode("utf-16"), "t.csv", "t.csv is UTF-16 text, not UTF-8. Pass --encoding utf-16."),
    "cut-gzip": (gzip.compress(CSV.encode())[:-12], "t.csv.gz", "t.csv.gz is gzipped, but damaged or cut off"),
    "excel": (b"PK\x03\x04....", "t.xlsx", "t.xlsx is a zip archive or an Excel workbook; save the sheet as CSV."),
    "feather-1": (b"FEA1....", "t.feather", "t.feather is in the old format Feather 1; write it again as Arrow"),
    "zstd": (b"\x28\xb5\x2f\xfd....", "t.csv.zst", "unpack it or use gzip"),
    "no-parquet": (b"a,b\n1,2\n", "t.parquet", "t.parquet is not a Parquet file, whatever its name says."),
    "no-arrow": (b"a,b\n1,2\n", "t.arrow", "t.arrow is not an Arrow file, whatever its name says."),
    "cut-parquet": (b"PAR1....", "t.parquet", "t.parquet is a damaged or cut-off Parquet file"),
    "cut-arrow": (b"ARROW1..", "t.arrow", "t.arrow is a damaged or cut-off Arrow file"),
    "cut-stream": (b"\xff\xff\xff\xff\x00\x10\x00\x00ab", "t.arrow", "t.arrow is a damaged or cut-off Arrow file"),
}


@pytest.mark.parametrize(("content", "name", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files(write, content, name, message):
    with pytest.raises(sm.DataError) as caught:
        read_table(write(content, name))
    assert message in str(caught.value)


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(sm.DataError, match=r"nothing\.csv does not exist\."):
        read_table(tmp_path / "nothing.csv")
    with pytest.raises(sm.DataError, match="is a folder, not a file"):
        read_table(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": "||"}, "the delimiter must be one ASCII character, got '||'."),
        ({"delimiter": '"'}, "the delimiter must be one ASCII character"),
        ({"decimal": ";"}, "the decimal mark must be '.' or ',', got ';'."),
        ({"encoding": "klingon"}, "unknown encoding 'klingon'; try utf-8, latin-1, cp1252 or utf-16."),
    ],
    ids=["two-characters", "quote", "decimal", "encoding"],
)
def test_bad_options(write, options, message):
    with pytest.raises(sm.OptionError) as caught:
        read_table(write(CSV), **options)
    assert message in str(caught.value)


def test_bad_frames():
    with pytest.raises(sm.ArrayTypeError, match="expected a pandas, polars or PyArrow frame, got list"):
        as_table([1, 2])
    with pytest.raises(sm.DataError, match="the frame does not fit Arrow: "):
        as_table(pd.DataFrame({"a": [1, "x", object()]}))
    with pytest.raises(sm.DataError, match=r"several columns of one name: 'a' \(2 columns\)"):
        as_table(pa.table([[1], [2]], names=["a", "a"]))
    with pytest.raises(sm.DataError, match="but no rows"):
        as_table(pl.DataFrame({"a": []}))
    with pytest.raises(sm.DataError, match="has no columns"):
        as_table(pa.table({}))
