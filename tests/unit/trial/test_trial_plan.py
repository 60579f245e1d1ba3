"""From an experiment to its trials: paired schedules, digests, order, and what can't be planned."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_experiment
import small_topology

from testbed.errors import UserError
from testbed.trial.plan import SEEDS_FIRST_S, TrialPlan, trial_seed

REPEATS = ("seed: 7", "seed: 7\nrepeats: 3")


def error(folder: Path, *changes: tuple[str, str], topology: str = small_topology.TEXT) -> str:
    with pytest.raises(UserError) as caught:
        small_experiment.plans(folder, *changes, topology=topology)
    return str(caught.value).replace(str(folder) + "/", "")


def test_trials_run_repeat_by_repeat_with_every_policy_in_each(tmp_path: Path) -> None:
    trials = small_experiment.plans(tmp_path, REPEATS)
    assert [(trial.repeat, trial.policy) for trial in trials] == [
        (repeat, policy) for repeat in range(3) for policy in ("native", "p4p")
    ]
    assert [trial.policy_index for trial in trials] == [0, 1] * 3
    assert len({trial.id for trial in trials}) == 6


def test_all_policies_of_a_repeat_see_the_same_crowd_and_another_repeat_another(tmp_path: Path) -> None:
    trials = small_experiment.plans(tmp_path, REPEATS)
    for native, p4p in zip(trials[::2], trials[1::2], strict=True):
        assert native.arrivals == p4p.arrivals
        assert native.seed == p4p.seed
    assert len({trial.arrivals for trial in trials}) == 3
    assert len({trial.seed for trial in trials}) == 3


def test_seeds_are_there_before_the_crowd_which_comes_in_its_time(tmp_path: Path) -> None:
    trial = small_experiment.plans(tmp_path)[0]
    first, *crowd = trial.arrivals
    assert (first.host, first.start_s) == ("carrier.hub.seed1", 0.0)
    assert sorted(arrival.host for arrival in crowd) == sorted(host.id for host in trial.leechers)
    starts = [arrival.start_s for arrival in crowd]
    assert starts == sorted(starts)
    assert all(SEEDS_FIRST_S <= start <= SEEDS_FIRST_S + 2 for start in starts)


def test_peers_without_a_pop_are_spread_over_their_isps_pops(tmp_path: Path) -> None:
    trial = small_experiment.plans(tmp_path, ("isp: left, count: 2", "isp: left, count: 3"))[0]
    pops = [host.pop for host in trial.leechers if host.isp == "left"]
    assert sorted(pops) == ["left.one", "left.one", "left.two"]


def test_an_isp_without_a_portal_has_no_host_for_one(tmp_path: Path) -> None:
    trial = small_experiment.plans(tmp_path)[0]
    assert {isp: host.id for isp, host in trial.portal_hosts.items()} == {
        "carrier": "carrier.hub.portal",
        "left": "left.one.portal",
        "right": "right.only.portal",
    }
    assert trial.tracker_host.id == "carrier.hub.tracker"
    without = small_topology.TEXT.replace("asn: 30", "asn: 30\n    portal: false")
    assert set(small_experiment.plans(tmp_path, topology=without)[0].portal_hosts) == {"carrier", "left"}


@pytest.mark.parametrize(
    "change",
    [
        ("seed: 7", "seed: 8"),
        ("512 KiB", "768 KiB"),
        ("count: 2", "count: 3"),
        ("within: 2 s", "within: 3 s"),
        ("interval: 10 s", "interval: 11 s"),
        ("timeout: 60 s", "timeout: 61 s"),
        ("timeout: 60 s", "timeout: 60 s\ncongestion_control: reno"),
        ("timeout: 60 s", "timeout: 60 s\nclient: {unchoke_slots: 3}"),
        ("timeout: 60 s", "timeout: 60 s\nportals: {refresh: 5 s}"),
        ("policies: [native, p4p]", "policies: [native, {p4p: {gamma: 0.7}}]"),
    ],
)
def test_the_id_changes_with_what_decides_the_outcome(tmp_path: Path, change: tuple[str, str]) -> None:
    assert (
        ids(small_experiment.plans(tmp_path, change))["p4p", 0]
        != (ids(small_experiment.plans(tmp_path))["p4p", 0])
    )


def test_the_id_changes_with_the_topology_and_the_machine(tmp_path: Path) -> None:
    before = ids(small_experiment.plans(tmp_path))
    slower = small_topology.TEXT.replace("capacity: 20 Mbit/s", "capacity: 19 Mbit/s")
    assert not set(before.values()) & set(ids(small_experiment.plans(tmp_path, topology=slower)).values())
    elsewhere = small_experiment.plans(tmp_path, environment={"kernel datapath": "yes"})
    assert not set(before.values()) & set(ids(elsewhere).values())


@pytest.mark.parametrize(
    "change",
    [
        REPEATS,
        ("policies: [native, p4p]", "policies: [p4p, native]"),
        ("name: tiny", "# A comment.\nname: other"),
        ("512 KiB", "0.5 MiB"),
    ],
)
def test_the_id_stays_where_only_the_matrix_or_the_wording_changes(
    tmp_path: Path, change: tuple[str, str]
) -> None:
    before = ids(small_experiment.plans(tmp_path))
    after = ids(small_experiment.plans(tmp_path, change))
    assert before.items() <= after.items()


def ids(trials: tuple[TrialPlan, ...]) -> dict[tuple[str, int], str]:
    return {(trial.policy, trial.repeat): trial.id for trial in trials}


def test_seeds_of_repeats_do_not_depend_on_how_many_there_are() -> None:
    assert trial_seed(7, 0) == trial_seed(7, 0)
    assert len({trial_seed(seed, repeat) for seed in range(20) for repeat in range(20)}) == 400
    assert all(0 <= trial_seed(2**63 - 1, repeat) < 2**63 for repeat in range(20))


def test_an_unknown_policy_is_an_error_with_its_line_and_those_that_exist(tmp_path: Path) -> None:
    message = error(tmp_path, ("[native, p4p]", "[native, p4q]"))
    assert message.startswith("tiny.yaml:4: 'p4q' is no policy\n  allowed: native, p4p")


def test_all_wrong_policies_are_named_at_once_each_with_its_line(tmp_path: Path) -> None:
    message = error(tmp_path, ("[native, p4p]", "\n  - natif\n  - {p4p: {gama: 1}}"))
    lines = [line for line in message.splitlines() if line.startswith("tiny.yaml")]
    assert [line.split(" ")[0] for line in lines] == ["tiny.yaml:5:", "tiny.yaml:6:"]
    assert "gama" in lines[1]


def test_pops_without_a_route_between_them_are_an_error_of_the_topology(tmp_path: Path) -> None:
    cut = small_topology.TEXT.partition("  - between: [right.only")
    topology = cut[0] + "access:" + cut[2].partition("access:")[2]
    message = error(tmp_path, topology=topology)
    assert message.startswith("tiny.yaml:2: 6 pairs of PoPs with hosts have no route, such as ")
    assert "add interdomain links" in message


def test_more_peers_than_addresses_are_an_error_with_their_line(tmp_path: Path) -> None:
    small = small_topology.TEXT.replace("asn: 30", "asn: 30\n    prefix: 10.77.0.0/22")
    message = error(tmp_path, ("isp: right, count: 1", "isp: right, count: 2000"), topology=small)
    assert message.startswith("tiny.yaml:9: PoP right.only has room for ")


def test_times_of_the_swarm_grow_as_rates_shrink(tmp_path: Path) -> None:
    whole, half = small_experiment.plans(tmp_path)[0], small_experiment.plans(tmp_path, scale=0.5)[0]
    assert half.scale == 0.5
    assert half.experiment.timeout == 2 * whole.experiment.timeout
    assert half.experiment.tracker.interval == 2 * whole.experiment.tracker.interval
    assert half.experiment.portals.refresh == 2 * whole.experiment.portals.refresh
    assert half.experiment.swarm.content == whole.experiment.swarm.content
    # The same crowd, in twice the time.
    for slow, quick in zip(half.arrivals, whole.arrivals, strict=True):
        assert slow.host == quick.host
        if quick.start_s:
            assert slow.start_s - SEEDS_FIRST_S == pytest.approx(2 * (quick.start_s - SEEDS_FIRST_S))


def test_a_scale_of_one_gives_the_ids_of_an_unscaled_run_and_another_gives_others(tmp_path: Path) -> None:
    whole = ids(small_experiment.plans(tmp_path))
    assert ids(small_experiment.plans(tmp_path, scale=1.0)) == whole
    assert not set(ids(small_experiment.plans(tmp_path, scale=0.5)).values()) & set(whole.values())
