"""The controller against a real Open vSwitch in its own network namespaces: rules, pings, counters."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from testbed.controller.client import Controller, Refused, UnixConnection
from testbed.controller.rules import port_numbers, switch_programs
from testbed.emulation.namespaces import within
from testbed.topology.model import Direction, Host, Isp, Link, LinkKind, Network, Pop, Relationship
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


def _link(kind: LinkKind, a: str, b: str, weight: float = 1.0) -> Link:
    way = replace(LINE, weight=weight)
    paid: Relationship | None = "customer-provider" if kind == "interdomain" else None
    return Link(f"{a}--{b}", kind, a, b, way, way, paid)


def _network() -> Network:
    """paris, lyon and nice of one ISP in a triangle, rome of another behind the last two; five hosts."""
    pops = (
        _pop("cablenet", "paris", 1, "10.1.0.0/24"),
        _pop("cablenet", "lyon", 2, "10.1.1.0/24"),
        _pop("dslnet", "rome", 3, "10.2.0.0/24"),
        _pop("cablenet", "nice", 4, "10.1.2.0/24"),
    )
    core = (
        _link("internal", "cablenet.paris", "cablenet.lyon"),
        _link("interdomain", "dslnet.rome", "cablenet.lyon"),
        _link("internal", "cablenet.paris", "cablenet.nice", weight=2.0),
        _link("internal", "cablenet.lyon", "cablenet.nice"),
        _link("interdomain", "dslnet.rome", "cablenet.nice"),
    )
    hosts = tuple(
        Host(f"h{n}", pop.id, pop.isp, "leecher", ip, f"02:00:00:00:01:{n:02x}", "line", f"h{n}--{pop.id}")
        for n, (pop, ip) in enumerate(
            [
                (pops[0], "10.1.0.2"),
                (pops[0], "10.1.0.3"),
                (pops[1], "10.1.1.2"),
                (pops[2], "10.2.0.2"),
                (pops[3], "10.1.2.2"),
            ]
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


@dataclass
class Lab:
    """An Open vSwitch in a namespace, a namespace for each host, and the controller."""

    folder: Path
    network: Network
    framework: str
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

    @property
    def api(self) -> Controller:
        return Controller(self.folder / "api.sock", self.folder / "token")

    def get(self, target: str) -> Any:
        return self.api.get(target)

    def device(self, link: str, end: str) -> str:
        """The interface of a core link at the switch of `end`."""
        number = [core.id for core in self.network.core_links].index(link)
        return f"c{number}{'a' if self.network.link_by_id[link].a == end else 'b'}"

    def start_controller(self) -> None:
        (self.folder / "ready").unlink(missing_ok=True)
        config = self.folder / "controller.yaml"
        config.write_text(
            f"topology: {self.folder}/topology.json\nopenflow_socket: {self.folder}/of.sock\n"
            f"socket: {self.folder}/api.sock\ncounters: {self.folder}/counters.jsonl\n"
            f"poll_interval_s: 0.2\nready_file: {self.folder}/ready\nframework: {self.framework}\n"
            f"token_file: {self.folder}/token\nstate_file: {self.folder}/state.json\n"
            f"events: {self.folder}/events.jsonl\n"
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


class _Stream:
    """UDP datagrams from host to host at 2 Mbit/s while in the context, and what came of them."""

    def __init__(self, lab: Lab, source: str, target: str, port: int = 7000) -> None:
        self._lab, self._hosts, self._port = lab, {host.id: host for host in lab.network.hosts}, port
        self._source, self._target = source, target
        self._times: list[float] = []
        self._stop = threading.Event()
        self.sent = 0

    def __enter__(self) -> _Stream:
        ready = threading.Event()
        self._threads = [
            threading.Thread(target=self._receive, args=(ready,)),
            threading.Thread(target=self._send),
        ]
        self._threads[0].start()
        ready.wait(5)
        self._threads[1].start()
        time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.5)
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def received(self) -> int:
        return len(self._times)

    @property
    def longest_gap_s(self) -> float:
        return max(after - before for before, after in pairwise(self._times))

    def _socket(self, host: str) -> socket.socket:
        return within(f"{TAG}-{host}", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def _receive(self, ready: threading.Event) -> None:
        with self._socket(self._target) as receiver:
            receiver.bind((self._hosts[self._target].ip, self._port))
            receiver.settimeout(0.1)
            ready.set()
            while not self._stop.is_set():
                with suppress(TimeoutError):
                    receiver.recv(2000)
                    self._times.append(time.monotonic())

    def _send(self) -> None:
        with self._socket(self._source) as sender:
            begun = time.monotonic()
            while not self._stop.is_set():
                sender.sendto(bytes(972), (self._hosts[self._target].ip, self._port))
                self.sent += 1
                time.sleep(max(0.0, begun + self.sent * 0.004 - time.monotonic()))


@pytest.fixture(scope="module", params=["ryu", "os-ken"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    network = _network()
    made = Lab(tmp_path_factory.mktemp("lab"), network, request.param)
    topology = {"network": network.to_json(), "routes": compute_routes(network).to_json()}
    (made.folder / "topology.json").write_text(json.dumps(topology))
    (made.folder / "token").write_text("word\n")
    try:
        _build(made)
        made.start_controller()
        yield made
    finally:
        _destroy(made)


@pytest.fixture(autouse=True)
def _all_up(lab: Lab) -> Iterator[None]:
    """Whatever a test did to links and meters is undone."""
    yield
    for link in lab.network.core_links:
        if lab.get(f"/links/{link.id}")["state"] == "down":
            lab.api.patch(f"/links/{link.id}", {"state": "up"})
    for name in lab.get("/meters")["meters"]:
        lab.api.delete(f"/meters/{name}")


def test_every_switch_has_exactly_its_program(lab: Lab) -> None:
    programs = switch_programs(lab.network, compute_routes(lab.network))
    for pop in lab.network.pops:
        assert len(lab.flows(pop)) == len(programs[pop.id].rules)
    status = lab.get("/status")
    assert status["ready"]
    assert status["controller"]["name"] == lab.framework
    assert status["failed_links"] == []
    assert status["switches"] == {
        pop: {"connected": True, "confirmed": True, "rules": len(program.rules), "error": ""}
        for pop, program in programs.items()
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


@pytest.mark.parametrize("gateway", ["10.1.0.1", "10.1.1.1", "10.2.0.1"])
def test_gateways_near_and_far_answer_pings(lab: Lab, gateway: str) -> None:
    assert lab.ping(lab.network.hosts[0], gateway)


@pytest.mark.usefixtures("lab")
def test_where_the_ttl_ends_the_pop_says_so() -> None:
    for ttl, gateway in ((1, "10.1.0.1"), (2, "10.1.1.1"), (3, "10.2.0.1")):
        command = ["ip", "netns", "exec", f"{TAG}-h0", "ping", "-c1", "-W2", f"-t{ttl}", "10.2.0.2"]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        assert f"From {gateway} icmp_seq=1 Time to live exceeded" in said


def test_unknown_destinations_are_dropped_and_counted(lab: Lab) -> None:
    def dropped() -> int:
        return int(lab.get("/counters")["unrouted"]["cablenet.paris"])

    _wait(lambda: "cablenet.paris" in lab.get("/counters")["unrouted"], 5)  # its first poll
    before = dropped()
    assert not lab.ping(lab.network.hosts[0], "192.0.2.7")
    _wait(lambda: dropped() > before, 5)


def test_counters_agree_with_the_kernels(lab: Lab) -> None:
    for _ in range(5):
        lab.ping(lab.network.hosts[0], "10.1.1.2")
    link = "cablenet.paris--cablenet.lyon"

    def kernel() -> list[int]:
        text = lab.inside("fab", "ip", "-s", "-j", "link", "show", lab.device(link, "cablenet.paris"))
        stats = json.loads(text)[0]["stats64"]
        return [stats["tx"]["bytes"], stats["tx"]["packets"]]

    def controllers() -> list[int]:
        counted = lab.get("/counters")["links"][link]["cablenet.paris"]
        return [counted["bytes"], counted["packets"]]

    _wait(lambda: controllers() == kernel(), 5)
    assert kernel()[0] > 5 * 98
    rows = [json.loads(line) for line in (lab.folder / "counters.jsonl").read_text().splitlines()]
    assert {row["pop"] for row in rows} == {pop.id for pop in lab.network.pops}
    times = [row["monotonic_ns"] for row in rows if row["pop"] == "dslnet.rome"]
    assert times == sorted(times)
    assert times[-1] <= time.monotonic_ns()
    assert set(rows[-1]["ports"]) <= set(lab.network.link_by_id)


def test_packets_between_isps_are_counted_once_where_they_arrive(lab: Lab) -> None:
    def packets() -> int:
        pairs = lab.get("/counters")["pairs"]
        found = [p["packets"] for p in pairs if (p["source"], p["destination"]) == ("cablenet", "dslnet")]
        return found[0] if found else 0

    time.sleep(1.2)  # what earlier tests sent is counted by now
    before = packets()
    lab.inside("h0", "ping", "-c7", "-i0.01", "-W1", "10.2.0.2")
    _wait(lambda: packets() == before + 7, 5)


def test_a_cut_internal_link_is_passed_by_at_once_and_then_routed_around(lab: Lab) -> None:
    link = "cablenet.paris--cablenet.lyon"
    with _Stream(lab, "h0", "h2") as stream:
        changed = lab.api.patch(f"/links/{link}", {"state": "down"})
        assert changed["state"] == "down"
        assert lab.get("/status")["failed_links"] == [link]
        assert lab.get("/routes?from=h0&to=h2")["pops"] == [
            "cablenet.paris",
            "cablenet.nice",
            "cablenet.lyon",
        ]
        lab.api.patch(f"/links/{link}", {"state": "up"})
        assert lab.get("/routes?from=h0&to=10.1.1.2")["links"] == [link]
    assert stream.longest_gap_s < 0.5  # the benchmark measures it: some milliseconds
    events = [json.loads(line) for line in (lab.folder / "events.jsonl").read_text().splitlines()]
    states = [event["state"] for event in events if event["event"] == "link" and event["link"] == link]
    assert states[-2:] == ["down", "up"]


def test_a_detour_needs_no_controller(lab: Lab) -> None:
    link = "cablenet.paris--cablenet.lyon"
    assert lab.controller is not None
    lab.controller.send_signal(signal.SIGSTOP)
    try:
        device = lab.device(link, "cablenet.paris")
        lab.inside("fab", "ip", "link", "set", device, "down")
        assert _wait(lambda: lab.ping(lab.network.hosts[0], "10.1.1.2"))
        for host in lab.network.hosts[2:]:  # of nice what is on the detour has to come back to it
            assert lab.ping(lab.network.hosts[0], host.ip), host.id
        lab.inside("fab", "ip", "link", "set", device, "up")
    finally:
        lab.controller.send_signal(signal.SIGCONT)
    _wait(lambda: lab.get("/status")["ready"] and not lab.get("/status")["failed_links"])


def test_a_cut_interdomain_link_is_routed_around_by_the_controller(lab: Lab) -> None:
    first = lab.get("/routes?from=h0&to=h3")["links"][-1]
    lab.api.patch(f"/links/{first}", {"state": "down"})
    there = lab.get("/routes?from=h0&to=h3")
    assert there["reachable"]
    assert first not in there["links"]
    assert lab.ping(lab.network.hosts[0], "10.2.0.2")


def test_rules_that_a_failure_does_not_touch_stay(lab: Lab) -> None:
    def cookies(pop: Pop) -> set[str]:
        management = f"unix:{lab.folder}/{lab.bridge(pop)}.mgmt"
        listing = _run("ovs-ofctl", "-O", "OpenFlow13", "--no-stats", "dump-flows", management)
        return set(re.findall(r"cookie=(0x[0-9a-f]+)", listing))

    before = {pop.id: cookies(pop) for pop in lab.network.pops}
    lab.api.patch("/links/dslnet.rome--cablenet.nice", {"state": "down"})
    for pop in lab.network.pops:
        assert len(before[pop.id] - cookies(pop)) <= 3
    lab.api.patch("/links/cablenet.nice--dslnet.rome", {"state": "up"})
    assert {pop.id: cookies(pop) for pop in lab.network.pops} == before


def test_a_meter_throttles_its_class_and_no_other(lab: Lab) -> None:
    body = {"isp": "cablenet", "class": {"protocol": "udp", "port": 7001}, "rate_bps": 1_000_000}
    assert lab.api.put("/meters/slow", body)["direction"] == "out"
    with _Stream(lab, "h0", "h3", port=7001) as slow, _Stream(lab, "h1", "h3", port=7002) as free:
        time.sleep(2)
    assert slow.received < 0.7 * slow.sent  # 2 Mbit/s were sent
    assert free.received > 0.98 * free.sent
    assert lab.get("/meters")["meters"]["slow"]["rate_bps"] == 1_000_000
    _wait(lambda: lab.get("/counters")["metered"]["cablenet.paris"]["slow"][1] > 0, 5)


def test_changes_at_once_are_all_made(lab: Lab) -> None:
    def put(number: int) -> None:
        traffic = {"protocol": "tcp", "port": 9000 + number}
        lab.api.put(f"/meters/m{number}", {"isp": "dslnet", "class": traffic, "rate_bps": 1_000_000})

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(put, range(6)))
    assert sorted(lab.get("/meters")["meters"]) == [f"m{number}" for number in range(6)]
    assert lab.get("/status")["ready"]


def test_a_killed_controller_leaves_forwarding_and_its_successor_mends_the_rules(lab: Lab) -> None:
    paris, cut = lab.network.pops[0], "cablenet.paris--cablenet.lyon"
    meter = {"isp": "dslnet", "class": "bittorrent", "rate_bps": 1_000_000}
    lab.api.put("/meters/m", meter)
    lab.api.patch(f"/links/{cut}", {"state": "down"})
    assert lab.controller is not None
    lab.controller.kill()
    lab.controller.wait()
    assert lab.ping(lab.network.hosts[0], "10.2.0.2")
    management = f"unix:{lab.folder}/{lab.bridge(paris)}.mgmt"
    before = set(lab.flows(paris))
    stray = "group_id=5,type=ff,bucket=watch_port:1,actions=output:1"
    _run("ovs-ofctl", "-O", "OpenFlow13", "add-flow", management, "priority=999,ip,actions=drop")
    _run("ovs-ofctl", "-O", "OpenFlow13", "--strict", "del-flows", management, "table=0,priority=0")
    _run("ovs-ofctl", "-O", "OpenFlow13", "add-group", management, stray)
    assert set(lab.flows(paris)) != before
    lab.start_controller()
    assert set(lab.flows(paris)) == before
    groups = _run("ovs-ofctl", "-O", "OpenFlow13", "dump-groups", management)
    assert "group_id=5," not in groups
    assert lab.get("/status")["failed_links"] == [cut]
    assert lab.get("/meters")["meters"]["m"] == {**meter, "direction": "out"}
    assert lab.ping(lab.network.hosts[0], "10.2.0.2")


def test_a_switch_that_loses_its_rules_and_reconnects_gets_them_again(lab: Lab) -> None:
    paris = lab.network.pops[0]
    before = set(lab.flows(paris))
    _run("ovs-ofctl", "-O", "OpenFlow13", "del-flows", f"unix:{lab.folder}/{lab.bridge(paris)}.mgmt")
    lab.vsctl("del-controller", lab.bridge(paris))
    _wait(lambda: not lab.get("/status")["ready"], 5)
    with pytest.raises(Refused, match="not ready"):
        lab.api.patch("/links/cablenet.paris--cablenet.lyon", {"state": "down"})
    lab.vsctl("set-controller", lab.bridge(paris), f"unix:{lab.folder}/of.sock")
    _wait(lambda: lab.get("/status")["ready"], 5)
    assert set(lab.flows(paris)) == before


def test_changes_need_the_token_and_rates_need_an_agent(lab: Lab) -> None:
    stranger = Controller(lab.folder / "api.sock")
    with pytest.raises(Refused, match="token") as refused:
        stranger.patch("/links/cablenet.paris--cablenet.lyon", {"state": "down"})
    assert refused.value.status == 401
    with pytest.raises(Refused, match="link agent") as refused:
        lab.api.patch("/links/cablenet.paris--cablenet.lyon", {"state": "down", "rate_bps": 5000})
    assert refused.value.status == 503
    assert lab.get("/status")["failed_links"] == []


def _some_request(draw: random.Random, links: list[str]) -> tuple[str, str, bytes]:
    """A request that is often nearly right, and sometimes right."""
    values = [0, -1, 1, 999, 10**6, 10**30, 0.5, 1.0, 1e308, True, None, "down", "up", "x", [], {}, [1, 2]]
    keys = ["state", "rate_bps", "delay_s", "loss", "forward", "backward", "isp", "class", "pop", "direction"]
    link, meter = draw.choice([*links, "a--b", "%2e%2e", "é"]), draw.choice(["m", "n", "-", "x" * 80])
    others = ["/", "/status", "/rules?pop=x", "/routes?from=h0", "/no", "//"]
    path = draw.choice([f"/links/{link}"] * 6 + [f"/meters/{meter}"] * 4 + others)
    body: dict[str, Any] = {draw.choice(keys): draw.choice(values) for _ in range(draw.randint(0, 3))}
    if draw.random() < 0.6:
        body = {"state": draw.choice(["up", "down", "sideways"])}
    if draw.random() < 0.2:
        body = {"isp": "dslnet", "class": "all", "rate_bps": draw.choice([10**6, 10**7, 5])}
    text = json.dumps(body).encode()
    if draw.random() < 0.1:
        text = draw.randbytes(draw.randint(0, 40))
    return draw.choice(["GET", "PATCH", "PATCH", "PUT", "DELETE", "POST"]), path, text


def test_a_thousand_fuzzed_requests_leave_the_network_whole(lab: Lab) -> None:
    draw = random.Random(5)
    links = [link.id for link in lab.network.links]
    answered: Counter[int] = Counter()
    changed = 0
    for _ in range(1000):
        method, path, body = _some_request(draw, links)
        connection = UnixConnection(lab.folder / "api.sock", 30)
        connection.request(method, quote(path, safe="/?=&%"), body, {"Authorization": "Bearer word"})
        answer = connection.getresponse()
        said = json.loads(answer.read())
        assert answer.status == 200 or said["error"]
        answered[answer.status] += 1
        changed += answer.status == 200 and method != "GET"
        connection.close()
    assert answered.keys() <= {200, 400, 404, 405, 409, 503}
    assert changed > 20
    down = {link for link in links if lab.get(f"/links/{link}")["state"] == "down"}
    for link in down:
        lab.api.patch(f"/links/{link}", {"state": "up"})
    for name in lab.get("/meters")["meters"]:
        lab.api.delete(f"/meters/{name}")
    assert lab.get("/status")["ready"]
    programs = switch_programs(lab.network, compute_routes(lab.network))
    for pop in lab.network.pops:
        assert len(lab.flows(pop)) == len(programs[pop.id].rules)
    for host in lab.network.hosts[1:]:
        assert lab.ping(lab.network.hosts[0], host.ip)


def test_events_are_streamed(lab: Lab) -> None:
    found: list[dict[str, Any]] = []

    def follow() -> None:
        for event in lab.api.events():
            found.append(event)
            if event["event"] == "meter":
                return

    reader = threading.Thread(target=follow, daemon=True)
    reader.start()
    time.sleep(0.3)
    lab.api.put("/meters/streamed", {"isp": "dslnet", "class": "all", "rate_bps": 1_000_000})
    reader.join(10)
    assert found[-1]["meter"] == "streamed"
    assert found[-1]["state"] == "set"


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
