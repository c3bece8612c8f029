"""Cards of one line, decks, tags, frozen text, deletions, and cards in a style of one's own."""

from __future__ import annotations

import pytest

from softmax.notes._settings import STOCK_TYPES, Settings
from softmax.notes.reading import apply_edits, id_edit, read_note, removal_edits

CARD = "START\nBasic\nq\nBack: a\nEND\n"


def read(text, path="note.md", **settings):
    return read_note(path, text.encode(), Settings(**settings))


def rules(note):
    return [message.rule for message in note.messages]


@pytest.mark.parametrize(
    ("line", "fields", "tags", "number"),
    [
        ("STARTI [Basic] q Back: a ENDI", ("q", "a"), (), None),
        ("STARTI [Basic] What is $x$? Back: it Tags: t u <!--ID: 77--> ENDI", ("What is $x$?", "it"), ("t", "u"), 77),
        ("- STARTI [Basic] q Back: a ID: 77 ENDI", ("q", "a"), (), 77),
        ("STARTI [Basic] Front: q Back: a ENDI", ("q", "a"), (), None),
        ("STARTI[Basic] q Back: a ENDI", ("q", "a"), (), None),
        ("STARTI [Basic] a Background: b Back: c ENDI", ("a Background: b", "c"), (), None),
    ],
)
def test_inline(line, fields, tags, number):
    note = read(f"text\n{line}\n", default_tag="")
    (entry,) = note.entries
    assert rules(note) == []
    assert (entry.kind, tuple(entry.fields.values()), entry.tags, entry.id) == ("inline", fields, tags, number)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("STARTI q Back: a ENDI", "no-type"),
        ("STARTI [[link]] q ENDI", "no-type"),
        ("STARTI [Basik] q ENDI", "unknown-type"),
        ("STARTI [Basic] q\nENDI", "unclosed-inline"),
        ("STARTI [Basic] see ID: 5 there Back: a ENDI", "id-in-text"),
    ],
)
def test_inline_that_fails(line, rule):
    assert rules(read(line)) == [rule]


@pytest.mark.parametrize("line", ["`STARTI [Basic] q ENDI`", "%%STARTI [Basic] q ENDI%%", "RESTARTI [Basic] q ENDI"])
def test_no_inline_card(line):
    note = read(line)
    assert note.entries == () and rules(note) == []


def test_several_cards_in_a_line():
    note = read("STARTI [Basic] a Back: b ENDI and STARTI [Basic] c Back: d ENDI")
    assert [entry.fields["Front"] for entry in note.entries] == ["a", "c"]


@pytest.mark.parametrize(
    ("head", "deck", "said"),
    [
        ("TARGET DECK\nA::B\n", "A::B", []),
        ("TARGET DECK: A::B\n", "A::B", []),
        ("TARGET DECK: A \n", "A", ["space-after-deck"]),
        ("TARGET DECK:A\n", "A", ["no-space-after-colon"]),
        ("TARGET DECK: A\nTARGET DECK: B\n", "A", ["second-deck"]),
        ("TARGET DECK\n\n", "Default", ["no-deck"]),
        ("`TARGET DECK: A`\n", "Default", []),
        ("```\nTARGET DECK: A\n```\n", "Default", []),
        (" TARGET DECK: A\n", "Default", []),
    ],
)
def test_decks(head, deck, said):
    note = read(f"{head}{CARD}")
    assert (note.entries[0].deck, rules(note)) == (deck, said)


def test_folders_give_decks_and_tags():
    settings = {
        "folder_decks": {"a": "A", "a/b": "B"},
        "folder_tags": {"a": "one", "a/b": "two three", "c": "no"},
        "default_tag": "",
    }
    assert read(CARD, "a/b/c/note.md", **settings).entries[0].deck == "B"
    assert read(CARD, "a/b/c/note.md", **settings).entries[0].tags == ("one", "two", "three")
    assert read(CARD, "a/note.md", **settings).entries[0].deck == "A"
    assert read(CARD, "note.md", **settings).entries[0].deck == "Default"
    assert read(f"TARGET DECK: X\n{CARD}", "a/note.md", **settings).entries[0].deck == "X"


def test_file_tags():
    note = read(f"FILE TAGS: x y, z\n{CARD}", default_tag="d")
    assert (note.entries[0].tags, note.file_tags, rules(note)) == (
        ("x", "y", "z", "d"),
        ("x", "y", "z"),
        ["comma-in-tags"],
    )
    assert read(f"FILE TAGS\nx y\n{CARD}", default_tag="").entries[0].tags == ("x", "y")


def test_tags_of_the_text():
    note = read("START\nBasic\nq #maths/softmax `#no` #5\nBack: a\nEND\n", add_obsidian_tags=True, default_tag="")
    assert note.entries[0].tags == ("maths::softmax",)


def test_frozen_text():
    note = read(f"FROZEN - Basic:\nBack: seen\nin the lecture\n\n{CARD}FROZEN - Basik:\nx: y\n")
    assert dict(note.entries[0].frozen) == {"Back": "seen\nin the lecture"}
    assert note.entries[0].fields["Back"] == "a" and rules(note) == ["unknown-type"]


@pytest.mark.parametrize(
    "mark", ["DELETE\n<!--ID: 77-->\n", "DELETE\nID: 77\n", "DELETE ID: 77\n", "DELETE<!--ID: 77-->"]
)
def test_deletions(mark):
    note = read(f"before\n{mark}after")
    (entry,) = note.entries
    assert (entry.kind, entry.id, entry.delete, dict(entry.fields)) == ("delete", 77, True, {})
    assert apply_edits(note.text, removal_edits(note, entry)) == "before\nafter"


def test_deletion_without_an_id():
    assert rules(read("DELETE\n\ntext\n")) == ["delete-without-id"]
    assert rules(read("SQL: DELETE\n")) == []


STYLES = [
    ("header", "## What?\n\nThe answer\nin lines\n\ntext\n", ("What?", "The answer\nin lines")),
    ("question", "Q: What?\nA: This\nand that\n\ntext\n", ("What?", "This\nand that")),
    ("remnote", "text\n\nword::meaning\n", ("word", "meaning")),
    ("ruled", "What?\n---\nThis\n\ntext", ("What?", "This")),
    ("table", "| What? |\n|---|\n| This |\n", ("What?", "This")),
    (r"^(?<a>.+)\?\?(.+)$", "What??This\n", ("What", "This")),
]


@pytest.mark.parametrize(("style", "text", "fields"), STYLES, ids=[style[0] for style in STYLES])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_styles(style, text, fields, newline):
    note = read(text.replace("\n", newline), styles={"Basic": style})
    (entry,) = note.entries
    assert (entry.kind, tuple(entry.fields.values()), entry.id) == ("regexp", fields, None)
    again = read(apply_edits(note.text, [id_edit(note, entry, 77)]), styles={"Basic": style})
    (entry,) = again.entries
    assert (entry.id, tuple(entry.fields.values())) == (77, fields)
    assert again.text.count(newline) == again.text.count("\n")
    moved = read(apply_edits(again.text, [id_edit(again, entry, 1234567890123)]), styles={"Basic": style})
    assert moved.entries[0].id == 1234567890123


def test_a_style_takes_tags_from_its_last_line():
    note = read("Q: What?\nA: This\nTags: a b\n<!--ID: 77-->\n", styles={"Basic": "question"}, default_tag="")
    (entry,) = note.entries
    assert (entry.fields["Back"], entry.tags, entry.id) == ("This", ("a", "b"), 77)
    assert rules(note) == ["tags-in-style"]


def test_a_style_leaves_code_and_other_cards_alone():
    text = f"```\nQ: a\nA: b\n```\n\nSTART\nBasic\nQ: c\nA: d\nEND\n\n{CARD}"
    assert [entry.kind for entry in read(text, styles={"Basic": "question"}).entries] == ["block", "block"]


def test_a_style_that_runs_into_a_card_is_told():
    note = read(f"# Title\ntext\n{CARD}", styles={"Basic": "header"})
    assert [entry.kind for entry in note.entries] == ["block"] and rules(note) == ["overlap"]


def test_a_style_of_a_cloze_type_needs_a_cloze():
    text = "a {{c1::x}}\n\nno\n\n{y} z\n"
    entries = read(text, styles={"Cloze": "cloze paragraph"}).entries
    assert [entry.fields["Text"] for entry in entries] == ["a {{c1::x}}", "{y} z"]


def test_every_recipe_compiles():
    from softmax.notes.reading._styles import RECIPES, compiled

    assert set(RECIPES) == {"header", "question", "remnote", "ruled", "table", "cloze paragraph"}
    assert all(compiled(name).groups >= 1 for name in RECIPES)
    assert "Basic" in STOCK_TYPES
