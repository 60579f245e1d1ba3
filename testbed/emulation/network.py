"""The emulated network: a Mininet whose namespaces, links and switches are built and removed in batches.

A compiled `Network` goes in; a running network whose switches wait for a controller comes out. What was built
is read back and compared with the blueprint, and a difference fails the build.
"""

from __future__ import annotations

import os
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from mininet.log import error as complain
from mininet.log import output
from mininet.net import Mininet

from testbed.emulation.blueprint import HOST_DEVICE, Blueprint, Device, PortNumbers, SwitchGroup
from testbed.emulation.capabilities import Engines
from testbed.emulation.checksums import compute_checksums
from testbed.emulation.commands import WITH_PARENT, Batch, apply, query_json
from testbed.emulation.delay.line import DelayLine
from testbed.emulation.delay.table import (
    DelayTable,
    Forwarding,
    OneWay,
    delay_table,
    fitted_forwarding,
    one_way,
)
from testbed.emulation.journal import Journal
from testbed.emulation.links import refusal, shaping
from testbed.emulation.measurement import PING_FRAME_BYTES, Ends, round_trips_s, transfer_rates_bps
from testbed.emulation.nodes import LabHost, LabIntf, LabLink, LabSwitch
from testbed.emulation.ovs import Bridge, OpenVSwitch
from testbed.emulation.processes import Supervisor
from testbed.emulation.shaper import Shaper, Way
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
    """Mininet for one run. `build` makes everything, `Journal.close` removes it.

    While it runs, links and routes may change in one thread and be measured in another.
    """

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
        self._shaper = Shaper(self.blueprint)
        self.now = network
        """With its links as they are now."""
        # All that changes while it runs, changes under the lock; what the kernel and a delay line have, too.
        self._changing = Lock()
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
        self._shaper.set_up()
        self.built = True

    def connect_switches(self) -> None:
        """Let the switches of a built network connect to the controller, which listens by now.

        One that tries before waits for seconds until it tries again.
        """
        target = f"unix:{self.openflow_socket}"
        self._in_each(lambda switch, bridges: switch.connect(bridges, target))

    def change_links(self, changes: Mapping[Way, Direction]) -> None:
        """Change rate, delay, loss and queue of (link, sending end), in place, under traffic: all or none.

        What waits in a queue or is on its way stays there. Raises RunError and touches nothing where there is
        no such link, where it has no delay and should get one but nothing on it can delay, and where a value
        can't be. Where the kernel or the delay line refuse, what was done is undone and the error says so.
        """
        with self._changing:
            changed = self._with_changes(changes)
            netem = self.blueprint.engines.delay == "netem"
            before = {way: self.now.link_by_id[way[0]].direction(way[1]) for way in changes}
            self._shaper.change({way: shaping(wanted, netem) for way, wanted in changes.items()})
            if self.delay_line and any(was.delay_s != changes[way].delay_s for way, was in before.items()):
                try:
                    self.delay_line.set_delays(delay_table(changed, self._routes, self._forwarding))
                except RunError as error:
                    self._shaper.change({way: shaping(was, netem) for way, was in before.items()})
                    raise RunError(f"{error}\nwhat was changed of the links is undone") from error
            self.now = changed

    def check_shaping(self) -> None:
        """Raises RunError with both values where the kernel has not what links are set to."""
        with self._changing:
            self._shaper.check()

    def kill_switch(self, pop: str) -> None:
        """Kill the Open vSwitch of a PoP, which is that of others too: `blueprint.groups` says of which."""
        self._switches[self._group(pop)].kill()

    def restart_switch(self, pop: str) -> None:
        """Start the Open vSwitch of a PoP again, after killing it where it lives. Raises RunError.

        Its links stay as they are shaped. It looks for its controller by itself; once it forwards again,
        its buffers are to be enlarged again.
        """
        number = self._group(pop)
        bridges = self.blueprint.bridges()
        pops = self.blueprint.groups[number].pops
        self.switch_pids[number] = self._switches[number].restart([bridges[name] for name in pops])

    def allow_for_forwarding(self, pairs: Sequence[tuple[str, str]]) -> Forwarding:
        """Measure what forwarding itself takes between (source, destination) hosts, and delay by that less.

        Only a delay line needs it: it adds its delay to what a userspace switch takes, which is a few tenths
        of a millisecond, and more where the switch has many ports. Returns what was found.
        """
        if self.delay_line is None:
            return self._forwarding
        excesses = []
        for source, destination in pairs:
            times = self._pinged_s(source, destination, _ALLOWANCE_PINGS)
            if len(times) < 2:
                continue
            there, back = self._one_way(source, destination), self._one_way(destination, source)
            # A quick one of them: what a busy machine adds to others comes and goes.
            quick_s = statistics.quantiles(times, n=4)[0]
            excess_s = quick_s - there.delay_s - back.delay_s
            excesses.append(((there.switches + back.switches) / 2, excess_s / 2))
        if len(excesses) >= 2:
            with self._changing:
                self._forwarding = fitted_forwarding(excesses)
                self.delay_line.set_delays(self._delays())
        return self._forwarding

    def gateway_answer_s(self, host: str) -> float:
        """How long the switch is to take to answer what a host asks its gateway by ARP.

        netem delays on the link, there and back. A delay line delays what the host sends and nothing that a
        switch sends.
        """
        link = self.now.link_by_id[self.now.host_by_id[host].link]
        up_s, down_s = link.direction(host).delay_s, link.direction(link.other(host)).delay_s
        if self.delay_line is None:
            return up_s + down_s if self.blueprint.engines.delay == "netem" else 0.0
        return self._forwarding.answer_s(up_s)

    def longest_delay_s(self) -> float:
        """A time after which every packet that hosts have sent is there, queues aside."""
        with self._changing:
            return 0.0 if self.blueprint.engines.delay == "none" else self._delays().longest_s

    def follow(self, routes: Routes) -> None:
        """Let packets be delayed by the links of other routes. netem is on the links, and needs no word."""
        with self._changing:
            if self.delay_line:
                self.delay_line.set_delays(delay_table(self.now, routes, self._forwarding))
            self._routes = routes

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

    def configLinkStatus(self, src: str, dst: str, status: str) -> None:
        """What `link SRC DST up|down` at Mininet's prompt asks for: the switches' ends of their links.

        A host's end stays as it is: a device that is taken down forgets its routes.
        """
        links = [link.id for link in self.now.links if {link.a, link.b} == {src, dst}]
        if not links:
            complain(f"no link joins {src} and {dst}\n")
        ends = [end for link in links for end in self._switch_ends(link)]
        try:
            apply([Batch("ip", end.namespace, (f"link set dev {end.name} {status}",)) for end in ends])
        except RunError as error:
            complain(f"{error}\n")

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
        every_s, most_s = _PING_EVERY_S, _PING_S
        pops = self.now.host_by_id[source].pop, self.now.host_by_id[destination].pop
        if self._routes.reaches(*pops) and self._routes.reaches(*reversed(pops)):
            there, back = self._one_way(source, destination), self._one_way(destination, source)
            # Half of the slowest link at most, and an answer is waited for as long as it takes.
            slowest_bps = min(there.slowest_bps, back.slowest_bps)
            every_s = max(_PING_EVERY_S, 2 * PING_FRAME_BYTES * 8 / slowest_bps)
            most_s += there.delay_s + back.delay_s
        address = self.now.host_by_id[destination].ip
        return round_trips_s(self.blueprint.namespace(source), address, count, every_s, most_s)

    def _one_way(self, source: str, destination: str) -> OneWay:
        return one_way(self.now, self._routes, source, destination)

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

    def _group(self, pop: str) -> int:
        return next(number for number, group in enumerate(self.blueprint.groups) if pop in group.pops)

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

    def _switch_ends(self, link: str) -> list[Device]:
        devices, pops = self.blueprint.devices, self.now.pop_by_id
        return [device for (name, end), device in devices.items() if name == link and end in pops]

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

    def _with_changes(self, changes: Mapping[Way, Direction]) -> Network:
        """The network as it will be. Raises RunError with all that is impossible."""
        links, wrong = dict(self.now.link_by_id), []
        for (name, source), wanted in changes.items():
            link = links.get(name)
            if link is None or source not in (link.a, link.b):
                wrong.append(f"{name} from {source}: there is no such link")
                continue
            if reason := refusal(link.direction(source), wanted):
                wrong.append(f"{name} from {source}: {reason}")
            if wanted.delay_s and not (self.delay_line or self._shaper.can_delay((name, source))):
                wrong.append(
                    f"{name} from {source}: it was built without a delay, and can't get one while it runs;"
                    " give it one in the topology's file, be it 0.1 ms"
                )
            forward = source == link.a
            links[name] = replace(link, forward=wanted) if forward else replace(link, backward=wanted)
        if wrong:
            raise RunError("nothing was changed:\n  " + "\n  ".join(wrong))
        return replace(self.now, links=tuple(links.values()))

    def _delays(self) -> DelayTable:
        return delay_table(self.now, self._routes, self._forwarding)


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
