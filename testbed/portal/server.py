"""The ALTO server over HTTP and HTTPS: what the site has, to those who may have it.

In comes a checked `PortalConfig`. `serve` is the program; `start` is the same for those who have an event
loop already. URIs are made from the address that a client reached, never from a header that it sent, and
nothing of a request gets into a file's name or a log.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import lru_cache
from http import HTTPStatus
from typing import Any, TypeVar, cast
from urllib.parse import unquote, urlsplit

from aiohttp import HttpVersion10, web

from testbed.portal import control, publication
from testbed.portal.access import (
    BadAuthorization,
    DigestGuard,
    RateLimit,
    Shares,
    Unauthorized,
    load_credentials,
    tls_context,
)
from testbed.portal.alto import documents
from testbed.portal.alto.model import (
    DIRECTORY_TYPE,
    Document,
    Entry,
    ProtocolError,
    Query,
    TooMuchWork,
)
from testbed.portal.alto.updates import CONTROL_PATH, STREAM_PARAMS_TYPE, STREAM_TYPE
from testbed.portal.config import AccessConfig, PortalConfig
from testbed.portal.connections import SERVER, Connection, Doors
from testbed.portal.distances_log import DistancesLog
from testbed.portal.site import DIRECTORY_PATH, Resource, Site, Snapshot, compressed
from testbed.portal.streams import Streams, TooManyStreams
from testbed.service import split_listen, stop_signal, write_ready

log = logging.getLogger("portal")
Result = TypeVar("Result")

_KEEP_ALIVE_S = 75.0
_LINGER_S = 2.0
_BODY_S = 30.0
_WRITE_S = 30.0
_SLOWEST_BYTES_PER_S = 50_000
"""Of a client that takes a long answer, beside these seconds."""
_RETRY_S = 1.0
_SHUTDOWN_S = 1.0
_ZIP_FROM_BYTES = 4096
_ANSWER_GZIP_LEVEL = 1  # of what is made for one request, and sent once
_PIECE_BYTES = 65_536
"""An answer is written by so much at a time: a client that does not take it costs us no more memory."""
_AT_ONCE = 20_000
"""Costs that an answer may be made of while all others wait; what is more is made in a thread."""
_SHORT_BYTES = 4096
"""What a longer request asks for is looked at in a thread, too."""
_MOST_WAITING = 16
"""Requests that wait for the thread; one more is 503."""
_TAG = re.compile(r'"[^"]*"')


async def serve(config: PortalConfig) -> None:
    """Serve until SIGTERM or SIGINT. OSError where the address cannot be had, UserError for a wrong file."""
    async with AsyncExitStack() as stack:
        service = await start(config, stack)
        log.info(
            "portal of %s (AS%d) serves %d PIDs on %s",
            config.isp,
            service.site.snapshot.published.asn,
            len(service.site.snapshot.published.network_maps[0].prefixes),
            ", ".join(service.addresses),
        )
        write_ready(config.ready_file)
        await stop_signal()


async def start(config: PortalConfig, stack: AsyncExitStack) -> Service:
    """Start the portal that `config` describes; closing `stack` stops all of it."""
    config = publication.resolved(config)
    site = Site(publication.initial(config), config.faults)
    if config.distances_log is not None:
        record = DistancesLog(config.distances_log)
        record(site.snapshot)
        stack.callback(site.listen(record))
    service = Service(site, config.access)
    await service.listen(config.listen, stack)
    if config.control_socket is not None:
        await control.listen(config.control_socket, site, service.status, stack)
    following = asyncio.create_task(_follow(publication.Live(config), site, config.pricing.update_s))
    stack.callback(following.cancel)
    return service


async def _follow(live: publication.Live, site: Site, retry_s: float) -> None:
    """Keep the site up to date. Whatever goes wrong with that, the last maps stay and are served."""
    while True:
        try:
            await live.run(site.publish)
        except Exception:
            log.exception("the maps stay as they are for now")
            await asyncio.sleep(retry_s)
        else:
            return


class Service:
    """Answers requests from one site. `addresses` is where, each `host:port`."""

    def __init__(self, site: Site, access: AccessConfig) -> None:
        """Raises UserError where a file of `access` is wrong."""
        self.site = site
        self.addresses: tuple[str, ...] = ()
        self._access = access
        self._tls = tls_context(access.tls) if access.tls else None
        self._guard = DigestGuard(load_credentials(access.digest_file)) if access.digest_file else None
        self._limit = RateLimit(access.requests_per_s, access.burst) if access.requests_per_s else None
        self._streams = Streams(site, Shares(access.streams, access.streams_per_client))
        self._thread = ThreadPoolExecutor(1, "answers")
        self._waiting = 0
        self._answers: Counter[int] = Counter()
        self._server = web.Server(self._handle, request_factory=self._request, handler_cancellation=True)
        self._doors = Doors(
            self._server,
            Shares(access.connections, access.connections_per_client),
            self._tls,
            lambda: self.site.faults.absent,
            lambda: self._answers.update((HTTPStatus.BAD_REQUEST,)),
            access_log=None,
            keepalive_timeout=_KEEP_ALIVE_S,
            lingering_time=_LINGER_S,
        )

    @property
    def url(self) -> str:
        """The directory's URI at the first address."""
        return f"{'https' if self._tls else 'http'}://{self.addresses[0]}/"

    async def listen(self, listen: str | Iterable[str], stack: AsyncExitStack) -> None:
        """Begin to serve at `ip:port`, one or several. Raises OSError."""
        stack.push_async_callback(self._stop)
        for address in (listen,) if isinstance(listen, str) else listen:
            host, port = split_listen(address)
            server = await asyncio.get_running_loop().create_server(self._doors, host, port, backlog=1024)
            stack.callback(server.close)
            self.addresses += tuple(_host_port(socket.getsockname()) for socket in server.sockets)
        stack.callback(self.site.listen(self._drop_if_absent))

    def status(self) -> Mapping[str, object]:
        """What goes on: answers by HTTP status, open connections and streams, the current tags."""
        published = self.site.snapshot.published
        return {
            "isp": published.isp,
            "asn": published.asn,
            "addresses": list(self.addresses),
            "publications": self.site.publications,
            "tags": {network_map.id: network_map.tag for network_map in published.network_maps},
            "answers": {str(status): count for status, count in sorted(self._answers.items())},
            "connections": len(self._doors.shares),
            "streams": len(self._streams),
            "failed_controls": self._streams.failed_controls,
        }

    async def _stop(self) -> None:
        for handshake in self._doors.handshakes:
            handshake.cancel()
        await self._streams.close("the portal stops")
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._server.pre_shutdown()
        await self._server.shutdown(_SHUTDOWN_S)

    def _drop_if_absent(self, _snapshot: Snapshot) -> None:
        if self.site.faults.absent:
            for connection in self._server.connections:
                connection.force_close()

    def _request(
        self, message: Any, payload: Any, protocol: Any, writer: Any, task: asyncio.Task[None]
    ) -> web.BaseRequest:
        """What aiohttp makes of each request, with our limit on its body."""
        loop, limit = asyncio.get_running_loop(), self._access.request_bytes
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=limit)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.site.faults.delay_s:
            await asyncio.sleep(self.site.faults.delay_s)
        try:
            response = await self._answer(request)
        except ProtocolError as error:
            response = _sent(documents.error_document(error), error.status)
        except web.HTTPException as refusal:
            response = web.Response(
                status=refusal.status, text=f"{refusal.reason}\n", headers=_without_body(refusal)
            )
        except ConnectionError:
            raise  # the client went away
        except Exception:
            log.exception("a request failed")
            response = web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR, text="a mistake of the portal\n")
        self._answers[response.status] += 1
        if not response.prepared:
            response.headers["Server"] = SERVER
            if not request.content.is_eof():
                response.force_close()  # a body that nobody wants to read
            if isinstance(response, web.Response) and request.method != "HEAD":
                return await _in_pieces(request, response)
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Raises ProtocolError, or an HTTPException for what is wrong with the request as HTTP."""
        client_ip = (request.remote or "").partition("%")[0]
        self._admit(request, client_ip)
        path = _path(request.raw_path)
        snapshot = self.site.snapshot
        if path == DIRECTORY_PATH:
            _allow(request, "GET", "HEAD")
            _acceptable(request, DIRECTORY_TYPE)
            return await _get(request, snapshot.directory(self._base_uri(request)))
        if path.startswith(CONTROL_PATH):
            _allow(request, "POST")
            body = await self._body(request, STREAM_PARAMS_TYPE)
            status = await self._streams.control(path, body)
            if status == HTTPStatus.NOT_FOUND:
                raise web.HTTPNotFound
            return web.Response(status=status)
        entry = snapshot.by_path.get(path)
        if entry is None:
            raise web.HTTPNotFound
        _allow(request, *(("POST",) if entry.accepts else ("GET", "HEAD")))
        _acceptable(request, entry.answers)
        if not entry.accepts:
            if snapshot.is_large and not snapshot.is_made(entry):
                return await _get(request, await self._in_thread(lambda: snapshot.resource(entry)))
            return await _get(request, snapshot.resource(entry))
        return await self._post(request, entry, client_ip)

    async def _post(self, request: web.BaseRequest, entry: Entry, client_ip: str) -> web.StreamResponse:
        body = await self._body(request, entry.accepts)
        if entry.answers == STREAM_TYPE:
            try:
                return await self._streams.serve(request, body, client_ip, self._base_uri(request))
            except TooManyStreams:
                raise _busy(_RETRY_S) from None
        made = await self._made(entry, Query(body, client_ip, time.time(), most_work=_AT_ONCE))
        if len(made.body) < _ZIP_FROM_BYTES or not _accepts_gzip(request.headers.get("Accept-Encoding", "")):
            return _sent(made)
        zipped = await compressed(made.body, _ANSWER_GZIP_LEVEL)
        headers = {"Content-Type": made.media_type, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return web.Response(body=zipped, headers=headers)

    async def _made(self, entry: Entry, query: Query) -> Document:
        """The answer to what was posted. Raises ProtocolError."""
        if len(query.body) <= _SHORT_BYTES:
            with suppress(TooMuchWork):
                return entry.answer(query)
        if self._waiting >= _MOST_WAITING:
            raise _busy(_RETRY_S)
        self._waiting += 1
        try:
            return await self._in_thread(lambda: entry.answer(replace(query, most_work=math.inf)))
        finally:
            self._waiting -= 1

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        """Long work is done one after the other, while others are answered."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _base_uri(self, request: web.BaseRequest) -> str:
        """Scheme, host and port where clients are to reach us: as configured, or where this one has."""
        if self._access.public_uri is not None:
            return self._access.public_uri
        if request.transport is None:
            raise ConnectionResetError("the client went away")
        return (
            f"{'https' if self._tls else 'http'}://{_host_port(request.transport.get_extra_info('sockname'))}"
        )

    def _admit(self, request: web.BaseRequest, client_ip: str) -> None:
        """Whoever asks too often, or may not ask at all, is refused."""
        if self._limit is not None:
            wait_s = self._limit.wait_s(client_ip, time.monotonic())
            if wait_s:
                raise _busy(wait_s)
        if self._guard is not None:
            try:
                self._guard.user(request.method, request.raw_path, request.headers.get("Authorization"))
            except BadAuthorization:
                raise web.HTTPBadRequest from None
            except Unauthorized as refusal:
                answer = web.HTTPUnauthorized()
                for challenge in self._guard.challenges(stale=refusal.stale):
                    answer.headers.add("WWW-Authenticate", challenge)
                raise answer from None

    async def _body(self, request: web.BaseRequest, accepts: str) -> bytes:
        """What was posted, if it says that it is what the resource accepts, and is not too large."""
        media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if media_type != accepts:
            raise web.HTTPUnsupportedMediaType(headers={"Accept": accepts})
        if (request.content_length or 0) > self._access.request_bytes:
            raise web.HTTPRequestEntityTooLarge(self._access.request_bytes, request.content_length or 0)
        if request.content.is_eof():
            return await request.read()
        if request.headers.get("Expect", "").lower() == "100-continue" and request.version > HttpVersion10:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # so that an answer can still be an error
        try:
            return await asyncio.wait_for(request.read(), _BODY_S)
        except asyncio.TimeoutError:
            raise web.HTTPRequestTimeout from None
        except web.RequestPayloadError:
            raise web.HTTPBadRequest from None


async def _get(request: web.BaseRequest, resource: Resource) -> web.Response:
    """The resource, or 304 where the client has it (RFC 9110 section 13.1.2)."""
    asked = request.headers.getall("If-None-Match", None)
    zipped = _accepts_gzip(request.headers.get("Accept-Encoding", ""))
    headers = {
        "ETag": resource.gzip_etag if zipped else resource.etag,
        "Vary": "Accept-Encoding",
        "Cache-Control": "no-cache",
    }
    if asked is not None and _has(", ".join(asked), resource):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    headers["Content-Type"] = resource.document.media_type
    if not zipped:
        return web.Response(body=resource.document.body, headers=headers)
    headers["Content-Encoding"] = "gzip"
    return web.Response(body=await resource.zipped(), headers=headers)


async def _in_pieces(request: web.BaseRequest, whole: web.Response) -> web.StreamResponse:
    """Send a long answer by and by; a client that takes it too slowly is hung up on."""
    body = whole.body
    if not isinstance(body, bytes) or len(body) <= _PIECE_BYTES:
        return whole
    response = web.StreamResponse(status=whole.status, headers=whole.headers)
    response.content_length = len(body)
    if whole.keep_alive is False:
        response.force_close()

    async def write() -> None:
        await response.prepare(request)
        for start in range(0, len(body), _PIECE_BYTES):
            await response.write(memoryview(body)[start : start + _PIECE_BYTES])

    try:
        await asyncio.wait_for(write(), _WRITE_S + len(body) / _SLOWEST_BYTES_PER_S)
    except asyncio.TimeoutError:
        cast(Connection, request.protocol).abort()
    return response


def _has(if_none_match: str, resource: Resource) -> bool:
    """Weak comparison, in either coding: the client can use the one as well as the other."""
    tags = (resource.etag, resource.gzip_etag)
    if if_none_match in tags or if_none_match.strip() == "*":
        return True
    return any(tag in tags for tag in _TAG.findall(if_none_match))


def _sent(document: Document, status: int = HTTPStatus.OK) -> web.Response:
    return web.Response(body=document.body, status=status, headers={"Content-Type": document.media_type})


def _busy(wait_s: float) -> web.HTTPException:
    """RFC 7285 section 8.3.6 and RFC 9110 section 15.6.4."""
    return web.HTTPServiceUnavailable(headers={"Retry-After": str(max(1, math.ceil(wait_s)))})


def _without_body(refusal: web.HTTPException) -> Mapping[str, str]:
    """The headers that the refusal has beside those of its text, which is written anew."""
    headers = refusal.headers.copy()
    headers.popall("Content-Type", None)
    headers.popall("Content-Length", None)
    return headers


def _allow(request: web.BaseRequest, *methods: str) -> None:
    if request.method not in methods:
        # The name of the method is not repeated: it is the client's.
        raise web.HTTPMethodNotAllowed("", methods)


def _acceptable(request: web.BaseRequest, media_type: str) -> None:
    accept = ",".join(request.headers.getall("Accept", ()))
    if accept and not _accepts(accept, media_type):
        raise web.HTTPNotAcceptable


@lru_cache(maxsize=256)
def _accepts(accept: str, media_type: str) -> bool:
    """RFC 9110 section 12.5.1: the most specific range that fits says it."""
    family = media_type.partition("/")[0] + "/*"
    weights = dict(_weighted(item) for item in accept.split(","))
    for candidate in (media_type, family, "*/*"):
        if candidate in weights:
            return weights[candidate] > 0
    return False


@lru_cache(maxsize=256)
def _accepts_gzip(accept_encoding: str) -> bool:
    """RFC 9110 section 12.5.3."""
    weights = dict(_weighted(item) for item in accept_encoding.split(","))
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def _weighted(item: str) -> tuple[str, float]:
    """`name;q=weight` -> (name, weight). A weight that is none counts as 0."""
    name, *parameters = (part.strip().lower() for part in item.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            matched = re.fullmatch(r"[01](\.[0-9]{0,3})?", value.strip())
            return name, float(value) if matched else 0.0
    return name, 1.0


def _path(raw: str) -> str:
    """The path of a request target, decoded; the query says nothing here."""
    if not raw.startswith("/"):
        try:
            raw = urlsplit(raw).path or "/"
        except ValueError:
            raise web.HTTPBadRequest from None
    return unquote(raw.partition("?")[0])


def _host_port(sockname: tuple[str, int]) -> str:
    host, port = sockname[0].partition("%")[0], sockname[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
