"""From an experiment to its trials: who is where, when each peer starts, what each trial is called. Pure.

An experiment and its topology come in; a tuple of `TrialPlan` goes out, one for each policy and repeat.
Nothing is built here: `testbed plan` prints what this module decides, `testbed run` does it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from testbed.errors import Problem, UserError
from testbed.portal.internal import InternalView
from testbed.portal.view import portal_config
from testbed.spec.experiment import ExperimentSpec, PeersSpec
from testbed.spec.loading import Document
from testbed.spec.portals import PricingSpec
from testbed.spec.topology import TopologySpec
from testbed.topology.compile import HostRequest, compile_network
from testbed.topology.model import Host, Network
from testbed.topology.routes import Routes, unreachable_pairs
from testbed.topology.routing import compute_routes
from testbed.topology.scaling import scaled
from testbed.tracker import policies
from testbed.trial.changes import Change, adopters, changes_of

SEEDS_FIRST_S = 1.0
"""Seeds are there this long before the first leecher can come."""


@dataclass(frozen=True)
class Arrival:
    """When the peer in a host starts, in seconds after the trial's start."""

    host: str
    start_s: float


@dataclass(frozen=True)
class TrialPlan:
    """One run of one cell: everything that decides its outcome (but for `file`), in `id` as a digest.

    `scale` is the factor on all rates; `network` and `experiment` are what runs, already scaled.
    """

    id: str
    experiment: ExperimentSpec
    file: str
    policy: str
    policy_index: int
    parameters: Mapping[str, Any]
    repeat: int
    seed: int
    network: Network
    routes: Routes
    arrivals: tuple[Arrival, ...]
    scale: float = 1.0
    changes: tuple[Change, ...] = ()

    @property
    def leechers(self) -> tuple[Host, ...]:
        return tuple(host for host in self.network.hosts if host.role == "leecher")

    @property
    def tracker_host(self) -> Host:
        return next(host for host in self.network.hosts if host.role == "tracker")

    @property
    def portal_hosts(self) -> Mapping[str, Host]:
        """ISP -> the host of its portal, for the ISPs that have one."""
        return {host.isp: host for host in self.network.hosts if host.role == "portal"}

    @property
    def adopters(self) -> frozenset[str]:
        """The ISPs whose portals start in mid-trial."""
        return adopters(self.experiment.events)


def plan_trials(
    spec: ExperimentSpec,
    document: Document,
    topology: TopologySpec,
    environment: Mapping[str, str],
    scale: float = 1.0,
) -> tuple[TrialPlan, ...]:
    """All trials, in the order in which they run: repeat by repeat, every policy in each.

    `scale` (over 0, at most 1) is a factor on all rates, and by it times of the swarm are divided.
    `environment` is what decides the outcome beside the files: versions of the programs, kernel features.
    Raises UserError for an unknown policy, wrong parameters, addresses that run out, PoPs without a route,
    events of links that are not there.
    """
    _check_policies(spec, document)
    network = scaled(_compile(spec, document, topology), scale)
    spec = _slowed(spec, scale)
    changes = changes_of(spec.events, document, network, scale)
    routes = compute_routes(network)
    _check_reachable(network, routes, document)
    _check_portals(spec, network, routes, document)
    trials = []
    for repeat in range(spec.repeats):
        seed = trial_seed(spec.seed, repeat)
        arrivals = _arrivals(spec, network, seed)
        for index, (policy, parameters) in enumerate(spec.policy_parameters.items()):
            cell = {"policy": policy, "parameters": parameters, "seed": seed}
            trials.append(
                TrialPlan(
                    id=_digest(spec, network, {**cell, **environment}),
                    experiment=spec,
                    file=str(document.path),
                    policy=policy,
                    policy_index=index,
                    parameters=parameters,
                    repeat=repeat,
                    seed=seed,
                    network=network,
                    routes=routes,
                    arrivals=arrivals,
                    scale=scale,
                    changes=changes,
                )
            )
    return tuple(trials)


def _check_portals(spec: ExperimentSpec, network: Network, routes: Routes, document: Document) -> None:
    """Prices that can't be had in this network are told before anything is built."""
    for isp in network.isps:
        pricing = spec.portals.of(isp.name).pricing
        if isp.portal and pricing != PricingSpec():
            try:
                config = portal_config(
                    network, routes, isp.name, listen="127.0.0.1:0", pricing=pricing.to_portal()
                )
                InternalView.of(config)
            except UserError as error:
                where = document.where(
                    ("portals", "isps", isp.name) if isp.name in spec.portals.isps else ("portals",)
                )
                raise UserError([replace(problem, where=where) for problem in error.problems]) from None


def trial_seed(experiment_seed: int, repeat: int) -> int:
    """The seed of a repeat: the same for every policy, so that trials are paired."""
    return int(np.random.SeedSequence([experiment_seed, repeat]).generate_state(1, np.uint64)[0] >> 1)


def _slowed(spec: ExperimentSpec, scale: float) -> ExperimentSpec:
    """The experiment with the times that belong to the swarm's progress divided by `scale`.

    A download takes 1 / scale of its time. So that as much of it is done when the last leecher comes, when a
    peer announces again, when a portal's answer is old and when something changes, these times grow alike.
    Delays stay, and the client's own timers.
    """
    if scale == 1:
        return spec
    arrival = spec.swarm.arrival.model_copy(update={"within": spec.swarm.arrival.within / scale})
    return spec.model_copy(
        update={
            "swarm": spec.swarm.model_copy(update={"arrival": arrival}),
            "tracker": spec.tracker.model_copy(update={"interval": spec.tracker.interval / scale}),
            "portals": spec.portals.slowed(scale),
            "timeout": spec.timeout / scale,
            "events": [
                event if event.at is None else event.model_copy(update={"at": event.at / scale})
                for event in spec.events
            ],
        }
    )


def _compile(spec: ExperimentSpec, document: Document, topology: TopologySpec) -> Network:
    """The network with all hosts. Addresses that run out are the experiment's fault: it says how many."""
    try:
        return compile_network(topology, list(_host_requests(spec, topology)))
    except UserError as error:
        where = document.where(("swarm", "leechers"))
        raise UserError([replace(p, where=p.where or where) for p in error.problems]) from None


def _host_requests(spec: ExperimentSpec, topology: TopologySpec) -> Iterator[HostRequest]:
    for name, isp in topology.isps.items():
        if isp.portal:
            yield HostRequest(f"{name}.{next(iter(isp.pops))}", "portal", spec.portals.access)
    yield HostRequest(spec.tracker.at, "tracker", spec.tracker.access)
    for peers in spec.swarm.seeds:
        for pop in _places(peers, topology):
            yield HostRequest(pop, "seed", peers.access)
    for peers in spec.swarm.leechers:
        for pop in _places(peers, topology):
            yield HostRequest(pop, "leecher", peers.access)


def _places(peers: PeersSpec, topology: TopologySpec) -> Iterator[str]:
    """A PoP for each of the peers: the given one, or the ISP's in turn."""
    pops = [peers.pop] if peers.pop else list(topology.isps[peers.isp].pops)
    for number in range(peers.count):
        yield f"{peers.isp}.{pops[number % len(pops)]}"


def _arrivals(spec: ExperimentSpec, network: Network, seed: int) -> tuple[Arrival, ...]:
    """Seeds at once, leechers at random moments of the flash crowd; in order of time."""
    rng = np.random.default_rng(seed)
    seeds = [Arrival(host.id, 0.0) for host in network.hosts if host.role == "seed"]
    crowd = [host.id for host in network.hosts if host.role == "leecher"]
    starts = SEEDS_FIRST_S + rng.uniform(0.0, spec.swarm.arrival.within, len(crowd))
    leechers = [Arrival(host, float(start)) for host, start in zip(crowd, starts, strict=True)]
    return (*seeds, *sorted(leechers, key=lambda arrival: arrival.start_s))


def _digest(spec: ExperimentSpec, network: Network, cell: Mapping[str, Any]) -> str:
    """Twelve hex digits over all that decides the outcome of a cell, and nothing that does not."""
    cell_of_spec = spec.model_dump(
        mode="json",
        include={
            "swarm",
            "client",
            "tracker",
            "portals",
            "controller",
            "congestion_control",
            "timeout",
            "events",
        },
    )
    content = {"spec": cell_of_spec, "network": asdict(network), "cell": cell}
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _check_policies(spec: ExperimentSpec, document: Document) -> None:
    problems = []
    for index, item in enumerate(spec.policies):
        for name, parameters in ({item: {}} if isinstance(item, str) else item).items():
            try:
                policies.load(name, parameters)
            except UserError as error:
                where = document.where(("policies", index))
                problems += [
                    replace(p, where=where, what=f"{p.where}: {p.what}" if p.where else p.what)
                    for p in error.problems
                ]
    if problems:
        raise UserError(problems)


def _check_reachable(network: Network, routes: Routes, document: Document) -> None:
    populated = {host.pop for host in network.hosts}
    cut = [pair for pair in unreachable_pairs(network, routes) if set(pair) <= populated]
    if cut:
        shown = ", ".join(f"{source} to {destination}" for source, destination in cut[:3])
        raise UserError(
            Problem(
                f"{len(cut)} pairs of PoPs with hosts have no route, such as {shown}",
                document.where(("topology",)),
                mend="add interdomain links: routes go up to providers, over one peering at most, then down",
            )
        )
