"""Repairs of a note as a whole: what the format's rules allow to repair without a question, and newlines on request."""

from __future__ import annotations

from .._model import Message, NoteFile
from .._settings import Settings
from ._edits import apply_edits
from ._file import read_note, repairs

_MOST_ROUNDS = 20


def format_note(
    note: NoteFile, settings: Settings | None = None, *, newlines: bool = False
) -> tuple[NoteFile, tuple[Message, ...]]:
    r"""Return a note with its repairs made, and the messages that are gone with them.

    Nothing that a card says changes, and no id is lost. `newlines` makes ``\n`` of ``\r\n`` and takes a byte order mark
    away, which the plugin needs to see the cards of a file.
    """
    new = note
    if newlines:
        new = read_note(note.path, new.text.replace("\r\n", "\n").encode("utf-8", "surrogateescape"), settings)
    for _ in range(_MOST_ROUNDS):
        edits = repairs(new, settings)
        if not edits:
            break
        new = read_note(note.path, new.encode(apply_edits(new.text, edits)), settings)
    left = [message.rule for message in new.messages]
    gone = []
    for message in note.messages:
        if message.rule in left:
            left.remove(message.rule)
        else:
            gone.append(message)
    return new, tuple(gone)
