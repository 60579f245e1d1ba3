"""Bodies of ALTO requests: in comes what a client posted, out come checked values or one `ProtocolError`.

RFC 7285 section 8.5.2 says which error is which: JSON that cannot be parsed, a field that is missing, a field
of a wrong type, a field of a wrong value. An array element of a wrong type is a wrong value. Unknown fields
are ignored (section 8.3.7).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from testbed.portal.alto.model import ProtocolError, Query

JsonObject = Mapping[str, Any]


def request_of(query: Query) -> JsonObject:
    """The request object of a query. Raises E_SYNTAX."""
    return parsed_object(query.body) if query.given is None else query.given


def parsed_object(body: bytes) -> JsonObject:
    """The JSON object in `body`. Raises E_SYNTAX, with the position where JSON's parser knows it."""
    try:
        document = json.loads(body, parse_constant=_refuse_constant)
    except RecursionError:
        raise ProtocolError("E_SYNTAX", syntax_error="nested too deeply") from None
    except ValueError as error:  # JSON's own, wrong Unicode, or a number with thousands of digits
        raise ProtocolError("E_SYNTAX", syntax_error=str(error)) from None
    if not isinstance(document, dict):
        raise ProtocolError("E_SYNTAX", syntax_error="the body is not a JSON object")
    return document


def required(parent: JsonObject, key: str, path: str) -> Any:
    """The value of a field that must be there; `path` is its full name for the error."""
    if key not in parent:
        raise ProtocolError("E_MISSING_FIELD", field=path)
    return parent[key]


def as_object(value: Any, path: str) -> JsonObject:
    if not isinstance(value, dict):
        raise ProtocolError("E_INVALID_FIELD_TYPE", field=path)
    return value


def as_array(value: Any, path: str, *, at_least: int = 0) -> list[Any]:
    """An array of `at_least` so many elements; too few are a wrong value."""
    if not isinstance(value, list):
        raise ProtocolError("E_INVALID_FIELD_TYPE", field=path)
    if len(value) < at_least:
        raise wrong_value(path, value)
    return value


def as_text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise ProtocolError("E_INVALID_FIELD_TYPE", field=path)
    return value


def as_texts(value: Any, path: str, *, at_least: int = 0) -> list[str]:
    """An array of strings, each once, in the order of their first appearance."""
    elements = as_array(value, path, at_least=at_least)
    for element in elements:
        if not isinstance(element, str):
            raise wrong_value(path, element)
    return list(dict.fromkeys(elements))


def wrong_value(path: str, value: Any) -> ProtocolError:
    """E_INVALID_FIELD_VALUE; a value that is no string is told as its JSON text."""
    try:
        text = value if isinstance(value, str) else json.dumps(value)
    except RecursionError:  # it could just be read, but not be written
        return ProtocolError("E_INVALID_FIELD_VALUE", field=path)
    # Half of a surrogate pair is no character; not every client reads it back.
    shown = text.encode("utf-8", "replace").decode()
    return ProtocolError("E_INVALID_FIELD_VALUE", field=path, value=shown)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
