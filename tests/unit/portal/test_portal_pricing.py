"""p-distances: against the golden Abilene row, and the rules for routes, exits and what stays unknown."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.portal.config import PortalConfig
from testbed.portal.pricing import Exit, PidLink, p_distances, static_distances

# Abilene as the P4P authors' portal shipped it: routing weight, price there, price back.
ABILENE_PIDS = [str(number) for number in range(9)]  # newy chic wash atla hous salt kans sttl losa
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


def both_ways(a: str, b: str, weight: float, there: float, back: float) -> list[PidLink]:
    return [PidLink(a, b, weight, there), PidLink(b, a, weight, back)]


def portal(**changes: object) -> PortalConfig:
    fields: dict[str, object] = {
        "isp": "cablenet",
        "asn": 65001,
        "listen": "127.0.0.1:0",
        "pids": [{"pid": pid, "prefixes": []} for pid in ("a", "b", "c")],
        "links": [{"a": "a", "b": "b", "weight": 2}, {"a": "b", "b": "c", "weight": 3}],
    }
    return PortalConfig.model_validate(fields | changes)


def test_abilene_prices_along_weight_routes_give_the_golden_row_forward_and_reverse() -> None:
    links = [link for row in ABILENE for link in both_ways(*row)]
    distances = p_distances(ABILENE_PIDS, links, [], intra_pid_distance=1.0)
    assert distances.matrix[0].tolist() == [1, 9, 0, 16, 19, 19, 14, 26, 21]
    assert distances.matrix[:, 0].tolist() == [1, 8, 0, 15, 19, 15, 14, 20, 17]


def test_static_distances_are_shortest_paths_by_weight() -> None:
    distances = static_distances(
        portal(links=[*portal().model_dump()["links"], {"a": "a", "b": "c", "weight": 9}])
    )
    assert distances.pids == ("a", "b", "c")
    assert distances.matrix.tolist() == [[0, 2, 5], [2, 0, 3], [5, 3, 0]]


def test_an_external_pid_is_reached_by_its_cheapest_exit_in_both_directions() -> None:
    exits = [{"pid": "x", "exit": "a", "weight": 10}, {"pid": "x", "exit": "c", "weight": 4}]
    distances = static_distances(portal(external=exits))
    assert distances.pids == ("a", "b", "c", "x")
    assert distances.matrix[:3, 3].tolist() == [9, 7, 4]
    assert distances.matrix[3, :3].tolist() == [9, 7, 4]


def test_the_exit_is_chosen_by_weight_and_paid_by_price() -> None:
    links = both_ways("a", "b", 1, 50, 50)
    exits = [Exit("a", "x", weight=5, price=1), Exit("b", "x", weight=1, price=1)]
    assert p_distances(["a", "b"], links, exits, 0.0).matrix[0, 2] == 51


def test_external_to_external_and_pairs_without_a_route_are_unknown() -> None:
    exits = [{"pid": "x", "exit": "a", "weight": 1}, {"pid": "y", "exit": "b", "weight": 1}]
    distances = static_distances(portal(links=[{"a": "a", "b": "b", "weight": 2}], external=exits))
    known = {(source, target) for source, target, _ in distances.rows()}
    assert not {("x", "y"), ("y", "x"), ("x", "x"), ("a", "c"), ("c", "x")} & known
    assert {("a", "b"), ("a", "y"), ("y", "a"), ("c", "c")} <= known


def test_the_intra_pid_distance_is_on_the_diagonal_and_no_part_of_a_way_out() -> None:
    distances = static_distances(
        portal(external=[{"pid": "x", "exit": "a", "weight": 10}], intra_pid_distance=0.5)
    )
    assert np.diag(distances.matrix)[:3].tolist() == [0.5, 0.5, 0.5]
    assert distances.matrix[0, 3] == 10


def test_of_parallel_links_the_one_with_the_least_weight_counts() -> None:
    links = [{"a": "a", "b": "b", "weight": 7}, {"a": "b", "b": "a", "weight": 2}]
    assert static_distances(portal(links=links)).matrix[0, 1] == 2


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 5), st.floats(0.5, 100)).filter(
            lambda row: row[0] != row[1]
        ),
        max_size=12,
    )
)
def test_distances_of_a_symmetric_network_are_symmetric_and_obey_the_triangle(
    rows: list[tuple[int, int, float]],
) -> None:
    pids = [str(number) for number in range(6)]
    links = [link for a, b, weight in rows for link in both_ways(str(a), str(b), weight, weight, weight)]
    matrix = np.nan_to_num(p_distances(pids, links, [], 0.0).matrix, nan=math.inf)
    np.testing.assert_allclose(matrix, matrix.T)
    for through in range(6):
        assert (matrix <= (matrix[:, [through]] + matrix[[through], :]) * (1 + 1e-9)).all()


def test_a_chain_of_many_hops_is_summed_whole() -> None:
    pids = [str(number) for number in range(300)]
    links = [link for a, b in pairwise(pids) for link in both_ways(a, b, 1, 1, 2)]
    matrix = p_distances(pids, links, [], 0.0).matrix
    assert matrix[0, 299] == 299
    assert matrix[299, 0] == 598


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
