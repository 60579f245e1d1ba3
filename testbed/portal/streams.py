"""The update streams of RFC 8895 over HTTP: who has one open, and what is written to whom and when.

In come requests for streams and for changes of them; each stream is written by the task that answers its
request, when something was published, when the client asked for a change, and every 15 seconds at least.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import suppress
from http import HTTPStatus

from aiohttp import web

from testbed.portal.alto.updates import (
    CONTROL_PATH,
    KEEP_ALIVE,
    STREAM_TYPE,
    Stream,
    parse_control_request,
    parse_stream_request,
)
from testbed.portal.site import Site

_KEEP_ALIVE_S = 15.0  # RFC 8895 section 6.8
_WRITE_S = 30.0
"""A client that takes nothing for so long is given up."""
_FAREWELL_S = 1.0


class TooManyStreams(Exception):
    """As many streams are open as the portal allows."""


class Streams:
    """The streams that are open. `failed_controls` counts requests to control URIs that are of no stream."""

    def __init__(self, site: Site, most: int) -> None:
        self._site = site
        self._most = most
        self._open: dict[str, tuple[Stream, asyncio.Event]] = {}
        self.failed_controls = 0

    def __len__(self) -> int:
        return len(self._open)

    async def serve(
        self, request: web.BaseRequest, body: bytes, client_ip: str, base_uri: str
    ) -> web.StreamResponse:
        """Answer until the stream ends. Raises ProtocolError or TooManyStreams where none begins."""
        asked = parse_stream_request(body)
        if len(self._open) >= self._most:
            raise TooManyStreams
        # The URI alone lets its holder change the stream, so it must not be guessed, and is never used again.
        name = secrets.token_urlsafe(24)
        stream = Stream(asked, self._site.snapshot, client_ip, f"{base_uri}{CONTROL_PATH}{name}")
        news = asyncio.Event()
        self._open[name] = stream, news
        unlisten = self._site.listen(lambda _snapshot: news.set())
        try:
            return await self._write(request, stream, news)
        finally:
            unlisten()
            del self._open[name]

    def control(self, path: str, body: bytes) -> HTTPStatus:
        """Change a stream as its client asks: 204, or 404 where there is none. Raises ProtocolError."""
        found = self._open.get(path.removeprefix(CONTROL_PATH))
        if found is None or found[0].over:
            self.failed_controls += 1
            return HTTPStatus.NOT_FOUND
        stream, news = found
        stream.change(parse_control_request(body), self._site.snapshot, time.time())
        news.set()
        return HTTPStatus.NO_CONTENT

    async def close(self, why: str) -> None:
        """End all streams, and give their clients a moment to hear of it."""
        for stream, news in self._open.values():
            stream.stop(why)
            news.set()
        until = time.monotonic() + _FAREWELL_S
        while self._open and time.monotonic() < until:
            await asyncio.sleep(0.01)

    async def _write(
        self, request: web.BaseRequest, stream: Stream, news: asyncio.Event
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": STREAM_TYPE, "Cache-Control": "no-store"})
        await response.prepare(request)
        try:
            await self._write_events(response, stream, news)
        except (asyncio.TimeoutError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _write_events(self, response: web.StreamResponse, stream: Stream, news: asyncio.Event) -> None:
        """Raises TimeoutError where the client takes nothing, ConnectionError where it has gone."""
        while True:
            news.clear()
            events = stream.events(self._site.snapshot, time.time())
            text = b"".join(event.encoded() for event in events) or KEEP_ALIVE
            await asyncio.wait_for(response.write(text), _WRITE_S)
            if stream.over:
                return
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(news.wait(), _KEEP_ALIVE_S)
