"""ICMP time exceeded: bytes, and what gets no answer."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.controller.icmp import time_exceeded

GATEWAY_IP, GATEWAY_MAC = "10.1.0.1", "02:00:0a:01:00:01"
HOST_MAC = "02000a010002"


def answer(frame: bytes) -> bytes | None:
    return time_exceeded(frame, GATEWAY_IP, GATEWAY_MAC, 65)


def ip_frame(
    payload: bytes = b"\x13\x88\x1b\x59\x00\x0c\x00\x00" + b"ping",
    *,
    protocol: int = 17,
    source: str = "10.1.0.2",
    target: str = "10.2.0.9",
    options: bytes = b"",
    fragment: int = 0,
    version: int = 4,
    destination_mac: str = GATEWAY_MAC.replace(":", ""),
) -> bytes:
    header_words = 5 + len(options) // 4
    header = struct.pack(
        "!BBHHHBBH4s4s",
        *(version << 4 | header_words, 0, header_words * 4 + len(payload), 0x1234, fragment, 1, protocol, 0),
        *(IPv4Address(source).packed, IPv4Address(target).packed),
    )
    return bytes.fromhex(destination_mac + HOST_MAC + "0800") + header + options + payload


def ones_sum(data: bytes) -> int:
    """The Internet checksum's sum (RFC 1071); 0xffff over what holds its own checksum."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total > 0xFFFF:
        total = (total >> 16) + (total & 0xFFFF)
    return total


def test_the_answer_is_this_one_byte_by_byte() -> None:
    """Made by hand: checksums are 0xffff less the sums of the words beside them."""
    frame = ip_frame()
    quoted = bytes.fromhex("45000020 1234 0000 0111 0000 0a010002 0a020009 13881b59000c0000 70696e67")
    assert frame[14:] == quoted
    # 20 bytes of header and 8 + 32 of message; TTL 65, from the gateway to the sender.
    header = bytes.fromhex("4500003c 0000 0000 4101 65bd 0a010001 0a010002")
    message = bytes.fromhex("0b00 7ace 00000000") + quoted
    ethernet = bytes.fromhex("02000a010001 02000a010001 0800")
    assert answer(frame) == ethernet + header + message


@pytest.mark.parametrize("length", [8, 9, 20, 94])
def test_checksums_hold_for_even_and_odd_lengths(length: int) -> None:
    frame = ip_frame(bytes(range(length)))
    made = answer(frame)
    assert made is not None
    assert ones_sum(made[14:34]) == 0xFFFF
    assert ones_sum(made[34:]) == 0xFFFF
    assert struct.unpack("!H", made[16:18])[0] == len(made) - 14
    assert made[42:] == frame[14:]


def test_options_in_the_header_are_quoted_with_it() -> None:
    options = bytes.fromhex("9404000001010100")
    made = answer(ip_frame(options=options))
    assert made is not None
    assert made[14] == 0x45
    assert made[42 + 20 : 42 + 28] == options
    echo = ip_frame(b"\x08\x00" + bytes(6), protocol=1, options=options)
    assert answer(echo) is not None
    unreachable = ip_frame(b"\x03\x00" + bytes(6), protocol=1, options=options)
    assert answer(unreachable) is None


@pytest.mark.parametrize("kind", [0, 8, 13, 14, 15, 16])
def test_questions_of_icmp_are_answered(kind: int) -> None:
    assert answer(ip_frame(bytes([kind, 0]) + bytes(6), protocol=1)) is not None


@pytest.mark.parametrize("kind", [3, 4, 5, 11, 12])
def test_errors_of_icmp_are_not(kind: int) -> None:
    assert answer(ip_frame(bytes([kind, 0]) + bytes(6), protocol=1)) is None


@pytest.mark.parametrize(
    ("fragment", "answered"), [(0x4000, True), (0x2000, True), (1, False), (0x2001, False)]
)
def test_only_the_first_fragment_is_answered(fragment: int, answered: bool) -> None:
    assert (answer(ip_frame(fragment=fragment)) is not None) == answered


@pytest.mark.parametrize("source", ["224.0.0.1", "127.0.0.1", "0.0.0.0", "255.255.255.255"])
def test_what_no_single_host_sent_is_not_answered(source: str) -> None:
    assert answer(ip_frame(source=source)) is None


@pytest.mark.parametrize("target", ["224.0.0.251", "239.192.152.143", "255.255.255.255"])
def test_what_is_for_many_is_not_answered(target: str) -> None:
    """RFC 1122, section 3.2.2. The TTL of multicasts is 1 unless a program says otherwise (ip(7))."""
    assert answer(ip_frame(target=target)) is None


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        bytes(14),
        ip_frame()[:41],
        ip_frame(version=6),
        bytes(12) + b"\x08\x06" + bytes(28),
        bytes(12) + b"\x86\xdd" + bytes(40),
        ip_frame()[:14] + b"\x44" + ip_frame()[15:],
        ip_frame()[:14] + b"\x4f" + ip_frame()[15:],
    ],
    ids=["empty", "no packet", "short", "version 6", "ARP", "IPv6", "header too short", "header cut off"],
)
def test_what_is_no_packet_is_not_answered(frame: bytes) -> None:
    assert answer(frame) is None


@given(st.binary(max_size=200))
def test_no_bytes_break_it(frame: bytes) -> None:
    answer(frame)


@given(st.binary(min_size=20, max_size=114).map(lambda packet: b"\x46" + packet))
def test_any_packet_gets_a_whole_answer_or_none(packet: bytes) -> None:
    made = answer(bytes(12) + b"\x08\x00" + packet)
    if made is not None:
        assert made[42:] == packet
        assert ones_sum(made[14:34]) == ones_sum(made[34:]) == 0xFFFF
