"""What others call the units of `testbed.spec.units`: Mbps, MB/s, msec, mib, pkts.

A unit that a user wrote and that is not taken comes in; the one that was probably meant goes out, with the
factor between the two. It is only proposed: whether `m` is a milli or a mega is for the user to say.
"""

from __future__ import annotations

import re

Meant = tuple[int, str] | None
"""(how many of the unit, the unit), such as (8, `Mbit/s`) for `MB/s`; None where nothing is near."""

_RATE = re.compile(r"(?:([kmgt])|(?=b))(bits?|bytes?|b|)(?:(?:p|/)(?:s|sec|second))?", re.IGNORECASE)
_SIZE = re.compile(r"([kmgt]?)(i?)(?:b|bytes?|)", re.IGNORECASE)
_TIMES = {
    "ns": ("nsec", "nsecs", "nanosecond", "nanoseconds"),
    "us": ("usec", "usecs", "µs", "μs", "microsecond", "microseconds"),  # the two signs for micro
    "ms": ("msec", "msecs", "millisecond", "milliseconds"),
    "s": ("sec", "secs", "second", "seconds"),
    "min": ("mins", "minute", "minutes"),
    "h": ("hr", "hrs", "hour", "hours"),
    "d": ("day", "days"),
}
_PERCENT = ("percent", "pct", "pc")
_PACKETS = ("pkt", "pkts", "p", "frame", "frames")
_OTHER_TIMES = {other: unit for unit, others in _TIMES.items() for other in (unit, *others)}


def rate_meant(unit: str) -> Meant:
    """`Mbps` -> 1 `Mbit/s`; a capital B, as in `MB/s`, is 8 bits."""
    match = _RATE.fullmatch(unit)
    if match is None:
        return None
    prefix, word = (match[1] or "").lower(), match[2]
    in_bytes = word == "B" or word.lower().startswith("byte")
    factor = (8 if in_bytes else 1) * (1000 if prefix == "t" else 1)
    return factor, {"": "", "k": "k", "m": "M"}.get(prefix, "G") + "bit/s"


def time_meant(unit: str) -> Meant:
    """`msec` -> 1 `ms`."""
    known = _OTHER_TIMES.get(unit.lower())
    return (1, known) if known else None


def size_meant(unit: str) -> Meant:
    """`mib` -> 1 `MiB`, `Kb` -> 1 `kB`, `TB` -> 1000 `GB`."""
    match = _SIZE.fullmatch(unit)
    if match is None:
        return None
    prefix, binary = match[1].lower(), bool(match[2])
    if not prefix:
        return None if binary else (1, "B")
    factor = (1024 if binary else 1000) if prefix == "t" else 1
    if binary:
        return factor, {"k": "Ki", "m": "Mi"}.get(prefix, "Gi") + "B"
    return factor, {"k": "k", "m": "M"}.get(prefix, "G") + "B"


def percent_meant(unit: str) -> Meant:
    """`percent` -> 1 `%`."""
    return (1, "%") if unit.lower() in _PERCENT else None


def queue_meant(unit: str) -> Meant:
    """`pkts` -> 1 `packets`; else a time or a size, but of one letter, which may be either."""
    if unit.lower() in (*_PACKETS, "packet", "packets"):
        return 1, "packets"
    return time_meant(unit) or (size_meant(unit) if len(unit) > 1 else None)
