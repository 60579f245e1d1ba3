"""From a YAML file to a validated model, with file and line in every complaint.

A `Document` remembers where each key of the file stands, so that checks made later, on the model, can point
at the line too. All problems of a file are reported together.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from testbed.errors import Problem, UserError


class Spec(BaseModel):
    """Base of everything that a user writes: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


SpecT = TypeVar("SpecT", bound=Spec)
Location = Sequence[str | int]


@dataclass(frozen=True)
class Document:
    """A YAML file as read: its path, its plain data, and the tree that knows line numbers."""

    path: Path
    data: Any
    tree: Any

    def where(self, location: Location = ()) -> str:
        """`file:line` of the key at `location`, or of the nearest key above it that the file has."""
        node, line = self.tree, 1
        for step in location:
            try:
                found, following = _line_of(node, step), node[step]
            except (KeyError, IndexError, TypeError, AttributeError):
                break
            line, node = found, following
        return f"{self.path}:{line}"


def load_document(path: Path) -> Document:
    """Read a YAML file. Raises UserError where it is missing, not YAML, or not a mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(Problem("there is no such file", where=str(path))) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(Problem(f"can't be read: {error}", where=str(path))) from None
    try:
        tree = YAML(typ="rt").load(text)
        data = YAML(typ="safe").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        what = (error.problem or str(error)).splitlines()[0]
        raise UserError(Problem(f"not valid YAML: {what}", where=f"{path}:{line}")) from None
    except YAMLError as error:
        raise UserError(Problem(f"not valid YAML: {error}", where=str(path))) from None
    if not isinstance(data, dict):
        raise UserError(Problem("the file holds no mapping of keys to values", where=f"{path}:1"))
    return Document(path, data, tree)


def load(path: Path, model: type[SpecT]) -> tuple[SpecT, Document]:
    """Read `path` and validate it as `model`. Raises UserError with every problem found."""
    document = load_document(path)
    try:
        return model.model_validate(document.data), document
    except ValidationError as error:
        raise UserError([_problem(item, document, model) for item in error.errors()]) from None


def _line_of(node: Any, step: str | int) -> int:
    """The line, from 1, of a key of a mapping or an item of a sequence."""
    marks = node.lc
    position = marks.key(step) if isinstance(node, Mapping) else marks.item(step)
    return int(position[0]) + 1


def _problem(error: Any, document: Document, model: type[BaseModel]) -> Problem:
    location: tuple[str | int, ...] = tuple(error["loc"])
    where = document.where(location)
    context = error.get("ctx", {})
    kind = error["type"]
    path = ".".join(str(step) for step in location if step in _steps_in(document, location))
    if kind == "extra_forbidden":
        key = str(location[-1])
        keys = _keys_at(model, location[:-1])
        close = difflib.get_close_matches(key, keys, n=1)
        mend = f"did you mean '{close[0]}'?" if close else ""
        return Problem(f"unknown key '{key}'", where, allowed=", ".join(keys), mend=mend)
    if kind == "missing":
        return Problem(f"'{location[-1]}' is missing", document.where(location[:-1]))
    if "allowed" in context:
        return Problem(f"{path}: {error['msg']}", where, allowed=str(context["allowed"]))
    if kind == "literal_error":
        return Problem(f"{path}: '{error['input']}' is not known", where, allowed=context["expected"])
    return Problem(f"{path}: {error['msg']} (given: {error['input']!r})", where)


def _steps_in(document: Document, location: Location) -> list[str | int]:
    """The steps of pydantic's location that the file has: it adds steps for members of a union."""
    node, steps = document.data, []
    for step in location:
        try:
            node = node[step]
        except (KeyError, IndexError, TypeError):
            continue
        steps.append(step)
    return steps


def _keys_at(model: Any, location: Location) -> list[str]:
    """The keys that the model allows at `location`."""
    for step in location:
        model = _member(model, step)
    if isinstance(model, type) and issubclass(model, BaseModel):
        return list(model.model_fields)
    return []


def _member(annotation: Any, step: str | int) -> Any:
    """The annotation of what stands at `step` inside a value of `annotation`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(step))
        return _plain(field.annotation) if field else None
    arguments = get_args(annotation)
    if get_origin(annotation) is dict:
        return _plain(arguments[1])
    if get_origin(annotation) in (list, tuple):
        return _plain(arguments[0])
    return annotation


def _plain(annotation: Any) -> Any:
    """Of `X | None` and other unions, the first member that is a model or a container."""
    if get_origin(annotation) in (Union, types.UnionType):
        members = [item for item in get_args(annotation) if item is not type(None)]
        models = [item for item in members if isinstance(item, type) and issubclass(item, BaseModel)]
        return (models or members)[0]
    return annotation
