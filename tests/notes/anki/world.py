"""A vault beside a collection, and the commands between them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from softmax.notes.anki._apply import Outcome, apply_plan
from softmax.notes.anki._backend import Backend
from softmax.notes.anki._cards import AnkiNote
from softmax.notes.anki._collection import AbsentCollection, AnkiCollection
from softmax.notes.anki._plan import Plan, make_plan
from softmax.notes.anki._state import open_state

from .toy import ToyEditor


class World:
    """A folder with a vault and a collection; `backend` opens another target than the collection."""

    def __init__(self, place: Path, backend: Callable[[], Backend] | None = None) -> None:
        self.place = place
        self.vault = place / "vault"
        self.collection = place / "cards.anki2"
        self.vault.mkdir(parents=True, exist_ok=True)
        self._backend = backend

    def backend(self) -> Backend:
        return AnkiCollection(self.collection, self.vault) if self._backend is None else self._backend()

    def names(self) -> list[str]:
        return sorted(path.relative_to(self.vault).as_posix() for path in self.vault.rglob("*.md"))

    def read(self, name: str) -> str:
        return (self.vault / name).read_bytes().decode()

    def write(self, name: str, text: str) -> None:
        path = self.vault / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())

    def desired(self):
        editor = ToyEditor(self.vault)
        return editor.desired(), editor

    def forget(self) -> None:
        """Lose the state."""
        shutil.rmtree(self.vault / ".softmax")

    def plan(self, **options: Any) -> Plan:
        """Make a plan, as `softmax notes plan` does: where there is no collection, none is made."""
        desired, _ = self.desired()
        absent = self._backend is None and not self.collection.exists()
        with open_state(self.vault, write=False) as state:
            backend = AbsentCollection(self.collection, self.vault) if absent else self.backend()
            try:
                return make_plan(desired, state, backend, **options)
            finally:
                backend.close()

    def sync(
        self,
        *,
        between: Callable[[], None] | None = None,
        after: Callable[[Any], None] | None = None,
        expected: str | None = None,
        **options: Any,
    ) -> tuple[Plan, Outcome]:
        """Plan and apply; `between` is called between the two, `after` with the back-end at the end."""
        with open_state(self.vault, write=True) as state:
            backend = self.backend()
            try:
                desired, editor = self.desired()
                plan = make_plan(desired, state, backend, **options)
                if between is not None:
                    between()
                outcome = apply_plan(plan, state, backend, editor, expected=expected)
                if after is not None:
                    after(backend)
                return plan, outcome
            finally:
                backend.close()

    def notes(self) -> list[AnkiNote]:
        """All notes of the collection."""
        collection = AnkiCollection(self.collection, self.vault)
        try:
            return collection.read(collection.used_ids(), {})
        finally:
            collection.close()
