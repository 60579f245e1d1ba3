"""The native policy: what a plain BitTorrent tracker does (BEP 3), peers uniformly at random.

It is the baseline of every comparison, and what other policies fall back to without guidance.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from testbed.tracker.guidance import Guidance
from testbed.tracker.swarm import Peer


def pick(
    requester: Peer,  # noqa: ARG001 - the signature of every policy
    candidates: Sequence[Peer],
    wanted: int,
    guidance: Guidance | None,  # noqa: ARG001
    rng: random.Random,
) -> list[Peer]:
    """A uniform sample without replacement of min(wanted, len(candidates)) peers."""
    return rng.sample(candidates, min(wanted, len(candidates)))
