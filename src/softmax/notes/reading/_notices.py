"""What is said about a file besides its cards: formulas and code that are not closed, ids of no card, dollar signs."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from .._model import Severity, Span
from .._settings import Settings
from ._draft import ID_COMMENT, Draft, Found
from ._edits import Edit
from ._tokens import Fault, Scanner

_INSIDE = r"[^\n\\$]++(?:\\[^\n()\[\]$][^\n\\$]*+)*+"
_FOREIGN = re.compile(
    rf"(?<!\\)(?:\\\((?P<inline>{_INSIDE})\\\)|\\\[(?P<display>{_INSIDE})\\\]|\\begin\{{(?P<name>[A-Za-z]++\*?)\}})"
)


@dataclass(slots=True)
class Notices:
    """Looks at a text that has been read; `drafts` are its cards in order, `taken` the spans of blocks and marks."""

    text: str
    settings: Settings
    scanner: Scanner
    drafts: Sequence[Draft]
    taken: Sequence[Span]
    found: list[Found] = field(default_factory=list)

    def find(self) -> None:
        """Find everything."""
        self._find_indented()
        self._find_stray_ids()
        self._find_foreign_formulas()
        for fault in self.scanner.faults:
            self.found += self._of_fault(fault)

    def _say(self, rule: str, span: Span, text: str, suggestion: str | None = None, *edits: Edit) -> None:
        self.found.append(Found(rule, "warning", span.start, span.end, text, suggestion, edits))

    def _find_indented(self) -> None:
        """Say which indented START is meant to be a card: a note type follows in the next line."""
        word = re.escape(self.settings.keywords.begin)
        at = self.text.find(self.settings.keywords.begin)
        pattern = re.compile(rf"[ \t>]*+{word}[ \t]*+\n[ \t>]*+(?P<type>[^\n]*)")
        while at >= 0:
            line = self.text.rfind("\n", max(0, at - 100), at) + 1
            match = pattern.match(self.text, line) if 0 < at - line < 100 else None
            if match and match["type"].strip() in self.settings.note_types and self._in_prose(at):
                self._say(
                    "indented-start",
                    Span(at, at + len(self.settings.keywords.begin)),
                    "This block is indented: no card is made.",
                    "Put START, the note type, the fields and END at the start of their lines.",
                )
            at = self.text.find(self.settings.keywords.begin, at + 1)

    def _find_stray_ids(self) -> None:
        ids = (draft.id_span for draft in self.drafts if draft.id_span is not None)
        spans = sorted([*self.taken, *(draft.span for draft in self.drafts), *ids])
        for segment in self.scanner.segments:
            if segment.kind != "comment" or segment.end - segment.start > 40:
                continue
            match = ID_COMMENT.fullmatch(self.text, segment.start, segment.end)
            if match is None:
                continue
            i = bisect_right(spans, (segment.start, len(self.text))) - 1
            if not any(span.start <= segment.start < span.end for span in spans[max(0, i - 1) : i + 1]):
                self.found.append(
                    Found(
                        "stray-id",
                        "remark",
                        segment.start,
                        segment.end,
                        f"The id {match['id'][:30]} belongs to no card of this file.",
                        "Write DELETE in the line above it to delete its note in Anki, or remove it.",
                    )
                )

    def _find_foreign_formulas(self) -> None:
        """Say which formulas on cards are written so that neither Obsidian nor Anki shows them."""
        for segment in self.scanner.segments:
            if segment.kind != "prose":
                continue
            for match in _FOREIGN.finditer(self.text, segment.start, segment.end):
                if not self._in_card(match.start()):
                    continue
                if match["name"] is not None:
                    name = match["name"][:30]
                    text = f"This {name!r} stands in no formula; neither Obsidian nor Anki shows it as one."
                    self._say("bare-environment", Span(*match.span()), text, "Write $$ before and after it.")
                    continue
                left = "$" if match["inline"] is not None else "$$"
                right = f"{left}{(match['inline'] or match['display'] or '').strip()}{left}"
                text = "Obsidian shows no formula here, and on the card its backslashes are lost."
                self._say(
                    "latex-delimiters", Span(*match.span()), text, f"Write {left}…{left}.", Edit(*match.span(), right)
                )

    def _of_fault(self, fault: Fault) -> list[Found]:
        in_card = self._in_card(fault.start)
        shown = Span(fault.start, fault.end)
        if fault.rule == "unclosed-code":
            return [Found(fault.rule, "warning", *shown, "This code is not closed.", "Close it by the same fence.")]
        if fault.rule == "unclosed-comment":
            return [Found(fault.rule, "warning", *shown, "This comment is not closed.", "Write --> where it ends.")]
        if fault.rule == "unclosed-maths":
            severity: Severity = "error" if in_card else "warning"
            return [Found(fault.rule, severity, *shown, "This formula has no end.", "Write $$ where it ends.")]
        return self._of_dollar(fault, in_card)

    def _in_card(self, at: int) -> bool:
        i = bisect_right(self.drafts, at, key=lambda draft: draft.span.start) - 1
        return i >= 0 and self.drafts[i].span.end > at

    def _in_prose(self, at: int) -> bool:
        segments = self.scanner.segments
        return segments[bisect_right(segments, at, key=lambda segment: segment.start) - 1].kind == "prose"

    def _of_dollar(self, fault: Fault, in_card: bool) -> list[Found]:
        line = self.text[fault.start : fault.start + 200].partition("\n")[0]
        spaced = re.match(r"\$[ \t]+(?=[^$\n]*[\\^_=]|[^\W\d_][ \t]+\$)[^$\n]*[ \t]\$", line)
        if spaced:
            formula = f"${spaced[0][1:-1].strip()}$"
            span = Span(fault.start, fault.start + spaced.end())
            text = "This is no formula, because of the spaces after and before the dollar signs."
            return [Found("space-in-maths", "warning", *span, text, f"Write '{formula}'.", (Edit(*span, formula),))]
        if in_card and self.text[fault.end : fault.end + 1].isdecimal():
            text = "The plugin takes this dollar sign and the next one for a formula."
            edit = Edit(fault.start, fault.start, "\\")
            return [Found("dollar", "warning", fault.start, fault.end, text, "Write \\$ for a dollar.", (edit,))]
        return []
