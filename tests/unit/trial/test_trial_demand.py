"""How many frames a swarm will send over each switch."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_experiment
import small_topology

from testbed.spec.experiment import load_experiment
from testbed.spec.units import FRAME_BYTES, PAYLOAD_BYTES
from testbed.topology.scaling import scaled
from testbed.trial.demand import PAYLOAD_PER_FRAME_BYTES, Demand, demands
from testbed.trial.plan import plan_trials

QUICKSTART = Path(__file__).parents[3] / "experiments/quickstart.yaml"


def of_plan(
    folder: Path, *changes: tuple[str, str], topology: str = small_topology.TEXT
) -> tuple[Demand, Demand]:
    plan = small_experiment.plans(folder, *changes, topology=topology)[0]
    return demands(plan.network, plan.routes)


def test_the_quickstarts_demand_is_what_was_measured() -> None:
    """A real trial with random neighbours moved 16.3 thousand frames a second and 37 Mbit/s of payload."""
    spec, document, topology, _ = load_experiment(QUICKSTART)
    plan = plan_trials(spec, document, topology, {})[0]
    random, _ = demands(plan.network, plan.routes)
    assert random.frame_hops_per_s == pytest.approx(16_300, rel=0.3)
    assert random.payload_bps == pytest.approx(37e6, rel=0.3)


def test_near_neighbours_are_served_over_fewer_switches(tmp_path: Path) -> None:
    random, near = of_plan(tmp_path)
    assert near.payload_bps >= random.payload_bps
    assert near.frame_hops_per_s / near.frames_per_s < random.frame_hops_per_s / random.frames_per_s


def test_one_leecher_alone_gets_what_the_narrowest_link_lets_through(tmp_path: Path) -> None:
    """Seed at carrier.hub, leecher at right.only: two switches on, over carrier.edge, 5 Mbit/s at most."""
    changes = (("    - {isp: left, count: 2, access: line}\n", ""),)
    random, near = of_plan(tmp_path, *changes)
    # The leecher has nobody to send to but itself, which is counted: at most its own megabit more.
    seed_bps = 5e6 * PAYLOAD_BYTES / FRAME_BYTES
    for demand in (random, near):
        assert seed_bps <= demand.payload_bps <= seed_bps + 1e6
        assert demand.switch_frames_per_s["carrier.edge"] == pytest.approx(
            seed_bps / 8 / PAYLOAD_PER_FRAME_BYTES
        )
        assert demand.switch_frames_per_s["left.one"] == 0


def test_a_swarm_at_half_the_rates_sends_half_the_frames(tmp_path: Path) -> None:
    plan = small_experiment.plans(tmp_path)[0]
    for whole, half in zip(
        demands(plan.network, plan.routes), demands(scaled(plan.network, 0.5), plan.routes), strict=True
    ):
        assert half.payload_bps == pytest.approx(whole.payload_bps / 2)
        assert half.frame_hops_per_s == pytest.approx(whole.frame_hops_per_s / 2)


def test_hosts_that_hand_down_several_segments_at_once_send_fewer_frames(tmp_path: Path) -> None:
    fast = small_topology.TEXT.replace("up: 20 Mbit/s}", "up: 1 Gbit/s}")
    random, _ = of_plan(tmp_path, topology=fast)
    before, _ = of_plan(tmp_path)
    assert random.payload_bps >= before.payload_bps
    assert random.frames_per_s / random.payload_bps < before.frames_per_s / before.payload_bps
