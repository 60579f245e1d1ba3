"""Links for real: round trips, loss, queues, changes under traffic, with whichever delay engine there is."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import small_experiment
import small_topology

from testbed.emulation.capabilities import probe_engines
from testbed.emulation.delay.table import one_way
from testbed.emulation.measurement import round_trips_s
from testbed.emulation.namespaces import within
from testbed.errors import RunError
from testbed.topology.routes import crossed_between
from testbed.trial.laboratory import Laboratory
from testbed.trial.plan import TrialPlan

pytestmark = [
    pytest.mark.emulation,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="building networks needs root"),
]
LEECHER, SERVER, SEED = "left.one.leecher1", "left.one.portal", "carrier.hub.seed1"
FAR = "right.only.leecher1"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> TrialPlan:
    lossy = small_topology.TEXT.replace("    delay: 4 ms\n", "    delay: 4 ms\n    loss: 20 %\n")
    return small_experiment.plans(tmp_path_factory.mktemp("spec"), topology=lossy)[0]


@pytest.fixture(scope="module")
def lab(plan: TrialPlan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    engines = probe_engines()
    if engines.delay == "none":
        pytest.skip("no delay engine here")
    with Laboratory(plan, tmp_path_factory.mktemp("lab"), engines, lambda _: None) as lab:
        lab.build_network()
        lab.install_rules()
        lab.check_paths()
        yield lab


def pings(lab: Laboratory, source: str, target: str, count: int) -> list[float]:
    """The round trips, in seconds, of those pings that came back."""
    address = lab.plan.network.host_by_id[target].ip
    namespace = lab.net.blueprint.namespace(source)
    arguments = ["ping", "-n", "-c", str(count), "-i", "0.01", "-W", "1", address]
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, *arguments], capture_output=True, text=True, check=False
    )
    return [float(number) / 1000 for number in re.findall(r"time=([0-9.]+) ms", done.stdout)]


@pytest.mark.parametrize(
    ("source", "target"),
    [(LEECHER, SERVER), (SERVER, SEED), (SEED, SERVER), (LEECHER, "left.two.leecher1"), (LEECHER, SEED)],
)
def test_a_round_trip_takes_the_sum_of_the_delays_of_the_links(
    lab: Laboratory, plan: TrialPlan, source: str, target: str
) -> None:
    ways = ((source, target), (target, source))
    wanted_s = sum(one_way(plan.network, plan.routes, *way).delay_s for way in ways)
    found = sorted(pings(lab, source, target, 51))
    assert len(found) == 51
    assert abs(found[25] - wanted_s) < 2e-3


def test_a_traceroute_shows_the_time_to_each_pop_and_back(lab: Laboratory, plan: TrialPlan) -> None:
    if shutil.which("traceroute") is None:
        pytest.skip("there is no traceroute here")
    network, target = plan.network, "left.two.leecher1"
    namespace, address = lab.net.blueprint.namespace(SEED), network.host_by_id[target].ip
    # One probe at a time: switches hand on a bounded number of them.
    words = ["traceroute", "-n", "-I", "-N", "1", "-q", "10", "-w", "2", address]
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, *words], capture_output=True, text=True, check=True
    )
    way = plan.routes.pops_on_path("carrier.hub", "left.two")
    hops = [line.split() for line in done.stdout.splitlines()[1:]]
    answering = [next(word for word in hop[1:] if word != "*") for hop in hops]
    assert answering == [*(network.pop_by_id[pop].gateway_ip for pop in way), address]
    found_s = [min(float(word) / 1000 for word, unit in pairwise(hop) if unit == "ms") for hop in hops]
    for number, pop in enumerate(way):
        wanted_s = 2 * sum(link.delay_s for _, link in crossed_between(network, plan.routes, way[0], pop))
        # The first is what the controller takes for its answer, as the seed's line has no delay.
        assert abs(found_s[number] - found_s[0] - wanted_s) < 4e-3, pop


def test_a_ping_of_a_far_gateway_takes_the_time_there_and_back(lab: Laboratory, plan: TrialPlan) -> None:
    namespace = lab.net.blueprint.namespace(SEED)
    for pop in plan.network.pops:
        ways = [plan.routes.path(*pair) for pair in (("carrier.hub", pop.id), (pop.id, "carrier.hub"))]
        if any(plan.network.link_by_id[link].is_lossy for way in ways for link in way):
            continue
        wanted_s = sum(plan.network.link_by_id[link].forward.delay_s for way in ways for link in way)
        found = sorted(round_trips_s(namespace, pop.gateway_ip, 21, 0.02, 5.0))
        assert abs(found[10] - wanted_s) < 3e-3, pop.id


def test_a_lossy_link_loses_its_share_in_both_directions(lab: Laboratory) -> None:
    back = len(pings(lab, FAR, SEED, 400))
    # Of 400, 64 % come back: 0.8 there and 0.8 back; four standard deviations are 38.
    assert abs(back - 256) < 40


def test_what_a_link_loses_is_counted_where_it_was_lost(lab: Laboratory, plan: TrialPlan) -> None:
    (link,) = (link for link in plan.network.links if link.forward.loss)
    before = lab.net.queues()[link.id, link.b].drops
    back = len(pings(lab, SEED, FAR, 200))
    lost = lab.net.queues()[link.id, link.b].drops - before
    assert back + lost <= 200
    assert 15 < lost < 70


def test_a_rate_is_changed_under_traffic_and_no_queue_is_lost(lab: Laboratory, plan: TrialPlan) -> None:
    link = plan.network.host_by_id[SERVER].link
    original = plan.network.link_by_id[link].direction(SERVER)
    faster, slower = (replace(original, rate_bps=rate) for rate in (4_000_000, 1_000_000))
    lab.net.change_links({(link, SERVER): faster})
    try:
        with received(lab, SERVER, LEECHER) as count:
            time.sleep(1.0)
            first = rate_bps(count)
            lab.net.change_links({(link, SERVER): slower})
            time.sleep(1.5)  # what waited in the queue leaves at the new rate
            second = rate_bps(count)
    finally:
        lab.net.change_links({(link, SERVER): original})
    assert 0.85 < first / (faster.rate_bps * 1448 / 1514) < 1.05
    assert 0.85 < second / (slower.rate_bps * 1448 / 1514) < 1.05


class received:
    """While in this context, one host sends to another as fast as TCP can; the value counts what arrives."""

    def __init__(self, lab: Laboratory, source: str, target: str) -> None:
        self._lab, self._ends = lab, (source, target)
        self._stop = threading.Event()
        self.bytes = 0

    def __enter__(self) -> received:
        source, target = self._ends
        address = self._lab.plan.network.host_by_id[target].ip
        server = within(
            self._lab.net.blueprint.namespace(target), lambda: socket.create_server((address, 7000))
        )
        out = within(
            self._lab.net.blueprint.namespace(source), lambda: socket.create_connection((address, 7000), 5)
        )
        taken, _ = server.accept()
        server.close()
        out.settimeout(0.2)
        taken.settimeout(0.2)
        self._sockets = (out, taken)
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for connection in self._sockets:
            connection.close()

    def _send(self) -> None:
        while not self._stop.is_set():
            try:
                self._sockets[0].send(bytes(8192))
            except TimeoutError:
                continue

    def _receive(self) -> None:
        while not self._stop.is_set():
            try:
                self.bytes += len(self._sockets[1].recv(65536))
            except TimeoutError:
                continue


def rate_bps(count: received) -> float:
    before, begun = count.bytes, time.monotonic()
    time.sleep(2.0)
    return (count.bytes - before) * 8 / (time.monotonic() - begun)


def test_a_delay_is_changed_under_traffic(lab: Laboratory, plan: TrialPlan) -> None:
    link = plan.network.host_by_id[LEECHER].link
    original = plan.network.link_by_id[link].direction(LEECHER)
    before = sorted(pings(lab, LEECHER, SERVER, 31))[15]
    lab.net.change_links({(link, LEECHER): replace(original, delay_s=original.delay_s + 0.030)})
    try:
        after = sorted(pings(lab, LEECHER, SERVER, 31))[15]
    finally:
        lab.net.change_links({(link, LEECHER): original})
    assert 0.028 < after - before < 0.032
    assert abs(sorted(pings(lab, LEECHER, SERVER, 31))[15] - before) < 2e-3


def test_a_loss_comes_and_goes(lab: Laboratory, plan: TrialPlan) -> None:
    link = plan.network.host_by_id[LEECHER].link
    original = plan.network.link_by_id[link].direction(LEECHER)
    for loss, least, most in (
        (0.5, 60, 140),
        (0.1, 160, 196),
        (0.0, 200, 200),
        (0.5, 60, 140),
        (0.0, 200, 200),
    ):
        lab.net.change_links({(link, LEECHER): replace(original, loss=loss)})
        assert least <= len(pings(lab, LEECHER, SERVER, 200)) <= most


def test_pings_of_a_lossy_path_are_those_that_come_back(lab: Laboratory, plan: TrialPlan) -> None:
    link = plan.network.host_by_id[LEECHER].link
    original = plan.network.link_by_id[link].direction(LEECHER)
    lab.net.change_links({(link, LEECHER): replace(original, loss=0.7)})
    try:
        round_trip_s = lab.net.ping_s(LEECHER, SERVER, 15)
        assert lab.net.unreachable([(LEECHER, SERVER)]) == []
    finally:
        lab.net.change_links({(link, LEECHER): original})
    assert round_trip_s is not None
    assert 0.003 < round_trip_s < 0.01


def test_a_host_behind_a_link_that_is_down_is_unreachable(lab: Laboratory, plan: TrialPlan) -> None:
    device = lab.net.blueprint.devices[plan.network.host_by_id[LEECHER].link, "left.one"]
    command = ["ip", "-n", device.namespace, "link", "set", "dev", device.name]
    subprocess.run([*command, "down"], check=True)
    try:
        assert lab.net.unreachable([(SERVER, LEECHER), (SERVER, SEED)]) == [(SERVER, LEECHER)]
    finally:
        subprocess.run([*command, "up"], check=True)


def test_frames_that_a_standing_delay_line_does_not_take_are_counted(lab: Laboratory) -> None:
    line = lab.net.delay_line
    if line is None:
        pytest.skip("this kernel delays by itself")
    before = line.counters()
    os.kill(line.pid, signal.SIGSTOP)
    try:
        out = within(
            lab.net.blueprint.namespace(SERVER), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        )
        address = lab.plan.network.host_by_id[SEED].ip
        until = time.monotonic() + 10
        # A TAP device keeps a thousand frames.
        while not (untaken := line.counters().lost_untaken - before.lost_untaken):
            assert time.monotonic() < until
            for _ in range(50):
                out.sendto(bytes(1), (address, 9))
            time.sleep(0.01)
        out.close()
    finally:
        os.kill(line.pid, signal.SIGCONT)
    after = line.counters()
    assert after.lost - before.lost >= untaken


def test_a_queue_holds_what_it_is_set_to(lab: Laboratory, plan: TrialPlan) -> None:
    link = plan.network.host_by_id[LEECHER].link
    original = plan.network.link_by_id[link].direction(LEECHER)
    lab.net.change_links({(link, LEECHER): replace(original, queue_bytes=20_000)})
    try:
        address = plan.network.host_by_id[SERVER].ip
        out = within(
            lab.net.blueprint.namespace(LEECHER), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        )
        before = lab.net.uplink_queues()[link, LEECHER]
        for _ in range(60):
            try:
                out.sendto(bytes(1472), (address, 9))
            except OSError:
                continue
        after = lab.net.uplink_queues()[link, LEECHER]
        out.close()
    finally:
        lab.net.change_links({(link, LEECHER): original})
    # 20,000 bytes are 13 frames; a burst of two leaves at once, and the rest of 60 is lost.
    assert 60 - 13 - 6 <= after.drops - before.drops <= 60 - 13


def test_a_link_without_delay_gets_none_where_nothing_can_delay_it(lab: Laboratory, plan: TrialPlan) -> None:
    link = plan.network.host_by_id[SEED].link
    original = plan.network.link_by_id[link].direction(SEED)
    if lab.net.delay_line:
        pytest.skip("a delay line delays every link")
    with pytest.raises(RunError, match="was built without a delay"):
        lab.net.change_links({(link, SEED): replace(original, delay_s=0.01)})


def test_a_delay_line_that_dies_is_named(plan: TrialPlan, tmp_path: Path) -> None:
    engines = probe_engines()
    if engines.delay != "line":
        pytest.skip("this kernel delays by itself")
    with Laboratory(plan, tmp_path / "asked", engines, lambda _: None) as lab:
        lab.build_network()
        assert lab.net.delay_line is not None
        os.kill(lab.net.delay_line.pid, signal.SIGKILL)
        (dead,) = lab.supervisor.deaths(5.0)
        assert "delay line was killed by signal SIGKILL" in str(dead.death())
        with pytest.raises(RunError, match="delay line"):
            lab.net.follow(plan.routes)
    # What fails because of it is not the reason.
    with Laboratory(plan, tmp_path / "unasked", engines, lambda _: None) as lab:
        lab.build_network()
        lab.install_rules()
        assert lab.net.delay_line is not None
        os.kill(lab.net.delay_line.pid, signal.SIGKILL)
        with pytest.raises(RunError, match="delay line was killed by signal SIGKILL"):
            lab.check_paths()
