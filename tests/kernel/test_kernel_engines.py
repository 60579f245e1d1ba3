"""What only a kernel with netem and Open vSwitch's datapath shows: delays, and a datapath of the run's own.

Elsewhere all of it is skipped; `tests/kernel/uml.sh` brings such a kernel.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import small_experiment

from testbed.emulation.capabilities import Engines, probe_engines
from testbed.topology.model import Network
from testbed.trial.laboratory import Laboratory
from testbed.trial.plan import TrialPlan

pytestmark = [
    pytest.mark.emulation,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="building networks needs root"),
]
KERNEL = Engines("system", "netem")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> TrialPlan:
    return small_experiment.plans(tmp_path_factory.mktemp("spec"))[0]


@pytest.fixture(scope="module")
def lab(plan: TrialPlan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    engines = probe_engines()
    if engines != KERNEL:
        pytest.skip(f"this kernel gives {engines.datapath} and {engines.delay}: see tests/kernel/uml.sh")
    with Laboratory(plan, tmp_path_factory.mktemp("lab"), engines, lambda _: None) as lab:
        lab.build_network()
        lab.start_controller()
        lab.check_paths()
        yield lab


@pytest.mark.parametrize(
    ("source", "target", "tolerance_s"),
    [
        ("carrier.hub.seed1", "carrier.hub.tracker", 0.7e-3),
        ("left.one.leecher1", "left.one.portal", 0.7e-3),
        ("left.one.portal", "carrier.hub.seed1", 0.7e-3),
        # Each of eight or twelve delays on the way there and back ends with a timer, somewhat late.
        ("left.one.leecher1", "left.two.leecher1", 1e-3),
        ("left.two.leecher1", "right.only.leecher1", 2e-3),
    ],
)
def test_a_round_trip_takes_the_sum_of_the_links_delays(
    lab: Laboratory, plan: TrialPlan, source: str, target: str, tolerance_s: float
) -> None:
    wanted_s = one_way_s(plan, source, target) + one_way_s(plan, target, source)
    median_s = statistics.median(round_trips_s(lab, plan.network, source, target))
    assert -1e-5 < median_s - wanted_s < tolerance_s


def one_way_s(plan: TrialPlan, source: str, target: str) -> float:
    network = plan.network
    start, end = network.host_by_id[source], network.host_by_id[target]
    delay_s, at = 0.0, source
    for name in (start.link, *plan.routes.path(start.pop, end.pop), end.link):
        link = network.link_by_id[name]
        delay_s += link.direction(at).delay_s
        at = link.other(at)
    return delay_s


def round_trips_s(lab: Laboratory, network: Network, source: str, target: str) -> list[float]:
    namespace, address = lab.net.blueprint.namespace(source), network.host_by_id[target].ip
    ping = ["ping", "-n", "-c", "31", "-i", "0.02", "-W", "2", address]
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, *ping], capture_output=True, text=True, check=False, timeout=60
    )
    return [float(number) / 1000 for number in re.findall(r"time=([0-9.]+) ms", done.stdout)]


def test_a_run_has_a_kernel_datapath_of_its_own_that_goes_with_it(plan: TrialPlan, tmp_path: Path) -> None:
    engines = probe_engines()
    if engines != KERNEL:
        pytest.skip(f"this kernel gives {engines.datapath} and {engines.delay}: see tests/kernel/uml.sh")
    before = datapath_ports()
    with Laboratory(plan, tmp_path / "lab", engines, lambda _: None) as lab:
        lab.build_network()
        (group,) = lab.net.blueprint.groups
        inside = datapath_ports(lab.net.blueprint.namespace(group.name))
        bridges = lab.net.blueprint.bridges().values()
        assert {port.device for bridge in bridges for port in bridge.ports} < inside
        assert datapath_ports() == before
    assert datapath_ports() == before


def datapath_ports(namespace: str = "") -> set[str]:
    """The ports of all kernel datapaths of a namespace, or of the machine's own."""
    inside = ["ip", "netns", "exec", namespace] if namespace else []
    done = subprocess.run([*inside, "ovs-dpctl", "show"], capture_output=True, text=True, check=True)
    return set(re.findall(r"port \d+: (\S+)", done.stdout))
