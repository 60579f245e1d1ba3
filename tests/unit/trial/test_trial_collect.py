"""From what processes wrote to the tables of a trial."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_topology

from testbed.emulation.fidelity import Sample
from testbed.emulation.network import QueueState
from testbed.peers.transfers import TRANSFER_DTYPE
from testbed.topology.model import Network
from testbed.trial import record
from testbed.trial.collect import Queues, collect, link_rows, pair_rows, switch_rows

START = 5_000_000_000
BORDER = "left.one--carrier.hub"
UPLINK = "left.one.leecher1--left.one"
SAMPLE = Sample(START + 7, 0.5, 0.0, 0.1, 0.001, 0, 2**30)


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return small_topology.network(tmp_path)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


def write_transfers(
    raw: Path, network: Network, host: str, *rows: tuple[int, str, int], torn: bool = False
) -> None:
    """Rows are (ns since start, sending host, piece)."""
    array = np.zeros(len(rows), TRANSFER_DTYPE)
    for index, (t_ns, sender, piece) in enumerate(rows):
        address = int(IPv4Address(network.host_by_id[sender].ip))
        array[index] = (START + t_ns, address, 16384, piece, 0)
    data = array.tobytes()
    (raw / f"{host}.transfers").write_bytes(data + data[:11] if torn else data)


def write_lines(path: Path, *lines: dict[str, Any], torn: str = "") -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + torn)


def tables(raw: Path, network: Network, queues: list[tuple[int, Queues]] | None = None) -> dict[str, Any]:
    folder = raw.parent / "trial"
    folder.mkdir(exist_ok=True)
    collect(folder, raw, network, "libtorrent", START, queues or [], [SAMPLE])
    return {name: record.read_table(folder, name).to_pylist() for name in record.TABLES}


def test_blocks_of_all_clients_are_in_order_with_names_for_addresses(raw: Path, network: Network) -> None:
    seed, one, two = "carrier.hub.seed1", "left.one.leecher1", "left.two.leecher1"
    write_transfers(raw, network, one, (10, seed, 0), (30, two, 1))
    write_transfers(raw, network, two, (20, seed, 1), (40, one, 0), torn=True)
    rows = tables(raw, network)["transfers"]
    assert [(row["t_ns"], row["src"], row["dst"], row["piece"]) for row in rows] == [
        (10, seed, one, 0),
        (20, seed, two, 1),
        (30, two, one, 1),
        (40, one, two, 0),
    ]
    assert {row["bytes"] for row in rows} == {16384}


def test_a_trial_in_which_nothing_happened_has_all_tables(raw: Path, network: Network) -> None:
    found = tables(raw, network)
    assert set(found) == set(record.TABLES)
    assert found["transfers"] == found["links"] == found["announces"] == []
    assert [row["host"] for row in found["peers"]] == [
        host.id for host in network.hosts if host.role in ("leecher", "seed")
    ]
    assert all(row["joined_ns"] is None and row["bytes_down"] is None for row in found["peers"])
    assert [row["t_ns"] for row in found["fidelity"]] == [7]


def test_a_peers_times_are_since_the_start_and_null_where_a_thing_did_not_happen(
    raw: Path, network: Network
) -> None:
    life = {
        "client": "libtorrent 2.1.1",
        "joined_ns": START + 1,
        "first_byte_ns": START + 2,
        "completed_ns": None,
        "left_ns": START + 9,
        "bytes_down": 100,
        "bytes_up": 50,
        "bytes_wasted": 3,
        "hash_ok": None,
        "neighbours": {network.host_by_id["carrier.hub.seed1"].ip: [100, 0]},
    }
    (raw / "left.one.leecher1.json").write_text(json.dumps(life))
    found = tables(raw, network)
    row = next(row for row in found["peers"] if row["host"] == "left.one.leecher1")
    times = [row[key] for key in ("joined_ns", "first_byte_ns", "completed_ns", "left_ns")]
    assert times == [1, 2, None, 9]
    assert (row["bytes_down"], row["bytes_up"], row["bytes_wasted"], row["hash_ok"]) == (100, 50, 3, None)
    assert (row["isp"], row["pop"], row["access"]) == ("left", "left.one", "line")
    assert found["neighbours"] == [
        {"host": "left.one.leecher1", "neighbour": "carrier.hub.seed1", "bytes_down": 100, "bytes_up": 0}
    ]


def poll(t_ns: int, pop: str, ports: dict[str, tuple[int, int, int, int]]) -> dict[str, Any]:
    """A line of the controller: bytes and packets sent, then received, of each port."""
    return {"monotonic_ns": START + t_ns, "pop": pop, "ports": ports}


def test_counters_count_from_the_last_poll_before_the_start(raw: Path, network: Network) -> None:
    write_lines(
        raw / "counters.jsonl",
        poll(-2000, "left.one", {BORDER: (50, 1, 0, 0)}),
        poll(-1000, "left.one", {BORDER: (100, 2, 0, 0)}),
        poll(500, "left.one", {BORDER: (1100, 12, 0, 0)}),
        poll(1500, "left.one", {BORDER: (2100, 22, 0, 0)}),
        torn='{"monotonic_ns": 99, "pop": "left.o',
    )
    rows = list(link_rows(raw / "counters.jsonl", network, START, []))
    assert [(row["t_ns"], row["bytes"], row["packets"]) for row in rows] == [
        (500, 1000, 10),
        (1500, 2000, 20),
    ]
    assert {(row["link"], row["direction"]) for row in rows} == {(BORDER, "left.one")}


def test_a_hosts_uplink_is_what_its_switch_port_received(raw: Path, network: Network) -> None:
    write_lines(
        raw / "counters.jsonl", poll(500, "left.one", {UPLINK: (1000, 10, 300, 3), BORDER: (7, 1, 9, 9)})
    )
    rows = list(link_rows(raw / "counters.jsonl", network, START, []))
    assert {(row["link"], row["direction"]): row["bytes"] for row in rows} == {
        (UPLINK, "left.one"): 1000,
        (UPLINK, "left.one.leecher1"): 300,
        # What the other end sent is counted there.
        (BORDER, "left.one"): 7,
    }


def test_a_row_has_the_drops_and_backlog_that_were_last_seen(raw: Path, network: Network) -> None:
    key, state = (BORDER, "left.one"), QueueState(bytes=1, packets=1, drops=0, backlog_bytes=10)
    queues: list[tuple[int, Queues]] = [
        (START + 400, {key: state}),
        (START + 1400, {key: replace(state, drops=5, backlog_bytes=0)}),
    ]
    write_lines(
        raw / "counters.jsonl", *(poll(t, "left.one", {BORDER: (t, 1, 0, 0)}) for t in (100, 500, 1000, 1500))
    )
    rows = list(link_rows(raw / "counters.jsonl", network, START, queues))
    assert [(row["drops"], row["backlog"]) for row in rows] == [(None, None), (0, 10), (0, 10), (5, 0)]


def test_drops_of_before_the_start_do_not_count(raw: Path, network: Network) -> None:
    key, state = (BORDER, "left.one"), QueueState(bytes=1, packets=1, drops=7, backlog_bytes=0)
    queues: list[tuple[int, Queues]] = [
        (START - 5, {key: state}),
        (START + 400, {key: replace(state, drops=9)}),
    ]
    write_lines(
        raw / "counters.jsonl", *(poll(t, "left.one", {BORDER: (t, 1, 0, 0)}) for t in (-9, 300, 500))
    )
    rows = list(link_rows(raw / "counters.jsonl", network, START, queues))
    assert [row["drops"] for row in rows] == [0, 2]


def test_announces_name_hosts_and_a_torn_last_line_is_left_out(raw: Path, network: Network) -> None:
    line = {
        "t_ns": START + 3,
        "ip": network.host_by_id["left.one.leecher1"].ip,
        "event": "started",
        "numwant": 20,
        "returned": 3,
        "same_pid": 1,
        "same_isp": 1,
        "other_isp": 1,
        "guided": True,
        "reason": "",
    }
    write_lines(raw / "announces.jsonl", line, {**line, "ip": "192.0.2.1"}, torn='{"t_ns": 1')
    rows = tables(raw, network)["announces"]
    assert [(row["t_ns"], row["host"]) for row in rows] == [(3, "left.one.leecher1"), (3, "192.0.2.1")]


def test_distances_of_before_the_start_are_in_force_from_the_start(raw: Path, network: Network) -> None:
    line = {"src_pid": "left:one", "dst_pid": "left:two", "p_distance": 2.0}
    write_lines(
        raw / "left.one.portal.distances.jsonl", {"t_ns": START - 9, **line}, {"t_ns": START + 9, **line}
    )
    rows = tables(raw, network)["distances"]
    assert [(row["isp"], row["t_ns"]) for row in rows] == [("left", 0), ("left", 9)]


def test_pairs_of_isps_count_from_the_last_poll_before_the_start(raw: Path) -> None:
    def line(t_ns: int, **pairs: list[int]) -> dict[str, Any]:
        return {"monotonic_ns": START + t_ns, "pop": "left.one", "ports": {}, "pairs": pairs, "unrouted": 0}

    write_lines(
        raw / "counters.jsonl",
        line(-5, carrier=[100, 1], right=[7, 1]),
        line(500, carrier=[1600, 2], right=[7, 1], left=[60, 1]),
        line(1500, carrier=[3100, 3], right=[8, 2]),
    )
    assert list(pair_rows(raw / "counters.jsonl", START)) == [
        {"t_ns": 500, "pop": "left.one", "src_isp": "carrier", "bytes": 1500, "packets": 1},
        {"t_ns": 500, "pop": "left.one", "src_isp": "left", "bytes": 60, "packets": 1},
        {"t_ns": 1500, "pop": "left.one", "src_isp": "carrier", "bytes": 3000, "packets": 2},
        {"t_ns": 1500, "pop": "left.one", "src_isp": "right", "bytes": 1, "packets": 1},
    ]


def test_what_switches_threw_away_stays_counted_when_its_meter_is_gone(raw: Path) -> None:
    def line(t_ns: int, unrouted: int, **metered: list[int]) -> dict[str, Any]:
        counted = {"unrouted": unrouted, "metered": metered}
        return {"monotonic_ns": START + t_ns, "pop": "left.one", "ports": {}, **counted}

    write_lines(
        raw / "counters.jsonl",
        line(-5, 3, old=[100, 1]),
        line(500, 3, old=[100, 1], slow=[3000, 2]),
        line(1500, 5, slow=[9000, 6]),
        line(2500, 5),
    )
    rows = list(switch_rows(raw / "counters.jsonl", START))
    assert [(row["t_ns"], row["unrouted"], row["metered"]) for row in rows] == [
        (500, 0, 2),
        (1500, 2, 6),
        (2500, 2, 6),
    ]


def test_lines_that_say_nothing_of_pairs_and_rules_are_no_rows(raw: Path, network: Network) -> None:
    write_lines(raw / "counters.jsonl", poll(500, "left.one", {BORDER: (10, 1, 0, 0)}))
    found = tables(raw, network)
    assert (found["pairs"], found["switches"]) == ([], [])
    assert len(found["links"]) == 1
