"""All capacities of an imported topology times a factor, so that a backbone fits on one machine. Pure.

The mapping of a topology file comes in and another goes out, with a note where proportions could not be kept.
Access lines stay as they are: they belong to the people of a trial and not to the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil, floor, log10
from typing import Any

from pydantic_core import PydanticCustomError

from testbed.errors import Problem, UserError
from testbed.spec.units import parse_rate
from testbed.topology.importers.common import SLOWEST_BPS, one_or_two
from testbed.topology.writing import counted, rate_text


def scaled(data: Mapping[str, Any], factor: float) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The topology with the capacities of all links times `factor`, but no less than 1 kbit/s, and notes.

    Raises UserError where the fastest link would be too fast for a topology file.
    """
    rates = [_rates(link) for link in _links(data)]
    if factor == 1 or not rates:
        return dict(data), ()
    _check_fastest(max(map(max, rates)), factor)
    isps = {
        name: {**isp, "links": [_scaled_link(link, factor) for link in isp["links"]]}
        if "links" in isp
        else isp
        for name, isp in data["isps"].items()
    }
    sections = {**data, "isps": isps}
    if "interdomain" in data:
        sections["interdomain"] = [_scaled_link(link, factor) for link in data["interdomain"]]
    slow = sum(round(min(pair) * factor) < SLOWEST_BPS for pair in rates)
    return sections, (_note(slow, len(rates), min(map(min, rates))),) if slow else ()


def _links(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for isp in data["isps"].values():
        yield from isp.get("links", ())
    yield from data.get("interdomain", ())


def _rates(link: Mapping[str, Any]) -> tuple[int, int]:
    """The capacity of a link in bit/s, there and back."""
    capacity = link["capacity"]
    there, back = (capacity, capacity) if isinstance(capacity, str) else capacity
    return parse_rate(there), parse_rate(back)


def _scaled_link(link: Mapping[str, Any], factor: float) -> dict[str, Any]:
    there, back = (rate_text(max(SLOWEST_BPS, round(rate * factor))) for rate in _rates(link))
    return {**link, "capacity": one_or_two(there, back)}


def _check_fastest(fastest_bps: int, factor: float) -> None:
    fastest = rate_text(max(SLOWEST_BPS, round(fastest_bps * factor)))
    try:
        parse_rate(fastest)
    except PydanticCustomError as error:
        what = f"{factor:g} makes {fastest} of the fastest link"
        raise UserError(Problem(what, "--scale", allowed=str((error.context or {})["allowed"]))) from None


def _note(slow: int, links: int, slowest_bps: int) -> str:
    least = _rounded_up(SLOWEST_BPS / slowest_bps)
    return (
        f"{slow} of {counted(links, 'link')} would be slower than 1 kbit/s and got 1 kbit/s, which changes "
        f"the proportions (--scale {least:g} or more keeps them)"
    )


def _rounded_up(number: float) -> float:
    """To two digits: 0.00064516 -> 0.00065."""
    step = 10.0 ** (floor(log10(number)) - 1)
    return ceil(number / step) * step
