"""What an experiment's `events:` ask of whom, and when it is time for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_experiment
import small_topology

from testbed.errors import UserError
from testbed.portal.config import FaultsConfig
from testbed.trial.changes import Change, PortalFaults, Program, Request, due
from testbed.trial.plan import TrialPlan

NO_DELAY = small_topology.TEXT.replace("delay: 4 ms", "delay: 0 ms")


def plan(folder: Path, *entries: str, scale: float = 1.0, topology: str = small_topology.TEXT) -> TrialPlan:
    lines = "".join(f"  - {entry}\n" for entry in entries)
    changes = ("timeout: 60 s\n", f"timeout: 60 s\nevents:\n{lines}")
    return small_experiment.plans(folder, changes, scale=scale, topology=topology)[0]


def only(folder: Path, entry: str, scale: float = 1.0) -> Change:
    (change,) = plan(folder, entry, scale=scale).changes
    return change


def test_a_link_is_asked_for_by_its_id_whatever_the_order_of_its_ends(tmp_path: Path) -> None:
    entry = "{at: 3 s, link: carrier.hub--left.one, state: down, rate: [2 Mbit/s, 1 Mbit/s], loss: 1 %}"
    change = only(tmp_path, entry)
    assert change.action == Request(
        "patch",
        "/links/left.one--carrier.hub",
        {
            "state": "down",
            "forward": {"rate_bps": 1_000_000, "loss": 0.01},
            "backward": {"rate_bps": 2_000_000, "loss": 0.01},
        },
    )
    assert change.text == (
        "link left.one--carrier.hub: cut, rate 2 Mbit/s from carrier.hub and 1 Mbit/s from left.one, loss 1 %"
    )
    assert (change.number, change.at_s, change.when, change.lane) == (0, 3.0, None, "controller")
    assert change.spec["rate"] == ["2 Mbit/s", "1 Mbit/s"]


def test_a_state_alone_asks_for_nothing_else(tmp_path: Path) -> None:
    change = only(tmp_path, "{when: 50 %, link: left.one--left.two, state: up}")
    assert change.action == Request("patch", "/links/left.one--left.two", {"state": "up"})
    assert (change.text, change.at_s, change.when) == ("link left.one--left.two: healed", None, 0.5)


def test_meters_are_set_and_removed(tmp_path: Path) -> None:
    everywhere, at_one, gone = plan(
        tmp_path,
        "{at: 1 s, meter: slow, isp: left, class: bittorrent, rate: 1 Mbit/s}",
        "{at: 2 s, meter: slow, isp: left, pop: two, class: {protocol: tcp, port: 80}, direction: in, "
        "rate: 2 Mbit/s}",
        "{at: 3 s, meter: slow, state: removed}",
    ).changes
    assert everywhere.action == Request(
        "put",
        "/meters/slow",
        {"isp": "left", "class": "bittorrent", "direction": "out", "rate_bps": 1_000_000},
    )
    assert everywhere.text == "meter slow: BitTorrent out of left at 1 Mbit/s a PoP"
    assert at_one.action == Request(
        "put",
        "/meters/slow",
        {
            "isp": "left",
            "pop": "left.two",
            "class": {"protocol": "tcp", "port": 80},
            "direction": "in",
            "rate_bps": 2_000_000,
        },
    )
    assert at_one.text == "meter slow: TCP port 80 into left.two at 2 Mbit/s a PoP"
    assert gone.action == Request("delete", "/meters/slow")
    assert gone.text == "meter slow removed"


def test_programs_stop_and_start_each_in_a_lane_of_its_own(tmp_path: Path) -> None:
    planned = plan(
        tmp_path,
        "{at: 1 s, portal: left, state: down}",
        "{at: 2 s, portal: left, state: up}",
        "{at: 3 s, tracker: restart}",
        "{at: 4 s, controller: restart}",
        "{at: 5 s, adopts: right}",
    )
    assert [change.action for change in planned.changes] == [
        Program("stop", "left.one.portal"),
        Program("start", "left.one.portal"),
        Program("restart", "carrier.hub.tracker"),
        Program("restart", "controller"),
        Program("start", "right.only.portal"),
    ]
    assert [change.text for change in planned.changes] == [
        "portal of left stopped",
        "portal of left started again",
        "tracker restarted",
        "controller restarted",
        "right adopts P4P",
    ]
    assert len({change.lane for change in planned.changes}) == 4
    assert planned.adopters == {"right"}


def test_faults_of_a_portal_are_its_own_lane_and_complete(tmp_path: Path) -> None:
    change = only(tmp_path, "{at: 2 s, portal: left, faults: {inverted: true, delay: 200 ms}}")
    assert isinstance(change.action, PortalFaults)
    assert FaultsConfig.model_validate(change.action.faults) == FaultsConfig(inverted=True, delay_s=0.2)
    assert "seed" not in change.action.faults, "it is the trial's"
    assert change.lane == change.action.name == "left.one.portal"
    assert change.text == "portal of left has faults: delay, inverted"
    assert only(tmp_path, "{at: 2 s, portal: left, faults: {}}").text == "portal of left has faults: none"


def test_rates_and_times_follow_the_scale(tmp_path: Path) -> None:
    change = only(tmp_path, "{at: 6 s, link: left.one--left.two, rate: 2 Mbit/s, delay: 10 ms}", scale=0.25)
    assert isinstance(change.action, Request)
    assert change.action.body is not None
    assert change.action.body["forward"] == {"rate_bps": 500_000, "delay_s": 0.01}
    assert change.at_s == 24.0
    assert "rate 500 kbit/s" in change.text
    metered = only(tmp_path, "{when: 9 %, meter: m, isp: left, class: all, rate: 1 Mbit/s}", scale=0.25)
    assert isinstance(metered.action, Request)
    assert metered.action.body is not None
    assert metered.action.body["rate_bps"] == 250_000
    assert metered.when == 0.09


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "{at: 3 s, link: left.one--carrier.hob, state: down}",
            "tiny.yaml:16: there is no link 'left.one--carrier.hob': there is no PoP 'carrier.hob'\n"
            "  allowed: left.one--left.two, left.one--carrier.hub\n"
            "  to mend it: did you mean 'left.one--carrier.hub'?",
        ),
        (
            "{at: 3 s, link: right.only--carrier.edge, state: down, delay: 5 ms}",
            "tiny.yaml:16: link right.only--carrier.edge has no delay, and can't get one while it runs\n"
            "  to mend it: give it a delay in the topology's file, be it 0.1 ms",
        ),
    ],
)
def test_a_link_that_can_not_be_changed_so_is_said_with_its_line(
    tmp_path: Path, entry: str, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        plan(tmp_path, entry, topology=NO_DELAY)
    assert str(caught.value).replace(f"{tmp_path}/", "") == message


def test_events_and_the_controller_are_part_of_a_trials_id(tmp_path: Path) -> None:
    plain = small_experiment.plans(tmp_path)[0].id
    with_event = plan(tmp_path, "{at: 3 s, tracker: restart}").id
    later = plan(tmp_path, "{at: 4 s, tracker: restart}").id
    other = small_experiment.plans(tmp_path, ("timeout: 60 s", "timeout: 60 s\ncontroller: os-ken"))[0].id
    assert len({plain, with_event, later, other}) == 4


def change(number: int, at_s: float | None = None, when: float | None = None) -> Change:
    return Change(number, "", {}, at_s, when, Program("restart", "controller"))


def test_changes_are_due_when_their_time_or_their_share_has_come() -> None:
    waiting = [change(0, at_s=5.0), change(1, when=0.5)]
    assert due(waiting, 4.9, 0.49) == []
    assert due(waiting, 5.0, 0.49) == [waiting[0]]
    assert due(waiting, 4.9, 0.5) == [waiting[1]]


def test_changes_that_are_due_at_once_come_by_time_and_then_as_in_the_file() -> None:
    waiting = [change(0, at_s=7.0), change(1, when=0.1), change(2, at_s=6.0), change(3, at_s=7.0)]
    assert [item.number for item in due(waiting, 7.05, 0.2)] == [2, 0, 3, 1]
