"""What an announce does: it changes the swarm, the policy picks, the record gets a row.

In come checked announces with their time, out the picked peers and the row; no socket and no clock in here.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from testbed.tracker.guidance import NOT_NEEDED, GuidanceBook, classify
from testbed.tracker.policies import Policy
from testbed.tracker.query import Announce
from testbed.tracker.swarm import Peer, Swarm

log = logging.getLogger("tracker")


@dataclass(frozen=True)
class Limits:
    """How often clients come back and how many peers they get at most."""

    interval_s: int
    min_interval_s: int
    max_numwant: int


class Tracker:
    """All swarms, one policy, and the guidance that it picks by."""

    def __init__(self, policy: Policy, book: GuidanceBook, limits: Limits, seed: int) -> None:
        self.policy = policy
        self.limits = limits
        self.swarms: dict[bytes, Swarm] = {}
        self.reasons: Counter[str] = Counter()
        self._book = book
        self._rng = random.Random(seed)

    def announce(self, query: Announce, now_ns: int) -> tuple[list[Peer], Swarm, dict[str, Any]]:
        """Take part in a swarm. Returns the picked peers, the swarm, and the row of the announce log."""
        swarm = self.swarms.setdefault(query.info_hash, Swarm())
        swarm.expire(now_ns - self._lifetime_ns)
        requester = Peer(query.peer_id, query.ip, query.port, complete=query.left == 0)
        if query.event == "completed":
            swarm.count_download(requester)
        picked: list[Peer] = []
        reason = ""
        if query.event == "stopped":
            swarm.remove(requester)
        else:
            swarm.put(requester, now_ns)
            picked, reason = self._pick(requester, swarm, min(query.numwant, self.limits.max_numwant))
        return picked, swarm, self._row(query, picked, reason, now_ns)

    def sweep(self, now_ns: int) -> None:
        """Forget peers that do not come back, and swarms that nobody is in and nobody has downloaded."""
        for info_hash, swarm in list(self.swarms.items()):
            swarm.expire(now_ns - self._lifetime_ns)
            if not len(swarm) and not swarm.downloaded:
                del self.swarms[info_hash]

    @property
    def _lifetime_ns(self) -> int:
        """A peer may miss one announce: it is forgotten after two intervals."""
        return 2 * self.limits.interval_s * 1_000_000_000

    def _pick(self, requester: Peer, swarm: Swarm, wanted: int) -> tuple[list[Peer], str]:
        """The picked peers, and why the pick had no guidance ("" where it had)."""
        guidance, reason = self._book.view(requester.ip) if self.policy.uses_guidance else (None, NOT_NEEDED)
        self.reasons[reason or "guided"] += 1
        return self.policy.pick(requester, swarm.candidates(requester), wanted, guidance, self._rng), reason

    def _row(self, query: Announce, picked: list[Peer], reason: str, now_ns: int) -> dict[str, Any]:
        """A row of the announce log. Classes are by the maps under every policy, so that policies compare."""
        guidance, _ = self._book.view(query.ip)
        classes = classify(query.ip, (peer.ip for peer in picked), guidance, self._book.isp_of)
        return {
            "t_ns": now_ns,
            "ip": query.ip,
            "event": query.event,
            "numwant": query.numwant,
            "returned": len(picked),
            **asdict(classes),
            "guided": query.event != "stopped" and not reason,
            "reason": reason,
        }
