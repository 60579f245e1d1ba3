"""`testbed alto`: what it shows of servers that are right, and says of servers that are wrong or silent."""

from __future__ import annotations

import copy
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import alto_examples as rfc
import pytest
import trustme
from alto_server import AltoServer, Page, serving
from real_portal import Portal, portal
from verbs import Done, verb

NEAR = ["p0,", "p1,", "p2", "and", "197", "more"]
PAGES: dict[tuple[str, str], Any] = {
    ("GET", "/"): Page(rfc.DIRECTORY, rfc.ROOT_DIRECTORY),
    ("GET", "/maps"): Page(rfc.DIRECTORY, rfc.DELEGATED_DIRECTORY),
    ("GET", "/networkmap"): Page(rfc.NETWORK_MAP, rfc.NETWORK_MAP_DOCUMENT),
    ("GET", "/costmap/num/routingcost"): Page(rfc.COST_MAP, rfc.cost_map(rfc.COSTS)),
    ("GET", "/costmap/num/hopcount"): Page(
        rfc.COST_MAP, rfc.cost_map({"PID1": {"PID2": 3}}, rfc.COST_TYPES["num-hop"])
    ),
    ("GET", "/ord/routingcost"): Page(
        rfc.COST_MAP, rfc.cost_map({"PID1": {"PID2": 1}}, rfc.COST_TYPES["ord-routing"])
    ),
    ("GET", "/ord/hopcount"): Page(
        rfc.COST_MAP, rfc.cost_map({"PID1": {"PID2": 1}}, rfc.COST_TYPES["ord-hop"])
    ),
}


def error(code: str, **more: str) -> Page:
    return Page(rfc.ERROR, {"meta": {"code": code, **more}}, 400)


@pytest.fixture
def server() -> Iterator[AltoServer]:
    """RFC 7285's example, whose POST services answer nothing but an error."""
    refusing = {
        ("POST", path): error("E_INVALID_FIELD_VALUE", field="endpoints", value="x")
        for path in (
            "/endpointprop/lookup",
            "/endpointcost/lookup",
            "/networkmap/filtered",
            "/costmap/filtered",
        )
    }
    with serving({**PAGES, **refusing}) as found:
        yield found


def test_the_directory_and_its_default_maps_are_shown(server: AltoServer) -> None:
    done = verb("alto", server.uri)
    assert done.code == 0
    assert done.lines[0] == f"{server.uri}: 9 resources in 2 directories"
    lines = [" ".join(line.split()) for line in done.lines]
    assert "my-default-network-map (default) network map GET" in lines
    assert (
        "filtered-cost-map filtered cost map POST 4 cost types, constraints my-default-network-map" in lines
    )
    assert lines[-11:] == [
        f"Network map my-default-network-map: 3 PIDs, tag {rfc.TAG}",
        "PID prefixes which",
        "PID1 2 192.0.2.0/24, 198.51.100.0/25",
        "PID2 1 198.51.100.128/25",
        "PID3 2 0.0.0.0/0, ::/0",
        "",
        "Cost map numerical-routing-cost-map: numerical routingcost, 8 costs",
        "from PID1 PID2 PID3",
        "PID1 1 5 10",
        "PID2 5 1 15",
        "PID3 20 15",
    ]


def test_on_a_narrow_terminal_no_id_is_cut(server: AltoServer) -> None:
    lines = verb("alto", server.uri, width=72).lines
    assert lines[1].split() == ["resource", "what", "offers"]
    assert any(line.startswith("numerical-routing-cost-map ") for line in lines)


def test_a_resource_of_a_delegated_directory_is_shown_by_its_id(server: AltoServer) -> None:
    done = verb("alto", server.uri, "-r", "ordinal-hopcount-cost-map")
    assert done.lines == [
        "Cost map ordinal-hopcount-cost-map: ordinal hopcount, 1 cost",
        "from  PID2",
        "PID1     1",
    ]


def test_a_map_by_itself_needs_no_directory(server: AltoServer) -> None:
    done = verb("alto", f"{server.uri}/networkmap")
    assert (done.code, done.lines[0]) == (0, f"Network map: 3 PIDs, tag {rfc.TAG}")


def test_json_is_what_the_server_sent(server: AltoServer) -> None:
    said = json.loads(verb("alto", server.uri, "-r", "my-default-network-map", "--json").stdout)
    assert said["directories"] == {
        f"{server.uri}/": rfc.ROOT_DIRECTORY,
        f"{server.uri}/maps": rfc.DELEGATED_DIRECTORY,
    }
    assert said["resources"] == {"my-default-network-map": rfc.NETWORK_MAP_DOCUMENT}


@pytest.mark.parametrize(("count", "whole"), [(30, True), (200, False)])
def test_into_a_pipe_a_matrix_is_whole_or_not_there(count: int, whole: bool) -> None:
    pids = [f"p{number}" for number in range(count)]
    costs = {source: dict.fromkeys(pids, 123.5) for source in pids}
    with serving({("GET", "/"): Page(rfc.COST_MAP, rfc.cost_map(costs))}) as found:
        done = verb("alto", found.uri)
    assert done.lines[2].split() == (
        ["p0", *["123.5"] * 30] if whole else ["p0", "200", "123.5", "123.5", *NEAR]
    )
    assert len(done.lines) == count + 2


def test_a_terminal_that_is_too_narrow_for_the_matrix_gets_a_row_a_source() -> None:
    pids = [f"PID-with-a-long-name-{number}" for number in range(30)]
    costs = {
        source: {target: abs(row - column) for column, target in enumerate(pids)}
        for row, source in enumerate(pids)
    }
    with serving({("GET", "/"): Page(rfc.COST_MAP, rfc.cost_map(costs))}) as found:
        done = verb("alto", found.uri, width=100)
    assert done.lines[1].split() == ["from", "costs", "least", "most", "nearest"]
    assert done.lines[2].split() == [pids[0], "30", "0", "29", pids[0]]


def test_a_reply_that_is_an_error_is_told_with_its_field(server: AltoServer) -> None:
    done = verb("alto", server.uri, "--endpoint-cost", "192.0.2.1", "192.0.2.2")
    assert (done.code, done.stdout) == (1, "")
    assert done.error == (
        f"{server.uri}/endpointcost/lookup answers with HTTP status 400: "
        "E_INVALID_FIELD_VALUE in endpoints: 'x'"
    )


def check(pages: Any) -> tuple[int, list[tuple[str, str]]]:
    """The exit code, and (section, where) of what the check finds of a server."""
    with serving(pages) as found:
        done = verb("alto", found.uri, "--check", "--json")
    findings = json.loads(done.stdout)["findings"]
    return done.code, [(finding["section"], finding["where"]) for finding in findings if finding["must"]]


def test_services_that_refuse_everything_or_are_not_there_are_found(server: AltoServer) -> None:
    done = verb("alto", server.uri, "--check")
    assert done.code == 1
    assert done.lines[0].split() == ["rule", "where", "what", "is", "wrong"]
    assert "breaks rules: " in done.error
    text = " ".join(done.stdout.split())
    assert "filtered-network-map: an empty list of PIDs" in text
    assert "a request without error was answered with status 400" in text
    assert "RFC 7285, 11.5.1.3 MUST endpoint-cost: no cost-type the error is E_INVALID_FIELD_VALUE" in text


def test_a_server_that_never_says_no_is_found() -> None:
    """Whatever is posted, it answers with the full maps."""
    pages = {
        **PAGES,
        ("POST", "/networkmap/filtered"): PAGES["GET", "/networkmap"],
        ("POST", "/costmap/filtered"): PAGES["GET", "/costmap/num/routingcost"],
    }
    code, findings = check(pages)
    assert code == 1
    assert {
        ("RFC 7285, 8.5.2", "filtered-network-map: a body that is no JSON"),
        ("RFC 7285, 11.3.1.3", "filtered-network-map: no pids"),
        ("RFC 7285, 11.3.1.6", "filtered-network-map: one address type"),
        ("RFC 7285, 8.5.2", "filtered-cost-map: a cost-type that is text"),
        ("RFC 7285, 11.3.2.6", "filtered-cost-map: the constraint 'gt 10'"),
        ("RFC 7285, 11.3.2.6", "filtered-cost-map: a PID twice, one that does not exist, unknown fields"),
    } <= set(findings)
    assert ("RFC 7285, 11.3.1.3", "filtered-network-map: an empty list of PIDs") not in findings


def test_what_cannot_be_fetched_and_another_media_type_are_found() -> None:
    pages = {**PAGES, ("GET", "/maps"): Page("text/html", b"<p>", 500)}
    pages["GET", "/networkmap"] = Page("application/json", rfc.NETWORK_MAP_DOCUMENT)
    del pages["GET", "/costmap/num/hopcount"]
    code, findings = check(pages)
    assert code == 1
    assert {
        ("RFC 7285, 9.2.4", "custom-maps-resources"),
        ("RFC 7285, 8.3.3", "my-default-network-map"),
        ("RFC 7285, 9.2.2", "numerical-hopcount-cost-map"),
    } <= set(findings)


def test_directories_that_lead_to_each_other_are_seen_once() -> None:
    root = copy.deepcopy(rfc.ROOT_DIRECTORY)
    there = copy.deepcopy(rfc.DELEGATED_DIRECTORY)
    there["resources"]["back"] = {"uri": "/", "media-type": rfc.DIRECTORY}
    pages = {**PAGES, ("GET", "/"): Page(rfc.DIRECTORY, root), ("GET", "/maps"): Page(rfc.DIRECTORY, there)}
    with serving(pages) as found:
        assert verb("alto", found.uri).code == 0
        asked = [path for _, path, _ in found.requests]
    assert (asked.count("/"), asked.count("/maps")) == (1, 1)


def test_a_server_that_redirects_is_followed() -> None:
    pages = {**PAGES, ("GET", "/elsewhere"): Page("", b"", 307, {"Location": "/"})}
    with serving(pages) as found:
        assert verb("alto", f"{found.uri}/elsewhere").code == 0
    for_ever = {("GET", "/"): Page("", b"", 307, {"Location": "/"})}
    with serving(for_ever) as found:
        assert verb("alto", found.uri).error.endswith("redirects for ever")


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (Page("text/html", b"<p>hello"), "answers with text/html: the answer is no JSON"),
        (Page("application/json", b"\xff"), "the answer is not UTF-8"),
        (Page("text/html", b"gone", 410), "answers with HTTP status 410"),
        (Page(rfc.DIRECTORY, {"meta": {}}, 200), ""),
        (error("E_SYNTAX", **{"syntax-error": "column 5"}), "HTTP status 400: E_SYNTAX: column 5"),
    ],
)
def test_what_is_no_alto_server_is_a_failure(page: Page, words: str) -> None:
    with serving({("GET", "/"): page}) as found:
        done = verb("alto", found.uri, "--check")
    assert done.code == 1
    assert words in done.error


def test_where_nobody_listens_the_reason_is_said() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
        done = verb("alto", uri)
    assert (done.code, done.stdout) == (1, "")
    assert done.error == (
        f"{uri} does not answer: Connection refused\n  to mend it: is its server running there?"
    )


def test_a_server_that_is_silent_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = verb("alto", uri, "--timeout", "0.2")
    assert (done.code, "does not answer in time" in done.error) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("127.0.0.1:80",), "to mend it: testbed alto http://127.0.0.1:80"),
        (("ftp://127.0.0.1",), "URL: 'ftp://127.0.0.1' is no address"),
        (("http://",), "allowed: http://HOST:PORT/PATH"),
        (("http://[::1",), "is no address"),
        (("http://127.0.0.1", "--check", "--stream"), "ask for one thing at a time"),
        (("http://127.0.0.1", "--user", "me"), "--user: 'me' is no name and file"),
        (("http://127.0.0.1", "--user", "me:/no/such"), "--user: /no/such can't be read: No such file"),
        (("http://127.0.0.1", "--user", "me:/dev/null"), "has no password in its first line"),
        (("http://127.0.0.1", "--ca", "/no/such"), "--ca: /no/such: No such file"),
        (("http://127.0.0.1", "--ca", "/dev/null"), "--ca: /dev/null: "),
    ],
)
def test_what_cannot_be_asked_is_said(arguments: tuple[str, ...], words: str) -> None:
    done = verb("alto", *arguments)
    assert (done.code, done.stdout) == (2, "")
    assert words in done.error


def test_a_server_that_gives_no_stream_is_a_failure_with_its_reason() -> None:
    root = copy.deepcopy(rfc.ROOT_DIRECTORY)
    root["resources"]["updates"] = {
        "uri": "/updates",
        "media-type": "text/event-stream",
        "accepts": "application/alto-updatestreamparams+json",
        "uses": [rfc.MAP_ID],
    }
    pages = {**PAGES, ("GET", "/"): Page(rfc.DIRECTORY, root)}
    pages["POST", "/updates"] = error("E_MISSING_FIELD", field="add")
    with serving(pages) as found:
        done = verb("alto", found.uri, "--stream")
        assert (done.code, done.stdout) == (1, "")
        assert done.error == f"{found.uri}/updates gives no stream: HTTP status 400, E_MISSING_FIELD in add"
        checked = verb("alto", found.uri, "--check")
    assert "a request for what it offers was refused: HTTP status 400" in checked.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--filter", "", ""), "the server has no filtered cost map"),
        (("--endpoint-cost", "", "::1"), "the server has no endpoint cost service"),
        (("--property", "::1"), "the server has no endpoint property service and no entity properties"),
        (("--stream",), "the server has no update stream"),
    ],
)
def test_a_service_that_a_server_has_not_is_a_failure(arguments: tuple[str, ...], words: str) -> None:
    directory = {"meta": {"default-alto-network-map": "x"}, "resources": {}}
    with serving({("GET", "/"): Page(rfc.DIRECTORY, directory)}) as found:
        done = verb("alto", found.uri, *arguments)
    assert (done.code, done.error) == (1, words)


def test_a_server_without_tls_is_told_from_one_with_it(server: AltoServer) -> None:
    done = verb("alto", server.uri.replace("http:", "https:"))
    assert done.code == 1
    assert done.error.endswith("to mend it: write http:// where the server has no TLS")


# Against a real portal


CONFIG: dict[str, Any] = {
    "isp": "example",
    "pids": [
        {"pid": pid, "prefixes": [prefix for prefixes in group.values() for prefix in prefixes]}
        for pid, group in rfc.GROUPS.items()
    ],
    "links": [
        {"a": "PID1", "b": "PID2", "weight": 5},
        {"a": "PID2", "b": "PID3", "weight": 15},
    ],
    "policy": {"time_of_day": {"factors": [1, 2]}},
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    with portal(CONFIG, tmp_path_factory.mktemp("alto")) as found:
        yield found


def test_costs_between_pids_are_asked_for(real: Portal) -> None:
    done = verb("alto", real.uri, "--filter", "PID1,PID2", "PID3")
    assert done.lines == [
        "Cost map filtered-costmap: numerical routingcost, 2 costs",
        "from  PID3",
        "PID1    20",
        "PID2    15",
    ]


def test_several_cost_types_and_constraints_are_asked_for_at_once(real: Portal) -> None:
    done = verb(
        "alto",
        real.uri,
        "--filter",
        "PID1",
        "",
        "--cost",
        "routingcost",
        "--cost",
        "hopcount",
        "--where",
        "[1] ge 2",
    )
    assert done.lines[-2:] == ["from     PID3", "PID1  [20, 2]"]


def test_costs_between_addresses_are_asked_for(real: Portal) -> None:
    done = verb("alto", real.uri, "--endpoint-cost", "192.0.2.1", "198.51.100.129,ipv6:2001:db8::1")
    assert [" ".join(line.split()) for line in done.lines[1:]] == [
        "from ipv4:198.51.100.129 ipv6:2001:db8::1",
        "ipv4:192.0.2.1 5 20",
    ]


def test_one_side_may_be_this_machine(real: Portal) -> None:
    done = verb("alto", real.uri, "--endpoint-cost", "", "192.0.2.1", "--json")
    assert json.loads(done.stdout)["endpoint-cost-map"] == {"ipv4:127.0.0.1": {"ipv4:192.0.2.1": 20}}


def test_what_is_known_of_addresses_is_asked_for(real: Portal) -> None:
    done = verb("alto", real.uri, "--property", "192.0.2.1,8.8.8.8")
    assert [line.split() for line in done.lines[1:]] == [
        ["of", "property", "value"],
        ["ipv4:192.0.2.1", "networkmap.pid", "PID1"],
        ["ipv4:8.8.8.8", "networkmap.pid", "PID3"],
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--filter", "PID4", ""), "--filter: there is no PID 'PID4'"),
        (("--filter", "", "", "--cost", "routing"), "--cost: there is no cost type 'routing'"),
        (("--endpoint-cost", "", ""), "--endpoint-cost: one side must name addresses"),
        (("--endpoint-cost", "1.2.3", "::1"), "--endpoint-cost: '1.2.3' is no address"),
        (("--property", "PID1"), "--property: 'PID1' is no address"),
        (("-r", "costmap"), "--resource: there is no resource 'costmap'"),
        (("--stream", "-r", "costmap"), "--resource: there is no resource 'costmap'"),
    ],
)
def test_a_query_that_cannot_be_asked_is_said(real: Portal, arguments: tuple[str, ...], words: str) -> None:
    done = verb("alto", real.uri, *arguments)
    assert (done.code, done.stdout) == (2, "")
    assert words in done.error


def test_updates_are_watched(real: Portal) -> None:
    done = verb(
        "alto", real.uri, "--stream", "-r", "costmap-num-routingcost", "-r", "networkmap", "--events", "2"
    )
    lines = [line.split(maxsplit=1)[1] for line in done.lines]
    assert lines[0].startswith("control  {")
    tag = real.document("networkmap")["meta"]["vtag"]["tag"]
    assert lines[1:] == [f"networkmap  whole  tag {tag}", f"costmap-num-routingcost  whole  tag {tag}"]
    assert done.code == 0


def test_updates_are_documents_as_json(real: Portal) -> None:
    done = verb("alto", real.uri, "--stream", "-r", "networkmap", "--events", "1", "--json")
    updates = [json.loads(line) for line in done.lines]
    assert [update["kind"] for update in updates] == ["control", "full"]
    assert updates[1]["document"] == real.document("networkmap")


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a portal with TLS for `me` with the password `secret`; `uri` there says where it is."""
    folder = tmp_path_factory.mktemp("closed")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    # htdigest's MD5 of me:maps:secret
    (folder / "clients").write_text("me:maps:77fe578a18652231e6fb523d9a8698dd\n")
    (folder / "password").write_text("secret\n")
    (folder / "wrong").write_text("guessed\n")
    access = {
        "tls": {"certificate": str(folder / "server.pem"), "key": str(folder / "server.pem")},
        "digest_file": str(folder / "clients"),
    }
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with portal({**CONFIG, "access": access}, folder, context) as found:
        (folder / "uri").write_text(found.uri)
        yield folder


def ask_closed(folder: Path, *arguments: str) -> Done:
    return verb("alto", (folder / "uri").read_text(), *arguments)


def test_a_closed_server_opens_to_who_trusts_its_authority_and_knows_the_password(closed: Path) -> None:
    login = ("--ca", f"{closed}/ca.pem", "--user", f"me:{closed}/password")
    assert ask_closed(closed, *login).code == 0
    done = ask_closed(closed, *login, "--check")
    assert (done.code, "no rule is broken" in done.stdout) == (0, True)
    assert ask_closed(closed, *login, "--stream", "-r", "networkmap", "--events", "1").code == 0


def test_a_certificate_of_a_stranger_is_not_trusted(closed: Path) -> None:
    done = ask_closed(closed)
    assert done.code == 1
    assert "has a certificate that is not trusted" in done.error
    assert "to mend it: name the authority that signed it: --ca FILE" in done.error


def test_a_closed_server_wants_a_name_and_a_password(closed: Path) -> None:
    done = ask_closed(closed, "--ca", f"{closed}/ca.pem")
    assert done.code == 1
    assert "is closed: it wants a name and a password\n  to mend it: --user NAME:FILE" in done.error
    done = ask_closed(closed, "--ca", f"{closed}/ca.pem", "--user", f"me:{closed}/wrong")
    assert done.code == 2
    assert "the server does not take me with this password" in done.error


def test_no_other_server_learns_of_the_login() -> None:
    """The server delegates to a stranger, who asks for a login too."""
    challenge = {"WWW-Authenticate": 'Digest realm="x", nonce="5", qop="auth", algorithm=MD5'}
    with serving({("GET", "/maps"): Page("text/plain", b"", 401, challenge)}) as stranger:
        root = copy.deepcopy(rfc.ROOT_DIRECTORY)
        root["resources"]["custom-maps-resources"]["uri"] = f"{stranger.uri}/maps"
        with serving({**PAGES, ("GET", "/"): Page(rfc.DIRECTORY, root)}) as found:
            login = Path(__file__).with_name("conftest.py")  # any file has a first line
            verb("alto", found.uri, "--user", f"me:{login}")
        assert [path for _, path, _ in stranger.requests] == ["/maps"]
        assert all("Authorization" not in headers for _, _, headers in stranger.requests)
