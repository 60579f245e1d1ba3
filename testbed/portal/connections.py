"""Connections to the portal from their first packet on: who gets one, for how long, and what is no HTTP.

In come the sockets that are accepted; out come requests to aiohttp's server. A connection counts from the
moment it is accepted, also while it is in the TLS handshake, and ends when its client is too slow: with a
request's headers, or with taking an answer.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, cast

from aiohttp import web

from testbed.portal.access import Shares

HANDSHAKE_S = 10.0
HEAD_S = 10.0
"""From the first byte of a request, or from the beginning of a connection, to the end of its headers."""
WRITE_S = 30.0
"""A client that takes nothing for so long is given up."""
SERVER = "testbed-portal"

_REFUSED_S = 1.0
_MOST_REFUSALS = 100
"""That are answered at a time; who comes beside these is hung up on."""
_REFUSAL = (
    f"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nServer: {SERVER}\r\nContent-Length: 0\r\n"
    "Connection: close\r\n\r\n"
).encode()


class Doors:
    """Lets connections in, each to a `Connection` of `server`, or refuses them.

    `is_closed` says whether nobody is let in at all.
    """

    def __init__(
        self,
        server: web.Server,
        shares: Shares,
        tls: ssl.SSLContext | None,
        is_closed: Callable[[], bool],
        bad_request: Callable[[], None],
        **settings: Any,
    ) -> None:
        """`settings` are aiohttp's of a connection; `bad_request` is told of each that was no HTTP."""
        self.shares = shares
        self.tls = tls
        self.is_closed = is_closed
        self.refusals = 0
        self.handshakes: set[asyncio.Task[None]] = set()
        self._server = server
        self._settings = settings
        self._bad_request = bad_request

    def __call__(self) -> asyncio.Protocol:
        """What a new connection talks to."""
        return _Door(self)

    def connection(self, raw: asyncio.Transport, address: str) -> Connection:
        loop = asyncio.get_running_loop()
        return Connection(
            self._server,
            raw,
            lambda: self.shares.give_back(address),
            self._bad_request,
            loop=loop,
            **self._settings,
        )


class _Door(asyncio.Protocol):
    """Stands for a connection until it is let in, which with TLS is after the handshake."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._early = b""
        self._is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        raw = cast(asyncio.Transport, transport)
        peer = raw.get_extra_info("peername")
        if self._doors.is_closed() or not peer:
            raw.abort()
            return
        address = peer[0].partition("%")[0]
        if not self._doors.shares.take(address):
            self._refuse(raw)
        elif self._doors.tls is None:
            connection = self._doors.connection(raw, address)
            raw.set_protocol(connection)
            connection.connection_made(raw)
        else:
            handshake = asyncio.create_task(self._secure(raw, address, self._doors.tls))
            self._doors.handshakes.add(handshake)
            handshake.add_done_callback(self._doors.handshakes.discard)

    def data_received(self, data: bytes) -> None:
        self._early += data

    def connection_lost(self, _error: Exception | None) -> None:
        self._is_lost = True

    def _refuse(self, raw: asyncio.Transport) -> None:
        if self._doors.tls is not None or self._doors.refusals >= _MOST_REFUSALS:
            raw.abort()
        else:
            refusal = _Full(self._doors)
            raw.set_protocol(refusal)
            refusal.connection_made(raw)

    async def _secure(self, raw: asyncio.Transport, address: str, tls: ssl.SSLContext) -> None:
        """Have the TLS handshake, and then be a connection to the server."""
        is_in = False
        try:
            with suppress(OSError):  # of the handshake
                secured = await asyncio.get_running_loop().start_tls(
                    raw, self, tls, server_side=True, ssl_handshake_timeout=HANDSHAKE_S
                )
                if secured is not None and not self._is_lost and not self._doors.is_closed():
                    connection = self._doors.connection(raw, address)
                    secured.set_protocol(connection)
                    is_in = True
                    connection.connection_made(secured)
                    if self._early:  # came with the end of the handshake
                        connection.data_received(self._early)
        finally:
            if not is_in:
                raw.abort()
                self._doors.shares.give_back(address)


class _Full(asyncio.Protocol):
    """Answers 503 to the first request, for as many connections are open as may be."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._doors.refusals += 1
        self._transport = cast(asyncio.Transport, transport)
        self._timer = asyncio.get_running_loop().call_later(_REFUSED_S, self._transport.abort)

    def data_received(self, _data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(_REFUSAL)
            self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        self._doors.refusals -= 1
        self._timer.cancel()


class Connection(web.RequestHandler):
    """aiohttp's connection, which ends where its client is too slow, and tells the log nothing of it."""

    def __init__(
        self,
        server: web.Server,
        raw: asyncio.Transport,
        ended: Callable[[], None],
        bad_request: Callable[[], None],
        **settings: Any,
    ) -> None:
        super().__init__(server, **settings)
        self._raw = raw
        self._ended = ended
        self._bad_request = bad_request
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # What is not sent at once is noticed, however little it is: no connection stays because of it.
        cast(asyncio.Transport, transport).set_write_buffer_limits(high=1, low=0)
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, error: BaseException | None) -> None:
        self._stop_timers()
        self._ended()
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        requests, is_idle = self._request_count, self._waiter is not None and not self._messages
        super().data_received(data)
        if self._request_count > requests:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None
        elif is_idle and data and self._head_timer is None:
            self._await_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self._loop.call_later(WRITE_S, self._raw.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def abort(self) -> None:
        """End the connection without waiting for the client to take what it was sent."""
        self._raw.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        *_what: Any,
        **_more: Any,
    ) -> web.StreamResponse:
        """What was no HTTP is a plain 400. Whatever else comes here is of a connection that is lost."""
        if status != HTTPStatus.BAD_REQUEST or request.writer.output_size > 0:
            raise ConnectionResetError
        self._bad_request()
        answer = web.Response(status=status, text="Bad Request\n", headers={"Server": SERVER})
        answer.force_close()
        return answer

    def log_exception(self, *_args: Any, **_more: Any) -> None:
        """Nothing: what comes here is a client's doing, and has its bytes in it. Our own mistakes do not."""

    def _await_head(self) -> None:
        self._head_timer = self._loop.call_later(HEAD_S, self._raw.abort)

    def _stop_timers(self) -> None:
        for timer in (self._head_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
