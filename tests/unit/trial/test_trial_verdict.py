from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
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
    network: Network,
    *rows: dict[str, Any],
    unfinished: tuple[str, ...] = (),
    hash_ok: bool | None = True,
    datapath: str = "netdev",
) -> list[str]:
    active_ns = (0, 10 * SECOND)
    return doubts(network, links(*rows), peers(hash_ok), blocks(), 100, unfinished, 60.0, active_ns, datapath)


UP = {"link": "carrier.hub.seed1--carrier.hub", "direction": "carrier.hub.seed1"}
ACROSS = {"link": BORDER, "direction": "carrier.hub"}
DOWN = {"link": "left.one.leecher1--left.one", "direction": "left.one"}


def test_nothing_speaks_against_a_trial_whose_switches_send_what_they_receive(network: Network) -> None:
    into = {**UP, "packets": 1000, "bytes": 1_000_000}
    out = {**ACROSS, "packets": 900, "bytes": 900_000, "drops": 100}
    onward = {**DOWN, "packets": 900, "bytes": 900_000}
    assert found(network, into, out, onward) == []


def test_a_switch_that_loses_packets_which_no_queue_dropped_is_named(network: Network) -> None:
    into, out = {**UP, "packets": 1000}, {**ACROSS, "packets": 990}
    assert found(network, into, out, {**DOWN, "packets": 990}) == [
        "the switch of carrier.hub lost 10 of 1000 packets beyond what queues dropped"
    ]


def test_a_userspace_switch_may_lose_as_many_again_as_full_queues_refuse(network: Network) -> None:
    into, out = {**UP, "packets": 1000}, {**ACROSS, "packets": 900, "drops": 50}
    rows = [{**row, "bytes": 100_000} for row in (into, out, {**DOWN, "packets": 900})]
    userspace, (reason,) = (
        [said for said in found(network, *rows, datapath=datapath) if "lost" in said]
        for datapath in ("netdev", "system")
    )
    assert userspace == []
    assert reason == "the switch of carrier.hub lost 50 of 1000 packets beyond what queues dropped"


def test_what_a_link_loses_at_random_allows_for_nothing_more(network: Network) -> None:
    lossy = losing(network, 0.2)
    into, out = {**UP, "packets": 10_000}, {**ACROSS, "packets": 8000, "drops": 2000}
    onward = {**DOWN, "packets": 8000}
    assert found(lossy, into, out, onward) == []
    (reason,) = found(lossy, into, {**out, "packets": 7500}, {**onward, "packets": 7500})
    # Of 9,500 at least 1,705 are lost at random: full queues may have refused 295, and 500 are gone.
    assert reason == "the switch of carrier.hub lost 205 of 10000 packets beyond what queues dropped"


def test_a_queue_that_overflows_on_a_lossy_link_is_allowed_as_many_again(network: Network) -> None:
    into, out = {**UP, "packets": 100_000}, {**ACROSS, "packets": 98_700, "drops": 1150}
    said = found(losing(network, 0.01), into, out, {**DOWN, "packets": 98_700})
    assert [reason for reason in said if "lost" in reason] == []


def losing(network: Network, loss: float) -> Network:
    """The same with a random loss from the carrier towards the left ISP."""
    links = tuple(
        replace(link, backward=replace(link.backward, loss=loss)) if link.id == BORDER else link
        for link in network.links
    )
    assert links != network.links
    return replace(network, links=links)


def test_a_switch_whose_packets_get_shorter_is_named(network: Network) -> None:
    into = {**UP, "packets": 1000, "bytes": 1_000_000}
    out = {**ACROSS, "packets": 1000, "bytes": 990_000}
    assert found(network, into, out, {**DOWN, "packets": 1000, "bytes": 990_000}) == [
        "the switch of carrier.hub lost 10000 of 1000000 bytes, and no queue dropped any"
    ]


def test_a_switch_that_sends_what_it_did_not_receive_is_named(network: Network) -> None:
    into = {**UP, "packets": 1000, "bytes": 1_000_000}
    out = {**ACROSS, "packets": 2000, "bytes": 2_000_000}
    assert found(network, into, out, {**DOWN, "packets": 2000, "bytes": 2_000_000}) == [
        "the switch of carrier.hub sent 1000000 bytes more than it received, 1000000"
    ]


def carried(*each_second: int) -> list[dict[str, Any]]:
    """Rows of the link between two ISPs that carried so many bytes in each second, from host to host."""
    into = {"link": "left.one.portal--left.one", "direction": "left.one.portal"}
    across = {"link": BORDER, "direction": "left.one"}
    out = {"link": "carrier.hub.seed1--carrier.hub", "direction": "carrier.hub"}
    return [
        {"t_ns": second * SECOND, "bytes": total, **where}
        for second, total in enumerate(accumulate(each_second, initial=0))
        for where in (into, across, out)
    ]


def test_a_link_that_carried_more_than_its_rate_was_not_shaped(network: Network) -> None:
    # 5 Mbit/s for 10 s are 6.25 MB
    assert found(network, *carried(*[650_000] * 10)) == [
        f"link {BORDER} carried 5.2 Mbit/s from left.one, and it is set to 5 Mbit/s"
    ]
    assert found(network, *carried(*[625_000] * 10)) == []


def test_what_a_queue_sends_when_the_swarm_has_ended_took_its_time(network: Network) -> None:
    # At 5 Mbit/s for 12 s, of which the swarm was active for 10.
    assert found(network, *carried(*[625_000] * 12)) == []
    assert found(network, *carried(*[650_000] * 12)) == [
        f"link {BORDER} carried 5.2 Mbit/s from left.one, and it is set to 5 Mbit/s"
    ]


def test_a_link_that_was_over_its_rate_in_many_seconds_is_named_with_the_most(network: Network) -> None:
    # 800 kB are 6.4 Mbit/s, of which one burst of two frames is allowed.
    reasons = found(network, *carried(800_000, 0, 800_000, *[100_000] * 7))
    assert reasons == [
        f"link {BORDER} carried up to 6.38 Mbit/s from left.one in 2 of 10 seconds, and it is set to 5 Mbit/s"
    ]
    assert found(network, *carried(800_000, *[100_000] * 9)) == []


def test_drops_of_a_queue_that_cannot_have_been_full_are_named(network: Network) -> None:
    # A tenth of a second at 5 Mbit/s: 62.5 kB fit into the queue.
    def reasons(*each_second: int) -> list[str]:
        rows = carried(*each_second)
        late = [row for row in rows if row["t_ns"] >= 6 * SECOND and row["link"] == BORDER]
        for row in late:
            row.update(drops=7)
        return found(network, *rows)

    assert reasons(*[10_000] * 10) == [
        f"link {BORDER} dropped 7 packets from left.one while its queue was not full"
    ]
    assert reasons(*[0] * 5, 70_000, *[0] * 4) == []


def test_drops_that_a_links_loss_explains_are_no_reason(network: Network) -> None:
    lossy = tuple(
        replace(link, forward=replace(link.forward, loss=0.01)) if link.id == BORDER else link
        for link in network.links
    )
    rows = carried(*[10_000] * 10)
    for row in rows:
        row.update(packets=row["bytes"] // 100, drops=row["bytes"] // 10_000 if row["link"] == BORDER else 0)
    assert found(network, *rows) != []
    assert found(replace(network, links=lossy), *rows) == []


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
        return doubts(network, links(), peers(True, SECOND), log, 100, (), 60.0, (0, 10 * SECOND), "netdev")

    assert reasons(blocks(60, 40)) == []
    assert reasons(blocks(60)) == [f"the block log of {LEECHER} is not the whole content"]
    twice = pa.concat_tables([blocks(60), blocks(60)])
    assert reasons(twice) == [f"the block log of {LEECHER} is not the whole content"]


def test_a_peer_that_left_no_complete_record_is_named(network: Network) -> None:
    gone = pa.Table.from_pylist([{"host": LEECHER}], schema=record.TABLES["peers"])
    found = doubts(network, links(), gone, blocks(), 100, (), 60.0, (0, 10 * SECOND), "netdev")
    assert found == [f"no complete record of {LEECHER}"]
