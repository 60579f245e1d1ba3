"""An Open vSwitch of the run's own: database, daemon and sockets in the run's folder and namespace.

The system's Open vSwitch, if there is one, is never touched: `ovsdb-server` and `ovs-vswitchd` run inside the
run's fabric namespace, so that bridges, their internal ports and even a kernel datapath live and die with it.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.emulation.processes import Supervisor
from testbed.errors import RunError

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
_START_TIMEOUT_S = 10
_TRANSACTION_TIMEOUT_S = 60


@dataclass(frozen=True)
class Port:
    """A port of a bridge: its interface, and the OpenFlow number that it gets."""

    device: str
    number: int


@dataclass(frozen=True)
class Bridge:
    """A bridge to make: OpenFlow 1.3 only, and silent without a controller's rules (fail-secure)."""

    name: str
    datapath_id: int
    ports: tuple[Port, ...]


def transaction(bridges: Sequence[Bridge], datapath: str) -> list[str]:
    """The arguments of one `ovs-vsctl` call that makes all bridges with their ports. Pure."""
    # Open vSwitch takes the qdisc off every port that it gets, unless its QoS is linux-noop.
    commands: list[list[str]] = [["--id=@hands-off", "create", "qos", "type=linux-noop"]]
    for bridge in bridges:
        commands.append(["add-br", bridge.name])
        commands.append(
            [
                "set",
                "bridge",
                bridge.name,
                f"datapath_type={datapath}",
                "fail_mode=secure",
                "protocols=OpenFlow13",
                f"other-config:datapath-id={bridge.datapath_id:016x}",
                "other-config:disable-in-band=true",
            ]
        )
        for port in bridge.ports:
            commands.append(["add-port", bridge.name, port.device])
            commands.append(["set", "port", port.device, "qos=@hands-off"])
            commands.append(["set", "interface", port.device, f"ofport_request={port.number}"])
    return _words(commands)


def connection(bridges: Sequence[Bridge], controller: str) -> list[str]:
    """The arguments of one `ovs-vsctl` call that gives all bridges their controller. Pure.

    `controller` is an OVS target such as `unix:/run/openflow.sock`.
    """
    commands: list[list[str]] = []
    for bridge in bridges:
        commands.append(["set-controller", bridge.name, controller])
        # Reconnect to a controller that starts again within a second or two, not within eight.
        commands.append(["set", "controller", bridge.name, "max_backoff=1000", "inactivity_probe=10000"])
    return _words(commands)


def _words(commands: Sequence[Sequence[str]]) -> list[str]:
    return [word for command in commands for word in ("--", *command)]


class OpenVSwitch:
    """One of the run's Open vSwitches. `start` it inside a namespace, then `apply` bridges."""

    def __init__(
        self, name: str, run: Path, namespace: str, logs: Path, datapath: str, offload: bool
    ) -> None:
        self.name = name
        # All of a run share its folder: Open vSwitch connects to a controller's Unix socket only there.
        self.folder = run
        self.namespace = namespace
        self.logs = logs
        self.datapath = datapath
        self.offload = offload
        self._socket = run / f"db.{name}.sock"
        self._database = f"unix:{self._socket}"

    def start(self, supervisor: Supervisor) -> int:
        """Start both daemons and return the id of ovs-vswitchd. Raises RunError if one does not."""
        self._supervisor = supervisor
        database = self.folder / f"conf.{self.name}.db"
        subprocess.run(["ovsdb-tool", "create", str(database), str(SCHEMA)], check=True, capture_output=True)
        supervisor.start(
            f"ovsdb-server {self.name}",
            ["ovsdb-server", str(database), f"--remote=p{self._database}", "-vsyslog:off", "-vconsole:warn"],
            namespace=self.namespace,
            log=self.logs / f"ovsdb-server.{self.name}.log",
            environment=self._environment(),
        )
        self._wait_for_database()
        # Read once, at the daemon's start. A userspace datapath without it needs hosts that compute their
        # checksums themselves, or TCP stalls.
        offload = "true" if self.datapath == "netdev" and self.offload else "false"
        self._vsctl(
            "--no-wait",
            "init",
            "--",
            "set",
            "Open_vSwitch",
            ".",
            f"other_config:userspace-tso-enable={offload}",
        )
        self._start_daemon()
        return self._daemon.pid

    def kill(self) -> None:
        """Kill ovs-vswitchd, as a crash does it. For its supervisor this is no death."""
        self._supervisor.kill(self._daemon)

    def restart(self, bridges: Sequence[Bridge]) -> int:
        """Start ovs-vswitchd again after a kill, be it ours or another's, and return its id. Raises RunError.

        From the database it has its bridges, with their ports and controllers, and no rules.
        """
        self.kill()
        self._start_daemon()
        # A change of the database is waited for until the daemon has read all of it.
        self._vsctl("set", "Open_vSwitch", ".", f"external_ids:daemon={self._daemon.pid}")
        self._check(bridges)
        return self._daemon.pid

    def management_socket(self, bridge: str) -> Path:
        """Where `ovs-ofctl` reaches a bridge."""
        return self.folder / f"{bridge}.mgmt"

    def apply(self, bridges: Sequence[Bridge]) -> None:
        """Make all bridges in one transaction and wait until the daemon has them. Raises RunError."""
        self._vsctl(*transaction(bridges, self.datapath))
        self._check(bridges)

    def connect(self, bridges: Sequence[Bridge], controller: str) -> None:
        """Let all bridges connect to a controller that listens. Raises RunError."""
        self._vsctl(*connection(bridges, controller))

    def _start_daemon(self) -> None:
        self._daemon = self._supervisor.start(
            f"ovs-vswitchd {self.name}",
            ["ovs-vswitchd", self._database, "-vsyslog:off", "-vconsole:warn"],
            namespace=self.namespace,
            log=self.logs / f"ovs-vswitchd.{self.name}.log",
            environment=self._environment(),
        )

    def _environment(self) -> dict[str, str]:
        return {name: str(self.folder) for name in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR")}

    def _check(self, bridges: Sequence[Bridge]) -> None:
        """Every port has the OpenFlow number that rules will name; anything else fails the build."""
        listing = self._vsctl(
            "--format=csv", "--no-headings", "--columns=name,ofport,error", "list", "interface"
        )
        numbers = {}
        for line in listing.splitlines():
            name, number, error = line.split(",", 2)
            numbers[name] = number if error in ("[]", '""', "") else error
        for bridge in bridges:
            for port in bridge.ports:
                if numbers.get(port.device) != str(port.number):
                    raise RunError(
                        f"Open vSwitch gave port {port.device} of {bridge.name} the number "
                        f"{numbers.get(port.device)}, wanted {port.number}"
                    )

    def _vsctl(self, *arguments: str) -> str:
        command = ["ovs-vsctl", f"--db={self._database}", f"--timeout={_TRANSACTION_TIMEOUT_S}", *arguments]
        done = subprocess.run(command, text=True, capture_output=True, check=False)
        if done.returncode != 0:
            raise RunError(
                f"ovs-vsctl: {done.stderr.strip()}", mend=f"see {self.logs}/ovs-vswitchd.{self.name}.log"
            )
        return done.stdout

    def _wait_for_database(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if time.monotonic() > deadline:
                raise RunError(f"ovsdb-server did not start within {_START_TIMEOUT_S} s")
            time.sleep(0.005)

    def _answers(self) -> bool:
        """Whether the database takes connections: its socket is there a moment before it listens."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self._socket))
            except OSError:
                return False
        return True
