"""How cards are written in a vault: the plugin's settings where it was used, and ours in ``.softmax/settings.toml``."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .._errors import NotesError

PLUGIN_FILE = ".obsidian/plugins/obsidian-to-anki-plugin/data.json"
OWN_FILE = ".softmax/settings.toml"

# The note types of a new collection, with their fields in Anki's order.
STOCK_TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Basic": ("Front", "Back"),
        "Basic (and reversed card)": ("Front", "Back"),
        "Basic (optional reversed card)": ("Front", "Back", "Add Reverse"),
        "Basic (type in the answer)": ("Front", "Back"),
        "Cloze": ("Text", "Back Extra"),
        "Image Occlusion": ("Occlusion", "Image", "Header", "Back Extra", "Comments"),
    }
)


@dataclass(frozen=True, slots=True)
class Keywords:
    """The words that mark cards in a note; all can be renamed."""

    begin: str = "START"
    end: str = "END"
    begin_inline: str = "STARTI"
    end_inline: str = "ENDI"
    deck: str = "TARGET DECK"
    tags: str = "FILE TAGS"
    delete: str = "DELETE"
    frozen: str = "FROZEN"


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a vault; the defaults are the plugin's.

    Attributes
    ----------
    note_types
        Name -> its fields in order. A card of another type is refused with a message.
    styles
        Note type -> regular expression whose groups are the fields (flags: multi-line), or the name of a recipe:
        "header", "question", "remnote", "ruled", "table", "cloze paragraph".
    folder_decks, folder_tags
        Folder -> deck, or tags separated by spaces. The innermost folder's deck counts; tags add up.
    """

    keywords: Keywords = Keywords()
    note_types: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(STOCK_TYPES))
    styles: Mapping[str, str] = field(default_factory=dict)
    default_deck: str = "Default"
    default_tag: str = "Obsidian_to_Anki"
    folder_decks: Mapping[str, str] = field(default_factory=dict)
    folder_tags: Mapping[str, str] = field(default_factory=dict)
    id_comments: bool = True
    curly_cloze: bool = False
    highlights_to_clozes: bool = False
    add_file_link: bool = False
    add_context: bool = False
    add_obsidian_tags: bool = False
    file_link_fields: Mapping[str, str] = field(default_factory=dict)
    context_fields: Mapping[str, str] = field(default_factory=dict)
    scan_directory: str = ""
    ignored: tuple[str, ...] = ("**/*.excalidraw.md",)
    vault_name: str = ""

    def with_note_types(self, note_types: Mapping[str, tuple[str, ...]]) -> Settings:
        """Return the same settings with more note types, those of a collection for example."""
        return replace(self, note_types={**self.note_types, **note_types})


def read_settings(root: Path) -> Settings:
    """Return the settings of a vault: the defaults, then the plugin's file, then ours.

    Raises
    ------
    NotesError
        If one of the files cannot be read; the message names the file, the key and what it should be.
    """
    settings = Settings(vault_name=root.resolve().name)
    plugin, own = root / PLUGIN_FILE, root / OWN_FILE
    if plugin.is_file():
        settings = _of_plugin(settings, _load(plugin))
    if own.is_file():
        settings = _of_own(settings, _load(own), own)
    return settings


def _load(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes().decode("utf-8-sig")
        content = tomllib.loads(data) if path.suffix == ".toml" else json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        raise NotesError(f"cannot read the settings in {path}: {error}. Correct the file, or move it away.") from None
    if not isinstance(content, dict):
        raise NotesError(f"the settings in {path} must be an object with names; got {type(content).__name__}.")
    return content


_SYNTAX = {
    "Begin Note": "begin",
    "End Note": "end",
    "Begin Inline Note": "begin_inline",
    "End Inline Note": "end_inline",
    "Target Deck Line": "deck",
    "File Tags Line": "tags",
    "Delete Note Line": "delete",
    "Frozen Fields Line": "frozen",
}
_DEFAULTS = {
    "Scan Directory": "scan_directory",
    "Tag": "default_tag",
    "Deck": "default_deck",
    "Add File Link": "add_file_link",
    "Add Context": "add_context",
    "CurlyCloze": "curly_cloze",
    "CurlyCloze - Highlights to Clozes": "highlights_to_clozes",
    "ID Comments": "id_comments",
    "Add Obsidian Tags": "add_obsidian_tags",
}
_TABLES = {
    "FILE_LINK_FIELDS": "file_link_fields",
    "CONTEXT_FIELDS": "context_fields",
    "FOLDER_DECKS": "folder_decks",
    "FOLDER_TAGS": "folder_tags",
}


def _of_plugin(settings: Settings, data: Mapping[str, Any]) -> Settings:
    """Take what the plugin's file says; what it lacks, or has of another kind, stays as it was."""
    given = _object(data.get("settings"))
    changed: dict[str, Any] = {}
    words = {_SYNTAX[name]: word for name, word in _strings(given.get("Syntax")) if name in _SYNTAX and word}
    changed["keywords"] = replace(settings.keywords, **words)
    for name, value in _object(given.get("Defaults")).items():
        attribute = _DEFAULTS.get(name)
        if attribute and type(value) is type(getattr(settings, attribute)):
            changed[attribute] = value
    for name, attribute in _TABLES.items():
        changed[attribute] = {key: value for key, value in _strings(given.get(name)) if value}
    changed["styles"] = {key: value for key, value in _strings(given.get("CUSTOM_REGEXPS")) if value}
    types = {
        name: tuple(map(str, names)) for name, names in _object(data.get("fields_dict")).items() if _is_fields(names)
    }
    changed["note_types"] = {**settings.note_types, **types}
    globs = given.get("IGNORED_FILE_GLOBS")
    if isinstance(globs, list):
        changed["ignored"] = tuple(glob for glob in globs if isinstance(glob, str))
    return replace(settings, **changed)


def _of_own(settings: Settings, data: Mapping[str, Any], path: Path) -> Settings:
    """Take what our file says; it is written by hand, so a name or a kind that is wrong is refused."""
    known = {f.name: getattr(settings, f.name) for f in fields(settings)}
    changed: dict[str, Any] = {}
    for name, value in data.items():
        if name not in known:
            raise NotesError(f"unknown setting {name!r} in {path}. Known are: {', '.join(sorted(known))}.")
        old = known[name]
        if name == "keywords":
            changed[name] = replace(settings.keywords, **_keywords(value, path))
        elif name == "note_types":
            if not isinstance(value, dict) or not all(map(_is_fields, value.values())):
                raise NotesError(f'note_types in {path} must be a table such as Rule = ["Name", "Proof"].')
            changed[name] = {**old, **{key: tuple(names) for key, names in value.items()}}
        elif isinstance(old, tuple):
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise NotesError(f"{name} in {path} must be a list of strings; got {value!r}.")
            changed[name] = tuple(value)
        elif isinstance(old, Mapping):
            if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
                raise NotesError(f"{name} in {path} must be a table of strings; got {value!r}.")
            changed[name] = {**old, **value}
        elif type(value) is not type(old):
            raise NotesError(f"{name} in {path} must be of the kind of {old!r}; got {value!r}.")
        else:
            changed[name] = value
    return replace(settings, **changed)


def _keywords(value: object, path: Path) -> dict[str, str]:
    known = {f.name for f in fields(Keywords)}
    given = dict(_strings(value))
    if not isinstance(value, dict) or given != value or not given.keys() <= known or not all(given.values()):
        raise NotesError(f"keywords in {path} must be a table of words for: {', '.join(sorted(known))}; got {value!r}.")
    return given


def _is_fields(names: object) -> bool:
    return isinstance(names, list) and bool(names) and all(isinstance(name, str) and name for name in names)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _strings(value: object) -> Iterator[tuple[str, str]]:
    return ((key, item) for key, item in _object(value).items() if isinstance(item, str))
