"""Any bytes give cards or messages, never an exception; an untouched file stays as it is."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
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
structured = st.lists(st.sampled_from(PIECES), max_size=60).map("".join).map(str.encode)
lines = st.lists(st.sampled_from(PIECES), max_size=60).map("\n".join).map(str.encode)
any_bytes = st.one_of(structured, lines, st.binary(max_size=200), structured.map(lambda data: data + b"\xff\xfe\x80"))

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
    wanting = [entry for entry in wanting if entry.id_span is None]
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
