"""The emulated network: a Mininet whose namespaces, links and switches are built and removed in batches.

A compiled `Network` goes in; a running network whose switches wait for a controller comes out. What was built
is read back and compared with the blueprint, and a difference fails the build.
"""

from __future__ import annotations

import os
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mininet.log import output
from mininet.net import Mininet

from testbed.emulation.blueprint import HOST_DEVICE, Blueprint, PortNumbers, SwitchGroup
from testbed.emulation.capabilities import Engines
from testbed.emulation.checksums import compute_checksums
from testbed.emulation.commands import WITH_PARENT, Batch, apply, query_json
from testbed.emulation.delay.line import DelayLine
from testbed.emulation.delay.table import DelayTable, Forwarding, delay_table, fitted_forwarding, one_way
from testbed.emulation.journal import Journal
from testbed.emulation.links import (
    Shaping,
    all_mismatches,
    change_lines,
    questions,
    read_back,
    shaping,
    wire_change_lines,
)
from testbed.emulation.measurement import PING_FRAME_BYTES, Ends, round_trips_s, transfer_rates_bps
from testbed.emulation.nodes import LabHost, LabIntf, LabLink, LabSwitch
from testbed.emulation.ovs import Bridge, OpenVSwitch
from testbed.emulation.processes import Supervisor
from testbed.emulation.sockets import enlarge_packet_buffers
from testbed.errors import RunError
from testbed.spec.units import format_rate
from testbed.topology.model import Direction, Network
from testbed.topology.routes import Routes

_ALLOWANCE_PINGS = 15
_PING_EVERY_S = 0.02
_PING_S = 3.0
# A kernel without IPv6 (boot option ipv6.disable=1) refuses every setting of it.
_IPV6 = Path("/proc/net/if_inet6")
_SWITCH_SEND_BYTES = 256 * 2**20
_SWITCH_RECEIVE_BYTES = 4 * 2**20


@dataclass(frozen=True)
class QueueState:
    """What the qdiscs of a device have counted since they were made."""

    bytes: int
    packets: int
    drops: int
    backlog_bytes: int


class EmulatedNetwork(Mininet):
    """Mininet for one run. `build` makes everything, `Journal.close` removes it."""

    # Mininet's own initialisation changes limits of the whole machine; a run leaves the machine as it is.
    inited = True

    def __init__(
        self,
        network: Network,
        ports: PortNumbers,
        engines: Engines,
        journal: Journal,
        routes: Routes,
        congestion_control: str = "cubic",
    ) -> None:
        """A delay line delays by `routes`; switches route by what their controller says."""
        super().__init__(
            build=False, host=LabHost, switch=LabSwitch, link=LabLink, intf=LabIntf, controller=None
        )
        self.blueprint = Blueprint(
            journal.tag,
            network,
            ports,
            engines,
            cores=os.cpu_count() or 1,
            congestion_control=congestion_control,
            ipv6=_IPV6.exists(),
        )
        self.switch_pids: list[int] = []
        self._switches: list[OpenVSwitch] = []
        self.delay_line: DelayLine | None = None
        self.openflow_socket = journal.folder / "openflow.sock"
        self._journal = journal
        self._forwarding = Forwarding()
        self._routes = routes
        # What is set now, and the links as they are now: `change_link` changes them.
        self._devices = dict(self.blueprint.devices)
        self._wires = dict(self.blueprint.wires)
        self._links = {link.id: link for link in network.links}
        self._add_nodes(network)

    def build(self, supervisor: Supervisor | None = None, logs: Path | None = None) -> None:
        """Make namespaces, links, addresses, qdiscs and switches. Raises RunError where the kernel refuses.

        `supervisor` watches the switch's processes, whose logs go to the folder `logs`.
        """
        if supervisor is None or logs is None:
            raise TypeError("an emulated network is built with a supervisor and a folder for logs")
        plan = self.blueprint
        _make_namespaces(self._journal, plan)
        self._switches = [self._switch(group, logs) for group in plan.groups]
        self._start_delay_line(supervisor, logs)
        self.switch_pids = [switch.start(supervisor) for switch in self._switches]
        apply(plan.pair_batches())
        if self.delay_line:
            self.delay_line.open()
        apply([*plan.host_batches(), *plan.switch_batches()])
        if not (plan.offload or self.delay_line):
            compute_checksums((plan.namespace(host.id) for host in plan.network.hosts), HOST_DEVICE)
        self._in_each(OpenVSwitch.apply)
        # After the switch has its ports, so that what is read back is what stays.
        self._check_shaping(self.blueprint.shaping_batches())
        self.built = True

    def connect_switches(self) -> None:
        """Let the switches of a built network connect to the controller, which listens by now.

        One that tries before waits for seconds until it tries again.
        """
        target = f"unix:{self.openflow_socket}"
        self._in_each(lambda switch, bridges: switch.connect(bridges, target))

    def change_link(self, link: str, source: str, wanted: Direction) -> None:
        """Change rate, delay, loss and queue of what `source` sends over a link, in place, under traffic.

        What waits in its queue or is on its way stays there. Raises RunError where it has no delay and should
        get one (nothing on it can delay then), where its queue would change between bytes and packets, and
        where the kernel does not set what was asked for.
        """
        device, end = self._devices[link, source], self._wires.get((link, source))
        settings = shaping(wanted, self.blueprint.engines.delay == "netem")
        if wanted.delay_s and end is None and self.delay_line is None:
            what = f"link {link} was built without a delay, and can't get one while it runs"
            raise RunError(what, mend="give it a delay in the topology's file, be it 0.1 ms")
        try:
            lines = change_lines(device.name, device.shaping, settings)
        except ValueError as error:
            raise RunError(str(error)) from None
        batches = [Batch("tc", device.namespace, lines)] if lines else []
        if end is not None:
            batches.append(Batch("tc", end.namespace, wire_change_lines(end.name, settings)))
        apply(batches)
        self._devices[link, source] = replace(device, shaping=settings)
        if end is not None:
            self._wires[link, source] = replace(end, shaping=settings)
        self._check_shaping(only={batch.namespace for batch in batches})
        before = self._links[link]
        forward = source == before.a
        self._links[link] = replace(before, forward=wanted) if forward else replace(before, backward=wanted)
        if self.delay_line and wanted.delay_s != before.direction(source).delay_s:
            self.delay_line.set_delays(self._delays())

    def allow_for_forwarding(self, pairs: Sequence[tuple[str, str]]) -> Forwarding:
        """Measure what forwarding itself takes between (source, destination) hosts, and delay by that less.

        Only a delay line needs it: it adds its delay to what a userspace switch takes, which is a few tenths
        of a millisecond, and more where the switch has many ports. Returns what was found.
        """
        if self.delay_line is None:
            return self._forwarding
        network, excesses = self.blueprint.network, []
        for source, destination in pairs:
            times = self._pinged_s(source, destination, _ALLOWANCE_PINGS)
            if len(times) < 2:
                continue
            there = one_way(network, self._routes, source, destination)
            back = one_way(network, self._routes, destination, source)
            # A quick one of them: what a busy machine adds to others comes and goes.
            quick_s = statistics.quantiles(times, n=4)[0]
            excess_s = quick_s - there.delay_s - back.delay_s
            excesses.append(((there.switches + back.switches) / 2, excess_s / 2))
        if len(excesses) >= 2:
            self._forwarding = fitted_forwarding(excesses)
            self.delay_line.set_delays(self._delays())
        return self._forwarding

    def gateway_answer_s(self, host: str) -> float:
        """How long the switch is to take to answer what a host asks its gateway by ARP.

        netem delays on the link, there and back. A delay line delays what the host sends and nothing that a
        switch sends.
        """
        link = self._links[self.blueprint.network.host_by_id[host].link]
        up_s, down_s = link.direction(host).delay_s, link.direction(link.other(host)).delay_s
        if self.delay_line is None:
            return up_s + down_s if self.blueprint.engines.delay == "netem" else 0.0
        return self._forwarding.answer_s(up_s)

    def longest_delay_s(self) -> float:
        """A time after which every packet that hosts have sent is there, queues aside."""
        return 0.0 if self.blueprint.engines.delay == "none" else self._delays().longest_s

    def follow(self, routes: Routes) -> None:
        """Let packets be delayed by the links of other routes. netem is on the links, and needs no word."""
        self._routes = routes
        if self.delay_line:
            self.delay_line.set_delays(self._delays())

    def enlarge_switch_buffers(self) -> None:
        """Let links alone lose packets. To be called once the switches have sent their first packet.

        Open vSwitch opens the socket that it sends through with that packet.
        """
        if self.blueprint.engines.datapath == "netdev":
            for pid in self.switch_pids:
                enlarge_packet_buffers(pid, _SWITCH_SEND_BYTES, _SWITCH_RECEIVE_BYTES)

    def stop(self) -> None:
        """Let go of namespaces, and end the shells of Mininet's CLI; the journal removes the rest."""
        if self.delay_line:
            self.delay_line.close()
        for node in (*self.hosts, *self.switches):
            node.terminate()

    def iperf(
        self, hosts: Sequence[LabHost] | None = None, l4Type: str = "TCP", seconds: float = 5, **_: Any
    ) -> list[str]:
        """What Mininet's prompt asks for: the TCP payload rate from a host to another, said and returned.

        Mininet's own kills every iperf of the machine, and waits for words that iperf 2.1 does not print.
        """
        source, destination = hosts or (self.hosts[0], self.hosts[-1])
        output(f"*** {l4Type} from {source.name} to {destination.name}: ")
        if l4Type != "TCP":
            output(f"not measured; try 'iperf3 -s' in one and '{source.name} iperf3 -u -c IP'\n")
            return []
        address = self.blueprint.network.host_by_id[destination.name].ip
        ends = Ends(source.namespace, destination.namespace, address)
        try:
            (rate_bps,) = transfer_rates_bps([ends], settle_s=1.0, count_s=seconds)
        except RunError as error:
            output(f"{error}\n")
            return []
        rate = format_rate(round(rate_bps or 0, -3))
        output(f"{rate} of payload\n")
        return [rate]

    def unreachable(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those of the (source host, destination host) pairs between which no ping of many comes through."""
        with ThreadPoolExecutor(max_workers=16) as pool:
            answers = list(pool.map(lambda pair: self.ping_s(*pair) is not None, pairs))
        return [pair for pair, arrived in zip(pairs, answers, strict=True) if not arrived]

    def ping_s(self, source: str, destination: str, count: int = 3) -> float | None:
        """The round trip time from host to host, median of `count`; of fewer in 3 s, None without any."""
        times = self._pinged_s(source, destination, count)
        return statistics.median(times) if times else None

    def queues(self) -> Mapping[tuple[str, str], QueueState]:
        """(link, sending end) -> the counters of the switches' qdiscs: all but hosts' uplinks."""
        return self._queues_in({self.blueprint.namespace(group.name) for group in self.blueprint.groups})

    def uplink_queues(self) -> Mapping[tuple[str, str], QueueState]:
        """(access link, host) -> the counters of the hosts' own qdiscs."""
        return self._queues_in({self.blueprint.namespace(host.id) for host in self.blueprint.network.hosts})

    def _pinged_s(self, source: str, destination: str, count: int) -> list[float]:
        """The round trip times of `count` pings from host to host, or of those that are answered in 3 s."""
        network = self.blueprint.network
        there, back = (
            one_way(network, self._routes, *pair) for pair in ((source, destination), (destination, source))
        )
        # Half of the slowest link at most, and an answer is waited for as long as it takes.
        every_s = max(_PING_EVERY_S, 2 * PING_FRAME_BYTES * 8 / min(there.slowest_bps, back.slowest_bps))
        most_s = _PING_S + there.delay_s + back.delay_s
        address = network.host_by_id[destination].ip
        return round_trips_s(self.blueprint.namespace(source), address, count, every_s, most_s)

    def _queues_in(self, namespaces: set[str]) -> Mapping[tuple[str, str], QueueState]:
        device_at = {(device.namespace, device.name): device for device in self.blueprint.devices.values()}
        with ThreadPoolExecutor(max_workers=4) as pool:
            answers = pool.map(lambda name: (name, query_json("tc", name, "qdisc show")), namespaces)
        return {
            (device.link, device.source): _queue_state(item)
            for namespace, answer in answers
            for item in answer
            if item.get("root") and (device := device_at.get((namespace, item.get("dev", "")))) is not None
        }

    def _start_delay_line(self, supervisor: Supervisor, logs: Path) -> None:
        plan = self.blueprint
        if plan.has_delay_line:
            self.delay_line = DelayLine(self._journal.folder, logs, supervisor, plan.line_hosts)
            self.delay_line.start(self._delays(), plan.offload)

    def _switch(self, group: SwitchGroup, logs: Path) -> OpenVSwitch:
        plan = self.blueprint
        namespace = plan.namespace(group.name)
        run = self._journal.folder
        return OpenVSwitch(group.name, run, namespace, logs, plan.engines.datapath, plan.offload)

    def _in_each(self, work: Callable[[OpenVSwitch, list[Bridge]], None]) -> None:
        """Do `work` with every Open vSwitch and the bridges of its group, side by side."""
        bridges = self.blueprint.bridges()
        with ThreadPoolExecutor(max_workers=4) as pool:
            jobs = [
                pool.submit(work, switch, [bridges[pop] for pop in group.pops])
                for switch, group in zip(self._switches, self.blueprint.groups, strict=True)
            ]
            for job in jobs:
                job.result()

    def _add_nodes(self, network: Network) -> None:
        plan = self.blueprint
        for group in plan.groups:
            switch = self._switch(group, self._journal.folder)
            for pop_id in group.pops:
                bridge = plan.bridge_names[pop_id]
                self.addSwitch(
                    pop_id,
                    namespace=plan.namespace(group.name),
                    bridge=bridge,
                    management=str(switch.management_socket(bridge)),
                    dpid=f"{network.pop_by_id[pop_id].datapath_id:016x}",
                )
        for host in network.hosts:
            self.addHost(host.id, namespace=plan.namespace(host.id), ip=None, mac=host.mac)
        for link in network.links:
            options: dict[str, Any] = {}
            for number, end in ((1, link.a), (2, link.b)):
                options[f"intfName{number}"] = plan.devices[link.id, end].name
                if end in network.host_by_id:
                    options[f"params{number}"] = {"address": network.host_by_id[end].ip}
                else:
                    options[f"port{number}"] = plan.ports[end][link.id]
            self.addLink(link.a, link.b, **options)

    def _check_shaping(self, first: Sequence[Batch] = (), only: Collection[str] | None = None) -> None:
        """Compare what the kernel has set with what was wanted. Raises RunError with both values.

        In each namespace (of `only`, where it is given), in one go, the lines of its batch in `first` are
        applied before.
        """
        lines = {batch.namespace: batch.lines for batch in first}
        shaped: dict[str, dict[str, Shaping]] = defaultdict(dict)
        wires: dict[str, dict[str, Shaping]] = defaultdict(dict)
        for device in self._devices.values():
            shaped[device.namespace][device.name] = device.shaping
        for end in self._wires.values():
            wires[end.namespace][end.name] = end.shaping
        places = [place for place in dict.fromkeys([*shaped, *wires]) if only is None or place in only]
        answers = apply(
            [Batch("tc", place, (*lines.get(place, ()), *questions(shaped[place]))) for place in places]
        )
        wrong = [
            f"{place} {line}"
            for place, answer in zip(places, answers, strict=True)
            for line in all_mismatches(shaped[place], wires[place], read_back(answer))
        ]
        if wrong:
            raise RunError("links are not as they were set:\n  " + "\n  ".join(wrong))

    def _delays(self) -> DelayTable:
        network = replace(self.blueprint.network, links=tuple(self._links.values()))
        return delay_table(network, self._routes, self._forwarding)


def _make_namespaces(journal: Journal, plan: Blueprint) -> None:
    for name in plan.namespaces:
        journal.namespace(name)
    lines = "".join(f"netns add {name}\n" for name in plan.namespaces)
    done = subprocess.run(
        [*WITH_PARENT, "ip", "-batch", "-"], input=lines, text=True, capture_output=True, check=False
    )
    if done.returncode != 0:
        raise RunError(f"network namespaces can't be made: {done.stderr.strip()}", mend="testbed doctor")


def _queue_state(item: Mapping[str, Any]) -> QueueState:
    return QueueState(
        bytes=int(item.get("bytes", 0)),
        packets=int(item.get("packets", 0)),
        drops=int(item.get("drops", 0)),
        backlog_bytes=int(item.get("backlog", 0)),
    )
