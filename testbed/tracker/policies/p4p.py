"""The P4P policy: quotas for the requester's PID and ISP, PIDs weighted by the inverse of their p-distance.

Source: H. Xie et al., "P4P: Provider Portal for Applications", SIGCOMM 2008 (quotas 70 % and 80 %, weights
1/p, gamma 0.5); rounding, fallback and overload protection are those of the authors' appTracker library.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict, Field, model_validator

from testbed.tracker.guidance import Guidance
from testbed.tracker.policies import native
from testbed.tracker.swarm import Peer

_LEAST_WEIGHT = 1e-9  # of 1: a PID that is far away stays reachable, whatever the floats say


class Parameters(BaseModel):
    """The policy's parameters; the defaults are the paper's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    intra_pid_share: float = Field(
        default=0.7, ge=0, le=1, description="at most this share of the answer from the requester's own PID"
    )
    intra_isp_share: float = Field(
        default=0.8, ge=0, le=1, description="at most this share from its ISP, its own PID included"
    )
    gamma: float = Field(
        default=0.5, ge=0, le=4, description="exponent of the normalised weights 1/p; 0 ignores distances"
    )
    zero_distance_factor: float = Field(
        default=10.0,
        ge=1,
        allow_inf_nan=False,
        description="1/p of a PID at distance 0, as a multiple of that of the nearest PID that is not",
    )
    overload_factor: float | None = Field(
        default=1.5,
        ge=1,
        allow_inf_nan=False,
        description="a PID's share of the draws is at most this times its share of the peers; null: no limit",
    )

    @model_validator(mode="after")
    def _shares_are_cumulative(self) -> Parameters:
        if self.intra_isp_share < self.intra_pid_share:
            raise ValueError("intra_isp_share includes the own PID: it cannot be less than intra_pid_share")
        return self


_DEFAULTS = Parameters()


def pick(
    requester: Peer,
    candidates: Sequence[Peer],
    wanted: int,
    guidance: Guidance | None,
    rng: random.Random,
    parameters: Parameters = _DEFAULTS,
) -> list[Peer]:
    """min(wanted, len(candidates)) peers: own PID up to its quota, own ISP up to its, then other ISPs.

    Inside the last two classes a PID is drawn by weight, then a peer of it uniformly; an emptied PID is
    dropped. Without guidance the choice is native.
    """
    if guidance is None:
        return native.pick(requester, candidates, wanted, guidance, rng)
    same_pid, same_isp, other_isp = _classes(candidates, guidance)
    places = share_out(wanted, (len(same_pid), _size(same_isp), _size(other_isp)), parameters)
    return [
        *rng.sample(same_pid, places[0]),
        *_draw(same_isp, places[1], guidance, rng, parameters),
        *_draw(other_isp, places[2], guidance, rng, parameters),
    ]


def share_out(wanted: int, available: tuple[int, int, int], parameters: Parameters) -> tuple[int, int, int]:
    """Places for (same PID, same ISP, other ISPs) given how many candidates each class has.

    Quotas are cumulative and rounded as int(wanted * share + 0.5). Places that a class cannot fill go to the
    next class outward; places that are left when the outermost is exhausted come back inward, nearest to the
    outside first. The sum is min(wanted, sum(available)).
    """
    own_pid = min(available[0], _rounded(wanted * parameters.intra_pid_share))
    own_isp = min(available[1], _rounded(wanted * parameters.intra_isp_share) - own_pid)
    others = min(available[2], wanted - own_pid - own_isp)
    own_isp += min(available[1] - own_isp, wanted - own_pid - own_isp - others)
    own_pid += min(available[0] - own_pid, wanted - own_pid - own_isp - others)
    return own_pid, own_isp, others


def pid_weights(
    distances: Sequence[float | None], sizes: Sequence[int], parameters: Parameters
) -> list[float]:
    """The probability of each PID of one class to be drawn: 1/p, normalised, to the power gamma, normalised.

    `distances` are p-distances >= 0 from the requester's PID and `sizes` the numbers of candidates. A PID
    whose distance the portal does not give counts as the farthest one that it gives. Overload protection
    applies last, to the PIDs of this class and before the first draw: no probability exceeds overload_factor
    * size / sum of sizes, and what is cut off goes to the other PIDs in proportion, so that a few peers in a
    near PID are not given to all.
    """
    shares = _normalised(_inverse(distances, parameters.zero_distance_factor))
    weights = _normalised([share**parameters.gamma for share in shares])
    if parameters.overload_factor is None:
        return weights
    total = sum(sizes)
    return _capped(weights, [parameters.overload_factor * size / total for size in sizes])


def _inverse(distances: Sequence[float | None], zero_distance_factor: float) -> list[float]:
    """Weights in proportion to 1/p, at most zero_distance_factor; the nearest PID with p > 0 has 1."""
    nearest = min((p for p in distances if p), default=1.0)
    farthest = max((p for p in distances if p is not None), default=nearest)
    known = [farthest if p is None else p for p in distances]
    return [max(nearest / p, _LEAST_WEIGHT) if p else zero_distance_factor for p in known]


def _capped(weights: list[float], caps: list[float]) -> list[float]:
    """`weights` (sum 1) with none above its cap (sum >= 1), the excess spread over the rest in proportion."""
    capped: set[int] = set()
    while True:
        free = 1.0 - sum(caps[number] for number in capped)
        rest = sum(weight for number, weight in enumerate(weights) if number not in capped)
        scaled = [
            caps[number] if number in capped else weight * free / rest
            for number, weight in enumerate(weights)
        ]
        over = {number for number, weight in enumerate(scaled) if weight > caps[number] * (1 + 1e-12)}
        over -= capped
        if not over or len(capped | over) == len(weights):
            return scaled
        capped |= over


def _draw(
    pools: dict[str, list[Peer]], count: int, guidance: Guidance, rng: random.Random, parameters: Parameters
) -> list[Peer]:
    """`count` peers out of `pools`, the candidates of one class by PID; empties the pools as it goes."""
    pids = list(pools)
    distances = [guidance.distance(guidance.pid, pid) for pid in pids]
    weights = pid_weights(distances, [len(pools[pid]) for pid in pids], parameters) if pids else []
    drawn = []
    for _ in range(count):
        number = rng.choices(range(len(pids)), weights)[0]
        pool = pools[pids[number]]
        at = rng.randrange(len(pool))
        pool[at], pool[-1] = pool[-1], pool[at]
        drawn.append(pool.pop())
        if not pool:
            del pids[number], weights[number]
    return drawn


def _classes(
    candidates: Iterable[Peer], guidance: Guidance
) -> tuple[list[Peer], dict[str, list[Peer]], dict[str, list[Peer]]]:
    """Candidates of the requester's PID, and those of its ISP and of other ISPs by PID."""
    same_pid: list[Peer] = []
    same_isp: dict[str, list[Peer]] = {}
    other_isp: dict[str, list[Peer]] = {}
    for peer in candidates:
        pid = guidance.pid_of(peer.ip) or ""
        own = guidance.isp_of(peer.ip) == guidance.isp
        if own and pid == guidance.pid:
            same_pid.append(peer)
        else:
            (same_isp if own else other_isp).setdefault(pid, []).append(peer)
    return same_pid, same_isp, other_isp


def _size(pools: dict[str, list[Peer]]) -> int:
    return sum(map(len, pools.values()))


def _rounded(number: float) -> int:
    return int(number + 0.5)


def _normalised(weights: Sequence[float]) -> list[float]:
    total = sum(weights)
    return [weight / total for weight in weights]
