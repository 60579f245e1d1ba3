"""How fast networks are built and how exact they are, against stock Mininet 2.3 on the same machine.

`build_200_hosts` and `teardown_200_hosts` are 200 hosts at 20 edge switches around one core switch, all links
shaped: ours up to all rules confirmed by the controller, stock Mininet's with TCLink and switches that learn.
`launch_200` is 200 Python processes that have libtorrent, each in a host of its own: ours supervised and
forked, stock Mininet's by `popen`, one by one. Then what has no peer: growth to 500 hosts, TCP goodput
against the configured rate, round trips against the configured delay, and packets that nothing explains.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median, quantiles

import bench
import live
from live import Live

from testbed.emulation.capabilities import Engines, probe_engines
from testbed.emulation.journal import NAMESPACES
from testbed.emulation.measurement import round_trips_s
from testbed.spec.units import FRAME_BYTES, PAYLOAD_BYTES
from testbed.topology.model import Network

HOSTS, EDGES, PROCESSES = 200, 20, 200
STOCK = "Mininet 2.3, TCLink"
RATES_MBPS = (0.5, 2.0, 10.0, 50.0, 100.0)
ROUND_TRIPS_MS = (5, 25, 100)
PAYLOAD_SHARE = PAYLOAD_BYTES / FRAME_BYTES
# With an acknowledgement of the other way's, of 66 bytes, for each two of its frames.
PAYLOAD_SHARE_WITH_ACKS = PAYLOAD_BYTES / (FRAME_BYTES + 66 / 2)
FORKED = "forked"


def main() -> None:
    arguments = bench.options(__doc__.splitlines()[0])
    engines = probe_engines()
    measures = build_measures(engines, quick=arguments.quick)
    bench.show(f"network ({engines.datapath} datapath, delay: {engines.delay})", measures, arguments.json)
    if arguments.quick:
        return
    growth(engines)
    rates(engines)
    round_trips(engines)
    unexplained_loss(engines)


# --- against stock Mininet ---------------------------------------------------------------------------------


def build_measures(engines: Engines, *, quick: bool) -> list[bench.Measure]:
    built: list[float] = []
    removed: list[float] = []
    launched = 0.0
    for number in range(2 if quick else 3):
        with live.living(shaped_star(HOSTS), engines, removed) as lab:
            built.append(lab.build_s)
            if number == 0 and not quick:
                launched = launch(lab)
    stock = stock_mininet(0 if quick else PROCESSES)
    note = f"ours with rules installed, median of {len(built)}; peer once"
    measures = [
        bench.Measure("build_200_hosts", median(built), stock["build_s"], STOCK, "s", note),
        bench.Measure("teardown_200_hosts", median(removed), stock["stop_s"], STOCK, "s"),
    ]
    if not quick:
        popen = "Mininet 2.3, host.popen one by one"
        measures.append(bench.Measure("launch_200", launched, stock["launch_s"], popen, "s"))
    return measures


def shaped_star(hosts: int) -> Network:
    line = "down: 10 Mbit/s, up: 10 Mbit/s, delay: 0 ms"
    return live.star(max(1, hosts * EDGES // HOSTS), ["line"] * hosts, {"line": line})


def stock_mininet(processes: int) -> Mapping[str, float]:
    program = Path(__file__).with_name("stock_mininet.py")
    words = [sys.executable, str(program), str(HOSTS), str(EDGES), str(processes)]
    done = subprocess.run(words, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"stock Mininet failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def launch(lab: Live) -> float:
    """Seconds until a fork server's children in all hosts have written that they run, its start included."""
    logs = [lab.folder / f"{number}.log" for number in range(PROCESSES)]
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # where the server finds the module
    started = time.monotonic()
    server = lab.supervisor.fork_server(FORKED, lab.folder / "server.log")
    children = [
        lab.supervisor.fork(server, host.id, Path(), log=log, namespace=lab.namespace(host.id))
        for host, log in zip(lab.network.hosts, logs, strict=True)
    ]
    while waiting := [log for log in logs if not log.exists() or not log.stat().st_size]:
        for dead in lab.supervisor.deaths(0.002):
            raise dead.death()
        logs = waiting
    seconds = time.monotonic() - started
    lab.supervisor.stop(children)
    return seconds


def growth(engines: Engines) -> None:
    rows = []
    for hosts in (100, 200, 300, 500):
        removed: list[float] = []
        with live.living(shaped_star(hosts), engines, removed) as lab:
            built = lab.build_s
        rows.append((str(hosts), f"{built:.2f}", f"{1000 * built / hosts:.1f}", f"{removed[0]:.2f}"))
    bench.show_rows("growth, ten hosts a switch", ("hosts", "build s", "ms a host", "teardown s"), rows)


# --- rates -------------------------------------------------------------------------------------------------


def rates(engines: Engines) -> None:
    """Goodput both ways at once: in one connection, where ACKs ride on data, and in one for each way.

    With two connections the ACKs of one way are frames of their own, which take from the other way's rate.
    """
    names = {rate: f"line{number}" for number, rate in enumerate(RATES_MBPS)}
    lines = {names[rate]: f"down: {rate} Mbit/s, up: {rate} Mbit/s, delay: 1.25 ms" for rate in RATES_MBPS}
    network = live.star(2, [name for name in lines for _ in range(2)], lines)
    rows = []
    with live.living(network, engines) as lab:
        lab.warm_up()
        for rate, line in names.items():
            there, back = lab.with_line(line)
            errors = [
                *goodput_errors(lab, rate * PAYLOAD_SHARE, [(there, back)]),
                *goodput_errors(lab, rate * PAYLOAD_SHARE_WITH_ACKS, [(there, back), (back, there)]),
            ]
            rows.append((f"{rate:g} Mbit/s", *(f"{100 * error:+.2f} %" for error in errors)))
    columns = ("rate", "one connection: there", "back", "two connections: there", "back")
    title = "TCP goodput against the rate less headers (and ACKs of their own frames), both ways at once"
    bench.show_rows(title, columns, rows)


def goodput_errors(lab: Live, expected_mbps: float, pairs: list[tuple[str, str]]) -> list[float]:
    """Two numbers: how far goodput is from the expected, as a share, in each direction.

    `pairs` are the connections' (sender, receiver); a single one is used in both directions.
    """
    connections = live.connect(lab, pairs)
    senders = [near for near, _ in connections]
    receivers = [far for _, far in connections]
    if len(pairs) == 1:
        senders = receivers = [*receivers, *senders]
    counted = live.transfer(senders, receivers, seconds=8, skipped_s=2)
    found = [counted[each.fileno()].rate_bps for each in receivers]
    hang_up(connections)
    return [rate / (expected_mbps * 1e6) - 1 for rate in found]


def hang_up(connections: list[tuple[socket.socket, socket.socket]]) -> None:
    """Close all, and drop what still waits to be sent."""
    for each in (end for connection in connections for end in connection):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        each.close()


# --- round trips -------------------------------------------------------------------------------------------


def round_trips(engines: Engines) -> None:
    if engines.delay == "none":
        print("round trips: this machine has no delay engine")
        return
    names = {trip_ms: f"line{trip_ms}" for trip_ms in ROUND_TRIPS_MS}
    # A round trip passes four access links.
    lines = {
        name: f"down: 100 Mbit/s, up: 100 Mbit/s, delay: {trip_ms / 4} ms" for trip_ms, name in names.items()
    }
    busy = "down: 10 Mbit/s, up: 2 Mbit/s, delay: 5 ms"
    hosts = [name for name in lines for _ in range(2)] + ["busy"] * 30
    rows = []
    with live.living(live.star(4, hosts, {**lines, "busy": busy}), engines) as lab:
        lab.warm_up()
        pings = {trip_ms: lab.with_line(name) for trip_ms, name in names.items()}
        rows.append(("a sleep of 5 ms here", *late_row(sleeps_late_ms())))
        for state in ("idle", "under load"):
            with load(lab) if state == "under load" else nullcontext():
                for trip_ms, times in ping_all(lab, pings).items():
                    rows.append((f"{trip_ms} ms, {state}", *late_row([each - trip_ms for each in times])))
    title = f"round trips less the configured, ms (delay: {engines.delay}; load: 30 hosts send 2 Mbit/s each)"
    bench.show_rows(title, ("configured", "median", "p95", "p99", "most"), rows)


def late_row(times_ms: list[float]) -> tuple[str, ...]:
    cuts = quantiles(times_ms, n=100)
    return tuple(f"{each:+.2f}" for each in (median(times_ms), cuts[94], cuts[98], max(times_ms)))


def sleeps_late_ms(count: int = 1000, seconds: float = 0.005) -> list[float]:
    """By how much a thread that sleeps wakes late on this machine: a round trip wakes two to ten."""
    late_ms = []
    for _ in range(count):
        due_s = time.monotonic() + seconds
        time.sleep(seconds)
        late_ms.append(1e3 * (time.monotonic() - due_s))
    return late_ms


def ping_all(lab: Live, pairs: Mapping[int, list[str]], count: int = 250) -> dict[int, list[float]]:
    """Round trip times (ms) of pings between each pair, one pair after the other.

    No answer of those that are configured comes when another ping is sent.
    """
    found = {}
    for key, (source, target) in pairs.items():
        times = round_trips_s(lab.namespace(source), lab.address(target), count, every_s=0.04, most_s=30)
        found[key] = [1e3 * time_s for time_s in times]
    return found


@contextmanager
def load(lab: Live) -> Iterator[None]:
    """While in this context, the hosts with the line `busy` send to one another, from another process."""
    hosts = lab.with_line("busy")
    connections = live.connect(lab, list(zip(hosts, [*hosts[1:], hosts[0]], strict=True)))
    near, far = ([pair[end] for pair in connections] for end in (0, 1))
    options = {"seconds": 3600, "skipped_s": 0, "batch_bytes": 1 << 14}
    process = get_context("fork").Process(target=live.transfer, args=(near, far), kwargs=options)
    process.start()
    time.sleep(2)  # until TCP has found its rate
    try:
        yield
    finally:
        process.kill()
        process.join()
        hang_up(connections)


# --- packets that nothing explains -------------------------------------------------------------------------


def unexplained_loss(engines: Engines) -> None:
    """100 hosts send 2 Mbit/s each: with room at the receivers, and where the receivers' links are full.

    A switch's losses and its queues' drops differ where queues are full, and only there: presumably Open
    vSwitch gives up a batch at its first refused frame, or sends a refused one again. So it counts apart.
    """
    rows = []
    for down in ("10 Mbit/s", "2 Mbit/s"):
        lines = {"line": f"down: {down}, up: 2 Mbit/s, delay: 0 ms"}
        with live.living(live.star(10, ["line"] * 100, lines), engines) as lab:
            lab.warm_up()
            before = count_frames(lab)
            send_round(lab, seconds=15)
            after = count_frames(lab)
        sent, arrived = after.sent - before.sent, after.arrived - before.arrived
        dropped = {pop: after.dropped[pop] - before.dropped[pop] for pop in after.dropped}
        lost = {pop: after.vanished[pop] - before.vanished[pop] - dropped[pop] for pop in dropped}
        full = sum(lost[pop] for pop in lost if dropped[pop])
        calm = sum(lost[pop] for pop in lost if not dropped[pop])
        queues = sum(dropped.values())
        wires = sent - arrived - queues - full - calm
        figures = (sent, queues, full, calm, wires, after.at_sockets - before.at_sockets)
        rows.append((down, *(f"{each:,}" for each in figures)))
    columns = (
        "downlinks",
        "frames sent",
        "dropped by queues",
        "more at full queues",
        "unexplained in switches",
        "unexplained on wires",
        "lost by sockets",
    )
    bench.show_rows("100 hosts send 2 Mbit/s each", columns, rows)


@dataclass(frozen=True)
class Frames:
    """Frames since the network was made. `vanished` is what a switch received and did not send.

    `at_sockets` is what the sockets had no room for through which userspace switches receive.
    """

    sent: int
    arrived: int
    vanished: Mapping[str, int]
    dropped: Mapping[str, int]
    at_sockets: int


def count_frames(lab: Live) -> Frames:
    """To be called when nothing is under way."""
    ports = lab.port_counters(after_ns=time.monotonic_ns())
    queues = lab.net.queues()
    return Frames(
        sent=sum(queue.packets for queue in lab.net.uplink_queues().values()),
        arrived=sum(live.arrived_packets(lab.namespace(host.id)) for host in lab.network.hosts),
        vanished={
            pop: sum(port["rx_packets"] - port["tx_packets"] for port in links.values())
            for pop, links in ports.items()
        },
        dropped={pop: sum(queues[link, pop].drops for link in links) for pop, links in ports.items()},
        at_sockets=sum(socket_drops(lab.namespace(group.name)) for group in lab.net.blueprint.groups),
    )


def socket_drops(namespace: str) -> int:
    """Frames that the packet sockets of a namespace have lost for want of room."""
    command = ["nsenter", f"--net={NAMESPACES / namespace}", "--", "ss", "-0amn"]
    done = subprocess.run(command, text=True, capture_output=True, check=True)
    return sum(int(number) for number in re.findall(r",d(\d+)\)", done.stdout))


def send_round(lab: Live, seconds: float) -> None:
    """Every host sends to the one half of all hosts further on; ends when all of it has arrived."""
    hosts = [host.id for host in lab.network.hosts]
    half = len(hosts) // 2
    connections = live.connect(lab, list(zip(hosts, hosts[half:] + hosts[:half], strict=True)))
    near, far = ([pair[end] for pair in connections] for end in (0, 1))
    live.transfer(near, far, seconds=seconds, skipped_s=0, batch_bytes=1 << 14)
    for each in near:
        each.shutdown(socket.SHUT_WR)
    live.drain(far, quiet_s=2)
    hang_up(connections)
    time.sleep(0.5)  # the last frames


if __name__ == "__main__":
    main()
