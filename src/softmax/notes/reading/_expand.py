"""Transclusion: ``![[note]]``, ``![[note#heading]]``, ``![[note#^block]]``, ``![[#heading]]`` become what they show."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .._model import Entry, NoteFile, Span, Vault
from ._dollars import line_before
from ._sections import find_part, shown_text
from ._tokens import tokenize

EMBED = re.compile(r"!\[\[(?P<target>[^\[\]|#\n]*)(?:#(?P<part>[^\[\]|\n]*))?(?:\|(?P<alias>[^\[\]\n]*))?\]\]")
_OWN_LINK = re.compile(r"(?<!\\)\[\[#(?P<part>[^\[\]|\n]*)(?P<alias>\|[^\[\]\n]*)?\]\]")
_MARKERS = re.compile(r"(?:[-*+]|[0-9]{1,9}[.)])(?=[ \t])")
_LINE_REST = re.compile(r"[ \t]*+(?:\n|\Z)")
_DEEPEST = 10
_LONGEST = 1_000_000  # characters of one field


class Part(NamedTuple):
    """Characters `start` to `end` of an expanded text, and where in the vault they come from."""

    start: int
    end: int
    path: str
    span: Span


class Trouble(NamedTuple):
    """An embed that was left as it is, and why; `rule` is that of the message."""

    rule: str
    embed: str
    text: str


@dataclass(frozen=True, slots=True)
class Expansion:
    """A text with its embeds expanded.

    Attributes
    ----------
    markdown
        The text.
    parts
        The embedded pieces in order; what lies between them stands in the card itself.
    shows
        Every note that is shown, directly or through another.
    troubles
        What could not be expanded.
    """

    markdown: str
    parts: tuple[Part, ...]
    shows: frozenset[str]
    troubles: tuple[Trouble, ...]


def expand(text: str, path: str, vault: Vault) -> Expansion:
    """Expand the embeds in a Markdown text that stands in the note `path`.

    An embed of a note that shows itself, directly or through others, more than ten deep, or beyond a million characters
    stays as it is, and so does one that leads nowhere; embeds of images and sounds are left to the renderer.
    """
    if "![[" not in text:
        return Expansion(text, (), frozenset(), ())
    work = _Expander(vault)
    markdown, parts = work.expand(text, path, ())
    return Expansion(markdown, tuple(parts), frozenset(work.shows), tuple(work.troubles))


class _Expander:
    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self.shows: set[str] = set()
        self.troubles: list[Trouble] = []
        self.length = 0
        self._shown: dict[tuple[str, Span], str] = {}

    def expand(self, text: str, path: str, above: Sequence[tuple[str, Span]]) -> tuple[str, list[Part]]:
        pieces: list[str] = []
        parts: list[Part] = []
        at = length = 0
        for match in embeds_in(text):
            found = self._look_up(match, path, above)
            if found is None:
                continue
            note, span = found
            inner, _ = self.expand(self._text(note, span), note.path, [*above, (note.path, span)])
            before, piece, after = _fitted(text, match, inner)
            pieces += [text[at : match.start()], before]
            length += match.start() - at + len(before)
            parts.append(Part(length, length + len(piece), note.path, span))
            pieces += [piece, after]
            length += len(piece) + len(after)
            at = match.end()
        pieces.append(text[at:])
        return "".join(pieces), parts

    def _text(self, note: NoteFile, span: Span) -> str:
        """Return what a part of a note shows, with links into the note itself as another note writes them."""
        key = note.path, span
        if key not in self._shown:
            text = shown_text(note, span, self.vault.settings)
            self._shown[key] = _OWN_LINK.sub(lambda own: _named(own, note.name), text)
        return self._shown[key]

    def _look_up(
        self, match: re.Match[str], path: str, above: Sequence[tuple[str, Span]]
    ) -> tuple[NoteFile, Span] | None:
        """Return what an embed shows, or None where it stays as it is."""
        target = self.vault.links.resolve(match["target"], path)
        if target is None:
            self._trouble("embed-nowhere", match, f"There is no {match['target'].strip()!r} in this vault.")
            return None
        note = self.vault.library.get(target)
        if note is None:
            return None
        self.shows.add(target)
        span = find_part(note, match["part"] or "")
        if span is None:
            self._trouble("embed-nowhere", match, f"There is no {match['part']!r} in {target}.")
        elif any(other == target and span.start <= inner.start and inner.end <= span.end for other, inner in above):
            self._trouble("embed-cycle", match, "This shows itself.")
        elif len(above) >= _DEEPEST:
            self._trouble("embed-depth", match, f"Embeds go deeper than {_DEEPEST} notes here.")
        elif self.length + span.end - span.start > _LONGEST:
            self._trouble("embed-length", match, f"Embeds show more than {_LONGEST:,} characters.")
        else:
            self.length += span.end - span.start
            return note, span
        return None

    def _trouble(self, rule: str, match: re.Match[str], text: str) -> None:
        self.troubles.append(Trouble(rule, match[0], text))


def embeds_in(text: str) -> Iterator[re.Match[str]]:
    """Give the embeds in the prose of a text."""
    at = 0
    for segment in tokenize(text):
        if segment.kind == "prose":
            yield from EMBED.finditer(text, max(at, segment.start), segment.end)


def _named(match: re.Match[str], name: str) -> str:
    """Return a link into its own note as it is written in another note."""
    alias = match["alias"] or f"|{match['part'].rpartition('#')[2].lstrip('^')}"
    return f"[[{name}#{match['part']}{alias}]]"


def _fitted(text: str, match: re.Match[str], inner: str) -> tuple[str, str, str]:
    """Return the newlines before, the embedded text indented as its place asks, and the newlines after."""
    lead = line_before(text, match.start())
    alone = lead is not None and not _MARKERS.sub("", lead).strip(" \t>")
    rest = _LINE_REST.match(text, match.end())
    if lead is None or not alone or rest is None:
        return ("", inner, "") if "\n" not in inner else ("\n\n", inner, "\n\n")
    indent = _MARKERS.sub(lambda marker: " " * len(marker[0]), lead)
    piece = inner.replace("\n", f"\n{indent}")
    line = match.start() - len(lead)
    above = text[text.rfind("\n", 0, max(0, line - 1)) + 1 : line]
    before = "\n" if not lead and above.strip() else ""
    return before, piece, "\n" if not lead and text[rest.end() : rest.end() + 1] not in ("", "\n") else ""


def shows(entry: Entry, vault: Vault) -> frozenset[str]:
    """Return the paths of the notes that a card shows besides its own text, directly or through others."""
    found: set[str] = set()
    for source in (*entry.fields.values(), *entry.frozen.values()):
        found |= expand(source, entry.place.path, vault).shows
    return frozenset(found)


def dependents(vault: Vault) -> dict[str, tuple[Entry, ...]]:
    """Return for each note the cards, of the notes that were asked for, that change when it does."""
    found: dict[str, list[Entry]] = {}
    for note in vault.notes.values():
        for entry in note.entries:
            for path in sorted({note.path, *shows(entry, vault)}):
                found.setdefault(path, []).append(entry)
    return {path: tuple(entries) for path, entries in sorted(found.items())}
