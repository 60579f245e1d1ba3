"""Address prefixes: what is read as one, and the near linear search for those that overlap."""

from __future__ import annotations

from ipaddress import IPv4Network
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from testbed.errors import UserError
from testbed.spec.fields import parse_prefix
from testbed.spec.topology import load_topology
from testbed.spec.topology_checks import overlapping


def networks(longest: int = 30) -> st.SearchStrategy[IPv4Network]:
    return st.builds(
        lambda address, length: IPv4Network((address, length), strict=False),
        st.integers(10 << 24, (11 << 24) - 1),
        st.integers(8, longest),
    )


@given(networks())
def test_every_network_of_private_space_is_read_as_it_is_written(network: IPv4Network) -> None:
    assert parse_prefix(str(network)) == network


@pytest.mark.parametrize(
    "text", ["", "10.0.0.0", "10.0.0.0/33", "300.0.0.0/8", "10.1/16", "10.0.0.0/255.0.0.0", "::/0", 10, None]
)
def test_what_is_no_prefix_is_refused(text: object) -> None:
    with pytest.raises(PydanticCustomError, match="is not a prefix"):
        parse_prefix(text)


@pytest.mark.parametrize(
    "text", ["0.0.0.0/0", "127.0.0.0/16", "169.254.0.0/16", "240.0.0.0/8", "128.0.0.0/1"]
)
def test_space_where_no_host_can_be_is_refused(text: str) -> None:
    with pytest.raises(PydanticCustomError, match="where no host can be"):
        parse_prefix(text)


@given(st.lists(networks(14), max_size=12, unique=True))
def test_a_prefix_is_named_as_overlapping_exactly_where_one_of_a_pair_is(prefixes: list[IPv4Network]) -> None:
    named = {str(index): prefix for index, prefix in enumerate(prefixes)}
    pairs = overlapping(named)
    assert all(named[a].overlaps(named[b]) and int(a) > int(b) for a, b in pairs)
    assert bool(pairs) == any(a.overlaps(b) for a, b in combinations(prefixes, 2))


def test_more_pops_than_the_prefix_has_subnets_are_refused_and_as_many_are_not(tmp_path: Path) -> None:
    def write(count: int) -> Path:
        pops = ", ".join(f"p{number}: {{}}" for number in range(count))
        links = "".join(
            f"      - {{between: [p0, p{number}], capacity: 1 Gbit/s}}\n" for number in range(1, count)
        )
        path = tmp_path / "many.yaml"
        path.write_text(
            "name: many\nisps:\n  one:\n    asn: 1\n    prefix: 10.0.0.0/22\n"
            f"    pops: {{{pops}}}\n    links:\n{links}"
        )
        return path

    load_topology(write(255))
    with pytest.raises(UserError) as caught:
        load_topology(write(256))
    assert str(caught.value).endswith(
        "many.yaml:5: 256 PoPs do not fit into prefix 10.0.0.0/22 of ISP one\n"
        "  to mend it: give a larger prefix, or none"
    )
