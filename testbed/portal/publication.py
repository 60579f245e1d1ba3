"""From what an ISP knows to what its portal publishes, at the start and whenever loads or links change.

In comes a `PortalConfig`; out comes `Published`, all of ALTO's maps at one moment. `Live` keeps it up to date
with the controller's loads; a controller that is silent, or wrong, leaves the last maps as they are.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from testbed.errors import UserError
from testbed.portal import pricing
from testbed.portal.alto import documents, performance
from testbed.portal.alto.model import Calendar, CostType, Matrix, NetworkMap, Published
from testbed.portal.config import DEFAULT_MAP, PortalConfig
from testbed.portal.disclosure import disclose
from testbed.portal.internal import InternalView
from testbed.portal.loads import LoadReader, NoLoads, Reading, mean_rates
from testbed.portal.pricing import PDistances, Prices
from testbed.portal.view import portal_config
from testbed.spec.loading import unknown
from testbed.spec.topology import load_topology
from testbed.topology.compile import compile_network
from testbed.topology.routing import compute_routes

log = logging.getLogger("portal.publication")

ROUTINGCOST = CostType("num-routingcost", "numerical", "routingcost", "the ISP's p-distances")
RANKED = CostType(
    "ord-routingcost", "ordinal", "routingcost", "ranks of the ISP's p-distances, 1 the nearest"
)

Vector = npt.NDArray[np.float64]


Publish = Callable[[Published], None]
"""Takes new maps: the server does."""


@dataclass(frozen=True)
class _State:
    """What the portal knows at one moment: `view` is without the links that are `down`, `traffic_bps` is
    (ways,), NaN where nothing has been measured yet.
    """

    config: PortalConfig
    view: InternalView
    prices: Prices
    traffic_bps: Vector
    down: frozenset[str] = frozenset()

    @staticmethod
    def first(config: PortalConfig) -> _State:
        view = InternalView.of(config)
        return _State(config, view, pricing.start(view, config.pricing), np.full(len(view.ways), np.nan))

    def after(self, before: Reading, now: Reading) -> _State:
        """The state after one update of the prices by what the links carried between two readings."""
        view = self.view
        if now.down != self.down:
            view = InternalView.of(self.config, now.down)
        counted = now.counted(view.ways)
        known = [now.capacity_bps.get(way, was) for way, was in zip(counted, view.capacity_bps, strict=True)]
        view = replace(view, capacity_bps=np.array(known, float))
        rates_bps = mean_rates(before, now, view.ways)
        prices = pricing.update(
            view, self.prices, rates_bps, self.config.pricing, seconds=now.seconds_since(before)
        )
        # A switch that was asked late is not idle: what is not counted anew is published as it was.
        traffic_bps = np.where(np.isnan(rates_bps), self.traffic_bps, rates_bps)
        return _State(self.config, view, prices, traffic_bps, now.down)

    def published(self) -> Published:
        return publish(self.config, self.view, self.distances(), self.traffic_bps)

    def distances(self) -> PDistances:
        """Static distances follow the links that are up; dynamic ones the prices too."""
        return pricing.distances(self.view, self.prices, self.config)


def initial(config: PortalConfig) -> Published:
    """What the portal publishes before it has measured anything. `config` is without `topology`."""
    return _State.first(config).published()


def resolved(config: PortalConfig) -> PortalConfig:
    """The configuration with what its `topology` file says of the ISP. Raises UserError for a wrong file."""
    if config.topology is None:
        return config
    spec, document = load_topology(config.topology)
    if config.isp not in spec.isps:
        raise UserError(unknown("ISP", config.isp, spec.isps, f"{document.path}"))
    network = compile_network(spec)
    given = config.model_dump(exclude={"topology", "isp", "asn", "listen"}, exclude_unset=True)
    return portal_config(network, compute_routes(network), config.isp, listen=config.listen, **given)


def _step(state: _State, before: Reading, now: Reading) -> tuple[_State, Published]:
    after = state.after(before, now)
    return after, after.published()


class Live:
    """The loop that keeps the maps up to date with the loads of the ISP's links."""

    def __init__(self, config: PortalConfig) -> None:
        self._config = config
        self._state = _State.first(config)

    async def run(self, publish: Publish) -> None:
        """Publish new maps every `pricing.update_s` for ever. Without `loads` there is nothing to do."""
        if self._config.loads is None:
            if self._config.pricing.objective != "static":
                log.warning("no `loads`: the prices of objective %s stay", self._config.pricing.objective)
            return
        reader = LoadReader(self._config.loads, self._config.isp)
        try:
            await self._follow(reader, publish)
        finally:
            await reader.close()

    async def _follow(self, reader: LoadReader, publish: Publish) -> None:
        before: Reading | None = None
        due_s = time.monotonic()
        silent = False
        while True:
            try:
                now = await reader.read()
            except NoLoads as error:
                if not silent:
                    log.warning("no loads, so the maps stay as they are: %s", error)
                silent = True
            else:
                if silent:
                    log.info("the controller answers again")
                silent = False
                if before is not None:
                    # In a thread: of a large ISP it takes a while, in which others are to be answered.
                    self._state, published = await asyncio.to_thread(_step, self._state, before, now)
                    publish(published)
                before = now
            due_s = max(due_s + self._config.pricing.update_s, time.monotonic())
            await asyncio.sleep(due_s - time.monotonic())


def publish(
    config: PortalConfig, view: InternalView, distances: PDistances, traffic_bps: Vector
) -> Published:
    """All maps of one moment: the full one by the ISP's PIDs, and the aggregations."""
    full = documents.network_map(DEFAULT_MAP, config.pid_prefixes())
    exact = [
        (kind, _padded(matrix, full)) for kind, matrix in _matrices(config, view, distances, traffic_bps)
    ]
    own = {entry.pid for entry in config.pids}
    maps = [full]
    costs = _said(config, full, exact)
    for name, groups in config.aggregations.items():
        joined, members = _aggregated(full, name, groups)
        maps.append(joined)
        own |= {pid for pid, inside in groups.items() if own.intersection(inside)}
        costs |= _said(config, joined, [(kind, _means(matrix, members)) for kind, matrix in exact])
    day = config.policy.time_of_day
    calendar = Calendar(0.0, day.interval_s, day.factors) if day else None
    return Published(
        isp=config.isp,
        asn=config.asn,
        network_maps=tuple(maps),
        cost_types=(ROUTINGCOST, RANKED, *(kind for kind, _ in exact[1:])),
        costs=costs,
        calendars={ROUTINGCOST.name: calendar} if calendar else {},
        policy=config.policy,
        capabilities=config.capabilities,
        own=frozenset(own),
    )


def _said(
    config: PortalConfig, network_map: NetworkMap, exact: Sequence[tuple[CostType, Matrix]]
) -> dict[tuple[str, str], Matrix]:
    """The costs of one map: distances as the ISP discloses them, their ranks, and the rest as it is."""
    distances = PDistances(tuple(network_map.prefixes), len(config.pids), exact[0][1])
    disclosed = disclose(distances, config.disclosure).matrix
    said = [(ROUTINGCOST, disclosed), (RANKED, dense_ranks(disclosed)), *exact[1:]]
    return {(network_map.id, kind.name): matrix for kind, matrix in said}


def _matrices(
    config: PortalConfig, view: InternalView, distances: PDistances, traffic_bps: Vector
) -> list[tuple[CostType, Matrix]]:
    """Each numerical cost type with its (PIDs, PIDs) matrix, routingcost first."""
    found = [(ROUTINGCOST, distances.matrix)]
    hidden = config.disclosure.perturbation > 0 or config.disclosure.levels is not None
    wanted = config.metrics if config.metrics is not None else () if hidden else performance.METRICS
    if config.links or config.external:
        carried_bps = view.background_bps + np.nan_to_num(traffic_bps)
        free_bps = np.maximum(view.capacity_bps - carried_bps, 0)
        values = performance.matrices(view, free_bps)
        known = [name for name in wanted if name != "delay-ow" or view.delay_s.any()]
        found += [(performance.COST_TYPES[name], values[name]) for name in known]
    return found[:1] + [(kind, matrix) for kind, matrix in found[1:] if not np.isnan(matrix).all()]


def _padded(matrix: Matrix, network_map: NetworkMap) -> Matrix:
    """The matrix with NaN for `world`, the last PID, of which the ISP says nothing."""
    size = len(network_map.prefixes)
    whole = np.full((size, size), np.nan)
    whole[: len(matrix), : len(matrix)] = matrix
    return whole


def _aggregated(
    full: NetworkMap, name: str, groups: Mapping[str, Sequence[str]]
) -> tuple[NetworkMap, npt.NDArray[np.bool_]]:
    """The map by groups of PIDs, and (PIDs of it, PIDs of the full map): who is whose member."""
    grouped = {pid for members in groups.values() for pid in members}
    alone = {pid: (pid,) for pid in full.prefixes if pid not in grouped}
    joined = {**groups, **alone}
    prefixes = {
        pid: [prefix for member in members for prefix in full.prefixes[member]]
        for pid, members in joined.items()
    }
    members = np.array([[pid in group for pid in full.prefixes] for group in joined.values()], bool)
    return documents.network_map(name, prefixes), members


def _means(matrix: Matrix, members: npt.NDArray[np.bool_]) -> Matrix:
    """Mean cost between groups, over the pairs of members whose cost is known; NaN where none is."""
    weight = members.astype(float)
    known = ~np.isnan(matrix)
    count = weight @ known @ weight.T
    total: Matrix = weight @ np.where(known, matrix, 0.0) @ weight.T
    means: Matrix = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return means


def dense_ranks(matrix: Matrix) -> Matrix:
    """Dense ranks over the whole matrix, 1 the least; equal costs have equal ranks, NaN stays."""
    ranks = np.full(matrix.shape, np.nan)
    known = ~np.isnan(matrix)
    ranks[known] = np.unique(matrix[known], return_inverse=True)[1] + 1
    return ranks
