"""What becomes of a value that the vault, Anki, or both have changed."""

from __future__ import annotations

import pytest

from softmax.notes.anki._cards import AnkiNote, DesiredNote
from softmax.notes.anki._merge import Base, merge, merge_tags


def wanted(back: str, *, tags: tuple[str, ...] = (), deck: str = "D") -> DesiredNote:
    return DesiredNote("a.md", 1, 0, "Basic", {"Front": "q", "Back": back}, tags, deck, 7)


def held(back: str, *, tags: tuple[str, ...] = (), deck: str | None = "D") -> AnkiNote:
    return AnkiNote(7, "o2a:7", "Basic", {"Front": "q", "Back": back}, tags, deck)


BASE = Base.of(wanted("old"))


@pytest.mark.parametrize(
    ("vault", "anki", "bases", "prefer", "becomes", "conflict"),
    [
        ("old", "old", (BASE,), "", None, None),
        ("new", "old", (BASE,), "", "new", None),
        ("old", "mine", (BASE,), "", None, False),
        ("new", "mine", (BASE,), "", None, True),
        ("new", "mine", (BASE,), "vault", "new", None),
        ("new", "mine", (BASE,), "anki", None, False),
        ("old", "mine", (BASE,), "vault", None, False),  # no conflict: nothing to decide
        ("new", "new", (), "", None, None),
        ("<p>a</p>", "<div>a</div>", (), "", "<p>a</p>", None),  # says the same: another program's rendering
        ("<p>a</p>", "<p>b</p>", (), "", None, True),
        ("<p>a</p>", "<p>b</p>", (), "vault", "<p>a</p>", None),
        ("newer", "new", (BASE, Base.of(wanted("new"))), "", "newer", None),  # an interrupted sync had written "new"
        ("newer", "old", (BASE, Base.of(wanted("new"))), "", "newer", None),  # or had not
    ],
)
def test_a_field(vault, anki, bases, prefer, becomes, conflict):
    merged = merge(wanted(vault), held(anki), bases, prefer)
    assert merged.fields == ({} if becomes is None else {"Back": becomes})
    assert [difference.conflict for difference in merged.differences] == ([] if conflict is None else [conflict])


@pytest.mark.parametrize(
    ("vault", "anki", "base", "becomes"),
    [
        ("D", "D", "D", None),
        ("E", "D", "D", "E"),
        ("D", "mine", "D", None),
        ("E", "mine", "D", None),
        ("D", None, "D", None),
        ("E", "Default", "", "E"),
        ("E", "mine", "", None),
        ("math", "Math", "D", None),  # Anki's decks have no case
    ],
)
def test_a_deck(vault, anki, base, becomes):
    bases = (Base.of(wanted("a", deck=base)),)
    merged = merge(wanted("a", deck=vault), held("a", deck=anki), bases)
    assert merged.deck == becomes


@pytest.mark.parametrize(
    ("vault", "anki", "base", "becomes"),
    [
        ("a b", "a b", "a b", "a b"),
        ("a b", "a", "a", "a b"),
        ("a", "a b", "a b", "a"),
        ("a", "a leech marked", "a", "a leech marked"),
        ("a b", "a", "a b", "a"),  # taken away in Anki
        ("a", "x", None, "a x"),
        ("Ab", "aB", "AB", "aB"),
        ("a c", "a b", "a b", "a c"),
    ],
)
def test_tags(vault, anki, base, becomes):
    bases = () if base is None else (Base.of(wanted("a", tags=tuple(base.split()))),)
    assert merge_tags(tuple(vault.split()), tuple(anki.split()), bases) == tuple(becomes.split())


def test_tags_of_an_interrupted_sync():
    bases = tuple(Base.of(wanted("a", tags=tags)) for tags in (("t",), ("u",)))
    assert merge_tags(("u",), ("t",), bases) == ("u",)  # it had not come to it
    assert merge_tags(("v",), ("u",), bases) == ("v",)  # it had
    assert merge_tags(("u",), ("mine", "t"), bases) == ("mine", "u")


def test_a_conflict_stays_one_until_it_is_decided():
    first = merge(wanted("new"), held("mine"), (BASE,))
    base = Base.of(wanted("new")).without(first.differences, BASE)
    again = merge(wanted("new"), held("mine"), (base,))
    assert [difference.conflict for difference in again.differences] == [True]
    decided = merge(wanted("new"), held("mine"), (base,), "anki")
    base = Base.of(wanted("new")).without(decided.differences, base)
    assert [difference.conflict for difference in merge(wanted("new"), held("mine"), (base,)).differences] == [False]
    # The vault changing once more is news.
    assert [d.conflict for d in merge(wanted("newer"), held("mine"), (base,)).differences] == [True]


def test_without_a_record_a_conflict_stays_one():
    first = merge(wanted("<p>a</p>"), held("<p>b</p>", deck="mine"), ())
    assert [difference.conflict for difference in first.differences] == [True, True]
    base = Base.of(wanted("<p>a</p>")).without(first.differences, None)
    again = merge(wanted("<p>a</p>"), held("<p>b</p>", deck="mine"), (base,))
    assert [difference.conflict for difference in again.differences] == [True, True]
    assert Base.from_json(base.as_json()) == base
