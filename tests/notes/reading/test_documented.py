"""The page on cards names every rule, and says truly which ones can be repaired."""

from __future__ import annotations

import re
from pathlib import Path

from softmax.notes._settings import Settings, read_settings
from softmax.notes.reading import format_note, read_note
from softmax.notes.reading._styles import RECIPES

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "cards.md").read_text(encoding="utf-8")


def rules_of_the_source():
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/softmax/notes/reading").glob("*.py"))
    hyphened = set(re.findall(r'"([a-z0-9]+(?:-[a-z0-9]+)+)"', text)) - {"utf-8"}
    composed = {f"{what}-nowhere" for what in ("link", "embed")}
    return hyphened | composed | {"crlf", "dollar", "overlap", "unreadable"}


def test_every_rule_is_on_the_page():
    rows = re.findall(r"^\| (`[^|]*`) \|", PAGE, re.MULTILINE)
    assert {rule for row in rows for rule in re.findall(r"`([^`]+)`", row)} == rules_of_the_source()


def test_the_cards_of_the_page_are_cards():
    text = PAGE.partition("````markdown\n")[2].partition("````")[0]
    note = read_note("note.md", text.encode())
    assert note.messages == () and format_note(note)[0].raw == note.raw
    assert [(entry.kind, entry.deck, entry.tags[:2]) for entry in note.entries] == [
        ("block", "Mathematics::Softmax", ("calculus", "lecture")),
        ("inline", "Mathematics::Softmax", ("easy", "lecture")),
    ]


def test_the_settings_of_the_page_are_settings(tmp_path):
    text = PAGE.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / ".softmax").mkdir()
    (tmp_path / ".softmax/settings.toml").write_text(text)
    settings = read_settings(tmp_path)
    assert settings.default_deck == "Mathematics" and settings.styles == {"Basic": "question"}
    assert settings.note_types["Theorem"] == ("Name", "Statement", "Proof") and settings != Settings()


def test_every_recipe_is_on_the_page():
    assert all(f"`{name}`" in PAGE for name in RECIPES)
