"""Asking the controller of a run: its northbound API from Python, over the Unix socket where it listens."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from testbed.errors import RunError

_TIMEOUT_S = 30.0
"""Longer than the controller itself waits for switches and the link agent."""


class Refused(RunError):
    """The controller did not do what it was asked; `status` is HTTP's."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Controller:
    """The northbound API behind a Unix socket. `token_file` holds the word that changes need.

    Methods raise Refused where the controller says no, and OSError where nobody answers.
    """

    def __init__(self, path: Path, token_file: Path | None = None) -> None:
        self._path = path
        self._token_file = token_file

    def get(self, resource: str) -> Any:
        return self._ask("GET", resource)

    def patch(self, resource: str, body: Any) -> Any:
        return self._ask("PATCH", resource, body)

    def put(self, resource: str, body: Any) -> Any:
        return self._ask("PUT", resource, body)

    def delete(self, resource: str) -> Any:
        return self._ask("DELETE", resource)

    def events(self, last_id: int | None = None) -> Iterator[dict[str, Any]]:
        """The events as they come, each with its "id" and "event"; from `last_id` on, if given."""
        connection = UnixConnection(self._path, None)
        try:
            headers = {} if last_id is None else {"Last-Event-ID": str(last_id)}
            connection.request("GET", "/events", headers=headers)
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise Refused(answer.status, str(json.loads(answer.read())["error"]))
            found: dict[str, str] = {}
            for line in answer:
                name, separator, value = line.decode("utf-8").rstrip("\n").partition(": ")
                if separator and name:
                    found[name] = value
                elif not separator and "data" in found:
                    yield {**json.loads(found["data"]), "id": int(found["id"]), "event": found["event"]}
                    found = {}
        except http.client.HTTPException as error:
            raise OSError(f"the events of {self._path} broke off: {error!r}") from error
        finally:
            connection.close()

    def _ask(self, method: str, resource: str, body: Any = None) -> Any:
        headers = {}
        if method != "GET" and self._token_file is not None:
            token = self._token_file.read_text(encoding="utf-8").strip()
            headers["Authorization"] = f"Bearer {token}"
        payload = None if body is None else json.dumps(body).encode()
        connection = UnixConnection(self._path, _TIMEOUT_S)
        try:
            with suppress(BrokenPipeError):  # refused before the body was read: the answer says why
                connection.request(method, quote(resource, safe="/?&=:~.,-"), payload, headers)
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        except http.client.HTTPException as error:
            raise OSError(f"{method} {resource} on {self._path}: {error!r}") from error
        finally:
            connection.close()
        try:
            data = json.loads(text)
        except ValueError:
            raise OSError(f"{method} {resource} on {self._path}: HTTP {answer.status}, no JSON") from None
        if answer.status != http.client.OK:
            raise Refused(answer.status, str(data.get("error", text)))
        return data
