"""The peer of benchmarks/network.py: stock Mininet, in a network and mount namespace of its own.

`python benchmarks/stock_mininet.py HOSTS EDGES PROCESSES` builds a star of switches with hosts behind shaped
links, starts so many Python processes with libtorrent in its hosts, takes it all down, and prints one line of
JSON: {"build_s", "launch_s", "stop_s"}. It starts an Open vSwitch of its own, so that the machine's is
neither needed nor touched; the namespaces end with this process, and what it made ends with them.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from mininet.link import TCLink
from mininet.net import Mininet
from mininet.node import OVSSwitch

from testbed.emulation.capabilities import probe_engines
from testbed.emulation.ovs import SCHEMA
from testbed.emulation.processes import die_with

_NEW_NETWORK, _NEW_MOUNTS = 0x40000000, 0x00020000
ACCESS_MBPS, CORE_MBPS = 10, 1000
CHILD = "import sys, time, libtorrent; sys.stdout.write('runs\\n'); sys.stdout.flush(); time.sleep(1000)"


def main() -> int:
    hosts, edges, processes = (int(word) for word in sys.argv[1:])
    logging.disable(logging.WARNING)  # TCLink reports tc's advice about the quantum of every link
    enter_namespaces()
    with tempfile.TemporaryDirectory(prefix="stock") as name:
        daemons = start_open_vswitch(Path(name))
        try:
            print(json.dumps(measure(hosts, edges, processes)))
        finally:
            for daemon in reversed(daemons):
                daemon.terminate()
                daemon.wait()
    return 0


def enter_namespaces() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_NETWORK | _NEW_MOUNTS) != 0:
        raise OSError(ctypes.get_errno(), "namespaces of its own can't be had")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "sysfs", "sysfs", "/sys"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def start_open_vswitch(folder: Path) -> list[subprocess.Popen[bytes]]:
    for name in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR"):
        os.environ[name] = str(folder)
    database, socket = folder / "conf.db", folder / "db.sock"
    subprocess.run(["ovsdb-tool", "create", str(database), str(SCHEMA)], check=True, capture_output=True)
    quiet = {"stderr": subprocess.DEVNULL, "preexec_fn": partial(die_with, os.getpid())}
    server = subprocess.Popen(["ovsdb-server", str(database), f"--remote=punix:{socket}"], **quiet)
    while not socket.exists():
        if server.poll() is not None:
            raise SystemExit("ovsdb-server does not start")
        time.sleep(0.01)
    subprocess.run(["ovs-vsctl", "--no-wait", "init"], check=True)
    return [server, subprocess.Popen(["ovs-vswitchd", f"unix:{socket}"], **quiet)]


def measure(hosts: int, edges: int, processes: int) -> dict[str, float]:
    datapath = "kernel" if probe_engines().datapath == "system" else "user"
    switch = partial(OVSSwitch, datapath=datapath, failMode="standalone")
    started = time.monotonic()
    net = Mininet(switch=switch, link=TCLink, controller=None, ipBase="10.0.0.0/8")
    core = net.addSwitch("s1")
    edge = [net.addSwitch(f"s{number}") for number in range(2, edges + 2)]
    for each in edge:
        net.addLink(core, each, bw=CORE_MBPS)
    for number in range(hosts):
        net.addLink(net.addHost(f"h{number}"), edge[number % edges], bw=ACCESS_MBPS)
    net.start()
    built = time.monotonic()
    launch(net, processes)
    launched = time.monotonic()
    net.stop()
    stopped = time.monotonic()
    return {"build_s": built - started, "launch_s": launched - built, "stop_s": stopped - launched}


def launch(net: Mininet, count: int) -> None:
    """Start a process in each of `count` hosts, one by one, and wait until all run; then end them."""
    command = [sys.executable, "-c", CHILD]
    started = [host.popen(command, stdout=subprocess.PIPE) for host in net.hosts[:count]]
    for process in started:
        if process.stdout.readline() != b"runs\n":
            raise SystemExit("a process in a stock host did not run")
    for process in started:
        process.kill()
        process.wait()


if __name__ == "__main__":
    if shutil.which("ovs-vswitchd") is None:
        raise SystemExit("stock Mininet needs Open vSwitch")
    sys.exit(main())
