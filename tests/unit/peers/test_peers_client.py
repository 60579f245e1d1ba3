"""Real clients on loopback addresses, one process each, that find each other through a real tracker."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import libtorrent as lt
import numpy as np
import pytest
from ruamel.yaml import YAML

from testbed.peers.config import ClientConfig
from testbed.peers.content import Content, make_content
from testbed.peers.libtorrent_client import load_torrent, session_settings
from testbed.peers.transfers import read_transfers

SIZE_BYTES = 1_000_003
PIECE_BYTES = 65536


@dataclass
class Announces:
    """What the tracker heard, and whom it names to whom (by address)."""

    neighbours: dict[str, list[str]]
    port: int
    heard: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list)


@dataclass
class Swarm:
    """A tracker and a content, and clients of it that the test starts and stops."""

    folder: Path
    content: Content
    announces: Announces
    clients: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(self, ip: str, role: str, **more: Any) -> None:
        """Returns when the client listens: who finds a neighbour absent tries again only after a minute."""
        self.launch(ip, role, **more)
        self.wait_for(ip, "joined_ns")

    def launch(self, ip: str, role: str, **more: Any) -> None:
        own = self.folder / ip
        own.mkdir()
        config = {
            "host": f"cablenet.paris.{role}{ip}",
            "role": role,
            "listen": f"{ip}:{self.announces.port}",
            "torrent": str(self.content.torrent),
            "payload_folder": str(self.content.payload.parent if role == "seed" else own),
            "transfers": str(own / "transfers.bin"),
            "record": str(own / "record.json"),
            **more,
        }
        with (own / "client.yaml").open("w") as file:
            YAML(typ="safe").dump(config, file)
        with (own / "log").open("w") as log:
            self.clients[ip] = subprocess.Popen(
                [sys.executable, "-m", "testbed.peers", "--config", str(own / "client.yaml")],
                stderr=log,
                env={**os.environ, **self.environment},
            )

    def record(self, ip: str) -> dict[str, Any]:
        return dict(json.loads((self.folder / ip / "record.json").read_text()))

    def wait_for(self, ip: str, key: str, timeout_s: float = 15.0) -> None:
        """Until the record of the client has `key`."""
        until_s = time.monotonic() + timeout_s
        while time.monotonic() < until_s:
            path = self.folder / ip / "record.json"
            if path.exists() and self.record(ip)[key] is not None:
                return
            time.sleep(0.05)
        raise AssertionError(f"{ip}: no {key}\n{(self.folder / ip / 'log').read_text()}")

    def stop(self, ip: str) -> int:
        client = self.clients.pop(ip)
        client.send_signal(signal.SIGTERM)
        return client.wait(10)


def _tracker(announces: Announces) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ip = str(self.client_address[0])
            announces.heard.append((ip, parse_qs(urlsplit(self.path).query, encoding="latin-1")))
            peers = b"".join(
                IPv4Address(peer).packed + announces.port.to_bytes(2, "big")
                for peer in announces.neighbours.get(ip, [])
            )
            body = lt.bencode({b"interval": 1, b"min interval": 1, b"peers": peers})
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Swarm]:
    announces = Announces({}, _free_port())
    with _tracker(announces) as tracker:
        thread = threading.Thread(target=tracker.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{tracker.server_address[1]}/announce"
        made = Swarm(
            tmp_path, make_content(tmp_path / "content", "c.bin", SIZE_BYTES, PIECE_BYTES, 1, url), announces
        )
        try:
            yield made
        finally:
            for client in made.clients.values():
                client.kill()
                client.wait()
            tracker.shutdown()
            thread.join()


def test_every_block_of_a_completed_download_is_in_the_log_once(swarm: Swarm) -> None:
    # Alerts carry local wall time; the log must not depend on where the machine is.
    swarm.environment = {"TZ": "Asia/Tokyo"}
    began_ns = time.monotonic_ns()
    seed, first, second = "127.0.0.2", "127.0.0.3", "127.0.0.4"
    swarm.announces.neighbours.update({first: [seed, second], second: [seed, first]})
    swarm.start(seed, "seed")
    swarm.start(first, "leecher")
    swarm.start(second, "leecher")
    swarm.wait_for(first, "completed_ns")
    swarm.wait_for(second, "completed_ns")
    assert [swarm.stop(ip) for ip in (seed, first, second)] == [0, 0, 0]

    for ip in (first, second):
        rows, record = read_transfers(swarm.folder / ip / "transfers.bin"), swarm.record(ip)
        assert rows["bytes"].sum() == SIZE_BYTES + record["bytes_hash_failed"]
        assert record["bytes_down"] == SIZE_BYTES + record["bytes_wasted"]
        assert len(np.unique(rows[["piece", "block"]])) == len(rows) == 62
        assert set(rows["ip"]) <= {int(IPv4Address(other)) for other in (seed, first, second)} - {
            int(IPv4Address(ip))
        }
        assert (np.diff(rows["t_ns"]) >= 0).all()
        times = [record[key] for key in ("joined_ns", "first_byte_ns", "completed_ns", "left_ns")]
        assert [began_ns, *times] == sorted([began_ns, *times])
        assert rows["t_ns"][0] == record["first_byte_ns"]
        assert rows["t_ns"][-1] <= record["completed_ns"]
        assert record["hash_ok"] is True
        assert record["errors"] == []
        payload = (swarm.folder / ip / "c.bin").read_bytes()
        assert hashlib.sha256(payload).digest() == hashlib.sha256(swarm.content.payload.read_bytes()).digest()
    records = {ip: swarm.record(ip) for ip in (seed, first, second)}
    # A block may still be on its way when its receiver, done, hangs up: sent, and received by nobody.
    assert sum(r["bytes_up"] for r in records.values()) >= sum(r["bytes_down"] for r in records.values())
    assert records[seed]["completed_ns"] is None


def test_the_client_announces_by_itself_and_says_goodbye(swarm: Swarm) -> None:
    swarm.start("127.0.0.2", "seed", numwant=17, min_announce_interval_s=1)
    until_s = time.monotonic() + 10
    while len(swarm.announces.heard) < 3 and time.monotonic() < until_s:
        time.sleep(0.05)
    assert swarm.stop("127.0.0.2") == 0
    heard = swarm.announces.heard
    assert {ip for ip, _ in heard} == {"127.0.0.2"}
    assert [query.get("event", [""])[0] for _, query in heard[:3]] == ["started", "", ""]
    assert heard[-1][1]["event"] == ["stopped"]
    assert heard[0][1]["numwant"] == ["17"]
    assert heard[0][1]["left"] == ["0"]
    assert heard[0][1]["port"] == [str(swarm.announces.port)]
    assert heard[0][1]["info_hash"][0].encode("latin-1").hex() == swarm.content.info_hash


def test_a_piece_that_fails_its_hash_is_in_the_log_and_counted_as_failed(swarm: Swarm) -> None:
    good, bad, leecher = "127.0.0.2", "127.0.0.3", "127.0.0.4"
    swarm.announces.neighbours.update({bad: [good], leecher: [bad]})
    swarm.start(good, "seed")
    swarm.start(bad, "leecher")
    swarm.wait_for(bad, "completed_ns")
    # It checked what it has, and does not look again when it uploads.
    with (swarm.folder / bad / "c.bin").open("r+b") as file:
        file.seek(5 * PIECE_BYTES)
        file.write(bytes(100))
    swarm.start(leecher, "leecher", min_announce_interval_s=1)
    until_s = time.monotonic() + 10
    while not _has_tried_piece_5(swarm.folder / leecher / "transfers.bin") and time.monotonic() < until_s:
        time.sleep(0.05)
    swarm.announces.neighbours[leecher] = [good]
    swarm.wait_for(leecher, "completed_ns")
    assert swarm.stop(leecher) == 0

    rows, record = read_transfers(swarm.folder / leecher / "transfers.bin"), swarm.record(leecher)
    assert record["bytes_hash_failed"] >= PIECE_BYTES
    assert record["bytes_hash_failed"] % PIECE_BYTES == 0
    assert rows["bytes"].sum() == SIZE_BYTES + record["bytes_hash_failed"]
    assert record["bytes_down"] == SIZE_BYTES + record["bytes_wasted"]
    assert {int(IPv4Address(ip)) for ip in (good, bad)} == set(rows[rows["piece"] == 5]["ip"])
    assert any(error.startswith("hash_failed") for error in record["errors"])
    assert record["hash_ok"] is True


def _has_tried_piece_5(log: Path) -> bool:
    return log.exists() and (read_transfers(log)["piece"] == 5).sum() >= PIECE_BYTES // 16384


def test_unchoke_slots_bind_neighbours_in_private_address_space(swarm: Swarm) -> None:
    port = swarm.announces.port
    seed, handle = _session(swarm, "127.0.0.2", "seed", upload_rate_limit=100_000)
    leechers = [_session(swarm, f"127.0.0.{n}", "leecher") for n in range(3, 7)]
    for _, leecher in leechers:
        leecher.connect_peer(("127.0.0.2", port))
    until_s = time.monotonic() + 10
    wanting: list[Any] = []
    while len(wanting) < 4 and time.monotonic() < until_s:
        time.sleep(0.1)
        wanting = [peer for peer in handle.get_peer_info() if peer.flags & peer.remote_interested]
    assert len(wanting) == 4
    assert sum(not peer.flags & peer.choked for peer in wanting) == 2
    del seed


def _session(swarm: Swarm, ip: str, role: Literal["seed", "leecher"], **more: Any) -> tuple[Any, Any]:
    own = swarm.folder / ip
    own.mkdir()
    config = ClientConfig(
        host=ip,
        role=role,
        listen=f"{ip}:{swarm.announces.port}",
        torrent=swarm.content.torrent,
        payload_folder=swarm.content.payload.parent if role == "seed" else own,
        unchoke_slots=2,
        transfers=own / "transfers.bin",
        record=own / "record.json",
    )
    parameters = lt.session_params()
    parameters.settings = {**session_settings(config), **more}  # type: ignore[typeddict-item]
    session = lt.session(parameters)
    return session, session.add_torrent(load_torrent(config))


def test_progress_is_told_to_whoever_listens(swarm: Swarm) -> None:
    seed, leecher = "127.0.0.2", "127.0.0.3"
    swarm.announces.neighbours[leecher] = [seed]
    path = swarm.folder / "progress"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(10)
        swarm.start(seed, "seed")
        swarm.start(leecher, "leecher", progress_socket=str(path), progress_interval_s=0.1)
        events: list[dict[str, Any]] = []
        while not events or events[-1]["event"] != "completed":
            events.append(json.loads(listener.recv(65536)))
        assert events[0]["event"] == "joined"
        assert events[-1]["fraction"] == 1.0
        assert set(events[0]) == {"host", "event", "monotonic_ns", "fraction", "rate_bps", "completed"}
        assert events[-1]["completed"] is True
    # The listener is gone: the client lives on, and leaves as told.
    time.sleep(0.3)
    assert swarm.clients[leecher].poll() is None
    assert swarm.stop(leecher) == 0


def test_a_killed_client_leaves_its_rows_and_the_record_of_its_completion(swarm: Swarm) -> None:
    seed, leecher = "127.0.0.2", "127.0.0.3"
    swarm.announces.neighbours[leecher] = [seed]
    swarm.start(seed, "seed")
    swarm.start(leecher, "leecher")
    swarm.wait_for(leecher, "completed_ns")
    time.sleep(0.1)
    swarm.clients[leecher].kill()
    swarm.clients[leecher].wait()
    assert read_transfers(swarm.folder / leecher / "transfers.bin")["bytes"].sum() == SIZE_BYTES
    record = swarm.record(leecher)
    assert (record["hash_ok"], record["bytes_down"], record["left_ns"]) == (True, SIZE_BYTES, None)


def test_a_taken_port_ends_the_client_with_its_reason(swarm: Swarm) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.2", swarm.announces.port))
        holder.listen()
        swarm.launch("127.0.0.2", "leecher")
        assert swarm.clients["127.0.0.2"].wait(10) == 1
    assert "listen" in (swarm.folder / "127.0.0.2" / "log").read_text()
    assert swarm.record("127.0.0.2")["errors"]


def test_peer_exchange_in_a_private_torrent_is_refused(swarm: Swarm) -> None:
    swarm.launch("127.0.0.2", "leecher", peer_exchange=True)
    assert swarm.clients["127.0.0.2"].wait(10) == 2
    assert "private torrent" in (swarm.folder / "127.0.0.2" / "log").read_text()
