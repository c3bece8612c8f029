"""The parts of a report, each from the content to HTML. A part that has nothing to show says why."""

from __future__ import annotations

import numpy as np

from softmax.tables import plural

from . import _plots
from ._content import BINS, Choice, Content, Fit
from ._html import Html, escape, facts, figure, joined, name, number, percent, share, table, tag

MOST_PAIRS = 12
MOST_COLUMNS = 200
OPEN_ROWS = 30  # tables with more rows than this begin closed
OPEN_COLUMNS = 12
MOST_WORST = 10
MOST_MATRIX = 30  # classes up to which the matrix is there as a table too
STATUS_WORDS = {
    "certified": "The distance to the optimum is proved to be within the tolerance.",
    "estimated": "The distance to the optimum is an estimate: without a penalty there is no proof.",
    "not converged": "The fit ended before it reached its tolerance. The bound holds all the same.",
    "separated": "No finite optimum exists; see the verdict below.",
}


def foldable(what: str, content: Html, *, rows: int) -> Html:
    """A long table, closed until it is asked for; a short one as it is."""
    if rows <= OPEN_ROWS:
        return content
    return tag("details", tag("summary", what), content)


def glance(content: Content) -> Html:
    """The few figures that everybody looks for first."""
    tiles: list[tuple[str, str, str]] = []
    if content.evaluated is not None:
        scores = content.evaluated.scores
        tiles.append(("accuracy", percent(scores.accuracy), f"baseline {percent(scores.baseline.accuracy)}"))
        tiles.append(("log-loss", number(scores.log_loss), f"baseline {number(scores.baseline.log_loss)}, nats"))
        if content.evaluated.reliability:
            error = content.evaluated.reliability[0].bins.ece
            tiles.append(("calibration error", percent(error), f"expected, {BINS} bins"))
    if content.fits:
        fit = content.fits[-1]
        gap = "there is none" if fit.status == "separated" else f"gap {number(_relative(fit), 2)} of the objective"
        tiles.append(("optimum", fit.status, gap))
    items = [
        tag("div", tag("dt", what), tag("dd", tag("b", value), tag("small", more)), class_="tile")
        for what, value, more in tiles
    ]
    return tag("dl", *items, class_="tiles")


def data(content: Content) -> Html:
    """Rows, columns, encoding, classes."""
    parts = [facts("The table", content.facts)] if content.facts else []
    if content.columns:
        shown = content.columns[:MOST_COLUMNS]
        rows = [
            (name(c.name), c.kind, "–" if c.missing is None else f"{c.missing:,}", f"{c.features:,}") for c in shown
        ]
        more = len(content.columns) - len(shown)
        caption = "Columns; numbers are standardised" + (f"; {more:,} more are left out here" if more else "")
        listed = table(caption, ["column", "taken as", "missing", "features"], rows, text=2)
        many = len(rows) > OPEN_COLUMNS
        parts.append(foldable(plural(len(content.columns), "column"), listed, rows=OPEN_ROWS + many))
    if content.sizes is not None:
        total = max(int(content.sizes.sum()), 1)
        sizes = [
            (name(label), f"{size:,}", percent(size / total))
            for label, size in zip(content.labels, content.sizes.tolist(), strict=True)
        ]
        listed = table("Rows of each class", ["class", "rows", "share"], sizes)
        parts.append(foldable(plural(len(sizes), "class"), listed, rows=len(sizes)))
    if not parts:
        return tag("p", "The data of the fit was not passed to the report.")
    return tag("div", *parts, class_="beside")


def certificate(content: Content) -> Html:
    """How near the fits are to their optima, and the way there."""
    if not content.fits:
        return tag("p", "There is no certificate.")
    fits = content.fits
    saved = fits[-1]
    lines = [
        ("status", [fit.status for fit in fits]),
        ("objective, nats", [f"{fit.objective:.8g}" for fit in fits]),
        (_bound(fits), [number(_gap(fit), 2) for fit in fits]),
        ("relative to the objective", [number(_relative(fit), 2) for fit in fits]),
        ("asked for", [number(fit.tolerance, 2) for fit in fits]),
        ("gradient norm", [number(fit.grad_norm, 2) for fit in fits]),
        ("passes over the data", [f"{fit.passes:.4g}" for fit in fits]),
        ("iterations", [f"{fit.iterations:,}" for fit in fits]),
    ]
    if all(fit.seconds is not None for fit in fits):
        lines.append(("seconds", [number(fit.seconds or 0.0, 3) for fit in fits]))
    rows = [(what, *values) for what, values in lines]
    parts = [tag("p", STATUS_WORDS.get(saved.status, ""))]
    parts.append(table("Distance to the optimum", ["fitted on", *(fit.what for fit in fits)], rows))
    if len(saved.history) > 1:
        gap = {"estimated": "estimated gap", "separated": None}.get(saved.status, "certified gap")
        drawing = _plots.convergence(saved.history, saved.tolerance * saved.objective, gap)
        what = "no gap, since there is no optimum" if gap is None else f"the {gap}, a distance to the optimum"
        caption = f"The fit on {saved.what}: {what}, and the objective above the last one, after each iteration."
        parts.append(figure(drawing, caption))
    else:
        parts.append(tag("p", "The steps of the fit were not kept."))
    return joined(parts)


def separation(content: Content) -> Html:
    """The verdict on separation; nothing where there is none."""
    if content.separation is None:
        return Html("")
    advice = (
        "Along such a direction the likelihood grows for ever, so that coefficients and standard errors mean nothing. "
        "Pass a finite C, leave the columns out, or merge the classes."
    )
    return tag(
        "div",
        tag("p", tag("strong", content.separation[:1].upper() + content.separation[1:]), "."),
        tag("p", advice),
        class_="warning",
    )


def scores(content: Content) -> Html:
    """Accuracy and log-loss beside the constant answer."""
    if content.evaluated is None:
        return tag("p", "No rows were scored: there are no confusions, figures of classes and calibration to show.")
    found = content.evaluated.scores
    base = found.baseline
    rows = [
        ("accuracy", share(found.accuracy), share(base.accuracy)),
        ("log-loss, nats per row", number(found.log_loss), number(base.log_loss)),
        ("F1, mean over classes", share(found.macro_f1), "–"),
    ]
    parts = []
    parts.append(table(f"On {content.evaluated.what}", ["", "model", "baseline"], rows))
    majority = name(content.labels[base.code])
    parts.append(
        tag(
            "p",
            "Baseline: always the largest class, ",
            majority,
            "; for the log-loss, the class frequencies of the fit.",
        )
    )
    if found.n_unknown:
        unknown = plural(found.n_unknown, "row")
        parts.append(tag("p", f"{unknown} with a label that the model does not know count as wrong in the accuracy."))
    return joined(parts)


def confusion(content: Content) -> Html:
    """Heat map, the most frequent mistakes, and the counts as a table where they fit."""
    if content.evaluated is None:
        return Html("")
    found, labels = content.evaluated.scores, content.labels
    caption = (
        "Each row is a true class: blue is the share that was right, orange, by its square root, what it was taken for."
    )
    if len(labels) > _plots.MOST_NAMES:
        caption += " The numbers are those of the table of classes."
    parts = [figure(_plots.heat_map(found.confusion, labels), caption)]
    mistakes = found.confusions(MOST_PAIRS)
    if mistakes:
        rows = [
            (name(labels[i]), name(labels[j]), f"{count:,}", percent(count / found.support[i]))
            for i, j, count in mistakes
        ]
        parts.append(table("Most frequent mistakes", ["true class", "taken for", "rows", "of the class"], rows, text=2))
    else:
        parts.append(tag("p", "Every known row is right."))
    if len(labels) <= MOST_MATRIX:
        counts = [
            (name(label), *(f"{n:,}" if n else "·" for n in row))
            for label, row in zip(labels, found.confusion.tolist(), strict=True)
        ]
        matrix = table(
            "Rows of each true class by predicted class", ["true class", *map(name, labels)], counts, class_="matrix"
        )
        parts.append(tag("details", tag("summary", "The matrix as a table"), matrix))
    return joined(parts)


def classes(content: Content) -> Html:
    """Figures per class."""
    if content.evaluated is None:
        return Html("")
    found = content.evaluated.scores
    figures = zip(
        content.labels,
        found.precision.tolist(),
        found.recall.tolist(),
        found.f1.tolist(),
        found.class_log_loss.tolist(),
        found.support.tolist(),
        strict=True,
    )
    numbered = len(content.labels) > _plots.MOST_NAMES
    rows = [
        (
            joined([f"{i + 1}. ", name(label)]) if numbered else name(label),
            share(precision),
            share(recall),
            share(f1),
            share(loss),
            f"{n:,}",
        )
        for i, (label, precision, recall, f1, loss, n) in enumerate(figures)
    ]
    columns = ["class", "precision", "recall", "F1", "log-loss", "rows"]
    listed = table("Classes", columns, rows)
    if len(rows) <= OPEN_ROWS:
        return listed
    order = [i for i in np.argsort(found.f1, kind="stable")[:MOST_WORST] if found.support[i]]
    worst = table("Classes with the lowest F1", columns, [rows[i] for i in order])
    return joined([worst, foldable(f"All {plural(len(rows), 'class')}", listed, rows=len(rows))])


def calibration(content: Content) -> Html:
    """The reliability diagram."""
    if content.evaluated is None or not content.evaluated.reliability:
        return Html("")
    series = content.evaluated.reliability
    drawing = _plots.reliability(series)
    caption = "Share of right answers by the stated probability, with 95 % intervals; larger marks hold more rows."
    rows = [(one.name, percent(one.bins.ece), percent(one.bins.mce)) for one in series]
    parts = [figure(drawing, caption), table("Calibration error", ["", "expected", "largest"], rows)]
    if content.temperature != 1.0:
        parts.append(tag("p", f"Probabilities are those of the logits divided by T = {content.temperature:.4g}."))
    return joined(parts)


def coefficients(content: Content) -> Html:
    """The largest coefficients, and what speaks for each class."""
    if not content.coefficients:
        return tag("p", "All coefficients are 0.")
    shown = content.coefficients
    with_intervals = shown[0].interval is not None
    caption = f"The {len(shown)} largest of {plural(content.n_coefficients, 'coefficient')}."
    if with_intervals:
        caption += " Lines are 95 % confidence intervals. " + content.interval_note
    parts = [figure(_plots.coefficients(shown), caption)]
    if not with_intervals and content.no_intervals:
        parts.append(tag("p", f"No intervals: {content.no_intervals}"))
    columns = ["class", "feature", "coefficient"] + (["std. error", "95 % from", "to"] if with_intervals else [])
    rows = [
        (
            name(one.label),
            name(one.feature),
            number(one.value),
            *(
                (number(one.error or 0.0, 3), number(one.interval[0], 3), number(one.interval[1], 3))
                if one.interval
                else ()
            ),
        )
        for one in shown
    ]
    listed = table("Largest coefficients", columns, rows, text=2, class_="coefficients")
    parts.append(listed if with_intervals else tag("details", tag("summary", "The figures as a table"), listed))
    spoken = [(name(label), _listed(high), _listed(low)) for label, high, low in content.speaks]
    if spoken:
        listed = table("What speaks for a class", ["class", "for it", "against it"], spoken, text=3)
        parts.append(foldable(plural(len(spoken), "class"), listed, rows=len(spoken)))
    return joined(parts)


def path(content: Content) -> Html:
    """The search for C."""
    choice = content.choice
    if choice is None:
        return tag("p", "C was given, not searched for: ", tag("code", "softmax cv"), " would do that.")
    rows = [
        (_marked(choice, c), number(m, 5), number(e, 2))
        for c, m, e in zip(choice.Cs, choice.mean, choice.error, strict=True)
    ]
    listed = table("Score of each C", ["C", f"mean {choice.scoring}", "std. error"], rows)
    drawing = figure(_plots.path_over_c(choice), choice.rule)
    return joined([drawing, foldable(plural(len(rows), "value"), listed, rows=len(rows))])


def notes(content: Content) -> Html:
    """What was said on the way."""
    said = list(dict.fromkeys(content.notes))
    if not said:
        return tag("p", "There were no warnings.")
    return tag("ul", *(tag("li", escape(note[:2000])) for note in said), class_="notes")


def origin(content: Content) -> Html:
    """The command and the versions."""
    parts = []
    if content.command:
        parts.append(tag("pre", tag("code", content.command[:4000]), tabindex="0"))
    parts.append(facts("Versions", list(content.versions.items())))
    return joined(parts)


def _marked(choice: Choice, c: float) -> Html:
    marks = [word for word, value in (("chosen", choice.chosen), ("best", choice.best)) if c == value]
    return joined([number(c, 4), *(joined([" ", tag("span", mark, class_="mark")]) for mark in marks)])


def _listed(features: list[tuple[str, float]]) -> Html:
    return (
        joined([joined([name(feature), f" {number(value, 2)}"]) for feature, value in features], ", ")
        if features
        else escape("–")
    )


def _bound(fits: list[Fit]) -> str:
    proved = all(fit.status in ("certified", "not converged") for fit in fits)
    return "above the optimum by at most" if proved else "above the optimum, estimated"


def _gap(fit: Fit) -> float:
    """The gap; nan where there is no optimum to be above."""
    return float(np.nan) if fit.status == "separated" else fit.gap


def _relative(fit: Fit) -> float:
    return _gap(fit) / fit.objective if fit.objective else float(np.nan)
