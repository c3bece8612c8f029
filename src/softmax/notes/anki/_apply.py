"""Carrying out a plan: first the intent into the state, then Anki, then ids into the files, then the record of it all.

Whatever ends it in between, the same command again does the rest: the state knows the ids that were intended, Anki
knows them by GUID, and a file without its id is told from a card that is new.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ..._errors import NotesError
from ._backend import Applied, Backend, Changes, NewNote, Update
from ._cards import DesiredNote, Medium, Problem, guid_of
from ._identity import identity_of, new_ids
from ._plan import Action, Plan
from ._state import Identity, State
from ._steps import step
from ._writeback import Edit, Editor, check_unchanged, check_writable, sweep, write_edits

_UNPLACED = (
    "the card is in Anki with the id {}, but was edited in the meantime, so the id is not in the file yet. Run the "
    "same command again"
)
_REFUSED = (
    "its ids could not be written: {}. They are kept, and its cards are in Anki; when that is repaired, run the same "
    "command again"
)

Progress = Callable[[str, float | None], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a sync did.

    `ids` counts those written into files, `problems` tell what could not be done, `sources` are the hashes of the files
    that were written.
    """

    plan: Plan
    ids: int
    problems: tuple[Problem, ...]
    sources: Mapping[str, str]


def apply_plan(
    plan: Plan,
    state: State,
    backend: Backend,
    editor: Editor,
    *,
    expected: str | None = None,
    progress: Progress = lambda what, share: None,
) -> Outcome:
    """Do what a plan says.

    Parameters
    ----------
    expected
        The digest of the plan that a person has agreed to; another plan is refused.

    Raises
    ------
    NotesError
        If the plan is not the expected one, a file has changed or cannot be written, or the target refuses; the message
        says what was done and what to do.
    """
    if expected is not None and plan.digest != expected:
        raise NotesError(
            "the plan is stale: the vault or Anki has changed since it was made. Nothing was changed; make a new "
            "plan and look at it."
        )
    if plan.target != backend.name:
        raise NotesError(f"the plan is for {plan.label}, not for {backend.label}. Make a plan for that.")
    paths = {action.path for action in plan.actions if action.path in plan.sources}
    check_unchanged(editor.root, plan.sources, paths)
    check_writable(editor.root, {action.path for action in plan.actions if _edits(action)})
    sweep(editor.root, paths)
    works = _with_ids(plan, state, backend)
    progress("writing down what is to be done", None)
    for work in works:
        if work.was is not None:
            state.rename(work.was, _identity(work))
    state.intend(plan.target, [(_identity(work), work.base) for work in works if work.base is not None])
    progress(f"changing {plan.label}", None)
    changes = _changes(works)
    step("apply: before Anki")
    applied = backend.apply(changes) if _any(changes) else Applied({}, {})
    step("apply: after Anki")
    works, problems = _outcome(works, applied, state)
    failed = {id(work) for work in works if _key(work) in applied.problems}
    edits = _file_edits(works, plan)
    progress("writing ids into the notes", None)
    written = write_edits(editor, edits)
    problems += [Problem(path, 1, _REFUSED.format(why)) for path, why in written.errors]
    refused = {path for path, _ in written.errors}
    problems += [
        Problem(note.path, note.line, _UNPLACED.format(note_id))
        for note, note_id in written.unplaced
        if note.path not in refused
    ]
    unplaced = {note_id for _, note_id in written.unplaced}
    settled = [
        (replace(_identity(work), written=work.id not in unplaced), work.base)
        for work in works
        if work.base is not None and id(work) not in failed
    ]
    settled += [
        (identity_of(note, note.id, held.guid, written=True), base)
        for note, held, base in plan.quiet
        if note.id is not None
    ]
    gone = [work.id for work in works if work.kind == "delete" and work.id is not None]
    if settled or gone:
        state.settle(plan.target, settled, gone)
    backend.finish({identity.id for identity, _ in settled if identity.written})
    return Outcome(plan, sum(len(edit.ids) for edit in edits) - len(unplaced), tuple(problems), written.sources)


def _edits(action: Action) -> bool:
    return action.write_id or (action.kind == "delete" and action.line > 0)


def _any(changes: Changes) -> bool:
    return bool(changes.add or changes.update or changes.delete or changes.media)


def _with_ids(plan: Plan, state: State, backend: Backend) -> list[Action]:
    """Give new notes the ids that they shall have."""
    nameless = sum(action.id is None for action in plan.actions)
    if not nameless:
        return list(plan.actions)
    used = set(plan.ids) | {identity.id for identity in state.identities()} | set(backend.used_ids())
    ids = iter(new_ids(nameless, used))
    return [
        action if action.id is not None else replace(action, id=(new := next(ids)), guid=guid_of(new))
        for action in plan.actions
    ]


def _identity(action: Action) -> Identity:
    assert action.note is not None
    assert action.id is not None
    return identity_of(action.note, action.id, action.guid, written=not action.write_id)


def _changes(works: list[Action]) -> Changes:
    add, update, delete, media = [], [], [], list[Medium]()
    for work in works:
        if work.note is not None and (work.kind == "add" or work.fields):
            media += work.note.media
        if work.kind == "add" and work.note is not None and work.id is not None:
            add.append(NewNote(work.id, work.guid, work.note))
        elif work.kind == "change" and work.anki_id is not None:
            fields = {name: change.new for name, change in work.fields.items()}
            tags = None if work.tags is None else tuple(work.tags.new.split())
            update.append(Update(work.anki_id, fields, tags, None if work.deck is None else work.deck.new))
        elif work.kind == "delete" and work.anki_id is not None:
            delete.append(work.anki_id)
    return Changes(add, update, delete, media)


def _key(work: Action) -> int | None:
    """The id by which the target speaks of a note."""
    return work.id if work.kind == "add" else work.anki_id


def _outcome(works: list[Action], applied: Applied, state: State) -> tuple[list[Action], list[Problem]]:
    """Leave out new notes that Anki did not take, and take its id where it chose another than was intended."""
    done, problems = [], []
    for work in works:
        key = _key(work)
        if key is not None and key in applied.problems:
            text = f"{applied.problems[key]}. Run the same command again; if it stays, look at the note in Anki"
            problems.append(Problem(work.path, work.line, text))
        if work.kind == "add" and work.id is not None:
            given = applied.ids.get(work.id)
            if given is None:
                continue
            if given != work.id and work.write_id:
                renamed = replace(work, id=given)
                state.rename(work.id, _identity(renamed))
                work = renamed
        done.append(work)
    return done, problems


def _file_edits(works: list[Action], plan: Plan) -> list[Edit]:
    ids: dict[str, list[tuple[DesiredNote, int]]] = defaultdict(list)
    erased: dict[str, list[int]] = defaultdict(list)
    for work in works:
        if work.id is None or not _edits(work):
            continue
        if work.note is not None:
            ids[work.path].append((work.note, work.id))
        else:
            erased[work.path].append(work.id)
    return [Edit(path, plan.sources[path], tuple(ids[path]), tuple(erased[path])) for path in sorted({*ids, *erased})]
