"""HTTP over a Unix socket: how the trial asks services that live in other network namespaces."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

_TIMEOUT_S = 5.0


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def get_json(path: Path, resource: str) -> Any:
    """The JSON answer to GET `resource`. Raises OSError where nobody answers or the answer is no success."""
    connection = _Connection(path)
    try:
        connection.request("GET", resource)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise OSError(f"{resource} on {path}: HTTP {answer.status}")
        return json.loads(body)
    finally:
        connection.close()
