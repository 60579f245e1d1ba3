"""The runs that measure what things cost on this machine: a flooded chain of switches, and a small swarm.

Nothing comes in but the engines; `Costs` come out. Everything is measured as processor time and not as
throughput, so that the sender's own work does not count, nor what else the machine does.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from testbed.emulation.capabilities import Engines
from testbed.emulation.cpu import command_line, core_times, cpu_s, own_cpu_s
from testbed.emulation.journal import processes_of
from testbed.emulation.processes import Process
from testbed.errors import RunError
from testbed.spec.experiment import load_experiment
from testbed.trial.calibration import Costs
from testbed.trial.events import Emit, Event, Progress
from testbed.trial.laboratory import Laboratory
from testbed.trial.plan import TrialPlan, plan_trials

SWITCHES = 5
_FLOWS = 8
_FLOOD_S = 3.0
_SETTLE_S = 1.0
_FLOOD_FRAMES_PER_S = 7500.0  # of each flow: just below its line's rate
_SINGLE_FRAMES_PER_S = 200.0  # so few that each wakes the switches alone
_CONTENT_BYTES = 5 * 2**20
_IDLE_S = 3.0
_FAST = 8
_CLIENTS = 10  # the fast, the slow and the seed
_CLIENT = "testbed.peers.libtorrent_client"

_TOPOLOGY = """\
name: calibration
isps:
  chain:
    asn: 1
    pops: {p1: {}, p2: {}, p3: {}, p4: {}, p5: {}}
    links:
      - {between: [p1, p2], capacity: 1 Gbit/s}
      - {between: [p2, p3], capacity: 1 Gbit/s}
      - {between: [p3, p4], capacity: 1 Gbit/s}
      - {between: [p4, p5], capacity: 1 Gbit/s}
access:
  fast: {down: 95 Mbit/s, up: 95 Mbit/s}
  home: {down: 8 Mbit/s, up: 8 Mbit/s, delay: 2 ms}
  slow: {down: 64 kbit/s, up: 64 kbit/s, delay: 2 ms}
"""
_FLOOD = """\
name: calibration
topology: topology.yaml
policies: [native]
swarm:
  content: {size: 1 MiB}
  seeds: [{isp: chain, pop: p1, count: 8, access: fast}]
  leechers: [{isp: chain, pop: p5, count: 8, access: fast}, {isp: chain, pop: p1, access: fast}]
tracker: {at: chain.p1, access: fast}
portals: {access: fast}
"""
# The slow leecher is never done: it keeps the swarm there while the others have nothing more to do.
_SWARM = """\
name: calibration
topology: topology.yaml
policies: [native]
swarm:
  content: {size: 5 MiB}
  seeds: [{isp: chain, pop: p1, access: home}]
  leechers: [{isp: chain, count: 8, access: home}, {isp: chain, pop: p1, access: slow}]
  arrival: {within: 0.5 s}
tracker: {at: chain.p1, access: home}
portals: {access: home}
timeout: 24 s
"""


def measure(engines: Engines, emit: Emit) -> Costs:
    """Measure all costs of this machine, in 40 s or less. Raises RunError where a run fails."""
    emit(Event("trial", "1 of 2: what a switch costs"))
    # Delaying is measured with the swarm: a process that delays would hold the flood back.
    datapath = _datapath(_plan(_FLOOD), replace(engines, delay="none"), emit)
    emit(Event("trial", "2 of 2: what clients cost"))
    return _swarm(_plan(_SWARM), engines, emit, datapath)


def _plan(experiment: str) -> TrialPlan:
    with tempfile.TemporaryDirectory(prefix="testbed-calibrate-") as folder:
        (Path(folder) / "topology.yaml").write_text(_TOPOLOGY, encoding="utf-8")
        path = Path(folder) / "experiment.yaml"
        path.write_text(experiment, encoding="utf-8")
        spec, document, topology, _ = load_experiment(path)
        return plan_trials(spec, document, topology, {})[0]


# --- the datapath ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Flood:
    """What flows of frames cost in `_FLOOD_S`: processor time of the switches and of all; frames moved."""

    switches_s: float
    all_s: float
    frame_hops: int


def _datapath(plan: TrialPlan, engines: Engines, emit: Emit) -> Costs:
    with _laboratory(plan, engines, emit) as lab:
        sources, ends = _hosts(plan, "seed", "p1"), _hosts(plan, "leecher", "p5")
        flows = list(zip(sources, ends, strict=True))
        emit(Event("step", f"flooding {SWITCHES} switches"))
        if engines.datapath == "system":
            # A kernel forwards in the time of whoever sends: a longer way costs more, and that is a switch's.
            long = _flood(lab, flows[:1], _FLOOD_FRAMES_PER_S)
            short = _flood(lab, [(sources[0], _hosts(plan, "leecher", "p1")[0])], _FLOOD_FRAMES_PER_S)
            way_s = long.all_s / long.frame_hops * SWITCHES
            hop_s = (way_s - short.all_s / short.frame_hops) / (SWITCHES - 1)
            return _switch_costs(max(hop_s, 1e-8), 0.0)
        full = _flood(lab, flows, _FLOOD_FRAMES_PER_S)
        emit(Event("step", "sending single frames"))
        idle, single = _flood(lab, [], 0.0), _flood(lab, flows[:1], _SINGLE_FRAMES_PER_S)
        hop_s = full.switches_s / full.frame_hops
        alone_s = (single.switches_s - idle.switches_s) / (single.frame_hops - idle.frame_hops)
        ports = sum(map(len, lab.net.blueprint.ports.values()))
        return _switch_costs(hop_s, max(0.0, alone_s - hop_s) / ports)


def _switch_costs(frame_hop_s: float, port_poll_s: float) -> Costs:
    """Costs of which only the datapath's are known yet."""
    return Costs(frame_hop_s, port_poll_s, 0.0, 0.0, 0.0, 0.0)


def _hosts(plan: TrialPlan, role: str, pop: str) -> list[str]:
    return [host.id for host in plan.network.hosts if host.role == role and host.pop == f"chain.{pop}"]


def _flood(lab: Laboratory, flows: Sequence[tuple[str, str]], frames_per_s: float) -> _Flood:
    """Send frames along flows (source, destination) for `_FLOOD_S`."""
    hosts = lab.plan.network.host_by_id
    senders: list[Process] = [
        lab.supervisor.start(
            f"sender {source}",
            [
                sys.executable,
                "-m",
                "testbed.emulation.datagrams",
                hosts[destination].ip,
                str(frames_per_s),
            ],
            log=lab.paths.logs / "senders.log",
            namespace=lab.net.blueprint.namespace(source),
        )
        for source, destination in flows
    ]
    time.sleep(_SETTLE_S)
    switches = lab.net.switch_pids
    before = _frames_moved(lab), cpu_s(switches), core_times().busy_s
    time.sleep(_FLOOD_S)
    after = _frames_moved(lab), cpu_s(switches), core_times().busy_s
    for process in lab.supervisor.deaths():
        raise process.death()
    lab.supervisor.stop(senders)
    frames, switches_s, all_s = (now - then for now, then in zip(after, before, strict=True))
    if flows and frames < _FLOOD_S * frames_per_s / 10:
        raise RunError("the frames that were to be measured did not come through the switches")
    return _Flood(switches_s, all_s, int(frames))


def _frames_moved(lab: Laboratory) -> int:
    """Frames that left switches: each leaves every switch on its way once."""
    return sum(queue.packets for queue in lab.net.queues().values())


# --- clients ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Look:
    """Counters at one moment of a swarm: seconds of processors, bytes downloaded, frames delayed."""

    at_s: float
    done: int
    bytes: float
    clients_s: float
    others_s: float
    line_s: float
    frames: int


class _Enough(Exception):
    """Raised from within the swarm's loop: what was to be seen has been seen."""


class _Observer:
    """Takes the laboratory's events: passes them on, and looks at the counters each second of the swarm."""

    def __init__(self, emit: Emit) -> None:
        self.lab: Laboratory | None = None
        self.looks: list[_Look] = []
        self._emit = emit
        self._looking_s = 0.0

    def __call__(self, event: Event) -> None:
        self._emit(event)
        if self.lab is None or event.kind != "progress":
            return
        before_s = own_cpu_s()
        look = _look(self.lab, event.data["progress"])
        self.looks.append(replace(look, others_s=look.others_s + before_s - self._looking_s))
        self._looking_s += own_cpu_s() - before_s
        done = [look.at_s for look in self.looks if look.done == _FAST]
        if done and done[-1] - done[0] > _IDLE_S:
            raise _Enough


def _swarm(plan: TrialPlan, engines: Engines, emit: Emit, datapath: Costs) -> Costs:
    observer = _Observer(emit)
    with _laboratory(plan, engines, observer) as lab:
        lab.start_portals()
        lab.start_tracker()
        observer.lab = lab
        with suppress(_Enough):
            lab.run_swarm()
    return _client_costs(observer.looks, engines, datapath)


def _look(lab: Laboratory, progress: Progress) -> _Look:
    run = processes_of(lab.net.blueprint.tag)
    # Clients are forked, and so have the command line of their fork server.
    clients = [pid for pid in run if _CLIENT in command_line(pid)]
    line = lab.net.delay_line
    line_pids = [line.pid] if line else []
    return _Look(
        at_s=progress.elapsed_s,
        done=progress.done,
        bytes=progress.fraction * progress.leechers * _CONTENT_BYTES,
        clients_s=cpu_s(clients),
        others_s=cpu_s(set(run) - set(clients) - set(line_pids)),
        line_s=cpu_s(line_pids),
        frames=line.counters().frames if line else 0,
    )


def _client_costs(looks: Sequence[_Look], engines: Engines, datapath: Costs) -> Costs:
    """Costs from what was seen: while the fast leechers loaded, and while they had nothing to do."""
    loading = [look for look in looks if look.at_s > _SETTLE_S and look.done < _FAST]
    idle = [look for look in looks if look.done == _FAST][1:]
    if len(loading) < 3 or len(idle) < 3:
        raise RunError(
            "the swarm that was to be measured did not finish in its time", mend="close other programs, retry"
        )
    begin, end = loading[0], loading[-1]
    calm, last = idle[0], idle[-1]
    client_s = (last.clients_s - calm.clients_s) / (last.at_s - calm.at_s) / _CLIENTS
    busy_s = end.clients_s - begin.clients_s - client_s * _CLIENTS * (end.at_s - begin.at_s)
    return replace(
        datapath,
        client_s=client_s,
        client_byte_s=max(0.0, busy_s / (end.bytes - begin.bytes)),
        switch_s=(last.others_s - calm.others_s) / (last.at_s - calm.at_s) / SWITCHES,
        delayed_frame_s=(end.line_s - begin.line_s) / (end.frames - begin.frames)
        if engines.delay == "line"
        else 0.0,
    )


@contextmanager
def _laboratory(plan: TrialPlan, engines: Engines, emit: Emit) -> Iterator[Laboratory]:
    """A built network with its rules."""
    with Laboratory(plan, None, engines, emit) as lab:
        lab.build_network()
        lab.install_rules()
        lab.check_paths()
        yield lab
