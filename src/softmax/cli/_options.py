"""The options that ``softmax fit`` and ``softmax cv`` share, and what becomes of them."""

from __future__ import annotations

import math
import shlex
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

PENALTIES = ("l2", "l1", "elastic-net", "none")
SOLVERS = ("auto", "newton", "newton-cg")
HALF = 0.5  # the share of L1 in an elastic net, where none is named
REPORT_START = b"<!doctype html"


def _added(options: list[Any]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


solver_options = _added(
    [
        click.option("--grouped", is_flag=True, help="L1 takes or leaves a feature for all classes together."),
        click.option("--solver", type=click.Choice(SOLVERS), default="auto", help="For an L2 penalty or none."),
        click.option(
            "--tol",
            type=click.FloatRange(0, min_open=True),
            default=1e-6,
            help="Certified gap to reach, relative to the objective.",
        ),
        click.option(
            "--max-iter",
            type=click.IntRange(1),
            help="Stop after so many iterations; of a network, epochs.  [default: 1000; 200]",
        ),
        click.option("--no-intercept", is_flag=True, help="Leave the constant term out."),
        click.option(
            "--class-weight", type=click.Choice(["balanced"]), help="Weigh classes by the inverse of their frequency."
        ),
        click.option(
            "--sample-weight", metavar="COLUMN", help="A column of weights; used in the fit, not in the scores."
        ),
        click.option("--threads", "n_threads", type=click.IntRange(1), help="Threads of the fit.  [default: all]"),
    ]
)


def _widths(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Widths of layers, from text with commas between them."""
    if value is None:
        return None
    parts = value.split(",")
    if not all(part.strip().isdecimal() and int(part) for part in parts):
        raise click.BadParameter(f"{value!r} is no list of widths of 1 or more with commas between, such as 256,128.")
    return tuple(int(part) for part in parts)


network_options = _added(
    [
        click.option(
            "--hidden", callback=_widths, metavar="WIDTHS", help="Fit a network with hidden layers, such as 256,128."
        ),
        click.option(
            "--activation",
            type=click.Choice(["relu", "tanh", "logistic", "gelu", "silu"]),
            default="relu",
            help="Network: what stands between two layers.",
        ),
        click.option(
            "--learning-rate",
            type=click.FloatRange(0, min_open=True),
            default=0.001,
            help="Network: first step size of Adam.",
        ),
        click.option(
            "--batch-size", type=click.IntRange(1), help="Network: rows per step.  [default: by the number of rows]"
        ),
        click.option("--device", default="auto", metavar="NAME", help="Network: cpu, cuda, …; auto is a GPU, or cpu."),
    ]
)
# Options of `softmax fit` that mean nothing to a network, and what is said of some; and those that only it has.
REGRESSION_ONLY = {
    "penalty": "the penalty of a network is L2, of strength 1/C",
    "l1_ratio": "the penalty of a network is L2, of strength 1/C",
    "grouped": "the penalty of a network is L2, of strength 1/C",
    "solver": "a network is fitted by Adam",
    "tol": "there is no certified gap to reach",
    "no_intercept": "",
    "n_threads": "PyTorch takes its threads from OMP_NUM_THREADS",
    "inference": "the weights of a network have no standard errors",
    "report": "it shows a certificate and coefficients, and a network has neither; see softmax evaluate and export",
}
NETWORK_ONLY = ("activation", "learning_rate", "batch_size", "device")


def check_network(hidden: tuple[int, ...] | None) -> None:
    """Raise where an option is given that means nothing, with --hidden or without."""
    context = click.get_current_context()
    spellings = {option.name: option.opts[-1] for option in context.command.params}
    for name in NETWORK_ONLY if hidden is None else REGRESSION_ONLY:
        if context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE:
            if hidden is None:
                raise click.UsageError(f"{spellings[name]} is about a network; pass --hidden too.")
            why = f": {REGRESSION_ONLY[name]}" if REGRESSION_ONLY[name] else ""
            raise click.UsageError(f"{spellings[name]} and --hidden exclude each other{why}.")


column_options = _added(
    [
        click.option(
            "--missing",
            type=click.Choice(["error", "mean", "indicator", "drop"]),
            default="error",
            help="Missing values: refuse them; put the mean (a category: one of its own); the same and a 0/1 column; "
            "or drop the row.",
        ),
        click.option("--drop", multiple=True, metavar="COLUMN", help="Leave a column out; may be repeated."),
        click.option(
            "--categorical", multiple=True, metavar="COLUMN", help="Take a column of numbers for names of categories."
        ),
        click.option(
            "--numeric", multiple=True, metavar="COLUMN", help="Take a column for numbers whatever it looks like."
        ),
    ]
)

output_options = _added(
    [
        click.option("--report", metavar="FILE", help="Write a report: one HTML file, for screens and paper."),
        click.option("--force", is_flag=True, help="Overwrite a file even if it is no model, or no report."),
        click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON."),
        click.option("-q", "--quiet", is_flag=True, help="Print errors only."),
    ]
)


def penalty_of(penalty: str | None, C: float | None, l1_ratio: float | None) -> tuple[float, float]:
    """C and the share of L1 that the options --penalty, -C and --l1-ratio ask for together."""
    if penalty == "none" or (C is not None and math.isinf(C)):
        if penalty not in (None, "none"):
            raise click.UsageError(f"-C inf is no penalty; leave out --penalty {penalty}, or name a finite C.")
        if C is not None and not math.isinf(C):
            raise click.UsageError("--penalty none is C = inf; leave out -C.")
        if l1_ratio:
            raise click.UsageError("--l1-ratio divides a penalty; without one there is nothing to divide.")
        return math.inf, 0.0
    return 1.0 if C is None else C, share_of_l1(penalty, l1_ratio)


def share_of_l1(penalty: str | None, l1_ratio: float | None) -> float:
    """The share of L1 in a penalty of that name; --l1-ratio alone makes an elastic net."""
    fixed = {"l2": 0.0, "l1": 1.0}
    if penalty in fixed:
        if l1_ratio not in (None, fixed[penalty]):
            raise click.UsageError(f"--penalty {penalty} has the L1 ratio {fixed[penalty]:g}; leave out --l1-ratio.")
        return fixed[penalty]
    if penalty == "elastic-net":
        return HALF if l1_ratio is None else l1_ratio
    return 0.0 if l1_ratio is None else l1_ratio


def check_grouped(grouped: bool, ratios: Sequence[float]) -> None:
    """Raise where groups are asked for and there is nothing that groups."""
    if grouped and not any(ratios):
        raise click.UsageError("--grouped is about the L1 part of a penalty; pass --penalty l1 or --l1-ratio too.")


def check_report(place: str | None, force: bool, *others: object) -> None:
    """Raise if a report cannot, or should not, be written to `place`."""
    from softmax.tables import check_writable

    if place is None:
        return
    check_writable(place)
    path = Path(place)
    for other in map(str, filter(None, others)):
        if path.resolve() == Path(other).resolve():
            raise click.ClickException(f"{place} cannot be both the report and {other}; name another file.")
    if path.is_file() and not force and path.stat().st_size:
        with path.open("rb") as file:
            if file.read(len(REPORT_START)).lower() != REPORT_START:
                raise click.ClickException(f"{place} exists and is no report. Name another file, or pass --force.")


def command_line() -> str:
    """The command as it was typed, quoted where a shell needs it."""
    given = click.get_current_context().find_root().obj
    return shlex.join(["softmax", *(given or [])])


class Interruption:
    """Whether the user pressed Ctrl-C; the solver, or the search, ends at it and keeps the best so far."""

    happened = False

    def __call__(self) -> bool:
        return self.happened


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Note an interrupt, besides raising KeyboardInterrupt as ever."""
    noted = Interruption()

    def note(_signal: int, _frame: FrameType | None) -> None:
        noted.happened = True
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield noted
    except ImportError:
        if noted.happened:  # what an interrupt becomes within the start of a compiled module
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)
