"""What a PoP's router says of a packet whose TTL has ended on it: ICMP time exceeded (RFC 792). Pure."""

from __future__ import annotations

import ipaddress
import struct

from testbed.controller.openflow import ETH_IPV4, IP_ICMP

_ETHERNET_BYTES, _IP_BYTES, _ICMP_BYTES = 14, 20, 8
_TIME_EXCEEDED, _IN_TRANSIT = 11, 0
# Echo, timestamp and information requests and replies; all else is about another packet's trouble.
_QUESTIONS = {0, 8, 13, 14, 15, 16}
_FRAGMENT_OFFSET = 0x1FFF
_TO_MANY = 1  # the group bit of a MAC address


def time_exceeded(frame: bytes, gateway_ip: str, gateway_mac: str, ttl: int) -> bytes | None:
    """The frame that answers the beginning of an Ethernet `frame`, which it quotes; None where none is due.

    No answer goes to an ICMP error, to a fragment that is not the first, to what is for many, and to what no
    single host sent (RFC 1122, section 3.2.2).
    """
    packet = frame[_ETHERNET_BYTES:]
    if len(packet) < _IP_BYTES + _ICMP_BYTES or frame[12:14] != ETH_IPV4.to_bytes(2, "big"):
        return None
    header_bytes = (packet[0] & 0x0F) * 4
    (fragment,) = struct.unpack("!H", packet[6:8])
    source, target = ipaddress.IPv4Address(packet[12:16]), ipaddress.IPv4Address(packet[16:20])
    if (
        frame[0] & _TO_MANY
        or packet[0] >> 4 != 4
        or not _IP_BYTES <= header_bytes <= len(packet) - _ICMP_BYTES
        or fragment & _FRAGMENT_OFFSET
        or source.is_multicast
        or source.is_loopback
        or source.is_unspecified
        or source.is_reserved  # 240.0.0.0/4, with the broadcast address
        or target.is_multicast
        or target.is_reserved
        or (packet[9] == IP_ICMP and packet[header_bytes] not in _QUESTIONS)
    ):
        return None
    message = _with_checksum(struct.pack("!BBHI", _TIME_EXCEEDED, _IN_TRANSIT, 0, 0) + packet, 2)
    gateway = ipaddress.IPv4Address(gateway_ip).packed
    header = struct.pack(
        "!BBHHHBBH4s4s",
        *(0x45, 0, _IP_BYTES + len(message), 0, 0, ttl, IP_ICMP, 0, gateway, source.packed),
    )
    mac = bytes.fromhex(gateway_mac.replace(":", ""))
    return mac + mac + frame[12:14] + _with_checksum(header, 10) + message


def _with_checksum(data: bytes, at: int) -> bytes:
    """The data with the Internet checksum (RFC 1071) at that place, which holds zeros."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    checksum = int(total ^ 0xFFFF).to_bytes(2, "big")
    return data[:at] + checksum + data[at + 2 :]
