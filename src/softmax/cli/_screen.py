"""Reports as they stand on a terminal of 80 columns or more, and the same figures as JSON."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from softmax.tables import plural

if TYPE_CHECKING:
    from softmax._evaluation import Scores
    from softmax._table_fit import Certificate, FitReport, FitSettings
    from softmax.tables import Table

MOST_SIZES = 20  # classes whose sizes are listed one by one
MOST_MATRIX = 20  # classes up to which the confusion matrix is shown whole
MOST_CONFUSIONS = 20
SCORES = {"neg_log_loss": "minus the log-loss in nats", "brier": "minus the Brier score"}
STATUS_STYLES = {"certified": "green"}


class Screen:
    """A console that takes text as it is: names of classes are no markup."""

    def __init__(self, *, stderr: bool = False) -> None:
        self.console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)

    def line(self, text: str = "", style: str = "") -> None:
        """Print a line, wrapped at the width of the console."""
        self.console.print(Text(text, style=style))

    def heading(self, text: str) -> None:
        """Print a heading after an empty line."""
        self.console.print()
        self.line(text, "bold")

    def notes(self, notes: Sequence[str]) -> None:
        """Print notes, each once."""
        for note in dict.fromkeys(notes):
            self.line(f"Note: {note}.", "yellow")

    def grid(self, columns: Sequence[str], rows: Sequence[Sequence[str | Text]], *, last: int = 0) -> None:
        """Print a table, the first column to the left and the others to the right; the `last` rows are set apart."""
        self.console.print(make_grid(columns, rows, last=last))


def make_grid(columns: Sequence[str], rows: Sequence[Sequence[str | Text]], *, last: int = 0) -> Grid:
    """Build a table of plain cells."""
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for i, column in enumerate(columns):
        grid.add_column(Text(column), justify="left" if i == 0 else "right", no_wrap=i > 0, overflow="fold")
    for i, row in enumerate(rows):
        cells = [cell if isinstance(cell, Text) else Text(cell) for cell in row]
        grid.add_row(*cells, end_section=last > 0 and i == len(rows) - last - 1)
    return grid


def show_fit(
    screen: Screen,
    report: FitReport,
    table: Table,
    settings: FitSettings,
    place: Path | None,
    seconds: float,
    *,
    report_place: str | None = None,
    inference: str | None = None,
) -> None:
    """Print what a fit did."""
    model = report.model
    rows = sum(report.class_sizes.values())
    features = len(model.encoder.feature_names)
    columns = len(model.encoder.features)
    encoded = "" if features == columns else f" from {plural(columns, 'column')}"
    classes = plural(len(report.class_sizes), "class")
    screen.line(f"{table.source}: {plural(rows, 'row')}, {plural(features, 'feature')}{encoded}, {classes}", "bold")
    screen.line(_sizes(report.class_sizes))
    if report.scores is not None:
        scored = plural(report.held_out_rows, "row")
        test = model.record["test_data"]
        which = f"Held out: {scored} (seed {settings.seed})" if test is None else f"Test: {scored} of {test}"
        screen.heading(f"{which}, fitted on {report.train_rows:,}")
        show_summary(screen, report.scores, model.labels.names)
    if settings.hidden is None:
        screen.heading("Certificate")
        show_certificates(screen, report)
    else:
        screen.heading("Fit")
        show_endings(screen, report)
    calibration = getattr(model.classifier, "calibration_", None)
    if calibration is not None:
        before, after = calibration["log_loss_before"], calibration["log_loss_after"]
        screen.line(
            f"Temperature {calibration['temperature']:.4g}: log-loss of rows held out in {calibration['folds']} folds "
            f"{before:.4f} before, {after:.4f} after."
        )
    if inference is not None:
        screen.console.print()
        screen.line(inference)
        screen.line("Coefficients of numeric columns are per standard deviation of the column.", "dim")
    show_end(screen, report, rows, place, seconds, report_place)


def show_end(
    screen: Screen, report: FitReport, rows: int, place: Path | None, seconds: float, report_place: str | None
) -> None:
    """Print notes, what was written, and what to do next."""
    screen.console.print()
    screen.notes(report.notes)
    what = "all rows" if report.saved.rows == rows else "the training rows only"
    took = f"Took {_seconds(seconds)} in all."
    if place is not None:
        screen.line(f"Saved {place}: fitted on {what}, {report.saved.rows:,}. {took}")
    if report_place is not None:
        screen.line(f"Wrote {report_place}: the report, for a browser.")
    if place is not None:
        screen.line(f"Next: softmax predict {shlex.quote(str(place))} DATA -o out.csv", "dim")


def show_search(
    screen: Screen, report: FitReport, table: Table, place: Path | None, seconds: float, report_place: str | None
) -> None:
    """Print what a search found."""
    import numpy as np

    from softmax.regression._search import folds_compared

    found = report.model.classifier
    rows = report.saved.rows
    sizes = f"{plural(len(report.model.encoder.feature_names), 'feature')}, {plural(len(report.class_sizes), 'class')}"
    screen.line(f"{table.source}: {plural(rows, 'row')}, {sizes}", "bold")
    ratios = found.l1_ratios_.tolist()
    means, errors = (array.reshape(len(found.Cs_), len(ratios)) for array in (found.mean_scores_, found.std_errors_))
    folds = plural(folds_compared(found), "fold")
    screen.heading(f"Score of each C: {SCORES.get(str(found.scoring), found.scoring)}, mean over {folds}")
    best = np.nanmax(means)
    lines = []
    for i, C in enumerate(found.Cs_.tolist()):
        for j, ratio in enumerate(ratios):
            marks = ["chosen"] if (C, ratio) == (found.C_, found.l1_ratio_) else []
            marks += ["best"] if means[i, j] == best else []
            more = [f"{ratio:g}"] if len(ratios) > 1 else []
            figures = ["–" if np.isnan(figure) else f"{figure:.5f}" for figure in (means[i, j], errors[i, j])]
            lines.append([f"{C:.4g}", *more, *figures, ", ".join(marks)])
    head = ["C", *(["L1 ratio"] if len(ratios) > 1 else []), "mean", "std. error", ""]
    screen.grid(head, [[Text(cell, style="bold" if row[-1] else "") for cell in row] for row in lines])
    rule = "the smallest C within one standard error of the best" if found.one_standard_error else "the best mean score"
    screen.line(f"Chosen: {rule}.", "dim")
    if report.scores is not None:
        screen.heading("Each row by a fit to the other folds, at the chosen C")
        show_summary(screen, report.scores, report.model.labels.names)
    screen.heading(f"Certificate of the fit to all rows at C = {found.C_:.4g}")
    show_certificates(screen, report, "time of the whole search")
    show_end(screen, report, rows, place, seconds, report_place)


def _sizes(sizes: dict[str, int]) -> str:
    if len(sizes) <= MOST_SIZES:
        return "  ".join(f"{name}: {size:,}" for name, size in sizes.items())
    least, most = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    return f"from {plural(sizes[least], 'row')} ({least}) to {plural(sizes[most], 'row')} ({most}) each"


def show_summary(screen: Screen, scores: Scores, names: Sequence[str]) -> None:
    """Print accuracy and log-loss beside the constant answer."""
    base = scores.baseline
    screen.grid(
        ["", "model", "baseline"],
        [
            ["accuracy", f"{scores.accuracy:.4f}", f"{base.accuracy:.4f}"],
            ["log-loss (nats per row)", f"{scores.log_loss:.4f}", f"{base.log_loss:.4f}"],
        ],
    )
    screen.line(f"Baseline: the largest class, {names[base.code]}; for the log-loss, the class frequencies.", "dim")


def show_certificates(screen: Screen, report: FitReport, time: str = "time") -> None:
    """Print how near the fits are to their optima, the one that is saved last; `time` says what took it."""
    certificates = _fits(report)
    head = [f"{plural(c.rows, 'row')}{', saved' if c is report.saved else ''}" for c in certificates]
    screen.grid(
        ["fitted on", *head],
        [
            ["status", *(Text(c.status, style=STATUS_STYLES.get(c.status, "yellow")) for c in certificates)],
            ["objective (nats)", *(f"{c.objective:.8g}" for c in certificates)],
            [_bound(certificates), *(_gap(c, c.gap) for c in certificates)],
            ["  relative to the objective", *(_gap(c, _ratio(c.gap, c.objective)) for c in certificates)],
            ["gradient norm", *(f"{c.grad_norm:.1e}" for c in certificates)],
            ["passes over the data", *(f"{c.passes:.4g}" for c in certificates)],
            [time, *(_seconds(c.seconds) for c in certificates)],
        ],
    )


def show_endings(screen: Screen, report: FitReport) -> None:
    """Print why the fits of a network ended and what they reached, the one that is saved last."""
    from softmax.persistence import meaning

    fits = _fits(report)
    head = [f"{plural(fit.rows, 'row')}{', saved' if fit is report.saved else ''}" for fit in fits]
    screen.grid(
        ["fitted on", *head],
        [
            ["ended by", *(fit.status for fit in fits)],
            ["objective (nats)", *(f"{fit.objective:.8g}" for fit in fits)],
            ["epochs", *(str(fit.iterations) for fit in fits)],
            ["time", *(_seconds(fit.seconds) for fit in fits)],
        ],
    )
    screen.line(meaning(asdict(report.saved)), "dim")


def _fits(report: FitReport) -> list[Certificate]:
    fits = [report.saved] if report.scored in (None, report.saved) else [report.scored, report.saved]
    return [fit for fit in fits if fit is not None]


def _bound(certificates: Sequence[Certificate]) -> str:
    """What the gap is: an estimate where there is no penalty."""
    proved = all(c.status in ("certified", "not converged") for c in certificates)
    return "above the optimum by at most" if proved else "above the optimum, estimated"


def _gap(certificate: Certificate, value: float) -> str:
    """The gap; nothing where there is no optimum to be above."""
    return "–" if certificate.status == "separated" or math.isnan(value) else f"{value:.1e}"


def _ratio(gap: float, objective: float) -> float:
    return gap / objective if objective else math.nan


def _seconds(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"


def show_scores(screen: Screen, scores: Scores, names: Sequence[str], source: str, notes: Sequence[str]) -> None:
    """Print the figures of an evaluation."""
    screen.line(f"{source}: {plural(scores.n_rows, 'row')}, {plural(len(names), 'class')}", "bold")
    screen.console.print()
    show_summary(screen, scores, names)
    screen.heading("Classes")
    figures = zip(names, scores.precision, scores.recall, scores.f1, scores.class_log_loss, scores.support, strict=True)
    rows = [[name, *map(_share, values), f"{count:,}"] for name, *values, count in figures]
    rows.append(["mean over classes, F1", "", "", _share(scores.macro_f1), "", f"{scores.support.sum():,}"])
    screen.grid(["class", "precision", "recall", "F1", "log-loss", "rows"], rows, last=1)
    show_confusion(screen, scores, names)
    if notes:
        screen.console.print()
        screen.notes(notes)


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"


def show_confusion(screen: Screen, scores: Scores, names: Sequence[str]) -> None:
    """Print the confusion matrix where it fits, and otherwise the most frequent mistakes."""
    if len(names) <= MOST_MATRIX and (grid := _matrix(scores, names, screen.console.width)):
        screen.heading("Confusion matrix: rows are true classes, columns predicted ones")
        screen.console.print(grid)
        return
    mistakes = scores.confusions(MOST_CONFUSIONS)
    screen.heading("Most frequent confusions")
    if not mistakes:
        screen.line("none: every known row is right")
        return
    shares = [f"{n / scores.support[i]:.1%}" for i, _, n in mistakes]
    screen.grid(
        ["true class", "taken for", "rows", "of the class"],
        [[names[i], names[j], f"{n:,}", share] for (i, j, n), share in zip(mistakes, shares, strict=True)],
    )


def _matrix(scores: Scores, names: Sequence[str], width: int) -> Grid | None:
    """Return the confusion matrix in the roomiest form that fits: with names over the columns, or with numbers."""
    counts = [[f"{n:,}" if n else "·" for n in row] for row in scores.confusion]
    numbers = [str(i + 1) for i in range(len(names))]
    labels = {"true class": list(names), "": [f"{i:>2} {name}" for i, name in zip(numbers, names, strict=True)]}
    for corner, gap in (("true class", 3), ("true class", 1), ("", 3), ("", 1)):
        head = [corner, *(names if corner else numbers)]
        rows = [[label, *row] for label, row in zip(labels[corner], counts, strict=True)]
        if sum(max(map(cell_len, column)) + gap for column in zip(head, *rows, strict=True)) - gap <= width:
            grid = make_grid(head, rows)
            grid.padding = (0, gap // 2)
            return grid
    return None


def fit_json(report: FitReport, place: Path | None, report_place: str | None, seconds: float) -> str:
    """Return the report of a fit as JSON."""
    record = dict(report.model.record)
    record |= {"model": None if place is None else str(place), "saved_rows": report.saved.rows, "notes": report.notes}
    record |= {"report": report_place, "separation": report.last.verdict, "interrupted": report.interrupted}
    record |= {"temperature": report.model.classifier.temperature_}
    record |= {"fit_seconds": report.saved.seconds, "seconds": seconds}
    record["features"] = report.model.encoder.feature_names
    return _json(record)


def search_json(report: FitReport, place: Path | None, report_place: str | None, seconds: float) -> str:
    """Return what a search found as JSON."""
    found = report.model.classifier
    record = json.loads(fit_json(report, place, report_place, seconds))
    record["chosen"] = {"C": found.C_, "l1_ratio": found.l1_ratio_}
    names = ("Cs_", "l1_ratios_", "scores_", "mean_scores_", "std_errors_")
    record["scores"] = {name.rstrip("_"): getattr(found, name).tolist() for name in names}
    return _json(record)


def scores_json(scores: Scores, names: Sequence[str], notes: Sequence[str]) -> str:
    """Return the figures of an evaluation as JSON."""
    columns = ("precision", "recall", "f1", "class_log_loss", "support")
    values = zip(names, *(getattr(scores, column).tolist() for column in columns), strict=True)
    classes = [
        dict(zip(("class", "precision", "recall", "f1", "log_loss", "rows"), row, strict=True)) for row in values
    ]
    confusion = {"classes": list(names), "rows": scores.confusion.tolist()}
    baseline = asdict(scores.baseline) | {"class": names[scores.baseline.code]}
    return _json(
        {**scores.summary(), "baseline": baseline, "per_class": classes, "confusion": confusion, "notes": list(notes)}
    )


def _json(value: Any) -> str:
    """Return JSON, where nan and inf, which it does not know, become null."""
    return json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
