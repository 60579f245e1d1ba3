"""What benchmarks/network.py measures on: a living network with rules, and TCP connections inside it.

A compiled network goes in; it is built as a trial builds it, up to the rules of every switch. A `Traffic` is
sockets of many hosts in one process, so that hundreds of connections cost one loop.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed.controller.client import Controller
from testbed.controller.config import ControllerConfig
from testbed.controller.counters import PORT_COUNTERS
from testbed.controller.rules import port_numbers
from testbed.emulation.agent import LinkAgent
from testbed.emulation.capabilities import Engines
from testbed.emulation.journal import Journal
from testbed.emulation.namespaces import within
from testbed.emulation.network import EmulatedNetwork
from testbed.emulation.processes import Process, Supervisor
from testbed.spec.topology import load_topology
from testbed.topology.compile import HostRequest, compile_network
from testbed.topology.model import Network
from testbed.topology.routing import compute_routes

PORT = 5201
_READY_S = 60.0


def star(edges: int, hosts: Sequence[str], lines: Mapping[str, str]) -> Network:
    """One core switch, edge switches around it, hosts dealt out to the edge switches one by one.

    `hosts` names each host's access line, `lines` says what a line is, as in a topology file.
    """
    core, around = 0, range(1, edges + 1)
    pops = "".join(f"      p{each}: {{at: [{40 + each / 10}, {each / 10}]}}\n" for each in (core, *around))
    links = "".join(
        f"      - {{between: [p{core}, p{each}], capacity: 1 Gbit/s, delay: 0 ms}}\n" for each in around
    )
    access = "".join(f"  {name}: {{{line}}}\n" for name, line in lines.items())
    text = f"name: star\nisps:\n  isp:\n    asn: 1\n    pops:\n{pops}    links:\n{links}access:\n{access}"
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        spec = load_topology(Path(file.name))[0]
    requests = [
        HostRequest(f"isp.p{number % edges + 1}", "leecher", line) for number, line in enumerate(hosts)
    ]
    return compile_network(spec, requests)


@dataclass
class Live:
    """A network that runs, and how long its making took."""

    network: Network
    net: EmulatedNetwork
    supervisor: Supervisor
    folder: Path
    run: Path
    build_s: float
    install_s: float
    controller: Process

    @property
    def api(self) -> Controller:
        return Controller(self.run / "controller.sock", self.run / "token")

    def restart_controller(self, framework: str = "ryu") -> float:
        """Kill the controller as a crash does, and start another. Seconds until that one is ready."""
        self.supervisor.kill(self.controller)
        begun = time.monotonic()
        self.controller = _launch_controller(self.supervisor, self.net, self.folder, self.run, framework)
        _wait_for(self.folder / "ready", self.supervisor, self.controller)
        return time.monotonic() - begun

    def namespace(self, host: str) -> str:
        return self.net.blueprint.namespace(host)

    def with_line(self, line: str) -> list[str]:
        """The hosts with this access line."""
        return [host.id for host in self.network.hosts if host.access == line]

    def address(self, host: str) -> str:
        return self.network.host_by_id[host].ip

    def warm_up(self) -> None:
        """As before a trial: a packet to a host of every PoP, buffers enlarged, forwarding allowed for.

        Open vSwitch opens the socket whose buffer is enlarged when it sends its first packet.
        """
        one_a_pop = {host.pop: host.id for host in self.network.hosts}
        first, *others = one_a_pop.values()
        lost = self.net.unreachable([(first, other) for other in others])
        if lost:
            raise SystemExit(f"no packet came through: {lost}")
        self.net.enlarge_switch_buffers()
        self.net.allow_for_forwarding([(first, other) for other in others])

    def port_counters(self, after_ns: int) -> dict[str, dict[str, dict[str, int]]]:
        """PoP -> link -> counters of the switch's port, as polled after `after_ns` (monotonic)."""
        while True:
            found = {}
            for line in (self.folder / "counters.jsonl").read_text().splitlines():
                entry = json.loads(line)
                if entry["monotonic_ns"] > after_ns:
                    ports = entry["ports"].items()
                    found[entry["pop"]] = {
                        link: dict(zip(PORT_COUNTERS, values, strict=True)) for link, values in ports
                    }
            if len(found) == len(self.network.pops):
                return found
            time.sleep(0.2)


@contextmanager
def living(
    network: Network, engines: Engines, torn_down: list[float] | None = None, framework: str = "ryu"
) -> Iterator[Live]:
    """Build as a trial does, rules installed and confirmed; remove it all at the end.

    The time that the removal took is appended to `torn_down`.
    """
    routes = compute_routes(network)
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        folder = Path(name)
        (folder / "topology.json").write_text(
            json.dumps({"network": network.to_json(), "routes": routes.to_json()})
        )
        started = time.monotonic()
        journal = Journal.create("benchmark")
        supervisor = Supervisor(journal)
        net = EmulatedNetwork(network, port_numbers(network), engines, journal, routes)
        try:
            controller = _launch_controller(supervisor, net, folder, journal.folder, framework)
            net.build(supervisor, folder)
            _wait_for(net.openflow_socket, supervisor, controller)
            connected = time.monotonic()
            net.connect_switches()
            _wait_for(folder / "ready", supervisor, controller)
            ready = time.monotonic()
            with LinkAgent(net, journal.folder / "links.sock"):
                yield Live(
                    network,
                    net,
                    supervisor,
                    folder,
                    journal.folder,
                    ready - started,
                    ready - connected,
                    controller,
                )
        finally:
            stopped = time.monotonic()
            net.stop()
            supervisor.stop_all()
            journal.close()
            if torn_down is not None:
                torn_down.append(time.monotonic() - stopped)


def _launch_controller(
    supervisor: Supervisor, net: EmulatedNetwork, folder: Path, run: Path, framework: str
) -> Process:
    (run / "token").write_text("benchmark")
    (folder / "ready").unlink(missing_ok=True)
    config = ControllerConfig(
        topology=folder / "topology.json",
        framework=framework,
        token_file=run / "token",
        link_agent=run / "links.sock",
        state_file=run / "controller.state.json",
        openflow_socket=net.openflow_socket,
        socket=run / "controller.sock",
        counters=folder / "counters.jsonl",
        ready_file=folder / "ready",
    )
    file = folder / "controller.yaml"
    file.write_text(config.model_dump_json())  # JSON is YAML
    arguments = [sys.executable, "-m", "testbed.controller", "--config", str(file)]
    return supervisor.start("controller", arguments, log=folder / "controller.log")


def _wait_for(file: Path, supervisor: Supervisor, controller: Process) -> None:
    deadline = time.monotonic() + _READY_S
    while not file.exists():
        for process in supervisor.deaths(0.01):
            raise process.death()
        if time.monotonic() > deadline:
            raise SystemExit(f"the controller is not ready:\n{controller.tail()}")


def connect(live: Live, pairs: Sequence[tuple[str, str]]) -> list[tuple[socket.socket, socket.socket]]:
    """A connection for each (source, target), as their two sockets."""
    listeners = {}
    for target in dict.fromkeys(target for _, target in pairs):
        listeners[target] = within(live.namespace(target), socket.socket)
        listeners[target].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listeners[target].bind((live.address(target), PORT))
        listeners[target].listen(256)
    connections = []
    for source, target in pairs:
        near = within(live.namespace(source), socket.socket)
        near.settimeout(10)
        near.connect((live.address(target), PORT))
        connections.append((near, listeners[target].accept()[0]))
    for listener in listeners.values():
        listener.close()
    return connections


@dataclass
class Counted:
    """What a receiver got: bytes since the start of the measured time, and when the last of them came."""

    bytes: int = 0
    first_s: float = 0.0
    last_s: float = 0.0

    def note(self, count: int, now_s: float) -> None:
        if not self.first_s:
            self.first_s = self.last_s = now_s  # the bytes until now came before
            return
        self.bytes += count
        self.last_s = now_s

    @property
    def rate_bps(self) -> float:
        return 8 * self.bytes / (self.last_s - self.first_s)


def transfer(
    senders: Iterable[socket.socket],
    receivers: Iterable[socket.socket],
    *,
    seconds: float,
    skipped_s: float,
    batch_bytes: int = 1,
) -> dict[int, Counted]:
    """Send from all senders as fast as TCP takes it; what came, by the receiver's file descriptor.

    What comes in the first `skipped_s` is not counted. A receiver is read when `batch_bytes` wait for it.
    """
    load = bytes(1 << 18)
    into = bytearray(1 << 20)
    poll = select.epoll()
    events: dict[int, int] = {}
    sockets: dict[int, socket.socket] = {}
    for group, event in ((senders, select.EPOLLOUT), (receivers, select.EPOLLIN)):
        for each in group:
            each.setblocking(False)
            sockets[each.fileno()] = each
            events[each.fileno()] = events.get(each.fileno(), 0) | event
    for number, wanted in events.items():
        if wanted & select.EPOLLIN:
            sockets[number].setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, batch_bytes)
        poll.register(number, wanted)
    counted = {number: Counted() for number, wanted in events.items() if wanted & select.EPOLLIN}
    begun = time.monotonic()
    while (now := time.monotonic()) < begun + seconds:
        for number, ready in poll.poll(0.05):
            if ready & select.EPOLLIN:
                count = sockets[number].recv_into(into)
                if now > begun + skipped_s:
                    counted[number].note(count, now)
            if ready & select.EPOLLOUT:
                sockets[number].send(load)
    poll.close()
    return counted


def drain(sockets: Iterable[socket.socket], quiet_s: float) -> None:
    """Read what still comes until nothing has come for `quiet_s`."""
    into = bytearray(1 << 20)
    poll = select.poll()
    by_number = {each.fileno(): each for each in sockets}
    for each in by_number.values():
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        poll.register(each, select.POLLIN)
    while ready := poll.poll(quiet_s * 1000):
        for number, _ in ready:
            if not by_number[number].recv_into(into):
                poll.unregister(number)


def arrived_packets(namespace: str) -> int:
    """IP packets that a namespace has received."""

    def read() -> int:
        lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
        names, values = (line.split() for line in lines if line.startswith("Ip:"))
        return int(values[names.index("InReceives")])

    return within(namespace, read)
