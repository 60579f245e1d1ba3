"""What a portal learns of its own links from the controller: how much they carry, and which are down.

In comes the JSON of the controller's `/loads` for this ISP, now and one update ago; out come mean rates. The
controller tells an ISP of its own links and of those at its border, and of no others.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Way = tuple[str, str]
"""One direction of a link: the link's name, and the end that it leaves."""

_TIMEOUT_S = 5.0


class NoLoads(Exception):
    """The controller does not answer, or not in a way that can be understood."""


@dataclass(frozen=True)
class Reading:
    """Counters of link directions at the moments when their switches were asked."""

    bytes: Mapping[Way, int]
    monotonic_ns: Mapping[Way, int]
    capacity_bps: Mapping[Way, float]
    down: frozenset[str]

    @staticmethod
    def of(document: Any) -> Reading:
        """Raises NoLoads where the document is not what `/loads` gives."""
        try:
            ways = {(link, end): way for link, ends in document["links"].items() for end, way in ends.items()}
            return Reading(
                {key: int(way["bytes"]) for key, way in ways.items()},
                {key: int(way["monotonic_ns"]) for key, way in ways.items()},
                {key: float(way["capacity_bps"]) for key, way in ways.items()},
                frozenset(document["down"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NoLoads(f"the controller's loads lack something: {error!r}") from None

    def counted(self, ways: Sequence[Way]) -> tuple[Way, ...]:
        """The ways as the controller calls them; in `ways` each way there is followed by its way back.

        What comes in over a border link leaves the neighbour's PoP, which the portal does not know: it is the
        end that is not its own.
        """
        ends: dict[str, list[str]] = {}
        for link, end in self.bytes:
            ends.setdefault(link, []).append(end)
        found: list[Way] = []
        for there, back in zip(ways[::2], ways[1::2], strict=True):
            others = [end for end in ends.get(back[0], []) if end != there[1]]
            found += [there, back if back in self.bytes or not others else (back[0], others[0])]
        return tuple(found)

    def seconds_since(self, before: Reading) -> float:
        """The longest time for which a way was counted between the two readings; 0 where none was."""
        both = self.monotonic_ns.keys() & before.monotonic_ns.keys()
        return max((self.monotonic_ns[way] - before.monotonic_ns[way] for way in both), default=0) / 1e9


def mean_rates(before: Reading, after: Reading, ways: Sequence[Way]) -> Vector:
    """Mean rate of each way between two readings, bit/s, (ways,).

    NaN where a way was not counted, not counted anew, or counted from the start again.
    """
    rates = np.full(len(ways), np.nan)
    for number, way in enumerate(after.counted(ways)):
        if way in before.bytes and way in after.bytes:
            elapsed_ns = after.monotonic_ns[way] - before.monotonic_ns[way]
            carried = after.bytes[way] - before.bytes[way]
            if elapsed_ns > 0 and carried >= 0:
                rates[number] = 8e9 * carried / elapsed_ns
    return rates


class LoadReader:
    """Asks the controller behind a Unix socket for the loads of one ISP. `close` ends the connection."""

    def __init__(self, socket: Path, isp: str) -> None:
        self._session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)))
        self._isp = isp

    async def read(self) -> Reading:
        """Raises NoLoads."""
        timeout = aiohttp.ClientTimeout(_TIMEOUT_S)
        try:
            async with self._session.get(
                "http://controller/loads", params={"isp": self._isp}, timeout=timeout
            ) as response:
                response.raise_for_status()
                return Reading.of(json.loads(await response.read()))
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            raise NoLoads(f"the controller does not answer: {type(error).__name__}: {error}") from None

    async def close(self) -> None:
        await self._session.close()
