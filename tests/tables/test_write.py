"""Writing: every format reads back, and what was there stays whole when writing fails."""

import csv
import gzip
import io
import os
from pathlib import Path

import pyarrow as pa
import pytest

import softmax as sm
from softmax.tables import check_writable, output_format, read_table, write_table

DATA = pa.table({"label": ["a,b", 'c"d', None], "p(a,b)": [0.1, 1e-300, None], "n": [1, 2, 3]})


@pytest.mark.parametrize(
    "name", ["o.csv", "o.tsv", "o.tab", "o.csv.gz", "o.TSV.GZ", "o.parquet", "o.pq", "o.arrow", "o.feather"]
)
def test_round_trip(tmp_path, name):
    path = tmp_path / name
    write_table(DATA, path)
    table = read_table(path)
    assert table.names == DATA.column_names
    assert table.texts("label").levels.to_pylist() == ["a,b", 'c"d']
    assert table.numbers("p(a,b)")[:2].tolist() == [0.1, 1e-300]
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_csv_for_other_readers(tmp_path):
    path = tmp_path / "o.csv"
    write_table(DATA, path)
    assert list(csv.reader(io.StringIO(path.read_text()))) == [
        ["label", "p(a,b)", "n"], ["a,b", "0.1", "1"], ['c"d', "1e-300", "2"], ["", "", "3"],
    ]  # fmt: skip


def test_gzip_repeats_bitwise(tmp_path):
    write_table(DATA, tmp_path / "a.csv.gz")
    write_table(DATA, tmp_path / "b.csv.gz")
    assert (tmp_path / "a.csv.gz").read_bytes()[:10] == (tmp_path / "b.csv.gz").read_bytes()[:10]
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()).startswith(b'label,"p(a,b)",n\n')


def test_mode_and_links(tmp_path):
    target, link = tmp_path / "o.csv", tmp_path / "link.csv"
    target.touch(mode=0o640)
    link.symlink_to(target)
    write_table(DATA, link)
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    fresh = tmp_path / "fresh.csv"
    write_table(DATA, fresh)
    mask = os.umask(0)
    os.umask(mask)
    assert fresh.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "o.csv"
    path.write_text("precious")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("softmax.tables._write.pacsv.write_csv", full)
    with pytest.raises(
        sm.DataError, match=r"cannot be written: No space left on device\. What was there is unchanged\."
    ):
        write_table(DATA, path)
    assert path.read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 1

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("softmax.tables._write.pacsv.write_csv", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_table(DATA, path)
    assert path.read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_devices_are_written_to_and_not_replaced(tmp_path):
    link = tmp_path / "full.csv"
    link.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_table(DATA, link)
    assert Path("/dev/full").is_char_device()


def test_formats():
    assert output_format(None) == ".csv"
    assert output_format("a.b/c.Feather") == ".arrow"
    for name in ("out", "out.xlsx", "out.parquet.gz", ".csv"):
        with pytest.raises(sm.DataError, match=r"does not say which format to write; end it in one of \.csv, \.tsv"):
            output_format(name)


def test_places_that_cannot_be_written(tmp_path):
    with pytest.raises(sm.DataError, match="is a folder; name a file to write"):
        check_writable(tmp_path)
    with pytest.raises(sm.DataError, match=r"the folder .*nowhere does not exist"):
        check_writable(tmp_path / "nowhere" / "o.csv")
    check_writable(tmp_path / "o.csv")
    assert not list(tmp_path.iterdir())
