"""Pricing that cannot do what it says is refused, with what to change."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.portal.config import PortalConfig
from testbed.portal.pricing import static_distances

LINKS = [
    {"id": "ab", "a": "a", "b": "b", "capacity_bps": 10, "delay_s": 0.01, "length_km": 5},
    {"id": "bc", "a": "b", "b": "c", "capacity_bps": 10, "delay_s": 0.0, "length_km": 7},
]
EXIT = {"pid": "x", "exit": "a", "length_km": 0}


def portal(objective: str = "static", links: Any = LINKS, external: Any = (), **changes: Any) -> PortalConfig:
    costs = changes.pop("costs", None)
    return PortalConfig.model_validate(
        {
            "isp": "home",
            "listen": "127.0.0.1:0",
            "pids": [{"pid": pid, "prefixes": []} for pid in "abc"],
            "links": links,
            "external": external,
            "costs": costs,
            "pricing": {"objective": objective, **changes},
        }
    )


def without(key: str, which: int | None = None) -> list[dict[str, Any]]:
    """The links without a key: all of them, or one."""
    return [
        {name: value for name, value in link.items() if name != key or which not in (None, number)}
        for number, link in enumerate(LINKS)
    ]


@pytest.mark.parametrize("objective", ["mlu", "bdp", "multihoming"])
def test_prices_and_a_map_by_hand_exclude_each_other(objective: str) -> None:
    with pytest.raises(ValueError, match=r"leave `costs` out, or take objective static"):
        portal(objective, external=[EXIT], costs={"a": {"b": 1}})


@pytest.mark.parametrize("objective", ["mlu", "bdp"])
def test_utilisation_needs_a_capacity(objective: str) -> None:
    with pytest.raises(ValueError, match="no link has one; give capacity_bps"):
        portal(objective, links=without("capacity_bps"))
    assert portal(objective, links=without("capacity_bps", 0)), "one is enough"
    assert portal(objective, links=without("capacity_bps"), external=[{**EXIT, "capacity_bps": 5}])


def test_a_bill_needs_a_neighbour() -> None:
    with pytest.raises(ValueError, match="give `external`, or take another objective"):
        portal("multihoming")


def test_a_billing_slot_lasts_for_an_update_at_least() -> None:
    slots = {"slot_s": 10}
    with pytest.raises(ValueError, match="make update_s shorter, or slots longer"):
        portal("multihoming", external=[EXIT], update_s=11, charging=slots)
    assert portal("multihoming", external=[EXIT], update_s=10, charging=slots)
    assert portal("mlu", update_s=11, charging=slots), "nothing is billed"


@pytest.mark.parametrize("objective", ["static", "bdp", "multihoming"])
def test_clip_normalise_is_of_mlu_alone(objective: str) -> None:
    with pytest.raises(ValueError, match=f"objective {objective} takes euclidean"):
        portal(objective, external=[EXIT], projection="clip-normalise")
    assert portal("mlu", projection="clip-normalise")


def test_loads_are_known_by_the_ids_of_links() -> None:
    with pytest.raises(ValueError, match="'ab' is given twice"):
        portal(links=[LINKS[0], {**LINKS[1], "id": "ab"}])
    assert portal(links=without("id")), "links without an id are not measured"
    ways = [{**EXIT, "id": "up"}, {**EXIT, "pid": "y", "id": "up"}]
    assert portal(external=ways), "one link out may lead to several"


def test_a_length_that_is_not_known_is_not_taken_for_none() -> None:
    assert static_distances(portal(metric="length", external=[EXIT])).matrix[0].tolist() == [0, 5, 12, 0]
    for links in (without("length_km"), without("length_km", 1), [LINKS[0], {**LINKS[1], "length_km": 0}]):
        with pytest.raises(ValueError, match=r"'.' to '.': its length is not known; give length_km"):
            portal(metric="length", links=links)
    with pytest.raises(ValueError, match="external: 'a' to 'x': its length is not known"):
        portal(metric="length", external=[{"pid": "x", "exit": "a"}])
    with pytest.raises(ValueError, match="links: 'b' to 'c'"):
        portal(metric="length", links=without("length_km", 1))
    assert portal("mlu", metric="length", links=without("length_km")), "no distances are asked for"
    assert portal(metric="length", links=without("length_km"), costs={"a": {"b": 1}})


def test_delays_that_nobody_gave_are_not_taken_for_none() -> None:
    assert static_distances(portal(metric="delay")).matrix[0].tolist() == [0, 10, 10]
    with pytest.raises(ValueError, match="no link has one; give delay_s"):
        portal(metric="delay", links=without("delay_s"), external=[EXIT])
    assert portal("mlu", metric="delay", links=without("delay_s"))
