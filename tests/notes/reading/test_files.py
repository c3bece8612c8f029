"""Which files of a folder are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from softmax.notes.reading import findings, read_vault
from softmax.notes.reading._vault import files_below


def test_files_of_folders_that_start_with_a_dot_are_left_out(tmp_path):
    for name in ("b.md", "a/c.md", "a/d.png", ".trash/e.md", "a/.f.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(files_below(tmp_path, deep=True)) == ["b.md", "a/c.md", "a/d.png"]
    assert list(files_below(tmp_path, deep=False)) == ["b.md"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
def test_a_pipe_does_not_hold_up_the_reading_and_a_link_to_nothing_is_told(tmp_path):
    os.mkfifo(tmp_path / "pipe.md")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.md").symlink_to("nowhere.md")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "note.md").write_text("text\n")
    vault = read_vault([tmp_path])
    assert list(vault.notes) == ["note.md"] and vault.media == {}
    assert [(message.rule, message.place.path) for message in findings(vault)] == [("unreadable", "gone.md")]


def test_what_is_wrong_a_thousand_times_in_one_place_is_told_once(tmp_path):
    Path(tmp_path / "card.md").write_text("START\nBasic\nq\nBack: ![[0]]\nEND\n")
    for i in range(12):
        (tmp_path / f"{i}.md").write_text(f"![[{i + 1}]] ![[{i + 1}]]\n")
    (tmp_path / "12.md").write_text("end\n")
    told = [message.rule for message in findings(read_vault([tmp_path]))]
    assert told == ["embed-depth"]
