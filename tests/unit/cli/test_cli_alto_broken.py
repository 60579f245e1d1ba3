"""`testbed alto --check` against servers whose documents have another shape than their type says."""

from __future__ import annotations

import asyncio
import copy
import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from testbed.portal.client import Client
from testbed.portal.visiting import examine, follow

DIRECTORY: dict[str, Any] = {
    "meta": {
        "cost-types": {"c": {"cost-mode": "numerical", "cost-metric": "routingcost"}},
        "default-alto-network-map": "m",
    },
    "resources": {
        "m": {"uri": "map", "media-type": "application/alto-networkmap+json"},
        "c": {
            "uri": "costs",
            "media-type": "application/alto-costmap+json",
            "capabilities": {"cost-type-names": ["c"]},
            "uses": ["m"],
        },
        "f": {
            "uri": "filtered",
            "media-type": "application/alto-costmap+json",
            "accepts": "application/alto-costmapfilter+json",
            "capabilities": {"cost-type-names": ["c"], "cost-constraints": True},
            "uses": ["m"],
        },
    },
}
MAP: dict[str, Any] = {
    "meta": {"vtag": {"resource-id": "m", "tag": "1"}},
    "network-map": {"p": {"ipv4": ["0.0.0.0/0"], "ipv6": ["::/0"]}},
}
COSTS: dict[str, Any] = {
    "meta": {
        "dependent-vtags": [{"resource-id": "m", "tag": "1"}],
        "cost-type": {"cost-mode": "numerical", "cost-metric": "routingcost"},
    },
    "cost-map": {"p": {"p": 1}},
}


def broken(document: dict[str, Any], value: Any, *path: str) -> dict[str, Any]:
    """A copy with another value there."""
    made = copy.deepcopy(document)
    place = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return made


async def found(directory: Any, network_map: Any, costs: Any) -> list[str]:
    app = web.Application()
    types = {"/": "directory", "/map": "networkmap", "/costs": "costmap", "/filtered": "costmap"}
    documents = {"/": directory, "/map": network_map, "/costs": costs, "/filtered": costs}
    for path, document in documents.items():

        async def answer(_request: web.Request, path: str = path, document: Any = document) -> web.Response:
            headers = {"Content-Type": f"application/alto-{types[path]}+json"}
            return web.Response(body=json.dumps(document).encode(), headers=headers)

        app.router.add_route("*", path, answer)
    async with TestServer(app) as server, Client(str(server.make_url("/"))) as client:
        root = await client.get(str(server.make_url("/")))
        visit = await follow(client, root)
        return [str(finding) for finding in await examine(client, visit)]


@pytest.mark.parametrize(
    ("directory", "network_map", "costs"),
    [
        (DIRECTORY, broken(MAP, {}, "meta"), COSTS),
        (DIRECTORY, broken(MAP, 7, "meta"), COSTS),
        (DIRECTORY, broken(MAP, None, "network-map", "p"), COSTS),
        (DIRECTORY, broken(MAP, [], "network-map"), COSTS),
        (DIRECTORY, MAP, broken(COSTS, 5, "cost-map", "p")),
        (DIRECTORY, MAP, broken(COSTS, int("9" * 400), "cost-map", "p", "p")),
        (DIRECTORY, MAP, [1, 2]),
        (
            broken(
                DIRECTORY,
                {"uri": "http://[bad/", "media-type": "application/alto-directory+json"},
                "resources",
                "d",
            ),
            MAP,
            COSTS,
        ),
    ],
)
async def test_a_broken_server_is_told_what_is_wrong_and_nothing_else_happens(
    directory: Any, network_map: Any, costs: Any
) -> None:
    assert await asyncio.wait_for(found(directory, network_map, costs), 60) != []
