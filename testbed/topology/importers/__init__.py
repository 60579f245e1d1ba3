"""Networks of others as topology files: Topology Zoo GraphML, SNDlib, Rocketfuel and CAIDA AS relationships.

Bytes of a file and the user's choices come in; `import_topology` finds the format by its content and gives
the mapping of a topology file, with notes on what was guessed or dropped. Pure; the caller reads files.
"""

from __future__ import annotations

import bz2
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import islice

from testbed.topology.importers.caida import import_caida, is_caida
from testbed.topology.importers.common import Choices, External, Imported, Source, text_of
from testbed.topology.importers.graphml import import_graphml
from testbed.topology.importers.rocketfuel import import_rocketfuel, is_rocketfuel, other_name
from testbed.topology.importers.scaling import scaled
from testbed.topology.importers.sndlib import import_sndlib, is_sndlib

__all__ = [
    "Choices",
    "External",
    "Format",
    "Imported",
    "Source",
    "format_of",
    "import_topology",
    "other_name",
    "unpacked",
]

_SAMPLED_LINES = 20
LARGEST_BYTES = 256 * 2**20
"""More than any of these files has unpacked; a small archive can hold a file that fills the memory."""


@dataclass(frozen=True)
class Format:
    """A format: its name, who reads it, and which choices it knows besides those that all know."""

    name: str
    read: Callable[[Source, Choices], Imported]
    choices: frozenset[str]


_GRAPHML = Format("Topology Zoo GraphML", import_graphml, frozenset({"isp", "asn", "external"}))
_SNDLIB = Format("SNDlib native", import_sndlib, frozenset({"isp", "asn"}))
_ROCKETFUEL = Format(
    "Rocketfuel weights and latencies", import_rocketfuel, frozenset({"isp", "asn", "by_city"})
)
_CAIDA = Format("CAIDA AS relationships", import_caida, frozenset({"around", "radius", "limit"}))
_FORMATS = (_GRAPHML, _SNDLIB, _ROCKETFUEL, _CAIDA)
_COMMON = frozenset({"name", "capacity_bps", "delay_s", "scale"})
_OPTION = {"isp": "--as", "by_city": "--by-city"}


def import_topology(source: Source, choices: Choices) -> Imported:
    """The topology of a file, whatever its format.

    Raises UserError where the file is in no known format or broken, or where a choice does not suit it.
    """
    kind = format_of(source)
    unsuited = [
        field.name
        for field in fields(Choices)
        if getattr(choices, field.name) != field.default and field.name not in kind.choices | _COMMON
    ]
    unsuited += ["latencies"] if source.other_chosen and kind is not _ROCKETFUEL else []
    if unsuited:
        options = ", ".join(_OPTION.get(name, f"--{name}") for name in unsuited)
        known = sorted(_OPTION.get(name, f"--{name}") for name in kind.choices)
        raise source.wrong(
            f"{options} does not apply to this file, which is {kind.name}",
            allowed=", ".join([*known, "--name", "--capacity", "--delay", "--scale"]),
        )
    found = kind.read(source, choices)
    data, notes = scaled(found.data, choices.scale)
    return Imported(data, (*found.notes, *notes))


def format_of(source: Source) -> Format:
    """The format of a file by its content. Raises UserError where it is none of those known."""
    if not source.data.strip():
        raise source.wrong("the file is empty", allowed=_known())
    start = source.data[:4096].lstrip(b"\xef\xbb\xbf\xff\xfe\xfe\xff \t\r\n\0")
    if start.startswith(b"<"):
        return _GRAPHML
    if b"\0" in source.data[:4096] and not source.data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise source.wrong("the file is binary", allowed=_known())
    text = text_of(source.data)
    lines = list(islice(_said(text), 1 + _SAMPLED_LINES))
    line, rest = lines[0] if lines else "", lines[1:]
    if is_caida(line):
        return _CAIDA
    if is_rocketfuel(line):
        return _ROCKETFUEL
    if is_sndlib(text):
        return _SNDLIB
    # Where only the first line is wrong, the others tell the format, and its reader names the line.
    for kind, is_kind in ((_CAIDA, is_caida), (_ROCKETFUEL, is_rocketfuel)):
        if rest and 2 * sum(map(is_kind, rest)) > len(rest):
            return kind
    mend = "take the GraphML file of the network" if line.split()[:1] in (["graph"], ["Creator"]) else ""
    raise source.wrong("the file is in no format that can be imported", allowed=_known(), mend=mend)


def _said(text: str) -> Iterator[str]:
    """The lines of a text that are neither blank nor comments."""
    return (line for line in text.splitlines() if line.strip() and not line.startswith("#"))


def unpacked(data: bytes, where: str) -> bytes:
    """The bytes of a file, unpacked where it is packed with gzip or bzip2.

    Raises UserError where the archive is broken or holds more than 256 MiB.
    """
    source = Source(where, where, data)
    opened: io.BufferedIOBase
    if data.startswith(b"\x1f\x8b"):
        opened = gzip.GzipFile(fileobj=io.BytesIO(data))
    elif data.startswith(b"BZh"):
        opened = bz2.BZ2File(io.BytesIO(data))
    else:
        return data
    try:
        content = opened.read(LARGEST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise source.wrong(f"the archive is broken or cut off: {error}") from None
    if len(content) > LARGEST_BYTES:
        raise source.wrong("the archive holds too much", allowed=f"{LARGEST_BYTES >> 20} MiB unpacked")
    return content


def _known() -> str:
    return "; ".join(kind.name for kind in _FORMATS) + "; each also packed with gzip or bzip2"
