"""Any bytes give cards or messages, never an exception; an untouched file stays as it is."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from softmax.notes._settings import Settings
from softmax.notes.reading import apply_edits, id_edit, read_note, removal_edits, tokenize

# What the format is made of: random text of these finds more than random bytes.
PIECES = [
    *("START", "END", "STARTI", "ENDI", "TARGET DECK", "FILE TAGS", "FROZEN - Basic:", "DELETE", "ENDLESS"),
    *("Basic", "Cloze", "basic", "Front:", "Back:", "Text:", "Tags: a b", "Tags:", "ID: 1752949761743", "Q: ", "A: "),
    *(
        "<!--ID: 1752949761743-->",
        "<!--",
        "-->",
        "%%",
        "$",
        "$$",
        "`",
        "```",
        "~~~",
        "```py",
        "\\",
        "\\$",
        "<b>",
        "</pre>",
    ),
    *(
        "<pre>",
        "[[a]]",
        "![[a#b]]",
        "![[a.png|100]]",
        "{{c1::",
        "}}",
        "{",
        "}",
        "==",
        "#",
        "## h",
        "---",
        "|",
        "- ",
        "> ",
    ),
    *("\n", "\n\n", "\r\n", "\r", " ", "\t", "    ", "é", "中", "\x00", "\u2028", "5", "x", "[Basic]", ": ", "\ufeff"),
]


def joined(glue, *, most=40):
    """Text of pieces; most lists that hypothesis draws are short, so their length is drawn first."""
    many = st.integers(0, most).flatmap(lambda n: st.lists(st.sampled_from(PIECES), min_size=n, max_size=n))
    return many.map(glue.join)


TYPES = st.sampled_from(["Basic", "Basic ", "basic", "Cloze", "Rule", "Basic (optional reversed card)", "", "x"])
TAILS = st.lists(
    st.sampled_from(["Tags: a b", "<!--ID: 1752949761743-->", "ID: 7", "DELETE", "", "text", "ID: 7 text", " END"]),
    max_size=4,
)
cards = st.tuples(
    TYPES, joined("\n", most=8), joined(" ", most=6), TAILS, st.sampled_from(["END", "END ", "", "ENDS"])
).map(lambda card: "\n".join(["START", card[0], card[1], f"Back: {card[2]}", *card[3], card[4], ""]))
inline = st.tuples(joined(" ", most=5), joined(" ", most=5)).map(
    lambda parts: f"STARTI [Basic] {parts[0]} Back: {parts[1]} ENDI\n".replace("\n", " ") + "\n"
)
files = st.lists(st.one_of(cards, cards, inline, joined(" ", most=8)), max_size=5).map("".join).map(str.encode)
structured = joined("").map(str.encode)
lines = joined("\n").map(str.encode)
broken = st.tuples(files, st.integers(0, 99), st.binary(max_size=3)).map(lambda t: t[0][: t[1]] + t[2] + t[0][t[1] :])
windows = files.map(lambda data: data.replace(b"\n", b"\r\n"))
any_bytes = st.one_of(files, files, structured, lines, st.binary(max_size=200), broken, windows)

STYLED = Settings(styles={"Basic": "header", "Basic (and reversed card)": "question", "Cloze": "cloze paragraph"})
WHOLE = Settings(styles=dict(zip(list(Settings().note_types), ["question", "remnote", "ruled", "table"], strict=False)))


@pytest.mark.parametrize("choice", [Settings(), STYLED, WHOLE], ids=["plain", "styled", "recipes"])
@given(data=any_bytes)
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_read(data, choice):
    note = read_note("folder/note.md", data, choice)
    assert note.encode(note.text) == data == note.raw
    assert "".join(note.text[s.start : s.end] for s in note.segments) == note.text
    length = len(note.text)
    for segment in note.segments:
        assert segment.start <= segment.inner.start <= segment.inner.end <= segment.end
        assert segment.start < segment.end
    for message in note.messages:
        assert message.place.line >= 1 and message.place.column >= 1
        assert message.text.endswith((".", "?"))
        assert message.end is None or message.end > message.place
    for entry in note.entries:
        assert 0 <= entry.span.start < entry.span.end <= length
        assert entry.place == note.place(entry.span.start)
        assert (entry.kind == "delete") == (entry.note_type == "")
        if entry.kind == "delete":
            continue
        assert tuple(entry.fields) == choice.note_types[entry.note_type]
        for name, spans in entry.field_spans.items():
            there = "".join(note.text[start:end] for start, end in spans).replace("\r\n", "\n")
            assert "".join(there.split()) == "".join(entry.fields[name].split())


@given(data=any_bytes)
@settings(max_examples=400, deadline=None)
def test_a_new_id_is_read_back_and_changes_nothing_else(data):
    note = read_note("note.md", data)
    wanting = [entry for entry in note.entries if entry.kind in ("block", "inline") and entry.id is None]
    wanting = [entry for entry in wanting if entry.id_span is None and not entry.delete]
    # A comment that opens in a card of one line and closes in another card is cut by the id between them.
    assume("<!--" not in note.text.replace("<!--ID", ""))
    edits = [id_edit(note, entry, 1700000000000 + i) for i, entry in enumerate(wanting)]
    again = read_note("note.md", note.encode(apply_edits(note.text, edits)))
    assert [entry.id for entry in again.entries if entry.id and 1700000000000 <= entry.id < 1700000001000] == [
        1700000000000 + i for i in range(len(wanting))
    ]
    assert [entry.fields for entry in again.entries] == [entry.fields for entry in note.entries]
    assert [entry.tags for entry in again.entries] == [entry.tags for entry in note.entries]


@given(data=any_bytes)
@settings(max_examples=200, deadline=None)
def test_a_deleted_entry_goes(data):
    note = read_note("note.md", data)
    for entry in note.entries:
        if entry.delete:
            text = apply_edits(note.text, removal_edits(note, replace(entry)))
            assert len(text) < len(note.text)


@given(text=st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
@settings(max_examples=400, deadline=None)
def test_segments_cover_the_text(text):
    segments = tokenize(text)
    assert "".join(text[s.start : s.end] for s in segments) == text
    assert all(a.end == b.start for a, b in pairwise(segments))
