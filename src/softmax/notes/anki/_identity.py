"""Which note of the vault is which note of Anki: by its id, then by its GUID, then by what the state remembers."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import replace

from ._cards import AnkiNote, DesiredNote, digest, guid_of
from ._state import Identity


def identity_of(note: DesiredNote, note_id: int, guid: str, *, written: bool) -> Identity:
    """Return what the state shall remember of a note."""
    return Identity(note_id, guid, note.path, digest(note.type, note.front), note.content, written)


def remembered(notes: Sequence[DesiredNote], known: Iterable[Identity], in_vault: Container[int]) -> list[DesiredNote]:
    """Give notes without an id the one that they had, or were about to get.

    An id whose line went missing is found by what its note shows, or, within its file, by what the front shows. A sync
    that was killed before it wrote ids left some that no file has; what stands without an id in that file takes them in
    order, if there are as many of either.
    """
    lost = [identity for identity in known if identity.id not in in_vault]
    if not lost or all(note.id is not None for note in notes):
        return list(notes)
    result = list(notes)
    free = {identity.id: identity for identity in lost}

    def match(key_of_note: Callable[[DesiredNote], object], key_of_identity: Callable[[Identity], object]) -> None:
        waiting = defaultdict(list)
        for identity in free.values():
            waiting[key_of_identity(identity)].append(identity)
        for i, note in enumerate(result):
            if note.id is None and waiting.get(key := key_of_note(note)):
                identity = waiting[key].pop(0)
                del free[identity.id]
                result[i] = replace(note, id=identity.id)

    match(lambda note: (note.path, note.content), lambda identity: (identity.path, identity.content))
    match(lambda note: note.content, lambda identity: identity.content)
    match(
        lambda note: (note.path, digest(note.type, note.front)),
        lambda identity: (identity.path, identity.front),
    )
    unwritten, nameless = defaultdict(list), defaultdict(list)
    for identity in free.values():
        if not identity.written:
            unwritten[identity.path].append(identity.id)
    for i, note in enumerate(result):
        if note.id is None:
            nameless[note.path].append(i)
    for path, ids in unwritten.items():
        if len(ids) == len(nameless[path]):
            for i, note_id in zip(nameless[path], sorted(ids), strict=True):
                result[i] = replace(result[i], id=note_id)
    return result


def adopted(notes: Sequence[DesiredNote], found: Iterable[AnkiNote], in_vault: Container[int]) -> list[DesiredNote]:
    """Give notes without an id that of a note in Anki that this library made and that shows exactly the same.

    For a vault whose state was lost before ids were written.
    """
    waiting = defaultdict(list)
    for held in found:
        if held.guid == guid_of(held.id) and held.id not in in_vault:
            waiting[held.type, tuple(held.fields.values())].append(held.id)
    result = []
    for note in notes:
        key = (note.type, tuple(note.fields.values()))
        if note.id is None and waiting.get(key):
            note = replace(note, id=waiting[key].pop(0))
        result.append(note)
    return result


def new_ids(count: int, used: Container[int], now: float | None = None) -> list[int]:
    """Return ids as Anki makes them, milliseconds since 1970, that nothing uses yet."""
    ids: list[int] = []
    candidate = int((time.time() if now is None else now) * 1000)
    while len(ids) < count:
        if candidate not in used:
            ids.append(candidate)
        candidate += 1
    return ids
