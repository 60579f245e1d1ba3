"""p-distances: static ones from a file or from links, and prices that follow what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import UserError
from testbed.portal import pricing
from testbed.portal.config import PortalConfig
from testbed.portal.disclosure import disclose, perturbed, ranked
from testbed.portal.internal import InternalView
from testbed.portal.pricing import PDistances, Prices, static_distances

OBJECTIVES = ("static", "mlu", "bdp", "multihoming")


def portal(**changes: object) -> PortalConfig:
    fields: dict[str, object] = {
        "isp": "cablenet",
        "asn": 65001,
        "listen": "127.0.0.1:0",
        "pids": [{"pid": pid, "prefixes": []} for pid in ("a", "b", "c")],
        "links": [{"a": "a", "b": "b", "weight": 2}, {"a": "b", "b": "c", "weight": 3}],
    }
    return PortalConfig.model_validate(fields | changes)


def ring(**config: object) -> PortalConfig:
    """The P4P authors' test: four nodes, capacity 4 but for 0 -> 1, which has 2."""
    links = [{"a": str(k), "b": str((k + 1) % 4), "capacity_bps": [2 if k == 0 else 4, 4]} for k in range(4)]
    return portal(pids=[{"pid": str(k), "prefixes": []} for k in range(4)], links=links, pricing=config)


def two_providers(**changes: Any) -> PortalConfig:
    """a - b, with a dear way out at a and a cheap one at b; slots of ten seconds, an update each."""
    charging = {"slot_s": 10, "period_slots": 100, "background_slots": 3}
    return portal(
        pids=[{"pid": "a", "prefixes": []}, {"pid": "b", "prefixes": []}],
        links=[{"a": "a", "b": "b", "capacity_bps": 1e8}],
        external=[{"pid": "x", "exit": "a", "price": 8}, {"pid": "y", "exit": "b", "price": 2}],
        pricing={"objective": "multihoming", "update_s": 10, "charging": charging, **changes},
    )


def after(view: InternalView, config: PortalConfig, *traffic: np.ndarray) -> Prices:
    prices = pricing.start(view, config.pricing)
    for traffic_bps in traffic:
        prices = pricing.update(view, prices, traffic_bps, config.pricing, config.pricing.update_s)
    return prices


def test_static_distances_are_shortest_paths_by_weight() -> None:
    longer = {"a": "a", "b": "c", "weight": 9}
    distances = static_distances(portal(links=[*portal().model_dump()["links"], longer]))
    assert distances.pids == ("a", "b", "c")
    assert distances.matrix.tolist() == [[0, 2, 5], [2, 0, 3], [5, 3, 0]]


def test_an_external_pid_costs_the_way_to_its_nearest_exit_and_the_exit() -> None:
    exits = [{"pid": "x", "exit": "a", "weight": 10}, {"pid": "x", "exit": "c", "weight": 4}]
    distances = static_distances(portal(external=exits))
    assert distances.pids == ("a", "b", "c", "x")
    assert distances.matrix[:3, 3].tolist() == [10, 12, 4]
    assert distances.matrix[3, :3].tolist() == [10, 12, 4]


def test_external_to_external_and_pairs_without_a_route_are_unknown() -> None:
    exits = [{"pid": "x", "exit": "a", "weight": 1}, {"pid": "y", "exit": "b", "weight": 1}]
    distances = static_distances(portal(links=[{"a": "a", "b": "b", "weight": 2}], external=exits))
    known = {(source, target) for source, target, _ in distances.rows()}
    assert not {("x", "y"), ("y", "x"), ("x", "x"), ("a", "c"), ("c", "x")} & known
    assert {("a", "b"), ("a", "y"), ("y", "a"), ("c", "c")} <= known


def test_pairs_of_the_isp_without_a_route_have_the_default_distance() -> None:
    exits = [{"pid": "x", "exit": "a", "weight": 1}, {"pid": "y", "exit": "b", "weight": 1}]
    config = portal(links=[{"a": "a", "b": "b", "weight": 2}], external=exits, default_distance=99)
    distances = {(a, b): distance for a, b, distance in static_distances(config).rows()}
    assert distances["a", "c"] == distances["c", "x"] == distances["x", "c"] == 99
    assert distances["a", "b"] == 2
    assert ("x", "y") not in distances


def test_the_intra_pid_distance_is_on_the_diagonal_and_no_part_of_a_way_out() -> None:
    distances = static_distances(
        portal(external=[{"pid": "x", "exit": "a", "weight": 10}], intra_pid_distance=0.5)
    )
    assert np.diag(distances.matrix)[:3].tolist() == [0.5, 0.5, 0.5]
    assert distances.matrix[0, 3] == 10


def test_of_parallel_links_the_one_with_the_least_weight_counts() -> None:
    links = [{"a": "a", "b": "b", "weight": 7}, {"a": "b", "b": "a", "weight": 2}]
    assert static_distances(portal(links=links)).matrix[0, 1] == 2


def test_a_map_made_by_hand_is_published_as_it_is() -> None:
    costs = {"a": {"b": 4, "a": 1}, "c": {"a": 7.5}}
    rows = static_distances(portal(links=[], costs=costs, intra_pid_distance=0.25)).rows()
    assert rows == [("a", "a", 1), ("a", "b", 4), ("c", "a", 7.5)]


@pytest.mark.parametrize(
    "text",
    ["a: {b: 4}\n", '{"a": {"b": 4}}', json.dumps({"meta": {"cost-type": {}}, "cost-map": {"a": {"b": 4}}})],
    ids=["YAML", "JSON", "ALTO"],
)
def test_a_map_may_be_in_a_file(text: str, tmp_path: Path) -> None:
    file = tmp_path / "costs"
    file.write_text(text)
    assert static_distances(portal(links=[], costs=file)).matrix[0, 1] == 4


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[]", "no cost map"),
        ("a: 4", "no row"),
        ("a: {b: -1}", "'-1' is no cost"),
        ("a: {b: .nan}", "is no cost"),
        ("a: {b: true}", "is no cost"),
        ("a: {nowhere: 1}", "there is no PID 'nowhere'"),
    ],
)
def test_a_file_without_costs_is_refused_with_its_reason(text: str, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "costs.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=complaint):
        static_distances(portal(links=[], costs=file))


def test_a_missing_file_of_costs_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: can't be read"):
        static_distances(portal(links=[], costs=tmp_path / "none.yaml"))


def test_static_prices_stay_whatever_is_measured() -> None:
    config = portal()
    view = InternalView.of(config)
    prices = after(view, config, np.full(4, 1e9))
    assert pricing.distances(view, prices, config).matrix.tolist() == static_distances(config).matrix.tolist()


def test_links_of_mean_capacity_cost_one_before_anything_is_measured() -> None:
    config = ring(objective="mlu")
    view = InternalView.of(config)
    matrix = pricing.distances(view, pricing.start(view, config.pricing), config).matrix
    assert matrix[0, 1] == pytest.approx(3.75 / 2)
    assert matrix[1, 2] == pytest.approx(3.75 / 4)


def test_the_price_moves_to_the_link_that_is_used_most() -> None:
    config = ring(objective="mlu")
    view = InternalView.of(config)
    traffic = np.array([1.2, 0, 0, 0, 0, 0, 0, 0])
    prices = after(view, config, *[traffic] * 20)
    assert prices.price.tolist() == pytest.approx([1, 0, 0, 0, 0, 0, 0, 0])
    assert pricing.distances(view, prices, config).matrix[0, 1] == pytest.approx(8 * 3.75 / 2)


def test_one_update_is_the_supergradient_projected_on_the_scaled_simplex() -> None:
    """By hand: two ways, one half as full as the other, mu = 0.4: q = 0.5 -+ 0.4 / 2 x (1 - 0.5) / 2."""
    config = portal(
        pids=[{"pid": "a", "prefixes": []}, {"pid": "b", "prefixes": []}],
        links=[{"a": "a", "b": "b", "capacity_bps": 1}],
        pricing={"objective": "mlu", "step": {"rule": "constant", "size": 0.4}},
    )
    prices = after(InternalView.of(config), config, np.array([0.2, 0.4]))
    assert prices.price.tolist() == pytest.approx([0.45, 0.55])
    # Published is the point three steps further, counted so that a mean link costs 1.
    assert prices.published.tolist() == pytest.approx([2 * 0.3, 2 * 0.7])


def test_diminishing_steps_shrink_with_the_root_of_the_updates() -> None:
    def moves(rule: str) -> list[float]:
        config = ring(objective="mlu", projection="euclidean", step={"rule": rule, "size": 0.01})
        view = InternalView.of(config)
        prices, shares = pricing.start(view, config.pricing), []
        for _ in range(4):
            after_this = pricing.update(view, prices, np.array([1.2, *[0.6] * 7]), config.pricing, 10)
            shares.append(after_this.price[0] - prices.price[0])
            prices = after_this
        return shares

    constant, diminishing = moves("constant"), moves("diminishing")
    assert constant == pytest.approx([constant[0]] * 4)
    assert diminishing == pytest.approx([constant[0] / root for root in (1, 2**0.5, 3**0.5, 2)])


def test_background_counts_as_load() -> None:
    links = [{"a": "a", "b": "b", "capacity_bps": 10, "background_bps": [8, 0]}]
    config = portal(links=links, pricing={"objective": "mlu"})
    view = InternalView.of(config)
    assert after(view, config, np.zeros(2)).price.tolist() == [1, 0]
    moved = pricing.start(view, config.pricing)
    moved = pricing.update(view, moved, np.zeros(2), config.pricing, 10, background_bps=np.array([0.0, 8]))
    assert moved.price.tolist() == [0, 1]


def test_a_link_of_unknown_capacity_is_free_under_mlu() -> None:
    links = [{"a": "a", "b": "b", "capacity_bps": 10}, {"a": "b", "b": "c"}]
    config = portal(links=links, pricing={"objective": "mlu"})
    view = InternalView.of(config)
    prices = after(view, config, np.array([1.0, 2, 300, 400]))
    assert prices.published[2:].tolist() == [0, 0]
    assert prices.price.sum() == pytest.approx(1)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_prices_stay_where_nothing_was_measured(objective: str) -> None:
    config = two_providers(objective=objective)
    view = InternalView.of(config)
    first = pricing.start(view, config.pricing)
    again = pricing.update(view, first, np.full(len(view.ways), np.nan), config.pricing, 10)
    assert again.published.tolist() == first.published.tolist()


def test_bdp_adds_to_the_distance_of_full_links_alone() -> None:
    links = [{"a": "a", "b": "b", "weight": 2, "capacity_bps": 10}, {"a": "b", "b": "c", "weight": 4}]
    config = portal(links=links, pricing={"objective": "bdp", "step": {"rule": "constant", "size": 1}})
    view = InternalView.of(config)
    full = np.array([12.0, 9, 1e9, 0])
    once = after(view, config, full)
    assert once.price.tolist() == pytest.approx([3 * 0.2, 0, 0, 0]), "mu x mean distance x (u - 1)"
    assert once.published.tolist() == pytest.approx([2 + 4 * 0.6, 2, 4, 4])
    assert after(view, config, full, full).price[0] == pytest.approx(1.2)
    idle = np.zeros(4)
    assert after(view, config, full, *[idle] * 5).published.tolist() == [2, 2, 4, 4]


def test_multihoming_keeps_p2p_off_charged_links_until_a_slot_tells_what_is_free() -> None:
    config = two_providers()
    view = InternalView.of(config)
    matrix = pricing.distances(view, pricing.start(view, config.pricing), config).matrix
    assert matrix[0, 2] == 1 + 100, "the way out, and the dearest neighbour in full"
    assert matrix[0, 3] == 1 + 1 + 25, "a link inside, and a neighbour of a quarter of the price"
    assert matrix[0, 1] == 1


def test_multihoming_is_free_below_the_predicted_volume_and_dear_above() -> None:
    config = two_providers(step={"rule": "constant"})
    view = InternalView.of(config)
    prices = pricing.start(view, config.pricing)
    quiet, background = np.zeros(6), np.array([0, 0, 5e6, 0, 5e6, 0])
    for _ in range(20):
        prices = pricing.update(view, prices, quiet, config.pricing, 10, background)
    for _ in range(20):  # the background falls: what it leaves is free
        prices = pricing.update(view, prices, quiet, config.pricing, 10, background / 5)
    assert prices.price[[2, 4]].tolist() == [0, 0]
    for _ in range(2):
        prices = pricing.update(
            view, prices, np.array([0, 0, 6e6, 0, 3e6, 0]), config.pricing, 10, background / 5
        )
    assert prices.price[2] == pytest.approx(2 * 0.5 * (6 - 4) / 5), "6 Mbit/s where 4 are free, 5 billed"
    assert prices.price[4] == 0, "3 Mbit/s where 4 are free"


def test_a_share_of_the_charge_is_never_more_than_all_of_it() -> None:
    config = two_providers()
    view = InternalView.of(config)
    prices = after(view, config, *[np.array([0, 0, rate, 0, rate, 0]) for rate in (0, 1e9, 1e9, 2e9, 4e9)])
    assert prices.price.max() <= 1
    assert prices.published.max() <= 1 + pricing.FULL_CHARGE


@given(
    st.sampled_from(OBJECTIVES),
    st.sampled_from(["euclidean", "clip-normalise"]),
    st.lists(st.lists(st.floats(0, 1e12) | st.just(float("nan")), min_size=10, max_size=10), max_size=6),
    st.lists(st.none() | st.floats(1, 1e12), min_size=3, max_size=3),
)
@settings(deadline=None)
def test_published_distances_are_finite_and_not_negative_whatever_is_measured(
    objective: str, projection: str, traffic: list[list[float]], capacities: list[float | None]
) -> None:
    links = [
        {"a": a, "b": b, "capacity_bps": capacity}
        for (a, b), capacity in zip(("ab", "bc", "ac"), capacities, strict=True)
    ]
    exits = [{"pid": "x", "exit": "a", "price": 3}, {"pid": "y", "exit": "b", "capacity_bps": 1e6}]
    if objective != "mlu":
        projection = "euclidean"
    config = portal(
        links=links,
        external=exits,
        pricing={"objective": objective, "projection": projection, "update_s": 200},
    )
    view = InternalView.of(config)
    matrix = pricing.distances(view, after(view, config, *map(np.array, traffic)), config).matrix
    known = matrix[~np.isnan(matrix)]
    assert len(known) == 9 + 12
    assert (known >= 0).all()
    assert np.isfinite(known).all()


def some_distances() -> PDistances:
    return PDistances(("a", "b", "x"), 2, np.array([[0.0, 5, 9], [5, 0, 7], [9, 7, np.nan]]))


def test_exact_distances_are_published_where_nothing_else_is_asked() -> None:
    shown = disclose(some_distances(), portal().disclosure).matrix
    np.testing.assert_array_equal(shown, some_distances().matrix)


def test_a_pair_is_perturbed_alike_in_every_update() -> None:
    config = portal(disclosure={"perturbation": 0.2, "seed": 3}).disclosure
    first, second = (disclose(some_distances(), config).matrix for _ in range(2))
    np.testing.assert_array_equal(first, second)
    known = first > 0
    factor = first[known] / some_distances().matrix[known]
    assert (np.abs(factor - 1) <= 0.2).all()
    assert len(set(factor)) == len(factor), "each pair has a factor of its own"
    assert not np.array_equal(first, perturbed(some_distances().matrix, 0.2, 4), equal_nan=True)


def test_levels_have_as_many_different_distances_each_and_a_pid_is_level_0_to_itself() -> None:
    matrix = np.arange(100.0).reshape(10, 10)
    levels = ranked(matrix, 3)
    assert np.diag(levels).tolist() == [0] * 10
    between = ~np.eye(10, dtype=bool)
    assert [np.count_nonzero(levels[between] == level) for level in (1, 2, 3)] == [30] * 3
    assert (np.diff(levels[between]) >= 0).all()


def test_equal_distances_have_equal_ranks_and_unknown_ones_none() -> None:
    levels = disclose(some_distances(), portal(disclosure={"levels": 2}).disclosure).matrix
    np.testing.assert_array_equal(levels, [[0, 1, 2], [1, 0, 1], [2, 1, np.nan]])


def test_a_distance_that_most_pairs_have_takes_no_level_from_others() -> None:
    matrix = np.full((6, 6), 5.0)
    matrix[0, 1:5] = [1, 2, 8, 9]
    assert ranked(matrix, 5)[0].tolist() == [0, 1, 2, 4, 5, 3]


@given(st.lists(st.integers(0, 5) | st.none(), min_size=25, max_size=25), st.integers(2, 8))
@settings(deadline=None)
def test_levels_keep_the_order_and_all_differences_that_they_can(
    values: list[int | None], levels: int
) -> None:
    matrix = np.array(values, float).reshape(5, 5)
    ranks = ranked(matrix, levels)
    assert (np.isnan(ranks) == np.isnan(matrix)).all()
    between = ~np.eye(5, dtype=bool) & ~np.isnan(matrix)
    exact, shown = matrix[between], ranks[between]
    different = len(set(exact))
    assert sorted(set(shown)) == list(range(1, 1 + min(different, levels)))
    order = np.argsort(exact, kind="stable")
    assert (np.diff(shown[order]) >= 0).all()
    sizes = [len(set(exact[shown == level])) for level in set(shown)]
    assert max(sizes, default=0) - min(sizes, default=0) <= 1


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"links": [{"a": "a", "b": "nowhere", "weight": 1}]}, "'nowhere' is none of this ISP's PoPs"),
        ({"links": [{"a": "a", "b": "a", "weight": 1}]}, "linked to itself"),
        ({"links": [{"a": "a", "b": "b", "weight": 0}]}, "greater than 0"),
        ({"pids": [{"pid": "cablenet.paris", "prefixes": []}]}, "match pattern"),
        ({"pids": [{"pid": "a", "prefixes": ["10.0.0.1/8"]}]}, "host bits set"),
        (
            {"links": [], "pids": [{"pid": p, "prefixes": ["10.0.0.0/8"]} for p in "ab"]},
            "given twice",
        ),
        ({"external": [{"pid": "b", "exit": "a", "weight": 1}]}, "one of this ISP's own PIDs"),
        ({"listen": "8080"}, "not an address and a port"),
        ({"colour": "blue"}, "Extra inputs"),
    ],
)
def test_a_wrong_configuration_is_refused_with_its_reason(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        portal(**changes)
