"""What the portals say, as a policy sees it: the PID and ISP of an address, and distances between PIDs.

In come the ISPs' prefixes and the maps that were read last, out comes the guidance for one requester, or the
reason why it has none. Each ISP speaks for its own requesters: PIDs and distances are those of the
requester's ISP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from testbed.portal.alto.reading import CostMap, NetworkMap
from testbed.portal.prefixes import PrefixTable

# Why a requester has no guidance: the words of the announce record.
NO_PORTAL = "no portal"  # the address is in no known ISP, or that ISP has no portal
NO_MAP_YET = "no map yet"  # the first answer of the portal is still on its way
UNREACHABLE = "unreachable"  # the portal does not answer, and its last map, if any, is too old
CLOSED = "closed"  # the portal does not show its maps to us, and its last map, if any, is too old
BROKEN = "broken"  # the portal answers, but with no valid map, and its last map, if any, is too old
NOT_IN_MAP = "not in map"  # the map says nothing of the requester's PID
NOT_NEEDED = "policy needs none"

_CACHE_LIMIT = 200_000  # addresses; one entry is some 100 bytes


@dataclass(frozen=True)
class Guidance:
    """One requester's view. `pid_of` and `isp_of` take an address; an unknown one gives None.

    `distance(source PID, destination PID)` is the p-distance, None where the portal gives none. Never compare
    the distances of two ISPs.
    """

    isp: str
    pid: str
    pid_of: Callable[[str], str | None]
    isp_of: Callable[[str], str | None]
    distance: Callable[[str, str], float | None]


class _CachedTable:
    """A prefix table that remembers the addresses that it was asked for: peers come back again and again."""

    def __init__(self, table: PrefixTable[str]) -> None:
        self._table = table
        self._known: dict[str, str | None] = {}

    def __call__(self, address: str) -> str | None:
        try:
            return self._known[address]
        except KeyError:
            if len(self._known) >= _CACHE_LIMIT:
                self._known.clear()
            value = self._known[address] = self._table.lookup(address)
            return value


@dataclass(frozen=True)
class IspMaps:
    """One portal's network map and cost map, which belong together."""

    network_map: NetworkMap
    cost_map: CostMap
    pid_of: Callable[[str], str | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pid_of", _CachedTable(self.network_map.pids))

    def distance(self, source: str, target: str) -> float | None:
        row = self.cost_map.costs.get(source)
        return None if row is None else row.get(target)


MapsOrReason = IspMaps | str


class GuidanceBook:
    """The maps of all ISPs, as they come in. `isps` are (prefix, ISP) pairs."""

    def __init__(self, isps: Iterable[tuple[str, str]], with_portal: Iterable[str]) -> None:
        """Raises ValueError where two ISPs have one prefix."""
        self.isp_of: Callable[[str], str | None] = _CachedTable(PrefixTable(isps))
        self._current: dict[str, MapsOrReason] = dict.fromkeys(with_portal, NO_MAP_YET)

    def put(self, isp: str, maps_or_reason: MapsOrReason) -> None:
        """Take an ISP's new maps, or the reason why it has none now."""
        self._current[isp] = maps_or_reason

    def view(self, ip: str) -> tuple[Guidance | None, str]:
        """The guidance for a requester at `ip` and "", or None and the reason why there is none."""
        isp = self.isp_of(ip)
        if isp is None:
            return None, NO_PORTAL
        current = self._current.get(isp, NO_PORTAL)
        if isinstance(current, str):
            return None, current
        pid = current.pid_of(ip)
        if pid is None or pid not in current.cost_map.costs:
            return None, NOT_IN_MAP
        return Guidance(isp, pid, current.pid_of, self.isp_of, current.distance), ""


@dataclass(frozen=True)
class Classes:
    """How many peers of an answer are where, seen from the requester; same ISP excludes same PID."""

    same_pid: int
    same_isp: int
    other_isp: int


def classify(
    ip: str, peers: Iterable[str], guidance: Guidance | None, isp_of: Callable[[str], str | None]
) -> Classes:
    """Sort the addresses `peers` for the record. Without guidance nobody is known to be in the same PID."""
    isp = isp_of(ip)
    counts: Mapping[str, list[str]] = {"pid": [], "isp": [], "other": []}
    for peer in peers:
        same_isp = isp is not None and isp_of(peer) == isp
        if guidance is not None and same_isp and guidance.pid_of(peer) == guidance.pid:
            counts["pid"].append(peer)
        else:
            counts["isp" if same_isp else "other"].append(peer)
    return Classes(len(counts["pid"]), len(counts["isp"]), len(counts["other"]))
