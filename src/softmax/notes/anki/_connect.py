"""Cards in a running Anki, through its add-on AnkiConnect (version 6 of its protocol) over HTTP.

What the add-on is known to get wrong is made good here: it may put new notes into the deck Default, take part of a
list, and say that it succeeded where it did nothing. So everything that was written is read back.

The add-on cannot set a GUID, so new notes go in as a package, which Anki itself imports. Where the `anki` package,
which makes it, is not installed, they are added one by one; their ids are then Anki's, and a tag joins each to the id
that was intended until the state has noted it.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..._errors import MissingExtraError, NotesError
from ._anki_package import build_package, set_type_id
from ._backend import Applied, Changes, NewNote, Update
from ._cards import AnkiNote, Medium, NoteType, normal_tags
from ._collection import difference
from ._http import Connection, RefusedError
from ._steps import step

JOIN = "softmax-new::"  # begins the tag that joins a note to its intended id
_MANY = 100  # actions in one request
_MANY_NOTES = 500  # notes asked for in one action
_MEDIA_BYTES = 8 << 20  # of one request
_IMPORT_SECONDS = 600.0


class _UnsupportedError(NotesError):
    """The add-on does not say enough of its note types to make a package for them."""


class AnkiConnect:
    """A running Anki.

    Raises
    ------
    NotesError
        If nothing answers there, or what answers is no AnkiConnect.
    """

    def __init__(self, url: str, *, key: str | None = None, timeout: float = 30.0) -> None:
        self._connection = Connection(url, key, timeout)
        self._is_here = (urlsplit(url).hostname or "") in ("localhost", "127.0.0.1", "::1")
        version = self._connection.call("version")
        if not isinstance(version, int) or version < 6:
            raise NotesError(f"{url} speaks version {version} of AnkiConnect; 6 is needed. Update the add-on in Anki.")
        profile = self._optional("getActiveProfile")
        self.name = f"anki-connect:{profile or url}"
        self.label = f"Anki at {url}" + (f" (profile {profile})" if profile else "")
        self._seen: dict[int, AnkiNote] = {}
        self._cards: dict[int, list[int]] = {}
        self._joined: dict[int, str] = {}  # note -> tag to take away

    def close(self) -> None:
        """Do nothing: a request leaves nothing open."""

    def finish(self, ids: Collection[int]) -> None:
        """Take away the tags that joined notes to their intended ids, where the file has the note's own now."""
        for note in [note for note in self._joined if note in ids]:
            self._connection.call("removeTags", notes=[note], tags=self._joined.pop(note))

    def note_types(self) -> Mapping[str, NoteType]:
        """Return the note types of the collection."""
        names = sorted(self._connection.call("modelNamesAndIds"))
        fields = self._all("modelFieldNames", [{"modelName": name} for name in names])
        templates = self._all("modelTemplates", [{"modelName": name} for name in names])
        return {
            name: NoteType(tuple(names_of), "{{cloze:" in str(sides))
            for name, names_of, sides in zip(names, fields, templates, strict=True)
        }

    def stamp(self) -> str | None:
        """Return nothing: Anki does not tell."""
        return None

    def used_ids(self) -> Collection[int]:
        """Return the ids of all notes."""
        return set(self._connection.call("findNotes", query="deck:*"))

    def read(self, ids: Collection[int], guids: Mapping[str, int]) -> list[AnkiNote]:
        """Return the notes with one of these ids, and those that were added for one of them under another."""
        found = self._notes(sorted(ids))
        missing = {guid: note for guid, note in guids.items() if note in ids and note not in self._seen}
        if missing and self._connection.call("findNotes", query=f"tag:{JOIN}*"):
            queries = [{"query": f"tag:{JOIN}{note}"} for note in missing.values()]
            answers = self._all("findNotes", queries)
            for (guid, note), answer in zip(missing.items(), answers, strict=True):
                for held in self._notes(answer):
                    found.append(AnkiNote(held.id, guid, held.type, held.fields, held.tags, held.deck))
                    self._joined[held.id] = f"{JOIN}{note}"
        return found

    def _notes(self, ids: Sequence[int]) -> list[AnkiNote]:
        asked = [{"notes": list(part)} for part in _parts(ids, _MANY_NOTES)]
        infos = [info for answer in self._all("notesInfo", asked) for info in answer if info]
        cards = [card for info in infos for card in info["cards"]]
        decks: dict[int, str] = {}
        for answer in self._all("getDecks", [{"cards": list(part)} for part in _parts(cards, _MANY_NOTES)]):
            decks.update((card, deck) for deck, inside in answer.items() for card in inside)
        found = []
        for info in infos:
            home = {decks[card] for card in info["cards"] if card in decks}
            fields = sorted(info["fields"].items(), key=lambda item: item[1]["order"])
            values = {name: value["value"] for name, value in fields}
            tags = [tag for tag in info["tags"] if not tag.startswith(JOIN)]
            deck = next(iter(home)) if len(home) == 1 else None
            note = AnkiNote(info["noteId"], "", info["modelName"], values, normal_tags(tags), deck)
            found.append(note)
            self._seen[note.id], self._cards[note.id] = note, list(info["cards"])
        return found

    def apply(self, changes: Changes) -> Applied:
        """Make the changes, read them back, repair decks, and say what is still wrong."""
        self._store(changes.media)
        step("connect: begin")
        ids, problems = self._add(changes.add)
        for part in _parts(changes.update, _MANY):
            step("connect: update")
            problems |= self._update(part)
        decks: dict[str, list[int]] = {}
        for update in changes.update:
            if update.deck is not None:
                decks.setdefault(update.deck, []).extend(self._cards.get(update.id, ()))
        for deck, cards in decks.items():
            step("connect: move")
            self._connection.call("changeDeck", cards=cards, deck=deck)
        for part in _parts(changes.delete, _MANY_NOTES):
            step("connect: delete")
            self._connection.call("deleteNotes", notes=list(part))
        step("connect: verify")
        wanted = {
            new.id: Update(ids[new.id], new.note.fields, new.note.tags, new.note.deck)
            for new in changes.add
            if new.id in ids
        }
        wanted |= {update.id: update for update in changes.update if update.id not in problems}
        problems |= self._verified(wanted)
        gone = self._notes(list(changes.delete))
        problems |= {note.id: "Anki did not delete it" for note in gone}
        return Applied(ids, problems)

    def _add(self, notes: Sequence[NewNote]) -> tuple[dict[int, int], dict[int, str]]:
        if not notes:
            return {}, {}
        with suppress(MissingExtraError, _UnsupportedError):
            self._import(notes)
            there = {note.id for note in self._notes([new.id for new in notes])}
            missing = [new.id for new in notes if new.id not in there]
            why = "Anki imported the package without this note; it may have one of the same GUID under another id"
            return {note: note for note in there}, dict.fromkeys(missing, why)
        return self._add_one_by_one(notes)

    def _import(self, notes: Sequence[NewNote]) -> None:
        with tempfile.TemporaryDirectory(prefix="softmax-") as folder:
            package = Path(folder) / "new.apkg"
            build_package(package, notes, (), install_types=self._installer({new.note.type for new in notes}))
            step("connect: import")
            if self._is_here:
                try:
                    self._connection.call("importPackage", timeout=_IMPORT_SECONDS, path=str(package))
                except RefusedError:
                    self._import_from_media(package)  # an Anki that sees a part of the disk only
            else:
                self._import_from_media(package)

    def _import_from_media(self, package: Path) -> None:
        """Send the package through the media folder, which any Anki can read."""
        name = f"_softmax-{package.parent.name}.apkg"
        data = base64.b64encode(package.read_bytes()).decode("ascii")
        folder = self._connection.call("getMediaDirPath")
        self._connection.call("storeMediaFile", timeout=_IMPORT_SECONDS, filename=name, data=data)
        try:
            separator = "\\" if "\\" in folder else "/"
            path = f"{folder}{separator}{name}"
            self._connection.call("importPackage", timeout=_IMPORT_SECONDS, path=path)
        finally:
            self._connection.call("deleteMediaFile", filename=name)

    def _installer(self, names: Iterable[str]) -> Callable[[Any], None]:
        """Return what puts Anki's note types, as they are, into the collection that a package is made from.

        Ids of fields and templates count: an import that finds others changes the note type.
        """
        try:
            kinds = self._connection.call("findModelsByName", modelNames=sorted(names))
        except RefusedError as error:
            raise _UnsupportedError(str(error)) from None  # by an older version

        def install(collection: Any) -> None:
            for kind in kinds:
                same = collection.models.id_for_name(kind["name"])
                if same is not None:
                    collection.models.remove(same)
                given = collection.models.add_dict({**kind, "id": 0, "usn": 0}).id
                set_type_id(collection, given, kind["id"])

        return install

    def _add_one_by_one(self, notes: Sequence[NewNote]) -> tuple[dict[int, int], dict[int, str]]:
        """Add notes through the add-on, which chooses their ids."""
        ids: dict[int, int] = {}
        problems: dict[int, str] = {}
        for deck in sorted({new.note.deck for new in notes}):
            self._connection.call("createDeck", deck=deck)
        for part in _parts(notes, _MANY):
            step("connect: add")
            asked = [{"note": _as_note(new)} for new in part]
            for new, (result, error) in zip(part, self._connection.many("addNote", asked), strict=True):
                if error is None and isinstance(result, int):
                    ids[new.id] = result
                    self._joined[result] = f"{JOIN}{new.id}"
                else:
                    problems[new.id] = f"Anki did not take the note: {error or 'it gave no reason'}"
        return ids, problems

    def _update(self, updates: Sequence[Update]) -> dict[int, str]:
        problems = {}
        asked = [{"note": {"id": update.id, "fields": dict(update.fields)}} for update in updates if update.fields]
        for call, (_, error) in zip(asked, self._connection.many("updateNoteFields", asked), strict=True):
            if error is not None:
                problems[int(str(call["note"]["id"]))] = f"Anki did not change the note: {error}"
        for update in updates:
            if update.tags is None or update.id not in self._seen:
                continue
            held = {tag.casefold(): tag for tag in self._seen[update.id].tags}
            wanted = {tag.casefold(): tag for tag in update.tags}
            for action, tags in (
                ("addTags", [tag for key, tag in wanted.items() if key not in held]),
                ("removeTags", [tag for key, tag in held.items() if key not in wanted]),
            ):
                if tags:
                    self._connection.call(action, notes=[update.id], tags=" ".join(tags))
        return problems

    def _verified(self, wanted: Mapping[int, Update]) -> dict[int, str]:
        """Read back what was written; put cards that lie in a wrong deck into the right one, and look again."""
        before = {update.id: (self._seen.get(update.id), self._cards.get(update.id, [])) for update in wanted.values()}
        there = {note.id: note for note in self._notes([update.id for update in wanted.values()])}
        moves: dict[str, list[int]] = {}
        for update in wanted.values():
            held = there.get(update.id)
            old, old_cards = before[update.id]
            deck = update.deck or (old.deck if old is not None else None)
            if held is None or deck is None or (held.deck or "").casefold() == deck.casefold():
                continue
            cards = self._cards[held.id]
            # Without a move asked for, only cards that the update made are put beside the others.
            moves.setdefault(deck, []).extend(cards if update.deck else [c for c in cards if c not in old_cards])
        for deck, cards in moves.items():
            step("connect: repair deck")
            self._connection.call("changeDeck", cards=cards, deck=deck)
        if moves:
            there = {note.id: note for note in self._notes(list(there))}
        problems = {}
        for key, update in wanted.items():
            wrong = difference(update, there[update.id]) if update.id in there else "it is not in Anki"
            if wrong:
                problems[key] = wrong
        return problems

    def _store(self, media: Sequence[Medium]) -> None:
        missing = {}
        for medium in media:
            if medium.name not in missing and not self._connection.call("getMediaFilesNames", pattern=medium.name):
                missing[medium.name] = medium
        for part in _by_size(missing.values()):
            step("connect: media")
            asked = []
            for medium in part:
                try:
                    data = base64.b64encode(medium.path.read_bytes()).decode("ascii")
                except OSError as error:
                    raise NotesError(
                        f"cannot read {medium.path}: {error.strerror}. A card shows it; make it readable, or take its "
                        "link away."
                    ) from None
                asked.append({"filename": medium.name, "data": data})
            for medium, name in zip(part, self._all("storeMediaFile", asked), strict=True):
                if name != medium.name:
                    raise NotesError(f"Anki stored {medium.path} as {name} instead of {medium.name}. Check its media.")

    def _all(self, action: str, asked: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Return the results of one action with many parameters; an error of one is an error."""
        results = []
        for result, error in self._connection.many(action, asked):
            if error is not None:
                raise RefusedError(f"AnkiConnect refused {action}: {error}.")
            results.append(result)
        return results

    def _optional(self, action: str) -> Any:
        """Return the result of an action that older versions do not know, or None."""
        try:
            return self._connection.call(action)
        except RefusedError:
            return None


def _as_note(new: NewNote) -> dict[str, Any]:
    return {
        "deckName": new.note.deck,
        "modelName": new.note.type,
        "fields": dict(new.note.fields),
        "tags": [*new.note.tags, f"{JOIN}{new.id}"],
        "options": {"allowDuplicate": True},  # two notes may ask the same; the vault says so
    }


def _parts(values: Sequence[Any], many: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), many):
        yield values[start : start + many]


def _by_size(media: Iterable[Medium]) -> Iterator[list[Medium]]:
    """Divide files into requests of a size that Anki answers soon."""
    part: list[Medium] = []
    size = 0
    for medium in media:
        with suppress(OSError):
            size += medium.path.stat().st_size
        part.append(medium)
        if size > _MEDIA_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part
