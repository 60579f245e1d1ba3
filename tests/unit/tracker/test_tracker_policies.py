"""Policies pick what their definition says: distributions, quotas, and laws that hold for all."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from testbed.errors import UserError
from testbed.tracker.guidance import Guidance
from testbed.tracker.policies import load, names, parameters_model
from testbed.tracker.policies.p4p import Parameters, pid_weights, share_out
from testbed.tracker.swarm import Peer

UNLIKELY = 1e-4  # the seeds are fixed: a test below this fails for a cause, and always


class Crowd:
    """Peers of ISP `own` (PIDs own-...) and of others; the ISP is the PID up to its first '-'."""

    def __init__(self, sizes: Mapping[str, int], distances: Mapping[str, float | None]) -> None:
        self.peers = [
            Peer(f"{pid}.{number}".encode().ljust(20), f"{pid}.{number}", 1, False)
            for pid, count in sizes.items()
            for number in range(count)
        ]
        self.requester = Peer(b"requester".ljust(20), "own-a.requester", 1, False)
        self.guidance = Guidance(
            "own", "own-a", self.pid_of, self.isp_of, lambda _source, target: distances.get(target)
        )

    @staticmethod
    def pid_of(ip: str) -> str | None:
        return None if ip.startswith("unmapped") else ip.partition(".")[0]

    @staticmethod
    def isp_of(ip: str) -> str | None:
        return None if ip.startswith("unmapped") else ip.partition("-")[0]

    def counts(self, picked: Sequence[Peer]) -> Counter[str]:
        return Counter(peer.ip.partition(".")[0] for peer in picked)


def test_native_picks_every_peer_equally_often() -> None:
    crowd = Crowd({"own-a": 10, "other-b": 10}, {})
    native, rng = load("native", {}).pick, random.Random(1)
    seen: Counter[str] = Counter()
    for _ in range(10_000):
        seen.update(peer.ip for peer in native(crowd.requester, crowd.peers, 5, crowd.guidance, rng))
    assert len(seen) == 20
    assert chisquare(list(seen.values())).pvalue > UNLIKELY


def test_p4p_fills_its_quotas_exactly() -> None:
    crowd = Crowd({"own-a": 100, "own-b": 100, "x-c": 100}, {"own-a": 0, "own-b": 5, "x-c": 50})
    pick, rng = load("p4p", {}).pick, random.Random(1)
    for wanted, expected in [(10, (7, 1, 2)), (50, (35, 5, 10)), (15, (11, 1, 3)), (1, (1, 0, 0))]:
        counts = crowd.counts(pick(crowd.requester, crowd.peers, wanted, crowd.guidance, rng))
        assert (counts["own-a"], counts["own-b"], counts["x-c"]) == expected


def test_p4p_draws_pids_of_other_isps_by_the_root_of_inverse_distance() -> None:
    distances = {"x-1": 1.0, "x-2": 4.0, "x-3": 16.0, "x-4": 100.0}
    crowd = Crowd(dict.fromkeys(distances, 50), distances)
    pick, rng = load("p4p", {"overload_factor": None}).pick, random.Random(2)
    draws = 20_000
    seen: Counter[str] = Counter()
    for _ in range(draws):
        seen.update(crowd.counts(pick(crowd.requester, crowd.peers, 1, crowd.guidance, rng)))
    weights = [1 / distance**0.5 for distance in distances.values()]
    expected = [draws * weight / sum(weights) for weight in weights]
    assert chisquare([seen[pid] for pid in distances], expected).pvalue > UNLIKELY


def test_p4p_draws_peers_of_one_pid_uniformly() -> None:
    crowd = Crowd({"own-a": 20}, {"own-a": 0})
    pick, rng = load("p4p", {}).pick, random.Random(3)
    seen: Counter[str] = Counter()
    for _ in range(5_000):
        seen.update(peer.ip for peer in pick(crowd.requester, crowd.peers, 4, crowd.guidance, rng))
    assert chisquare(list(seen.values())).pvalue > UNLIKELY


def test_p4p_without_guidance_is_native() -> None:
    crowd = Crowd({"own-a": 30, "x-b": 30}, {})
    picks = [
        load(name, {}).pick(crowd.requester, crowd.peers, 10, None, random.Random(4))
        for name in ("native", "p4p")
    ]
    assert picks[0] == picks[1]


def test_p4p_puts_peers_that_nobody_knows_with_the_other_isps() -> None:
    crowd = Crowd({"own-a": 20, "unmapped": 20}, {"own-a": 0})
    picked = load("p4p", {}).pick(crowd.requester, crowd.peers, 10, crowd.guidance, random.Random(5))
    assert crowd.counts(picked) == {"own-a": 7, "unmapped": 3}


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        ((50, 50, 50), (14, 2, 4)),  # quotas of 20: 14, 16 together, the rest
        ((3, 50, 50), (3, 13, 4)),  # what the PID lacks, the ISP gives
        ((3, 2, 50), (3, 2, 15)),  # what the ISP lacks, others give
        ((50, 50, 1), (14, 5, 1)),  # what others lack comes back to the ISP
        ((50, 3, 1), (16, 3, 1)),  # and then to the PID
        ((2, 1, 1), (2, 1, 1)),
        ((0, 0, 0), (0, 0, 0)),
    ],
)
def test_places_that_a_class_cannot_fill_go_outward_and_then_back(
    available: tuple[int, int, int], expected: tuple[int, int, int]
) -> None:
    assert share_out(20, available, Parameters()) == expected


def test_quotas_round_half_up() -> None:
    assert share_out(5, (9, 9, 9), Parameters(intra_pid_share=0.5, intra_isp_share=0.5)) == (3, 0, 2)


def test_a_pid_at_distance_zero_is_heavy_but_not_everything() -> None:
    plain = Parameters(gamma=1, overload_factor=None, zero_distance_factor=10)
    assert pid_weights([0, 2, 4], [1, 1, 1], plain) == pytest.approx([10 / 11.5, 1 / 11.5, 0.5 / 11.5])
    assert pid_weights([0, 0], [1, 1], plain) == pytest.approx([0.5, 0.5])


def test_a_pid_without_a_distance_counts_as_the_farthest() -> None:
    weights = pid_weights([1, 9, None], [5, 5, 5], Parameters(overload_factor=None))
    assert weights[1] == weights[2] < weights[0]


def test_gamma_flattens_the_weights() -> None:
    flat, steep = (
        pid_weights([1, 100], [1, 1], Parameters(gamma=gamma, overload_factor=None)) for gamma in (0.0, 1.0)
    )
    assert flat == pytest.approx([0.5, 0.5])
    assert steep == pytest.approx([100 / 101, 1 / 101])


def test_overload_protection_spares_a_small_near_pid() -> None:
    weights = pid_weights([1, 100, 100], [2, 49, 49], Parameters(gamma=1))
    assert weights == pytest.approx([0.03, 0.485, 0.485])


@given(
    st.lists(st.tuples(st.none() | st.floats(0, 1e300), st.integers(1, 1000)), min_size=1, max_size=30),
    st.floats(0, 4),
    st.none() | st.floats(1, 10),
)
def test_weights_are_probabilities_and_keep_to_the_overload_limit(
    pids: list[tuple[float | None, int]], gamma: float, factor: float | None
) -> None:
    distances, sizes = [pid[0] for pid in pids], [pid[1] for pid in pids]
    weights = pid_weights(distances, sizes, Parameters(gamma=gamma, overload_factor=factor))
    assert sum(weights) == pytest.approx(1)
    assert all(weight > 0 for weight in weights)
    if factor is not None:
        caps = [factor * size / sum(sizes) for size in sizes]
        assert all(weight <= cap * (1 + 1e-9) for weight, cap in zip(weights, caps, strict=True))


@given(
    name=st.sampled_from(names()),
    sizes=st.dictionaries(
        st.sampled_from(["own-a", "own-b", "own-c", "x-a", "y-a", "unmapped"]), st.integers(0, 40)
    ),
    distances=st.dictionaries(st.sampled_from(["own-a", "own-b", "own-c", "x-a", "y-a"]), st.floats(0, 1e6)),
    wanted=st.integers(0, 60),
    guided=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_every_policy_returns_min_of_wanted_and_candidates_each_once_and_only_candidates(
    name: str, sizes: dict[str, int], distances: dict[str, float], wanted: int, guided: bool, seed: int
) -> None:
    crowd = Crowd(sizes, distances)
    before = list(crowd.peers)
    guidance = crowd.guidance if guided else None
    picked = load(name, {}).pick(crowd.requester, crowd.peers, wanted, guidance, random.Random(seed))
    assert len(picked) == min(wanted, len(before))
    assert len(set(picked)) == len(picked)
    assert set(picked) <= set(before)
    assert crowd.peers == before
    again = load(name, {}).pick(crowd.requester, crowd.peers, wanted, guidance, random.Random(seed))
    assert again == picked


def test_parameters_are_checked_and_the_complaint_names_policy_and_key() -> None:
    with pytest.raises(UserError, match="policy p4p: gama: Extra inputs"):
        load("p4p", {"gama": 0.7})
    with pytest.raises(UserError, match="intra_isp_share includes the own PID"):
        load("p4p", {"intra_isp_share": 0.2})
    with pytest.raises(UserError, match="policy native: gamma"):
        load("native", {"gamma": 0.7})
    assert parameters_model("p4p").model_fields["gamma"].default == 0.5


def test_an_unknown_policy_is_refused_with_what_there_is() -> None:
    with pytest.raises(UserError, match="native, p4p, or module:function"):
        load("p5p", {})
    with pytest.raises(UserError, match="cannot be loaded"):
        load("no_such_module:pick", {})


def test_a_policy_of_ones_own_is_loaded_by_path_with_its_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mycourse_policy.py").write_text(
        "from pydantic import BaseModel\n"
        "class Parameters(BaseModel):\n"
        "    skip: int = 0\n"
        "def pick(requester, candidates, wanted, guidance, rng, parameters):\n"
        "    return list(candidates)[parameters.skip:][:wanted]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    crowd = Crowd({"own-a": 5}, {})
    policy = load("mycourse_policy:pick", {"skip": 2})
    assert policy.uses_guidance
    picked = policy.pick(crowd.requester, crowd.peers, 2, None, random.Random(1))
    assert picked == crowd.peers[2:4]
