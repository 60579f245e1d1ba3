"""Queries as clients send them: binary values, defaults, and a reason for what is wrong."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.tracker.query import BadQuery, parse_announce, parse_scrape, plain_address

GOOD = {
    "info_hash": "%12%34%56%78%9a%bc%de%f1%23%45%67%89%ab%cd%ef%12%34%56%78%9a",
    "peer_id": "-LT2000-abcdefghijkl",
    "port": "6881",
    "uploaded": "0",
    "downloaded": "0",
    "left": "1000",
}


def query(**changes: str | None) -> str:
    return "&".join(f"{name}={value}" for name, value in (GOOD | changes).items() if value is not None)


@given(st.binary(min_size=20, max_size=20))
def test_any_info_hash_survives_percent_decoding(info_hash: bytes) -> None:
    raw = query(info_hash=quote_from_bytes(info_hash, safe=""))
    assert parse_announce(raw, "10.0.0.1").info_hash == info_hash
    assert parse_scrape("info_hash=" + quote_from_bytes(info_hash, safe="")) == [info_hash]


def test_a_plus_sign_is_a_plus_sign() -> None:
    assert parse_announce(query(peer_id="+" * 20), "10.0.0.1").peer_id == b"+" * 20


def test_what_a_client_leaves_out_has_the_protocols_default() -> None:
    announce = parse_announce(query(left=None), "10.0.0.1")
    assert (announce.event, announce.numwant, announce.left) == ("", 50, None)
    assert announce.compact
    assert announce.with_peer_id


def test_a_negative_numwant_means_the_default_and_zero_means_none() -> None:
    assert parse_announce(query(numwant="-1"), "10.0.0.1").numwant == 50
    assert parse_announce(query(numwant="0"), "10.0.0.1").numwant == 0


def test_the_address_is_the_packets_whatever_the_client_says() -> None:
    announce = parse_announce(query(ip="192.0.2.1", ipv4="192.0.2.1"), "::ffff:10.0.0.1")
    assert announce.ip == "10.0.0.1"
    assert plain_address("FE80::0:1%eth0") == "fe80::1"


def test_an_unknown_event_is_a_plain_announce() -> None:
    assert parse_announce(query(event="paused"), "10.0.0.1").event == ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"info_hash": None}, "info_hash is missing"),
        ({"info_hash": "%12%34"}, "info_hash is not 20 bytes"),
        ({"peer_id": "short"}, "peer_id is not 20 bytes"),
        ({"port": None}, "port is missing"),
        ({"port": "0"}, "port is not a number from 1 to 65535"),
        ({"port": "65536"}, "port is not a number from 1 to 65535"),
        ({"port": "9" * 5000}, "port is not a number from 1 to 65535"),
        ({"port": "%b2"}, "port is not a number from 1 to 65535"),
        ({"left": "-1"}, "left is not a number from 0"),
        ({"left": "lots"}, "left is not a number from 0"),
        ({"numwant": "many"}, "numwant is not a number from 0"),
    ],
)
def test_a_wrong_announce_is_refused_with_its_reason(changes: dict[str, str | None], reason: str) -> None:
    with pytest.raises(BadQuery, match=reason):
        parse_announce(query(**changes), "10.0.0.1")


@given(st.text())
def test_no_query_at_all_breaks_the_parser(raw: str) -> None:
    for parse in (lambda: parse_announce(raw, "10.0.0.1"), lambda: parse_scrape(raw)):
        with suppress(BadQuery):
            parse()
