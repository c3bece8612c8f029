"""Cards that were rendered before: used as long as nothing that they show has changed."""

from __future__ import annotations

import sqlite3

import pytest

from softmax.notes._settings import Settings, read_settings
from softmax.notes.anki import _read
from softmax.notes.anki._kept_cards import cache_folder
from softmax.notes.anki._read import Notes, silent

CARD = "START\nBasic\nq\nBack: {0}\nEND\n"


@pytest.fixture
def vault(tmp_path):
    folder = tmp_path / "vault"
    (folder / ".obsidian").mkdir(parents=True)
    (folder / "a.md").write_text(CARD.format("![[b]] ![[p.png]]"))
    (folder / "b.md").write_text("shown\n\n![[c]]\n")
    (folder / "c.md").write_text("shown through another\n")
    (folder / "d.md").write_text(CARD.format("alone [[b]]"))
    (folder / "p.png").write_bytes(b"one")
    return folder


@pytest.fixture
def read(vault, monkeypatch):
    """Return a function that gives the cards, and the files that were rendered for it."""
    rendered: list[str] = []
    real = _read.cards_of
    monkeypatch.setattr(_read, "cards_of", lambda note, vault: rendered.append(note.path) or real(note, vault))

    def run(settings: Settings | None = None, given=None):
        rendered.clear()
        notes = Notes(vault, given or [vault], settings or read_settings(vault))
        notes.look()
        return notes.desired(silent), sorted(rendered)

    return run


def test_nothing_is_rendered_twice(read):
    first, rendered = read()
    assert rendered == ["a.md", "b.md", "c.md", "d.md"]
    again, rendered = read()
    assert rendered == [] and again == first


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("d.md", ["d.md"]),
        ("b.md", ["a.md", "b.md"]),
        ("c.md", ["a.md", "b.md", "c.md"]),
        ("p.png", ["a.md"]),
    ],
)
def test_what_changed_and_what_shows_it_is_rendered(vault, read, name, expected):
    before, _ = read()
    (vault / name).write_bytes((vault / name).read_bytes().replace(b"shown", b"SHOWN").replace(b"one", b"ONE!"))
    after, rendered = read()
    # A note without cards that embeds another is not rendered for it.
    assert [path for path in rendered if path != "b.md" or name == "b.md"] == [
        p for p in expected if p != "b.md" or name == "b.md"
    ]
    assert after.notes != before.notes
    (cache_folder()).exists()


@pytest.mark.parametrize("change", ["a new file", "a file less", "a setting"])
def test_what_all_cards_depend_on(vault, read, change):
    read()
    if change == "a new file":
        (vault / "e.md").write_text("links may lead here")
    elif change == "a file less":
        (vault / "c.md").unlink()
    settings = Settings(default_tag="other") if change == "a setting" else None
    _, rendered = read(settings)
    assert "d.md" in rendered and "a.md" in rendered


def test_some_notes_of_a_vault(vault, read):
    desired, rendered = read(given=[vault / "d.md"])
    assert rendered == ["d.md"] and [note.path for note in desired.notes] == ["d.md"]
    (vault / "a.md").write_text(CARD.format("x <!--ID: 1752949761743-->\n"))
    desired, _ = read(given=[vault / "d.md"])
    assert 1752949761743 in desired.ids  # no id of another note is thought to be free


def test_a_cache_that_is_damaged_or_cannot_be_is_none(vault, read, monkeypatch, tmp_path):
    first, _ = read()
    (file,) = cache_folder().iterdir()
    file.write_bytes(b"no database")
    again, rendered = read()
    assert again == first and len(rendered) == 4
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    again, rendered = read()
    assert again == first and len(rendered) == 4


def test_a_value_that_cannot_be_read_is_rendered(vault, read):
    first, _ = read()
    (file,) = cache_folder().iterdir()
    with sqlite3.connect(file) as database:
        database.execute("update cards set value = '[]' where path = 'd.md'")
    database.close()
    again, _ = read()
    assert again == first
