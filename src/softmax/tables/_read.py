"""Files and frames in: CSV, TSV, Parquet, Arrow (each also gzipped), pandas, polars and other frames."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import sys
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as papq

from softmax._errors import ArrayTypeError, DataError, MissingExtraError, OptionError

from ._table import NUMBER_PATTERN, Table, counted, listing, plural

DEFAULT_NA = ("", "NA", "N/A", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "n/a")
DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
TAB_SUFFIXES = (".tsv", ".tab")
BLOCK_BYTES = 1 << 24  # one row must fit in a block

_MAGIC = {b"PAR1": "parquet", b"ARROW1": "arrow", b"\xff\xff\xff\xff": "stream"}
_FOREIGN = {
    b"PK\x03\x04": "a zip archive or an Excel workbook; save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV",
    b"%PDF": "a PDF; export the table as CSV",
    b"FEA1": "in the old format Feather 1; write it again as Arrow or Parquet",
    b"BZh": "compressed with bzip2; unpack it or use gzip",
    b"\xfd7zXZ": "compressed with xz; unpack it or use gzip",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard; unpack it or use gzip",
    b"SQLite format 3": "an SQLite database; export the table as CSV",
    b"\x89HDF": "an HDF5 file; export the table as Parquet or CSV",
}


def read_table(
    path: str | Path,
    *,
    delimiter: str | None = None,
    decimal: str = ".",
    encoding: str = "utf-8",
    header: bool = True,
    na: Sequence[str] = DEFAULT_NA,
) -> Table:
    """Read a table from a file, or from standard input where `path` is "-".

    Parameters
    ----------
    path
        CSV, TSV, Parquet, or Arrow (IPC file or stream, Feather), each also compressed with gzip. What the file *is*
        is read from its first bytes; only the delimiter of text follows the suffix (.tsv and .tab: a tab).
    delimiter, decimal, encoding
        How text is written. The default delimiter is a comma, or a tab for .tsv and .tab.
    header
        False where the first line is data already; the columns are then called c1, c2, ...
    na
        Text that marks a missing value, compared after white space around a cell is taken off.

    Returns
    -------
    Table

    Raises
    ------
    OptionError
        If the delimiter, decimal mark or encoding is none.
    DataError
        If the file is not there, not readable, not what it looks like, empty, or has two columns of one name.
    """
    source = "standard input" if str(path) == "-" else Path(path).name
    content = _unpack(_bytes_of(path, source), source)
    form = next((form for magic, form in _MAGIC.items() if content.startswith(magic)), "text")
    if form == "text":
        _refuse_foreign(content, Path(path), source)
        if decimal not in (".", ","):
            raise OptionError(f"the decimal mark must be '.' or ',', got {decimal!r}.")
        if delimiter is None:
            delimiter = "\t" if _suffixes(path)[-1:] and _suffixes(path)[-1] in TAB_SUFFIXES else ","
        if len(delimiter.encode()) != 1 or delimiter in '"\r\n':
            raise OptionError(f"the delimiter must be one ASCII character, got {delimiter!r}.")
        table = _read_text(_utf8(content, encoding, source), source, delimiter, header, na)
        table.decimal = decimal
        return table
    return _from_arrow(_read_binary(content, form, source), source)


def as_table(frame: Any, source: str = "the frame") -> Table:
    """Take a pandas, polars, PyArrow or other frame that narwhals knows, or read the file that a path names.

    Raises
    ------
    DataError
        If a column has no Arrow type (objects of several types), or two columns share a name.
    ArrayTypeError
        If `frame` is no frame.
    """
    if isinstance(frame, Table):
        return frame
    if isinstance(frame, str | Path):
        return read_table(frame)
    if not isinstance(frame, pa.Table):
        try:
            import narwhals as nw

            frame = nw.from_native(frame, eager_only=True).to_arrow()
        except ImportError:
            raise MissingExtraError.for_extra("a frame that is not a pyarrow.Table", "narwhals", "cli") from None
        except TypeError as error:
            if isinstance(error, pa.ArrowException):
                raise DataError(f"{source} does not fit Arrow: {error}.") from None
            raise ArrayTypeError(
                f"expected a pandas, polars or PyArrow frame, got {type(frame).__name__}. "
                "For a plain array use SoftmaxRegression itself."
            ) from None
        except (pa.ArrowException, ValueError) as error:
            raise DataError(f"{source} does not fit Arrow: {error}. Give each column one type.") from None
    return _from_arrow(frame, source)


def _suffixes(path: str | Path) -> list[str]:
    suffixes = [s.lower() for s in Path(path).suffixes]
    return suffixes[:-1] if suffixes[-1:] == [".gz"] else suffixes


def _bytes_of(path: str | Path, source: str) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder, not a file.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None


def _unpack(content: bytes, source: str) -> bytes:
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        raise DataError(f"{source} is gzipped, but damaged or cut off; fetch or make it again.") from None


def _refuse_foreign(content: bytes, path: Path, source: str) -> None:
    for magic, what in _FOREIGN.items():
        if content.startswith(magic):
            raise DataError(f"{source} is {what}.")
    suffix = (_suffixes(path) or [""])[-1]
    if content and suffix in (".parquet", ".pq", ".arrow", ".feather", ".ipc"):
        raise DataError(
            f"{source} is not {'a Parquet' if suffix[1] == 'p' else 'an Arrow'} file, whatever its name says."
        )


def _utf8(content: bytes, encoding: str, source: str) -> bytes:
    """Return the text as UTF-8 without a byte-order mark."""
    try:
        codec = codecs.lookup(encoding).name
    except LookupError:
        raise OptionError(f"unknown encoding {encoding!r}; try utf-8, latin-1, cp1252 or utf-16.") from None
    if codec == "utf-8" and content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise DataError(f"{source} is UTF-16 text, not UTF-8. Pass --encoding utf-16.")
    try:
        text = content.decode(codec)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        hint = "" if codec != "utf-8" else " If it comes from Windows or Excel, try --encoding cp1252."
        byte = f"byte 0x{content[error.start]:02x} in line {line}"
        raise DataError(f"{source} is not {encoding.upper()}: {byte}.{hint}") from None
    return content.removeprefix(codecs.BOM_UTF8) if codec == "utf-8" else text.removeprefix("\ufeff").encode()


def _read_text(content: bytes, source: str, delimiter: str, header: bool, na: Sequence[str]) -> Table:
    if not content.strip():
        raise DataError(f"{source} is empty.")
    cells = _read_cells(content if content.endswith(b"\n") else content + b"\n", source, delimiter)
    columns = [pc.utf8_trim_whitespace(column) for column in cells.columns]
    names = [f"c{i + 1}" for i in range(len(columns))]
    if header:
        names = [column[0].as_py() for column in columns]
        columns = [column.slice(1) for column in columns]
        _check_header(names, source, delimiter)
    if not columns[0]:
        raise DataError(f"{source} has a header ({listing(names, 6)}) but no rows.")
    _refuse_open_quote(content, source, [column[-1].as_py() for column in columns])
    missing = pa.array([word.strip() for word in na], pa.string())
    columns = [_blank(column, missing) for column in columns]
    table = Table(pa.table(columns, names=names), source, text=True)
    return _without_index(table)


def _read_cells(content: bytes, source: str, delimiter: str) -> pa.Table:
    """Read every cell as a string, the header being a row like the others."""
    read = pacsv.ReadOptions(autogenerate_column_names=True, block_size=BLOCK_BYTES)
    parse = pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    # Counted by Python: a streaming reader of Arrow that is closed early can abort the process at its end.
    try:
        width = len(next(csv.reader(io.TextIOWrapper(io.BytesIO(content), newline=""), delimiter=delimiter)))
    except csv.Error as error:
        raise DataError(f"the first line of {source} cannot be read: {error}.") from None
    try:
        convert = pacsv.ConvertOptions(column_types={f"f{i}": pa.string() for i in range(width)}, null_values=[])
        return pacsv.read_csv(pa.BufferReader(content), read, parse, convert)
    except pa.ArrowInvalid as error:
        _explain_csv_error(content, source, delimiter, error)


def _explain_csv_error(content: bytes, source: str, delimiter: str, error: pa.ArrowInvalid) -> NoReturn:
    rows = csv.reader(io.StringIO(content.decode(), newline=""), delimiter=delimiter)
    try:
        width = len(next(rows))
        for row in rows:
            if row and len(row) != width:
                _refuse_open_quote(content, source, row)
                mark = DELIMITERS.get(delimiter, repr(delimiter))
                raise DataError(
                    f"{source}: line {rows.line_num} has {plural(len(row), 'field')} where the first line has {width}. "
                    f"Mend the line, put quotation marks around a field that holds {mark}, "
                    "or name the right --delimiter."
                )
    except csv.Error:
        pass
    raise DataError(f"{source} cannot be read as text with {delimiter!r} between fields: {error}.")


def _refuse_open_quote(content: bytes, source: str, last_row: list[str]) -> None:
    """Raise if the last row swallowed the lines below a quotation mark that nothing closes."""
    swallowed = max(cell.rstrip().count("\n") for cell in last_row)
    if swallowed and content.count(b'"') % 2:
        line = content.rstrip().count(b"\n") + 1 - swallowed
        raise DataError(f'{source}: a quotation mark (") opened near line {max(line, 1)} is never closed.')


def _check_header(names: list[str], source: str, delimiter: str) -> None:
    if len(names) == 1:
        mark = DELIMITERS.get(delimiter, repr(delimiter))
        for other, word in DELIMITERS.items():
            if other != delimiter and other in names[0]:
                raise DataError(
                    f"{source} has a single column, {names[0][:60]!r}, if fields are divided by {mark}. "
                    f"They seem to be divided by {word}: pass --delimiter {other!r}."
                )
    _refuse_duplicates(names, source)


def _refuse_duplicates(names: list[str], source: str) -> None:
    twice = {name: n for name, n in Counter(names).items() if n > 1}
    if not twice:
        return
    numeric = pc.all(pc.match_substring_regex(pa.array(names), NUMBER_PATTERN)).as_py()
    hint = " If the file has no header line, pass --no-header." if numeric else " Rename them."
    raise DataError(f"{source} has several columns of one name: {counted(twice, 'column')}.{hint}")


def _blank(column: pa.ChunkedArray, missing: pa.Array) -> pa.ChunkedArray:
    marks = pc.is_in(column, missing)
    return pc.if_else(marks, pa.scalar(None, pa.string()), column) if pc.any(marks).as_py() else column


def _without_index(table: Table) -> Table:
    """Leave out a nameless first column that counts the rows: pandas writes its index so."""
    name = table.names[0]
    if name in ("", "Unnamed: 0") and len(table.names) > 1 and table.kind(name) == "number":
        values = table.numbers(name)
        if np.array_equal(values - values[0], np.arange(table.n_rows)):
            rest = Table(table.data.drop_columns([name]), table.source, text=table.text)
            rest.notes.append("left out the first column, which has no name and counts the rows (a saved index)")
            return rest
    if "" in table.names:
        place = table.names.index("") + 1
        raise DataError(f"column {place} of {table.source} has no name. Name it in the header, or remove it.")
    return table


def _read_binary(content: bytes, form: str, source: str) -> pa.Table:
    reader = pa.BufferReader(content)
    try:
        if form == "parquet":
            return papq.ParquetFile(reader).read()
        if form == "stream":
            return pa.ipc.open_stream(reader).read_all()
        return pa.ipc.open_file(reader).read_all()
    except (pa.ArrowException, OSError, EOFError) as error:
        name = "Parquet" if form == "parquet" else "Arrow"
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise DataError(f"{source} is a damaged or cut-off {name} file ({reason}).") from None


def _from_arrow(data: pa.Table, source: str) -> Table:
    _refuse_duplicates(list(data.column_names), source)
    metadata = data.schema.pandas_metadata or {}
    index = [name for name in metadata.get("index_columns", []) if isinstance(name, str) and name in data.column_names]
    unnamed = [name for name in index if name.startswith("__index_level_")]
    data = data.drop_columns(unnamed)
    if not data.num_columns:
        raise DataError(f"{source} has no columns.")
    if not data.num_rows:
        raise DataError(f"{source} has columns ({listing(data.column_names, 6)}) but no rows.")
    return Table(data, source)
