"""Links of a network that runs: changed wholly or not at all, cut and joined, and asked for over a socket."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small_experiment
import small_topology

from testbed.emulation import agent
from testbed.emulation.agent import LinkAgent
from testbed.emulation.blueprint import Device, WireEnd
from testbed.emulation.capabilities import probe_engines
from testbed.emulation.links import tc_lines
from testbed.errors import RunError
from testbed.topology.model import Direction
from testbed.topology.routing import compute_routes
from testbed.trial.laboratory import Laboratory
from testbed.trial.plan import TrialPlan

pytestmark = [
    pytest.mark.emulation,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="building networks needs root"),
]
LEECHER, SERVER, SEED = "left.one.leecher1", "left.one.portal", "carrier.hub.seed1"
FAR = "right.only.leecher1"
CORE = ("left.one--carrier.hub", "left.one")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> TrialPlan:
    lossy = small_topology.TEXT.replace("    delay: 4 ms\n", "    delay: 4 ms\n    loss: 20 %\n")
    return small_experiment.plans(tmp_path_factory.mktemp("spec"), topology=lossy)[0]


@pytest.fixture(scope="module")
def lab(plan: TrialPlan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    with Laboratory(plan, tmp_path_factory.mktemp("lab"), probe_engines(), lambda _: None) as lab:
        lab.build_network()
        lab.install_rules()
        lab.check_paths()
        yield lab


@pytest.fixture(autouse=True)
def as_before(lab: Laboratory) -> Iterator[None]:
    """Each test leaves the links as they were, in the network's mind and in the kernel's."""
    yield
    assert lab.net.now == lab.plan.network
    lab.net.check_shaping()


def uplink(lab: Laboratory, host: str) -> tuple[str, str]:
    return lab.net.now.host_by_id[host].link, host


def now(lab: Laboratory, way: tuple[str, str]) -> Direction:
    return lab.net.now.link_by_id[way[0]].direction(way[1])


def tc(lab: Laboratory, way: tuple[str, str], *command: str) -> str:
    """What `tc` says of the device that sends in this direction."""
    device = lab.net.blueprint.devices[way]
    arguments = ["tc", "-n", device.namespace, *command[:2], "dev", device.name, *command[2:]]
    return subprocess.run(arguments, text=True, capture_output=True, check=True).stdout


def test_several_directions_change_at_once(lab: Laboratory) -> None:
    ways = {way: now(lab, way) for way in (CORE, uplink(lab, LEECHER), uplink(lab, FAR))}
    changed = {way: replace(was, rate_bps=777_000, loss=0.25) for way, was in ways.items()}
    lab.net.change_links(changed)
    try:
        assert {way: now(lab, way) for way in ways} == changed
        lab.net.check_shaping()
        for way in ways:
            assert "rate 777Kbit" in tc(lab, way, "class", "show")
            assert f"53 1 0 {2**30}" in tc(lab, way, "filter", "show")
    finally:
        lab.net.change_links(ways)


@pytest.mark.parametrize(
    ("way", "change", "reason"),
    [
        (("nowhere", "left.one"), {}, "no such link"),
        ((CORE[0], "left.two"), {}, "no such link"),
        (CORE, {"loss": 1.0}, "a loss of 1.0"),
        (CORE, {"queue_packets": 9}, "between bytes and packets"),
    ],
)
def test_where_one_change_is_impossible_none_is_made(
    lab: Laboratory, way: tuple[str, str], change: dict[str, Any], reason: str
) -> None:
    good = uplink(lab, LEECHER)
    wanted = {good: replace(now(lab, good), rate_bps=500_000), way: replace(now(lab, CORE), **change)}
    with pytest.raises(RunError, match=reason) as refused:
        lab.net.change_links(wanted)
    assert "nothing was changed" in str(refused.value)


def test_what_the_kernel_refuses_half_way_is_undone(lab: Laboratory) -> None:
    good, bad = uplink(lab, LEECHER), uplink(lab, "left.two.leecher1")
    # A filter of another kind, in the place where the one that loses packets would be.
    other = "parent 1: protocol all prio 1 u32 match u32 0 0xffffffff flowid 1:1"
    tc(lab, bad, "filter", "add", *other.split())
    try:
        wanted = {way: replace(now(lab, way), rate_bps=600_000, loss=0.5) for way in (good, bad)}
        with pytest.raises(RunError, match="filter replace") as refused:
            lab.net.change_links(wanted)
        assert str(refused.value).endswith("and is undone")
        lab.net.check_shaping()
    finally:
        tc(lab, bad, "filter", "del", "parent", "1:", "prio", "1")
    lab.net.change_links(wanted)
    lab.net.change_links({way: lab.plan.network.link_by_id[way[0]].direction(way[1]) for way in wanted})


def test_what_can_not_be_undone_is_said(lab: Laboratory) -> None:
    good, bad = uplink(lab, LEECHER), uplink(lab, FAR)
    tc(lab, bad, "qdisc", "del", "root")
    try:
        with pytest.raises(RunError, match="is not undone") as refused:
            lab.net.change_links({way: replace(now(lab, way), rate_bps=600_000) for way in (good, bad)})
        assert "class change" in str(refused.value)
        assert "0 shaped devices, wanted 1" in str(refused.value)
        assert "rate 1Mbit" in tc(lab, good, "class", "show")
    finally:
        restored = lab.net.blueprint.devices[bad]
        apply_again(restored)


def apply_again(device: Device) -> None:
    for line in tc_lines(device.name, device.shaping):
        subprocess.run(["tc", "-n", device.namespace, *line.split()], check=True)


def test_a_delay_line_that_does_not_take_a_delay_keeps_the_one_before(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = lab.net.delay_line
    if line is None:
        pytest.skip("this kernel delays by itself")
    monkeypatch.setattr("testbed.emulation.delay.line._ANSWER_S", 0.3)
    way = uplink(lab, LEECHER)
    was = now(lab, way)
    os.kill(line.pid, signal.SIGSTOP)
    try:
        with pytest.raises(RunError, match="does not answer") as refused:
            lab.net.change_links({way: replace(was, delay_s=0.5, rate_bps=2_000_000)})
        assert "undone" in str(refused.value)
        assert "rate 1Mbit" in tc(lab, way, "class", "show")
    finally:
        os.kill(line.pid, signal.SIGCONT)
    found_s = lab.net.ping_s(LEECHER, SERVER)
    assert found_s is not None
    assert found_s < 0.1


def test_links_change_while_others_look_and_ask(lab: Laboratory) -> None:
    """Several threads at once: each change is whole, the delay line answers all, nobody sees an error."""
    ways = {way: now(lab, way) for way in (CORE, uplink(lab, LEECHER))}
    failed: list[Exception] = []

    def repeat(work: Any) -> None:
        try:
            for number in range(10):
                work(number)
        except Exception as error:
            failed.append(error)

    changes = [
        lambda number, way=way, was=was: lab.net.change_links(
            {way: replace(was, delay_s=was.delay_s + number / 1000, rate_bps=was.rate_bps + 8000 * number)}
        )
        for way, was in ways.items()
    ]
    works = [
        *changes,
        lambda _: lab.net.follow(compute_routes(lab.net.now)),
        lambda _: lab.net.queues(),
        lambda _: lab.net.check_shaping(),
        lambda _: lab.net.longest_delay_s(),
        lambda _: lab.supervisor.deaths(),
    ]
    threads = [threading.Thread(target=repeat, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lab.net.change_links(ways)
    assert failed == []


# --- links that go down and up ------------------------------------------------------------------------------


def ends(lab: Laboratory, link: str) -> list[Device | WireEnd]:
    """Everything of a link in the kernel that is shaped."""
    plan = lab.net.blueprint
    return [part for parts in (plan.devices, plan.wires) for (name, _), part in parts.items() if name == link]


def as_set(lab: Laboratory, link: str) -> list[str]:
    """What is set on all devices of a link: qdiscs, classes, filters, addresses of IPv6."""
    found = []
    for end in ends(lab, link):
        for words in ("qdisc show", "class show", "filter show", "filter show parent ffff:"):
            kind, show, *rest = words.split()
            command = ["tc", "-n", end.namespace, kind, show, "dev", end.name, *rest]
            found.append(subprocess.run(command, text=True, capture_output=True, check=True).stdout)
        command = ["ip", "-n", end.namespace, "-6", "-o", "addr", "show", "dev", end.name]
        found.append(subprocess.run(command, text=True, capture_output=True, check=True).stdout)
        assert found[-1] == ""
    return found


def mod_ports(lab: Laboratory, link: str, what: str) -> None:
    """As the controller does it: at each end that is a switch."""
    for pop, ports in lab.net.blueprint.ports.items():
        if link in ports:
            assert lab.net.get(pop).dpctl("mod-port", str(ports[link]), what).strip() == ""


def port_packets(lab: Laboratory, link: str, pop: str) -> int:
    """What a switch has sent through the port that has the number of old."""
    number, device = lab.net.blueprint.ports[pop][link], lab.net.blueprint.devices[link, pop].name
    assert re.search(rf"^ {number}\({device}\):", lab.net.get(pop).dpctl("show"), re.MULTILINE)
    shown = lab.net.get(pop).dpctl("dump-ports", str(number))
    return int(re.findall(r"tx pkts=(\d+)", shown)[0])


def host_side(lab: Laboratory, host: str) -> list[str]:
    namespace = lab.net.blueprint.namespace(host)
    return [
        subprocess.run(
            ["ip", "-n", namespace, "-o", *what.split()], text=True, capture_output=True, check=True
        ).stdout.replace(" linkdown", "")
        for what in ("route show", "neigh show", "-4 addr show")
    ]


@pytest.mark.parametrize(
    ("link", "pop", "pair"),
    [
        (CORE[0], "left.one", (SERVER, SEED)),
        ("right.only--carrier.edge", "carrier.edge", (SEED, FAR)),
        (f"{LEECHER}--left.one", "left.one", (SERVER, LEECHER)),
        (f"{SERVER}--left.one", "left.one", (LEECHER, SERVER)),
    ],
)
def test_a_link_that_was_down_is_as_before(
    lab: Laboratory, link: str, pop: str, pair: tuple[str, str]
) -> None:
    if link not in lab.net.now.link_by_id:
        (link,) = (host.link for host in lab.net.now.hosts if host.id == link.partition("--")[0])
    before, hosts = as_set(lab, link), [host_side(lab, host) for host in pair]
    sent = port_packets(lab, link, pop)
    lost = lab.net.delay_line.counters().lost if lab.net.delay_line else 0
    mod_ports(lab, link, "down")
    try:
        assert lab.net.unreachable([pair]) == [pair]
        assert [host_side(lab, host) for host in pair] == hosts
    finally:
        mod_ports(lab, link, "up")
    until_s = time.monotonic() + 10
    while lab.net.unreachable([pair]):
        assert time.monotonic() < until_s, "it stays cut"
    assert as_set(lab, link) == before
    assert [host_side(lab, host) for host in pair] == hosts
    assert port_packets(lab, link, pop) > sent
    if lab.net.delay_line:
        # What a cut link does not carry is no failure of who delays it.
        assert lab.net.delay_line.counters().lost == lost


# --- the link agent -----------------------------------------------------------------------------------------


@pytest.fixture
def links_socket(lab: Laboratory, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "links.sock"
    with LinkAgent(lab.net, path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        yield path
    assert not path.exists()


def connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(20)
    connection.connect(str(path))
    return connection


def asked(path: Path, request: Any) -> dict[str, Any]:
    with connected(path) as connection:
        connection.sendall(json.dumps(request).encode() + b"\n")
        return answer(connection)


def answer(connection: socket.socket) -> dict[str, Any]:
    said = b""
    while data := connection.recv(65536):
        said += data
    assert said.endswith(b"\n")
    return dict(json.loads(said))


def test_the_agent_changes_what_is_named_and_keeps_the_rest(lab: Laboratory, links_socket: Path) -> None:
    link, source = CORE
    was = now(lab, CORE)
    queued = replace(was, weight=was.weight, queue_bytes=50_000)
    lab.net.change_links({CORE: queued})
    begun_ns = time.monotonic_ns()
    change = {"link": link, "source": source, "rate_bps": 3_000_000, "loss": 0.125}
    done = asked(links_socket, {"do": "change", "changes": [change]})
    assert done["ok"] is True
    assert begun_ns < done["monotonic_ns"] < time.monotonic_ns()
    assert now(lab, CORE) == replace(queued, rate_bps=3_000_000, loss=0.125)
    back = {"link": link, "source": source, "rate_bps": was.rate_bps, "loss": 0}
    assert asked(links_socket, {"do": "change", "changes": [back]})["ok"] is True
    lab.net.change_links({CORE: was})


def test_the_agent_makes_all_changes_or_none(lab: Laboratory, links_socket: Path) -> None:
    good = {"link": CORE[0], "source": CORE[1], "rate_bps": 3_000_000}
    for bad in (
        {**good, "source": "left.two"},
        {**good, "source": "carrier.hub", "delay_s": 60},
        {**good, "source": "carrier.hub", "rate_bps": 1},
    ):
        refused = asked(links_socket, {"do": "change", "changes": [good, bad]})
        assert refused["ok"] is False
        assert refused["error"]
        assert lab.net.now == lab.plan.network


def test_the_agent_lets_packets_be_delayed_by_other_routes(lab: Laboratory, links_socket: Path) -> None:
    link, source = "right.only--carrier.edge", "right.only"
    failed = asked(links_socket, {"do": "follow", "failed": [link]})
    assert failed["ok"] is True
    # It is cut off now, and pinging finds so without an error.
    mod_ports(lab, link, "down")
    assert lab.net.unreachable([(source + ".leecher1", SEED)]) == [(source + ".leecher1", SEED)]
    mod_ports(lab, link, "up")
    assert asked(links_socket, {"do": "follow", "failed": []})["ok"] is True
    assert "nowhere" in asked(links_socket, {"do": "follow", "failed": ["nowhere"]})["error"]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"no json",
        b"[]",
        b"{}",
        b"null",
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"do": "explode"}',
        b'{"do": ["change"]}',
        b'{"do": "change"}',
        b'{"do": "change", "changes": {}}',
        b'{"do": "change", "changes": [1]}',
        b'{"do": "change", "changes": [], "more": 1}',
        b'{"do": "follow", "failed": "all"}',
        b'{"do": "follow", "failed": [1]}',
    ],
)
def test_the_agent_answers_nonsense_with_what_is_wrong(links_socket: Path, line: bytes) -> None:
    with connected(links_socket) as connection:
        connection.sendall(line + b"\n")
        refused = answer(connection)
    assert refused["ok"] is False
    assert refused["error"]


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    "values",
    [
        '"rate_bps": NaN',
        '"rate_bps": 1e999',
        '"rate_bps": true',
        '"rate_bps": "1 Mbit/s"',
        '"rate_bps": -5',
        '"rate_bps": 0',
        '"rate_bps": 1' + 400 * "0",
        '"rate_bps": null',
        '"delay_s": -0.1',
        '"delay_s": 60',
        '"delay_s": Infinity',
        '"loss": 1',
        '"loss": -1e-9',
        '"loss": NaN',
        '"weight": 3',
        "",
    ],
)
def test_the_agent_refuses_values_that_no_link_has(links_socket: Path, values: str) -> None:
    more = f", {values}" if values else ""
    change = f'{{"link": "{CORE[0]}", "source": "{CORE[1]}"{more}}}'
    with connected(links_socket) as connection:
        connection.sendall(f'{{"do": "change", "changes": [{change}]}}\n'.encode())
        refused = answer(connection)
    assert refused["ok"] is False
    assert refused["error"]


def test_a_direction_that_is_named_twice_is_refused(links_socket: Path) -> None:
    change = {"link": CORE[0], "source": CORE[1], "loss": 0.1}
    assert "twice" in asked(links_socket, {"do": "change", "changes": [change, change]})["error"]


def test_who_says_nothing_or_too_much_or_goes_keeps_nobody_waiting(
    links_socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "PATIENCE_S", 1.0)
    silent, half = connected(links_socket), connected(links_socket)
    half.sendall(b'{"do": "fol')
    for _ in range(20):
        connected(links_socket).close()
    assert asked(links_socket, {"do": "follow", "failed": []})["ok"] is True
    with connected(links_socket) as endless, pytest.raises(ConnectionError):  # it hangs up
        endless.sendall(bytes(2**26))
    with connected(links_socket) as long:
        long.sendall(b"x" * (2**20 + 1))
        assert "1048576 bytes" in answer(long)["error"]
    for connection in (silent, half):
        assert "no whole line" in answer(connection)["error"]
        connection.close()
    # Who writes no newline and then ends has said a line too.
    with connected(links_socket) as unended:
        unended.sendall(b'{"do": "follow", "failed": []}')
        unended.shutdown(socket.SHUT_WR)
        assert answer(unended)["ok"] is True


def test_an_agent_that_closes_tells_who_waits(lab: Laboratory, tmp_path: Path) -> None:
    path = tmp_path / "links.sock"
    serving = LinkAgent(lab.net, path)
    serving.start()
    with pytest.raises(RunError, match="can't listen"):
        LinkAgent(lab.net, path).start()
    with connected(path) as waiting:
        assert asked(path, {"do": "follow", "failed": []})["ok"] is True
        serving.close()
        assert answer(waiting)["error"] == "the link agent ends"
    serving.close()
    assert not path.exists()


# --- a switch that dies and comes back ----------------------------------------------------------------------


def test_a_switch_that_was_killed_comes_back_with_its_ports_and_its_controller(
    lab: Laboratory,
) -> None:
    group = lab.net.blueprint.groups[0]
    pop, number = group.pops[0], 0
    links = [link.id for link in lab.net.now.links if pop in (link.a, link.b)]
    before = [as_set(lab, link) for link in links]
    shown = lab.net.get(pop).dpctl("show")
    pid = lab.net.switch_pids[number]
    os.kill(pid, signal.SIGKILL)
    lab.net.restart_switch(pop)
    lab.net.kill_switch(pop)
    lab.net.restart_switch(pop)
    assert lab.net.switch_pids[number] != pid
    assert lab.supervisor.deaths() == []
    assert ports_in(lab.net.get(pop).dpctl("show")) == ports_in(shown)
    pairs = [(SERVER, SEED), (SEED, SERVER), (LEECHER, SERVER)]
    until_s = time.monotonic() + 20
    while lab.net.unreachable(pairs):
        assert time.monotonic() < until_s, "its controller did not come back"
    lab.net.enlarge_switch_buffers()
    assert [as_set(lab, link) for link in links] == before


def ports_in(shown: str) -> list[str]:
    return re.findall(r"^ (\d+\(\S+\)): addr:(\S+)", shown, re.MULTILINE)
