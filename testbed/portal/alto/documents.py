"""All resources of a portal as RFC 7285 has them: the maps, and the directory that leads to everything.

In comes what is published, out come the entries of the directory, each with the function that answers it, and
the directory itself. Each extension is a module of its own beside this one; here their entries are joined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import count
from typing import Any

from testbed.portal.alto import costquery, encoding, endpoints, filters, p4p, properties
from testbed.portal.alto.addresses import grouped
from testbed.portal.alto.costs import CostMapParts, CostOffer, CostTable, names
from testbed.portal.alto.model import (
    COST_MAP_TYPE,
    DIRECTORY_TYPE,
    ERROR_TYPE,
    NETWORK_MAP_TYPE,
    CostType,
    Document,
    Entry,
    NetworkMap,
    ProtocolError,
    Published,
)
from testbed.portal.prefixes import PrefixTable

WORLD_PID = "world"  # what no other PID covers: a network map is complete (section 11.2.2)
_EVERYTHING = ("0.0.0.0/0", "::/0")
_LONGEST_ID = 64  # section 10.2


def network_map(id: str, pid_prefixes: Mapping[str, Sequence[str]]) -> NetworkMap:
    """A network map (section 11.2.1): by longest prefix, every address is in exactly one PID.

    PID `world`, the last, has 0.0.0.0/0 and ::/0 where no PID of `pid_prefixes` has them. Raises ValueError
    for a prefix that is malformed or given twice.
    """
    given = {prefix for prefixes in pid_prefixes.values() for prefix in prefixes}
    completed = {pid: tuple(prefixes) for pid, prefixes in pid_prefixes.items()}
    missing = tuple(prefix for prefix in _EVERYTHING if prefix not in given)
    if missing:
        completed[WORLD_PID] = completed.get(WORLD_PID, ()) + missing
    return NetworkMap(
        id=id,
        prefixes=completed,
        tag=encoding.digest(encoding.text([id, sorted(completed.items())]).encode()),
        pids=PrefixTable((prefix, pid) for pid, prefixes in completed.items() for prefix in prefixes),
    )


def entries(published: Published) -> tuple[Entry, ...]:
    """Every resource but the directory and the update stream. Documents are made when first asked for.

    Resources of the default network map have short ids and paths; those of another one have its id in theirs.
    """
    default = published.network_maps[0]
    offers = {network_map.id: _offer(published, network_map) for network_map in published.network_maps}
    every: list[Entry] = [
        _network_map_entry(network_map, f"{_path(network_map, default)}/networkmap")
        for network_map in published.network_maps
    ]
    naming = _Naming([network_map.id for network_map in published.network_maps])
    for network_map in published.network_maps:
        path = _path(network_map, default)
        offer = offers[network_map.id]
        own = naming.of("" if network_map is default else network_map.id)
        every += [
            _cost_map_entry(
                network_map, offer, kind, own(f"costmap-{kind.name}"), f"{path}/costmap/{kind.name}"
            )
            for kind in offer.types
        ]
        every.append(
            filters.network_map_entry(network_map, own("filtered-networkmap"), f"{path}/networkmap/filtered")
        )
        every.append(
            filters.cost_map_entry(network_map, offer, own("filtered-costmap"), f"{path}/costmap/filtered")
        )
    own = naming.of("")
    every += [
        endpoints.property_entry(published.network_maps, own("endpointprop"), "/endpointprop"),
        endpoints.cost_entry(default, offers[default.id], own("endpointcost"), "/endpointcost"),
        *properties.entries(published, own),
        *p4p.entries(published, own),
    ]
    return tuple(every)


def directory(base_uri: str, published: Published, entries: Sequence[Entry]) -> Document:
    """The information resource directory (section 9.2) of a server whose resources start with `base_uri`."""
    offered = {name for entry in entries for name in entry.capabilities.get("cost-type-names", ())}
    return encoding.document(
        DIRECTORY_TYPE,
        {
            "meta": {
                "cost-types": {
                    kind.name: kind.to_json() for kind in published.cost_types if kind.name in offered
                },
                "default-alto-network-map": published.network_maps[0].id,
            },
            "resources": {entry.id: _listed(base_uri, entry) for entry in entries},
        },
    )


def error_document(error: ProtocolError) -> Document:
    """An error (section 8.5.2)."""
    return Document(ERROR_TYPE, encoding.text(error.to_json()).encode())


class _Naming:
    """Resource ids that are free: no two resources have one, and none is a network map's."""

    def __init__(self, taken: Sequence[str]) -> None:
        self._taken = set(taken)

    def of(self, map_id: str) -> Callable[[str], str]:
        """Makes the ids of resources of one network map, "" for the default one, from what they are."""

        def named(kind: str) -> str:
            wanted = f"{map_id}:{kind}" if map_id else kind
            name = wanted
            for number in count():
                if len(name) <= _LONGEST_ID and name not in self._taken:
                    break
                told_apart = encoding.digest(wanted.encode(), str(number).encode())[:8]
                name = f"{wanted[: _LONGEST_ID - 9]}:{told_apart}"
            self._taken.add(name)
            return name

        return named


def _offer(published: Published, network_map: NetworkMap) -> CostOffer:
    pids = names(tuple(network_map.prefixes))
    tables = {
        kind.name: CostTable(pids, published.costs[network_map.id, kind.name])
        for kind in published.cost_types
        if (network_map.id, kind.name) in published.costs
    }
    return CostOffer(
        types=tuple(kind for kind in published.cost_types if kind.name in tables),
        tables=tables,
        calendars={name: calendar for name, calendar in published.calendars.items() if name in tables},
    )


def _path(network_map: NetworkMap, default: NetworkMap) -> str:
    return "" if network_map is default else f"/maps/{network_map.id}"


def _network_map_entry(network_map: NetworkMap, path: str) -> Entry:
    @lru_cache(maxsize=1)
    def made() -> Document:
        content = {
            "meta": {"vtag": encoding.vtag(network_map)},
            "network-map": {pid: grouped(prefixes) for pid, prefixes in network_map.prefixes.items()},
        }
        return Document(NETWORK_MAP_TYPE, encoding.text(content).encode(), network_map.tag)

    return Entry(network_map.id, path, NETWORK_MAP_TYPE, lambda _query: made())


def _cost_map_entry(network_map: NetworkMap, offer: CostOffer, kind: CostType, id: str, path: str) -> Entry:
    """A full cost map (section 11.2.3); a pair without a cost does not appear."""
    table = offer.tables[kind.name]

    @lru_cache(maxsize=1)
    def made() -> Document:
        meta = {"dependent-vtags": [encoding.vtag(network_map)], "cost-type": costquery.answered(kind)}
        body = f'{{"meta":{encoding.text(meta)},"cost-map":{table.everything()}}}'.encode()
        return Document(COST_MAP_TYPE, body, encoding.digest(body), parts=CostMapParts(meta, table))

    return Entry(
        id=id,
        path=path,
        answers=COST_MAP_TYPE,
        answer=lambda _query: made(),
        capabilities={"cost-type-names": [kind.name]},
        uses=(network_map.id,),
    )


def _listed(base_uri: str, entry: Entry) -> dict[str, Any]:
    shown: dict[str, Any] = {"uri": base_uri + entry.path, "media-type": entry.answers}
    if entry.accepts:
        shown["accepts"] = entry.accepts
    if entry.capabilities:
        shown["capabilities"] = dict(entry.capabilities)
    if entry.uses:
        shown["uses"] = list(entry.uses)
    return shown
