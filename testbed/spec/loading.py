"""From a YAML file to a validated model, with file and line in every complaint.

A `Document` remembers where each key of the file stands, so that checks made later, on the model, can point
at the line too. All problems of a file are reported together, up to a number that a person would read.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from testbed.errors import Problem, UserError
from testbed.spec.wording import problems_of
from testbed.spec.yaml_reader import Places, read_yaml

MOST_PROBLEMS = 50
MOST_NAMES = 12


class Spec(BaseModel):
    """Base of everything that a user writes: unknown keys are errors, values do not change.

    Numbers are numbers and text is text: nothing is converted in silence. A docstring below a field is its
    description in the JSON Schema.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


SpecT = TypeVar("SpecT", bound=Spec)
Location = Sequence[str | int]


@dataclass(frozen=True)
class Document:
    """A YAML file as read: its path, its plain data (what it includes too), and where everything stands."""

    path: Path
    data: dict[str, Any]
    places: Places

    def where(self, location: Location = ()) -> str:
        """`file:line` of the key at `location`, or of the nearest key above it that the file has."""
        node: Any = self.data
        path, line = self.path, 1
        for step in location:
            place = self.places.of(node).get(step)
            if place is None:
                break
            (path, line), node = place, node[step]
        return f"{path}:{line}"


def load_document(path: Path) -> Document:
    """Read a YAML file. Raises UserError where it is missing, a folder, not YAML, or not a mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(Problem("there is no such file", where=str(path))) from None
    except IsADirectoryError:
        mend = f"name files in it, such as {path / '*.yaml'}"
        raise UserError(Problem("this is a folder, and a file is needed", str(path), mend=mend)) from None
    except UnicodeDecodeError:
        raise UserError(Problem("is no text in UTF-8", where=str(path))) from None
    except OSError as error:
        raise UserError(Problem(f"can't be read: {error.strerror}", where=str(path))) from None
    places = Places()
    data = read_yaml(text, path, places)
    if not isinstance(data, dict):
        what = "the file is empty" if data is None else "the file holds no mapping of keys to values"
        raise UserError(Problem(what, where=f"{path}:1", allowed="keys and their values, as in 'name: x'"))
    return Document(path, data, places)


def validate(document: Document, model: type[SpecT]) -> SpecT:
    """What the document holds, as `model`. Raises UserError with every problem found."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise UserError(readable(problems_of(error, document.data, document.where, model))) from None


def readable(problems: Iterable[Problem]) -> list[Problem]:
    """The problems, each once; of more than a person would read the first, and a word that there are more."""
    seen: dict[Problem, None] = {}
    iterator = iter(problems)
    for problem in iterator:
        seen.setdefault(problem)
        if len(seen) > MOST_PROBLEMS:
            return [*islice(seen, MOST_PROBLEMS), Problem("there are more problems; mend these first")]
    return list(seen)


def unknown(kind: str, name: str, known: Iterable[str], where: str, *, owner: str = "") -> Problem:
    """The problem of a name that does not exist, or not in its `owner`, with the nearest one that does."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    mend = f"did you mean '{close[0]}'?" if close else ""
    what = f"{owner} has no {kind} '{name}'" if owner else f"there is no {kind} '{name}'"
    return Problem(what, where, allowed=listed(names), mend=mend)


def listed(names: Sequence[str], most: int = MOST_NAMES) -> str:
    """Names in a row; of many the first, and how many more there are."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"
