"""``softmax predict``: labels and class probabilities for a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._data import read_data, reading_options

if TYPE_CHECKING:
    from softmax._table_model import TableModel

missing_option = click.option(
    "--missing",
    type=click.Choice(["error", "mean", "drop"]),
    help="What to do with missing values.  [default: what the model was fitted with]",
)


@click.command()
@click.argument("model")
@click.argument("data")
@click.option("-o", "--output", metavar="FILE", help="Where to write: .csv, .tsv (also .gz), .parquet or .arrow.")
@missing_option
@reading_options
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def predict(model: str, data: str, output: str | None, missing: str | None, quiet: bool, **reading: Any) -> None:
    """Write the label and the class probabilities of each row of DATA.

    MODEL is a file that "softmax fit" saved; DATA is read as "softmax fit" reads it. Columns are found by name, in any
    order, and others are left aside. The output has one line per row of DATA, in order: label, p(first class), ...
    Without -o it is CSV on standard output. With --missing drop, rows that miss a value get an empty line.

    \b
    Examples:
      softmax predict digits.safetensors digits -o out.csv
      softmax predict model.safetensors new.parquet -o out.parquet
    """  # noqa: D301 - click reads the \b
    from softmax import tables

    from ._screen import Screen

    tables.output_format(output)
    if output is not None:
        tables.check_writable(output)
        for source in (model, data):
            if Path(output).exists() and Path(source).exists() and Path(output).samefile(source):
                raise click.ClickException(f"{output} is {source}; name another file with -o.")
    loaded = load_model(model)
    table = read_data(data, **reading)
    result, notes = loaded.output(table, missing=missing)
    tables.write_table(result, output)
    if not quiet:
        screen = Screen(stderr=True)
        screen.notes(table.notes + notes)
        if output is not None:
            width = f"label and {len(loaded.labels.values)} probabilities"
            screen.line(f"Wrote {output}: {tables.plural(result.num_rows, 'row')}, {width}.")


def load_model(path: str) -> TableModel:
    """Load a model that takes tables."""
    from softmax._table_model import TableModel
    from softmax.persistence import load

    model = load(path)
    if not isinstance(model, TableModel):
        raise click.ClickException(
            f"{path} holds a {type(model).__name__} that was saved from Python and does not know the columns "
            "of a table. Load it with softmax.load, or make a model with softmax fit."
        )
    return model
