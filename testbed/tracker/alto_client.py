"""The tracker's ALTO client: it keeps the guidance book up to date from one portal, in the background.

In comes a portal's directory URI, out go its maps into a `GuidanceBook`, or the reason why there are none. An
announce never waits for it: a portal that is slow, gone or wrong costs guidance and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from aiohttp import DigestAuthMiddleware

from testbed.portal.alto.reading import AltoError, read_cost_map, read_directory, read_network_map
from testbed.tracker.config import IspConfig
from testbed.tracker.guidance import BROKEN, CLOSED, NO_MAP_YET, UNREACHABLE, GuidanceBook, IspMaps

log = logging.getLogger("tracker.portals")

FRESH = "fresh"  # the last refresh worked
STALE = "stale"  # it did not, but the maps are young enough to be used

TIMEOUT_S = 5.0
_MOST_BYTES = 64 * 2**20  # a map of 5,000 PIDs; a portal must not fill the tracker's memory
_FIRST_RETRY_S = 0.25  # until the first map, so that a start does not take a whole refresh

Read = TypeVar("Read")


@dataclass(frozen=True)
class _Known:
    """A document as it was read, and the ETag that asks for it only if it changed."""

    etag: str | None
    content: Any


@dataclass(frozen=True)
class Credentials:
    """What one portal wants: `authority` signs its certificate (PEM), `user` and `password` log in."""

    authority: Path | None = None
    user: str | None = None
    password: str = ""

    @staticmethod
    def of(config: IspConfig) -> Credentials:
        """Reads the files. Raises OSError where one can't be read."""
        lines = config.password_file.read_text(encoding="utf-8").splitlines() if config.password_file else []
        return Credentials(config.authority_file, config.user, lines[0] if lines else "")

    def tls(self) -> ssl.SSLContext | bool:
        if self.authority is None:
            return True
        context = ssl.create_default_context()
        context.load_verify_locations(self.authority)
        return context

    def middlewares(self) -> tuple[DigestAuthMiddleware, ...]:
        return () if self.user is None else (DigestAuthMiddleware(self.user, self.password),)


class PortalReader:
    """Polls one ISP's portal."""

    def __init__(
        self,
        isp: str,
        uri: str,
        book: GuidanceBook,
        *,
        refresh_s: float,
        stale_after_s: float,
        credentials: Credentials = Credentials(),
    ) -> None:
        self.isp = isp
        self.state = NO_MAP_YET
        self.failures: Counter[str] = Counter()
        self._uri = uri
        self._book = book
        self._refresh_s = refresh_s
        self._stale_after_ns = int(stale_after_s * 1e9)
        self._known: dict[str, _Known] = {}
        self._maps: IspMaps | None = None
        self._fetched_ns = 0
        self._tls = credentials.tls()
        self._middlewares = credentials.middlewares()

    @property
    def tag(self) -> str | None:
        """The tag of the network map in use, None before the first."""
        return self._maps.network_map.tag if self._maps else None

    async def poll(self, session: aiohttp.ClientSession) -> None:
        """Refresh for ever; until the first map the pause starts short and doubles."""
        pause_s = min(_FIRST_RETRY_S, self._refresh_s)
        while True:
            await self.refresh(session)
            if self._maps is not None:
                pause_s = self._refresh_s
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._refresh_s)

    async def refresh(self, session: aiohttp.ClientSession) -> None:
        """Ask once, and tell the book. Whatever the portal does, no exception leaves."""
        try:
            maps = await self._fetch(session)
        except aiohttp.ClientResponseError as error:
            closed = error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
            self._failed(CLOSED if closed else UNREACHABLE, f"HTTP {error.status}")
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            self._failed(UNREACHABLE, f"{type(error).__name__}: {error}")
        except (AltoError, ValueError, RecursionError) as error:
            self._failed(BROKEN, str(error))
        else:
            self._worked(maps)

    async def _fetch(self, session: aiohttp.ClientSession) -> IspMaps:
        """Directory, network map and cost map; what did not change is not sent again."""
        uris = await self._get(session, self._uri, lambda document: read_directory(document, self._uri))
        network_map = await self._get(session, uris.network_map, read_network_map)
        cost_map = await self._get(session, uris.cost_map, read_cost_map)
        if cost_map.network_map_tag != network_map.tag:
            # They were published between our two questions; the next refresh gets a pair that fits.
            raise AltoError("the cost map belongs to another network map than the one that is served")
        self._known = {uri: self._known[uri] for uri in (self._uri, uris.network_map, uris.cost_map)}
        if self._maps and self._maps.network_map is network_map and self._maps.cost_map is cost_map:
            return self._maps
        return IspMaps(network_map, cost_map)

    async def _get(self, session: aiohttp.ClientSession, uri: str, read: Callable[[Any], Read]) -> Read:
        known = self._known.get(uri)
        headers = {"If-None-Match": known.etag} if known and known.etag else {}
        timeout = aiohttp.ClientTimeout(TIMEOUT_S)
        async with session.get(
            uri, headers=headers, timeout=timeout, ssl=self._tls, middlewares=self._middlewares
        ) as response:
            if response.status == 304 and known:
                unchanged: Read = known.content
                return unchanged
            response.raise_for_status()
            content = read(json.loads(await _limited(response)))
            self._known[uri] = _Known(response.headers.get("ETag"), content)
        return content

    def _worked(self, maps: IspMaps) -> None:
        changed = maps is not self._maps
        self._maps = maps
        self._fetched_ns = time.monotonic_ns()
        if changed or self.state != FRESH:
            log.info(
                "portal of %s is fresh: %s network map %s", self.isp, "new" if changed else "same", self.tag
            )
        self.state = FRESH
        self._book.put(self.isp, maps)

    def _failed(self, reason: str, text: str) -> None:
        """Keep the last maps while they are young enough; then the reason takes their place."""
        self.failures[reason] += 1
        usable = self._maps is not None and time.monotonic_ns() - self._fetched_ns < self._stale_after_ns
        state = STALE if usable else reason
        if state != self.state:
            log.warning(
                "portal of %s is %s (%s): %s", self.isp, reason, "old maps serve" if usable else state, text
            )
        self.state = state
        if not usable:
            self._book.put(self.isp, reason)


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    """The body. Raises AltoError where it is larger than any map that we would take."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(65536):
        body += chunk
        if len(body) > _MOST_BYTES:
            raise AltoError(f"the answer is larger than {_MOST_BYTES} bytes")
    return bytes(body)
