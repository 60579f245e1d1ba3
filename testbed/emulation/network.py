"""The emulated network: a Mininet whose namespaces, links and switches are built and removed in batches.

A compiled `Network` goes in; a running network whose switches wait for a controller comes out. What was built
is read back and compared with the blueprint, and a difference fails the build.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mininet.net import Mininet

from testbed.emulation.blueprint import HOST_DEVICE, Blueprint, Device, PortNumbers, SwitchGroup
from testbed.emulation.capabilities import Engines
from testbed.emulation.commands import WITH_PARENT, apply, query_json, query_text
from testbed.emulation.journal import NAMESPACES, Journal
from testbed.emulation.links import mismatches, rates_in
from testbed.emulation.nodes import LabHost, LabIntf, LabLink, LabSwitch
from testbed.emulation.ovs import OpenVSwitch
from testbed.emulation.processes import Supervisor
from testbed.emulation.sockets import enlarge_packet_buffers
from testbed.errors import RunError
from testbed.topology.model import Network

_PING_S = 3
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
        *,
        congestion_control: str = "cubic",
    ) -> None:
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
        self.openflow_socket = journal.folder / "openflow.sock"
        self._journal = journal
        self._add_nodes(network)

    def build(self, supervisor: Supervisor | None = None, logs: Path | None = None) -> None:
        """Make namespaces, links, addresses, qdiscs and switches. Raises RunError where the kernel refuses.

        `supervisor` watches the switch's processes, whose logs go to the folder `logs`.
        """
        if supervisor is None or logs is None:
            raise TypeError("an emulated network is built with a supervisor and a folder for logs")
        plan = self.blueprint
        _make_namespaces(self._journal, plan)
        switches = [self._switch(group, logs) for group in plan.groups]
        self.switch_pids = [switch.start(supervisor) for switch in switches]
        apply(plan.pair_batches())
        apply([*plan.host_batches(), *plan.switch_batches()])
        if not plan.offload:
            _compute_checksums(plan)
        self._make_bridges(switches)
        # After the switch has its ports, so that what is read back is what stays.
        apply(plan.shaping_batches())
        self._check_shaping()
        self.built = True

    def enlarge_switch_buffers(self) -> None:
        """Let links alone lose packets. To be called once the switches have sent their first packet.

        Open vSwitch opens the socket that it sends through with that packet.
        """
        if self.blueprint.engines.datapath == "netdev":
            for pid in self.switch_pids:
                enlarge_packet_buffers(pid, _SWITCH_SEND_BYTES, _SWITCH_RECEIVE_BYTES)

    def stop(self) -> None:
        """End the shells that Mininet's CLI may have started; the journal removes the rest."""
        for node in (*self.hosts, *self.switches):
            node.terminate()

    def unreachable(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those of the (source host, destination host) pairs between which no ping comes through."""
        with ThreadPoolExecutor(max_workers=16) as pool:
            answers = list(pool.map(lambda pair: self.ping_s(*pair) is not None, pairs))
        return [pair for pair, arrived in zip(pairs, answers, strict=True) if not arrived]

    def ping_s(self, source: str, destination: str) -> float | None:
        """The round trip time from host to host, best of three; None where no answer came."""
        address = self.blueprint.network.host_by_id[destination].ip
        namespace = f"--net={NAMESPACES / self.blueprint.namespace(source)}"
        done = subprocess.run(
            ["nsenter", namespace, "--", "ping", "-n", "-q", "-c3", "-i0.05", f"-w{_PING_S}", address],
            text=True,
            capture_output=True,
            check=False,
        )
        match = re.search(r"= ([0-9.]+)/", done.stdout)
        return float(match.group(1)) / 1000 if done.returncode == 0 and match else None

    def queues(self) -> Mapping[tuple[str, str], QueueState]:
        """(link, sending end) -> the counters of the switches' qdiscs: all but hosts' uplinks."""
        return self._queues_in({self.blueprint.namespace(group.name) for group in self.blueprint.groups})

    def uplink_queues(self) -> Mapping[tuple[str, str], QueueState]:
        """(access link, host) -> the counters of the hosts' own qdiscs."""
        return self._queues_in({self.blueprint.namespace(host.id) for host in self.blueprint.network.hosts})

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

    def _switch(self, group: SwitchGroup, logs: Path) -> OpenVSwitch:
        plan = self.blueprint
        namespace = plan.namespace(group.name)
        run = self._journal.folder
        return OpenVSwitch(group.name, run, namespace, logs, plan.engines.datapath, plan.offload)

    def _make_bridges(self, switches: list[OpenVSwitch]) -> None:
        """All bridges, each in the Open vSwitch of its group; the groups side by side."""
        bridges, target = self.blueprint.bridges(), f"unix:{self.openflow_socket}"
        with ThreadPoolExecutor(max_workers=4) as pool:
            jobs = [
                pool.submit(switch.apply, [bridges[pop] for pop in group.pops], target)
                for switch, group in zip(switches, self.blueprint.groups, strict=True)
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

    def _devices_by_namespace(self) -> Mapping[str, list[Device]]:
        groups: dict[str, list[Device]] = defaultdict(list)
        for device in self.blueprint.devices.values():
            groups[device.namespace].append(device)
        return groups

    def _check_shaping(self) -> None:
        """Compare what the kernel has set with what was wanted. Raises RunError with both values."""
        groups = self._devices_by_namespace()
        with ThreadPoolExecutor(max_workers=8) as pool:
            wrong = [
                line
                for lines in pool.map(_shaping_errors, *zip(*groups.items(), strict=True))
                for line in lines
            ]
        if wrong:
            raise RunError("links are not as they were set:\n  " + "\n  ".join(wrong))


def _make_namespaces(journal: Journal, plan: Blueprint) -> None:
    for name in plan.namespaces:
        journal.namespace(name)
    lines = "".join(f"netns add {name}\n" for name in plan.namespaces)
    done = subprocess.run(
        [*WITH_PARENT, "ip", "-batch", "-"], input=lines, text=True, capture_output=True, check=False
    )
    if done.returncode != 0:
        raise RunError(f"network namespaces can't be made: {done.stderr.strip()}", mend="testbed doctor")


def _compute_checksums(plan: Blueprint) -> None:
    """Turn checksum offload off in all hosts."""

    def turn_off(namespace: str) -> None:
        inside = ["nsenter", f"--net={NAMESPACES / namespace}", "--"]
        done = subprocess.run(
            [*inside, "ethtool", "-K", HOST_DEVICE, "tx", "off"], text=True, capture_output=True, check=False
        )
        if done.returncode != 0:
            raise RunError(f"ethtool in {namespace}: {done.stderr.strip()}")

    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(turn_off, (plan.namespace(host.id) for host in plan.network.hosts)))


def _shaping_errors(namespace: str, devices: list[Device]) -> list[str]:
    rates = rates_in(query_text("tc", namespace, [f"class show dev {device.name}" for device in devices]))
    if len(rates) != len(devices):
        return [f"{namespace}: {len(rates)} shaped devices, wanted {len(devices)}"]
    qdiscs = query_json("tc", namespace, "qdisc show")
    found: list[str] = []
    for device, rate in zip(devices, rates, strict=True):
        mine = [item for item in qdiscs if item.get("dev") == device.name]
        found.extend(f"{namespace} {line}" for line in mismatches(device.name, device.shaping, rate, mine))
    return found


def _queue_state(item: Mapping[str, Any]) -> QueueState:
    return QueueState(
        bytes=int(item.get("bytes", 0)),
        packets=int(item.get("packets", 0)),
        drops=int(item.get("drops", 0)),
        backlog_bytes=int(item.get("backlog", 0)),
    )
