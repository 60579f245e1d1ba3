"""The portal as a program: it answers, keeps its record, says that it serves, and stops when told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import jinja2
import pytest

import testbed
from testbed.config_file import load_config
from testbed.portal.config import PortalConfig

VARIABLES = {
    "isp": "cablenet",
    "asn": 65001,
    "listen": "127.0.0.1:0",
    "ready_file": None,
    "distances_log": None,
    "pids": [
        {"pid": "cablenet:paris", "prefixes": ["10.1.0.0/24"]},
        {"pid": "cablenet:lyon", "prefixes": ["10.1.1.0/24"]},
    ],
    "links": [{"a": "cablenet:paris", "b": "cablenet:lyon", "weight": [2.5, 2.5]}],
    "external": [{"pid": "dslnet", "prefixes": ["10.2.0.0/16"], "exit": "cablenet:paris", "weight": 10}],
    "intra_pid_distance": 0.0,
    "log_level": "INFO",
}


def render(folder: Path, **changes: object) -> Path:
    templates = Path(testbed.__file__).parent / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates), undefined=jinja2.StrictUndefined
    )
    path = folder / "portal.yaml"
    path.write_text(environment.get_template("portal.yaml.j2").render(VARIABLES | changes))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("portal")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    """A portal that runs in a process of its own; stopping it is part of the test."""
    ready = folder / "ready.json"
    config = render(folder, ready_file=ready, distances_log=folder / "distances.jsonl")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "testbed.portal", "--config", str(config)], stderr=log
        )
    until = time.monotonic() + 15
    while not ready.exists():
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < until
        time.sleep(0.02)
    assert json.loads(ready.read_text())["pid"] == process.pid
    yield "http://" + (folder / "log").read_text().strip().rpartition(" ")[2]
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0


def test_the_directory_leads_to_maps_that_belong_together(url: str) -> None:
    with urlopen(url) as answer:
        assert answer.headers["Content-Type"] == "application/alto-directory+json"
        resources = json.load(answer)["resources"]
    with urlopen(resources["networkmap"]["uri"]) as answer:
        assert answer.headers["Content-Type"] == "application/alto-networkmap+json"
        tag = json.load(answer)["meta"]["vtag"]["tag"]
    with urlopen(resources["costmap-routingcost"]["uri"]) as answer:
        assert answer.headers["Content-Type"] == "application/alto-costmap+json"
        cost_map = json.load(answer)
    assert cost_map["meta"]["dependent-vtags"][0]["tag"] == tag
    assert cost_map["cost-map"]["cablenet:lyon"]["dslnet"] == 12.5


@pytest.mark.parametrize("path", ["/", "/networkmap", "/costmap/routingcost"])
def test_a_current_copy_is_not_sent_again(url: str, path: str) -> None:
    with urlopen(url + path) as answer:
        etag = answer.headers["ETag"]
    with pytest.raises(HTTPError) as not_modified:
        urlopen(Request(url + path, headers={"If-None-Match": etag}))
    assert not_modified.value.code == 304
    with urlopen(Request(url + path, headers={"If-None-Match": '"another"'})) as answer:
        assert answer.status == 200


def test_the_host_header_of_a_request_does_not_reach_the_directory(url: str) -> None:
    with urlopen(Request(url, headers={"Host": "evil.example"})) as answer:
        assert b"evil" not in answer.read()


def test_published_distances_are_on_record(url: str, folder: Path) -> None:
    assert url
    rows = [json.loads(line) for line in (folder / "distances.jsonl").read_text().splitlines()]
    found = {(row["src_pid"], row["dst_pid"]): row["p_distance"] for row in rows}
    assert found["dslnet", "cablenet:lyon"] == 12.5
    assert len(found) == 8
    assert 0 < rows[0]["t_ns"] <= time.monotonic_ns()


def test_a_portal_with_neither_links_nor_neighbours_is_a_good_configuration(tmp_path: Path) -> None:
    config = load_config(render(tmp_path, links=[], external=[]), PortalConfig)
    assert config.links == ()
    assert config.external == ()


def test_wrong_input_ends_with_2_and_the_place(tmp_path: Path) -> None:
    path = render(tmp_path)
    path.write_text(path.read_text() + "\ncolour: blue\n")
    done = subprocess.run(
        [sys.executable, "-m", "testbed.portal", "--config", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"{path}: colour" in done.stderr
    assert "Traceback" not in done.stderr
