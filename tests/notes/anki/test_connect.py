"""Syncing with a running Anki through AnkiConnect, played by a server with its known mistakes."""

from __future__ import annotations

import contextlib
import time

import pytest

pytest.importorskip("anki", reason="the package anki is not installed (pip install 'softmax[anki]')")

from softmax._errors import MissingExtraError, NotesError
from softmax.notes.anki import _connect
from softmax.notes.anki._cards import Medium
from softmax.notes.anki._connect import AnkiConnect
from softmax.notes.anki._steps import watched

from .fake_ankiconnect import FakeAnki
from .world import World

CARD = "START\nBasic\nq{0}\nBack: a{0}\nTags: t\n{1}END\n"


@pytest.fixture
def anki(tmp_path):
    fake = FakeAnki(tmp_path / "running.anki2")
    yield fake
    with contextlib.suppress(Exception):
        fake.close()


@pytest.fixture
def world(tmp_path, anki):
    return World(tmp_path / "world", lambda: AnkiConnect(anki.url, timeout=5.0))


@pytest.fixture(params=["package", "one by one", "old add-on"])
def way(request, monkeypatch, anki):
    """How new notes go in."""
    if request.param == "one by one":

        def missing(*_, **__):
            raise MissingExtraError("no anki")

        monkeypatch.setattr(_connect, "build_package", missing)
    elif request.param == "old add-on":
        anki.unsupported = {"findModelsByName", "getActiveProfile"}
    return request.param


def rows(anki):
    notes = []
    for note_id in sorted(anki.col.find_notes("")):
        note = anki.col.get_note(note_id)
        decks = {anki.col.decks.name(card.did) for card in note.cards()}
        notes.append((note.id, note.guid, list(note.fields), note.tags, decks))
    return notes


def test_notes_arrive_in_their_decks_with_their_ids_and_nothing_else_changes(world, anki, way):
    types = anki.col.models.all()
    world.write("a.md", "TARGET DECK: A::B\n" + CARD.format(1, "") + CARD.format(2, "<!--ID: 1752949761743-->\n"))
    plan, outcome = world.sync()
    assert plan.counts["add"] == 2 and not outcome.problems
    assert anki.col.models.all() == types
    found = rows(anki)
    assert len(found) == 2
    for _, _, _, tags, decks in found:
        assert tags == ["Obsidian_to_Anki", "t"] or way != "package"
        assert decks == {"A::B"}
    if way == "package":
        assert found[0][0] == 1752949761743
        assert all(guid == f"o2a:{note_id}" for note_id, guid, *_ in found)
    text = world.read("a.md")
    assert text.count("<!--ID:") == 2 and "<!--ID: 1752949761743-->" in text
    plan, _ = world.sync()
    assert not plan.actions
    world.write("a.md", text.replace("a1", "a1 new").replace("Tags: t", "Tags: u", 1).replace("A::B", "C"))
    plan, outcome = world.sync()
    assert plan.counts == {"add": 0, "update": 1, "move": 2, "retag": 1, "link": 0, "delete": 0}
    assert not outcome.problems
    assert {deck for *_, decks in rows(anki) for deck in decks} == {"C"}
    world.write("a.md", "DELETE\n<!--ID: 1752949761743-->\n" + text[: text.index("END\n") + 4])
    plan, _ = world.sync()
    assert plan.counts["delete"] == 1
    assert len(rows(anki)) == 1


def test_a_kill_between_anki_and_the_files_leaves_no_duplicate(world, anki, way):
    world.write("a.md", CARD.format(1, "") + CARD.format(2, "<!--ID: 1752949761743-->\n"))

    class KilledError(BaseException):
        pass

    def die(name):
        if name == "apply: after Anki":
            raise KilledError

    with watched(die), pytest.raises(KilledError):
        world.sync()
    assert "ID: 17529" in world.read("a.md") and world.read("a.md").count("ID:") == 1
    world.sync()
    assert len(rows(anki)) == 2 and world.read("a.md").count("ID:") == 2
    assert not world.sync()[0].actions
    assert len(rows(anki)) == 2


def test_the_same_cards_as_in_a_collection(world, anki, tmp_path):
    text = "TARGET DECK: A::B\n" + "".join(CARD.format(i, f"<!--ID: {1752949761743 + i}-->\n") for i in range(3))
    other = World(tmp_path / "other")
    for each in (world, other):
        each.write("a.md", text)
        each.sync()
    (tmp_path / "running copy").mkdir()
    anki.close()
    seen = World(tmp_path / "running copy")
    seen.collection = tmp_path / "running.anki2"
    assert seen.notes() == other.notes()


def test_media_are_sent_once(anki, tmp_path):
    (tmp_path / "p.png").write_bytes(b"content")
    backend = AnkiConnect(anki.url)
    for _ in range(2):
        backend._store([Medium("p-0123.png", tmp_path / "p.png")] * 2)
    assert anki.calls.count("storeMediaFile") == 1
    assert (anki.col.media.dir() + "/p-0123.png") and anki.col.media.have("p-0123.png")


def test_an_anki_elsewhere_gets_the_package_through_its_media_folder(world, anki, monkeypatch):
    world.write("a.md", CARD.format(1, ""))
    world._backend = lambda: elsewhere(anki.url)

    def elsewhere(url):
        backend = AnkiConnect(url)
        backend._is_here = False
        return backend

    world.sync()
    assert len(rows(anki)) == 1
    assert not anki.do_getMediaFilesNames("_softmax*")


def test_nothing_listens(world, anki):
    anki.stop()
    with pytest.raises(NotesError, match=r"nothing answers at .* Start Anki"):
        world.plan()


def test_silence(world, anki):
    anki.hang = 1.0
    world._backend = lambda: AnkiConnect(anki.url, timeout=0.2)
    with pytest.raises(NotesError, match=r"did not answer within 0.2 s"):
        world.plan()


@pytest.mark.parametrize("fault", ["drop", "cut", "status", "key"])
def test_half_an_answer_changes_no_file_and_the_next_sync_does_the_rest(world, anki, fault):
    world.write("a.md", CARD.format(1, "") + CARD.format(2, "<!--ID: 1752949761743-->\n"))
    before = world.read("a.md")
    message = {
        "drop": "answered 0 of 1 actions|answered . of .",
        "cut": "broke|not whole",
        "status": "status 403",
        "key": "ANKI_CONNECT_KEY",
    }

    def break_it():
        anki.drop, anki.cut = int(fault == "drop"), fault == "cut"
        anki.status = 403 if fault == "status" else 200
        anki.key = "secret" if fault == "key" else None

    with pytest.raises(NotesError, match=message[fault]):
        world.sync(between=break_it)
    assert world.read("a.md") == before
    anki.drop, anki.cut, anki.status, anki.key = 0, False, 200, None
    world.sync()
    assert len(rows(anki)) == 2 and world.read("a.md").count("ID:") == 2


def test_anki_that_dies_in_the_middle(world, anki, tmp_path):
    world.write("a.md", CARD.format(1, "") + CARD.format(2, ""))
    anki.after["importPackage"] = lambda: setattr(anki, "cut", True)
    with pytest.raises(NotesError, match="run the same command again"):
        world.sync()
    assert "ID:" not in world.read("a.md")
    assert len(rows(anki)) == 2  # it had done it
    anki.after, anki.cut = {}, False
    plan, _ = world.sync()
    assert plan.counts["add"] == 0 and plan.counts["link"] == 2
    assert len(rows(anki)) == 2 and world.read("a.md").count("ID:") == 2


def test_a_refused_note_is_told_and_gets_no_id(world, anki, monkeypatch):
    monkeypatch.setattr(_connect, "build_package", lambda *_, **__: (_ for _ in ()).throw(MissingExtraError("no anki")))

    def refuse(note):
        raise Exception("cannot create note because it is empty")

    anki.do_addNote = refuse
    world.write("a.md", CARD.format(1, ""))
    _, outcome = world.sync()
    assert "cannot create note" in outcome.problems[0].text and "ID:" not in world.read("a.md")


def test_an_update_that_does_not_arrive_is_noticed(world, anki):
    """The add-on may leave a note alone that is open in the Browser, and say that all went well."""
    world.write("a.md", CARD.format(1, ""))
    world.sync()
    world.write("a.md", world.read("a.md").replace("a1", "a2"))
    anki.do_updateNoteFields = lambda note: None
    _, outcome = world.sync()
    assert "field Back did not become" in outcome.problems[0].text
    del anki.do_updateNoteFields
    plan, outcome = world.sync()
    assert plan.counts["update"] == 1 and not outcome.problems


def test_many_notes_take_few_requests(world, anki):
    for i in range(10):
        world.write(f"{i}.md", "".join(CARD.format(f"{i} {j}", "") for j in range(30)))
    anki.latency = 0.025
    start = time.perf_counter()
    world.sync()
    assert len(rows(anki)) == 300
    assert time.perf_counter() - start < 20
    anki.calls.clear()
    assert not world.sync()[0].actions
    assert len([call for call in anki.calls if call == "multi"]) <= 6


def test_an_address_that_is_none():
    with pytest.raises(NotesError, match=r"must be like http://127.0.0.1:8765"):
        AnkiConnect("localhost:8765")


def test_the_guid_of_a_note_is_remembered_though_anki_does_not_tell_it(world, anki):
    from softmax.notes.anki._state import open_state

    world.write("a.md", CARD.format(1, "<!--ID: 1752949761743-->\n"))
    world.sync()
    world.forget()
    world.sync()
    assert not world.sync()[0].quiet
    with open_state(world.vault, write=False) as state:
        assert [identity.guid for identity in state.identities()] == ["o2a:1752949761743"]
