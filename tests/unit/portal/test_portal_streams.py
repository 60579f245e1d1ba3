"""Update streams over HTTP: they are written as things change, controlled by their URI, and end well."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from portal_site import published, serving

from testbed.portal import streams
from testbed.portal.alto.updates import MERGE_PATCH_TYPE, STREAM_CONTROL_TYPE, STREAM_PARAMS_TYPE
from testbed.portal.config import AccessConfig, FaultsConfig
from testbed.portal.server import Service
from testbed.portal.site import Site

PARAMS = {"Content-Type": STREAM_PARAMS_TYPE}
BOTH = {
    "add": {
        "costs": {"resource-id": "costmap-num-routingcost"},
        "net": {"resource-id": "networkmap"},
    }
}
CHANGED = published(((0, 2, 5), (1, 0, 7), (5, 7, 3)))


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def post(session: aiohttp.ClientSession, url: str, body: Any) -> aiohttp.ClientResponse:
    answer = await session.post(url, data=json.dumps(body), headers=PARAMS)
    assert answer.status == 200, await answer.text()
    return answer


async def event(answer: aiohttp.ClientResponse) -> tuple[str, Any]:
    """The next event that is no comment."""
    lines: dict[str, str] = {}
    while True:
        line = (await asyncio.wait_for(answer.content.readline(), 10)).decode()
        assert line, "the stream has ended"
        name, _, value = line.rstrip("\n").partition(": ")
        if name and not line.startswith(":"):
            lines[name] = value
        elif "event" in lines:
            return lines["event"], json.loads(lines["data"])


async def test_a_stream_gives_maps_then_changes_as_they_are_published(session: aiohttp.ClientSession) -> None:
    async with serving() as service:
        async with session.get(service.url) as answer:
            entry = (await answer.json(content_type=None))["resources"]["updates"]
        assert entry["media-type"] == "text/event-stream"
        answer = await post(session, entry["uri"], BOTH)
        assert answer.headers["Content-Type"] == "text/event-stream"
        control, net, costs = [await event(answer) for _ in range(3)]
        assert control[1]["control-uri"].startswith(service.url)
        assert (net[0], costs[0]) == (
            "application/alto-networkmap+json,net",
            "application/alto-costmap+json,costs",
        )
        service.site.publish(CHANGED)
        assert await event(answer) == (
            f"{MERGE_PATCH_TYPE},costs",
            {"cost-map": {"a": {"b": 2}, "far": {"far": 3}}},
        )


async def test_publications_while_the_client_does_not_read_add_up_to_the_last(
    session: aiohttp.ClientSession,
) -> None:
    async with serving() as service:
        answer = await post(session, service.url + "updates", BOTH)
        for _ in range(3):
            await event(answer)
        for cost in range(1, 20):
            service.site.publish(published(((0, cost, 5), (1, 0, 7), (5, 7, 3))))
        assert (await event(answer))[1]["cost-map"]["a"] == {"b": 19}


async def test_the_control_uri_changes_its_stream(session: aiohttp.ClientSession) -> None:
    async with serving() as service:
        answer = await post(session, service.url + "updates", {"add": {"net": BOTH["add"]["net"]}})
        uri = (await event(answer))[1]["control-uri"]
        await event(answer)
        wanted = {"add": {"costs": BOTH["add"]["costs"]}, "remove": ["net"]}
        async with session.post(uri, data=json.dumps(wanted), headers=PARAMS) as reply:
            assert (reply.status, await reply.read()) == (204, b"")
        assert await event(answer) == (STREAM_CONTROL_TYPE, {"started": ["costs"]})
        assert (await event(answer))[1]["stopped"] == ["net"]
        assert (await event(answer))[0] == "application/alto-costmap+json,costs"
        async with session.post(uri, data=json.dumps({"remove": ["none"]}), headers=PARAMS) as reply:
            assert reply.status == 400
            assert (await reply.json(content_type=None))["meta"]["field"] == "remove"
        async with session.post(uri, data=json.dumps({"remove": []}), headers=PARAMS) as reply:
            assert reply.status == 204
        assert (await event(answer))[1]["stopped"] == ["costs"]
        assert await answer.content.read() == b""
        async with session.post(uri, data=json.dumps({"remove": []}), headers=PARAMS) as reply:
            assert reply.status == 404
        assert service.status()["streams"] == 0


async def test_a_guessed_control_uri_is_not_found_and_counted(session: aiohttp.ClientSession) -> None:
    async with serving() as service:
        async with session.post(service.url + "updates/control/guess", data=b"{}", headers=PARAMS) as reply:
            assert reply.status == 404
        assert service.status()["failed_controls"] == 1


async def test_a_request_with_an_error_makes_no_stream(session: aiohttp.ClientSession) -> None:
    async with serving() as service:
        async with session.post(service.url + "updates", data=b"{}", headers=PARAMS) as reply:
            assert reply.status == 400
            assert reply.headers["Content-Type"] == "application/alto-error+json"
            assert (await reply.json(content_type=None))["meta"] == {
                "code": "E_MISSING_FIELD",
                "field": "add",
            }
        assert service.status()["streams"] == 0


async def test_there_are_only_so_many_streams_and_one_that_breaks_off_makes_room(
    session: aiohttp.ClientSession,
) -> None:
    async with serving(access=AccessConfig(streams=1)) as service:
        first = await post(session, service.url + "updates", BOTH)
        async with session.post(service.url + "updates", data=json.dumps(BOTH), headers=PARAMS) as reply:
            assert reply.status == 503
            assert reply.headers["Retry-After"]
        first.close()
        for _ in range(200):
            if service.status()["streams"] == 0:
                break
            await asyncio.sleep(0.01)
        await post(session, service.url + "updates", BOTH)


async def test_a_client_has_only_its_share_of_the_streams(session: aiohttp.ClientSession) -> None:
    async with serving(access=AccessConfig(streams_per_client=1)) as service:
        await post(session, service.url + "updates", BOTH)
        async with session.post(service.url + "updates", data=json.dumps(BOTH), headers=PARAMS) as reply:
            assert reply.status == 503
        elsewhere = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
        async with aiohttp.ClientSession(connector=elsewhere) as other:
            await post(other, service.url + "updates", BOTH)
        for client, wrong in (
            ("127.0.0.3", b"{}"),
            ("127.0.0.4", b"{"),
        ):  # what begins no stream has no share
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=(client, 0))) as other:
                async with other.post(service.url + "updates", data=wrong, headers=PARAMS) as reply:
                    assert reply.status == 400
                await post(other, service.url + "updates", BOTH)


async def test_what_a_stream_says_is_worked_out_in_a_thread(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()
    events = streams.Stream.events

    def noted(*given: Any) -> Any:
        threads.add(threading.current_thread().name)
        return events(*given)

    monkeypatch.setattr(streams.Stream, "events", noted)
    async with serving() as service:
        answer = await post(session, service.url + "updates", BOTH)
        for _ in range(3):
            await event(answer)
        service.site.publish(CHANGED)
        await event(answer)
    assert len(threads) == 1
    assert threads.pop().startswith("streams")


async def test_a_quiet_stream_is_kept_alive_with_comments(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert streams._KEEP_ALIVE_S == 15  # RFC 8895 section 6.8
    monkeypatch.setattr(streams, "_KEEP_ALIVE_S", 0.05)
    async with serving() as service:
        answer = await post(session, service.url + "updates", BOTH)
        for _ in range(3):
            await event(answer)
        assert await asyncio.wait_for(answer.content.readline(), 10) == b":\n"
        assert await answer.content.readline() == b"\n"
        assert await asyncio.wait_for(answer.content.readline(), 10) == b":\n"


async def test_a_client_that_does_not_read_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(streams, "_WRITE_S", 0.2)
    size = 250
    names = {f"pid-{number}": [f"10.{number}.0.0/16"] for number in range(size)}
    large = [published([[cost + 0.123456789] * size] * size, prefixes=names) for cost in range(2)]
    async with serving(large[0]) as service:
        host, port = service.addresses[0].split(":")
        body = json.dumps({"add": {"x": BOTH["add"]["costs"] | {"incremental-changes": False}}})
        reader, writer = await asyncio.open_connection(host, port, limit=1024)
        writer.write(
            f"POST /updates HTTP/1.1\r\nHost: x\r\nContent-Type: {STREAM_PARAMS_TYPE}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        assert (await reader.readline()).split()[1] == b"200"
        for number in range(500):
            service.site.publish(large[number % 2])
            await asyncio.sleep(0.01)
            if service.status()["streams"] == 0:
                break
        assert service.status()["streams"] == 0
        for _ in range(200):
            if service.status()["connections"] == 0:
                break
            await asyncio.sleep(0.01)
        assert service.status()["connections"] == 0
        assert len(service.site._listeners) == 1  # the server's own
        writer.close()
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


async def test_when_the_portal_stops_its_streams_are_told(session: aiohttp.ClientSession) -> None:
    async with AsyncExitStack() as stack:
        service = Service(Site(published()), AccessConfig())
        await service.listen("127.0.0.1:0", stack)
        answer = await post(session, service.url + "updates", BOTH)
        for _ in range(3):
            await event(answer)
        await stack.aclose()
        kind, content = await event(answer)
    assert (kind, content["stopped"]) == (STREAM_CONTROL_TYPE, ["costs", "net"])
    assert await answer.content.read() == b""


async def test_faults_that_are_set_reach_the_streams(session: aiohttp.ClientSession) -> None:
    async with serving() as service:
        answer = await post(session, service.url + "updates", BOTH)
        for _ in range(3):
            await event(answer)
        service.site.set_faults(FaultsConfig(selfish=2))
        assert (await event(answer))[1]["cost-map"]["a"] == {"far": 10}
