"""START…END: what each edge case of the format gives, and what is said about it."""

from __future__ import annotations

import pytest

from softmax.notes._settings import Keywords, Settings
from softmax.notes.reading import read_note

ID = 1700000000001


def read(text, **settings):
    return read_note("note.md", text.encode(), Settings(**settings))


def rules(note):
    return [message.rule for message in note.messages]


def only(text, **settings):
    """Return the only card of a text, about which nothing is to be said."""
    note = read(text, **settings)
    assert rules(note) == []
    (entry,) = note.entries
    return entry


def test_a_whole_card():
    card = f"START\nBasic\nWhat is $x$?\n- a list\nBack: It is\n\n$$\nx\n$$\n\nTags: a b\n<!--ID: {ID}-->\nEND"
    text = f"before\n\n{card}\nafter\n"
    entry = only(text)
    assert (entry.kind, entry.note_type, entry.id, entry.deck) == ("block", "Basic", ID, "Default")
    assert entry.fields == {"Front": "What is $x$?\n- a list", "Back": "It is\n\n$$\nx\n$$"}
    assert entry.tags == ("a", "b", "Obsidian_to_Anki")
    assert text[slice(*entry.span)].startswith("START\nBasic") and text[slice(*entry.span)].endswith("\nEND")
    assert text[slice(*entry.id_span)] == f"<!--ID: {ID}-->\n"
    assert text[entry.id_at :].startswith("END")
    assert entry.place == ("note.md", 3, 1)


@pytest.mark.parametrize(
    ("lines", "fields"),
    [
        ("Basic\nq\nBack: a", ("q", "a")),
        ("Basic\nq\nBack:a", ("q", "a")),  # no space is needed after the colon
        ("Basic\nFront: q\nBack: a", ("q", "a")),
        ("Basic\nBack: a\nFront: q", ("q", "a")),  # any order
        ("Basic\nq\nBack: a\nFront: more", ("q\nmore", "a")),  # a field named again goes on
        ("Basic\nq\nBack:\n    indented\nEND?", ("q", "indented\nEND?")),
        ("Basic\n\n\nq\n\nBack: a\n\n\nb\n\n", ("q", "a\n\n\nb")),
        ("Basic\nq\nBackground: x\nBack: a", ("q\nBackground: x", "a")),
        ("Basic\nq\nBack: a\n```yaml\n Back: in code\n```", ("q", "a\n```yaml\n Back: in code\n```")),
        ("Basic\nq\nBack: a\nID 5 of b", ("q", "a\nID 5 of b")),
    ],
)
def test_fields(lines, fields):
    text = f"START\n{lines}\nEND"
    assert tuple(read(text).entries[0].fields.values()) == fields


def test_a_tag_line_that_is_empty_gives_no_tags():
    note = read(f"START\nBasic\nq\nBack: a\nTags:\nID: {ID}\nEND\n", default_tag="")
    (entry,) = note.entries
    assert rules(note) == ["no-tags"]
    assert entry.tags == () and entry.fields["Back"] == "a" and entry.id == ID


# (what is between START and END, rules, fields of the card or None, tags, id)
EDGES = [
    ("Basic \nq\nBack: a\n", ["space-at-type"], ("q", "a"), (), None),
    ("basic\nq\nBack: a\n", ["unknown-type"], None, (), None),
    ("Basik\nq\nBack: a\n", ["unknown-type"], None, (), None),
    ("\n\n", ["empty-card"], None, (), None),
    ("Basic\nq\n Back: a\n", ["field-name"], ("q\n Back: a", ""), (), None),
    ("Basic\nq\nback: a\n", ["field-name"], ("q\nback: a", ""), (), None),
    ("Basic\nq\nBack: a\nTags: x\n\n<!--ID: 77-->\n", ["tags-apart"], ("q", "a"), ("x",), 77),
    ("Basic\nq\nBack: a\n<!--ID: 77-->\nTags: x\n", ["tags-after-id"], ("q", "a"), ("x",), 77),
    ("Basic\nq\nBack: a\n<!--ID: 77-->\nmore\n", ["text-after-id"], ("q", "a\nmore"), (), 77),
    ("Basic\nq\nBack: a\n<!--ID: 77--> more\n", ["text-after-id"], ("q", "a\n more"), (), 77),
    ("Basic\nq\nBack: a\n<!--ID: 76-->\nb\n<!--ID: 77-->\n", ["two-ids"], ("q", "a\nb"), (), 77),
    ("Basic\nq\nBack: a\n<!--ID: 76-->\nb\n<!--ID: 77-->\nc\n", ["two-ids", "text-after-id"], ("q", "a\nb\nc"), (), 77),
    ("Basic\nq\nBack: a <!--ID: 77-->\n", ["id-behind-text"], ("q", "a"), (), 77),
    ("Basic\nq\nBack: see `<!--ID: 77-->` here\n", ["id-in-text"], ("q", "see `<!--ID: 77-->` here"), (), None),
    ("Basic\nq\nBack: see Patient ID: 123 here\n", ["id-in-text"], ("q", "see Patient ID: 123 here"), (), None),
    ("Basic\nq\nBack: a\nTags: x, y;\n", ["comma-in-tags"], ("q", "a"), ("x", "y"), None),
    ("Basic\nq\nBack: a\nTags: x  y\n", [], ("q", "a"), ("x", "y"), None),
    ("Basic\nq\nBack: a\nENDLESS loop\n", ["end-in-text"], ("q", "a\nENDLESS loop"), (), None),
    ("Basic\nq\nBack: a\n```\nBack: b\n```\n", ["field-in-code"], ("q", "a\n```\nBack: b\n```"), (), None),
    ("Basic\nq\nBack: a\n```\nEND\n```\n", ["end-in-text"], ("q", "a\n```\nEND\n```"), (), None),
    ("Basic\nq\nBack: a\n```\nx\n", ["unclosed-code"], ("q", "a\n```\nx"), (), None),
    ("Basic\nq\nBack: a\n$$\nx\n", ["unclosed-maths"], ("q", "a\n$$\nx"), (), None),
    ("Basic\nq $$\nBack: a $$\n", ["unclosed-maths", "unclosed-maths"], ("q $$", "a $$"), (), None),
    ("Basic\nq\nBack: costs $5 and $6 then $x$\n", ["dollar", "dollar"], ("q", "costs $5 and $6 then $x$"), (), None),
    ("Basic\nq\nBack: $ x $\n", ["space-in-maths"], ("q", "$ x $"), (), None),
    ("Basic\nq\nBack: \\$5\n", [], ("q", "\\$5"), (), None),
    ("Basic\nq\nBack: \\(x\\) so\n", ["latex-delimiters"], ("q", "\\(x\\) so"), (), None),
    ("Basic\nq\nBack: \\begin{align}x\n", ["bare-environment"], ("q", "\\begin{align}x"), (), None),
    ("Basic\nq\nBack: $\\begin{align}x$ `\\(x\\)` \\\\(x\\\\)\n", [], None, (), None),
    ("Basic\nBack: a\n", ["no-question"], ("", "a"), (), None),
    ("Basic\nq\nBack: a\nID: 00\n", ["bad-id"], ("q", "a"), (), None),
    (f"Basic\nq\nBack: a\nID: {'9' * 5000}\n", ["bad-id"], ("q", "a"), (), None),
    ("Cloze\nno cloze here\n", ["no-cloze"], ("no cloze here", ""), (), None),
    ("Cloze\n{{c1::x}} y\n", [], ("{{c1::x}} y", ""), (), None),
    ("Cloze\n{{c1::$\\sqrt{\\frac{a}{2}}$}}\n", ["cloze-cut"], ("{{c1::$\\sqrt{\\frac{a}{2}}$}}", ""), (), None),
    ("Cloze\n$\\sqrt{\\frac{a}{2}}$ {{c1::x}}\n", [], ("$\\sqrt{\\frac{a}{2}}$ {{c1::x}}", ""), (), None),
]


@pytest.mark.parametrize(("inside", "said", "fields", "tags", "number"), EDGES, ids=[edge[0][:40] for edge in EDGES])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_edges(inside, said, fields, tags, number, newline):
    text = f"START\n{inside}END\n".replace("\n", newline)
    note = read(text, default_tag="")
    assert sorted(rules(note)) == sorted([*said, *(["crlf"] if newline == "\r\n" and note.entries else [])])
    for message in note.messages:
        assert message.place.line >= 1
    if fields is None:
        assert note.entries == () or not said
        return
    (entry,) = note.entries
    assert (tuple(entry.fields.values()), entry.tags, entry.id) == (fields, tags, number)


def test_messages_name_line_and_column():
    note = read("x\n\nSTART\nBasik\nq\nEND\n")
    (message,) = note.messages
    assert message.place == ("note.md", 4, 1) and message.end == ("note.md", 4, 6)
    assert message.suggestion == "Did you mean 'Basic'?"
    (message,) = read("START\nBasic\nq\nBack: see Patient ID: 123 here\nEND\n").messages
    assert message.place == ("note.md", 4, 19)


@pytest.mark.parametrize("start", ["START ", "START\t"])
def test_white_space_after_start(start):
    note = read(f"{start}\nBasic\nq\nBack: a\nEND\n")
    assert rules(note) == ["space-after-start"] and len(note.entries) == 1


def test_white_space_after_end():
    assert only("START\nBasic\nq\nBack: a\nEND  \n").fields["Back"] == "a"


def test_an_unclosed_card_does_not_swallow_the_next():
    note = read("START\nBasic\nq\nBack: a\n\ntext\n\nSTART\nBasic\nq2\nBack: a2\nEND\n")
    assert rules(note) == ["unclosed-start"] and note.messages[0].place.line == 1
    assert [entry.fields["Front"] for entry in note.entries] == ["q2"]


def test_the_end_that_was_meant_is_named():
    note = read("START\nBasic\nq\nBack: a\n  END\n")
    assert rules(note) == ["unclosed-start"] and "line 5" in note.messages[0].suggestion


def test_an_indented_card_is_told():
    note = read("- x\n  START\n  Basic\n  q\n  END\n")
    assert "indented-start" in rules(note) and not note.entries


@pytest.mark.parametrize(
    "text",
    [
        "```\nSTART\nBasic\nq\nBack: a\nEND\n```\n",
        "~~~~md\nSTART\nBasic\nq\nBack: a\nEND\n~~~~\n",
        "%%\nSTART\nBasic\nq\nBack: a\nEND\n%%\n",
        "<!--\nSTART\nBasic\nq\nBack: a\nEND\n-->\n",
        "---\nx: |\nSTART\nBasic\nEND\n---\n",
    ],
)
def test_a_card_in_code_or_a_comment_is_none(text):
    note = read(text)
    assert note.entries == () and rules(note) == ["hidden-card"] and note.messages[0].severity == "remark"


def test_a_hidden_card_with_an_id_is_a_warning():
    note = read("```\nSTART\nBasic\nq\nBack: a\n<!--ID: 77-->\nEND\n```\n")
    assert note.entries == () and note.messages[0].severity == "warning" and "77" in note.messages[0].text


def test_an_open_comment_or_fence_hides_no_card():
    note = read("<!-- x\n\n```\ny\n\nSTART\nBasic\nq\nBack: a\n<!--ID: 77-->\nEND\n")
    assert [entry.id for entry in note.entries] == [77]
    assert {"unclosed-comment", "unclosed-code"} <= set(rules(note))


def test_code_that_is_not_closed_ends_with_its_card():
    note = read("START\nBasic\nq\nBack: a\n```py\nx\nEND\n\n```\ncode\n```\nEND of it\n")
    (entry,) = note.entries
    assert entry.fields["Back"] == "a\n```py\nx" and note.place(entry.span.end) == ("note.md", 7, 4)
    assert rules(note) == ["unclosed-code"]


def test_an_unclosed_formula_does_not_reach_the_next_card():
    note = read("START\nBasic\nq\nBack: $$x\nEND\n\nSTART\nBasic\nq $$y$$\nBack: a\nEND\n")
    assert [entry.fields["Front"] for entry in note.entries] == ["q", "q $$y$$"]
    shown = [note.text[s.start : s.end] for s in note.segments if s.kind == "maths"]
    assert shown == ["$$y$$"]


def test_delete_in_a_card():
    entry = only("START\nBasic\nq\nBack: a\nDELETE\n<!--ID: 77-->\nEND\n")
    assert entry.delete and entry.id == 77


def test_the_same_id_twice():
    card = "START\nBasic\nq\nBack: a\n<!--ID: 77-->\nEND\n"
    note = read(card + card)
    assert rules(note) == ["duplicate-id"] * 2 and [message.place.line for message in note.messages] == [5, 11]


def test_an_id_of_no_card():
    note = read("text\n<!--ID: 77-->\n")
    assert rules(note) == ["stray-id"]


def test_keywords_can_be_renamed():
    words = Keywords(begin="CARD", end="STOP", deck="DECK", delete="REMOVE")
    note = read("DECK: A::B\nCARD\nBasic\nq\nBack: a\nEND\nSTOP\nREMOVE\nID: 5\n", keywords=words)
    assert [(entry.kind, entry.deck) for entry in note.entries] == [("block", "A::B"), ("delete", "A::B")]
    assert note.entries[0].fields["Back"] == "a\nEND"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"START\nBasic\nq\xff\nBack: a\nEND\n", ["not-utf8", "not-utf8-card"]),
        (b"caf\xe9\nSTART\nBasic\nq\nBack: a\nEND\n", ["not-utf8"]),
        ("START\nBasic\nq\nBack: a\nEND\n".encode("utf-16"), ["not-utf8"]),
    ],
)
def test_bytes_that_are_no_utf8(data, said):
    note = read_note("note.md", data)
    assert sorted(rules(note)) == said
    assert len(note.entries) == (1 if data.startswith(b"caf") else 0)
    assert note.encode(note.text) == data


def test_a_byte_order_mark():
    data = "\ufeffSTART\nBasic\nq\nBack: a\nEND".encode()
    note = read_note("note.md", data)
    assert note.bom and not note.final_newline and note.entries[0].place == ("note.md", 1, 1)
    assert note.encode(note.text) == data


def test_ignored_files_have_no_cards():
    text = b"START\nBasic\nq\nBack: a\nEND\n"
    assert read_note("a/b.excalidraw.md", text).entries == ()
    assert read_note("a/b.md", text, Settings(scan_directory="c")).entries == ()
    assert len(read_note("c/b.md", text, Settings(scan_directory="c")).entries) == 1
