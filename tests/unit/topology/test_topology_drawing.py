"""Pictures: everything has a place of its own, and what is drawn says what the network is."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import random_networks
import small_topology
from command import testbed
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from testbed.spec.topology import load_topology
from testbed.topology.compile import compile_network
from testbed.topology.drawing import FORMATS, Drawing, Format, Route, Wish, compose, render
from testbed.topology.drawing.curves import arrow_head, cut, lines_of, middle_of
from testbed.topology.drawing.labels import Placed, Surroundings, Wanted, crosses, overlaps, place_labels
from testbed.topology.drawing.layout import fan_out, fit, on_map, place, push_apart
from testbed.topology.drawing.legend import Row, columns_of, entries_of
from testbed.topology.drawing.render import PNG_DPI, figure_of
from testbed.topology.drawing.sketch import MOST_HEADS, Node, Stroke, headless, sketch_of
from testbed.topology.drawing.style import FAILED, ISP_LOOKS, isp_look, widths
from testbed.topology.model import Direction, Isp, Link, Network

SHIPPED = sorted((Path(__file__).parents[3] / "topologies").glob("*.yaml"))
SVG = "{http://www.w3.org/2000/svg}"


def network(folder: Path, text: str) -> Network:
    path = folder / "drawn.yaml"
    path.write_text(text, encoding="utf-8")
    return compile_network(load_topology(path)[0])


def exchange(members: int) -> str:
    """One-PoP ISPs that all meet at one exchange point."""
    isps = "".join(f"  m{n}: {{asn: {n + 1}, pops: {{x: {{}}}}}}\n" for n in range(members))
    ports = ", ".join(f"m{n}.x: {n + 1} Mbit/s" for n in range(members))
    return f"name: exchange\nisps:\n{isps}ixps:\n  ix:\n    members: {{{ports}}}\n"


def many(isps: int) -> str:
    """ISPs of one PoP, each the customer of an earlier one."""
    nodes = "".join(f"  n{n}: {{asn: {n + 1}, pops: {{x: {{}}}}}}\n" for n in range(isps))
    links = "".join(
        f"  - {{between: [n{n}.x, n{n // 3}.x], relationship: customer-provider, capacity: 1 Gbit/s}}\n"
        for n in range(1, isps)
    )
    return f"name: many\nisps:\n{nodes}interdomain:\n{links}"


def boxes_as_drawn(drawing: Drawing) -> list[tuple[str, np.ndarray]]:
    """Every text of the figure with its box in pixels, as the renderer of PNG files measures it."""
    figure = figure_of(drawing)
    figure.set_dpi(PNG_DPI)
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    return [(text.get_text(), np.array(text.get_window_extent(renderer).extents)) for text in texts]


def assert_nothing_covers_a_label(drawing: Drawing) -> None:
    texts = boxes_as_drawn(drawing)
    for (one, a), (two, b) in combinations(texts, 2):
        assert not overlaps(a[np.newaxis], b[np.newaxis]).any(), f"{one} and {two}"
    pixel = PNG_DPI / 72
    for text, (x0, y0, x1, y1) in texts:
        assert min(x0, y0) >= 0, text
        assert (x1, y1) <= (drawing.width * pixel, drawing.height * pixel), text
        outside = np.maximum(
            np.maximum([x0, y0] - drawing.points * pixel, drawing.points * pixel - [x1, y1]), 0
        )
        assert (np.hypot(*outside.T) >= drawing.radii * pixel - 0.5).all(), f"{text} covers a node"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_file_has_all_its_names_and_none_covers_another(path: Path) -> None:
    drawn = compile_network(load_topology(path)[0])
    drawing = compose(drawn, Wish())
    assert drawing.left_out == 0
    assert_nothing_covers_a_label(drawing)
    names = " ".join(label.text for label in drawing.labels).replace(".", " ").split()
    wanted = [pop.name for pop in drawn.pops] + [ixp.name for ixp in drawn.ixps]
    wanted += [isp.name for isp in drawn.isps] if len(drawn.isps) > 1 else []
    assert sorted(names) == sorted(wanted)


@given(random_networks.internets())
@settings(max_examples=25, deadline=None)
def test_any_network_draws_with_all_names_apart(drawn: Network) -> None:
    drawing = compose(drawn, Wish())
    placed = np.array([label.at.box for label in drawing.labels])
    assert overlaps(placed, placed).sum() == len(placed)
    assert drawing.left_out == 0


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_network_gives_the_same_bytes(form: Format, tmp_path: Path) -> None:
    drawn = small_topology.network(tmp_path)
    first = render(compose(drawn, Wish()), form)
    assert first == render(compose(drawn, Wish()), form)
    assert first.startswith({"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[form])


def test_svg_is_well_formed_and_its_text_is_text(tmp_path: Path) -> None:
    tree = ElementTree.fromstring(render(compose(small_topology.network(tmp_path), Wish()), "svg"))
    words = {element.text for element in tree.iter(f"{SVG}text")}
    assert {"hub", "edge", "one", "two", "right.only", "carrier", "left", "customer to provider"} <= words
    assert {"5 Mbit/s", "20 Mbit/s", "50 Mbit/s", "small", "3 ISPs, 5 PoPs, 4 links"} <= words


def test_arrows_point_to_the_provider_and_only_there(tmp_path: Path) -> None:
    drawing = compose(small_topology.network(tmp_path), Wish())
    headed = [line for line in drawing.lines if line.head is not None]
    assert [line.stroke.links for line in headed] == [
        ("left.one--carrier.hub",),
        ("right.only--carrier.edge",),
    ]
    for line in headed:
        assert line.head is not None
        provider = drawing.points[line.stroke.b]
        tip = float(np.hypot(*(line.head[0] - provider)))
        assert tip == pytest.approx(drawing.radii[line.stroke.b] + 0.8, abs=0.01)
        assert all(np.hypot(*(corner - provider)) > tip for corner in line.head[1:])


def star(customers: int, providers: int = 0) -> str:
    """One-PoP ISPs that pay a hub, which pays its own providers."""
    pairs = [(f"c{n}", "hub") for n in range(customers)] + [("hub", f"p{n}") for n in range(providers)]
    names = ["hub", *sorted({end for pair in pairs for end in pair} - {"hub"})]
    isps = "".join(f"  {isp}: {{asn: {n}, pops: {{x: {{}}}}}}\n" for n, isp in enumerate(names, start=1))
    links = "".join(
        f"  - {{between: [{a}.x, {b}.x], relationship: customer-provider, capacity: 1 Gbit/s}}\n"
        for a, b in pairs
    )
    return f"name: star\nisps:\n{isps}interdomain:\n{links}"


def legend_words(drawing: Drawing) -> list[str]:
    return [entry.row.text for entry in drawing.legend]


@pytest.mark.parametrize("customers", [MOST_HEADS, MOST_HEADS + 1])
def test_where_too_many_arrows_meet_they_have_no_heads_and_the_legend_says_so(
    customers: int, tmp_path: Path
) -> None:
    drawing = compose(network(tmp_path, star(customers, providers=2)), Wish())
    headed = [line.stroke.links[0] for line in drawing.lines if line.head is not None]
    up = ["hub.x--p0.x", "hub.x--p1.x"]
    crowded = customers > MOST_HEADS
    assert headed == up if crowded else len(headed) == customers + 2
    assert ("the same where over 12 meet" in legend_words(drawing)) == crowded
    assert "customer to provider" in legend_words(drawing)


def test_between_two_crowded_providers_the_arrow_keeps_its_head() -> None:
    pays = [
        *((number, 100) for number in range(20)),
        *((number, 101) for number in range(20, 40)),
        (100, 101),
    ]
    strokes = [Stroke((f"{a} {b}",), a, b, "customer-provider", 1) for a, b in pays]
    assert headless(strokes) == frozenset(range(40))


def test_the_legend_lists_isps_while_each_has_a_look_of_its_own(tmp_path: Path) -> None:
    listed = legend_words(compose(network(tmp_path, many(ISP_LOOKS)), Wish()))
    assert all(f"n{number}, 1 PoP" in listed for number in range(ISP_LOOKS))
    unlisted = legend_words(compose(network(tmp_path, many(ISP_LOOKS + 1)), Wish()))
    assert unlisted[:3] == [
        "ISPs",
        f"{ISP_LOOKS + 1} ISPs, named beside their PoPs",
        "colours and shapes repeat",
    ]


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 600))
def test_the_columns_of_a_legend_hold_all_rows_and_end_with_no_heading(
    headings: list[bool], width: int
) -> None:
    rows = [Row(f"row {n}", heading=heading) for n, heading in enumerate([True, *headings, False])]
    columns = columns_of(rows, width)
    assert [row for column in columns for row in column] == rows
    assert len(columns) == 1 or max(entry.x for entry in entries_of(columns, 0, 0)) < width
    assert not any(column[-1].heading for column in columns)


def test_the_width_of_a_line_is_that_of_its_faster_direction() -> None:
    fast, slow = Direction(9_000_000), Direction(1_000_000)
    pops = (random_networks.pop("a", "one", 0), random_networks.pop("a", "two", 1))
    link = Link("a.one--a.two", "internal", "a.one", "a.two", slow, fast)
    (stroke,) = sketch_of(Network("n", (Isp("a", 1, ""),), pops, (link,))).strokes
    assert stroke.capacity_bps == 9_000_000


def test_wider_lines_carry_more_and_equal_ones_look_equal() -> None:
    thin, middle, wide = widths([10**6, 10**7, 10**9], 1.0)
    assert thin < middle < wide
    assert len(set(widths([10**7] * 3, 1.0))) == 1


def test_the_first_isps_look_different() -> None:
    assert len({isp_look(number) for number in range(ISP_LOOKS + 9)}) == ISP_LOOKS == 42


def test_members_of_an_exchange_point_are_joined_to_it_and_not_to_each_other(tmp_path: Path) -> None:
    sketch = sketch_of(network(tmp_path, exchange(5)))
    assert [(stroke.a, stroke.b, stroke.kind) for stroke in sketch.strokes] == [
        (member, 5, "peer-peer") for member in range(5)
    ]
    # four peerings of a member: the largest is with the member of the fastest port
    assert [stroke.capacity_bps for stroke in sketch.strokes] == [10**6 * rate for rate in (1, 2, 3, 4, 4)]


def test_a_network_of_very_many_isps_shows_isps(tmp_path: Path) -> None:
    drawn = network(tmp_path, many(400))
    drawing = compose(drawn, Wish())
    assert drawing.sketch.of_isps
    assert len(drawing.sketch.nodes) == 400
    assert drawing.left_out == 400 - len(drawing.labels)
    assert len(drawing.labels) > 60
    assert_nothing_covers_a_label(drawing)


def test_what_a_picture_leaves_out_stands_in_its_corner(tmp_path: Path) -> None:
    drawing = compose(network(tmp_path, many(400)), Wish())
    assert f"{drawing.left_out} names left out for want of room" in dict(boxes_as_drawn(drawing))


def test_a_route_is_lit_from_end_to_end_and_a_failed_link_is_crossed_out(tmp_path: Path) -> None:
    drawn = small_topology.network(tmp_path)
    links = ("left.one--left.two", "left.one--carrier.hub")
    wish = Wish(
        failed=frozenset({"carrier.hub--carrier.edge"}), route=Route("left.two", "carrier.hub", links)
    )
    drawing = compose(drawn, wish)
    assert {line.stroke.links[0] for line in drawing.lines if line.lit} == set(links)
    assert [line.stroke.links[0] for line in drawing.lines if line.failed] == ["carrier.hub--carrier.edge"]
    assert [drawing.sketch.nodes[node].id for node in drawing.lit_nodes] == ["left.two", "carrier.hub"]
    assert render(drawing, "svg").count(FAILED.encode()) > render(compose(drawn, Wish()), "svg").count(
        FAILED.encode()
    )


def test_a_failed_peering_that_shares_its_line_is_named(tmp_path: Path) -> None:
    drawn = network(tmp_path, exchange(3))
    failed = frozenset({drawn.links[0].id})
    assert compose(drawn, Wish(failed=failed)).failed_unseen() == failed


@pytest.mark.parametrize("inches", [4, 6, 9, 20])
def test_a_given_width_is_kept(inches: int, tmp_path: Path) -> None:
    for text in (small_topology.TEXT, many(120)):
        drawing = compose(network(tmp_path, text), Wish(width_in=inches))
        assert drawing.width == pytest.approx(inches * 72)
        assert_nothing_covers_a_label(drawing)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_on_a_narrow_page_the_legend_is_below_the_map(path: Path) -> None:
    drawing = compose(compile_network(load_topology(path)[0]), Wish(width_in=4))
    assert max(entry.y for entry in drawing.legend) < drawing.points[:, 1].min()
    assert_nothing_covers_a_label(drawing)


def test_on_a_wide_page_the_legend_is_beside_the_map(tmp_path: Path) -> None:
    drawing = compose(small_topology.network(tmp_path), Wish(width_in=9))
    assert min(entry.x for entry in drawing.legend) > drawing.points[:, 0].max()


def test_on_a_page_too_small_for_them_nodes_and_lines_are_smaller(tmp_path: Path) -> None:
    drawn = network(tmp_path, many(300))
    small, large = compose(drawn, Wish(width_in=4)), compose(drawn, Wish())
    area = float(np.ptp(small.points, axis=0).prod())
    assert np.pi * float((small.radii**2).sum()) < 0.25 * area
    assert small.scale < large.scale
    assert small.lines[0].width == pytest.approx(large.lines[0].width * small.scale / large.scale)


def test_a_long_title_fits_the_page(tmp_path: Path) -> None:
    text = small_topology.TEXT.replace("name: small", f"name: {'m' * 24}", 1)
    assert_nothing_covers_a_label(compose(network(tmp_path, text), Wish(width_in=4)))


def test_without_labels_there_is_no_name_and_none_is_missed(tmp_path: Path) -> None:
    drawing = compose(small_topology.network(tmp_path), Wish(labels=False))
    assert (drawing.labels, drawing.left_out) == ((), 0)


# The layout.


def test_a_network_over_the_date_line_is_not_folded() -> None:
    tokyo, fiji, hawaii = on_map(
        [Node("a", "x", "a", 0.0, 140.0), Node("b", "x", "b", 0.0, 178.0), Node("c", "x", "c", 0.0, -157.0)]
    )
    assert tokyo[0] < fiji[0] < hawaii[0]
    assert hawaii[0] - tokyo[0] == pytest.approx(63.0)


def test_a_map_at_60_degrees_is_half_as_wide() -> None:
    west, east = on_map([Node("a", "x", "a", 60.0, 10.0), Node("b", "x", "b", 60.0, 20.0)])
    assert east[0] - west[0] == pytest.approx(5.0)


def test_a_pop_without_coordinates_is_near_its_neighbour(tmp_path: Path) -> None:
    sketch = sketch_of(small_topology.network(tmp_path))
    points = dict(zip((node.id for node in sketch.nodes), place(sketch), strict=True))
    away = {name: float(np.hypot(*(at - points["right.only"]))) for name, at in points.items()}
    assert sorted(away, key=lambda name: away[name])[:2] == ["right.only", "carrier.edge"]


def test_isps_without_coordinates_are_clusters(tmp_path: Path) -> None:
    ring = "asn: {0}, pops: {{a: {{}}, b: {{}}, c: {{}}}}, links: [{1}]"
    links = ", ".join(f"{{between: [{pair}], capacity: 1 Mbit/s}}" for pair in ("a, b", "b, c", "c, a"))
    isps = "".join(f"  i{n}: {{{ring.format(n, links)}}}\n" for n in range(1, 5))
    peers = "".join(
        f"  - {{between: [i{n}.a, i{n + 1}.b], relationship: peer-peer, capacity: 1 Mbit/s}}\n"
        for n in range(1, 4)
    )
    points = place(sketch_of(network(tmp_path, f"name: rings\nisps:\n{isps}interdomain:\n{peers}")))
    middles = points.reshape(4, 3, 2).mean(axis=1)
    for number, at in enumerate(points):
        assert np.hypot(*(middles - at).T).argmin() == number // 3


def test_parts_that_nothing_joins_lie_side_by_side(tmp_path: Path) -> None:
    inside = "pops: {a: {}, b: {}}, links: [{between: [a, b], capacity: 1 Mbit/s}]"
    text = "name: apart\nisps:\n" + "".join(f"  i{n}: {{asn: {n}, {inside}}}\n" for n in (1, 2))
    points = place(sketch_of(network(tmp_path, text)))
    assert points[:2, 0].max() < points[2:, 0].min()


def test_pops_of_one_city_stand_around_it_towards_their_neighbours() -> None:
    points = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [100.0, 0.0], [-100.0, 0.0]])
    fanned = fan_out(points, [[4], [3], [], [1], [0]], 30.0)
    assert all(np.hypot(*(a - b)) > 29.9 for a, b in combinations(fanned, 2))
    assert fanned[0][0] < fanned[1][0]
    np.testing.assert_array_equal(fanned[3:], points[3:])


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=30))
@settings(deadline=None)
def test_points_pushed_apart_are_apart(places: list[tuple[int, int]]) -> None:
    points = push_apart(np.array(places, dtype=float), np.full(len(places), 4.0))
    assert all(np.hypot(*(a - b)) > 7.0 for a, b in combinations(points, 2))


def test_points_fit_the_page_undistorted() -> None:
    fitted = fit(np.array([[0.0, 0.0], [2.0, 1.0]]), 100.0, 100.0)
    np.testing.assert_allclose(fitted, [[0, 25], [100, 75]])
    np.testing.assert_allclose(fit(np.array([[7.0, 7.0]]), 100.0, 60.0), [[50, 30]])


# Lines.


def strokes(*pairs: tuple[int, int]) -> list[Stroke]:
    return [Stroke((str(number),), a, b, "internal", 10**6) for number, (a, b) in enumerate(pairs)]


def test_parallel_links_are_bowed_apart_whichever_end_comes_first() -> None:
    points = np.array([[0.0, 0.0], [100.0, 0.0]])
    lines = lines_of(strokes((0, 1), (1, 0), (0, 1)), points, np.full(2, 5.0))
    heights = sorted(float(middle_of(line)[1]) for line in lines)
    assert all(after - before > 10 for before, after in pairwise(heights))
    np.testing.assert_allclose(lines[1][[0, -1]], points[::-1])


def test_a_line_goes_around_a_node_that_is_in_its_way() -> None:
    points = np.array([[0.0, 0.0], [200.0, 0.0], [100.0, 1.0]])
    (line,) = lines_of(strokes((0, 1)), points, np.full(3, 5.0))
    assert np.hypot(*(line - points[2]).T).min() > 5 + 2


def test_a_line_is_cut_at_both_ends_by_length() -> None:
    line = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]])
    np.testing.assert_allclose(cut(line, 4.0, 3.0), [[4, 0], [10, 0], [10, 7]])
    np.testing.assert_allclose(cut(line, 15.0, 15.0), [[10, 0], [10, 0]])


def test_the_head_of_an_arrow_on_a_short_line_leaves_some_of_the_line() -> None:
    head, size = arrow_head(np.array([[0.0, 0.0], [12.0, 0.0]]), 5.0, 2.0, 1.0)
    assert size < 7
    np.testing.assert_allclose(head[0], [7, 0])


# Labels.

COORDINATES = st.integers(0, 300).map(float)


@st.composite
def pages(draw: st.DrawFn) -> tuple[list[Wanted], Surroundings]:
    places = draw(st.lists(st.tuples(COORDINATES, COORDINATES), min_size=1, max_size=25, unique=True))
    segments = draw(st.lists(st.tuples(*[COORDINATES] * 4), max_size=6))
    sizes = draw(st.lists(st.integers(8, 90), min_size=len(places), max_size=len(places)))
    wanted = [
        Wanted(float(width), 11.0, (node,), leader=draw(st.booleans())) for node, width in enumerate(sizes)
    ]
    around = Surroundings(
        points=np.array(places),
        radii=np.full(len(places), 4.0),
        segments=np.array(segments, dtype=float).reshape(-1, 4),
        bounds=(-20.0, -20.0, 320.0, 320.0),
    )
    return wanted, around


@given(pages())
@settings(deadline=None, max_examples=150)
def test_placed_labels_cover_nothing(page: tuple[list[Wanted], Surroundings]) -> None:
    wanted, around = page
    placed = [label for label in place_labels(wanted, around) if label is not None]
    boxes = np.array([label.box for label in placed]).reshape(-1, 4)
    assert overlaps(boxes, boxes).sum() == len(boxes)
    x0, y0, x1, y1 = around.bounds
    assert ((boxes >= [x0, y0, x0, y0]) & (boxes <= [x1, y1, x1, y1])).all()
    for label in placed:
        outside = np.maximum(np.maximum(label.box[:2] - around.points, around.points - label.box[2:]), 0)
        assert (np.hypot(*outside.T) >= around.radii).all()
        if label.leader is not None:
            assert not crosses(boxes, np.array([label.leader])).any()


def surroundings(
    points: list[tuple[float, float]], bounds: tuple[float, float, float, float]
) -> Surroundings:
    return Surroundings(np.array(points), np.full(len(points), 4.0), np.empty((0, 4)), bounds)


def test_a_label_alone_stands_right_of_its_node() -> None:
    (label,) = place_labels([Wanted(30.0, 10.0, (0,))], surroundings([(50.0, 50.0)], (0, 0, 100, 100)))
    assert label == Placed((56.5, 45.0, 86.5, 55.0), -1, None)


def test_a_label_for_which_there_is_no_room_is_left_out() -> None:
    assert place_labels([Wanted(300.0, 10.0, (0,))], surroundings([(50.0, 50.0)], (0, 0, 100, 100))) == [None]


def test_a_label_is_moved_for_one_that_has_no_other_place() -> None:
    # The wide one fits only right of its node, where the other, placed first, prefers to stand too, as a link
    # lies under its second choice.
    around = surroundings([(10.0, 8.0), (60.0, 8.0)], (0, 0, 100, 16))
    around = Surroundings(around.points, around.radii, np.array([[60.0, 8.0, 100.0, 8.0]]), around.bounds)
    wanted = [
        Wanted(36.0, 10.0, (0,), leader=False),
        Wanted(30.0, 10.0, (1,), leader=False, priority=1.0),
    ]
    (_, alone) = place_labels([Wanted(999.0, 1.0, (0,)), wanted[1]], around)
    assert alone is not None
    assert alone.box[2] < 60
    wide, small = place_labels(wanted, around)
    assert wide is not None
    assert small is not None


def test_a_label_avoids_a_link_where_it_can() -> None:
    around = surroundings([(50.0, 50.0)], (0, 0, 100, 100))
    crossed = Surroundings(around.points, around.radii, np.array([[50.0, 50.0, 100.0, 50.0]]), around.bounds)
    (label,) = place_labels([Wanted(20.0, 10.0, (0,))], crossed)
    assert label is not None
    assert not crosses(np.array([label.box]), crossed.segments).any()


# The verb.


def test_graph_draws_into_the_named_file_and_prints_the_route(tmp_path: Path) -> None:
    small_topology.write(tmp_path)
    done = testbed(
        "graph", "small.yaml", "-o", "net.svg", "--path", "left.two", "carrier.hub", folder=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("left.one--left.two\nleft.one--carrier.hub\nnet.svg: 3 ISPs, 5 PoPs, 4 links\n")
    ElementTree.parse(tmp_path / "net.svg")


def test_graph_without_a_file_writes_svg_of_the_networks_name(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(small_topology.TEXT, encoding="utf-8")
    assert testbed("graph", "other.yaml", folder=tmp_path).returncode == 0
    assert (tmp_path / "small.svg").is_file()


def test_graph_lists_the_names_of_links_and_draws_nothing(tmp_path: Path) -> None:
    small_topology.write(tmp_path)
    done = testbed("graph", "small.yaml", "--links", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "carrier.hub--carrier.edge",
        "left.one--left.two",
        "left.one--carrier.hub",
        "right.only--carrier.edge",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def test_graph_takes_the_ends_of_a_failed_link_in_either_order(tmp_path: Path) -> None:
    small_topology.write(tmp_path)
    for name in ("left.one--left.two", "left.two--left.one"):
        done = testbed("graph", "small.yaml", "-o", f"{name}.svg", "--failed", name, folder=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
    assert len({path.read_bytes() for path in tmp_path.glob("*.svg")}) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ("-o", "net.jpg"),
            "-o: can't draw into 'net.jpg': its ending names no format\n  allowed: .svg,",
        ),
        (("-o", "no/net.svg"), "-o: there is no folder no\n  to mend it: mkdir -p no"),
        (("-o", "folder.svg"), "-o: folder.svg is a folder"),
        (("--failed", "left.one--left.tow"), "did you mean 'left.one--left.two'?"),
        (("--path", "left.one", "left.tow"), "did you mean 'left.two'?"),
        (
            ("--path", "left.one", "left.two", "--failed", "left.one--left.two"),
            "--path: there is no route from left.one to left.two without the failed links",
        ),
    ],
)
def test_graph_says_what_is_wrong_with_its_options(
    options: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    small_topology.write(tmp_path)
    (tmp_path / "folder.svg").mkdir()
    done = testbed("graph", "small.yaml", *options, folder=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.svg", "small.yaml"]
