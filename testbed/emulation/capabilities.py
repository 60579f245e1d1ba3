"""What this machine can emulate: one list of checks, each with its meaning for experiments and its mending.

Nothing comes in but the machine. A `Capabilities` goes out (the doctor prints it, `--fix` runs the mending
commands of the same list), and from it the pure `choose_engines` picks a run's datapath and delay engine.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from testbed.emulation import probes
from testbed.emulation.probes import Finding, State

NETEM = "netem"
LOSS = "random loss"
REDIRECTION = "redirection"
TAP = "TUN/TAP"
OVS_KERNEL_DATAPATH = "OVS kernel datapath"

Command = tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """One thing that a run needs or profits from: how to look for it, and how to mend it where it is not.

    `mend` is what a person types; `fix` are the commands that `doctor --fix` runs, none where none helps.
    Without a `required` check that is ok, no experiment runs.
    """

    name: str
    group: str
    probe: Callable[[], Finding]
    meaning: str
    mend: str
    required: bool = False
    fix: tuple[Command, ...] = ()


@dataclass(frozen=True)
class Result:
    """A check and what it found."""

    check: Check
    finding: Finding

    @property
    def state(self) -> State:
        return self.finding.state

    @property
    def mend(self) -> str:
        """What a person can do about it, empty where all is well."""
        if self.state == "unknown":
            return "to try it: sudo .venv/bin/testbed doctor"
        return "" if self.state == "ok" else self.check.mend

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.check.name,
            "group": self.check.group,
            "state": self.state,
            "found": self.finding.found,
            "meaning": self.check.meaning,
            "mend": self.mend,
            "required": self.check.required,
        }


@dataclass(frozen=True)
class Capabilities:
    """The results of a probing, in the order of the checks."""

    results: tuple[Result, ...]

    def works(self, name: str) -> bool:
        """Whether the check of this name was made and is ok."""
        return any(result.check.name == name and result.state == "ok" for result in self.results)

    @property
    def ready(self) -> bool:
        """Whether experiments can run here: everything that is required is ok."""
        return all(result.state == "ok" for result in self.results if result.check.required)

    def to_json(self) -> dict[str, Any]:
        return {
            "ready": self.ready,
            "engines": asdict(choose_engines(self)),
            "checks": [result.to_json() for result in self.results],
        }


@dataclass(frozen=True)
class Engines:
    """How a run forwards packets (OVS in the kernel or in userspace) and how it delays them."""

    datapath: Literal["system", "netdev"]
    delay: Literal["netem", "line", "none"]


def choose_engines(capabilities: Capabilities) -> Engines:
    """The best engines among those that work; what was not tried counts as not working."""
    return Engines(
        datapath="system" if capabilities.works(OVS_KERNEL_DATAPATH) else "netdev",
        delay=_delay_engine(capabilities),
    )


def _delay_engine(capabilities: Capabilities) -> Literal["netem", "line", "none"]:
    if not capabilities.works(REDIRECTION):
        return "none"
    if capabilities.works(NETEM):
        return "netem"
    return "line" if capabilities.works(TAP) else "none"


_DECIDING = (NETEM, REDIRECTION, TAP, OVS_KERNEL_DATAPATH)


def probe_engines() -> Engines:
    """Choose the engines of a run on this machine by trying only what the choice depends on (tens of ms)."""
    return choose_engines(probe(check for check in all_checks() if check.name in _DECIDING))


def probe(checks: Iterable[Check]) -> Capabilities:
    """Make the checks, one after the other (all of them together take about a second)."""
    return Capabilities(tuple(Result(check, check.probe()) for check in checks))


def fixes(capabilities: Capabilities) -> tuple[Command, ...]:
    """The commands that may mend what is not ok, each once, in the order of the checks."""
    commands = (
        command
        for result in capabilities.results
        if result.state in ("missing", "degraded")
        for command in result.check.fix
    )
    return tuple(dict.fromkeys(commands))


# --- the list --------------------------------------------------------------------------------------------


def all_checks() -> tuple[Check, ...]:
    """Every check, in the order in which the doctor shows them."""
    return (*_machine_checks(), *_kernel_checks(), *_program_checks(), *_python_checks())


def _machine_checks() -> tuple[Check, ...]:
    group = "machine"
    return (
        Check(
            "Linux",
            group,
            probes.operating_system,
            "Hosts are network namespaces, which only Linux has.",
            "use a Linux machine or the virtual machine of the Vagrantfile",
            required=True,
        ),
        Check(
            "root",
            group,
            probes.root_user,
            "Making namespaces, links and switches needs root; reading results does not.",
            "put sudo before the command",
            required=True,
        ),
        Check(
            "cores",
            group,
            probes.cores,
            "The switch and all clients share them; the quickstart needs two.",
            "give the machine more cores, or run fewer peers",
        ),
        Check(
            "memory",
            group,
            probes.memory,
            "A libtorrent client takes 30 to 40 MiB; the quickstart wants 3 GiB free.",
            "close other programs, or run fewer peers",
        ),
        Check(
            "cgroup",
            group,
            probes.cgroups,
            "Limits what a run's processes may take; runs work without.",
            "mount a cgroup hierarchy: sudo mount -t cgroup2 none /sys/fs/cgroup",
        ),
        Check(
            "container",
            group,
            probes.container,
            "Information only: a container has its host's kernel and its runtime's permissions.",
            "",
        ),
    )


def _kernel_checks() -> tuple[Check, ...]:
    group = "kernel"
    return (
        Check(
            "network namespaces",
            group,
            probes.network_namespaces,
            "Every host is one.",
            "run as root; in a container, start it with --privileged",
            required=True,
        ),
        _module_check("veth", probes.veth, "Every link is a pair.", "veth", required=True),
        _module_check(
            "HTB", probes.htb, "Shapes both directions of every link to its rate.", "sch_htb", required=True
        ),
        _module_check(
            NETEM,
            probes.netem,
            "Delays packets in the kernel, link by link. Without it, a process delays them (the delay line).",
            "sch_netem",
        ),
        _module_check(
            REDIRECTION,
            probes.redirection,
            "Passes packets from device to device: either way of delaying them needs it.",
            "act_mirred",
        ),
        _module_check(
            LOSS,
            probes.loss,
            "Loses packets at random, where a link is to have a loss.",
            "cls_bpf",
        ),
        _module_check(
            OVS_KERNEL_DATAPATH,
            probes.ovs_kernel_datapath,
            "Forwards in the kernel. Without it, runs forward in userspace and carry less.",
            "openvswitch",
        ),
        _module_check(
            TAP,
            probes.tun_tap,
            "The userspace datapath's own ports are TAP devices, and so is where a delay line takes packets.",
            "tun",
            required=True,
        ),
        _module_check(
            "TCP cubic",
            probes.cubic,
            "The congestion control of every host, whatever the machine's own is.",
            "tcp_cubic",
            required=True,
        ),
        _module_check(
            "NFQUEUE", probes.nfqueue, "Hands packets to programs. No run needs it today.", "nfnetlink_queue"
        ),
    )


def _module_check(
    name: str, look: Callable[[], Finding], meaning: str, module: str, *, required: bool = False
) -> Check:
    """A check for what a kernel module does, mended by loading or installing the module."""
    release = platform.release()
    has_modules = Path("/lib/modules", release).is_dir()
    return Check(
        name,
        "kernel",
        look,
        meaning,
        module_mend(module, release, has_modules=has_modules, distribution=_distribution()),
        required=required,
        fix=(("modprobe", module),) if has_modules else (),
    )


def module_mend(module: str, release: str, *, has_modules: bool, distribution: str) -> str:
    """What a person can do for a kernel module that is not there."""
    if not has_modules:
        return f"this kernel ({release}) has no modules to load: boot a distribution's kernel or use the VM"
    if distribution == "ubuntu":
        return f"sudo apt-get install linux-modules-extra-{release} && sudo modprobe {module}"
    return f"sudo modprobe {module}"


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("ID", "")
    except OSError:
        return ""


@dataclass(frozen=True)
class _Program:
    name: str
    version_arguments: tuple[str, ...]
    package: str
    meaning: str
    required: bool = True


PROGRAMS = (
    _Program("ovs-vswitchd", ("--version",), "openvswitch-switch", "The switch of every PoP."),
    _Program("ovsdb-server", ("--version",), "openvswitch-switch", "The switches' database."),
    _Program("ovs-vsctl", ("--version",), "openvswitch-switch", "Makes bridges and ports."),
    _Program("ovs-ofctl", ("--version",), "openvswitch-switch", "Reads switch rules and counters."),
    _Program("ip", ("-V",), "iproute2", "Makes namespaces, links and addresses."),
    _Program("tc", ("-V",), "iproute2", "Shapes links."),
    _Program("ethtool", ("--version",), "ethtool", "Sets offloads so that shaping sees real packets."),
    _Program("mnexec", (), "mininet", "Mininet starts host processes with it."),
    _Program("nsenter", ("--version",), "util-linux", "Starts programs in a namespace."),
    _Program("unshare", ("--version",), "util-linux", "Makes the throwaway namespaces of these checks."),
    _Program("ping", ("-V",), "iputils-ping", "Checks reachability."),
    _Program("iperf3", ("--version",), "iperf3", "Measures rates in tests.", required=False),
)


def _program_checks() -> tuple[Check, ...]:
    return tuple(
        Check(
            program.name,
            "program",
            probes.program(program.name, *program.version_arguments),
            program.meaning,
            required=program.required,
            **_installation(f"sudo apt-get install --no-install-recommends {program.package}"),
        )
        for program in PROGRAMS
    )


def _python_checks() -> tuple[Check, ...]:
    group = "python"
    reinstall = _installation("install the project again from its checkout: sudo make install")
    return (
        Check(
            "Python",
            group,
            probes.python_version,
            "The pinned libraries are tested on 3.10, 3.11 and 3.12.",
            "use Debian 12, Ubuntu 22.04 or Ubuntu 24.04",
        ),
        Check(
            "mininet",
            group,
            probes.python_package("mininet.net", "mininet"),
            "Builds hosts and links; it is Debian's package, not one of the Python index.",
            required=True,
            **reinstall,
        ),
        Check(
            "ryu",
            group,
            probes.python_package("ryu.base", "ryu"),
            "The SDN controller that installs every rule.",
            required=True,
            **reinstall,
        ),
        Check(
            "libtorrent",
            group,
            probes.python_package("libtorrent", "libtorrent"),
            "The BitTorrent client.",
            required=True,
            **reinstall,
        ),
    )


def _installation(otherwise: str) -> Mapping[str, Any]:
    """`mend` and `fix` of what the install script brings; `otherwise` where there is no checkout."""
    script = Path(__file__).parents[2] / "scripts" / "install.sh"
    if not script.is_file():
        return {"mend": otherwise}
    return {"mend": "sudo make install", "fix": (("bash", str(script)),)}
