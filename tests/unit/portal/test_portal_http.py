"""The ALTO server as an HTTP server: conditional requests, gzip, HEAD, refusals, faults, new maps."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from portal_site import NUMERICAL, published, serving

from testbed.portal import connections, server
from testbed.portal.alto import documents
from testbed.portal.alto.model import (
    COST_MAP_FILTER_TYPE,
    COST_MAP_TYPE,
    DIRECTORY_TYPE,
    ERROR_TYPE,
    NETWORK_MAP_TYPE,
    Document,
    Published,
    Query,
)
from testbed.portal.config import AccessConfig, FaultsConfig
from testbed.portal.server import Service
from testbed.portal.site import Site

FILTER = {
    "cost-type": {"cost-mode": "numerical", "cost-metric": "routingcost"},
    "pids": {"srcs": ["a"], "dsts": ["b"]},
}
POST = {"Content-Type": COST_MAP_FILTER_TYPE}


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with serving() as service:
        yield service


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(
        auto_decompress=False, headers={"Accept-Encoding": "identity"}
    ) as session:
        yield session


async def ask(service: Service, text: str | bytes) -> bytes:
    """All that comes back over one connection for these bytes."""
    host, port = service.addresses[0].split(":")
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(text.encode() if isinstance(text, str) else text)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


async def get_json(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with session.get(url) as answer:
        assert answer.status == 200
        found: dict[str, Any] = json.loads(await answer.read())
        return found


@pytest.mark.parametrize("path", ["", "networkmap", "costmap/num-routingcost", "p4p/policy"])
async def test_a_copy_that_is_current_is_not_sent_again(
    service: Service, session: aiohttp.ClientSession, path: str
) -> None:
    async with session.get(service.url + path) as answer:
        etag = answer.headers["ETag"]
        body = await answer.read()
    for current in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        async with session.get(service.url + path, headers={"If-None-Match": current}) as answer:
            assert (answer.status, await answer.read()) == (304, b"")
            assert answer.headers["ETag"] == etag
    for old in ('"other"', etag.strip('"'), "", f'"x{etag}'):
        async with session.get(service.url + path, headers={"If-None-Match": old}) as answer:
            assert (answer.status, await answer.read()) == (200, body)


async def test_gzip_is_another_representation_with_its_own_etag(
    service: Service, session: aiohttp.ClientSession
) -> None:
    url = service.url + "networkmap"
    async with session.get(url) as answer:
        plain, etag = await answer.read(), answer.headers["ETag"]
        assert "Content-Encoding" not in answer.headers
    async with session.get(url, headers={"Accept-Encoding": "br;q=1, gzip;q=0.5"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert gzip.decompress(await answer.read()) == plain
        zipped_etag = answer.headers["ETag"]
    assert zipped_etag != etag
    async with session.get(url, headers={"If-None-Match": zipped_etag}) as answer:
        assert answer.status == 304
    async with session.get(url, headers={"Accept-Encoding": "gzip;q=0, *"}) as answer:
        assert "Content-Encoding" not in answer.headers


async def test_a_long_answer_to_a_post_is_zipped_for_who_takes_that(session: aiohttp.ClientSession) -> None:
    names = {f"p{number}": [f"10.{number}.0.0/16"] for number in range(40)}
    costs = [[1.5 * (i + j) for j in range(40)] for i in range(40)]
    body = json.dumps(FILTER | {"pids": {"srcs": [], "dsts": []}})
    async with serving(published(costs, prefixes=names)) as service:
        url = service.url + "costmap/filtered"
        async with session.post(url, data=body, headers=POST) as answer:
            plain = await answer.read()
        async with session.post(url, data=body, headers=POST | {"Accept-Encoding": "gzip"}) as answer:
            assert gzip.decompress(await answer.read()) == plain


@pytest.mark.parametrize("path", ["", "networkmap"])
async def test_head_says_what_get_says_without_the_body(
    service: Service, session: aiohttp.ClientSession, path: str
) -> None:
    async with session.get(service.url + path) as answer:
        expected = {name: answer.headers[name] for name in ("Content-Type", "Content-Length", "ETag")}
    async with session.head(service.url + path) as answer:
        assert {name: answer.headers[name] for name in expected} == expected
        assert await answer.read() == b""


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "nowhere", {}, 404),
        ("GET", "../etc/passwd", {}, 404),
        ("GET", "%00", {}, 404),
        ("GET", "updates/control/guess", {}, 405),
        ("DELETE", "networkmap", {}, 405),
        ("POST", "networkmap", {}, 405),
        ("PROPFIND", "", {}, 405),
        ("GET", "costmap/filtered", {}, 405),
        ("HEAD", "costmap/filtered", {}, 405),
        ("GET", "networkmap", {"Accept": "text/html"}, 406),
        ("GET", "networkmap", {"Accept": "*/*, application/alto-networkmap+json;q=0"}, 406),
        ("GET", "networkmap", {"Accept": "nonsense"}, 406),
        ("GET", "networkmap", {"Accept": f"text/html, {NETWORK_MAP_TYPE};q=0.1"}, 200),
        ("GET", "networkmap", {"Accept": "application/*"}, 200),
        ("GET", "networkmap?a=b", {}, 200),
        ("POST", "costmap/filtered", {"Content-Type": "application/json"}, 415),
        ("POST", "costmap/filtered", {"Content-Type": ""}, 415),
        ("POST", "costmap/filtered", {**POST, "Accept": "text/plain"}, 406),
        ("POST", "costmap/filtered", {"Content-Type": f"{COST_MAP_FILTER_TYPE.upper()}; charset=utf-8"}, 200),
    ],
)
async def test_each_request_has_the_status_that_fits(
    service: Service,
    session: aiohttp.ClientSession,
    method: str,
    path: str,
    headers: Mapping[str, str],
    status: int,
) -> None:
    body = json.dumps(FILTER) if method == "POST" else None
    url = service.url + path
    async with session.request(method, url, data=body, headers=headers) as answer:
        assert answer.status == status
        assert (status == 405) == ("Allow" in answer.headers)


async def test_media_types_are_those_of_rfc_7285(service: Service, session: aiohttp.ClientSession) -> None:
    for path, media_type in (("", DIRECTORY_TYPE), ("networkmap", NETWORK_MAP_TYPE)):
        async with session.get(service.url + path) as answer:
            assert answer.headers["Content-Type"] == media_type
    async with session.post(
        service.url + "costmap/filtered", data=json.dumps(FILTER), headers=POST
    ) as answer:
        assert answer.headers["Content-Type"] == COST_MAP_TYPE
        assert json.loads(await answer.read())["cost-map"] == {"a": {"b": 1}}


async def test_an_error_of_the_protocol_is_one_error_document(
    service: Service, session: aiohttp.ClientSession
) -> None:
    async with session.post(service.url + "costmap/filtered", data=b"{", headers=POST) as answer:
        assert answer.status == 400
        assert answer.headers["Content-Type"] == ERROR_TYPE
        assert json.loads(await answer.read())["meta"]["code"] == "E_SYNTAX"


async def test_a_body_larger_than_allowed_is_refused_before_it_is_read(
    session: aiohttp.ClientSession,
) -> None:
    async with serving(access=AccessConfig(request_bytes=100)) as service:
        url = service.url + "costmap/filtered"
        async with session.post(url, data=b" " * 101, headers=POST) as answer:
            assert answer.status == 413

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(11):
                yield b" " * 10

        async with session.post(url, data=chunks(), headers=POST) as answer:
            assert answer.status == 413
        async with session.post(
            url, data=gzip.compress(b" " * 10_000), headers=POST | {"Content-Encoding": "gzip"}
        ) as answer:
            assert answer.status == 413
        head = (
            f"POST /costmap/filtered HTTP/1.1\r\nHost: x\r\nContent-Type: {COST_MAP_FILTER_TYPE}\r\n"
            "Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert (await ask(service, head)).startswith(b"HTTP/1.1 413")


async def test_who_waits_for_100_continue_gets_it(service: Service) -> None:
    host, port = service.addresses[0].split(":")
    reader, writer = await asyncio.open_connection(host, port)
    body = json.dumps(FILTER).encode()
    writer.write(
        f"POST /costmap/filtered HTTP/1.1\r\nHost: x\r\nContent-Type: {COST_MAP_FILTER_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode()
    )
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await reader.readline()).split()[1] == b"200"
    writer.close()


async def test_uris_are_of_the_address_that_was_reached(service: Service) -> None:
    answer = await ask(service, "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
    assert b"evil" not in answer
    assert f"http://{service.addresses[0]}/networkmap".encode() in answer


async def test_ipv6_addresses_stand_in_brackets(session: aiohttp.ClientSession) -> None:
    async with AsyncExitStack() as stack:
        service = Service(Site(published()), AccessConfig())
        await service.listen("[::1]:0", stack)
        assert service.url.startswith("http://[::1]:")
        resources = (await get_json(session, service.url))["resources"]
        assert resources["networkmap"]["uri"] == service.url + "networkmap"


async def test_a_path_may_be_percent_encoded(service: Service) -> None:
    answer = await ask(service, "GET /network%6dap HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


async def test_the_whole_uri_may_stand_in_the_request_line(service: Service) -> None:
    answer = await ask(
        service, "GET http://x.example/networkmap HTTP/1.1\r\nHost: x.example\r\nConnection: close\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "text",
    [
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
        "GET http://[ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nbroken header\r\n\r\n",
        "nonsense\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_a_bad_request(service: Service, text: str) -> None:
    assert (await ask(service, text)).split()[1] == b"400"


async def test_a_request_leaves_no_trace_in_the_log(
    service: Service, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    marked = (
        "GET /%0a%1b[31mFORGED HTTP/1.1\r\nHost: FORGED\r\nAuthorization: FORGED\r\nConnection: close\r\n\r\n"
    )
    assert (await ask(service, marked)).startswith(b"HTTP/1.1 404")
    await ask(service, "FORGED \x1b[31m\r\nFORGED\r\n\r\n")
    async with session.post(service.url + "costmap/filtered", data=b"FORGED", headers=POST) as answer:
        assert answer.status == 400
    assert "FORGED" not in caplog.text


async def test_a_mistake_of_ours_is_a_500_that_tells_nothing(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_given: object) -> None:
        raise RuntimeError("the secret")

    async with serving() as service:
        monkeypatch.setattr(documents, "directory", fails)
        async with session.get(service.url) as answer:
            assert answer.status == 500
            assert b"secret" not in await answer.read()
        async with session.get(service.url + "networkmap") as answer:
            assert answer.status == 200
    assert "the secret" in caplog.text


async def test_new_maps_are_served_all_at_once(service: Service, session: aiohttp.ClientSession) -> None:
    before = await get_json(session, service.url + "networkmap")
    renamed = published(prefixes={"a": ["10.1.0.0/16"], "c": ["10.2.0.0/16"], "far": ["10.3.0.0/16"]})
    service.site.publish(renamed)
    network_map = await get_json(session, service.url + "networkmap")
    cost_map = await get_json(session, service.url + "costmap/num-routingcost")
    assert "c" in network_map["network-map"]
    assert network_map["meta"]["vtag"]["tag"] != before["meta"]["vtag"]["tag"]
    assert cost_map["meta"]["dependent-vtags"] == [network_map["meta"]["vtag"]]
    assert "c" in cost_map["cost-map"]["a"]


async def test_maps_that_change_while_many_ask_never_mix(session: aiohttp.ClientSession) -> None:
    """Each answer is of one publication: all its costs are the same number."""
    size = 4

    def uniform(cost: float) -> Published:
        return published([[cost] * size for _ in range(size)])

    async with serving(uniform(0)) as service:
        url = service.url + "costmap/num-routingcost"

        async def reader() -> set[int]:
            lengths = set()
            for _ in range(30):
                rows = (await get_json(session, url))["cost-map"]
                lengths.add(len({cost for row in rows.values() for cost in row.values()}))
            return lengths

        async def writer() -> None:
            for cost in range(1, 60):
                service.site.publish(uniform(cost))
                await asyncio.sleep(0)

        seen = await asyncio.gather(reader(), reader(), writer())
        assert seen[0] == seen[1] == {1}
        assert service.status()["publications"] == 60


async def test_a_slow_portal_answers_late(session: aiohttp.ClientSession) -> None:
    async with serving(faults=FaultsConfig(delay_s=0.3)) as service:
        started = asyncio.get_running_loop().time()
        await get_json(session, service.url)
        assert asyncio.get_running_loop().time() - started >= 0.3


async def test_an_absent_portal_says_nothing_and_hangs_up_on_those_who_are_there(
    service: Service, session: aiohttp.ClientSession
) -> None:
    host, port = service.addresses[0].split(":")
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await reader.readline()
    service.site.set_faults(FaultsConfig(absent=True))
    await asyncio.wait_for(reader.read(), 5)
    writer.close()
    with pytest.raises(aiohttp.ClientError):
        await session.get(service.url)
    service.site.set_faults(FaultsConfig())
    await get_json(session, service.url)


async def test_what_goes_on_is_counted(service: Service, session: aiohttp.ClientSession) -> None:
    await get_json(session, service.url)
    async with session.get(service.url + "nowhere"):
        pass
    status = service.status()
    assert status["answers"] == {"200": 1, "404": 1}
    assert status["tags"] == {"networkmap": published(kinds=(NUMERICAL,)).network_maps[0].tag}
    assert status["connections"] == 1


async def test_many_who_want_a_map_zipped_wait_for_one_compression(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 110
    names = {f"p{number}": [f"10.{number}.0.0/16"] for number in range(size)}
    done: list[int] = []

    def compress(body: bytes, *given: Any, **more: Any) -> bytes:
        done.append(len(body))
        return zipper(body, *given, **more)

    zipper = gzip.compress
    monkeypatch.setattr(gzip, "compress", compress)
    said = published([[i + j + 0.123456789012 for j in range(size)] for i in range(size)], prefixes=names)
    async with serving(said) as service:
        zipped = {"Accept-Encoding": "gzip"}

        async def fetch() -> bytes:
            async with session.get(service.url + "costmap/num-routingcost", headers=zipped) as answer:
                return await answer.read()

        bodies = await asyncio.gather(*(fetch() for _ in range(20)))
    assert len(set(bodies)) == 1
    assert len(done) == 1
    assert done[0] > 262_144  # large enough for the thread


@pytest.mark.parametrize("kind", ["long body", "much work"])
async def test_long_work_is_done_in_a_thread(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    threads: list[str] = []
    async with serving() as service:
        known = service.site.snapshot.by_path
        entry = known["/costmap/filtered"]

        def answer(query: Query) -> Document:
            made = entry.answer(query)
            threads.append(threading.current_thread().name)
            return made

        service.site.snapshot.by_path = {**known, entry.path: replace(entry, answer=answer)}
        body = json.dumps(FILTER).encode()
        url = service.url + "costmap/filtered"
        async with session.post(url, data=body, headers=POST) as there:
            assert there.status == 200
        if kind == "much work":
            monkeypatch.setattr(server, "_AT_ONCE", 0)
        else:
            body += b" " * 5000
        async with session.post(url, data=body, headers=POST) as there:
            assert json.loads(await there.read())["cost-map"] == {"a": {"b": 1}}
        monkeypatch.setattr(server, "_MOST_WAITING", 0)
        async with session.post(url, data=body, headers=POST) as there:
            assert there.status == 503
            assert there.headers["Retry-After"]
    assert len(threads) == 2
    assert threads[0] == threading.main_thread().name
    assert threads[1].startswith("answers")


async def test_the_maps_of_a_large_network_are_made_in_a_thread_and_once(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    everything = documents.CostTable.everything

    def noted(table: documents.CostTable) -> str:
        threads.append(threading.current_thread().name)
        return everything(table)

    monkeypatch.setattr(documents.CostTable, "everything", noted)
    size = 150
    names = {f"p{number}": [f"10.{number}.0.0/16"] for number in range(size)}
    async with serving(published([[1.0] * size] * size, prefixes=names)) as service:
        found = await asyncio.gather(
            *(get_json(session, service.url + "costmap/num-routingcost") for _ in range(5))
        )
    assert {len(document["cost-map"]) for document in found} == {size}
    assert len(threads) == 1
    assert threads[0].startswith("answers")


async def ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(), 10) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("early", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-a: "])
async def test_who_does_not_send_its_headers_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch, early: bytes
) -> None:
    assert connections.HEAD_S == 10
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    async with serving() as service:
        host, port = service.addresses[0].split(":")
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(early)
        assert await ended(reader)
        # A second request on a connection is no slower; between the two a client may rest.
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /networkmap HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).split()[1] == b"200"
        await asyncio.sleep(0.6)
        writer.write(b"GET / HTTP/1.1\r\nHo")
        writer.write(b"st: x\r\n\r\n")
        assert b" 200 " in await reader.readuntil(b" OK\r\n")
        writer.write(b"GET / HTTP/1.1\r\n")
        try:
            while await asyncio.wait_for(reader.read(65536), 10):
                pass
        except ConnectionError:
            pass
        assert await counted(service, 0)


async def counted(service: Service, connections: int) -> bool:
    for _ in range(500):
        if service.status()["connections"] == connections:
            return True
        await asyncio.sleep(0.01)
    return False


@pytest.mark.parametrize("size", [40, 150])
async def test_who_does_not_take_its_answers_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    monkeypatch.setattr(connections, "WRITE_S", 0.3)
    names = {f"p{number}": [f"10.{number}.0.0/16"] for number in range(size)}
    costs = [[i + j + 0.123456789012 for j in range(size)] for i in range(size)]
    async with serving(published(costs, prefixes=names)) as service:
        host, port = service.addresses[0].split(":")
        with socket.socket() as there:
            there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            there.setblocking(False)
            await asyncio.get_running_loop().sock_connect(there, (host, int(port)))
            asked = b"GET /costmap/num-routingcost HTTP/1.1\r\nHost: x\r\n\r\n" * 100
            await asyncio.get_running_loop().sock_sendall(there, asked)
            assert await counted(service, 1)
            assert await counted(service, 0)
    assert not caplog.records


async def test_a_long_answer_waits_for_its_client_and_not_in_memory(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an answer as long as no socket's buffer is, only a piece is held for who does not read."""
    monkeypatch.setattr(server, "_WRITE_S", 0.5)
    monkeypatch.setattr(server, "_SLOWEST_BYTES_PER_S", 1e9)
    held: list[int] = []
    body = b"x" * 20_000_000
    async with serving() as service:
        known = service.site.snapshot.by_path
        entry = replace(known["/costmap/filtered"], answer=lambda _query: Document("text/plain", body))
        service.site.snapshot.by_path = {**known, entry.path: entry}
        url = service.url + "costmap/filtered"
        async with session.post(url, data=b"{}", headers=POST) as there:
            assert await there.read() == body
        host, port = service.addresses[0].split(":")
        with socket.socket() as idle:
            idle.setblocking(False)
            await asyncio.get_running_loop().sock_connect(idle, (host, int(port)))
            head = f"POST /costmap/filtered HTTP/1.1\r\nHost: x\r\nContent-Type: {COST_MAP_FILTER_TYPE}\r\n"
            await asyncio.get_running_loop().sock_sendall(
                idle, f"{head}Content-Length: 2\r\n\r\n{{}}".encode()
            )
            for _ in range(20):
                await asyncio.sleep(0.01)
                for connection in service._server.connections:
                    if connection.transport is not None:
                        held.append(connection.transport.get_write_buffer_size())
            await session.close()
            assert await counted(service, 0)
    assert 0 < max(held) < 200_000


@pytest.mark.parametrize(
    "text",
    [
        b"GET http://[::1/ HTTP/1.1\r\nHost: FORGED\r\n\r\n",
        b"GET /FORGED HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nFORGED\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nFORGED: \x00\r\n\r\n",
        b"FORGED \x1b[31m\r\n\r\n",
        b"POST /costmap/filtered HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nFORGED",
    ],
)
async def test_a_flood_of_what_is_no_http_is_answered_and_makes_no_log(
    service: Service, caplog: pytest.LogCaptureFixture, text: bytes
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    for _ in range(5):
        head, _, body = (await ask(service, text)).partition(b"\r\n\r\n")
        assert head.split()[1] == b"400"
        assert b"\r\nServer: testbed-portal" in head
        assert head.count(b"Server:") == 1
        assert b"FORGED" not in head + body
    assert [record.getMessage() for record in caplog.records if record.name != "asyncio"] == []
    assert service.status()["answers"] == {"400": 5}


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Encoding: gzip\r\nContent-Length: 6\r\n\r\nFORGED",
        "Content-Encoding: FORGED\r\nContent-Length: 2\r\n\r\n{}",
        "Transfer-Encoding: chunked\r\n\r\nFORGED\r\n",
    ],
)
async def test_a_broken_body_is_a_bad_request_and_makes_no_log(
    service: Service, caplog: pytest.LogCaptureFixture, headers: str
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    head = f"POST /costmap/filtered HTTP/1.1\r\nHost: x\r\nContent-Type: {COST_MAP_FILTER_TYPE}\r\n"
    for _ in range(5):
        answer = await ask(service, head + "Connection: close\r\n" + headers)
        assert answer.split()[1] in (b"400", b"200")
        assert b"\r\nServer: testbed-portal" in answer
    assert [record.getMessage() for record in caplog.records if record.name != "asyncio"] == []


async def test_a_client_that_hangs_up_makes_no_log(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = service.addresses[0].split(":")
    head = f"POST /costmap/filtered HTTP/1.1\r\nHost: x\r\nContent-Type: {COST_MAP_FILTER_TYPE}\r\n"
    for text in (
        "GET / HTTP/1.1\r\n",
        head + "Content-Length: 9\r\n\r\n{",
        head + "Content-Length: 2\r\n\r\n{}",
    ):
        _, writer = await asyncio.open_connection(host, port)
        writer.write(text.encode())
        await asyncio.sleep(0.05)
        writer.transport.abort()
    assert await counted(service, 0)
    assert not caplog.records


async def test_the_public_uri_takes_the_place_of_the_sockets_address(session: aiohttp.ClientSession) -> None:
    access = AccessConfig(public_uri="https://alto.example.net:8443/")
    async with serving(access=access) as service:
        resources = (await get_json(session, service.url))["resources"]
        assert resources["networkmap"]["uri"] == "https://alto.example.net:8443/networkmap"
        assert all(entry["uri"].startswith(str(access.public_uri)) for entry in resources.values())
        add = json.dumps({"add": {"net": {"resource-id": "networkmap"}}})
        params = {"Content-Type": "application/alto-updatestreamparams+json"}
        async with session.post(service.url + "updates", data=add, headers=params) as stream:
            await stream.content.readline()
            control = json.loads((await stream.content.readline()).partition(b": ")[2])["control-uri"]
    assert control.startswith("https://alto.example.net:8443/updates/control/")


@pytest.mark.parametrize(
    "uri",
    [
        "alto.example.net",
        "ftp://x/",
        "http://",
        "http://u:p@x/",
        "http://x/?q",
        "http://x/#f",
        "http://x:99999/",
        "http://x:0/",
        "http://x y/",
        "http://x/\r\nz",
        "http://[::1/",
    ],
)
def test_a_wrong_public_uri_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="public_uri"):
        AccessConfig(public_uri=uri)
