"""A plan as one HTML page: every card as Anki will show it, beside what changes. Nothing is fetched, no script runs.

Formulas are MathML, which browsers draw themselves; images are within the page.
"""

from __future__ import annotations

import base64
import html
import mimetypes
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from typing import NamedTuple

from ..._errors import MissingExtraError
from ._cards import DesiredNote, Medium
from ._diff import pieces
from ._plan import Action, Change, Kept, Plan

MOST_NOTES = 2000  # shown on one page
_MOST_BYTES = 4 << 20  # of an image within the page
_MATHS = re.compile(r"\\\((.*?)\\\)|\\\[(.*?)\\\]", re.DOTALL)
_ALIGNED = re.compile(r"\\begin\{(?:split|align|aligned|alignat|eqnarray)\b")
_CLOZE = re.compile(r"\{\{c(\d+)::(.*?)(?:::([^:{}]*?))?\}\}", re.DOTALL)
_SOURCE = re.compile(r'(<img\b[^>]*?\bsrc=")([^"]*)(")', re.IGNORECASE)
_VOID = frozenset(("area", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"))
_DROPPED = frozenset(
    (
        "script",
        "style",
        "iframe",
        "object",
        "embed",
        "link",
        "meta",
        "base",
        "form",
        "title",
        "head",
        "html",
        "body",
        "template",
        "svg",
    )
)

_ATTRIBUTES = frozenset(("align", "alt", "class", "colspan", "height", "rowspan", "start", "style", "title", "width"))

_WORDS = {
    "add": "added",
    "update": "updated",
    "move": "moved",
    "retag": "retagged",
    "link": "id written",
    "delete": "deleted",
}

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --old: #d73a4933; --new: #2da44e33; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
article { border: 1px solid var(--line); border-radius: .5rem; margin: 1rem 0; padding: .75rem 1rem;
  content-visibility: auto; contain-intrinsic-size: auto 20rem; }
article > header { font-size: .85rem; opacity: .85; } .word { border: 1px solid; border-radius: 1rem; padding: 0 .5rem;
} .card { border-top: 1px solid var(--line); margin-top: .75rem; padding-top: .75rem; }
.card > .side { overflow: auto hidden; padding-block: .2rem; }
.card > .side + .side { border-top: 1px dashed var(--line); margin-top: .5rem; padding-top: .5rem; }
.card h3 { font-size: .75rem; font-weight: 600; margin: 0; opacity: .7; text-transform: uppercase; }
.cloze { color: #06c; font-weight: bold; } math[display="block"] { margin: .5rem 0; }
mtable.aligned > mtr > mtd:nth-child(odd) { text-align: right; } mtable.aligned > mtr > mtd:nth-child(even) {
  text-align: left; }
pre.diff { background: #8881; font-size: .8rem; overflow-x: auto; padding: .5rem; white-space: pre-wrap; }
del { background: var(--old); } ins { background: var(--new); text-decoration: none; }
img { max-width: 100%; } .problem { border-left: .25rem solid #d73a49; padding-left: .75rem; }
table { border-collapse: collapse; } td, th { border: 1px solid var(--line); padding: .2rem .5rem; }
"""


class Card(NamedTuple):
    """A card, as HTML with Anki's delimiters of formulas: its question and its answer."""

    question: str
    answer: str


def page(plan: Plan) -> str:
    """Return the page of a plan.

    Raises
    ------
    MissingExtraError
        If `latex2mathml` is not installed.
    """
    convert = _converter()
    counts = ", ".join(f"{n} {_WORDS[word]}" for word, n in plan.counts.items() if n) or "nothing to do"
    parts = [f"<h1>Plan for {html.escape(plan.label)}</h1><p>{counts}</p>"]
    if plan.problems:
        parts.append("<h2>Not synced</h2>")
        parts += [
            f'<p class="problem">{html.escape(f"{item.path}:{item.line}: {item.text}")}</p>' for item in plan.problems
        ]
    if plan.kept:
        parts.append("<h2>Left as Anki has it</h2>")
        parts += map(_kept, plan.kept[:MOST_NOTES])
    shown = plan.actions[:MOST_NOTES]
    if shown:
        parts.append("<h2>Notes</h2>")
    parts += [_action(action, convert) for action in shown]
    if len(plan.actions) > len(shown):
        parts.append(f"<p>{len(plan.actions) - len(shown):,} more notes are not shown.</p>")
    if plan.orphans:
        parts.append("<h2>In Anki, and in no file any more</h2><ul>")
        parts += [f"<li>{gone.id}, from {html.escape(gone.path)}: {_text(gone.front)}</li>" for gone in plan.orphans]
        parts.append("</ul><p>They stay, unless the sync is asked to delete them with --prune.</p>")
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width"><title>Plan for Anki</title>'
        f"<style>{_STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def cards(note: DesiredNote) -> list[Card]:
    """Return the cards that Anki makes of a note of a stock type; of another, the first field against the rest."""
    fields = dict(note.fields)
    numbers = sorted({int(match[1]) for text in fields.values() for match in _CLOZE.finditer(text)})
    values = list(fields.values())
    if numbers and "cloze" in note.type.lower():
        extra = "".join(f"<hr>{text}" for text in values[1:] if text)
        return [Card(_clozed(values[0], n, shown=False), _clozed(values[0], n, shown=True) + extra) for n in numbers]
    if len(values) < 2:
        return [Card(values[0] if values else "", "")]
    found = [Card(values[0], values[1])]
    if note.type == "Basic (and reversed card)" or (
        note.type == "Basic (optional reversed card)" and values[2:] > [""]
    ):
        return [*found, Card(values[1], values[0])]
    if note.type.startswith("Basic"):
        return found
    return [Card(values[0], "<hr>".join(text for text in values[1:] if text))]


def _clozed(text: str, number: int, *, shown: bool) -> str:
    def replace(match: re.Match[str]) -> str:
        if int(match[1]) != number:
            return match[2]
        return f'<span class="cloze">{match[2] if shown else "[" + (match[3] or "...") + "]"}</span>'

    return _CLOZE.sub(replace, text)


def _action(action: Action, convert: Callable[[str, bool], str]) -> str:
    words = " ".join(f'<span class="word">{_WORDS[word]}</span>' for word in action.words)
    where = html.escape(f"{action.path}:{action.line}" if action.line else action.path)
    known = "" if action.id is None else f" · id {action.id}"
    why = f" · {html.escape(action.why)}" if action.why else ""
    parts = [f"<article><header>{words} {where}{known}{why}</header>"]
    if action.note is not None:
        media = {medium.name: medium for medium in action.note.media}
        about = f"{action.note.type} · {action.note.deck} · {' '.join(action.note.tags)}"
        parts.append(f"<header>{html.escape(about)}</header>")
        for card in cards(action.note):
            sides = "".join(
                f'<div class="side"><h3>{name}</h3>{_shown(side, media, convert)}</div>'
                for name, side in (("Question", card.question), ("Answer", card.answer))
            )
            parts.append(f'<div class="card">{sides}</div>')
    if action.kind != "add":
        parts += [_difference(name, change) for name, change in action.fields.items()]
        parts += [
            _difference(name, change) for name, change in (("tags", action.tags), ("deck", action.deck)) if change
        ]
    return "".join(parts) + "</article>"


def _kept(kept: Kept) -> str:
    difference = kept.difference
    title = html.escape(f"{kept.path}:{kept.line} · id {kept.id} · {difference.what}: {difference.why}")
    if difference.conflict:
        title = f"<strong>conflict</strong> {title}"
    change = _difference("in Anki against the vault", Change(difference.anki, difference.vault))
    return f"<article><header>{title}</header>{change}</article>"


def _difference(name: str, change: Change) -> str:
    tags = {"same": "", "old": "del", "new": "ins"}
    text = "".join(
        f"<{tags[piece.kind]}>{html.escape(piece.text)}</{tags[piece.kind]}>"
        if tags[piece.kind]
        else html.escape(piece.text)
        for piece in pieces(change.old, change.new)
    )
    return f'<h3>{html.escape(name)}</h3><pre class="diff">{text}</pre>'


def _text(field: str) -> str:
    return html.escape(html.unescape(re.sub(r"<[^>]*>", " ", field)).strip()[:200])


def _shown(field: str, media: Mapping[str, Medium], convert: Callable[[str, bool], str]) -> str:
    """Return a field for the page: formulas as MathML, images within it, only tags that do no harm, all closed."""
    formulas: list[str] = []

    def put_aside(match: re.Match[str]) -> str:
        inline, display = match[1], match[2]
        # What Anki shows as a formula it takes from the text of the page, so entities are characters, and tags are
        # none.
        tex = html.unescape(re.sub(r"<[^>]*>", "", inline if inline is not None else display))
        formulas.append(convert(tex, display is not None))
        return f"\ue000{len(formulas) - 1}\ue001"

    text = _MATHS.sub(put_aside, field.replace("\ue000", "").replace("\ue001", ""))
    text = _SOURCE.sub(lambda match: match[1] + _data(html.unescape(match[2]), media) + match[3], text)
    cleaner = _Cleaner()
    cleaner.feed(text)
    cleaner.close()
    return re.sub("\ue000(\\d+)\ue001", lambda match: formulas[int(match[1])], cleaner.result())


def _data(name: str, media: Mapping[str, Medium]) -> str:
    """Return an image as it stands in the page; its name alone where it is not among the note's files, or too large."""
    medium = media.get(name)
    if medium is None:
        return html.escape(name)
    try:
        data = medium.path.read_bytes()
    except OSError:
        return html.escape(name)
    if len(data) > _MOST_BYTES:
        return html.escape(name)
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


class _Cleaner(HTMLParser):
    """Writes HTML anew so that it ends where it ends: every tag closed, no script, nothing that is fetched."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self._parts: list[str] = []
        self._open: list[str] = []
        self._dropping = 0

    def result(self) -> str:
        return "".join(self._parts) + "".join(f"</{tag}>" for tag in reversed(self._open))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED:
            self._dropping += tag not in _VOID
            return
        if self._dropping:
            return
        kept = "".join(f' {name}="{html.escape(value or "")}"' for name, value in attrs if _harmless(name, value))
        self._parts.append(f"<{tag}{kept}>")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _DROPPED:
            self._dropping = max(0, self._dropping - 1)
        elif tag in self._open and not self._dropping:
            while self._open:
                top = self._open.pop()
                self._parts.append(f"</{top}>")
                if top == tag:
                    break

    def handle_data(self, data: str) -> None:
        if not self._dropping:
            self._parts.append(html.escape(data, quote=False))

    def handle_entityref(self, name: str) -> None:
        self._parts.append(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self._parts.append(f"&#{name};")


def _harmless(name: str, value: str | None) -> bool:
    if name == "href":
        return (value or "").startswith(("obsidian:", "http:", "https:"))
    if name == "src":
        return (value or "").startswith("data:")
    return name in _ATTRIBUTES


def _converter() -> Callable[[str, bool], str]:
    try:
        from latex2mathml.converter import convert
    except ModuleNotFoundError:
        raise MissingExtraError.for_extra("showing formulas of cards", "latex2mathml", "notes") from None

    def as_mathml(tex: str, display: bool) -> str:
        try:
            made = str(convert(tex.strip(), display="block" if display else "inline"))
        except Exception:  # of many kinds, for what it cannot read
            return f"<code>{html.escape(tex)}</code>"
        # Without this the columns of aligned equations are centred.
        return made.replace("<mtable", '<mtable class="aligned"', 1) if _ALIGNED.match(tex.strip()) else made

    return as_mathml
