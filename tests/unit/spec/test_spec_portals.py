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
        "  refresh: 4 s\n  pricing: {objective: multihoming, update: 2 s, slot: 4 s}\n"
        "  isps:\n    dslnet: {pricing: {update: 3 s}}\n    cablenet: {levels: 4}\n",
    ).portals.slowed(0.5)
    assert (portals.refresh, portals.pricing.update, portals.pricing.slot) == (8, 4, 8)
    dslnet = portals.of("dslnet").pricing
    assert (dslnet.update, dslnet.slot, dslnet.objective) == (6, 8, "multihoming")
    assert portals.of("cablenet").pricing.update == 4


def test_what_is_given_inside_pricing_and_faults_joins_what_holds_for_all(tmp_path: Path) -> None:
    portals = experiment(
        tmp_path,
        "  pricing: {objective: mlu, update: 2 s}\n  faults: {noise: 0.5}\n"
        "  isps:\n    dslnet: {pricing: {step: {ahead: 0}}, faults: {delay: 100 ms}}\n",
    ).portals
    dslnet = portals.of("dslnet")
    assert (dslnet.pricing.objective, dslnet.pricing.update, dslnet.pricing.step.ahead) == ("mlu", 2, 0)
    assert (dslnet.faults.noise, dslnet.faults.delay) == (0.5, 0.1)
    assert portals.of("backbone").pricing.step.ahead is None


def test_a_step_is_a_size_or_more(tmp_path: Path) -> None:
    size = experiment(tmp_path, "  pricing: {objective: mlu, step: 4}\n").portals.pricing.step
    assert (size.size, size.rule) == (4, "damped")
    more = experiment(tmp_path, "  pricing: {objective: mlu, step: {size: 4, rule: diminishing}}\n")
    assert more.portals.pricing.to_portal()["step"] == {"size": 4, "rule": "diminishing"}


def test_a_billing_slot_is_an_update_long_unless_it_is_given(tmp_path: Path) -> None:
    pricing = experiment(tmp_path, "  pricing: {objective: multihoming, update: 7 s}\n").portals.pricing
    assert pricing.to_portal()["charging"] == {"slot_s": 7, "period_slots": 100, "percentile": 95}


def test_an_isp_without_a_portal_can_not_be_set_up(tmp_path: Path) -> None:
    topology = (ROOT / "topologies" / "quickstart.yaml").read_text(encoding="utf-8")
    without = topology.replace("  dslnet:\n", "  dslnet:\n    portal: false\n")
    assert without != topology
    (tmp_path / "topology.yaml").write_text(without, encoding="utf-8")
    path = tmp_path / "experiment.yaml"
    text = QUICKSTART.replace("../topologies/quickstart.yaml", "topology.yaml")
    path.write_text(f"{text}\nportals: {{isps: {{dslnet: {{maps: closed}}}}}}\n", encoding="utf-8")
    with pytest.raises(UserError, match="ISP dslnet has no portal"):
        load_experiment(path)


@pytest.mark.parametrize(
    ("portals", "said"),
    [
        ("  isps:\n    dslnett: {maps: closed}\n", "did you mean 'dslnet'"),
        ("  pricing: fast\n", "static"),
        ("  pricing: {objective: mlu, update: 500 ms}\n", "update"),
        ("  pricing: {objective: multihoming, update: 5 s, slot: 1 s}\n", "slot as long as update"),
        ("  pricing: {objective: bdp, projection: clip-normalise}\n", "leave projection out"),
        ("  isps:\n    dslnet: {pricing: {projection: clip-normalise}}\n", "portal of dslnet"),
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
