"""A folder of notes: what is read, what links mean, which settings hold."""

from __future__ import annotations

import json

import pytest

from softmax import NotesError
from softmax.notes._settings import OWN_FILE, PLUGIN_FILE, Settings, read_settings
from softmax.notes.reading import Links, read_vault

CARD = "START\nBasic\nq\nBack: a\n<!--ID: 77-->\nEND\n"


@pytest.fixture
def folder(tmp_path):
    for name, text in {
        "a.md": CARD,
        "sub/b.md": "text",
        "sub/c.MD": "text",
        "sub/p.png": "x",
        ".obsidian/app.json": "{}",
        ".trash/old.md": CARD,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_folder(folder):
    seen = []
    vault = read_vault([folder], progress=lambda done, total: seen.append((done, total)))
    assert (vault.root, list(vault.notes), dict(vault.media)) == (
        folder,
        ["a.md", "sub/b.md", "sub/c.MD"],
        {"sub/p.png": folder / "sub/p.png"},
    )
    assert seen == [(1, 3), (2, 3), (3, 3)] and vault.messages == ()


def test_one_note_of_a_vault_knows_the_others(folder):
    vault = read_vault([folder / "sub/b.md"])
    assert vault.root == folder and list(vault.notes) == ["sub/b.md"]
    assert len(vault.library) == 3 and vault.library["a.md"].entries[0].id == 77
    assert vault.links.resolve("a", "sub/b.md") == "a.md"


def test_one_note_outside_of_a_vault(tmp_path):
    (tmp_path / "a.md").write_text("x")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/b.md").write_text("x")
    vault = read_vault([tmp_path / "a.md"])
    assert vault.root == tmp_path and list(vault.library) == ["a.md"]


def test_the_same_id_in_two_files(folder):
    (folder / "sub/b.md").write_text(CARD)
    messages = read_vault([folder]).messages
    assert [(message.rule, message.severity, message.place.path) for message in messages] == [
        ("duplicate-id", "error", "a.md"),
        ("duplicate-id", "error", "sub/b.md"),
    ]
    assert "sub/b.md:1:1" in messages[0].text


def test_paths_that_are_none(folder):
    with pytest.raises(NotesError, match="there is no file or folder"):
        read_vault([folder / "none"])
    with pytest.raises(NotesError, match="is no note"):
        read_vault([folder / "sub/p.png"])
    with pytest.raises(NotesError, match="no note was given"):
        read_vault([])
    with pytest.raises(NotesError, match="does not lie in the vault"):
        read_vault([folder / "a.md"], root=folder / "sub")


def test_a_file_that_cannot_be_read_is_told(folder, monkeypatch):
    from pathlib import Path

    read = Path.read_bytes

    def refuse(self):
        if self.name == "b.md":
            raise PermissionError(13, "Permission denied")
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    vault = read_vault([folder])
    assert "sub/b.md" not in vault.notes
    assert [(message.rule, message.place.path) for message in vault.messages] == [("unreadable", "sub/b.md")]


@pytest.mark.parametrize(
    ("target", "source", "found"),
    [
        ("softmax", "x.md", "softmax.md"),
        ("Softmax.md", "x.md", "softmax.md"),
        ("softmax", "b/x.md", "b/softmax.md"),  # in the note's own folder
        ("a/softmax", "b/x.md", "a/softmax.md"),
        ("/softmax", "b/x.md", "softmax.md"),
        ("./softmax", "b/x.md", "b/softmax.md"),
        ("../softmax", "b/x.md", "softmax.md"),
        ("softmax.png", "x.md", "a/softmax.png"),
        ("v1.5", "x.md", "v1.5.md"),
        ("", "x.md", "x.md"),
        ("none", "x.md", None),
        ("max", "x.md", None),
    ],
)
def test_links(target, source, found):
    links = Links(["softmax.md", "a/softmax.md", "b/softmax.md", "a/softmax.png", "v1.5.md", "x.md", "b/x.md"])
    assert links.resolve(target, source) == found


def test_settings_of_the_plugin(folder):
    file = folder / PLUGIN_FILE
    file.parent.mkdir(parents=True)
    data = {
        "settings": {
            "CUSTOM_REGEXPS": {"Basic": "", "Cloze": "(x)"},
            "FOLDER_DECKS": {"sub": "Sub"},
            "FOLDER_TAGS": {"sub": "t"},
            "Syntax": {"Begin Note": "CARD", "Other": "x"},
            "Defaults": {"Deck": "Mine", "Tag": "tag", "CurlyCloze": True, "ID Comments": "yes"},
            "IGNORED_FILE_GLOBS": ["x/**"],
        },
        "fields_dict": {"Basic": ["Vorne", "Hinten"], "Rule": ["Name", "Proof"], "Odd": "x"},
    }
    file.write_text(json.dumps(data))
    settings = read_settings(folder)
    assert settings.keywords.begin == "CARD" and settings.keywords.end == "END"
    assert (settings.default_deck, settings.default_tag, settings.curly_cloze) == ("Mine", "tag", True)
    assert settings.id_comments is True  # not a truth value: the default stays
    assert settings.note_types["Basic"] == ("Vorne", "Hinten") and settings.note_types["Rule"] == ("Name", "Proof")
    assert dict(settings.styles) == {"Cloze": "(x)"} and settings.ignored == ("x/**",)
    assert settings.vault_name == folder.name
    (folder / OWN_FILE).parent.mkdir()
    (folder / OWN_FILE).write_text('default_deck = "Ours"\n[note_types]\nLaw = ["A", "B"]\n[keywords]\nend = "STOP"\n')
    ours = read_settings(folder)
    assert (ours.default_deck, ours.default_tag, ours.note_types["Law"]) == ("Ours", "tag", ("A", "B"))
    assert (ours.keywords.begin, ours.keywords.end) == ("CARD", "STOP")


def test_defaults_are_the_plugins(tmp_path):
    assert read_settings(tmp_path) == Settings(vault_name=tmp_path.name)
    assert Settings().default_tag == "Obsidian_to_Anki" and Settings().default_deck == "Default"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("default_deck = ", "cannot read the settings"),
        ("deck = 'x'", "unknown setting 'deck'"),
        ("default_deck = 5", "default_deck in"),
        ("curly_cloze = 'yes'", "curly_cloze in"),
        ("ignored = 'x'", "must be a list of strings"),
        ("folder_decks = 'x'", "must be a table of strings"),
        ("note_types = {A = []}", "note_types in"),
        ("keywords = {begin = ''}", "keywords in"),
        ("keywords = {other = 'X'}", "keywords in"),
    ],
)
def test_settings_that_are_wrong(tmp_path, text, message):
    (tmp_path / ".softmax").mkdir()
    (tmp_path / OWN_FILE).write_text(text)
    with pytest.raises(NotesError, match=message):
        read_vault([tmp_path])


def test_a_plugins_file_that_is_damaged(tmp_path):
    file = tmp_path / PLUGIN_FILE
    file.parent.mkdir(parents=True)
    file.write_text("{")
    with pytest.raises(NotesError, match="cannot read the settings"):
        read_settings(tmp_path)
    file.write_text("[]")
    with pytest.raises(NotesError, match="must be an object"):
        read_settings(tmp_path)
    for value in ({}, {"settings": 5}, {"settings": {"Syntax": [], "Defaults": {"Deck": 5}}, "fields_dict": None}):
        file.write_text(json.dumps(value))
        assert read_settings(tmp_path).default_deck == "Default"


def test_styles_that_are_wrong_are_told_once(folder):
    settings = Settings(styles={"Basic": "((", "Rule": "header", "Cloze": "cloze paragraph"})
    vault = read_vault([folder], settings=settings)
    assert [(message.rule, message.severity) for message in vault.messages] == [("bad-style", "error")] * 2
    assert "'Basic'" in vault.messages[0].text and "'Rule'" in vault.messages[1].text
    assert vault.notes["a.md"].messages == () and len(vault.notes["a.md"].entries) == 1
