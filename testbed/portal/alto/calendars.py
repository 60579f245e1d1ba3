"""Cost calendars (RFC 8896): a cost for each interval of the coming day instead of one.

In come a cost table, its calendar and the time, out come arrays of costs whose first element is the interval
that is now, and the attributes that say so.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from email.utils import formatdate
from typing import Any

import numpy as np

from testbed.portal.alto import encoding
from testbed.portal.alto.costs import CostTable, ValueTexts
from testbed.portal.alto.model import Calendar
from testbed.portal.alto.requests import JsonObject, as_array, wrong_value

FIELD = "calendared"


def capabilities(calendars: Mapping[str, Calendar]) -> list[dict[str, Any]]:
    """The member `calendar-attributes` of a resource in the directory (section 4.1)."""
    return [
        {
            "cost-type-names": names,
            "time-interval-size": encoding.plain(interval_s),
            "number-of-intervals": intervals,
        }
        for (interval_s, intervals), names in _alike(
            {name: (calendar.interval_s, len(calendar.factors)) for name, calendar in calendars.items()}
        )
    ]


def asked_for(request: JsonObject, costs: int) -> tuple[bool, ...]:
    """Which of the requested costs are wanted as calendars; as long as these, or an error (section 4.2.1)."""
    if FIELD not in request:
        return (False,) * costs
    flags = as_array(request[FIELD], FIELD)
    for flag in flags:
        if not isinstance(flag, bool):
            raise wrong_value(FIELD, flag)
    if len(flags) != costs:
        raise wrong_value(FIELD, flags)
    return tuple(flags)


def response_attributes(calendars: Mapping[str, Calendar], now_s: float) -> list[dict[str, Any]]:
    """The member `calendar-response-attributes` of an answer's meta (section 4.2.2)."""
    return [
        {
            "cost-type-names": names,
            "calendar-start-time": formatdate(_interval_start_s(calendar, now_s), usegmt=True),
            "time-interval-size": encoding.plain(calendar.interval_s),
            "number-of-intervals": len(calendar.factors),
        }
        for calendar, names in _alike(calendars)
    ]


def value_texts(table: CostTable, calendar: Calendar, now_s: float) -> ValueTexts:
    """Costs as arrays: the cost times the factor of this interval, the next one and so on, once around.

    What is larger than any JSON number that a client may be expected to read is the largest such.
    """
    first = _interval(calendar, now_s) % len(calendar.factors)
    factors = np.array(calendar.factors[first:] + calendar.factors[:first])

    def over_time(source: int, targets: Sequence[int]) -> Sequence[str]:
        row = table.matrix[source, np.asarray(targets, np.intp)]
        with np.errstate(over="ignore"):
            products = np.minimum(row[:, np.newaxis] * factors, sys.float_info.max)
        return [
            "" if costs[0] != costs[0] else "[" + ",".join([encoding.number(cost) for cost in costs]) + "]"
            for costs in products.tolist()
        ]

    return over_time


def until_s(calendars: Iterable[Calendar], now_s: float) -> float:
    """When the first of them has its next interval, a Unix time; infinity without any."""
    ends = [_interval_start_s(calendar, now_s) + calendar.interval_s for calendar in calendars]
    return min(ends, default=math.inf)


def _interval(calendar: Calendar, now_s: float) -> int:
    return math.floor((now_s - calendar.start_s) / calendar.interval_s)


def _interval_start_s(calendar: Calendar, now_s: float) -> float:
    return calendar.start_s + _interval(calendar, now_s) * calendar.interval_s


def _alike(by_name: Mapping[str, Any]) -> list[tuple[Any, list[str]]]:
    """Each different value and the names that have it."""
    names: dict[Any, list[str]] = {}
    for name, value in by_name.items():
        names.setdefault(value, []).append(name)
    return list(names.items())
