"""The page of a plan: cards as Anki shows them, in a browser, without network and without scripts."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import pytest

pytest.importorskip("latex2mathml", reason="latex2mathml is not installed (pip install 'softmax[notes]')")

from softmax.notes.anki import plan_page
from softmax.notes.anki._cards import AnkiNote, Desired, DesiredNote, Medium, NoteType, Problem
from softmax.notes.anki._page import _Cleaner, cards
from softmax.notes.anki._plan import make_plan
from softmax.notes.anki._state import open_state

TYPES = {
    "Basic": NoteType(("Front", "Back"), False),
    "Cloze": NoteType(("Text", "Back Extra"), True),
}
PNG = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0\x1f\x15\xc4\x89\0\0\0\nIDATx\x9cc\0\1\0\0\5\0\1\r\n-\xb4"
    b"\0\0\0\0IEND\xaeB`\x82"
)
DERIVATION = (
    r"\[\begin{split} a =&amp; \frac{\exp{(Z_{i})}}{\sum_{k} \exp{(Z_{k})}} \\ =&amp; \begin{cases} x &amp; i=j \\"
    r" y &amp; i\neq j \end{cases} \end{split}\]"
)


class Held:
    """A target that holds these notes."""

    name, label = "test", "a <test> & more"

    def __init__(self, *notes: AnkiNote) -> None:
        self.notes = list(notes)

    def note_types(self):
        return TYPES

    def read(self, ids, guids):
        return self.notes


def basic(front: str, back: str, **other) -> DesiredNote:
    return DesiredNote("a <b>.md", 3, 0, "Basic", {"Front": front, "Back": back}, ("t",), "D", **other)


def plan_of(tmp_path, notes, *held: AnkiNote, problems=()):
    wanted = [replace(note, offset=i) for i, note in enumerate(notes)]
    with open_state(tmp_path, write=False) as state:
        ids = frozenset(note.id for note in notes if note.id)
        return make_plan(Desired(tuple(wanted), (), {}, tuple(problems), ids), state, Held(*held))


@pytest.fixture
def whole(tmp_path):
    """A page with everything that can be on one."""
    (tmp_path / "p.png").write_bytes(PNG)
    media = (Medium("p-0123.png", tmp_path / "p.png"),)
    notes = [
        basic("<p>what is it?</p>", rf'<p>\(a&lt;b\) {DERIVATION}</p><img src="p-0123.png">', media=media),
        basic("new front", "<ul><li>new</li></ul>", id=7),
        basic("same", "of the vault", id=8),
        basic(
            "<script>document.title = 'run'</script><div>",
            "<img src=x onerror=\"document.title = 'run'\"></article></body><style>body { display: none }</style>"
            '<a href="javascript:alert(1)">a</a><iframe src="https://example.org"></iframe>',
        ),
        DesiredNote("c.md", 1, 0, "Cloze", {"Text": r"{{c1::\(\frac{1}{\sqrt{2} }\)}} and {{c2::b::hint}}"}, (), "D"),
        basic(r"\(\left( \unknown{ \)", "broken"),
    ]
    held = (
        AnkiNote(7, "o2a:7", "Basic", {"Front": "new front", "Back": "<ol><li>new</li></ol>"}, ("t",), "D"),
        AnkiNote(8, "o2a:8", "Basic", {"Front": "same", "Back": "of Anki"}, ("t",), "D"),
    )
    return plan_of(tmp_path, notes, *held, problems=[Problem("a.md", 1, "a <problem>")])


class Balance(HTMLParser):
    VOID = frozenset(("meta", "br", "hr", "img"))

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_every_tag_is_closed(whole):
    parser = Balance()
    parser.feed(plan_page(whole))
    assert parser.open == []


def test_what_stands_on_the_page(whole):
    text = plan_page(whole)
    assert text.count("<math") == 5
    assert r"\[" not in text and r"\(" not in text.replace(r"\left(", "")
    assert "a &lt;test&gt; &amp; more" in text and "a &lt;problem&gt;" in text
    assert "<del>&lt;ol&gt;</del><ins>&lt;ul&gt;</ins>" in text
    assert "<strong>conflict</strong>" in text and "of <del>Anki</del>" in text
    assert "data:image/png;base64," in text
    assert "<script" not in text and "onerror" not in text and "javascript:" not in text and "<iframe" not in text


def test_cards_of_each_type():
    assert cards(basic("q", "a")) == [("q", "a")]
    both = replace(basic("q", "a"), type="Basic (and reversed card)")
    assert cards(both) == [("q", "a"), ("a", "q")]
    optional = replace(
        both, type="Basic (optional reversed card)", fields={"Front": "q", "Back": "a", "Add Reverse": ""}
    )
    assert cards(optional) == [("q", "a")]
    assert len(cards(replace(optional, fields={**optional.fields, "Add Reverse": "y"}))) == 2
    cloze = DesiredNote("a.md", 1, 0, "Cloze", {"Text": "{{c1::a}} {{c2::b::hint}}", "Back Extra": "more"}, (), "D")
    first, second = cards(cloze)
    assert first.question == '<span class="cloze">[...]</span> b'
    assert second.question == 'a <span class="cloze">[hint]</span>'
    assert first.answer == '<span class="cloze">a</span> b<hr>more'


@pytest.mark.parametrize(
    "text",
    [
        "<b>a",
        "a</b>",
        "<b><i>a</b></i>",
        "<p>a<p>b",
        "<x y='\"'>",
        "&amp;&lt;&#39;&bogus;",
        "<",
        "a < b",
        "<!-- a",
        "<svg><script>a</script></svg>b",
    ],
)
def test_a_field_of_any_kind_stays_in_its_place(text):
    cleaner = _Cleaner()
    cleaner.feed(text)
    cleaner.close()
    parser = Balance()
    parser.feed(cleaner.result())
    assert parser.open == []
    assert "script" not in cleaner.result()


def test_a_large_plan_shows_a_part_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("softmax.notes.anki._page.MOST_NOTES", 3)
    text = plan_page(plan_of(tmp_path, [basic(f"q{i}", "a") for i in range(10)]))
    assert text.count("<article>") == 3 and "7 more notes are not shown" in text


FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Debian's chromium with an empty profile; SOFTMAX_CHROMIUM and SOFTMAX_CHROMEDRIVER name others."""
    program = os.environ.get("SOFTMAX_CHROMIUM") or shutil.which("chromium")
    driver = os.environ.get("SOFTMAX_CHROMEDRIVER") or shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("chromium and chromedriver are not installed (Debian: apt-get install chromium chromium-driver)")
    pytest.importorskip("selenium", reason="selenium is not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


def test_in_a_browser(whole, tmp_path, browser):
    path = tmp_path / "plan.html"
    path.write_text(plan_page(whole), encoding="utf-8")
    browser.get_log("performance")
    browser.get(path.as_uri())
    asked = [
        message["params"]["request"]["url"]
        for entry in browser.get_log("performance")
        for message in [json.loads(entry["message"])["message"]]
        if message["method"] == "Network.requestWillBeSent"
    ]
    # The first page of the browser itself may still be loading.
    assert [url for url in asked if not url.startswith(("data:", "chrome://", path.as_uri()))] == []
    assert browser.title == "Plan for Anki"  # no script has changed it
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert browser.execute_script("return document.querySelectorAll('math').length") == 5
    drawn = "return [...document.querySelectorAll('math')].every(m => m.getBoundingClientRect().width > 5)"
    assert browser.execute_script(drawn)
    shown = browser.execute_script("return document.body.innerText")
    assert html.escape("a <problem>") not in shown and "a <problem>" in shown
    assert not re.search(r"\\\[|\\begin", shown)
    loaded = "return [...document.images].filter(i => i.src.startsWith('data:')).every(i => i.naturalWidth === 1)"
    assert browser.execute_script(loaded)
    assert browser.execute_script("return document.querySelectorAll('article').length") == len(whole.actions) + 1
