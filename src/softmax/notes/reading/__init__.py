"""From the bytes of notes to cards and messages: the format of the Obsidian_to_Anki plugin, and Obsidian's Markdown.

`read_note` reads one file, `read_vault` a folder of them.
"""
