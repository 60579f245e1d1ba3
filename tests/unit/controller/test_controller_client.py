"""The Python client against the northbound API over HTTP on a Unix socket."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import ANY
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import pytest
from recorded_control import LINK, SLOW, TOKEN, Recorder, network, recorded

from testbed.controller.client import Controller, Refused
from testbed.controller.northbound import Api, Refusal, wsgi_application
from testbed.errors import RunError


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """The standard library's WSGI server on a Unix socket."""

    address_family = socket.AF_UNIX
    daemon_threads = True

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", 0
        self.setup_environ()

    def get_request(self) -> Any:
        return super().get_request()[0], ("local", 0)


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def both() -> tuple[Api, Recorder]:
    return recorded()


@pytest.fixture
def api(both: tuple[Api, Recorder]) -> Api:
    return both[0]


@pytest.fixture
def control(both: tuple[Api, Recorder]) -> Recorder:
    return both[1]


@pytest.fixture
def controller(tmp_path: Path, api: Api) -> Iterator[Controller]:
    stopped = threading.Event()

    def sleep(seconds: float) -> None:
        if stopped.wait(seconds):
            raise ConnectionAbortedError  # ends a stream without a word

    (tmp_path / "token").write_text(f"{TOKEN}\n")
    with _Server(str(tmp_path / "api.sock"), _Quiet) as server:
        server.set_app(wsgi_application(api, sleep))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Controller(tmp_path / "api.sock", tmp_path / "token")
        stopped.set()
        server.shutdown()
        thread.join()


def test_it_gets_what_there_is(controller: Controller) -> None:
    assert controller.get("/meters/slow") == SLOW
    assert controller.get(f"/links/{LINK}")["id"] == LINK
    assert controller.get("/routes?from=left.two&to=left.one")["links"] == ["left.one--left.two"]


def test_it_changes_with_the_token(controller: Controller, control: Recorder) -> None:
    assert controller.patch(f"/links/{LINK}", {"state": "down"})["effective_ns"] == 2
    assert controller.put("/meters/new", {**SLOW, "class": "all"})["class"] == "all"
    assert controller.delete("/meters/slow") == {**SLOW, "asked_ns": ANY, "effective_ns": 2}
    assert [call[:2] for call in control.calls] == [
        ("change_link", LINK),
        ("set_meter", "new"),
        ("remove_meter", "slow"),
    ]


def test_a_refusal_has_the_status_and_the_reason(controller: Controller, control: Recorder) -> None:
    control.refusal = Refusal(HTTPStatus.CONFLICT, "the other side is down")
    for ask, status, reason in (
        (lambda: controller.get("/links/left.one--carrier.hup"), 404, "did you mean"),
        (lambda: controller.get("/rules"), 400, "give pop"),
        (lambda: controller.patch(f"/links/{LINK}", {"loss": 2}), 400, "less than 1"),
        (lambda: controller.patch("/meters/slow", {}), 405, "only GET, PUT, DELETE"),
        (lambda: controller.patch(f"/links/{LINK}", {"state": "up"}), 409, "the other side is down"),
        (lambda: controller.put("/meters/x", {"isp": "x" * 65600}), 413, "at most 65536 bytes"),
    ):
        with pytest.raises(Refused, match=reason) as refused:
            ask()  # type: ignore[no-untyped-call]
        assert isinstance(refused.value, RunError)
        assert refused.value.status == status


def test_without_the_token_it_reads_and_changes_nothing(controller: Controller, tmp_path: Path) -> None:
    stranger = Controller(tmp_path / "api.sock")
    assert stranger.get("/meters/slow") == SLOW
    with pytest.raises(Refused, match="token") as refused:
        stranger.delete("/meters/slow")
    assert refused.value.status == 401
    (tmp_path / "token").write_text("wrong\n")
    with pytest.raises(Refused, match="token"):
        controller.delete("/meters/slow")
    (tmp_path / "token").unlink()
    with pytest.raises(OSError, match="token"):
        controller.delete("/meters/slow")


@pytest.mark.parametrize("name", ["né w", "a%2Fb", "a#b", 'a"b', "a+b", "a;b"])
def test_any_name_arrives_as_it_is(controller: Controller, name: str) -> None:
    with pytest.raises(Refused) as refused:
        controller.get(f"/meters/{name}")
    assert repr(name) in str(refused.value)
    with pytest.raises(Refused) as refused:
        controller.get(f"/rules?pop={name}")
    assert repr(name) in str(refused.value)


def test_events_come_from_a_number_on_and_as_they_happen(controller: Controller, api: Api) -> None:
    api.feed.add("ready")
    api.feed.add("link", link=LINK, state="down", note="a: b, ö")
    api.feed.add("link", link=LINK, state="up")
    events = controller.events(1)
    first, second = islice(events, 2)
    assert first.pop("monotonic_ns") < second.pop("monotonic_ns")
    assert first == {"id": 2, "event": "link", "link": LINK, "state": "down", "note": "a: b, ö"}
    assert second == {"id": 3, "event": "link", "link": LINK, "state": "up"}
    api.feed.add("meter", meter="x", state="set")
    assert next(events)["meter"] == "x"
    events.close()  # type: ignore[attr-defined]


def test_a_new_reader_of_events_gets_only_what_comes(controller: Controller, api: Api) -> None:
    api.feed.add("old")
    found: list[dict[str, Any]] = []
    reader = threading.Thread(target=lambda: found.append(next(controller.events())))
    reader.start()
    while reader.is_alive():  # the reader may not be there yet
        api.feed.add("new")
        reader.join(0.05)
    assert found[0]["event"] == "new"
    assert found[0]["id"] >= 2


def test_two_readers_get_the_same(controller: Controller, api: Api) -> None:
    for _ in range(5):
        api.feed.add("x")
    one, two = controller.events(0), controller.events(0)
    pairs = [(next(one), next(two)) for _ in range(5)]
    assert [a["id"] for a, _ in pairs] == [1, 2, 3, 4, 5]
    assert all(a == b for a, b in pairs)


def test_nobody_there_is_an_os_error(tmp_path: Path) -> None:
    for ask in (lambda c: c.get("/"), lambda c: c.delete("/meters/x"), lambda c: next(c.events())):
        with pytest.raises(OSError, match="No such file"):
            ask(Controller(tmp_path / "absent.sock"))
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(tmp_path / "deaf.sock"))
        with pytest.raises(ConnectionRefusedError):
            ask(Controller(tmp_path / "deaf.sock"))
        (tmp_path / "deaf.sock").unlink()


@contextmanager
def saying(path: Path, answer: bytes) -> Iterator[Controller]:
    """A server that gives one answer and hangs up."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield Controller(path)
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 7\r\n\r\n<html/>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=["nothing", "no HTTP", "no JSON", "cut off", "empty"],
)
def test_an_answer_that_is_none_is_an_os_error(tmp_path: Path, answer: bytes) -> None:
    with saying(tmp_path / "x.sock", answer) as controller, pytest.raises(OSError, match=r"GET /|closed"):
        controller.get("/")


EVENT = b'id: 1\nevent: x\ndata: {"monotonic_ns": 5}\n\n'
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "cut_off", [b"", b"2", b"20\r\nid: 2\n"], ids=["between events", "in a length", "in an event"]
)
def test_a_controller_that_dies_ends_the_stream_or_is_an_os_error(tmp_path: Path, cut_off: bytes) -> None:
    chunk = f"{len(EVENT):x}\r\n".encode() + EVENT + b"\r\n"
    with saying(tmp_path / "x.sock", STREAM + chunk + cut_off) as controller:
        events = controller.events()
        assert next(events) == {"id": 1, "event": "x", "monotonic_ns": 5}
        with suppress(OSError):
            assert list(events) == []


def test_a_refused_stream_has_its_reason_in_words(tmp_path: Path) -> None:
    body = json.dumps({"error": "Last-Event-ID is the number of an event"}).encode()
    head = f"HTTP/1.1 400 Bad Request\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with saying(tmp_path / "x.sock", head + body) as controller, pytest.raises(Refused) as refused:
        next(controller.events())
    assert (refused.value.status, str(refused.value)) == (400, "Last-Event-ID is the number of an event")


def test_hosts_that_are_asked_about_are_there(controller: Controller) -> None:
    asked: Callable[[str], Any] = controller.get
    for host in network().hosts:
        assert asked(f"/routes?from={host.id}&to={host.ip}")["pops"] == [host.pop]
