"""Links are found by the names that people give them, and a wrong name leads to the right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import Problem
from testbed.spec.topology import load_topology
from testbed.topology.compile import compile_network
from testbed.topology.link_names import find_link
from testbed.topology.model import Network

PAIR = "{between: [a, b], capacity: 1 Mbit/s}"
TEXT = f"""\
name: links
isps:
  west:
    asn: 1
    pops: {{a: {{}}, b: {{}}, ring--road: {{}}, far: {{}}, alpha: {{}}, alphb: {{}}}}
    links:
      - {PAIR}
      - {PAIR}
      - {{between: [b, a], capacity: 1 Mbit/s}}
      - {{between: [b, ring--road], capacity: 1 Mbit/s}}
      - {{between: [a, far], capacity: 1 Mbit/s}}
      - {{between: [alpha, alphb], capacity: 1 Mbit/s}}
      - {{between: [far, alpha], capacity: 1 Mbit/s}}
"""


@pytest.fixture
def links(tmp_path: Path) -> Network:
    path = tmp_path / "links.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return compile_network(load_topology(path)[0])


@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("west.a--west.b", "west.a--west.b"),
        ("west.a--west.b~2", "west.a--west.b~2"),
        ("west.b--west.a", "west.b--west.a"),  # a link of that very name goes first
        ("west.b--west.a~2", "west.a--west.b~2"),
        ("west.far--west.a", "west.a--west.far"),
        ("west.ring--road--west.b", "west.b--west.ring--road"),
    ],
)
def test_either_order_of_the_ends_names_a_link(name: str, link: str, links: Network) -> None:
    assert find_link(links, name, "--failed") == link


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "west.a--west.fra",
            "--failed: there is no link 'west.a--west.fra': there is no PoP 'west.fra'\n"
            "  allowed: west.a--west.b, west.a--west.b~2, west.b--west.a, west.a--west.far\n"
            "  to mend it: did you mean 'west.a--west.far'?",
        ),
        (
            "far--a",
            "--failed: there is no link 'far--a': there is no PoP 'far' and no PoP 'a'\n"
            "  to mend it: did you mean 'west.a--west.far'?",
        ),
        (
            "west.far--west.b",
            "--failed: there is no link 'west.far--west.b': no link joins the two\n"
            "  allowed: west.a--west.b, west.a--west.b~2, west.b--west.a, west.b--west.ring--road, "
            "west.a--west.far, west.far--west.alpha\n"
            "  to mend it: `testbed graph FILE --links` lists all links",
        ),
        (
            "west.a--west.far~2",
            "--failed: there is no link 'west.a--west.far~2'\n"
            "  allowed: west.a--west.far\n"
            "  to mend it: `testbed graph FILE --links` lists all links",
        ),
        (
            "",
            "--failed: '' is no name of a link\n"
            "  allowed: isp.pop--isp.pop, the ends in either order\n"
            "  to mend it: `testbed graph FILE --links` lists all links",
        ),
    ],
)
def test_a_wrong_name_gets_only_a_near_link_as_a_hint(name: str, text: str, links: Network) -> None:
    found = find_link(links, name, "--failed")
    assert isinstance(found, Problem)
    assert str(found) == text


def test_of_several_near_pops_the_likeliest_is_meant(links: Network) -> None:
    found = find_link(links, "west.alphaa--west.alphb", "--failed")
    assert isinstance(found, Problem)
    assert found.mend == "did you mean 'west.alpha--west.alphb'?"
