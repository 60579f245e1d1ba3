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
from testbed.trial.history import read_history
from testbed.trial.verdict import Guided, doubts

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
    events: tuple[dict[str, Any], ...] = (),
    thrown_away: dict[str, tuple[int, int]] | None = None,
) -> list[str]:
    """`thrown_away` has packets without a rule and over a meter's limit, by PoP."""
    active_ns = (0, 10 * SECOND)
    switches = [
        {"t_ns": SECOND, "pop": pop, "unrouted": unrouted, "metered": metered}
        for pop, (unrouted, metered) in (thrown_away or {}).items()
    ]
    return doubts(
        network,
        links(*rows),
        peers(hash_ok),
        blocks(),
        100,
        unfinished,
        60.0,
        active_ns,
        datapath,
        read_history(network, events),
        pa.Table.from_pylist(switches, schema=record.TABLES["switches"]),
    )


def noted(at_s: float, kind: str, **fields: Any) -> dict[str, Any]:
    """An event of the controller."""
    return {"t_ns": round(at_s * SECOND), "event": "controller", "kind": kind, **fields}


def border(at_s: float, mbit_s: float = 5, loss: float = 0.0) -> dict[str, Any]:
    """The link between two ISPs gets this rate and loss in both directions."""
    way = {"rate_bps": round(mbit_s * 1e6), "delay_s": 0.002, "loss": loss}
    return noted(at_s, "change", link=BORDER, forward=way, backward=way)


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


# --- what changed in mid-trial ---------------------------------------------------------------------------


def test_a_link_is_judged_by_the_rate_that_it_had_at_the_time(network: Network) -> None:
    # 5 Mbit/s are 625 kB a second, 1 Mbit/s are 125 kB.
    slower = border(5, 1)
    as_told = carried(*[625_000] * 5, *[125_000] * 5)
    assert found(network, *as_told, events=(slower,)) == []
    assert found(network, *carried(*[625_000] * 10), events=(slower,)) == [
        f"link {BORDER} carried 5 Mbit/s from left.one, and it is set to 3 Mbit/s in the mean"
    ]
    faster = border(5, 20)
    assert found(network, *carried(*[625_000] * 5, *[2_500_000] * 5), events=(faster,)) == []
    assert found(network, *carried(*[625_000] * 5, *[2_500_000] * 5)) != []


def test_a_change_that_is_noted_late_is_no_reason(network: Network) -> None:
    # Half a second at 1 Mbit/s was already at 5 when the line was written, and the other way round.
    late = carried(*[125_000] * 4, 375_000, *[625_000] * 5)
    assert found(network, *late, events=(border(0, 1), border(5, 5))) == []


def test_many_seconds_over_the_rate_of_the_time_are_named(network: Network) -> None:
    rows = carried(*[600_000] * 4, 0, 0, *[300_000] * 3, 0)
    (reason,) = found(network, *rows, events=(border(5, 1),))
    assert reason.startswith(f"link {BORDER} carried up to 2.38 Mbit/s from left.one in 3 of 10 seconds")


def test_drops_of_a_loss_that_came_in_mid_trial_are_no_reason(network: Network) -> None:
    rows = carried(*[10_000] * 10)
    for row in rows:
        # From the fifth second on one packet in a hundred is lost.
        seconds = row["t_ns"] // SECOND
        lost = max(0, seconds - 5)
        row.update(packets=row["bytes"] // 100, drops=lost if row["link"] == BORDER else 0)
    lossy = border(5, loss=0.01)
    assert found(network, *rows, events=(lossy,)) == []
    assert found(network, *rows) != []
    # Too many for that loss, in seconds when the queue was not full.
    for row in rows:
        row["drops"] *= 10
    assert found(network, *rows, events=(lossy,)) == [
        f"link {BORDER} dropped 50 packets from left.one while its queue was not full"
    ]


CUT = noted(4, "link", link=BORDER, state="down")
REROUTED = noted(4.2, "routes", failed=[BORDER])


def cut(lost: int) -> list[dict[str, Any]]:
    """A border of 5 Mbit/s that lost so many full frames at one end, of a thousand."""
    onward = 1000 - lost
    return [
        {**UP, "packets": 1000, "bytes": 1_500_000, "t_ns": 10 * SECOND},
        {**ACROSS, "packets": onward, "bytes": onward * 1500, "t_ns": 10 * SECOND},
        {**DOWN, "packets": onward, "bytes": onward * 1500, "t_ns": 10 * SECOND},
    ]


def lost(network: Network, count: int, *events: dict[str, Any]) -> list[str]:
    reasons = found(network, *cut(count), datapath="system", events=events)
    return [reason for reason in reasons if "lost" in reason]


def test_what_a_cut_link_can_have_lost_until_routes_followed_is_no_reason(network: Network) -> None:
    # 1.2 s at 5 Mbit/s are 750 kB, or 500 frames, and 62.5 kB are in its queue.
    assert lost(network, 400, CUT, REROUTED) == []
    assert lost(network, 400) != []
    assert lost(network, 400, border(0, 0.1), CUT, REROUTED) != []


def test_the_longer_routes_take_to_follow_the_more_may_be_lost(network: Network) -> None:
    late, slow = noted(9, "routes", failed=[BORDER]), border(0, 0.5)
    assert lost(network, 200, slow, CUT, REROUTED) != []
    assert lost(network, 200, slow, CUT, late) == []


def test_a_cut_elsewhere_explains_nothing_here(network: Network) -> None:
    other = noted(4, "link", link="right.only--carrier.edge", state="down")
    (reason,) = found(network, *cut(400), datapath="system", events=(other,))
    assert reason == "the switch of carrier.hub lost 400 of 1000 packets beyond what queues dropped"


def test_what_waited_in_the_queue_of_a_cut_link_is_no_reason(network: Network) -> None:
    rows = carried(*[10_000] * 10)
    for row in rows:
        if row["t_ns"] >= 5 * SECOND and row["link"] == BORDER:
            row.update(drops=7)
    assert found(network, *rows) != []
    assert found(network, *rows, events=(CUT, REROUTED)) == []


def test_packets_that_met_no_rule_are_a_reason_of_their_own(network: Network) -> None:
    rows = [
        {**UP, "packets": 1000, "bytes": 1_000_000},
        {**ACROSS, "packets": 950, "bytes": 950_000},
        {**DOWN, "packets": 950, "bytes": 950_000},
    ]
    assert found(network, *rows, thrown_away={"carrier.hub": (50, 0)}) == [
        "the switch of carrier.hub had no rule for 50 of 1000 packets"
    ]
    assert found(network, *rows, thrown_away={"carrier.hub": (50, 0)}, events=(CUT, REROUTED)) == []
    assert found(network, *rows, thrown_away={"carrier.hub": (15, 35)}) == []


def test_what_a_meter_dropped_is_no_loss_of_the_switch(network: Network) -> None:
    rows = [
        {**UP, "packets": 1000, "bytes": 1_000_000},
        {**ACROSS, "packets": 700, "bytes": 700_000},
        {**DOWN, "packets": 700, "bytes": 700_000},
    ]
    assert found(network, *rows, thrown_away={"carrier.hub": (0, 300)}) == []
    assert found(network, *rows, thrown_away={"carrier.hub": (0, 200)}) == [
        "the switch of carrier.hub lost 100 of 1000 packets beyond what queues dropped"
    ]


def test_a_meter_that_goes_may_have_dropped_what_came_since_it_last_told(network: Network) -> None:
    rows = [
        {
            "t_ns": second * SECOND,
            **where,
            "packets": 100 * second - lost,
            "bytes": 1000 * (100 * second - lost),
        }
        for second in range(1, 11)
        for where, lost in ((UP, 0), (ACROSS, 80 * (second >= 5)), (DOWN, 80 * (second >= 5)))
    ]
    gone = (noted(2, "meter", meter="m", state="set"), noted(4.5, "meter", meter="m", state="removed"))
    assert found(network, *rows, datapath="system", events=gone) == []
    (reason,) = found(network, *rows, datapath="system", events=gone[:1])
    assert reason.startswith("the switch of carrier.hub lost 80 of 1000")


def announces(*rows: tuple[int, bool, str]) -> pa.Table:
    named = [dict(zip(("numwant", "guided", "reason"), row, strict=True)) for row in rows]
    return pa.Table.from_pylist(named, schema=record.TABLES["announces"])


def test_answers_without_guidance_are_told_with_their_reasons() -> None:
    guided = Guided.of(announces((9, True, ""), (9, False, "closed"), (9, False, "closed"), (0, False, "")))
    assert guided.text() == "2 of 3 answers of the tracker had no guidance (closed 2)"
    assert not guided.none


def test_a_policy_that_never_had_guidance_is_told_from_one_that_needs_none() -> None:
    assert Guided.of(announces((9, False, "unreachable"), (0, False, ""))).none
    native = Guided.of(announces((9, False, "policy needs none")))
    assert (native.none, native.text()) == (False, "")
    assert not Guided.of(announces()).none
