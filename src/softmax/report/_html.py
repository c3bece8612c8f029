"""Text into HTML: everything that comes from data passes through `clean` or `escape`."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, isnan

# Names longer than this are cut: a report is to be read, and a table holds thousands of them.
LONGEST_NAME = 60
# A name up to this length stays in one line of its cell.
LONGEST_WHOLE = 14
# What no browser shows and XML does not allow, and lone surrogates, which no file can hold.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Html:
    """Markup that is safe to put into a page as it stands."""

    text: str

    def __str__(self) -> str:
        return self.text


def shorten(text: object, longest: int = LONGEST_NAME) -> str:
    """The text in one line without control characters, its end cut off where it is too long."""
    line = UNPRINTABLE.sub("\ufffd", " ".join(str(text)[: 4 * longest].split()))
    return line if len(line) <= longest else line[: longest - 1] + "…"


def escape(text: object) -> Html:
    """Text of any length as HTML."""
    return text if isinstance(text, Html) else Html(_escaped(text))


def _escaped(text: object) -> str:
    return html.escape(UNPRINTABLE.sub("\ufffd", str(text)))


def name(text: object) -> Html:
    """A name from the data, cut, and isolated: one that is written from right to left does not turn its neighbours."""
    short = shorten(text) or "(empty)"
    whole = ' class="whole"' if len(short) <= LONGEST_WHOLE else ""
    return Html(f"<bdi{whole}>{html.escape(short)}</bdi>")


def joined(parts: Iterable[object], between: str = "") -> Html:
    """Parts one after the other, escaped where they are no HTML."""
    return Html(html.escape(between).join(str(escape(part)) for part in parts))


def tag(kind: str, *content: object, **attributes: object) -> Html:
    """One element; an attribute that is None is left out, and `class_` is class, `aria_label` aria-label."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{kind}{given}>{joined(content)}</{kind}>")


def table(
    caption: object, columns: Sequence[object], rows: Iterable[Sequence[object]], *, text: int = 1, class_: str = ""
) -> Html:
    """A table whose first `text` columns hold words and whose others hold figures; the first cell of a row heads it."""
    kinds = ["word" if i < text else None for i in range(len(columns))]
    head = tag(
        "tr", *(tag("th", column, scope="col", class_=kind) for column, kind in zip(columns, kinds, strict=True))
    )
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row", class_="word"),
            *(tag("td", cell, class_=kind) for cell, kind in zip(row[1:], kinds[1:], strict=True)),
        )
        for row in rows
    ]
    content = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body), class_=class_ or None)
    # A region that scrolls by itself keeps the page from doing so; the keyboard reaches it by tabindex.
    return tag("div", content, class_="scroll", tabindex="0", role="region", aria_label="table")


def facts(caption: str, rows: Iterable[tuple[object, object]]) -> Html:
    """A table of two columns: what, and how much."""
    body = [tag("tr", tag("th", what, scope="row", class_="word"), tag("td", value)) for what, value in rows]
    return tag("div", tag("table", tag("caption", caption), tag("tbody", *body), class_="facts"), class_="scroll")


def figure(drawing: Html, caption: object) -> Html:
    """A drawing with its caption."""
    return tag("figure", drawing, tag("figcaption", caption))


def number(value: float, digits: int = 4) -> str:
    """A figure for a table; a dash where there is none."""
    if value is None or isnan(value):
        return "–"
    return (
        f"{value:.{digits}g}".replace("e-0", "e-").replace("-", "−") if isfinite(value) else "∞" if value > 0 else "−∞"
    )


def share(value: float) -> str:
    """A share between 0 and 1 with three decimals; a dash where there is none."""
    return "–" if isnan(value) else f"{value:.3f}" if isfinite(value) else "∞"


def percent(value: float) -> str:
    """A share as a percentage."""
    return "–" if isnan(value) else f"{100 * value:.1f} %"
