"""What an ALTO server publishes, and what a request to it is made of: the types that all of ALTO here shares.

`Published` is everything at one moment, frozen; `Entry` is one resource of the directory, with the pure
function that answers it; `ProtocolError` is any error of RFC 7285 section 8.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from testbed.portal.config import CapabilityConfig, PolicyConfig
from testbed.portal.prefixes import PrefixTable

if TYPE_CHECKING:
    from testbed.portal.alto.costs import CostMapParts

Matrix = npt.NDArray[np.float64]

DIRECTORY_TYPE = "application/alto-directory+json"
NETWORK_MAP_TYPE = "application/alto-networkmap+json"
NETWORK_MAP_FILTER_TYPE = "application/alto-networkmapfilter+json"
COST_MAP_TYPE = "application/alto-costmap+json"
COST_MAP_FILTER_TYPE = "application/alto-costmapfilter+json"
ENDPOINT_PROPERTY_TYPE = "application/alto-endpointprop+json"
ENDPOINT_PROPERTY_PARAMS_TYPE = "application/alto-endpointpropparams+json"
ENDPOINT_COST_TYPE = "application/alto-endpointcost+json"
ENDPOINT_COST_PARAMS_TYPE = "application/alto-endpointcostparams+json"
ERROR_TYPE = "application/alto-error+json"

ErrorCode = Literal["E_SYNTAX", "E_MISSING_FIELD", "E_INVALID_FIELD_TYPE", "E_INVALID_FIELD_VALUE"]


class ProtocolError(Exception):
    """An error of RFC 7285 section 8.5.2. `value` is given with `field` only; "" is a value too."""

    def __init__(
        self,
        code: ErrorCode,
        *,
        field: str = "",
        value: str | None = None,
        syntax_error: str = "",
        status: HTTPStatus = HTTPStatus.BAD_REQUEST,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.field = field
        self.value = value
        self.syntax_error = syntax_error
        self.status = status

    def to_json(self) -> dict[str, Any]:
        meta: dict[str, str] = {"code": self.code}
        if self.field:
            meta["field"] = self.field
        if self.value is not None:
            meta["value"] = self.value
        if self.syntax_error:
            meta["syntax-error"] = self.syntax_error
        return {"meta": meta}


class TooMuchWork(Exception):
    """An answer is more work than the `Query` lets it be."""


@dataclass(frozen=True)
class Document:
    """One answer as it goes over the wire. `tag`, if any, serves as its ETag."""

    media_type: str
    body: bytes
    tag: str = ""
    until_s: float = math.inf
    """Unix time from which on the same question has another answer: a calendar's next interval."""
    work: int = 0
    """What making it for one request took, in costs that were looked at."""
    parts: CostMapParts | None = field(default=None, compare=False, repr=False)
    """Of a full cost map: what it was made of, which tells two of them apart sooner than their texts."""


@dataclass(frozen=True)
class CostType:
    """A cost type (RFC 7285 section 10.7). `context` is RFC 9439's cost-context."""

    name: str
    mode: Literal["numerical", "ordinal"]
    metric: str
    description: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As it stands in a directory or in the meta of an answer."""
        shown: dict[str, Any] = {"cost-mode": self.mode, "cost-metric": self.metric}
        if self.description:
            shown["description"] = self.description
        if self.context:
            shown["cost-context"] = dict(self.context)
        return shown


@dataclass(frozen=True)
class NetworkMap:
    """A complete network map: by longest prefix every address of both versions is in exactly one PID."""

    id: str
    prefixes: Mapping[str, tuple[str, ...]]
    """PID -> its prefixes; the order of PIDs is that of the cost matrices."""
    tag: str
    pids: PrefixTable[str] = field(compare=False, repr=False)


@dataclass(frozen=True)
class Calendar:
    """RFC 8896: a cost over time is the cost times `factors[k]` in interval k, the first from `start_s` on.

    `start_s` is a Unix time; the intervals repeat (a day's policy, every day).
    """

    start_s: float
    interval_s: float
    factors: tuple[float, ...]


@dataclass(frozen=True)
class Published:
    """All that a portal says at one moment. A new moment is a new `Published`.

    `costs[network map id, cost type name]` is (n, n), from PID to PID in the map's order, NaN where the ISP
    says nothing. The first network map is the default. Every map has the cost type named first.
    """

    isp: str
    asn: int
    network_maps: tuple[NetworkMap, ...]
    cost_types: tuple[CostType, ...]
    costs: Mapping[tuple[str, str], Matrix]
    calendars: Mapping[str, Calendar] = field(default_factory=dict)
    """Cost type name -> its calendar, for those that have one."""
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    capabilities: tuple[CapabilityConfig, ...] = ()
    own: frozenset[str] = frozenset()
    """The PIDs of any of the maps where hosts of the ISP itself are."""


@dataclass(frozen=True)
class Query:
    """What a client sent to an entry: the body (empty with GET), and the address that it came from.

    `given` is the body where it has been read already. An answer that is more than `most_work`, in costs to
    be looked at, raises TooMuchWork before it is made.
    """

    body: bytes
    client_ip: str
    now_s: float
    """Unix time, for calendars."""
    given: Mapping[str, Any] | None = None
    most_work: float = math.inf


@dataclass(frozen=True)
class Entry:
    """One resource of the directory (RFC 7285 section 9.2.2).

    `accepts` is the media type of requests, "" with GET; `answers` that of what comes back. `answer` raises
    ProtocolError.
    """

    id: str
    path: str
    answers: str
    answer: Callable[[Query], Document]
    accepts: str = ""
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    uses: tuple[str, ...] = ()
