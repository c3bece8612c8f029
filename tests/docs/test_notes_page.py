"""The first walk of docs/notes.md gives what the page shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("pylatexenc", reason="the notes need the extra notes")

from softmax.cli import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "notes.md"
if not PAGE.is_file():
    pytest.skip("the page is not part of an installed package: run from the checkout", allow_module_level=True)
TEXT = PAGE.read_text(encoding="utf-8")


def shown(step: str) -> str:
    return TEXT.partition(f"<!-- walk: {step} -->\n```text\n")[2].partition("```")[0]


@pytest.fixture
def vault(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    note = tmp_path / "vault" / "logistic.md"
    note.parent.mkdir()
    note.write_text(TEXT.partition("```markdown\n")[2].partition("```")[0])
    return note


def numbers_rounded(text: str) -> str:
    """A sum may end in another digit elsewhere."""
    return re.sub(r"(\d\.\d\d)\d+", r"\1", text)


def test_the_walk(vault, capsys):
    assert main(["notes", "check", "vault"]) == 1
    assert numbers_rounded(capsys.readouterr().out) == numbers_rounded(shown("check"))
    assert main(["notes", "fix", "vault", "--write"]) == 0
    assert main(["notes", "check", "vault"]) == 0
    capsys.readouterr()
    pytest.importorskip("anki", reason="needs the extra anki")
    assert main(["notes", "plan", "vault"]) == 1
    assert capsys.readouterr().out.split() == shown("plan").split()
    assert main(["notes", "sync", "vault", "--yes"]) == 0
    assert "1 id written" in capsys.readouterr().out
    assert Path("vault.anki2").is_file() and "<!--ID: " in vault.read_text()
    assert main(["notes", "sync", "vault", "--yes"]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_links_of_the_page_lead_somewhere():
    targets = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert targets
    assert [target for target in targets if not (PAGE.parent / target.replace("%20", " ")).exists()] == []


def test_every_command_is_on_the_page():
    from softmax.cli._notes import notes

    assert [name for name in notes.commands if f"`softmax notes {name} " not in TEXT] == []
