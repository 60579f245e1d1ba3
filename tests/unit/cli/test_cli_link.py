"""`testbed link`: what it lists, changes and refuses, against the controller's own API."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import small_topology
from running_network import RunningNetwork
from verbs import verb

from testbed.cli.values import bytes_text, delay_text, loss_text, measured_rate

TRANSIT = "left.one--carrier.hub"


@pytest.mark.usefixtures("net")
def test_links_are_listed_by_kind_without_those_of_hosts() -> None:
    assert verb("link").lines == [
        "link                                   state       rate     delay  loss",
        "internal",
        "carrier.hub--carrier.edge              up     50 Mbit/s  2.455 ms   0 %",
        "left.one--left.two                     up     20 Mbit/s  1.307 ms   0 %",
        "customer-provider, the customer first",
        "left.one--carrier.hub                  up      5 Mbit/s  2.884 ms   0 %",
        "right.only--carrier.edge               up      5 Mbit/s      4 ms   0 %",
    ]


@pytest.mark.usefixtures("net")
def test_no_name_is_cut_in_a_pipe_and_no_line_is_wider_than_the_terminal() -> None:
    verb("link", TRANSIT, "--rate", "1.25 Mbit/s", "--from", "left.one")
    assert TRANSIT in verb("link").stdout
    narrow = verb("link", width=50).lines
    assert max(map(len, narrow)) <= 50


@pytest.mark.usefixtures("net")
def test_a_link_goes_down_and_up_and_it_says_when() -> None:
    done = verb("link", "carrier.hub--left.one", "--down")
    assert done.code == 0
    assert done.lines[2].split()[:2] == [TRANSIT, "down"]
    assert re.fullmatch(r"in effect \d+ ms after it was asked", done.lines[-1])
    assert verb("link", TRANSIT, "--up").lines[2].split()[:2] == [TRANSIT, "up"]


def test_both_directions_change_unless_one_is_named(net: RunningNetwork) -> None:
    verb("link", TRANSIT, "--rate", "2 Mbit/s", "--loss", "0.5 %")
    done = verb("link", TRANSIT, "--delay", "12 ms", "--from", "carrier.hub")
    link = net.fabric.links[TRANSIT]
    assert (link.forward.rate_bps, link.backward.rate_bps) == (2_000_000, 2_000_000)
    assert (link.forward.loss, link.backward.loss) == (0.005, 0.005)
    assert (link.forward.delay_s != 0.012, link.backward.delay_s) == (True, 0.012)
    assert "2 Mbit/s  → 2.884 ms  0.5 %" in done.lines[2]
    assert done.lines[3].strip() == "← 12 ms"


@pytest.mark.usefixtures("net")
def test_a_change_as_json_is_what_the_controller_says() -> None:
    answer = json.loads(verb("link", TRANSIT, "--rate", "2 Mbit/s", "--json").stdout)
    assert answer["forward"]["rate_bps"] == answer["backward"]["rate_bps"] == 2_000_000
    assert answer["effective_ns"] - answer["asked_ns"] >= 12_000_000


def test_one_link_is_shown_with_what_it_carries(net: RunningNetwork) -> None:
    net.poll("left.one", {TRANSIT: [0] * 6})
    net.poll("left.one", {TRANSIT: [125_000, 300, 0, 0, 7, 0]})
    assert verb("link", TRANSIT).lines == [
        "left.one--carrier.hub: customer-provider, up",
        "                 from left.one  from carrier.hub",
        "rate                  5 Mbit/s          5 Mbit/s",
        "delay                 2.884 ms          2.884 ms",
        "loss                       0 %               0 %",
        "carries now        1.00 Mbit/s                 –",
        "of its capacity         20.0 %                 –",
        "has carried             125 kB                 –",
        "packets                    300                 –",
        "dropped                      7                 –",
    ]
    counted = json.loads(verb("link", TRANSIT, "--json").stdout)["counters"]
    assert counted["left.one"]["bytes"] == 125_000


@pytest.mark.usefixtures("net")
def test_a_hosts_access_link_is_shown_by_its_name() -> None:
    assert verb("link", "left.one.leecher1--left.one").lines[0] == "left.one.leecher1--left.one: access, up"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("left.one--carrier.hbu", "--down"), "did you mean 'left.one--carrier.hub'?"),
        (("nonsense",), "`testbed link` lists all links"),
        (("--down",), "which link is to be changed?"),
        ((TRANSIT, "--rate", "3"), "--rate: 3 has no unit"),
        ((TRANSIT, "--rate", ""), "--rate: '' is not a quantity"),
        ((TRANSIT, "--loss", "100 %"), "--loss: '100 %' is too large"),
        ((TRANSIT, "--delay", "5 Mbit/s"), "--delay: '5 Mbit/s' has an unknown unit"),
        ((TRANSIT, "--down", "--from", "left.one"), "--from: a link goes up or down in both directions"),
        ((TRANSIT, "--from", "left.one"), "--from: nothing is to be changed in this direction"),
        (
            (TRANSIT, "--rate", "3 Mbit/s", "--from", "left.two"),
            "--from: link left.one--carrier.hub has no end 'left.two'\n  allowed: left.one, carrier.hub",
        ),
    ],
)
def test_what_cannot_be_asked_changes_nothing(
    net: RunningNetwork, place: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = verb("link", *arguments)
    assert (done.code, done.stdout) == (2, "")
    assert words in done.error
    assert net.fabric.network == small_topology.network(place)
    assert not net.fabric.failed


def test_numbers_have_the_digits_that_matter() -> None:
    assert [measured_rate(rate) for rate in (0, 999, 999_400, 999_700, 12_345_678, 2e9)] == [
        "0 bit/s",
        "999 bit/s",
        "999 kbit/s",
        "1.00 Mbit/s",
        "12.3 Mbit/s",
        "2.00 Gbit/s",
    ]
    assert [bytes_text(size) for size in (0, 1500, 173_412_345)] == ["0 B", "1.50 kB", "173 MB"]
    assert [delay_text(delay) for delay in (0, 0.00182012, 0.05, 1.5)] == [
        "0 ms",
        "1.82 ms",
        "50 ms",
        "1.5 s",
    ]
    assert [loss_text(loss) for loss in (0, 0.005, 0.125)] == ["0 %", "0.5 %", "12.5 %"]
