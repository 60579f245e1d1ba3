"""RFC 7285, sections 8.3.5 and 8.5.3 against portals that are closed or busy: https, Digest, overload."""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import alto_examples as rfc
import pytest
import trustme
from real_portal import Portal, Reply, portal

CONFIG: dict[str, Any] = {
    "isp": "example",
    "pids": [{"pid": "PID1", "prefixes": ["192.0.2.0/24"]}],
    "costs": {"PID1": {"PID1": 1}},
}
REALM = "maps"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal with TLS, for the client `tracker` alone."""
    folder = tmp_path_factory.mktemp("closed")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for number, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(folder / "certificate.pem", append=number > 0)
    secret = hashlib.sha256(f"tracker:{REALM}:secret".encode()).hexdigest()
    (folder / "clients").write_text(f"tracker:{REALM}:{secret}\n")
    access = {
        "tls": {"certificate": str(folder / "certificate.pem"), "key": str(folder / "key.pem")},
        "digest_file": str(folder / "clients"),
    }
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with portal({**CONFIG, "access": access}, folder, context) as found:
        yield found


def answer_to(
    challenge: str, uri: str, method: str = "GET", password: str = "secret", count: int = 1, **changed: str
) -> str:
    """RFC 7616, section 3.4, with qop=auth and SHA-256."""
    said = dict(re.findall(r'(\w+)="?([^",]+)"?', challenge))
    assert said["algorithm"] == "SHA-256"
    assert said["qop"] == "auth"

    def digest(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    number, mine = f"{count:08x}", "0a4f113b"
    secret = digest(f"tracker:{said['realm']}:{password}")
    response = digest(f"{secret}:{said['nonce']}:{number}:{mine}:auth:{digest(f'{method}:{uri}')}")
    fields = {
        "username": '"tracker"',
        "realm": f'"{said["realm"]}"',
        "nonce": f'"{said["nonce"]}"',
        "uri": f'"{uri}"',
        "response": f'"{response}"',
        "algorithm": "SHA-256",
        "qop": "auth",
        "nc": number,
        "cnonce": f'"{mine}"',
        **changed,
    }
    return "Digest " + ", ".join(f"{key}={value}" for key, value in fields.items())


def challenged(closed: Portal, uri: str = "/") -> str:
    reply = closed.get(uri)
    assert reply.status == 401
    return reply.headers["www-authenticate"]


def test_8_3_5_https_serves_the_directory_with_https_uris(closed: Portal) -> None:
    reply = closed.get("/", Authorization=answer_to(challenged(closed), "/"))
    assert (reply.status, reply.media_type) == (200, rfc.DIRECTORY)
    assert all(entry["uri"].startswith("https://") for entry in reply.document["resources"].values())


def test_8_3_5_who_does_not_trust_the_authority_gets_no_answer(closed: Portal) -> None:
    stranger = Portal(closed.uri, Path(), ssl.create_default_context())
    with pytest.raises(ssl.SSLCertVerificationError):
        stranger.get()


def test_8_3_5_every_resource_is_closed_to_who_says_nothing(closed: Portal) -> None:
    directory = closed.get("/", Authorization=answer_to(challenged(closed), "/")).document
    for entry in directory["resources"].values():
        method = "POST" if entry.get("accepts") else "GET"
        reply = closed.request(method, entry["uri"], None, {"Content-Type": entry.get("accepts", "")})
        assert reply.status == 401
        assert reply.media_type != rfc.ERROR
        assert reply.headers["www-authenticate"].startswith("Digest ")


@pytest.mark.parametrize(
    "changed",
    [
        {"password": "guessed"},
        {"method": "POST"},
        {"username": '"somebody"'},
        {"response": '"' + "0" * 64 + '"'},
        {"nonce": '"of-another-time"'},
    ],
)
def test_8_3_5_a_wrong_answer_opens_nothing(closed: Portal, changed: dict[str, str]) -> None:
    header = answer_to(challenged(closed), "/", **changed)  # type: ignore[arg-type]
    assert closed.get("/", Authorization=header).status == 401


def test_8_3_5_an_answer_opens_once(closed: Portal) -> None:
    header = answer_to(challenged(closed), "/")
    assert closed.get("/", Authorization=header).status == 200
    assert closed.get("/", Authorization=header).status == 401


def test_8_3_5_a_nonce_serves_on_with_the_next_count(closed: Portal) -> None:
    challenge = challenged(closed)
    for count in (1, 2, 3):
        assert closed.get("/", Authorization=answer_to(challenge, "/", count=count)).status == 200


@pytest.mark.parametrize("header", ["Basic dHJhY2tlcjpzZWNyZXQ=", "Digest", "Digest =", "Bearer x", ""])
def test_8_3_5_other_ways_to_log_in_open_nothing(closed: Portal, header: str) -> None:
    assert closed.get("/", Authorization=header).status in (400, 401)


def test_8_5_3_who_asks_too_often_is_told_when_to_come_again(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    access = {"requests_per_s": 0.5, "burst": 3}
    with portal({**CONFIG, "access": access}, tmp_path_factory.mktemp("busy")) as found:
        replies: list[Reply] = [found.get("/networkmap") for _ in range(6)]
    assert [reply.status for reply in replies[:3]] == [200] * 3
    busy = replies[-1]
    assert busy.status == 503
    assert int(busy.headers["retry-after"]) >= 1
