"""Warnings: what is right by the rules and looks like a mistake, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_topology

from testbed.spec.topology import load_topology
from testbed.topology.compile import compile_network
from testbed.topology.plausibility import pairs_without_route, warning_of_routes, warnings_in
from testbed.topology.routing import compute_routes

SHIPPED = sorted((Path(__file__).parents[3] / "topologies").glob("*.yaml"))


def warnings(path: Path) -> list[str]:
    spec, document = load_topology(path)
    network = compile_network(spec)
    found = [
        *warnings_in(spec, document),
        *warning_of_routes(pairs_without_route(network, compute_routes(network)), document),
    ]
    return [str(problem).replace(f"{path.parent}/", "") for problem in found]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_what_ships_gets_no_warning(path: Path) -> None:
    assert warnings(path) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "capacity: 50 Mbit/s",
            "capacity: 50 kbit/s",
            "small.yaml:9: the link between hub and edge is very slow: 50 kbit/s\n"
            "  to mend it: check the unit",
        ),
        (
            "capacity: 50 Mbit/s",
            "capacity: [50 Mbit/s, 50000 Gbit/s]",
            "small.yaml:9: the link between hub and edge is very fast: 5e+04 Gbit/s\n"
            "  to mend it: check the unit",
        ),
        (
            "capacity: 50 Mbit/s",
            "capacity: 50 Mbit/s, delay: 20 s",
            "small.yaml:9: the link between hub and edge has a very long delay: 20 s\n"
            "  to mend it: check the unit",
        ),
        (
            "capacity: 50 Mbit/s",
            "capacity: 50 Mbit/s, delay: 200 us",
            "small.yaml:9: the link between hub and edge is faster than light in fibre: 0.2 ms, "
            "where light takes 2.46 ms\n"
            "  to mend it: check the delay's unit and the places of both PoPs",
        ),
        (
            "asn: 20\n",
            "asn: 20\n    pids: metro\n",
            "small.yaml:12: ISP left groups PoPs by metro, and none of its PoPs has a metro: "
            "each is a PID of its own",
        ),
        (
            "down: 8 Mbit/s",
            "down: 8 kbit/s",
            "small.yaml:31: access profile line is very slow (down): 8 kbit/s\n  to mend it: check the unit",
        ),
    ],
)
def test_a_likely_mistake_gets_exactly_this_warning(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = small_topology.write(tmp_path, small_topology.TEXT.replace(old, new, 1))
    assert warnings(path) == [message]


def test_a_delay_a_little_below_that_of_light_is_let_pass_as_places_are_rounded(tmp_path: Path) -> None:
    near = small_topology.TEXT.replace("capacity: 50 Mbit/s", "capacity: 50 Mbit/s, delay: 2.3 ms")
    assert warnings(small_topology.write(tmp_path, near)) == []


def test_an_isp_without_a_link_to_another_is_named_and_so_are_the_pairs_without_a_route(
    tmp_path: Path,
) -> None:
    alone = small_topology.TEXT.replace("interdomain:", "  lost: {asn: 40, pops: {x: {}}}\ninterdomain:")
    path = small_topology.write(tmp_path, alone)
    assert warnings(path) == [
        "small.yaml:21: ISP lost has no link to another ISP\n"
        "  to mend it: add a link of it under 'interdomain', or make it a member of an exchange point",
        "small.yaml:22: no route between carrier and lost, left and lost, right and lost\n"
        "  to mend it: routes go up to providers, over one peering at most, then down to customers: "
        "add links",
    ]
    network = compile_network(load_topology(path)[0])
    pairs = pairs_without_route(network, compute_routes(network), most=2)
    assert (pairs.count, pairs.first) == (3, (("carrier", "lost"), ("left", "lost")))


def test_of_many_pairs_without_a_route_the_first_are_named_and_the_others_counted(tmp_path: Path) -> None:
    isps = "".join(f"  as{number}: {{asn: {number}, pops: {{x: {{}}}}}}\n" for number in range(1, 21))
    path = small_topology.write(tmp_path, f"name: apart\nisps:\n{isps}")
    assert warnings(path)[-1].startswith(
        "small.yaml:1: no route between as1 and as2, as1 and as3, as1 and as4, as1 and as5, as1 and as6 "
        "and 185 more pairs\n"
    )


def test_a_single_isp_needs_no_other(tmp_path: Path) -> None:
    path = small_topology.write(tmp_path, "name: one\nisps:\n  only: {asn: 1, pops: {a: {}}}\n")
    assert warnings(path) == []
