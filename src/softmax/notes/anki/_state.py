"""What a vault remembers of its syncs: ``.softmax/sync.sqlite`` in it, written in transactions, and a lock.

It may be lost: notes with an id are found again by it, and what both sides hold is compared anew. It keeps

- `identity`: id and GUID of every note that was ever brought to Anki, with what it showed and where it stood. An id is
  written here before Anki hears of the note, so that a sync that was killed finds its notes again;
- `synced`: for each target what was left there (`Base`), and what an interrupted sync was about to leave;
- `kept`: the cards as they were read, for a vault whose files have not changed.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..._errors import NotesError
from ._merge import Base
from ._steps import step

FOLDER = ".softmax"
FILE = "sync.sqlite"
_VERSION = 1
_TABLES = """
create table identity (id integer primary key, guid text not null, path text not null, front text not null,
    content text not null, written integer not null);
create table synced (target text not null, id integer not null, base text, intent text, primary key (target, id))
    without rowid;
create table kept (name text primary key, stamp text not null, value blob not null);
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """A note that was brought to Anki, or was about to be: `front` and `content` are hashes of what it showed.

    `written` says that its id has been seen in its file.
    """

    id: int
    guid: str
    path: str
    front: str
    content: str
    written: bool


class State:
    """The memory of a vault. Open it with `open_state`, to write with the lock held."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    def identities(self) -> list[Identity]:
        """Return every note that the vault has brought to Anki."""
        rows = self._db.execute("select id, guid, path, front, content, written from identity order by id")
        return [
            Identity(note, guid, path, front, content, bool(seen)) for note, guid, path, front, content, seen in rows
        ]

    def bases(self, target: str) -> dict[int, tuple[Base | None, Base | None]]:
        """Return for each note what the last sync left in the target, and what an interrupted one intended."""
        rows = self._db.execute("select id, base, intent from synced where target = ?", (target,))
        return {note: (_base(base), _base(intent)) for note, base, intent in rows}

    def intend(self, target: str, notes: Iterable[tuple[Identity, Base]]) -> None:
        """Note what is about to be written to a target; it lasts from here on, whatever happens."""
        step("state: intend")
        with self._db:
            for identity, base in notes:
                self._remember(identity)
                self._db.execute(
                    "insert into synced (target, id, intent) values (?, ?, ?) "
                    "on conflict (target, id) do update set intent = excluded.intent",
                    (target, identity.id, json.dumps(base.as_json())),
                )
            step("state: intend, before the end of the transaction")
        step("state: intended")

    def settle(self, target: str, notes: Iterable[tuple[Identity, Base]], gone: Iterable[int] = ()) -> None:
        """Note what has been written to a target, and which notes are there no longer."""
        step("state: settle")
        with self._db:
            for identity, base in notes:
                self._remember(identity)
                self._db.execute(
                    "insert or replace into synced (target, id, base, intent) values (?, ?, ?, null)",
                    (target, identity.id, json.dumps(base.as_json())),
                )
            for note in gone:
                self._db.execute("delete from synced where target = ? and id = ?", (target, note))
                self._db.execute(
                    "delete from identity where id = ?1 and not exists (select 1 from synced where id = ?1)",
                    (note,),
                )
            step("state: settle, before the end of the transaction")
        step("state: settled")

    def rename(self, old: int, new: Identity) -> None:
        """Give a note the id that Anki chose for it instead of the one that was intended."""
        with self._db:
            self._db.execute("delete from identity where id = ?", (old,))
            self._remember(new)
            self._db.execute("update or replace synced set id = ? where id = ?", (new.id, old))

    def reserve(self, identities: Iterable[Identity]) -> None:
        """Remember notes without a target: those of a package."""
        with self._db:
            for identity in identities:
                self._remember(identity)

    def kept(self, name: str, stamp: str) -> Any:
        """Return what was kept under a name, if its stamp is still this one; otherwise None."""
        row = self._db.execute("select value from kept where name = ? and stamp = ?", (name, stamp)).fetchone()
        if row is None:
            return None
        try:
            return json.loads(zlib.decompress(row[0]))
        except (zlib.error, ValueError):
            return None

    def keep(self, name: str, stamp: str, value: Any) -> None:
        """Keep a value of JSON under a name, in place of what was there."""
        data = zlib.compress(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"), 1)
        with self._db:
            self._db.execute("insert or replace into kept values (?, ?, ?)", (name, stamp, data))

    def _remember(self, identity: Identity) -> None:
        self._db.execute(
            "insert or replace into identity values (?, ?, ?, ?, ?, ?)",
            (identity.id, identity.guid, identity.path, identity.front, identity.content, identity.written),
        )


def _base(text: str | None) -> Base | None:
    return None if text is None else Base.from_json(json.loads(text))


@contextmanager
def open_state(root: Path, *, write: bool) -> Iterator[State]:
    """Open the memory of a vault; for reading, a vault without one has an empty one that is kept nowhere.

    Raises
    ------
    NotesError
        If another sync of the vault is at work, or the file is damaged or of a newer version.
    """
    folder = root / FOLDER
    if not write and not (folder / FILE).is_file():
        with _database(":memory:", folder) as database:
            yield State(database)
        return
    if not write:
        uri = f"{(folder / FILE).resolve().as_uri()}?mode=ro"
        with _database(uri, folder) as database:
            yield State(database)
        return
    try:
        folder.mkdir(exist_ok=True)
        ignored = folder / ".gitignore"
        if not ignored.exists():
            ignored.write_text("# What softmax remembers of its syncs is of this machine alone.\nsync.*\n.gitignore\n")
    except OSError as error:
        raise NotesError(
            f"cannot write to {folder}: {error.strerror}. The record of what was synced is kept there; make the folder "
            "writable, or free space on the disk."
        ) from None
    with _lock(folder / "sync.lock"), _database(str(folder / FILE), folder) as database:
        yield State(database)


@contextmanager
def _database(place: str, folder: Path) -> Iterator[sqlite3.Connection]:
    try:
        database = sqlite3.connect(place, uri=place.startswith("file:"))
    except sqlite3.Error as error:
        raise NotesError(f"cannot open {folder / FILE}: {error}. Make the file readable, or delete it.") from None
    try:
        version = database.execute("pragma user_version").fetchone()[0]
        if version > _VERSION:
            raise NotesError(
                f"{folder / FILE} was written by a newer softmax (version {version} of the file). Update softmax."
            )
        if version < _VERSION:
            database.executescript(f"begin; {_TABLES} pragma user_version = {_VERSION}; commit;")
        yield database
    except sqlite3.DatabaseError as error:
        if "disk" in str(error) and "malformed" not in str(error):
            raise NotesError(
                f"cannot write {folder / FILE}: {error}. Free space on the disk and run the same command again; "
                "nothing is lost."
            ) from error
        raise NotesError(
            f"{folder / FILE} cannot be used: {error}. Move it away and run the same command again: notes are found by "
            "their ids, and edits made in Anki since the last sync are then told as conflicts."
        ) from error
    finally:
        database.close()


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the vault for one sync; the system lets go of it whenever the process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            _take(descriptor)
        except OSError:
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip("\0 \n") or "unknown"
            raise NotesError(
                f"another sync of this vault is at work (process {holder}). Wait until it has ended, and try again."
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> None:
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # beyond the number, which others shall be able to read
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)

else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
