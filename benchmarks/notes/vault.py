"""Writes a vault of realistic notes and cards, the same from the same seed.

``python -m benchmarks.notes.vault FOLDER --notes 10000`` writes one to look at.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import struct
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.notes.formulas import display, inline

_WORDS = """
a about above accurate after all also always an and answer any approach are as at average back be because
before begin below between bound but by can case change class clear close common compare compute condition
constant correct cost count curve data decision define degree depend describe difference direct divide do each
early easy effect equal error estimate even every example exact expect fact factor far few find first fit
follow for form formula from function further general give given good gradient group grow half hence here how
if in increase independent index inside into is it its just keep kind know large last law learn least left
less level limit line linear little long lose low make many mark matrix matter maximum mean measure method
minimum model more most move much near need never new next no not note number observe of often on one only or
order other out over own part path pattern point positive possible power practice predict prior probability
problem process product proof quantity question random rate ratio read reason reduce relation remain result
right rule same sample scale search second see sequence set shape share show side sign simple since single
size slope small so solution some space square stable state step still sum system take term test than that the
then theory there this through time to together too total true turn two under unit until up use value variable
variance vector very view way weight well what when where which while whole why with without word work yes
zero
""".split()  # noqa: SIM905 - a list of 300 strings would fill the page

# Shares, in the mean; the figures of a vault of lectures and reading notes kept for some years.
PARAGRAPHS = (4, 12)
SHARE_WITH_CODE = 0.2
SHARE_WITH_TABLE = 0.15
SHARE_WITH_DISPLAYS = 0.5
SHARE_WITH_IMAGE = 0.1
SHARE_WITH_BASE64 = 0.002
SHARE_OF_CARDS_WITH_EMBED = 0.2
SHARE_OF_WRONG_FORMULAS = 0.01


@dataclass
class Contents:
    """What was written."""

    notes: int = 0
    cards: int = 0
    bytes: int = 0
    displays: int = 0
    inline_formulas: int = 0
    wrong_formulas: int = 0
    links: int = 0
    embeds: int = 0
    images: int = 0
    image_bytes: int = 0


def png(rng: random.Random, side: int) -> bytes:
    """Return a valid grey image of random pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + rng.randbytes(side) for _ in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


class _Writer:
    """One note after the other, counting what it writes."""

    def __init__(self, names: list[str], images: list[str], rng: random.Random) -> None:
        self.names, self.images, self.rng = names, images, rng
        self.contents = Contents()

    def sentence(self, *, links: bool = True) -> str:
        rng = self.rng
        words = rng.choices(_WORDS, k=rng.randint(7, 22))
        words[0] = words[0].capitalize()
        if links and rng.random() < 0.25:
            self.contents.links += 1
            target = rng.choice(self.names)
            words[rng.randrange(len(words))] = f"[[{target}]]" if rng.random() < 0.8 else f"[[{target}|{words[-1]}]]"
        if rng.random() < 0.25:
            self.contents.inline_formulas += 1
            words[rng.randrange(1, len(words))] = inline(rng)
        if rng.random() < 0.1:
            at = rng.randrange(1, len(words))
            if words[at].isalpha():
                words[at] = rng.choice(("**{}**", "*{}*", "`{}`", "=={}==")).format(words[at])
        return " ".join(words) + "."

    def paragraph(self) -> str:
        rng = self.rng
        if rng.random() < 0.4:
            indents = ["", *rng.choices(("", "", "", "\t"), k=rng.randint(1, 5))]
            return "\n".join(f"{indent}- {self.sentence()}" for indent in indents)
        return " ".join(self.sentence() for _ in range(rng.randint(2, 5)))

    def display(self) -> str:
        wrong = self.rng.random() < SHARE_OF_WRONG_FORMULAS
        self.contents.displays += 1
        self.contents.wrong_formulas += wrong
        return display(self.rng, wrong=wrong)

    def code(self) -> str:
        lines = "\n".join(
            f"{self.rng.choice(_WORDS)} = {self.rng.choice(_WORDS)}({self.rng.random():.3f})" for _ in range(6)
        )
        return f"```python\n# costs $5 and not $6\n{lines}\n```"

    def table(self) -> str:
        rows = [[self.rng.choice(_WORDS), f"{self.rng.random():.4f}", inline(self.rng)] for _ in range(5)]
        self.contents.inline_formulas += 5
        return "\n".join(["| name | value | formula |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])

    def image(self) -> str:
        return f"![[{self.rng.choice(self.images)}]]"

    def back(self, headings: list[str]) -> str:
        """Return the answer of a card."""
        rng = self.rng
        if rng.random() < SHARE_OF_CARDS_WITH_EMBED:
            self.contents.embeds += 1
            return f"![[#{rng.choice(headings)}]]"
        parts = [self.paragraph() if rng.random() < 0.3 else self.sentence()]
        if rng.random() < 0.25:
            parts.append(self.display())
        if rng.random() < 0.05:
            parts.append(self.image())
        return "\n\n".join(parts)

    def card(self, name: str, headings: list[str]) -> str:
        rng = self.rng
        self.contents.cards += 1
        number = f"({self.contents.cards})"  # no two fronts are the same
        kind = rng.random()
        tags = f"\nTags: {rng.choice(_WORDS)} {rng.choice(_WORDS)}" if rng.random() < 0.5 else ""
        if kind < 0.15:
            self.contents.links += 1
            front, back = self.sentence(links=False), self.sentence(links=False)
            return f"STARTI [Basic] [[{name}]] {number} {front} Back: {back} ENDI"
        if kind < 0.27:
            words = self.sentence(links=False).replace("}}", "} }").split(" ")
            at = rng.choice([n for n, word in enumerate(words) if word.isalpha()] or [0])
            words[at] = "{{c1::" + words[at] + "}}"
            return f"START\nCloze\n{number} {' '.join(words)}{tags}\nEND"
        kind_name = "Basic" if kind < 0.95 else "Basic (and reversed card)"
        self.contents.links += 1
        return f"START\n{kind_name}\n[[{name}]] {number}: {self.sentence()}\nBack: {self.back(headings)}{tags}\nEND"

    def note(self, name: str, cards: int) -> str:
        rng = self.rng
        self.contents.notes += 1
        count = rng.randint(1, 4)
        headings = [f"{rng.choice(_WORDS)} {rng.choice(_WORDS)} {n}" for n in range(count)]
        parts = [f"# {name}", f"- {self.sentence()}"]
        for heading in headings:
            parts += [f"## {heading}", *(self.paragraph() for _ in range(rng.randint(*PARAGRAPHS) // count + 1))]
            if rng.random() < SHARE_WITH_DISPLAYS:
                parts.append(self.display())
        if rng.random() < SHARE_WITH_CODE:
            parts.append(self.code())
        if rng.random() < SHARE_WITH_TABLE:
            parts.append(self.table())
        if rng.random() < SHARE_WITH_IMAGE:
            parts.append(self.image())
        if rng.random() < SHARE_WITH_BASE64:
            data = base64.b64encode(rng.randbytes(rng.randint(50_000, 500_000))).decode()
            parts.append(f"![pasted](data:image/png;base64,{data})")
        if cards:
            parts += [
                "# cards",
                f"TARGET DECK: bench::{name.split()[0]}",
                *(self.card(name, headings) for _ in range(cards)),
            ]
        return "\n\n".join(parts) + "\n"


def write_vault(
    folder: Path, notes: int = 10_000, *, cards: int | None = None, images: int = 1000, seed: int = 0
) -> Contents:
    """Write a vault of so many notes, with two cards a note unless told, and say what is in it.

    A fifth of the notes has no card, as notes do; the others have more. Every tenth file ends its lines with CRLF.
    """
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    total = 2 * notes if cards is None else cards
    names = [f"{rng.choice(_WORDS)} {rng.choice(_WORDS)} {n}" for n in range(notes)]
    with_cards = [n for n in range(notes) if n % 5]
    share = dict.fromkeys(range(notes), 0)
    for _ in range(total):
        share[rng.choice(with_cards)] += 1

    picture_names = [f"figure {n}.png" for n in range(images)]
    writer = _Writer(names, picture_names, rng)
    (folder / "media").mkdir(exist_ok=True)
    for picture in picture_names:
        data = png(rng, rng.randint(32, 160))
        (folder / "media" / picture).write_bytes(data)
        writer.contents.images += 1
        writer.contents.image_bytes += len(data)
    for n, name in enumerate(names):
        text = writer.note(name, share[n])
        data = (text.replace("\n", "\r\n") if n % 10 == 9 else text).encode()
        place = folder / f"subject {n // 100:02d}"
        place.mkdir(exist_ok=True)
        (place / f"{name}.md").write_bytes(data)
        writer.contents.bytes += len(data)
    return writer.contents


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write a vault of generated notes.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--notes", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    print(json.dumps(asdict(write_vault(chosen.folder, chosen.notes, seed=chosen.seed)), indent=1))
