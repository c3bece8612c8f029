r"""The HTML of a card's fields, as Anki takes it: Markdown by markdown-it, formulas as ``\(…\)`` and ``\[…\]``.

Formulas, links and media are taken out before Markdown is made HTML and put back into the result, so that neither a
``_`` in a formula becomes emphasis nor a ``|`` a cell of a table. What is code, formula or text the tokenizer decides.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import quote, unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.tasklists import tasklists_plugin

from ._model import Entry, Heading, Vault
from .reading._clozes import close_apart, number_clozes
from .reading._expand import expand
from .reading._tags import TAG
from .reading._tokens import tokenize

_SOUNDS = ".3gp .aac .avi .flac .flv .m4a .mkv .mov .mp3 .mp4 .mpeg .mpg .oga .ogg .ogv .ogx .opus .spx .wav .webm"
_IMAGES = ".apng .avif .bmp .gif .ico .jfif .jpeg .jpg .png .svg .tif .tiff .webp"
SOUNDS = frozenset(_SOUNDS.split())
IMAGES = frozenset(_IMAGES.split())

_LINK = re.compile(
    r"(?P<embed>!?)\[\[(?P<target>[^\[\]|#\n]*)(?:#(?P<part>[^\[\]|\n]*))?(?:\\?\|(?P<alias>[^\[\]\n]*))?\]\]"
)
_SIZE = re.compile(r"(?P<width>[0-9]{1,5})(?:x(?P<height>[0-9]{1,5}))?")
_HIGHLIGHT = re.compile(r"==(?=\S)((?:[^=\n]|=(?!=))+?)(?<=\S)==")
_BLOCK_MARK = re.compile(r"(?:^|[ \t])\^[A-Za-z0-9-]+[ \t]*$", re.MULTILINE)
_ONE_PARAGRAPH = re.compile(r"<p>((?:(?!</?p>).)*)</p>", re.DOTALL)


class Rendered(NamedTuple):
    """The fields of a card as HTML, and the files they need: (name in Anki, file)."""

    fields: dict[str, str]
    media: tuple[tuple[str, Path], ...]


def render_fields(entry: Entry, vault: Vault) -> Rendered:
    """Render every field of a card.

    Embeds are expanded first; what does not lead anywhere stays as text. Nothing in the result needs the network but
    what the note itself links to.

    Parameters
    ----------
    entry
        The card; its FROZEN text is appended here, and the file link and context where the settings ask for them.
    vault
        For embeds, links and media.
    """
    settings = vault.settings
    media: dict[str, Path] = {}
    fields = {}
    for name, source in entry.fields.items():
        text = source + entry.frozen.get(name, "")
        markdown = expand(text, entry.place.path, vault).markdown
        fields[name] = _Text(entry, vault, media).render(markdown)
    names = tuple(entry.fields)
    if settings.add_file_link and names:
        name = settings.file_link_fields.get(entry.note_type, names[0])
        if name in fields:
            fields[name] += f'<br><a href="{_address(vault, entry.place.path)}" class="obsidian-link">Obsidian</a>'
    context = settings.context_fields.get(entry.note_type)
    if settings.add_context and context in fields:
        fields[context] += html.escape(_context(entry, vault), quote=False)
    return Rendered(fields, tuple(media.items()))


def to_html(markdown: str) -> str:
    """Render Markdown that stands outside of any vault."""
    return _finished(_markdown().render(markdown))


class _Text:
    """One field on its way to HTML; `held` is what was taken out of it, by the sign that stands in its place."""

    def __init__(self, entry: Entry, vault: Vault, media: dict[str, Path]) -> None:
        self.entry, self.vault, self.media = entry, vault, media
        self.held: list[tuple[str, str]] = []  # (HTML, Markdown)
        self.left = self.right = ""
        self.cloze = entry.is_cloze

    def render(self, markdown: str) -> str:
        self.left, self.right = _unused(markdown)
        text = self._without_formulas(markdown)
        settings = self.vault.settings
        if self.cloze and settings.curly_cloze:
            if settings.highlights_to_clozes:
                text = _HIGHLIGHT.sub(r"{\1}", text)
            text = number_clozes(text)
        text = _LINK.sub(self._link, text)
        text = _HIGHLIGHT.sub(r"<mark>\1</mark>", _BLOCK_MARK.sub("", text))
        if settings.add_obsidian_tags:
            text = TAG.sub("", text)
        text = self._put_back(text, code=True)
        tokens = _markdown().parse(text)
        return _finished(self._put_back(self._rendered(tokens), code=False))

    def _hold(self, as_html: str, source: str) -> str:
        self.held.append((as_html, source))
        return f"{self.left}{len(self.held) - 1}{self.right}"

    def _without_formulas(self, markdown: str) -> str:
        """Take formulas, code and HTML out, and comments away."""
        pieces = []
        for kind, start, end, inner, display in tokenize(markdown):
            piece = markdown[start:end]
            if kind == "maths":
                pieces.append(self._hold(self._formula(markdown[inner.start : inner.end], display), piece))
            elif kind in ("code", "html"):
                pieces.append(self._hold("", piece))
            elif kind == "prose":
                pieces.append(piece)
        return "".join(pieces)

    def _formula(self, formula: str, display: bool) -> str:
        formula = close_apart(formula) if self.cloze else formula
        left, right = (r"\[", r"\]") if display else (r"\(", r"\)")
        return f"{left}{html.escape(formula, quote=False)}{right}"

    def _put_back(self, text: str, *, code: bool, formulas: bool = False) -> str:
        """Put code and HTML back as Markdown, `formulas` too; or, if not `code`, all as HTML."""

        def held(match: re.Match[str]) -> str:
            as_html, source = self.held[int(match[1])]
            if code:
                return match[0] if as_html and not formulas else source
            return as_html

        return re.sub(f"{self.left}([0-9]+){self.right}", held, text)

    def _rendered(self, tokens: list[Token]) -> str:
        """Render; what was taken out of a text that turns out to be code goes back as it was written."""
        for token in _flat(tokens):
            if token.type in ("code_inline", "code_block", "fence"):
                token.content = self._put_back(token.content, code=True, formulas=True)
                if self.cloze:
                    token.content = close_apart(token.content, self._hold("<!-- -->", ""))
            elif token.type == "image":
                self._place_image(token)
            elif token.type == "link_open":
                self._point_link(token)
        return str(_markdown().renderer.render(tokens, _markdown().options, {}))

    def _place_image(self, token: Token) -> None:
        """Make a file of the vault, in Markdown's own form of an image, a medium of Anki."""
        target = unquote(str(token.attrs.get("src", "")))
        path = None if ":" in target else self.vault.links.resolve(target, self.entry.place.path)
        file = self.vault.media.get(path or "")
        shown = None if file is None else self._medium(file, token.content)
        if shown is not None:
            token.type, token.content, token.children = "html_inline", shown, None

    def _point_link(self, token: Token) -> None:
        """Let a link to a note of the vault open it in Obsidian."""
        target, sign, part = unquote(str(token.attrs.get("href", ""))).partition("#")
        path = None if ":" in target or not target else self.vault.links.resolve(target, self.entry.place.path)
        if path is not None:
            token.attrs["href"] = _address(self.vault, f"{path}{sign}{part}").replace("&amp;", "&")

    def _link(self, match: re.Match[str]) -> str:
        target, part = match["target"].rstrip("\\").strip(), match["part"]
        path = self.vault.links.resolve(target, self.entry.place.path)
        if match["embed"]:
            file = self.vault.media.get(path or "")
            alias = self._put_back(match["alias"] or "", code=True, formulas=True)
            shown = None if file is None else self._medium(file, alias)
            return match[0] if shown is None else self._hold(shown, match[0])
        place = target if part is None else f"{target or PurePosixPath(self.entry.place.path).stem}#{part}"
        words = match["alias"] or " > ".join(word for word in (target, *(part or "").split("#")) if word)
        words = html.escape(self._put_back(words, code=True), quote=False)
        words = self._put_back(words, code=False)
        address = f"obsidian://open?vault={_encoded(self.vault.settings.vault_name)}&amp;file={_encoded(place)}"
        return self._hold(f'<a href="{address}">{words}</a>', match[0])

    def _medium(self, file: Path, alias: str) -> str | None:
        """Return the HTML of an image or sound, or None where Anki has none for such a file."""
        ending = file.suffix.lower()
        if ending not in IMAGES and ending not in SOUNDS:
            return None
        try:
            name = media_name(file)
        except OSError:
            return None
        self.media[name] = file
        if ending in SOUNDS:
            return f"[sound:{name}]"
        words = [word.strip() for word in alias.split("|")]
        size = next((match for word in words if (match := _SIZE.fullmatch(word))), None)
        text = next((word for word in words if word and not _SIZE.fullmatch(word)), "")
        attributes = f' alt="{html.escape(text)}"' if text else ""
        if size:
            attributes += f' width="{size["width"]}"' + (f' height="{size["height"]}"' if size["height"] else "")
        return f'<img src="{name}"{attributes}>'


def media_name(file: Path) -> str:
    """Return the name of a file in Anki: its own, made safe, with a hash of its content, so that no two collide.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    status = file.stat()
    digest = _digest(file, status.st_mtime_ns, status.st_size)
    stem = re.sub(r"[^\w.-]+", "_", file.stem)[:80]
    return f"{stem}-{digest[:12]}{file.suffix.lower()}"


@lru_cache(maxsize=10_000)
def _digest(file: Path, changed: int, size: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
def _markdown() -> MarkdownIt:
    """CommonMark with tables, strike-through and task lists; a newline is a line break, as Obsidian shows it."""
    return (
        MarkdownIt("commonmark", {"html": True, "breaks": True})
        .enable(["table", "strikethrough"])
        .use(tasklists_plugin)
    )


def _finished(text: str) -> str:
    """Return HTML without the paragraph around it if it is a single one."""
    text = text.strip("\n")
    only = _ONE_PARAGRAPH.fullmatch(text)
    return only[1] if only else text


def _unused(text: str) -> tuple[str, str]:
    """Return two letters that do not stand in a text."""
    free = (letter for letter in map(chr, chain(range(0xE000, 0xF8FF), range(0xF0000, 0x10FFFE))) if letter not in text)
    return next(free), next(free)


def _flat(tokens: Iterable[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _flat(token.children or ())


def _context(entry: Entry, vault: Vault) -> str:
    """Return the path of the note and the headings that the card stands under."""
    path = entry.place.path
    above: list[Heading] = []
    for heading in vault.library[path].headings:
        if heading.start < entry.span.start:
            above = [other for other in above if other.level < heading.level] + [heading]
    return " > ".join([path, *(heading.title for heading in above)])


def _encoded(text: str) -> str:
    return quote(text, safe="!~*'()")


def _address(vault: Vault, path: str) -> str:
    return f"obsidian://open?vault={_encoded(vault.settings.vault_name)}&amp;file={_encoded(path)}"
