"""Endpoint addresses and groups of prefixes as ALTO writes them (RFC 7285 section 10.4).

In come strings such as `ipv4:192.0.2.7`, out come the address, or the PID that a network map gives it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from testbed.portal.alto.model import NetworkMap
from testbed.portal.alto.requests import wrong_value


def grouped(prefixes: Iterable[str]) -> dict[str, list[str]]:
    """Prefixes by their address type: an endpoint address group (section 10.4.5)."""
    groups: dict[str, list[str]] = {}
    for prefix in prefixes:
        groups.setdefault(kind_of(prefix), []).append(prefix)
    return groups


def kind_of(address: str) -> str:
    """The address type of a well-formed address or prefix."""
    return "ipv6" if ":" in address else "ipv4"


def pid_of(endpoint: str, network_map: NetworkMap, field: str) -> str | None:
    """The PID of a typed address by longest prefix, or E_INVALID_FIELD_VALUE for a malformed one."""
    kind, _, address = endpoint.partition(":")
    # A zone, as in fe80::1%eth0, is a matter of the host that names it and no part of an address here.
    if kind not in ("ipv4", "ipv6") or kind_of(address) != kind or "%" in address:
        raise wrong_value(field, endpoint)
    try:
        return network_map.pids.lookup(address)
    except ValueError:
        raise wrong_value(field, endpoint) from None


def typed(client_ip: str) -> str:
    """The typed address of a client, without a zone."""
    address = ip_address(client_ip)
    return f"ipv{address.version}:{address}"
