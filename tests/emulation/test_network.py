"""The emulated network for real: reachability, rates, isolation, Mininet's API, and that nothing is left."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import small_experiment
import small_topology
import traces
from mininet.cli import CLI

from testbed.emulation.capabilities import probe_engines
from testbed.emulation.commands import Batch, apply
from testbed.emulation.links import tc_lines
from testbed.errors import RunError
from testbed.topology.model import Network
from testbed.trial.laboratory import Laboratory
from testbed.trial.plan import TrialPlan

pytestmark = [
    pytest.mark.emulation,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="building networks needs root"),
]
ACCESS, SERVER, SEED = "left.one.leecher1", "left.one.portal", "carrier.hub.seed1"


@contextmanager
def laboratory(plan: TrialPlan, folder: Path) -> Iterator[Laboratory]:
    with Laboratory(plan, folder, probe_engines(), lambda _: None) as lab:
        lab.build_network()
        lab.install_rules()
        lab.check_paths()
        yield lab


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> TrialPlan:
    return small_experiment.plans(tmp_path_factory.mktemp("spec"))[0]


@pytest.fixture(scope="module")
def lab(plan: TrialPlan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    with laboratory(plan, tmp_path_factory.mktemp("lab")) as lab:
        yield lab


def inside(lab: Laboratory, host: str, *command: str) -> subprocess.CompletedProcess[str]:
    arguments = ["ip", "netns", "exec", lab.net.blueprint.namespace(host), *command]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)


def ttl(lab: Laboratory, source: str, address: str) -> int | None:
    """The TTL of the answer to a ping from a host; None where no answer came."""
    done = inside(lab, source, "ping", "-n", "-c", "3", "-i", "0.1", "-W", "2", address)
    answers = re.findall(r"ttl=(\d+)", done.stdout)
    return int(answers[0]) if answers else None


def test_no_device_has_an_ipv6_address_of_its_own(lab: Laboratory) -> None:
    for namespace in lab.net.blueprint.namespaces:
        done = subprocess.run(
            ["ip", "-n", namespace, "-6", "-o", "addr", "show"], capture_output=True, text=True, check=True
        )
        assert [line for line in done.stdout.splitlines() if " lo " not in line] == []


@pytest.fixture(scope="module")
def ttls(lab: Laboratory, plan: TrialPlan) -> Mapping[tuple[str, str], int | None]:
    hosts = plan.network.hosts
    pairs = [(source.id, target) for source in hosts for target in hosts if source is not target]
    with ThreadPoolExecutor(max_workers=4) as pool:
        answers = pool.map(lambda pair: ttl(lab, pair[0], pair[1].ip), pairs)
        return {(source, target.id): found for (source, target), found in zip(pairs, answers, strict=True)}


def test_every_host_reaches_every_other(ttls: Mapping[tuple[str, str], int | None]) -> None:
    assert [pair for pair, found in ttls.items() if found is None] == []


def test_each_switch_on_the_way_takes_one_off_the_ttl(
    ttls: Mapping[tuple[str, str], int | None], plan: TrialPlan
) -> None:
    pop = {host.id: host.pop for host in plan.network.hosts}
    for (source, target), found in ttls.items():
        switches = len(plan.routes.path(pop[target], pop[source])) + 1
        assert found == 64 - switches, f"{target} to {source}"


@pytest.mark.parametrize("address", ["10.20.250.9", "192.0.2.7", "8.8.8.8"])
def test_a_host_reaches_no_address_that_no_host_has(lab: Laboratory, address: str) -> None:
    done = inside(lab, ACCESS, "ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", address)
    assert done.returncode != 0
    assert "0 received" in done.stdout


@pytest.mark.parametrize(
    ("sender", "receiver", "rate_bps"),
    [
        (ACCESS, SERVER, 1e6),  # up an access line
        (SERVER, ACCESS, 8e6),  # and down
        (SERVER, SEED, 5e6),  # over the link between the ISPs
        (SEED, SERVER, 5e6),
    ],
)
def test_tcp_gets_the_rate_of_the_slowest_link_and_no_more(
    lab: Laboratory, plan: TrialPlan, sender: str, receiver: str, rate_bps: float
) -> None:
    address = plan.network.host_by_id[receiver].ip
    # Of a frame of 1514 bytes, 1448 are payload: headers of Ethernet, IP and TCP with timestamps.
    most = rate_bps * 1448 / 1514
    # A burst of two frames at the start is a hundredth of three seconds at the slowest of these rates.
    assert 0.9 * most < tcp_rate_bps(lab, sender, receiver, address) < 1.02 * most


def tcp_rate_bps(lab: Laboratory, sender: str, receiver: str, address: str) -> float:
    """What a TCP connection of three seconds carries, as the receiver counts it."""
    namespace = lab.net.blueprint.namespace(receiver)
    server = subprocess.Popen(
        ["ip", "netns", "exec", namespace, "iperf3", "-s", "-1", "-B", address],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: ":5201" in inside(lab, receiver, "ss", "-Hltn").stdout)
        # Small writes: the receiver counts whole ones, and the usual 128 KiB last a second here.
        done = inside(lab, sender, "iperf3", "-c", address, "-J", "-t", "3", "-l", "4096")
        return float(json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"])
    finally:
        server.kill()
        server.wait()


def wait_for(condition: Callable[[], object], timeout_s: float = 15.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.02)


def test_hosts_see_only_their_own_interfaces_and_the_machine_sees_none_of_them(
    lab: Laboratory, plan: TrialPlan
) -> None:
    wanted = {"lo", "eth0", *(["up0"] if lab.net.delay_line else [])}
    for host in plan.network.hosts:
        assert set(traces.interfaces(lab.net.blueprint.namespace(host.id))) == wanted
    assert [name for name in traces.interfaces() if name.startswith(lab.net.blueprint.tag)] == []


def test_mininets_own_api_works(lab: Laboratory, plan: TrialPlan) -> None:
    network: Network = plan.network
    assert [host.name for host in lab.net.hosts] == [host.id for host in network.hosts]
    assert [switch.name for switch in lab.net.switches] == [pop.id for pop in network.pops]
    host = lab.net.get(ACCESS)
    address = network.host_by_id[ACCESS].ip
    assert host.IP() == address
    assert f"inet {address}/32" in host.cmd("ip -4 addr show dev eth0")
    assert " 0% packet loss" in host.cmd(f"ping -n -c 2 -i 0.2 {network.host_by_id[SEED].ip}")
    process = host.popen("cat /proc/net/dev", stdout=subprocess.PIPE)
    assert b"eth0" in process.communicate(timeout=10)[0]
    assert "n_packets" in lab.net.get("left.one").dpctl("dump-flows")


def test_a_qdisc_that_is_not_as_it_was_set_fails_the_check_with_both_values(lab: Laboratory) -> None:
    device = next(d for d in lab.net.blueprint.devices.values() if d.source == ACCESS)
    change = "class change dev eth0 parent 1: classid 1:1 htb rate {0}bit ceil {0}bit"
    tc(device.namespace, change.format(700_000))
    with pytest.raises(RunError, match=rf"{ACCESS} eth0: rate is 700000 bit/s, wanted 1000000"):
        lab.net.check_shaping()
    tc(device.namespace, "qdisc del dev eth0 root")
    with pytest.raises(RunError, match=f"{ACCESS} 0 shaped devices, wanted 1"):
        lab.net.check_shaping()
    apply([Batch("tc", device.namespace, tc_lines(device.name, device.shaping))])
    lab.net.check_shaping()


def tc(namespace: str, command: str) -> None:
    subprocess.run(["tc", "-n", namespace, *command.split()], check=True, capture_output=True)


def test_the_prompt_takes_links_down_and_up_at_their_switches_ends(
    lab: Laboratory, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = [(SERVER, ACCESS), (SERVER, SEED)]
    for ends in (("left.one", "carrier.hub"), (ACCESS, "left.one")):
        CLI.do_link(SimpleNamespace(mn=lab.net), " ".join((*ends, "down")))
    assert lab.net.unreachable(pairs) == pairs
    for ends in (("left.one", "carrier.hub"), (ACCESS, "left.one")):
        CLI.do_link(SimpleNamespace(mn=lab.net), " ".join((*ends, "up")))
    wait_for(lambda: lab.net.unreachable(pairs) == [])
    CLI.do_link(SimpleNamespace(mn=lab.net), "left.one carrier.edge down")
    assert "no link joins left.one and carrier.edge" in caplog.text


def test_two_networks_live_side_by_side_and_one_that_goes_leaves_nothing_and_the_other_alone(
    lab: Laboratory, plan: TrialPlan, tmp_path: Path
) -> None:
    target = plan.network.host_by_id[SEED].ip
    # Rates that the kernel keeps a little smaller, and that tc prints with fewer digits.
    odd = small_topology.TEXT.replace("up: 1 Mbit/s", "up: 0.8005 Mbit/s").replace(
        ": 5 Mbit", ": 1.2345 Mbit"
    )
    (tmp_path / "lab").mkdir()
    with laboratory(small_experiment.plans(tmp_path, topology=odd)[0], tmp_path / "lab") as second:
        tag = second.net.blueprint.tag
        second.net.get(ACCESS).cmd("sleep 1000 &")
        orphan = second.net.get(SEED).popen("setsid sleep 1000")
        assert traces.of_run(tag) != []
        # Both have the same addresses.
        assert ttl(second, ACCESS, target) is not None
        assert ttl(lab, ACCESS, target) is not None
    orphan.wait(5)
    assert traces.of_run(tag) == []
    assert traces.of_run(lab.net.blueprint.tag) != []
    assert ttl(lab, ACCESS, target) is not None
