"""The tracker's ALTO client against real portals on loopback, good ones and bad ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer

from testbed.portal.access import REALM, digest_line
from testbed.portal.config import PortalConfig
from testbed.portal.server import Service, start
from testbed.tracker.alto_client import Credentials, PortalReader
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


ANYBODY = Credentials()


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@asynccontextmanager
async def portal(listen: str = "127.0.0.1:0", **access: Any) -> AsyncIterator[Service]:
    """A real portal."""
    config = PortalConfig.model_validate({**CONFIG, "listen": listen, "access": access})
    async with AsyncExitStack() as stack:
        yield await start(config, stack)


def reader(
    url: object, book: GuidanceBook, stale_after_s: float = 60.0, credentials: Credentials = ANYBODY
) -> PortalReader:
    return PortalReader(
        "cable", str(url), book, refresh_s=0.01, stale_after_s=stale_after_s, credentials=credentials
    )


def empty_book() -> GuidanceBook:
    return GuidanceBook([("10.1.0.0/16", "cable")], ["cable"])


async def test_maps_arrive_and_are_not_sent_again_while_they_are_the_same(
    session: aiohttp.ClientSession,
) -> None:
    book = empty_book()
    async with portal() as service:
        asking = reader(service.url, book)
        assert book.view("10.1.1.1") == (None, "no map yet")
        await asking.refresh(session)
        first, _ = book.view("10.1.1.1")
        await asking.refresh(session)
        second, _ = book.view("10.1.1.1")
        assert service.status()["answers"] == {"200": 3, "304": 3}
    assert asking.state == "fresh"
    assert first is not None
    assert first.distance("cable-a", "cable-b") == 3
    assert second == first


async def test_a_portal_that_goes_away_serves_on_from_its_old_map_until_that_is_stale(
    session: aiohttp.ClientSession,
) -> None:
    book = empty_book()
    async with portal() as service:
        asking = reader(service.url, book, stale_after_s=0.2)
        await asking.refresh(session)
    await asking.refresh(session)
    assert asking.state == "stale"
    assert book.view("10.1.1.1")[1] == ""
    await asyncio.sleep(0.25)
    await asking.refresh(session)
    assert asking.state == "unreachable"
    assert book.view("10.1.1.1") == (None, "unreachable")
    assert asking.failures == {"unreachable": 2}


async def test_a_portal_that_starts_late_is_found(session: aiohttp.ClientSession) -> None:
    book = empty_book()
    async with TestServer(web.Application()) as empty:  # finds a free port, and answers 404
        asking = reader(empty.make_url("/"), book)
        await asking.refresh(session)
        assert book.view("10.1.1.1") == (None, "unreachable")
        port = empty.port
    polling = asyncio.create_task(asking.poll(session))
    async with portal(f"127.0.0.1:{port}"):
        try:
            await asyncio.wait_for(_until_fresh(asking), 5)
        finally:
            polling.cancel()
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
            asking = reader(server.make_url("/"), book)
            await asking.refresh(session)
        assert asking.state == "broken"
        assert book.view("10.1.1.1") == (None, "broken")


async def test_a_portal_that_wants_a_password_is_closed_without_it(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    users = tmp_path / "users"
    users.write_text(digest_line("tracker", REALM, "a word") + "\n")
    async with portal(digest_file=str(users)) as service:
        for credentials, state in (
            (Credentials(), "closed"),
            (Credentials(user="tracker", password="another"), "closed"),
            (Credentials(user="tracker", password="a word"), "fresh"),
        ):
            book = empty_book()
            asking = reader(service.url, book, credentials=credentials)
            for _ in range(2):
                await asking.refresh(session)
            assert asking.state == state
            assert book.view("10.1.1.1")[1] == ("" if state == "fresh" else "closed")


async def test_a_portal_over_https_is_heard_where_its_authority_is_trusted(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(tmp_path / "key"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "certificate"))
    tls = {"certificate": str(tmp_path / "certificate"), "key": str(tmp_path / "key")}
    async with portal(tls=tls) as service:
        assert service.url.startswith("https://")
        for trusted, state in ((authority, "fresh"), (stranger, "unreachable")):
            trusted.cert_pem.write_to_path(str(tmp_path / "authority"))
            asking = reader(service.url, empty_book(), credentials=Credentials(tmp_path / "authority"))
            await asking.refresh(session)
            assert asking.state == state


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
