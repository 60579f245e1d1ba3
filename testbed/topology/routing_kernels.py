"""The arithmetic of routes, compiled with numba: arrays in, arrays out, no names.

PoPs, ISPs and core links are numbers. Step 2 k leaves end `a` of link k, step 2 k + 1 leaves `b`; `next_step`
is (PoPs, PoPs) int32, a row for each destination, so that all that happens towards one destination lies
together in memory. Each kernel works on a range of rows without the interpreter's lock; a thread for each
core takes its share of the ranges.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from testbed.compiled import njit

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

UNREACHABLE = np.iinfo(np.int64).max
CUSTOMER, PEER, PROVIDER = 0, 1, 2
"""What a neighbour is to an ISP, best first: a customer pays, a peer is free, a provider costs."""

_SMALL = 100
"""Fewer rows than this are quicker without threads."""


@dataclass(frozen=True)
class Blocks:
    """PoPs by part, a part being an ISP or what is connected of it. Distances inside a part of n PoPs are n²
    numbers from `distance_start[part]` on.

    `pops` lists PoPs by part, those of a part from `start[part]` on; `part` and `place` (its number among the
    PoPs of its part) are by PoP.
    """

    part: Int32
    place: Int32
    pops: Int32
    start: Int32
    distance_start: Int64

    @staticmethod
    def of(part_of_pop: Int32) -> Blocks:
        sizes = np.bincount(part_of_pop)
        start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        pops = np.argsort(part_of_pop, kind="stable").astype(np.int32)
        place = np.empty(len(part_of_pop), np.int32)
        place[pops] = np.arange(len(pops)) - start[part_of_pop[pops]]
        distance_start = np.concatenate([[0], np.cumsum(sizes.astype(np.int64) ** 2)])
        return Blocks(part_of_pop, place, pops, start, distance_start)


@dataclass(frozen=True)
class PartGraph:
    """Parts and their neighbours, as CSR: those of part i from `start[i]` to `start[i + 1]`.

    They stand by kind (customers, peers, providers), then by ASN; `peers_at[i]` and `providers_at[i]` are
    where the next kind begins. `isp` is the ISP of each part; `split` says that one ISP has several.
    `customers_first` lists parts so that each comes after all of its customers.
    """

    neighbour: Int32
    start: Int32
    peers_at: Int32
    providers_at: Int32
    isp: Int32
    split: bool
    customers_first: Int32

    @staticmethod
    def of(
        neighbours: Sequence[Mapping[int, int]],
        customers_first: Sequence[int],
        isp: Sequence[int],
        asn: Sequence[int],
    ) -> PartGraph:
        """`neighbours[i]` maps the neighbours of part i to what they are to it; `asn` is by ISP."""
        rows = [sorted(around, key=lambda j: (around[j], asn[isp[j]], j)) for around in neighbours]
        start = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
        fewer_than = {
            kind: start[:-1] + [sum(k < kind for k in around.values()) for around in neighbours]
            for kind in (PEER, PROVIDER)
        }
        return PartGraph(
            neighbour=np.array([j for row in rows for j in row], np.int32),
            start=start.astype(np.int32),
            peers_at=fewer_than[PEER].astype(np.int32),
            providers_at=fewer_than[PROVIDER].astype(np.int32),
            isp=np.array(isp, np.int32),
            split=len(set(isp)) < len(isp),
            customers_first=np.array(customers_first, np.int32),
        )


@dataclass(frozen=True)
class Exits:
    """The first step from each PoP towards each neighbour of its part: `step[start[pop] + number]`.

    `number` counts the neighbours of the part in the order of `PartGraph`.
    """

    step: Int32
    start: Int64


def shortest_inside(
    links: npt.NDArray[np.intp], ends: Int32, weight: Int64, blocks: Blocks
) -> tuple[Int32, Int64]:
    """Next steps and distances over the internal `links` (numbers). Dijkstra from each destination.

    `weight` is (all links, 2), there and back. `next_step` is complete for pairs inside a part and -1
    elsewhere; distances are laid out as `Blocks` says, row by destination.
    """
    pops = len(blocks.part)
    # Steps by the PoP where they arrive.
    steps = np.concatenate([2 * links, 2 * links + 1]).astype(np.int32)
    arrives = ends[steps // 2, 1 - steps % 2]
    order = np.argsort(arrives, kind="stable")
    steps, arrives = steps[order], arrives[order]
    start = np.searchsorted(arrives, np.arange(pops + 1)).astype(np.int32)
    leaves = ends[steps // 2, steps % 2]
    cost = weight[steps // 2, steps % 2]

    next_step = np.full((pops, pops), -1, np.int32)
    distance = np.full(int(blocks.distance_start[-1]), UNREACHABLE, np.int64)
    _in_parallel(
        _shortest,
        pops,
        start,
        steps,
        leaves,
        cost,
        blocks.part,
        blocks.place,
        blocks.start,
        blocks.distance_start,
        next_step,
        distance,
    )
    return next_step, distance


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _shortest(
    first: int,
    last: int,
    start: Any,
    steps: Any,
    leaves: Any,
    cost: Any,
    part: Any,
    place: Any,
    block_start: Any,
    distance_start: Any,
    next_step: Any,
    distance: Any,
) -> None:
    # A heap of (length, PoP); an entry for each arc at most, since a PoP is settled once.
    keys = np.empty(len(steps) + 1, np.int64)
    entries = np.empty(len(steps) + 1, np.int32)
    for destination in range(first, last):
        home = part[destination]
        size = np.int64(block_start[home + 1] - block_start[home])
        row = distance_start[home] + place[destination] * size
        known = distance[row : row + size]
        towards = next_step[destination]
        known[place[destination]] = 0
        count = _push(keys, entries, 0, 0, destination)
        while count > 0:
            length, here = keys[0], entries[0]
            count = _drop_least(keys, entries, count)
            if length > known[place[here]]:
                continue
            for arc in range(start[here], start[here + 1]):
                there = leaves[arc]
                candidate = length + cost[arc]
                if candidate < known[place[there]]:
                    known[place[there]] = candidate
                    towards[there] = steps[arc]
                    count = _push(keys, entries, count, candidate, there)
                elif candidate == known[place[there]]:
                    towards[there] = min(towards[there], steps[arc])


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _push(keys: Any, entries: Any, count: int, key: int, entry: int) -> int:
    """Put an entry into a binary heap of `count`; returns how many there are then."""
    at = count
    while at > 0:
        above = (at - 1) >> 1
        if keys[above] <= key:
            break
        keys[at], entries[at] = keys[above], entries[above]
        at = above
    keys[at], entries[at] = key, entry
    return count + 1


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _drop_least(keys: Any, entries: Any, count: int) -> int:
    """Take the first entry out of a binary heap of `count`; returns how many are left."""
    count -= 1
    key, entry = keys[count], entries[count]
    at = 0
    while True:
        below = 2 * at + 1
        if below >= count:
            break
        if below + 1 < count and keys[below + 1] < keys[below]:
            below += 1
        if keys[below] >= key:
            break
        keys[at], entries[at] = keys[below], entries[below]
        at = below
    keys[at], entries[at] = key, entry
    return count


def nearest_exits(
    graph: PartGraph,
    links: npt.NDArray[np.intp],
    ends: Int32,
    blocks: Blocks,
    next_step: Int32,
    distance: Int64,
) -> Exits:
    """From each PoP, the way to the nearest of the interdomain `links` towards each neighbour of its part."""
    steps = np.concatenate([2 * links, 2 * links + 1]).astype(np.int32)
    borders = ends[steps // 2, steps % 2]
    beyond = blocks.part[ends[steps // 2, 1 - steps % 2]]
    order = np.lexsort((steps, blocks.part[borders]))
    steps, borders, beyond = steps[order], borders[order], beyond[order]
    parts = len(graph.start) - 1
    step_start = np.searchsorted(blocks.part[borders], np.arange(parts + 1)).astype(np.int32)

    neighbours = graph.start[blocks.part + 1] - graph.start[blocks.part]
    start = np.concatenate([[0], np.cumsum(neighbours, dtype=np.int64)])
    exits = np.full(int(start[-1]), -1, np.int32)
    _exits(
        graph.start,
        graph.neighbour,
        step_start,
        steps,
        borders,
        beyond,
        blocks.part,
        blocks.place,
        blocks.start,
        blocks.distance_start,
        next_step,
        distance,
        start,
        exits,
    )
    return Exits(exits, start)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _exits(
    neighbour_start: Any,
    neighbour: Any,
    step_start: Any,
    steps: Any,
    borders: Any,
    beyond: Any,
    part: Any,
    place: Any,
    block_start: Any,
    distance_start: Any,
    next_step: Any,
    distance: Any,
    start: Any,
    exits: Any,
) -> None:
    nearest = np.empty(len(block_start), np.int64)
    number = np.empty(len(block_start), np.int32)
    for pop in range(len(part)):
        home = part[pop]
        size = block_start[home + 1] - block_start[home]
        for slot in range(neighbour_start[home], neighbour_start[home + 1]):
            nearest[neighbour[slot]] = UNREACHABLE
            number[neighbour[slot]] = slot - neighbour_start[home]
        for index in range(step_start[home], step_start[home + 1]):
            border = borders[index]
            away = distance[distance_start[home] + np.int64(place[border]) * size + place[pop]]
            if away < nearest[beyond[index]]:
                nearest[beyond[index]] = away
                step = steps[index] if border == pop else next_step[border, pop]
                exits[start[pop] + number[beyond[index]]] = step


def route_between(graph: PartGraph, exits: Exits, blocks: Blocks, next_step: Int32) -> None:
    """Fill in `next_step` for pairs of PoPs of different parts."""
    _in_parallel(
        _route_between,
        len(graph.start) - 1,
        graph.neighbour,
        graph.start,
        graph.peers_at,
        graph.providers_at,
        graph.isp,
        graph.split,
        graph.customers_first,
        exits.step,
        exits.start,
        blocks.part,
        blocks.pops,
        blocks.start,
        next_step,
    )


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _route_between(
    first: int,
    last: int,
    neighbour: Any,
    start: Any,
    peers_at: Any,
    providers_at: Any,
    isp: Any,
    split: bool,
    customers_first: Any,
    exit_step: Any,
    exit_start: Any,
    part: Any,
    pops: Any,
    block_start: Any,
    next_step: Any,
) -> None:
    parts = len(start) - 1
    far = np.int32(2**30)
    from_customers = np.empty(parts, np.int32)  # AS path length of the best route learned from a customer
    length = np.empty(parts, np.int32)
    chosen = np.empty(parts, np.int32)
    for destination in range(first, last):
        from_customers[:] = far
        chosen[:] = -1
        from_customers[destination] = 0
        # Neighbours of a kind stand by ASN: the first of the shortest is the one with the lowest.
        for this in customers_first:
            if this != destination:
                for slot in range(start[this], peers_at[this]):
                    if from_customers[neighbour[slot]] + 1 < from_customers[this] and not (
                        split and _passes(neighbour[slot], isp[this], isp, destination, neighbour, chosen)
                    ):
                        from_customers[this] = from_customers[neighbour[slot]] + 1
                        chosen[this] = slot
        length[:] = from_customers
        for this in range(parts):
            if from_customers[this] == far:
                for slot in range(peers_at[this], providers_at[this]):
                    if from_customers[neighbour[slot]] + 1 < length[this] and not (
                        split and _passes(neighbour[slot], isp[this], isp, destination, neighbour, chosen)
                    ):
                        length[this] = from_customers[neighbour[slot]] + 1
                        chosen[this] = slot
        for index in range(parts - 1, -1, -1):  # providers before their customers
            this = customers_first[index]
            if length[this] == far:
                for slot in range(providers_at[this], start[this + 1]):
                    if length[neighbour[slot]] + 1 < length[this] and not (
                        split and _passes(neighbour[slot], isp[this], isp, destination, neighbour, chosen)
                    ):
                        length[this] = length[neighbour[slot]] + 1
                        chosen[this] = slot
        for index in range(block_start[destination], block_start[destination + 1]):
            towards = next_step[pops[index]]
            for pop in range(len(part)):
                slot = chosen[part[pop]]
                if slot >= 0:
                    towards[pop] = exit_step[exit_start[pop] + slot - start[part[pop]]]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _passes(here: int, of_isp: int, isp: Any, destination: int, neighbour: Any, chosen: Any) -> bool:
    """Whether the route that `here` has chosen passes a part of an ISP, `here` and the last included."""
    while isp[here] != of_isp:
        if here == destination:
            return False
        here = neighbour[chosen[here]]
    return True


def expand(ends: Int32, next_step: Int32) -> tuple[Int64, Int32]:
    """All paths as CSR arrays, `start` and `step`, as `testbed.topology.routing.Paths` describes."""
    pops, arrives = len(next_step), _arrivals(ends)
    length = np.zeros((pops, pops), np.int32)
    _in_parallel(_measure, pops, arrives, next_step, length)
    start = np.zeros(pops * pops + 1, np.int64)
    np.cumsum(length.T, out=start[1:])
    step = np.empty(int(start[-1]), np.int32)
    _in_parallel(_walk, pops, arrives, next_step, start, step)
    return start, step


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _measure(first: int, last: int, arrives: Any, next_step: Any, length: Any) -> None:
    trail = np.empty(len(next_step), np.int32)
    for destination in range(first, last):
        towards, known = next_step[destination], length[destination]
        for pop in range(len(next_step)):
            walked, here = 0, pop
            while towards[here] >= 0 and known[here] == 0:
                trail[walked] = here
                walked += 1
                here = arrives[towards[here]]
            for index in range(walked):
                known[trail[index]] = known[here] + walked - index


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _walk(first: int, last: int, arrives: Any, next_step: Any, start: Any, path: Any) -> None:
    pops = len(next_step)
    for destination in range(first, last):
        towards = next_step[destination]
        for pop in range(pops):
            at = start[np.int64(pop) * pops + destination]
            step = towards[pop]
            while step >= 0:
                path[at] = step
                at += 1
                step = towards[arrives[step]]


def _arrivals(ends: Int32) -> Int32:
    """The PoP where each step arrives."""
    return np.ascontiguousarray(ends[:, ::-1]).reshape(-1)


def _in_parallel(kernel: Callable[..., None], rows: int, *arrays: Any) -> None:
    """Run `kernel(first, last, *arrays)` over all rows, several ranges for each core."""
    cores = len(os.sched_getaffinity(0))
    if rows < _SMALL or cores == 1:
        kernel(0, rows, *arrays)
        return
    bounds = np.linspace(0, rows, 4 * cores + 1).astype(int).tolist()
    with ThreadPoolExecutor(cores) as pool:
        for done in [pool.submit(kernel, a, b, *arrays) for a, b in itertools.pairwise(bounds)]:
            done.result()
