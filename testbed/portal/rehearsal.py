"""Portal and demand that answer each other: the price loop without a network, for tests and benchmarks.

In come a `PortalConfig` and what is demanded, out comes the traffic that the links then carry; with the
problems that the loop is measured by. docs/pricing.md tells what it shows, and what it does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from testbed.portal import pricing
from testbed.portal.config import PortalConfig
from testbed.portal.elastic import Demand, random_demand
from testbed.portal.internal import InternalView
from testbed.portal.optimum import least_utilisation

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

NEIGHBOUR_PRICES = (10.0, 4.0, 6.0)
"""What the neighbours of `three_neighbours` charge for a Mbit/s."""


def random_problem(config: PortalConfig, seed: int, filled: float = 0.7) -> tuple[InternalView, Demand]:
    """Random background and demand whose least maximum utilisation is `filled`, or close to it."""
    rng = np.random.default_rng(seed)
    view = InternalView.of(config)
    demand = random_demand(view.own, (1, 2, 4)[seed % 3] * view.own, (3, 5, 8)[seed // 3 % 3], 1e6, rng)
    alone = least_utilisation(replace(view, background_bps=np.zeros(len(view.ways))), demand).value
    demand = replace(demand, rate_bps=demand.rate_bps * filled / alone)
    view = replace(view, background_bps=rng.uniform(0, 0.3, len(view.ways)) * view.capacity_bps)
    best = least_utilisation(view, demand).value
    return view, replace(demand, rate_bps=demand.rate_bps * filled / best)


def three_neighbours(period_slots: int, update_s: float = 30.0) -> PortalConfig:
    """An ISP of three PoPs, each with a neighbour of its own that bills it; slots of five minutes."""
    ways = zip("abc", NEIGHBOUR_PRICES, strict=True)
    return PortalConfig.model_validate(
        {
            "isp": "home",
            "listen": "127.0.0.1:0",
            "pids": [{"pid": pid, "prefixes": []} for pid in "abc"],
            "links": [{"a": "a", "b": "b"}, {"a": "b", "b": "c"}],
            "external": [{"pid": f"x{at}", "exit": at, "price": price} for at, price in ways],
            "pricing": {
                "objective": "multihoming",
                "update_s": update_s,
                "charging": {"period_slots": period_slots},
            },
        }
    )


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
        prices = pricing.update(view, prices, traffic_bps, config.pricing, config.pricing.update_s)
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
    nothing = np.zeros(len(view.ways))
    prices = pricing.start(view, config.pricing)
    charged = pricing.distances(view, prices, config).matrix
    for row in before.background_bps:
        background = _at(into, row, len(view.ways))
        prices = pricing.update(view, prices, nothing, config.pricing, charging.slot_s, background)
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
            prices = pricing.update(
                view, prices, traffic_bps, config.pricing, config.pricing.update_s, background
            )
            published = pricing.distances(view, prices, config).matrix
    return volumes


def _at(ways: npt.NDArray[np.intp], values: Vector, count: int) -> Vector:
    placed = np.zeros(count)
    placed[ways] = values
    return placed
