"""Filtered maps (RFC 7285 section 11.3): the part of a network map or of a cost map that a client asks for.

In come the maps, out come the entries of the directory that answer POST. PIDs and address types that we do
not know are passed over; a list that is empty means all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from testbed.portal.alto import costquery, encoding
from testbed.portal.alto.addresses import grouped
from testbed.portal.alto.costs import CostOffer, names, rows
from testbed.portal.alto.model import (
    COST_MAP_FILTER_TYPE,
    COST_MAP_TYPE,
    NETWORK_MAP_FILTER_TYPE,
    NETWORK_MAP_TYPE,
    Document,
    Entry,
    NetworkMap,
    Query,
    TooMuchWork,
)
from testbed.portal.alto.requests import as_object, as_texts, request_of, required


def network_map_entry(network_map: NetworkMap, id: str, path: str) -> Entry:
    """The filtered network map (section 11.3.1). Its vtag is that of the full map."""
    groups = {pid: grouped(prefixes) for pid, prefixes in network_map.prefixes.items()}
    return Entry(
        id=id,
        path=path,
        answers=NETWORK_MAP_TYPE,
        answer=lambda query: _filtered_network_map(network_map, groups, query),
        accepts=NETWORK_MAP_FILTER_TYPE,
        uses=(network_map.id,),
    )


def cost_map_entry(network_map: NetworkMap, offer: CostOffer, id: str, path: str) -> Entry:
    """The filtered cost map (section 11.3.2)."""
    pids = {pid: number for number, pid in enumerate(network_map.prefixes)}
    places = tuple(zip(names(tuple(pids)), pids.values(), strict=True))
    vtags = [encoding.vtag(network_map)]

    def answer(query: Query) -> Document:
        request = request_of(query)
        asked = costquery.read(request, offer, "pids")
        sources, targets = _pids(request, pids)
        work = asked.work(sources, targets)
        if work > query.most_work:
            raise TooMuchWork
        passed = asked.passed(sources, targets)
        table = asked.table()
        if table is not None:
            costs = table.some(sources, targets, passed)
        else:
            from_places = places if sources is None else [places[source] for source in sources]
            to_places = places if targets is None else [places[target] for target in targets]
            costs = rows(from_places, to_places, asked.texts(query.now_s), passed)
        meta = encoding.text({"dependent-vtags": vtags, **asked.meta(query.now_s)})
        body = f'{{"meta":{meta},"cost-map":{costs}}}'.encode()
        return Document(COST_MAP_TYPE, body, until_s=asked.until_s(query.now_s), work=work)

    return Entry(
        id=id,
        path=path,
        answers=COST_MAP_TYPE,
        answer=answer,
        accepts=COST_MAP_FILTER_TYPE,
        capabilities=costquery.capabilities(offer),
        uses=(network_map.id,),
    )


def _filtered_network_map(
    network_map: NetworkMap, groups: Mapping[str, Mapping[str, Sequence[str]]], query: Query
) -> Document:
    request = request_of(query)
    pids = as_texts(required(request, "pids", "pids"), "pids") or list(groups)
    types = frozenset(as_texts(request.get("address-types", []), "address-types"))
    shown = {
        pid: {kind: prefixes for kind, prefixes in groups[pid].items() if not types or kind in types}
        for pid in pids
        if pid in groups
    }
    return Document(
        NETWORK_MAP_TYPE,
        encoding.text({"meta": {"vtag": encoding.vtag(network_map)}, "network-map": shown}).encode(),
    )


def _pids(
    request: Mapping[str, object], pids: Mapping[str, int]
) -> tuple[Sequence[int] | None, Sequence[int] | None]:
    """The sources and the destinations of `pids`, None where these are all."""
    if "pids" not in request:
        return None, None
    wanted = as_object(request["pids"], "pids")
    sources = as_texts(required(wanted, "srcs", "pids/srcs"), "pids/srcs")
    targets = as_texts(required(wanted, "dsts", "pids/dsts"), "pids/dsts")
    return _known(sources, pids), _known(targets, pids)


def _known(wanted: Sequence[str], pids: Mapping[str, int]) -> Sequence[int] | None:
    known = [pids[pid] for pid in wanted if pid in pids]
    return None if not wanted or len(known) == len(pids) else known
