"""CAIDA AS relationships in: the part around an AS, where every AS reaches every other without a valley."""

from __future__ import annotations

import gzip
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imports import imported, network_of

from testbed.errors import UserError
from testbed.topology.importers import Choices, Imported, import_topology
from testbed.topology.importers.caida import cut, read_relations, within
from testbed.topology.importers.common import Source
from testbed.topology.routes import unreachable_pairs
from testbed.topology.routing import compute_routes

# 1 and 2 are tier-1 peers; 11 and 12 buy from 1, 21 from 2; 99 buys from 21; 12 and 21 peer.
LINES = "# a comment\n1|2|0\n1|11|-1\n1|12|-1\n2|21|-1\n21|99|-1\n12|21|0\n"


def around(asn: int, text: str = LINES, radius: int | None = 1, limit: int | None = None) -> Imported:
    return imported(text, "x.as-rel.txt", Choices(around=asn, radius=radius, limit=limit))


def links_of(found: Imported) -> set[tuple[str, str, str]]:
    return {
        (link["between"][0], link["relationship"], link["between"][1])
        for link in found.data.get("interdomain", [])
    }


def test_the_first_as_of_a_line_is_the_provider() -> None:
    found = around(1)
    assert list(found.data["isps"]) == ["as1", "as2", "as12", "as11"]
    assert found.data["isps"]["as12"] == {"asn": 12, "pops": {"pop": {}}}
    assert links_of(found) == {
        ("as11.pop", "customer-provider", "as1.pop"),
        ("as12.pop", "customer-provider", "as1.pop"),
        ("as1.pop", "peer-peer", "as2.pop"),
    }


def test_the_part_routes_between_all() -> None:
    network = network_of(around(1, radius=3))
    assert len(network.isps) == 6
    assert unreachable_pairs(network, compute_routes(network)) == []


def test_the_limit_keeps_the_nearest_and_of_these_those_with_most_customers() -> None:
    assert list(around(1, radius=3, limit=3).data["isps"]) == ["as1", "as2", "as12"]


def test_without_a_radius_it_is_the_least_that_gives_the_limit() -> None:
    found = around(99, radius=None, limit=3)
    assert set(found.data["isps"]) == {"as99", "as21", "as2"}
    assert found.notes[0].startswith("AS 99 and 2 ASes of 3 at most 2 links away")


def test_ases_without_a_valley_free_route_to_the_others_are_left_out_and_named() -> None:
    # 5 has two providers that know nothing of each other: traffic between them would cross 5, a valley.
    found = around(5, "3|5|-1\n4|5|-1\n")
    assert set(found.data["isps"]) == {"as5", "as3"}
    assert any(
        "left out 1 AS without a valley-free route to all others of this part: 4" in note
        for note in found.notes
    )


def test_an_as_joins_after_its_provider_though_it_ranks_higher() -> None:
    # 8 has more customers than 7, but reaches 9 only over 7.
    text = "9|1|-1\n7|9|-1\n7|8|-1\n8|1|-1\n8|21|-1\n8|22|-1\n"
    assert {"as7", "as8", "as9"} <= set(around(1, text, radius=3).data["isps"])


def test_a_provider_cycle_is_cut_and_named() -> None:
    found = around(1, "1|2|-1\n2|3|-1\n3|1|-1\n", radius=2)
    assert len(found.data["isps"]) == 3
    assert len(found.data["interdomain"]) == 2
    assert any(note.startswith("left out links that make an AS its own provider: ") for note in found.notes)
    network = network_of(found)
    assert unreachable_pairs(network, compute_routes(network)) == []


def test_siblings_become_peers_and_are_named() -> None:
    for kind in "23":
        found = around(1, f"1|2|{kind}\n")
        assert links_of(found) == {("as1.pop", "peer-peer", "as2.pop")}
        assert "siblings taken as peers: 1|2" in found.notes


def test_of_two_lines_that_disagree_the_first_counts() -> None:
    found = around(1, "1|2|-1\n2|1|-1\n1|2|0\n")
    assert links_of(found) == {("as2.pop", "customer-provider", "as1.pop")}
    assert any("two different relationships, the first taken: 2|1, 1|2" in note for note in found.notes)


def test_serial_2_and_older_tables_and_packed_files_are_read() -> None:
    assert links_of(around(1, "1|2|-1|bgp\n1|3|0|mlp\n")) == {
        ("as2.pop", "customer-provider", "as1.pop"),
        ("as1.pop", "peer-peer", "as3.pop"),
    }
    # There -1 says that the first AS is the customer, and each link stands twice.
    assert links_of(around(1, "2 1 -1\n1 2 1\n1 3 0\n3 1 0\n")) == {
        ("as2.pop", "customer-provider", "as1.pop"),
        ("as1.pop", "peer-peer", "as3.pop"),
    }


def test_all_links_have_the_capacity_and_delay_chosen() -> None:
    choices = Choices(around=1, capacity_bps=10**7, delay_s=0.002, scale=0.5)
    for link in imported(LINES, "x.txt", choices).data["interdomain"]:
        assert (link["capacity"], link["delay"]) == ("5 Mbit/s", "2 ms")
    assert (
        imported(LINES, "x.txt", choices)
        .notes[-1]
        .endswith("every link has 10 Mbit/s (5 Mbit/s as scaled) (--capacity) and 2 ms (--delay)")
    )


def test_an_as_by_itself_is_a_topology() -> None:
    assert len(network_of(around(1, radius=0)).isps) == 1


def test_without_a_centre_the_largest_ases_and_an_example_are_given() -> None:
    with pytest.raises(UserError) as caught:
        imported(LINES, "x.txt")
    assert str(caught.value) == (
        "x.txt: the file holds 6 ASes: say around which AS to cut\n"
        "  allowed: --around ASN; those with the most customers are 1, 21, 2, 12, 11, 99\n"
        "  to mend it: testbed import x.txt --around 1 --radius 1 --limit 200"
    )


def test_ases_are_too_many_where_there_are_more_than_a_part_has() -> None:
    text = "".join(f"1|{asn}|-1\n" for asn in range(2, 202))
    with pytest.raises(UserError, match="the file holds 201 ASes, too many for one topology: say around"):
        imported(text, "x.txt")


def test_the_example_names_the_file_as_the_user_did() -> None:
    with pytest.raises(UserError) as caught:
        import_topology(Source("my data/x.txt", "x.txt", LINES.encode()), Choices())
    assert "mend it: testbed import 'my data/x.txt' --around 1" in str(caught.value)


def test_a_broken_first_line_is_named_where_the_others_tell_the_format() -> None:
    for line in ("1|2|9", "provider|customer|relationship"):
        with pytest.raises(UserError) as caught:
            around(1, f"{line}\n{LINES}")
        assert str(caught.value).startswith(f"x.as-rel.txt:1: '{line}' is no relationship\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3|4", "x.as-rel.txt:8: '3|4' is no relationship"),
        ("3|4|7", "x.as-rel.txt:8: '3|4|7' is no relationship"),
        ("3|4294967296|0", "x.as-rel.txt:8: '3|4294967296|0': no such ASN"),
        ("0|4|0", "x.as-rel.txt:8: '0|4|0': no such ASN"),
    ],
)
def test_a_broken_line_is_refused(line: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        around(1, LINES + line + "\n")
    assert str(caught.value).startswith(message)


def test_an_as_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="AS 7 is not in the file"):
        around(7)


relationships = st.lists(
    st.tuples(st.integers(1, 8), st.integers(1, 8), st.sampled_from((-1, -1, 0, 2))), min_size=1, max_size=20
)


def valley_free_pairs(links: set[tuple[int, str, int]], members: tuple[int, ...]) -> set[tuple[int, int]]:
    """By search over (AS, may still climb): up while it may, one peering, then down only."""
    steps: dict[int, list[tuple[str, int]]] = {asn: [] for asn in members}
    for a, kind, b in links:
        steps[a].append(("up" if kind == "pays" else "peer", b))
        steps[b].append(("down" if kind == "pays" else "peer", a))
    found = set()
    for start in members:
        seen, todo = {(start, True)}, [(start, True)]
        while todo:
            here, climbing = todo.pop()
            found.add((start, here))
            for way, there in steps[here]:
                following = (there, way == "up")
                if (climbing or way == "down") and following not in seen:
                    seen.add(following)
                    todo.append(following)
    return found


@given(relationships, st.integers(1, 8))
def test_every_as_of_a_part_reaches_every_other_without_a_valley(
    lines: list[tuple[int, int, int]], limit: int
) -> None:
    lines = [line for line in lines if line[0] != line[1]] or [(1, 2, 0)]
    text = "".join(f"{a}|{b}|{kind}\n" for a, b, kind in lines)
    relations = read_relations(Source("x", "x", text.encode()))
    candidates = within(relations, lines[0][0], 3)
    part = cut(relations, candidates, limit)
    links = {(a, "pays", b) for a, b in part.customer_provider} | {(a, "peers", b) for a, b in part.peer_peer}
    assert set(permutations(part.members, 2)) <= valley_free_pairs(links, part.members)
    assert part.members[0] == lines[0][0]
    assert len(part.members) <= limit
    assert not cyclic(part.customer_provider)
    if len(part.members) < limit:
        for asn in set(candidates) - set(part.members):
            pays = {(asn, "pays", b) for b in relations.providers[asn] if b in part.members}
            pays |= {(a, "pays", asn) for a in relations.customers[asn] if a in part.members}
            peers = {(asn, "peers", b) for b in relations.peers[asn] if b in part.members}
            if not cyclic((*part.customer_provider, *((a, b) for a, _, b in pays))):
                grown = (*part.members, asn)
                assert not set(permutations(grown, 2)) <= valley_free_pairs(links | pays | peers, grown)


def cyclic(pays: tuple[tuple[int, int], ...]) -> bool:
    """Whether anyone pays itself through others: leaves are taken away until none is left."""
    left = set(pays)
    while leaves := {pair for pair in left if pair[1] not in {customer for customer, _ in left}}:
        left -= leaves
    return bool(left)


def test_packed_data_is_unpacked_by_its_content() -> None:
    from testbed.topology.importers import unpacked

    assert unpacked(gzip.compress(LINES.encode()), "x").decode() == LINES
