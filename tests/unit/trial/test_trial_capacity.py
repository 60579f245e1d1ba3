"""Whether a machine carries an experiment, and what it says where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_experiment

from testbed.errors import Problem
from testbed.spec.experiment import load_experiment
from testbed.trial.capacity import Load, Machine, expected_load, too_much
from testbed.trial.plan import plan_trials

GIB = 2**30
SMALL = Machine(2, 8 * GIB, "netdev")


def judged(path: Path, machine: Machine) -> tuple[Load, list[Problem]]:
    spec, document, topology, _ = load_experiment(path)
    trial = plan_trials(spec, document, topology, {})[0]
    load = expected_load(trial.network, trial.routes, spec.swarm.content.size, machine.datapath)
    return load, too_much(load, machine, document)


def test_the_quickstart_fits_two_cores_and_eight_gibibytes() -> None:
    quickstart = Path(__file__).parents[3] / "experiments/quickstart.yaml"
    load, problems = judged(quickstart, SMALL)
    assert problems == []
    assert load.peers >= 61


def test_too_many_peers_for_the_memory_are_told_with_line_and_how_many_fit(tmp_path: Path) -> None:
    path = small_experiment.write(tmp_path, ("512 KiB", "1 GiB"))
    _, problems = judged(path, Machine(64, 2 * GIB, "netdev"))
    (problem,) = problems
    assert problem.where == f"{path}:9"
    assert problem.what == (
        "4 peers and 3 portals need about 3.3 GiB of memory, and this machine can give 1.6 of 2.0 GiB free"
    )
    assert problem.allowed == "about 1 peers here"


def test_too_many_portals_for_the_memory_are_told_with_line_and_how_many_fit(tmp_path: Path) -> None:
    path = small_experiment.write(tmp_path)
    _, problems = judged(path, Machine(64, 200 * 2**20, "netdev"))
    (problem,) = problems
    assert problem.where == f"{path}:2"
    assert problem.what == (
        "3 portals need about 0.2 GiB of memory, and this machine can give 0.2 of 0.2 GiB free"
    )
    assert problem.allowed == "about 2 ISPs with a portal here"
    assert "portal: false" in problem.mend


def test_too_many_peers_for_the_cores_are_told_with_line_and_how_many_fit(tmp_path: Path) -> None:
    path = small_experiment.write(tmp_path, ("isp: left, count: 2", "isp: left, count: 200"))
    load, problems = judged(path, Machine(2, 64 * GIB, "netdev"))
    (problem,) = problems
    assert problem.where == f"{path}:9"
    assert problem.what.startswith(f"202 peers at these upload rates need about {load.cores:.1f} cores")
    fit = int(problem.allowed.split()[1])
    assert 0 < fit < 202
    # As many as it says do fit.
    small_experiment.write(tmp_path, ("isp: left, count: 2", f"isp: left, count: {fit - 2}"))
    assert judged(path, Machine(2, 64 * GIB, "netdev"))[1] == []


@pytest.mark.parametrize(
    "change",
    [("isp: left, count: 2", "isp: left, count: 20"), ("access: line}", "access: server}")],
)
def test_more_or_faster_peers_ask_for_more(tmp_path: Path, change: tuple[str, str]) -> None:
    before, _ = judged(small_experiment.write(tmp_path), SMALL)
    after, _ = judged(small_experiment.write(tmp_path, change), SMALL)
    assert after.cores > before.cores
    assert after.memory_bytes >= before.memory_bytes


def test_a_kernel_datapath_carries_more(tmp_path: Path) -> None:
    path = small_experiment.write(tmp_path)
    assert judged(path, Machine(2, GIB, "system"))[0].cores < judged(path, SMALL)[0].cores
