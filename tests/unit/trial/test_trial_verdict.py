from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import small_topology

from testbed.topology.model import Network
from testbed.trial import record
from testbed.trial.verdict import doubts

SECOND = 10**9
BORDER = "left.one--carrier.hub"
LEECHER = "left.one.leecher1"


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return small_topology.network(tmp_path)


def links(*rows: dict[str, Any]) -> pa.Table:
    base = {"t_ns": SECOND, "bytes": 0, "packets": 0, "drops": 0, "backlog": 0}
    return pa.Table.from_pylist([{**base, **row} for row in rows], schema=record.TABLES["links"])


def peers(hash_ok: bool | None, completed_ns: int | None = None) -> pa.Table:
    return pa.Table.from_pylist(
        [{"host": LEECHER, "hash_ok": hash_ok, "left_ns": SECOND, "completed_ns": completed_ns}],
        schema=record.TABLES["peers"],
    )


def blocks(*sizes: int) -> pa.Table:
    """Blocks of one piece that the leecher kept, in order."""
    rows = [
        {"t_ns": 0, "src": "s", "dst": LEECHER, "bytes": size, "piece": 0, "block": number}
        for number, size in enumerate(sizes)
    ]
    return pa.Table.from_pylist(rows, schema=record.TABLES["transfers"])


def found(
    network: Network, *rows: dict[str, Any], unfinished: tuple[str, ...] = (), hash_ok: bool | None = True
) -> list[str]:
    return doubts(network, links(*rows), peers(hash_ok), blocks(), 100, unfinished, 60.0, (0, 10 * SECOND))


def test_nothing_speaks_against_a_trial_whose_switches_send_what_they_receive(network: Network) -> None:
    into = {"link": "carrier.hub.seed1--carrier.hub", "direction": "carrier.hub.seed1", "packets": 1000}
    out = {"link": BORDER, "direction": "carrier.hub", "packets": 900, "drops": 100}
    onward = {"link": "left.one.leecher1--left.one", "direction": "left.one", "packets": 900}
    assert found(network, into, out, onward) == []


def test_a_switch_that_loses_packets_which_no_queue_dropped_is_named(network: Network) -> None:
    into = {"link": "carrier.hub.seed1--carrier.hub", "direction": "carrier.hub.seed1", "packets": 1000}
    out = {"link": BORDER, "direction": "carrier.hub", "packets": 990}
    onward = {"link": "left.one.leecher1--left.one", "direction": "left.one", "packets": 990}
    assert found(network, into, out, onward) == [
        "the switch of carrier.hub lost 10 of 1000 packets beyond what queues dropped"
    ]


def test_a_link_that_carried_more_than_its_rate_was_not_shaped(network: Network) -> None:
    # 5 Mbit/s for 10 s are 6.25 MB
    row = {"link": BORDER, "direction": "left.one", "bytes": 6_500_000}
    assert found(network, row) == [
        f"link {BORDER} carried 5.2 Mbit/s from left.one, and it is set to 5 Mbit/s"
    ]
    assert found(network, {**row, "bytes": 6_250_000}) == []


def test_only_the_last_sample_of_a_counter_counts(network: Network) -> None:
    row = {"link": BORDER, "direction": "left.one"}
    assert found(network, {**row, "bytes": 10}, {**row, "t_ns": 2 * SECOND, "bytes": 20}) == []


def test_leechers_that_were_not_done_are_counted_and_named(network: Network) -> None:
    assert found(network, unfinished=("left.one.leecher1", "left.two.leecher1")) == [
        "2 of 3 leechers were not done within 60 s: left.one.leecher1, left.two.leecher1"
    ]


def test_a_download_with_a_wrong_hash_is_named(network: Network) -> None:
    assert found(network, hash_ok=False) == ["downloads with a wrong hash: left.one.leecher1"]
    assert found(network, hash_ok=None) == []


def test_a_finished_leecher_whose_block_log_is_not_the_whole_content_is_named(network: Network) -> None:
    def reasons(log: pa.Table) -> list[str]:
        return doubts(network, links(), peers(True, SECOND), log, 100, (), 60.0, (0, 10 * SECOND))

    assert reasons(blocks(60, 40)) == []
    assert reasons(blocks(60)) == [f"the block log of {LEECHER} is not the whole content"]
    twice = pa.concat_tables([blocks(60), blocks(60)])
    assert reasons(twice) == [f"the block log of {LEECHER} is not the whole content"]


def test_a_peer_that_left_no_complete_record_is_named(network: Network) -> None:
    gone = pa.Table.from_pylist([{"host": LEECHER}], schema=record.TABLES["peers"])
    found = doubts(network, links(), gone, blocks(), 100, (), 60.0, (0, 10 * SECOND))
    assert found == [f"no complete record of {LEECHER}"]
