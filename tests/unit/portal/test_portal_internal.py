"""An ISP's view of its inside: routes as the network has them, sums along them, and traffic on links."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import random_networks
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.portal.config import PortalConfig
from testbed.portal.internal import InternalView
from testbed.portal.pricing import static_distances
from testbed.topology.model import Isp, Link, Network, Pop
from testbed.topology.routing import compute_routes

# The example of the P4P authors' portal: routing weight, what a unit costs there, and back.
ABILENE = [
    ("0", "1", 392, 9, 8),
    ("0", "2", 1045, 0, 0),
    ("1", "3", 698, 7, 7),
    ("2", "3", 1385, 2, 2),
    ("1", "2", 2035, 1, 1),
    ("1", "6", 675, 5, 6),
    ("3", "4", 700, 4, 4),
    ("4", "6", 618, 5, 5),
    ("4", "8", 1700, 7, 7),
    ("6", "5", 986, 5, 1),
    ("5", "8", 301, 2, 2),
    ("8", "7", 544, 3, 3),
    ("5", "7", 810, 7, 5),
]
ABILENE_EXITS = [("100", "0", 12), ("120", "1", 33), ("105", "2", 16), ("105", "0", 29), ("200", "0", 97)]


def portal(**changes: Any) -> PortalConfig:
    """a - b - c, and what `changes` say."""
    fields: dict[str, Any] = {
        "isp": "cablenet",
        "listen": "127.0.0.1:0",
        "pids": [{"pid": pid, "prefixes": []} for pid in "abc"],
        "links": [
            {"id": "ab", "a": "a", "b": "b", "weight": 2},
            {"id": "bc", "a": "b", "b": "c", "weight": 3},
        ],
    }
    return PortalConfig.model_validate(fields | changes)


def view_of(**changes: Any) -> InternalView:
    return InternalView.of(portal(**changes))


def rates(view: InternalView, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 2, (len(view.pids), len(view.pids)))


def test_the_authors_abilene_costs_what_it_cost_there_and_back() -> None:
    """The golden row of their example file, and the same PID's column. A way out counts alone there."""
    config = portal(
        pids=[{"pid": str(pid), "prefixes": []} for pid in range(9)],
        links=[
            {"a": a, "b": b, "weight": weight, "cost": [there, back]} for a, b, weight, there, back in ABILENE
        ],
        external=[{"pid": pid, "exit": at, "cost": cost} for pid, at, cost in ABILENE_EXITS],
        intra_pid_distance=1,
        pricing={"metric": "cost", "interdomain_alone": True},
    )
    distances = static_distances(config)
    assert distances.matrix[0, :9].tolist() == [1, 9, 0, 16, 19, 19, 14, 26, 21]
    assert distances.matrix[:9, 0].tolist() == [1, 8, 0, 15, 19, 15, 14, 20, 17]
    row = dict(zip(distances.pids[9:], distances.matrix[0, 9:], strict=True))
    assert row == {"100": 12, "105": 29, "120": 33, "200": 97}
    column = dict(zip(distances.pids[9:], distances.matrix[9:, 0], strict=True))
    assert column == row


def test_a_link_without_a_cost_costs_its_weight_and_a_route_follows_weights_alone() -> None:
    links = [
        {"a": "a", "b": "b", "weight": 2, "cost": 50},
        {"a": "b", "b": "c", "weight": 3},
        {"a": "a", "b": "c", "weight": 9, "cost": 0},
    ]
    matrix = static_distances(portal(links=links, pricing={"metric": "cost"})).matrix
    assert matrix.tolist() == [[0, 50, 53], [50, 0, 3], [53, 3, 0]]


def test_a_way_out_counts_with_the_way_to_it_where_nothing_else_is_asked() -> None:
    exits = [{"pid": "x", "exit": "a", "weight": 7}]
    assert static_distances(portal(external=exits)).matrix[:3, 3].tolist() == [7, 9, 12]
    alone = static_distances(portal(external=exits, pricing={"interdomain_alone": True})).matrix
    assert alone[:3, 3].tolist() == alone[3, :3].tolist() == [7, 7, 7]
    assert alone[0, 2] == 5


def test_ways_are_named_by_their_link_and_the_end_that_they_leave() -> None:
    view = view_of(external=[{"id": "out", "pid": "x", "exit": "c"}])
    assert view.ways == (("ab", "a"), ("ab", "b"), ("bc", "b"), ("bc", "c"), ("out", "c"), ("out", "x"))
    assert view.interdomain.tolist() == [False] * 4 + [True] * 2
    assert (view.pids, view.own) == (("a", "b", "c", "x"), 3)


def test_each_direction_of_a_link_has_its_own_values() -> None:
    view = view_of(
        links=[{"a": "a", "b": "b", "weight": [2, 5], "delay_s": [0.001, 0.003], "capacity_bps": [10, 20]}],
        external=[{"pid": "x", "exit": "a", "weight": 7, "hops": 3, "price": 4, "background_bps": [1, 2]}],
    )
    assert view.distance.tolist() == [2, 5, 7, 7]
    assert view.hops.tolist() == [1, 1, 3, 3]
    assert view.delay_s.tolist() == [0.001, 0.003, 0, 0]
    assert view.background_bps.tolist() == [0, 0, 1, 2]
    assert view.price_per_mbps.tolist() == [0, 0, 4, 4]
    assert view.capacity_bps[:2].tolist() == [10, 20]
    assert np.isnan(view.capacity_bps[2:]).all()


@pytest.mark.parametrize(
    ("metric", "expected"), [("weight", 2.5), ("hops", 1), ("delay", 4), ("length", 120)]
)
def test_the_distance_of_a_link_is_what_the_metric_says(metric: str, expected: float) -> None:
    link = {"a": "a", "b": "b", "weight": 2.5, "delay_s": 0.004, "length_km": 120}
    assert view_of(links=[link], pricing={"metric": metric}).distance.tolist() == [expected] * 2


def test_of_the_exits_of_least_preference_the_nearest_then_the_lightest_then_the_first_is_taken() -> None:
    def exits(*ways: tuple[str, float, int]) -> list[float]:
        """By which entry each of a, b, c leaves."""
        entries = [
            {"pid": "x", "exit": at, "weight": weight, "preference": preference}
            for at, weight, preference in ways
        ]
        view = view_of(external=entries)
        numbers = np.zeros(len(view.ways))
        numbers[4::2] = 1 + np.arange(len(entries))
        return view.path_sums(numbers)[:3, 3].tolist()

    assert exits(("a", 100, 0), ("c", 1, 0)) == [1, 1, 2], "hot potato, whatever the exit weighs"
    assert exits(("b", 5, 0), ("b", 4, 0)) == [2, 2, 2]
    assert exits(("b", 5, 0), ("b", 5, 0)) == [1, 1, 1]
    assert exits(("a", 1, 1), ("c", 1, 0)) == [2, 2, 2]


def test_when_the_preferred_exit_fails_or_is_cut_off_the_spare_one_is_taken() -> None:
    config = portal(
        external=[
            {"id": "spare", "pid": "x", "exit": "a", "preference": 1},
            {"id": "best", "pid": "x", "exit": "c"},
        ]
    )
    hops = np.ones(8)
    assert InternalView.of(config).path_sums(hops)[:3, 3].tolist() == [3, 2, 1]
    assert InternalView.of(config, frozenset({"best"})).path_sums(hops)[:3, 3].tolist() == [1, 2, 3]
    assert InternalView.of(config, frozenset({"bc"})).path_sums(hops)[:3, 3].tolist() == [1, 2, 1]
    none = InternalView.of(config, frozenset({"best", "spare"})).path_sums(hops)
    assert np.isnan(none[:3, 3]).all()


def test_a_failed_link_keeps_its_ways_and_loses_its_routes() -> None:
    view = InternalView.of(portal(), frozenset({"bc"}))
    assert len(view.ways) == 4
    sums = view.path_sums(np.ones(4))
    assert sums[0, 1] == 1
    assert np.isnan(sums[0, 2])
    assert view.link_traffic(np.ones((3, 3))).tolist() == [1, 1, 0, 0]


def test_what_comes_from_outside_comes_in_where_the_own_traffic_goes_out() -> None:
    view = view_of(external=[{"pid": "x", "exit": "a"}, {"pid": "x", "exit": "c"}])
    back = view.path_sums(np.array([1, 2, 4, 8, 16, 32, 64, 128]))[3, :3]
    assert back.tolist() == [32, 33, 128], "b is nearer to a, so that it is entered through a"


def test_a_pid_of_several_pops_is_the_mean_of_them_and_its_traffic_is_split() -> None:
    view = view_of(
        pids=[{"pid": "ab", "prefixes": [], "pops": ["a", "b"]}, {"pid": "c", "prefixes": []}],
        external=[{"pid": "x", "exit": "a"}],
    )
    sums = view.path_sums(np.array([2.0, 2, 3, 3, 10, 20]))
    assert sums[0, 1] == (5 + 3) / 2
    assert sums[0, 0] == (0 + 2 + 2 + 0) / 4
    assert sums[0, 2] == (10 + 12) / 2
    assert sums[2, 0] == (20 + 22) / 2
    demand = np.zeros((3, 3))
    demand[0, 1] = 8
    assert view.link_traffic(demand).tolist() == [4, 0, 8, 0, 0, 0]
    assert view.path_min(np.array([2.0, 2, 3, 3, 10, 20]))[0, 1] == 2


def test_the_bottleneck_is_the_least_on_the_route_and_unknown_where_a_link_is() -> None:
    least = view_of().path_min(np.array([5.0, 6, 4, np.nan]))
    assert least[0, 2] == 4
    assert least[1, 0] == 6
    assert np.isnan(least[2, 0])
    assert np.isinf(least[1, 1])


def test_ways_to_several_external_pids_over_one_link_carry_the_traffic_of_both() -> None:
    view = view_of(
        links=[],
        pids=[{"pid": "a", "prefixes": []}],
        external=[{"id": "up", "pid": "x", "exit": "a"}, {"id": "up", "pid": "y", "exit": "a"}],
    )
    demand = np.array([[0, 3, 4], [1, 0, 0], [0, 0, 0]])
    assert view.link_traffic(demand).tolist() == [7, 1, 7, 1]
    assert view.link.tolist() == [0, 1, 0, 1]


def test_a_chain_of_many_hops_is_summed_whole() -> None:
    pids = [str(number) for number in range(300)]
    view = view_of(
        pids=[{"pid": pid, "prefixes": []} for pid in pids],
        links=[{"a": a, "b": b} for a, b in pairwise(pids)],
    )
    sums = view.path_sums(np.tile([1.0, 2.0], 299))
    assert sums[0, 299] == 299
    assert sums[299, 0] == 598


@st.composite
def configs(draw: st.DrawFn) -> tuple[PortalConfig, list[Pop], list[Link]]:
    """An ISP of up to six PoPs in fewer PIDs, some ways out, some of them over a link with others."""
    pops, links = draw(random_networks.isps("isp", 0, symmetric=False))
    sizes = draw(st.sampled_from([1, 2, 3]))
    groups = [pops[start : start + sizes] for start in range(0, len(pops), sizes)]
    exits = st.tuples(
        st.sampled_from("xyz"),
        st.sampled_from([item.id for item in pops]),
        st.sampled_from(["", "up"]),
        st.integers(0, 1),
    )
    config = portal(
        pids=[
            {"pid": f"pid{number}", "prefixes": [], "pops": [item.id for item in group]}
            for number, group in enumerate(groups)
        ],
        links=[
            {"id": link.id, "a": link.a, "b": link.b, "weight": [link.forward.weight, link.backward.weight]}
            for link in links
        ],
        external=[
            {"pid": pid, "exit": at, "id": name, "preference": preference}
            for pid, at, name, preference in draw(st.lists(exits, max_size=4))
        ],
    )
    return config, pops, links


@given(configs(), st.data())
@settings(deadline=None)
def test_routes_inside_are_those_of_the_emulated_network(
    drawn: tuple[PortalConfig, list[Pop], list[Link]], data: st.DataObject
) -> None:
    config, pops, links = drawn
    names = [link.id for link in links]
    failed = frozenset(data.draw(st.sets(st.sampled_from(names)))) if names else frozenset()
    config = config.model_copy(
        update={
            "pids": portal(
                pids=[{"pid": item.name, "prefixes": [], "pops": [item.id]} for item in pops], links=[]
            ).pids
        }
    )
    view = InternalView.of(config, failed)
    network = Network("one", (Isp("isp", 1, ""),), tuple(pops), tuple(links))
    routes = compute_routes(network, failed)
    value = {way: 1.0 + number for number, way in enumerate(view.ways)}
    sums = view.path_sums(np.arange(1.0, len(view.ways) + 1))
    for i, a in enumerate(pops):
        for j, b in enumerate(pops):
            if not routes.reaches(a.id, b.id):
                assert np.isnan(sums[i, j])
                continue
            crossed = zip(routes.path(a.id, b.id), routes.pops_on_path(a.id, b.id), strict=False)
            assert sums[i, j] == sum(value[way] for way in crossed)


@given(configs(), st.integers(0, 99))
@settings(deadline=None)
def test_path_sums_and_link_traffic_are_the_routing_matrix_and_its_transpose(
    drawn: tuple[PortalConfig, list[Pop], list[Link]], seed: int
) -> None:
    view = InternalView.of(drawn[0])
    matrix = view.routing_matrix()
    values = np.random.default_rng(seed).uniform(0, 1, len(view.ways))
    sums = view.path_sums(values)
    routed = ~np.isnan(sums)
    np.testing.assert_allclose((matrix @ values).reshape(sums.shape)[routed], sums[routed], atol=1e-12)
    assert not matrix[np.flatnonzero(~routed.ravel())].nnz
    demand = rates(view, seed)
    by_way = matrix.T @ demand.ravel()
    by_link = np.bincount(view.link, by_way, minlength=len(by_way))
    np.testing.assert_allclose(view.link_traffic(demand), by_link[view.link], atol=1e-9)


@given(configs(), st.integers(0, 99))
@settings(deadline=None)
def test_traffic_is_conserved_at_every_pop(
    drawn: tuple[PortalConfig, list[Pop], list[Link]], seed: int
) -> None:
    """What leaves a PID less what arrives is what begins there less what ends there, of routed pairs."""
    config = drawn[0]
    own = config.model_copy(update={"external": ()})
    view = InternalView.of(own)
    demand = rates(view, seed)
    traffic = view.link_traffic(demand)
    routed = np.where(np.isnan(view.path_sums(np.ones(len(view.ways)))), 0, demand)
    number = {place: index for index, entry in enumerate(own.pids) for place in entry.places}
    balance = np.zeros(view.own)
    for way, (_, leaves) in enumerate(view.ways):
        arrives = view.ways[way ^ 1][1]
        balance[number[leaves]] += traffic[way]
        balance[number[arrives]] -= traffic[way]
    np.testing.assert_allclose(balance, routed.sum(axis=1) - routed.sum(axis=0), atol=1e-9)


@given(configs(), st.integers(0, 99))
@settings(deadline=None)
def test_what_demand_pays_along_its_routes_is_what_links_take_for_their_traffic(
    drawn: tuple[PortalConfig, list[Pop], list[Link]], seed: int
) -> None:
    """Duality: the sum over pairs of demand x distance is the sum over links of traffic x price."""
    view = InternalView.of(drawn[0])
    demand, price = rates(view, seed), np.random.default_rng(seed).uniform(0, 1, len(view.ways))
    price = price[np.unique(view.link, return_index=True)[1]][view.link] if len(price) else price
    paid = np.nansum(demand * view.path_sums(price))
    first = np.unique(view.link, return_index=True)[1]
    assert (view.link_traffic(demand) * price)[first].sum() == pytest.approx(paid, abs=1e-9)
