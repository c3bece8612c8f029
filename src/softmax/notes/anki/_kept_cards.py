"""Cards as they were rendered, kept in the user's cache folder: of ten thousand files, one was edited since.

The cache may vanish at any time, and may not be writable; then everything is rendered.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ._cards import Deletion, DesiredNote, Medium, Problem
from ._vault import FileCards

_TABLE = "create table if not exists cards (path text primary key, around text, shows text, value text) without rowid"
_NAMES = ("path", "line", "offset", "type", "fields", "tags", "deck", "id", "source", "insert")


def cache_folder() -> Path:
    """Return where the system wants caches."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "softmax" / "notes"


class KeptCards:
    """The cards of one vault; `around` is what all of them depend on."""

    def __init__(self, database: sqlite3.Connection | None, around: str) -> None:
        self._db, self._around = database, around

    def valid(self, marks: Mapping[str, str]) -> dict[str, FileCards]:
        """Return the cards of every file that has not changed, nor anything that it shows; `marks` say so."""
        if self._db is None:
            return {}
        found = {}
        with suppress(sqlite3.Error, ValueError, TypeError, KeyError):
            rows = self._db.execute("select path, shows, value from cards where around = ?", (self._around,))
            for path, shows, value in rows:
                if all(marks.get(shown) == mark for shown, mark in json.loads(shows).items()):
                    found[path] = _from_json(json.loads(value))
        return found

    def keep(self, cards: Mapping[str, FileCards], marks: Mapping[str, str]) -> None:
        """Keep the cards of these files, in place of what was kept of them."""
        if self._db is None:
            return
        with suppress(sqlite3.Error), self._db:
            self._db.execute("delete from cards where around <> ?", (self._around,))
            for path, made in cards.items():
                if marks.get(path) == made.source:  # else it was edited while it was read
                    shows = {shown: marks.get(shown) for shown in (path, *made.shows)}
                    row = (path, self._around, json.dumps(shows), json.dumps(_as_json(made), ensure_ascii=False))
                    self._db.execute("insert or replace into cards values (?, ?, ?, ?)", row)


@contextmanager
def open_kept_cards(root: Path, around: str) -> Iterator[KeptCards]:
    """Open the cache of a vault, or nothing where there can be none."""
    database = None
    try:
        with suppress(OSError, sqlite3.Error, RuntimeError):
            folder = cache_folder()
            folder.mkdir(parents=True, exist_ok=True)
            name = hashlib.blake2b(str(root).encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
            database = sqlite3.connect(folder / f"{name}.sqlite", timeout=1.0)
            database.execute("pragma synchronous = off")  # what is lost is rendered again
            database.execute(_TABLE)
        yield KeptCards(database, around)
    finally:
        if database is not None:
            database.close()


def _as_json(cards: FileCards) -> list[Any]:
    notes = [[getattr(note, name) for name in _NAMES] for note in cards.notes]
    media = [[[medium.name, str(medium.path)] for medium in note.media] for note in cards.notes]
    return [cards.source, notes, media, cards.deletions, cards.problems, cards.ids, cards.shows]


def _from_json(value: list[Any]) -> FileCards:
    source, all_notes, all_media, deletions, problems, ids, shows = value
    notes = []
    for values, media in zip(all_notes, all_media, strict=True):
        known = dict(zip(_NAMES, values, strict=True))
        known["tags"] = tuple(known["tags"])
        known["insert"] = known["insert"] and tuple(known["insert"])
        notes.append(DesiredNote(**known, media=tuple(Medium(name, Path(path)) for name, path in media)))
    return FileCards(
        source,
        tuple(notes),
        tuple(Deletion(*deletion) for deletion in deletions),
        tuple(Problem(*problem) for problem in problems),
        tuple(ids),
        tuple(shows),
    )
