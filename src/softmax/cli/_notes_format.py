"""``softmax notes format`` and ``dedupe``: changes of notes that leave what they say as it is."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from softmax.notes._model import NoteFile, Vault
    from softmax.notes.reading import Edit, Replacement

COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@click.command("format")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--diff", "mode", flag_value="diff", default=True, help="Show the changes; write nothing.")
@click.option("--write", "mode", flag_value="write", help="Make the changes.")
@click.option("--newlines", is_flag=True, help="Make LF of CR LF, and take byte order marks away.")
def format_notes(paths: Sequence[str], mode: str, newlines: bool) -> int:
    """Repair how cards are written, where the format leaves no doubt about what was meant.

    White space after START or the note type, tags below the id, text below the id, commas between tags, "$ x $", "}}"
    of a formula in a cloze, and more. What a card says stays, and so do ids. Exit code 0: nothing is left to repair;
    1: there is; 2: it failed.

    \b
    Examples:
      softmax notes format ~/notes
      softmax notes format ~/notes --write
    """  # noqa: D301 - click reads the \b
    from softmax.notes.reading import Edit, format_note, read_vault, write_edits

    vault = read_vault(paths)
    changed = 0
    for note in vault.notes.values():
        new, gone = format_note(note, vault.settings, newlines=newlines)
        if new.raw == note.raw:
            continue
        changed += 1
        _show_diff(note, new.text)
        for message in gone:
            click.echo(f"{message.place}: {message.text}", err=True)
        if mode == "write":
            write_edits(vault.root, note, [Edit(0, len(note.text), new.text)], bom=new.bom)
    _say_end(changed, mode)
    return int(bool(changed) and mode != "write")


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--diff", "mode", flag_value="diff", default=True, help="Show the changes; write nothing.")
@click.option("--write", "mode", flag_value="write", help="Make the changes.")
@click.option("--drifted", is_flag=True, help="Replace copies that differ, too: they will say what the original says.")
@click.option("--shortest", type=click.IntRange(20), default=200, help="Letters that a copy shares with its original.")
def dedupe(paths: Sequence[str], mode: str, drifted: bool, shortest: int) -> int:
    """Find pasted copies, say where they drifted apart, and put embeds in their place.

    The original is the copy outside of cards, or the first. An embed such as ![[note#heading]] shows it wherever a copy
    stood, on cards too. Exit code 0: there are no copies; 1: there are; 2: it failed.

    \b
    Examples:
      softmax notes dedupe ~/notes
      softmax notes dedupe ~/notes --write
    """  # noqa: D301 - click reads the \b
    from softmax.notes.reading import apply_edits, find_copies, read_vault, replace_copies, write_edits

    vault = read_vault(paths)
    found = replace_copies(vault, find_copies(vault, shortest=shortest), drifted=drifted)
    edits: dict[str, set[Edit]] = defaultdict(set)
    for replacement in found:
        _tell(vault, replacement)
        for path, edit in replacement.edits:
            edits[path].add(edit)
    for path, made in edits.items():
        _show_diff(vault.notes[path], apply_edits(vault.notes[path].text, made))
    if mode == "write":
        for path, made in edits.items():
            write_edits(vault.root, vault.notes[path], made)
    _say_end(len(edits), mode)
    left = [replacement for replacement in found if replacement.refusal or mode != "write"]
    return int(bool(left))


def _tell(vault: Vault, replacement: Replacement) -> None:
    """Say where a copy stands, where it differs from its original, and what becomes of it."""
    group, copy = replacement.group, replacement.copy
    note, original = vault.notes[copy.path], vault.notes[group.path]
    lines = len(note.text[copy.span.start : copy.span.end].splitlines())
    click.secho(
        f"{note.place(copy.span.start)}: {lines} lines are a copy of {original.place(group.span.start)}", bold=True
    )
    for ours, theirs in copy.differences:
        place = note.place(ours.start)
        click.echo(f"  line {place.line} differs from line {original.place(theirs.start).line} of the original:")
        _show(original.text[theirs.start : theirs.end], note.text[ours.start : ours.end])
    if replacement.refusal:
        click.echo(f"  It is left: {replacement.refusal}.")
    else:
        click.echo(f"  It becomes {replacement.embed}")


def _show(original: str, copy: str) -> None:
    """Print what the copy has in place of what the original has, without the lines that they share."""
    for line in difflib.unified_diff(original.splitlines(), copy.splitlines(), lineterm="", n=0):
        if not line.startswith(("---", "+++", "@@")):
            click.secho(f"    {line}", fg=COLOURS.get(line[:1]))


def _show_diff(note: NoteFile, text: str) -> None:
    if text.replace("\r\n", "\n") == note.text.replace("\r\n", "\n"):
        click.echo(f"{note.path}: newlines or byte order mark only")
        return
    names = f"a/{note.path}", f"b/{note.path}"
    for line in difflib.unified_diff(note.text.splitlines(), text.splitlines(), *names, lineterm=""):
        click.secho(line, fg=COLOURS.get(line[:1]))


def _say_end(changed: int, mode: str) -> None:
    files = "1 file" if changed == 1 else f"{changed} files"
    if not changed:
        click.echo("There is nothing to change.", err=True)
    elif mode == "write":
        click.echo(f"Wrote {files}.", err=True)
    else:
        click.echo(f"Nothing was written. With --write {files} would change so.", err=True)
