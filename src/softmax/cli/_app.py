"""The group of commands, and what becomes of an error: one message, one exit code, no traceback."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence

import click

from softmax import __version__
from softmax._errors import MissingExtraError, SoftmaxError

from ._cv import cv
from ._evaluate import evaluate
from ._export import export
from ._fit import fit
from ._info import info
from ._notes import notes
from ._predict import predict

# Packages of the extra `cli`, besides click, that commands load when they run.
EXTRA = ("rich", "pyarrow", "narwhals")
INTERRUPTED = 130
BROKEN_PIPE = 141  # what a shell shows for a process that SIGPIPE ended


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="softmax", message="%(prog)s %(version)s")
def app() -> None:
    """Softmax regression at its certified optimum, from a table to a model file.

    \b
    softmax fit digits --report digits.html             train on a built-in data set
    softmax fit DATA.csv --target COLUMN -o m.safetensors
    softmax cv DATA.csv --target COLUMN                 choose the penalty by cross-validation
    softmax evaluate m.safetensors MORE.csv             figures per class
    softmax predict m.safetensors NEW.csv -o out.csv    labels and probabilities
    softmax info m.safetensors                          what a model file holds
    softmax export m.safetensors -o m.onnx              for other programs
    softmax notes --help                                notes, checked, and their cards in Anki
    """  # noqa: D301 - click reads the \b


for command in (fit, cv, predict, evaluate, export, info, notes):
    app.add_command(command)


def run(arguments: Sequence[str] | None) -> int:
    """Run the group; every way to end has its exit code."""
    try:
        _tolerate_encoding()
        given = list(sys.argv[1:] if arguments is None else arguments)
        result = app.main(args=given, prog_name="softmax", standalone_mode=False, obj=given.copy())
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as stop:
        # click makes an Abort of an interrupt; its text says what was done, if anything was.
        what = str(stop.__cause__ or stop) or "nothing was saved"
        click.echo(f"Interrupted; {what}.", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        return _end_quietly()
    except SystemExit as stop:  # click's own way to end at a broken pipe
        return _end_quietly() if stop.code == 1 else int(stop.code or 0)
    except click.ClickException as error:
        return _fail(error.message, error.exit_code)
    except SoftmaxError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            return _report_bug(error)
        return _fail(str(MissingExtraError.for_extra("this command", str(error.name), "cli")))
    except MemoryError:
        return _fail("there is not enough memory for this table. Leave columns out with --drop, or use fewer rows.")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}.")
    except Exception as error:
        return _report_bug(error)


def _report_bug(error: Exception) -> int:
    if os.environ.get("SOFTMAX_TRACEBACK"):
        raise error
    return _fail(
        f"{type(error).__name__}: {error}\nThis should not happen: it is a mistake in softmax. "
        "With SOFTMAX_TRACEBACK=1 in the environment the place is shown; please report it."
    )


def _fail(message: str, code: int = 1) -> int:
    width = shutil.get_terminal_size().columns if sys.stderr.isatty() else 0
    lines = f"Error: {message}".splitlines()
    if width > 20:
        lines = [wrapped for line in lines for wrapped in _wrap(line, width)]
    click.echo("\n".join(lines), err=True)
    return code


def _wrap(line: str, width: int) -> list[str]:
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.wrap(
        line,
        width - 1,
        subsequent_indent=indent + "  " if indent else "",
        break_long_words=False,
        break_on_hyphens=False,
    ) or [line]


def _end_quietly() -> int:
    """Say nothing where the reader of our output went away, not even when the interpreter flushes at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


def _tolerate_encoding() -> None:
    """Keep a class called Zürich from ending the program where the terminal is ASCII."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
