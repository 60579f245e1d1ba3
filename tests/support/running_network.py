"""A run without a network: its folder, its journal, and the controller's own northbound API on its socket.

What the API changes is noted in what the controller knows; there are no switches and no links to change.
"""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from testbed.controller.counters import Poll
from testbed.controller.fabric import Fabric, MeterState
from testbed.controller.feed import Feed
from testbed.controller.northbound import Api, wsgi_application
from testbed.controller.requests import MeterSpec
from testbed.emulation.journal import Journal
from testbed.topology.model import Direction, Network
from testbed.topology.routing import compute_routes

TOKEN = "a word"
TOOK_NS = 12_000_000


@dataclass
class Obedient:
    """Does at once what the API is asked for, 12 ms long by its own words."""

    fabric: Fabric

    @property
    def one_at_a_time(self) -> AbstractContextManager[None]:
        return nullcontext()

    def change_link(self, link: str, state: str | None, directions: tuple[Direction, Direction]) -> int:
        self.fabric.set_directions(link, *directions)
        if state is not None:
            self.fabric.port_is(self.fabric.links[link].b, link, state == "down")
            self.fabric.plan()
        return time.monotonic_ns() + TOOK_NS

    def set_meter(self, name: str, spec: MeterSpec) -> int:
        self.fabric.meters[name] = MeterState(spec, self.fabric.number_for(name))
        self.fabric.plan()
        return time.monotonic_ns() + TOOK_NS

    def rule_counts(self, _: str) -> dict[int, tuple[int, int]]:
        return {}

    def remove_meter(self, name: str) -> int:
        del self.fabric.meters[name]
        self.fabric.plan()
        return time.monotonic_ns() + TOOK_NS


@dataclass
class RunningNetwork:
    """A run, as its verbs see it. `fabric` is what its controller knows."""

    journal: Journal
    fabric: Fabric
    _start_ns: int = field(default_factory=time.monotonic_ns)

    @property
    def tag(self) -> str:
        return self.journal.tag

    def poll(self, pop: str, ports: dict[str, list[int]], **more: Any) -> None:
        """A switch's counts, one second after its last ones."""
        totals = self.fabric.totals[pop]
        now_ns = totals.last.monotonic_ns + 1_000_000_000 if totals.last else self._start_ns
        totals.add(Poll(now_ns, pop, ports, **{"pairs": {}, "unrouted": 0, **more}))


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    address_family = socket.AF_UNIX
    daemon_threads = True

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", 0
        self.setup_environ()

    def get_request(self) -> Any:
        return super().get_request()[0], ("localhost", 0)


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running(network: Network, experiment: str = "small") -> Iterator[RunningNetwork]:
    """A run of this network, until the end of the context."""
    fabric = Fabric(network, compute_routes(network), compute_routes)
    journal = Journal.create(experiment)
    try:
        (journal.folder / "controller.token").write_text(TOKEN)
        (journal.folder / "controller.ready").touch()
        with served(fabric, journal.folder / "controller.sock"):
            yield RunningNetwork(journal, fabric)
    finally:
        journal.close()


@contextmanager
def served(fabric: Fabric, path: Path) -> Iterator[None]:
    """The northbound API on a Unix socket."""
    api = Api(fabric, Obedient(fabric), Feed(), {"name": "ryu", "version": "4.34"}, TOKEN)
    server = _Server(str(path), _Quiet)
    server.set_app(wsgi_application(api, time.sleep))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
