"""A card between START and END: note type, fields, tags, id. What the plugin does silently wrong becomes a message."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .._model import Severity, Span
from .._settings import Settings
from ._draft import (
    ID_ANYWHERE,
    ID_COMMENT,
    ID_LINE,
    Draft,
    Found,
    as_id,
    cut,
    did_you_mean,
    nearest,
    source,
    split_tags,
    trimmed,
)
from ._edits import Edit
from ._fences import Fences

_TAGS = re.compile(r"Tags:(?:[ \t]+(?P<tags>.*))?")
_MOST_LINES = 500  # of a card, that are compared with names of fields


@dataclass(slots=True)
class Block:
    """The lines of a block, and what was found in them so far."""

    text: str
    settings: Settings
    span: Span  # from START to END, with both words
    body: Span  # the lines between them
    fences: Fences
    found: list[Found] = field(default_factory=list)
    stretches: list[Span] = field(default_factory=list)  # each is tokenized by itself

    def parse(self) -> Draft | None:
        """Return the card, or None where there is a message in its place."""
        lines = _lines(self.text, self.body)
        code = self._code(lines)
        first = next((i for i, line in enumerate(lines) if self._line(line).strip()), None)
        if first is None:
            self._say("empty-card", "error", self.span, "There is nothing between START and END.")
            return None
        draft = Draft("block", self._line(lines[first]).strip(), self.span, id_at=self.body.end)
        tail = self._tail(draft, lines, first, code)
        fields = self._fields_of(draft.note_type, lines[first])
        body = Span(lines[first].end, max(lines[first].end, lines[tail - 1].end))
        if not fields:
            self.stretches.append(body)
            return None
        holes = self._ids_in_text(draft, lines[first + 1 : tail], code)
        self._split(draft, fields, body, lines[first + 1 : tail], code, holes)
        return draft

    def _line(self, span: Span) -> str:
        return self.text[span.start : span.end]

    def _say(
        self, rule: str, severity: Severity, span: Span, text: str, suggestion: str | None = None, *edits: Edit
    ) -> None:
        self.found.append(Found(rule, severity, span.start, span.end, text, suggestion, edits))

    def _code(self, lines: Sequence[Span]) -> frozenset[int]:
        """Return the starts of the lines in fenced code; what is not closed here hides no field and no id."""
        starts: list[int] = []
        at = self.body.start
        while (i := self.fences.first(at, self.body.end)) is not None:
            closer = self.fences.closer(i, self.body.end)
            if closer is None:
                at = self.fences[i].end
                continue
            at = closer.end
            inside = slice(bisect_left(lines, (self.fences[i].start,)), bisect_left(lines, (at,)))
            starts += [line.start for line in lines[inside]]
        return frozenset(starts)

    def _fields_of(self, note_type: str, line: Span) -> tuple[str, ...]:
        known = self.settings.note_types
        if note_type not in known:
            self._say(
                "unknown-type",
                "error",
                line,
                f"There is no note type {note_type[:60]!r}: no card is made.",
                did_you_mean(note_type, known)
                or f"Known are {', '.join(known)}. Others: note_types in .softmax/settings.toml.",
                *(Edit(*line, name) for name in known if name.casefold() == note_type.casefold()),
            )
        elif self._line(line) != note_type:
            self._say(
                "space-at-type",
                "warning",
                line,
                "There is white space around the note type; the plugin makes no card of this.",
                f"Write {note_type!r} alone.",
                Edit(*line, note_type),
            )
        return known.get(note_type, ())

    def _tail(self, draft: Draft, lines: Sequence[Span], first: int, code: frozenset[int]) -> int:
        """Read id, tags and DELETE from the last lines, in any order; return the index after the other lines."""
        order, gap = "", False
        tags = Span(0, 0)
        i = len(lines)
        while i - 1 > first and lines[i - 1].start not in code:
            line = lines[i - 1]
            words = self._line(line).strip()
            if (match := ID_LINE.fullmatch(words)) and draft.id_span is None:
                self._take_id(draft, match["id"], line)
                order += "i"
            elif (match := _TAGS.fullmatch(words)) and "t" not in order:
                tags, draft.tags = line, split_tags(match["tags"] or "")
                self._look_at_tags(line, match["tags"] or "")
                order += "t"
            elif words == self.settings.keywords.delete and order in ("", "i") and not draft.delete:
                self._take_deletion(draft, line)
            elif words:
                break
            else:
                gap = gap or order == "i"
            i -= 1
        if order == "ti":
            self._say(
                "tags-after-id",
                "warning",
                tags,
                "The tags stand below the id; the plugin does not see the id then and makes a second note.",
                "Put the Tags line above the id, or run 'softmax notes format'.",
                *self._moved(tags, None if draft.id_span is None else draft.id_span.start),
            )
        elif order == "it" and gap and self._blank_between(tags, draft):
            self._say(
                "tags-apart",
                "warning",
                tags,
                "There is a blank line between the tags and the id; the plugin makes card text of the tags.",
                "Put the Tags line right above the id, or run 'softmax notes format'.",
                *(() if draft.id_span is None else (Edit(tags.end, draft.id_span.start, "\n"),)),
            )
        return i

    def _take_deletion(self, draft: Draft, line: Span) -> None:
        draft.delete = True
        if draft.id_span is not None:
            draft.id_span = Span(line.start, draft.id_span.end)
            return
        word = self.settings.keywords.delete
        text = f"{word} ends this card, which has no id: it does not go to Anki."
        self._say("delete-without-id", "warning", line, text, f"Remove the card, or the line with {word}.")

    def _moved(self, line: Span, to: int | None) -> tuple[Edit, ...]:
        """Return the edits that move a line to the start of another."""
        if to is None:
            return ()
        end = min(line.end + 1, self.body.end)
        return Edit(line.start, end, ""), Edit(to, to, f"{self._line(line).rstrip()}\n")

    def _blank_between(self, tags: Span, draft: Draft) -> bool:
        return draft.id_span is not None and "\n\n" in self.text[tags.end : draft.id_span.start].replace(" ", "")

    def _take_id(self, draft: Draft, digits: str, span: Span) -> None:
        draft.id = as_id(digits)
        with_newline = Span(span.start, min(span.end + 1, len(self.text)))
        draft.id_span = with_newline if self._line(with_newline).endswith("\n") else span
        if draft.id is None:
            self._say(
                "bad-id", "error", span, f"No note can have the id {digits[:30]}.", "Remove it; a new one is given."
            )

    def _look_at_tags(self, line: Span, words: str) -> None:
        if not words.strip():
            text = "There are no tags in this line; the plugin makes card text of it."
            self._say("no-tags", "warning", line, text, "Remove it.", Edit(line.start, line.end + 1, ""))
        if "," in words or ";" in words:
            self._say(
                "comma-in-tags",
                "warning",
                line,
                "Tags are separated by spaces; the plugin makes the comma part of the tag.",
                f"Write 'Tags: {' '.join(split_tags(words))}'.",
                Edit(*line, f"Tags: {' '.join(split_tags(words))}"),
            )

    def _ids_in_text(self, draft: Draft, lines: Sequence[Span], code: frozenset[int]) -> list[Span]:
        """Return what to leave out of the fields: ids that stand above other text, or at the end of a line of text."""
        found = [(match, line) for line in lines if line.start not in code for match in self._ids_at(line)]
        for i, (match, line) in enumerate(found):
            if draft.id_span is None and i == len(found) - 1:
                self._take_id_in_text(draft, match, line)
            else:
                words = "This card has more than one id; the last one counts."
                self._say("two-ids", "error", Span(*match.span()), words, "Remove this one.")
        if draft.id_span is None and lines and not draft.tags:
            last = next((line for line in reversed(lines) if self._line(line).strip()), lines[-1])
            stray = ID_ANYWHERE.search(self.text, last.start, last.end)
            if stray:
                words = f"The plugin takes {stray['id'][:30]} for the id of this card and overwrites that note."
                hint = "Reword it ('ID 123', without the colon), or let another line follow."
                self._say("id-in-text", "warning", Span(*stray.span()), words, hint)
        return [self._with_line(match, line) for match, line in found]

    def _ids_at(self, line: Span) -> Iterator[re.Match[str]]:
        """Give the ids in comments that begin or end a line."""
        for match in ID_COMMENT.finditer(self.text, line.start, line.end):
            if match.start() == line.start or not self.text[match.end() : line.end].strip():
                yield match

    def _with_line(self, match: re.Match[str], line: Span) -> Span:
        """Return the span of an id, of its whole line if nothing else stands in it."""
        alone = not (self.text[line.start : match.start()] + self.text[match.end() : line.end]).strip()
        return Span(line.start, min(line.end + 1, self.body.end)) if alone else Span(*match.span())

    def _take_id_in_text(self, draft: Draft, match: re.Match[str], line: Span) -> None:
        span = self._with_line(match, line)
        self._take_id(draft, match["id"], line)
        draft.id_span = span
        edits = Edit(*span, ""), Edit(self.body.end, self.body.end, f"{match[0]}\n")
        if self.text[line.start : match.start()].strip() and not self.text[line.end : self.body.end].strip():
            words = "The id stands behind text; the plugin loses the text of this line."
            hint = "Put the id into a line of its own, or run 'softmax notes format'."
            self._say("id-behind-text", "warning", Span(*match.span()), words, hint, *edits)
        else:
            words = "There is text after the id; the plugin does not see the id then and makes a second note."
            hint = "Put the id right above END, or run 'softmax notes format'."
            self._say("text-after-id", "warning", Span(*match.span()), words, hint, *edits)

    def _split(
        self,
        draft: Draft,
        names: Sequence[str],
        body: Span,
        lines: Sequence[Span],
        code: frozenset[int],
        holes: Sequence[Span],
    ) -> None:
        """Give each field its text."""
        marks = [(line, name) for line in lines if (name := self._name_at(line, names))]
        starts: list[tuple[str, int, int]] = [(names[0], body.start, body.start)]
        for line, name in marks:
            if line.start in code:
                self._say(
                    "field-in-code",
                    "warning",
                    line,
                    f"The plugin starts the field {name!r} at this line of code.",
                    "Indent the line by a space.",
                    Edit(line.start, line.start, " "),
                )
            else:
                starts.append((name, line.start, line.start + len(name) + 1))
        spans: dict[str, list[Span]] = {name: [] for name in names}
        ends = [start for _, start, _ in starts[1:]] + [body.end]
        for (name, _, start), end in zip(starts, ends, strict=True):
            spans[name] += trimmed(self.text, cut(Span(start, end), holes))
            self.stretches.append(Span(start, end))
        draft.field_spans = {name: tuple(parts) for name, parts in spans.items()}
        draft.fields = {name: _join(self.text, parts) for name, parts in draft.field_spans.items()}
        self._look_at_names(draft.fields, lines, code)

    def _name_at(self, line: Span, names: Sequence[str]) -> str | None:
        fitting = [name for name in names if self.text.startswith(f"{name}:", line.start, line.end)]
        return max(fitting, key=len, default=None)

    def _look_at_names(self, fields: Mapping[str, str], lines: Sequence[Span], code: frozenset[int]) -> None:
        """Say which lines look like the start of a field that is empty."""
        missing = [name for name, words in fields.items() if not words]
        if not missing:
            return
        longest = max(map(len, missing)) + 10
        for line in lines[:_MOST_LINES]:
            head, colon, _ = self.text[line.start : min(line.end, line.start + longest)].partition(":")
            if not colon or line.start in code or head in fields:
                continue
            name = nearest(head.strip(" \t*_#>-"), missing)
            if name is not None:
                same = head.strip().casefold() == name.casefold()
                self._say(
                    "field-name",
                    "warning",
                    line,
                    f"{head!r} does not start the field {name!r}, which is empty: the line is text of the field above.",
                    f"Write '{name}:' at the start of the line.",
                    *([Edit(line.start, line.start + len(head), name)] if same else []),
                )


def _lines(text: str, body: Span) -> list[Span]:
    lines, at = [], body.start
    while at < body.end:
        end = text.find("\n", at, body.end)
        end = body.end if end < 0 else end
        lines.append(Span(at, end))
        at = end + 1
    return lines


def _join(text: str, parts: Sequence[Span]) -> str:
    """Join the parts of a field; a field that is named twice goes on in a new line."""
    words = ""
    for part in parts:
        piece = source(text, [part])
        words += piece if not words or words.endswith("\n") or piece.startswith("\n") else f"\n{piece}"
    return words
