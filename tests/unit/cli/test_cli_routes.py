"""`testbed routes`: the way of a pair, and a switch's rules in words, against the controller's own API."""

from __future__ import annotations

import json

import pytest
from running_network import RunningNetwork
from verbs import verb

from testbed.cli.rules import matched


@pytest.mark.usefixtures("net")
@pytest.mark.parametrize(
    ("source", "destination"), [("left.two.leecher1", "right.only"), ("10.2.2.2", "right.only.leecher1")]
)
def test_a_route_is_its_pops_and_the_links_between(source: str, destination: str) -> None:
    assert verb("routes", source, destination).lines == [
        f"{source} to {destination}: 5 PoPs, 4 links, 10.65 ms one way",
        "PoP           by link                       delay  state",
        "left.two",
        "left.one      left.one--left.two         1.307 ms     up",
        "carrier.hub   left.one--carrier.hub      2.884 ms     up",
        "carrier.edge  carrier.hub--carrier.edge  2.455 ms     up",
        "right.only    right.only--carrier.edge       4 ms     up",
    ]


@pytest.mark.usefixtures("net")
def test_hosts_of_one_pop_need_no_link() -> None:
    assert verb("routes", "carrier.hub.seed1", "carrier.hub").lines == [
        "carrier.hub.seed1 to carrier.hub: 1 PoP, 0 links"
    ]


@pytest.mark.usefixtures("net")
def test_a_pair_without_a_route_is_a_failure_that_names_the_cut() -> None:
    verb("link", "left.one--carrier.hub", "--down")
    done = verb("routes", "left.two", "right.only")
    assert (done.code, done.stdout) == (1, "")
    assert done.error == (
        "there is no route from left.two to right.only; down: left.one--carrier.hub\n"
        "  to mend it: heal a link: testbed link left.one--carrier.hub --up"
    )
    done = verb("routes", "left.two", "right.only", "--json")
    assert (done.code, json.loads(done.stdout)["reachable"]) == (1, False)


@pytest.mark.usefixtures("net")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("left.tow", "right.only"), "FROM: there is no PoP or host 'left.tow'"),
        (("left.two", "right.only.leecher"), "to mend it: did you mean 'right.only.leecher1'?"),
        (("left.two",), "testbed routes FROM TO, or testbed routes --rules POP"),
        ((), "testbed routes FROM TO, or testbed routes --rules POP"),
        (("left.two", "--rules", "left.one"), "testbed routes FROM TO, or testbed routes --rules POP"),
        (("--rules", "left.tow"), "--rules: there is no PoP 'left.tow'"),
    ],
)
def test_what_cannot_be_asked_is_said(arguments: tuple[str, ...], words: str) -> None:
    done = verb("routes", *arguments)
    assert (done.code, done.stdout) == (2, "")
    assert words in done.error


def rows(net: RunningNetwork, pop: str) -> list[tuple[str, str, str]]:
    """(table, packets, what becomes of them) of each rule of a switch, as printed into a pipe."""
    done = verb("routes", "--rules", pop, "--run", net.tag)
    at = [done.lines[0].index(heading) for heading in ("packets", "what")]
    lines = done.lines[1:]
    return [(line[: at[0]].strip(), line[at[0] : at[1]].strip(), line[at[1] :]) for line in lines]


def test_rules_say_what_becomes_of_which_packets(net: RunningNetwork) -> None:
    found = rows(net, "left.one")
    assert ("ADMIT", "ICMP echo request to 10.2.1.1", "made its answer, on to ROUTE") in found
    assert ("ADMIT", "IP from 10.3.0.0/16 to 10.2.1.0/24", "on to METER_OUT") in found
    assert ("ROUTE", "IP to 10.2.1.3", "to left.one.leecher1") in found
    assert ("ROUTE", "IP to 10.3.0.0/16", "to carrier.hub") in found
    assert found[-1] == ("ROUTE", "all else", "dropped")
    assert len(found) == len(net.fabric.programs["left.one"].rules)


def test_rules_say_what_a_meter_lets_pass(net: RunningNetwork) -> None:
    verb("meter", "slow", "--isp", "left", "--class", "udp:53", "--rate", "1.5 Mbit/s")
    limit = "at most 1.5 Mbit/s, on to METER_IN"
    assert ("METER_OUT", "UDP from 10.2.1.0/24 to port 53", limit) in rows(net, "left.one")
    assert not [row for row in rows(net, "carrier.hub") if row[2] == limit]


def test_a_match_without_words_of_ours_is_shown_as_it_is() -> None:
    assert matched({"eth_type": 0x86DD, "ip_dscp": 8}) == "type 0x86dd ip_dscp 8"
    assert matched({}) == "all else"
