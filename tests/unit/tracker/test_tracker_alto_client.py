"""The tracker's ALTO client against real portals on loopback, good ones and bad ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from testbed.portal.config import PortalConfig
from testbed.portal.pricing import static_distances
from testbed.portal.server import build_app
from testbed.tracker.alto_client import PortalReader
from testbed.tracker.guidance import GuidanceBook

CONFIG: dict[str, Any] = {
    "isp": "cable",
    "asn": 65001,
    "listen": "127.0.0.1:0",
    "pids": [
        {"pid": "cable-a", "prefixes": ["10.1.1.0/24"]},
        {"pid": "cable-b", "prefixes": ["10.1.2.0/24"]},
    ],
    "links": [{"a": "cable-a", "b": "cable-b", "weight": 3}],
}


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def portal_app(seen: list[int]) -> web.Application:
    """A real portal that notes the status of its answers."""
    config = PortalConfig.model_validate(CONFIG)
    app = build_app(config, static_distances(config))

    async def note(_request: web.Request, response: web.StreamResponse) -> None:
        seen.append(response.status)

    app.on_response_prepare.append(note)
    return app


def reader(url: object, book: GuidanceBook, stale_after_s: float = 60.0) -> PortalReader:
    return PortalReader("cable", str(url), book, refresh_s=0.01, stale_after_s=stale_after_s)


def empty_book() -> GuidanceBook:
    return GuidanceBook([("10.1.0.0/16", "cable")], ["cable"])


async def test_maps_arrive_and_are_not_sent_again_while_they_are_the_same(
    session: aiohttp.ClientSession,
) -> None:
    seen: list[int] = []
    book = empty_book()
    async with TestServer(portal_app(seen)) as server:
        portal = reader(server.make_url("/"), book)
        assert book.view("10.1.1.1") == (None, "no map yet")
        await portal.refresh(session)
        first, _ = book.view("10.1.1.1")
        await portal.refresh(session)
        second, _ = book.view("10.1.1.1")
    assert seen == [200, 200, 200, 304, 304, 304]
    assert portal.state == "fresh"
    assert first is not None
    assert first.distance("cable-a", "cable-b") == 3
    assert second == first


async def test_a_portal_that_goes_away_serves_on_from_its_old_map_until_that_is_stale(
    session: aiohttp.ClientSession,
) -> None:
    book = empty_book()
    async with TestServer(portal_app([])) as server:
        portal = reader(server.make_url("/"), book, stale_after_s=0.2)
        await portal.refresh(session)
    await portal.refresh(session)
    assert portal.state == "stale"
    assert book.view("10.1.1.1")[1] == ""
    await asyncio.sleep(0.25)
    await portal.refresh(session)
    assert portal.state == "unreachable"
    assert book.view("10.1.1.1") == (None, "unreachable")
    assert portal.failures == {"unreachable": 2}


async def test_a_portal_that_starts_late_is_found(session: aiohttp.ClientSession) -> None:
    book = empty_book()
    async with TestServer(web.Application()) as empty:  # finds a free port, and answers 404
        portal = reader(empty.make_url("/"), book)
        await portal.refresh(session)
        assert book.view("10.1.1.1") == (None, "unreachable")
        server = TestServer(portal_app([]), port=empty.port)
    polling = asyncio.create_task(portal.poll(session))
    await server.start_server()
    try:
        await asyncio.wait_for(_until_fresh(portal), 5)
    finally:
        polling.cancel()
        await server.close()
    assert book.view("10.1.1.1")[1] == ""


async def test_a_portal_that_talks_nonsense_is_broken(session: aiohttp.ClientSession) -> None:
    directory = {
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
        },
    }
    network_map = {
        "meta": {"vtag": {"resource-id": "m", "tag": "1"}},
        "network-map": {"p": {"ipv4": ["10.1.0.0/16"]}},
    }
    other_tag = {
        "meta": {
            "dependent-vtags": [{"resource-id": "m", "tag": "2"}],
            "cost-type": {"cost-mode": "numerical", "cost-metric": "routingcost"},
        },
        "cost-map": {"p": {"p": 1}},
    }
    for documents in (
        {"/": "<html>"},
        {"/": "[" * 100_000},
        {"/": json.dumps({"meta": {}})},
        {"/": json.dumps(directory), "/map": json.dumps({"network-map": {}}), "/costs": "{}"},
        {"/": json.dumps(directory), "/map": json.dumps(network_map), "/costs": json.dumps(other_tag)},
    ):
        book = empty_book()
        async with TestServer(_fixed(documents)) as server:
            portal = reader(server.make_url("/"), book)
            await portal.refresh(session)
        assert portal.state == "broken"
        assert book.view("10.1.1.1") == (None, "broken")


async def _until_fresh(portal: PortalReader) -> None:
    while portal.state != "fresh":
        await asyncio.sleep(0.01)


def _fixed(documents: dict[str, str]) -> web.Application:
    app = web.Application()
    for path, text in documents.items():

        async def answer(_request: web.Request, text: str = text) -> web.Response:
            return web.Response(text=text)

        app.router.add_get(path, answer)
    return app
