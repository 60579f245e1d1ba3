"""The controller against a real Open vSwitch in its own network namespaces: rules, pings, counters."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from testbed.controller.rules import port_numbers, switch_rules
from testbed.topology.model import Direction, Host, Isp, Link, Network, Pop
from testbed.topology.routing import compute_routes

pytestmark = [
    pytest.mark.emulation,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces"),
    pytest.mark.skipif(shutil.which("ovs-vswitchd") is None, reason="needs Open vSwitch"),
]
LINE = Direction(10_000_000)
TAG = f"hc{os.getpid()}"


def _pop(isp: str, name: str, number: int, prefix: str) -> Pop:
    gateway = prefix.replace("0/24", "1")
    return Pop(f"{isp}.{name}", isp, name, prefix, gateway, f"02:00:00:00:00:{number:02x}", number)


def _network() -> Network:
    """paris -- lyon (one ISP) -- rome (another), a host at each, two in paris."""
    pops = (
        _pop("cablenet", "paris", 1, "10.1.0.0/24"),
        _pop("cablenet", "lyon", 2, "10.1.1.0/24"),
        _pop("dslnet", "rome", 3, "10.2.0.0/24"),
    )
    core = (
        Link("paris--lyon", "internal", "cablenet.paris", "cablenet.lyon", LINE, LINE),
        Link("rome--lyon", "interdomain", "dslnet.rome", "cablenet.lyon", LINE, LINE, "customer-provider"),
    )
    hosts = tuple(
        Host(f"h{n}", pop.id, pop.isp, "leecher", ip, f"02:00:00:00:01:{n:02x}", "line", f"h{n}--{pop.id}")
        for n, (pop, ip) in enumerate(
            [(pops[0], "10.1.0.2"), (pops[0], "10.1.0.3"), (pops[1], "10.1.1.2"), (pops[2], "10.2.0.2")]
        )
    )
    access = tuple(Link(host.link, "access", host.id, host.pop, LINE, LINE) for host in hosts)
    isps = (Isp("cablenet", 65001, "10.1.0.0/16"), Isp("dslnet", 65002, "10.2.0.0/16"))
    return Network("three", isps, pops, core + access, hosts)


def _wait(condition: Callable[[], Any], timeout_s: float = 15.0) -> Any:
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("it did not come about")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


@dataclass
class Lab:
    """An Open vSwitch in a namespace, a namespace for each host, and the controller."""

    folder: Path
    network: Network
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)
    controller: subprocess.Popen[bytes] | None = None

    @property
    def database(self) -> str:
        return f"unix:{self.folder}/db.sock"

    def bridge(self, pop: Pop) -> str:
        return f"{TAG}b{pop.datapath_id}"

    def inside(self, namespace: str, *command: str) -> str:
        return _run("ip", "netns", "exec", f"{TAG}-{namespace}", *command)

    def vsctl(self, *arguments: str) -> str:
        return _run("ovs-vsctl", f"--db={self.database}", "--timeout=20", *arguments)

    def flows(self, pop: Pop) -> list[str]:
        management = f"unix:{self.folder}/{self.bridge(pop)}.mgmt"
        listing = _run("ovs-ofctl", "-O", "OpenFlow13", "--no-stats", "dump-flows", management)
        return [line.strip() for line in listing.splitlines() if "priority" in line]

    def ping(self, host: Host, target: str) -> bool:
        command = ["ip", "netns", "exec", f"{TAG}-{host.id}", "ping", "-c1", "-W1", "-t8", target]
        return subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0

    def get(self, target: str) -> Any:
        connection = _UnixConnection(self.folder / "api.sock")
        connection.request("GET", target)
        return json.load(connection.getresponse())

    def start_controller(self) -> None:
        (self.folder / "ready").unlink(missing_ok=True)
        config = self.folder / "controller.yaml"
        config.write_text(
            f"topology: {self.folder}/topology.json\nopenflow_socket: {self.folder}/of.sock\n"
            f"socket: {self.folder}/api.sock\ncounters: {self.folder}/counters.jsonl\n"
            f"poll_interval_s: 0.2\nready_file: {self.folder}/ready\n"
        )
        with (self.folder / "controller.log").open("a") as log:
            self.controller = self.spawn(
                sys.executable, "-m", "testbed.controller", "--config", str(config), log=log
            )
        _wait((self.folder / "ready").exists)

    def spawn(self, *command: str, log: Any = None) -> subprocess.Popen[bytes]:
        environment = {name: str(self.folder) for name in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR")}
        return subprocess.Popen(
            ["ip", "netns", "exec", f"{TAG}-fab", *command],
            env={**os.environ, **environment},
            stdout=log or subprocess.DEVNULL,
            stderr=log or subprocess.DEVNULL,
        )


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def _build(lab: Lab) -> None:
    ports = port_numbers(lab.network)
    _run("ip", "netns", "add", f"{TAG}-fab")
    _run("ip", "-n", f"{TAG}-fab", "link", "set", "lo", "up")
    _run("ovsdb-tool", "create", f"{lab.folder}/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
    lab.daemons.append(lab.spawn("ovsdb-server", f"{lab.folder}/conf.db", f"--remote=p{lab.database}"))
    _wait((lab.folder / "db.sock").exists)
    lab.vsctl("--no-wait", "init")
    lab.daemons.append(lab.spawn("ovs-vswitchd", lab.database))
    for pop in lab.network.pops:
        lab.vsctl(
            *("add-br", lab.bridge(pop), "--", "set", "bridge", lab.bridge(pop), "datapath_type=netdev"),
            *("fail_mode=secure", "protocols=OpenFlow13"),
            *(f"other-config:datapath-id={pop.datapath_id:016x}", "other-config:disable-in-band=true"),
            *("--", "set-controller", lab.bridge(pop), f"unix:{lab.folder}/of.sock"),
            *("--", "set", "controller", lab.bridge(pop), "max_backoff=1000"),
        )
    for n, link in enumerate(lab.network.core_links):
        _run("ip", "-n", f"{TAG}-fab", "link", "add", f"c{n}a", "type", "veth", "peer", "name", f"c{n}b")
        for end, device in ((link.a, f"c{n}a"), (link.b, f"c{n}b")):
            _attach(lab, lab.network.pop_by_id[end], device, ports[end][link.id])
    for n, host in enumerate(lab.network.hosts):
        _add_host(lab, host, f"a{n}", ports[host.pop][host.link])


def _attach(lab: Lab, pop: Pop, device: str, number: int) -> None:
    _run("ip", "-n", f"{TAG}-fab", "link", "set", device, "up")
    lab.vsctl(
        "add-port", lab.bridge(pop), device, "--", "set", "interface", device, f"ofport_request={number}"
    )


def _add_host(lab: Lab, host: Host, device: str, number: int) -> None:
    """One /32 address and a default route to the gateway, whose MAC address it has to ask for."""
    pop, name = lab.network.pop_by_id[host.pop], f"{TAG}-{host.id}"
    _run("ip", "netns", "add", name)
    _run(
        "ip",
        "link",
        "add",
        device,
        "netns",
        f"{TAG}-fab",
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        name,
    )
    ip = ("ip", "-n", name)
    _run(*ip, "link", "set", "eth0", "address", host.mac, "up")
    _run(*ip, "addr", "add", f"{host.ip}/32", "dev", "eth0")
    _run(*ip, "route", "add", pop.gateway_ip, "dev", "eth0")
    _run(*ip, "route", "add", "default", "via", pop.gateway_ip)
    # Without TSO in the userspace datapath, a host must finish its checksums itself.
    lab.inside(host.id, "ethtool", "-K", "eth0", "tx", "off")
    _attach(lab, pop, device, number)


def _destroy(lab: Lab) -> None:
    for process in [lab.controller, *reversed(lab.daemons)]:
        if process and process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    for name in ("fab", *(host.id for host in lab.network.hosts)):
        subprocess.run(["ip", "netns", "del", f"{TAG}-{name}"], capture_output=True, check=False)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    network = _network()
    made = Lab(tmp_path_factory.mktemp("lab"), network)
    topology = {"network": network.to_json(), "routes": compute_routes(network).to_json()}
    (made.folder / "topology.json").write_text(json.dumps(topology))
    try:
        _build(made)
        made.start_controller()
        yield made
    finally:
        _destroy(made)


def test_every_switch_has_exactly_its_program(lab: Lab) -> None:
    programs = switch_rules(lab.network, compute_routes(lab.network))
    for pop in lab.network.pops:
        assert len(lab.flows(pop)) == len(programs[pop.id])
    assert lab.get("/status") == {
        "ready": True,
        "switches": {
            pop: {"connected": True, "confirmed": True, "rules": len(program), "error": ""}
            for pop, program in programs.items()
        },
    }
    assert (lab.folder / "api.sock").stat().st_mode & 0o777 == 0o600


def test_all_hosts_reach_each_other_and_the_ttl_counts_the_switches(lab: Lab) -> None:
    for source in lab.network.hosts:
        for target in lab.network.hosts:
            if source is not target:
                assert lab.ping(source, target.ip), f"{source.id} -> {target.id}"
    answer = lab.inside("h0", "ping", "-c1", "-W1", "10.2.0.2")
    assert "ttl=61" in answer  # 64, and three switches on the way back


def test_a_host_learns_the_gateways_address_from_the_switch(lab: Lab) -> None:
    lab.inside("h0", "ip", "neigh", "flush", "all")
    assert lab.ping(lab.network.hosts[0], "10.1.1.2")
    assert "02:00:00:00:00:01" in lab.inside("h0", "ip", "neigh", "show", "10.1.0.1")


def test_unknown_destinations_are_dropped_and_counted(lab: Lab) -> None:
    def dropped() -> int:
        management = f"unix:{lab.folder}/{lab.bridge(lab.network.pops[0])}.mgmt"
        listing = _run("ovs-ofctl", "-O", "OpenFlow13", "dump-flows", management).splitlines()
        (miss,) = (line for line in listing if "priority=0" in line)
        return int(miss.split("n_packets=")[1].split(",")[0])

    before = dropped()
    assert not lab.ping(lab.network.hosts[0], "192.0.2.7")
    _wait(lambda: dropped() > before, 5)


def test_counters_agree_with_the_kernels(lab: Lab) -> None:
    for _ in range(5):
        lab.ping(lab.network.hosts[0], "10.1.1.2")

    def kernel() -> list[int]:
        text = lab.inside("fab", "ip", "-s", "-j", "link", "show", "c0a")
        stats = json.loads(text)[0]["stats64"]
        return [stats[way][what] for way in ("tx", "rx") for what in ("bytes", "packets")]

    def controllers() -> list[int]:
        return list(lab.get("/counters")["cablenet.paris"]["ports"]["paris--lyon"][:4])

    _wait(lambda: controllers() == kernel(), 5)
    assert kernel()[0] > 5 * 98
    rows = [json.loads(line) for line in (lab.folder / "counters.jsonl").read_text().splitlines()]
    assert {row["pop"] for row in rows} == {pop.id for pop in lab.network.pops}
    times = [row["monotonic_ns"] for row in rows if row["pop"] == "dslnet.rome"]
    assert times == sorted(times)
    assert times[-1] <= time.monotonic_ns()
    assert set(rows[-1]["ports"]) <= set(lab.network.link_by_id)


def test_a_killed_controller_leaves_forwarding_and_its_successor_mends_the_rules(lab: Lab) -> None:
    paris = lab.network.pops[0]
    assert lab.controller is not None
    lab.controller.kill()
    lab.controller.wait()
    assert lab.ping(lab.network.hosts[0], "10.2.0.2")
    management = f"unix:{lab.folder}/{lab.bridge(paris)}.mgmt"
    before = set(lab.flows(paris))
    _run("ovs-ofctl", "-O", "OpenFlow13", "add-flow", management, "priority=999,ip,actions=drop")
    _run("ovs-ofctl", "-O", "OpenFlow13", "--strict", "del-flows", management, "priority=0")
    assert set(lab.flows(paris)) != before
    lab.start_controller()
    assert set(lab.flows(paris)) == before
    assert lab.ping(lab.network.hosts[0], "10.2.0.2")


def test_a_switch_that_loses_its_rules_and_reconnects_gets_them_again(lab: Lab) -> None:
    paris = lab.network.pops[0]
    before = set(lab.flows(paris))
    _run("ovs-ofctl", "-O", "OpenFlow13", "del-flows", f"unix:{lab.folder}/{lab.bridge(paris)}.mgmt")
    lab.vsctl("del-controller", lab.bridge(paris))
    _wait(lambda: not lab.get("/status")["ready"], 5)
    lab.vsctl("set-controller", lab.bridge(paris), f"unix:{lab.folder}/of.sock")
    _wait(lambda: lab.get("/status")["ready"], 5)
    assert set(lab.flows(paris)) == before


def test_a_second_controller_on_the_socket_says_so_and_ends(lab: Lab) -> None:
    log = lab.folder / "second.log"
    config = lab.folder / "second.yaml"
    config.write_text((lab.folder / "controller.yaml").read_text().replace("api.sock", "second.sock"))
    with log.open("w") as file:
        second = lab.spawn(sys.executable, "-m", "testbed.controller", "--config", str(config), log=file)
    assert second.wait(15) == 1
    assert f"can't listen for switches on {lab.folder}/of.sock" in log.read_text()


def test_it_stops_on_sigterm_with_exit_code_0(lab: Lab) -> None:
    assert lab.controller is not None
    lab.controller.send_signal(signal.SIGTERM)
    assert lab.controller.wait(5) == 0
    assert not (lab.folder / "api.sock").exists()
    lab.start_controller()
