"""What measures links and switches, on a real network, and what it says when something is off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import small_experiment
import small_topology

from testbed.emulation.capabilities import probe_engines
from testbed.emulation.delay.table import one_way
from testbed.emulation.fidelity import Probe
from testbed.emulation.measurement import Ends, transfer_rates_bps
from testbed.errors import RunError
from testbed.trial import preflight
from testbed.trial.laboratory import Laboratory

pytestmark = [
    pytest.mark.emulation,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="building networks needs root"),
]
ACCESS, SERVER, SEED = "left.one.leecher1", "left.one.portal", "carrier.hub.seed1"
PAYLOAD = 1448 / 1514


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    far = small_topology.TEXT.replace("up: 20 Mbit/s}", "up: 20 Mbit/s, delay: 20 ms}")
    assert far != small_topology.TEXT
    plan = small_experiment.plans(tmp_path_factory.mktemp("spec"), topology=far)[0]
    with Laboratory(plan, tmp_path_factory.mktemp("lab"), probe_engines(), lambda _: None) as lab:
        lab.build_network()
        lab.install_rules()
        lab.check_paths()
        yield lab


def ends(lab: Laboratory, source: str, destination: str) -> Ends:
    namespace = lab.net.blueprint.namespace
    return Ends(namespace(source), namespace(destination), lab.plan.network.host_by_id[destination].ip)


def test_transfers_side_by_side_each_get_the_rate_of_their_slowest_link(lab: Laboratory) -> None:
    pairs = [ends(lab, ACCESS, SERVER), ends(lab, SEED, "right.only.leecher1")]
    up, across = transfer_rates_bps(pairs, settle_s=0.5, count_s=1.5)
    assert up == pytest.approx(1e6 * PAYLOAD, rel=0.05)
    assert across == pytest.approx(5e6 * PAYLOAD, rel=0.05)


def test_iperf_of_the_prompt_is_the_payload_rate(lab: Laboratory) -> None:
    (rate,) = lab.net.iperf([lab.net.get(ACCESS), lab.net.get(SERVER)], seconds=1.5)
    number, unit = rate.split()
    assert unit == "kbit/s"
    assert float(number) == pytest.approx(1e3 * PAYLOAD, rel=0.05)


def test_what_is_on_its_way_when_the_swarm_ends_is_waited_for(lab: Laboratory) -> None:
    network, routes = lab.plan.network, lab.plan.routes
    longest_s = max(one_way(network, routes, SERVER, host.id).delay_s for host in network.hosts)
    # A delay line holds packets for as much less as forwarding takes.
    assert lab.net.longest_delay_s() > longest_s - 0.003


def test_a_transfer_leaves_queues_empty_and_nothing_that_tcp_learned(lab: Laboratory) -> None:
    transfer_rates_bps([ends(lab, ACCESS, SERVER)], settle_s=0.2, count_s=0.3)
    until = time.monotonic() + 2
    # A packet sent twice, or the resets, may be on their way still.
    while left := [key for key, state in lab.net.uplink_queues().items() if state.backlog_bytes]:
        assert time.monotonic() < until, left
    for host in (ACCESS, SERVER):
        command = ["ip", "-n", lab.net.blueprint.namespace(host), "tcp_metrics", "show"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


def test_a_host_that_cannot_be_reached_is_named(lab: Laboratory) -> None:
    with pytest.raises(RunError, match=f"no TCP connection from .*{ACCESS} to .*{SERVER}"):
        transfer_rates_bps([replace(ends(lab, ACCESS, SERVER), address="192.0.2.1")], 0.1, 0.1)


def test_links_that_are_as_the_file_says_pass(lab: Laboratory) -> None:
    lab.measure_links()
    findings = lab._measured.preflight
    assert {finding.kind for finding in findings} == {"rtt_s", "rate_bps"}
    assert all(finding.measured is not None for finding in findings)
    # On a busy machine a round trip may rightly be off.
    assert [finding.reason for finding in findings if finding.kind == "rate_bps"] == [""] * 2


def test_a_link_that_is_slower_than_the_file_says_is_found(lab: Laboratory) -> None:
    (way,) = [way for way in preflight.transfers(lab.plan.network, lab.plan.routes) if len(way.isps) > 1]
    link = lab.plan.network.link_by_id["left.one--carrier.hub"]
    source = "left.one" if way.source.isp == "left" else "carrier.hub"
    device = lab.net.blueprint.devices[link.id, source]
    change = f"class change dev {device.name} parent 1: classid 1:1 htb rate"
    for rate in ("3mbit", "5mbit"):
        command = f"tc -n {device.namespace} {change} {rate} ceil {rate} burst 3028 cburst 3028"
        subprocess.run(command.split(), check=True, capture_output=True)
        lab.measure_links()
        wrong = [each for each in lab._measured.preflight if each.kind == "rate_bps" and each.reason]
        assert bool(wrong) == (rate == "3mbit")
        assert all(each.measured == pytest.approx(3e6 * PAYLOAD, rel=0.05) for each in wrong)


def test_the_probe_hears_switches_answer_and_sees_the_delay_line(lab: Laboratory) -> None:
    probe = Probe(lab.net.switch_pids, lab.net.delay_line, lab._echoes())
    try:
        time.sleep(1.0)
        sample = probe.sample()
    finally:
        probe.close()
    assert sample.datapath_late_s is not None
    # Portals are asked from, and their lines take 20 ms each way.
    assert -0.002 < sample.datapath_late_s < 0.015
    assert (sample.line_lost == 0) == (lab.net.delay_line is not None)


def test_a_switch_that_stands_still_is_late(lab: Laboratory) -> None:
    probe = Probe(lab.net.switch_pids, None, lab._echoes())
    (pid,) = lab.net.switch_pids
    try:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.6)
        sample = probe.sample()
        assert sample.datapath_late_s is not None
        assert sample.datapath_late_s > 0.05
    finally:
        os.kill(pid, signal.SIGCONT)
        probe.close()
