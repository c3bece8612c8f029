"""The notes in docs/vault: examples run, links lead somewhere, cards have two sides."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VAULT = ROOT / "docs" / "vault"
NOTES = {path.stem: path for path in sorted(VAULT.glob("*.md"))}

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[\[([^\]|#]*)(?:#([^\]|]*))?(?:\|[^\]]*)?\]\]")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def text_of(name: str) -> str:
    return NOTES[name].read_text(encoding="utf-8")


def prose_of(name: str) -> str:
    return FENCE.sub("", text_of(name))


def examples_of(name: str) -> str:
    return "\n".join(code for language, code in FENCE.findall(text_of(name)) if language == "pycon")


def blocks_of(name: str) -> list[str]:
    return re.findall(r"^START\n(.*?\n)END$", prose_of(name), re.MULTILINE | re.DOTALL)


def run(source: str, name: str) -> list[str]:
    """Run an example and return what it printed beside what it shows, where the two differ."""
    failures: list[str] = []
    test = doctest.DocTestParser().get_doctest(source, {}, name, None, 0)
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(test, out=failures.append)
    return failures


def test_the_subjects_are_there():
    assert {
        "softmax function",
        "derivative of softmax",
        "probability mass function (PMF)",
        "classification",
        "neural network",
        "multinomial logistic regression",
        "cross entropy",
        "logsumexp",
        "temperature",
    } <= set(NOTES)


@pytest.mark.parametrize("name", sorted(set(NOTES) - {"start here"}))
def test_examples_give_what_they_show(name):
    source = examples_of(name)
    assert "import softmax as sm" in source
    assert run(source, name) == []


def test_an_example_that_shows_something_else_fails():
    assert run(examples_of("logsumexp").replace("3.4076", "3.4077"), "changed") != []


@pytest.mark.parametrize("name", NOTES)
def test_links_lead_to_a_note_and_a_heading(name):
    nowhere = []
    for target, heading in LINK.findall(prose_of(name)):
        note = target or name
        if note not in NOTES or (heading and heading not in HEADING.findall(prose_of(note))):
            nowhere.append((target, heading))
    assert nowhere == []


@pytest.mark.parametrize("name", NOTES)
def test_every_note_is_linked_to(name):
    if name != "start here":
        others = [other for other in NOTES if other not in (name, "start here")]
        assert any(target == name for other in others for target, _ in LINK.findall(prose_of(other)))
        assert name in (target for target, _ in LINK.findall(prose_of("start here")))


@pytest.mark.parametrize("name", sorted(set(NOTES) - {"start here"}))
def test_cards_have_a_front_and_a_back(name):
    blocks = blocks_of(name)
    assert len(blocks) >= 2
    assert "START" not in re.sub(r"^START\n.*?\nEND$", "", prose_of(name).replace("STARTI", ""), flags=re.M | re.S)
    for block in blocks:
        kind, _, fields = block.partition("\n")
        if kind == "Cloze":
            assert re.search(r"{{c1::.+?}}", fields)
        else:
            assert kind == "Basic"
            front, found, back = fields.partition("\nBack: ")
            assert found and front.strip() and back.strip() and not back.startswith("Tags:")
    for inline in re.findall(r"STARTI(.*?)ENDI", prose_of(name)):
        assert re.fullmatch(r" \[Basic\] \S.* Back: \S.* ", inline)
