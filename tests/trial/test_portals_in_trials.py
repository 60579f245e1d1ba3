"""Portals in whole trials: maps that are closed, over HTTPS, with faults and prices; a portal that dies."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import small_experiment
import small_topology
import traces
from command import Running, testbed

pytestmark = [
    pytest.mark.emulation,
    pytest.mark.trial,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="building networks needs root"),
]
TOPOLOGY = small_topology.TEXT.replace(
    "down: 8 Mbit/s, up: 1 Mbit/s", "down: 4 Mbit/s, up: 2 Mbit/s"
).replace("capacity: 5 Mbit/s", "capacity: 20 Mbit/s")
NAME = f"portals-{os.getpid()}"

PORTALS = """
portals:
  refresh: 1 s
  https: true
  maps: password
  pricing: {objective: mlu, update: 1 s}
  isps:
    left: {maps: closed}
    right: {pricing: static, perturbation: 0.1}
events:
  - {at: 3 s, portal: carrier, faults: {selfish: 1000}}
"""


def experiment(folder: Path, more: str, size: str = "2 MiB") -> Path:
    file = small_experiment.write(
        folder,
        ("name: tiny", f"name: {NAME}"),
        ("512 KiB", size),
        ("[native, p4p]", "[p4p]"),
        ("interval: 10 s", "interval: 3 s"),
        topology=TOPOLOGY,
    )
    file.write_text(file.read_text() + more)
    return file


def only_trial(folder: Path) -> Path:
    (manifest,) = folder.glob(f"results/{NAME}/*/manifest.json")
    return manifest.parent


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("portals")
    done = testbed("run", experiment(folder, PORTALS), folder=folder)
    assert done.returncode == 0, done.stderr
    return only_trial(folder)


def table(trial: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(trial / f"{name}.parquet")


def test_closed_maps_guide_nobody_and_the_record_says_why(trial: Path) -> None:
    announces = table(trial, "announces")
    left = announces.filter(pl.col("host").str.starts_with("left.") & (pl.col("numwant") > 0))
    assert len(left) >= 2
    assert set(left["reason"]) == {"closed"}
    assert not left["guided"].any()


def test_maps_behind_a_password_over_https_guide_whoever_is_there(trial: Path) -> None:
    announces = table(trial, "announces")
    others = announces.filter(~pl.col("host").str.starts_with("left.") & (pl.col("numwant") > 0))
    assert len(others) > 0
    assert others["guided"].all()


def test_what_portals_publish_moves_with_the_loads_or_stays(trial: Path) -> None:
    by_isp = (
        table(trial, "distances").group_by("isp", "src_pid", "dst_pid").agg(pl.col("p_distance").n_unique())
    )
    most: dict[str, int] = dict(by_isp.group_by("isp").agg(pl.col("p_distance").max()).rows())
    assert most["carrier"] > 1
    assert most["right"] == 1


def test_faults_of_the_timeline_are_in_the_maps_and_in_the_events(trial: Path) -> None:
    events = [json.loads(line) for line in (trial / "events.jsonl").read_text().splitlines()]
    (change,) = [event for event in events if event["event"] == "change"]
    assert change["text"] == "portal of carrier has faults: selfish"
    abroad = table(trial, "distances").filter(
        (pl.col("isp") == "carrier") & (pl.col("dst_pid") == "left") & (pl.col("p_distance") > 0)
    )
    before = abroad.filter(pl.col("t_ns") < change["asked_ns"])["p_distance"].max()
    after = abroad.filter(pl.col("t_ns") > change["effective_ns"])["p_distance"].max()
    assert isinstance(before, float)
    assert isinstance(after, float)
    assert after > 10 * before


def test_no_key_and_no_password_is_in_the_record(trial: Path) -> None:
    text = "".join(path.read_text() for folder in ("config", "logs") for path in (trial / folder).iterdir())
    assert "PRIVATE KEY" not in text
    assert "CERTIFICATE" in text, "of the authority, which is public"


def test_a_portal_that_dies_costs_guidance_and_nothing_else(tmp_path: Path) -> None:
    file = experiment(tmp_path, "\nportals: {refresh: 1 s}\n", size="4 MiB")
    with Running("run", file, folder=tmp_path) as command:
        command.until(lambda: list(tmp_path.glob(f"results/{NAME}/unfinished/*/raw/*.transfers")))
        (victim,) = traces.inhabitants(command.run.tag, "left.one.portal")
        os.kill(victim, signal.SIGKILL)
        assert command.ends_with() == 0
    trial = only_trial(tmp_path)
    manifest: dict[str, Any] = json.loads((trial / "manifest.json").read_text())
    reason = "a portal died: left.one.portal was killed by signal SIGKILL"
    assert manifest["verdict"] == "suspect"
    assert reason in manifest["reasons"]
    events = [json.loads(line) for line in (trial / "events.jsonl").read_text().splitlines()]
    assert [event["host"] for event in events if event["event"] == "portal_died"] == ["left.one.portal"]
    reasons = set(table(trial, "announces").filter(pl.col("host").str.starts_with("left."))["reason"])
    assert reasons <= {"", "unreachable"}
