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
_LONGEST_GAP = 3  # blocks that differ, between two that do not
_MOST_BLOCKS = 3_000  # of a region that is aligned with others
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


@dataclass(frozen=True)
class _Region:
    """A stretch of a note; its blocks are found when they are asked for, and not held: a vault has many."""

    note: NoteFile
    in_card: bool
    span: Span

    @property
    def order(self) -> tuple[bool, str, int]:
        return self.in_card, self.note.path, self.span.start

    def blocks(self) -> list[_Block]:
        return list(_blocks(self.note, self.span))

    def words(self, block: _Block) -> str:
        return self.note.text[slice(*block.span)]


def find_copies(vault: Vault, *, shortest: int = SHORTEST) -> list[CopyGroup]:
    """Return the stretches that stand more than once in the notes of a vault, by place of their original."""
    regions = sorted((r for note in vault.notes.values() for r in _regions(note)), key=lambda region: region.order)
    groups: dict[tuple[int, Span], list[Copy]] = {}
    covered: dict[int, list[Span]] = defaultdict(list)
    for i, j in _pairs(regions, shortest):
        pair = regions[i], regions[j]
        aligned = _Alignment(*pair, *(region.blocks() for region in pair))
        for original, copy, differences in aligned.stretches(shortest):
            if any(copy.start < other.end and other.start < copy.end for other in covered[j]):
                continue
            if any(original.start < other.end and other.start < original.end for other in covered[i]):
                continue  # the original is itself a copy of something above: its own copies are found there
            covered[j].append(copy)
            groups.setdefault((i, original), []).append(Copy(regions[j].note.path, copy, differences))
    return [CopyGroup(regions[i].note.path, span, tuple(copies)) for (i, span), copies in sorted(groups.items())]


def _regions(note: NoteFile) -> Iterator[_Region]:
    cards = sorted(entry.span for entry in note.entries if entry.kind in ("block", "inline", "delete"))
    at = 0
    for card in [*cards, Span(len(note.text), len(note.text))]:
        if card.start > at:
            yield _Region(note, False, Span(at, card.start))
        at = max(at, card.end)
    for entry in note.entries:
        if entry.kind != "regexp":
            yield from (_Region(note, True, span) for spans in entry.field_spans.values() for span in spans)


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
    first: dict[int, int] = {}
    repeated: dict[int, tuple[int, list[int]]] = {}  # key -> (letters, regions)
    for i, region in enumerate(regions):
        for key, letters in {(block.key, block.letters) for block in region.blocks()}:
            if letters < _FEWEST_LETTERS:
                continue
            before = first.setdefault(key, i)
            if before != i:
                repeated.setdefault(key, (letters, [before]))[1].append(i)
    shared: dict[tuple[int, int], int] = defaultdict(int)
    for letters, where in repeated.values():
        if len(where) <= _MOST_PLACES:
            for n, i in enumerate(where):
                for j in where[n + 1 :]:
                    shared[i, j] += letters
    return sorted(pair for pair, total in shared.items() if total >= shortest)


Run = tuple[int, int, int]  # blocks of the original from, blocks of the copy from, how many


@dataclass(frozen=True)
class _Alignment:
    """Two regions block by block: `a` of the original, `b` of the one that may hold a copy."""

    original: _Region
    copy: _Region
    a: list[_Block]
    b: list[_Block]

    def stretches(self, shortest: int) -> Iterator[tuple[Span, Span, tuple[Difference, ...]]]:
        """Give the stretches that both share, with the blocks in them that differ."""
        if max(len(self.a), len(self.b)) > _MOST_BLOCKS:
            return
        runs: list[list[Run]] = []
        keys = [block.key for block in self.a], [block.key for block in self.b]
        for match in SequenceMatcher(None, *keys).get_matching_blocks():
            if not match.size:
                continue
            a, b, size = runs[-1][-1] if runs else (0, 0, 0)
            if runs and match.a - a - size <= _LONGEST_GAP and match.b - b - size <= _LONGEST_GAP:
                runs[-1].append((match.a, match.b, match.size))
            else:
                runs.append([(match.a, match.b, match.size)])
        for run in runs:
            yield from self._stretch(run, shortest)

    def _stretch(self, run: Sequence[Run], shortest: int) -> Iterator[tuple[Span, Span, tuple[Difference, ...]]]:
        letters = sum(block.letters for a, _, size in run for block in self.a[a : a + size])
        run = self._grown(run)
        theirs = self.a[run[0][0] : run[-1][0] + run[-1][2]]
        ours = self.b[run[0][1] : run[-1][1] + run[-1][2]]
        most = max(sum(block.letters for block in ours), sum(block.letters for block in theirs))
        if letters < shortest or letters < _SHARED * most:
            return
        differences = tuple(
            Difference(_between(self.b, b + size, next_b), _between(self.a, a + size, next_a))
            for (a, b, size), (next_a, next_b, _) in pairwise(run)
        )
        yield _around(theirs), _around(ours), differences

    def _grown(self, run: Sequence[Run]) -> list[Run]:
        """Let a run take in the blocks before and after it that are alike: there, too, a copy may have drifted."""
        (a, b, _), (c, d, size) = run[0], run[-1]
        e, f = c + size, d + size
        while a and b and self._alike(a - 1, b - 1):
            a, b = a - 1, b - 1
        while e < len(self.a) and f < len(self.b) and self._alike(e, f):
            e, f = e + 1, f + 1
        before = [(a, b, 0)] if a < run[0][0] else []
        after = [(e, f, 0)] if e > c + size else []
        return [*before, *run, *after]

    def _alike(self, i: int, j: int) -> bool:
        return _alike(self.original.words(self.a[i]), self.copy.words(self.b[j]))


def _alike(words: str, others: str) -> bool:
    return SequenceMatcher(None, words[:1000], others[:1000], autojunk=False).ratio() > _ALIKE


def _between(blocks: Sequence[_Block], start: int, end: int) -> Span:
    """Return the span of blocks `start` to `end`; an empty one, where the next begins, if there are none."""
    if start < end:
        return _around(blocks[start:end])
    return Span(blocks[start].span.start, blocks[start].span.start)


def _around(blocks: Sequence[_Block]) -> Span:
    return Span(blocks[0].span.start, blocks[-1].span.end)
