"""Demand that follows prices alone: a model of swarms, to try what prices do to traffic.

In come the distances that a portal publishes, out comes what each PID takes from each other. The model never
sees a load or a capacity: all that it learns of the network is the cost of each source. `price_loop` and
`billed_loop` are portal and demand that answer each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from testbed.portal import pricing
from testbed.portal.config import PortalConfig
from testbed.portal.internal import InternalView

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEAST_SHARE = 1e-5


@dataclass(frozen=True, eq=False)
class Demand:
    """What W receivers take, each from K possible sources.

    `source` (W, K) and `target` (W,) are PIDs by number; `rate_bps` (W,) is what a receiver takes in all, and
    never changes; `share` (W, K) is what part of it comes from each source: positive, the sum of a row is 1.
    `elasticity` is how much the logarithm of a share changes in a step for a unit of distance.
    """

    source: Ints
    target: Ints
    rate_bps: Vector
    share: Matrix
    elasticity: float = 0.0

    @staticmethod
    def even(source: Ints, target: Ints, rate_bps: Vector) -> Demand:
        """Demand before anybody has seen a price: as much from each source."""
        return Demand(source, target, rate_bps, np.full(source.shape, 1 / source.shape[1]))

    def used_to(self, distances: Matrix, elasticity: float) -> Demand:
        """The same demand by receivers who take the mean of `distances` (n, n) for a usual distance.

        Of two sources that differ by as much, the ratio of shares falls by `elasticity`, about, in a step.
        """
        usual = distances[self.source, self.target[:, None]].mean()
        return replace(self, elasticity=elasticity / usual)

    def following(self, distances: Matrix) -> Demand:
        """The demand one step after `distances` (n, n) were published.

        share <- share * exp(-elasticity * distance), normalised: the mirror step of a receiver that pays by
        distance and changes little at a time, as a swarm does whose connections live for a while (Nemirovsky
        and Yudin 1983; Beck and Teboulle 2003). Every source keeps `LEAST_SHARE`, so that it can come back.
        """
        cost = distances[self.source, self.target[:, None]]
        nearest = cost.min(axis=1, keepdims=True)
        share = self.share * np.exp(-self.elasticity * (cost - nearest))
        share = np.maximum(share / share.sum(axis=1, keepdims=True), LEAST_SHARE)
        return replace(self, share=share / share.sum(axis=1, keepdims=True))

    def matrix_bps(self, pids: int) -> Matrix:
        """(n, n) from source to target, as `InternalView.link_traffic` takes it."""
        demand = np.zeros((pids, pids))
        np.add.at(demand, (self.source, self.target[:, None]), self.share * self.rate_bps[:, None])
        return demand

    def of_pairs(self, routing: Any) -> Any:
        """CSR (W * K, E): the rows of a view's routing matrix for each receiver and source."""
        pids = math.isqrt(routing.shape[0])
        return routing[(self.source * pids + self.target[:, None]).ravel()]

    def by_receiver(self) -> Any:
        """CSR (W, W * K) of ones: what all sources of a receiver send is what it takes."""
        receivers, sources = self.source.shape
        return sparse.kron(sparse.eye_array(receivers), np.ones((1, sources)), format="csr")


def random_demand(
    own: int, receivers: int, sources: int, rate_bps: float, rng: np.random.Generator
) -> Demand:
    """`receivers` among the `own` first PIDs in turn, each with so many random other PIDs to take from.

    Rates are uniform between a fifth of `rate_bps` and the whole.
    """
    target = rng.permutation(np.resize(np.arange(own), receivers))
    others: Sequence[Ints] = [np.delete(np.arange(own), pid) for pid in target]
    source = np.array([rng.choice(other, sources, replace=False) for other in others])
    return Demand.even(source, target, rng.uniform(0.2, 1.0, receivers) * rate_bps)


def price_loop(
    view: InternalView, demand: Demand, config: PortalConfig, updates: int, elasticity: float
) -> Iterator[Vector]:
    """(E,) traffic of links, update by update: demand sees the map, the portal measures and publishes."""
    prices = pricing.start(view, config.pricing)
    published = pricing.distances(view, prices, config).matrix
    demand = demand.used_to(published, elasticity)
    for _ in range(updates):
        demand = demand.following(published)
        traffic_bps = view.link_traffic(demand.matrix_bps(len(view.pids)))
        yield traffic_bps
        prices = pricing.update(view, prices, traffic_bps, config.pricing)
        published = pricing.distances(view, prices, config).matrix


@dataclass(frozen=True, eq=False)
class Period:
    """Rates in the slots of a billing period: of others by link (slots, links), of P2P in all (slots,)."""

    background_bps: Matrix
    p2p_bps: Vector

    def halves(self) -> tuple[Period, Period]:
        """The first half of the slots, and the rest."""
        half = len(self.p2p_bps) // 2
        return (
            Period(self.background_bps[:half], self.p2p_bps[:half]),
            Period(self.background_bps[half:], self.p2p_bps[half:]),
        )

    @staticmethod
    def synthetic(days: int, slots_a_day: int, links: int, rng: np.random.Generator) -> Period:
        """Days with a peak each, of every link at another hour, and noise that lasts for some slots.

        P2P is about as much as the background of one link and a half, with its peak in the evening.
        """
        slots = days * slots_a_day
        day = np.arange(slots) / slots_a_day

        def rate(mean_bps: float, peak: float, swing: float) -> Vector:
            noise = np.zeros(slots)
            for slot in range(1, slots):
                noise[slot] = 0.9 * noise[slot - 1] + rng.normal(0, 0.03)
            swings: Vector = mean_bps * (1 + swing * np.cos(2 * np.pi * (day - peak))) * np.exp(noise)
            return swings

        background = [
            rate(rng.uniform(12e6, 22e6), rng.uniform(0.4, 0.9), rng.uniform(0.4, 0.7)) for _ in range(links)
        ]
        return Period(np.column_stack(background), rate(30e6, 0.88, 0.5))


def billed_loop(
    view: InternalView, config: PortalConfig, before: Period, period: Period, elasticity: float
) -> Matrix:
    """The volumes (slots, links) of the ways into the ISP in `period`, which demand fills as prices say.

    The portal has seen `before`, a period without P2P, and the demand a full charge; prices are updated every
    `pricing.update_s`. Each own PID takes the same from outside, from any external PID; these have one way
    each, and the links of the periods are these ways.
    """
    into = np.flatnonzero(view.interdomain)[1::2]
    charging = config.pricing.charging
    whole_slots = config.pricing.model_copy(update={"update_s": charging.slot_s})
    nothing = np.zeros(len(view.ways))
    prices = pricing.start(view, config.pricing)
    charged = pricing.distances(view, prices, config).matrix
    for row in before.background_bps:
        prices = pricing.update(view, prices, nothing, whole_slots, _at(into, row, len(view.ways)))
    outside = np.arange(view.own, len(view.pids))
    demand = Demand.even(np.tile(outside, (view.own, 1)), np.arange(view.own), np.ones(view.own))
    demand = demand.used_to(charged, elasticity)
    published = pricing.distances(view, prices, config).matrix
    volumes = np.zeros_like(period.background_bps)
    updates = round(charging.slot_s / config.pricing.update_s)
    for slot, (row, p2p_bps) in enumerate(zip(period.background_bps, period.p2p_bps, strict=True)):
        demand = replace(demand, rate_bps=np.full(view.own, p2p_bps / view.own))
        background = _at(into, row, len(view.ways))
        for _ in range(updates):
            demand = demand.following(published)
            traffic_bps = view.link_traffic(demand.matrix_bps(len(view.pids)))
            volumes[slot] += (traffic_bps + background)[into] / updates
            prices = pricing.update(view, prices, traffic_bps, config.pricing, background)
            published = pricing.distances(view, prices, config).matrix
    return volumes


def _at(ways: npt.NDArray[np.intp], values: Vector, count: int) -> Vector:
    placed = np.zeros(count)
    placed[ways] = values
    return placed
