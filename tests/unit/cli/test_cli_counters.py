"""`testbed counters`: who is busiest, who sends to whom, and what is left out."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from running_network import RunningNetwork
from verbs import verb

from testbed.cli.counters import not_routed, out_of_date

BETWEEN = "left.one--left.two"
TRANSIT = "left.one--carrier.hub"


@pytest.fixture
def busy(net: RunningNetwork) -> RunningNetwork:
    """left.one sends 4 Mbit/s of 20 to left.two, and 2 of 5 to its provider."""
    for second in (0, 1):
        ports = {BETWEEN: [500_000, 400, 0, 0, 0, 0], TRANSIT: [250_000, 200, 0, 0, 7, 0]}
        counted = {link: [second * value for value in values] for link, values in ports.items()}
        net.poll("left.one", counted, pairs={"right": [second * 1_000_000, second * 700]})
        net.poll("carrier.hub", {}, pairs={"left": [second * 125_000, second * 90]})
    return net


@pytest.mark.usefixtures("busy")
def test_directions_are_sorted_by_the_share_that_is_used() -> None:
    lines = verb("counters").lines
    assert lines[:3] == [
        "link                                now   share   bytes  dropped",
        "left.one → carrier.hub      2.00 Mbit/s  40.0 %  250 kB        7",
        "left.one → left.two         4.00 Mbit/s  20.0 %  500 kB        0",
    ]
    assert len(lines) == 9
    assert lines[3].split()[-4:] == ["–"] * 4


@pytest.mark.usefixtures("busy")
def test_only_the_busiest_are_shown_and_how_many_are_not() -> None:
    lines = verb("counters", "--top", "1").lines
    assert [lines[1].split()[0], lines[2]] == ["left.one", "and 7 less busy"]


def test_the_share_counts_the_background_load(busy: RunningNetwork) -> None:
    link = busy.fabric.links[TRANSIT]
    loaded = replace(link.forward, background_bps=15_000_000)
    busy.fabric.set_directions(TRANSIT, loaded, link.backward)
    assert "85.0 %" in verb("counters", "--top", "1").lines[1]


def test_a_link_that_is_down_says_so(busy: RunningNetwork) -> None:
    busy.fabric.port_is("left.one", TRANSIT, down=True)
    assert verb("counters", "--top", "1").lines[1].split()[5] == "down"


@pytest.mark.usefixtures("busy")
def test_pairs_are_a_matrix_where_there_is_room_and_a_list_elsewhere() -> None:
    assert verb("counters", "--pairs").lines == [
        "from      to carrier      to left  to right",
        "carrier            –            –         –",
        "left     1.00 Mbit/s            –         –",
        "              125 kB",
        "right              –  8.00 Mbit/s         –",
        "                          1.00 MB",
    ]
    assert verb("counters", "--pairs", "--top", "5").lines == [
        "from   to               now    bytes  packets",
        "right  left     8.00 Mbit/s  1.00 MB      700",
        "left   carrier  1.00 Mbit/s   125 kB       90",
    ]
    assert verb("counters", "--pairs", width=40).lines[0].split()[-1] == "packets"


@pytest.mark.usefixtures("busy")
def test_json_is_what_the_controller_says() -> None:
    answer = json.loads(verb("counters", "--json").stdout)
    assert answer["links"][TRANSIT]["left.one"]["bytes"] == 250_000


def test_packets_without_a_route_and_switches_that_are_silent_are_noted() -> None:
    assert not_routed({"a.x": 0}) == []
    assert not_routed({"a.x": 0, "a.y": 1200}) == ["without a route: 1,200 packets at a.y"]
    second = 1_000_000_000
    assert out_of_date({"a.x": 10 * second}, 12 * second) == []
    assert out_of_date({"a.x": 10 * second, "a.y": 11 * second}, 15 * second) == ["last counted: a.x 5 s ago"]
