"""``softmax cv``: the strength of the penalty by cross-validation."""

from __future__ import annotations

import contextlib
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from ._data import read_data, reading_options
from ._fit import check_replaceable, chosen_target, default_output, ended, write_outputs
from ._options import (
    PENALTIES,
    check_grouped,
    check_report,
    column_options,
    interruption,
    output_options,
    share_of_l1,
    solver_options,
)

if TYPE_CHECKING:
    from softmax._table_fit import FitReport


def how_many_or_which(_context: click.Context, _option: click.Parameter, value: str) -> int | tuple[float, ...]:
    """Return how many values of C, or the values."""
    with contextlib.suppress(ValueError):
        count = int(value)
        if count < 1:
            raise click.BadParameter(f"{value} is no number of values; pass at least 1, or the values: 0.1,1,10.")
        return count
    try:
        numbers = tuple(float(part) for part in value.split(",") if part.strip())
    except ValueError:
        numbers = ()
    if not numbers or not all(0 < number < float("inf") for number in numbers):
        raise click.BadParameter(f"{value!r} should be how many values, or finite values > 0 with commas: 0.1,1,10.")
    return numbers


def shares(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """Return the shares of L1, one or several."""
    if value is None:
        return None
    try:
        ratios = tuple(float(part) for part in value.split(","))
    except ValueError:
        ratios = (-1.0,)
    if not all(0 <= ratio <= 1 for ratio in ratios):
        raise click.BadParameter(f"{value!r} should be a number from 0 to 1, or several: 0,0.5,1.")
    return ratios


@click.command()
@click.argument("data")
@click.option("--target", metavar="COLUMN", help="The column to predict; a built-in data set knows its own.")
@click.option("-o", "--output", metavar="FILE", help="Where to save the model.  [default: DATA.safetensors, here]")
@click.option(
    "--Cs",
    "Cs",
    callback=how_many_or_which,
    metavar="N|LIST",
    default="10",
    help="How many values from 1e-4 to 1e4, or the values: 0.01,0.1,1.",
)
@click.option("--folds", type=click.IntRange(2), default=5, help="Folds, classes in proportion.")
@click.option(
    "--scoring",
    type=click.Choice(["neg_log_loss", "accuracy", "brier"]),
    default="neg_log_loss",
    help="What is to be large: minus the log-loss, the accuracy, or minus the Brier score.",
)
@click.option("--one-standard-error", is_flag=True, help="Take the smallest C within one standard error of the best.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Decides which rows make a fold.")
@click.option("--penalty", type=click.Choice(PENALTIES[:-1]), help="What C weighs.  [default: l2]")
@click.option("--l1-ratio", callback=shares, metavar="LIST", help="Share of L1; several are searched: 0,0.5,1.")
@solver_options
@column_options
@reading_options
@output_options
def cv(
    data: str,
    target: str | None,
    output: str | None,
    Cs: int | tuple[float, ...],
    folds: int,
    scoring: str,
    one_standard_error: bool,
    penalty: str | None,
    l1_ratio: tuple[float, ...] | None,
    no_intercept: bool,
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
    """Choose the strength of the penalty for DATA by cross-validation, and save the model with it.

    Every row is scored by a fit that has not seen it, at each value of C; the model that is saved is the fit to all
    rows at the chosen value. DATA is read and encoded as by "softmax fit".

    Ctrl-C ends the search with the best value so far; its model is saved only if -o names a file.

    \b
    Examples:
      softmax cv digits --report digits.html
      softmax cv penguins.csv --target species --Cs 0.01,0.1,1,10
      softmax cv iris --one-standard-error
      softmax cv train.parquet --target label --l1-ratio 0,0.5,1
    """  # noqa: D301 - click reads the \b
    ratios = (share_of_l1(penalty, None),) if l1_ratio is None else l1_ratio
    if penalty is not None and l1_ratio is not None:
        ratios = tuple(share_of_l1(penalty, ratio) for ratio in l1_ratio)
    check_grouped(options["grouped"], ratios)
    start = perf_counter()
    reading = {"delimiter": delimiter, "decimal": decimal, "encoding": encoding, "no_header": no_header, "na": na}
    place = Path(output or default_output(data))

    from softmax._table_fit import FitSettings, SearchSettings, search_table

    from ._progress import progress_display
    from ._screen import Screen, search_json, show_search

    check_replaceable(place, force, data)
    check_report(report, force, place, data)
    with progress_display(visible=not (quiet or as_json)) as progress, interruption() as interrupted:
        progress.say(f"reading {data}")
        table = read_data(data, **reading)  # type: ignore[arg-type]
        settings = FitSettings(chosen_target(target, data, table), fit_intercept=not no_intercept, **options)
        search = SearchSettings(Cs, folds, scoring, one_standard_error, ratios)
        done = search_table(table, settings, search, progress=progress.iteration, interrupted=interrupted)
        saved = place if output or not interrupted() else None
        write_outputs(done, table, saved, report, progress.say)
    seconds = perf_counter() - start
    if as_json:
        click.echo(search_json(done, saved, report, seconds))
    elif not quiet:
        show_search(Screen(), done, table, saved, seconds, report)
    return ended(interrupted, saved, what_is_kept(done))


def what_is_kept(done: FitReport) -> str:
    """What an interrupted search has come to, in words."""
    import numpy as np

    found = done.model.classifier
    missing, total = int(np.sum(np.isnan(found.scores_))), found.scores_.size
    model = f"the model at C = {found.C_:.4g}"
    if done.saved.status == "not converged":
        model += ", not converged"
    if not missing:
        return f"{model}, the choice of the whole search" + ("" if done.scores else "; its rows were not scored")
    return f"{model}, the best by {total - missing} of {total} scores"
