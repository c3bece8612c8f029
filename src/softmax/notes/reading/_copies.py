"""Pasted copies: stretches of paragraphs that stand in several places, and where they have drifted apart.

A note is cut into regions (each field of a card; what stands outside of cards) and a region into blocks: paragraphs,
list items, whole formulas, whole code. Two regions that share blocks are aligned, and a stretch of aligned blocks that
is long enough, with at most a few that differ, is a copy.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from typing import NamedTuple

from .._model import NoteFile, Span, Vault

SHORTEST = 200  # characters, without white space, that a copy shares with its original
_SHARED = 0.6  # of the characters of a stretch
_ALIKE = 0.7
_FEWEST_LETTERS = 15  # of a block that is looked for elsewhere
_MOST_PLACES = 50  # of one block: what stands everywhere ("see also") marks no copy
_BLANK = re.compile(r"\r?\n[ \t]*\r?\n[ \t\r\n]*|\r?\n(?=[ \t]*(?:[-*+]|[0-9]{1,9}[.)])[ \t])")

_HEADING = re.compile(r"^#{1,6}[ \t][^\r\n]*", re.MULTILINE)


class Difference(NamedTuple):
    """Where a copy and its original differ; a span may be empty."""

    ours: Span
    original: Span


@dataclass(frozen=True, slots=True)
class Copy:
    """A stretch of a note that repeats another; without differences it repeats it but for white space."""

    path: str
    span: Span
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class CopyGroup:
    """An original and its copies. The original stands outside of cards where one of them does."""

    path: str
    span: Span
    copies: tuple[Copy, ...]


class _Block(NamedTuple):
    key: int  # a hash of its letters: the text itself would be held twice
    letters: int
    span: Span


@dataclass(slots=True)
class _Region:
    note: NoteFile
    in_card: bool
    blocks: list[_Block]

    @property
    def order(self) -> tuple[bool, str, int]:
        return self.in_card, self.note.path, self.blocks[0].span.start

    def words(self, i: int) -> str:
        return self.note.text[slice(*self.blocks[i].span)]


def find_copies(vault: Vault, *, shortest: int = SHORTEST) -> list[CopyGroup]:
    """Return the stretches that stand more than once in the notes of a vault, by place of their original."""
    regions = sorted((r for note in vault.notes.values() for r in _regions(note)), key=lambda region: region.order)
    groups: dict[tuple[int, Span], list[Copy]] = {}
    covered: dict[int, list[Span]] = defaultdict(list)
    for i, j in _pairs(regions, shortest):
        for original, copy, differences in _stretches(regions[i], regions[j], shortest):
            if any(copy.start < other.end and other.start < copy.end for other in covered[j]):
                continue
            if any(original.start < other.end and other.start < original.end for other in covered[i]):
                continue  # the original is itself a copy of something above: its own copies are found there
            covered[j].append(copy)
            key = next((k for k in groups if k[0] == i and k[1] == original), (i, original))
            groups.setdefault(key, []).append(Copy(regions[j].note.path, copy, differences))
    return [CopyGroup(regions[i].note.path, span, tuple(copies)) for (i, span), copies in sorted(groups.items())]


def _regions(note: NoteFile) -> Iterator[_Region]:
    cards = sorted(entry.span for entry in note.entries if entry.kind in ("block", "inline", "delete"))
    at = 0
    for card in [*cards, Span(len(note.text), len(note.text))]:
        yield from _region(note, Span(at, max(at, card.start)), in_card=False)
        at = max(at, card.end)
    for entry in note.entries:
        if entry.kind != "regexp":
            for spans in entry.field_spans.values():
                for span in spans:
                    yield from _region(note, span, in_card=True)


def _region(note: NoteFile, span: Span, *, in_card: bool) -> Iterator[_Region]:
    blocks = list(_blocks(note, span))
    if blocks:
        yield _Region(note, in_card, blocks)


def _blocks(note: NoteFile, span: Span) -> Iterator[_Block]:
    """Cut a stretch at blank lines, headings and list items outside of formulas and code."""
    at = span.start
    cuts = [match.span() for match in _BLANK.finditer(note.text, span.start, span.end)]
    for match in _HEADING.finditer(note.text, span.start, span.end):
        cuts += [(match.start(), match.start()), (match.end(), match.end())]
    outside = [cut for cut in cuts if not _in_display(note, cut[0])]
    for start, end in [*sorted(outside), (span.end, span.end)]:
        words = note.text[at:start]
        key = "".join(words.split())
        if key:
            lead = len(words) - len(words.lstrip())
            yield _Block(hash(key), len(key), Span(at + lead, at + len(words.rstrip())))
        at = max(at, end)


def _in_display(note: NoteFile, at: int) -> bool:
    segment = note.segments[bisect_right(note.segments, at, key=lambda segment: segment.start) - 1]
    return segment.display and segment.start < at


def _pairs(regions: Sequence[_Region], shortest: int) -> Iterable[tuple[int, int]]:
    """Return the pairs of regions that may hold a copy: they share enough letters in equal blocks."""
    places: dict[tuple[int, int], list[int]] = defaultdict(list)
    for i, region in enumerate(regions):
        for key, letters in {(block.key, block.letters) for block in region.blocks}:
            if letters >= _FEWEST_LETTERS:
                places[key, letters].append(i)
    shared: dict[tuple[int, int], int] = defaultdict(int)
    for (_, letters), where in places.items():
        if 1 < len(where) <= _MOST_PLACES:
            for n, i in enumerate(where):
                for j in where[n + 1 :]:
                    shared[i, j] += letters
    return sorted(pair for pair, total in shared.items() if total >= shortest)


def _stretches(original: _Region, copy: _Region, shortest: int) -> Iterator[tuple[Span, Span, tuple[Difference, ...]]]:
    """Give the stretches that two regions share, with the blocks in them that differ."""
    a, b = [block.key for block in original.blocks], [block.key for block in copy.blocks]
    run: list[tuple[int, int, int]] = []
    for match in [*SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()]:
        if not match.size:
            continue
        if run and (match.a - run[-1][0] - run[-1][2] > 3 or match.b - run[-1][1] - run[-1][2] > 3):
            yield from _stretch(original, copy, run, shortest)
            run = []
        run.append((match.a, match.b, match.size))
    yield from _stretch(original, copy, run, shortest)


def _stretch(
    original: _Region, copy: _Region, run: Sequence[tuple[int, int, int]], shortest: int
) -> Iterator[tuple[Span, Span, tuple[Difference, ...]]]:
    if not run:
        return
    letters = sum(original.blocks[a + k].letters for a, _, size in run for k in range(size))
    run = _grown(original, copy, run)
    first, last = run[0], run[-1]
    ours = copy.blocks[first[1] : last[1] + last[2]]
    theirs = original.blocks[first[0] : last[0] + last[2]]
    most = max(sum(block.letters for block in ours), sum(block.letters for block in theirs))
    if letters < shortest or letters < _SHARED * most:
        return
    differences = tuple(
        Difference(
            _between(copy.blocks, b + size, next_b),
            _between(original.blocks, a + size, next_a),
        )
        for (a, b, size), (next_a, next_b, _) in pairwise(run)
    )
    yield Span(theirs[0].span.start, theirs[-1].span.end), Span(ours[0].span.start, ours[-1].span.end), differences


def _grown(original: _Region, copy: _Region, run: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Let a run take in the blocks before and after it that are alike: there, too, a copy may have drifted."""
    (a, b, _), (c, d, size) = run[0], run[-1]
    e, f = c + size, d + size
    while a and b and _alike(original.words(a - 1), copy.words(b - 1)):
        a, b = a - 1, b - 1
    while e < len(original.blocks) and f < len(copy.blocks) and _alike(original.words(e), copy.words(f)):
        e, f = e + 1, f + 1
    before = [(a, b, 0)] if a < run[0][0] else []
    after = [(e, f, 0)] if e > c + size else []
    return [*before, *run, *after]


def _alike(words: str, others: str) -> bool:
    return SequenceMatcher(None, words[:1000], others[:1000], autojunk=False).ratio() > _ALIKE


def _between(blocks: Sequence[_Block], start: int, end: int) -> Span:
    """Return the span of blocks `start` to `end`; an empty one, where the next begins, if there are none."""
    if start < end:
        return Span(blocks[start].span.start, blocks[end - 1].span.end)
    return Span(blocks[start].span.start, blocks[start].span.start)
