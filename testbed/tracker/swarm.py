"""Who is in a swarm: peers by address, their expiry, and whom a requester may be given.

In come announces with their time, out come candidates and counts. Times are CLOCK_MONOTONIC nanoseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Peer:
    """One address of a client. `complete` is true of a seed: it has all the content."""

    peer_id: bytes
    ip: str
    port: int
    complete: bool


@dataclass
class Swarm:
    """The peers of one torrent. An address is one peer: a client that restarts there replaces itself."""

    downloaded: int = 0
    _peers: dict[tuple[str, int], tuple[Peer, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return (peer for peer, _ in self._peers.values())

    @property
    def complete(self) -> int:
        """The number of seeds."""
        return sum(peer.complete for peer in self)

    @property
    def incomplete(self) -> int:
        """The number of leechers."""
        return len(self) - self.complete

    def put(self, peer: Peer, now_ns: int) -> None:
        """Add `peer`, or renew it. The dictionary stays in the order of the last announce, for `expire`."""
        self._peers.pop((peer.ip, peer.port), None)
        self._peers[peer.ip, peer.port] = (peer, now_ns)

    def remove(self, peer: Peer) -> None:
        """Forget `peer` if it is there."""
        self._peers.pop((peer.ip, peer.port), None)

    def count_download(self, peer: Peer) -> None:
        """Count a completed download (BEP 48), once for each peer however often it says so."""
        known = self._peers.get((peer.ip, peer.port))
        if known is None or not known[0].complete:
            self.downloaded += 1

    def expire(self, before_ns: int) -> None:
        """Forget the peers whose last announce was before `before_ns`."""
        while self._peers:
            oldest = next(iter(self._peers))
            if self._peers[oldest][1] >= before_ns:
                return
            del self._peers[oldest]

    def candidates(self, requester: Peer) -> list[Peer]:
        """Whom `requester` may be given: never itself, and a seed has no use for other seeds."""
        return [
            peer
            for peer in self
            if not (requester.complete and peer.complete)
            and peer.peer_id != requester.peer_id
            and (peer.ip, peer.port) != (requester.ip, requester.port)
        ]
