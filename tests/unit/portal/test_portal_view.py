"""What a portal knows of a compiled network: its own inside, and other ISPs as far as the links to them."""

from __future__ import annotations

from dataclasses import replace

from testbed.portal.pricing import static_distances
from testbed.portal.view import portal_config
from testbed.topology.model import Direction, Isp, Link, LinkKind, Network, Pop, Relationship
from testbed.topology.routing import compute_routes


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


def test_pops_that_share_a_pid_are_one_pid_without_inner_links() -> None:
    net = network(lyon_pid="left:paris")
    config = portal_config(net, compute_routes(net), "left", listen="10.1.0.2:80")
    assert [(entry.pid, entry.prefixes) for entry in config.pids] == [
        ("left:paris", ("10.1.0.0/24", "10.2.0.0/24"))
    ]
    assert config.links == ()


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
