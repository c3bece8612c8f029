"""Pasted copies replaced by embeds of their original."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from .._model import NoteFile, Span, Vault
from ._copies import Copy, CopyGroup
from ._edits import Edit
from ._sections import find_part, shown_text

_SIGNS = re.compile(r"[#|^:\[\]]+")  # which a link to a heading leaves out


@dataclass(frozen=True, slots=True)
class Replacement:
    """What becomes of one copy: the edits by file, or the reason why it is left."""

    group: CopyGroup
    copy: Copy
    embed: str
    edits: tuple[tuple[str, Edit], ...]
    refusal: str | None = None


def replace_copies(vault: Vault, groups: Iterable[CopyGroup], *, drifted: bool = False) -> list[Replacement]:
    """Return, for each copy, the edits that put an embed of the original in its place.

    A copy that differs is left unless `drifted`; it then shows what the original says. One is left, too, where no embed
    shows exactly the original: where that is no section, no whole note and no single paragraph.
    """
    return [_replacement(vault, group, copy, drifted) for group in groups for copy in group.copies]


def _replacement(vault: Vault, group: CopyGroup, copy: Copy, drifted: bool) -> Replacement:
    original, note = vault.notes[group.path], vault.notes[copy.path]
    fragment, more = _fragment(vault, original, group.span)
    embed = f"![[{_target(vault, group.path, copy.path)}{fragment}]]" if fragment is not None else ""
    refusal = None
    if fragment is None or (not fragment and group.path == copy.path):
        refusal = "no embed shows the original and nothing else; give it a heading of its own"
    elif copy.differences and not drifted:
        refusal = "it differs from the original; with --drifted it is replaced all the same"
    elif note.text[copy.span.end :].partition("\n")[0].strip():
        refusal = "text follows in its last line"
    if refusal is not None:
        return Replacement(group, copy, embed, (), refusal)
    edits = [(copy.path, Edit(*copy.span, embed)), *((group.path, edit) for edit in more)]
    return Replacement(group, copy, embed, tuple(edits))


def _target(vault: Vault, path: str, source: str) -> str:
    """Return the shortest name of a note that means it in another one; "" in itself."""
    if path == source:
        return ""
    whole = path[: -len(".md")] if path.lower().endswith(".md") else path
    name = whole.rpartition("/")[2]
    return name if vault.links.resolve(name, source) == path else whole


def _fragment(vault: Vault, note: NoteFile, span: Span) -> tuple[str | None, list[Edit]]:
    """Return the part of an embed after the note's name that shows this span, and an edit that names a block for it."""
    wanted = "".join(note.text[span.start : span.end].split())
    heading = next((h for h in note.headings if h.start == span.start), None)
    title = _SIGNS.sub(" ", heading.title).strip() if heading else ""
    for fragment in dict.fromkeys((title, "")):
        part = find_part(note, fragment)
        if part is not None and "".join(shown_text(note, part, vault.settings).split()) == wanted:
            return (f"#{fragment}" if fragment else ""), []
    words = note.text[span.start : span.end]
    if heading is None and not re.search(r"\n[ \t]*\r?\n|^[ \t]*(?:[-*+>|$`~]|[0-9]+[.)])", words, re.MULTILINE):
        name = f"copy-{hashlib.sha256(words.encode('utf-8', 'surrogateescape')).hexdigest()[:6]}"
        return f"#^{name}", [Edit(span.end, span.end, f" ^{name}")]
    return None, []
