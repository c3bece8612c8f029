"""Where nothing is said about a file, its cards are those that the Obsidian_to_Anki plugin makes of it.

`plugin_cards` does what the plugin was seen to do, without care for speed: it is the truth that the reader is held to.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from softmax.notes._settings import STOCK_TYPES, Settings
from softmax.notes.reading import read_note


class Card(NamedTuple):
    note_type: str
    fields: tuple[str, ...]
    tags: tuple[str, ...]
    id: int | None


def plugin_cards(text: str) -> list[Card | None]:
    """Return what the plugin makes of the blocks of a text; None for a block whose type it does not know."""
    cards = []
    at = 0
    while True:
        start = at if at == 0 and text.startswith("START\n") else text.find("\nSTART\n", max(0, at - 1)) + 1
        if not text.startswith("START\n", start) or (start == 0 and at > 0):
            return cards
        body = start + len("START\n")
        end = text.find("\nEND", body)
        if end < 0:
            return cards
        cards.append(plugin_card(text[body:end]))
        at = end + len("\nEND")


def plugin_card(block: str) -> Card | None:
    lines = block.strip().split("\n")
    number, tags = None, ()
    if found := re.search("ID: ([0-9]+)", lines[-1]):
        number = int(found[1])
        lines.pop()
    if lines and lines[-1].startswith("Tags: "):
        tags = tuple(tag for tag in lines.pop()[len("Tags: ") :].split(" ") if tag)
    if not lines or lines[0] not in STOCK_TYPES:
        return None
    fields = dict.fromkeys(STOCK_TYPES[lines[0]], "")
    current = next(iter(fields))
    for line in lines[1:]:
        for name in fields:
            if line.startswith(f"{name}:"):
                current, line = name, line[len(name) + 1 :]
                break
        fields[current] += line + "\n"
    return Card(lines[0], tuple(words.strip() for words in fields.values()), tags, number)


LINES = [
    *(
        "Basic",
        "Cloze",
        "basic",
        "START",
        "END",
        "END of x",
        "ENDLESS",
        "Front: q",
        "Back: a",
        "Back:",
        " Back: a",
        "Text:",
    ),
    *(
        "Tags: a b",
        "Tags: a  b",
        "Tags:",
        "Tags: a,b",
        "<!--ID: 1700000000000-->",
        "ID: 17",
        "see ID: 17 here",
        "x ID: 17",
    ),
    *(
        "```",
        "```py",
        "$$",
        "$x$",
        "$5",
        "text",
        "",
        "  indented",
        "- item",
        "{{c1::x}}",
        "<!-- note -->",
        "%%",
    ),
    *(
        "<!--",
        "-->",
        "START ",
        "text <!--ID: 17-->",
        "ID:17",
        "ID: 17 x",
        "> quoted",
        "Back Extra: y",
        "FILE TAGS: t",
        "# H",
    ),
]
TYPED = ["Basic", "Basic", "Cloze", "Basic (optional reversed card)", "Basic ", "basic"]
inner = st.integers(0, 7).flatmap(lambda n: st.lists(st.sampled_from(LINES), min_size=n, max_size=n))
blocks = st.tuples(st.sampled_from(TYPED), inner).map(
    lambda block: ["START", block[0], "q {{c1::x}}", *block[1], "END"]
)
texts = st.lists(st.one_of(blocks, blocks, inner), max_size=4).map(lambda parts: "\n".join(chain(*parts)) + "\n")


def ours(text: str) -> tuple[list[Card], list[str]]:
    note = read_note("note.md", text.encode(), Settings(default_tag=""))
    entries = [entry for entry in note.entries if entry.kind == "block"]
    tags = len(note.file_tags)
    cards = [Card(e.note_type, tuple(e.fields.values()), e.tags[: len(e.tags) - tags], e.id) for e in entries]
    return cards, [message.rule for message in note.messages]


def spaced(card: Card | None) -> Card | None:
    """Make white space alike: before a field that is named again the plugin leaves a space."""
    return card and card._replace(fields=tuple(" ".join(words.split()) for words in card.fields))


@given(text=texts)
@settings(max_examples=800, deadline=None)
def test_where_nothing_is_said_the_plugin_agrees(text):
    cards, said = ours(text)
    if not said:
        assert list(map(spaced, cards)) == list(map(spaced, plugin_cards(text)))


def test_the_model_does_what_the_plugin_was_seen_to_do():
    long = "1752949761743"
    seen = {
        "Basic\nq\n Back: x": Card("Basic", ("q\n Back: x", ""), (), None),
        f"Basic\nq\nBack: a\nTags: a b\n\n<!--ID: {long}-->": Card("Basic", ("q", "a\nTags: a b"), (), int(long)),
        f"Basic\nq\nBack: a\n<!--ID: {long}-->\nTags: x": Card("Basic", ("q", f"a\n<!--ID: {long}-->"), ("x",), None),
        f"Basic\nq\nBack: see Patient ID: {long} for more": Card("Basic", ("q", ""), (), int(long)),
        "Basic\nq\nBack: \n    indented": Card("Basic", ("q", "indented"), (), None),
        "Basic \nq": None,
    }
    for block, card in seen.items():
        assert plugin_cards(f"START\n{block}\nEND\n") == [card]
        assert ours(f"START\n{block}\nEND\n")[0] != [card] or card in ours(f"START\n{block}\nEND\n")[0]
    assert plugin_cards("START\nBasic\nq\nENDLESS\nBack: a\nEND")[0].fields == ("q", "")
    assert len(plugin_cards("START\nBasic\nq\n\nSTART\nBasic\nr\nEND\n")) == 1
    assert plugin_cards("START \nBasic\nq\nEND\n") == plugin_cards("START\r\nBasic\r\nq\r\nEND\r\n") == []


def test_the_property_is_not_empty():
    cards, said = ours("START\nBasic\nq\nBack: a\nTags: x\n<!--ID: 5-->\nEND\n")
    assert cards and not said
