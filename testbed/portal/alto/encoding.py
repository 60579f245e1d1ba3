"""JSON text, numbers and tags of ALTO documents, as every resource here writes them.

In come values, out comes ASCII text: whatever a client sent and gets back, even half of a surrogate pair, is
escaped.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

from testbed.portal.alto.model import Document, NetworkMap, Query

_EXACT = 2.0**53  # up to here a float that is whole is exactly that integer


def text(value: Any) -> str:
    """Compact JSON. A NaN in it is a mistake of ours and raises ValueError."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def number(value: float) -> str:
    """The shortest JSON number that reads back as `value`, without a fraction where it is whole.

    ValueError for what JSON has no number of.
    """
    if -_EXACT < value < _EXACT:
        return str(int(value)) if value == int(value) else repr(value)
    if not math.isfinite(value):
        raise ValueError(f"{value} is no JSON number")
    return repr(value)


def plain(value: float) -> int | float:
    """The same for a value inside a document."""
    return int(value) if value == int(value) else value


def digest(*parts: bytes) -> str:
    """64 hexadecimal digits: the longest tag that RFC 7285 section 10.3 allows."""
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big"))
        hashed.update(part)
    return hashed.hexdigest()


def vtag(network_map: NetworkMap) -> dict[str, str]:
    """The version tag of a network map (section 10.3)."""
    return {"resource-id": network_map.id, "tag": network_map.tag}


def document(media_type: str, content: Any) -> Document:
    """A document that does not change; the digest of its text is its tag."""
    body = text(content).encode()
    return Document(media_type, body, digest(body))


def always(made: Document) -> Callable[[Query], Document]:
    """The answer of a resource that has one document."""
    return lambda _query: made
