"""Each file of `topologies/` is what it says: it validates, has its size, and everyone reaches everyone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command import made_again
from pydantic import ValidationError

from testbed.spec.access_profiles import PROFILES
from testbed.spec.topology import AccessSpec, TopologySpec, load_topology
from testbed.topology.compile import compile_network
from testbed.topology.model import Network
from testbed.topology.routes import unreachable_pairs
from testbed.topology.routing import compute_routes

FOLDER = Path(__file__).parents[3] / "topologies"
SHIPPED = sorted(FOLDER.glob("*.yaml"))
GENERATED = ("isp-a", "isp-b", "isp-c")

SIZES = {  # ISPs, PoPs, internal links, links between ISPs
    "abilene": (1, 11, 14, 0),
    "field-trial": (5, 19, 17, 7),
    "first-lesson": (2, 2, 0, 1),
    "isp-a": (1, 20, 37, 0),
    "isp-b": (1, 52, 56, 0),
    "isp-c": (1, 37, 90, 0),
    "multihomed": (7, 13, 6, 9),
    "quickstart": (4, 10, 7, 4),
}


def network(name: str) -> Network:
    return compile_network(load_topology(FOLDER / f"{name}.yaml")[0])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_file_opens_with_a_comment_and_everyone_reaches_everyone(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")
    spec, _ = load_topology(path)
    assert spec.name == path.stem
    compiled = compile_network(spec)
    assert not unreachable_pairs(compiled, compute_routes(compiled))


@pytest.mark.parametrize("name", SIZES)
def test_a_shipped_network_has_the_size_that_it_states(name: str) -> None:
    compiled = network(name)
    inside = sum(link.kind == "internal" for link in compiled.links)
    between = sum(link.kind == "interdomain" for link in compiled.links)
    assert (len(compiled.isps), len(compiled.pops), inside, between) == SIZES[name]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_pop_of_a_shipped_network_has_a_place_and_every_link_a_delay(path: Path) -> None:
    compiled = network(path.stem)
    assert all(pop.latitude is not None for pop in compiled.pops)
    assert all(0 < link.forward.delay_s < 0.2 for link in compiled.links)


@pytest.mark.parametrize("name", GENERATED)
def test_a_made_up_isp_comes_out_of_its_own_command_byte_for_byte(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert made_again(text) == text


def test_the_field_trial_is_small_and_its_borders_are_scarce() -> None:
    compiled = network("field-trial")
    assert len(compiled.pops) <= 20
    for link in compiled.links:
        low, high = (10e6, 50e6) if link.kind == "internal" else (3e6, 10e6)
        assert low <= link.forward.rate_bps <= high
    assert {pop.pid for pop in compiled.pops if pop.isp == "cable"} == {
        "cable:chicago",
        "cable:detroit",
        "cable:indianapolis",
        "cable:minneapolis",
    }


def test_in_the_field_trial_a_peering_is_preferred_to_a_provider() -> None:
    compiled = network("field-trial")
    path = compute_routes(compiled).pops_on_path("cable.minneapolis", "dsl.dallas")
    assert [pop.partition(".")[0] for pop in path if "meridian" in pop or "skyline" in pop] == [
        "meridian"
    ] * 2


def test_each_provider_of_the_multihomed_isp_is_the_way_to_someone() -> None:
    compiled = network("multihomed")
    routes = compute_routes(compiled)
    used = {
        routes.pops_on_path("access.lyon", destination)[-1]: {
            pop.partition(".")[0] for pop in routes.pops_on_path("access.lyon", destination)
        }
        for destination in ("north.hamburg", "south.rome", "island.dublin")
    }
    assert used == {
        "north.hamburg": {"access", "premium", "north"},
        "south.rome": {"access", "value", "south"},
        "island.dublin": {"access", "backup", "island"},
    }
    prices = {link.tariff.price for link in compiled.links if link.a.startswith("access.") and link.tariff}
    assert len(prices) == 3


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_a_line_that_says_where_its_figures_come_from(name: str) -> None:
    line = AccessSpec.model_validate(name)
    assert line == AccessSpec.model_validate(PROFILES[name])
    assert line.down >= line.up
    assert 0 < line.delay < 0.05
    assert "delay: " in line.source
    assert re.search(r"(rates|down): ", line.source)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("adsl2+", "no access profile 'adsl2+' ships; did you mean 'adsl2plus'?"),
        ("pigeon", "no access profile 'pigeon' ships"),
    ],
)
def test_an_unknown_profile_says_which_ship(given: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        AccessSpec.model_validate(given)
    (problem,) = caught.value.errors()
    assert problem["msg"] == message
    assert "adsl2plus" in problem["ctx"]["allowed"]


def test_the_schema_offers_the_profiles_by_name() -> None:
    schema = TopologySpec.model_json_schema()["$defs"]["AccessSpec"]
    names, line = schema["anyOf"]
    assert names["enum"] == list(PROFILES)
    assert line["type"] == "object"


def test_the_table_of_profiles_in_the_docs_is_that_of_the_code() -> None:
    text = (FOLDER.parent / "docs" / "generating.md").read_text(encoding="utf-8")
    for name, line in PROFILES.items():
        assert f"| `{name}` | {line['down']} | {line['up']} | {line['delay']} | {line['source']} |" in text
