"""What announces do: peers come and go, the policy has its guidance or the record says why not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.portal.alto.reading import CostMap, NetworkMap
from testbed.portal.prefixes import PrefixTable
from testbed.tracker.announce import Limits, Tracker
from testbed.tracker.guidance import GuidanceBook, IspMaps
from testbed.tracker.policies import load
from testbed.tracker.query import Announce

SECOND_NS = 1_000_000_000
HASH = b"h" * 20


def cable_maps() -> IspMaps:
    """`cable` has the PIDs cable-a and cable-b; a third prefix of its own is in the map without a cost."""
    prefixes = [
        ("10.1.1.0/24", "cable-a"),
        ("10.1.2.0/24", "cable-b"),
        ("10.1.3.0/24", "new"),
        ("0.0.0.0/0", "world"),
    ]
    costs = {"cable-a": {"cable-a": 0.0, "cable-b": 2.0, "world": 100.0}, "cable-b": {"cable-b": 0.0}}
    return IspMaps(NetworkMap("tag", PrefixTable(prefixes)), CostMap("tag", costs))


def book() -> GuidanceBook:
    guidance = GuidanceBook(
        [("10.1.0.0/16", "cable"), ("10.2.0.0/16", "dsl"), ("10.3.0.0/16", "mute")], ["cable", "dsl"]
    )
    guidance.put("cable", cable_maps())
    return guidance


def tracker(policy: str = "p4p", guidance: GuidanceBook | None = None, max_numwant: int = 20) -> Tracker:
    return Tracker(load(policy, {}), guidance or book(), Limits(10, 5, max_numwant), seed=1)


def announce(ip: str, *, left: int = 1, event: str = "", numwant: int = 50) -> Announce:
    return Announce(
        info_hash=HASH,
        peer_id=ip.encode().ljust(20),
        ip=ip,
        port=6881,
        left=left,
        event=event,  # type: ignore[arg-type]
        numwant=numwant,
        compact=True,
        with_peer_id=True,
    )


def fill(served: Tracker) -> None:
    """Ten peers in each PID of cable, ten in dsl."""
    for prefix in ("10.1.1", "10.1.2", "10.2.0"):
        for number in range(10):
            served.announce(announce(f"{prefix}.{number + 1}"), 0)


def test_a_guided_answer_is_recorded_by_class() -> None:
    served = tracker(max_numwant=10)
    fill(served)
    picked, _, row = served.announce(announce("10.1.1.99", event="started"), 7)
    assert len(picked) == 10
    assert row == {
        "t_ns": 7,
        "ip": "10.1.1.99",
        "event": "started",
        "numwant": 50,
        "returned": 10,
        "same_pid": 7,
        "same_isp": 1,
        "other_isp": 2,
        "guided": True,
        "reason": "",
    }


def test_native_needs_no_guidance_but_its_classes_are_recorded_by_the_maps() -> None:
    served = tracker("native", max_numwant=30)
    fill(served)
    _, _, row = served.announce(announce("10.1.1.99"), 0)
    assert (row["same_pid"], row["same_isp"], row["other_isp"]) == (10, 10, 10)
    assert (row["guided"], row["reason"]) == (False, "policy needs none")


@pytest.mark.parametrize(
    ("ip", "reason", "same_isp"),
    [
        ("10.2.0.99", "no map yet", 10),
        ("10.3.0.99", "no portal", 0),
        ("192.0.2.1", "no portal", 0),
        ("10.1.3.99", "not in map", 20),
    ],
)
def test_without_guidance_the_record_says_why_and_classes_are_by_isp(
    ip: str, reason: str, same_isp: int
) -> None:
    served = tracker(max_numwant=30)
    fill(served)
    _, _, row = served.announce(announce(ip), 0)
    assert (row["guided"], row["reason"]) == (False, reason)
    assert (row["same_pid"], row["same_isp"], row["other_isp"]) == (0, same_isp, 30 - same_isp)
    assert served.reasons[reason] >= 1


def test_the_answer_has_at_most_what_the_tracker_allows_and_the_client_wants() -> None:
    served = tracker(max_numwant=4)
    fill(served)
    assert len(served.announce(announce("10.1.1.99"), 0)[0]) == 4
    assert len(served.announce(announce("10.1.1.99", numwant=2), 0)[0]) == 2
    assert served.announce(announce("10.1.1.99", numwant=0), 0)[0] == []


def test_a_peer_that_stops_leaves_and_gets_nobody() -> None:
    served = tracker()
    fill(served)
    picked, swarm, row = served.announce(announce("10.1.1.1", event="stopped"), 0)
    assert picked == []
    assert (len(swarm), row["returned"], row["guided"]) == (29, 0, False)


def test_a_completed_peer_becomes_a_seed_and_counts_as_a_download() -> None:
    served = tracker()
    fill(served)
    _, swarm, _ = served.announce(announce("10.1.1.1", left=0, event="completed"), 0)
    assert (swarm.complete, swarm.incomplete, swarm.downloaded) == (1, 29, 1)


def test_a_client_that_does_not_know_what_is_left_is_no_seed() -> None:
    served = tracker()
    _, swarm, _ = served.announce(replace(announce("10.1.1.1"), left=None), 0)
    assert (swarm.complete, swarm.incomplete) == (0, 1)


def test_peers_expire_after_two_intervals_and_empty_swarms_go() -> None:
    served = tracker()
    served.announce(announce("10.1.1.1"), 0)
    assert len(served.announce(announce("10.1.1.2"), 20 * SECOND_NS)[0]) == 1
    assert served.announce(announce("10.1.1.3"), 41 * SECOND_NS)[0] == []
    served.sweep(100 * SECOND_NS)
    assert served.swarms == {}


def test_the_same_seed_gives_the_same_answers() -> None:
    first, second = tracker(), tracker()
    for served in (first, second):
        fill(served)
    again = [served.announce(announce("10.1.1.99"), 0)[0] for served in (first, second)]
    assert again[0] == again[1]


def test_new_maps_replace_the_old_ones_and_a_reason_takes_them_away() -> None:
    guidance = book()
    assert guidance.view("10.1.1.1")[1] == ""
    guidance.put("cable", "unreachable")
    assert guidance.view("10.1.1.1") == (None, "unreachable")
    guidance.put("cable", cable_maps())
    view, _ = guidance.view("10.1.2.1")
    assert view is not None
    assert view.pid == "cable-b"
    assert view.distance("cable-b", "cable-a") is None
