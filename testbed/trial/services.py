"""The programs that a trial's network needs before peers come: the controller, the portals, the tracker.

A plan, a built network and a supervisor come in; each program is started where it belongs with the file that
was rendered for it, and awaited. A program that dies meanwhile ends the trial with its last words.
"""

from __future__ import annotations

import http.client
import sys
import time
from pathlib import Path
from typing import Any

from testbed.emulation.network import EmulatedNetwork
from testbed.emulation.processes import Process, Supervisor
from testbed.errors import RunError
from testbed.trial import configuration
from testbed.trial.configuration import Paths
from testbed.trial.plan import TrialPlan
from testbed.trial.unix_http import get_json

_READY_S = 20.0
_COUNTERS_S = 5.0


class Services:
    """Controller, portals and tracker of a trial. Methods raise RunError where a program dies or is late."""

    def __init__(self, plan: TrialPlan, paths: Paths, supervisor: Supervisor, net: EmulatedNetwork) -> None:
        self._plan = plan
        self._paths = paths
        self._supervisor = supervisor
        self._net = net
        self._processes: dict[str, Process] = {}

    def launch_controller(self) -> None:
        """Start the controller, which takes a second until it listens, and do not wait for it."""
        config = configuration.write_controller(self._paths, self._net.openflow_socket)
        self._start("controller", "testbed.controller", config, namespace="", wait=False)

    def connect_controller(self) -> None:
        """Give the switches the controller; it is ready when every switch has confirmed every rule."""
        self._wait_for(self._net.openflow_socket, "controller")
        self._net.connect_switches()
        self._wait_until_ready("controller")

    def start_portals(self) -> None:
        for host in self._plan.portal_hosts.values():
            config = configuration.write_portal(self._plan, self._paths, host)
            self._start(host.id, "testbed.portal", config, self._namespace(host.id), wait=False)
        for host in self._plan.portal_hosts.values():
            self._wait_until_ready(host.id)

    def start_tracker(self) -> None:
        """Start the tracker; it is ready when it has the maps of all portals."""
        host = self._plan.tracker_host
        config = configuration.write_tracker(self._plan, self._paths)
        self._start(host.id, "testbed.tracker", config, self._namespace(host.id))
        deadline = time.monotonic() + _READY_S
        while True:
            portals = self._ask(self._paths.tracker_socket, "/stats", "tracker")["portals"]
            waiting = {isp: portals[isp]["state"] for isp in self._plan.portal_hosts}
            if all(state == "fresh" for state in waiting.values()):
                return
            if time.monotonic() > deadline:
                raise RunError(f"the tracker has no maps of all portals after {_READY_S:.0f} s: {waiting}")
            self.watch(0.05)

    def wait_for_last_counters(self, silent_ns: int) -> None:
        """Wait until the controller has polled each switch after `silent_ns`."""
        deadline = time.monotonic() + _COUNTERS_S
        while time.monotonic() < deadline:
            polled = self._ask(self._paths.controller_socket, "/counters", "controller")
            if len(polled) == len(self._plan.network.pops) and all(
                pop.get("monotonic_ns", 0) > silent_ns for pop in polled.values()
            ):
                return
            self.watch(0.1)
        raise RunError(f"the controller did not poll all switches within {_COUNTERS_S:.0f} s")

    def watch(self, seconds: float) -> None:
        """Wait for so long; a process that dies meanwhile is raised as the RunError of its death."""
        for process in self._supervisor.deaths(seconds):
            raise process.death()

    def _start(self, name: str, module: str, config: Path, namespace: str, wait: bool = True) -> None:
        self._processes[name] = self._supervisor.start(
            name,
            [sys.executable, "-m", module, "--config", str(config)],
            log=self._paths.logs / f"{name}.log",
            namespace=namespace,
        )
        if wait:
            self._wait_until_ready(name)

    def _wait_until_ready(self, name: str) -> None:
        self._wait_for(self._paths.ready(name), name)

    def _wait_for(self, file: Path, name: str) -> None:
        """Wait for what the program of that name makes when it is ready."""
        deadline = time.monotonic() + _READY_S
        while not file.exists():
            self.watch(0.02)
            if time.monotonic() > deadline:
                tail = self._processes[name].tail()
                raise RunError(f"{name} is not ready after {_READY_S:.0f} s", tail=tail)

    def _ask(self, socket: Path, resource: str, name: str) -> Any:
        try:
            return get_json(socket, resource)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.watch(0.2)
            raise RunError(f"the {name} does not answer: {error}") from None

    def _namespace(self, host: str) -> str:
        return self._net.blueprint.namespace(host)
