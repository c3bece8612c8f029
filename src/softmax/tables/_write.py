"""Tables out, to a file that is whole or not there, never half written."""

from __future__ import annotations

import csv
import gzip
import io
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as papq

from softmax._errors import DataError

FORMATS = (".csv", ".tsv", ".parquet", ".arrow", ".csv.gz", ".tsv.gz")


def output_format(path: str | Path | None) -> str:
    """Return the format that a path asks for by its suffix; None is CSV, for standard output.

    Raises
    ------
    DataError
        If the suffix is none of `FORMATS`, of which .feather and .ipc are other names for .arrow, .tab for .tsv.
    """
    if path is None:
        return ".csv"
    name = Path(path).name.lower()
    zipped = ".gz" if name.endswith(".gz") else ""
    suffix = Path(name.removesuffix(".gz")).suffix
    suffix = {".feather": ".arrow", ".ipc": ".arrow", ".tab": ".tsv", ".pq": ".parquet"}.get(suffix, suffix)
    if suffix + zipped not in FORMATS:
        raise DataError(f"{Path(path).name} does not say which format to write; end it in one of {', '.join(FORMATS)}.")
    return suffix + zipped


def write_table(data: pa.Table, path: str | Path | None) -> None:
    """Write a table to a path, in the format of its suffix, or as CSV to standard output.

    A file is written beside its place and then renamed, so that a full disk or an interruption leaves what was there.
    """
    form = output_format(path)
    if path is None:
        sys.stdout.flush()
        _write_to(data, form, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    replace_file(Path(path), lambda sink: _write_to(data, form, sink))


def check_writable(path: str | Path) -> None:
    """Raise DataError unless a file can be made or replaced at `path`; nothing is left behind."""
    target = Path(os.path.realpath(path))
    folder = target.parent
    if target.is_dir():
        raise DataError(f"{path} is a folder; name a file to write.")
    if not folder.is_dir():
        raise DataError(f"{path} cannot be written: the folder {folder} does not exist.")
    if _special(target):
        return
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}.") from None


def replace_file(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Let `write` fill a new file beside `path`, then put it in its place; a device is written to directly."""
    target = Path(os.path.realpath(path))
    if _special(target):
        with target.open("wb") as sink:
            write(sink)
        return
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as sink:
                write(sink)
                sink.flush()
                os.fsync(sink.fileno())
            os.chmod(name, _mode(target))
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}. What was there is unchanged.") from None


def _special(path: Path) -> bool:
    return path.exists() and not path.is_file()


def _mode(path: Path) -> int:
    """Return the mode of the file that is replaced, or what a new file would get."""
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _write_to(data: pa.Table, form: str, sink: IO[bytes]) -> None:
    if form.endswith(".gz"):
        with gzip.GzipFile(fileobj=sink, mode="wb", mtime=0) as packed:
            _write_to(data, form.removesuffix(".gz"), cast(IO[bytes], packed))
    elif form == ".parquet":
        papq.write_table(data, sink)
    elif form == ".arrow":
        with pa.ipc.new_file(sink, data.schema) as writer:
            writer.write_table(data)
    else:
        mark = "," if form == ".csv" else "\t"
        header = io.StringIO()
        csv.writer(header, delimiter=mark, lineterminator="\n").writerow(data.column_names)
        sink.write(header.getvalue().encode())  # pyarrow itself would put every name in quotation marks
        pacsv.write_csv(data, sink, pacsv.WriteOptions(include_header=False, delimiter=mark))
