"""An ISP's view of its own inside: its links with what they carry, and the routes between its PIDs.

In comes a `PortalConfig`, out an `InternalView`, which sums what links cost along routes and turns demand
between PIDs into traffic on links. Routes are trees, one a destination, so that both take time that grows
with pairs of PoPs and not with the lengths of paths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from testbed.compiled import njit
from testbed.portal.config import ExternalConfig, LinkConfig, PortalConfig
from testbed.topology import routing_kernels
from testbed.topology.routing import WEIGHT_STEP

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]


def _weight(way: LinkConfig | ExternalConfig) -> tuple[float, float]:
    return way.weight if isinstance(way, LinkConfig) else (way.weight, way.weight)


_DISTANCE: dict[str, Callable[[LinkConfig | ExternalConfig], tuple[float, float]]] = {
    "weight": _weight,
    "hops": lambda way: (1.0, 1.0) if isinstance(way, LinkConfig) else (float(way.hops), float(way.hops)),
    "delay": lambda way: (1000 * way.delay_s[0], 1000 * way.delay_s[1]),
    "length": lambda way: (np.nan, np.nan) if way.length_km is None else (way.length_km, way.length_km),
    "cost": lambda way: _weight(way) if way.cost is None else way.cost,
}
"""d_e of a link there and back: as in the file, links, milliseconds, kilometres, as in the file."""


@dataclass(frozen=True, eq=False)
class Trees:
    """The routes of P PoPs and X external PIDs. A step is the number of a way.

    `step[d, i]` is the step from PoP i towards PoP d, -1 where i = d or without a route. `order[d]` lists the
    PoPs by how far they are from d, d first. `ends` is (links, 2), the PoPs at `a` and `b`; `arrives[s]` is
    the PoP where step s ends. `exit[x, i]` is the way by which PoP i leaves towards external PID x, -1
    without one, and `border[x, i]` the PoP where that way begins; what comes from x to i comes in there, by
    the way after it.
    """

    step: Int32
    order: Int32
    ends: Int32
    arrives: Int32
    exit: Int32
    border: Int32


@dataclass(frozen=True, eq=False)
class InternalView:
    """G = (V, E) of Xie et al. 2008: PIDs, ways with capacity, background and distance, and routes.

    A way is one direction of a link inside the ISP, or of an entry of `external`; there are E of them, each
    there and then back, in the order of the file. `ways[e]` is (the link's id, the PoP or external PID that
    it leaves). `link[e]` numbers the directed links: ways to several external PIDs that begin at one PoP with
    one link id share a link, which carries all their traffic. The n PIDs are the `own` ones, then external.

    `capacity_bps` is NaN where it is unknown, `hops` are the links that a way stands for, `distance` is d_e
    in the unit of `pricing.metric`, NaN for a length that is not known, `price_per_mbps` what a neighbour
    charges for one Mbit/s of the charging volume, 0 inside.

    Routes are those of `testbed.topology.routing`: shortest inside by weight in thousandths, of equal ones
    the link that comes first in the file. Out of the ISP, of the exits of least preference that a PoP reaches
    by links that are up it takes the nearest inside, of equally near ones that of the least weight, then the
    first of the file. From an external PID to a PoP traffic comes in where the PoP's own goes out, and takes
    the route inside from there. Between the PoPs of two PIDs traffic is split evenly over the pairs of PoPs
    that have a route.
    """

    pids: tuple[str, ...]
    own: int
    ways: tuple[tuple[str, str], ...]
    link: Int32
    capacity_bps: Vector
    background_bps: Vector
    delay_s: Vector
    loss: Vector
    hops: Vector
    distance: Vector
    interdomain: Bools
    price_per_mbps: Vector
    pid_of_pop: Int32
    trees: Trees

    @staticmethod
    def of(config: PortalConfig, failed: frozenset[str] = frozenset()) -> InternalView:
        """The view of `config` without the `failed` links (ids). The ways stay: only routes avoid them."""
        pops = [pop for entry in config.pids for pop in entry.places]
        number = {pop: index for index, pop in enumerate(pops)}
        inside, outside = config.links, config.external
        every = _entries(config)
        pids = (*(entry.pid for entry in config.pids), *config.external_pids())
        ways = [
            way
            for entry in every
            for way in (
                ((entry.id, entry.a), (entry.id, entry.b))
                if isinstance(entry, LinkConfig)
                else ((entry.id, entry.exit), (entry.id, entry.pid))
            )
        ]
        pid_of_pop = [index for index, entry in enumerate(config.pids) for _ in entry.places]
        return InternalView(
            pids=pids,
            own=len(config.pids),
            ways=tuple(ways),
            link=_shared_links(inside, outside),
            capacity_bps=_there_and_back([entry.capacity_bps or (np.nan, np.nan) for entry in every]),
            background_bps=_there_and_back([entry.background_bps for entry in every]),
            delay_s=_there_and_back([entry.delay_s for entry in every]),
            loss=_there_and_back([entry.loss for entry in every]),
            hops=_of_ways(config, "hops"),
            distance=_of_ways(config, config.pricing.metric),
            interdomain=np.repeat([isinstance(entry, ExternalConfig) for entry in every], 2).astype(bool),
            price_per_mbps=np.repeat(
                [entry.price if isinstance(entry, ExternalConfig) else 0.0 for entry in every], 2
            ).astype(float),
            pid_of_pop=np.array(pid_of_pop, np.int32),
            trees=_trees(number, inside, outside, config.external_pids(), failed),
        )

    def path_sums(self, values: Vector) -> Matrix:
        """(n, n): the sum of `values` (E,) over the ways of the route; of PIDs of several PoPs the mean.

        From a PoP to itself it is 0; NaN without a route, and between external PIDs.
        """
        inside, out, back = self._between_pops(np.asarray(values, float), least=False)
        if not self._one_pop_each:
            inside = self._mean(inside, self._pairs[0], self._members.T)
            out, back = (self._mean(part, self._pairs[1]) for part in (out, back))
        return self._joined(inside, out, back)

    def path_min(self, values: Vector) -> Matrix:
        """(n, n): the least of `values` (E,) over the ways of the route; of several PoPs the least pair.

        From a PoP to itself it is inf; NaN without a route, between external PIDs, and over a way that has
        NaN.
        """
        inside, out, back = self._between_pops(np.asarray(values, float), least=True)
        if not self._one_pop_each:
            pid = self.pid_of_pop
            inside = np.where(self._reachable, inside, np.inf)
            inside = _least_of(inside, (pid[:, None], pid[None, :]), self._pairs[0])
            column = np.arange(out.shape[1])
            exits = (self.trees.exit >= 0).T
            out, back = (
                _least_of(np.where(exits, part, np.inf), (pid[:, None], column[None, :]), self._pairs[1])
                for part in (out, back)
            )
        return self._joined(inside, out, back)

    def link_traffic(self, demand: Matrix) -> Vector:
        """(E,) what `demand` (n, n), in any unit of rate, puts on the link of each way.

        Ways that share a link both have all of its traffic. What has no route is carried by none, nor is what
        external PIDs send each other; NaN counts as 0.
        """
        traffic = self._way_traffic(np.nan_to_num(np.asarray(demand, float)))
        carried: Vector = np.bincount(self.link, weights=traffic).astype(float)[self.link]
        return carried

    def routing_matrix(self) -> Any:
        """I_e(i, j) as a SciPy CSR array (n * n, E): the share of the demand i -> j that takes way e.

        Row i * n + j; empty without a route. `path_sums(v)` is this times v where there is a route.
        """
        trees, n, pops, own = self.trees, len(self.pids), len(self.trees.step), self.own
        start, step = routing_kernels.expand(trees.ends, trees.step)
        paths = sparse.csr_array((np.ones(len(step)), step, start), shape=(pops * pops, len(self.ways)))
        pid = self.pid_of_pop.astype(np.int64)
        source, target = np.nonzero(self._reachable)
        rows = [pid[source] * n + pid[target]]
        columns = [source * pops + target]
        shares = [1 / self._pairs[0][pid[source], pid[target]]]
        outside, pop = np.nonzero(trees.exit >= 0)
        border = trees.border[outside, pop].astype(np.int64)
        exits = trees.exit[outside, pop].astype(np.int64)
        share = 1 / self._pairs[1][pid[pop], outside]
        there, back = pid[pop] * n + own + outside, (own + outside) * n + pid[pop]
        rows += [there, back]
        columns += [pop * pops + border, border * pops + pop]
        shares += [share, share]
        routes = _table(shares, rows, columns, (n * n, pops * pops)) @ paths
        crossing = _table([share, share], [there, back], [exits, exits + 1], (n * n, len(self.ways)))
        return sparse.csr_array(routes + crossing)

    @cached_property
    def _one_pop_each(self) -> bool:
        return len(self.pid_of_pop) == self.own

    @cached_property
    def _reachable(self) -> Bools:
        """(P, P), from the first to the second; a PoP reaches itself."""
        found: Bools = self.trees.step.T >= 0
        np.fill_diagonal(found, True)
        return found

    @cached_property
    def _members(self) -> Matrix:
        """(own, P): 1 where the PoP is of the PID."""
        members = np.zeros((self.own, len(self.pid_of_pop)))
        members[self.pid_of_pop, np.arange(len(self.pid_of_pop))] = 1
        return members

    @cached_property
    def _pairs(self) -> tuple[Matrix, Matrix]:
        """How many pairs of PoPs with a route two PIDs have: own -> own, own -> external."""
        exits = (self.trees.exit >= 0).T.astype(float)
        if self._one_pop_each:
            return self._reachable.astype(float), exits
        members = self._members
        return members @ self._reachable.astype(float) @ members.T, members @ exits

    def _between_pops(self, values: Vector, *, least: bool) -> tuple[Matrix, Matrix, Matrix]:
        """Along routes PoP -> PoP (P, P), PoP -> external (P, X), and external -> PoP, also as (P, X)."""
        trees, pops = self.trees, len(self.trees.step)
        inside = np.full((pops, pops), np.nan)
        (_least_along if least else _sum_along)(trees.order, trees.step, trees.arrives, values, inside)
        each = np.arange(pops)
        known = trees.exit >= 0
        # One more value, so that the -1 of "no exit" finds NaN.
        padded = np.append(values, np.nan)
        exits = np.where(known, trees.exit, -1)
        entries = np.where(known, trees.exit + 1, -1)
        # np.minimum keeps NaN.
        joined = np.minimum if least else np.add
        out = joined(inside[trees.border, each], padded[exits])
        back = joined(inside[each, trees.border], padded[entries])
        return inside.T, out.T, back.T

    def _mean(self, part: Matrix, pairs: Matrix, members: Matrix | None = None) -> Matrix:
        """Of a matrix of PoPs that of PIDs, by rows, and by columns too where `members` is given.

        A NaN value counts as none where there is no route, and is kept where there is one.
        """
        routed = self._reachable if members is not None else (self.trees.exit >= 0).T
        total = self._members @ np.where(routed, part, 0.0)
        if members is not None:
            total = total @ members
        mean: Matrix = np.divide(total, pairs, out=np.full(total.shape, np.nan), where=pairs > 0)
        return mean

    def _joined(self, inside: Matrix, out: Matrix, back: Matrix) -> Matrix:
        """(n, n) of (own, own), and of own -> external and back, both (own, X)."""
        own, n = self.own, len(self.pids)
        if n == own:
            return inside
        joined = np.full((n, n), np.nan)
        joined[:own, :own] = inside
        joined[:own, own:] = out
        joined[own:, :own] = back.T
        return joined

    def _way_traffic(self, demand: Matrix) -> Vector:
        """(E,) without what others put on a shared link."""
        own, trees, pid = self.own, self.trees, self.pid_of_pop
        inside = demand[:own, :own]
        if not self._one_pop_each:
            inside = np.divide(inside, self._pairs[0], out=np.zeros((own, own)), where=self._pairs[0] > 0)
            inside = inside[np.ix_(pid, pid)]
        towards = np.array(inside.T, order="C")  # a row for each destination; the kernel writes into it
        traffic = np.zeros(len(self.ways))
        outside, pop = np.nonzero(trees.exit >= 0)
        border, exits = trees.border[outside, pop], trees.exit[outside, pop]
        share = 1 / self._pairs[1][pid[pop], outside]
        out = demand[pid[pop], own + outside] * share
        back = demand[own + outside, pid[pop]] * share
        np.add.at(towards, (border, pop), out)
        np.add.at(towards, (pop, border), back)
        np.add.at(traffic, exits, out)
        np.add.at(traffic, exits + 1, back)
        _load_along(trees.order, trees.step, trees.arrives, towards, traffic)
        return traffic


def _of_ways(config: PortalConfig, metric: str) -> Vector:
    read = _DISTANCE[metric]
    return _there_and_back([read(entry) for entry in _entries(config)])


def _entries(config: PortalConfig) -> tuple[LinkConfig | ExternalConfig, ...]:
    return (*config.links, *config.external)


def _there_and_back(pairs: Sequence[tuple[float, float]]) -> Vector:
    return np.array(pairs, float).reshape(-1)


def _shared_links(inside: Sequence[LinkConfig], outside: Sequence[ExternalConfig]) -> Int32:
    """The number of each way's directed link. A link without an id is shared by none."""
    number: dict[object, int] = {}
    keys: list[object] = [("inside", index) for index in range(len(inside))]
    keys += [(way.id, way.exit) if way.id else ("outside", index) for index, way in enumerate(outside)]
    return np.array(
        [number.setdefault((key, side), len(number)) for key in keys for side in (0, 1)], np.int32
    )


def _trees(
    number: dict[str, int],
    inside: Sequence[LinkConfig],
    outside: Sequence[ExternalConfig],
    external: Sequence[str],
    failed: frozenset[str],
) -> Trees:
    pops = len(number)
    ends = np.array([[number[link.a], number[link.b]] for link in inside], np.int32).reshape(-1, 2)
    weights = np.array([link.weight for link in inside]).reshape(-1, 2)
    thousandths = np.maximum(1, np.rint(weights / WEIGHT_STEP)).astype(np.int64)
    up = np.flatnonzero([link.id not in failed for link in inside])
    one_block = routing_kernels.Blocks.of(np.zeros(pops, np.int32))
    step, distance = routing_kernels.shortest_inside(up, ends, thousandths, one_block)
    distance = distance.reshape(pops, pops)

    exits = np.full((len(external), pops), -1, np.int32)
    border = np.zeros((len(external), pops), np.int32)
    # Sorted by weight, and equal ones as in the file: argmin takes the first of the nearest.
    candidates = sorted(range(len(outside)), key=lambda index: outside[index].weight)
    reached = distance < routing_kernels.UNREACHABLE
    farther_than_all = 1 + distance[reached].max(initial=0)
    for row, pid in enumerate(external):
        entries = [k for k in candidates if outside[k].pid == pid and outside[k].id not in failed]
        if not entries:
            continue
        at = np.array([number[outside[k].exit] for k in entries], np.int32)
        preference = np.array([outside[k].preference for k in entries], np.int64)
        away = distance[at] + preference[:, None] * farther_than_all
        away[~reached[at]] = routing_kernels.UNREACHABLE
        nearest = np.argmin(away, axis=0)
        known = reached[at[nearest], np.arange(pops)]
        way = 2 * (len(inside) + np.array(entries, np.int32)[nearest])
        exits[row] = np.where(known, way, -1)
        border[row] = np.where(known, at[nearest], 0)
    return Trees(
        step=step,
        order=np.argsort(distance, axis=1, kind="stable").astype(np.int32),
        ends=ends,
        arrives=np.ascontiguousarray(ends[:, ::-1]).reshape(-1),
        exit=exits,
        border=border,
    )


def _least_of(part: Matrix, where: tuple[Any, Any], pairs: Matrix) -> Matrix:
    """The least of each group of entries; NaN where the group has no route, or an entry that has NaN."""
    least = np.full(pairs.shape, np.inf)
    np.minimum.at(least, where, part)
    least[pairs == 0] = np.nan
    return least


def _table(
    shares: Sequence[Vector], rows: Sequence[Any], columns: Sequence[Any], shape: tuple[int, int]
) -> Any:
    return sparse.csr_array(
        (np.concatenate(shares), (np.concatenate(rows), np.concatenate(columns))), shape=shape
    )


# Distances between different PoPs are positive, so `order` lists what a route passes before what it serves.
@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sum_along(order: Any, step: Any, arrives: Any, values: Any, sums: Any) -> None:
    for destination in range(len(order)):
        row, towards = sums[destination], step[destination]
        row[destination] = 0.0
        for place in range(1, len(order)):
            pop = order[destination, place]
            taken = towards[pop]
            if taken < 0:
                break
            row[pop] = row[arrives[taken]] + values[taken]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _least_along(order: Any, step: Any, arrives: Any, values: Any, least: Any) -> None:
    for destination in range(len(order)):
        row, towards = least[destination], step[destination]
        row[destination] = np.inf
        for place in range(1, len(order)):
            pop = order[destination, place]
            taken = towards[pop]
            if taken < 0:
                break
            value, onward = values[taken], row[arrives[taken]]
            # A comparison with NaN is false: the sum is NaN where either is.
            row[pop] = min(value, onward) if value == value and onward == onward else value + onward


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _load_along(order: Any, step: Any, arrives: Any, demand: Any, traffic: Any) -> None:
    """Carry what PoPs have for a destination one step on, from the far ones to the near ones."""
    for destination in range(len(order)):
        row, towards = demand[destination], step[destination]
        for place in range(len(order) - 1, 0, -1):
            pop = order[destination, place]
            taken = towards[pop]
            if taken >= 0:
                traffic[taken] += row[pop]
                row[arrives[taken]] += row[pop]
