"""docs/topologies.md: every example loads, and every key of the models is explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from testbed.spec.access_profiles import PROFILES
from testbed.spec.loading import Spec
from testbed.spec.topology import (
    AccessSpec,
    InterdomainLinkSpec,
    InternalLinkSpec,
    IspSpec,
    IxpSpec,
    PopSpec,
    TariffSpec,
    TopologySpec,
    load_topology,
)
from testbed.topology.compile import compile_network, peerings
from testbed.topology.plausibility import warnings_in

PAGE = (Path(__file__).parents[3] / "docs" / "topologies.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
WHOLE = [block for block in BLOCKS if re.search("^name:", block, re.MULTILINE)]
FILES = {match[1]: block for block in BLOCKS if (match := re.match(r"# (\S+\.yaml)\n", block))}
SECTIONS = [block for block in BLOCKS if block not in WHOLE and block not in FILES.values()]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("text", WHOLE)
def test_every_whole_example_loads_and_looks_right(tmp_path: Path, text: str) -> None:
    for name, part in FILES.items():
        write(tmp_path, name, part)
    spec, document = load_topology(write(tmp_path, "example.yaml", text))
    assert list(warnings_in(spec, document)) == []
    compile_network(spec)


def test_the_examples_of_the_sections_add_up_to_one_topology(tmp_path: Path) -> None:
    names = [f"part{number}.yaml" for number, _ in enumerate(SECTIONS)]
    for name, part in zip(names, SECTIONS, strict=True):
        write(tmp_path, name, part)
    path = write(tmp_path, "all.yaml", f"name: all\ninclude: [{', '.join(names)}]\n")
    spec, document = load_topology(path)
    assert list(warnings_in(spec, document)) == []
    assert [ends for _, _, *ends in peerings(spec)] == [["cablenet.lyon", "dslnet.milan"]]
    assert {pop.pid for pop in compile_network(spec).pops if pop.isp == "dslnet"} == {
        "dslnet:north",
        "dslnet:south",
    }


@pytest.mark.parametrize(
    "model",
    [
        AccessSpec,
        InterdomainLinkSpec,
        InternalLinkSpec,
        IspSpec,
        IxpSpec,
        PopSpec,
        TariffSpec,
        TopologySpec,
    ],
)
def test_every_key_is_explained(model: type[Spec]) -> None:
    assert [key for key in model.model_fields if f"`{key}`" not in PAGE] == []


def test_every_access_profile_that_ships_is_named() -> None:
    assert [name for name in PROFILES if f"`{name}`" not in PAGE] == []
