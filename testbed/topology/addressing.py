"""Addresses: a /16 for each ISP, a subnet of it for each PoP, an address in it for each host. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

from testbed.errors import Problem, UserError

RESERVED_ADDRESSES = 3
"""Of a PoP's subnet: network, gateway, broadcast."""

_POOL = IPv4Network("10.0.0.0/8")


def isp_prefixes(wanted: Mapping[str, IPv4Network | None]) -> dict[str, IPv4Network]:
    """A prefix for each ISP: the given one, else the next free /16 of 10.0.0.0/8 from 10.1.0.0.

    Raises UserError where the pool is used up.
    """
    taken = [prefix for prefix in wanted.values() if prefix is not None]
    free = (p for p in list(_POOL.subnets(new_prefix=16))[1:] if not any(p.overlaps(t) for t in taken))
    prefixes = {}
    for name, prefix in wanted.items():
        given = prefix if prefix is not None else next(free, None)
        if given is None:
            raise UserError(Problem(f"no /16 of {_POOL} is left for ISP {name}", mend="give it a 'prefix'"))
        prefixes[name] = given
    return prefixes


def pop_prefixes(isp_prefix: IPv4Network, pops: Sequence[str], hosts: int = 0) -> dict[str, IPv4Network]:
    """A subnet for each PoP, all of one size; the first of the ISP's prefix stays free.

    The size is a /24, a larger one where the PoP with the most `hosts` needs it, a smaller one where there
    are more PoPs than that leaves room for. Raises UserError where an ISP has more PoPs than its prefix has
    subnets of at least four addresses.
    """
    room_for_hosts = min(24, 32 - (hosts + RESERVED_ADDRESSES).bit_length())
    room_for_pops = isp_prefix.prefixlen + len(pops).bit_length()
    length = max(room_for_hosts, room_for_pops)
    if length > 30:
        raise UserError(
            Problem(f"{len(pops)} PoPs do not fit into {isp_prefix}", mend="give a larger prefix")
        )
    subnets = isp_prefix.subnets(new_prefix=length)
    next(subnets)
    return dict(zip(pops, subnets, strict=False))


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
