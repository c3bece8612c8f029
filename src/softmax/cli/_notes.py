"""``softmax notes``: notes checked, and their cards brought to Anki."""

from __future__ import annotations

from typing import Any

import click

from softmax._errors import MissingExtraError, SoftmaxError

from ._notes_check import check, fix
from ._notes_format import dedupe, format_notes
from ._notes_sync import export, plan, sync

EXTRA = ("markdown_it", "mdit_py_plugins", "pylatexenc", "latex2mathml")
FAILED = 2  # these commands end with 1 where there is something to say or to do, so a failure is 2


class NotesFailure(click.ClickException):
    """A command could not run."""

    exit_code = FAILED


class NotesGroup(click.Group):
    """A group whose commands fail with the exit code 2."""

    def invoke(self, context: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(context)
        except SoftmaxError as error:
            raise NotesFailure(str(error)) from error
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in EXTRA:
                raise
            raise NotesFailure(str(MissingExtraError.for_extra("this command", package, "notes"))) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise NotesFailure(f"{where}{error.strerror or error}.") from error


@click.group(cls=NotesGroup)
def notes() -> None:
    """Check notes and bring their cards to Anki.

    \b
    Examples:
      softmax notes check VAULT   how notes are written, and whether formulas hold
      softmax notes fix VAULT     repairs of formulas; --write makes them
      softmax notes format VAULT  repairs of how cards are written
      softmax notes dedupe VAULT  pasted copies, and embeds in their place
      softmax notes plan VAULT    what a sync would do, and how cards change
      softmax notes sync VAULT    do it: into a collection beside the vault
      softmax notes export VAULT -o deck.apkg
    """  # noqa: D301 - click reads the \b


for command in (check, fix, format_notes, dedupe, plan, sync, export):
    notes.add_command(command)
