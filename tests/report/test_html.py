"""Whatever stands in the data, the page stays a page: escaped, cut, in one line."""

import html
from html.parser import HTMLParser

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

from softmax.report import _html

NASTY = [
    "<script>alert(1)</script>",
    "]]></style><img src=x onerror=alert(1)>",
    "\"'&amp;<!--",
    "$x_1^2$ \\alpha",
    "שלום עולם",
    "🙂‍↔️ naïve",
    "a\x00b\x07c\ud800d",
    "\u202eevil",
    "two\nlines\tand tabs",
    "",
]


class Texts(HTMLParser):
    """The tags and the text of a piece of HTML."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("text", NASTY)
def test_a_name_is_text_and_nothing_else(text):
    parsed = Texts(str(_html.name(text)))
    assert parsed.tags == ["bdi"]
    assert parsed.text == (_html.shorten(text) or "(empty)")
    parsed.text.encode()
    assert "\n" not in parsed.text and "\x00" not in parsed.text


@pytest.mark.parametrize("text", NASTY)
def test_text_and_attributes_are_escaped_once(text):
    element = str(_html.tag("p", text, "&", _html.tag("b", text), aria_label=text))
    parsed = Texts(element)
    assert parsed.tags == ["p", "b"]
    shown = "".join("\ufffd" if _html.UNPRINTABLE.match(c) else c for c in text)
    assert parsed.text == f"{shown}&{shown}"
    assert f'aria-label="{html.escape(shown)}"' in element
    element.encode()


def test_a_long_name_is_cut():
    assert _html.shorten("x" * 10_000) == "x" * 59 + "…"
    assert _html.shorten("x" * 60) == "x" * 60
    assert _html.shorten("  a   b ") == "a b"


def test_a_table_has_a_caption_and_scopes():
    text = str(_html.table("Figures", ["class", "rows"], [("a<b", "1"), ("c", "2")]))
    assert text.count("<caption>Figures</caption>") == 1
    assert text.count('scope="col"') == 2 and text.count('scope="row"') == 2
    assert "a&lt;b" in text and 'tabindex="0"' in text
    with pytest.raises(ValueError, match="zip"):
        _html.table("Figures", ["class", "rows"], [("a", "1", "2")])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5"),
        (1e-9, "1e−9"),
        (-2.25, "−2.25"),
        (-3e-12, "−3e−12"),
        (float("nan"), "–"),
        (float("inf"), "∞"),
        (float("-inf"), "−∞"),
        (123456.0, "1.235e+05"),
    ],
)
def test_figures(value, text):
    assert _html.number(value) == text


def test_shares():
    assert (_html.share(0.12345), _html.share(float("nan"))) == ("0.123", "–")
    assert (_html.percent(0.12345), _html.percent(float("nan"))) == ("12.3 %", "–")
