"""``softmax fit``: from a table to a model file."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from ._data import BUILT_IN, read_data, reading_options

if TYPE_CHECKING:
    from softmax.tables import Table


@click.command()
@click.argument("data")
@click.option("--target", metavar="COLUMN", help="The column to predict; a built-in data set knows its own.")
@click.option("-o", "--output", metavar="FILE", help="Where to save the model.  [default: DATA.safetensors, here]")
@click.option("--test", metavar="FILE", help="Score on this table instead of on held-out rows of DATA.")
@click.option(
    "--test-size",
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of rows to hold out, classes in proportion; 0 for none.  [default: 0.2]",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Decides which rows are held out.")
@click.option("--no-refit", is_flag=True, help="Save the model of the training rows, not one fitted again on all rows.")
@click.option(
    "-C",
    "--C",
    "C",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    help="Inverse strength of the L2 penalty.",
)
@click.option(
    "--tol",
    type=click.FloatRange(0, min_open=True),
    default=1e-6,
    help="Certified gap to reach, relative to the objective.",
)
@click.option("--max-iter", type=click.IntRange(1), help="Stop after so many iterations.  [default: the solver's]")
@click.option("--no-intercept", is_flag=True, help="Leave the constant term out.")
@click.option(
    "--class-weight", type=click.Choice(["balanced"]), help="Weigh classes by the inverse of their frequency."
)
@click.option("--sample-weight", metavar="COLUMN", help="A column of weights; used in the fit, not in the scores.")
@click.option(
    "--missing",
    type=click.Choice(["error", "mean", "indicator", "drop"]),
    default="error",
    help="Missing values: refuse them; put the mean (a category: one of its own); the same and a 0/1 column; "
    "or drop the row.",
)
@click.option("--drop", multiple=True, metavar="COLUMN", help="Leave a column out; may be repeated.")
@click.option(
    "--categorical", multiple=True, metavar="COLUMN", help="Take a column of numbers for names of categories."
)
@click.option("--numeric", multiple=True, metavar="COLUMN", help="Take a column for numbers whatever it looks like.")
@reading_options
@click.option("--force", is_flag=True, help="Overwrite FILE even if it is no model.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def fit(
    data: str,
    target: str | None,
    output: str | None,
    test: str | None,
    test_size: float | None,
    no_refit: bool,
    no_intercept: bool,
    delimiter: str | None,
    decimal: str,
    encoding: str,
    no_header: bool,
    na: tuple[str, ...],
    force: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Train a softmax classifier on DATA and save it.

    DATA is a CSV, TSV, Parquet or Arrow file (also .gz), "-" for CSV from standard input, or one of the built-in names
    digits, iris, wine. Text columns are one-hot encoded and numeric ones standardised; the model file remembers how.

    A fixed share of the rows is held out and scored; the saved model is then fitted again on all rows.

    \b
    Examples:
      softmax fit digits
      softmax fit penguins.csv --target species --missing mean
      softmax fit train.parquet --target label --test test.parquet -C 10
    """  # noqa: D301 - click reads the \b
    if test is not None and test_size is not None:
        raise click.UsageError("--test and --test-size exclude each other: rows come from one place or the other.")
    start = perf_counter()
    reading = {"delimiter": delimiter, "decimal": decimal, "encoding": encoding, "no_header": no_header, "na": na}
    place = Path(output or default_output(data))

    from softmax._table_model import FitSettings, fit_table
    from softmax.persistence import save

    from ._progress import progress_display
    from ._screen import Screen, fit_json, show_fit

    check_replaceable(place, force, data, test)
    with progress_display(visible=not (quiet or as_json)) as progress:
        progress.say(f"reading {data}")
        table = read_data(data, **reading)  # type: ignore[arg-type]
        held_out = None if test is None else read_data(test, **reading)  # type: ignore[arg-type]
        settings = FitSettings(
            target=chosen_target(target, data, table),
            test_size=0.2 if test_size is None else test_size,
            refit=not no_refit,
            fit_intercept=not no_intercept,
            **options,
        )
        report = fit_table(table, settings, test=held_out, progress=progress.iteration)
        progress.say(f"saving {place}")
        try:
            save(report.model, place)
        except OSError as error:
            raise click.ClickException(f"{place} cannot be saved: {error.strerror or error}.") from None
    seconds = perf_counter() - start
    if as_json:
        click.echo(fit_json(report, place, seconds))
    elif not quiet:
        show_fit(Screen(), report, table, settings, place, seconds)


def default_output(data: str) -> str:
    """Return the name of the data with another ending, in the current folder."""
    name = "model" if data == "-" else Path(data).name.removesuffix(".gz")
    return f"{Path(name).stem}.safetensors"


def check_replaceable(place: Path, force: bool, *inputs: str | None) -> None:
    """Raise if a model cannot, or should not, be written to `place`."""
    from softmax.tables import check_writable

    check_writable(place)
    for source in inputs:
        if source is not None and place.exists() and Path(source).exists() and place.samefile(source):
            raise click.ClickException(f"{place} is the data; name another file with -o.")
    if place.is_file() and not force and place.stat().st_size and not looks_like_model(place):
        raise click.ClickException(f"{place} exists and is no model. Name another file with -o, or pass --force.")


def looks_like_model(place: Path) -> bool:
    """Whether the file begins as safetensors do: the length of a header, then its brace."""
    with place.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < place.stat().st_size


def chosen_target(target: str | None, data: str, table: Table) -> str:
    """Return the target named, or that of a built-in data set; without one, say what there is to choose from."""
    from softmax.tables import listing

    if target is None and data in BUILT_IN:
        return BUILT_IN[data]
    if target is None:
        columns = f"{listing(table.names, 20)}.{table.header_hint()}"
        raise click.UsageError(f"Name the column to predict with --target. {data} has: {columns}")
    return target
