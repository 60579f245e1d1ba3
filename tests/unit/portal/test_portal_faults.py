"""Maps that lie on purpose: each fault does what it says, steadily, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portal_site import HOPS, NUMERICAL, ORDINAL, PREFIXES, RATE, published

from testbed.portal.alto import documents
from testbed.portal.config import CapabilityConfig, FaultsConfig
from testbed.portal.faults import with_faults
from testbed.portal.site import Site

TRUE = published(kinds=(NUMERICAL, ORDINAL, HOPS, RATE))
KEY = ("networkmap", "num-routingcost")


def test_without_faults_the_truth_is_said() -> None:
    assert with_faults(TRUE, FaultsConfig()) is TRUE


def test_noise_scales_each_cost_and_leaves_gaps_and_zeros() -> None:
    true, wrong = TRUE.costs[KEY], with_faults(TRUE, FaultsConfig(noise=0.5)).costs[KEY]
    assert np.array_equal(np.isnan(wrong), np.isnan(true))
    assert wrong[0, 0] == 0
    factors = wrong[true > 0] / true[true > 0]
    assert (factors > 0).all()
    assert len(set(factors)) == len(factors)


def test_the_spread_of_the_noise_is_what_was_asked() -> None:
    names = {f"p{number}": [f"10.{number}.0.0/16"] for number in range(60)}
    large = published(costs=np.ones((60, 60)).tolist(), prefixes=names)
    logs = np.log(with_faults(large, FaultsConfig(noise=0.3)).costs[KEY][:60, :60])
    assert logs.std() == pytest.approx(0.3, rel=0.1)
    assert logs.mean() == pytest.approx(0, abs=0.02)


def test_a_lie_is_steady_over_publications_and_another_with_another_seed() -> None:
    noisy = FaultsConfig(noise=0.5, seed=1)
    first = with_faults(TRUE, noisy).costs[KEY]
    dearer = replace(TRUE, costs={key: 3 * matrix for key, matrix in TRUE.costs.items()})
    assert np.allclose(with_faults(dearer, noisy).costs[KEY], 3 * first, equal_nan=True)
    other = with_faults(TRUE, FaultsConfig(noise=0.5, seed=2)).costs[KEY]
    assert not np.allclose(other, first, equal_nan=True)


def test_inverted_says_that_near_is_far() -> None:
    true, wrong = TRUE.costs[KEY], with_faults(TRUE, FaultsConfig(inverted=True)).costs[KEY]
    known = ~np.isnan(true)
    assert wrong[known].tolist() == (7 - true[known]).tolist()
    assert wrong[0, 0] == np.nanmax(true)


def test_selfish_makes_others_dear_and_what_is_good_of_them_small() -> None:
    wrong = with_faults(TRUE, FaultsConfig(selfish=4))
    assert wrong.costs[KEY][0].tolist()[:3] == [0, 1, 20]
    assert wrong.costs[KEY][2, 0] == 5  # on the way in nothing is said otherwise
    assert wrong.costs["networkmap", "num-tput"][0, 2] == 5 / 4


def test_ranks_follow_the_wrong_costs_and_hops_stay_whole() -> None:
    wrong = with_faults(TRUE, FaultsConfig(noise=1.0, seed=3))
    numbers, ranks = wrong.costs[KEY], wrong.costs["networkmap", "ord-routingcost"]
    known = ~np.isnan(numbers)
    order = np.argsort(numbers[known])
    assert (np.diff(ranks[known][order]) >= 0).all()
    assert ranks[known].min() == 1
    hops = wrong.costs["networkmap", "num-hopcount"][known]
    assert (hops == np.rint(hops)).all()


def test_missing_leaves_out_own_pids_whose_addresses_fall_to_the_world() -> None:
    offers = tuple(CapabilityConfig(kind="cache", pid=pid, address="10.1.0.1") for pid in ("a", "b", "far"))
    part = with_faults(replace(TRUE, capabilities=offers), FaultsConfig(missing=0.5))
    (network_map,) = part.network_maps
    (gone,) = set(PREFIXES) - set(network_map.prefixes)
    assert gone in {"a", "b"}
    assert network_map.pids.lookup(PREFIXES[gone][0].partition("/")[0]) == "world"
    assert network_map.tag != TRUE.network_maps[0].tag
    kept = [number for number, pid in enumerate(TRUE.network_maps[0].prefixes) if pid != gone]
    assert np.array_equal(part.costs[KEY], TRUE.costs[KEY][np.ix_(kept, kept)], equal_nan=True)
    assert gone not in {offer.pid for offer in part.capabilities}


def test_missing_never_rounds_down_to_nothing() -> None:
    assert len(with_faults(TRUE, FaultsConfig(missing=0.01)).network_maps[0].prefixes) == 3
    assert set(with_faults(TRUE, FaultsConfig(missing=1.0)).network_maps[0].prefixes) == {"far", "world"}


@settings(deadline=None)
@given(
    faults=st.builds(
        FaultsConfig,
        noise=st.floats(0, 3) | st.floats(0, allow_infinity=False),
        inverted=st.booleans(),
        selfish=st.floats(1, allow_infinity=False),
        missing=st.floats(0, 1),
        seed=st.integers(0, 2**40),
    )
)
def test_a_lie_is_still_a_map(faults: FaultsConfig) -> None:
    said = with_faults(TRUE, faults)
    for matrix in said.costs.values():
        known = matrix[~np.isnan(matrix)]
        assert np.isfinite(known).all()
        assert (known >= 0).all()
    assert documents.entries(said)


def test_stale_freezes_the_maps_and_the_truth_returns_with_its_end() -> None:
    site = Site(published())
    second, third = published(((0, 2), (2, 0))), published(((0, 3), (3, 0)))
    site.publish(second)
    site.set_faults(FaultsConfig(stale=True))
    site.publish(third)
    assert site.snapshot.published is second
    site.set_faults(FaultsConfig(stale=True, selfish=9))
    assert site.snapshot.published.costs[KEY][0, 1] == 2
    site.set_faults(FaultsConfig())
    assert site.snapshot.published is third


def test_stale_from_the_start_keeps_the_first_maps() -> None:
    first = published()
    site = Site(first, FaultsConfig(stale=True))
    site.publish(published(((0, 2), (2, 0))))
    assert site.snapshot.published is first
