"""Embeds show notes, sections and blocks; what shows itself stays as it is; copies become embeds."""

from __future__ import annotations

import pytest

from softmax.notes._render import render_fields
from softmax.notes.reading import (
    apply_edits,
    dependents,
    expand,
    find_copies,
    findings,
    read_vault,
    replace_copies,
    shows,
)

NOTES = {
    "a.md": """---
tags: x
---
Opening text. ^open

# First
one $x$%%hidden%%

## Inner
- item
  - below ^item
  - more
- last

# Second: `code`, [[b|link]] & co.
$$
y

z
$$
^formula

TARGET DECK: D

START
Basic
q
Back: ![[#First]]
<!--ID: 5-->
END
""",
    "sub/b.md": "B ![[a#Second code link co]] [[#Own]] ![[p.png]]\n\n# Own\nown text\n",
    "loop.md": "loop ![[loop2]]",
    "loop2.md": "again ![[loop]]",
    "self.md": "x ![[self]] y",
    "p.png": "image",
}


@pytest.fixture
def make(tmp_path):
    """Return a function that makes a vault of notes."""

    def make(notes):
        (tmp_path / ".obsidian").mkdir(exist_ok=True)
        for name, text in notes.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(text.encode())
        return read_vault([tmp_path])

    return make


@pytest.fixture
def vault(make):
    return make(NOTES)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("![[#First]]", "# First\none $x$\n\n## Inner\n- item\n  - below\n  - more\n- last"),
        ("![[a#first]]", "# First\none $x$\n\n## Inner\n- item\n  - below\n  - more\n- last"),
        ("![[a#First#Inner]]", "## Inner\n- item\n  - below\n  - more\n- last"),
        ("![[a#^open]]", "Opening text."),
        ("![[a#^item]]", "- below"),
        ("![[a#^formula]]", "$$\ny\n\nz\n$$"),
        ("say ![[a#^open]] so", "say Opening text. so"),
        ("- ![[a#Inner]]", "- ## Inner\n  - item\n    - below\n    - more\n  - last"),
        ("> ![[a#Inner]]", "> ## Inner\n> - item\n>   - below\n>   - more\n> - last"),
        ("x\n![[a#^open]]\ny", "x\n\nOpening text.\n\ny"),
        ("`![[a#^open]]`", "`![[a#^open]]`"),
        ("$![[a#^open]]$", "$![[a#^open]]$"),
        ("![[p.png]]", "![[p.png]]"),
        ("![[sub/b#Own]]", "# Own\nown text"),
        ("[[a]]", "[[a]]"),
    ],
)
def test_expansions(vault, text, shown):
    result = expand(text, "a.md", vault)
    assert result.markdown == shown and result.troubles == ()


def test_a_whole_note_is_shown_without_its_cards_and_marks(vault):
    text = expand("![[a]]", "loop.md", vault).markdown
    assert text.startswith("Opening text.\n\n# First") and text.endswith("z\n$$")
    for word in ("START", "TARGET DECK", "tags", "hidden", "^", "ID"):
        assert word not in text


def test_an_embed_in_an_embed(vault):
    result = expand("![[b]]", "a.md", vault)
    assert "y\n\nz" in result.markdown and "[[b#Own|Own]]" in result.markdown and "![[p.png]]" in result.markdown
    assert result.shows == {"a.md", "sub/b.md"}


def test_provenance(vault):
    result = expand("say ![[a#^open]], ![[sub/b#Own]]", "a.md", vault)
    for part in result.parts:
        there = vault.library[part.path].text[slice(*part.span)]
        assert result.markdown[part.start : part.end].split()[0] in there
    assert [part.path for part in result.parts] == ["a.md", "sub/b.md"]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("![[loop]]", "embed-cycle"),
        ("![[self]]", "embed-cycle"),
        ("![[nowhere]]", "embed-nowhere"),
        ("![[a#None]]", "embed-nowhere"),
        ("![[a#^none]]", "embed-nowhere"),
        ("![[a#^no.ne]]", "embed-nowhere"),
    ],
)
def test_what_cannot_be_expanded_stays(vault, text, rule):
    result = expand(text, "a.md", vault)
    assert [trouble.rule for trouble in result.troubles] == [rule]
    assert result.troubles[0].embed in result.markdown


def test_deep_and_wide_embeds_end(make):
    deep = make({f"n{i}.md": f"{i} ![[n{i + 1}]]" for i in range(20)})
    assert [trouble.rule for trouble in expand("![[n0]]", "n0.md", deep).troubles] == ["embed-depth"]
    wide = {f"w{i}.md": f"![[w{i + 1}]] " * 10 for i in range(9)} | {"w9.md": "x" * 1000}
    result = expand("![[w0]]", "w0.md", make(wide))
    assert "embed-length" in {trouble.rule for trouble in result.troubles} and len(result.markdown) < 3_000_000


def test_editing_a_section_changes_every_card_that_shows_it(make):
    card = "START\nBasic\nq\nBack: ![[b]]\nEND\n"
    vault = make({"a.md": card, "b.md": "![[c#One]]", "c.md": "# One\nold\n# Two\n"})
    (entry,) = vault.notes["a.md"].entries
    assert shows(entry, vault) == {"b.md", "c.md"}
    assert {path: len(entries) for path, entries in dependents(vault).items()} == {"a.md": 1, "b.md": 1, "c.md": 1}
    before = render_fields(entry, vault).fields["Back"]
    vault = make({"c.md": "# One\nnew\n# Two\n"})
    after = render_fields(vault.notes["a.md"].entries[0], vault).fields["Back"]
    assert (before, after) == ("<h1>One</h1>\n<p>old</p>", "<h1>One</h1>\n<p>new</p>")


SECTION = """## The rule
The first paragraph says enough to be a paragraph of some length, so that a copy of it is one.

The second paragraph goes on about the same matter in other words, and repeats what the first one says about length;
it has a second line, which ends with a formula $g(x)$, so that the whole is long enough to be told from chance.

$$
f(x) = x^2

+ 1
$$

- a list item that says something as well
- another one, which says a little more than the first, for its length
"""


def card(back, number=7):
    return f"START\nBasic\nq{number}\nBack:\n{back}\nTags: t\n<!--ID: {number}-->\nEND\n"


def test_copies_are_found_and_replaced(make):
    other = card(SECTION, 8).replace("\n", "\r\n")
    vault = make({"a.md": f"# Top\n\n{SECTION}\n# Cards\n{card(SECTION)}", "b.md": f"text\r\n\r\n{other}"})
    (group,) = find_copies(vault)
    assert group.path == "a.md" and [(copy.path, copy.differences) for copy in group.copies] == [
        ("a.md", ()),
        ("b.md", ()),
    ]
    replacements = replace_copies(vault, [group])
    assert [replacement.embed for replacement in replacements] == ["![[#The rule]]", "![[a#The rule]]"]
    before = [render_fields(entry, vault).fields for note in vault.notes.values() for entry in note.entries]
    changed = {}
    for path, note in vault.notes.items():
        edits = [edit for replacement in replacements for where, edit in replacement.edits if where == path]
        changed[path] = apply_edits(note.text, edits)
    again = make(changed)
    assert "<!--ID: 8-->\r\nEND\r\n" in changed["b.md"] and "\r\n![[a#The rule]]" in changed["b.md"]
    assert [render_fields(entry, again).fields for note in again.notes.values() for entry in note.entries] == before
    assert find_copies(again) == []


def test_drifted_copies_are_told_and_left(make):
    drifted = SECTION.replace("x^2", "x^3").replace("another one", "another item")
    vault = make({"a.md": f"# Top\n\n{SECTION}\n# Cards\n{card(drifted)}"})
    (group,) = find_copies(vault)
    (copy,) = group.copies
    text = vault.notes["a.md"].text
    ours, theirs = zip(*((text[slice(*ours)], text[slice(*theirs)]) for ours, theirs in copy.differences), strict=True)
    assert "x^3" in ours[0] and "x^2" in theirs[0] and "another item" in ours[1] and "another one" in theirs[1]
    (replacement,) = replace_copies(vault, [group])
    assert replacement.edits == () and "differs" in replacement.refusal
    (replacement,) = replace_copies(vault, [group], drifted=True)
    assert replacement.edits and replacement.refusal is None
    (message,) = [message for message in findings(vault) if message.rule == "drifted-copy"]
    assert text.split("\n")[message.place.line - 1] == "## The rule" and "a.md:3" in message.text


def test_a_copy_of_a_part_of_a_section_is_left(make):
    part = SECTION.partition("- a list")[0]
    vault = make({"a.md": f"{SECTION}\n# Cards\n{card(part)}"})
    (replacement,) = replace_copies(vault, find_copies(vault))
    assert replacement.edits == () and "heading of its own" in replacement.refusal


def test_a_paragraph_gets_a_name(make):
    words = "A paragraph that is long enough to be found as a copy of itself somewhere else. " * 4
    vault = make({"a.md": f"# One\nx\n\n{words}\n\ny\n", "b.md": f"z\n\n{words}\n\nw\n"})
    (replacement,) = replace_copies(vault, find_copies(vault))
    changed = {path: [] for path in vault.notes}
    for path, edit in replacement.edits:
        changed[path].append(edit)
    again = make({path: apply_edits(vault.notes[path].text, edits) for path, edits in changed.items()})
    embed = again.notes["b.md"].text.split("\n")[2]
    assert embed.startswith("![[a#^copy-") and expand(embed, "b.md", again).markdown.split() == words.split()


def test_what_many_notes_repeat_in_short_is_no_copy(make):
    assert find_copies(make({f"{i}.md": f"See also the list of notes.\n\ntext {i}\n" for i in range(60)})) == []
