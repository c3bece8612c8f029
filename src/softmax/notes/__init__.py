"""Notes in Markdown, checked, and their cards in Anki.

`reading` reads files into the values of `_model`; nothing below it knows Anki or mathematics.
"""
