"""Topology files that include others: read them all, and put them together as if written in one.

A path comes in; a `Document` of the merged data goes out, in which every key still knows its own file and
line. What is included stands before what the including file holds itself, in the order of `include`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from testbed.errors import Problem, UserError
from testbed.spec.loading import Document, load_document
from testbed.spec.wording import shown
from testbed.spec.yaml_reader import FileLine, Places

_MAPPINGS = ("isps", "ixps", "access")
_LISTS = ("interdomain",)
# Of an included file these say nothing about the whole.
_OF_ONE_FILE = ("name", "description", "include")


def load_with_includes(path: Path) -> Document:
    """Read a YAML file and what it includes. Raises UserError for what can't be read or put together."""
    return with_includes(load_document(path))


def with_includes(document: Document) -> Document:
    """The document with what it includes; itself where it includes nothing.

    Raises UserError for a file that is missing or includes itself, directly or through others, and for a name
    that two files give, with both places.
    """
    if "include" not in document.data:
        return document
    files = list(_files(document, (Path(os.path.realpath(document.path)),), set()))
    return _merged(document, files)


def _files(document: Document, chain: tuple[Path, ...], seen: set[Path]) -> Iterator[Document]:
    """What the document includes and then itself; each file once, however many include it."""
    for index, name in enumerate(_names(document)):
        where = document.where(("include", index))
        path = document.path.parent / name
        real = Path(os.path.realpath(path))
        if real in chain:
            circle = [step.name for step in (*chain[chain.index(real) :], real)]
            raise UserError(Problem(f"files include each other in a circle: {' > '.join(circle)}", where))
        if real not in seen:
            seen.add(real)
            yield from _files(_included(path, name, where), (*chain, real), seen)
    yield document


def _names(document: Document) -> list[str]:
    """The value of `include`. Raises UserError where it is no list of file names."""
    names = document.data.get("include", [])
    allowed = "a list of files, relative to this one: [access.yaml, isps/cablenet.yaml]"
    if not isinstance(names, list):
        raise UserError(
            Problem(f"include: {shown(names)} is not a list", document.where(("include",)), allowed)
        )
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name or "\0" in name:
            where = document.where(("include", index))
            raise UserError(Problem(f"include: {shown(name)} is not the name of a file", where, allowed))
    return names


def _included(path: Path, name: str, where: str) -> Document:
    if not os.path.exists(path):
        allowed = "a path relative to the file that includes it"
        raise UserError(Problem(f"there is no file '{name}' to include (looked for {path})", where, allowed))
    if not os.path.isfile(path):
        raise UserError(Problem(f"'{name}' is no file", where, allowed="a topology file or a part of one"))
    return load_document(path)


def _merged(document: Document, files: list[Document]) -> Document:
    """One document of all files: mappings joined key by key, lists in a row."""
    places = Places()
    for file in files:
        places.update(file.places)
    data: dict[str, Any] = {}
    entries: dict[str | int, FileLine] = {}
    for key in dict.fromkeys(key for file in files for key in file.data):
        holders = [file for file in files if key in file.data]
        if key in _OF_ONE_FILE:
            holders = [document] if key in document.data and key != "include" else []
        if not holders:
            continue
        entries[key] = holders[-1].places.of(holders[-1].data)[key]
        if key in _MAPPINGS:
            data[key] = _joined_mappings(key, holders, places)
        elif key in _LISTS:
            data[key] = _joined_lists(key, holders, places)
        else:
            data[key] = holders[-1].data[key]
    places.set(data, entries)
    return Document(document.path, data, places)


def _joined_mappings(key: str, holders: list[Document], places: Places) -> dict[str, Any]:
    joined: dict[str, Any] = {}
    entries: dict[str | int, FileLine] = {}
    problems: list[Problem] = []
    for file in holders:
        section = file.data[key]
        if not isinstance(section, dict):
            raise UserError(Problem(f"{key}: {shown(section)} is not a mapping", file.where((key,))))
        given = file.places.of(section)
        problems += [_twice(key, name, entries[name], given[name]) for name in given if name in entries]
        joined.update(section)
        entries.update(given)
    if problems:
        raise UserError(problems)
    places.set(joined, entries)
    return joined


def _joined_lists(key: str, holders: list[Document], places: Places) -> list[Any]:
    joined: list[Any] = []
    entries: dict[str | int, FileLine] = {}
    for file in holders:
        section = file.data[key]
        if not isinstance(section, list):
            raise UserError(Problem(f"{key}: {shown(section)} is not a list", file.where((key,))))
        entries.update(enumerate(file.places.of(section).values(), len(joined)))
        joined += section
    places.set(joined, entries)
    return joined


def _twice(section: str, name: str | int, first: FileLine, second: FileLine) -> Problem:
    return Problem(
        f"{section}.{name} is given in {first[0]}:{first[1]} too",
        f"{second[0]}:{second[1]}",
        mend="rename one of the two, or leave it out in one file",
    )
