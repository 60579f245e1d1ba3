"""GraphML in: what the Topology Zoo's files hold, and what they lack, repeat and break."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from imports import imported, network_of

from testbed.errors import UserError
from testbed.topology.importers import Choices
from testbed.topology.routes import unreachable_pairs
from testbed.topology.routing import compute_routes

KEYS = {
    "label": "node",
    "Latitude": "node",
    "Longitude": "node",
    "Internal": "node",
    "LinkSpeedRaw": "edge",
    "LinkSpeed": "edge",
    "LinkSpeedUnits": "edge",
    "LinkLabel": "edge",
    "Network": "graph",
}


def graphml(
    nodes: Sequence[dict[str, str]], edges: Sequence[tuple[int, int, dict[str, str]]], **graph: str
) -> str:
    """A file as the Zoo writes it; nodes are numbered."""

    def data(values: dict[str, str]) -> str:
        return "".join(f'<data key="{name}">{value}</data>' for name, value in values.items())

    kind = graph.pop("edgedefault", "undirected")
    keys = "".join(f'<key id="{k}" attr.name="{k}" attr.type="double" for="{v}"/>' for k, v in KEYS.items())
    return (
        f'<?xml version="1.0"?>\n<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n{keys}\n'
        f'<graph edgedefault="{kind}">\n{data(graph)}'
        + "\n".join(f'<node id="{number}">{data(values)}</node>' for number, values in enumerate(nodes))
        + "\n".join(f'<edge source="{a}" target="{b}">{data(values)}</edge>' for a, b, values in edges)
        + "</graph></graphml>"
    )


PARIS = {"label": "Paris", "Latitude": "48.86", "Longitude": "2.35"}
LYON = {"label": "Lyon", "Latitude": "45.76", "Longitude": "4.84"}
NICE = {"label": "Nice"}
FAST, SLOW = {"LinkSpeedRaw": "1e10"}, {"LinkLabel": "155 Mbps"}


def test_nodes_become_pops_and_edges_links() -> None:
    found = imported(graphml([PARIS, LYON], [(0, 1, FAST)], Network="Made Up"), "France2024.graphml")
    assert found.data == {
        "name": "france2024",
        "description": "Made Up. Imported from France2024.graphml",
        "isps": {
            "france2024": {
                "asn": 64512,
                "pops": {"paris": {"at": [48.86, 2.35]}, "lyon": {"at": [45.76, 4.84]}},
                "links": [{"between": ["paris", "lyon"], "capacity": "10 Gbit/s"}],
            }
        },
        "access": {
            "dsl": "adsl2plus",
            "cable": "docsis3",
            "fibre": "gpon",
            "server": {"down": "1 Gbit/s", "up": "1 Gbit/s", "delay": "1 ms"},
        },
    }
    assert found.notes == ()


def test_the_user_names_the_isp_and_scales_its_links() -> None:
    choices = Choices(isp="sncf", asn=7, name="trains", scale=0.001)
    found = imported(graphml([PARIS, LYON], [(0, 1, FAST)]), "f.graphml", choices)
    assert found.data["name"] == "trains"
    assert found.data["isps"]["sncf"]["asn"] == 7
    assert found.data["isps"]["sncf"]["links"][0]["capacity"] == "10 Mbit/s"


def test_a_pop_without_coordinates_is_put_amid_its_neighbours_and_said_to_be() -> None:
    text = graphml([PARIS, LYON, NICE], [(0, 2, FAST), (1, 2, FAST)])
    found = imported(text, "f.graphml")
    latitude, longitude = found.data["isps"]["f"]["pops"]["nice"]["at"]
    assert latitude == pytest.approx(47.3, abs=0.1)
    assert longitude == pytest.approx(3.6, abs=0.1)
    assert found.notes == ("1 PoP without coordinates placed amid the neighbours (a guess): Nice",)


def test_places_reach_pops_whose_neighbours_have_none() -> None:
    text = graphml([PARIS, NICE, {"label": "Toulon"}], [(0, 1, FAST), (1, 2, FAST)])
    pops = imported(text, "f.graphml").data["isps"]["f"]["pops"]
    assert pops["toulon"]["at"] == pops["nice"]["at"] == pytest.approx([48.86, 2.35])


def test_a_link_between_pops_guessed_onto_one_spot_has_the_median_delay_of_the_others() -> None:
    text = graphml([PARIS, LYON, NICE, {"label": "Toulon"}], [(0, 1, FAST), (1, 2, FAST), (2, 3, FAST)])
    found = imported(text, "f.graphml")
    assert [link.get("delay") for link in found.data["isps"]["f"]["links"]] == [None, "1.96 ms", "1.96 ms"]
    assert found.notes[1] == (
        "the delay of 2 links between PoPs guessed onto one spot is unknown: 1.96 ms, "
        "the median of the others (--delay)"
    )
    chosen = imported(text, "f.graphml", Choices(delay_s=0.003))
    assert [link.get("delay") for link in chosen.data["isps"]["f"]["links"]] == [None, "3 ms", "3 ms"]


def test_pops_that_the_file_puts_onto_one_spot_have_no_delay_between_them() -> None:
    found = imported(graphml([PARIS, {**PARIS, "label": "Paris 2"}], [(0, 1, FAST)]), "f.graphml")
    assert found.data["isps"]["f"]["links"] == [{"between": ["paris", "paris-2"], "capacity": "10 Gbit/s"}]
    assert found.notes == ()


def test_the_middle_of_places_on_both_sides_of_the_date_line_is_between_them() -> None:
    west, east = ({"Latitude": "0", "Longitude": degrees} for degrees in ("179", "-179"))
    text = graphml([west, east, {}], [(0, 2, FAST), (1, 2, FAST)])
    _, longitude = imported(text, "f.graphml").data["isps"]["f"]["pops"]["pop-3"]["at"]
    assert abs(longitude) == pytest.approx(180)


@pytest.mark.parametrize("latitude", ["abc", "95", "nan", "1e999", ""])
def test_a_latitude_that_is_none_counts_as_missing(latitude: str) -> None:
    text = graphml([PARIS, LYON | {"Latitude": latitude}], [(0, 1, FAST)])
    found = imported(text, "f.graphml")
    assert found.data["isps"]["f"]["pops"]["lyon"]["at"] == pytest.approx([48.86, 2.35])
    assert network_of(found)


def test_without_any_coordinates_links_have_a_guessed_delay() -> None:
    found = imported(graphml([NICE, {"label": "Toulon"}], [(0, 1, FAST)]), "f.graphml")
    assert found.data["isps"]["f"]["links"][0]["delay"] == "5 ms"
    assert found.notes == (
        "the file gives no coordinates: the PoPs are on no map",
        "the delay of 1 link is not in the file: 5 ms, a guess (--delay)",
    )


def test_parallel_edges_stay_parallel_links_in_the_order_of_the_file() -> None:
    found = imported(graphml([PARIS, LYON], [(0, 1, FAST), (1, 0, SLOW), (0, 1, FAST)]), "f.graphml")
    assert [(link["between"], link["capacity"]) for link in found.data["isps"]["f"]["links"]] == [
        (["paris", "lyon"], "10 Gbit/s"),
        (["lyon", "paris"], "155 Mbit/s"),
        (["paris", "lyon"], "10 Gbit/s"),
    ]


def test_an_edge_from_a_node_to_itself_is_dropped_and_named() -> None:
    found = imported(graphml([PARIS, LYON], [(0, 1, FAST), (1, 1, FAST)]), "f.graphml")
    assert len(found.data["isps"]["f"]["links"]) == 1
    assert found.notes == ("dropped 1 link from a PoP to itself: Lyon",)


def test_an_edge_from_a_node_without_a_label_to_itself_is_named_by_its_id() -> None:
    nodes = [PARIS, {**LYON, "label": ""}]
    found = imported(graphml(nodes, [(0, 1, FAST), (1, 1, FAST)]), "f.graphml")
    assert "dropped 1 link from a PoP to itself: node 1" in found.notes


def test_of_a_network_in_parts_the_largest_is_kept_and_the_rest_named() -> None:
    found = imported(graphml([NICE, PARIS, LYON], [(1, 2, FAST)]), "f.graphml")
    assert list(found.data["isps"]["f"]["pops"]) == ["paris", "lyon"]
    assert found.notes == (
        "the network falls into 2 parts; kept the largest, of 2 PoPs, "
        "and dropped 1 PoP that no link joins to it: Nice",
    )


def test_a_directed_file_has_its_edges_joined_in_pairs() -> None:
    text = graphml([PARIS, LYON], [(0, 1, FAST), (1, 0, SLOW)], edgedefault="directed")
    found = imported(text, "f.graphml")
    assert found.data["isps"]["f"]["links"] == [
        {"between": ["paris", "lyon"], "capacity": ["10 Gbit/s", "155 Mbit/s"]}
    ]
    assert found.notes == ()


def test_undirected_parallel_edges_stay_two_where_another_edge_has_a_direction() -> None:
    text = graphml([PARIS, LYON, NICE], [(0, 1, FAST), (1, 0, SLOW), (1, 2, FAST)])
    text = text.replace('<edge source="1" target="2">', '<edge source="1" target="2" directed="true">')
    found = imported(text, "f.graphml")
    assert len(found.data["isps"]["f"]["links"]) == 3
    assert any("with and without a direction" in note for note in found.notes)


def test_an_edge_of_a_directed_file_without_one_back_is_taken_for_both_and_said_to_be() -> None:
    text = graphml([PARIS, LYON], [(0, 1, FAST)], edgedefault="directed")
    found = imported(text, "f.graphml")
    assert found.data["isps"]["f"]["links"][0]["capacity"] == "10 Gbit/s"
    assert found.notes == ("1 link in one direction only taken for both",)


@pytest.mark.parametrize(
    ("attributes", "capacity"),
    [
        ({"LinkSpeedRaw": "2.5e9", "LinkLabel": "10 Gbps"}, "2.5 Gbit/s"),
        ({"LinkSpeedRaw": "garbage", "LinkSpeed": "10", "LinkSpeedUnits": "G"}, "10 Gbit/s"),
        ({"LinkSpeedRaw": "0", "LinkLabel": "&lt; 2.5 Gbit/s"}, "2.5 Gbit/s"),
        ({"LinkLabel": "STM-1"}, "155.52 Mbit/s"),
        ({"LinkSpeedRaw": "12"}, "10 Gbit/s"),
    ],
)
def test_a_capacity_is_read_from_what_the_edge_says(attributes: dict[str, str], capacity: str) -> None:
    found = imported(graphml([PARIS, LYON], [(0, 1, attributes)]), "f.graphml")
    assert found.data["isps"]["f"]["links"][0]["capacity"] == capacity


def test_an_unknown_capacity_is_the_median_of_the_others_and_said_to_be() -> None:
    edges = [(0, 1, {"LinkSpeedRaw": rate}) for rate in ("1e9", "2e9", "9e9")] + [
        (0, 1, {"LinkLabel": "Lit"})
    ]
    found = imported(graphml([PARIS, LYON], edges), "f.graphml")
    assert found.data["isps"]["f"]["links"][3]["capacity"] == "2 Gbit/s"
    assert found.notes == (
        "no rate could be read from these labels: Paris - Lyon: Lit",
        "the capacity of 1 link of 4 is unknown: 2 Gbit/s, the median of the others (--capacity)",
    )


@pytest.mark.parametrize("raw", ["-5", "1e40", "x", "0"])
def test_a_speed_that_is_there_and_unusable_is_shown(raw: str) -> None:
    edges = [(0, 1, FAST), (0, 2, {"LinkSpeedRaw": raw})]
    found = imported(graphml([PARIS, LYON, {**NICE, **LYON, "label": ""}], edges), "f.graphml")
    assert f"these LinkSpeedRaw are no rate of 1 kbit/s to 1 Pbit/s: Paris - node 2: {raw}" in found.notes
    assert any(note.startswith("the capacity of 1 link of 2 is unknown: 10 Gbit/s") for note in found.notes)


def test_a_guessed_capacity_is_said_as_it_was_and_as_it_is_scaled() -> None:
    found = imported(graphml([PARIS, LYON], [(0, 1, {})]), "f.graphml", Choices(scale=0.001))
    assert found.notes == (
        "the capacity of 1 link is unknown: 10 Gbit/s (10 Mbit/s as scaled), a guess (--capacity)",
    )


def test_links_that_scaling_makes_too_slow_are_counted() -> None:
    text = graphml([PARIS, LYON], [(0, 1, FAST), (0, 1, SLOW), (0, 1, FAST)])
    found = imported(text, "f.graphml", Choices(scale=1e-6))
    capacities = [link["capacity"] for link in found.data["isps"]["f"]["links"]]
    assert capacities == ["10 kbit/s", "1 kbit/s", "10 kbit/s"]
    assert found.notes == (
        "1 of 3 links would be slower than 1 kbit/s and got 1 kbit/s, which changes the proportions "
        "(--scale 6.5e-06 or more keeps them)",
    )
    assert imported(text, "f.graphml", Choices(scale=6.5e-6)).notes == ()


def test_scaling_beyond_what_a_link_may_have_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        imported(graphml([PARIS, LYON], [(0, 1, FAST)]), "f.graphml", Choices(scale=1e9))
    assert str(caught.value) == (
        "--scale: 1e+09 makes 10000000000 Gbit/s of the fastest link\n  allowed: less than 1e+18 bit/s"
    )


def test_the_user_says_an_unknown_capacity() -> None:
    found = imported(graphml([PARIS, LYON], [(0, 1, {})]), "f.graphml", Choices(capacity_bps=5_000_000))
    assert found.data["isps"]["f"]["links"][0]["capacity"] == "5 Mbit/s"


def test_labels_become_names_that_fit_and_differ() -> None:
    labels = [
        "Zürich (ETH)",
        "?",
        "",
        "zurich eth",
        "3rd Street",
        "A very long name of a small place",
        "東京",
    ]
    nodes = [{"label": label} for label in labels]
    found = imported(graphml(nodes, [(0, number, FAST) for number in range(1, 7)]), "f.graphml")
    assert list(found.data["isps"]["f"]["pops"]) == [
        "zurich-eth",
        "pop-2",
        "pop-3",
        "zurich-eth-2",
        "n3rd-street",
        "a-very-long-name-of-a-sm",
        "pop-7",
    ]
    assert any("zurich eth -> zurich-eth-2" in note for note in found.notes)
    assert network_of(found)


OUTSIDE = {"label": "Transit Co", "Internal": "0"}


def test_external_nodes_are_dropped_and_named() -> None:
    found = imported(graphml([PARIS, LYON, OUTSIDE], [(0, 1, FAST), (1, 2, FAST)]), "f.graphml")
    assert list(found.data["isps"]["f"]["pops"]) == ["paris", "lyon"]
    assert found.notes == ("dropped 1 external node (--external keep keeps them): Transit Co",)


@pytest.mark.parametrize("internal", ["0", "0.0", "False"])
def test_external_is_said_differently_by_files_of_different_age(internal: str) -> None:
    nodes = [PARIS | {"Internal": "True"}, LYON | {"Internal": "1"}, OUTSIDE | {"Internal": internal}]
    found = imported(graphml(nodes, [(0, 1, FAST), (1, 2, FAST)]), "f.graphml")
    assert list(found.data["isps"]["f"]["pops"]) == ["paris", "lyon"]


def test_external_nodes_may_stay_pops() -> None:
    text = graphml([PARIS, LYON, OUTSIDE], [(0, 1, FAST), (1, 2, FAST)])
    found = imported(text, "f.graphml", Choices(external="keep"))
    assert list(found.data["isps"]["f"]["pops"]) == ["paris", "lyon", "transit-co"]


def test_external_nodes_may_become_customers_that_reach_all() -> None:
    nodes = [PARIS, LYON, OUTSIDE, OUTSIDE]
    text = graphml(nodes, [(0, 1, FAST), (1, 2, SLOW), (3, 0, FAST)])
    found = imported(text, "f.graphml", Choices(external="customers"))
    assert found.data["interdomain"] == [
        {
            "between": ["transit-co.border", "f.lyon"],
            "relationship": "customer-provider",
            "capacity": "155 Mbit/s",
            "delay": "5 ms",
        },
        {
            "between": ["transit-co-2.border", "f.paris"],
            "relationship": "customer-provider",
            "capacity": "10 Gbit/s",
            "delay": "5 ms",
        },
    ]
    assert "the delay of 2 links between ISPs follows from no coordinates: 5 ms (--delay)" in found.notes
    network = network_of(found)
    assert unreachable_pairs(network, compute_routes(network)) == []


def test_external_peers_are_said_not_to_reach_each_other() -> None:
    text = graphml([PARIS, OUTSIDE, OUTSIDE], [(0, 1, FAST), (0, 2, FAST)])
    found = imported(text, "f.graphml", Choices(external="peers"))
    network = network_of(found)
    assert len(unreachable_pairs(network, compute_routes(network))) == 2
    assert any("no routes to each other" in note for note in found.notes)


def test_a_node_alone_is_a_network() -> None:
    assert len(network_of(imported(graphml([PARIS], []), "f.graphml")).pops) == 1


def test_a_file_with_a_mark_blank_lines_and_another_encoding_is_read() -> None:
    text = graphml([{"label": "Genève"}, LYON], [(0, 1, FAST)])
    marked = b"\xef\xbb\xbf" + text.encode()
    latin = text.replace('version="1.0"', 'version="1.0" encoding="latin-1"').encode("latin-1")
    for data in (marked, b"\n\n" + latin):
        assert "geneve" in imported(data, "f.graphml").data["isps"]["f"]["pops"]


def test_drawing_keys_and_hyperedges_do_not_stop_the_import() -> None:
    text = graphml([PARIS, LYON], [(0, 1, FAST)])
    text = text.replace("<graph edge", '<key for="node" id="d9" yfiles.type="nodegraphics"/>"\n<graph edge')
    text = text.replace("</node>", '<data key="d9"><shape/></data></node>', 1)
    text = text.replace("</graph>", '<hyperedge><endpoint node="0"/><endpoint node="1"/></hyperedge></graph>')
    assert len(network_of(imported(text, "f.graphml")).links) == 1


def test_a_namespace_is_not_needed() -> None:
    text = graphml([PARIS, LYON], [(0, 1, FAST)]).replace(
        ' xmlns="http://graphml.graphdrawing.org/xmlns"', ""
    )
    assert len(network_of(imported(text, "f.graphml")).links) == 1


def error_of(text: str) -> str:
    with pytest.raises(UserError) as caught:
        imported(text, "f.graphml")
    return str(caught.value)


def test_a_cut_off_file_is_refused_with_its_line() -> None:
    text = graphml([PARIS, LYON], [(0, 1, FAST)])
    assert (
        error_of(text[: text.index("<edge")]) == "f.graphml:6: the XML is broken or cut off: no element found"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('target="1"', 'target="7"', "f.graphml: edge 1 has the target '7', and no node has this id"),
        ("<graph ", "<nograph ", "f.graphml:6: the XML is broken or cut off: mismatched tag"),
    ],
)
def test_a_broken_file_is_refused_with_what_is_wrong(old: str, new: str, message: str) -> None:
    assert error_of(graphml([PARIS, LYON], [(0, 1, FAST)]).replace(old, new)) == message


def test_other_xml_is_refused() -> None:
    assert "f.graphml: the XML is no GraphML: its root is <svg>" in error_of("<svg/>")


def test_a_graph_without_nodes_is_refused() -> None:
    assert error_of(graphml([], [])) == "f.graphml: the graph has no nodes"


def test_entities_that_grow_or_read_files_are_refused_with_the_line() -> None:
    bomb = '<?xml version="1.0"?>\n<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>\n<graphml>&a;</graphml>'
    assert error_of(bomb).startswith("f.graphml:2: the XML has a document type declaration")


def test_elements_nested_without_end_are_refused() -> None:
    assert "nested more than 100 deep" in error_of(
        "<graphml>" + "<a>" * 50_000 + "</a>" * 50_000 + "</graphml>"
    )


def test_labels_that_only_yed_knows_are_read() -> None:
    text = (
        '<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:y="http://www.yworks.com/xml/graphml">'
        '<key for="node" id="d1" yfiles.type="nodegraphics"/>'
        '<key for="edge" id="d2" yfiles.type="edgegraphics"/>'
        '<graph edgedefault="directed">'
        '<node id="n0"><data key="d1"><y:ShapeNode><y:NodeLabel>Paris</y:NodeLabel></y:ShapeNode>'
        '</data></node><node id="n1"><data key="d1"><y:ShapeNode><y:NodeLabel>Lyon</y:NodeLabel>'
        "</y:ShapeNode></data></node>"
        '<edge source="n0" target="n1"><data key="d2"><y:PolyLineEdge><y:EdgeLabel>1 Gbps</y:EdgeLabel>'
        "</y:PolyLineEdge></data></edge></graph></graphml>"
    )
    found = imported(text, "f.graphml")
    assert found.data["isps"]["f"]["links"][0]["between"] == ["paris", "lyon"]
    assert found.data["isps"]["f"]["links"][0]["capacity"] == "1 Gbit/s"


def test_the_default_of_a_key_counts_where_a_node_says_nothing() -> None:
    text = graphml([PARIS | {"Internal": "1"}, LYON | {"Internal": "1"}, NICE], [(0, 1, FAST), (0, 2, FAST)])
    text = text.replace('for="node"/>', 'for="node"><default>0</default></key>')
    assert list(imported(text, "f.graphml").data["isps"]["f"]["pops"]) == ["paris", "lyon"]


def test_two_nodes_of_one_id_are_refused() -> None:
    text = graphml([PARIS, LYON], [(0, 1, FAST)]).replace('<node id="1">', '<node id="0">')
    assert error_of(text) == "f.graphml: node 2 has the id '0', as another has"
