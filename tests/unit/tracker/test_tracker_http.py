"""The tracker as clients meet it: over HTTP on loopback, with real libtorrent clients, and as a program."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import aiohttp
import jinja2
import libtorrent
import numpy as np
import pytest
import pytest_asyncio
from yarl import URL

import testbed
from testbed.tracker.config import TrackerConfig
from testbed.tracker.server import TrackerService, start

HASH = bytes(range(236, 256))  # no valid UTF-8
NOBODY = "http://127.0.0.1:1/"  # where no portal is


def config(folder: Path, **changes: Any) -> TrackerConfig:
    fields: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "control_socket": folder / "control",
        "announce_log": folder / "announces.jsonl",
        "policy": {"name": "p4p"},
        "seed": 1,
        "interval_s": 30,
        "min_interval_s": 5,
        "portals": [{"isp": "home", "prefix": "127.0.0.0/8", "uri": NOBODY}],
        "refresh_s": 0.05,
        "stale_after_s": 1,
    }
    return TrackerConfig.model_validate(fields | changes)


@pytest_asyncio.fixture
async def service(tmp_path: Path) -> AsyncIterator[TrackerService]:
    async with AsyncExitStack() as stack:
        yield await start(config(tmp_path), stack)


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def ask(session: aiohttp.ClientSession, url: str) -> dict[bytes, Any]:
    """The bencoded answer. The URL is sent as it stands: it has binary values."""
    async with session.get(URL(url, encoded=True)) as response:
        assert response.status == 200
        decoded: dict[bytes, Any] = libtorrent.bdecode(await response.read())
        return decoded


def announce_url(service: TrackerService, number: int, **changes: object) -> str:
    fields = {"port": 7000 + number, "left": 1, "event": "started"} | changes
    query = "&".join(f"{name}={value}" for name, value in fields.items())
    info_hash = quote_from_bytes(HASH, safe="")
    return f"{service.url}/announce?info_hash={info_hash}&peer_id={number:020d}&{query}"


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "announces.jsonl").read_text().splitlines()]


async def test_peers_come_in_six_bytes_each(service: TrackerService, session: aiohttp.ClientSession) -> None:
    await ask(session, announce_url(service, 1, left=0))
    answer = await ask(session, announce_url(service, 2))
    assert answer[b"peers"] == bytes([127, 0, 0, 1]) + (7001).to_bytes(2, "big")
    assert (answer[b"interval"], answer[b"min interval"]) == (30, 5)
    assert (answer[b"complete"], answer[b"incomplete"]) == (1, 1)


async def test_a_client_that_wants_dictionaries_gets_them(
    service: TrackerService, session: aiohttp.ClientSession
) -> None:
    await ask(session, announce_url(service, 1))
    with_id = await ask(session, announce_url(service, 2, compact=0))
    without_id = await ask(session, announce_url(service, 2, compact=0, no_peer_id=1))
    assert with_id[b"peers"] == [{b"peer id": b"%020d" % 1, b"ip": b"127.0.0.1", b"port": 7001}]
    assert without_id[b"peers"] == [{b"ip": b"127.0.0.1", b"port": 7001}]


async def test_ipv6_peers_come_in_a_field_of_their_own(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        try:
            service = await start(config(tmp_path, listen="[::1]:0"), stack)
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
        await ask(session, announce_url(service, 1))
        answer = await ask(session, announce_url(service, 2))
    assert answer[b"peers"] == b""
    assert answer[b"peers6"] == bytes(15) + b"\x01" + (7001).to_bytes(2, "big")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", b"info_hash is missing"),
        ("?info_hash=%ff%fe", b"info_hash is not 20 bytes"),
        ("?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=%zz", b"peer_id is not 20 bytes"),
        ("?&&==&info_hash", b"info_hash is not 20 bytes"),
    ],
)
async def test_a_malformed_query_gets_a_failure_reason(
    service: TrackerService, session: aiohttp.ClientSession, query: str, reason: bytes
) -> None:
    assert await ask(session, f"{service.url}/announce{query}") == {b"failure reason": reason}


async def test_scrape_counts_the_torrents_that_are_asked_for(
    service: TrackerService, session: aiohttp.ClientSession
) -> None:
    await ask(session, announce_url(service, 1, left=0, event="completed"))
    await ask(session, announce_url(service, 2))
    counts = {b"complete": 1, b"incomplete": 1, b"downloaded": 1}
    quoted = quote_from_bytes(HASH, safe="")
    one = await ask(session, f"{service.url}/scrape?info_hash={quoted}&info_hash={'a' * 20}")
    assert one == {b"files": {HASH: counts}}
    assert await ask(session, f"{service.url}/scrape") == one
    wrong = await ask(session, f"{service.url}/scrape?info_hash=a")
    assert wrong == {b"failure reason": b"info_hash is not 20 bytes"}


async def test_without_its_portal_the_tracker_answers_and_says_so(
    tmp_path: Path, service: TrackerService, session: aiohttp.ClientSession
) -> None:
    while service.snapshot()["portals"]["home"]["state"] == "no map yet":
        await asyncio.sleep(0.01)
    await ask(session, announce_url(service, 1))
    answer = await ask(session, announce_url(service, 2))
    assert len(answer[b"peers"]) == 6
    assert [row["reason"] for row in rows(tmp_path)] == ["unreachable", "unreachable"]
    assert rows(tmp_path)[1]["same_isp"] == 1
    assert service.snapshot()["answers"] == {"unreachable": 2}


async def test_the_control_socket_serves_stats_to_this_user_alone(
    tmp_path: Path, service: TrackerService, session: aiohttp.ClientSession
) -> None:
    await ask(session, announce_url(service, 1))
    path = tmp_path / "control"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as control,
        control.get("http://tracker/stats") as response,
    ):
        stats = await response.json()
    assert stats["policy"] == "p4p"
    assert stats["swarms"] == {HASH.hex(): {"complete": 0, "incomplete": 1, "downloaded": 0}}
    assert stats["portals"]["home"]["tag"] is None


def client(ip: str) -> libtorrent.session:
    return libtorrent.session(
        {
            "listen_interfaces": f"{ip}:0",
            "outgoing_interfaces": ip,
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "enable_outgoing_utp": False,
            "enable_incoming_utp": False,
            "alert_mask": 0,
        }
    )


def torrent_in(info: libtorrent.torrent_info, folder: Path) -> libtorrent.add_torrent_params:
    parameters = libtorrent.add_torrent_params()
    parameters.ti = info
    parameters.save_path = str(folder)
    return parameters


async def test_real_clients_find_each_other_through_it_and_complete(
    tmp_path: Path, service: TrackerService
) -> None:
    """A seed and a leecher of libtorrent, at two loopback addresses, that know this tracker alone."""
    content = np.random.Generator(np.random.PCG64(1)).bytes(300_000)
    (tmp_path / "seed").mkdir()
    (tmp_path / "leech").mkdir()
    (tmp_path / "seed" / "content").write_bytes(content)
    files = libtorrent.list_files(str(tmp_path / "seed" / "content"))
    torrent = libtorrent.create_torrent(files, 16384, libtorrent.create_torrent.v1_only)
    torrent.add_tracker(f"{service.url}/announce")
    torrent.set_priv(True)
    libtorrent.set_piece_hashes(torrent, str(tmp_path / "seed"))
    info = libtorrent.torrent_info(torrent.generate())
    sessions = [client("127.0.0.2"), client("127.0.0.3")]
    handles = [
        session.add_torrent(torrent_in(info, tmp_path / name))
        for session, name in zip(sessions, ("seed", "leech"), strict=True)
    ]
    try:
        until = time.monotonic() + 20
        while not all(handle.status().is_seeding for handle in handles):
            assert time.monotonic() < until, [handle.status().state for handle in handles]
            # The tracker may see the leecher before the seed; a client would come back after the interval.
            handles[1].force_reannounce(0, -1, libtorrent.reannounce_flags_t.ignore_min_interval)
            await asyncio.sleep(0.2)
        assert (tmp_path / "leech" / "content").read_bytes() == content
        while service.tracker.swarms[info.info_hash().to_bytes()].downloaded == 0:
            assert time.monotonic() < until
            await asyncio.sleep(0.05)
    finally:
        for session in sessions:
            session.pause()
        del handles, sessions
    events = [(row["ip"], row["event"]) for row in rows(tmp_path)]
    assert ("127.0.0.2", "started") in events
    assert ("127.0.0.3", "completed") in events


def test_as_a_program_it_says_that_it_serves_and_stops_cleanly(tmp_path: Path) -> None:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(testbed.__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
    )
    ready = tmp_path / "ready.json"
    text = environment.get_template("tracker.yaml.j2").render(
        listen="127.0.0.1:0",
        ready_file=ready,
        control_socket=tmp_path / "control",
        announce_log=tmp_path / "announces.jsonl",
        policy={"name": "p4p", "parameters": {"gamma": 0.7}},
        seed=1,
        interval_s=30,
        min_interval_s=5,
        max_numwant=20,
        portals=[{"isp": "home", "prefix": "10.0.0.0/8", "uri": None}],
        refresh_s=10.0,
        stale_after_s=30.0,
        log_level="INFO",
    )
    (tmp_path / "tracker.yaml").write_text(text)
    command = [sys.executable, "-m", "testbed.tracker", "--config", str(tmp_path / "tracker.yaml")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 15
    while not ready.exists():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    assert json.loads(ready.read_text())["pid"] == process.pid
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=5)
    assert process.returncode == 0, log
    assert "Traceback" not in log
    assert not (tmp_path / "control").exists()


def test_a_wrong_policy_ends_the_program_with_2_and_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "tracker.yaml"
    path.write_text("listen: 127.0.0.1:0\nseed: 1\npolicy: {name: p5p}\n")
    command = [sys.executable, "-m", "testbed.tracker", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'p5p' is no policy" in done.stderr
    assert "native, p4p" in done.stderr
    assert "Traceback" not in done.stderr
