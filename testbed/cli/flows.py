"""What each direction of each link carries: links and counters of the API in, one `Flow` each out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testbed.topology.model import Network


@dataclass(frozen=True)
class Flow:
    """What leaves PoP `source` by `link`, since the controller started, and in the last interval.

    `utilisation` is the share of the capacity that is used, with the background load of others; counted
    values are None where the switch was not asked yet.
    """

    link: str
    source: str
    destination: str
    state: str
    background_bps: int = 0
    rate_bps: float | None = None
    utilisation: float | None = None
    bytes: int | None = None
    packets: int | None = None
    dropped: int | None = None

    @property
    def name(self) -> str:
        """`a → b`, and for the second of parallel links `a → b ~2`."""
        _, tilde, rank = self.link.partition("~")
        return f"{self.source} → {self.destination}" + (f" {tilde}{rank}" if tilde else "")


def flows(links: Iterable[Mapping[str, Any]], counters: Mapping[str, Any], network: Network) -> list[Flow]:
    """Both directions of each link, in their order. `counters` is what /counters has under `links`."""
    return [flow for link in links for flow in _of_link(link, counters.get(link["id"], {}), network)]


def busiest(found: Iterable[Flow]) -> list[Flow]:
    """The same, the most used first; ties in the order of the file."""
    return sorted(found, key=lambda flow: -(flow.utilisation or 0.0))


def _of_link(link: Mapping[str, Any], counted: Mapping[str, Any], network: Network) -> Iterator[Flow]:
    known = network.link_by_id[link["id"]]
    for direction in (link["forward"], link["backward"]):
        source = direction["from"]
        background_bps = known.direction(source).background_bps
        now = counted.get(source, {})
        rate_bps = now.get("rate_bps")
        yield Flow(
            link["id"],
            source,
            known.other(source),
            link["state"],
            background_bps,
            rate_bps,
            None
            if rate_bps is None
            else (rate_bps + background_bps) / (direction["rate_bps"] + background_bps),
            now.get("bytes"),
            now.get("packets"),
            now.get("dropped"),
        )
