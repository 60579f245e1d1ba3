"""The update streams of RFC 8895 over HTTP: who has one open, and what is written to whom and when.

In come requests for streams and for changes of them; each stream is written by the task that answers its
request, when something was published, when the client asked for a change, and every 15 seconds at least.
What it is to say is worked out in a thread, one stream after the other, so that no one else has to wait.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from aiohttp import web

from testbed.portal.access import Shares
from testbed.portal.alto.updates import (
    CONTROL_PATH,
    KEEP_ALIVE,
    STREAM_TYPE,
    Event,
    Stream,
    parse_control_request,
    parse_stream_request,
)
from testbed.portal.site import Site

_KEEP_ALIVE_S = 15.0  # RFC 8895 section 6.8
_WRITE_S = 30.0
"""A client that takes nothing for so long is given up."""
_FAREWELL_S = 1.0
_PIECE_BYTES = 65_536

Result = TypeVar("Result")


class TooManyStreams(Exception):
    """As many streams are open as the portal allows, in all or to this client."""


class Streams:
    """The streams that are open. `failed_controls` counts requests to control URIs that are of no stream."""

    def __init__(self, site: Site, shares: Shares) -> None:
        self._site = site
        self._shares = shares
        # All that is done with a `Stream` is done in this one thread.
        self._thread = ThreadPoolExecutor(1, "streams")
        self._open: dict[str, tuple[Stream, asyncio.Event]] = {}
        self.failed_controls = 0

    def __len__(self) -> int:
        return len(self._open)

    async def serve(
        self, request: web.BaseRequest, body: bytes, client_ip: str, base_uri: str
    ) -> web.StreamResponse:
        """Answer until the stream ends. Raises ProtocolError or TooManyStreams where none begins."""
        if not self._shares.take(client_ip):
            raise TooManyStreams
        try:
            return await self._serve(request, body, client_ip, base_uri)
        finally:
            self._shares.give_back(client_ip)

    async def _serve(
        self, request: web.BaseRequest, body: bytes, client_ip: str, base_uri: str
    ) -> web.StreamResponse:
        # The URI alone lets its holder change the stream, so it must not be guessed, and is never used again.
        name = secrets.token_urlsafe(24)
        control_uri = f"{base_uri}{CONTROL_PATH}{name}"
        snapshot, now_s = self._site.snapshot, time.time()
        stream = await self._do(
            lambda: Stream(parse_stream_request(body), snapshot, client_ip, control_uri, now_s)
        )
        news = asyncio.Event()
        self._open[name] = stream, news
        unlisten = self._site.listen(lambda _snapshot: news.set())
        try:
            return await self._write(request, stream, news)
        finally:
            unlisten()
            del self._open[name]

    async def control(self, path: str, body: bytes) -> HTTPStatus:
        """Change a stream as its client asks: 204, or 404 where there is none. Raises ProtocolError."""
        found = self._open.get(path.removeprefix(CONTROL_PATH))
        if found is None or found[0].over:
            self.failed_controls += 1
            return HTTPStatus.NOT_FOUND
        stream, news = found
        snapshot, now_s = self._site.snapshot, time.time()
        await self._do(lambda: stream.change(parse_control_request(body), snapshot, now_s))
        news.set()
        return HTTPStatus.NO_CONTENT

    async def close(self, why: str) -> None:
        """End all streams, and give their clients a moment to hear of it."""
        for stream, news in tuple(self._open.values()):
            await self._do(partial(stream.stop, why))
            news.set()
        until = time.monotonic() + _FAREWELL_S
        while self._open and time.monotonic() < until:
            await asyncio.sleep(0.01)
        self._thread.shutdown(wait=False)

    async def _do(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

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
            events = await self._do(partial(stream.events, self._site.snapshot, time.time()))
            for text in _texts(events):
                for start in range(0, len(text), _PIECE_BYTES):
                    piece = memoryview(text)[start : start + _PIECE_BYTES]
                    await asyncio.wait_for(response.write(piece), _WRITE_S)
            if stream.over:
                return
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(news.wait(), _KEEP_ALIVE_S)


def _texts(events: Iterable[Event]) -> Iterator[bytes]:
    """The events as they are written, small ones together; a comment where there are none."""
    small = b""
    wrote = False
    for event in events:
        small += event.encoded()
        if len(small) >= _PIECE_BYTES:
            yield small
            small, wrote = b"", True
    if small or not wrote:
        yield small or KEEP_ALIVE
