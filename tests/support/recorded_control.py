"""A northbound API whose Control writes down what it is asked for, over the network of `small_topology`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import small_topology

from testbed.controller.fabric import Asked, Fabric, MeterState
from testbed.controller.feed import Feed
from testbed.controller.northbound import Api, Refusal
from testbed.controller.requests import MeterSpec
from testbed.topology.model import Direction, Network
from testbed.topology.routing import compute_routes

TOKEN = "word"
LINK = "left.one--carrier.hub"
SLOW = {"isp": "left", "class": "bittorrent", "direction": "out", "rate_bps": 1_000_000}
"""The meter that is there from the beginning, under the name `slow`."""


@cache
def network() -> Network:
    with TemporaryDirectory() as folder:
        return small_topology.network(Path(folder))


@dataclass
class Recorder:
    """Does nothing, says that it was in force at 2 ns, or raises `refusal`."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    refusal: Refusal | None = None
    counted: dict[int, tuple[int, int]] = field(default_factory=dict)

    def rule_counts(self, pop: str) -> dict[int, tuple[int, int]]:
        assert pop in network().pop_by_id
        return self.counted

    @property
    def one_at_a_time(self) -> AbstractContextManager[None]:
        return nullcontext()

    def change_link(self, link: str, state: str | None, directions: tuple[Direction, Direction]) -> int:
        return self._asked("change_link", link, state, directions)

    def set_meter(self, name: str, spec: MeterSpec) -> int:
        return self._asked("set_meter", name, spec)

    def remove_meter(self, name: str) -> int:
        return self._asked("remove_meter", name)

    def _asked(self, *call: Any) -> int:
        self.calls.append(call)
        if self.refusal is not None:
            raise self.refusal
        return 2


def recorded(token: str = TOKEN) -> tuple[Api, Recorder]:
    asked = Asked(meters={"slow": MeterState(MeterSpec.model_validate(SLOW), 2)})
    fabric = Fabric(network(), compute_routes(network()), compute_routes, asked=asked)
    control = Recorder()
    return Api(fabric, control, Feed(), {"name": "ryu", "version": "4.34"}, token), control


def environ(method: str, path: str, query: str = "", body: bytes = b"", **more: Any) -> dict[str, Any]:
    """What a WSGI server hands on; the path is the decoded one, as bytes in latin-1 (PEP 3333)."""
    found: Mapping[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(body)) if body else "",
        "wsgi.input": io.BytesIO(body),
    }
    return {**found, **more}
