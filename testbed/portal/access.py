"""Who may ask the portal, and how much: TLS, HTTP Digest, limits on what one client may have.

In come the files that the configuration names and what a request says of itself; out comes an SSL context,
the client's name or the refusal, how long an address has to wait, and whether there is room for it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import re
import secrets
import ssl
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import unquote_to_bytes, urlsplit

from testbed.errors import Problem, UserError
from testbed.portal.config import TlsConfig

Algorithm = Literal["SHA-256", "MD5"]

_HASHES: Mapping[str, Callable[[bytes], hashlib._Hash]] = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}
"""The first of them that a client knows is the best (RFC 7616 section 3.7)."""

_LENGTHS: Mapping[int, Algorithm] = {64: "SHA-256", 32: "MD5"}
REALM = "alto"
"""Of the files that are made here; a file made elsewhere may have any other."""

_PARAMETER = re.compile(r'[ \t]*([A-Za-z*]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s",;=]+))[ \t]*(?:,|$)')
_NEEDED = ("realm", "nonce", "uri", "response", "qop", "nc", "cnonce")
_NONCE_AGE_S = 300.0
_MOST_NONCES = 10_000
_WINDOW = 128
"""So many nonce counts may overtake each other: a client may have several connections."""

_MOST_ADDRESSES = 65_536
_IPV6_CLIENT_BITS = 64  # what one client has at least (RFC 6177), so it is limited as one


def tls_context(config: TlsConfig) -> ssl.SSLContext:
    """TLS 1.2 or later, for a server. Raises UserError for files that are no certificate and its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for path in (config.certificate, config.key):
        try:
            path.read_bytes()
        except OSError as error:
            raise UserError(Problem(f"can't be read: {error.strerror}", str(path))) from error
    try:
        # Without a password of ours OpenSSL would ask on the terminal for that of an encrypted key.
        context.load_cert_chain(config.certificate, config.key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise UserError(
            Problem(
                "are not a certificate and its key",
                f"{config.certificate}, {config.key}",
                allowed="PEM files; the key is that of the certificate and has no password",
            )
        ) from error
    return context


@dataclass(frozen=True)
class Credentials:
    """The clients of an htdigest file: (user, algorithm) -> hash of `user:realm:password`, in hex."""

    realm: str
    hashes: Mapping[tuple[str, Algorithm], str]

    @property
    def algorithms(self) -> tuple[Algorithm, ...]:
        """Those of which any client has a hash, the better first."""
        return tuple(name for name in _LENGTHS.values() if any(key[1] == name for key in self.hashes))


def load_credentials(path: Path) -> Credentials:
    """The file of lines `user:realm:hash`, hash MD5 or SHA-256 by its length; one realm. Raises UserError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(Problem(f"can't be read: {error}", str(path))) from error
    realms: set[str] = set()
    hashes: dict[tuple[str, Algorithm], str] = {}
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#"):
            continue
        user, realm, digest = [*line.split(":"), "", ""][:3]
        if line.count(":") != 2 or not user or not re.fullmatch("[0-9a-fA-F]{32}|[0-9a-fA-F]{64}", digest):
            # The line itself is not shown: it may hold a password.
            raise UserError(Problem("is no line of htdigest", f"{path}:{number}", allowed="user:realm:hash"))
        realms.add(realm)
        hashes[user, _LENGTHS[len(digest)]] = digest.lower()
    if len(realms) != 1 or not realms.isdisjoint({""}):
        raise UserError(Problem(f"has {len(realms)} realms", str(path), allowed="one realm, with a name"))
    return Credentials(realms.pop(), hashes)


def digest_line(user: str, realm: str, password: str) -> str:
    """The line of an htdigest file, SHA-256, for a client with this name and password."""
    return f"{user}:{realm}:{hashlib.sha256(f'{user}:{realm}:{password}'.encode()).hexdigest()}"


class BadAuthorization(Exception):
    """The Authorization header can't be understood, or is of another request: 400 (RFC 7616 section 3.4)."""


class Unauthorized(Exception):
    """401. `stale`: the client knows the password, but has to take a new nonce."""

    def __init__(self, *, stale: bool = False) -> None:
        super().__init__()
        self.stale = stale


class DigestGuard:
    """Lets in who knows a password, by HTTP Digest with qop=auth (RFC 7616).

    A nonce is a time with our signature, so that asking for one costs us no memory. It is remembered from the
    first right answer to it on, with the counts that were used: none is taken twice.
    """

    def __init__(self, credentials: Credentials, clock: Callable[[], float] = time.monotonic) -> None:
        self._credentials = credentials
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._used: OrderedDict[str, _Counts] = OrderedDict()
        self._forgotten_s = -math.inf
        """Nonces from then or before are refused: their counts may be forgotten."""

    def challenges(self, *, stale: bool = False) -> list[str]:
        """The values of WWW-Authenticate, one for each algorithm (RFC 7616 section 3.3)."""
        realm = self._credentials.realm.replace("\\", "\\\\").replace('"', '\\"')
        flag = ", stale=true" if stale else ""
        return [
            f'Digest realm="{realm}", qop="auth", algorithm={name}, nonce="{self._nonce()}"'
            f", charset=UTF-8, userhash=false{flag}"
            for name in self._credentials.algorithms
        ]

    def user(self, method: str, target: str, authorization: str | None) -> str:
        """The name of the client that asks for `target` as it stands in the request line.

        Raises Unauthorized or BadAuthorization.
        """
        scheme, _, rest = (authorization or "").partition(" ")
        if scheme.lower() != "digest":
            raise Unauthorized
        given = _parameters(rest)
        if _of_origin(given["uri"]) != _of_origin(target):
            raise BadAuthorization("the URI is not that of the request")
        self._check_response(method, given)
        self._check_nonce(given["nonce"], int(given["nc"], 16))
        return given["username"]

    def _check_response(self, method: str, given: Mapping[str, str]) -> None:
        """RFC 7616 section 3.4.1. A user that is not there takes as long as a wrong password."""
        algorithm = given.get("algorithm", "MD5").upper()
        hashed = _HASHES.get(algorithm)
        if hashed is None or given["realm"] != self._credentials.realm:
            raise Unauthorized
        known = self._credentials.hashes.get((given["username"], "MD5" if algorithm == "MD5" else "SHA-256"))
        a2 = hashed(_raw(f"{method}:{given['uri']}")).hexdigest()
        parts = (known or "", given["nonce"], given["nc"], given["cnonce"], given["qop"], a2)
        expected = hashed(_raw(":".join(parts))).hexdigest()
        same = hmac.compare_digest(_raw(expected), _raw(given["response"].lower()))
        if known is None or not same:
            raise Unauthorized

    def _check_nonce(self, nonce: str, count: int) -> None:
        now = self._clock()
        made_s = self._made_s(nonce)
        self._forget(now)
        if made_s is None or now - made_s > _NONCE_AGE_S or made_s <= self._forgotten_s:
            raise Unauthorized(stale=True)
        if not self._used.setdefault(nonce, _Counts(made_s)).take(count):
            raise Unauthorized(stale=True)

    def _forget(self, now_s: float) -> None:
        while self._used:
            oldest = next(iter(self._used.values()))
            if now_s - oldest.made_s <= _NONCE_AGE_S and len(self._used) < _MOST_NONCES:
                return
            self._forgotten_s = max(self._forgotten_s, oldest.made_s)
            self._used.popitem(last=False)

    def _nonce(self) -> str:
        body = int(self._clock() * 1e6).to_bytes(8, "big", signed=True) + secrets.token_bytes(8)
        return base64.urlsafe_b64encode(body + self._signature(body)).decode().rstrip("=")

    def _made_s(self, nonce: str) -> float | None:
        """When we made it, None if we did not."""
        try:
            raw = base64.b64decode(nonce + "=" * (-len(nonce) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return None
        body, signature = raw[:16], raw[16:]
        if not hmac.compare_digest(signature, self._signature(body)):
            return None
        return int.from_bytes(body[:8], "big", signed=True) / 1e6

    def _signature(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, "sha256")[:17]


class _Counts:
    """The counts that one nonce was used with: the highest, and which of those just below it."""

    def __init__(self, made_s: float) -> None:
        self.made_s = made_s
        self._highest = 0
        self._seen = 0  # bit k: highest - k

    def take(self, count: int) -> bool:
        """Whether `count` is new; it is used from then on."""
        ahead = count - self._highest
        if ahead > 0:
            self._seen = ((self._seen << min(ahead, _WINDOW)) | 1) & ((1 << _WINDOW) - 1)
            self._highest = count
            return True
        bit = 1 << -ahead
        if count < 1 or -ahead >= _WINDOW or self._seen & bit:
            return False
        self._seen |= bit
        return True


def _parameters(text: str) -> dict[str, str]:
    """The parameters of `Authorization: Digest`, names in lower case, checked as far as they can be alone."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _PARAMETER.match(text, at)
        if match is None or match[1].lower() in found:
            raise BadAuthorization("the parameters are malformed")
        quoted = match[2]
        found[match[1].lower()] = match[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        at = match.end()
    if "username*" in found:
        found.setdefault("username", _extended(found["username*"]))
    for name in ("username", *_NEEDED):
        if name not in found:
            raise BadAuthorization(f"{name} is missing")
    if found["qop"] != "auth" or not re.fullmatch("[0-9a-fA-F]{8}", found["nc"]):
        raise BadAuthorization("qop is not auth, or nc not 8 hexadecimal digits")
    return found


def _extended(value: str) -> str:
    """`UTF-8''percent-encoded`, for names that are not all ASCII (RFC 7616 section 3.4.4, RFC 8187)."""
    charset, _, rest = value.partition("'")
    try:
        if charset.upper() != "UTF-8":
            raise BadAuthorization("username* is not in UTF-8")
        return unquote_to_bytes(rest.partition("'")[2]).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadAuthorization("username* is not in UTF-8") from error


def _raw(text: str) -> bytes:
    """The bytes of a header's text, which need not be UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def _of_origin(target: str) -> str:
    """Path and query of a request target, which may be a whole URI (RFC 9112 section 3.2)."""
    if target.startswith("/"):
        return target
    try:
        parts = urlsplit(target)
    except ValueError as error:
        raise BadAuthorization("the URI is malformed") from error
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


class RateLimit:
    """A token bucket for each client address: `burst` requests at once, `per_s` in the long run.

    An IPv6 client is its /64. The addresses that asked last are remembered.
    """

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = float(burst)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, address: str, now_s: float) -> float:
        """0 where a request at `now_s` (monotonic) may be answered; else how long until one may be."""
        client = _client(address)
        tokens, since_s = self._buckets.pop(client, (self._burst, now_s))
        tokens = min(self._burst, tokens + (now_s - since_s) * self._per_s)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if allowed else tokens, now_s)
        if len(self._buckets) > _MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / self._per_s


class Shares:
    """So many of something at a time, and of them so many for one client. An IPv6 client is its /64."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._taken: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._taken.total()

    def take(self, address: str) -> bool:
        """Whether there is one more for the client of this address, which has it until it gives it back."""
        client = _client(address)
        if len(self) >= self._most or self._taken[client] >= self._most_of_one:
            return False
        self._taken[client] += 1
        return True

    def give_back(self, address: str) -> None:
        client = _client(address)
        self._taken[client] -= 1
        if not self._taken[client]:
            del self._taken[client]


def _client(address: str) -> str:
    if ":" not in address:
        return address
    number = int(ip_address(address)) >> (128 - _IPV6_CLIENT_BITS)
    return str(IPv6Address(number << (128 - _IPV6_CLIENT_BITS)))
