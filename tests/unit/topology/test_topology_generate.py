"""What made-up networks promise: the same file from the same seed, connected, of the size asked for."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import networkx as nx
import pytest
from command import made_again
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from testbed.cli.generate import app
from testbed.errors import UserError
from testbed.spec.loading import Document, load_document
from testbed.spec.topology import TopologySpec, load_topology, topology_of
from testbed.spec.yaml_reader import Places, read_yaml
from testbed.topology.compile import compile_network
from testbed.topology.generators import shapes
from testbed.topology.generators.internet import InternetOptions, generate_internet
from testbed.topology.generators.isp import IspOptions, generate_isp, hub_capacities
from testbed.topology.generators.places import REGIONS, boxes_of, distance_km, scatter
from testbed.topology.routes import unreachable_pairs
from testbed.topology.routing import compute_routes

KINDS = ("ring", "star", "waxman", "barabasi-albert", "internet")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, with another order of sets and dictionaries each time."""
    return subprocess.run(
        [sys.executable, "-m", "testbed", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "random"},
    )


def network_of(data: Mapping[str, Any]) -> Any:
    return compile_network(TopologySpec.model_validate({"name": "made-up", **data}))


def connected(count: int, pairs: list[tuple[int, int]]) -> bool:
    graph = nx.Graph(pairs)
    graph.add_nodes_from(range(count))
    return bool(nx.is_connected(graph))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_file_and_another_seed_another(kind: str) -> None:
    first, again, other = (run("generate", kind, "--seed", seed) for seed in ("4", "4", "5"))
    assert first.returncode == 0, first.stderr
    assert first.stdout == again.stdout
    assert first.stdout != other.stdout


def test_files_stay_the_same_from_machine_to_machine() -> None:
    """The digest was taken once; where it changes, files that users made can't be made again."""
    text = run("generate", "waxman", "--pops", "12", "--seed", "9").stdout
    text += run("generate", "barabasi-albert", "--pops", "12", "--links", "20", "--seed", "9").stdout
    text += run("generate", "internet", "--seed", "9").stdout
    assert (
        hashlib.sha256(text.encode()).hexdigest()
        == "d345121afd0571987a024bfc1645d365684d1b6d0a5df5df1f5e131500e1c000"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_made_up_network_validates_and_everyone_reaches_everyone(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "made.yaml"
    done = run("generate", kind, "-o", str(path))
    assert (done.returncode, done.stdout) == (0, "")
    network = compile_network(load_topology(path)[0])
    assert not unreachable_pairs(network, compute_routes(network))


def test_the_head_holds_the_command_that_makes_the_file_again() -> None:
    words = ["--pops", "9", "--links", "11", "--capacity", "30\nMbit/s"]
    words += ["--description", "Nine:\n\tit's a test "]
    text = run("generate", "waxman", *words).stdout
    assert made_again(text) == text


def test_one_of_a_thing_is_not_called_many() -> None:
    assert "(star): 1 PoP, 0 links, 0 directed" in run("generate", "star", "--pops", "1").stdout
    assert "(star): 2 PoPs, 1 link, 2 directed" in run("generate", "star", "--pops", "2").stdout


def test_newcomers_bring_fewer_links_where_there_are_few_pops() -> None:
    for pops, links in (("1", "0 links"), ("2", "1 link"), ("3", "3 links")):
        assert links in run("generate", "barabasi-albert", "--pops", pops).stdout.splitlines()[0]


def optional(option: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[str]]:
    return st.one_of(st.just([]), values.map(lambda value: [option, str(value)]))


CAPACITIES = st.floats(1000, 1e18).map(lambda rate: f"{rate!r} bit/s")
EVERY_KIND = [
    optional("--seed", st.integers(0, 2**64)),
    optional("--capacity", CAPACITIES),
    optional("--region", st.sampled_from(list(REGIONS))),
    optional("--name", st.from_regex(r"[a-z][a-z0-9-]{0,23}", fullmatch=True)),
    optional("--description", st.text(max_size=20)),
]
EVERY_ISP = [
    *EVERY_KIND,
    optional("--pops", st.integers(1, 12)),
    optional("--asn", st.integers(1, 4294967295)),
    optional("--weights", st.sampled_from(["distance", "capacity"])),
]
EVERY_GRAPH = [*EVERY_ISP, optional("--links", st.integers(0, 40))]
OPTIONS = {
    "ring": EVERY_ISP,
    "star": EVERY_ISP,
    "waxman": [
        *EVERY_GRAPH,
        optional("--alpha", st.floats(0.001, 1)),
        optional("--beta", st.floats(0.001, 1)),
    ],
    "barabasi-albert": [*EVERY_GRAPH, optional("--attach", st.integers(0, 9))],
    "internet": [
        *EVERY_KIND,
        *(optional(f"--{name}", st.integers(0, 5)) for name in ("tier1", "transit", "stubs", "ixps")),
        *(optional(f"--{name}-pops", st.integers(1, 4)) for name in ("tier1", "transit", "stub")),
        optional("--members", st.integers(2, 5)),
        optional("--peering", st.floats(0, 1)),
    ],
}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_file_is_valid_whatever_the_options_or_the_options_are_refused(
    kind: str, data: st.DataObject
) -> None:
    words = [word for option in OPTIONS[kind] for word in data.draw(option)]
    done = CliRunner().invoke(app, [kind, *words])
    if isinstance(done.exception, UserError):
        return
    assert done.exit_code == 0, done.exception
    path, places = Path("made.yaml"), Places()
    spec, _ = topology_of(Document(path, read_yaml(done.stdout, path, places), places))
    network = compile_network(spec)
    assert not unreachable_pairs(network, compute_routes(network))


@settings(max_examples=100, deadline=None)
@given(data=st.data(), count=st.integers(2, 15), seed=st.integers(0, 2**32), alpha=st.floats(0.01, 1))
def test_links_are_as_many_as_asked_for_and_join_all_pops(
    data: st.DataObject, count: int, seed: int, alpha: float
) -> None:
    links = data.draw(st.integers(count - 1, count * (count - 1) // 2))
    points = scatter(boxes_of("world"), count, Random(seed))
    for pairs in (
        shapes.waxman(points, Random(seed), alpha=alpha, links=links),
        shapes.barabasi_albert(count, Random(seed), links=links),
    ):
        assert len(pairs) == len(set(pairs)) == links
        assert all(0 <= a < b < count for a, b in pairs)
        assert connected(count, pairs)


@settings(max_examples=50, deadline=None)
@given(
    count=st.integers(1, 15), seed=st.integers(0, 2**32), alpha=st.floats(0.001, 1), beta=st.floats(0.001, 1)
)
def test_a_waxman_isp_is_connected_whatever_its_parameters(
    count: int, seed: int, alpha: float, beta: float
) -> None:
    rng = Random(seed)
    points = scatter(boxes_of("europe"), count, rng)
    assert connected(count, shapes.waxman(points, rng, alpha=alpha, beta=beta))


def test_waxman_links_are_shorter_where_alpha_is_low() -> None:
    points = scatter(boxes_of("europe"), 40, Random(2))

    def total_km(alpha: float) -> float:
        pairs = shapes.waxman(points, Random(2), alpha=alpha, links=80)
        return sum(distance_km(points[a], points[b]) for a, b in pairs)

    assert total_km(0.05) < 0.6 * total_km(1.0)


def test_waxman_with_a_higher_beta_has_the_links_of_a_lower_one_and_more() -> None:
    points = scatter(boxes_of("europe"), 20, Random(3))
    few, many = (set(shapes.waxman(points, Random(3), alpha=0.4, beta=beta)) for beta in (0.5, 1.0))
    assert few < many


def test_barabasi_albert_brings_some_pops_many_links() -> None:
    pairs = shapes.barabasi_albert(200, Random(1), attach=2)
    degree = Counter(end for pair in pairs for end in pair)
    assert len(pairs) == 1 + 2 * 198
    assert min(degree.values()) >= 1
    assert max(degree.values()) > 5 * 2 * len(pairs) / 200


def test_a_ring_is_one_circle_and_a_star_has_one_middle() -> None:
    points = scatter(boxes_of("europe"), 9, Random(1))
    ring = Counter(end for pair in shapes.ring(points) for end in pair)
    star = Counter(end for pair in shapes.star(points) for end in pair)
    assert set(ring.values()) == {2}
    assert connected(9, shapes.ring(points))
    assert sorted(star.values()) == [1] * 8 + [8]


@pytest.mark.parametrize("region", REGIONS)
def test_pops_are_in_their_region_and_apart(region: str) -> None:
    points = scatter(boxes_of(region), 30, Random(1))
    for latitude, longitude in points:
        assert any(
            south <= latitude <= north and west <= longitude <= east
            for south, north, west, east in REGIONS[region]
        )
    assert len(set(points)) == 30


def test_a_link_carries_twice_as_much_for_each_hub_at_its_ends() -> None:
    star_and_tail = [(0, 1), (0, 2), (0, 3), (0, 4), (4, 5), (4, 6), (4, 7), (7, 8)]
    assert hub_capacities(star_and_tail, 10) == [20, 20, 20, 40, 20, 20, 20, 10]


def test_weights_follow_distance_or_capacity() -> None:
    def links(rule: str) -> list[dict[str, Any]]:
        options = IspOptions("one", 20, weights=rule, hubs=True)
        data = generate_isp(options, lambda points, rng: shapes.waxman(points, rng, alpha=0.2, links=30))
        return list(data["isps"]["one"]["links"])

    by_capacity = {(link["capacity"], link["weight"]) for link in links("capacity")}
    assert {("200 Mbit/s", 2.0), ("100 Mbit/s", 4.0), ("400 Mbit/s", 1.0)} >= by_capacity
    assert all(link["weight"] >= 1 and link["weight"] == int(link["weight"]) for link in links("distance"))


@settings(max_examples=25, deadline=None)
@given(
    tier1=st.integers(1, 4),
    transit=st.integers(0, 8),
    stubs=st.integers(0, 12),
    pops=st.integers(1, 3),
    peering=st.floats(0, 1),
    region=st.sampled_from(["world", "europe"]),
    seed=st.integers(0, 2**32),
)
def test_in_a_made_up_internet_everyone_reaches_everyone(
    tier1: int, transit: int, stubs: int, pops: int, peering: float, region: str, seed: int
) -> None:
    options = InternetOptions(
        tier1,
        transit,
        stubs,
        ixps=2 if transit + stubs >= 4 else 0,
        members=4,
        tier1_pops=pops,
        transit_pops=pops,
        peering=peering,
        region=region,
        seed=seed,
    )
    try:
        data = generate_internet(options)
    except UserError as error:
        if "none can peer at an exchange point" not in str(error):
            raise
        # Of few ISPs each may pay the other.
        data = generate_internet(replace(options, ixps=0))
    network = network_of(data)
    assert len(network.isps) == tier1 + transit + stubs
    assert not unreachable_pairs(network, compute_routes(network))


def test_a_made_up_internet_keeps_the_rules_of_its_tiers(tmp_path: Path) -> None:
    path = tmp_path / "internet.yaml"
    words = ("--tier1", "4", "--transit", "12", "--stubs", "60", "--seed", "2", "--ixps", "3")
    assert run("generate", "internet", *words, "-o", str(path)).returncode == 0
    load_topology(path)  # no ISP pays itself through others, or this would raise
    providers: dict[str, set[str]] = {}
    peers = set()
    for link in load_document(path).data["interdomain"]:
        first, second = (end.partition(".")[0] for end in link["between"])
        if link["relationship"] == "customer-provider":
            assert link["tariff"]["price"] > 0
            providers.setdefault(first, set()).add(second)
        else:
            peers.add(frozenset((first, second)))
    top = [f"tier1-{number}" for number in range(1, 5)]
    assert not any(isp in providers for isp in top)
    assert all(frozenset((a, b)) in peers for a in top for b in top if a != b)
    sold = {provider for of_isp in providers.values() for provider in of_isp}
    assert not any(provider.startswith("stub") for provider in sold)
    stubs = [
        count for isp, count in ((isp, len(of)) for isp, of in providers.items()) if isp.startswith("stub")
    ]
    assert len(stubs) == 60
    assert {1, 2} <= set(stubs) <= {1, 2, 3}
    assert all(len(ixp["members"]) == 6 for ixp in load_document(path).data["ixps"].values())


def test_at_an_exchange_point_two_members_peer_though_each_was_drawn_with_its_provider() -> None:
    for seed in range(20):
        data = generate_internet(InternetOptions(members=2, seed=seed))
        assert {link.ixp for link in network_of(data).core_links} >= {"ix-1", "ix-2"}


def test_five_thousand_isps_are_made_in_seconds() -> None:
    data = generate_internet(InternetOptions(tier1=10, transit=490, stubs=4500, ixps=20))
    network = network_of(data)
    assert len(network.isps) == 5000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "waxman --pops 20 --links 5",
            "--links: 5 links can't connect 20 PoPs\n  allowed: 19 to 190 links between 20 PoPs",
        ),
        (
            "barabasi-albert --pops 4 --links 7",
            "--links: 7 would be more than one a pair\n  allowed: 3 to 6 links between 4 PoPs",
        ),
        ("waxman --alpha 0", "--alpha: 0.0 is out of range\n  allowed: more than 0, at most 1"),
        ("barabasi-albert --attach 20", "--attach: 20 is out of range\n  allowed: 1 to 19"),
        ("barabasi-albert --pops 1 --attach 2", "--attach: 2 is out of range\n  allowed: 1, with 1 PoP"),
        (
            "waxman --pops 1 --links 1",
            "--links: 1 would be more than one a pair\n  allowed: 0 links between 1 PoP",
        ),
        ("ring --pops 1", "--pops: 1 PoP can't be a ring\n  allowed: 3 and more"),
        ("star --pops 1001", "--pops: 1001 is out of range\n  allowed: 1 to 1000"),
        (
            "star --region mars",
            "--region: there is no region 'mars'\n"
            "  allowed: africa, asia, europe, north-america, oceania, south-america, world",
        ),
        ("star --weights hops", "--weights: there is no rule 'hops'\n  allowed: distance, capacity"),
        (
            "star --capacity 10",
            "--capacity: 10 has no unit\n"
            "  allowed: a number and one of bit/s, kbit/s, Mbit/s, Gbit/s, such as 10 Mbit/s",
        ),
        (
            "star --name Big",
            "--name: 'Big' is no name\n"
            "  allowed: up to 24 lower case letters, digits and dashes, a letter first",
        ),
        (
            "internet --transit 1 --stubs 2",
            "--members: too few transit ISPs and stubs (3) for exchange points of 6 members\n"
            "  allowed: 2 to 3\n  to mend it: --members 3, or --ixps 0",
        ),
        (
            "internet --transit 0 --stubs 0",
            "--ixps: too few transit ISPs and stubs (0) for exchange points of 6 members\n"
            "  allowed: 0\n  to mend it: --ixps 0, or more --stubs",
        ),
        (
            "internet --transit 1 --stubs 1 --members 2 --region europe",
            "--ixps: of the transit ISPs and stubs, each pays the other: none can peer at an exchange point\n"
            "  allowed: 0\n  to mend it: --ixps 0, or more --stubs",
        ),
        (
            "waxman --capacity 5e17bit/s",
            "--capacity: some links would have 4 times this, 2000000000 Gbit/s: too much\n"
            "  allowed: less than 1e+18 bit/s for each link",
        ),
        (
            "internet --capacity 7e16bit/s",
            "--capacity: some links would have 16 times this, 1120000000 Gbit/s: too much\n"
            "  allowed: less than 1e+18 bit/s for each link",
        ),
        (
            "ring --description a\u200db",
            "--description: has the character '\\u200d', which can't be printed\n"
            "  allowed: letters, digits, signs and blanks",
        ),
        ("internet --tier1 0", "--tier1: 0 is out of range\n  allowed: 1 to 50"),
    ],
)
def test_a_wrong_option_says_what_is_allowed(words: str, message: str) -> None:
    done = run("generate", *words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"testbed: {message}\n"


def test_a_shape_that_is_called_directly_refuses_what_it_cannot_make() -> None:
    with pytest.raises(UserError):
        shapes.barabasi_albert(5, Random(1), attach=5)


def test_a_file_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    done = run("generate", "ring", "-o", str(tmp_path / "no" / "ring.yaml"))
    assert done.returncode == 2
    folder = tmp_path / "no"
    assert done.stderr == f"testbed: -o: there is no folder {folder}\n  to mend it: mkdir -p {folder}\n"


def test_a_reader_that_stops_early_sees_no_traceback() -> None:
    done = subprocess.run(
        f"{sys.executable} -m testbed generate internet --stubs 3000 | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_a_help_with_an_example(kind: str) -> None:
    done = run("generate", kind, "--help")
    assert done.returncode == 0
    assert f"Example: testbed generate {kind}" in " ".join(done.stdout.split())
