"""What can go wrong around a sync: each ends with a message that says what to do, and with nothing lost."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("anki", reason="the package anki is not installed (pip install 'softmax[anki]')")

from anki.collection import Collection

from softmax._errors import MissingExtraError, NotesError
from softmax.notes.anki import _anki_package
from softmax.notes.anki._steps import watched

from .world import World

CARD = "START\nBasic\nq{0}\nBack: a{0}\n{1}END\n"


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path / "world")
    made.write("a.md", CARD.format(1, "") + CARD.format(2, ""))
    return made


def finished(world: World, notes: int = 2) -> None:
    """The next sync does what is left, and the one after it nothing."""
    world.sync()
    assert len(world.notes()) == notes
    assert "".join(map(world.read, world.names())).count("<!--ID:") == notes
    assert not world.sync()[0].actions


def test_a_file_edited_between_plan_and_apply(world):
    text = world.read("a.md")
    with pytest.raises(NotesError, match=r"a\.md has changed since the plan was made. Nothing was changed"):
        world.sync(between=lambda: world.write("a.md", text + "more\n"))
    assert world.read("a.md") == text + "more\n" and not world.notes()
    finished(world)


def test_a_file_deleted_between_plan_and_apply(world):
    with pytest.raises(NotesError, match=r"a\.md cannot be read any more"):
        world.sync(between=(world.vault / "a.md").unlink)
    assert not world.notes()


@pytest.mark.parametrize("moment", ["apply: after Anki", "file: write", "file: check"])
def test_a_file_edited_while_ids_are_written_keeps_the_edit_and_gets_the_ids(world, moment):
    once = []

    def edit(name):
        if name == moment and not once:
            once.append(name)
            world.write("a.md", "a new line\n" + world.read("a.md").replace("END\n", "END\n\nmore\n", 1))

    with watched(edit):
        _, outcome = world.sync()
    assert once and not outcome.problems and outcome.ids == 2
    text = world.read("a.md")
    assert text.startswith("a new line\n") and "\n\nmore\n" in text and text.count("<!--ID:") == 2
    finished(world)


def test_a_card_edited_while_ids_are_written_gets_its_id_at_the_next_sync(world):
    def edit(name):
        if name == "apply: after Anki":
            world.write("a.md", world.read("a.md").replace("a1", "a1, better"))

    with watched(edit):
        _, outcome = world.sync()
    assert outcome.ids == 1 and "edited in the meantime" in outcome.problems[0].text
    assert world.read("a.md").count("<!--ID:") == 1
    plan, outcome = world.sync()
    assert plan.counts["update"] == 1 and plan.counts["add"] == 0 and outcome.ids == 1
    finished(world)
    assert any("a1, better" in note.fields["Back"] for note in world.notes())


def test_both_sides_of_a_card_edited_while_ids_are_written(world):
    """Neither content nor front is what was synced; but as many cards wait for ids as ids wait for cards."""

    def edit(name):
        if name == "apply: after Anki":
            world.write("a.md", world.read("a.md").replace("q1", "question").replace("a1", "answer"))

    with watched(edit):
        world.sync()
    plan, _ = world.sync()
    assert plan.counts["add"] == 0 and plan.counts["update"] == 1
    finished(world)


def test_a_file_deleted_while_ids_are_written(world):
    world.write("b.md", CARD.format(3, ""))

    def delete(name):
        if name == "apply: after Anki":
            (world.vault / "a.md").unlink()

    with watched(delete):
        _, outcome = world.sync()
    assert outcome.ids == 1 and len(outcome.problems) == 2
    assert len(world.sync()[0].orphans) == 2  # they are in Anki, and --prune deletes them
    world.sync(prune=True)
    assert len(world.notes()) == 1


def test_a_collection_that_anki_has_open(world):
    world.sync()
    world.write("a.md", world.read("a.md").replace("a1", "a3"))
    anki = Collection(str(world.collection))
    try:
        with pytest.raises(NotesError, match=r"is open in Anki. Close Anki .* --anki-connect"):
            world.sync()
        with pytest.raises(NotesError, match="is open in Anki"):
            world.plan()
    finally:
        anki.close()
    finished(world)


@pytest.mark.parametrize("content", [b"no collection", b"SQLite format 3\0" + b"\0" * 100])
def test_a_file_that_is_no_collection_is_left_alone(world, content):
    world.collection.write_bytes(content)
    with pytest.raises(NotesError, match="cannot be opened as a collection"):
        world.sync()
    assert world.collection.read_bytes() == content


def test_a_collection_in_a_folder_that_is_not_there(world):
    world.collection = world.place / "nowhere" / "cards.anki2"
    with pytest.raises(NotesError, match=r"the folder .*nowhere does not exist"):
        world.sync()


def test_a_read_only_file_is_told_before_anything_is_done(world):
    (world.vault / "a.md").chmod(stat.S_IRUSR)
    with pytest.raises(NotesError, match=r"a\.md is read-only.*Nothing was changed.*chmod u\+w"):
        world.sync()
    assert not world.notes()
    (world.vault / "a.md").chmod(stat.S_IRUSR | stat.S_IWUSR)
    finished(world)


def test_a_read_only_file_with_ids_can_be_synced(world):
    world.write("a.md", CARD.format(1, "<!--ID: 1752949761743-->\n"))
    (world.vault / "a.md").chmod(stat.S_IRUSR)
    world.sync()
    assert len(world.notes()) == 1


@pytest.mark.parametrize("name", ["file: create", "file: write", "file: sync", "file: rename"])
def test_a_full_disk_at_a_file_keeps_its_ids_for_the_next_sync(world, name):
    world.write("b.md", CARD.format(3, ""))
    before = world.read("a.md")
    once = []

    def fail(step):
        if step == name and not once:
            once.append(step)
            raise OSError(errno.ENOSPC, "No space left on device")

    with watched(fail):
        _, outcome = world.sync()
    assert (
        "No space left on device" in outcome.problems[0].text
        and "run the same command again" in outcome.problems[0].text
    )
    assert world.read("a.md") == before and not list(world.vault.glob("*.part"))
    assert world.read("b.md").count("ID:") == 1  # one file does not keep another from its id
    finished(world, 3)


def test_a_full_disk_at_the_state_changes_nothing(world):
    def fail(step):
        if step.startswith("state: intend,"):
            raise sqlite3.OperationalError("database or disk is full")

    with watched(fail), pytest.raises(NotesError, match="Free space on the disk"):
        world.sync()
    assert not world.notes() and "ID:" not in world.read("a.md")
    finished(world)


def test_a_full_disk_in_anki_takes_all_back(world):
    def fail(step):
        if step == "collection: import":
            raise OSError(errno.ENOSPC, "No space left on device")

    with watched(fail), pytest.raises(NotesError, match="No space left on device"):
        world.sync()
    assert not world.notes() and "ID:" not in world.read("a.md")
    finished(world)


def test_bytes_that_are_no_utf8_stay_and_the_other_cards_are_synced(world):
    path = world.vault / "b.md"
    raw = b"\xff\xfe broken\n" + CARD.format(3, "").encode() + b"START\nBasic\nq\xff\nBack: a\nEND\n"
    path.write_bytes(raw)
    plan, _ = world.sync()
    assert any(problem.path == "b.md" and "UTF-8" in problem.text for problem in plan.problems)
    after = path.read_bytes()
    assert after.startswith(b"\xff\xfe broken\n") and b"q\xff\nBack: a\nEND\n" in after
    assert after.count(b"<!--ID:") == 1 and len(world.notes()) == 3


def test_windows_newlines_and_a_byte_order_mark_stay(world):
    raw = b"\xef\xbb\xbf" + (CARD.format(1, "") + "\u00e9 the end").replace("\n", "\r\n").encode()
    (world.vault / "a.md").write_bytes(raw)
    world.sync()
    (note,) = world.notes()
    mark = f"<!--ID: {note.id}-->\r\n".encode()
    assert (world.vault / "a.md").read_bytes() == raw.replace(b"END", mark + b"END")
    assert not world.sync()[0].actions


def test_two_cards_with_one_id(world):
    mark = "<!--ID: 1752949761743-->\n"
    world.write("a.md", CARD.format(1, mark))
    world.write("b.md", CARD.format(2, mark) + CARD.format(3, ""))
    plan, _ = world.sync()
    assert {problem.path for problem in plan.problems} == {"a.md", "b.md"}
    assert plan.counts["add"] == 1 and len(world.notes()) == 1


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from softmax._errors import NotesError
from tests.notes.anki.world import World
try:
    World(Path({place!r})).sync()
except NotesError as error:
    print(error)
"""


def test_two_syncs_at_once(world):
    root = Path(__file__).resolve().parents[3]
    code = CHILD.format(root=str(root), place=str(world.place))
    said = []

    def other(name):
        if name == "apply: before Anki":
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
            said.append(done.stdout)

    with watched(other):
        world.sync()
    assert f"another sync of this vault is at work (process {os.getpid()})" in said[0]
    finished(world)


def test_a_state_that_is_damaged_or_newer(world):
    world.sync()
    state = world.vault / ".softmax" / "sync.sqlite"
    state.write_bytes(b"no database, no database, no database")
    with pytest.raises(NotesError, match=r"sync\.sqlite cannot be used.*Move it away"):
        world.sync()
    state.unlink()
    finished(world)
    with sqlite3.connect(state) as database:
        database.execute("pragma user_version = 99")
    database.close()
    with pytest.raises(NotesError, match="Update softmax"):
        world.sync()


def test_a_vault_that_cannot_be_written_to(world, monkeypatch):
    def refuse(self, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(NotesError, match="make the folder writable"):
        world.sync()


def test_without_the_package_anki(world, monkeypatch):
    monkeypatch.setitem(sys.modules, "anki", None)
    monkeypatch.setitem(sys.modules, "anki.collection", None)
    assert world.plan().counts["add"] == 2  # what would be added to a new collection needs no Anki
    with pytest.raises(MissingExtraError, match=r"pip install 'softmax\[anki\]'"):
        world.sync()
    assert _anki_package.FIRST_TYPE_ID  # the module itself loads without it


def test_media_that_cannot_be_read(world):
    world.write("a.md", "START\nBasic\nq\nBack: ![[p.png]]\nEND\n")
    (world.vault / "p.png").write_bytes(b"content")
    with pytest.raises(NotesError, match=r"p\.png.*No such file"):
        world.sync(between=(world.vault / "p.png").unlink)
    assert not world.notes() and "ID:" not in world.read("a.md")


def test_media_by_content(world):
    world.write("a.md", "START\nBasic\nq\nBack: ![[x/p.png]] ![[y/p.png]]\nEND\n")
    for folder, content in (("x", b"one"), ("y", b"two")):
        (world.vault / folder).mkdir()
        (world.vault / folder / "p.png").write_bytes(content)
    world.sync()
    media = world.place / "cards.media"
    assert sorted(path.read_bytes() for path in media.iterdir()) == [b"one", b"two"]
    assert all(path.name in world.notes()[0].fields["Back"] for path in media.iterdir())
    (world.vault / "x" / "p.png").write_bytes(b"three")
    plan, _ = world.sync()
    assert plan.counts["update"] == 1
    assert sorted(path.read_bytes() for path in media.iterdir()) == [b"one", b"three", b"two"]
    assert not world.sync()[0].actions


def test_cards_of_a_file_that_cannot_be_read_are_not_missed(world, monkeypatch):
    world.sync()
    read = Path.read_bytes

    def refuse(path):
        if path.name == "a.md":
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    plan = world.plan(prune=True)
    assert not plan.actions and not plan.orphans
    assert any("cannot be read" in problem.text for problem in plan.problems)
