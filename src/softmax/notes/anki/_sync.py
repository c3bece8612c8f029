"""From paths to a plan, a sync or a package: what the commands call."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..._errors import NotesError
from ..._files import replace_file
from .._settings import STOCK_TYPES, Settings, read_settings
from ..reading._vault import find_root
from ._anki_package import build_package
from ._apply import Outcome, apply_plan
from ._backend import Backend, NewNote
from ._cards import Desired, DesiredNote, NoteType, Problem, guid_of
from ._collection import AbsentCollection, AnkiCollection
from ._connect import AnkiConnect
from ._identity import identity_of, new_ids, remembered
from ._merge import Difference, Prefer
from ._plan import Kept, Orphan, Plan, make_plan, unfit
from ._read import Notes, Progress, silent
from ._state import State, open_state
from ._vault import VaultEditor
from ._writeback import Edit, check_writable, write_edits


@dataclass(frozen=True, slots=True)
class Target:
    """Where cards go: a collection file, or a running Anki at a URL; by default a collection beside the vault."""

    collection: Path | None = None
    anki_connect: str | None = None
    key: str | None = None

    def open(self, root: Path, settings: Settings, *, write: bool) -> Backend:
        """Open it; for reading, a collection that does not exist is not made."""
        if self.anki_connect is not None:
            return AnkiConnect(self.anki_connect, key=self.key)
        path = self.collection or root.parent / f"{root.name}.anki2"
        if path.suffix != ".anki2":
            raise NotesError(f"a collection is a file that ends with .anki2; got {path}.")
        if not write and not path.exists():
            return AbsentCollection(path, root, _own_types(settings))
        return AnkiCollection(path, root, _own_types(settings))


def plan_vault(
    paths: Sequence[str | os.PathLike[str]],
    target: Target,
    *,
    prefer: Prefer = "",
    prune: bool = False,
    progress: Progress = silent,
) -> Plan:
    """Return what a sync would do. Nothing is written, in the vault nor in Anki.

    Parameters
    ----------
    paths
        Notes and folders of one vault.
    prefer
        Whose value a conflict ends with: "vault", "anki", or "", which leaves Anki's and tells it.
    prune
        Delete notes whose card is in the vault no longer.
    """
    with _opened(paths, target, write=False) as work:
        return work.plan(prefer, prune, progress)


def sync_vault(
    paths: Sequence[str | os.PathLike[str]],
    target: Target,
    *,
    agree: Callable[[Plan], bool] = lambda plan: True,
    expected: str | None = None,
    prefer: Prefer = "",
    prune: bool = False,
    progress: Progress = silent,
) -> Outcome | None:
    """Plan, ask, and do what was planned.

    Parameters
    ----------
    agree
        Asked with the plan if there is something to do; where it says no, nothing is done and None returned.
    expected
        The digest of a plan that was made before; another one is refused.

    Raises
    ------
    NotesError
        If it cannot be done; the message says what was done and what to do.
    """
    with _opened(paths, target, write=True) as work:
        plan = work.plan(prefer, prune, progress)
        if plan.actions and not agree(plan):
            return None
        outcome = apply_plan(plan, work.state, work.backend, work.editor, expected=expected, progress=progress)
        if not outcome.problems:
            work.note_idle(outcome, prefer, prune)
        return outcome


@dataclass(frozen=True, slots=True)
class Exported:
    """What went into a package: how many notes, how many ids were written into files, what was left out and why."""

    notes: int
    ids: int
    problems: tuple[Problem, ...]


def export_vault(
    paths: Sequence[str | os.PathLike[str]],
    package: Path,
    *,
    write_ids: bool = False,
    progress: Progress = silent,
) -> Exported:
    """Write the cards of a vault into a package (``.apkg``).

    A note without an id gets one, which the state keeps, so that the next package holds the same note; `write_ids` puts
    it into the file too.
    """
    if package.suffix != ".apkg":
        raise NotesError(f"a package of Anki is a file that ends with .apkg; got {package}.")
    root, _ = find_root(_checked(paths))
    settings = read_settings(root)
    with open_state(root, write=True) as state:
        notes_read = Notes(root, _checked(paths), settings)
        notes_read.look()
        desired = notes_read.desired(progress)
        identities = state.identities()
        guids = {identity.id: identity.guid for identity in identities}
        notes = remembered(desired.notes, identities, desired.ids)
        used = desired.ids | guids.keys()
        fresh = iter(new_ids(sum(note.id is None for note in notes), used))
        notes = [replace(note, id=next(fresh)) if note.id is None else note for note in notes]
        new = [NewNote(n.id, guids.get(n.id, guid_of(n.id)), n) for n in notes if n.id is not None]
        kinds = {name: NoteType(fields, "cloze" in name.lower()) for name, fields in settings.note_types.items()}
        problems = [*desired.problems]
        fit = []
        for item in new:
            if why := unfit(item.note, None, kinds):
                problems.append(Problem(item.note.path, item.note.line, why))
            else:
                fit.append(item)
        progress("writing the package", None)
        nameless = {(note.path, note.offset) for note in desired.notes if note.id is None}
        state.reserve(
            identity_of(item.note, item.id, item.guid, written=(item.note.path, item.note.offset) not in nameless)
            for item in fit
        )
        _write_package(package, fit, settings)
        ids = 0
        if write_ids:
            edits = _edits([item for item in fit if (item.note.path, item.note.offset) in nameless], desired)
            check_writable(root, [edit.path for edit in edits])
            written = write_edits(VaultEditor(root, settings), edits)
            ids = sum(len(edit.ids) for edit in edits) - len(written.unplaced)
            problems += [Problem(path, 1, f"its ids could not be written: {why}") for path, why in written.errors]
        return Exported(len(fit), ids, tuple(problems))


def _write_package(package: Path, notes: Sequence[NewNote], settings: Settings) -> None:
    """Write a package whole or not at all."""
    media = [medium for new in notes for medium in new.note.media]
    used = {new.note.type for new in notes}
    own = {name: fields for name, fields in _own_types(settings).items() if name in used}
    with tempfile.TemporaryDirectory(prefix="softmax-") as folder:
        made = Path(folder) / "deck.apkg"
        build_package(made, notes, media, own_types=own)
        try:
            replace_file(package, made.read_bytes())
        except OSError as error:
            raise NotesError(f"cannot write {package}: {error.strerror or error}. Name another file.") from None


def _edits(notes: Iterable[NewNote], desired: Desired) -> list[Edit]:
    by_path: dict[str, list[tuple[DesiredNote, int]]] = defaultdict(list)
    for new in notes:
        by_path[new.note.path].append((new.note, new.id))
    return [Edit(path, desired.sources[path], tuple(pairs), ()) for path, pairs in sorted(by_path.items())]


def _own_types(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Return the note types of a vault that Anki does not have from the start."""
    return {name: fields for name, fields in settings.note_types.items() if name not in STOCK_TYPES}


def _checked(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Return the paths, which must exist for a root to be found."""
    given = [Path(path) for path in paths]
    if not given:
        raise NotesError("no vault was given. Name a folder of notes, or notes.")
    for path in given:
        if not path.exists():
            raise NotesError(f"there is no file or folder {path}.")
    return given


@contextmanager
def _opened(paths: Sequence[str | os.PathLike[str]], target: Target, *, write: bool) -> Iterator[_Work]:
    given = _checked(paths)
    root, _ = find_root(given)
    settings = read_settings(root)
    with open_state(root, write=write) as state:
        backend = target.open(root, settings, write=write)
        try:
            kinds = backend.note_types()
            settings = settings.with_note_types({name: kind.fields for name, kind in kinds.items()})
            yield _Work(Notes(root, given, settings), state, backend)
        finally:
            backend.close()


class _Work:
    """A vault and a target, opened."""

    def __init__(self, notes: Notes, state: State, backend: Backend) -> None:
        self.notes, self.state, self.backend = notes, state, backend
        self.editor = VaultEditor(notes.root, notes.settings)

    def plan(self, prefer: Prefer, prune: bool, progress: Progress) -> Plan:
        """Make the plan; where neither the vault nor the target has changed since there was nothing to do, at once."""
        progress("reading the notes", None)
        self.notes.look()
        told = self.state.kept(self._name("idle"), self._idle_stamp(prefer, prune))
        if told is not None:
            return _idle_plan(told, self.backend)
        desired = self.notes.desired(progress)
        progress("comparing with Anki", None)
        return make_plan(desired, self.state, self.backend, prefer=prefer, prune=prune, scope=self.notes.scope)

    def note_idle(self, outcome: Outcome, prefer: Prefer, prune: bool) -> None:
        """Remember that there is nothing to do as long as nothing changes, and what there is to tell."""
        # The files as they were read, and as they were written: what others did to them meanwhile shall be seen.
        self.notes.marks |= outcome.sources
        stamp = self._idle_stamp(prefer, prune)
        plan = outcome.plan
        if stamp:
            told = {
                "kept": [[*kept[:4], values_of(kept.difference)] for kept in plan.kept],
                "problems": plan.problems,
                "orphans": plan.orphans,
            }
            self.state.keep(self._name("idle"), stamp, told)

    def _name(self, what: str) -> str:
        return f"{what} {self.backend.name} {' '.join(self.notes.scope)}"

    def _idle_stamp(self, prefer: Prefer, prune: bool) -> str:
        target = self.backend.stamp()
        return "" if target is None else f"{self.notes.stamp()} {target} {prefer} {prune}"


def values_of(difference: Difference) -> list[Any]:
    """Return the values of a difference in order."""
    return [difference.what, difference.vault, difference.anki, difference.conflict, difference.why]


def _idle_plan(told: Mapping[str, Any], backend: Backend) -> Plan:
    kept = tuple(Kept(path, line, note, front, Difference(*values)) for path, line, note, front, values in told["kept"])
    problems = tuple(Problem(*values) for values in told["problems"])
    orphans = tuple(Orphan(*values) for values in told["orphans"])
    return Plan(backend.name, backend.label, (), kept, problems, orphans, (), {}, frozenset())
