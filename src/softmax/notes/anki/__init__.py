"""Cards in Anki: a plan of what changes, a sync that can be interrupted anywhere, and packages.

`plan_vault`, `sync_vault` and `export_vault` are what the commands call. Below them `_vault` makes the cards of a
vault, `_plan` compares them with what a back-end (`_collection`, `_connect`) holds, by `_identity` and `_merge`,
`_apply` carries a plan out with `_state` as its memory and `_writeback` for the files.
"""

from ._cards import AnkiNote, DesiredNote, Problem
from ._diff import Piece, pieces, shortened
from ._page import page as plan_page
from ._plan import Action, Plan
from ._sync import Exported, Target, export_vault, plan_vault, sync_vault

__all__ = [
    "Action",
    "AnkiNote",
    "DesiredNote",
    "Exported",
    "Piece",
    "Plan",
    "Problem",
    "Target",
    "export_vault",
    "pieces",
    "plan_page",
    "plan_vault",
    "shortened",
    "sync_vault",
]
