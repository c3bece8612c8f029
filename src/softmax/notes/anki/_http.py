"""Requests to AnkiConnect, and what each way to fail means."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..._errors import NotesError

_MANY = 100  # actions in one request


class RefusedError(NotesError):
    """AnkiConnect answered that it will not, or cannot."""


class Connection:
    """Where AnkiConnect listens; `key` is its API key, if it asks for one, `timeout` in seconds."""

    def __init__(self, url: str, key: str | None, timeout: float) -> None:
        if not url.startswith(("http://", "https://")):
            raise NotesError(f"the address of AnkiConnect must be like http://127.0.0.1:8765; got {url!r}.")
        self.url = url
        self._key = key
        self._timeout = timeout

    def call(self, action: str, *, timeout: float | None = None, **parameters: Any) -> Any:
        """Return the result of an action.

        Raises
        ------
        RefusedError
            If it answers with an error.
        NotesError
            If it does not answer, or with something else.
        """
        result, error = _reply(self._post(self._request(action, parameters), timeout), self.url)
        if error is not None:
            raise RefusedError(f"AnkiConnect refused {action}: {error}.{_advice(error)}")
        return result

    def many(self, action: str, asked: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Any, str | None]]:
        """Return (result, error) of one action for each of many parameters, a hundred in a request."""
        for start in range(0, len(asked), _MANY):
            part = asked[start : start + _MANY]
            # Each needs its version: without one the add-on answers it in the form of version 4.
            replies = self.call("multi", actions=[self._request(action, parameters) for parameters in part])
            if not isinstance(replies, list) or len(replies) != len(part):
                n = len(replies) if isinstance(replies, list) else "no"
                raise NotesError(
                    f"AnkiConnect answered {n} of {len(part)} actions. What it did is in Anki; run the same command "
                    "again, and the rest is done."
                )
            for reply in replies:
                yield _reply(reply, self.url)

    def _request(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        request = {"action": action, "version": 6, "params": dict(parameters)}
        return request | ({"key": self._key} if self._key else {})

    def _post(self, request: Mapping[str, Any], timeout: float | None) -> Any:
        data = json.dumps(request, ensure_ascii=False).encode("utf-8", "replace")
        headers = {"Content-Type": "application/json"}
        asked = urllib.request.Request(self.url, data, headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # Anki is never behind a proxy
        try:
            with opener.open(asked, timeout=timeout or self._timeout) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise NotesError(
                f"{self.url} answered with the status {error.code}. If AnkiConnect listens there, allow this "
                "computer in its settings (Tools, Add-ons, AnkiConnect, Config: webCorsOriginList)."
            ) from None
        except TimeoutError:
            raise _silent(self.url, timeout or self._timeout) from None
        except (urllib.error.URLError, ConnectionError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise _silent(self.url, timeout or self._timeout) from None
            if isinstance(reason, ConnectionRefusedError):
                raise NotesError(
                    f"nothing answers at {self.url}. Start Anki, with the add-on AnkiConnect (code 2055492159), or "
                    "write to a collection file while Anki is closed: --collection FILE.anki2."
                ) from None
            raise NotesError(
                f"the connection to {self.url} broke ({reason}). What Anki did before is kept; look whether it is "
                "still running, and run the same command again."
            ) from None
        except ValueError:
            raise NotesError(
                f"the answer of {self.url} is not whole. What Anki did is kept; run the same command again, and the "
                "rest is done."
            ) from None


def _reply(value: Any, url: str) -> tuple[Any, str | None]:
    if not isinstance(value, dict) or not {"result", "error"} <= value.keys():
        raise NotesError(f"{url} does not answer as AnkiConnect does. Is the address right?")
    return value["result"], None if value["error"] is None else str(value["error"])


def _advice(error: str) -> str:
    if "api key" in error:
        return " Put the key of its settings into the environment as ANKI_CONNECT_KEY."
    if "collection is not available" in error:
        return " Open a profile in Anki."
    return ""


def _silent(url: str, seconds: float) -> NotesError:
    return NotesError(
        f"{url} did not answer within {seconds:g} s. Anki may show a dialog that waits for you, or be busy; close "
        "the dialog and run the same command again: what was done is known, and the rest is done."
    )
