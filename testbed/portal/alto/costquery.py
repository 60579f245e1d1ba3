"""One question about costs, of PIDs or of endpoints: both requests ask it in the same words.

In come the request's object and what a resource offers; out come the costs of the answer as text and the
members of its meta that tell what they are (RFC 7285 sections 11.3.2 and 11.5.1, with RFC 8189 and RFC 8896).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from testbed.portal.alto import calendars, constraints, multicost
from testbed.portal.alto.constraints import Allowed, Tests
from testbed.portal.alto.costs import CostOffer, CostTable, ValueTexts
from testbed.portal.alto.model import Calendar, CostType, ProtocolError
from testbed.portal.alto.requests import JsonObject

Places = Sequence[int] | None
"""PIDs by their index in the matrices; None: all of them."""
Indices = npt.NDArray[np.intp]

MOST_COSTS = 2_000_000
"""In one answer that is made for the request, or as many as the operator's own calendars of all PIDs have."""
MOST_TESTED = 2**26
"""Costs that the constraints of one request look at, each of them counted for itself."""
_TESTED_AT_ONCE = 64
"""So many are tested in the time in which one is written."""
_ONE_TEST = 30
"""What a test takes beside that, in costs that are written."""


@dataclass(frozen=True)
class CostQuery:
    """A checked request: the costs in their order, and the tests on `tested` that a pair has to pass.

    `several`: the answer is an array even of one cost. `calendars` are those of the requested costs that come
    as calendars, by name. `pairs_field` and `tests_field` are the fields of the request that are wrong where
    it asks for too much.
    """

    offer: CostOffer
    types: tuple[CostType, ...]
    several: bool
    tested: tuple[CostType, ...]
    tests: Tests
    calendars: Mapping[str, Calendar]
    pairs_field: str
    tests_field: str

    def meta(self, now_s: float) -> dict[str, Any]:
        """The members of an answer's meta that say what the costs are."""
        shown = [answered(kind) for kind in self.types]
        meta: dict[str, Any] = {multicost.SEVERAL: shown} if self.several else {"cost-type": shown[0]}
        if self.calendars:
            meta["calendar-response-attributes"] = calendars.response_attributes(self.calendars, now_s)
        return meta

    def table(self) -> CostTable | None:
        """The table that has the answer as it is, None where costs come as arrays."""
        return None if self.several or self.calendars else self.offer.tables[self.types[0].name]

    def work(self, sources: Places, targets: Places) -> int:
        """What the answer for these PIDs takes, in costs that are looked at.

        Raises E_INVALID_FIELD_VALUE where it is more than one answer may be.
        """
        pids = len(self.offer.tables[self.types[0].name].matrix)
        costs = _count(sources, pids) * _count(targets, pids) * sum(map(self._length, self.types))
        if costs > max(MOST_COSTS, pids**2 * sum(self._length(kind) for kind in self.offer.types)):
            raise ProtocolError("E_INVALID_FIELD_VALUE", field=self.pairs_field)
        tests = sum(len(alternative) for alternative in self.tests)
        tested = tests * _count_distinct(sources, pids) * _count_distinct(targets, pids)
        if tested > MOST_TESTED:
            raise ProtocolError("E_INVALID_FIELD_VALUE", field=self.tests_field)
        return costs + tested // _TESTED_AT_ONCE + tests * _ONE_TEST

    def until_s(self, now_s: float) -> float:
        """Unix time from which on the answer is another."""
        return calendars.until_s(self.calendars.values(), now_s)

    def texts(self, now_s: float) -> ValueTexts:
        """The costs as they are answered."""
        columns = [self._column(kind, now_s) for kind in self.types]
        return multicost.array_texts(columns) if self.several else columns[0]

    def passed(self, sources: Places, targets: Places) -> Allowed | None:
        """Which pairs pass the tests, (sources, targets); None without tests."""
        if not self.tests:
            return None
        matrices = [self.offer.tables[kind.name].matrix for kind in self.tested]
        # Many endpoints are of few PIDs: each pair of PIDs is tested once.
        pids = len(matrices[0])
        rows, row_of = _distinct(sources, pids)
        columns, column_of = _distinct(targets, pids)
        good = constraints.allowed(self.tests, [matrix[np.ix_(rows, columns)] for matrix in matrices])
        return good[np.ix_(row_of, column_of)]

    def _length(self, kind: CostType) -> int:
        calendar = self.calendars.get(kind.name)
        return len(calendar.factors) if calendar else 1

    def _column(self, kind: CostType, now_s: float) -> ValueTexts:
        table = self.offer.tables[kind.name]
        calendar = self.calendars.get(kind.name)
        return table.values if calendar is None else calendars.value_texts(table, calendar, now_s)


def read(request: JsonObject, offer: CostOffer, pairs_field: str) -> CostQuery:
    """Check all of a request but its PIDs or endpoints, which are in `pairs_field`. Raises ProtocolError."""
    types, several = multicost.requested_types(request, offer.types)
    tested = multicost.tested_types(request, types, offer.types)
    tests = multicost.tests(request, len(tested))
    over_time: dict[str, Calendar] = {}
    if offer.calendars:  # without any, `calendared` is a field that we do not know
        for kind, wanted in zip(types, calendars.asked_for(request, len(types)), strict=True):
            if wanted and kind.name in offer.calendars:
                over_time[kind.name] = offer.calendars[kind.name]
    # An error names a field that is there; who gives no PIDs asks for too much with the costs.
    blamed = [pairs_field, calendars.FIELD, multicost.SEVERAL, "cost-type"]
    return CostQuery(
        offer,
        types,
        several,
        tested,
        tests,
        over_time,
        pairs_field=next(field for field in blamed if field in request),
        tests_field=multicost.ALTERNATIVES if multicost.ALTERNATIVES in request else multicost.CONSTRAINTS,
    )


def capabilities(offer: CostOffer) -> dict[str, Any]:
    """What the directory says of a resource that answers such requests.

    With `cost-constraints` all cost types can be tested, so there is no `testable-cost-type-names` (RFC 8189
    section 4.1.1).
    """
    shown: dict[str, Any] = {
        "cost-type-names": [kind.name for kind in offer.types],
        "cost-constraints": True,
        "max-cost-types": len(offer.types),
    }
    if offer.calendars:
        shown["calendar-attributes"] = calendars.capabilities(offer.calendars)
    return shown


def _count(places: Places, pids: int) -> int:
    return pids if places is None else len(places)


def _count_distinct(places: Places, pids: int) -> int:
    return pids if places is None else len(set(places))


def _distinct(places: Places, pids: int) -> tuple[Indices, Indices]:
    """The PIDs, each once, and which of them each place is."""
    if places is None:
        return np.arange(pids), np.arange(pids)
    found, which = np.unique(np.asarray(places, np.intp), return_inverse=True)
    return found, which


def answered(kind: CostType) -> dict[str, Any]:
    """A cost type in the meta of an answer: as in the directory, without the description for people."""
    return {key: value for key, value in kind.to_json().items() if key != "description"}
