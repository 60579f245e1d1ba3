"""Whether a machine carries an experiment, what it says where it does not, and which scale fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import small_experiment
import small_topology

from testbed.emulation.probes import Finding, State
from testbed.errors import Problem
from testbed.spec.experiment import load_experiment
from testbed.topology.scaling import scaled
from testbed.trial.calibration import BUILT_IN
from testbed.trial.capacity import (
    Load,
    Machine,
    cannot_lose,
    expected_load,
    fitting_scale,
    too_little_cores,
    too_little_memory,
)
from testbed.trial.plan import plan_trials

GIB = 2**30
SMALL = Machine(2, 8 * GIB, 4 * GIB, "netdev", "none", BUILT_IN["netdev"])
BIG = replace(SMALL, cores=64, memory_bytes=640 * GIB, downloads_bytes=320 * GIB)
QUICKSTART = Path(__file__).parents[3] / "experiments/quickstart.yaml"


def judged(path: Path, machine: Machine) -> tuple[Load, list[Problem]]:
    spec, document, topology, _ = load_experiment(path)
    trial = plan_trials(spec, document, topology, {})[0]
    load = expected_load(trial.network, trial.routes, spec.swarm.content.size, machine)
    scale = fitting_scale(trial.network, trial.routes, spec.swarm.content.size, machine)
    return load, too_little_memory(load, machine, document) + too_little_cores(load, machine, document, scale)


def test_the_quickstart_fits_two_cores_and_eight_gibibytes() -> None:
    load, problems = judged(QUICKSTART, SMALL)
    assert problems == []
    assert load.peers >= 61


def test_the_quickstarts_load_is_what_was_measured() -> None:
    """1.21 of 2 cores were busy in a real trial with random neighbours, without delays."""
    load, _ = judged(QUICKSTART, SMALL)
    assert load.busy_cores[0] == pytest.approx(1.21, rel=0.3)


def test_too_many_peers_for_the_memory_are_told_with_line_and_how_many_fit(tmp_path: Path) -> None:
    path = small_experiment.write(tmp_path, ("512 KiB", "1 GiB"))
    _, problems = judged(path, replace(BIG, memory_bytes=2 * GIB))
    (problem,) = problems
    assert problem.where == f"{path}:9"
    assert problem.what == (
        "4 peers and 3 portals need about 3.3 GiB of memory, and this machine can give 1.6 of 2.0 GiB free"
    )
    assert problem.allowed == "about 1 peers here"


def test_too_many_portals_for_the_memory_are_told_with_line_and_how_many_fit(tmp_path: Path) -> None:
    path = small_experiment.write(tmp_path)
    _, problems = judged(path, replace(BIG, memory_bytes=200 * 2**20))
    (problem,) = problems
    assert problem.where == f"{path}:2"
    assert problem.what == (
        "3 portals need about 0.2 GiB of memory, and this machine can give 0.2 of 0.2 GiB free"
    )
    assert problem.allowed == "about 2 ISPs with a portal here"
    assert "portal: false" in problem.mend


def test_downloads_that_do_not_fit_where_they_are_kept_are_told(tmp_path: Path) -> None:
    path = small_experiment.write(tmp_path, ("512 KiB", "1 GiB"))
    load, (problem,) = judged(path, replace(BIG, downloads_bytes=2 * GIB))
    assert problem.where == f"{path}:6"
    # Three leechers' and the seeds' own copy.
    assert problem.what == ("downloads take 4.0 GiB, and where they are kept (/dev/shm) 2.0 GiB are free")
    assert load.downloads_bytes == 4 * GIB
    assert "mount -o remount,size=5G /dev/shm" in problem.mend


MANY = ("isp: left, count: 2", "isp: left, count: 400")


def test_too_many_peers_for_the_cores_are_told_with_line_how_many_fit_and_which_scale(tmp_path: Path) -> None:
    path = small_experiment.write(tmp_path, MANY)
    load, problems = judged(path, replace(BIG, cores=2))
    (problem,) = problems
    assert problem.where == f"{path}:9"
    assert problem.what.startswith(f"402 peers at these upload rates need about {load.cores:.1f} cores")
    fit = int(problem.allowed.split()[1])
    assert 0 < fit < 402
    assert "or all rates times 0." in problem.allowed
    assert "--scale auto" in problem.mend
    # As many as it says do fit.
    small_experiment.write(tmp_path, ("isp: left, count: 2", f"isp: left, count: {fit - 2}"))
    assert judged(path, replace(BIG, cores=2))[1] == []


def test_as_many_as_one_thread_carries_are_told_where_that_is_fewer(tmp_path: Path) -> None:
    path = small_experiment.write(tmp_path, MANY)
    costs = replace(BIG.costs, delayed_frame_s=3 * BIG.costs.delayed_frame_s)
    machine = replace(BIG, cores=2, delay="line", costs=costs)
    _, (problem,) = judged(path, machine)
    fit = int(problem.allowed.split()[1])
    small_experiment.write(tmp_path, ("isp: left, count: 2", f"isp: left, count: {fit - 2}"))
    assert judged(path, machine)[1] == []


@pytest.mark.parametrize(("state", "refused"), [("ok", False), ("unknown", False), ("missing", True)])
def test_random_losses_are_refused_where_the_kernel_has_none(
    tmp_path: Path, state: State, refused: bool
) -> None:
    lossy = small_topology.TEXT.replace("up: 1 Mbit/s,", "up: 1 Mbit/s, loss: 1 %,")
    path = small_experiment.write(tmp_path, topology=lossy)
    spec, document, topology, _ = load_experiment(path)
    network = plan_trials(spec, document, topology, {})[0].network
    problems = cannot_lose(network, document, lambda: Finding(state, "no such filter"))
    assert bool(problems) == refused
    for problem in problems:
        assert problem.where == f"{path}:2"
        assert problem.what.startswith("link left.")
        assert problem.what.endswith("and this machine can't: no such filter")


def test_the_fitting_scale_fits_and_a_hundredth_more_does_not(tmp_path: Path) -> None:
    plan = small_experiment.plans(tmp_path, MANY)[0]
    machine = replace(BIG, cores=2)

    def fits(factor: float) -> bool:
        document = load_experiment(tmp_path / "tiny.yaml")[1]
        load = expected_load(scaled(plan.network, factor), plan.routes, 2**19, machine)
        return not too_little_cores(load, machine, document, None)

    scale = fitting_scale(plan.network, plan.routes, 2**19, machine)
    assert scale is not None
    assert 0 < scale < 1
    assert fits(scale)
    assert not fits(scale + 0.01)


def test_what_fits_has_scale_one_and_what_no_rate_mends_has_none(tmp_path: Path) -> None:
    plan = small_experiment.plans(tmp_path)[0]
    assert fitting_scale(plan.network, plan.routes, 2**19, SMALL) == 1
    idle = replace(SMALL, costs=replace(SMALL.costs, client_s=1.0))
    assert fitting_scale(plan.network, plan.routes, 2**19, idle) is None
    problem = judged(small_experiment.write(tmp_path), idle)[1][0]
    assert "--scale" not in problem.mend


def test_a_thread_that_is_full_is_too_much_however_many_cores_there_are(tmp_path: Path) -> None:
    slow_line = replace(BIG, delay="line", costs=replace(BIG.costs, delayed_frame_s=0.01))
    (problem,) = judged(small_experiment.write(tmp_path), slow_line)[1]
    assert "for what one process does in one thread" in problem.what
    assert judged(small_experiment.write(tmp_path), replace(slow_line, delay="netem"))[1] == []


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
    kernel = replace(SMALL, datapath="system", costs=BUILT_IN["system"])
    assert judged(path, kernel)[0].cores < judged(path, SMALL)[0].cores
