"""Cards and marks of one line: STARTI…ENDI, TARGET DECK, FILE TAGS, FROZEN, DELETE, and what looks like one of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from .._model import Severity, Span
from .._settings import Settings
from ._draft import (
    ID_ANYWHERE,
    ID_COMMENT,
    Draft,
    Found,
    as_id,
    cut,
    did_you_mean,
    source,
    split_tags,
    trimmed,
)
from ._edits import Edit

_BARE_ID = re.compile(r"(?:^|[ \t])ID: (?P<id>[0-9]+)[ \t]*$")


@dataclass(slots=True)
class Marks:
    """What the lines outside of blocks say about the file, and the cards that are in one line.

    `visible` says whether a position is neither in a block nor in code, a comment, HTML or a formula.
    """

    text: str
    settings: Settings
    visible: Callable[[int], bool]
    found: list[Found] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)
    deck: str | None = None
    tags: tuple[str, ...] | None = None
    frozen: dict[str, dict[str, str]] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)  # of all marks: no card of another style starts in one
    _known: dict[str, tuple[int, int]] = field(default_factory=dict)

    def read(self) -> None:
        """Find everything."""
        self._read_deck()
        self._read_tags()
        self._read_frozen()
        self._read_deletions()
        self._read_inline()

    def _say(
        self, rule: str, severity: Severity, span: Span, text: str, suggestion: str | None = None, *edits: Edit
    ) -> None:
        self.found.append(Found(rule, severity, span.start, span.end, text, suggestion, edits))

    def _lines_with(self, word: str) -> Iterator[int]:
        """Give where `word` starts a line that is visible."""
        at = 0 if self.text.startswith(word) else self._after_newline(word, 0)
        while at >= 0:
            if self.visible(at):
                yield at
            at = self._after_newline(word, at)

    def _after_newline(self, word: str, at: int) -> int:
        found = self.text.find(f"\n{word}", at)
        return found + 1 if found >= 0 else -1

    def _line_end(self, at: int) -> int:
        return self._next("\n", at)

    def _next(self, what: str, at: int) -> int:
        """Return where `what` stands next, or the end of the text; what was found is not looked for again."""
        start, found = self._known.get(what, (0, -1))
        if not start <= at <= found:
            found = self.text.find(what, at)
            found = len(self.text) if found < 0 else found
            self._known[what] = (at, found)
        return found

    def _values(self, word: str) -> Iterator[tuple[Span, Span]]:
        """Give (mark, value) of a line ``WORD: value`` or of ``WORD`` with its value in the next line."""
        for at in self._lines_with(word):
            end = self._line_end(at)
            rest = self.text[at + len(word) : end]
            if not rest.strip():
                if end == len(self.text):
                    continue
                value = Span(end + 1, self._line_end(end + 1))
            elif rest.startswith(":"):
                value = Span(at + len(word) + 1, end)
                if not rest.startswith(": "):
                    self._say(
                        "no-space-after-colon",
                        "warning",
                        Span(at, end),
                        f"The plugin reads {word} only with a space after the colon.",
                        f"Write '{word}: {rest[1:].strip()}'.",
                        Edit(at + len(word), at + len(word) + 1, ": "),
                    )
            else:
                continue
            if self.settings.keywords.begin_inline in self.text[value.start : value.end]:
                continue  # a card, and no value
            self.spans.append(Span(at, value.end))
            yield Span(at, at + len(word)), value

    def _read_deck(self) -> None:
        for mark, span in self._values(self.settings.keywords.deck):
            name = self.text[span.start : span.end]
            if self.deck is not None:
                self._say(
                    "second-deck", "warning", mark, "The first deck of a file counts; this one does not.", "Remove it."
                )
            elif not name.strip():
                self._say("no-deck", "warning", mark, "There is no name of a deck here.", "Write 'TARGET DECK: Name'.")
            else:
                self.deck = name.strip()
                if name.rstrip() != name:
                    self._say(
                        "space-after-deck",
                        "warning",
                        span,
                        "The plugin makes the space at the end part of the deck's name; here it is not.",
                        "Remove the space.",
                        Edit(span.start + len(name.rstrip()), span.end, ""),
                    )

    def _read_tags(self) -> None:
        for mark, span in self._values(self.settings.keywords.tags):
            words = self.text[span.start : span.end]
            if self.tags is not None:
                self._say(
                    "second-tags", "warning", mark, "The first tags of a file count; these do not.", "Join the lines."
                )
                continue
            self.tags = split_tags(words)
            if "," in words or ";" in words:
                self._say(
                    "comma-in-tags",
                    "warning",
                    span,
                    "Tags are separated by spaces; the plugin makes the comma part of the tag.",
                    f"Write '{' '.join(self.tags)}'.",
                )

    def _read_frozen(self) -> None:
        """Read ``FROZEN - Type:`` and the fields in the lines below it, up to a blank line."""
        word = f"{self.settings.keywords.frozen} - "
        stop = 0
        for at in self._lines_with(word):
            if at < stop:
                continue
            end = self._line_end(at)
            head = self.text[at + len(word) : end]
            if not head.rstrip().endswith(":"):
                continue
            name = head.rstrip()[:-1]
            stop = self._next("\n\n", end)
            self.spans.append(Span(at, stop))
            fields = self.settings.note_types.get(name)
            if fields is None:
                self._say(
                    "unknown-type",
                    "error",
                    Span(at, end),
                    f"There is no note type {name[:60]!r} to add text to.",
                    did_you_mean(name, self.settings.note_types),
                )
                continue
            current = fields[0]
            texts: dict[str, list[str]] = {part: [] for part in fields}
            for line in self.text[end + 1 : stop].split("\n"):
                starts = [part for part in fields if line.startswith(f"{part}:")]
                current = max(starts, key=len, default=current)
                texts[current].append(line[len(current) + 1 :].strip() if starts else line)
            known = self.frozen.setdefault(name, {})
            for part, found in texts.items():
                if found:
                    known[part] = "\n".join([known[part], *found] if part in known else found)

    def _read_deletions(self) -> None:
        word = self.settings.keywords.delete
        pattern = re.compile(
            rf"{re.escape(word)}[ \t]*\n?(?:<!--)?[ \t]*ID:[ \t]*(?P<id>[0-9]+)[ \t]*(?:-->)?(?P<rest>[^\n]*)\n?"
        )
        for at in self._lines_with(word):
            match = pattern.match(self.text, at)
            if match is None:
                end = self._line_end(at)
                if not self.text[at + len(word) : end].strip():
                    self._say(
                        "delete-without-id",
                        "warning",
                        Span(at, end),
                        f"{word} stands alone: no note is deleted.",
                        "Put the id of the note in the next line: <!--ID: 1234567890123-->.",
                    )
                continue
            number = as_id(match["id"])
            span = Span(*match.span())
            self.spans.append(span)
            if number is None:
                self._say("bad-id", "error", span, f"No note can have the id {match['id'][:30]}.", "Remove the lines.")
                continue
            if match["rest"].strip():
                span = Span(at, match.start("rest"))
            self.drafts.append(Draft("delete", "", span, id=number, id_span=span, id_at=span.end, delete=True))

    def _read_inline(self) -> None:
        begin, end_word = self.settings.keywords.begin_inline, self.settings.keywords.end_inline
        at = self.text.find(begin)
        while at >= 0:
            after = at + len(begin)
            next_at = after
            spaced = self.text[after : after + 1] in (" ", "\t", "[") and not self.text[max(0, at - 1) : at].isalnum()
            if spaced and self.visible(at):
                line = self._line_end(at)
                stop = self._next(end_word, after)
                if stop >= line:
                    self._say(
                        "unclosed-inline",
                        "error",
                        Span(at, after),
                        f"{begin} is not closed by {end_word} in its line: no card is made.",
                        f"Write '{begin} [Basic] Question Back: Answer {end_word}' in one line.",
                    )
                else:
                    next_at = stop + len(end_word)
                    self.spans.append(Span(at, next_at))
                    draft = self._inline(Span(at, next_at), Span(after, stop))
                    if draft is not None:
                        self.drafts.append(draft)
            at = self.text.find(begin, next_at)

    def _inline(self, span: Span, body: Span) -> Draft | None:
        head = re.compile(r"[ \t]*\[(?P<type>[^\[\]]*)\]").match(self.text, body.start, body.end)
        if head is None:
            self._say(
                "no-type",
                "error",
                span,
                "There is no note type in brackets; the plugin stops reading the whole vault here.",
                f"Write '{self.settings.keywords.begin_inline} [Basic] …'.",
            )
            return None
        name = head["type"].strip()
        names = self.settings.note_types.get(name)
        if names is None:
            self._say(
                "unknown-type",
                "error",
                Span(*head.span("type")),
                f"There is no note type {name[:60]!r}: no card is made.",
                did_you_mean(name, self.settings.note_types),
            )
            return None
        draft = Draft("inline", name, span, id_at=body.end)
        rest = Span(head.end(), body.end)
        holes = self._inline_id(draft, rest)
        tags = re.compile(r"(?:^|[ \t])Tags: ").search(self.text, rest.start, rest.end)
        if tags:
            draft.tags = split_tags(source(self.text, cut(Span(tags.end(), rest.end), holes)))
            rest = Span(rest.start, tags.start())
        self._inline_fields(draft, names, rest, holes)
        return draft

    def _inline_id(self, draft: Draft, rest: Span) -> list[Span]:
        match = ID_COMMENT.search(self.text, rest.start, rest.end) or _BARE_ID.search(self.text, rest.start, rest.end)
        if match is None:
            if stray := ID_ANYWHERE.search(self.text, rest.start, rest.end):
                self._say(
                    "id-in-text",
                    "warning",
                    Span(*stray.span()),
                    f"The plugin takes {stray['id'][:30]} for the id of this card and overwrites that note.",
                    "Reword it ('ID 123', without the colon).",
                )
            return []
        draft.id = as_id(match["id"])
        stop = match.end() + (self.text[match.end() : match.end() + 1] == " ")
        draft.id_span = Span(match.start(), min(stop, rest.end))
        if draft.id is None:
            self._say("bad-id", "error", draft.id_span, f"No note can have the id {match['id'][:30]}.", "Remove it.")
        return [draft.id_span]

    def _inline_fields(self, draft: Draft, names: tuple[str, ...], rest: Span, holes: list[Span]) -> None:
        words = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        marks = list(
            re.compile(rf"(?:^|(?<=[ \t]))(?P<name>{words}):(?=[ \t]|$)").finditer(self.text, rest.start, rest.end)
        )
        starts = [(names[0], rest.start), *((mark["name"], mark.end()) for mark in marks)]
        ends = [mark.start() for mark in marks] + [rest.end]
        spans: dict[str, list[Span]] = {name: [] for name in names}
        for (name, start), end in zip(starts, ends, strict=True):
            spans[name] += trimmed(self.text, cut(Span(start, end), holes))
        draft.field_spans = {name: tuple(parts) for name, parts in spans.items()}
        draft.fields = {
            name: " ".join(source(self.text, [part]).strip() for part in parts) for name, parts in spans.items()
        }


def folder_of(path: str) -> list[str]:
    """Return the folders that a file lies in, the innermost first; the vault itself is ""."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[:n]) for n in range(len(parts), -1, -1)]


def folder_value(values: Mapping[str, str], path: str) -> list[str]:
    """Return what a table of folders says about a file, the innermost folder's first."""
    by_folder = {folder.strip("/"): value for folder, value in values.items()}
    return [by_folder[folder] for folder in folder_of(path) if folder in by_folder]
