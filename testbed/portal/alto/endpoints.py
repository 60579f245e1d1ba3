"""Endpoint properties and endpoint costs (RFC 7285 sections 11.4 and 11.5), by the PIDs of the endpoints.

In come the maps, out come the two entries of the directory that answer POST: the PID of an address in every
network map, and the cost between addresses by the default one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from testbed.portal.alto import costquery, encoding
from testbed.portal.alto.addresses import pid_of, typed
from testbed.portal.alto.costs import CostOffer, Place, rows
from testbed.portal.alto.model import (
    ENDPOINT_COST_PARAMS_TYPE,
    ENDPOINT_COST_TYPE,
    ENDPOINT_PROPERTY_PARAMS_TYPE,
    ENDPOINT_PROPERTY_TYPE,
    Document,
    Entry,
    NetworkMap,
    Query,
    TooMuchWork,
)
from testbed.portal.alto.requests import as_object, as_texts, request_of, required, wrong_value


def property_entry(network_maps: Sequence[NetworkMap], id: str, path: str) -> Entry:
    """The property `pid` of every network map (section 11.4.1.4)."""
    maps = {f"{network_map.id}.pid": network_map for network_map in network_maps}
    return Entry(
        id=id,
        path=path,
        answers=ENDPOINT_PROPERTY_TYPE,
        answer=lambda query: _properties(maps, query),
        accepts=ENDPOINT_PROPERTY_PARAMS_TYPE,
        capabilities={"prop-types": list(maps)},
    )


def cost_entry(network_map: NetworkMap, offer: CostOffer, id: str, path: str) -> Entry:
    """Costs between endpoints. The entry does not say which map it uses: it must not (section 11.5.1.5)."""
    pids = {pid: number for number, pid in enumerate(network_map.prefixes)}

    def answer(query: Query) -> Document:
        request = request_of(query)
        asked = costquery.read(request, offer, "endpoints")
        sources, targets = _endpoints(request, network_map, pids, query.client_ip)
        places = [pid for _, pid in sources], [pid for _, pid in targets]
        work = asked.work(*places)
        if work > query.most_work:
            raise TooMuchWork
        passed = asked.passed(*places)
        costs = rows(sources, targets, asked.texts(query.now_s), passed)
        meta = encoding.text(asked.meta(query.now_s))
        body = f'{{"meta":{meta},"endpoint-cost-map":{costs}}}'.encode()
        return Document(ENDPOINT_COST_TYPE, body, until_s=asked.until_s(query.now_s), work=work)

    return Entry(
        id=id,
        path=path,
        answers=ENDPOINT_COST_TYPE,
        answer=answer,
        accepts=ENDPOINT_COST_PARAMS_TYPE,
        capabilities=costquery.capabilities(offer),
    )


def _properties(maps: Mapping[str, NetworkMap], query: Query) -> Document:
    request = request_of(query)
    wanted = as_texts(required(request, "properties", "properties"), "properties", at_least=1)
    endpoints = as_texts(required(request, "endpoints", "endpoints"), "endpoints", at_least=1)
    for name in wanted:
        if name not in maps:
            raise wrong_value("properties", name)
    found = {
        endpoint: {
            name: pid for name in wanted if (pid := pid_of(endpoint, maps[name], "endpoints")) is not None
        }
        for endpoint in endpoints
    }
    vtags = [encoding.vtag(maps[name]) for name in wanted]
    return Document(
        ENDPOINT_PROPERTY_TYPE,
        encoding.text({"meta": {"dependent-vtags": vtags}, "endpoint-properties": found}).encode(),
    )


def _endpoints(
    request: Mapping[str, object], network_map: NetworkMap, pids: Mapping[str, int], client_ip: str
) -> tuple[list[Place], list[Place]]:
    """Sources and destinations; one of the two may be left out, and is the client then (section 11.5.1.3)."""
    wanted = as_object(required(request, "endpoints", "endpoints"), "endpoints")
    sources = as_texts(wanted.get("srcs", []), "endpoints/srcs")
    targets = as_texts(wanted.get("dsts", []), "endpoints/dsts")
    if not sources and not targets:
        raise wrong_value("endpoints", wanted)

    def places(endpoints: Sequence[str], field: str) -> list[Place]:
        found = [(endpoint, pid_of(endpoint, network_map, field)) for endpoint in endpoints]
        return [(encoding.text(endpoint) + ":", pids[pid]) for endpoint, pid in found if pid is not None]

    client = [typed(client_ip)] if not sources or not targets else []
    return places(sources or client, "endpoints/srcs"), places(targets or client, "endpoints/dsts")
