"""HTTP over a Unix socket: how the trial asks services that live in other network namespaces."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

from testbed.controller.client import UnixConnection

_TIMEOUT_S = 5.0


def get_json(path: Path, resource: str) -> Any:
    """The JSON answer to GET `resource`. Raises OSError where nobody answers or the answer is no success."""
    return _json(path, "GET", resource)


def put_json(path: Path, resource: str, body: Any) -> Any:
    """The JSON answer to PUT of `body`. Raises as `get_json` does."""
    return _json(path, "PUT", resource, json.dumps(body))


def _json(path: Path, method: str, resource: str, body: str | None = None) -> Any:
    connection = UnixConnection(path, _TIMEOUT_S)
    try:
        connection.request(method, resource, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise OSError(f"{resource} on {path}: HTTP {answer.status}")
        return json.loads(text)
    except http.client.HTTPException as error:
        raise OSError(f"{resource} on {path}: {error!r}") from error
    finally:
        connection.close()
