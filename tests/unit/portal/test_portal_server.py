"""The portal as a program: it answers, keeps its record, is controlled, says that it serves, and stops."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import yaml
from aiohttp import web
from portal_site import published

from testbed.config_file import load_config
from testbed.controller.client import Controller, Refused
from testbed.portal import publication
from testbed.portal.config import PortalConfig
from testbed.portal.distances_log import DistancesLog
from testbed.portal.server import start
from testbed.portal.site import Snapshot

CONFIG: dict[str, Any] = {
    "isp": "cablenet",
    "asn": 65001,
    "listen": "127.0.0.1:0",
    "pids": [
        {"pid": "cablenet:paris", "prefixes": ["10.1.0.0/24"]},
        {"pid": "cablenet:lyon", "prefixes": ["10.1.1.0/24"]},
    ],
    "links": [{"id": "core", "a": "cablenet:paris", "b": "cablenet:lyon", "weight": 2.5}],
    "external": [{"pid": "dslnet", "prefixes": ["10.2.0.0/16"], "exit": "cablenet:paris", "weight": 10}],
}


def write(folder: Path, **changes: object) -> Path:
    path = folder / "portal.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, **changes}))
    return path


def run(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "testbed.portal", "--config", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("portal")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    """A portal that runs in a process of its own; stopping it is part of the test."""
    ready = folder / "ready.json"
    files = {name: str(folder / name) for name in ("distances_log", "control_socket")}
    config = write(folder, ready_file=str(ready), **files)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "testbed.portal", "--config", str(config)], stderr=log
        )
    until = time.monotonic() + 30
    while not ready.exists():
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < until
        time.sleep(0.02)
    assert json.loads(ready.read_text())["pid"] == process.pid
    yield "http://" + (folder / "log").read_text().strip().rpartition(" ")[2]
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0
    assert not (folder / "control_socket").exists()
    assert "Traceback" not in (folder / "log").read_text()


def test_the_directory_leads_to_maps_that_belong_together(url: str) -> None:
    with urlopen(url) as answer:
        resources = json.load(answer)["resources"]
    with urlopen(resources["networkmap"]["uri"]) as answer:
        tag = json.load(answer)["meta"]["vtag"]["tag"]
    with urlopen(resources["costmap-num-routingcost"]["uri"]) as answer:
        cost_map = json.load(answer)
    assert cost_map["meta"]["dependent-vtags"][0]["tag"] == tag
    assert cost_map["cost-map"]["cablenet:lyon"]["dslnet"] == 12.5


def test_a_current_copy_is_not_sent_again(url: str) -> None:
    with urlopen(url + "/networkmap") as answer:
        etag = answer.headers["ETag"]
    with pytest.raises(HTTPError) as not_modified:
        urlopen(Request(url + "/networkmap", headers={"If-None-Match": etag}))
    assert not_modified.value.code == 304
    not_modified.value.close()


def test_the_control_socket_is_the_users_alone_and_tells_what_goes_on(url: str, folder: Path) -> None:
    path = folder / "control_socket"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    status = Controller(path).get("/status")
    assert status["isp"] == "cablenet"
    assert "http://" + status["addresses"][0] == url
    assert status["faults"]["selfish"] == 1


def test_faults_are_set_at_run_time_and_published_distances_are_on_record(url: str, folder: Path) -> None:
    def said() -> float:
        with urlopen(url + "/costmap/num-routingcost") as answer:
            cost: float = json.load(answer)["cost-map"]["cablenet:lyon"]["dslnet"]
            return cost

    control = Controller(folder / "control_socket")
    assert control.put("/faults", {"selfish": 2})["selfish"] == 2
    assert said() == 25
    assert control.put("/faults", {})["selfish"] == 1
    assert said() == 12.5
    rows = [json.loads(line) for line in (folder / "distances_log").read_text().splitlines()]
    moments = sorted({row["t_ns"] for row in rows})
    assert len(moments) == 3
    assert 0 < moments[-1] <= time.monotonic_ns()
    found = [
        {(row["src_pid"], row["dst_pid"]): row["p_distance"] for row in rows if row["t_ns"] == moment}
        for moment in moments
    ]
    assert [pairs["cablenet:lyon", "dslnet"] for pairs in found] == [12.5, 25, 12.5]
    assert found[0]["dslnet", "cablenet:lyon"] == 12.5
    assert len(found[0]) == 8


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"stael": True}, "did you mean 'stale'"),
        ({"noise": -1}, "noise: -1 is too small"),
        ({"missing": "half"}, "missing"),
        ([], "is not a mapping"),
    ],
)
def test_wrong_faults_are_refused_in_words_and_change_nothing(
    url: str, folder: Path, body: object, says: str
) -> None:
    assert url
    control = Controller(folder / "control_socket")
    before = control.get("/status")["faults"]
    with pytest.raises(Refused, match=says):
        control.put("/faults", body)
    assert control.get("/status")["faults"] == before


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"colour": "blue"}, "colour"),
        ({"access": {"tls": {"certificate": "nowhere.pem", "key": "nowhere.pem"}}}, "nowhere.pem"),
        ({"access": {"digest_file": "nowhere"}}, "nowhere"),
        ({"access": {"public_uri": "alto.example.net"}}, "public_uri"),
        ({"listen": []}, "at least one address"),
        ({"listen": ["127.0.0.1:0", "somewhere"]}, "somewhere"),
        ({"aggregations": {"networkmap": {"all": ["dslnet"]}}}, "'networkmap' is the id of the full map"),
    ],
)
def test_wrong_input_ends_with_2_and_the_place(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    done = run(write(tmp_path, **changes))
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_is_taken_ends_with_1(url: str, tmp_path: Path) -> None:
    done = run(write(tmp_path, listen=url.removeprefix("http://")))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


async def test_loads_from_the_controller_become_new_maps(tmp_path: Path) -> None:
    """The network of the file, priced by what a controller says that its one link carries."""
    carried = [0]

    async def loads(_request: web.Request) -> web.Response:
        carried[0] += 10_000_000
        way = {"bytes": carried[0], "monotonic_ns": time.monotonic_ns(), "capacity_bps": 1e7}
        ends = {"cablenet:paris": way, "cablenet:lyon": {**way, "bytes": 0}}
        return web.json_response({"links": {"core": ends}, "down": []})

    async with AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_get("/loads", loads)
        runner = web.AppRunner(app)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.UnixSite(runner, tmp_path / "controller").start()
        pricing = {"objective": "mlu", "update_s": 0.05}
        links = [{**CONFIG["links"][0], "capacity_bps": 1e7}]
        path = write(tmp_path, loads=str(tmp_path / "controller"), pricing=pricing, links=links)
        service = await start(load_config(path, PortalConfig), stack)
        first = service.site.snapshot.published
        for _ in range(200):
            if service.site.publications > 3:
                break
            await asyncio.sleep(0.05)
        now = service.site.snapshot.published
        key = first.network_maps[0].id, first.cost_types[0].name
        there, back = now.costs[key][0, 1], now.costs[key][1, 0]
        assert there > back
        assert now.network_maps[0].tag == first.network_maps[0].tag


async def test_a_mistake_in_following_the_loads_leaves_the_maps_and_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    async def fails(_live: object, _site: object) -> None:
        calls.append(time.monotonic())
        raise RuntimeError("no such link")

    monkeypatch.setattr(publication.Live, "run", fails)
    async with AsyncExitStack() as stack:
        config = load_config(write(tmp_path, pricing={"update_s": 0.01}), PortalConfig)
        service = await start(config, stack)
        for _ in range(200):
            if len(calls) > 1:
                break
            await asyncio.sleep(0.01)
        assert len(calls) > 1
        assert await asyncio.to_thread(status_of, service.url) == 200
    assert "no such link" in caplog.text


def status_of(url: str) -> int:
    with urlopen(url) as answer:
        return int(answer.status)


async def test_a_topology_file_is_enough(tmp_path: Path) -> None:
    topology = Path(__file__).parents[3] / "topologies" / "abilene.yaml"
    path = tmp_path / "portal.yaml"
    isp = next(iter(yaml.safe_load(topology.read_text())["isps"]))
    path.write_text(yaml.safe_dump({"isp": isp, "listen": "127.0.0.1:0", "topology": str(topology)}))
    async with AsyncExitStack() as stack:
        service = await start(load_config(path, PortalConfig), stack)
        assert len(service.site.snapshot.published.network_maps[0].prefixes) > 10


async def test_several_addresses_are_served_each_with_its_own_uris(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        path = write(tmp_path, listen=["127.0.0.1:0", "[::1]:0"])
        service = await start(load_config(path, PortalConfig), stack)
        assert [address.rpartition(":")[0] for address in service.addresses] == ["127.0.0.1", "[::1]"]
        for address in service.addresses:
            with await asyncio.to_thread(urlopen, f"http://{address}/") as answer:
                uri = json.load(answer)["resources"]["networkmap"]["uri"]
            assert uri == f"http://{address}/networkmap"


@pytest.mark.parametrize(("factors", "fits"), [(24, True), (1440, False)])
def test_a_calendar_of_more_costs_than_one_answer_can_have_is_refused(factors: int, fits: bool) -> None:
    pids = [{"pid": f"p{number}", "prefixes": []} for number in range(200)]
    given = {"isp": "x", "listen": "127.0.0.1:0", "pids": pids}
    day = {"policy": {"time_of_day": {"factors": [1.0] * factors}}}
    if fits:
        PortalConfig.model_validate({**given, **day})
    else:
        with pytest.raises(ValueError, match="give fewer factors"):
            PortalConfig.model_validate({**given, **day})


def test_the_record_is_json_lines_whatever_the_cost(tmp_path: Path) -> None:
    log = DistancesLog(tmp_path / "log")
    for _ in range(2):  # what is the same is written once
        log(Snapshot(published(((0, 1e-30), (1e30, 3)))))
    rows = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {(row["src_pid"], row["dst_pid"]): row["p_distance"] for row in rows} == {
        ("a", "a"): 0,
        ("a", "b"): 1e-30,
        ("b", "a"): 1e30,
        ("b", "b"): 3,
    }
    assert len(rows) == 4
    log(Snapshot(published(((0, 1), (1e30, 3)))))
    assert len((tmp_path / "log").read_text().splitlines()) == 8
