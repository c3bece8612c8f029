"""``softmax notes plan``, ``sync`` and ``export``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from softmax.notes.anki import Plan, Problem, Target

    from ._screen import Screen

Command = TypeVar("Command", bound=Callable[..., Any])
KEY = "ANKI_CONNECT_KEY"
MOST_NOTES = 40  # shown one by one on a terminal
MOST_LINES = 20  # of problems, and of what is left alone

# What is done, as it stands in the summary.
DONE = {
    "add": "added",
    "update": "updated",
    "move": "moved",
    "retag": "retagged",
    "link": "id to write",
    "delete": "deleted",
}


def _target_options(command: Command) -> Command:
    for option in (
        click.option("-q", "--quiet", is_flag=True, help="Print errors only."),
        click.option("--prune", is_flag=True, help="Delete notes in Anki whose card is in the vault no longer."),
        click.option(
            "--prefer",
            type=click.Choice(["vault", "anki"]),
            help="End conflicts with this side's value.  [default: leave Anki's, and tell]",
        ),
        click.option(
            "--anki-connect",
            metavar="URL",
            is_flag=False,
            flag_value="http://127.0.0.1:8765",
            help="Go to a running Anki, through its add-on AnkiConnect.",
        ),
        click.option(
            "--collection", metavar="FILE", help="The collection, a file .anki2.  [default: beside the vault]"
        ),
        click.argument("paths", nargs=-1, required=True, metavar="VAULT..."),
    ):
        command = option(command)
    return command


@click.command()
@_target_options
@click.option("--out", metavar="FILE", help="Write the plan as JSON, to look at and to give to sync.")
@click.option("--html", metavar="FILE", help="Write a page with every card as Anki will show it.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(
    paths: Sequence[str],
    collection: str | None,
    anki_connect: str | None,
    prefer: str | None,
    prune: bool,
    quiet: bool,
    out: str | None,
    html: str | None,
    as_json: bool,
) -> int:
    """Show what a sync of VAULT would do; change nothing.

    VAULT is a folder of notes, or some notes of one folder. Exit code 0: there is nothing to do; 1: there is;
    2: it failed.

    \b
    Examples:
      softmax notes plan ~/notes
      softmax notes plan ~/notes --out plan.json --html plan.html
      softmax notes plan ~/notes --anki-connect http://127.0.0.1:8765
    """  # noqa: D301 - click reads the \b
    from softmax._files import replace_file
    from softmax.notes.anki import plan_page, plan_vault

    from ._progress import progress_display
    from ._screen import Screen

    with progress_display(visible=not quiet and sys.stderr.isatty()) as display:
        made = plan_vault(
            paths, _target(collection, anki_connect), prefer=_preference(prefer), prune=prune, progress=display.say
        )
    text = json.dumps(made.as_json(), ensure_ascii=False, indent=2) + "\n"
    if out is not None:
        replace_file(out, text.encode("utf-8", "surrogatepass"))
    if html is not None:
        replace_file(html, plan_page(made).encode("utf-8", "replace"))
    if as_json:
        click.echo(text, nl=False)
    elif not quiet:
        _show(Screen(), made)
    return 1 if made.actions or made.conflicts or made.problems else 0


@click.command()
@_target_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--plan", "plan_file", metavar="FILE", help="Do exactly what this plan says, or nothing.")
def sync(
    paths: Sequence[str],
    collection: str | None,
    anki_connect: str | None,
    prefer: str | None,
    prune: bool,
    quiet: bool,
    yes: bool,
    plan_file: str | None,
) -> int:
    """Bring the cards of VAULT to Anki, and write their ids into the notes.

    The plan is shown first and asked about. Values that were changed in Anki are kept; where both sides changed one,
    Anki's is kept and the conflict is told. A sync that was interrupted is finished by the same command.
    Exit code 0: all is done; 1: something could not be, or a conflict is left; 2: it failed.

    \b
    Examples:
      softmax notes sync ~/notes
      softmax notes sync ~/notes --collection ~/.local/share/Anki2/Me/collection.anki2
      softmax notes sync ~/notes --plan plan.json
    """  # noqa: D301 - click reads the \b
    from softmax.notes.anki import sync_vault

    from ._progress import progress_display
    from ._screen import Screen

    expected = None if plan_file is None else _digest(plan_file)
    screen = Screen()
    with progress_display(visible=not quiet and sys.stderr.isatty()) as display:

        def agree(made: Plan) -> bool:
            if yes or expected is not None:
                return True
            display.pause()
            _show(screen, made)
            if not sys.stdin.isatty():
                raise click.UsageError("This is no terminal, so nobody can be asked. Pass --yes, or --plan FILE.")
            return click.confirm("Do this?")

        outcome = sync_vault(
            paths,
            _target(collection, anki_connect),
            agree=agree,
            expected=expected,
            prefer=_preference(prefer),
            prune=prune,
            progress=display.say,
        )
    if outcome is None:
        click.echo("Nothing was changed.", err=True)
        return 1
    made = outcome.plan
    problems = [*made.problems, *outcome.problems]
    if not quiet:
        ids = f", {outcome.ids:,} {_ids(outcome.ids)} written" if outcome.ids else ""
        screen.line(f"{made.label}: {_summary(made) or 'nothing to do'}{ids}.")
        _show_kept(screen, made)
        _show_orphans(screen, made)
    _show_problems(Screen(stderr=True), problems)
    return 1 if problems or made.conflicts else 0


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="VAULT...")
@click.option("-o", "--output", metavar="FILE", help="The package, a file .apkg.  [default: beside the vault]")
@click.option("--write-ids", is_flag=True, help="Write the ids of new cards into the notes.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def export(paths: Sequence[str], output: str | None, write_ids: bool, quiet: bool) -> int:
    """Write the cards of VAULT into a package that any Anki imports.

    Importing it again updates the notes; it adds none twice. Exit code 0: all cards are in it; 1: some are not;
    2: it failed.

    \b
    Examples:
      softmax notes export ~/notes -o notes.apkg
    """  # noqa: D301 - click reads the \b
    from softmax.notes.anki import export_vault

    from ._progress import progress_display
    from ._screen import Screen

    first = Path(paths[0]).resolve()
    package = Path(output) if output is not None else first.with_name(f"{first.stem}.apkg")
    with progress_display(visible=not quiet and sys.stderr.isatty()) as display:
        done = export_vault(paths, package, write_ids=write_ids, progress=display.say)
    if not quiet:
        ids = f", {done.ids:,} {_ids(done.ids)} written into notes" if write_ids else ""
        Screen().line(f"{package}: {done.notes:,} notes{ids}.")
    _show_problems(Screen(stderr=True), done.problems)
    return 1 if done.problems else 0


def _target(collection: str | None, anki_connect: str | None) -> Target:
    from softmax.notes.anki import Target

    if collection is not None and anki_connect is not None:
        raise click.UsageError("--collection is for a closed Anki, --anki-connect for a running one; pass one of them.")
    return Target(None if collection is None else Path(collection), anki_connect, os.environ.get(KEY))


def _preference(prefer: str | None) -> Any:
    return prefer or ""


def _digest(path: str) -> str:
    """What a file of a plan says that shall be done."""
    from softmax._errors import NotesError

    try:
        return str(json.loads(Path(path).read_bytes())["digest"])
    except OSError as error:
        raise NotesError(
            f"cannot read {path}: {error.strerror}. Make it with: softmax notes plan --out {path}"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise NotesError(f"{path} is no plan. Make one with: softmax notes plan --out {path}") from None


def _summary(made: Plan) -> str:
    return ", ".join(f"{n:,} {DONE[word]}" for word, n in made.counts.items() if n)


def _show(screen: Screen, made: Plan) -> None:
    """Print a plan: each note with what changes in it, then the numbers."""
    from softmax.notes.anki import pieces, shortened

    screen.line(f"Plan for {made.label}", "bold")
    path = ""
    for action in made.actions[:MOST_NOTES]:
        if action.path != path:
            path = action.path
            screen.line(f"\n{path}", "bold")
        front = _plain(action.note.front if action.note else next((c.old for c in action.fields.values()), ""))
        where = f" line {action.line}" if action.line else ""
        known = f" (id {action.id})" if action.id else ""
        screen.line(f"  {' + '.join(DONE[word] for word in action.words)}{where}: {front}{known}", _STYLES[action.kind])
        if action.why:
            screen.line(f"      {action.why}")
        changes = {} if action.kind in ("add", "delete") else dict(action.fields)
        for name, change in (("tags", action.tags), ("deck", action.deck)):
            if change is not None and action.kind != "add":
                changes[name] = change
        for name, change in changes.items():
            marks = {"same": "{}", "old": "[-{}-]", "new": "{{+{}+}}"}
            text = "".join(marks[p.kind].format(p.text) for p in shortened(pieces(change.old, change.new)))
            screen.line(f"      {name}: {' '.join(text.split())}")
    if len(made.actions) > MOST_NOTES:
        screen.line(f"\n  … and {len(made.actions) - MOST_NOTES:,} more notes; --out and --html show all.")
    _show_kept(screen, made)
    _show_orphans(screen, made)
    _show_problems(screen, made.problems)
    screen.line(f"\n{_summary(made) or 'Nothing to do'}.", "bold")


_STYLES = {"add": "green", "change": "", "link": "", "delete": "red"}


def _show_kept(screen: Screen, made: Plan) -> None:
    if not made.kept:
        return
    screen.line()
    ordered = sorted(made.kept, key=lambda kept: not kept.difference.conflict)
    for kept in ordered[:MOST_LINES]:
        difference = kept.difference
        if difference.conflict:
            text = f"Conflict: {kept.path}:{kept.line}: {difference.what}: {difference.why}. Anki's value stays."
        else:
            text = f"Kept: {kept.path}:{kept.line}: {difference.what}: {difference.why}."
        screen.line(text, "yellow" if difference.conflict else "")
    if len(ordered) > MOST_LINES:
        screen.line(f"… and {len(ordered) - MOST_LINES:,} more.")
    if made.conflicts:
        screen.line("To end conflicts: --prefer vault, or --prefer anki. --html shows both sides.")


def _show_orphans(screen: Screen, made: Plan) -> None:
    if not made.orphans:
        return
    screen.line(
        f"\n{len(made.orphans):,} notes in Anki whose card is in the vault no longer stay (--prune deletes them):"
    )
    for orphan in made.orphans[:MOST_LINES]:
        screen.line(f"  {orphan.id}, from {orphan.path}: {_plain(orphan.front)}")


def _show_problems(screen: Screen, problems: Sequence[Problem]) -> None:
    for problem in problems[:MOST_LINES]:
        screen.line(f"Not synced: {problem.path}:{problem.line}: {problem.text}", "red")
    if len(problems) > MOST_LINES:
        screen.line(f"… and {len(problems) - MOST_LINES:,} more.", "red")


def _plain(field: str) -> str:
    """A field without its tags, short."""
    import html
    import re

    text = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", field)).split())
    return text if len(text) <= 60 else f"{text[:57]}…"


def _ids(count: int) -> str:
    return "id" if count == 1 else "ids"
