"""Routes, once they are known: the next link from each PoP towards each other, and who is on the way. Pure.

`testbed.topology.routing` computes them. Who only reads them, as a controller or a portal does, needs neither
its arithmetic nor the second that loading it takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from testbed.topology.model import Direction, Host, Network

Int32 = npt.NDArray[np.int32]
Ints = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Routes:
    """The next link from every PoP towards every other.

    `pops` and `links` are the ids of PoPs and core links in the order of the network, `ends` is (links, 2),
    the PoPs at `a` and `b`. `next_step[j, i]` is the step from PoP i towards PoP j: 2 k leaves end `a` of
    core link k, 2 k + 1 leaves `b`; -1 where i = j or where j cannot be reached.
    """

    pops: tuple[str, ...]
    links: tuple[str, ...]
    ends: Int32
    next_step: Int32

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Routes) and (
            self.pops == other.pops
            and self.links == other.links
            and np.array_equal(self.ends, other.ends)
            and np.array_equal(self.next_step, other.next_step)
        )

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def _index(self) -> Mapping[str, int]:
        return {pop: index for index, pop in enumerate(self.pops)}

    def reaches(self, source_pop: str, destination_pop: str) -> bool:
        """Whether there is a route; a PoP reaches itself."""
        return bool(self.reachable[self._index[source_pop], self._index[destination_pop]])

    @cached_property
    def reachable(self) -> npt.NDArray[np.bool_]:
        """(PoPs, PoPs): whether there is a route from the one to the other."""
        found: npt.NDArray[np.bool_] = self.next_step.T >= 0
        np.fill_diagonal(found, True)
        return found

    def hops(self, source: Ints, target: Ints) -> Iterator[tuple[Ints, Ints]]:
        """Walk many routes at once, a hop at a time, from PoP numbers to PoP numbers.

        Each hop is (which of the routes take it, their steps); those that are cut off take none.
        """
        going, here = np.arange(source.size), source
        while True:
            step = self.next_step[target[going], here]
            going, step = going[step >= 0], step[step >= 0]
            if not step.size:
                return
            yield going, step
            here = self.ends[step // 2, 1 - step % 2]

    def next_links(self, pop: str) -> dict[str, str]:
        """The link to take from `pop` towards each PoP that it reaches, in the order of PoPs."""
        steps = self.next_step[:, self._index[pop]]
        return {self.pops[j]: self.links[steps[j] // 2] for j in np.flatnonzero(steps >= 0)}

    def path(self, source_pop: str, destination_pop: str) -> tuple[str, ...]:
        """Links from one PoP to another in order; () for the same PoP. Raises KeyError if unreachable."""
        return tuple(self.links[step // 2] for step in self._steps(source_pop, destination_pop))

    def pops_on_path(self, source_pop: str, destination_pop: str) -> tuple[str, ...]:
        """The PoPs that a packet visits, both ends included. Raises KeyError if unreachable."""
        steps = self._steps(source_pop, destination_pop)
        return source_pop, *(self.pops[self.ends[step // 2, 1 - step % 2]] for step in steps)

    def to_json(self) -> dict[str, Any]:
        """`next_link[pop][destination pop]` is the link to take, `ends[link]` are its PoPs."""
        return {
            "next_link": {pop: self.next_links(pop) for pop in self.pops},
            "ends": {
                link: [self.pops[a], self.pops[b]] for link, (a, b) in zip(self.links, self.ends, strict=True)
            },
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Routes:
        """The inverse of `to_json`. Raises KeyError where it names a PoP or link that it does not have."""
        pops, links = tuple(data["next_link"]), tuple(data["ends"])
        pop_index = {pop: index for index, pop in enumerate(pops)}
        link_index = {link: index for index, link in enumerate(links)}
        next_step = np.full((len(pops), len(pops)), -1, np.int32)
        for pop, table in data["next_link"].items():
            for destination, link in table.items():
                side = 0 if data["ends"][link][0] == pop else 1
                next_step[pop_index[destination], pop_index[pop]] = 2 * link_index[link] + side
        ends = [[pop_index[end] for end in data["ends"][link]] for link in links]
        return Routes(pops, links, np.array(ends, np.int32).reshape(-1, 2), next_step)

    def _steps(self, source_pop: str, destination_pop: str) -> list[int]:
        here, destination = self._index[source_pop], self._index[destination_pop]
        steps: list[int] = []
        while here != destination:
            step = int(self.next_step[destination, here])
            if step < 0:
                raise KeyError((source_pop, destination_pop))
            steps.append(step)
            here = int(self.ends[step // 2, 1 - step % 2])
        return steps


def unreachable_pairs(network: Network, routes: Routes) -> list[tuple[str, str]]:
    """(source, destination) of PoPs without a route, in the order of the network."""
    return [(network.pops[i].id, network.pops[j].id) for i, j in np.argwhere(~routes.reachable)]


def crossed_between(
    network: Network, routes: Routes, source_pop: str, destination_pop: str
) -> Iterator[tuple[str, Direction]]:
    """The links from PoP to PoP in order, each as (id, the direction that is taken)."""
    here = source_pop
    for name in routes.path(source_pop, destination_pop):
        link = network.link_by_id[name]
        yield name, link.direction(here)
        here = link.other(here)


def crossed(
    network: Network, routes: Routes, source: Host, destination: Host
) -> Iterator[tuple[str, Direction]]:
    """The links from host to host in order, both access links included, each as (id, the direction)."""
    yield source.link, network.link_by_id[source.link].direction(source.id)
    yield from crossed_between(network, routes, source.pop, destination.pop)
    yield destination.link, network.link_by_id[destination.link].direction(destination.pop)
