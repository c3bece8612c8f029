"""Links that lead nowhere, cards without an answer, fronts that promise no proof."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from softmax.notes.reading import findings, read_vault
from softmax.notes.reading._spelling import TERMS, Names, untripled


@pytest.fixture
def found(tmp_path):
    """Return a function that gives the findings of a vault as (rule, line, suggestion)."""

    def found(notes):
        for name, text in notes.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        messages = findings(read_vault([tmp_path]))
        assert messages == sorted(messages, key=lambda message: message.place)
        return [(message.rule, message.place.line, message.suggestion) for message in messages]

    return found


OTHERS = {"softmax function.md": "# The derivative\ntext ^here\n", "logsumexp.md": "x"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[softmax function]] [[logsumexp|L]] [[softmax function#the derivative]] [[softmax function#^here]]", []),
        ("[[softmax funktion]]", [("link-nowhere", 1, "Did you mean 'softmax function'?")]),
        ("[[Softmax Function]] ", []),
        ("[[logsumexpp]]\n\n[[logsumexpp]]", [("link-nowhere", 1, "Did you mean 'logsumexp'?")]),
        ("[[something quite different]]", [("link-nowhere", 1, None)]),
        ("[[neural networ]]", [("link-nowhere", 1, "Did you mean 'neural network'?")]),
        ("[[softmax function#The derivativ]]", [("link-nowhere", 1, "Did you mean 'The derivative'?")]),
        ("[[softmax function#^there]]", [("link-nowhere", 1, None)]),
        ("![[softmax functoin]]", [("embed-nowhere", 1, "Did you mean 'softmax function'?")]),
        ("![[missing.png]]", [("embed-nowhere", 1, None)]),
        ("`[[nowhere at all]]` $[[nowhere]]$", []),
        ("[[#Here it is]]\n# Here it is\n[[#Here it was]]", [("link-nowhere", 3, "Did you mean 'Here it is'?")]),
    ],
)
def test_links(found, text, said):
    assert found({**OTHERS, "a.md": text}) == said


def test_of_a_lone_note_only_what_looks_misspelt_is_told(found):
    assert found({"a.md": "[[classification]] [[my own topic]] [[multinomial logistic regresion]]"}) == [
        ("link-nowhere", 1, "Did you mean 'multinomial logistic regression'?")
    ]


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("Basic\nq\nBack: a", []),
        ("Basic\nq", [("no-answer", 1, "Write 'Back:' and the answer.")]),
        ("Cloze\n{{c1::x}}", []),
        ("Basic\nq\nBack:\nDELETE\n<!--ID: 5-->", []),
        ("Basic\nq (no proof)\nBack: $$\na\n= b\n$$", []),
        (
            "Basic\nq (no proof)\nBack: $$\\begin{split} a &= b \\\\ &= c \\\\ &= d\\end{split}$$",
            [("proof-shown", 3, None)],
        ),
        ("Basic\nq without proof\nBack: text\n\nProof: by induction", [("proof-shown", 3, None)]),
        ("Basic\nq ohne Beweis\nBack: ![[derivation]]", [("proof-shown", 3, None)]),
    ],
)
def test_cards(found, card, said):
    derivation = "$$\n\\begin{align}\na &= b \\\\\n&= c \\\\\n&\\approx d \\\\ &= e\n\\end{align}\n$$\n"
    assert found({"a.md": f"START\n{card}\nEND\n", "derivation.md": derivation}) == said


def test_embeds_that_show_themselves(found):
    assert found({"a.md": "START\nBasic\nq\nBack: ![[b]]\nEND\n", "b.md": "x ![[b]]"}) == [
        ("embed-cycle", 1, "Embed a smaller part.")
    ]


def test_the_nearest_name_among_thousands():
    names = Names([f"note {i} on subject {i % 7}" for i in range(20_000)] + ["multinomial logistic regression"])
    assert names.nearest("multinomail logistic regresion") == "multinomial logistic regression"
    assert names.nearest("zzzzzzzz") is None and names.nearest("abc") is None
    assert "Note 5 on subject 5" in names


def test_terms_are_spelt_apart():
    assert len(TERMS) > 80 and all(term == term.strip() for term in TERMS)
    assert untripled("regresssion") == "regression" and untripled("class III") is None


def given_note():
    data = os.environ.get("SOFTMAX_DATA")
    path = Path(data).parent / "notes" / "softmax function.md" if data else None
    if path is None or not path.exists():
        pytest.skip("SOFTMAX_DATA names no folder beside which the given note lies")
    return path


def test_the_given_note():
    vault = read_vault([given_note()])
    (note,) = vault.notes.values()
    assert [(e.id, e.note_type, e.deck, e.tags) for e in note.entries] == [
        (1752949761743, "Basic", "Default", ("mathematics", "SS25", "Obsidian_to_Anki")),
        (1764496843811, "Basic", "Default", ("mathematics", "WS2526", "Obsidian_to_Anki")),
    ]
    assert [(message.rule, message.severity, message.place.line) for message in findings(vault)] == [
        ("link-nowhere", "warning", 12),
        ("proof-shown", "remark", 38),
    ]
    assert "'multinomial logistic regression'" in findings(vault)[0].suggestion
    assert note.encode(note.text) == note.raw
