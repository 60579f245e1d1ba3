"""Every metric on a trial that is small enough to compute by hand.

Two ISPs: `left` with PoPs a and b, `right` with PoP c. left.a--left.b is internal (10 Mbit/s),
left.b--right.c is transit that `left` buys (8 Mbit/s). Leechers: l1 at left.a, l2 at left.b, r1 and r2 at
right.c; the seed s is at right.c. Transfers (bytes): s -> l1 4000, s -> r1 2000, r1 -> r2 1000,
l1 -> l2 3000, in all 10000.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from synthetic_results import SECOND, TARIFF, core_link, host, isp, pop, with_hosts, write_trial

from testbed.analysis.load import load_trial
from testbed.analysis.metrics import accounting_doubts, measure, trial_rows
from testbed.errors import RunError
from testbed.topology.model import Direction, Network

S, R1, R2 = "right.c.seed1", "right.c.leecher1", "right.c.leecher2"
L1, L2 = "left.a.leecher1", "left.b.leecher1"
INNER, BORDER = "left.a--left.b", "left.b--right.c"


def small_network(tariff=TARIFF, relationship="customer-provider", pid_of_b=""):
    network = Network(
        "small",
        (isp("left", 1), isp("right", 2)),
        (pop("left", "a"), pop("left", "b", pid=pid_of_b), pop("right", "c")),
        (core_link("left.a", "left.b", 10), core_link("left.b", "right.c", 8, relationship, tariff)),
    )
    hosts = [host("right.c", "seed", 1), host("right.c", "leecher", 1), host("right.c", "leecher", 2)]
    return with_hosts(network, [*hosts, host("left.a", "leecher", 1), host("left.b", "leecher", 1)])


TRANSFERS = [
    {"t_ns": 1 * SECOND, "src": S, "dst": L1, "bytes": 4000},
    {"t_ns": 2 * SECOND, "src": S, "dst": R1, "bytes": 2000},
    {"t_ns": 3 * SECOND, "src": R1, "dst": R2, "bytes": 1000},
    {"t_ns": 4 * SECOND, "src": L1, "dst": L2, "bytes": 3000},
]
PEERS = [
    {"host": S, "completed_ns": None},
    {"host": L1, "joined_ns": 1 * SECOND, "completed_ns": 5 * SECOND},  # 4 s, 8000 bit/s
    {"host": L2, "joined_ns": 2 * SECOND, "completed_ns": 8 * SECOND},  # 6 s, 4000 bit/s
    {"host": R1, "joined_ns": 0, "completed_ns": 8 * SECOND},  # 8 s, 2000 bit/s
    {"host": R2, "joined_ns": 0, "completed_ns": None},
]


def counter(link, direction, *samples):
    """Samples (seconds, bytes[, packets])."""
    return [
        {"t_ns": int(at * SECOND), "link": link, "direction": direction, "bytes": total, "packets": sum(rest)}
        for at, total, *rest in samples
    ]


LINKS = [
    *counter(BORDER, "right.c", (0, 0), (10, 5_000_000)),
    *counter(BORDER, "left.b", (0, 0), (10, 1_000_000)),
    *counter(INNER, "left.a", (0, 0), (10, 3_000_000)),
    *counter(INNER, "left.b", (0, 0), (10, 4_000_000)),
]


@pytest.fixture
def values(tmp_path):
    """A function from parts of a trial to {(metric, scope): value}."""

    def compute(network=None, **parts):
        folder = tmp_path / "t1"
        given = {"manifest": {}, "transfers": TRANSFERS, "peers": PEERS, "links": LINKS, **parts}
        write_trial(folder, network or small_network(), **given)
        return {(row.metric, row.scope): row.value for row in trial_rows(measure(load_trial(folder)))}

    return compute


def test_completion_counts_those_that_finished_and_names_the_others(values):
    found = values()
    assert found["completion_s.mean", "all"] == 6
    assert found["completion_s.median", "all"] == 6
    assert found["completion_s.p95", "all"] == 8
    assert found["completion_s.max", "all"] == 8
    assert found["unfinished", "all"] == 1
    assert found["completion_s.mean", "isp:left"] == 5
    assert found["unfinished", "isp:right"] == 1
    assert found["completion_s", f"peer:{L2}"] == 6
    assert ("completion_s", f"peer:{R2}") not in found


def test_rates_and_fairness(values):
    found = values()
    assert found["rate_bps", "all"] == pytest.approx((8000 + 4000 + 2000) / 3)
    assert found["rate_bps", f"peer:{L1}"] == 8000
    assert found["fairness", "all"] == pytest.approx(14**2 / (3 * (64 + 16 + 4)))


def test_payload_is_split_by_where_the_sender_is(values):
    found = values()
    assert found["bytes_same_pid", "all"] == 3000  # s -> r1, r1 -> r2
    assert found["bytes_same_isp", "all"] == 3000  # l1 -> l2
    assert found["bytes_other_isp", "all"] == 4000
    assert found["locality", "all"] == pytest.approx(0.6)
    assert found["locality", "isp:left"] == pytest.approx(3 / 7)
    assert found["locality", "isp:right"] == 1


def test_a_pid_may_hold_several_pops(values):
    found = values(small_network(pid_of_b="left:a"))
    assert found["bytes_same_pid", "all"] == 6000
    assert found["bytes_same_isp", "all"] == 0


def test_links_crossed_per_byte_leave_out_access_links(values):
    found = values()
    assert found["unit_bdp", "all"] == pytest.approx((4000 * 2 + 3000 * 1) / 10000)
    assert found["unit_bdp", "isp:left"] == pytest.approx(11 / 7)
    assert found["unit_bdp", "isp:right"] == 0


def test_seeds_payload(values):
    found = values()
    assert found["server_bytes", "all"] == 6000


def test_interdomain_bytes_come_from_switches_in_both_directions(values):
    found = values()
    assert found["interdomain_bytes", "all"] == 6_000_000
    assert found["transit_bytes", "all"] == 6_000_000
    assert found["peering_bytes", "all"] == 0
    assert found["interdomain_bytes", f"link:{BORDER}"] == 6_000_000
    assert (
        found["interdomain_in_bytes", "isp:left"] == found["interdomain_out_bytes", "isp:right"] == 5_000_000
    )
    assert found["interdomain_out_bytes", "isp:left"] == 1_000_000


def test_peering_is_told_from_transit(values):
    found = values(small_network(tariff=None, relationship="peer-peer"))
    assert found["peering_bytes", "all"] == 6_000_000
    assert found["transit_bytes", "all"] == 0


def test_utilisation_is_that_of_the_busier_direction_while_active(values):
    found = values()
    assert found["max_utilisation", f"link:{BORDER}"] == pytest.approx(5e6 * 8 / (8e6 * 10))
    assert found["max_utilisation", f"link:{INNER}"] == pytest.approx(4e6 * 8 / (10e6 * 10))
    assert found["max_utilisation", "all"] == pytest.approx(0.5)


def change(at_s, link, forward_mbit_s, backward_mbit_s):
    ways = [
        {"rate_bps": int(rate * 1e6), "delay_s": 0.005, "loss": 0}
        for rate in (forward_mbit_s, backward_mbit_s)
    ]
    where = {"link": link, "forward": ways[0], "backward": ways[1]}
    return {"t_ns": int(at_s * SECOND), "event": "controller", "kind": "change", **where}


def test_utilisation_is_of_the_capacity_that_a_link_had_in_the_mean(values):
    # From right to left 8 Mbit/s for 4 s and 2 Mbit/s for 6 s: 4.4 in the mean.
    found = values(events=[change(4, BORDER, 8, 2)])
    assert found["max_utilisation", f"link:{BORDER}"] == pytest.approx(5e6 * 8 / (4.4e6 * 10))
    assert found["max_utilisation", f"link:{INNER}"] == pytest.approx(4e6 * 8 / (10e6 * 10))


def test_the_load_of_others_counts_in_the_utilisation(values):
    network = small_network()
    busy = Direction(8_000_000, background_bps=2_000_000)
    links = [
        replace(link, forward=busy, backward=busy) if link.id == BORDER else link for link in network.links
    ]
    found = values(replace(network, links=tuple(links)))
    assert found["max_utilisation", f"link:{BORDER}"] == pytest.approx((5e6 * 8 / 10 + 2e6) / 10e6)


def test_utilisation_leaves_out_what_came_before_the_swarm(values):
    links = counter(BORDER, "right.c", (0, 0), (5, 1_000_000), (10, 5_000_000))
    found = values(manifest={"active_ns": [5 * SECOND, 10 * SECOND]}, links=links)
    assert found["max_utilisation", f"link:{BORDER}"] == pytest.approx(4e6 * 8 / (8e6 * 5))


def test_the_customer_pays_for_the_95th_percentile_of_the_higher_direction(values):
    # 100 slots of 0.1 s. Right to left 4 slots of 1 MB, 96 of 10 kB: the 95th lowest has 10 kB, 0.8 Mbit/s.
    rates = [10_000] * 96 + [1_000_000] * 4
    down = [(0, 0)] + [((n + 1) / 10, sum(rates[: n + 1])) for n in range(100)]
    up = [(0, 0), (10, 500_000)]  # evenly: 5 kB a slot
    found = values(links=[*counter(BORDER, "right.c", *down), *counter(BORDER, "left.b", *up)])
    assert found["charge", "isp:left"] == pytest.approx(2.0 * 0.8)
    assert found["charge", "all"] == pytest.approx(1.6)
    assert ("charge", "isp:right") not in found


def test_without_a_tariff_there_is_no_bill(values):
    assert not [key for key in values(small_network(tariff=None)) if key[0] == "charge"]


def test_the_residual_is_nothing_where_headers_and_messages_explain_the_counters(values):
    blocks = [{"t_ns": SECOND, "src": S, "dst": L1, "bytes": 16384}] * 10
    peers = [{**row, "bytes_wasted": 16384 if row["host"] == L1 else 0} for row in PEERS]
    data = 11 * (16384 + 13) + 66 * 130  # one block more was received and thrown away
    asked = 11 * 17 + 66 * 70
    links = [
        *counter(BORDER, "right.c", (0, 0, 0), (10, data, 130)),
        *counter(BORDER, "left.b", (0, 0, 0), (10, asked, 70)),
        *counter(INNER, "left.b", (0, 0, 0), (10, 2 * data, 260)),  # as much again that no client reports
        *counter(f"{L1}--left.a", L1, (0, 0, 0), (10, asked, 70)),
        *counter(f"{L1}--left.a", "left.a", (0, 0, 0), (10, data, 130)),
    ]
    found = values(transfers=blocks, peers=peers, links=links)
    assert found["residual", "all"] == pytest.approx(0, abs=1e-9)
    assert found["residual", f"link:{BORDER}"] == pytest.approx(0, abs=1e-9)
    assert found["residual_access", "all"] == pytest.approx(0, abs=1e-9)
    assert found["residual_internal", "all"] == pytest.approx((data - 66 * 130) / (2 * data))


def test_what_was_wasted_counts_on_the_way_from_the_neighbour_that_sent_it(values):
    """L1 keeps as much of L2, its neighbour inside, as of S, but only S sent what was thrown away."""
    kept = [{"t_ns": SECOND, "src": src, "dst": L1, "bytes": 16384} for src in (S, L2)]
    peers = [{**row, "bytes_wasted": 16384 if row["host"] == L1 else 0} for row in PEERS]
    neighbours = [
        {"host": L1, "neighbour": S, "bytes_down": 2 * 16384},
        {"host": L1, "neighbour": L2, "bytes_down": 16384},
    ]
    border = 2 * (16384 + 13)
    links = [
        *counter(BORDER, "right.c", (0, 0, 0), (10, border + 66 * 30, 30)),
        *counter(BORDER, "left.b", (0, 0, 0), (10, 2 * 17 + 66 * 20, 20)),
    ]
    found = values(transfers=kept, peers=peers, neighbours=neighbours, links=links)
    assert found["residual", "all"] == pytest.approx(0, abs=1e-9)


@pytest.fixture
def doubts(tmp_path):
    """A function from a network and counters to what the accounting says against the trial."""

    def compute(network, links):
        write_trial(tmp_path / "t1", network, manifest={}, transfers=TRANSFERS, peers=PEERS, links=links)
        measured = measure(load_trial(tmp_path / "t1"))
        return accounting_doubts(measured, list(trial_rows(measured)))

    return compute


def test_traffic_between_isps_that_nobody_reports_speaks_against_a_trial(doubts):
    assert any("not explained" in doubt for doubt in doubts(small_network(), LINKS))


def test_a_few_bytes_between_isps_that_nobody_reports_do_not(doubts):
    borders = [
        *counter(BORDER, "right.c", (0, 0), (10, 500_000)),
        *counter(BORDER, "left.b", (0, 0), (10, 9)),
    ]
    inner = [row for row in LINKS if row["link"] == INNER]
    assert doubts(small_network(), [*borders, *inner]) == []


def test_a_network_of_one_isp_has_no_residual_between_isps_and_no_doubt_of_it(tmp_path):
    pops = (pop("left", "a"), pop("left", "b"))
    core = (core_link("left.a", "left.b", 10),)
    hosts = [host("left.a", "leecher", 1), host("left.b", "seed", 1)]
    network = with_hosts(Network("one", (isp("left", 1),), pops, core), hosts)
    rows = [{"t_ns": SECOND, "src": "left.b.seed1", "dst": L1, "bytes": 4000}]
    peers = [{"host": "left.b.seed1"}, {"host": L1, "completed_ns": 2 * SECOND}]
    counted = [row for row in LINKS if row["link"] == INNER]
    write_trial(tmp_path / "t1", network, manifest={}, transfers=rows, peers=peers, links=counted)
    measured = measure(load_trial(tmp_path / "t1"))
    found = list(trial_rows(measured))
    assert accounting_doubts(measured, found) == []
    assert not [row for row in found if row.metric == "residual"]


def test_traffic_that_nobody_reports_shows_in_the_residual(values):
    links = counter(BORDER, "right.c", (0, 0, 0), (10, 100_000, 100))
    found = values(transfers=[], links=links)
    assert found["residual", "all"] == pytest.approx((100_000 - 6600) / 100_000)


def test_a_trial_without_transfers_has_no_locality_and_no_division_by_zero(values):
    found = values(transfers=[], peers=[{"host": L1, "completed_ns": None}], links=[])
    assert found["unfinished", "all"] == 1
    assert found["interdomain_bytes", "all"] == 0
    assert not {("locality", "all"), ("unit_bdp", "all"), ("residual", "all")} & found.keys()


def test_a_host_that_the_topology_lacks_is_named(values):
    with pytest.raises(RunError, match="nowhere"):
        values(transfers=[{**TRANSFERS[0], "src": "nowhere"}])


# --- routes that changed in mid-trial --------------------------------------------------------------------


def triangle():
    """As `small_network`, with a second way from left.a to left.b, over left.top."""
    network = small_network()
    core = (core_link("left.a", "left.top", 10), core_link("left.top", "left.b", 10))
    pops = (*network.pops, pop("left", "top"))
    return replace(network, pops=pops, links=(*core, *network.links))


def routes(at_s, *failed):
    return {"t_ns": int(at_s * SECOND), "event": "controller", "kind": "routes", "failed": list(failed)}


CUT_AND_HEALED = [routes(0.5), routes(3.5, INNER), routes(4.5)]


def test_payload_is_accounted_to_the_routes_of_its_time(values):
    # L1 sends 3000 bytes to L2 at 4 s, when these have to take two links and not one.
    found = values(triangle(), events=CUT_AND_HEALED)
    assert found["unit_bdp", "all"] == pytest.approx((4000 * 2 + 3000 * 2) / 10000)
    assert found["unit_bdp", "isp:left"] == pytest.approx(14 / 7)
    assert found["completion_s.mean", "all"] == 6
    assert found["locality", "all"] == pytest.approx(0.6)


def test_a_link_that_failed_later_leaves_earlier_payload_where_it_was(values):
    found = values(triangle(), events=[routes(5, INNER)])
    assert found["unit_bdp", "all"] == pytest.approx((4000 * 2 + 3000 * 1) / 10000)


def blocks(*rows):
    """Blocks of 16 KiB as (second, from, to)."""
    return [{"t_ns": at * SECOND, "src": src, "dst": dst, "bytes": 16384} for at, src, dst in rows]


def test_the_residual_is_nothing_where_payload_took_other_links_for_a_while(values):
    data, asked = 16384 + 13, 17
    sent = blocks((2, L1, L2), (4, L1, L2), (4, L1, L2), (8, L1, L2))
    detour = "left.a--left.top", "left.top--left.b"
    links = [
        *counter(INNER, "left.a", (0, 0, 0), (10, 2 * data + 66 * 30, 30)),
        *counter(INNER, "left.b", (0, 0, 0), (10, 2 * asked + 66 * 20, 20)),
        *(row for link in detour for row in counter(link, link.split("--")[0], (0, 0, 0), (10, 2 * data, 0))),
        *(
            row
            for link in detour
            for row in counter(link, link.split("--")[1], (0, 0, 0), (10, 2 * asked, 0))
        ),
    ]
    found = values(triangle(), transfers=sent, links=links, events=CUT_AND_HEALED)
    assert found["residual_internal", "all"] == pytest.approx(0, abs=1e-9)


def test_what_was_wasted_is_spread_over_time_as_what_was_kept(values):
    data, asked = 16384 + 13, 17
    peers = [{**row, "bytes_wasted": 2 * 16384 if row["host"] == L2 else 0} for row in PEERS]
    # Two blocks were kept in each period, and one more came in each.
    sent = blocks((2, L1, L2), (2, L1, L2), (4, L1, L2), (4, L1, L2))
    detour = "left.a--left.top", "left.top--left.b"
    links = [
        *counter(INNER, "left.a", (0, 0, 0), (10, 3 * data, 0)),
        *counter(INNER, "left.b", (0, 0, 0), (10, 3 * asked, 0)),
        *(row for link in detour for row in counter(link, link.split("--")[0], (0, 0, 0), (10, 3 * data, 0))),
        *(
            row
            for link in detour
            for row in counter(link, link.split("--")[1], (0, 0, 0), (10, 3 * asked, 0))
        ),
    ]
    found = values(triangle(), transfers=sent, peers=peers, links=links, events=CUT_AND_HEALED[:2])
    assert found["residual_internal", "all"] == pytest.approx(0, abs=1e-9)


def test_a_trial_in_which_routes_were_confirmed_again_has_the_same_numbers(tmp_path):
    def rows(name, events):
        parts = {"manifest": {}, "transfers": TRANSFERS, "peers": PEERS, "links": LINKS, "events": events}
        write_trial(tmp_path / name, small_network(), **parts)
        return trial_rows(measure(load_trial(tmp_path / name)))

    assert rows("plain", []) == rows("again", [routes(1), routes(5)])
