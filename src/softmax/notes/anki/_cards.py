r"""What shall be in Anki, what is there, and the form in which the two are compared.

Anki changes what it is given: text becomes NFC, ``\r\n`` becomes ``\n``, control characters go, tags are split at
spaces, sorted and kept once whatever their case. Everything here holds the form after that, or every note would look
changed.
"""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

CLOZE = re.compile(r"\{\{c\d+::")
_CONTROL = {code: None for code in (*range(32), 127) if chr(code) not in "\t\n"}
_NOT_IN_DECKS = {ord("\t"): None, ord("\n"): None}
_AROUND_DECKS = re.compile(r"^[\s:]+|[\s:]+$")
_INVISIBLE = re.compile(r"<!--.*?-->|</?(?:style|script)\b[^>]*>", re.DOTALL)
_IMAGE = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")
_SPACE = re.compile(r"\s+")


class NoteType(NamedTuple):
    """A note type of a collection: its fields in order, and whether its cards come from clozes."""

    fields: tuple[str, ...]
    cloze: bool


class Medium(NamedTuple):
    """A file that a card shows. Its name in Anki holds the hash of its content, so equal names are equal files."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class DesiredNote:
    """A note as the vault wants it: fields are HTML, tags and deck are Anki's; `id` is None until it has one.

    `path` and `line` say where its source stands; `offset` is the position in the text at which the source begins, and
    `source` a hash of what it says in Markdown. `insert` is the edit (start, end, text) that gives it an id.
    """

    path: str
    line: int
    offset: int
    type: str
    fields: Mapping[str, str]
    tags: tuple[str, ...]
    deck: str
    id: int | None = None
    media: tuple[Medium, ...] = ()
    source: str = ""
    insert: tuple[int, int, str] | None = None

    @property
    def front(self) -> str:
        """The first field, by which people know a note."""
        return next(iter(self.fields.values()), "")

    @property
    def content(self) -> str:
        """Hash of the type and the fields: equal for two notes that show the same."""
        return digest(self.type, *(part for pair in self.fields.items() for part in pair))


class Deletion(NamedTuple):
    """A note that the vault marks by DELETE."""

    path: str
    line: int
    id: int


@dataclass(frozen=True, slots=True)
class Desired:
    """All that a vault wants of Anki; `sources` are the bytes of each file, by their hash, as they were read."""

    notes: tuple[DesiredNote, ...]
    deletions: tuple[Deletion, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    ids: frozenset[int] = frozenset()  # every id that stands in the vault, that of a card with an error too


class Problem(NamedTuple):
    """Why a note cannot be brought to Anki, and what to do."""

    path: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class AnkiNote:
    """A note as a collection holds it; `deck` is None where its cards lie in several. `guid` "" means unknown."""

    id: int
    guid: str
    type: str
    fields: Mapping[str, str]
    tags: tuple[str, ...]
    deck: str | None


def digest(*parts: str) -> str:
    """Hash of texts; where one ends and the next begins counts."""
    joined = "\x1f".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(joined, digest_size=12).hexdigest()


def guid_of(note_id: int) -> str:
    """Return the GUID of a note that this library makes: the same in every collection and package."""
    return f"o2a:{note_id}"


def normal_text(text: str) -> str:
    """Return a field as Anki stores it."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").translate(_CONTROL))


def normal_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags as Anki stores them: split at spaces, each once whatever its case, sorted without regard to case."""
    split = [tag for given in tags for tag in normal_text(given).replace("\t", "").split()]
    kept: dict[str, str] = {}
    for tag in ("::".join(part or "blank" for part in tag.split("::")) for tag in split):
        kept.setdefault(tag.casefold(), tag)
    return tuple(kept[key] for key in sorted(kept))


def normal_deck(deck: str) -> str:
    """Return the name of a deck as Anki stores it: parts without spaces and colons around them, none empty."""
    parts = [_AROUND_DECKS.sub("", part.translate(_NOT_IN_DECKS)) for part in normal_text(deck).split("::")]
    return "::".join(part or "blank" for part in parts)


def visible(text: str) -> str:
    """Return what a field says, whatever tags it says it with.

    Two renderings of one Markdown text agree here though their HTML differs: that of the plugin and ours.
    """
    text = _IMAGE.sub(" \ufffc ", _INVISIBLE.sub("", text))
    return _SPACE.sub("", html.unescape(_TAG.sub(" ", text)))
