"""From the bytes of notes to cards and messages: the format of the Obsidian_to_Anki plugin, and Obsidian's Markdown.

`read_note` reads one file, `read_vault` a folder of them; `expand` shows what embeds show; `Edit` and its kin change a
note's text and no other byte.
"""

from ._copies import Copy, CopyGroup, Difference, find_copies
from ._dedupe import Replacement, replace_copies
from ._edits import Edit, apply_edits, id_edit, removal_edits, write_edits
from ._expand import Expansion, dependents, expand, shows
from ._file import read_note, repairs
from ._findings import findings
from ._format import format_note
from ._links import Links
from ._tokens import tokenize
from ._vault import read_vault

__all__ = [
    "Copy",
    "CopyGroup",
    "Difference",
    "Edit",
    "Expansion",
    "Links",
    "Replacement",
    "apply_edits",
    "dependents",
    "expand",
    "find_copies",
    "findings",
    "format_note",
    "id_edit",
    "read_note",
    "read_vault",
    "removal_edits",
    "repairs",
    "replace_copies",
    "shows",
    "tokenize",
    "write_edits",
]
