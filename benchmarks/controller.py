"""How fast the controller installs, mends and changes what switches do, and how exactly.

`install_50_switches` is the time from the switches' connection to the last of them having confirmed every
rule, for 50 switches and 500 hosts, against Open vSwitch's own `ovs-ofctl add-flows` of the same rules, a
switch after the other. Then what has no peer: the gap that a cut link leaves in a stream, by fast failover
and through the controller; a controller that is killed, a switch that is started again; when a new rate
holds, and how exactly it and a meter do; and whether switches and kernel count the same. `--framework os-ken`
measures that one.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import median

import bench
import live
from live import Live

from testbed.emulation.capabilities import Engines, probe_engines
from testbed.emulation.namespaces import within
from testbed.spec.topology import load_topology
from testbed.topology.compile import HostRequest, compile_network
from testbed.topology.model import Network

SWITCHES, HOSTS = 50, 500
STREAM_BPS = 20_000_000
PAYLOAD_BYTES, OVERHEAD_BYTES = 1000, 42
CUTS = 5
_SO_RCVBUFFORCE = 33
PEER = "ovs-ofctl add-flows, a switch after the other"

TWO_ISPS = """
name: two-isps
isps:
  west:
    asn: 1
    pops: {a: {at: [48, 2]}, b: {at: [45, 5]}, c: {at: [43, 5]}, d: {at: [47, 2]}}
    links:
      - {between: [a, b], capacity: 100 Mbit/s, delay: 1 ms}
      - {between: [b, c], capacity: 100 Mbit/s, delay: 1 ms}
      - {between: [c, d], capacity: 100 Mbit/s, delay: 1 ms}
      - {between: [d, a], capacity: 100 Mbit/s, delay: 1 ms}
  east:
    asn: 2
    pops: {e: {at: [48, 11]}, f: {at: [45, 9]}}
    links:
      - {between: [e, f], capacity: 100 Mbit/s, delay: 1 ms}
interdomain:
  - {between: [west.b, east.e], relationship: peer-peer, capacity: 100 Mbit/s, delay: 2 ms}
  - {between: [west.c, east.f], relationship: peer-peer, capacity: 100 Mbit/s, delay: 2 ms}
access:
  line: {down: 50 Mbit/s, up: 50 Mbit/s, delay: 1 ms}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a rough answer in under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measures as JSON")
    parser.add_argument("--framework", choices=("ryu", "os-ken"), default="ryu")
    arguments = parser.parse_args()
    engines = probe_engines()
    measures = [install(engines, arguments.framework)]
    title = f"controller ({arguments.framework}, {engines.datapath} datapath)"
    bench.show(title, measures, arguments.json)
    with live.living(two_isps(), engines, framework=arguments.framework) as lab:
        lab.warm_up()
        time.sleep(2)  # the controller loads what computes routes
        rows = gaps(lab, 2 if arguments.quick else CUTS)
        rows += changes(lab, 3.0 if arguments.quick else 10.0)
        rows += restarts(lab, arguments.framework)
        rows += counts(lab)
    bench.show_rows(title, ("what", "measured", "bar"), rows)


def two_isps() -> Network:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(TWO_ISPS)
        file.flush()
        spec = load_topology(Path(file.name))[0]
    pops = [f"west.{name}" for name in "abcd"] + ["east.e", "east.f"]
    return compile_network(spec, [HostRequest(pop, "leecher", "line") for pop in pops for _ in range(2)])


def install(engines: Engines, framework: str) -> bench.Measure:
    line = "down: 10 Mbit/s, up: 10 Mbit/s, delay: 0 ms"
    network = live.star(SWITCHES - 1, ["line"] * HOSTS, {"line": line})
    with live.living(network, engines, framework=framework) as lab:
        rules = sum(switch["rules"] for switch in lab.api.get("/status")["switches"].values())
        peer_s = with_ofctl(lab)
        note = f"{rules} rules, confirmed"
        return bench.Measure("install_50_switches", lab.install_s, peer_s, PEER, "s", note)


def with_ofctl(lab: Live) -> float:
    """Seconds that ovs-ofctl takes to give every switch the rules that it has already."""
    sockets = sorted(lab.run.glob("*.mgmt"))
    files = []
    for path in sockets:
        shown = _ofctl("--no-stats", "dump-flows", f"unix:{path}")
        rules = [line.strip() for line in shown.splitlines() if "priority" in line]
        file = lab.folder / f"{path.name}.flows"
        file.write_text("\n".join(rules).replace("reset_counts ", "") + "\n")
        files.append(file)
    begun = time.monotonic()
    for path, file in zip(sockets, files, strict=True):
        _ofctl("add-flows", f"unix:{path}", str(file))
    return time.monotonic() - begun


def _ofctl(*words: str) -> str:
    done = subprocess.run(
        ["ovs-ofctl", "-O", "OpenFlow13", *words], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"ovs-ofctl {' '.join(words)}: {done.stderr}")
    return done.stdout


class Stream:
    """Numbered datagrams from host to host at a rate while in the context, and when which of them came."""

    def __init__(self, lab: Live, source: str, target: str, rate_bps: float, port: int = 7000) -> None:
        self.sent = 0
        self.came: list[tuple[float, int]] = []
        self._ended_s = float("inf")
        self._every_s = (PAYLOAD_BYTES + OVERHEAD_BYTES) * 8 / rate_bps
        self._stopped, self._over = threading.Event(), threading.Event()
        self._to = lab.address(target), port
        self._receiver = within(lab.namespace(target), lambda: socket.socket(type=socket.SOCK_DGRAM))
        self._receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)
        self._receiver.bind(self._to)
        self._receiver.settimeout(0.1)
        self._sender = within(lab.namespace(source), lambda: socket.socket(type=socket.SOCK_DGRAM))
        self._threads = [threading.Thread(target=work) for work in (self._receive, self._send)]

    def __enter__(self) -> Stream:
        for thread in self._threads:
            thread.start()
        time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.3)
        self._ended_s = time.monotonic()
        self._stopped.set()
        time.sleep(0.3)  # what is on its way
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._receiver.close()
        self._sender.close()

    def gap_s(self, at_s: float, within_s: float = 2.5) -> float:
        """The longest silence that begins from just before a time on."""
        near = [time_s for time_s, _ in self.came if at_s - 0.02 < time_s < at_s + within_s]
        times = [at_s - 0.02, *near, min(at_s + within_s, self._ended_s)]
        return max(after - before for before, after in pairwise(times))

    @property
    def lost(self) -> int:
        return self.sent - len({number for _, number in self.came})

    def rate_bps(self, since_s: float, until_s: float) -> float:
        """Of whole frames, over the time between the first and the last that came then."""
        times = [time_s for time_s, _ in self.came if since_s <= time_s <= until_s]
        return (len(times) - 1) * (PAYLOAD_BYTES + OVERHEAD_BYTES) * 8 / (times[-1] - times[0])

    def _receive(self) -> None:
        while not self._over.is_set():
            with suppress(TimeoutError):
                data = self._receiver.recv(2000)
                self.came.append((time.monotonic(), int.from_bytes(data[:8], "big")))

    def _send(self) -> None:
        begun = time.monotonic()
        rest = bytes(PAYLOAD_BYTES - 8)
        while not self._stopped.is_set():
            self._sender.sendto(self.sent.to_bytes(8, "big") + rest, self._to)
            self.sent += 1
            time.sleep(max(0.0, begun + self.sent * self._every_s - time.monotonic()))


def host_at(lab: Live, pop: str, number: int = 0) -> str:
    return [host.id for host in lab.network.hosts if host.pop == pop][number]


def gaps(lab: Live, cuts: int) -> list[tuple[str, ...]]:
    a, b, e = (host_at(lab, pop) for pop in ("west.a", "west.b", "east.e"))
    inside, between = "west.a--west.b", "west.b--east.e"
    rows = []
    with Stream(lab, a, b, STREAM_BPS) as stream:
        fast = [_cut_and_heal(lab, stream, inside) for _ in range(cuts)]
        os.kill(lab.controller.pid, signal.SIGSTOP)
        try:
            ends = [_device(lab, inside, end) for end in ("west.a", "west.b")]
            alone_s = time.monotonic()
            for device, namespace in ends:
                _ip(namespace, "link", "set", device, "down")
            time.sleep(0.6)
            alone = stream.gap_s(alone_s, 0.5)
            for device, namespace in ends:
                _ip(namespace, "link", "set", device, "up")
        finally:
            os.kill(lab.controller.pid, signal.SIGCONT)
        time.sleep(1)
    rows.append(_gap_row("internal link cut, fast failover", [down for down, _ in fast], "50 ms"))
    rows.append(("the same with the controller stopped", f"{1000 * alone:.1f} ms", "50 ms"))
    rows.append(_gap_row("internal link healed", [up for _, up in fast], "50 ms"))
    with Stream(lab, a, e, STREAM_BPS) as stream:
        slow = [_cut_and_heal(lab, stream, between) for _ in range(cuts)]
    rows.append(_gap_row("interdomain link cut, by the controller", [down for down, _ in slow], "1 s"))
    rows.append(_gap_row("interdomain link healed", [up for _, up in slow], "1 s"))
    return rows


def _cut_and_heal(lab: Live, stream: Stream, link: str) -> tuple[float, float]:
    down_s = _at(lambda: lab.api.patch(f"/links/{link}", {"state": "down"}))
    time.sleep(1)
    up_s = _at(lambda: lab.api.patch(f"/links/{link}", {"state": "up"}))
    time.sleep(1)
    return stream.gap_s(down_s, 1.0), stream.gap_s(up_s, 1.0)


def _gap_row(what: str, gaps_s: Sequence[float], bar: str) -> tuple[str, ...]:
    shown = f"{1000 * median(gaps_s):.1f} ms, at most {1000 * max(gaps_s):.1f} ms of {len(gaps_s)}"
    return what, shown, bar


def _at(work: Callable[[], object]) -> float:
    begun_s = time.monotonic()
    work()
    return begun_s


def _device(lab: Live, link: str, end: str) -> tuple[str, str]:
    device = lab.net.blueprint.devices[link, end]
    return device.name, device.namespace


def _ip(namespace: str, *words: str) -> None:
    subprocess.run(["ip", "-n", namespace, *words], check=True)


def changes(lab: Live, seconds: float) -> list[tuple[str, ...]]:
    """A new rate on a full link, and a meter beside an unmetered stream."""
    a, b, b2 = host_at(lab, "west.a"), host_at(lab, "west.b"), host_at(lab, "west.b", 1)
    link, rate = "west.a--west.b", 8_000_000
    with Stream(lab, a, b, STREAM_BPS) as stream:
        begun_s = time.monotonic()
        answer = lab.api.patch(f"/links/{link}", {"rate_bps": rate})
        took_s = time.monotonic() - begun_s
        time.sleep(seconds + 1)
        after_s = begun_s + took_s + 0.5
        measured = stream.rate_bps(after_s, after_s + seconds)
        first = stream.rate_bps(begun_s + 0.2, begun_s + 0.7)
    lab.api.patch(f"/links/{link}", {"rate_bps": 100_000_000})
    effect_s = (answer["effective_ns"] - answer["asked_ns"]) / 1e9
    rows = [
        ("rate change in force", f"{1000 * effect_s:.0f} ms, answered in {1000 * took_s:.0f} ms", "200 ms"),
        ("its rate from 200 ms on", f"{100 * (first / rate - 1):+.2f} %", "2 %"),
        ("its rate", f"{100 * (measured / rate - 1):+.2f} %", "2 %"),
    ]
    for limit in (1_000_000, 5_000_000):
        body = {"isp": "west", "class": {"protocol": "udp", "port": 7001}, "rate_bps": limit}
        lab.api.put("/meters/bench", body)
        metered = Stream(lab, a, b, STREAM_BPS / 2, port=7001)
        free = Stream(lab, a, b2, STREAM_BPS / 4, port=7002)
        with metered, free:
            begun_s = time.monotonic() + 1
            time.sleep(seconds + 1)
        held = metered.rate_bps(begun_s, begun_s + seconds)
        other = f"{free.lost} of {free.sent} lost beside it"
        error = f"{100 * (held / limit - 1):+.2f} %, {other}"
        rows.append((f"meter of {limit / 1e6:.0f} Mbit/s", error, "5 %, none"))
        lab.api.delete("/meters/bench")
    return rows


def restarts(lab: Live, framework: str) -> list[tuple[str, ...]]:
    a, e = host_at(lab, "west.a"), host_at(lab, "east.e")
    flows = _all_flows(lab)
    with Stream(lab, a, e, STREAM_BPS) as stream:
        resync_s = lab.restart_controller(framework)
        time.sleep(0.5)
    same = "the same rules" if _all_flows(lab) == flows else "OTHER RULES"
    rows = [
        ("controller killed, another in control", f"{resync_s:.2f} s, {same}", "3 s"),
        ("packets lost meanwhile", f"{stream.lost} of {stream.sent}", "0"),
    ]
    with Stream(lab, a, e, STREAM_BPS) as stream:
        killed_s = time.monotonic()
        lab.net.kill_switch("west.a")
        lab.net.restart_switch("west.a")
        back_s = time.monotonic()
        while not lab.api.get("/status")["ready"]:
            time.sleep(0.01)
        ready_s = time.monotonic()
        time.sleep(1)
    gap_s = stream.gap_s(killed_s, 20.0)
    took = f"daemon back after {back_s - killed_s:.2f} s, rules {ready_s - back_s:.2f} s later"
    shown = f"{gap_s:.2f} s silent; {took}"
    rows.append(("switch killed and started again", shown, "3 s from its connection"))
    return rows


def _all_flows(lab: Live) -> list[list[str]]:
    return [
        sorted(_ofctl("--no-stats", "dump-flows", f"unix:{path}").splitlines()[1:])
        for path in sorted(lab.run.glob("*.mgmt"))
    ]


def counts(lab: Live) -> list[tuple[str, ...]]:
    """After traffic, port counters against the devices' own."""
    with Stream(lab, host_at(lab, "west.a"), host_at(lab, "east.e"), STREAM_BPS):
        time.sleep(2)
    time.sleep(0.5)
    counters = lab.port_counters(time.monotonic_ns())
    off = total = 0
    for pop, ports in counters.items():
        for link, port in ports.items():
            name, namespace = _device(lab, link, pop)
            sent, received = _kernel_bytes(namespace, name)
            off += abs(port["tx_bytes"] - sent) + abs(port["rx_bytes"] - received)
            total += sent + received
    return [("switch ports' bytes against the kernel's", f"{off} of {total} off", "0")]


def _kernel_bytes(namespace: str, device: str) -> tuple[int, int]:
    lines = within(namespace, Path("/proc/thread-self/net/dev").read_text).splitlines()
    fields = next(line.split(":")[1].split() for line in lines if line.strip().startswith(f"{device}:"))
    return int(fields[8]), int(fields[0])


if __name__ == "__main__":
    main()
