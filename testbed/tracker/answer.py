"""What the tracker sends back, bencoded: peers, scrape counts, or a failure reason.

In come peers and numbers, out bytes; bencoding is libtorrent's, which is imported here and nowhere else.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

import libtorrent

from testbed.tracker.swarm import Peer, Swarm


def announce_answer(
    peers: Sequence[Peer],
    *,
    interval_s: int,
    min_interval_s: int,
    complete: int,
    incomplete: int,
    compact: bool,
    with_peer_id: bool,
) -> bytes:
    """`peers` (6 bytes each, BEP 23) and `peers6` (18 each, BEP 7), or a list of dictionaries (BEP 3)."""
    return _bencoded(
        {
            "interval": interval_s,
            "min interval": min_interval_s,
            "complete": complete,
            "incomplete": incomplete,
            **(
                _compact(peers) if compact else {"peers": [_dictionary(peer, with_peer_id) for peer in peers]}
            ),
        }
    )


def scrape_answer(swarms: Mapping[bytes, Swarm]) -> bytes:
    """`files` of BEP 48: complete, incomplete and downloaded by info hash."""
    return _bencoded(
        {
            "files": {
                info_hash: {
                    "complete": swarm.complete,
                    "incomplete": swarm.incomplete,
                    "downloaded": swarm.downloaded,
                }
                for info_hash, swarm in swarms.items()
            }
        }
    )


def failure_answer(reason: str) -> bytes:
    """`failure reason` of BEP 3: a text for people."""
    return _bencoded({"failure reason": reason.encode()})


def _compact(peers: Sequence[Peer]) -> dict[str, bytes]:
    four = b"".join(_packed(socket.AF_INET, peer) for peer in peers if ":" not in peer.ip)
    six = b"".join(_packed(socket.AF_INET6, peer) for peer in peers if ":" in peer.ip)
    return {"peers": four, **({"peers6": six} if six else {})}


def _packed(family: int, peer: Peer) -> bytes:
    return socket.inet_pton(family, peer.ip) + peer.port.to_bytes(2, "big")


def _dictionary(peer: Peer, with_peer_id: bool) -> dict[str, Any]:
    place = {"ip": peer.ip.encode(), "port": peer.port}
    return {"peer id": peer.peer_id, **place} if with_peer_id else place


def _bencoded(value: Mapping[str, Any]) -> bytes:
    encoded: bytes = libtorrent.bencode(dict(value))
    return encoded
