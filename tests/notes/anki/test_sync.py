"""Syncing a vault with a collection: what is added, changed, left alone."""

from __future__ import annotations

import pytest

pytest.importorskip("anki", reason="the package anki is not installed (pip install 'softmax[anki]')")

from anki.collection import Collection

from softmax._errors import NotesError

from .world import World

CARD = "START\nBasic\nq{0}\nBack: a{0}\nTags: t\n{1}END\n"


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "world")


def edit(world: World, change) -> None:
    """Change the collection as a person in Anki would."""
    collection = Collection(str(world.collection))
    try:
        change(collection)
    finally:
        collection.close()


def only(world: World):
    (note,) = world.notes()
    return note


def test_the_first_sync_adds_and_writes_ids_and_the_second_does_nothing(world):
    world.write("a.md", "TARGET DECK: A::B\n" + CARD.format(1, "") + CARD.format(2, ""))
    plan, outcome = world.sync()
    assert plan.counts["add"] == 2 and outcome.ids == 2 and not outcome.problems
    first, second = world.notes()
    assert world.read("a.md") == "TARGET DECK: A::B\n" + "".join(
        CARD.format(i, f"<!--ID: {note.id}-->\n") for i, note in ((1, first), (2, second))
    )
    assert first.deck == "A::B" and first.guid == f"o2a:{first.id}"
    assert first.tags == ("Obsidian_to_Anki", "t")
    plan, outcome = world.sync()
    assert not plan.actions and not plan.quiet and not plan.kept
    assert world.plan().digest == plan.digest


def test_ids_of_the_plugin_are_kept(world):
    world.write("a.md", CARD.format(1, "<!--ID: 1752949761743-->\n"))
    before = world.read("a.md")
    world.sync()
    assert only(world).id == 1752949761743
    assert only(world).guid == "o2a:1752949761743"
    assert world.read("a.md") == before


def test_a_vault_of_the_plugin_moves_over_without_a_duplicate(world):
    """The plugin's notes have GUIDs of Anki's, its own HTML, and the tag and the deck of its settings."""

    def plugin(collection):
        note = collection.new_note(collection.models.by_name("Basic"))
        note["Front"], note["Back"] = "<p>q1</p>", "<div>a1</div>"
        note.tags = ["Obsidian_to_Anki", "t", "leech"]
        collection.add_note(note, collection.decks.id("Default"))
        collection.db.execute("update notes set id = 1752949761743 where id = ?", note.id)
        collection.db.execute("update cards set nid = 1752949761743, ivl = 33 where nid = ?", note.id)

    edit(world, plugin)
    guid = only(world).guid
    world.write("a.md", CARD.format(1, "<!--ID: 1752949761743-->\n"))
    plan, _ = world.sync()
    assert plan.counts["update"] == 1 and not plan.kept
    assert only(world).guid == guid and "leech" in only(world).tags
    assert not world.sync()[0].actions


def test_an_edit_in_anki_stays_and_one_on_both_sides_is_a_conflict(world):
    world.write("a.md", CARD.format(1, ""))
    world.sync()

    def mine(collection):
        note = collection.get_note(collection.find_notes("")[0])
        note["Back"] = "mine"
        note.tags = [*note.tags, "leech", "marked"]
        collection.update_note(note)
        collection.set_deck(note.card_ids(), collection.decks.id("By hand"))

    edit(world, mine)
    plan, _ = world.sync()
    assert not plan.actions and not plan.conflicts
    assert sorted(kept.difference.what for kept in plan.kept) == ["deck", "field Back"]
    world.write("a.md", world.read("a.md").replace("a1", "a2").replace("Tags: t", "Tags: u"))
    plan, _ = world.sync()
    assert plan.counts["update"] == 0 and plan.counts["retag"] == 1
    assert [kept.difference.what for kept in plan.conflicts] == ["field Back"]
    note = only(world)
    assert note.fields["Back"] == "mine" and note.deck == "By hand"
    assert note.tags == ("leech", "marked", "Obsidian_to_Anki", "u")
    plan, _ = world.sync(prefer="vault")
    assert plan.counts["update"] == 1
    assert "a2" in only(world).fields["Back"] and only(world).deck == "By hand"


def test_a_lost_state_loses_no_edit_and_doubles_nothing(world):
    world.write("a.md", CARD.format(1, "") + CARD.format(2, ""))
    world.sync()

    def mine(collection):
        note = collection.get_note(min(collection.find_notes("")))
        note["Back"] = "mine"
        collection.update_note(note)

    edit(world, mine)
    world.forget()
    plan, _ = world.sync()
    assert len(plan.conflicts) == 1 and not plan.actions
    assert world.notes()[0].fields["Back"] == "mine"
    world.write("a.md", world.read("a.md").replace("a2", "a3"))
    plan, _ = world.sync()  # what agreed is known again
    assert plan.counts["update"] == 1 and len(world.notes()) == 2


def test_an_id_that_was_lost_from_the_file_comes_back(world):
    world.write("a.md", CARD.format(1, "") + CARD.format(2, ""))
    world.sync()
    before = world.read("a.md")
    for forget in (False, True):
        lost = "".join(line for line in before.splitlines(keepends=True) if "ID" not in line)
        world.write("a.md", lost)
        if forget:
            world.forget()
        plan, _ = world.sync()
        assert plan.counts["link"] == 2 and plan.counts["add"] == 0
        assert world.read("a.md") == before and len(world.notes()) == 2


def test_an_id_of_another_profile_is_made_anew_with_the_same_guid(world, tmp_path):
    world.write("a.md", CARD.format(1, ""))
    world.sync()
    note, text = only(world), world.read("a.md")
    world.collection = tmp_path / "other.anki2"
    plan, _ = world.sync()
    assert plan.counts["add"] == 1
    assert only(world) == note and world.read("a.md") == text


def test_a_note_deleted_in_anki_is_told(world):
    world.write("a.md", CARD.format(1, ""))
    world.sync()
    edit(world, lambda collection: collection.remove_notes(collection.find_notes("")))
    plan, _ = world.sync()
    assert "deleted in Anki" in plan.actions[0].why
    assert len(world.notes()) == 1


def test_a_delete_mark_deletes_and_goes(world):
    world.write("a.md", "before\n" + CARD.format(1, "") + "after\n")
    world.sync()
    mark = f"DELETE\n<!--ID: {only(world).id}-->\n"
    world.write("a.md", "before\n" + mark + "after\n")
    plan, _ = world.sync()
    assert plan.counts["delete"] == 1 and not world.notes()
    assert "DELETE" not in world.read("a.md") and "ID" not in world.read("a.md")
    assert not world.sync()[0].actions


def test_a_card_that_left_the_vault_is_deleted_only_when_asked(world):
    world.write("a.md", CARD.format(1, "") + CARD.format(2, ""))
    world.sync()
    gone = world.notes()[1].id
    world.write("a.md", world.read("a.md")[: world.read("a.md").index("END\n") + 4])
    plan, _ = world.sync()
    assert not plan.actions and [orphan.id for orphan in plan.orphans] == [gone] and len(world.notes()) == 2
    plan, _ = world.sync(prune=True)
    assert [action.id for action in plan.actions] == [gone] and len(world.notes()) == 1
    assert not world.sync(prune=True)[0].actions


def test_another_type_under_the_id_is_a_problem_and_changes_nothing(world):
    world.write("a.md", CARD.format(1, "<!--ID: 1752949761743-->\n"))
    world.sync()
    world.write(
        "a.md",
        world.read("a.md").replace("Basic\n", "Cloze\n").replace("q1", "{{c1::x}}").replace("Back:", "Back Extra:"),
    )
    plan, _ = world.sync()
    assert not plan.actions and "is of type 'Basic'" in plan.problems[0].text


def test_one_undo_entry_takes_all_back(world, monkeypatch):
    world.write("a.md", CARD.format(1, "") + CARD.format(2, ""))
    world.sync()
    world.write("a.md", world.read("a.md").replace("a1", "a1 new") + CARD.format(3, ""))
    seen = []

    def look(backend):
        collection = backend._collection
        seen.append(collection.undo_status().undo)
        collection.undo()
        seen.append(sorted(collection.db.list("select flds from notes")))
        collection.redo()

    world.sync(after=look)
    assert seen[0] == "softmax notes sync"
    assert len(seen[1]) == 2 and not any("new" in fields for fields in seen[1])


def test_an_error_in_the_middle_takes_all_back(world):
    from softmax.notes.anki._steps import watched

    world.write("a.md", CARD.format(1, "") + CARD.format(2, ""))
    world.sync()
    before = world.notes()
    world.write("a.md", world.read("a.md").replace("a1", "a1 new") + CARD.format(3, ""))
    text = world.read("a.md")

    def fail(name):
        if name == "collection: update":
            raise RuntimeError("no")

    with watched(fail), pytest.raises(NotesError, match="All changes of this sync were undone"):
        world.sync()
    assert world.notes() == before and world.read("a.md") == text
    world.sync()
    assert len(world.notes()) == 3 and "a1 new" in world.notes()[0].fields["Back"]


def test_a_new_cloze_stays_beside_the_others(world):
    world.write("a.md", "TARGET DECK: Mine\nSTART\nCloze\nText: {{c1::a}} b\nEND\n")
    world.sync()
    edit(world, lambda c: c.set_deck(c.find_cards(""), c.decks.id("By hand")))
    world.write("a.md", world.read("a.md").replace("} b", "} {{c2::b}}"))
    _, outcome = world.sync()
    assert not outcome.problems and only(world).deck == "By hand"


def test_the_plan_is_executed_only_as_agreed(world):
    world.write("a.md", CARD.format(1, ""))
    agreed = world.plan().digest
    world.write("a.md", "a line above\n" + CARD.format(1, ""))
    assert world.plan().digest == agreed  # the same is done
    world.write("a.md", CARD.format(2, ""))
    with pytest.raises(NotesError, match="stale"):
        world.sync(expected=agreed)
    assert not world.notes()


def test_planning_writes_nothing(world):
    world.write("a.md", CARD.format(1, ""))
    world.plan()
    assert sorted(path.name for path in world.place.rglob("*")) == ["a.md", "vault"]
