"""What a portal knows of a compiled network: its own inside, and other ISPs as far as the links to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from testbed.portal.internal import InternalView
from testbed.portal.pricing import static_distances
from testbed.portal.view import portal_config
from testbed.spec.topology import load_topology
from testbed.topology.compile import compile_network
from testbed.topology.model import Direction, Isp, Link, LinkKind, Network, Pop, Relationship, Tariff
from testbed.topology.routing import compute_routes

TOPOLOGIES = Path(__file__).parents[3] / "topologies"


def pop(number: int, isp: str, name: str, pid: str = "") -> Pop:
    return Pop(
        id=f"{isp}.{name}",
        isp=isp,
        name=name,
        prefix=f"10.{number}.0.0/24",
        gateway_ip=f"10.{number}.0.1",
        gateway_mac=f"02:00:00:00:00:{number:02x}",
        datapath_id=number,
        pid=pid or f"{isp}:{name}",
    )


def link(kind: LinkKind, a: str, b: str, weight: float, relationship: Relationship | None = None) -> Link:
    both = Direction(10**7, weight=weight)
    return Link(f"{a}--{b}", kind, a, b, both, both, relationship)


def network(lyon_pid: str = "") -> Network:
    """Two customers of one provider: `left` has two PoPs and one exit, `right` one PoP."""
    return Network(
        name="small",
        isps=(
            Isp("left", 1, "10.1.0.0/16"),
            Isp("transit", 2, "10.2.0.0/16"),
            Isp("right", 3, "10.3.0.0/16"),
        ),
        pops=(
            pop(1, "left", "paris"),
            pop(2, "left", "lyon", lyon_pid),
            pop(3, "transit", "core"),
            pop(4, "right", "rome"),
        ),
        links=(
            link("internal", "left.paris", "left.lyon", 2),
            link("interdomain", "left.paris", "transit.core", 100, "customer-provider"),
            link("interdomain", "right.rome", "transit.core", 30, "customer-provider"),
        ),
    )


def test_other_isps_are_as_far_as_the_interdomain_links_on_the_way() -> None:
    net = network()
    config = portal_config(net, compute_routes(net), "left", listen="10.1.0.2:80")
    distances = {(a, b): distance for a, b, distance in static_distances(config).rows()}
    assert distances["left:paris", "transit"] == 100
    assert distances["left:lyon", "transit"] == 102
    assert distances["left:lyon", "right"] == 132
    assert distances["left:lyon", "left:paris"] == 2


def test_a_portal_shows_no_inside_of_another_isp() -> None:
    net = network()
    config = portal_config(net, compute_routes(net), "right", listen="10.3.0.2:80")
    assert config.pid_prefixes() == {
        "right:rome": ("10.4.0.0/24",),
        "left": ("10.1.0.0/16",),
        "transit": ("10.2.0.0/16",),
    }


def test_pops_that_share_a_pid_are_one_pid_as_far_away_as_its_pops_are_on_average() -> None:
    net = network(lyon_pid="left:paris")
    config = portal_config(net, compute_routes(net), "left", listen="10.1.0.2:80")
    assert [(entry.pid, entry.prefixes) for entry in config.pids] == [
        ("left:paris", ("10.1.0.0/24", "10.2.0.0/24"))
    ]
    assert config.pids[0].places == ("left.paris", "left.lyon")
    distances = {(a, b): distance for a, b, distance in static_distances(config).rows()}
    assert distances["left:paris", "transit"] == 101


def test_an_isp_without_a_route_has_no_distance() -> None:
    net = network()
    routes = compute_routes(net, frozenset({"right.rome--transit.core"}))
    config = portal_config(net, routes, "left", listen="10.1.0.2:80")
    assert config.external_pids() == ("transit",)


def test_a_link_may_cost_more_one_way_than_the_other() -> None:
    net = network()
    inner = replace(net.links[0], forward=Direction(10**7, weight=2), backward=Direction(10**7, weight=7))
    net = replace(net, links=(inner, *net.links[1:]))
    config = portal_config(net, compute_routes(net), "left", listen="10.1.0.2:80")
    distances = {(a, b): distance for a, b, distance in static_distances(config).rows()}
    assert distances["left:paris", "left:lyon"] == 2
    assert distances["left:lyon", "left:paris"] == 7


def two_homes() -> Network:
    """`left` is at home with two providers, of which the second also leads to the first's customer."""
    net = network()
    second = (Isp("other", 4, "10.4.0.0/16"), pop(5, "other", "hub"))
    return replace(
        net,
        isps=(*net.isps, second[0]),
        pops=(*net.pops, second[1]),
        links=(
            *net.links,
            link("interdomain", "left.lyon", "other.hub", 10, "customer-provider"),
            link("interdomain", "transit.core", "other.hub", 10, "peer-peer"),
        ),
    )


def test_the_next_best_neighbour_is_known_as_a_second_choice() -> None:
    net = two_homes()
    config = portal_config(net, compute_routes(net), "left", listen="10.1.0.2:80")
    ways = {(way.pid, way.id): way for way in config.external}
    assert ways["right", "left.paris--transit.core"].preference == 0
    spare = ways["right", "left.lyon--other.hub"]
    assert (spare.preference, spare.exit, spare.hops, spare.weight) == (1, "left.lyon", 3, 50)


def test_when_the_best_neighbour_is_cut_off_the_next_one_takes_over() -> None:
    net = two_homes()
    config = portal_config(net, compute_routes(net), "left", listen="10.1.0.2:80")
    hops = np.ones(2 * (len(config.links) + len(config.external)))
    for failed, links in ((frozenset(), 1), (frozenset({"left.paris--transit.core"}), 2)):
        view = InternalView.of(config, failed)
        paris, right = view.pids.index("left:paris"), view.pids.index("right")
        assert view.path_sums(hops)[paris, right] == links


def test_a_border_link_is_known_with_its_load_and_what_the_provider_charges() -> None:
    net = network()
    border = replace(
        net.links[1],
        forward=Direction(8_000_000, delay_s=0.01, weight=100, background_bps=2_000_000),
        tariff=Tariff("percentile-95", 3.0),
    )
    net = replace(net, links=(net.links[0], border, net.links[2]))
    left = portal_config(net, compute_routes(net), "left", listen="10.1.0.2:80")
    assert {way.price for way in left.external} == {3.0}
    (way,) = [way for way in left.external if way.pid == "transit"]
    assert (way.capacity_bps, way.background_bps) == ((10_000_000, 10_000_000), (2_000_000, 0))
    assert way.delay_s == (0.01, 0.0)
    transit = portal_config(net, compute_routes(net), "transit", listen="10.2.0.2:80")
    assert {way.price for way in transit.external} == {0.0}, "the provider is paid, it does not pay"


def test_the_routes_of_a_portal_are_those_of_the_network() -> None:
    """Of equal ways the first of the file, as the switches do."""
    for name in ("abilene", "isp-a", "quickstart", "multihomed"):
        net = compile_network(load_topology(TOPOLOGIES / f"{name}.yaml")[0])
        routes = compute_routes(net)
        for isp in net.isps:
            config = portal_config(net, routes, isp.name, listen="10.1.0.2:80")
            view = InternalView.of(config)
            rng = np.random.default_rng(1)
            value = {way: rng.uniform(1, 2) for way in view.ways}
            sums = view.path_sums(np.array([value[way] for way in view.ways]))
            inside = [item for item in net.pops if item.isp == isp.name]
            if len({item.pid for item in inside}) < len(inside):
                continue
            for a in inside:
                for b in inside:
                    path = zip(routes.path(a.id, b.id), routes.pops_on_path(a.id, b.id), strict=False)
                    expected = sum(value[way] for way in path)
                    assert sums[view.pids.index(a.pid), view.pids.index(b.pid)] == pytest.approx(expected)
