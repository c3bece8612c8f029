"""``softmax notes plan``, ``sync`` and ``export``, as a user runs them."""

from __future__ import annotations

import json
import os
import pty
import select
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("markdown_it", reason="the extra notes is not installed (pip install 'softmax[notes]')")
pytest.importorskip("anki", reason="the package anki is not installed (pip install 'softmax[anki]')")

TEXT = """TARGET DECK: Math
START
Basic
What is $a<b$?
Back: an inequality
Tags: t
END

START
Basic
second
Back: answer
<!--ID: 1752949761743-->
END
"""


@pytest.fixture
def vault(softmax, tmp_path, monkeypatch):
    """A vault in the current folder; rendered cards stay away from the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    folder = Path("vault")
    folder.mkdir()
    (folder / "a note.md").write_text(TEXT)
    return folder


def notes_in(path: str) -> list[tuple]:
    database = sqlite3.connect(path)
    try:
        return list(database.execute("select id, guid, tags, flds from notes order by id"))
    finally:
        database.close()


def test_plan_sync_and_nothing_left(softmax, vault):
    done = softmax("notes", "plan", vault)
    assert done.code == 1 and done.err == ""
    assert "2 added" in done.out and "What is" in done.out and "a note.md" in done.out
    assert not Path("vault.anki2").exists() and not (vault / ".softmax").exists()
    done = softmax("notes", "sync", vault, "--yes")
    assert done.code == 0, done.err
    assert "2 added, 1 id written" in done.out
    (_, *_), (_, guid, tags, fields) = sorted(notes_in("vault.anki2"), reverse=True)
    assert guid == "o2a:1752949761743" and tags == " Obsidian_to_Anki " and fields == "second\x1fanswer"
    assert (vault / "a note.md").read_text().count("<!--ID: ") == 2
    for command in (["plan"], ["sync", "--yes"], ["plan", "--json"]):
        done = softmax("notes", *command, vault)
        assert done.code == 0, done
    assert json.loads(done.out)["actions"] == []


def test_a_change_is_shown_in_words(softmax, vault):
    softmax("notes", "sync", vault, "--yes")
    path = vault / "a note.md"
    path.write_text(
        path.read_text().replace("an inequality", "an <b>inequality</b>").replace("DECK: Math", "DECK: New")
    )
    done = softmax("notes", "plan", vault)
    assert "{+<b>+}" in done.out and "deck: [-Math-]{+New+}" in done.out
    assert "1 updated, 2 moved" in done.out


def test_a_plan_in_a_file_is_done_or_refused(softmax, vault):
    done = softmax("notes", "plan", vault, "--out", "plan.json", "--html", "plan.html")
    assert done.code == 1
    plan = json.loads(Path("plan.json").read_text())
    assert plan["counts"]["add"] == 2 and plan["actions"][0]["fields"]["Back"]["new"]
    assert "<math" in Path("plan.html").read_text()
    text = (vault / "a note.md").read_text()
    (vault / "a note.md").write_text(text.replace("second", "third"))
    done = softmax("notes", "sync", vault, "--plan", "plan.json")
    assert done.code == 2 and "the plan is stale" in done.err and not notes_in("vault.anki2")
    (vault / "a note.md").write_text(text)
    done = softmax("notes", "sync", vault, "--plan", "plan.json")
    assert done.code == 0 and len(notes_in("vault.anki2")) == 2


def test_a_single_note(softmax, vault):
    (vault / ".obsidian").mkdir()
    (vault / "b.md").write_text(TEXT.replace("1752949761743", "1752949761744"))
    done = softmax("notes", "sync", vault / "b.md", "--yes", "--collection", "mine.anki2")
    assert done.code == 0 and len(notes_in("mine.anki2")) == 2
    assert "ID: 1752949761743" in (vault / "a note.md").read_text()
    assert (vault / "a note.md").read_text() == TEXT


def test_export(softmax, vault):
    done = softmax("notes", "export", vault, "-o", "deck.apkg")
    assert done.code == 0 and "2 notes" in done.out and Path("deck.apkg").stat().st_size > 1000
    assert (vault / "a note.md").read_text() == TEXT
    done = softmax("notes", "export", vault, "--write-ids", "-q")
    assert done.code == 0 and done.out == "" and Path("vault.apkg").exists()
    assert (vault / "a note.md").read_text().count("<!--ID: ") == 2


def test_without_a_terminal_it_does_not_ask(softmax, vault):
    done = subprocess.run(
        [sys.executable, "-m", "softmax", "notes", "sync", str(vault)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert done.returncode == 2 and "--yes" in done.stderr and "2 added" in done.stdout
    assert "ID: 17" in (vault / "a note.md").read_text() and not notes_in("vault.anki2")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")
@pytest.mark.parametrize(("answer", "code", "notes"), [("y", 0, 2), ("n", 1, 0)])
def test_on_a_terminal_it_asks(softmax, vault, answer, code, notes):
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "softmax", "notes", "sync", str(vault)],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "dumb", "COLUMNS": "80"},
    )
    os.close(follower)
    said = b""
    try:
        while b"Do this?" not in said and select.select([leader], [], [], 60)[0]:
            said += os.read(leader, 1000)
        assert b"2 added" in said
        os.write(leader, f"{answer}\n".encode())
        process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
        os.close(leader)
    assert process.returncode == code
    assert len(notes_in("vault.anki2")) == notes


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["plan", "nowhere"], 2, "there is no file or folder nowhere"),
        (["sync", "vault", "--collection", "x.db", "--yes"], 2, "ends with .anki2"),
        (["sync", "vault", "--collection", "x.anki2", "--anki-connect", "http://127.0.0.1:1"], 2, "pass one of them"),
        (["sync", "vault", "--anki-connect", "http://127.0.0.1:1", "--yes"], 2, "Start Anki"),
        (["sync", "vault", "--plan", "nowhere.json"], 2, "cannot read nowhere.json"),
        (["sync", "vault", "--plan", "vault/a note.md"], 2, "is no plan"),
        (["export", "vault", "-o", "deck.zip"], 2, "ends with .apkg"),
        (["plan"], 2, "Missing argument"),
    ],
)
def test_mistakes(softmax, vault, arguments, code, message):
    done = softmax("notes", *arguments)
    assert done.code == code and message in " ".join(done.err.split())
    assert (vault / "a note.md").read_text() == TEXT


def test_conflicts_and_problems_are_told(softmax, vault):
    softmax("notes", "sync", vault, "--yes")
    from anki.collection import Collection

    collection = Collection(str(Path("vault.anki2").resolve()))
    note = collection.get_note(1752949761743)
    note["Back"] = "mine"
    collection.update_note(note)
    collection.close()
    path = vault / "a note.md"
    path.write_text(path.read_text().replace("answer", "better") + "\nSTART\nBasci\nq\nBack: a\nEND\n")
    done = softmax("notes", "sync", vault, "--yes")
    assert done.code == 1
    assert "Conflict: a note.md:" in done.out and "--prefer vault" in done.out
    assert "Not synced: a note.md:" in done.err and "Basic" in done.err
    assert softmax("notes", "sync", vault, "--yes").out == done.out  # told again, without looking at all again
    done = softmax("notes", "sync", vault, "--yes", "--prefer", "vault")
    assert "1 updated" in done.out
    assert notes_in("vault.anki2")[0][3] == "second\x1fbetter"
