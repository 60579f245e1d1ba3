"""From what processes wrote while a trial ran to the tables of its record.

Raw files come in, with times of the machine's monotonic clock; tables go out, with times since the trial's
start and host ids instead of addresses. It also works on what an interrupted trial left.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from testbed.emulation.fidelity import Sample
from testbed.emulation.network import QueueState
from testbed.peers.transfers import TRANSFER_DTYPE, read_transfers
from testbed.topology.model import Network
from testbed.trial import record
from testbed.trial.events import json_lines

Queues = Mapping[tuple[str, str], QueueState]


def collect(
    folder: Path,
    raw: Path,
    network: Network,
    client: str,
    start_ns: int,
    queues: Sequence[tuple[int, Queues]],
    samples: Sequence[Sample],
) -> None:
    """Write all tables of the trial into `folder`. `queues` are (monotonic ns, state) in order of time."""
    record.write_arrow(folder, "transfers", _transfers(raw, network, start_ns))
    record.write_table(folder, "peers", peer_rows(raw, network, client, start_ns))
    record.write_table(folder, "neighbours", _neighbour_rows(raw, network))
    record.write_table(folder, "links", link_rows(raw / "counters.jsonl", network, start_ns, queues))
    record.write_table(folder, "pairs", pair_rows(raw / "counters.jsonl", start_ns))
    record.write_table(folder, "switches", switch_rows(raw / "counters.jsonl", start_ns))
    record.write_table(folder, "announces", _announce_rows(raw / "announces.jsonl", network, start_ns))
    record.write_table(folder, "distances", _distance_rows(raw, network, start_ns))
    record.write_table(
        folder, "fidelity", ({**sample.row(), "t_ns": sample.t_ns - start_ns} for sample in samples)
    )


def _transfers(raw: Path, network: Network, start_ns: int) -> pa.Table:
    """All clients' blocks in order of time. Addresses are replaced by the numbers of their hosts."""
    hosts = [host.id for host in network.hosts]
    number = {int(IPv4Address(host.ip)): index for index, host in enumerate(network.hosts)}
    parts, receivers = [], []
    for index, host in enumerate(network.hosts):
        path = raw / f"{host.id}.transfers"
        if path.exists():
            rows = read_transfers(path)
            parts.append(rows)
            receivers.append(np.full(len(rows), index, np.int32))
    rows = np.concatenate(parts) if parts else np.empty(0, TRANSFER_DTYPE)
    receiver = np.concatenate(receivers) if receivers else np.empty(0, np.int32)
    order = np.argsort(rows["t_ns"], kind="stable")
    rows, receiver = rows[order], receiver[order]
    addresses, inverse = np.unique(rows["ip"], return_inverse=True)
    sender = np.array([number[int(ip)] for ip in addresses], np.int32)[inverse]

    def names(codes: Any) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(hosts, pa.string()))

    columns = {
        "t_ns": pa.array(rows["t_ns"] - start_ns, pa.int64()),
        "src": names(sender),
        "dst": names(receiver),
        **{name: pa.array(rows[name].copy(), pa.int32()) for name in ("bytes", "piece", "block")},
    }
    return pa.table(columns, schema=record.TABLES["transfers"])


def peer_rows(raw: Path, network: Network, client: str, start_ns: int) -> Iterator[dict[str, Any]]:
    """A row for each peer; one that left no record has nulls."""
    for host in network.hosts:
        if host.role not in ("leecher", "seed"):
            continue
        written = _peer_record(raw, host.id)
        times = {
            key: written[key] - start_ns if written.get(key) is not None else None
            for key in ("joined_ns", "first_byte_ns", "completed_ns", "left_ns")
        }
        errors = "; ".join(written.get("errors", [])) or None
        counts = {key: written.get(key) for key in ("bytes_down", "bytes_up", "bytes_wasted", "hash_ok")}
        yield {
            "host": host.id,
            "isp": host.isp,
            "pop": host.pop,
            "role": host.role,
            "client": written.get("client", client),
            "access": host.access,
            **times,
            **counts,
            "errors": errors,
        }


def _neighbour_rows(raw: Path, network: Network) -> Iterator[dict[str, Any]]:
    host_of = {host.ip: host.id for host in network.hosts}
    for host in network.hosts:
        for ip, (down, up) in _peer_record(raw, host.id).get("neighbours", {}).items():
            yield {"host": host.id, "neighbour": host_of[ip], "bytes_down": down, "bytes_up": up}


def _peer_record(raw: Path, host: str) -> dict[str, Any]:
    """What a client wrote of itself; empty where it wrote nothing (it never started, or crashed)."""
    path = raw / f"{host}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def link_rows(
    counters: Path, network: Network, start_ns: int, queues: Sequence[tuple[int, Queues]]
) -> Iterator[dict[str, Any]]:
    """A row for each poll of each link direction, counted from the last polls before the start.

    A host's uplink is what its switch port received; every other direction is what the port sent.
    """
    before = {key: state for t_ns, queue in queues if t_ns <= start_ns for key, state in queue.items()}
    first: dict[tuple[str, str], tuple[int, int]] = {}
    seen: dict[tuple[str, str], int] = defaultdict(int)
    for line in json_lines(counters):
        t_ns, pop = line["monotonic_ns"], line["pop"]
        for link_id, port in line.get("ports", {}).items():
            sent, received = (port[0], port[1]), (port[2], port[3])
            link = network.link_by_id[link_id]
            directions = [(pop, sent)]
            if link.kind == "access":
                directions.append((link.a, received))
            for source, (count, packets) in directions:
                key = (link_id, source)
                if t_ns <= start_ns:
                    first[key] = (count, packets)
                    continue
                base = first.get(key, (0, 0))
                # Both lists are in order of time, so the place only moves forward.
                while seen[key] < len(queues) and queues[seen[key]][0] <= t_ns:
                    seen[key] += 1
                state = queues[seen[key] - 1][1].get(key) if seen[key] else None
                drops_before = before[key].drops if key in before else 0
                yield {
                    "t_ns": t_ns - start_ns,
                    "link": link_id,
                    "direction": source,
                    "bytes": count - base[0],
                    "packets": packets - base[1],
                    "drops": state.drops - drops_before if state else None,
                    "backlog": state.backlog_bytes if state else None,
                }


def pair_rows(counters: Path, start_ns: int) -> Iterator[dict[str, Any]]:
    """A row for each poll of each switch and each ISP that sent it something, counted as in `link_rows`."""
    first: dict[tuple[str, str], tuple[int, int]] = {}
    for line in json_lines(counters):
        t_ns, pop = line["monotonic_ns"], line["pop"]
        for isp, (count, packets) in line.get("pairs", {}).items():
            if t_ns <= start_ns:
                first[pop, isp] = (count, packets)
                continue
            base = first.get((pop, isp), (0, 0))
            counted = {"bytes": count - base[0], "packets": packets - base[1]}
            if counted["packets"]:
                yield {"t_ns": t_ns - start_ns, "pop": pop, "src_isp": isp, **counted}


def switch_rows(counters: Path, start_ns: int) -> Iterator[dict[str, Any]]:
    """A row for each poll of each switch that says what it threw away, counted as in `link_rows`."""
    first: dict[str, tuple[int, int]] = {}
    by_meter: dict[str, dict[str, int]] = defaultdict(dict)  # one that is removed is not told of any more
    for line in json_lines(counters):
        t_ns, pop = line["monotonic_ns"], line["pop"]
        if "unrouted" not in line:
            continue
        for meter, (_, packets) in line.get("metered", {}).items():
            by_meter[pop][meter] = max(packets, by_meter[pop].get(meter, 0))
        metered = sum(by_meter[pop].values())
        if t_ns <= start_ns:
            first[pop] = (line["unrouted"], metered)
            continue
        base = first.get(pop, (0, 0))
        dropped = {"unrouted": line["unrouted"] - base[0], "metered": metered - base[1]}
        yield {"t_ns": t_ns - start_ns, "pop": pop, **dropped}


def _announce_rows(path: Path, network: Network, start_ns: int) -> Iterator[dict[str, Any]]:
    host_of = {host.ip: host.id for host in network.hosts}
    fields = record.TABLES["announces"].names
    for line in json_lines(path):
        row = {**line, "t_ns": line["t_ns"] - start_ns, "host": host_of.get(line["ip"], line["ip"])}
        yield {name: row[name] for name in fields}


def _distance_rows(raw: Path, network: Network, start_ns: int) -> Iterator[dict[str, Any]]:
    for host in network.hosts:
        if host.role == "portal":
            for line in json_lines(raw / f"{host.id}.distances.jsonl"):
                # Published before the start: in force from the start on.
                yield {**line, "isp": host.isp, "t_ns": max(0, line["t_ns"] - start_ns)}
