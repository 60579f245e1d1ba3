"""Warnings: what is right by the rules and looks like a mistake, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_topology

from testbed.spec.topology import load_topology
from testbed.topology.compile import compile_network
from testbed.topology.plausibility import pairs_without_route, warning_of_routes, warnings_in
from testbed.topology.routing import compute_routes
from testbed.topology.swapped import swapped_places

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
            "small.yaml:9: the link between hub and edge is very fast: 50000 Gbit/s\n"
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
        (
            "capacity: 50 Mbit/s",
            "capacity: 50 Mbit/s, loss: [1 %, 12.5 %]",
            "small.yaml:9: the link between hub and edge loses 12.5 % of its packets\n"
            "  to mend it: check the figure: it is in percent",
        ),
        (
            "down: 8 Mbit/s, up: 1 Mbit/s",
            "down: 8 Mbit/s, up: 1 Mbit/s, loss: 10 %",
            "small.yaml:31: access profile line loses 10 % of its packets\n"
            "  to mend it: check the figure: it is in percent",
        ),
        (
            "capacity: 50 Mbit/s",
            "capacity: 50 Mbit/s, background: [0 bit/s, 49 Mbit/s], queue: 1000 kB",
            "small.yaml:9: the link between hub and edge has a queue that takes 8 s to drain\n"
            "  to mend it: check the unit",
        ),
        (
            "down: 8 Mbit/s, up: 1 Mbit/s",
            "down: 8 Mbit/s, up: 1 Mbit/s, queue: [900 ms, 100 packets]",
            "small.yaml:31: access profile line has a queue that takes 1.21 s to drain\n"
            "  to mend it: check the unit",
        ),
    ],
)
def test_a_likely_mistake_gets_exactly_this_warning(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = small_topology.write(tmp_path, small_topology.TEXT.replace(old, new, 1))
    assert warnings(path) == [message]


def test_a_delay_a_little_below_that_of_light_is_let_pass_as_places_are_rounded(tmp_path: Path) -> None:
    near = small_topology.TEXT.replace("capacity: 50 Mbit/s", "capacity: 50 Mbit/s, delay: 2.3 ms")
    assert warnings(small_topology.write(tmp_path, near)) == []


def test_much_loss_and_long_queues_within_the_limits_get_no_warning(tmp_path: Path) -> None:
    much = small_topology.TEXT.replace("50 Mbit/s", "50 Mbit/s, loss: 9.9 %, queue: [1 s, 4000 packets]", 1)
    assert warnings(small_topology.write(tmp_path, much)) == []


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


def isp(*links: str, pops: str = "a: {}, b: {}, c: {}, d: {}, e: {}") -> str:
    lines = "".join(f"      - {{{link}}}\n" for link in links)
    return f"name: one\nisps:\n  one:\n    asn: 1\n    pops: {{{pops}}}\n    links:\n{lines}"


def ring(first: str, others: str = "1 Gbit/s") -> str:
    """Five links; the first of another capacity."""
    ends = ("a, b", "b, c", "c, d", "d, e", "e, a")
    rates = (first, *[others] * 4)
    return isp(*(f"between: [{end}], capacity: {rate}" for end, rate in zip(ends, rates, strict=True)))


@pytest.mark.parametrize("rate", ["9 Mbit/s", "101 Gbit/s", "[1 Gbit/s, 9 Mbit/s]"])
def test_a_link_far_from_the_median_of_its_isp_gets_a_warning(tmp_path: Path, rate: str) -> None:
    given = rate.strip("[]").rpartition(", ")[2]
    assert warnings(small_topology.write(tmp_path, ring(rate))) == [
        f"small.yaml:7: the link between a and b has {given}, where the median of ISP one is 1 Gbit/s\n"
        "  to mend it: check the unit"
    ]


def test_a_link_within_a_hundred_times_the_median_gets_none(tmp_path: Path) -> None:
    for rate in ("10 Mbit/s", "100 Gbit/s"):
        assert warnings(small_topology.write(tmp_path, ring(rate))) == []


def test_an_isp_with_several_links_far_from_the_median_is_taken_as_it_is(tmp_path: Path) -> None:
    slow = "between: [a, b], capacity: 9 Mbit/s"
    usual = ("between: [a, c], capacity: 1 Gbit/s",) * 8
    assert warnings(small_topology.write(tmp_path, isp(slow, slow, *usual, pops="a: {}, b: {}, c: {}"))) == []


def test_a_link_that_is_slow_by_any_measure_gets_one_warning(tmp_path: Path) -> None:
    assert warnings(small_topology.write(tmp_path, ring("9 kbit/s"))) == [
        "small.yaml:7: the link between a and b is very slow: 9 kbit/s\n  to mend it: check the unit"
    ]


def test_a_delay_many_times_that_of_light_gets_a_warning(tmp_path: Path) -> None:
    def file(delay: str) -> Path:
        text = small_topology.TEXT.replace("capacity: 50 Mbit/s", f"capacity: 50 Mbit/s, delay: {delay}")
        return small_topology.write(tmp_path, text)

    assert warnings(file("51 ms")) == [
        "small.yaml:9: the link between hub and edge takes 51 ms, where light takes 2.46 ms over the great "
        "circle\n"
        "  to mend it: check the delay's unit and the places of both PoPs"
    ]
    assert warnings(file("49 ms")) == []
    apart = small_topology.TEXT.replace("at: [48.0, 2.0]", "at: [31.0, 2.0]")
    path = small_topology.write(tmp_path, apart.replace("50 Mbit/s", "50 Mbit/s, delay: 200 ms", 1))
    assert warnings(path) == []  # 18 times


def test_a_place_that_is_near_when_swapped_gets_a_warning(tmp_path: Path) -> None:
    swapped = small_topology.TEXT.replace("at: [51.0, 0.0]", "at: [0.0, 51.0]")
    path = small_topology.write(tmp_path, swapped)
    assert warnings(path) == [
        "small.yaml:13: PoP left.one is 7,268 km on average from the PoPs it is linked to; with latitude and "
        "longitude swapped, 419 km\n"
        "  to mend it: check its place and its neighbours': 'at' is [latitude, longitude]"
    ]


def test_places_at_zero_get_a_warning_and_not_the_delays_of_their_links_too(tmp_path: Path) -> None:
    at_zero = small_topology.TEXT.replace("only: {}", "only: {at: [0, 0]}")
    assert warnings(small_topology.write(tmp_path, at_zero)) == [
        "small.yaml:20: PoP right.only lies at [0, 0], in the sea off Africa\n"
        "  to mend it: give the place, or leave out 'at' where it is unknown"
    ]


def test_many_warnings_of_one_kind_are_one_with_the_first_place(tmp_path: Path) -> None:
    slow = "between: [a, b], capacity: 5 kbit/s, delay: [3 s, 4 s]"
    text = (
        isp(*[slow] * 88, pops="a: {}, b: {}")
        + "access:\n"
        + "".join(f"  line{number}: {{down: 1 kbit/s, up: 1 kbit/s}}\n" for number in (1, 2))
    )
    assert warnings(small_topology.write(tmp_path, text)) == [
        "small.yaml:7: 88 links are slower than 64 kbit/s, such as that between a and b: 5 kbit/s\n"
        "  to mend it: check the unit",
        "small.yaml:7: 88 links have delays above 1 s, such as that between a and b: 4 s\n"
        "  to mend it: check the unit",
        "small.yaml:96: 4 rates of access profiles are slower than 16 kbit/s, such as line1 (down): "
        "1 kbit/s\n"
        "  to mend it: check the unit",
    ]


def test_warnings_of_two_sections_or_files_are_told_apart(tmp_path: Path) -> None:
    part = small_topology.write(
        tmp_path,
        small_topology.TEXT.replace("20 Mbit/s, weight: 2", "5 kbit/s").replace("5 Mbit/s", "5 kbit/s"),
    )
    whole = tmp_path / "whole.yaml"
    whole.write_text(
        f"name: whole\ninclude: [{part.name}]\n"
        "interdomain:\n  - {between: [right.only, left.two], relationship: peer-peer, capacity: 5 kbit/s}\n"
    )
    assert [text.partition("\n")[0] for text in warnings(whole)] == [
        "small.yaml:16: the link between one and two is very slow: 5 kbit/s",
        "small.yaml:24: 2 links are slower than 64 kbit/s, such as that between left.one and carrier.hub: "
        "5 kbit/s",
        "whole.yaml:4: the link between right.only and left.two is very slow: 5 kbit/s",
    ]


EUROPE = {"bonn": (50.7, 7.1), "paris": (48.9, 2.4), "milan": (45.5, 9.2), "oslo": (59.9, 10.8)}
STAR = [("bonn", other) for other in ("paris", "milan", "oslo")]


def swapped_in(places: dict[str, tuple[float, float]], links: list[tuple[str, str]] = STAR) -> list[str]:
    return [found.pop for found in swapped_places(places, links)]


def test_places_as_they_should_be_are_no_swaps() -> None:
    assert swapped_in(EUROPE) == []


@pytest.mark.parametrize("pop", EUROPE)
def test_the_pop_whose_place_is_swapped_is_found_and_not_its_neighbours(pop: str) -> None:
    latitude, longitude = EUROPE[pop]
    assert swapped_in({**EUROPE, pop: (longitude, latitude)}) == [pop]


def test_a_pop_that_is_far_either_way_is_no_swap() -> None:
    assert swapped_in({**EUROPE, "oslo": (-33.9, 18.4)}) == []


def test_a_longitude_that_can_be_no_latitude_is_no_swap() -> None:
    assert swapped_in({**EUROPE, "oslo": (37.8, -122.4)}) == []


def test_a_port_of_an_exchange_point_with_a_wrong_unit_is_warned_of(tmp_path: Path) -> None:
    ixp = "ixps:\n  middle: {members: {left.one: 2 kbit/s, right.only: 90000 Gbit/s}}\naccess:"
    path = small_topology.write(tmp_path, small_topology.TEXT.replace("access:", ixp))
    assert warnings(path) == [
        "small.yaml:31: the port of left.one is very slow: 2 kbit/s\n  to mend it: check the unit",
        "small.yaml:31: the port of right.only is very fast: 90000 Gbit/s\n  to mend it: check the unit",
    ]
