"""The link agent: changes links of a running network, and tells it of new routes, on request over a socket.

One connection, one request: a line of JSON comes in, a line of JSON goes out. Its client is the controller,
which knows what shall be; only emulation knows how rate, delay and loss are set.

    {"do": "change", "changes": [{"link": ID, "source": END, "rate_bps": 1000000, "delay_s": 0.1, "loss": 0}]}
    {"do": "follow", "failed": [LINK ID, ...]}

are answered by `{"ok": true, "monotonic_ns": when it was so}` or `{"ok": false, "error": why}`. A change
names at least one of the three, and the rest of the direction stays; of several changes all are made or none.
With `"until_ns": TIME` of the monotonic clock nothing is begun after that time: who asked has given up then.
"""

from __future__ import annotations

import json
import math
import os
import selectors
import signal
import socket
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread
from typing import Any

from testbed.emulation.network import EmulatedNetwork
from testbed.emulation.shaper import Way
from testbed.errors import RunError
from testbed.topology.model import Direction
from testbed.topology.routing import compute_routes

LONGEST_REQUEST_BYTES = 2**20
PATIENCE_S = 5.0
"""So long a client may take to say what it wants, and to read the answer."""

_MOST_CLIENTS = 64
_LONGEST_ERROR = 4000
_VALUES = ("rate_bps", "delay_s", "loss")


class BadRequestError(Exception):
    """A request that says nothing sensible, and why."""


@dataclass(frozen=True)
class Change:
    """What of a direction of a link shall be otherwise."""

    way: Way
    values: Mapping[str, Any]

    def of(self, now: Direction) -> Direction:
        return replace(now, **self.values)


def read_request(line: bytes, now_ns: int) -> list[Change] | frozenset[str]:
    """The changes that a request asks for, or the failed links that routes shall avoid. Pure.

    `now_ns` is the time of the monotonic clock. Raises BadRequestError.
    """
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the request is no JSON: {error}") from None
    if not isinstance(request, dict):
        raise BadRequestError("the request is no JSON object")
    match request.get("do"):
        case "change":
            _allow(request, "do", "changes", "until_ns")
            until_ns = request.get("until_ns", now_ns)
            if not isinstance(until_ns, int) or until_ns < now_ns:
                raise BadRequestError(f"'until_ns' is {_shown(until_ns)}, and it is {now_ns}: too late")
            return _changes(request.get("changes"))
        case "follow":
            _allow(request, "do", "failed")
            failed = request.get("failed")
            if not isinstance(failed, list) or not all(isinstance(link, str) for link in failed):
                raise BadRequestError("'failed' is no list of links")
            return frozenset(failed)
        case other:
            raise BadRequestError(f"'do' is {_shown(other)}, allowed is change or follow")


def _changes(items: Any) -> list[Change]:
    if not isinstance(items, list):
        raise BadRequestError("'changes' is no list")
    changes = [_change(item) for item in items]
    if len({change.way for change in changes}) < len(changes):
        raise BadRequestError("a direction of a link is changed twice")
    return changes


def _change(item: Any) -> Change:
    if not isinstance(item, dict):
        raise BadRequestError(f"{_shown(item)} is no change")
    _allow(item, "link", "source", *_VALUES)
    link, source = item.get("link"), item.get("source")
    if not (isinstance(link, str) and isinstance(source, str)):
        raise BadRequestError(f"{_shown(item)} does not name its link and source")
    values = {name: _number(name, item[name]) for name in _VALUES if name in item}
    if not values:
        raise BadRequestError(f"{_shown(item)} changes nothing")
    return Change((link, source), values)


def _number(name: str, value: Any) -> float:
    """A finite number, for a rate a whole one. The network knows what it may be."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequestError(f"{name} is {_shown(value)}, which is no number")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadRequestError(f"{name} is {value}, which is not finite")
    return round(value) if name == "rate_bps" else value


def _allow(item: Mapping[str, Any], *names: str) -> None:
    if strange := item.keys() - set(names):
        raise BadRequestError(f"{_shown(sorted(strange))} is unknown, allowed is {', '.join(names)}")


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 100 else f"{text[:100]}..."


@dataclass
class _Client:
    connection: socket.socket
    until_s: float
    said: bytearray = field(default_factory=bytearray)


class LinkAgent:
    """Serves requests for `net` on a Unix socket that only its owner may use, in a thread of its own.

    Used as a context, or by `start` and `close`: after the network is built, and closed before it is stopped.
    Nothing that a client sends ends it.
    """

    def __init__(self, net: EmulatedNetwork, path: Path) -> None:
        self._net = net
        self._path = path
        self._thread: Thread | None = None

    def __enter__(self) -> LinkAgent:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen, and answer from now on. Raises RunError where there can be no such socket."""
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            # The file is made with the mode of the socket, so that it is nobody else's for no moment.
            os.fchmod(self._server.fileno(), 0o600)
            self._server.bind(str(self._path))
            self._server.listen(_MOST_CLIENTS)
        except OSError as error:
            self._server.close()
            raise RunError(f"the link agent can't listen on {self._path}: {error}") from None
        self._waker, self._woken = socket.socketpair()
        self._clients: dict[int, _Client] = {}
        self._thread = Thread(target=self._serve, name="link agent", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer what is being worked on and no more. The socket's file is gone afterwards."""
        if self._thread is None:
            return
        self._waker.close()
        self._thread.join()
        self._thread = None
        self._woken.close()

    def _serve(self) -> None:
        # Signals are the main thread's: one that came here would not wake it where it waits.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        with selectors.DefaultSelector() as self._selector, self._server:
            self._selector.register(self._server, selectors.EVENT_READ)
            self._selector.register(self._woken, selectors.EVENT_READ)
            try:
                while self._woken.fileno() not in (ready := self._wait()):
                    self._serve_once(ready, time.monotonic())
            finally:
                self._path.unlink(missing_ok=True)
            for client in list(self._clients.values()):
                self._refuse(client, "the link agent ends")

    def _serve_once(self, ready: set[int], now_s: float) -> None:
        for descriptor in ready:
            if descriptor == self._server.fileno():
                self._accept()
            else:
                self._listen_to(self._clients[descriptor])
        # By the time before that, which others may have taken.
        for client in [client for client in self._clients.values() if client.until_s < now_s]:
            self._refuse(client, f"no whole line came within {PATIENCE_S:.0f} s")

    def _wait(self) -> set[int]:
        first = min((client.until_s for client in self._clients.values()), default=math.inf)
        left_s = None if first == math.inf else max(0.0, first - time.monotonic())
        return {key.fd for key, _ in self._selector.select(left_s)}

    def _accept(self) -> None:
        try:
            connection, _ = self._server.accept()
        except BlockingIOError:
            return
        except OSError:
            time.sleep(0.05)  # no descriptor left: it may have one later
            return
        connection.setblocking(False)
        client = _Client(connection, time.monotonic() + PATIENCE_S)
        self._clients[connection.fileno()] = client
        self._selector.register(connection, selectors.EVENT_READ)
        if len(self._clients) > _MOST_CLIENTS:
            self._refuse(client, "too many clients at once")

    def _listen_to(self, client: _Client) -> None:
        try:
            data = client.connection.recv(2**16)
        except BlockingIOError:
            return
        except OSError:
            self._part_with(client)
            return
        client.said += data
        line, newline, _ = client.said.partition(b"\n")
        if len(line) > LONGEST_REQUEST_BYTES:
            self._refuse(client, f"a request is at most {LONGEST_REQUEST_BYTES} bytes")
        elif newline or (line and not data):
            self._answer(client, self._done(bytes(line)))
        elif not data:
            self._part_with(client)

    def _done(self, line: bytes) -> dict[str, Any]:
        """Do what a request asks for, and say how it went."""
        try:
            self._do(read_request(line, time.monotonic_ns()))
        except (BadRequestError, RunError) as error:
            return _failure(str(error))
        except Exception as error:
            traceback.print_exc()  # a bug of ours, and no reason to leave the others alone
            return _failure(repr(error))
        return {"ok": True, "monotonic_ns": time.monotonic_ns()}

    def _do(self, request: list[Change] | frozenset[str]) -> None:
        links = self._net.now.link_by_id
        if isinstance(request, frozenset):
            if unknown := sorted(request - links.keys()):
                raise BadRequestError(f"there is no link {unknown[0]}")
            self._net.follow(compute_routes(self._net.now, request))
            return
        wanted = {}
        for change in request:
            name, source = change.way
            link = links.get(name)
            if link is None or source not in (link.a, link.b):
                raise BadRequestError(f"{name} from {source}: there is no such link")
            wanted[change.way] = change.of(link.direction(source))
        self._net.change_links(wanted)

    def _refuse(self, client: _Client, why: str) -> None:
        self._answer(client, _failure(why))

    def _answer(self, client: _Client, answer: Mapping[str, Any]) -> None:
        with suppress(OSError):  # who asked may have gone
            client.connection.send(json.dumps(answer).encode() + b"\n")
        self._part_with(client)

    def _part_with(self, client: _Client) -> None:
        self._selector.unregister(client.connection)
        del self._clients[client.connection.fileno()]
        client.connection.close()


def _failure(why: str) -> dict[str, Any]:
    return {"ok": False, "error": why[:_LONGEST_ERROR]}
