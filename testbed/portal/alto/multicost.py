"""Several costs in one answer (RFC 8189), and constraints on any of them with AND and OR.

In comes a request object, out come the cost types that it wants as an array and the tests that its pairs have
to pass.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.portal.alto import constraints
from testbed.portal.alto.constraints import Tests
from testbed.portal.alto.costs import ValueTexts
from testbed.portal.alto.model import CostType, ProtocolError
from testbed.portal.alto.requests import JsonObject, as_array, as_object, as_text, required, wrong_value

SEVERAL = "multi-cost-types"
TESTED = "testable-cost-types"
CONSTRAINTS = "constraints"
ALTERNATIVES = "or-constraints"


def cost_type(value: object, path: str, offered: Sequence[CostType]) -> CostType:
    """The offered cost type with the metric and the mode of a request; its description is ignored."""
    wanted = as_object(value, path)
    metric_path, mode_path = f"{path}/cost-metric", f"{path}/cost-mode"
    metric = as_text(required(wanted, "cost-metric", metric_path), metric_path)
    mode = as_text(required(wanted, "cost-mode", mode_path), mode_path)
    same_metric = [kind for kind in offered if kind.metric == metric]
    if not same_metric:
        raise wrong_value(metric_path, metric)
    for kind in same_metric:
        if kind.mode == mode:
            return kind
    raise wrong_value(mode_path, mode)


def requested_types(request: JsonObject, offered: Sequence[CostType]) -> tuple[tuple[CostType, ...], bool]:
    """The cost types of a request, and whether they come as an array (section 4.1.2).

    A request has either `cost-type` or `multi-cost-types`.
    """
    if SEVERAL not in request:
        return (cost_type(required(request, "cost-type", "cost-type"), "cost-type", offered),), False
    several = _types(request, SEVERAL, offered)
    if "cost-type" in request:
        raise ProtocolError("E_INVALID_FIELD_VALUE", field=SEVERAL, value="beside cost-type")
    return several, True


def tested_types(
    request: JsonObject, requested: tuple[CostType, ...], offered: Sequence[CostType]
) -> tuple[CostType, ...]:
    """The cost types that the indices of constraints count: those named, else those requested."""
    return _types(request, TESTED, offered) if TESTED in request else requested


def tests(request: JsonObject, tested: int) -> Tests:
    """The tests of `constraints`, all of which have to pass, or of `or-constraints`, any array of which."""
    if ALTERNATIVES in request:
        if CONSTRAINTS in request:
            raise ProtocolError("E_INVALID_FIELD_VALUE", field=ALTERNATIVES, value="beside constraints")
        return _alternatives(request[ALTERNATIVES], tested)
    if CONSTRAINTS not in request:
        return ()
    wanted = as_array(request[CONSTRAINTS], CONSTRAINTS)
    if len(wanted) > constraints.MOST:
        raise ProtocolError("E_INVALID_FIELD_VALUE", field=CONSTRAINTS)
    every = constraints.read_all(wanted, tested, CONSTRAINTS)
    return (every,) if every else ()


def array_texts(columns: Sequence[ValueTexts]) -> ValueTexts:
    """Arrays of the columns' costs in their order, null where one has none, "" where none has one."""

    def joined(source: int, targets: Sequence[int]) -> list[str]:
        cells = zip(*[column(source, targets) for column in columns], strict=True)
        return ["[" + ",".join([v or "null" for v in cell]) + "]" if any(cell) else "" for cell in cells]

    return joined


def _types(request: JsonObject, field: str, offered: Sequence[CostType]) -> tuple[CostType, ...]:
    """At most as many as are offered: that is our `max-cost-types`."""
    elements = as_array(request[field], field, at_least=1)
    if len(elements) > len(offered):
        raise wrong_value(field, elements)
    for element in elements:
        if not isinstance(element, dict):
            raise wrong_value(field, element)
    return tuple(cost_type(element, field, offered) for element in elements)


def _alternatives(value: object, tested: int) -> Tests:
    alternatives = as_array(value, ALTERNATIVES, at_least=1)
    for alternative in alternatives:
        if not isinstance(alternative, list) or not alternative:
            raise wrong_value(ALTERNATIVES, alternative)
    if sum(len(alternative) for alternative in alternatives) > constraints.MOST:
        raise ProtocolError("E_INVALID_FIELD_VALUE", field=ALTERNATIVES)
    return tuple(constraints.read_all(alternative, tested, ALTERNATIVES) for alternative in alternatives)
