"""Obsidian's own tags in the text of a card, such as ``#maths/softmax``."""

from __future__ import annotations

import re

from ._tokens import tokenize

# Letters, digits, "_", "-" and "/", at least one of them no digit, after white space.
TAG = re.compile(r"(?:^|(?<=\s))#(?=[\w/-]*[^\W\d])(?P<name>[\w/-]+)")


def obsidian_tags(markdown: str) -> list[str]:
    """Return the tags in the prose of a text as Anki writes them: ``a/b`` is ``a::b``."""
    return [
        match["name"].strip("/").replace("/", "::")
        for segment in tokenize(markdown)
        if segment.kind == "prose"
        for match in TAG.finditer(markdown, segment.start, segment.end)
    ]
