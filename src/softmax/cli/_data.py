"""What stands for DATA on the command line: a file, standard input, or the name of a built-in data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from softmax.tables import Table

# The name of a built-in data set and of its target column.
BUILT_IN = {"digits": "digit", "iris": "species", "wine": "cultivar"}

Command = TypeVar("Command", bound=Callable[..., Any])


def reading_options(command: Command) -> Command:
    """Add the options that say how a text file is written."""
    options = [
        click.option("--delimiter", metavar="CHAR", help="What divides fields.  [default: a comma; a tab for .tsv]"),
        click.option("--decimal", type=click.Choice([".", ","]), default=".", help="The decimal mark."),
        click.option("--encoding", default="utf-8", metavar="NAME", help="Encoding of a text file."),
        click.option("--no-header", is_flag=True, help="The first line is data; columns are called c1, c2, ..."),
        click.option(
            "--na",
            multiple=True,
            metavar="TEXT",
            help="Text that marks a missing value; may be repeated.  [default: an empty field, NA, NaN, null and kin]",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def read_data(
    data: str, *, delimiter: str | None, decimal: str, encoding: str, no_header: bool, na: tuple[str, ...]
) -> Table:
    """Read DATA as the options of `reading_options` say."""
    from softmax import tables

    if data in BUILT_IN:
        return built_in(data)
    if delimiter is not None:
        delimiter = {"\\t": "\t", "tab": "\t"}.get(delimiter, delimiter)
    return tables.read_table(
        data,
        delimiter=delimiter,
        decimal=decimal,
        encoding=encoding,
        header=not no_header,
        na=na or tables.DEFAULT_NA,
    )


def built_in(name: str) -> Table:
    """Return a data set that comes with scikit-learn, with readable class names."""
    import numpy as np
    import pyarrow as pa
    from sklearn import datasets

    from softmax import tables

    bunch = getattr(datasets, f"load_{name}")()
    names = [str(feature).removesuffix(" (cm)").replace(" ", "_") for feature in bunch.feature_names]
    columns = dict(zip(names, bunch.data.T, strict=True))
    columns[BUILT_IN[name]] = np.asarray(bunch.target_names)[bunch.target]
    return tables.as_table(pa.table(columns), name)
