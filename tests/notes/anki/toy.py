"""x"""

from __future__ import annotations

import re

from softmax.notes.anki._cards import Deletion, Desired, DesiredNote, normal_tags
from softmax.notes.anki._writeback import hash_bytes

BLOCK = re.compile(
    r"^START\n(.*?)\n(.*?)(?:\nBack(?: Extra)?: (.*?))?\n(?:Tags: (.*?)\n)?(?:<!--ID: (\d+)-->\n)?END", re.M | re.S
)


class ToyEditor:
    def __init__(self, root):
        self.root = root

    def desired(self):
        notes, deletions, sources, ids = [], [], {}, set()
        for path in sorted(self.root.rglob("*.md")):
            raw = path.read_bytes()
            name = path.relative_to(self.root).as_posix()
            sources[name] = hash_bytes(raw)
            notes += self.parse(name, raw)
            deletions += [Deletion(name, 1, int(i)) for i in re.findall(r"DELETE\n<!--ID: (\d+)-->", raw.decode())]
        ids = {n.id for n in notes if n.id} | {d.id for d in deletions}
        return Desired(tuple(notes), tuple(deletions), sources, (), frozenset(ids))

    def parse(self, name, raw):
        text = raw.decode()
        deck = (re.findall(r"^TARGET DECK: (.*)", text, re.M) or ["Default"])[0]
        return [
            DesiredNote(
                name,
                text.count("\n", 0, m.start()) + 1,
                m.start(),
                m[1],
                (
                    {"Front": m[2], "Back": m[3]}
                    if m[1] == "Basic"
                    else {"Text": m[2].removeprefix("Text: "), "Back Extra": m[3] or ""}
                ),
                normal_tags(["Obsidian_to_Anki", m[4] or ""]),
                deck,
                int(m[5]) if m[5] else None,
            )
            for m in BLOCK.finditer(text)
        ]

    def edited(self, path, raw, ids, erased):
        text = raw.decode()
        for m in reversed(list(BLOCK.finditer(text))):
            if m.start() in ids:
                text = text[: m.end() - 3] + f"<!--ID: {ids[m.start()]}-->\n" + text[m.end() - 3 :]
        for i in erased:
            text = text.replace(f"DELETE\n<!--ID: {i}-->\n", "")
        return text.encode()

    def offsets(self, path, raw, notes):
        there = [n for n in self.parse(path, raw) if n.id is None]
        out = []
        for note in notes:
            hit = next((n for n in there if n.content == note.content), None)
            if hit:
                there.remove(hit)
            out.append(hit and hit.offset)
        return out
