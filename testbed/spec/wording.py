"""What pydantic found wrong, in the words of a person who writes a file and knows no Python.

A ValidationError and the data that it is about come in; `Problem`s with file, line, what is wrong and what is
allowed go out.
"""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError

from testbed.errors import Problem

_LIST = ("is not a list", "values in brackets: [a, b]")
_KINDS = {
    "int_type": ("is not a whole number", "such as 1 or 200"),
    "float_type": ("is not a number", "such as 1 or 2.5"),
    "finite_number": ("is not a finite number", "such as 1 or 2.5"),
    "bool_type": ("is neither true nor false", "true, false"),
    "string_type": ("is not text", "text; in quotes where it looks like something else: '10'"),
    "list_type": _LIST,
    "tuple_type": _LIST,
    "dict_type": ("is not a mapping", "keys and their values: {key: value}"),
}
"""pydantic's kind of error -> what is wrong, and how to write what is wanted."""

_BOUNDS = {
    "greater_than": ("gt", "too small", "more than"),
    "greater_than_equal": ("ge", "too small", "at least"),
    "less_than": ("lt", "too large", "less than"),
    "less_than_equal": ("le", "too large", "at most"),
}

_LONGEST = 60


def problems_of(
    error: ValidationError, data: Any, where: Callable[[Sequence[str | int]], str], model: type[BaseModel]
) -> Iterator[Problem]:
    """Each of the error's findings as a Problem; `where` says the file and line of a location in `data`."""
    for item in error.errors(include_url=False):
        yield _problem(item, data, where, model)


def _problem(
    item: Mapping[str, Any],
    data: Any,
    where: Callable[[Sequence[str | int]], str],
    model: type[BaseModel],
) -> Problem:
    kind, context, given = item["type"], item.get("ctx", {}), item["input"]
    is_key = item["loc"][-1:] == ("[key]",)
    location = _steps_in(data, item["loc"])
    name = ".".join(str(step) for step in location)
    subject = f"{name}: " if name else ""
    if kind == "extra_forbidden":
        return _unknown_key(str(item["loc"][-1]), _keys_at(model, item["loc"][:-1]), where(location))
    if kind == "missing" and isinstance(item["loc"][-1], int):
        return Problem(f"{subject}{_length(given)}", where(location), allowed="exactly 2")
    if kind == "missing":
        return Problem(f"'{item['loc'][-1]}' is missing", where(location))
    if "allowed" in context:
        start = "" if is_key else subject
        return Problem(f"{start}{item['msg']}", where(location), allowed=str(context["allowed"]))
    what, allowed = _words(kind, context, given, _keys_at(model, item["loc"]))
    return Problem(f"{subject}{what or item['msg']}", where(location), allowed=allowed)


def _words(kind: str, context: Mapping[str, Any], given: Any, keys: Sequence[str]) -> tuple[str, str]:
    """(what is wrong, what is allowed) for pydantic's own kinds of error."""
    if kind in _KINDS:
        what, allowed = _KINDS[kind]
        return ("has no value" if given is None else f"{shown(given)} {what}"), allowed
    if kind in ("model_type", "model_attributes_type"):
        what = "has no value" if given is None else f"{shown(given)} is not a mapping"
        return what, f"the keys {', '.join(keys)}"
    if kind == "literal_error":
        return f"{shown(given)} is not known", str(context["expected"])
    if kind in _BOUNDS and isinstance(given, float) and math.isnan(given):
        return f"{shown(given)} {_KINDS['float_type'][0]}", _KINDS["float_type"][1]
    if kind in _BOUNDS:
        bound, words, allowed = _BOUNDS[kind]
        return f"{shown(given)} is {words}", f"{allowed} {context[bound]:.12g}"
    if kind == "too_short":
        return _length(given), f"at least {context['min_length']}"
    if kind == "too_long":
        return _length(given), f"exactly {context['max_length']}"
    return "", ""


def shown(given: Any) -> str:
    """A value as a user writes it, shortened where it is long."""
    if given is None:
        return "nothing"
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, dict):
        return "a mapping"
    if isinstance(given, list | tuple):
        return "a list"
    text = str(given)
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return f"'{text}'" if isinstance(given, str) else text


def _length(given: Any) -> str:
    return f"has {len(given)} {'entry' if len(given) == 1 else 'entries'}"


def _unknown_key(key: str, keys: Sequence[str], where: str) -> Problem:
    close = difflib.get_close_matches(key, keys, n=1)
    mend = f"did you mean '{close[0]}'?" if close else ""
    return Problem(f"unknown key {shown(key)}", where, allowed=", ".join(keys), mend=mend)


def _steps_in(data: Any, location: Sequence[str | int]) -> list[str | int]:
    """The steps of pydantic's location that the data has: it adds steps for members of a union and keys."""
    node, steps = data, []
    for step in location:
        if isinstance(node, dict):
            if step not in node:
                continue
        elif not (isinstance(node, list) and isinstance(step, int) and step < len(node)):
            continue
        node = node[step]
        steps.append(step)
    return steps


def _keys_at(model: Any, location: Sequence[str | int]) -> list[str]:
    """The keys that the model allows at `location`."""
    for step in location:
        model = _member(model, step)
    if isinstance(model, type) and issubclass(model, BaseModel):
        return [field.alias or name for name, field in model.model_fields.items()]
    return []


def _member(annotation: Any, step: str | int) -> Any:
    """The annotation of what stands at `step` inside a value of `annotation`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(step))
        return _plain(field.annotation) if field else None
    arguments = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return _tagged(arguments[0], step)
    if get_origin(annotation) is dict:
        return _plain(arguments[1])
    if get_origin(annotation) in (list, tuple):
        return _plain(arguments[0])
    return annotation


def _tagged(union: Any, tag: str | int) -> Any:
    """The member of a discriminated union that pydantic chose, which it says as a step."""
    for member in get_args(union):
        plain, *marks = get_args(member) if get_origin(member) is Annotated else (member,)
        if Tag(str(tag)) in marks:
            return _plain(plain)
    return None


def _plain(annotation: Any) -> Any:
    """Of `X | None` and other unions, the first member that is a model or a container."""
    if get_origin(annotation) in (Union, types.UnionType):
        members = [item for item in get_args(annotation) if item is not type(None)]
        models = [item for item in members if isinstance(item, type) and issubclass(item, BaseModel)]
        return (models or members)[0]
    return annotation
