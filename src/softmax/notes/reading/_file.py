"""`read_note`: the bytes of one file to its cards and messages. Any bytes give a result."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase

from .._model import Entry, Message, NoteFile, Place, Segment, Span, line_starts
from .._settings import Settings
from ._block import Block
from ._clozes import cloze_faults
from ._draft import ID_COMMENT, Draft, Found
from ._edits import Edit
from ._fences import Fences
from ._marks import Marks, folder_value
from ._notices import Notices
from ._styles import Styles
from ._tags import obsidian_tags
from ._tokens import Scanner

_BOM = b"\xef\xbb\xbf"
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_HIDDEN = ("code", "maths", "html", "comment", "front matter")


def read_note(path: str, data: bytes, settings: Settings | None = None) -> NoteFile:
    """Read a file.

    Parameters
    ----------
    path
        Relative to the vault, with forward slashes; folders decide on decks and tags.
    data
        The bytes of the file; they are never changed.
    settings
        Of the vault; the plugin's defaults where there are none.

    Returns
    -------
    NoteFile
        With every card that could be read and a message for everything else. No bytes raise an exception.
    """
    return _Reader(path, data, settings or Settings()).read()


def repairs(note: NoteFile, settings: Settings | None = None) -> list[Edit]:
    """Return the edits that repair what can be repaired in a note; each changes nothing that a card says.

    Of edits that overlap the first is given: make them, read again, ask again.
    """
    reader = _Reader(note.path, note.raw, settings or Settings())
    reader.read()
    edits: list[Edit] = []
    for found in sorted(reader.found, key=lambda found: (found.start, found.rule)):
        mapped = [reader.raw_edit(edit) for edit in found.edits]
        if not any(_collides(edit, edits) for edit in mapped):
            for edit in mapped:
                insort(edits, edit)
    return edits


def _collides(edit: Edit, others: Sequence[Edit]) -> bool:
    """Whether an edit overlaps or touches one of these, which are in order."""
    i = bisect_left(others, edit)
    return any(edit.start <= other.end and other.start <= edit.end for other in others[max(0, i - 1) : i + 1])


def is_ignored(path: str, settings: Settings) -> bool:
    """Whether cards are not looked for in a file: by the globs of the settings, or outside the scan directory."""
    folder = settings.scan_directory.strip("/")
    outside = bool(folder) and not path.startswith(f"{folder}/")
    return outside or any(
        fnmatchcase(path, glob) or (glob.startswith("**/") and fnmatchcase(path, glob[3:])) for glob in settings.ignored
    )


class _Reader:
    def __init__(self, path: str, data: bytes, settings: Settings) -> None:
        self.path, self.data, self.settings = path, data, settings
        self.bom = data.startswith(_BOM)
        self.raw_text = data[len(_BOM) * self.bom :].decode("utf-8", "surrogateescape")
        self.crlf = self._two_character_newlines()
        self.text = self.raw_text.replace("\r\n", "\n") if self.crlf else self.raw_text
        self.fences = Fences(self.text)
        self.scanner = Scanner(self.text, self.fences)
        self.found: list[Found] = []
        self.drafts: list[Draft] = []
        self.blocks: list[Span] = []

    def _two_character_newlines(self) -> list[int]:
        """Return, in positions of the text with one-character newlines, which newlines had two."""
        places, at, lost = [], self.raw_text.find("\r\n"), 0
        while at >= 0:
            places.append(at - lost)
            lost += 1
            at = self.raw_text.find("\r\n", at + 2)
        return places

    def _raw(self, at: int) -> int:
        """Return the position in the file's text of a position in the text with one-character newlines."""
        return at + bisect_left(self.crlf, at)

    def _raw_span(self, span: Span) -> Span:
        return Span(self._raw(span.start), self._raw(span.end)) if self.crlf else span

    def raw_edit(self, edit: Edit) -> Edit:
        """Return an edit of the file's own text."""
        text = edit.text.replace("\n", "\r\n") if self._has_long_newlines() else edit.text
        return Edit(self._raw(edit.start), self._raw(edit.end), text)

    def _has_long_newlines(self) -> bool:
        return 2 * len(self.crlf) > self.text.count("\n")

    def read(self) -> NoteFile:
        if is_ignored(self.path, self.settings):
            self.scanner.scan(self.scanner.front_matter(), len(self.text))
            marks = Marks(self.text, self.settings, lambda at: False)
        else:
            marks = self._read_cards()
        starts = line_starts(self.raw_text)
        entries = self._entries(marks, starts)
        messages = [] if is_ignored(self.path, self.settings) else self._messages(starts)
        return NoteFile(
            path=self.path,
            raw=self.data,
            text=self.raw_text,
            newline="\r\n" if self._has_long_newlines() else "\n",
            bom=self.bom,
            final_newline=self.raw_text.endswith("\n"),
            file_tags=marks.tags or (),
            target_deck=marks.deck,
            entries=tuple(entries),
            messages=tuple(messages),
            segments=tuple(self._segments()),
        )

    def _segments(self) -> Sequence[Segment]:
        if not self.crlf:
            return self.scanner.segments
        return [
            Segment(s.kind, self._raw(s.start), self._raw(s.end), self._raw_span(s.inner), s.display)
            for s in self.scanner.segments
        ]

    def _read_cards(self) -> Marks:
        self._read_blocks()
        starts = [segment.start for segment in self.scanner.segments]

        def visible(at: int) -> bool:
            segment = self.scanner.segments[bisect_right(starts, at) - 1]
            block = bisect_right(self.blocks, (at, len(self.text) + 1)) - 1
            return segment.kind == "prose" and not (block >= 0 and self.blocks[block].end > at)

        marks = Marks(self.text, self.settings, visible)
        if self.text:
            marks.read()
        hidden = [Span(s.start, s.end) for s in self.scanner.segments if s.kind in _HIDDEN]
        styles = Styles(self.text, self.settings, [*self.blocks, *marks.spans], hidden)
        styles.read()
        self.drafts += [*marks.drafts, *styles.drafts]
        self.drafts.sort(key=lambda draft: draft.span)
        self.found += [*marks.found, *styles.found]
        notices = Notices(self.text, self.settings, self.scanner, self.drafts, [*self.blocks, *marks.spans])
        notices.find()
        self.found += notices.found
        if self.crlf and self.drafts:
            self.found.append(
                Found(
                    "crlf",
                    "warning",
                    self.crlf[0],
                    self.crlf[0],
                    "Lines end with CR LF here; the plugin sees none of the blocks of this file.",
                    "Run 'softmax notes format --newlines'.",
                )
            )
        return marks

    def _keyword_lines(self, word: str) -> list[Span]:
        """Return the lines that hold this word alone, with white space behind it allowed."""
        lines: list[Span] = []
        at = 0 if self.text.startswith(word) else self._after_newline(word, 0)
        while at >= 0:
            end = self.text.find("\n", at)
            end = len(self.text) if end < 0 else end
            if not self.text[at + len(word) : end].strip():
                lines.append(Span(at, end))
            at = self._after_newline(word, at)
        return lines

    def _after_newline(self, word: str, at: int) -> int:
        found = self.text.find(f"\n{word}", at)
        return found + 1 if found >= 0 else -1

    def _read_blocks(self) -> None:
        words = self.settings.keywords
        begins = self._keyword_lines(words.begin)
        self.ends = self._keyword_lines(words.end)
        at = self.scanner.front_matter()
        for i, begin in enumerate(begins):
            if begin.start < at:
                self._say_hidden(begin)
                continue
            at = self.scanner.scan(at, begin.start, stop=len(self.text))
            if at > begin.start:
                self._say_hidden(begin)
                continue
            following = begins[i + 1].start if i + 1 < len(begins) else len(self.text)
            end = self._end_of_block(begin.end, following)
            if end is None:
                self._say_unclosed(begin, following)
            else:
                self._read_block(begin, end)
                at = end.end
        self.scanner.scan(at, len(self.text))

    def _end_of_block(self, at: int, following: int) -> Span | None:
        """Return the line with END: the first one outside of code that is closed in this block."""
        first = None
        while True:
            i = bisect_left(self.ends, (at,))
            if i == len(self.ends) or self.ends[i].start >= following:
                return first
            end = self.ends[i]
            first = first or end
            fence = self.fences.first(at, end.start)
            closer = None if fence is None else self.fences.closer(fence, following)
            if closer is None:
                return end
            at = closer.end

    def _read_block(self, begin: Span, end: Span) -> None:
        span = Span(begin.start, end.start + len(self.settings.keywords.end))
        body = Span(min(begin.end + 1, end.start), end.start)
        block = Block(self.text, self.settings, span, body, self.fences)
        draft = block.parse()
        at = begin.start
        for stretch in block.stretches:
            self.scanner.scan(at, stretch.start)
            self.scanner.scan(stretch.start, stretch.end)
            at = stretch.end
        self.scanner.scan(at, end.end)
        self.blocks.append(Span(begin.start, end.end))
        self.found += block.found
        if draft is not None:
            self.drafts.append(draft)
        self._look_at_block(begin, end, body)

    def _look_at_block(self, begin: Span, end: Span, body: Span) -> None:
        words = self.settings.keywords
        if begin.end - begin.start > len(words.begin):
            self._say(
                "space-after-start",
                begin,
                f"There is white space after {words.begin}; the plugin makes no card of this block.",
                "Remove it, or run 'softmax notes format'.",
                Edit(begin.start + len(words.begin), begin.end, ""),
            )
        at = self.text.find(f"\n{words.end}", max(0, body.start - 1), body.end)
        if 0 <= at < end.start - 1:
            stop = self.text.find("\n", at + 1)
            self._say(
                "end-in-text",
                Span(at + 1, stop),
                f"This line starts with {words.end}; the plugin ends the card here.",
                "Indent the line by a space.",
                Edit(at + 1, at + 1, " "),
            )

    def _say(self, rule: str, span: Span, text: str, suggestion: str | None = None, *edits: Edit) -> None:
        self.found.append(Found(rule, "warning", span.start, span.end, text, suggestion, edits))

    def _say_hidden(self, begin: Span) -> None:
        words = self.settings.keywords
        end = next(iter(self.ends[bisect_left(self.ends, (begin.start,)) :][:1]), begin)
        number = ID_COMMENT.search(self.text, begin.end, max(begin.end, end.start))
        what = f" (its id is {number['id']})" if number else ""
        self.found.append(
            Found(
                "hidden-card",
                "warning" if number else "remark",
                begin.start,
                begin.end,
                f"This {words.begin} stands in code or in a comment: no card is made here{what}; the plugin makes one.",
                "Take it out of the code or comment if it is to be a card." if number else None,
            )
        )

    def _say_unclosed(self, begin: Span, following: int) -> None:
        words = self.settings.keywords
        near = re.compile(rf"^(?:[ \t]+{re.escape(words.end)}[ \t]*|{re.escape(words.end)}[^\n]+)$", re.MULTILINE)
        match = near.search(self.text, begin.end, following)
        edits: tuple[Edit, ...] = ()
        if match:
            line = self.text.count("\n", 0, match.start()) + 1
            if match[0].strip() == words.end:
                edits = (Edit(*match.span(), words.end),)
            suggestion = f"Write {words.end} alone and at the start of line {line}."
        else:
            suggestion = f"Write {words.end} alone in the line after the card."
        self.found.append(
            Found(
                "unclosed-start",
                "error",
                begin.start,
                begin.end,
                f"{words.begin} is not closed by {words.end}: no card is made; the plugin takes everything up to the "
                f"next {words.end} for this card.",
                suggestion,
                edits,
            )
        )

    def _entries(self, marks: Marks, starts: Sequence[int]) -> list[Entry]:
        settings = self.settings
        decks = folder_value(settings.folder_decks, self.path)
        deck = marks.deck or next(iter(decks), settings.default_deck)
        folder_tags = " ".join(reversed(folder_value(settings.folder_tags, self.path))).split()
        shared = [*(marks.tags or ()), *folder_tags, *settings.default_tag.split()]
        ids = Counter(draft.id for draft in self.drafts if draft.id is not None)
        entries = []
        for draft in self.drafts:
            if self._is_broken(draft):
                continue
            self._look_at_card(draft)
            if draft.id is not None and ids[draft.id] > 1:
                span = draft.id_span or draft.span
                text = (
                    f"The id {draft.id} stands at {ids[draft.id]} cards of this file; each would overwrite the other."
                )
                hint = "Remove it from the card that is the copy; that one becomes a new note."
                self.found.append(Found("duplicate-id", "error", *span, text, hint))
            span = self._raw_span(draft.span)
            tags = [] if draft.kind == "delete" else [*draft.tags, *shared]
            if settings.add_obsidian_tags:
                tags += (tag for words in draft.fields.values() for tag in obsidian_tags(words))
            entries.append(
                Entry(
                    kind=draft.kind,
                    note_type=draft.note_type,
                    fields=dict(draft.fields),
                    tags=tuple(dict.fromkeys(tags)),
                    deck=deck,
                    id=draft.id,
                    delete=draft.delete,
                    frozen=dict(marks.frozen.get(draft.note_type, {})),
                    span=span,
                    id_span=draft.id_span and self._raw_span(draft.id_span),
                    id_at=self._raw(draft.id_at),
                    field_spans={name: tuple(map(self._raw_span, spans)) for name, spans in draft.field_spans.items()},
                    place=self._place(span.start, starts),
                )
            )
        return entries

    def _look_at_card(self, draft: Draft) -> None:
        first = next(iter(draft.fields.values()), "x")
        if not first.strip() and not draft.delete and not self.settings.add_file_link:
            name = next(iter(draft.fields))
            text = f"The field {name!r} of this card is empty; Anki takes no such card."
            self.found.append(
                Found("no-question", "error", *draft.span, text, "Write the question below the note type.")
            )
        self.found += cloze_faults(self.text, draft, curly=self.settings.curly_cloze)

    def _is_broken(self, draft: Draft) -> bool:
        """Whether a card holds bytes that are no UTF-8: it cannot go to Anki, and a message says so."""
        for words in draft.fields.values():
            if _NOT_UTF8.search(words):
                text = "There are bytes in this card that are no UTF-8: it is left out."
                self.found.append(Found("not-utf8-card", "error", *draft.span, text, "Save the file as UTF-8."))
                return True
        return False

    def _place(self, at: int, starts: Sequence[int]) -> Place:
        line = bisect_right(starts, at)
        return Place(self.path, line, at - starts[line - 1] + 1)

    def _messages(self, starts: Sequence[int]) -> list[Message]:
        bad = _NOT_UTF8.search(self.text)
        if bad:
            text = "This byte is no UTF-8."
            if self.data.startswith((b"\xff\xfe", b"\xfe\xff")):
                text = "This file is UTF-16, no UTF-8."
            self.found.append(Found("not-utf8", "error", *bad.span(), text, "Save the file as UTF-8."))
        messages = []
        for found in sorted(self.found, key=lambda found: (found.start, found.rule)):
            start, end = self._raw(found.start), self._raw(max(found.end, found.start))
            messages.append(
                Message(
                    self._place(start, starts),
                    found.rule,
                    found.severity,
                    found.text,
                    found.suggestion,
                    self._place(end, starts) if end > start else None,
                )
            )
        return messages
