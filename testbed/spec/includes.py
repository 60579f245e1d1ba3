"""Topology files that include others: read them all, and put them together as if written in one.

A document comes in; one of the merged data goes out, in which every key still knows its own file and line.
What is included stands before what the including file holds itself, in the order of `include`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.errors import Problem, UserError
from testbed.spec.loading import Document, load_document, readable
from testbed.spec.wording import shown
from testbed.spec.yaml_reader import FileLine, Places

JOINED = ("isps", "interdomain", "ixps", "access")
"""The sections that a part may bring."""

_LISTS = ("interdomain",)
# Of an included file these say nothing about the whole.
_OF_ONE_FILE = ("name", "description", "include")
# Access lines are settings that a file may change for what it includes; ISPs and exchange points are things.
_OVERRIDDEN = ("access",)
_DEEPEST = 40  # files that include each other: far more than anyone keeps apart, far less than Python's stack


@dataclass(frozen=True)
class _Part:
    """A file that is read: what it holds, and the real paths of all that it includes, through others too."""

    document: Document
    below: frozenset[Path]


_Parts = dict[Path, _Part]
"""By real path, each file behind those that it includes."""


def with_includes(document: Document) -> tuple[Document, list[Problem]]:
    """The document with what it includes (itself where it includes nothing), and its conflicts.

    A conflict is an exchange point or an access line that two files give differently; the document has the
    first. Raises UserError for a file that is missing, nested too deep or includes itself, directly or
    through others, and for an ISP that two files give differently: what refers to it can't be checked then.
    """
    if "include" not in document.data:
        return document, []
    parts: _Parts = {}
    _read(document, (Path(os.path.realpath(document.path)),), parts)
    return _merged(document, parts)


def _read(document: Document, chain: tuple[Path, ...], parts: _Parts) -> None:
    """Add what the document includes to `parts`, then itself; `chain` leads from the first file to it."""
    below: set[Path] = set()
    for index, name in enumerate(_names(document)):
        where = document.where(("include", index))
        path = document.path.parent / name
        real = Path(os.path.realpath(path))
        if real in chain:
            raise UserError(_circle(chain, real, where))
        if len(chain) > _DEEPEST:
            mend = "include this from a file nearer to the first"
            raise UserError(Problem(f"more than {_DEEPEST} levels of includes", where, mend=mend))
        if real not in parts:
            _read(_included(path, name, where), (*chain, real), parts)
        below |= {real, *parts[real].below}
    parts[chain[-1]] = _Part(document, frozenset(below))


def _circle(chain: tuple[Path, ...], real: Path, where: str) -> Problem:
    """The files that lead back to `real`, relative to the folder of the first."""
    steps = [os.path.relpath(step, chain[0].parent) for step in (*chain[chain.index(real) :], real)]
    what = f"files include each other in a circle: {' > '.join(steps)}"
    return Problem(what, where, mend="leave out one of these includes")


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


def _merged(document: Document, parts: _Parts) -> tuple[Document, list[Problem]]:
    """One document of all files, mappings joined key by key and lists in a row; and the conflicts."""
    places = Places()
    for part in parts.values():
        places.update(part.document.places)
    data: dict[str, Any] = {}
    entries: dict[str | int, FileLine] = {}
    conflicts: dict[str, list[Problem]] = {}
    for key in dict.fromkeys(key for part in parts.values() for key in part.document.data):
        holders = {real: part for real, part in parts.items() if key in part.document.data}
        files = [part.document for part in holders.values()]
        if key in _OF_ONE_FILE:
            files = [document] if key in document.data and key != "include" else []
        if not files:
            continue
        entries[key] = files[-1].places.of(files[-1].data)[key]
        if key in _LISTS:
            data[key] = _joined_lists(key, files, places)
        elif key in JOINED:
            data[key], conflicts[key] = _joined_mappings(key, holders, places)
        else:
            data[key] = files[-1].data[key]
    places.set(data, entries)
    found = [problem for problems in conflicts.values() for problem in problems]
    if conflicts.get("isps"):
        raise UserError(readable(found))
    return Document(document.path, data, places), found


def _joined_mappings(key: str, holders: _Parts, places: Places) -> tuple[dict[str, Any], list[Problem]]:
    """A section of all files in one, and what two of them give differently."""
    givers: dict[str, _Parts] = {}
    for real, part in holders.items():
        section = part.document.data[key]
        if not isinstance(section, dict):
            where = part.document.where((key,))
            raise UserError(Problem(f"{key}: {shown(section)} is not a mapping", where))
        for name in section:
            givers.setdefault(name, {})[real] = part
    joined: dict[str, Any] = {}
    entries: dict[str | int, FileLine] = {}
    conflicts: list[Problem] = []
    for name, parts in givers.items():
        first, *others = _that_count(key, parts)
        joined[name] = first.data[key][name]
        entries[name] = first.places.of(first.data[key])[name]
        conflicts += [
            _twice(key, name, first, other) for other in others if other.data[key][name] != joined[name]
        ]
    places.set(joined, entries)
    return joined, conflicts


def _that_count(section: str, parts: _Parts) -> list[Document]:
    """Of the files that give one entry of a section, those that no other of them may override."""
    below: set[Path] = set()
    if section in _OVERRIDDEN:
        below = below.union(*(part.below for part in parts.values()))
    return [part.document for real, part in parts.items() if real not in below]


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


def _twice(section: str, name: str, first: Document, second: Document) -> Problem:
    mend = "rename one of the two, or leave it out in one file"
    if section in _OVERRIDDEN:
        mend = "rename one of the two, or give it in the file that includes both: that one counts"
    elif section == "isps" and _asn(first, name) == _asn(second, name):
        mend = "rename one of the two and give it another asn, or leave it out in one file"
    where_first, where_second = (file.where((section, name)) for file in (first, second))
    return Problem(f"{section}.{name} is given in {where_first} too", where_second, mend=mend)


def _asn(document: Document, isp: str) -> Any:
    given = document.data["isps"][isp]
    return given.get("asn") if isinstance(given, dict) else None
