"""The programs that a trial's network needs before peers come: the controller, the portals, the tracker.

A plan, a built network and a supervisor come in; each program is started where it belongs with the file that
was rendered for it, and awaited. A program that dies meanwhile ends the trial with its last words.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.emulation.network import EmulatedNetwork
from testbed.emulation.processes import Process, Supervisor
from testbed.errors import RunError
from testbed.spec.portals import PortalSettings
from testbed.tracker.alto_client import TIMEOUT_S
from testbed.trial import configuration
from testbed.trial.configuration import Paths
from testbed.trial.plan import TrialPlan
from testbed.trial.timeline import Work
from testbed.trial.unix_http import get_json, put_json

_READY_S = 20.0
_COUNTERS_S = 5.0
_GRACE_S = 3.0
_PATIENCE = 0.8  # of the tracker's own timeout


@dataclass(frozen=True)
class _Start:
    """How a program is started, as often as need be."""

    module: str
    config: Path
    namespace: str


class Services:
    """Controller, portals and tracker of a trial. Methods raise RunError where a program dies or is late.

    `start`, `stop` and `restart` are for the middle of a trial: they wait for nothing, and do the next thing
    whenever they are asked again. A program that ends because it was asked to is no death.
    """

    def __init__(self, plan: TrialPlan, paths: Paths, supervisor: Supervisor, net: EmulatedNetwork) -> None:
        self._plan = plan
        self._paths = paths
        self._supervisor = supervisor
        self._net = net
        self._starts: dict[str, _Start] = {}
        self._processes: dict[str, Process] = {}
        self._portals_are_expendable = False

    def launch_controller(self) -> None:
        """Start the controller, which takes a second until it listens, and do not wait for it."""
        configuration.write_token(self._paths)
        config = configuration.write_controller(
            self._plan, self._paths, self._net.openflow_socket, self._net.blueprint.largest_frame_bytes
        )
        self._start("controller", "testbed.controller", config, namespace="", wait=False)

    def connect_controller(self) -> None:
        """Give the switches the controller; it is ready when every switch has confirmed every rule."""
        self._wait_for(self._net.openflow_socket, "controller")
        self._net.connect_switches()
        self._wait_until_ready("controller")

    def start_portals(self) -> None:
        """Start the portals of the ISPs that have adopted P4P; those of the others can be started later."""
        hosts = self._plan.portal_hosts
        configuration.write_secrets(self._plan, self._paths)
        for isp, host in hosts.items():
            config = configuration.write_portal(self._plan, self._paths, host)
            self._starts[host.id] = _Start("testbed.portal", config, self._namespace(host.id))
            if isp not in self._plan.adopters:
                self._launch(host.id)
        for isp in hosts.keys() - self._plan.adopters:
            self._wait_until_ready(hosts[isp].id)

    def start_tracker(self) -> None:
        """Start the tracker; it is ready when it has the maps of all portals that run and speak to it."""
        host = self._plan.tracker_host
        config = configuration.write_tracker(self._plan, self._paths)
        self._start(host.id, "testbed.tracker", config, self._namespace(host.id))
        deadline = time.monotonic() + _READY_S
        settings = self._plan.experiment.portals
        silent = {isp for isp in self._plan.portal_hosts if _says_nothing(settings.of(isp))}
        while True:
            portals = self._ask(self._paths.tracker_socket, "/stats", "tracker")["portals"]
            running = self._plan.portal_hosts.keys() - self._plan.adopters
            waiting = {isp: portals[isp]["state"] for isp in sorted(running)}
            if all(state == "fresh" or isp in silent for isp, state in waiting.items()):
                return
            if time.monotonic() > deadline:
                raise RunError(f"the tracker has no maps of all portals after {_READY_S:.0f} s: {waiting}")
            self.watch(0.05)

    def go_on_without_portals(self) -> None:
        """From now on a portal may die: guidance is lost with it, and nothing else."""
        self._portals_are_expendable = True
        for host in self._plan.portal_hosts.values():
            if host.id in self._processes:
                self._processes[host.id].expendable = True

    def wait_for_last_counters(self, silent_ns: int) -> None:
        """Wait until the controller has polled each switch after `silent_ns`."""
        deadline = time.monotonic() + _COUNTERS_S
        while time.monotonic() < deadline:
            polled = self._ask(self._paths.controller_socket, "/counters", "controller")["polled"]
            if all((polled.get(pop.id) or 0) > silent_ns for pop in self._plan.network.pops):
                return
            self.watch(0.1)
        raise RunError(f"the controller did not poll all switches within {_COUNTERS_S:.0f} s")

    def watch(self, seconds: float) -> None:
        """Wait for so long; a process that dies meanwhile is raised as the RunError of its death."""
        for process in self._supervisor.deaths(seconds):
            raise process.death()

    def start(self, name: str) -> Work:
        """Start a program that does not run; it takes effect when it says that it serves."""
        self._launch(name)
        deadline = time.monotonic() + _READY_S
        while not self._paths.ready(name).exists():
            if time.monotonic() > deadline:
                raise self._late(name)
            yield
        return int(json.loads(self._paths.ready(name).read_text(encoding="utf-8"))["monotonic_ns"])

    def stop(self, name: str) -> Work:
        """End a program; it takes effect when it is gone. One that does not listen is killed."""
        process = self._processes[name]
        deadline = time.monotonic() + _GRACE_S
        if process.exit_code is None:  # not reaped yet: the number is still its own
            process.ending = True
            os.kill(process.pid, signal.SIGTERM)
        while process.exit_code is None:
            if time.monotonic() > deadline:
                self._supervisor.kill(process)
            yield
        return time.monotonic_ns()

    def restart(self, name: str) -> Work:
        """End a program and start it again with the same file; it takes effect when it serves again."""
        yield from self.stop(name)
        return (yield from self.start(name))

    def set_faults(self, name: str, faults: Mapping[str, Any]) -> int:
        """Tell a portal what is wrong with it from now on; returns when that holds. OSError if it can't."""
        isp = self._plan.network.host_by_id[name].isp
        said = {**faults, "seed": self._plan.seed}
        put_json(self._paths.portal_socket(self._plan.network, isp), "/faults", said)
        return time.monotonic_ns()

    def _start(self, name: str, module: str, config: Path, namespace: str, wait: bool = True) -> None:
        self._starts[name] = _Start(module, config, namespace)
        self._launch(name)
        if wait:
            self._wait_until_ready(name)

    def _launch(self, name: str) -> None:
        how = self._starts[name]
        self._paths.ready(name).unlink(missing_ok=True)  # that of the process before this one
        self._processes[name] = self._supervisor.start(
            name,
            [sys.executable, "-m", how.module, "--config", str(how.config)],
            log=self._paths.logs / f"{name}.log",
            namespace=how.namespace,
        )
        portals = {host.id for host in self._plan.portal_hosts.values()}
        self._processes[name].expendable = self._portals_are_expendable and name in portals

    def _wait_until_ready(self, name: str) -> None:
        self._wait_for(self._paths.ready(name), name)

    def _wait_for(self, file: Path, name: str) -> None:
        """Wait for what the program of that name makes when it is ready."""
        deadline = time.monotonic() + _READY_S
        while not file.exists():
            self.watch(0.02)
            if time.monotonic() > deadline:
                raise self._late(name)

    def _late(self, name: str) -> RunError:
        return RunError(f"{name} is not ready after {_READY_S:.0f} s", tail=self._processes[name].tail())

    def _ask(self, socket: Path, resource: str, name: str) -> Any:
        try:
            return get_json(socket, resource)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.watch(0.2)
            raise RunError(f"the {name} does not answer: {error}") from None

    def _namespace(self, host: str) -> str:
        return self._net.blueprint.namespace(host)


def _says_nothing(portal: PortalSettings) -> bool:
    """Whether the trial's tracker gets no map of it, or too late. A login takes two answers for one."""
    answers = 2 if portal.maps == "password" else 1
    late = answers * portal.faults.delay >= _PATIENCE * TIMEOUT_S
    return portal.maps == "closed" or portal.faults.absent or late
