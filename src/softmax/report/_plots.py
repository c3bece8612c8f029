"""The drawings of a report, as SVG that stands in the page itself.

They are drawn narrow, with large letters, so that they can be read on a phone, and grow with the page. Colours are the
page's own (CSS variables), so that they follow light, dark and print. The bytes depend on the figures alone.
"""

from __future__ import annotations

import functools
import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from softmax._errors import MissingExtraError

from ._content import Choice, Coefficient, Reliability
from ._html import Html, escape, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

Draw = TypeVar("Draw", bound=Callable[..., Html])

WIDTH = 4.7  # inches; a point becomes a pixel on a phone of 360
FONT = 10.0
# Colours that stand for variables of the page; no other part of a drawing has them.
INK, FAINT, RIGHT, WRONG, ON_COLOUR = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05"
VARIABLES = {INK: "--ink", FAINT: "--faint", RIGHT: "--right", WRONG: "--wrong", ON_COLOUR: "--on-colour"}
# The same two hues in a raster, where there are no variables: they bear both a white and a black page.
RIGHT_RGB, WRONG_RGB = (0.20, 0.44, 0.78), (0.86, 0.42, 0.10)
LARGEST = 1e30  # an estimate of a gap beyond this says only that there is none
MOST_COUNTS = 10  # classes up to which the heat map shows its counts
MOST_NAMES = 30  # classes up to which it shows their names


def _at_defaults(draw: Draw) -> Draw:
    """Draw with the settings of matplotlib itself, whatever the user's are, so that the bytes are the same."""

    @functools.wraps(draw)
    def at_defaults(*args: Any, **kwargs: Any) -> Html:
        try:
            import matplotlib
        except ModuleNotFoundError:
            raise MissingExtraError.for_extra("a report", "matplotlib", "cli") from None
        with matplotlib.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a letter that matplotlib's own font lacks; the reader's has it
            matplotlib.rcdefaults()
            matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "softmax"})
            return draw(*args, **kwargs)

    return at_defaults  # type: ignore[return-value]


def _figure(height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure((WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    figure.set_facecolor("none")
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(FAINT)
    axes.tick_params(colors=INK, labelcolor=INK, color=FAINT, labelsize=FONT)
    return figure, axes


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, color=INK, fontsize=FONT)
    axes.set_ylabel(y, color=INK, fontsize=FONT)


def _powers(value: float, _place: float) -> str:
    """A power of ten as text: a formula would be set letter by letter."""
    exponent = round(np.log10(value))
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _legend(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize=FONT, labelcolor=INK, handlelength=1.2)


def _svg(figure: Figure, key: str, title: str, description: str) -> Html:
    """The drawing as an element of the page; `key` makes its ids its own."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(buffer, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    body = text[text.index(">", text.index("<svg")) + 1 :]
    box = re.search(r'viewBox="([^"]+)"', text)
    assert box is not None
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>|<\?.*?\?>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{key}-', body)
    body = re.sub(r"url\(#", f"url(#{key}-", body)
    body = re.sub(r'(?:xlink:)?href="#', f'href="#{key}-', body).replace("xlink:href", "href")
    body = re.sub(r"font-family: [^;\"]+;? ?", "", body)
    body = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    body = re.sub(r"\n\s*", "\n", body)
    names = f'<title id="{key}-title">{escape(title)}</title><desc id="{key}-desc">{escape(description)}</desc>'
    start = f'<svg viewBox="{box[1]}" role="img" aria-labelledby="{key}-title {key}-desc">'
    return Html(start + names + body.strip())


def _plain(texts: Sequence[Any]) -> None:
    """Take the names in these labels as they are: a dollar begins no formula."""
    for text in texts:
        text.set_parse_math(False)


@_at_defaults
def convergence(history: Sequence[dict[str, Any]], tolerance: float, gap: str | None) -> Html:
    """Gap and objective over passes, on a logarithmic scale; `tolerance` in nats, `gap` what the gap is called.

    Without an optimum there is no gap.
    """
    passes = np.array([record["passes"] for record in history], dtype=float)
    gaps = np.array([record["gap"] for record in history], dtype=float)
    objectives = np.array([record["objective"] for record in history], dtype=float)
    figure, axes = _figure(2.9)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(_powers)
    drawn = (
        (gap, gaps if gap else gaps * np.nan, RIGHT, "o-"),
        ("objective above the last one", objectives - objectives[-1], WRONG, "s--"),
    )
    for word, values, colour, style in drawn:
        shown = (values > 0) & (values < LARGEST)
        if shown.any():
            axes.plot(passes[shown], values[shown], style, color=colour, label=word, markersize=3.5, linewidth=1.3)
    if gap and tolerance > 0:
        axes.axhline(tolerance, color=FAINT, linewidth=1, linestyle=":", label="asked for")
    _label(axes, "passes over the data", "nats")
    _legend(axes)
    first = next((value for value in gaps if np.isfinite(value)), np.nan)
    words = f"the {gap} goes from {first:.2g} at the start to {gaps[-1]:.2g} nats" if gap else "no gap is defined"
    words = f"After {passes[-1]:g} passes over the data the objective is {objectives[-1]:.6g} nats; {words}."
    return _svg(figure, "convergence", "Gap and objective over the passes", words)


@_at_defaults
def heat_map(confusion: Ints, names: Sequence[str]) -> Html:
    """The confusion matrix: each row as shares of its class."""
    n = len(names)
    sizes = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.maximum(sizes, 1)
    right = np.eye(n, dtype=bool)
    colours = np.empty((n, n, 4))
    colours[..., :3] = np.where(right[..., None], RIGHT_RGB, WRONG_RGB)
    # A rare mistake should be seen at all: the square root lifts it, and nothing but 0 is blank.
    colours[..., 3] = np.where(right, shares, np.where(confusion > 0, 0.12 + 0.88 * np.sqrt(shares), 0.0))
    figure, axes = _figure(4.4 if n > 3 else 3.2)
    axes.imshow(colours, interpolation="none", aspect="equal")
    axes.spines[:].set_visible(True)
    if n <= MOST_NAMES:
        _name_classes(axes, names)
        axes.set_xticks(np.arange(1, n) - 0.5, minor=True)
        axes.set_yticks(np.arange(1, n) - 0.5, minor=True)
        axes.grid(which="minor", color=FAINT, linewidth=0.4, alpha=0.6)
        axes.tick_params(which="both", length=0)
    else:
        ticks = np.arange(0, n, 10 * -(-n // 80))
        axes.set_xticks(ticks, [str(i + 1) for i in ticks])
        axes.set_yticks(ticks, [str(i + 1) for i in ticks])
    if n <= MOST_COUNTS:
        size = min(FONT, 55 / (len(f"{confusion.max():,}") + 1), 120 / n)
        for i, j in zip(*np.nonzero(confusion), strict=True):
            colour = ON_COLOUR if colours[i, j, 3] > 0.55 else INK
            axes.text(j, i, f"{confusion[i, j]:,}", ha="center", va="center", color=colour, fontsize=size)
    _label(axes, "predicted class", "true class")
    n_right, n_all = int(np.trace(confusion)), int(confusion.sum())
    words = f"{n} by {n} classes; {n_right:,} of {n_all:,} rows lie on the diagonal, where the prediction is right."
    return _svg(figure, "confusion", "Heat map of the confusion matrix", words)


def _name_classes(axes: Axes, names: Sequence[str]) -> None:
    n = len(names)
    short = [shorten(name, 12) for name in names]
    longest = max(map(len, short))
    size = FONT if n <= 15 else 7.0
    upright = longest * n > 44
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(np.arange(n), short, fontsize=size)
        _plain(axis.get_ticklabels())
    if upright:
        axes.tick_params(axis="x", rotation=90)


@_at_defaults
def reliability(series: Sequence[Reliability]) -> Html:
    """Share of right answers against stated probability, by bin; one series, or two to compare."""
    figure, axes = _figure(3.6)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=":", label="perfect")
    for one, colour, mark in zip(series, (RIGHT, WRONG), "os", strict=False):
        bins = one.bins
        shown = bins.count > 0
        x, y, counts = bins.confidence[shown], bins.accuracy[shown], bins.count[shown]
        area = 8 + 70 * np.sqrt(counts / counts.max())
        axes.vlines(x, bins.lower[shown], bins.upper[shown], color=colour, linewidth=1, alpha=0.35)
        axes.plot(x, y, color=colour, linewidth=1, alpha=0.7)
        axes.scatter(x, y, s=area, color=colour, marker=mark, label=one.name, linewidths=0)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal")
    _label(axes, "stated probability of the predicted class", "share that was right")
    _legend(axes)
    words = "Points on the diagonal state what happens; below it the model is too sure of itself, above it too modest."
    return _svg(figure, "reliability", "Reliability diagram", words)


@_at_defaults
def coefficients(chosen: Sequence[Coefficient]) -> Html:
    """The largest coefficients, with intervals where there are any."""
    n = len(chosen)
    figure, axes = _figure(0.75 + 0.21 * n)
    places = np.arange(n)[::-1]
    axes.axvline(0.0, color=FAINT, linewidth=1)
    for place, one in zip(places, chosen, strict=True):
        colour = RIGHT if one.value >= 0 else WRONG
        if one.interval is not None:
            axes.plot(one.interval, [place, place], color=colour, linewidth=1.6, alpha=0.6, solid_capstyle="butt")
        else:
            axes.plot([0.0, one.value], [place, place], color=colour, linewidth=1.0, alpha=0.4)
        axes.plot([one.value], [place], "o", color=colour, markersize=4)
    longest = max(len(shorten(one.feature, 18)) for one in chosen)
    labels = [f"{shorten(one.label, 29 - longest)}: {shorten(one.feature, 18)}" for one in chosen]
    axes.set_yticks(places, labels)
    _plain(axes.get_yticklabels())
    axes.set_ylim(-0.7, n - 0.3)
    _label(axes, "coefficient", "")
    words = f"The {n} coefficients of largest magnitude, from {chosen[0].value:.3g} down to {chosen[-1].value:.3g}."
    return _svg(figure, "coefficients", "Largest coefficients", words)


@_at_defaults
def path_over_c(choice: Choice) -> Html:
    """Mean score with its standard error over C."""
    figure, axes = _figure(3.0)
    axes.set_xscale("log")
    if len(choice.Cs) <= 6:
        axes.set_xticks(choice.Cs, [f"{c:.3g}" for c in choice.Cs], minor=False)
        axes.set_xticks([], minor=True)
    else:
        axes.xaxis.set_major_formatter(_powers)
    finite = np.isfinite(choice.Cs) & np.isfinite(choice.mean)
    Cs, mean, error = choice.Cs[finite], choice.mean[finite], choice.error[finite]
    axes.fill_between(Cs, mean - error, mean + error, color=RIGHT, alpha=0.2, linewidth=0)
    axes.plot(Cs, mean, "o-", color=RIGHT, markersize=3.5, linewidth=1.3, label="mean over folds ± standard error")
    axes.axvline(choice.chosen, color=WRONG, linewidth=1.2, linestyle="--", label=f"chosen: C = {choice.chosen:.3g}")
    _label(axes, "C", choice.scoring)
    _legend(axes)
    words = f"{len(Cs)} values of C from {Cs.min():.3g} to {Cs.max():.3g}; {choice.chosen:.3g} was chosen."
    return _svg(figure, "path", "Score over C", words)
