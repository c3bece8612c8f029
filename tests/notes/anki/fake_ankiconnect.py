# ruff: noqa: N802 - the names are those of the protocol
"""AnkiConnect version 6 as it behaves, with its mistakes, over a real collection.

Known of it (FooSoft's code of 2023 with Anki 26.9.3): every new note goes to the deck Default; `addNotes` takes part of
a list; unknown fields are ignored; an update of an unknown note is an error, a deletion of one is not; `notesInfo`
answers `{}` for it; without a version an answer is bare, inside `multi` too; each call takes 25 ms.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class FakeAnki:
    """Runs until closed; `url` is where. Faults: set `hang` (seconds), `status`, `cut` or `drop`."""

    def __init__(self, path: Path, *, wrong_deck: bool = True, latency: float = 0.0) -> None:
        from anki.collection import Collection

        self.col = Collection(str(path))
        self.wrong_deck, self.latency = wrong_deck, latency
        self.hang, self.status, self.cut, self.drop = 0.0, 200, False, 0
        self.key: str | None = None
        self.unsupported: set[str] = set()
        self.calls: list[str] = []
        self.after: dict[str, object] = {}  # action -> called when it is done
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                time.sleep(fake.latency)
                answer = json.dumps(fake.answer(request)).encode()
                if fake.hang:
                    time.sleep(fake.hang)
                self.send_response(fake.status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer[: len(answer) // 2] if fake.cut else answer)

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # a client that went away
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def close(self) -> None:
        self.stop()
        self.col.close()

    def answer(self, request: dict) -> object:
        action, version = request.get("action", ""), request.get("version", 4)
        self.calls.append(action)
        try:
            if self.key is not None and request.get("key") != self.key:
                raise Exception("valid api key must be provided")
            method = getattr(self, f"do_{action}", None)
            if method is None or action in self.unsupported:
                raise Exception("unsupported action")
            result, error = method(**request.get("params", {})), None
        except Exception as problem:
            result, error = None, str(problem)
        if action in self.after:
            self.after[action]()
        return result if version <= 4 and error is None else {"result": result, "error": error}

    def do_version(self):
        return 6

    def do_getActiveProfile(self):
        return "User 1"

    def do_multi(self, actions):
        replies = [self.answer(action) for action in actions]
        return replies[: len(replies) - self.drop] if self.drop else replies

    def do_createDeck(self, deck):
        return self.col.decks.id(deck)

    def do_modelNamesAndIds(self):
        return {kind["name"]: kind["id"] for kind in self.col.models.all()}

    def model(self, name):
        kind = self.col.models.by_name(name)
        if kind is None:
            raise Exception(f"model was not found: {name}")
        return kind

    def do_modelFieldNames(self, modelName):
        return [field["name"] for field in self.model(modelName)["flds"]]

    def do_modelTemplates(self, modelName):
        return {side["name"]: {"Front": side["qfmt"], "Back": side["afmt"]} for side in self.model(modelName)["tmpls"]}

    def do_findModelsByName(self, modelNames):
        return [self.model(name) for name in modelNames]

    def do_findNotes(self, query):
        return list(self.col.find_notes(query))

    def note(self, note_id):
        from anki.errors import NotFoundError

        try:
            return self.col.get_note(note_id)
        except NotFoundError:
            raise Exception(f"Note was not found: {note_id}") from None

    def do_notesInfo(self, notes):
        infos = []
        for note_id in notes:
            try:
                note = self.note(note_id)
            except Exception:
                infos.append({})
                continue
            fields = {name: {"value": value, "order": i} for i, (name, value) in enumerate(note.items())}
            infos.append(
                {
                    "noteId": note.id,
                    "tags": note.tags,
                    "fields": fields,
                    "modelName": note.note_type()["name"],
                    "cards": list(note.card_ids()),
                }
            )
        return infos

    def do_getDecks(self, cards):
        decks: dict[str, list[int]] = {}
        for card in cards:
            decks.setdefault(self.col.decks.name(self.col.get_card(card).did), []).append(card)
        return decks

    def do_addNote(self, note):
        kind = self.model(note["modelName"])
        deck = self.col.decks.by_name(note["deckName"])
        if deck is None:
            raise Exception(f"deck was not found: {note['deckName']}")
        new = self.col.new_note(kind)
        for name, value in note["fields"].items():
            if name in new:
                new[name] = value
        new.tags = list(note.get("tags", []))
        check = new.fields_check()
        if check == 1:
            raise Exception("cannot create note because it is empty")
        if check == 2 and not note.get("options", {}).get("allowDuplicate"):
            raise Exception("cannot create note because it is a duplicate")
        self.col.add_note(new, 1 if self.wrong_deck else deck["id"])
        return new.id

    def do_addNotes(self, notes):
        results = []
        for note in notes:
            try:
                results.append(self.do_addNote(note))
            except Exception:
                results.append(None)
        return results

    def do_updateNoteFields(self, note):
        held = self.note(note["id"])
        for name, value in note["fields"].items():
            if name in held:
                held[name] = value
        self.col.update_note(held)

    def do_addTags(self, notes, tags):
        self.col.tags.bulk_add(notes, tags)

    def do_removeTags(self, notes, tags):
        self.col.tags.bulk_remove(notes, tags)

    def do_deleteNotes(self, notes):
        self.col.remove_notes(notes)

    def do_changeDeck(self, cards, deck):
        self.col.set_deck(cards, self.col.decks.id(deck))

    def do_storeMediaFile(self, filename, data):
        return self.col.media.write_data(filename, base64.b64decode(data))

    def do_getMediaFilesNames(self, pattern):
        return [path.name for path in Path(self.col.media.dir()).glob(pattern)]

    def do_getMediaDirPath(self):
        return self.col.media.dir()

    def do_deleteMediaFile(self, filename):
        self.col.media.trash_files([filename])

    def do_importPackage(self, path):
        import warnings

        from anki.collection import ImportAnkiPackageOptions, ImportAnkiPackageRequest

        if not Path(path).is_file():
            raise Exception(f"no such file: {path}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            options = ImportAnkiPackageOptions(merge_notetypes=True, with_scheduling=True, with_deck_configs=True)
            self.col.import_anki_package(ImportAnkiPackageRequest(package_path=path, options=options))
        return True
