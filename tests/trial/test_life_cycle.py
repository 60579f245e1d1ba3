"""The life of trials through the real command line: whole runs, Ctrl-C, kill -9, deaths, bad input."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import small_experiment
import small_topology
import traces
from command import Running, testbed

from testbed.analysis.definitions import METRICS
from testbed.emulation.journal import NAMESPACES, runs
from testbed.topology.model import Network

pytestmark = [
    pytest.mark.emulation,
    pytest.mark.trial,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="building networks needs root"),
]
# Generous links: a download takes some seconds, whatever the policy.
TOPOLOGY = small_topology.TEXT.replace(
    "down: 8 Mbit/s, up: 1 Mbit/s", "down: 4 Mbit/s, up: 2 Mbit/s"
).replace("capacity: 5 Mbit/s", "capacity: 20 Mbit/s")
SIZE = 2**20
LEECHERS = 6
NAME = f"life-{os.getpid()}"
"""Of the experiments here: other runs may go on at the same time on this machine."""


def experiment(folder: Path, *changes: tuple[str, str]) -> Path:
    return small_experiment.write(
        folder,
        ("name: tiny", f"name: {NAME}"),
        ("512 KiB", "1 MiB"),
        ("isp: left, count: 2", "isp: left, count: 3"),
        ("isp: right, count: 1", "isp: right, count: 3"),
        ("within: 2 s", "within: 1 s"),
        *changes,
        topology=TOPOLOGY,
    )


ONE_POLICY = ("[native, p4p]", "[p4p]")
ENDLESS = ("1 MiB", "64 MiB")


def downloading(folder: Path) -> list[Path]:
    """What clients have noted so far of blocks that they received."""
    notes = folder.glob(f"results/{NAME}/unfinished/*/raw/*.transfers")
    return [path for path in notes if path.stat().st_size > 0]


def whole_trials(folder: Path, results: str = "results") -> list[Path]:
    return [path.parent for path in sorted((folder / results / NAME).glob("*/manifest.json"))]


# --- a whole run -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an experiment that was run to its end."""
    folder = tmp_path_factory.mktemp("finished")
    with Running("run", experiment(folder), folder=folder) as command:
        tag = command.until(lambda: [run.tag for run in runs() if run.pid == command.process.pid])[0]
        assert command.ends_with() == 0, command.said()
    assert traces.of_run(tag) == []
    return folder


def test_a_run_ends_with_a_summary_in_which_every_number_is_one(finished: Path) -> None:
    summary = json.loads((finished / f"results/{NAME}/summary.json").read_text())
    assert list(summary["policies"]) == ["native", "p4p"]
    for policy, metrics in summary["policies"].items():
        # Per-peer completion times are no metric of a policy.
        assert set(METRICS) - {"completion_s"} <= set(metrics) | {"completion_s"}, policy
        for metric, value in metrics.items():
            if "mean" in value:
                assert math.isfinite(value["mean"]), f"{policy} {metric}"
        assert metrics["unfinished"]["mean"] == 0
        assert metrics["server_bytes"]["mean"] > 0
    assert set(summary["differences"]) == {"p4p"}
    assert [trial["policy"] for trial in summary["trials"]] == ["native", "p4p"]
    for trial in summary["trials"]:
        # On a busy machine a trial may rightly be suspect.
        assert trial["verdict"] in ("valid", "suspect")
        assert all(isinstance(reason, str) for reason in trial["reasons"])


def test_a_run_says_where_its_report_is(finished: Path) -> None:
    report = finished / f"results/{NAME}/report.html"
    assert f"Report: {report}" in (finished / "command.stdout").read_text()
    assert report.read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")


def test_every_leecher_received_every_byte_once_and_nobody_received_what_nobody_sent(finished: Path) -> None:
    trials = whole_trials(finished)
    assert len(trials) == 2
    for trial in trials:
        transfers, peers = (pl.read_parquet(trial / f"{name}.parquet") for name in ("transfers", "peers"))
        kept = transfers.unique(["dst", "piece", "block"])
        assert kept.height == LEECHERS * SIZE // 16384
        leechers = peers.filter(pl.col("role") == "leecher")
        assert leechers.height == LEECHERS
        assert leechers["hash_ok"].to_list() == [True] * LEECHERS
        assert (leechers["completed_ns"] > leechers["joined_ns"]).all()
        # What came in vain is what was not kept.
        assert (leechers["bytes_down"] - leechers["bytes_wasted"]).to_list() == [SIZE] * LEECHERS
        assert kept["bytes"].sum() == LEECHERS * SIZE
        assert transfers["bytes"].sum() <= LEECHERS * SIZE + leechers["bytes_wasted"].sum()
        # A sender counts what it hands to its socket; a little is on the way when the swarm ends.
        assert peers["bytes_down"].sum() <= peers["bytes_up"].sum()


def test_switches_counted_at_least_what_clients_received(finished: Path) -> None:
    for trial in whole_trials(finished):
        links = pl.read_parquet(trial / "links.parquet")
        network = Network.from_json(json.loads((trial / "topology.json").read_text())["network"])
        ends = {(link.id, end) for link in network.links for end in (link.a, link.b)}
        assert {tuple(row) for row in links.select("link", "direction").unique().iter_rows()} == ends
        for _, rows in links.sort("t_ns").group_by(["link", "direction"]):
            assert (rows["bytes"].diff().drop_nulls() >= 0).all()
        last = links.group_by("link", "direction").agg(pl.col("bytes").max())
        counted = {(link, direction): count for link, direction, count in last.iter_rows()}
        for peer in pl.read_parquet(trial / "peers.parquet").iter_rows(named=True):
            link = f"{peer['host']}--{peer['pop']}"
            assert counted[link, peer["pop"]] >= peer["bytes_down"]
            assert counted[link, peer["host"]] > 0


def test_the_tracker_was_guided_under_p4p_alone(finished: Path) -> None:
    for trial in whole_trials(finished):
        policy = json.loads((trial / "manifest.json").read_text())["policy"]
        announces = pl.read_parquet(trial / "announces.parquet")
        started = announces.filter(pl.col("event") == "started")
        assert started.height == LEECHERS + 1
        assert started["guided"].to_list() == [policy == "p4p"] * started.height
        assert (pl.read_parquet(trial / "distances.parquet").height > 0) is True


def test_everything_that_ran_has_its_configuration_and_its_log(finished: Path) -> None:
    for trial in whole_trials(finished):
        network = Network.from_json(json.loads((trial / "topology.json").read_text())["network"])
        names = {"controller", *(host.id for host in network.hosts)}
        assert names <= {path.stem for path in (trial / "config").iterdir()}
        assert names <= {path.name.removesuffix(".log") for path in (trial / "logs").iterdir()}
        assert not (trial / "raw").exists()
    assert not (finished / f"results/{NAME}/unfinished").exists()


def test_a_second_call_runs_nothing(finished: Path) -> None:
    before = {path: (path / "manifest.json").stat().st_mtime_ns for path in whole_trials(finished)}
    done = testbed("run", "tiny.yaml", "--json", folder=finished)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("already there") == 2
    assert "building" not in done.stderr
    assert json.loads(done.stdout)["experiment"] == NAME
    assert {path: (path / "manifest.json").stat().st_mtime_ns for path in whole_trials(finished)} == before


# --- changes in mid-trial --------------------------------------------------------------------------------

# The carrier's two PoPs have a second way to each other.
RING = TOPOLOGY.replace(
    "      edge: {at: [48.0, 2.0]}\n", "      edge: {at: [48.0, 2.0]}\n      far: {}\n"
).replace(
    "weight: 3}\n",
    "weight: 3}\n"
    + "".join(
        f"      - {{between: [far, {pop}], capacity: 50 Mbit/s, delay: 1 ms}}\n" for pop in ("hub", "edge")
    ),
)
INNER, BORDER = "carrier.hub--carrier.edge", "left.one--carrier.hub"
CHANGES = """\
events:
  - {at: 2 s, link: carrier.edge--carrier.hub, state: down}
  - {at: 3 s, link: carrier.hub--left.one, rate: [3 Mbit/s, 4 Mbit/s], delay: 10 ms}
  - {at: 3 s, meter: slow, isp: left, class: bittorrent, rate: 1 Mbit/s}
  - {at: 4 s, tracker: restart}
  - {at: 4 s, portal: left, state: down}
  - {at: 5 s, portal: left, state: up}
  - {at: 5 s, adopts: right}
  - {at: 6 s, controller: restart}
  - {at: 6 s, link: carrier.hub--carrier.edge, state: up}
  - {at: 7 s, meter: slow, state: removed}
  - {when: 99 %, tracker: restart}
"""


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trial in which everything is changed that can be."""
    folder = tmp_path_factory.mktemp("changed")
    file = experiment(folder, ONE_POLICY, ("1 MiB", "3 MiB"))
    (folder / "small.yaml").write_text(RING)
    file.write_text(file.read_text() + CHANGES)
    with Running("run", file, folder=folder) as command:
        tag = command.until(lambda: [run.tag for run in runs() if run.pid == command.process.pid])[0]
        assert command.ends_with() == 0, command.said()
    assert traces.of_run(tag) == []
    (trial,) = whole_trials(folder)
    return trial


def events_of(trial: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (trial / "events.jsonl").read_text().splitlines()]


def test_every_change_that_was_reached_took_effect_and_is_noted(changed: Path) -> None:
    events = events_of(changed)
    done = {event["number"]: event for event in events if event["event"] == "change"}
    assert [event for event in events if event["event"] == "change_failed"] == []
    assert sorted(done) == list(range(10))
    for number, at_s in enumerate((2, 3, 3, 4, 4, 5, 5, 6, 6, 7)):
        assert at_s * 10**9 <= done[number]["asked_ns"] <= done[number]["effective_ns"]
        assert done[number]["spec"]["at"] == f"{at_s} s"
    assert [event["number"] for event in events if event["event"] == "change_not_reached"] == [10]
    manifest = json.loads((changed / "manifest.json").read_text())
    assert any("tracker restarted" in note for note in manifest["notes"])
    assert manifest["spec"]["events"][2]["class"] == "bittorrent"


def test_what_the_controller_noted_is_among_the_events_in_order_of_time(changed: Path) -> None:
    events = events_of(changed)
    times = [event["t_ns"] for event in events if event["t_ns"] is not None]
    assert times == sorted(times)
    noted = [event for event in events if event["event"] == "controller" and event["t_ns"] is not None]
    links = [(event["link"], event["state"]) for event in noted if event["kind"] == "link"]
    assert links == [(INNER, "down"), (INNER, "up")]
    failed = [tuple(event["failed"]) for event in noted if event["kind"] == "routes"]
    assert list(dict.fromkeys(failed)) == [(INNER,), ()]
    (change,) = [event for event in noted if event["kind"] == "change"]
    assert change["link"] == BORDER
    rates = [change[way]["rate_bps"] for way in ("forward", "backward")]
    assert rates == [4_000_000, 3_000_000]  # the link's own first end is left.one


def test_programs_that_restart_go_on_with_their_records(changed: Path) -> None:
    done = {event["number"]: event for event in events_of(changed) if event["event"] == "change"}
    announces = pl.read_parquet(changed / "announces.parquet")
    for early in (True, False):
        assert announces.filter((pl.col("t_ns") < done[3]["effective_ns"]) == early).height > 0
    distances = pl.read_parquet(changed / "distances.parquet")
    published = {isp: sorted(set(rows["t_ns"])) for (isp,), rows in distances.group_by(["isp"])}
    assert published["carrier"] == [0]
    assert published["left"][0] == 0
    assert published["left"][1] > done[4]["effective_ns"]
    assert published["right"][0] > 5 * 10**9
    assert len(published["right"]) == 1


def test_a_trial_that_changes_still_counts_every_byte(changed: Path) -> None:
    leechers = pl.read_parquet(changed / "peers.parquet").filter(pl.col("role") == "leecher")
    assert leechers["hash_ok"].to_list() == [True] * LEECHERS
    pairs = pl.read_parquet(changed / "pairs.parquet")
    came = pairs.group_by("pop", "src_isp").agg(pl.col("bytes").max())
    assert came["bytes"].sum() >= LEECHERS * 3 * SIZE
    switches = pl.read_parquet(changed / "switches.parquet")
    metered = switches.group_by("pop").agg(pl.col("metered").max())
    dropped = {pop: count for pop, count in metered.iter_rows() if count}
    assert set(dropped) <= {"left.one", "left.two"}
    assert dropped
    metrics = pl.read_parquet(changed.parent / "metrics.parquet").filter(pl.col("scope") == "all")
    residual = dict(metrics.select("metric", "value").iter_rows())
    # Without the routes of the time it would be a tenth and more.
    assert residual["residual_internal"] < 0.05
    assert "link carrier.hub--carrier.edge: cut" in (changed.parent / "report.html").read_text()


# --- interrupted -----------------------------------------------------------------------------------------


def test_ctrl_c_ends_clean_and_the_same_command_goes_on(tmp_path: Path) -> None:
    file = experiment(tmp_path, ONE_POLICY)
    with Running("run", file, folder=tmp_path) as command:
        command.until(lambda: downloading(tmp_path))
        tag = command.run.tag
        command.process.send_signal(signal.SIGINT)
        assert command.ends_with() == 130
        said = command.said()
    assert traces.of_run(tag) == []
    assert f"Kept: 0 of 1 trials in {tmp_path}/results/{NAME}" in said
    assert "To go on: sudo .venv/bin/testbed run" in said
    assert said.endswith("testbed: stopped by Ctrl-C\n")
    assert "Traceback" not in said
    assert whole_trials(tmp_path) == []
    done = testbed("run", file, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(whole_trials(tmp_path)) == 1


def test_a_calibration_that_is_asked_to_end_leaves_nothing(tmp_path: Path) -> None:
    with Running("calibrate", folder=tmp_path) as command:
        tag = command.until(lambda: [run.tag for run in runs() if run.pid == command.process.pid])[0]
        command.until(lambda: traces.of_run(tag))
        command.process.terminate()
        assert command.ends_with() == 130
        assert command.said().endswith("testbed: stopped by SIGTERM\n")
    assert traces.of_run(tag) == []


def test_a_prompt_whose_terminal_is_gone_ends_and_leaves_nothing(tmp_path: Path) -> None:
    file = experiment(tmp_path, ONE_POLICY)
    with Running("shell", file, folder=tmp_path, stdin=subprocess.PIPE) as command:
        command.until(lambda: "testbed>" in command.stdout.read_text())
        tag = command.run.tag
        command.process.send_signal(signal.SIGINT)  # Mininet's prompt goes on
        command.until(lambda: command.stdout.read_text().count("testbed>") == 2)
        command.process.send_signal(signal.SIGHUP)
        assert command.process.stdin is not None
        command.process.stdin.close()  # as a terminal that goes does: a prompt about to read wakes up
        assert command.ends_with() == 130
    assert traces.of_run(tag) == []


def test_what_a_killed_runner_leaves_is_shown_and_cleaned_and_nothing_else(tmp_path: Path) -> None:
    other = f"keep{os.getpid()}"
    subprocess.run(["ip", "netns", "add", other], check=True)
    try:
        with Running("run", experiment(tmp_path, ONE_POLICY, ENDLESS), folder=tmp_path) as command:
            command.until(lambda: downloading(tmp_path))
            tag = command.run.tag
            refused = testbed("clean", "--run", tag, folder=tmp_path)
            assert (refused.returncode, command.process.poll()) == (1, None)
            assert f"run {tag} is alive" in refused.stderr
            command.process.kill()
            command.ends_with()
        assert status(tmp_path)[tag]["state"] == "dead"
        assert status(tmp_path)[tag]["experiment"] == NAME
        assert traces.of_run(tag) != []
        done = testbed("clean", "--run", tag, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"{tag}: removed" in done.stdout
        assert traces.of_run(tag) == []
        assert tag not in status(tmp_path)
        assert (NAMESPACES / other).exists()
    finally:
        subprocess.run(["ip", "netns", "del", other], check=True)
    assert whole_trials(tmp_path) == []


def test_a_full_disk_ends_the_trial_with_one_message_and_nothing_left(tmp_path: Path) -> None:
    disk = tmp_path / "results"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system can't be mounted here")
    try:
        with Running("run", experiment(tmp_path, ONE_POLICY, ENDLESS), folder=tmp_path) as command:
            command.until(lambda: downloading(tmp_path))
            tag = command.run.tag
            with suppress(OSError), (disk / "filler").open("wb") as file:
                file.write(bytes(2**23))
            assert command.ends_with() == 1
            said = command.said()
        # Which program dies of it first, and whether its log could still say so, is chance.
        assert said.count("\ntestbed: ") == 1
        # A log may show the traceback of the program that could not write.
        assert "\nTraceback" not in said
        assert traces.of_run(tag) == []
        assert whole_trials(tmp_path) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def status(folder: Path) -> dict[str, Any]:
    done = testbed("status", "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    return {run["run"]: run for run in json.loads(done.stdout)}


# --- deaths ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "log"),
    [
        ("carrier.hub.tracker", "carrier.hub.tracker"),
        ("controller", "controller"),
        ("client left.one.leecher1", "left.one.leecher1"),
    ],
)
def test_a_death_ends_the_trial_with_its_name_and_the_end_of_its_log(
    tmp_path: Path, name: str, log: str
) -> None:
    with Running("run", experiment(tmp_path, ONE_POLICY, ENDLESS), folder=tmp_path) as command:
        config = command.until(lambda: list(tmp_path.glob(f"results/{NAME}/unfinished/*/config/{log}.yaml")))
        command.until(lambda: downloading(tmp_path))
        tag = command.run.tag
        (victim,) = traces.inhabitants(tag, log) or with_argument(tag, str(config[0]))
        os.kill(victim, signal.SIGKILL)
        assert command.ends_with() == 1
        said = command.said()
    assert traces.of_run(tag) == []
    assert f"testbed: {name} was killed by signal SIGKILL\n" in said
    (written,) = tmp_path.glob(f"results/{NAME}/unfinished/*/logs/{log}.log")
    last = written.read_text().splitlines()[-1]
    assert f"  | {last}" in said
    assert f"see {written}" in said
    assert "Traceback" not in said
    assert whole_trials(tmp_path) == []


def with_argument(tag: str, argument: str) -> list[int]:
    return [
        pid
        for pid in traces.processes(tag)
        if argument.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    ]


# --- several at once -------------------------------------------------------------------------------------


def test_two_runs_at_once_both_succeed_and_a_third_into_the_same_folder_says_who_has_it(
    tmp_path: Path,
) -> None:
    file = experiment(tmp_path, ONE_POLICY)
    with (
        Running("run", file, "--results", "one", folder=tmp_path, name="one") as first,
        Running("run", file, "--results", "two", folder=tmp_path, name="two") as second,
    ):
        lock = tmp_path / "one" / NAME / ".lock"
        first.until(lambda: lock.exists() and lock.read_text())
        third = testbed("run", file, "--results", "one", folder=tmp_path)
        assert third.returncode == 1
        assert third.stderr.startswith(
            f"testbed: process {first.process.pid} is running this experiment into"
        )
        assert "--results DIR" in third.stderr
        assert first.ends_with() == 0, first.said()
        assert second.ends_with() == 0, second.said()
    for results in ("one", "two"):
        (trial,) = whole_trials(tmp_path, results)
        assert pl.read_parquet(trial / "transfers.parquet")["bytes"].sum() >= LEECHERS * SIZE
        shutil.rmtree(trial)


# --- bad input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "old", "new", "line", "words"),
    [
        ("tiny.yaml", "seed: 7", "sead: 7", 3, "unknown key 'sead'"),
        ("tiny.yaml", "size: 1 MiB", "size: 1048576", 6, "has no unit"),
        ("tiny.yaml", "isp: right,", "isp: rihgt,", 11, "there is no ISP 'rihgt'"),
        (
            "tiny.yaml",
            "isp: right, count: 3",
            "isp: right, count: 9999",
            9,
            "10003 peers and 3 portals need about",
        ),
        ("tiny.yaml", "size: 1 MiB", "size: 9000 GiB", 9, "of memory, and this machine can give"),
        ("tiny.yaml", "[native, p4p]", "[native, p4q]", 4, "p4q"),
        ("small.yaml", "between: [one, two]", "between: [one, one]", 16, "from one to itself"),
    ],
)
def test_bad_input_is_one_message_with_its_line_and_nothing_is_built(
    tmp_path: Path, file: str, old: str, new: str, line: int, words: str
) -> None:
    experiment(tmp_path)
    path = tmp_path / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    done = testbed("run", "tiny.yaml", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"testbed: {file}:{line}: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "results").exists()
    assert [run for run in runs() if run.experiment == NAME] == []
