"""Rocketfuel in: routers as PoPs of metros, weights and latencies of each direction."""

from __future__ import annotations

import pytest
from imports import imported, network_of

from testbed.errors import UserError
from testbed.topology.importers import Choices, other_name

WEIGHTS = """\
New+York,+NY12 Boston,+MA7 2.5
Boston,+MA7 New+York,+NY12 4
Boston,+MA7 Boston,+MA8 1
Boston,+MA8 Boston,+MA7 1
New+York,+NY12 Boston,+MA8 3
Boston,+MA8 New+York,+NY12 3
"""
LATENCIES = WEIGHTS.replace("2.5", "5").replace("12 4", "12 6").replace(" 3", " 5")


def test_routers_become_pops_of_a_metro_and_both_directions_one_link() -> None:
    found = imported(WEIGHTS, "77.weights.intra", other=LATENCIES.encode(), other_where="77.latencies.intra")
    assert found.data["name"] == "as77"
    assert found.data["isps"] == {
        "as77": {
            "asn": 77,
            "pops": {
                "new-york-12": {"metro": "new-york"},
                "boston-7": {"metro": "boston"},
                "boston-8": {"metro": "boston"},
            },
            "links": [
                {
                    "between": ["new-york-12", "boston-7"],
                    "capacity": "10 Gbit/s",
                    "delay": ["5 ms", "6 ms"],
                    "weight": [2.5, 4],
                },
                {"between": ["boston-7", "boston-8"], "capacity": "10 Gbit/s", "delay": "1 ms"},
                {
                    "between": ["new-york-12", "boston-8"],
                    "capacity": "10 Gbit/s",
                    "delay": "5 ms",
                    "weight": 3,
                },
            ],
            "pids": "metro",
        }
    }
    assert "joined with latencies of 77.latencies.intra" in found.notes


def test_the_routers_of_a_metro_share_a_pid() -> None:
    pids = [pop.pid for pop in network_of(imported(WEIGHTS, "77.weights.intra")).pops]
    assert pids == ["as77:new-york", "as77:boston", "as77:boston"]


def test_weights_alone_get_a_guessed_delay() -> None:
    found = imported(WEIGHTS, "77.weights.intra")
    assert {link["delay"] for link in found.data["isps"]["as77"]["links"]} == {"5 ms"}
    assert "the delay of 3 links is not in the file: 5 ms, a guess (--delay)" in found.notes


def test_latencies_alone_decide_routes_too() -> None:
    found = imported(LATENCIES, "77.latencies.intra")
    link = found.data["isps"]["as77"]["links"][0]
    assert (link["delay"], link["weight"]) == (["5 ms", "6 ms"], [5, 6])
    assert "no weights given: the least latency decides routes" in found.notes


def test_a_link_without_a_way_back_is_named() -> None:
    found = imported("A+B,+X1 C,+X2 3\n", "77.weights.intra")
    assert found.data["isps"]["as77"]["links"][0]["weight"] == 3
    assert "1 one-way link taken for both directions: A+B,+X1 - C,+X2" in found.notes


def test_lines_twice_are_parallel_links() -> None:
    twice = WEIGHTS.splitlines(keepends=True)[:2] * 2
    assert len(imported("".join(twice), "77.weights.intra").data["isps"]["as77"]["links"]) == 2


def test_cities_of_one_name_are_metros_of_their_own() -> None:
    found = imported("Springfield,+MA1 Springfield,+IL2 3\n", "77.weights.intra")
    metros = [pop["metro"] for pop in found.data["isps"]["as77"]["pops"].values()]
    assert metros == ["springfield-ma", "springfield-il"]


def test_a_long_city_is_cut_and_its_number_kept() -> None:
    found = imported("Llanfairpwllgwyngyllgogerych,+Wales123456 B,+X1 3\n", "77.weights.intra")
    assert next(iter(found.data["isps"]["as77"]["pops"])) == "llanfairpwllgwyng-123456"


def test_the_routers_of_a_city_may_be_one_pop_with_the_best_of_its_links() -> None:
    found = imported(WEIGHTS, "77.weights.intra", Choices(by_city=True))
    assert list(found.data["isps"]["as77"]["pops"]) == ["new-york", "boston"]
    assert [link["weight"] for link in found.data["isps"]["as77"]["links"]] == [3]
    assert any(note.startswith("3 routers merged into 2 cities") for note in found.notes)


def test_a_weight_of_zero_becomes_the_least_that_there_is() -> None:
    found = imported("A,+X1 B,+X2 0\nB,+X2 A,+X1 0\n", "77.weights.intra")
    assert found.data["isps"]["as77"]["links"][0]["weight"] == 0.001
    assert "the weights of 1 link were brought to thousandths, from 0.001 to 1000000" in found.notes


@pytest.mark.parametrize(
    ("name", "folder", "asn"),
    [("1221.weights.intra.gz", "", 1221), ("weights.intra", "3356", 3356), ("weights.intra", "x", 64512)],
)
def test_the_asn_is_that_of_the_file_or_its_folder(name: str, folder: str, asn: int) -> None:
    found = imported(WEIGHTS, name, folder=folder)
    assert found.data["isps"][f"as{asn}"]["asn"] == asn


def test_the_other_of_a_pair_is_known_by_name() -> None:
    assert other_name("1221.weights.intra") == "1221.latencies.intra"
    assert other_name("latencies.intra.gz") == "weights.intra.gz"
    assert other_name("rome.txt") is None


def test_a_broken_line_is_refused_in_either_file() -> None:
    with pytest.raises(UserError) as caught:
        imported(WEIGHTS + "Boston,+MA7 nowhere\n", "77.weights.intra")
    assert str(caught.value).startswith("77.weights.intra:7: 'Boston,+MA7 nowhere' is no link")
    with pytest.raises(UserError) as caught:
        imported(WEIGHTS, "77.weights.intra", other=b"\nA1 B2 x\n", other_where="lat")
    assert str(caught.value).startswith("lat:2: 'A1 B2 x' is no link")
    with pytest.raises(UserError) as caught:
        imported("A,+X1 B,+X2 x\n" + WEIGHTS, "77.weights.intra")
    assert str(caught.value).startswith("77.weights.intra:1: 'A,+X1 B,+X2 x' is no link")


OTHERS = "Oslo,+NO1 Bergen,+NO2 4\nBergen,+NO2 Oslo,+NO1 4\n"


def refusal(name: str, other: str, other_where: str, *, chosen: bool = True) -> str:
    with pytest.raises(UserError) as caught:
        imported(WEIGHTS, name, other=other.encode(), other_where=other_where, other_chosen=chosen)
    return str(caught.value)


def test_latencies_of_another_network_are_refused() -> None:
    what = "l.txt has none of the links of 77.weights.intra: they are of different networks\n"
    assert refusal("77.weights.intra", OTHERS, "l.txt") == (
        f"--latencies: {what}  to mend it: name the latencies of the same network, or leave --latencies out"
    )
    assert refusal("77.weights.intra", OTHERS, "l.txt", chosen=False) == (
        f"{what}  to mend it: move it away, or name the right file with --latencies"
    )


def test_latencies_of_which_little_matches_are_joined_and_said_to_match_little() -> None:
    some = LATENCIES.splitlines(keepends=True)[0] + OTHERS
    found = imported(WEIGHTS, "77.weights.intra", other=some.encode(), other_where="77.latencies.intra")
    assert found.notes[1:4] == (
        "only 1 of 4 links are in both files",
        "2 of 8 directed links without a weight in the files",
        "5 of 8 directed links without a latency in the files",
    )


@pytest.mark.parametrize(
    ("file", "latencies", "message"),
    [
        (
            "77.weights.intra",
            "88.weights.intra",
            "--latencies: 88.weights.intra holds weights, by its name\n  allowed: a file of latencies\n"
            "  to mend it: testbed import 77.weights.intra --latencies 77.latencies.intra",
        ),
        (
            "77.latencies.intra",
            "my weights",
            "--latencies: my weights holds weights, by its name\n  allowed: a file of latencies\n"
            "  to mend it: testbed import 'my weights' --latencies 77.latencies.intra",
        ),
        (
            "77.latencies.intra",
            "88.latencies.intra",
            "77.latencies.intra: the file holds latencies, by its name, as that of --latencies does\n"
            "  allowed: a file of weights\n"
            "  to mend it: testbed import 77.weights.intra --latencies 77.latencies.intra",
        ),
        (
            "rome.txt",
            "88.weights.intra",
            "--latencies: 88.weights.intra holds weights, by its name\n  allowed: a file of latencies\n"
            "  to mend it: name the latencies of the same network, or leave --latencies out",
        ),
    ],
)
def test_files_whose_names_tell_that_they_are_no_pair_are_refused(
    file: str, latencies: str, message: str
) -> None:
    assert refusal(file, LATENCIES, latencies) == message
