"""A living network with its services: build it, run a swarm in it, keep the record, remove everything.

A `TrialPlan` goes in, a folder with the trial's record comes out. Whatever happens, nothing is left running.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from testbed.controller.client import Controller
from testbed.controller.rules import port_numbers
from testbed.emulation import fidelity
from testbed.emulation.agent import LinkAgent
from testbed.emulation.blueprint import HOST_DEVICE
from testbed.emulation.capabilities import Engines
from testbed.emulation.journal import Journal
from testbed.emulation.measurement import Echo, Ends, transfer_rates_bps
from testbed.emulation.network import EmulatedNetwork
from testbed.emulation.processes import ProcessDeath, Supervisor
from testbed.errors import RunError, TestbedError
from testbed.peers.content import Content, make_content
from testbed.trial import configuration, preflight, record
from testbed.trial.collect import Queues, collect
from testbed.trial.configuration import Paths
from testbed.trial.events import Emit, Event, EventLog, Progress, json_lines
from testbed.trial.history import read_history
from testbed.trial.plan import TrialPlan
from testbed.trial.provenance import notes, versions
from testbed.trial.services import Services
from testbed.trial.swarm import PeerStart, Swarm
from testbed.trial.timeline import Timeline
from testbed.trial.verdict import Guided, doubts

_CLIENT_MODULE = "testbed.peers.libtorrent_client"
_PINGS = 11
_DYING_S = 0.5
_EMPTYING_S = 5.0
_LOOK_S = 0.05
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@dataclass
class _Measured:
    """What the runner itself observes while a trial runs."""

    preflight: list[preflight.Finding] = field(default_factory=list)
    queues: list[tuple[int, Queues]] = field(default_factory=list)
    samples: list[fidelity.Sample] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    failed_changes: list[str] = field(default_factory=list)
    not_reached: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    active_ns: tuple[int, int] = (0, 0)
    timings_s: dict[str, float] = field(default_factory=dict)
    recorded: bool = False


class Laboratory:
    """A living network with its services, for one trial or for a person at the Mininet prompt.

    Used as a context: leaving it ends every process and removes all that was made, also after an error or
    Ctrl-C, and keeps what was measured in `folder`. Without a folder, the record goes with the run.
    """

    def __init__(self, plan: TrialPlan, folder: Path | None, engines: Engines, emit: Emit) -> None:
        self.plan = plan
        self.engines = engines
        self._emit = emit
        self._kept_in = folder
        self._measured = _Measured()

    def __enter__(self) -> Laboratory:
        self._journal = Journal.create(self.plan.experiment.name)
        try:
            self.supervisor = Supervisor(self._journal)
            self._folder = self._kept_in or self._journal.folder / "record"
            self.paths = Paths(self._folder, self._journal.folder, self._journal.memory_folder())
            self.paths.make()
            self._events = EventLog(self._folder / record.EVENTS)
            configuration.write_topology(self.plan, self.paths)
            self.net = EmulatedNetwork(
                self.plan.network,
                port_numbers(self.plan.network),
                self.engines,
                self._journal,
                self.plan.routes,
                congestion_control=self.plan.experiment.congestion_control,
            )
            self._link_agent = LinkAgent(self.net, self.paths.link_agent_socket)
            self._services = Services(self.plan, self.paths, self.supervisor, self.net)
        except BaseException:
            self._journal.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        # A second Ctrl-C must not leave half of it behind, nor a disk that is full.
        with _interrupts_held(), closing(self._journal), closing(self._events):
            self._link_agent.close()
            self.net.stop()
            self.supervisor.stop_all()
            if error is not None:
                self._keep_what_there_is(error)

    def build_network(self) -> None:
        """Make hosts, links and switches. The controller starts meanwhile."""
        network = self.plan.network
        what = f"{len(network.pops)} switches, {len(network.hosts)} hosts, {len(network.links)} links"
        self._services.launch_controller()
        self._step("network", f"building {what}", self._build_network)

    def install_rules(self) -> None:
        """Connect the switches to the controller; done when every switch has confirmed every rule."""
        self._step(
            "controller",
            f"installing rules through {self.plan.experiment.controller}",
            self._services.connect_controller,
        )

    def check_paths(self) -> None:
        """Ping from the tracker to one host at every PoP. Raises RunError naming pairs without an answer."""
        self._step("paths", "checking that packets get through", self._check_paths)

    def measure_links(self) -> None:
        """Measure a sample of round trips and rates; what is not as the file says makes the trial suspect."""
        pings = preflight.pings(self.plan.network, self.plan.routes)
        transfers = preflight.transfers(self.plan.network, self.plan.routes)
        what = f"measuring {len(pings)} round trips and {len(transfers)} rates"
        self._step("preflight", what, lambda: self._measure_links(pings, transfers))

    def start_portals(self) -> None:
        count = len(self.plan.portal_hosts) - len(self.plan.adopters)
        self._step("portals", f"starting {count} ISP portals", self._services.start_portals)

    def start_tracker(self) -> None:
        """Start the tracker; it is ready when it has the maps of all portals."""
        what = f"starting the tracker with policy {self.plan.policy}"
        self._step("tracker", what, self._services.start_tracker)

    def run_swarm(self) -> None:
        """Let the peers come, download and leave, and change what the experiment says meanwhile."""
        plan, measured = self.plan, self._measured
        self._emit(Event("step", f"downloading: {len(plan.leechers)} leechers"))
        begun = time.monotonic()
        content = self._make_content()
        server = self.supervisor.fork_server(_CLIENT_MODULE, self.paths.logs / "fork-server.log")
        swarm = Swarm(
            self.supervisor,
            server,
            self._peers(content),
            self.paths.progress_socket,
            lambda event, host: self._events.write(event, host=host),
        )
        # What was sent before the trial does not count as its own.
        measured.queues.append((time.monotonic_ns(), self._all_queues()))
        self._services.go_on_without_portals()
        self._events.start()
        self._events.write("trial_started", policy=plan.policy, repeat=plan.repeat)
        probe = fidelity.Probe(self.net.switch_pids, self.net.delay_line, self._echoes())
        with closing(probe), closing(self._timeline()) as timeline:
            measured.unfinished = swarm.watch(
                plan.arrivals,
                plan.experiment.timeout,
                lambda progress: self._second(progress, probe),
                timeline.turn,
            )
            leechers = {host.id for host in plan.leechers}
            first = min(arrival.start_s for arrival in plan.arrivals if arrival.host in leechers)
            measured.active_ns = (round(first * 1e9), self._now_ns())
            self._events.write("swarm_ended", unfinished=len(measured.unfinished))
            while not timeline.settled():
                self._services.watch(_LOOK_S)
            timeline.end()
            self._note_the_lost()
        measured.failed_changes, measured.not_reached = timeline.failed, timeline.not_reached
        measured.killed = [process.name for process in swarm.leave()]
        measured.timings_s["swarm"] = round(time.monotonic() - begun, 3)

    def wait_for_last_counters(self) -> None:
        """Wait until nothing is on its way any more and each switch has been polled after the last packet."""
        self._wait_for(self._all_queues)
        self._services.watch(self.net.longest_delay_s())
        self._wait_for(self.net.queues)
        silent_ns = time.monotonic_ns()
        self._services.wait_for_last_counters(silent_ns)
        self._measured.queues.append((silent_ns, self._all_queues()))

    def keep_record(self) -> None:
        measured = self._measured
        measured.recorded = True
        collect(
            self._folder,
            self.paths.raw,
            self.plan.network,
            self.plan.experiment.client.program,
            self._events.start_ns,
            measured.queues,
            measured.samples,
        )
        self._events.merge(json_lines(self.paths.raw / "controller-events.jsonl"))

    def write_manifest(self) -> dict[str, Any]:
        """The manifest, which makes the folder whole. Returns what it says."""
        plan, measured = self.plan, self._measured
        before = [finding.reason for finding in measured.preflight if finding.reason]
        reasons = [*before, *fidelity.judge(measured.samples), *self._doubts(), *measured.failed_changes]
        guided = Guided.of(record.read_table(self._folder, "announces"))
        if guided.none:
            reasons.append(f"policy {plan.policy} picked as native does: {guided.text()}")
        manifest = {
            "trial": plan.id,
            "experiment": plan.experiment.name,
            "policy": plan.policy,
            "policy_index": plan.policy_index,
            "parameters": dict(plan.parameters),
            "repeat": plan.repeat,
            "scale": plan.scale,
            "seed": plan.seed,
            "spec_file": plan.file,
            "spec": plan.experiment.model_dump(mode="json", by_alias=True),
            "verdict": "suspect" if reasons else "valid",
            "reasons": reasons,
            "notes": [*notes(self.engines, plan.scale), *self._not_reached(), *self._unguided(guided)],
            "preflight": [finding.row() for finding in measured.preflight],
            "active_ns": list(measured.active_ns),
            "content_bytes": plan.experiment.swarm.content.size,
            "capabilities": {"delay": self.engines.delay, "datapath": self.engines.datapath},
            "congestion_control": plan.experiment.congestion_control,
            "versions": versions(),
            "kernel": platform.release(),
            "machine": {"cores": os.cpu_count(), "name": platform.node()},
            "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "timings_s": measured.timings_s,
        }
        path = self._folder / record.MANIFEST
        path.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        return manifest

    # How the steps are done.

    def _build_network(self) -> None:
        self.net.build(self.supervisor, self.paths.logs)
        self._link_agent.start()

    def _wait_for(self, queues: Callable[[], Queues]) -> None:
        """Wait until these queues are empty, for some seconds."""
        until_s = time.monotonic() + _EMPTYING_S
        while any(queue.backlog_bytes for queue in queues().values()) and time.monotonic() < until_s:
            self._services.watch(0.1)

    def _step(self, name: str, text: str, work: Callable[[], None]) -> None:
        self._emit(Event("step", text))
        begun = time.monotonic()
        try:
            work()
        except ProcessDeath:
            raise
        except RunError as error:
            # A process that has died is why, whatever failed of it. What it held may go before itself.
            for process in self.supervisor.deaths(_DYING_S):
                raise process.death() from error
            raise
        for process in self.supervisor.deaths():
            raise process.death()
        self._measured.timings_s[name] = round(time.monotonic() - begun, 3)

    def _check_paths(self) -> None:
        tracker = self.plan.tracker_host.id
        one_a_pop = {host.pop: host.id for host in reversed(self.plan.network.hosts)}
        pairs = [(tracker, host) for host in one_a_pop.values() if host != tracker]
        lost = self.net.unreachable(pairs)
        if lost:
            shown = ", ".join(f"{source} to {destination}" for source, destination in lost)
            raise RunError(f"no packet came through from {shown}", mend="see the controller's log")
        self.net.enlarge_switch_buffers()
        # The shortest and the longest of the ways, which tell a switch's time from that of the ends.
        routes = self.plan.routes
        pop = {host.id: host.pop for host in self.plan.network.hosts}
        pairs.sort(key=lambda pair: len(routes.path(pop[pair[0]], pop[pair[1]])))
        self.net.allow_for_forwarding([*pairs[:2], *pairs[-2:]])

    def _measure_links(self, pings: Sequence[preflight.Way], transfers: Sequence[preflight.Way]) -> None:
        """Pings first, while queues are empty. What is off is measured once more: that can be a moment's."""
        self._measured.preflight = []
        for ways, measure in ((pings, self._measure_rtts), (transfers, self._measure_rates)):
            for finding in _twice(ways, measure):
                self._measured.preflight.append(finding)
                self._events.write("preflight", **finding.row())

    def _measure_rtts(self, ways: Sequence[preflight.Way]) -> list[preflight.Finding]:
        def measure(way: preflight.Way) -> preflight.Finding:
            measured_s = self.net.ping_s(way.source.id, way.destination.id, _PINGS)
            return preflight.rtt_finding(way, measured_s, delayed=self.engines.delay != "none")

        with ThreadPoolExecutor(max_workers=preflight.MOST_PINGS) as pool:
            return list(pool.map(measure, ways))

    def _measure_rates(self, ways: Sequence[preflight.Way]) -> list[preflight.Finding]:
        ends = [
            Ends(self._namespace(way.source.id), self._namespace(way.destination.id), way.destination.ip)
            for way in ways
        ]
        rates = transfer_rates_bps(ends, preflight.settle_s(ways), preflight.COUNT_S)
        return [preflight.rate_finding(way, rate) for way, rate in zip(ways, rates, strict=True)]

    def _echoes(self) -> list[Echo]:
        """A host for each Open vSwitch: one of a portal or tracker, whose links are as good as idle."""
        network, found = self.plan.network, []
        for group in self.net.blueprint.groups:
            idle = [h for h in network.hosts if h.pop in group.pops and h.role in ("portal", "tracker")]
            if not idle:
                continue
            host = min(idle, key=lambda host: network.link_by_id[host.link].is_lossy)
            found.append(
                Echo(
                    self._namespace(host.id),
                    HOST_DEVICE,
                    host.mac,
                    host.ip,
                    gateway=network.pop_by_id[host.pop].gateway_ip,
                    expected_s=self.net.gateway_answer_s(host.id),
                    lossy=network.link_by_id[host.link].is_lossy,
                )
            )
        return found

    def _timeline(self) -> Timeline:
        return Timeline(
            self.plan.changes,
            lambda: Controller(self.paths.controller_socket, self.paths.controller_token),
            self._services,
            self._events,
            lambda text: self._emit(Event("change", text)),
        )

    def _not_reached(self) -> list[str]:
        """A note of the changes that came to nothing, as the swarm was done before."""
        plan, texts = self.plan, self._measured.not_reached
        if not texts:
            return []
        return [f"{plan.policy}, repeat {plan.repeat + 1} was over before: {'; '.join(texts)}."]

    def _unguided(self, guided: Guided) -> list[str]:
        plan, text = self.plan, guided.text()
        return [f"{plan.policy}, repeat {plan.repeat + 1}: {text}."] if text and not guided.none else []

    def _all_queues(self) -> Queues:
        return {**self.net.queues(), **self.net.uplink_queues()}

    def _make_content(self) -> Content:
        spec, swarm = self.plan.experiment, self.plan.experiment.swarm
        return make_content(
            self.paths.memory / "content",
            f"{spec.name}.bin",
            swarm.content.size,
            swarm.content.piece,
            self.plan.seed,
            configuration.announce_url(self.plan),
            private=not (spec.client.peer_exchange or spec.client.dht or spec.client.local_discovery),
        )

    def _peers(self, content: Content) -> dict[str, PeerStart]:
        peers = {}
        for host in self.plan.network.hosts:
            if host.role not in ("leecher", "seed"):
                continue
            payload = content.payload.parent if host.role == "seed" else self.paths.memory / host.id
            payload.mkdir(exist_ok=True)
            peers[host.id] = PeerStart(
                role=host.role,
                config=configuration.write_client(self.plan, self.paths, host, content.torrent, payload),
                log=self.paths.logs / f"{host.id}.log",
                namespace=self._namespace(host.id),
            )
        return peers

    def _second(self, progress: Progress, probe: fidelity.Probe) -> None:
        self._note_the_lost()
        self._measured.samples.append(probe.sample())
        self._measured.queues.append((time.monotonic_ns(), self.net.queues()))
        self._emit(Event("progress", "", {"progress": progress}))

    def _note_the_lost(self) -> None:
        """Portals that died: who needs them goes on without, and the trial is not what it was meant to be."""
        for process in self.supervisor.lost[len(self._measured.lost) :]:
            reason = f"a portal died: {process.death()}".partition("\n")[0]
            self._measured.lost.append(reason)
            self._emit(Event("change", reason))
            self._events.write("portal_died", host=process.name, exit_code=process.exit_code)

    def _doubts(self) -> list[str]:
        stuck = self._measured.lost + [
            f"{name} did not stop when asked, and its record may lack its end"
            for name in self._measured.killed
        ]
        return stuck + doubts(
            self.plan.network,
            record.read_table(self._folder, "links"),
            record.read_table(self._folder, "peers"),
            record.read_table(self._folder, "transfers"),
            self.plan.experiment.swarm.content.size,
            self._measured.unfinished,
            self.plan.experiment.timeout,
            self._measured.active_ns,
            self.engines.datapath,
            read_history(self.plan.network, json_lines(self._folder / record.EVENTS)),
            record.read_table(self._folder, "switches"),
        )

    def _keep_what_there_is(self, error: BaseException) -> None:
        """After a failure: the error among the events, and the tables of what was measured."""
        with suppress(OSError, ValueError, KeyError, TestbedError):
            self._events.write("failed", error=str(error) or type(error).__name__)
            if self._measured.samples and not self._measured.recorded:
                self.keep_record()

    def _namespace(self, host: str) -> str:
        return self.net.blueprint.namespace(host)

    def _now_ns(self) -> int:
        return time.monotonic_ns() - self._events.start_ns


def _twice(
    ways: Sequence[preflight.Way], measure: Callable[[Sequence[preflight.Way]], list[preflight.Finding]]
) -> list[preflight.Finding]:
    """What `measure` finds, where need be at the second try."""
    found = measure(ways) if ways else []
    off = [number for number, finding in enumerate(found) if finding.reason]
    again = measure([ways[number] for number in off]) if off else []
    return [dict(zip(off, again, strict=True)).get(number, finding) for number, finding in enumerate(found)]


class _interrupts_held:
    """Ctrl-C and requests to end that come while in this context take effect at its end."""

    def __enter__(self) -> None:
        self._came: list[int] = []
        ignored = {number for number in _INTERRUPTS if signal.getsignal(number) is signal.SIG_IGN}
        self._before = {number: signal.signal(number, self._note) for number in {*_INTERRUPTS} - ignored}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._came:
            signal.raise_signal(self._came[0])

    def _note(self, number: int, _: object) -> None:
        self._came.append(number)
