"""A vault beside a collection, and the commands between them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from softmax.notes.anki import Plan, Target, plan_vault, sync_vault
from softmax.notes.anki._apply import Outcome
from softmax.notes.anki._backend import Backend
from softmax.notes.anki._cards import AnkiNote
from softmax.notes.anki._collection import AnkiCollection


class World:
    """A folder with a vault and a collection; `backend` opens another target than the collection."""

    def __init__(self, place: Path, backend: Callable[[], Backend] | None = None) -> None:
        self.place = place
        self.vault = place / "vault"
        self.collection = place / "cards.anki2"
        self.vault.mkdir(parents=True, exist_ok=True)
        self._backend = backend
        self._after: Callable[[Any], None] | None = None

    def names(self) -> list[str]:
        return sorted(path.relative_to(self.vault).as_posix() for path in self.vault.rglob("*.md"))

    def read(self, name: str) -> str:
        return (self.vault / name).read_bytes().decode()

    def write(self, name: str, text: str) -> None:
        path = self.vault / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())

    def forget(self) -> None:
        """Lose the state."""
        shutil.rmtree(self.vault / ".softmax")

    def open(self, root: Path, settings: Any, *, write: bool) -> Backend:
        """Open the target, as `Target` does."""
        if self._backend is None:
            backend = Target(self.collection).open(root, settings, write=write)
        else:
            backend = self._backend()
        if self._after is not None:
            after, close = self._after, backend.close
            backend.close = lambda: (after(backend), close())
        return backend

    def plan(self, **options: Any) -> Plan:
        """Make a plan, as `softmax notes plan` does."""
        return plan_vault([self.vault], self, **options)

    def sync(
        self,
        *,
        between: Callable[[], None] | None = None,
        after: Callable[[Any], None] | None = None,
        **options: Any,
    ) -> tuple[Plan, Outcome]:
        """Plan and apply; `between` is called between the two, `after` with the back-end at the end."""

        def agree(_: Plan) -> bool:
            if between is not None:
                between()
            return True

        self._after = after
        outcome = sync_vault([self.vault], self, agree=agree, **options)
        self._after = None
        return outcome.plan, outcome

    def notes(self) -> list[AnkiNote]:
        """All notes of the collection."""
        collection = AnkiCollection(self.collection, self.vault)
        try:
            return collection.read(collection.used_ids(), {})
        finally:
            collection.close()
