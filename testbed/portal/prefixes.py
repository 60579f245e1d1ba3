"""Longest-prefix match: in comes a table of prefixes and their values, out the value of an address.

The portal uses it for the PID of an endpoint, the tracker for the ISP and the PID of a peer (RFC 7285 section
11.2.2).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Generic, TypeVar

Value = TypeVar("Value")


class PrefixTable(Generic[Value]):
    """Prefixes of both IP versions with a value each. A look-up tries the lengths in use, longest first."""

    def __init__(self, entries: Iterable[tuple[str, Value]]) -> None:
        """Raises ValueError for a prefix that is malformed, has host bits set, or is given twice."""
        by_length: dict[tuple[int, int], dict[int, Value]] = {}
        for prefix, value in entries:
            network = ip_network(prefix)
            slot = by_length.setdefault((network.version, network.prefixlen), {})
            shifted = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
            if shifted in slot:
                raise ValueError(f"prefix {network} is given twice")
            slot[shifted] = value
        self._tables = {
            version: tuple(
                (bits - length, by_length[version, length])
                for length in range(bits, -1, -1)
                if (version, length) in by_length
            )
            for version, bits in ((4, 32), (6, 128))
        }

    def lookup(self, address: str) -> Value | None:
        """The value of the longest prefix that holds `address`, else None. ValueError if malformed."""
        version, number = _parsed(address)
        for shift, table in self._tables[version]:
            value = table.get(number >> shift)
            if value is not None:
                return value
        return None


@lru_cache(maxsize=65536)
def _parsed(address: str) -> tuple[int, int]:
    parsed = ip_address(address)
    return parsed.version, int(parsed)
