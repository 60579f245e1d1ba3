"""Demand that follows prices alone: a model of swarms, to try what prices do to traffic.

In come the distances that a portal publishes, out comes what each PID takes from each other. The model never
sees a load or a capacity: all that it learns of the network is the cost of each source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

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
