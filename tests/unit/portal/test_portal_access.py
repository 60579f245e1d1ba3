"""Who is let in: HTTP Digest with its nonces, TLS, limits of one address, of connections and of sizes."""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from urllib.request import HTTPDigestAuthHandler, HTTPPasswordMgrWithDefaultRealm, build_opener

import aiohttp
import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from portal_site import published, serving

from testbed.errors import UserError
from testbed.portal import connections
from testbed.portal.access import (
    BadAuthorization,
    Credentials,
    DigestGuard,
    RateLimit,
    Shares,
    Unauthorized,
    digest_line,
    load_credentials,
    tls_context,
)
from testbed.portal.config import AccessConfig, TlsConfig

USER, REALM, PASSWORD = "tracker", "alto", "open: sesame"
HASHES: dict[str, Callable[[bytes], hashlib._Hash]] = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


def hashed(algorithm: str, text: str) -> str:
    return HASHES[algorithm](text.encode()).hexdigest()


@pytest.fixture
def digest_file(tmp_path: Path) -> Path:
    path = tmp_path / "digests"
    md5 = hashed("MD5", f"{USER}:{REALM}:{PASSWORD}")
    path.write_text(f"# clients\n{digest_line(USER, REALM, PASSWORD)}\n{USER}:{REALM}:{md5}\n")
    return path


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guard(digest_file: Path, clock: Clock) -> DigestGuard:
    return DigestGuard(load_credentials(digest_file), clock)


def nonce_of(challenge: str) -> str:
    return re.findall('nonce="([^"]*)"', challenge)[0]


def authorization(guard: DigestGuard, **changes: str) -> str:
    """The header of a client that knows the password, by RFC 7616 section 3.4.1, with `changes`."""
    algorithm = changes.get("algorithm", "SHA-256")
    given = {"username": USER, "realm": REALM, "uri": "/networkmap", "qop": "auth", "nc": "00000001"}
    given |= {"cnonce": "0a4f113b", "algorithm": algorithm, "nonce": nonce_of(guard.challenges()[0])}
    given |= changes
    if algorithm in HASHES:
        a1 = hashed(algorithm, f"{given['username']}:{given['realm']}:{given.pop('password', PASSWORD)}")
        a2 = hashed(algorithm, f"{given.pop('method', 'GET')}:{given['uri']}")
        parts = (a1, given["nonce"], given["nc"], given["cnonce"], given["qop"], a2)
        given.setdefault("response", hashed(algorithm, ":".join(parts)))
    bare = ("nc", "qop", "algorithm")
    return "Digest " + ", ".join(
        f"{name}={value}" if name in bare else f'{name}="{value}"' for name, value in given.items()
    )


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_who_knows_the_password_is_let_in(guard: DigestGuard, algorithm: str) -> None:
    assert guard.user("GET", "/networkmap", authorization(guard, algorithm=algorithm)) == USER


def test_the_example_of_rfc_7616_section_3_9_1_reproduces() -> None:
    """The client's answer of the RFC is right; its nonce is not one of ours, so it is stale."""
    realm, user = "http-auth@example.org", "Mufasa"
    known = hashed("SHA-256", f"{user}:{realm}:Circle of Life")
    guard = DigestGuard(Credentials(realm, {(user, "SHA-256"): known}))
    answer = (
        f'Digest username="{user}", realm="{realm}", uri="/dir/index.html", algorithm=SHA-256, '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
        'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, '
        'response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1", '
        'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    with pytest.raises(Unauthorized) as refusal:
        guard.user("GET", "/dir/index.html", answer)
    assert refusal.value.stale
    with pytest.raises(Unauthorized) as refusal:
        guard.user("PUT", "/dir/index.html", answer)
    assert not refusal.value.stale


@pytest.mark.parametrize(
    "changes",
    [
        {"password": "wrong"},
        {"username": "nobody"},
        {"realm": "elsewhere"},
        {"method": "POST"},
        {"response": "0" * 64},
        {"response": "f\xfcr"},
        {"algorithm": "SHA-512"},
        {"algorithm": "MD5-sess"},
    ],
)
def test_who_does_not_is_refused_and_not_told_that_the_nonce_is_old(
    guard: DigestGuard, changes: dict[str, str]
) -> None:
    header = authorization(guard, **{"response": "0" * 64, **changes} if "algorithm" in changes else changes)
    with pytest.raises(Unauthorized) as refusal:
        guard.user("GET", "/networkmap", header)
    assert not refusal.value.stale


def test_a_client_that_is_not_known_does_not_get_in_with_nothing(guard: DigestGuard) -> None:
    """Whoever guesses that a missing hash counts as an empty one."""
    nonce = nonce_of(guard.challenges()[0])
    a2 = hashed("SHA-256", "GET:/networkmap")
    response = hashed("SHA-256", f":{nonce}:00000001:0a4f113b:auth:{a2}")
    with pytest.raises(Unauthorized):
        guard.user(
            "GET", "/networkmap", authorization(guard, username="nobody", nonce=nonce, response=response)
        )


@pytest.mark.parametrize("header", [None, "", "Basic dHJhY2tlcjo=", "Digest"])
def test_without_digest_there_is_a_challenge(guard: DigestGuard, header: str | None) -> None:
    with pytest.raises(Unauthorized if header != "Digest" else BadAuthorization):
        guard.user("GET", "/networkmap", header)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace('uri="/networkmap"', 'uri="/costmap"'),
        lambda text: text.replace("qop=auth", "qop=auth-int"),
        lambda text: text.replace("nc=00000001", "nc=1"),
        lambda text: text.replace("nc=00000001", "nc=-0000001"),
        lambda text: text.replace("nc=00000001, ", ""),
        lambda text: text.replace("nc=00000001", "nc=00000001, nc=00000001"),
        lambda text: text + ", =",
        lambda text: text + ', x="',
        lambda text: text.replace(f'username="{USER}"', "username*=latin1''tracker"),
        lambda text: text.replace(f'username="{USER}"', "username*=UTF-8''%ff"),
        lambda text: text.replace('uri="/networkmap"', 'uri="http://[/networkmap"'),
    ],
)
def test_a_header_that_is_malformed_or_of_another_request_is_a_bad_request(
    guard: DigestGuard, spoil: Callable[[str], str]
) -> None:
    with pytest.raises(BadAuthorization):
        guard.user("GET", "/networkmap", spoil(authorization(guard)))


@settings(deadline=None)
@given(st.text(max_size=200))
def test_no_header_breaks_the_guard(header: str) -> None:
    guard = DigestGuard(Credentials(REALM, {(USER, "SHA-256"): "0" * 64}))
    for text in (header, "Digest " + header):
        with pytest.raises((Unauthorized, BadAuthorization)):
            guard.user("GET", "/", text)


def test_a_request_cannot_be_replayed(guard: DigestGuard) -> None:
    header = authorization(guard)
    guard.user("GET", "/networkmap", header)
    with pytest.raises(Unauthorized) as refusal:
        guard.user("GET", "/networkmap", header)
    assert refusal.value.stale


def test_counts_may_overtake_each_other_but_none_counts_twice(guard: DigestGuard) -> None:
    nonce = nonce_of(guard.challenges()[0])
    headers = {
        count: authorization(guard, nonce=nonce, nc=f"{count:08x}") for count in (1, 2, 3, 4, 7, 300, 301)
    }
    for count in (3, 1, 2, 7, 4):
        guard.user("GET", "/networkmap", headers[count])
    for count in (3, 1, 2, 7, 4):
        with pytest.raises(Unauthorized):
            guard.user("GET", "/networkmap", headers[count])
    guard.user("GET", "/networkmap", headers[301])
    guard.user("GET", "/networkmap", headers[300])
    with pytest.raises(Unauthorized):
        guard.user("GET", "/networkmap", headers[1])


def test_an_old_nonce_is_stale_and_its_successor_works(guard: DigestGuard, clock: Clock) -> None:
    header = authorization(guard)
    clock.now_s += 301
    with pytest.raises(Unauthorized) as refusal:
        guard.user("GET", "/networkmap", header)
    assert refusal.value.stale
    assert "stale=true" in guard.challenges(stale=True)[0]
    assert guard.user("GET", "/networkmap", authorization(guard)) == USER


def test_a_nonce_of_another_process_is_stale(guard: DigestGuard, digest_file: Path) -> None:
    other = DigestGuard(load_credentials(digest_file))
    with pytest.raises(Unauthorized) as refusal:
        guard.user("GET", "/networkmap", authorization(other))
    assert refusal.value.stale


def test_what_was_forgotten_of_a_nonce_does_not_open_it_again(guard: DigestGuard, clock: Clock) -> None:
    first = authorization(guard)
    guard.user("GET", "/networkmap", first)
    for _ in range(10_001):
        clock.now_s += 0.001
        guard.user("GET", "/networkmap", authorization(guard))
    with pytest.raises(Unauthorized):
        guard.user("GET", "/networkmap", first)


def test_names_that_are_not_ascii_come_as_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "digests"
    path.write_text(digest_line("jürgen", REALM, PASSWORD), encoding="utf-8")
    guard = DigestGuard(load_credentials(path))
    header = authorization(guard, username="jürgen")
    assert guard.user("GET", "/networkmap", header) == "jürgen"
    extended = header.replace('username="jürgen"', "username*=UTF-8''j%C3%BCrgen")
    fresh = DigestGuard(load_credentials(path))
    with pytest.raises(Unauthorized) as refusal:
        fresh.user("GET", "/networkmap", extended)
    assert refusal.value.stale  # the response was right, the nonce is the other guard's


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tracker",
        "tracker:alto",
        "tracker:alto:secret",
        "a:b:c:d",
        f":alto:{'0' * 32}",
        f"x::{'0' * 32}",
        f"a:one:{'0' * 32}\nb:two:{'0' * 32}",
    ],
)
def test_a_wrong_digest_file_is_an_error_that_shows_no_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "digests"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        load_credentials(path)
    assert str(path) in str(error.value)
    assert "secret" not in str(error.value)


async def test_aiohttps_own_digest_client_gets_the_map_and_posts(digest_file: Path) -> None:
    async with serving(access=AccessConfig(digest_file=digest_file)) as service:
        login = aiohttp.DigestAuthMiddleware(USER, PASSWORD)
        async with aiohttp.ClientSession(middlewares=(login,)) as session:
            for _ in range(3):
                async with session.get(service.url + "networkmap?x=1") as answer:
                    assert answer.status == 200
            body = b'{"properties":["networkmap.pid"],"endpoints":["ipv4:10.1.0.1"]}'
            kind = {"Content-Type": "application/alto-endpointpropparams+json"}
            async with session.post(service.url + "endpointprop", data=body, headers=kind) as answer:
                assert answer.status == 200
        async with aiohttp.ClientSession() as session, session.get(service.url) as answer:
            assert answer.status == 401
            algorithms = [
                re.findall("algorithm=([^,]*)", challenge)[0]
                for challenge in answer.headers.getall("WWW-Authenticate")
            ]
            assert algorithms == ["SHA-256", "MD5"]


async def test_a_replayed_request_is_answered_with_a_new_nonce_that_the_client_may_use(
    digest_file: Path,
) -> None:
    async with (
        serving(access=AccessConfig(digest_file=digest_file)) as service,
        aiohttp.ClientSession() as session,
    ):
        async with session.get(service.url) as answer:
            nonce = nonce_of(answer.headers["WWW-Authenticate"])
            assert "stale" not in answer.headers["WWW-Authenticate"]
        login = authorization(DigestGuard(load_credentials(digest_file)), uri="/", nonce=nonce)
        async with session.get(service.url, headers={"Authorization": login}) as answer:
            assert answer.status == 200
        async with session.get(service.url, headers={"Authorization": login}) as answer:
            assert answer.status == 401
            assert "stale=true" in answer.headers["WWW-Authenticate"]
        async with session.get(service.url, headers={"Authorization": "Digest nonsense"}) as answer:
            assert answer.status == 400


async def test_a_client_that_knows_md5_alone_gets_in_by_a_file_of_md5(tmp_path: Path) -> None:
    path = tmp_path / "digests"
    path.write_text(f"{USER}:{REALM}:{hashed('MD5', f'{USER}:{REALM}:{PASSWORD}')}\n")

    def fetch(url: str) -> int:
        passwords = HTTPPasswordMgrWithDefaultRealm()
        passwords.add_password(None, url, USER, PASSWORD)
        with build_opener(HTTPDigestAuthHandler(passwords)).open(url) as answer:
            return int(answer.status)

    async with serving(access=AccessConfig(digest_file=path)) as service:
        assert await asyncio.to_thread(fetch, service.url) == 200


@pytest.fixture
def pem(tmp_path: Path) -> tuple[trustme.CA, TlsConfig]:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    return authority, TlsConfig(certificate=certificate, key=key)


async def test_https_serves_a_client_that_trusts_the_authority(pem: tuple[trustme.CA, TlsConfig]) -> None:
    authority, config = pem
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with serving(access=AccessConfig(tls=config)) as service, aiohttp.ClientSession() as session:
        assert service.url.startswith("https://")
        async with session.get(service.url, ssl=trusting) as answer:
            resources = (await answer.json(content_type=None))["resources"]
        assert resources["networkmap"]["uri"] == service.url + "networkmap"
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(service.url)
        with pytest.raises(aiohttp.ClientError):
            await session.get(service.url.replace("https", "http"))


def test_files_that_are_no_certificate_and_key_are_an_error(
    pem: tuple[trustme.CA, TlsConfig], tmp_path: Path
) -> None:
    config = pem[1]
    for wrong in (
        {"key": config.certificate},
        {"certificate": tmp_path / "nowhere"},
        {"key": tmp_path},
    ):
        with pytest.raises(UserError):
            tls_context(config.model_copy(update=wrong))


def test_an_address_may_ask_a_burst_and_then_at_its_rate() -> None:
    limit = RateLimit(per_s=2.0, burst=3)
    assert [limit.wait_s("10.0.0.1", 0.0) for _ in range(3)] == [0, 0, 0]
    assert limit.wait_s("10.0.0.1", 0.0) == 0.5
    assert limit.wait_s("10.0.0.2", 0.0) == 0
    assert limit.wait_s("10.0.0.1", 0.25) == 0.25
    assert limit.wait_s("10.0.0.1", 0.5) == 0
    assert [limit.wait_s("10.0.0.1", 100.0) == 0 for _ in range(4)] == [True, True, True, False]


def test_an_ipv6_client_is_its_network() -> None:
    limit = RateLimit(per_s=1.0, burst=1)
    assert limit.wait_s("2001:db8::1", 0.0) == 0
    assert limit.wait_s("2001:db8::2", 0.0) > 0
    assert limit.wait_s("2001:db8:0:1::1", 0.0) == 0


async def test_who_asks_too_often_is_told_when_to_come_again() -> None:
    async with (
        serving(access=AccessConfig(requests_per_s=0.4, burst=2)) as service,
        aiohttp.ClientSession() as session,
    ):
        seen = []
        for _ in range(3):
            async with session.get(service.url) as answer:
                seen.append((answer.status, answer.headers.get("Retry-After")))
        assert seen == [(200, None), (200, None), (503, "3")]


async def test_more_connections_than_allowed_get_503_and_those_there_are_stay() -> None:
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    async with serving(access=AccessConfig(connections=2)) as service, AsyncExitStack() as stack:
        host, port = service.addresses[0].split(":")

        async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection(host, port)
            stack.callback(writer.close)
            return reader, writer

        async def status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
            writer.write(request)
            return (await reader.readline()).split()[1]

        first, second = await connect(), await connect()
        assert await status(*first) == await status(*second) == b"200"
        reader, writer = await connect()
        writer.write(request)
        refusal = await reader.read()
        assert refusal.startswith(b"HTTP/1.1 503")
        assert b"Retry-After:" in refusal
        first[1].close()
        for _ in range(100):
            if service.status()["connections"] == 1:
                break
            await asyncio.sleep(0.01)
        assert await status(*await connect()) == b"200"


async def test_a_client_has_only_its_share_of_the_connections() -> None:
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    access = AccessConfig(connections=10, connections_per_client=2)
    async with serving(access=access) as service, AsyncExitStack() as stack:
        host, port = service.addresses[0].split(":")

        async def status(client: str) -> bytes:
            reader, writer = await asyncio.open_connection(host, port, local_addr=(client, 0))
            stack.callback(writer.close)
            writer.write(request)
            return (await reader.readline()).split()[1]

        assert [await status("127.0.0.1") for _ in range(4)] == [b"200", b"200", b"503", b"503"]
        assert await status("127.0.0.2") == b"200"


def test_shares_are_of_all_and_of_each_client_an_ipv6_client_being_its_network() -> None:
    shares = Shares(most=4, most_of_one=2)
    assert [shares.take(f"2001:db8::{number}") for number in range(3)] == [True, True, False]
    assert shares.take("2001:db8:0:1::1")
    assert shares.take("10.0.0.1")
    assert len(shares) == 4
    assert not shares.take("10.0.0.2")
    shares.give_back("2001:db8::9")
    assert shares.take("10.0.0.2")
    assert not shares.take("2001:db8::3")
    for address in ("2001:db8::1", "2001:db8:0:1::1", "10.0.0.1", "10.0.0.2"):
        shares.give_back(address)
    assert len(shares) == 0
    assert not shares._taken


async def test_connections_count_from_when_they_are_accepted_also_in_the_handshake(
    pem: tuple[trustme.CA, TlsConfig], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    authority, config = pem
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    monkeypatch.setattr(connections, "HANDSHAKE_S", 0.5)
    access = AccessConfig(tls=config, connections=3)
    async with serving(access=access) as service, AsyncExitStack() as stack:
        host, port = service.addresses[0].split(":")

        async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection(host, port)
            stack.callback(writer.close)
            return reader, writer

        silent = [await connect() for _ in range(3)]
        for _ in range(100):
            if service.status()["connections"] == 3:
                break
            await asyncio.sleep(0.01)
        assert service.status()["connections"] == 3
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await asyncio.open_connection(host, port, ssl=trusting)
        silent[0][1].close()
        for reader, _ in silent[1:]:  # their time is over
            with suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 10) == b""
        for _ in range(100):
            if service.status()["connections"] == 0:
                break
            await asyncio.sleep(0.01)
        assert service.status()["connections"] == 0

        monkeypatch.undo()
        for _ in range(5):  # what is no TLS gives its place back
            reader, writer = await connect()
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            with suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), 10)
        reader, writer = await asyncio.open_connection(host, port, ssl=trusting)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"200"
        assert service.status()["connections"] == 1
        writer.close()
    assert not caplog.records


async def test_long_answers_come_whole_over_tls_and_who_does_not_read_is_hung_up_on(
    pem: tuple[trustme.CA, TlsConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, config = pem
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    size = 250
    names = {f"p{number}": [f"10.{number}.0.0/16"] for number in range(size)}
    said = published([[i + j + 0.123456789012 for j in range(size)] for i in range(size)], prefixes=names)
    monkeypatch.setattr(connections, "WRITE_S", 0.5)
    async with serving(said, access=AccessConfig(tls=config)) as service:
        url = service.url + "costmap/num-routingcost"
        async with aiohttp.ClientSession() as session, session.get(url, ssl=trusting) as answer:
            assert len((await answer.json(content_type=None))["cost-map"]) == size
        host, port = service.addresses[0].split(":")
        _, writer = await asyncio.open_connection(host, port, ssl=trusting, limit=1024)
        writer.write(b"GET /costmap/num-routingcost HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        await asyncio.sleep(0.2)
        for _ in range(500):
            if service.status()["connections"] == 0:
                break
            await asyncio.sleep(0.01)
        assert service.status()["connections"] == 0
        writer.close()
