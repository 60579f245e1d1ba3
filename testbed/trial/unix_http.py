"""HTTP over a Unix socket: how the trial asks services that live in other network namespaces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from testbed.controller.client import UnixConnection

_TIMEOUT_S = 5.0


def get_json(path: Path, resource: str) -> Any:
    """The JSON answer to GET `resource`. Raises OSError where nobody answers or the answer is no success."""
    connection = UnixConnection(path, _TIMEOUT_S)
    try:
        connection.request("GET", resource)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise OSError(f"{resource} on {path}: HTTP {answer.status}")
        return json.loads(body)
    finally:
        connection.close()
