"""What a place for cards must be able to do: a collection file, a running Anki, a package."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ._cards import AnkiNote, DesiredNote, Medium, NoteType


@dataclass(frozen=True, slots=True)
class NewNote:
    """A note to add, under this id and GUID."""

    id: int
    guid: str
    note: DesiredNote


@dataclass(frozen=True, slots=True)
class Update:
    """A note to change; what is None stays as it is, and so do fields that are not named."""

    id: int
    fields: Mapping[str, str]
    tags: tuple[str, ...] | None = None
    deck: str | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """All that one sync does to a target."""

    add: Sequence[NewNote] = ()
    update: Sequence[Update] = ()
    delete: Sequence[int] = ()
    media: Sequence[Medium] = ()


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of it: new notes by the id that was intended for them, and what did not come out as asked."""

    ids: Mapping[int, int]
    problems: Mapping[int, str]


class Backend(Protocol):
    """A place for cards.

    `name` stands for it in the state, so it must be the same at every sync; `label` is for people.
    """

    name: str
    label: str

    def note_types(self) -> Mapping[str, NoteType]:
        """Return the note types that are there."""
        ...

    def stamp(self) -> str | None:
        """Return a text that changes whenever a note does, or None where there is no such thing."""
        ...

    def read(self, ids: Collection[int], guids: Mapping[str, int]) -> list[AnkiNote]:
        """Return the notes with one of these ids or GUIDs, and, where that is cheap, all that this library made."""
        ...

    def used_ids(self) -> Collection[int]:
        """Return ids that new notes must not have, as far as they are known."""
        ...

    def apply(self, changes: Changes) -> Applied:
        """Make the changes, read them back and compare."""
        ...

    def finish(self, ids: Collection[int]) -> None:
        """Hear that the state knows all that was done, and that the files hold the ids of these new notes."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...
