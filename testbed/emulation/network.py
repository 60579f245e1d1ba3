"""The emulated network: a Mininet whose namespaces, links and switches are built and removed in batches.

A compiled `Network` goes in; a running network whose switches wait for a controller comes out. What was built
is read back and compared with the blueprint, and a difference fails the build.
"""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mininet.net import Mininet

from testbed.emulation.blueprint import FABRIC, Blueprint, Device, PortNumbers
from testbed.emulation.capabilities import Engines
from testbed.emulation.commands import apply, query_json, query_text
from testbed.emulation.journal import Journal
from testbed.emulation.links import mismatches, rates_in
from testbed.emulation.nodes import LabHost, LabIntf, LabLink, LabSwitch
from testbed.emulation.ovs import OpenVSwitch
from testbed.emulation.processes import Supervisor
from testbed.errors import RunError
from testbed.topology.model import Network

OPENFLOW_PORT = 6653
"""The controller listens on loopback inside the run's fabric namespace, so runs do not share the port."""

_PING_S = 3


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
        self.blueprint = Blueprint(journal.tag, network, ports, engines, congestion_control)
        self.ovs_pid = 0
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
        switch = OpenVSwitch(self._journal.folder, plan.fabric, logs, plan.engines.datapath)
        self.ovs_pid = switch.start(supervisor)
        apply([plan.links_batch()])
        apply(plan.host_batches())
        switch.apply(plan.bridges(), f"tcp:127.0.0.1:{OPENFLOW_PORT}")
        # After the switch has its ports, so that what is read back is what stays.
        apply(plan.shaping_batches())
        self._check_shaping()
        self.built = True

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
        namespace = f"--net=/run/netns/{self.blueprint.namespace(source)}"
        done = subprocess.run(
            ["nsenter", namespace, "--", "ping", "-n", "-q", "-c3", "-i0.05", f"-w{_PING_S}", address],
            text=True,
            capture_output=True,
            check=False,
        )
        match = re.search(r"= ([0-9.]+)/", done.stdout)
        return float(match.group(1)) / 1000 if done.returncode == 0 and match else None

    def queues(self) -> Mapping[tuple[str, str], QueueState]:
        """(link, sending end) -> the counters of the qdiscs in the fabric: all but the hosts' uplinks."""
        by_name = {device.name: device for device in self._devices_by_namespace()[self.blueprint.fabric]}
        states = {}
        for item in query_json("tc", self.blueprint.fabric, "qdisc show"):
            device = by_name.get(item.get("dev", ""))
            if device is not None and item.get("root"):
                states[device.link, device.source] = _queue_state(item)
        return states

    def uplink_queues(self) -> Mapping[tuple[str, str], QueueState]:
        """(access link, host) -> the counters of the hosts' own qdiscs."""
        groups = {
            namespace: devices
            for namespace, devices in self._devices_by_namespace().items()
            if namespace != self.blueprint.fabric
        }
        with ThreadPoolExecutor(max_workers=8) as pool:
            answers = pool.map(lambda namespace: query_json("tc", namespace, "qdisc show"), groups)
        return {
            (device.link, device.source): _queue_state(item)
            for (device, *_), answer in zip(groups.values(), answers, strict=True)
            for item in answer
            if item.get("root") and item.get("dev") == device.name
        }

    def _add_nodes(self, network: Network) -> None:
        plan = self.blueprint
        for pop in network.pops:
            bridge = plan.bridge_names[pop.id]
            self.addSwitch(
                pop.id,
                namespace=plan.fabric,
                bridge=bridge,
                management=str(self._journal.folder / "ovs" / f"{bridge}.mgmt"),
                dpid=f"{pop.datapath_id:016x}",
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
    for host in (FABRIC, *(host.id for host in plan.network.hosts)):
        journal.namespace(host)
    lines = "".join(f"netns add {name}\n" for name in plan.namespaces)
    done = subprocess.run(["ip", "-batch", "-"], input=lines, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise RunError(f"network namespaces can't be made: {done.stderr.strip()}", mend="testbed doctor")


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
