"""Single questions to this machine: can the kernel do it, is the program there, which version.

Kernel features are tried for real, in a network namespace without a name that ends with the trying command:
nothing can be left behind. Nothing comes in but the machine; a `Finding` goes out, and no probe raises.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "degraded", "missing", "unknown"]

ATTEMPT_TIMEOUT_S = 10.0

# What this project is tested on; newer Pythons lack wheels of pinned libraries and break Ryu's build.
PYTHON_MIN, PYTHON_MAX = (3, 10), (3, 12)

CGROUP_CONTROLLERS = ("cpu", "memory", "pids")

# linux/netfilter/nfnetlink.h and nfnetlink_queue.h
NETLINK_NETFILTER = 12
NFNL_SUBSYS_QUEUE = 3
NFQNL_MSG_CONFIG = 2
NFQA_CFG_CMD = 1
NFQNL_CFG_CMD_BIND = 1
NLM_F_REQUEST, NLM_F_ACK, NLMSG_ERROR = 1, 4, 2


@dataclass(frozen=True)
class Finding:
    """What a probe saw. `unknown`: it could not be tried here (mostly: not root), and `found` says why."""

    state: State
    found: str


@dataclass(frozen=True)
class Attempt:
    """The outcome of one command: did it exit with 0, and the text of its stdout and stderr."""

    ok: bool
    text: str


def attempt(*command: str, stdin: str = "") -> Attempt:
    """Run a command with the administrator's PATH and English messages; a missing program is an outcome."""
    environment = {**os.environ, "LC_ALL": "C", "PATH": administrator_path(os.environ)}
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ATTEMPT_TIMEOUT_S,
            env=environment,
            check=False,
        )
    except OSError as error:
        return Attempt(False, f"{command[0]}: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Attempt(False, f"{command[0]}: no answer within {ATTEMPT_TIMEOUT_S:.0f} s")
    return Attempt(done.returncode == 0, f"{done.stdout}\n{done.stderr}".strip())


def administrator_path(environment: Mapping[str, str]) -> str:
    """PATH with the sbin folders, which Debian leaves out of an ordinary user's."""
    folders = environment.get("PATH", "").split(os.pathsep)
    missing = [folder for folder in ("/usr/local/sbin", "/usr/sbin", "/sbin") if folder not in folders]
    return os.pathsep.join([folder for folder in folders if folder] + missing)


def tried_in_namespace(*command: str, stdin: str = "", works: str) -> Finding:
    """Try a command in a new, nameless network namespace; `works` is what to say when it succeeds."""
    if os.geteuid() != 0:
        return Finding("unknown", "not tried: that needs root")
    outcome = attempt("unshare", "--net", "--", *command, stdin=stdin)
    if outcome.ok:
        return Finding("ok", works)
    reason = last_line(outcome.text)
    if reason.startswith("unshare:"):
        return Finding("unknown", f"not tried: {reason}")
    return Finding("missing", reason)


def last_line(text: str) -> str:
    """The last line that says something: where programs put the reason of a failure."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it failed without a message"


# --- the machine -----------------------------------------------------------------------------------------


def operating_system() -> Finding:
    system = platform.system()
    return Finding("ok" if system == "Linux" else "missing", f"{system} {platform.release()}")


def root_user() -> Finding:
    uid = os.geteuid()
    return Finding("ok", "uid 0") if uid == 0 else Finding("missing", f"uid {uid}")


def cores() -> Finding:
    count = len(os.sched_getaffinity(0))
    return Finding("ok" if count >= 2 else "degraded", str(count))


def memory() -> Finding:
    import psutil

    machine = psutil.virtual_memory()
    gib = 1024**3
    found = f"{machine.available / gib:.1f} GiB free of {machine.total / gib:.1f} GiB"
    return Finding("ok" if machine.available >= 3 * gib else "degraded", found)


def cgroups() -> Finding:
    try:
        return cgroups_in(Path("/proc/mounts").read_text())
    except OSError as error:
        return Finding("unknown", str(error))


def cgroups_in(mounts: str) -> Finding:
    """Which cgroup hierarchies a mount table (the text of /proc/mounts) holds."""
    rows = [line.split() for line in mounts.splitlines()]
    unified = any(len(row) > 3 and row[2] == "cgroup2" for row in rows)
    options = {option for row in rows if len(row) > 3 and row[2] == "cgroup" for option in row[3].split(",")}
    old = [name for name in CGROUP_CONTROLLERS if name in options]
    if unified and old:
        return Finding("ok", f"v1 ({', '.join(old)}) beside v2")
    if old:
        return Finding("ok", f"v1 ({', '.join(old)})")
    return Finding("ok", "v2") if unified else Finding("degraded", "none mounted")


def cubic() -> Finding:
    try:
        available = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
    except OSError as error:
        return Finding("unknown", str(error))
    return Finding(
        "ok" if "cubic" in available else "missing", f"the kernel has {', '.join(sorted(available))}"
    )


def container() -> Finding:
    """Hints that this is a container or WSL, where the kernel belongs to somebody else."""
    release = platform.release().lower()
    if "microsoft" in release:
        return Finding("ok", "WSL")
    for mark, name in (("/.dockerenv", "Docker"), ("/run/.containerenv", "Podman")):
        if Path(mark).exists():
            return Finding("ok", name)
    detected = attempt("systemd-detect-virt", "--container")
    if detected.ok and detected.text not in ("", "none"):
        return Finding("ok", detected.text)
    return Finding("ok", "none seen")


# --- the kernel ------------------------------------------------------------------------------------------


def network_namespaces() -> Finding:
    """A namespace with a name, as a run makes them; its name carries our pid and it is always deleted."""
    if os.geteuid() != 0:
        return Finding("unknown", "not tried: that needs root")
    name = f"testbed-probe-{os.getpid()}"
    try:
        made = attempt("ip", "netns", "add", name)
    finally:
        deleted = attempt("ip", "netns", "delete", name)
    if made.ok and deleted.ok:
        return Finding("ok", "made and deleted one")
    return Finding("missing", last_line((deleted if made.ok else made).text))


def veth() -> Finding:
    command = ("ip", "link", "add", "probe0", "type", "veth", "peer", "name", "probe1")
    return tried_in_namespace(*command, works="made a pair")


def htb() -> Finding:
    batch = ["qdisc add dev lo root handle 1: htb", "class add dev lo parent 1: classid 1:1 htb rate 1mbit"]
    return tried_in_namespace("tc", "-batch", "-", stdin="\n".join(batch), works="shaped an interface")


def netem() -> Finding:
    command = ("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")
    return tried_in_namespace(*command, works="delayed an interface")


def redirection() -> Finding:
    filters = (
        f"filter add dev lo parent ffff: protocol all u32 match u32 0 0 action mirred {where} redirect dev lo"
        for where in ("egress", "ingress")
    )
    batch = ["qdisc add dev lo handle ffff: ingress", *filters]
    return tried_in_namespace("tc", "-batch", "-", stdin="\n".join(batch), works="passed on packets")


def loss() -> Finding:
    batch = [
        "qdisc add dev lo root handle 1: htb default 1",
        "class add dev lo parent 1: classid 1:2 htb rate 1mbit",
        "qdisc add dev lo parent 1:2 handle 20: blackhole",
        "filter add dev lo parent 1: protocol all prio 1 handle 1 bpf bytecode '1,6 0 0 65538'",
    ]
    return tried_in_namespace("tc", "-batch", "-", stdin="\n".join(batch), works="lost packets")


def tun_tap() -> Finding:
    return tried_in_namespace(
        "ip", "tuntap", "add", "dev", "probe0", "mode", "tap", works="made a TAP device"
    )


def ovs_kernel_datapath() -> Finding:
    """Make a datapath with the kernel module openvswitch, which is loaded first where there is one."""
    if os.geteuid() == 0:
        attempt("modprobe", "-q", "openvswitch")
    return tried_in_namespace("ovs-dpctl", "add-dp", "probe0", works="made a datapath")


def nfqueue() -> Finding:
    code = "from testbed.emulation.probes import bind_nfqueue; bind_nfqueue()"
    return tried_in_namespace(sys.executable, "-c", code, works="bound a queue")


def bind_nfqueue() -> None:
    """Bind packet queue 0 of this network namespace (it is released when this process ends).

    Raises OSError with the kernel's answer where the kernel has no nfnetlink_queue.
    """
    command = struct.pack("=HHBxH", 8, NFQA_CFG_CMD, NFQNL_CFG_CMD_BIND, 0)
    body = struct.pack("=BBH", socket.AF_UNSPEC, 0, 0) + command
    kind = (NFNL_SUBSYS_QUEUE << 8) | NFQNL_MSG_CONFIG
    header = struct.pack("=IHHII", 16 + len(body), kind, NLM_F_REQUEST | NLM_F_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        netlink.settimeout(2.0)
        netlink.sendto(header + body, (0, 0))
        answer = netlink.recv(4096)
    _, answer_kind, _, _, _, error = struct.unpack_from("=IHHIIi", answer)
    if answer_kind != NLMSG_ERROR or error != 0:
        raise OSError(-error, os.strerror(-error))


# --- programs and Python packages ------------------------------------------------------------------------


def program(name: str, *version_arguments: str) -> Callable[[], Finding]:
    """A probe for a program on the PATH; with arguments that print its version, that is what was found."""

    def probe() -> Finding:
        path = shutil.which(name, path=administrator_path(os.environ))
        if path is None:
            return Finding("missing", "not installed")
        if not version_arguments:
            return Finding("ok", path)
        outcome = attempt(path, *version_arguments)
        if not outcome.ok:
            return Finding("degraded", last_line(outcome.text))
        return Finding("ok", version_in(outcome.text) or path)

    return probe


def version_in(text: str) -> str:
    """The first version number of a program's own words: '3.1.0' of 'ovs-vswitchd (Open vSwitch) 3.1.0'."""
    match = re.search(r"\d+(?:\.\d+)+|\d{8}", text)
    return match.group() if match else ""


def python_version() -> Finding:
    return python_finding(sys.version_info[:2], platform.python_version())


def python_finding(version: tuple[int, int], words: str) -> Finding:
    """Whether a Python of this (major, minor) version is one that the pinned libraries run on."""
    return Finding("ok" if PYTHON_MIN <= version <= PYTHON_MAX else "degraded", words)


def python_package(module: str, distribution: str) -> Callable[[], Finding]:
    """A probe that imports a module and tells its version; a failing import is what was found."""

    def probe() -> Finding:
        try:
            importlib.import_module(module)
        except (
            Exception
        ) as error:  # a broken binary package raises anything, and that is what a doctor must tell
            return Finding("missing", f"{type(error).__name__}: {error}")
        try:
            return Finding("ok", importlib.metadata.version(distribution))
        except importlib.metadata.PackageNotFoundError:
            return Finding("ok", "version unknown")

    return probe
