"""YAML text in, plain Python data and the line of everything in it out, in one pass over the parser's events.

The rules are those of YAML 1.2's core schema: only `true` and `false` are booleans, `no` is a word, a date is
text. Keys are always text. Anchors, aliases and merge keys (`<<`) work; a key that stands twice is an error.
The parser is libyaml's, so that a file of 50,000 lines is read in about half a second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import yaml

from testbed.errors import Problem, UserError

# libyaml where PyYAML was built with it, as its wheels are; the slow parser in Python elsewhere.
_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_DEEPEST = 40  # levels of nesting: far more than any file here has, far less than Python's stack
_TAG = "tag:yaml.org,2002:"
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", "+.inf"), float("inf")),
    "-.inf": -float("inf"),
    ".nan": float("nan"),
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,40}|0x[0-9a-fA-F]{1,40}|0o[0-7]{1,40}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,5})?")

FileLine = tuple[Path, int]
"""A place in a file: its path and the line, from 1."""


class Places:
    """Where the entries of mappings and sequences stand: for each container, the place of each entry.

    Containers are told apart by identity, so the data must live as long as its places.
    """

    def __init__(self) -> None:
        self._of_container: dict[int, dict[str | int, FileLine]] = {}

    def set(self, container: Any, entries: dict[str | int, FileLine]) -> None:
        self._of_container[id(container)] = entries

    def of(self, container: Any) -> dict[str | int, FileLine]:
        """Key or index -> place; empty for what is no container."""
        return self._of_container.get(id(container), {}) if isinstance(container, dict | list) else {}

    def update(self, other: Places) -> None:
        self._of_container.update(other._of_container)


def read_yaml(text: str, path: Path, places: Places) -> Any:
    """The data of a YAML file; where its entries stand is added to `places`.

    Raises UserError, with the line, for what is not YAML, a key that stands twice, an unknown tag, more than
    one document, an alias that refers to nothing or to what it stands in.
    """
    try:
        return _Reader(text, path, places).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        if _is_indented_by_tab(text, line):
            raise _error(path, line, "a tab can't indent", "write spaces in place of it") from None
        raise _error(path, line, str(error.problem or error.context)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, max(0, error.position)) + 1 if isinstance(error.position, int) else 1
        raise _error(path, line, "a character that YAML does not allow") from None
    except yaml.YAMLError as error:
        raise _error(path, 1, str(error).splitlines()[0]) from None


def _is_indented_by_tab(text: str, line: int) -> bool:
    content = text.splitlines()[line - 1 : line]
    return any("\t" in given[: len(given) - len(given.lstrip())] for given in content)


def _error(path: Path, line: int, what: str, mend: str = "") -> UserError:
    return UserError(Problem(f"not valid YAML: {what}", where=f"{path}:{line}", mend=mend))


class _Reader:
    """One pass over a file. `_value` returns what an event and those that belong to it stand for."""

    def __init__(self, text: str, path: Path, places: Places) -> None:
        parser = _Parser(text)
        self._next = parser.get_event
        self._path = path
        self._places = places
        self._anchors: dict[str, Any] = {}

    def document(self) -> Any:
        data = None
        for number, event in enumerate(self._events_between_documents()):
            if number:
                self._fail(event, "a second document; a file holds one")
            data = self._value(event, 0)
        return data

    def _events_between_documents(self) -> Iterator[Any]:
        """The first event of each document's content."""
        while not isinstance(event := self._next(), yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                yield self._next()

    def _value(self, event: Any, depth: int) -> Any:
        kind = type(event)
        if kind is yaml.AliasEvent:
            if event.anchor not in self._anchors:
                self._fail(event, f"the alias *{event.anchor} refers to nothing before it")
            return self._anchors[event.anchor]
        if depth > _DEEPEST:
            self._fail(event, f"more than {_DEEPEST} levels of nesting")
        value: Any
        if kind is yaml.ScalarEvent:
            value = self._scalar(event)
        elif kind is yaml.MappingStartEvent:
            value = self._mapping(event, depth)
        else:
            value = self._sequence(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = value
        return value

    def _sequence(self, start: Any, depth: int) -> list[Any]:
        self._refuse_tag(start, "seq")
        items: list[Any] = []
        entries: dict[str | int, FileLine] = {}
        while type(event := self._next()) is not yaml.SequenceEndEvent:
            entries[len(items)] = (self._path, event.start_mark.line + 1)
            items.append(self._value(event, depth + 1))
        self._places.set(items, entries)
        return items

    def _mapping(self, start: Any, depth: int) -> dict[str, Any]:
        self._refuse_tag(start, "map")
        items: dict[str, Any] = {}
        entries: dict[str | int, FileLine] = {}
        merged: list[dict[str, Any]] = []
        while type(event := self._next()) is not yaml.MappingEndEvent:
            key = self._key(event)
            value = self._value(self._next(), depth + 1)
            if key == "<<" and type(event) is yaml.ScalarEvent and event.implicit[0]:
                merged += self._to_merge(event, value)
                continue
            line = event.start_mark.line + 1
            if key in items:
                self._fail(event, f"the key '{key}' stands twice, first in line {entries[key][1]}")
            items[key] = value
            entries[key] = (self._path, line)
        for other in merged:
            for key in other:
                entries.setdefault(key, self._places.of(other)[key])
            items = {**other, **items}
        self._places.set(items, entries)
        return items

    def _key(self, event: Any) -> str:
        if type(event) is yaml.AliasEvent and isinstance(self._anchors.get(event.anchor), str):
            return str(self._anchors[event.anchor])
        if type(event) is not yaml.ScalarEvent:
            self._fail(event, "a key that is no plain word")
        if event.anchor is not None:
            self._anchors[event.anchor] = event.value
        return str(event.value)

    def _to_merge(self, event: Any, value: Any) -> list[dict[str, Any]]:
        """The mappings that a merge key brings; of these the first counts where two have a key."""
        mappings = value if isinstance(value, list) else [value]
        if not all(isinstance(mapping, dict) for mapping in mappings):
            self._fail(event, "'<<' merges mappings, and this is none")
        return mappings

    def _scalar(self, event: Any) -> Any:
        text = event.value
        if event.tag is None:
            return _resolved(text) if event.implicit[0] else text
        if event.tag in ("!", f"{_TAG}str"):
            return text
        value = _resolved(text)
        kinds = {"int": int, "float": (float, int), "bool": bool, "null": type(None)}
        wanted: Any = kinds.get(event.tag.removeprefix(_TAG))
        if wanted is None or not isinstance(value, wanted):
            self._fail(event, f"'{text}' with the tag {event.tag.replace(_TAG, '!!')}")
        return float(value) if event.tag == f"{_TAG}float" else value

    def _refuse_tag(self, event: Any, usual: str) -> None:
        if event.tag not in (None, "!", _TAG + usual):
            self._fail(event, f"the tag {event.tag.replace(_TAG, '!!')} is not known")

    def _fail(self, event: Any, what: str) -> NoReturn:
        raise _error(self._path, event.start_mark.line + 1, what)


def _resolved(text: str) -> Any:
    """What an unquoted word stands for in YAML 1.2's core schema; a number of absurd length is text."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "+-.0123456789":
        if _INTEGER.fullmatch(text):
            return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text
