"""A results folder made from a seed, without any emulation: what analysis and report are tested on.

`write_results` invents who sent each block, and counts it on the links of its path as switches would, so that
the two sides of the accounting agree up to `noise`. The numbers are plausible, not measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from testbed.topology.model import Direction, Host, Isp, Link, Network, Pop, Relationship, Tariff
from testbed.topology.routes import Routes
from testbed.topology.routing import compute_routes
from testbed.trial.record import EVENTS, MANIFEST, TOPOLOGY, write_table

SECOND = 1_000_000_000
BLOCK = 16384
TARIFF = Tariff("percentile-95", 2.0)


def isp(name: str, asn: int) -> Isp:
    return Isp(name, asn, f"10.{asn}.0.0/16")


def pop(isp_name: str, name: str, at: tuple[float, float] | None = None, pid: str = "") -> Pop:
    latitude, longitude = at or (None, None)
    return Pop(
        f"{isp_name}.{name}",
        isp_name,
        name,
        "10.0.0.0/24",
        "10.0.0.1",
        "02:00:00:00:00:01",
        1,
        latitude,
        longitude,
        pid or f"{isp_name}:{name}",
    )


def core_link(
    a: str, b: str, mbit_s: float, relationship: Relationship | None = None, tariff: Tariff | None = None
) -> Link:
    kind = "internal" if a.split(".")[0] == b.split(".")[0] else "interdomain"
    direction = Direction(int(mbit_s * 1e6), 0.005)
    return Link(f"{a}--{b}", kind, a, b, direction, direction, relationship, tariff)


def host(pop_id: str, role: Any, number: int, access: str = "dsl") -> Host:
    name = f"{pop_id}.{role}{number}"
    return Host(
        name, pop_id, pop_id.split(".")[0], role, "10.0.0.9", "02:00:00:00:00:09", access, f"{name}--{pop_id}"
    )


def access_link(item: Host, up_mbit_s: float = 1, down_mbit_s: float = 8) -> Link:
    return Link(
        item.link,
        "access",
        item.id,
        item.pop,
        Direction(int(up_mbit_s * 1e6)),
        Direction(int(down_mbit_s * 1e6)),
    )


def with_hosts(network: Network, hosts: Sequence[Host]) -> Network:
    links = (*network.links, *(access_link(item) for item in hosts))
    return Network(network.name, network.isps, network.pops, links, tuple(hosts))


def four_isps(leechers_per_pop: int = 4, *, coordinates: bool = True) -> Network:
    """A transit ISP, three customers of it, two of which peer: ten PoPs, four links between ISPs."""
    places = {
        "backbone": {"frankfurt": (50.11, 8.68), "amsterdam": (52.37, 4.90), "geneva": (46.20, 6.14)},
        "cablenet": {"london": (51.51, -0.13), "manchester": (53.48, -2.24)},
        "dslnet": {"paris": (48.86, 2.35), "lyon": (45.76, 4.84), "marseille": (43.30, 5.37)},
        "fibrenet": {"milan": (45.46, 9.19), "rome": (41.90, 12.50)},
    }
    pops = tuple(
        pop(name, place, at if coordinates else None)
        for name, ps in places.items()
        for place, at in ps.items()
    )
    links = (
        core_link("backbone.frankfurt", "backbone.amsterdam", 100),
        core_link("backbone.frankfurt", "backbone.geneva", 100),
        core_link("backbone.amsterdam", "backbone.geneva", 100),
        core_link("cablenet.london", "cablenet.manchester", 50),
        core_link("dslnet.paris", "dslnet.lyon", 50),
        core_link("dslnet.lyon", "dslnet.marseille", 50),
        core_link("fibrenet.milan", "fibrenet.rome", 50),
        core_link("cablenet.london", "backbone.amsterdam", 6, "customer-provider", TARIFF),
        core_link("dslnet.paris", "backbone.frankfurt", 6, "customer-provider", TARIFF),
        core_link("fibrenet.milan", "backbone.geneva", 6, "customer-provider", TARIFF),
        core_link("cablenet.london", "dslnet.paris", 6, "peer-peer"),
    )
    isps = tuple(isp(name, 100 + number) for number, name in enumerate(places))
    hosts = [host("backbone.frankfurt", "seed", 1)]
    hosts += [host(item.id, "leecher", 1 + number) for item in pops for number in range(leechers_per_pop)]
    return with_hosts(Network("quickstart", isps, pops, links), hosts)


def write_trial(
    folder: Path,
    network: Network,
    *,
    manifest: Mapping[str, Any],
    transfers: Sequence[Mapping[str, Any]],
    peers: Sequence[Mapping[str, Any]],
    links: Sequence[Mapping[str, Any]],
    neighbours: Sequence[Mapping[str, Any]] = (),
    events: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write a trial's folder from rows; columns that rows leave out are filled with what means nothing."""
    folder.mkdir(parents=True)
    routes = compute_routes(network)
    topology = {"network": network.to_json(), "routes": routes.to_json()}
    (folder / TOPOLOGY).write_text(json.dumps(topology))
    (folder / EVENTS).write_text("".join(json.dumps(event) + "\n" for event in events))
    write_table(folder, "transfers", [{"piece": 0, "block": 0, **row} for row in transfers])
    write_table(folder, "peers", [_full_peer(network, row) for row in peers])
    write_table(folder, "neighbours", [{"bytes_up": 0, **row} for row in neighbours])
    write_table(folder, "links", [{"packets": 0, "drops": 0, "backlog": 0, **row} for row in links])
    (folder / MANIFEST).write_text(json.dumps({"trial": folder.name, **BASE_MANIFEST, **manifest}))


BASE_MANIFEST: Mapping[str, Any] = {
    "experiment": "quickstart",
    "policy": "native",
    "policy_index": 0,
    "repeat": 0,
    "seed": 7,
    "verdict": "valid",
    "reasons": [],
    "active_ns": [0, 10 * SECOND],
    "content_bytes": 4 << 20,
    "header_overhead": 1.05,
    "versions": {"libtorrent": "2.0.11", "openvswitch": "3.1.0", "python": "3.11.2"},
    "kernel": "6.1.0-18-amd64",
    "capabilities": {"delay": "none", "datapath": "netdev"},
    "notes": ["delays were not emulated: this kernel has no netem"],
}


def _full_peer(network: Network, row: Mapping[str, Any]) -> dict[str, Any]:
    item = network.host_by_id[row["host"]]
    return {
        "isp": item.isp,
        "pop": item.pop,
        "role": item.role,
        "client": "libtorrent",
        "access": item.access,
        "joined_ns": 0,
        "bytes_down": 0,
        "bytes_up": 0,
        "bytes_wasted": 0,
        "hash_ok": True,
        **row,
    }


def write_results(
    results: Path,
    network: Network,
    *,
    policies: Mapping[str, tuple[float, float]],
    repeats: int = 1,
    seed: int = 1,
    noise: float = 0.01,
    blocks: int = 64,
    manifest: Mapping[str, Any] | None = None,
) -> Path:
    """A results folder; `policies` maps a name to (share of blocks from the own ISP, mean completion s)."""
    routes = compute_routes(network)
    for index, (policy, (local, mean_s)) in enumerate(policies.items()):
        for repeat in range(repeats):
            rng = np.random.default_rng([seed, index, repeat])
            peers, transfers = _swarm(network, rng, local, mean_s, blocks)
            end_s = int(max(row["completed_ns"] for row in peers if row["completed_ns"]) / SECOND) + 1
            write_trial(
                results / f"{policy}-{repeat}-a1b2c3",
                network,
                manifest={
                    "policy": policy,
                    "policy_index": index,
                    "repeat": repeat,
                    "seed": 100 + repeat,
                    "active_ns": [0, end_s * SECOND],
                    **(manifest or {}),
                },
                transfers=transfers,
                peers=peers,
                links=_counters(network, routes, transfers, end_s, rng, noise),
                events=[
                    {"t_ns": 0, "event": "swarm started"},
                    {"t_ns": end_s * SECOND, "event": "all leechers done", "leechers": len(peers) - 1},
                ],
            )
    return results


def _swarm(
    network: Network, rng: np.random.Generator, local: float, mean_s: float, blocks: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    seeds = [item for item in network.hosts if item.role == "seed"]
    leechers = [item for item in network.hosts if item.role == "leecher"]
    speed = {item.name: rng.uniform(0.75, 1.3) for item in network.isps}
    peers: list[dict[str, Any]] = [{"host": item.id, "completed_ns": None} for item in seeds]
    transfers: list[dict[str, Any]] = []
    for item in leechers:
        joined = int(rng.uniform(0, 5) * SECOND)
        took = int(max(5.0, rng.normal(mean_s, mean_s / 8) * speed[item.isp]) * SECOND)
        peers.append({"host": item.id, "joined_ns": joined, "completed_ns": joined + took})
        near = [other for other in leechers if other.isp == item.isp and other is not item]
        far = [other for other in (*seeds, *leechers) if other.isp != item.isp]
        for number in range(blocks):
            senders = near if near and rng.random() < local else far
            transfers.append(
                {
                    "t_ns": joined + took * (number + 1) // blocks,
                    "src": senders[int(rng.integers(len(senders)))].id,
                    "dst": item.id,
                    "bytes": BLOCK,
                    "piece": number // 4,
                    "block": number % 4,
                }
            )
    return peers, sorted(transfers, key=lambda row: row["t_ns"])


def _counters(
    network: Network,
    routes: Routes,
    transfers: Sequence[Mapping[str, Any]],
    end_s: int,
    rng: np.random.Generator,
    noise: float,
) -> list[dict[str, Any]]:
    """Frames of 1448 bytes of TCP payload one way, an ACK for every two the other, with 66 bytes each."""
    keys = [(link.id, end) for link in network.links for end in (link.a, link.b)]
    code = {key: number for number, key in enumerate(keys)}
    sizes, frames = np.zeros((len(keys), end_s + 2)), np.zeros((len(keys), end_s + 2))
    for row in transfers:
        second = min(int(row["t_ns"] // SECOND) + 1, end_s)
        data = -(-(row["bytes"] + 13) // 1448)
        for key in hops(network, routes, row["src"], row["dst"]):
            sizes[code[key], second] += row["bytes"] + 13 + 66 * data
            frames[code[key], second] += data
        for key in hops(network, routes, row["dst"], row["src"]):
            sizes[code[key], second] += 17 + 66 * (1 + data // 2)
            frames[code[key], second] += 1 + data // 2
    sizes *= 1 + noise * rng.random(sizes.shape)
    total, packets = sizes.cumsum(axis=1), frames.cumsum(axis=1)
    return [
        {
            "t_ns": second * SECOND,
            "link": link,
            "direction": end,
            "bytes": int(total[number, second]),
            "packets": int(packets[number, second]),
        }
        for number, (link, end) in enumerate(keys)
        for second in range(end_s + 1)
    ]


def hops(network: Network, routes: Routes, source: str, destination: str) -> list[tuple[str, str]]:
    """(link, sending end) of each step between two hosts, access links included."""
    here, there = network.host_by_id[source], network.host_by_id[destination]
    steps = [(here.link, here.id)]
    for link, end in zip(
        routes.path(here.pop, there.pop), routes.pops_on_path(here.pop, there.pop), strict=False
    ):
        steps.append((link, end))
    return [*steps, (there.link, there.pop)]
