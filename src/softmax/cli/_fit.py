"""``softmax fit``: from a table to a model file."""

from __future__ import annotations

import math
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from ._data import BUILT_IN, read_data, reading_options
from ._options import (
    PENALTIES,
    Interruption,
    check_grouped,
    check_network,
    check_report,
    column_options,
    command_line,
    interruption,
    network_options,
    output_options,
    penalty_of,
    solver_options,
)

if TYPE_CHECKING:
    from softmax._table_fit import FitReport
    from softmax.tables import Table

INTERRUPTED = 130


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
    help="Inverse strength of the penalty; inf for none.  [default: 1.0]",
)
@click.option("--penalty", type=click.Choice(PENALTIES), help="What C weighs.  [default: l2]")
@click.option(
    "--l1-ratio",
    type=click.FloatRange(0, 1),
    help="Share of L1 in the penalty.  [default: 0; 0.5 for elastic-net]",
)
@solver_options
@network_options
@column_options
@click.option("--calibrate", is_flag=True, help="Fit a temperature to rows held out, so that probabilities come true.")
@click.option("--inference", is_flag=True, help="Print standard errors and tests of the coefficients; needs -C inf.")
@reading_options
@output_options
def fit(
    data: str,
    target: str | None,
    output: str | None,
    test: str | None,
    test_size: float | None,
    C: float | None,
    penalty: str | None,
    l1_ratio: float | None,
    no_refit: bool,
    no_intercept: bool,
    inference: bool,
    delimiter: str | None,
    decimal: str,
    encoding: str,
    no_header: bool,
    na: tuple[str, ...],
    report: str | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> int | None:
    """Train a softmax classifier on DATA and save it.

    DATA is a CSV, TSV, Parquet or Arrow file (also .gz), "-" for CSV from standard input, or one of the built-in names
    digits, iris, wine. Text columns are one-hot encoded and numeric ones standardised; the model file remembers how.

    A fixed share of the rows is held out and scored; the saved model is then fitted again on all rows.

    With --hidden the model is a neural network, fitted by PyTorch. It holds a tenth of its rows out to know when to
    stop, where they are 200 or more, and there is no certificate.

    Ctrl-C ends the fit with the best coefficients so far; they are saved only if -o names a file.

    \b
    Examples:
      softmax fit digits --report digits.html
      softmax fit penguins.csv --target species --missing mean
      softmax fit train.parquet --target label --test test.parquet -C 10
      softmax fit trial.csv --target outcome -C inf --inference
      softmax fit train.parquet --target label --hidden 256,128
    """  # noqa: D301 - click reads the \b
    if test is not None and test_size is not None:
        raise click.UsageError("--test and --test-size exclude each other: rows come from one place or the other.")
    check_network(options["hidden"])
    strength, ratio = penalty_of(penalty, C, l1_ratio)
    check_grouped(options["grouped"], [ratio])
    if inference and not math.isinf(strength):
        raise click.UsageError("--inference needs a fit without a penalty, which biases coefficients: pass -C inf.")
    start = perf_counter()
    reading = {"delimiter": delimiter, "decimal": decimal, "encoding": encoding, "no_header": no_header, "na": na}
    place = Path(output or default_output(data))

    from softmax._table_fit import FitSettings, fit_table

    from ._progress import progress_display
    from ._screen import Screen, fit_json, show_fit

    check_replaceable(place, force, data, test)
    check_report(report, force, place, data, test)
    with progress_display(visible=not (quiet or as_json)) as progress, interruption() as interrupted:
        progress.say(f"reading {data}")
        table = read_data(data, **reading)  # type: ignore[arg-type]
        held_out = None if test is None else read_data(test, **reading)  # type: ignore[arg-type]
        options["batch_size"] = options["batch_size"] or "auto"
        settings = FitSettings(
            target=chosen_target(target, data, table),
            test_size=0.2 if test_size is None else test_size,
            refit=not no_refit,
            fit_intercept=not no_intercept,
            C=strength,
            l1_ratio=ratio,
            **options,
        )
        done = fit_table(table, settings, test=held_out, progress=progress.iteration, interrupted=interrupted)
        saved = place if output or not interrupted() else None
        write_outputs(done, table, saved, report, progress.say)
        text = None
        if inference and not interrupted():
            progress.say("computing standard errors")
            text = inference_text(done)
    seconds = perf_counter() - start
    if as_json:
        click.echo(fit_json(done, saved, report, seconds))
    elif not quiet:
        show_fit(Screen(), done, table, settings, saved, seconds, report_place=report, inference=text)
    elif text is not None:
        click.echo(text)
    status = done.saved.status
    what = f"the fit to {done.saved.rows:,} rows, {status}"
    if status == "not converged":
        what = "the best coefficients so far, not converged"
    return ended(interrupted, saved, what)


def write_outputs(done: FitReport, table: Table, place: Path | None, report: str | None, say: Any) -> None:
    """Save the model, and write the report, each where a place is named.

    Raises
    ------
    KeyboardInterrupt
        If the user asks to stop; its text says what is written.
    """
    from softmax.persistence import save

    if place is not None:
        say(f"saving {place}")
        try:
            save(done.model, place)
        except OSError as error:
            raise click.ClickException(f"{place} cannot be saved: {error.strerror or error}.") from None
    if report is not None:
        from softmax.report import fit_content, save_content

        say(f"writing {report}")
        try:
            save_content(fit_content(done, table, command_line()), report)
        except OSError as error:
            raise click.ClickException(f"{report} cannot be written: {error.strerror or error}.") from None
        except KeyboardInterrupt:
            kept = "nothing was saved" if place is None else f"{place} is saved"
            raise KeyboardInterrupt(f"{kept}, the report was not written") from None


def inference_text(done: FitReport) -> str:
    """The table of standard errors, or why there is none."""
    from softmax._errors import SoftmaxError
    from softmax._table_fit import inference_of

    try:
        return str(inference_of(done.last).summary())
    except SoftmaxError as error:
        return f"No standard errors: {error}"


def ended(interrupted: Interruption, place: Path | None, what: str) -> int | None:
    """The exit code, and where the user ended the work a word on `what` is kept."""
    if not interrupted():
        return None
    kept = "nothing was saved; -o FILE would keep what there is" if place is None else f"{place} holds {what}"
    click.echo(f"Interrupted; {kept}.", err=True)
    return INTERRUPTED


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
