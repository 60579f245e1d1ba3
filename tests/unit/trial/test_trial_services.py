"""Programs of a trial that stop, start and restart in mid-trial: real processes, watched by a supervisor."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import small_experiment

from testbed.emulation import journal
from testbed.emulation.journal import Journal
from testbed.emulation.network import EmulatedNetwork
from testbed.emulation.processes import Supervisor
from testbed.errors import RunError
from testbed.spec.portals import PortalSettings
from testbed.trial import services as services_module
from testbed.trial.configuration import Paths
from testbed.trial.services import Services
from testbed.trial.timeline import Work

DEADLINE_S = 30.0

# It says that it serves, as its file tells, and what it heard.
PROGRAM = """
import json, signal, sys, time
ready, wish = json.loads(open(sys.argv[2]).read())
if wish == "dies":
    sys.exit(3)
if wish == "deaf":
    signal.signal(signal.SIGTERM, lambda *_: print("no", flush=True))
if wish != "late":
    open(ready, "w").write(json.dumps({"monotonic_ns": time.monotonic_ns()}))
while True:
    time.sleep(0.01)
"""


class Lab:
    """Services with one program, `p`, that behaves as its file says."""

    def __init__(self, folder: Path, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.paths = Paths(folder / "trial", folder / "run", folder / "memory")
        self.paths.make()
        self.paths.run.mkdir(exist_ok=True)
        plan = small_experiment.plans(folder)[0]
        # No network is needed: the program lives in this namespace.
        self.services = Services(plan, self.paths, supervisor, cast(EmulatedNetwork, None))
        self.behave("well")
        self.services._start("p", "services_test_program", self.paths.config / "p.yaml", "")

    def behave(self, wish: str) -> None:
        text = f'["{self.paths.ready("p")}", "{wish}"]'
        (self.paths.config / "p.yaml").write_text(text)

    @property
    def pid(self) -> int:
        return self.services._processes["p"].pid

    def result(self, work: Work) -> int:
        """What the work returns, when the deaths between its steps are none."""
        until_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < until_s:
            try:
                next(work)
            except StopIteration as done:
                return int(done.value)
            self.services.watch(0.01)
        raise AssertionError("it takes too long")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setattr(journal, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(journal, "NAMESPACES", tmp_path / "netns")
    (tmp_path / "services_test_program.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    owner = Journal.create("services")
    supervisor = Supervisor(owner)
    try:
        yield Lab(tmp_path, supervisor)
    finally:
        supervisor.stop_all()
        owner.close()


def test_a_program_that_is_stopped_is_gone_and_has_not_died(lab: Lab) -> None:
    pid, before_ns = lab.pid, time.monotonic_ns()
    assert before_ns < lab.result(lab.services.stop("p")) < time.monotonic_ns()
    assert not Path(f"/proc/{pid}").exists()
    assert lab.supervisor.deaths(0.1) == []


def test_a_program_that_starts_again_takes_effect_when_it_says_that_it_serves(lab: Lab) -> None:
    first = lab.pid
    stopped_ns = lab.result(lab.services.stop("p"))
    started_ns = lab.result(lab.services.start("p"))
    assert stopped_ns < started_ns < time.monotonic_ns()
    assert lab.pid != first
    assert Path(f"/proc/{lab.pid}").exists()


def test_a_restart_is_an_end_and_a_start_and_its_log_goes_on(lab: Lab) -> None:
    first = lab.pid
    lab.result(lab.services.restart("p"))
    assert lab.pid != first
    assert not Path(f"/proc/{first}").exists()


def test_a_program_that_does_not_listen_is_killed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services_module, "_GRACE_S", 0.3)
    lab.behave("deaf")
    lab.result(lab.services.restart("p"))
    deaf = lab.pid
    lab.result(lab.services.stop("p"))
    assert not Path(f"/proc/{deaf}").exists()
    assert lab.supervisor.deaths(0.1) == []


def test_a_program_that_does_not_get_ready_fails_the_change(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services_module, "_READY_S", 0.3)
    lab.behave("late")
    with pytest.raises(RunError, match="p is not ready after 0 s"):
        lab.result(lab.services.restart("p"))


def test_a_program_that_dies_when_it_starts_again_is_a_death(lab: Lab) -> None:
    lab.behave("dies")
    with pytest.raises(RunError, match="p ended with exit code 3"):
        lab.result(lab.services.restart("p"))


def test_a_portal_may_die_once_the_swarm_runs_and_is_noted_as_lost(lab: Lab) -> None:
    plan = lab.services._plan
    portal = plan.portal_hosts["left"].id
    text = f'["{lab.paths.ready(portal)}", "well"]'
    (lab.paths.config / "portal.yaml").write_text(text)
    lab.services._start(portal, "services_test_program", lab.paths.config / "portal.yaml", "")
    lab.services.go_on_without_portals()
    os.kill(lab.services._processes[portal].pid, signal.SIGKILL)
    until_s = time.monotonic() + DEADLINE_S
    while not lab.supervisor.lost and time.monotonic() < until_s:
        assert lab.supervisor.deaths(0.05) == []
    assert [process.name for process in lab.supervisor.lost] == [portal]
    os.kill(lab.pid, signal.SIGKILL)
    assert [process.name for process in lab.supervisor.deaths(DEADLINE_S)] == ["p"], "others may not"


def test_a_portal_that_dies_before_the_swarm_runs_is_a_death(lab: Lab) -> None:
    portal = lab.services._plan.portal_hosts["left"].id
    (lab.paths.config / "portal.yaml").write_text(f'["{lab.paths.ready(portal)}", "dies"]')
    with pytest.raises(RunError, match="ended with exit code 3"):
        lab.services._start(portal, "services_test_program", lab.paths.config / "portal.yaml", "")


@pytest.mark.parametrize(
    ("portal", "speaks"),
    [
        ({}, True),
        ({"maps": "closed"}, False),
        ({"faults": {"absent": True}}, False),
        ({"faults": {"delay": "3900 ms"}}, True),
        ({"faults": {"delay": "4100 ms"}}, False),
        ({"maps": "password"}, True),
        ({"maps": "password", "faults": {"delay": "1900 ms"}}, True),
        ({"maps": "password", "faults": {"delay": "2100 ms"}}, False),
    ],
)
def test_a_tracker_does_not_wait_for_a_portal_that_does_not_speak_to_it(
    portal: dict[str, Any], speaks: bool
) -> None:
    assert services_module._says_nothing(PortalSettings.model_validate(portal)) is not speaks
