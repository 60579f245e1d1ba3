"""Addresses: a prefix for each ISP, a subnet of it for each PoP, an address in it for each host. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

from testbed.errors import Problem, UserError

RESERVED_ADDRESSES = 3
"""Of a PoP's subnet: network, gateway, broadcast."""

_POOL = IPv4Network("10.0.0.0/8")


def isp_prefixes(wanted: Mapping[str, IPv4Network | None]) -> dict[str, IPv4Network]:
    """A prefix for each ISP: the given one, else the next free one of 10.0.0.0/8; its first stays free.

    They are /16 where these suffice, smaller where there are more than 255 ISPs, and all of one size. Raises
    UserError where the pool is used up.
    """
    given = [prefix for prefix in wanted.values() if prefix is not None]
    length = max(16, _POOL.prefixlen + len(wanted).bit_length())
    free = _free_subnets(_POOL, min(length, 30), given)
    prefixes = {}
    for name, prefix in wanted.items():
        found = prefix if prefix is not None else next(free, None)
        if found is None:
            raise UserError(
                Problem(f"no /{length} of {_POOL} is left for ISP {name}", mend="give it a 'prefix'")
            )
        prefixes[name] = found
    return prefixes


def pop_prefixes(
    isp_prefix: IPv4Network, wanted: Mapping[str, IPv4Network | None], hosts: int = 0
) -> dict[str, IPv4Network]:
    """A subnet for each PoP: the given one, else the next free one; the first of the ISP's stays free.

    Those not given are of one size: a /24, a larger one where the PoP with the most `hosts` needs it, a
    smaller one where there are more PoPs than that leaves room for. Raises UserError where an ISP has more
    PoPs than its prefix has subnets of at least four addresses.
    """
    room_for_hosts = min(24, 32 - (hosts + RESERVED_ADDRESSES).bit_length())
    room_for_pops = isp_prefix.prefixlen + len(wanted).bit_length()
    given = [prefix for prefix in wanted.values() if prefix is not None]
    prefixes = {}
    for length in range(min(30, max(room_for_hosts, room_for_pops)), 31):
        free = _free_subnets(isp_prefix, length, given)
        prefixes = {pop: prefix or next(free, None) for pop, prefix in wanted.items()}
        if None not in prefixes.values():
            return {pop: prefix for pop, prefix in prefixes.items() if prefix is not None}
    raise UserError(Problem(f"{len(wanted)} PoPs do not fit into {isp_prefix}", mend="give a larger prefix"))


def _free_subnets(pool: IPv4Network, length: int, taken: Sequence[IPv4Network]) -> Iterator[IPv4Network]:
    """Subnets of a pool that overlap none of `taken`, without the pool's first."""
    size = 1 << (32 - length)
    first, last = int(pool.network_address), int(pool.broadcast_address)
    busy = sorted((int(other.network_address), int(other.broadcast_address)) for other in taken)
    next_busy = 0
    for start in range(first + size, last + 1, size):
        while next_busy < len(busy) and busy[next_busy][1] < start:
            next_busy += 1
        if next_busy == len(busy) or busy[next_busy][0] >= start + size:
            yield IPv4Network((start, length))


def host_addresses(pop_prefix: IPv4Network, count: int, pop: str) -> list[IPv4Address]:
    """`count` addresses of a PoP behind its gateway, the first address. Raises UserError if it has fewer."""
    room = pop_prefix.num_addresses - RESERVED_ADDRESSES
    if count > room:
        raise UserError(
            Problem(
                f"PoP {pop} has room for {room} hosts in {pop_prefix}, and {count} are to live there",
                mend="spread them over more PoPs",
            )
        )
    return [pop_prefix.network_address + 2 + index for index in range(count)]


def mac_of(address: IPv4Address) -> str:
    """A locally administered MAC address made of the IPv4 address: 10.1.2.3 -> 02:00:0a:01:02:03."""
    return "02:00:" + ":".join(f"{byte:02x}" for byte in address.packed)
