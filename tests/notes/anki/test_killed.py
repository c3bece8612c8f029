"""A sync that dies at any point, and the same command again: nothing doubled, nothing lost."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("anki", reason="the package anki is not installed (pip install 'softmax[anki]')")

from softmax.notes.anki._steps import watched

from .world import World

FILES = 27
ID_LINE = re.compile(r"<!--ID: (\d+)-->\n")


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vault that was synced once and then changed in every way: new, edited, moved, retagged, deleted cards."""
    world = World(tmp_path_factory.mktemp("killed") / "world")
    for i in range(FILES):
        cards = [f"START\nBasic\nquestion {i} {j}\nBack: answer {j}\nTags: t\nEND\n\n" for j in range(2)]
        world.write(f"{i:02}.md", "text\n" + "".join(cards))
    world.sync()
    for i in range(FILES):
        text = world.read(f"{i:02}.md").replace("answer 0", "answer 0, better").replace("Tags: t\n", "Tags: u\n", 1)
        if i % 3 == 0:
            text = re.sub(r"START\nBasic\nquestion \d+ 1\n[^<]*<!--(ID: \d+)-->\nEND\n", r"DELETE\n<!--\1-->\n", text)
        if i % 4 == 0:
            text = "TARGET DECK: Other\n" + text
        new = f"START\nBasic\nnew {i}\nBack: n\nEND\n\nSTART\nBasic\nthe same everywhere\nBack: n\nEND\n"
        world.write(f"{i:02}.md", text + new)
    return world.place


def expected_notes() -> list[tuple[str, str, str, str]]:
    notes = []
    for i in range(FILES):
        deck = "Other" if i % 4 == 0 else "Default"
        notes.append((f"question {i} 0", "answer 0, better", "u", deck))
        if i % 3:
            notes.append((f"question {i} 1", "answer 1", "t", deck))
        notes += [(f"new {i}", "n", "", deck), ("the same everywhere", "n", "", deck)]
    return sorted(notes)


def plain(text: str) -> str:
    """A file without what a sync may change in it."""
    return ID_LINE.sub("", text).replace("DELETE\n", "")


def check(world: World, before: dict[str, str]) -> None:
    notes = world.notes()
    shown = sorted(
        (
            visible(note.fields["Front"]),
            visible(note.fields["Back"]),
            " ".join(tag for tag in note.tags if tag != "Obsidian_to_Anki"),
            note.deck or "",
        )
        for note in notes
    )
    assert shown == expected_notes()
    after = {name: world.read(name) for name in before}
    assert {name: plain(text) for name, text in after.items()} == {name: plain(text) for name, text in before.items()}
    assert "DELETE" not in "".join(after.values())
    written = [int(found) for text in after.values() for found in ID_LINE.findall(text)]
    assert sorted(written) == sorted(note.id for note in notes)
    assert {note.guid for note in notes} == {f"o2a:{note.id}" for note in notes}
    assert not list(world.vault.rglob("*.part"))


def visible(field: str) -> str:
    return re.sub(r"<[^>]*>", "", field).strip()


def test_a_sync_killed_at_any_point_is_finished_by_the_next(changed, tmp_path):
    # What a killed process leaves is what stands on the disk at that moment; so the disk is copied at every step, and
    # the sync is run again on each copy.
    shutil.copytree(changed, tmp_path / "world")
    world = World(tmp_path / "world")
    before = {name: world.read(name) for name in world.names()}
    names, disks = [], {}

    def copy(name: str) -> None:
        content = {path: path.read_bytes() for path in world.place.rglob("*") if path.is_file()}
        disks.setdefault(frozenset(content.items()), len(names))  # what is the same again ends the same again
        names.append(name)
        if disks[frozenset(content.items())] == len(names) - 1:
            shutil.copytree(world.place, tmp_path / f"killed {len(names) - 1}")

    with watched(copy):
        world.sync()
    check(world, before)
    assert len(names) >= 200
    assert len(disks) >= 90
    for i in disks.values():
        name = names[i]
        again = World(tmp_path / f"killed {i}")
        again.sync()
        try:
            check(again, before)
            plan, _ = again.sync()
            assert not plan.actions
        except AssertionError as error:
            raise AssertionError(f"killed at step {i}, {name}: {error}") from error
        shutil.rmtree(again.place)


CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from softmax.notes.anki._steps import watched
from tests.notes.anki.world import World
left = {step}
def die(name):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
with watched(die):
    World(Path({place!r})).sync()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("step", [35, 39, 44, 47, 60, 201])
def test_a_sync_ended_by_sigkill_is_finished_by_the_next(changed, tmp_path, step):
    shutil.copytree(changed, tmp_path / "world")
    world = World(tmp_path / "world")
    before = {name: world.read(name) for name in world.names()}
    root = Path(__file__).resolve().parents[3]
    code = CHILD.format(root=str(root), step=step, place=str(world.place))
    done = subprocess.run([sys.executable, "-c", code], timeout=60)
    assert done.returncode == -signal.SIGKILL
    world.sync()
    check(world, before)
    plan, _ = world.sync()
    assert not plan.actions
