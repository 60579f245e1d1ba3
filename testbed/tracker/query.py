"""The queries that clients send: announce (BEP 3, 7, 23) and scrape (BEP 48).

In comes the raw query string as it stood in the request line, out a checked query, or `BadQuery` with the
reason that the client is told. The values are bytes: an info hash is binary, and decoding it as text would
break it.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Literal, cast
from urllib.parse import unquote_to_bytes

Event = Literal["", "started", "completed", "stopped"]
_EVENTS = ("started", "completed", "stopped")
DEFAULT_NUMWANT = 50  # BEP 3: what a client gets that does not say


class BadQuery(ValueError):
    """A query that the protocol does not allow; the text goes back to the client as the failure reason."""


@dataclass(frozen=True)
class Announce:
    """One announce. `left` is in bytes, None where the client does not know yet (a magnet link)."""

    info_hash: bytes
    peer_id: bytes
    ip: str
    port: int
    left: int | None
    event: Event
    numwant: int
    compact: bool
    with_peer_id: bool


def parse_announce(raw_query: str, remote: str) -> Announce:
    """The announce in `raw_query`, sent from the address `remote`. Raises BadQuery.

    The address is always the packet's: `ip`, `ipv4` and `ipv6` would let a client send others anywhere (BEP
    7).
    """
    fields = dict(_pairs(raw_query))
    return Announce(
        info_hash=_exactly(fields, "info_hash", 20),
        peer_id=_exactly(fields, "peer_id", 20),
        ip=plain_address(remote),
        port=_number(fields, "port", 1, 65535),
        left=_number(fields, "left", 0, 2**63 - 1) if fields.get("left") else None,
        event=_event(fields.get("event", b"")),
        numwant=_numwant(fields),
        compact=fields.get("compact", b"1") != b"0",
        with_peer_id=fields.get("no_peer_id", b"0") != b"1",
    )


def parse_scrape(raw_query: str) -> list[bytes]:
    """The info hashes of a scrape, in order; none means all. Raises BadQuery."""
    hashes = [value for name, value in _pairs(raw_query) if name == "info_hash"]
    if any(len(value) != 20 for value in hashes):
        raise BadQuery("info_hash is not 20 bytes")
    return hashes


def plain_address(remote: str) -> str:
    """`remote` in its usual spelling; IPv4 inside IPv6 (::ffff:10.0.0.1) as IPv4, without a zone."""
    address = ip_address(remote.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)


def _pairs(raw_query: str) -> list[tuple[str, bytes]]:
    """Names and percent-decoded values. '+' stays '+': clients escape by RFC 3986, not as HTML forms."""
    parts = [part.partition("=") for part in raw_query.split("&") if part]
    return [(name, unquote_to_bytes(value)) for name, _, value in parts]


def _exactly(fields: dict[str, bytes], name: str, length: int) -> bytes:
    value = fields.get(name)
    if value is None:
        raise BadQuery(f"{name} is missing")
    if len(value) != length:
        raise BadQuery(f"{name} is not {length} bytes")
    return value


def _number(fields: dict[str, bytes], name: str, low: int, high: int) -> int:
    value = fields.get(name)
    if value is None:
        raise BadQuery(f"{name} is missing")
    # Twenty digits hold every number in range, and int() takes long over millions of digits.
    if not value.isdigit() or len(value) > 20 or not low <= int(value) <= high:
        raise BadQuery(f"{name} is not a number from {low} to {high}")
    return int(value)


def _numwant(fields: dict[str, bytes]) -> int:
    """A negative number asks for the tracker's default, as in BEP 15."""
    if fields.get("numwant", b"-").startswith(b"-"):
        return DEFAULT_NUMWANT
    return _number(fields, "numwant", 0, 2**31 - 1)


def _event(value: bytes) -> Event:
    """Other events (BEP 21 has `paused`) are plain announces."""
    text = value.decode("ascii", "replace")
    return cast(Event, text) if text in _EVENTS else ""
