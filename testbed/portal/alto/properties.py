"""Entity property maps (RFC 9240): the PID of addresses and blocks, and what the ISP says of its PIDs.

In comes what is published, out come two entries, one that answers GET with all of it and one that answers
POST for some entities and some properties. An entity's name is its domain, a colon, and its name in there:
`ipv4:192.0.2.0/24`, `networkmap.pid:PID1`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

from testbed.portal.alto import encoding
from testbed.portal.alto.addresses import kind_of
from testbed.portal.alto.model import Document, Entry, NetworkMap, Published, Query
from testbed.portal.alto.requests import as_texts, request_of, required, wrong_value

PROPERTY_MAP_TYPE = "application/alto-propmap+json"
PROPERTY_MAP_PARAMS_TYPE = "application/alto-propmapparams+json"

AS_NUMBER = "priv:p4p-asn"
OFFERS = "priv:p4p-capability"

_PID_NAME = re.compile(r"[A-Za-z0-9\-:@_.]{1,64}")  # RFC 7285 section 10.1
_Network = IPv4Network | IPv6Network
_VERSIONS = {"ipv4": 4, "ipv6": 6}


class _Blocks:
    """The prefixes of one network map and one IP version: what holds a block, and what a block holds."""

    def __init__(self, blocks: Iterable[tuple[_Network, str]]) -> None:
        self._sorted = sorted(
            (int(block.network_address), block.prefixlen, str(block), pid) for block, pid in blocks
        )
        self._starts = [start for start, _, _, _ in self._sorted]
        self._by_length: dict[int, dict[int, str]] = {}
        for start, length, _, pid in self._sorted:
            self._by_length.setdefault(length, {})[start] = pid
        self._lengths = sorted(self._by_length, reverse=True)

    def around(self, block: _Network) -> str | None:
        """The PID of the longest prefix that holds all of `block`."""
        start = int(block.network_address)
        for length in self._lengths:
            if length <= block.prefixlen:
                host_bits = block.max_prefixlen - length
                pid = self._by_length[length].get(start >> host_bits << host_bits)
                if pid is not None:
                    return pid
        return None

    def inside(self, block: _Network) -> Iterable[tuple[str, str]]:
        """The prefixes that are a part of `block`, each with its PID."""
        start = int(block.network_address)
        end = start + (1 << (block.max_prefixlen - block.prefixlen))
        for at in range(bisect_left(self._starts, start), bisect_left(self._starts, end)):
            _, length, prefix, pid = self._sorted[at]
            if length > block.prefixlen:
                yield prefix, pid


@dataclass(frozen=True)
class _Properties:
    """What is said of the entities: of addresses by network map, of the PIDs of the default one."""

    maps: Mapping[str, NetworkMap]
    """By the name of the property, `networkmap.pid`."""
    pid_domain: str
    of_pids: Mapping[str, Mapping[str, str]]
    pid_names: Sequence[str]
    """The properties that PIDs have."""

    @cached_property
    def mappings(self) -> dict[str, list[str]]:
        """The capability of both resources: entity domain -> its properties."""
        addresses = {kind: list(self.maps) for kind in _VERSIONS}
        return {**addresses, self.pid_domain: list(self.pid_names)} if self.pid_names else addresses

    @cached_property
    def every(self) -> dict[str, dict[str, str]]:
        """All entities with the properties that they do not inherit."""
        found: dict[str, dict[str, str]] = {}
        for name, network_map in self.maps.items():
            for pid, prefixes in network_map.prefixes.items():
                for prefix in prefixes:
                    found.setdefault(f"{kind_of(prefix)}:{prefix}", {})[name] = pid
        for pid, values in self.of_pids.items():
            found[f"{self.pid_domain}:{pid}"] = dict(values)
        return found

    @cached_property
    def blocks(self) -> dict[tuple[str, str], _Blocks]:
        """By the address type and the name of the property."""
        return {
            (kind, name): _Blocks(
                (ip_network(prefix), pid)
                for pid, prefixes in network_map.prefixes.items()
                for prefix in prefixes
                if kind_of(prefix) == kind
            )
            for name, network_map in self.maps.items()
            for kind in _VERSIONS
        }

    def vtags(self) -> list[dict[str, str]]:
        return [encoding.vtag(network_map) for network_map in self.maps.values()]


def entries(published: Published, named: Callable[[str], str]) -> tuple[Entry, ...]:
    """The property map and the filtered property map."""
    known = _known(published)
    uses = tuple(network_map.id for network_map in published.network_maps)

    @lru_cache(maxsize=1)
    def whole() -> Document:
        content = {"meta": {"dependent-vtags": known.vtags()}, "property-map": known.every}
        return encoding.document(PROPERTY_MAP_TYPE, content)

    return (
        Entry(
            id=named("propmap"),
            path="/propmap",
            answers=PROPERTY_MAP_TYPE,
            answer=lambda _query: whole(),
            capabilities={"mappings": known.mappings},
            uses=uses,
        ),
        Entry(
            id=named("filtered-propmap"),
            path="/propmap/filtered",
            answers=PROPERTY_MAP_TYPE,
            answer=lambda query: _filtered(known, query),
            accepts=PROPERTY_MAP_PARAMS_TYPE,
            capabilities={"mappings": known.mappings},
            uses=uses,
        ),
    )


def _known(published: Published) -> _Properties:
    default = published.network_maps[0]
    of_pids: dict[str, dict[str, str]] = {}
    if published.asn:
        for pid in default.prefixes:
            if pid in published.own:
                of_pids.setdefault(pid, {})[AS_NUMBER] = str(published.asn)
    for offer in published.capabilities:
        if offer.pid in default.prefixes:
            kinds = of_pids.setdefault(offer.pid, {}).get(OFFERS, "").split()
            of_pids[offer.pid][OFFERS] = " ".join(dict.fromkeys([*kinds, offer.kind]))
    return _Properties(
        maps={f"{network_map.id}.pid": network_map for network_map in published.network_maps},
        pid_domain=f"{default.id}.pid",
        of_pids=of_pids,
        pid_names=[
            name for name in (AS_NUMBER, OFFERS) if any(name in values for values in of_pids.values())
        ],
    )


def _filtered(known: _Properties, query: Query) -> Document:
    """Requested entities with their properties, inherited ones too.

    A block of addresses comes with the blocks inside it that have values of their own. An empty list is all
    of them. A valid entity without properties does not appear.
    """
    request = request_of(query)
    entities = as_texts(required(request, "entities", "entities"), "entities")
    properties = as_texts(request.get("properties", []), "properties")
    every_property = dict.fromkeys(name for names in known.mappings.values() for name in names)
    for name in properties:
        if name not in every_property:
            raise wrong_value("properties", name)
    wanted = properties or list(every_property)
    answered = _of_entities(known, entities) if entities else known.every
    shown = {
        entity: {name: values[name] for name in wanted if name in values}
        for entity, values in answered.items()
    }
    content = {
        "meta": {"dependent-vtags": known.vtags()},
        "property-map": {entity: values for entity, values in shown.items() if values},
    }
    return Document(PROPERTY_MAP_TYPE, encoding.text(content).encode())


def _of_entities(known: _Properties, entities: Iterable[str]) -> dict[str, dict[str, str]]:
    """The entities and those that they cover, each with all of its properties."""
    found: dict[str, dict[str, str]] = {}
    opened: set[_Network] = set()
    for entity in entities:
        domain, _, name = entity.partition(":")
        if domain not in known.mappings:
            raise wrong_value("entities", entity)
        if domain == known.pid_domain:
            if _PID_NAME.fullmatch(name) is None:
                raise wrong_value("entities", entity)
            found[entity] = dict(known.of_pids.get(name, {}))
            continue
        block = _block(domain, name)
        if block is None:
            raise wrong_value("entities", entity)
        values = found.setdefault(entity, {})
        for property_name in known.maps:
            blocks = known.blocks[domain, property_name]
            inherited = blocks.around(block)
            if inherited is not None:
                values[property_name] = inherited
            if block not in opened:  # however often a block is spelled, it is opened once
                for prefix, pid in blocks.inside(block):
                    found.setdefault(f"{domain}:{prefix}", {})[property_name] = pid
        opened.add(block)
    return found


def _block(domain: str, name: str) -> _Network | None:
    """An address or a block, None where it is malformed."""
    if "%" in name:
        return None
    try:
        block = ip_network(name)
    except ValueError:
        return None
    # `ip_network` takes a netmask after the slash too, which is no prefix in ALTO.
    _, slash, length = name.partition("/")
    return block if block.version == _VERSIONS[domain] and (not slash or length.isdecimal()) else None
