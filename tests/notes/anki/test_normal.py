"""Texts, tags and decks in the form that Anki gives them, or every note would look changed at every sync."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("anki", reason="the package anki is not installed (pip install 'softmax[anki]')")

from anki.collection import Collection

from softmax.notes.anki._cards import digest, guid_of, normal_deck, normal_tags, normal_text, visible


@pytest.fixture(scope="module")
def anki(tmp_path_factory):
    collection = Collection(str(tmp_path_factory.mktemp("normal") / "c.anki2"))
    yield collection
    collection.close()


LETTERS = st.characters(exclude_categories=["Cs"], max_codepoint=0x2FFF) | st.sampled_from(
    list("\r\n\t\x07\x7f e\u0301")
)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(st.text(LETTERS, max_size=30))
def test_text(anki, text):
    note = anki.new_note(anki.models.by_name("Basic"))
    note["Front"] = text.replace("\x1f", "")
    anki.add_note(note, 1)
    assert anki.get_note(note.id)["Front"] == normal_text(note["Front"])
    assert normal_text(normal_text(text)) == normal_text(text)


@QUICK
@given(st.lists(st.text(st.sampled_from(list("abABéEe\u0301üß:_ \u3000\t")), max_size=5), max_size=5))
def test_tags(anki, tags):
    tags = [tag.replace(":::", "") for tag in tags]  # of those Anki makes something strange
    anki.tags.remove(" ".join(anki.tags.all()))
    note = anki.new_note(anki.models.by_name("Basic"))
    note["Front"] = "q"
    note.tags = list(normal_tags(tags))
    anki.add_note(note, 1)
    held = anki.get_note(note.id).tags
    anki.remove_notes([note.id])
    anki.tags.clear_unused_tags()
    assert {tag.casefold() for tag in normal_tags(held)} == {tag.casefold() for tag in normal_tags(tags)}


@QUICK
@given(st.lists(st.text(st.sampled_from(list('abé:"\t e\u0301\x07')), max_size=5), min_size=1, max_size=3))
def test_decks(anki, parts):
    name = "x" + "::".join(parts)
    assert anki.decks.name(anki.decks.id(name)).casefold() == normal_deck(name).casefold()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("<p>a &amp; b</p>", "<div>a &#38; b</div>"),
        ("a<br>b", "<p>a</p>\n<p>b</p>"),
        ('<img src="p.png">', '<img src="p-0123.png" alt="">'),
        ("<style>x</style>a", "<style>x</style> a"),
    ],
)
def test_what_says_the_same(one, other):
    assert visible(one) == visible(other)


def test_what_says_something_else():
    assert visible(r"\(a\)") != visible(r"\(b\)")
    assert visible("a") != visible('a<img src="p.png">')


def test_hashes_tell_parts_apart():
    assert digest("ab", "c") != digest("a", "bc")
    assert guid_of(1752949761743) == "o2a:1752949761743"
