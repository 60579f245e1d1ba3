"""The `portals:` section: what holds for all, what is different for some, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import UserError
from testbed.spec.experiment import ExperimentSpec, load_experiment
from testbed.spec.portals import FaultsSpec, PortalsSpec

ROOT = Path(__file__).parents[3]
QUICKSTART = (ROOT / "experiments" / "quickstart.yaml").read_text(encoding="utf-8")


def experiment(tmp_path: Path, portals: str) -> ExperimentSpec:
    path = tmp_path / "experiment.yaml"
    text = QUICKSTART.replace("../topologies", str(ROOT / "topologies"))
    assert "\nportals:" not in text
    path.write_text(f"{text}\nportals:\n{portals}", encoding="utf-8")
    return load_experiment(path)[0]


def test_an_isp_has_what_is_given_for_it_and_for_the_rest_what_holds_for_all(tmp_path: Path) -> None:
    portals = experiment(
        tmp_path,
        "  pricing: mlu\n  maps: password\n  isps:\n    dslnet: {maps: closed, faults: {missing: 30 %}}\n",
    ).portals
    assert portals.of("backbone").maps == "password"
    dslnet = portals.of("dslnet")
    assert (dslnet.maps, dslnet.pricing.objective, dslnet.faults.missing) == ("closed", "mlu", 0.3)
    assert portals.of("backbone").faults == FaultsSpec()


def test_what_an_isp_says_counts_even_where_it_is_the_default(tmp_path: Path) -> None:
    portals = experiment(tmp_path, "  pricing: mlu\n  isps:\n    dslnet: {pricing: static}\n").portals
    assert portals.of("dslnet").pricing.objective == "static"


def test_times_of_portals_grow_when_rates_are_scaled_down(tmp_path: Path) -> None:
    portals = experiment(
        tmp_path,
        "  refresh: 4 s\n  pricing: {objective: multihoming, update: 2 s, slot: 1 s}\n"
        "  isps:\n    dslnet: {pricing: {update: 3 s}}\n    cablenet: {levels: 4}\n",
    ).portals.slowed(0.5)
    assert (portals.refresh, portals.pricing.update, portals.pricing.slot) == (8, 4, 2)
    assert portals.of("dslnet").pricing.update == 6
    assert portals.of("cablenet").pricing.update == 4


@pytest.mark.parametrize(
    ("isp", "speaks"),
    [
        ("{}", True),
        ("{maps: closed}", False),
        ("{faults: {absent: true}}", False),
        ("{maps: password}", True),
    ],
)
def test_a_tracker_does_not_wait_for_a_portal_that_does_not_speak_to_it(
    tmp_path: Path, isp: str, speaks: bool
) -> None:
    portals = experiment(tmp_path, f"  isps:\n    dslnet: {isp}\n").portals
    assert portals.of("dslnet").says_nothing is not speaks


@pytest.mark.parametrize(
    ("portals", "said"),
    [
        ("  isps:\n    dslnett: {maps: closed}\n", "did you mean 'dslnet'"),
        ("  pricing: fast\n", "static"),
        ("  pricing: {objective: mlu, update: 0 s}\n", "more than 0"),
        ("  maps: secret\n", "open"),
        ("  faults: {missing: 130 %}\n", "130 %"),
        ("  faults: {selfish: 0.5}\n", "selfish"),
        ("  levels: 1\n", "levels"),
        ("  isps:\n    dslnet: {refresh: 3 s}\n", "refresh"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_line(tmp_path: Path, portals: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        experiment(tmp_path, portals)
    assert said in str(refused.value)
    assert "experiment.yaml:" in str(refused.value)


def test_the_settings_of_one_isp_are_all_there() -> None:
    assert PortalsSpec().of("any").model_dump().keys() == PortalsSpec.__mro__[1].model_fields.keys()
