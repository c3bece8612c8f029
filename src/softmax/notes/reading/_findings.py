"""What can be said about notes without doing their mathematics: reading, links, cards, copies that drifted apart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property

from .._model import Entry, Message, NoteFile, Place, Severity, Span, Vault
from ._copies import find_copies
from ._expand import expand
from ._sections import find_part, heading_key
from ._spelling import TERMS, Names, untripled
from ._tokens import tokenize

_LINK = re.compile(r"(?P<embed>!?)\[\[(?P<target>[^\[\]|#\n]*)(?:#(?P<part>[^\[\]|\n]*))?(?:\|[^\[\]\n]*)?\]\]")
_NO_PROOF = re.compile(
    r"(?:\bno|\bwithout(?: a| the)?|\bohne|\bkein(?:en)?) (?:proof|beweis|derivation|herleitung)\b", re.I
)
_PROOF = re.compile(r"\b(?:proof|beweis)\b[ \t]*[:.*]", re.I)
# A row of a derivation: a relation beside the sign that aligns it, or at the start of the row.
_RELATION = re.compile(r"(?:^|&)\s*(?:=|\\approx\b|\\leq?\b|\\geq?\b)|(?:=|\\approx|\\leq?|\\geq?)\s*&")
_FEWEST_STEPS = 3
_SHOWN_LINES = 5


def findings(vault: Vault) -> list[Message]:
    """Return every message about the notes of a vault that were asked for, but those on their mathematics, by place.

    From reading: what a file or a card does not do as it seems to. Besides: links and embeds that lead nowhere, with
    the nearest name; cards without an answer; a card whose front promises no proof while the back shows one; pasted
    copies that have drifted apart.
    """
    return sorted(set(_findings(vault)), key=lambda message: (message.place, message.rule, message.text))


def _findings(vault: Vault) -> Iterator[Message]:
    yield from vault.messages
    links = _LinkCheck(vault)
    for note in vault.notes.values():
        yield from note.messages
        yield from links.check(note)
        for entry in note.entries:
            yield from _check_card(note, entry, vault)
    yield from _drifted(vault)


class _LinkCheck:
    """Looks at the links of notes; the names of a vault are gathered once."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self._headings: dict[str, tuple[dict[str, str], Names]] = {}

    @cached_property
    def _titles(self) -> Names:
        names = (path.rpartition("/")[2] for path in self.vault.links.paths)
        return Names(name[: -len(".md")] if name.lower().endswith(".md") else name for name in names)

    @cached_property
    def _terms(self) -> Names:
        return Names(TERMS)

    def _headings_of(self, note: NoteFile) -> tuple[dict[str, str], Names]:
        if note.path not in self._headings:
            keys = {heading_key(heading.title): heading.title for heading in note.headings}
            self._headings[note.path] = keys, Names(keys)
        return self._headings[note.path]

    def check(self, note: NoteFile) -> Iterator[Message]:
        """Give a message for each name that the note links to in vain."""
        lost: dict[tuple[str, str, str], list[Span]] = {}
        for match in _links_in(note):
            key = (match["embed"], match["target"].rstrip("\\").strip(), (match["part"] or "").strip())
            lost.setdefault(key, []).append(Span(*match.span()))
        for (embed, target, part), spans in lost.items():
            path = self.vault.links.resolve(target, note.path)
            if path is None:
                message = self._no_file(note, embed, target, spans)
            elif part and path.lower().endswith(".md") and (other := self._note(note, path)) is not None:
                message = self._no_part(note, embed, other, part, spans)
            else:
                message = None
            if message is not None:
                yield message

    def _note(self, note: NoteFile, path: str) -> NoteFile | None:
        return note if path == note.path else self.vault.library.get(path)

    def _no_file(self, note: NoteFile, embed: str, target: str, spans: Sequence[Span]) -> Message | None:
        near = self._titles.nearest(target.rpartition("/")[2])
        if near is None and target not in self._terms:
            near = self._terms.nearest(target, least=0.9) or untripled(target)
        what = "embed" if embed else "link"
        if near is not None:
            text = f"This {what} leads nowhere: there is no {target!r}."
            return _message(note, f"{what}-nowhere", "warning", text, f"Did you mean {near!r}?", spans)
        if embed:
            text = f"This embed leads nowhere: there is no {target!r}. A card shows it as text."
            return _message(note, "embed-nowhere", "warning", text, None, spans)
        if len(self.vault.library) > 1:  # of one note alone nothing can be said
            text = f"This link leads nowhere: there is no {target!r}."
            return _message(note, "link-nowhere", "remark", text, None, spans)
        return None

    def _no_part(self, note: NoteFile, embed: str, other: NoteFile, part: str, spans: Sequence[Span]) -> Message | None:
        if find_part(other, part) is not None:
            return None
        what = "embed" if embed else "link"
        if part.startswith("^"):
            text, hint = f"There is no block {part!r} in {other.path}.", None
        else:
            title = part.rpartition("#")[2]
            text = f"There is no heading {title!r} in {other.path}."
            keys, names = self._headings_of(other)
            near = names.nearest(heading_key(title), least=0.7)
            hint = f"Did you mean {keys[near]!r}?" if near else None
        return _message(note, f"{what}-nowhere", "warning", text, hint, spans)


def _links_in(note: NoteFile) -> Iterator[re.Match[str]]:
    for segment in note.segments:
        if segment.kind == "prose":
            yield from _LINK.finditer(note.text, segment.start, segment.end)


def _message(
    note: NoteFile, rule: str, severity: Severity, text: str, suggestion: str | None, spans: Sequence[Span]
) -> Message:
    """Return a message about the first of several spans, which names the lines of the others."""
    lines = [note.place(span.start).line for span in spans[1:]]
    if lines:
        more = f" and {len(lines) - _SHOWN_LINES} more" if len(lines) > _SHOWN_LINES else ""
        text += f" Also in line {', '.join(map(str, lines[:_SHOWN_LINES]))}{more}."
    place, end = note.place(spans[0].start), note.place(spans[0].end)
    return Message(place, rule, severity, text, suggestion, end)


def _check_card(note: NoteFile, entry: Entry, vault: Vault) -> Iterator[Message]:
    if entry.kind == "delete" or entry.delete:
        return
    names = list(entry.fields)
    first, last = note.place(entry.span.start), note.place(entry.span.end)
    answers = [entry.fields[name] + entry.frozen.get(name, "") for name in names[1:2]]
    if answers and not answers[0].strip() and not entry.is_cloze and entry.note_type != "Image Occlusion":
        text = f"This card has no answer: its field {names[1]!r} is empty."
        yield Message(first, "no-answer", "warning", text, f"Write '{names[1]}:' and the answer.", last)
    yield from _proof_in_spite(note, entry, vault)
    if "![[" in "".join(entry.fields.values()):
        for source in entry.fields.values():
            for trouble in expand(source, note.path, vault).troubles:
                if trouble.rule != "embed-nowhere":
                    text = f"{trouble.embed} stays as it is on this card: {trouble.text}"
                    yield Message(first, trouble.rule, "warning", text, "Embed a smaller part.", last)


def _proof_in_spite(note: NoteFile, entry: Entry, vault: Vault) -> Iterator[Message]:
    """Remark on a front that says "no proof" before a back that shows one."""
    names = list(entry.fields)
    match = _NO_PROOF.search(entry.fields[names[0]]) if names else None
    if match is None:
        return
    for name in names[1:]:
        shown = expand(entry.fields[name], note.path, vault).markdown
        steps = _most_steps(shown)
        if steps >= _FEWEST_STEPS or _PROOF.search(shown):
            what = f"a derivation of {steps} steps" if steps >= _FEWEST_STEPS else "a proof"
            text = f"The front of this card says {match[0]!r}, and its field {name!r} shows {what}."
            yield Message(_found_in(note, entry, names[0], match[0]), "proof-shown", "remark", text)
            return


def _found_in(note: NoteFile, entry: Entry, name: str, words: str) -> Place:
    at = next((i for start, end in entry.field_spans[name] if (i := note.text.find(words, start, end)) >= 0), None)
    return note.place(entry.span.start if at is None else at)


def _most_steps(markdown: str) -> int:
    """Return the number of relations that rows of one formula begin with, in the formula that has most."""
    most = 0
    for segment in tokenize(markdown):
        if segment.kind == "maths" and segment.display:
            rows = markdown[segment.inner.start : segment.inner.end].replace("\\\\", "\n").split("\n")
            most = max(most, sum(_RELATION.search(row.strip()) is not None for row in rows))
    return most


def _drifted(vault: Vault) -> Iterator[Message]:
    for group in find_copies(vault):
        for copy in group.copies:
            if not copy.differences:
                continue
            note, original = vault.notes[copy.path], vault.notes[group.path]
            there = original.place(group.span.start)
            lines = [note.place(ours.start).line for ours, _ in copy.differences]
            words = ", ".join(map(str, lines[:_SHOWN_LINES])) + (", …" if len(lines) > _SHOWN_LINES else "")
            yield Message(
                note.place(copy.span.start),
                "drifted-copy",
                "warning",
                f"This is a copy of {there.path}:{there.line} that differs from it in line {words}.",
                "See 'softmax notes dedupe', which can show the one in place of the other.",
                note.place(copy.span.end),
            )
