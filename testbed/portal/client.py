"""An ALTO client over HTTP for people and tests: GET, POST and update streams of any server.

In come URIs and bodies, out come `Answer`s as they were sent; what they mean is for `testbed.portal.alto`. A
server that cannot be reached raises `Unreachable`, which says how to mend it.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import aiohttp
from yarl import URL

from testbed.portal.alto.model import DIRECTORY_TYPE, ERROR_TYPE
from testbed.portal.alto.probing import Answer
from testbed.portal.alto.watching import Event, EventReader

_MOST_BYTES = 64 * 2**20  # a map of 5,000 PIDs; no server may fill our memory
_SILENCE_S = 60.0  # of a stream: RFC 8895, section 6.8, has something sent every 15 s

Handler = Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]


class Unreachable(Exception):
    """No answer, or none that may be read: why, and what helps."""

    def __init__(self, uri: str, reason: str, mend: str = "") -> None:
        super().__init__(f"{uri} {reason}")
        self.uri = uri
        self.reason = reason
        self.mend = mend


class Refused(Exception):
    """A request for a stream that was answered with something else."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer.uri} answered {answer.status}")
        self.answer = answer


@dataclass(frozen=True)
class Login:
    """Name and password for HTTP Digest (RFC 7616)."""

    name: str
    password: str


class Client:
    """A session with one server, and with those that it delegates to. An asynchronous context."""

    def __init__(
        self, uri: str, *, authority: Path | None = None, login: Login | None = None, timeout_s: float = 10.0
    ) -> None:
        """`authority`: the certificates (PEM) to trust instead of the system's. The login is for the server
        of `uri` alone: no other that it leads to learns the name or an answer to its challenge.

        Raises OSError where the authority's file cannot be read or holds no certificate.
        """
        self._timeout_s = timeout_s
        context = ssl.create_default_context(cafile=str(authority) if authority else None)
        self._connector_ssl = context
        digest = aiohttp.DigestAuthMiddleware(login.name, login.password) if login else None
        home = URL(uri).origin()

        async def identify(request: aiohttp.ClientRequest, handler: Handler) -> aiohttp.ClientResponse:
            if digest is None or request.url.origin() != home:
                return await handler(request)
            return await digest(request, handler)

        self._identify = identify
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._connector_ssl), middlewares=(self._identify,)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._there.close()

    @property
    def _there(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is used outside its context")
        return self._session

    async def get(self, uri: str, media_type: str = DIRECTORY_TYPE) -> Answer:
        """GET; the answer's URI is that after redirections (RFC 7285, section 8.5.3)."""
        return await self._ask("GET", uri, {"Accept": f"{media_type},{ERROR_TYPE}"}, None)

    async def post(self, uri: str, body: bytes, accepts: str, media_type: str) -> Answer:
        """POST of a body of type `accepts`."""
        headers = {"Content-Type": accepts, "Accept": f"{media_type},{ERROR_TYPE}"}
        return await self._ask("POST", uri, headers, body)

    async def _ask(self, method: str, uri: str, headers: dict[str, str], body: bytes | None) -> Answer:
        timeout = aiohttp.ClientTimeout(self._timeout_s)
        async with (
            _explained(uri),
            self._there.request(method, uri, headers=headers, data=body, timeout=timeout) as response,
        ):
            if _type_of(response) == "text/event-stream":
                data = b""  # it would never end
            else:
                data = await _limited(response, uri)
            return Answer(str(response.url), response.status, _type_of(response), data)

    async def stream(self, uri: str, body: bytes, accepts: str) -> AsyncGenerator[Event, None]:
        """The events of an update stream (RFC 8895, section 6), until it is closed.

        To be used within `aclosing`. Raises Refused where no stream begins, and AltoError for an event that
        is too large.
        """
        timeout = aiohttp.ClientTimeout(None, sock_connect=self._timeout_s, sock_read=_SILENCE_S)
        headers = {"Content-Type": accepts, "Accept": f"text/event-stream,{ERROR_TYPE}"}
        async with (
            _explained(uri),
            self._there.post(uri, headers=headers, data=body, timeout=timeout) as response,
        ):
            if response.status != 200 or _type_of(response) != "text/event-stream":
                data = await _limited(response, uri)
                raise Refused(Answer(str(response.url), response.status, _type_of(response), data))
            reader = EventReader()
            async for chunk in response.content.iter_any():
                for event in reader.feed(chunk):
                    yield event


def _type_of(response: aiohttp.ClientResponse) -> str:
    """The media type without its parameters, "" where the answer has none."""
    return response.content_type if "Content-Type" in response.headers else ""


async def _limited(response: aiohttp.ClientResponse, uri: str) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(65536):
        body += chunk
        if len(body) > _MOST_BYTES:
            raise Unreachable(uri, f"sends more than {_MOST_BYTES} bytes")
    return bytes(body)


@asynccontextmanager
async def _explained(uri: str) -> AsyncIterator[None]:
    """Raises Unreachable where there is no answer."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        reason = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
        mend = "name the authority that signed it: --ca FILE"
        raise Unreachable(uri, f"has a certificate that is not trusted: {reason}", mend) from error
    except aiohttp.ClientConnectorSSLError as error:
        mend = "write http:// where the server has no TLS"
        raise Unreachable(uri, "does not speak TLS as we do", mend) from error
    except aiohttp.ClientConnectorDNSError as error:
        raise Unreachable(uri, "has a host name that is not known") from error
    except aiohttp.ClientConnectorError as error:
        number = error.os_error.errno
        reason = os.strerror(number) if number else str(error.os_error)
        raise Unreachable(uri, f"does not answer: {reason}", "is its server running there?") from error
    except aiohttp.InvalidURL as error:
        raise Unreachable(uri, "is no address of HTTP") from error
    except aiohttp.TooManyRedirects as error:
        raise Unreachable(uri, "redirects for ever") from error
    except asyncio.TimeoutError as error:
        raise Unreachable(uri, "does not answer in time", "give it longer: --timeout SECONDS") from error
    except (aiohttp.ClientError, ConnectionError) as error:
        raise Unreachable(uri, f"broke off: {error or type(error).__name__}") from error
