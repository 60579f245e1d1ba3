"""One question about costs, of PIDs or of endpoints: both requests ask it in the same words.

In come the request's object and what a resource offers; out come the costs of the answer as text and the
members of its meta that tell what they are (RFC 7285 sections 11.3.2 and 11.5.1, with RFC 8189 and RFC 8896).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from testbed.portal.alto import calendars, constraints, multicost
from testbed.portal.alto.constraints import Allowed, Tests
from testbed.portal.alto.costs import CostOffer, CostTable, ValueTexts
from testbed.portal.alto.model import Calendar, CostType, ProtocolError
from testbed.portal.alto.requests import JsonObject

MOST_COSTS = 2_000_000
"""In one answer that is made for the request: making more would keep all other clients waiting."""


@dataclass(frozen=True)
class CostQuery:
    """A checked request: the costs in their order, and the tests on `tested` that a pair has to pass.

    `several`: the answer is an array even of one cost. `calendars` are those of the requested costs that come
    as calendars, by name.
    """

    offer: CostOffer
    types: tuple[CostType, ...]
    several: bool
    tested: tuple[CostType, ...]
    tests: Tests
    calendars: Mapping[str, Calendar]

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

    def check_size(self, pairs: int, field: str) -> None:
        """Raises E_INVALID_FIELD_VALUE where so many pairs have more costs than one answer may."""
        if pairs * sum(self._length(kind) for kind in self.types) > MOST_COSTS:
            raise ProtocolError("E_INVALID_FIELD_VALUE", field=field)

    def texts(self, now_s: float) -> ValueTexts:
        """The costs as they are answered."""
        columns = [self._column(kind, now_s) for kind in self.types]
        return multicost.array_texts(columns) if self.several else columns[0]

    def passed(self, sources: Sequence[int] | None, targets: Sequence[int] | None) -> Allowed | None:
        """Which pairs of PIDs pass the tests, (sources, targets); None without tests, or for all PIDs."""
        if not self.tests:
            return None
        matrices = [self.offer.tables[kind.name].matrix for kind in self.tested]
        if sources is not None:
            matrices = [matrix[np.asarray(sources, np.intp)] for matrix in matrices]
        if targets is not None:
            matrices = [matrix[:, np.asarray(targets, np.intp)] for matrix in matrices]
        return constraints.allowed(self.tests, matrices)

    def _length(self, kind: CostType) -> int:
        calendar = self.calendars.get(kind.name)
        return len(calendar.factors) if calendar else 1

    def _column(self, kind: CostType, now_s: float) -> ValueTexts:
        table = self.offer.tables[kind.name]
        calendar = self.calendars.get(kind.name)
        return table.values if calendar is None else calendars.value_texts(table, calendar, now_s)


def read(request: JsonObject, offer: CostOffer) -> CostQuery:
    """Check all of a request but its PIDs or endpoints. Raises ProtocolError."""
    types, several = multicost.requested_types(request, offer.types)
    tested = multicost.tested_types(request, types, offer.types)
    tests = multicost.tests(request, len(tested))
    over_time: dict[str, Calendar] = {}
    if offer.calendars:  # without any, `calendared` is a field that we do not know
        for kind, wanted in zip(types, calendars.asked_for(request, len(types)), strict=True):
            if wanted and kind.name in offer.calendars:
                over_time[kind.name] = offer.calendars[kind.name]
    return CostQuery(offer, types, several, tested, tests, over_time)


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


def answered(kind: CostType) -> dict[str, Any]:
    """A cost type in the meta of an answer: as in the directory, without the description for people."""
    return {key: value for key, value in kind.to_json().items() if key != "description"}
