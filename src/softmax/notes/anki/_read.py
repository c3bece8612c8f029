"""The cards of a vault: of files that have changed since they were rendered they are made anew, of others kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from .._settings import Settings
from ..reading import read_note, read_vault
from ..reading._vault import Library, files_below
from ._cards import Desired, Problem
from ._kept_cards import open_kept_cards
from ._plan import in_scope
from ._vault import FileCards, cards_of, desired_from, ids_in, read_bytes, stamp_of, surroundings, vault_marks

_MANY = 500  # files read at a time

Progress = Callable[[str, float | None], None]


def silent(what: str, share: float | None) -> None:
    """Show no progress."""


class Notes:
    """Notes and folders of one vault.

    Attributes
    ----------
    scope
        The notes and folders by their path from the root; "" is all of it.
    marks
        Every file of the vault, and what changes when it does. Empty before `look`.
    """

    def __init__(self, root: Path, given: Sequence[Path], settings: Settings) -> None:
        self.root, self.settings = root, settings
        names = sorted(path.resolve().relative_to(root).as_posix() for path in given)
        self.scope = tuple("" if name == "." else name for name in names)
        self.marks: dict[str, str] = {}
        self._around = ""

    def look(self) -> None:
        """Look at every file of the vault."""
        self.marks = vault_marks(self.root, files_below(self.root, deep=True))
        self._around = surroundings(self.marks, self.settings)

    def stamp(self) -> str:
        """Return a hash of all that the cards are made from."""
        return stamp_of(self.marks, self._around)

    def desired(self, progress: Progress) -> Desired:
        """Return the cards of the notes; only what has changed since it was rendered is read."""
        asked = [path for path in self.marks if path.lower().endswith(".md") and in_scope(path, self.scope)]
        with open_kept_cards(self.root, self._around) as cache:
            kept = cache.valid(self.marks)
            stale = [path for path in asked if path not in kept]
            made = self._render(stale, progress)
            cache.keep(made, self.marks)
        files = {path: made.get(path) or kept[path] for path in asked if path in made or path in kept}
        others = [path for path in self.marks if path.lower().endswith(".md") and path not in files]
        return desired_from(files, {number for path in others for number in ids_in(read_bytes(self.root / path))})

    def _render(self, paths: Sequence[str], progress: Progress) -> dict[str, FileCards]:
        """Read files and render their cards, some hundred at a time: a large vault does not fit into memory at once."""
        made: dict[str, FileCards] = {}
        if not paths:
            return made
        whole = read_vault([self.root / paths[0]], root=self.root, settings=self.settings)
        for start in range(0, len(paths), _MANY):
            progress("reading notes and rendering cards", start / len(paths))
            notes = {}
            for path in paths[start : start + _MANY]:
                try:
                    notes[path] = read_note(path, (self.root / path).read_bytes(), self.settings)
                except OSError as error:
                    text = f"This file cannot be read: {error.strerror or error}. See who may read it."
                    made[path] = FileCards("", (), (), (Problem(path, 1, text),), (), ())
            library = Library(self.root, whole.library, self.settings, notes)
            vault = replace(whole, notes=notes, library=library)
            made |= {path: cards_of(note, vault) for path, note in notes.items()}
        return made
