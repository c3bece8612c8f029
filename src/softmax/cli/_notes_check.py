"""``softmax notes check`` and ``fix``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from softmax.notes._check import Checked

STYLES = {"error": "red", "warning": "yellow", "remark": "cyan", "": None}


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--format",
    "form",
    type=click.Choice(["human", "json", "sarif", "github"]),
    default="human",
    help="For people, for programs, for code scanning, or annotations of a pull request.",
)
@click.option("--strict", is_flag=True, help="Remarks count as findings for the exit code.")
@click.option("--no-repair", is_flag=True, help="Do not search for repairs of what is wrong.")
def check(paths: Sequence[str], form: str, strict: bool, no_repair: bool) -> int:
    """Check notes: how they are written, and whether their formulas hold.

    PATH is a note or a folder of notes. Each step of a formula is evaluated at random points; "consistent" means that
    both sides were equal at all of them, which is no proof. Exit code 0: no errors or warnings; 1: there are; 2: the
    check could not run.

    \b
    Examples:
      softmax notes check "softmax function.md"
      softmax notes check ~/notes --format json
    """  # noqa: D301 - click reads the \b
    from softmax import __version__
    from softmax.notes._check import check_vault
    from softmax.notes._check_formats import as_github, as_json, as_lines, as_sarif

    from ._progress import progress_display

    with progress_display(visible=form == "human" and sys.stderr.isatty()) as display:
        checked = check_vault(
            paths,
            repairs=not no_repair,
            progress=lambda done, total: display.say(f"checking formula {done} of {total}"),
        )
    if form == "json":
        click.echo(as_json(checked))
    elif form == "sarif":
        click.echo(as_sarif(checked, __version__))
    elif form == "github":
        for line in as_github(checked):
            click.echo(line)
    else:
        for text, style in as_lines(checked):
            click.secho(text, fg=STYLES[style])
    return int(checked.worst(strict=strict))


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--diff", "mode", flag_value="diff", default=True, help="Show the changes; write nothing.")
@click.option("--write", "mode", flag_value="write", help="Make the changes.")
def fix(paths: Sequence[str], mode: str) -> int:
    """Repair formulas by the smallest edits that make them hold.

    A repair is shown for the note and for every pasted copy of the formula. It was verified: the whole derivation holds
    with it. Nothing else in a file changes, not a byte, and no id. Exit code 0: nothing is left to repair; 1: there is;
    2: it failed.

    \b
    Examples:
      softmax notes fix ~/notes --diff
      softmax notes fix ~/notes --write
    """  # noqa: D301 - click reads the \b
    from softmax.notes._check import check_vault

    checked = check_vault(paths)
    _show_diff(checked)
    if mode == "write" and checked.edits:
        _write(checked)
        checked = check_vault(paths)
    left = [finding for finding in checked.findings if finding.verdict in ("refuted", "malformed")]
    without = [finding for finding in left if not finding.suggestion or mode == "write"]
    for finding in without:
        click.echo(f"no repair is known: {finding.place}: {finding.text}", err=True)
    if not checked.edits and not left:
        click.echo("Nothing is left to repair." if mode == "write" else "There is nothing to repair.", err=True)
    elif mode != "write" and checked.edits:
        click.echo("Nothing was written. With --write these changes are made.", err=True)
    return int(bool(left))


def _show_diff(checked: Checked) -> None:
    import difflib

    from softmax.notes._check import repaired, shown_path

    for path, edits in checked.edits.items():
        note = checked.vault.notes[path]
        old, new = note.text.splitlines(), repaired(note, edits).splitlines()
        name = shown_path(checked.vault, path)
        for line in difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", lineterm=""):
            colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
            click.secho(line, fg=colour)
    for finding in checked.findings:
        if "repair" in finding.data:
            where = ", ".join(str(place.line) for place in finding.places)
            click.echo(f"{finding.place.path}, line {where}: {finding.data['repair']}", err=True)


def _write(checked: Checked) -> None:
    from softmax.notes.reading import write_edits

    for path, edits in checked.edits.items():
        write_edits(checked.vault.root, checked.vault.notes[path], edits)
        click.echo(f"{path}: {len(edits)} {'edit' if len(edits) == 1 else 'edits'} written.", err=True)
