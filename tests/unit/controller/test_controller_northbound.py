"""The northbound API: what it answers and how it refuses, over HTTP by the standard library's server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from wsgiref.simple_server import WSGIRequestHandler, make_server

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

import testbed
from testbed.config_file import load_config
from testbed.controller.config import ControllerConfig
from testbed.controller.fabric import Fabric, load_fabric
from testbed.controller.northbound import respond, wsgi_application
from testbed.errors import UserError
from testbed.topology.model import Isp, Network, Pop
from testbed.topology.routing import compute_routes

NETWORK = Network(
    "one",
    (Isp("a", 65001, "10.1.0.0/16"),),
    (Pop("a.0", "a", "0", "10.1.0.0/24", "10.1.0.1", "02:00:00:00:00:01", 1),),
    (),
)


@pytest.fixture
def fabric() -> Fabric:
    return Fabric(NETWORK, compute_routes(NETWORK))


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url(fabric: Fabric) -> Iterator[str]:
    with make_server("127.0.0.1", 0, wsgi_application(fabric), handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_ready_only_when_every_switch_is_connected_and_confirmed(fabric: Fabric, url: str) -> None:
    def ready() -> bool:
        return bool(json.load(urlopen(f"{url}/status"))["ready"])

    switch = fabric.by_datapath[1]
    assert not ready()
    switch.connected = True
    assert not ready()
    switch.confirmed = True
    assert ready()
    switch.connected = False
    assert not ready()


def test_rules_of_a_switch_are_listed(url: str) -> None:
    rules = json.load(urlopen(f"{url}/rules?pop=a.0"))
    assert [rule["priority"] for rule in rules] == [200, 0]
    assert rules[0]["match"] == {"eth_type": 0x0806, "arp_op": 1, "arp_tpa": "10.1.0.1"}
    assert rules[1]["actions"] == []


def test_the_last_counters_are_served(fabric: Fabric, url: str) -> None:
    fabric.by_pop["a.0"].counters = {"monotonic_ns": 1, "pop": "a.0", "ports": {}}
    assert json.load(urlopen(f"{url}/counters")) == {"a.0": {"monotonic_ns": 1, "pop": "a.0", "ports": {}}}


@pytest.mark.parametrize(
    ("method", "target", "status", "reason"),
    [
        ("GET", "/nothing", 404, "/status"),
        ("POST", "/status", 405, "only GET"),
        ("GET", "/rules", 400, "?pop="),
        ("GET", "/rules?pop=a.0&pop=a.0", 400, "once"),
        ("GET", "/rules?pop=a.9", 404, "a.9"),
        ("GET", "/status?x=1", 400, "'x'"),
    ],
)
def test_a_bad_request_gets_its_reason(url: str, method: str, target: str, status: int, reason: str) -> None:
    with pytest.raises(HTTPError) as refused:
        urlopen(Request(url + target, method=method))
    assert refused.value.code == status
    assert reason in json.load(refused.value)["error"]


@given(st.text(), st.text(), st.text())
def test_no_request_breaks_it(method: str, path: str, query: str) -> None:
    fabric = Fabric(NETWORK, compute_routes(NETWORK))
    status, body = respond(fabric, method, path, query)
    assert status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
    assert body["error"]
    status, body = respond(fabric, "GET", "/rules", query)
    assert status in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND)


def test_a_file_that_is_no_topology_is_the_users_error(tmp_path: Path) -> None:
    path = tmp_path / "topology.json"
    for text in ("", "{}", "[]", '{"network": {"name": 1}, "routes": {}}'):
        path.write_text(text)
        with pytest.raises(UserError, match="no compiled topology"):
            load_fabric(path)
    with pytest.raises(UserError, match="can't be read"):
        load_fabric(tmp_path / "absent")


def test_the_template_makes_a_valid_configuration(tmp_path: Path) -> None:
    template = (Path(testbed.__file__).parent / "templates" / "controller.yaml.j2").read_text()
    path = tmp_path / "controller.yaml"
    path.write_text(
        jinja2.Environment(undefined=jinja2.StrictUndefined)
        .from_string(template)
        .render(
            topology=Path("/run/topology.json"),
            openflow_socket=Path("/run/of.sock"),
            socket=Path("/run/api.sock"),
            counters=Path("/run/counters.jsonl"),
            ready_file=Path("/run/ready"),
            poll_interval_s=0.5,
        )
    )
    config = load_config(path, ControllerConfig)
    assert config.openflow_socket == Path("/run/of.sock")
    assert (config.topology, config.ready_file) == (Path("/run/topology.json"), Path("/run/ready"))
    assert (config.poll_interval_s, config.counters) == (0.5, Path("/run/counters.jsonl"))


def test_a_wrong_configuration_lists_every_problem(tmp_path: Path) -> None:
    path = tmp_path / "controller.yaml"
    path.write_text(f"topology: t.json\nsocket: /{'x' * 120}\nkounters: c\npoll_interval_s: 0\n")
    with pytest.raises(UserError) as refused:
        load_config(path, ControllerConfig)
    text = str(refused.value)
    for part in ("socket", "107 bytes", "kounters", "the keys topology", "counters", "poll_interval_s"):
        assert part in text
    path.write_text("a: [\n")
    with pytest.raises(UserError, match=r"controller\.yaml:\d"):
        load_config(path, ControllerConfig)
