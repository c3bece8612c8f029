"""Edits change what they say and no other byte, and a file that changed meanwhile is not written."""

from __future__ import annotations

import os
import stat

import pytest
from hypothesis import given, settings

from softmax import NotesError
from softmax.notes._settings import Settings
from softmax.notes.reading import Edit, apply_edits, format_note, id_edit, read_note, removal_edits, write_edits

from .test_plugin import texts


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("comment", [True, False])
def test_an_id_goes_above_end(newline, bom, end, comment):
    text = f"{bom}é\nSTART\nBasic\nq\nBack: a\nEND{end}".replace("\n", newline)
    note = read_note("note.md", text.encode())
    (entry,) = note.entries
    data = note.encode(apply_edits(note.text, [id_edit(note, entry, 77, comment=comment)]))
    mark = "<!--ID: 77-->" if comment else "ID: 77"
    assert data.decode() == text.replace(f"{newline}END", f"{newline}{mark}{newline}END")


def test_an_id_goes_before_endi():
    for text, wanted in [
        ("STARTI [Basic] q Back: a ENDI", "STARTI [Basic] q Back: a <!--ID: 77--> ENDI"),
        ("STARTI [Basic] q Back: aENDI", "STARTI [Basic] q Back: a <!--ID: 77--> ENDI"),
    ]:
        note = read_note("note.md", text.encode())
        assert apply_edits(note.text, [id_edit(note, note.entries[0], 77)]) == wanted


def test_an_id_that_is_there_keeps_its_form():
    note = read_note("note.md", b"START\nBasic\nq\nBack: a\nID: 5\nEND\n")
    assert "\nID: 123\nEND" in apply_edits(note.text, [id_edit(note, note.entries[0], 123)])


def test_a_deleted_card_stays_as_text():
    note = read_note("note.md", b"x\nSTART\nBasic\nq\nBack: a\nDELETE\n<!--ID: 5-->\nEND\ny\n")
    assert apply_edits(note.text, removal_edits(note, note.entries[0])) == "x\nq\nBack: a\ny\n"


def test_edits_must_not_overlap():
    assert apply_edits("abcd", [Edit(3, 3, "z"), Edit(0, 1, "x")]) == "xbczd"
    for edits in ([Edit(0, 2, ""), Edit(1, 3, "")], [Edit(0, 9, "")], [Edit(-1, 0, "")]):
        with pytest.raises(ValueError, match="edits must lie in"):
            apply_edits("abcd", edits)


def test_writing(tmp_path):
    file = tmp_path / "a" / "note.md"
    file.parent.mkdir()
    file.write_bytes(b"\xef\xbb\xbfone\r\ntwo\xff")
    file.chmod(0o640)
    note = read_note("a/note.md", file.read_bytes())
    data = write_edits(tmp_path, note, [Edit(0, 3, "1")])
    assert file.read_bytes() == data == b"\xef\xbb\xbf1\r\ntwo\xff"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640 and os.listdir(file.parent) == ["note.md"]


def test_a_file_that_changed_is_not_written(tmp_path):
    file = tmp_path / "note.md"
    file.write_bytes(b"one")
    note = read_note("note.md", file.read_bytes())
    file.write_bytes(b"one, and more")
    with pytest.raises(NotesError, match=r"note\.md has changed since it was read"):
        write_edits(tmp_path, note, [Edit(0, 3, "1")])
    assert file.read_bytes() == b"one, and more" and os.listdir(tmp_path) == ["note.md"]


def test_a_file_that_is_gone_is_not_made(tmp_path):
    note = read_note("note.md", b"one")
    (tmp_path / "note.md").write_bytes(b"one")
    (tmp_path / "note.md").unlink()
    with pytest.raises(NotesError):
        write_edits(tmp_path, note, [Edit(0, 3, "1")])
    assert os.listdir(tmp_path) == []


FORMATS = [
    ("START \nBasic\nq\nBack: a\nEND\n", "START\nBasic\nq\nBack: a\nEND\n"),
    ("START\nbasic \nq\nBack: a\nEND\n", "START\nBasic\nq\nBack: a\nEND\n"),
    (
        "START\nBasic\nq\nBack: a\n<!--ID: 7-->\nTags: x\nEND\n",
        "START\nBasic\nq\nBack: a\nTags: x\n<!--ID: 7-->\nEND\n",
    ),
    (
        "START\nBasic\nq\nBack: a\nTags: x\n\n<!--ID: 7-->\nEND\n",
        "START\nBasic\nq\nBack: a\nTags: x\n<!--ID: 7-->\nEND\n",
    ),
    ("START\nBasic\nq\nBack: a\n<!--ID: 7-->\nb\nEND\n", "START\nBasic\nq\nBack: a\nb\n<!--ID: 7-->\nEND\n"),
    ("START\nBasic\nq\nBack: \\( x_1 \\) \\[y\\]\nEND\n", "START\nBasic\nq\nBack: $x_1$ $$y$$\nEND\n"),
    ("START\nBasic\nq\nBack: a <!--ID: 7-->\nEND\n", "START\nBasic\nq\nBack: a \n<!--ID: 7-->\nEND\n"),
    ("START\nBasic\nq\nBack: a\nTags: x, y\nEND\n", "START\nBasic\nq\nBack: a\nTags: x y\nEND\n"),
    ("START\nBasic\nq\n back: a\nEND\n", "START\nBasic\nq\nBack: a\nEND\n"),
    ("START\nBasic\nq\nBack: a\n  END\n", "START\nBasic\nq\nBack: a\nEND\n"),
    ("START\nBasic\nq\nBack: $ x $ $5\nEND\n", "START\nBasic\nq\nBack: $x$ \\$5\nEND\n"),
    ("START\nBasic\nq\nBack: a\nENDLESS\nEND\n", "START\nBasic\nq\nBack: a\n ENDLESS\nEND\n"),
    ("TARGET DECK:A \nSTART\nBasic\nq\nBack: a\nEND\n", "TARGET DECK: A\nSTART\nBasic\nq\nBack: a\nEND\n"),
    ("START\nCloze\n{{c1::$\\frac{1}{\\sqrt{2}}$}}\nEND\n", "START\nCloze\n{{c1::$\\frac{1}{\\sqrt{2} }$}}\nEND\n"),
]


@pytest.mark.parametrize(("text", "wanted"), FORMATS)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_repairs(text, wanted, newline):
    text, wanted = text.replace("\n", newline), wanted.replace("\n", newline)
    note = read_note("note.md", text.encode())
    new, gone = format_note(note)
    assert new.text == wanted and gone
    assert [message.rule for message in new.messages if message.rule != "crlf"] == []
    assert format_note(new)[0].text == wanted


def test_newlines_are_changed_on_request():
    data = "\ufeffSTART\r\nBasic\r\nq\r\nBack: a\r\nEND".encode()
    note = read_note("note.md", data)
    assert format_note(note)[0].raw == data
    assert format_note(note, Settings(), newlines=True)[0].raw == b"START\nBasic\nq\nBack: a\nEND"


@given(text=texts)
@settings(max_examples=300, deadline=None)
def test_repairs_lose_no_card_and_no_id_and_come_to_an_end(text):
    note = read_note("note.md", text.encode())
    new, _ = format_note(note)
    assert {entry.id for entry in note.entries} <= {entry.id for entry in new.entries} | {None}
    assert len(new.entries) >= len(note.entries)
    assert format_note(new)[0].raw == new.raw
