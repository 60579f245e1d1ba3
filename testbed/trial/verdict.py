"""Why a finished trial may not be trusted, from its own record. Pure: tables in, reasons in words out.

An empty list of reasons makes the verdict `valid`, any reason `suspect`. What the machine did meanwhile is
judged by `testbed.emulation.fidelity`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from testbed.spec.units import format_rate
from testbed.topology.model import Network

LOSS_LIMIT = 0.001
"""Of the packets that a switch received, more than this may not be lost between its ports."""

RATE_TOLERANCE = 1.02
"""A link that carried more than this times its rate, over the swarm's life, was not shaped."""

_NAMED = 3


def doubts(
    network: Network,
    links: pa.Table,
    peers: pa.Table,
    transfers: pa.Table,
    content_bytes: int,
    unfinished: Sequence[str],
    timeout_s: float,
    active_ns: tuple[int, int],
) -> list[str]:
    """The reasons that a trial's tables give; `active_ns` is the time of the swarm since the start."""
    return [
        *_unfinished(unfinished, network, timeout_s),
        *_corrupt(peers),
        *_incomplete_records(peers, transfers, content_bytes),
        *_lossy_switches(network, links),
        *_fast_links(network, links, active_ns),
    ]


def _unfinished(unfinished: Sequence[str], network: Network, timeout_s: float) -> Iterator[str]:
    if unfinished:
        leechers = sum(host.role == "leecher" for host in network.hosts)
        yield (
            f"{len(unfinished)} of {leechers} leechers were not done within {timeout_s:.0f} s: "
            f"{_some(unfinished)}"
        )


def _corrupt(peers: pa.Table) -> Iterator[str]:
    corrupt = [row["host"] for row in peers.to_pylist() if row["hash_ok"] is False]
    if corrupt:
        yield f"downloads with a wrong hash: {_some(corrupt)}"


def _incomplete_records(peers: pa.Table, transfers: pa.Table, content_bytes: int) -> Iterator[str]:
    """Peers whose record has no end, and finished leechers whose logged blocks are not the whole content."""
    rows = peers.to_pylist()
    endless = [row["host"] for row in rows if row["left_ns"] is None]
    if endless:
        yield f"no complete record of {_some(endless)}"
    blocks = transfers.select(["dst", "piece", "block", "bytes"]).group_by(["dst", "piece", "block"])
    logged: dict[str, int] = defaultdict(int)
    for row in blocks.aggregate([("bytes", "max")]).to_pylist():
        logged[row["dst"]] += row["bytes_max"]
    partial = [
        row["host"]
        for row in rows
        if row["completed_ns"] is not None and logged[row["host"]] != content_bytes
    ]
    if partial:
        yield f"the block log of {_some(partial)} is not the whole content"


def _lossy_switches(network: Network, links: pa.Table) -> Iterator[str]:
    """Switches that lost packets for which no link's queue answers.

    Where a queue refuses a packet, Open vSwitch throws away what else it meant to send there in that moment,
    so as many again as the queues count are theirs too.
    """
    received: dict[str, int] = defaultdict(int)
    gone: dict[str, int] = defaultdict(int)
    for row in _last_rows(links):
        link = network.link_by_id[row["link"]]
        received[link.other(row["direction"])] += row["packets"]
        gone[row["direction"]] += row["packets"] + 2 * (row["drops"] or 0)
    for pop in network.pops:
        lost = received[pop.id] - gone[pop.id]
        if lost > LOSS_LIMIT * received[pop.id]:
            yield (
                f"the switch of {pop.id} lost {lost} of {received[pop.id]} packets beyond what queues dropped"
            )


def _fast_links(network: Network, links: pa.Table, active_ns: tuple[int, int]) -> Iterator[str]:
    seconds = (active_ns[1] - active_ns[0]) / 1e9
    for row in _last_rows(links):
        limit = network.link_by_id[row["link"]].direction(row["direction"]).rate_bps
        rate = row["bytes"] * 8 / seconds if seconds > 0 else 0.0
        if rate > RATE_TOLERANCE * limit:
            yield (
                f"link {row['link']} carried {format_rate(rate)} from {row['direction']}, and it is set to "
                f"{format_rate(limit)}"
            )


def _last_rows(links: pa.Table) -> list[dict[str, Any]]:
    """The last sample of each link direction; counters only grow."""
    last = {(row["link"], row["direction"]): row for row in links.to_pylist()}
    return list(last.values())


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" ..." if len(names) > _NAMED else "")
