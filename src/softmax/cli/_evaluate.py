"""``softmax evaluate``: how well a model does on a table that has the answers."""

from __future__ import annotations

from typing import Any

import click

from ._data import BUILT_IN, read_data, reading_options
from ._predict import load_model, missing_option


@click.command()
@click.argument("model")
@click.argument("data")
@click.option("--target", metavar="COLUMN", help="The column with the true labels.  [default: as in the fit]")
@missing_option
@reading_options
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def evaluate(model: str, data: str, target: str | None, missing: str | None, as_json: bool, **reading: Any) -> None:
    """Compare the predictions for DATA with its true labels.

    Prints accuracy and log-loss beside a constant answer, precision, recall, F1 and log-loss of each class, and which
    classes are taken for which.

    Rows that the model was fitted on flatter it: use rows that it has not seen.

    \b
    Example:
      softmax evaluate model.safetensors test.csv --target species
    """  # noqa: D301 - click reads the \b
    from ._screen import Screen, scores_json, show_scores

    loaded = load_model(model)
    table = read_data(data, **reading)
    if target is None:
        target = BUILT_IN.get(data, loaded.target)
    scores, notes = loaded.evaluate(table, target, missing=missing)
    if as_json:
        click.echo(scores_json(scores, loaded.labels.names, notes))
    else:
        show_scores(Screen(), scores, loaded.labels.names, table.source, notes)
