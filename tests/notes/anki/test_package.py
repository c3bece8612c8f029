"""Packages: the same cards as in a collection, and the same notes at every export."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("anki", reason="the package anki is not installed (pip install 'softmax[anki]')")

from anki.collection import Collection, ImportAnkiPackageOptions, ImportAnkiPackageRequest

from softmax._errors import NotesError
from softmax.notes.anki import export_vault
from softmax.notes.anki._collection import AnkiCollection

from .world import World

TEXT = """TARGET DECK: A::B
START
Basic
q
Back: $x < y$ ![[p.png]]
Tags: t
END
START
Cloze
{{c1::a}} and {{c2::b}}
END
START
Basic (and reversed card)
q
Back: a
<!--ID: 1752949761743-->
END
"""


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path / "world")
    made.write("a.md", TEXT)
    (made.vault / "p.png").write_bytes(b"content")
    return made


def take(collection, package, *, merge: bool = False):
    options = ImportAnkiPackageOptions(merge_notetypes=merge, with_scheduling=True, with_deck_configs=True)
    return collection.import_anki_package(ImportAnkiPackageRequest(package_path=str(package), options=options)).log


@pytest.fixture
def anki(tmp_path):
    collection = Collection(str(tmp_path / "anki.anki2"))
    yield collection
    collection.close()


def test_the_same_cards_as_in_a_collection(world, anki, tmp_path):
    done = export_vault([world.vault], tmp_path / "deck.apkg", write_ids=True)
    assert (done.notes, done.ids, done.problems) == (3, 2, ())
    assert len(take(anki, tmp_path / "deck.apkg").new) == 3
    assert anki.card_count() == 5
    (name,) = (path.name for path in (tmp_path / "anki.media").iterdir())
    assert any(f'src="{name}"' in fields for fields in anki.db.list("select flds from notes"))
    plan, _ = world.sync()
    assert plan.counts["add"] == 3  # under the ids and GUIDs of the package
    anki.close()
    packed = AnkiCollection(tmp_path / "anki.anki2", tmp_path)
    try:
        found = packed.read(packed.used_ids(), {})
    finally:
        packed.close()
        anki.reopen()
    synced = world.notes()

    def without_type(note):
        return note.id, note.guid, note.fields, note.tags, note.deck

    assert list(map(without_type, found)) == list(map(without_type, synced))


def test_another_export_updates_and_adds_nothing_twice(world, anki, tmp_path):
    export_vault([world.vault], tmp_path / "1.apkg")
    assert world.read("a.md") == TEXT  # ids are kept in the state
    take(anki, tmp_path / "1.apkg")
    types = [kind["name"] for kind in anki.models.all()]
    world.write("a.md", TEXT.replace("Back: a", "Back: b"))
    export_vault([world.vault], tmp_path / "2.apkg")
    time.sleep(1.1)  # a package counts as newer by the second
    export_vault([world.vault], tmp_path / "2.apkg")
    log = take(anki, tmp_path / "2.apkg", merge=True)
    assert (len(log.new), len(log.updated) + len(log.duplicate), len(log.conflicting)) == (0, 3, 0)
    assert anki.note_count() == 3
    assert [kind["name"] for kind in anki.models.all()] == types
    assert any(fields.endswith("b") for fields in anki.db.list("select flds from notes"))


def test_a_sync_after_an_import_finds_the_notes(world, tmp_path):
    """Anki gives the note types of the package names of their own; the notes are the same all the same."""
    export_vault([world.vault], tmp_path / "deck.apkg", write_ids=True)
    collection = Collection(str(world.collection))
    take(collection, tmp_path / "deck.apkg")
    collection.close()
    plan, _ = world.sync()
    assert not plan.actions and not plan.problems and not plan.kept
    assert len(world.notes()) == 3


def test_a_note_type_of_the_vault_is_in_the_package(world, anki, tmp_path):
    world.write(".softmax/settings.toml", '[note_types]\nRule = ["Name", "Proof"]\n')
    world.write("b.md", "START\nRule\nBayes\nProof: by division\nEND\n")
    export_vault([world.vault], tmp_path / "deck.apkg")
    take(anki, tmp_path / "deck.apkg")
    note = anki.get_note(anki.find_notes("Bayes")[0])
    card = note.cards()[0]
    assert note.note_type()["name"] == "Rule"
    assert "Bayes" in card.question() and "by division" in card.answer()


def test_cards_that_make_none_are_told(world, tmp_path):
    world.write("b.md", "START\nCloze\nno cloze\nEND\n")
    done = export_vault([world.vault], tmp_path / "deck.apkg")
    assert done.notes == 3 and "cloze" in done.problems[0].text


@pytest.mark.parametrize(("name", "message"), [("deck.zip", "ends with .apkg"), ("no/deck.apkg", "Name another file")])
def test_a_place_that_cannot_be(world, tmp_path, name, message):
    with pytest.raises(NotesError, match=message):
        export_vault([world.vault], tmp_path / name)
