"""RFC 9439 against a portal whose links are known: metrics in their units, with where they come from."""

from __future__ import annotations

import alto_examples as rfc
import pytest
from real_portal import Portal

# Of the links of conftest's portal: 2 ms, 0.1 % and 900 of 1000 Mbit/s left on each.
ONE_LINK, TWO_LINKS = ("north", "south"), ("north:inner@1", "south")


def cost(full: Portal, metric: str, pair: tuple[str, str]) -> float:
    return float(full.document(f"costmap-num-{metric}")["cost-map"][pair[0]][pair[1]])


@pytest.mark.parametrize(
    ("section", "metric", "one", "two"),
    [
        ("4.1", "delay-ow", 2000, 4000),
        ("4.4", "lossrate", 0.1, 100 * (1 - 0.999**2)),
        ("4.5", "hopcount", 1, 2),
        ("5.1", "tput", 900e6 / 8, 900e6 / 8),
    ],
)
def test_each_metric_is_in_its_unit(full: Portal, section: str, metric: str, one: float, two: float) -> None:
    """Microseconds, percent, hops, bytes a second."""
    assert section
    assert cost(full, metric, ONE_LINK) == pytest.approx(one, rel=1e-6)
    assert cost(full, metric, TWO_LINKS) == pytest.approx(two, rel=1e-6)


def test_4_5_hop_counts_are_whole_numbers(full: Portal) -> None:
    rows = full.document("costmap-num-hopcount")["cost-map"].values()
    assert all(isinstance(hops, int) for row in rows for hops in row.values())


def test_3_1_each_metric_says_where_it_comes_from(full: Portal) -> None:
    kinds = {kind["cost-metric"]: kind for kind in full.directory["meta"]["cost-types"].values()}
    for metric in ("delay-ow", "lossrate", "hopcount", "tput"):
        assert kinds[metric]["cost-context"]["cost-source"] in ("nominal", "sla", "estimation")
    assert "cost-context" not in kinds["routingcost"]


def test_3_1_the_context_stands_in_the_answer_too(full: Portal) -> None:
    kinds = full.directory["meta"]["cost-types"]
    its = full.document("costmap-num-delay-ow")["meta"]["cost-type"]
    assert its["cost-context"] == kinds["num-delay-ow"]["cost-context"]


def test_a_metric_is_asked_for_by_its_type(full: Portal) -> None:
    entry = full.entry(rfc.COST_MAP, rfc.COST_MAP_FILTER, "networkmap")
    kind = {"cost-mode": "numerical", "cost-metric": "delay-ow"}
    body = {"cost-type": kind, "pids": {"srcs": ["north"], "dsts": ["south"]}}
    assert full.ask(entry, body).document["cost-map"] == {"north": {"south": 2000}}
