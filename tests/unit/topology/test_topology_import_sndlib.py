"""SNDlib native in: nodes, links and their capacities, and what is not used."""

from __future__ import annotations

import pytest
from imports import imported, network_of

from testbed.errors import UserError

HEAD = "?SNDlib native format; type: network; version: 1.0\n"
NODES = "NODES (\n  Berlin ( 13.40 52.52 )\n  Hamburg ( 9.99 53.55 )\n  Bonn ( 7.10 50.73 )\n)\n"
UNIT = "META (\n  unit = MBITPERSEC\n  origin = (made up\n)\n"


def links(*lines: str) -> str:
    return "LINKS (\n" + "".join(f"  L{number} {line}\n" for number, line in enumerate(lines)) + ")\n"


TREE = links(
    "( Berlin Hamburg ) 9920.00 0.00 0.00 0.00 ( 40000.00 1081.00 )",
    "( Hamburg Bonn ) 0.00 0.00 3.50 0.00 ( 155.00 10.0 622.00 30.0 )",
)


def test_nodes_and_links_become_an_isp() -> None:
    found = imported(HEAD + UNIT + NODES + TREE, "tri.txt")
    assert found.data["isps"] == {
        "tri": {
            "asn": 64512,
            "pops": {
                "berlin": {"at": [52.52, 13.4]},
                "hamburg": {"at": [53.55, 9.99]},
                "bonn": {"at": [50.73, 7.1]},
            },
            "links": [
                {"between": ["berlin", "hamburg"], "capacity": "9.92 Gbit/s"},
                {"between": ["hamburg", "bonn"], "capacity": "155 Mbit/s", "weight": 3.5},
            ],
        }
    }
    assert found.notes == ("1 link without a routing cost got the weight 1",)
    assert len(network_of(found).links) == 2


def test_a_file_without_a_unit_is_read_as_mbit_and_said_to_be() -> None:
    found = imported(HEAD + NODES + TREE, "tri.txt")
    assert found.notes[0] == ("the file names no unit of capacity: Mbit/s taken (--scale 1000 for Gbit/s)")


def test_coordinates_of_a_drawing_are_no_places() -> None:
    text = HEAD + NODES.replace("13.40 52.52", "505.00 225.00") + TREE
    found = imported(text, "tri.txt")
    assert found.data["isps"]["tri"]["pops"] == {"berlin": {}, "hamburg": {}, "bonn": {}}
    assert "the coordinates are no degrees (out of range, or all zero) and are left out" in found.notes
    assert found.data["isps"]["tri"]["links"][0]["delay"] == "5 ms"


def test_nodes_may_have_no_coordinates_and_links_no_modules() -> None:
    text = HEAD + "NODES (\n A\n B\n)\n" + links("( A B ) 0.00 0.00 0.00 0.00 ( )")
    found = imported(text, "x.txt")
    assert found.data["isps"]["x"]["links"][0]["capacity"] == "10 Gbit/s"


def test_parallel_links_stay_parallel() -> None:
    text = HEAD + NODES + links(*["( Berlin Hamburg ) 10 0 0 0 ( )"] * 2, "( Bonn Berlin ) 10 0 0 0 ( )")
    assert len(imported(text, "x.txt").data["isps"]["x"]["links"]) == 3


def test_a_file_with_each_direction_by_itself_has_them_joined() -> None:
    text = HEAD + NODES.replace("  Bonn ( 7.10 50.73 )\n", "")
    text += links("( Berlin Hamburg ) 10 0 2 0 ( )", "( Hamburg Berlin ) 20 0 5 0 ( )")
    found = imported(text, "x.txt")
    assert found.data["isps"]["x"]["links"] == [
        {"between": ["berlin", "hamburg"], "capacity": ["10 Mbit/s", "20 Mbit/s"], "weight": [2, 5]}
    ]
    assert "2 directed links joined in pairs" in found.notes


def test_demands_and_paths_are_read_over_and_demands_said_to_be() -> None:
    rest = (
        "DEMANDS (\n  D1 ( Berlin Bonn ) 1 42.00 UNLIMITED\n)\n"
        "ADMISSIBLE_PATHS (\n  D1 (\n    P1 ( L0 L1 )\n    P2 ( L0 )\n  )\n)\n"
    )
    assert "1 demand of the file not used" in imported(HEAD + NODES + TREE + rest, "x.txt").notes


def test_comments_are_read_over() -> None:
    text = HEAD + "# NODE SECTION (\n" + NODES.replace("Bonn (", "Bonn ( # the old capital\n") + TREE
    assert len(imported(text, "x.txt").data["isps"]["x"]["pops"]) == 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "( Hamburg Bonn )",
            "( Hamburg Wien )",
            "x.txt:10: link L1 ends at 'Wien', and there is no such node",
        ),
        ("( Hamburg Bonn )", "( Hamburg )", "x.txt:10: link L1 does not name two nodes\n  allowed: such as"),
        ("  Hamburg ( 9.99", "  Berlin ( 9.99", "x.txt:4: node Berlin is there twice"),
        ("NODES (", "NODES", "x.txt:2: 'NODES' where a section should begin"),
        ("NODES (", "KNOTEN (", "x.txt: the file has no nodes"),
        ("30.0 )\n)", "30.0 )\n", "x.txt:8: section LINKS, which begins here, has no closing parenthesis"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(old: str, new: str, message: str) -> None:
    text = HEAD + NODES + "\n" + TREE
    assert old in text
    with pytest.raises(UserError) as caught:
        imported(text.replace(old, new, 1), "x.txt")
    assert str(caught.value).startswith(message)


def test_thousands_of_blank_lines_are_told_apart_in_one_go() -> None:
    """Trying the blank lines in all combinations would take days."""
    with pytest.raises(UserError, match="in no format"):
        imported("x" + "\n" * 20_000 + "y", "blank.txt")
