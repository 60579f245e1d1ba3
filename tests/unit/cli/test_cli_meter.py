"""`testbed meter`: throttles are listed, set, changed and removed, against the controller's own API."""

from __future__ import annotations

import json
import re

import pytest
from running_network import RunningNetwork
from verbs import verb

from testbed.cli.meter import class_text, traffic_class

SLOW = ("slow", "--isp", "left", "--class", "bittorrent", "--rate", "1 Mbit/s")


def test_a_meter_is_set_listed_changed_and_removed(net: RunningNetwork) -> None:
    assert verb("meter").lines == ["no traffic is throttled"]
    done = verb("meter", *SLOW)
    *table, effect = done.lines
    assert table == [
        "meter  at                class       direction      rate  dropped",
        "slow   each PoP of left  bittorrent  out        1 Mbit/s        –",
    ]
    assert re.fullmatch(r"in effect \d+ ms after it was asked", effect)
    verb("meter", *SLOW[:-1], "2 Mbit/s", "--pop", "left.two", "--direction", "in")
    net.poll("left.two", {}, metered={"slow": [99_000, 66]})
    assert verb("meter").lines[1:] == ["slow   left.two  bittorrent  in         2 Mbit/s  99.0 kB"]
    assert verb("meter", "slow", "--remove").lines[0] == "meter slow is removed"
    assert net.fabric.meters == {}


@pytest.mark.usefixtures("net")
def test_one_meter_is_shown_by_its_name_and_as_json() -> None:
    verb("meter", *SLOW)
    verb("meter", "web", *SLOW[1:4], "tcp:80", *SLOW[5:])
    assert [line.split()[0] for line in verb("meter", "web").lines] == ["meter", "web"]
    answer = json.loads(verb("meter", "web", "--json").stdout)
    assert answer["meters"]["web"]["class"] == {"protocol": "tcp", "port": 80}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("slow", "--isp", "left"), "a meter needs --class and --rate"),
        (SLOW[1:], "which meter?"),
        (("--remove",), "which meter?"),
        ((*SLOW, "--remove"), "--remove: a meter is either set or removed"),
        (("slow", "--remove"), "there is no meter 'slow'"),
        (("slow",), "there is no meter 'slow'"),
        ((*SLOW[:2], "lefd", *SLOW[3:]), "--isp: there is no ISP 'lefd'"),
        ((*SLOW, "--pop", "carrier.hub"), "--pop: ISP left has no PoP 'carrier.hub'"),
        ((*SLOW[:4], "sctp:80", *SLOW[5:]), "--class: 'sctp:80' is no class of traffic"),
        ((*SLOW[:-1], "1"), "--rate: 1 has no unit"),
        (("a/b", *SLOW[1:]), "a meter's name has"),
    ],
)
def test_what_cannot_be_asked_changes_nothing(
    net: RunningNetwork, arguments: tuple[str, ...], words: str
) -> None:
    done = verb("meter", *arguments)
    assert (done.code, done.stdout) == (2, "")
    assert words in done.error
    assert net.fabric.meters == {}


@pytest.mark.parametrize("text", ["bittorrent", "all", "tcp:80", "udp:65535"])
def test_a_class_is_read_and_written_alike(text: str) -> None:
    assert class_text(traffic_class(text)) == text
