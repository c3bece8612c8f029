"""The notes in docs/vault: examples run, formulas hold, links lead somewhere, cards have two sides."""

from __future__ import annotations

import doctest
import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("pylatexenc", reason="the notes need the extra notes")

from softmax.notes._check import check_vault
from softmax.notes.reading import expand, find_copies, read_vault

ROOT = Path(__file__).resolve().parents[2]
VAULT = ROOT / "docs" / "vault"
if not VAULT.is_dir():
    pytest.skip("the notes are not part of an installed package: run from the checkout", allow_module_level=True)

NAMES = sorted(path.stem for path in VAULT.glob("*.md"))
SUBJECTS = sorted(set(NAMES) - {"start here"})

# Formulas that the check abstains on; each was verified by hand.
NOT_UNDERSTOOD = {
    "multinomial logistic regression": (
        r"\frac{1}{N} (P - Y)^\top X + \lambda W",  # of a sum over samples with a class each
        r"\frac{1}{N} (P - Y)^\top \mathbf{1}",
        r"F(w) + g^\top u",  # of any function that is curved so much
    ),
}


@pytest.fixture(scope="module")
def vault():
    return read_vault([VAULT])


@pytest.fixture(scope="module")
def checked():
    return check_vault([VAULT])


def note(vault, name):
    return vault.notes[f"{name}.md"]


def code_of(name: str, language: str = "pycon") -> str:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", (VAULT / f"{name}.md").read_text(encoding="utf-8"), re.M | re.S)
    return "\n".join(code for kind, code in blocks if kind == language)


def run(source: str, name: str) -> list[str]:
    """Run an example and return what it printed beside what it shows, where the two differ."""
    failures: list[str] = []
    test = doctest.DocTestParser().get_doctest(source, {}, name, None, 0)
    doctest.DocTestRunner(verbose=False).run(test, out=failures.append)
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
    } <= set(NAMES)


@pytest.mark.parametrize("name", SUBJECTS)
def test_examples_give_what_they_show(name):
    source = code_of(name)
    assert "import softmax as sm" in source
    assert run(source, name) == []


def test_an_example_that_shows_something_else_fails():
    assert run(code_of("logsumexp").replace("3.4076", "3.4077"), "changed") != []


def test_the_check_finds_nothing_wrong(checked):
    assert [f"{f.place}: {f.text}" for f in checked.findings if f.severity != "remark"] == []


def test_the_check_abstains_on_known_formulas_alone(checked):
    abstained = []
    for finding in checked.findings:
        if finding.verdict == "not understood":
            text, place = checked.vault.notes[finding.place.path].text, finding.place
            line = text.split("\n")[place.line - 1][place.column - 1 :]
            abstained.append((checked.vault.notes[place.path].name, line))
    known = [(name, start) for name, starts in NOT_UNDERSTOOD.items() for start in starts]
    assert [line for name, line in abstained if not any(n == name and line.startswith(s) for n, s in known)] == []


def test_the_check_judges_most_steps(checked):
    verdicts = [step["verdict"] for step in checked.steps]
    assert len(verdicts) > 100
    assert verdicts.count("consistent") + verdicts.count("proved") > 90


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("derivative of softmax", r"\right)^{2}} \exp(z_j)", r"\right)^{-2}} \exp(z_j)"),
        ("derivative of softmax", r"v_i^2 - \left", r"v_i^2 + \left"),
        ("cross entropy", r"- \mathrm{I}[i = y]", r"- \mathrm{I}[i = y] z_y"),
        ("logsumexp", r"&= m - m + \log", r"&= m + \log"),
        ("temperature", r"= \frac{1}{T^3}", r"= \frac{1}{T^2}"),
        (
            "logistic function",
            r"\frac{\exp(-x)}{1 + \exp(-x)} = \frac{1}{1",
            r"\frac{\exp(x)}{1 + \exp(-x)} = \frac{1}{1",
        ),
        ("classification", r"\left( x - \frac{\mu_i", r"\left( x + \frac{\mu_i"),
        ("neural network", r"= 1 - (\tanh t)^2", r"= 1 - \tanh t"),
        ("multinomial logistic regression", r"- \frac{1}{2 \lambda} \lVert", r"- \frac{1}{\lambda} \lVert"),
        ("probability mass function (PMF)", r"= \log n + \sum_i p_i", r"= \log n - \sum_i p_i"),
        ("softmax function", r"= z_i - z_j", r"= z_j - z_i"),
    ],
)
def test_a_change_of_a_formula_is_found(tmp_path, name, right, wrong):
    text = (VAULT / f"{name}.md").read_text(encoding="utf-8")
    assert right in text
    (tmp_path / f"{name}.md").write_text(text.replace(right, wrong, 1), encoding="utf-8")
    found = check_vault([tmp_path], repairs=False).findings
    assert [finding.verdict for finding in found if finding.rule.startswith("maths/") and finding.severity == "error"]


@pytest.mark.parametrize("name", NAMES)
def test_reading_has_nothing_to_say(vault, name):
    assert note(vault, name).messages == ()


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_note_is_linked_to(name):
    linking = [other for other in NAMES if f"[[{name}" in (VAULT / f"{other}.md").read_text(encoding="utf-8")]
    assert "start here" in linking
    assert set(linking) - {"start here", name}


@pytest.mark.parametrize("name", SUBJECTS)
def test_cards_have_a_front_and_a_back(vault, name):
    cards = note(vault, name).entries
    text = note(vault, name).text
    assert len(cards) == len(re.findall(r"^START(?:$|I )", text, re.M)) >= 3
    for card in cards:
        assert card.note_type in ("Basic", "Cloze")
        assert card.deck.startswith("softmax::")
        assert "softmax" in card.tags and "Obsidian_to_Anki" not in card.tags
        front, back = card.fields.values()
        assert front.strip()
        assert "{{c1::" in front if card.is_cloze else expand(back, f"{name}.md", vault).markdown.strip()


def test_no_two_cards_ask_the_same(vault):
    fronts = [next(iter(card.fields.values())) for name in SUBJECTS for card in note(vault, name).entries]
    assert len(set(fronts)) == len(fronts) > 50


def test_nothing_is_pasted_twice(vault):
    assert find_copies(vault) == []


def test_every_card_has_an_id_of_its_own(vault):
    """Then a package made anywhere updates the notes that an earlier one brought, and adds none twice."""
    ids = [card.id for name in SUBJECTS for card in note(vault, name).entries]
    assert None not in ids
    assert len(set(ids)) == len(ids)


def test_the_deck_is_imported_once(tmp_path):
    pytest.importorskip("anki", reason="needs the extra anki")
    from anki.collection import Collection, ImportAnkiPackageRequest

    from softmax.cli import main

    copy = tmp_path / "vault"
    shutil.copytree(VAULT, copy, ignore=shutil.ignore_patterns("sync.*", ".gitignore"))
    before = {path.name: path.read_bytes() for path in copy.glob("*.md")}
    for name in ("first", "second"):
        shutil.rmtree(copy / ".softmax")
        shutil.copytree(VAULT / ".softmax", copy / ".softmax", ignore=shutil.ignore_patterns("sync.*", ".gitignore"))
        assert main(["notes", "export", str(copy), "-o", str(tmp_path / f"{name}.apkg"), "--quiet"]) == 0
    assert {path.name: path.read_bytes() for path in copy.glob("*.md")} == before
    collection = Collection(str(tmp_path / "c.anki2"))
    try:
        for name in ("first", "second"):
            collection.import_anki_package(ImportAnkiPackageRequest(package_path=str(tmp_path / f"{name}.apkg")))
        wanted = sum(len(note(read_vault([VAULT]), name).entries) for name in SUBJECTS)
        assert collection.note_count() == wanted
        assert {deck.name for deck in collection.decks.all_names_and_ids()} >= {
            "softmax::derivative",
            "softmax::losses",
        }
        assert set(collection.tags.all()) >= {"softmax", "proof"} and "Obsidian_to_Anki" not in collection.tags.all()
    finally:
        collection.close()
