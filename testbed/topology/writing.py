"""A topology as the YAML file that a person would write: one line for each PoP and link, blocks for the rest.

Importers and generators hand in the plain mapping of a topology file (keys as in `testbed.spec.topology`,
quantities as text with a unit); the text of the file comes out. Strings are put together directly: a general
YAML writer knows nothing of this layout and is slow where there are thousands of ISPs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from math import isfinite
from typing import Any

_RATE_UNITS = (("Gbit/s", 10**9), ("Mbit/s", 10**6), ("kbit/s", 10**3), ("bit/s", 1))
_TIME_UNITS = (("s", 0), ("ms", 3), ("us", 6), ("ns", 9))

# Each key of these trees is a block of its own lines, `*` standing for any key; what is not here is one line.
_Blocks = Mapping[str, Any]
_LAYOUT: _Blocks = {
    "include": {},
    "isps": {"*": {"pops": {}, "links": {}, "pids": {}}},
    "interdomain": {},
    "ixps": {"*": {"members": {}}},
    "access": {},
}

# What needs no quotes anywhere in YAML: words that start with a letter, quantities, and prefixes.
_PLAIN = re.compile(
    r"[A-Za-z](?:[A-Za-z0-9 ._/-]*[A-Za-z0-9._/-])?"
    r"|[0-9]+(?:\.[0-9]+)? [A-Za-z]+(?:/s)?"
    r"|(?:[0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}"
)
# Words that YAML 1.1 or 1.2 reads as something else than text.
_RESERVED = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def topology_yaml(data: Mapping[str, Any], comment: Sequence[str] = ()) -> str:
    """The YAML text of a topology file, `comment` lines on top, keys in the order given.

    The same mapping gives the same text, and reading the text gives the same mapping. Values are strings,
    numbers, booleans, None, and lists and mappings of these. Raises ValueError on a number that is
    not finite and TypeError on anything else.
    """
    head = "".join(f"# {_one_line(line)}".rstrip() + "\n" for line in comment)
    sections = ["\n".join(_block_of({key: value}, "", _LAYOUT)) for key, value in data.items()]
    text = ""
    for (key, value), section in zip(data.items(), sections, strict=True):
        apart = "\n" if text and key in _LAYOUT and value else ""
        text += f"{apart}{section}\n"
    return head + text


def _one_line(text: str) -> str:
    """A comment that stays one: nothing in it ends the line, or is no character of YAML."""
    return "".join(letter if letter.isprintable() and letter != "\ufeff" else "?" for letter in text)


def rate_text(rate_bps: int) -> str:
    """A rate in the largest unit that does not make it less than one: 9920000000 -> `9.92 Gbit/s`. Exact."""
    for unit, factor in _RATE_UNITS:
        if rate_bps >= factor:
            return f"{_plain_decimal(Decimal(rate_bps) / factor)} {unit}"
    raise ValueError(f"{rate_bps} bit/s is no rate")


def duration_text(duration_s: float) -> str:
    """A duration: 0.0071 -> `7.1 ms`. Fifteen digits: parsing gives it back within 1e-14 of it."""
    if not isfinite(duration_s) or duration_s < 0:
        raise ValueError(f"{duration_s} s is no duration")
    exact = Decimal(repr(duration_s))
    unit, digits = next((u for u in _TIME_UNITS if exact.scaleb(u[1]) >= 1), _TIME_UNITS[-1])
    if exact == 0:
        return "0 ms"
    return f"{_plain_decimal(Decimal(f'{exact.scaleb(digits):.15g}'))} {unit}"


def counted(number: int, thing: str, things: str = "") -> str:
    """A number of things: `1 link`, `2 links`."""
    return f"{number} {thing if number == 1 else things or thing + 's'}"


def _plain_decimal(number: Decimal) -> str:
    """The number in digits, without an exponent or zeros behind."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _block_of(value: Mapping[str, Any] | Sequence[Any], indent: str, blocks: _Blocks) -> Iterator[str]:
    """The lines of a mapping or list in block style; what `blocks` does not name is one line an item."""
    if not isinstance(value, Mapping):
        for item in value:
            yield f"{indent}- {_flow(item)}"
        return
    for key, item in value.items():
        inner = blocks.get(key, blocks.get("*"))
        if inner is None or not isinstance(item, Mapping | list | tuple) or not item:
            yield f"{indent}{_scalar(key)}: {_flow(item)}"
        else:
            yield f"{indent}{_scalar(key)}:"
            yield from _block_of(item, indent + "  ", inner)


def _flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _RESERVED
        return value if plain else _quoted(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    raise TypeError(f"{value!r} has no place in a topology file")


def _number(value: float) -> str:
    """A float in digits that read back as the same float, never in exponents, which readers disagree on."""
    if not isfinite(value):
        raise ValueError(f"{value} is no number for a topology file")
    text = format(Decimal(repr(value)), "f")
    return text if "." in text else f"{text}.0"


def _quoted(text: str) -> str:
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable() and character != "\ufeff":
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
