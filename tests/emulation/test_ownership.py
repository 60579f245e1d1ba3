"""Whoever owned a network and was killed, in whatever moment: `clean` removes all that it made, and no more.

The moments are drawn at random, one in each of as many equal parts of a build and of a whole trial, so that
every step of both is met, the start of the clients too.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import traces
from command import testbed

from testbed.emulation.journal import NAMESPACES, RUNS, RunInfo, runs

pytestmark = [
    pytest.mark.emulation,
    pytest.mark.trial,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="building networks needs root"),
]
SEED = 4
BUILDS, TRIALS = 12, 8

# Imports once; each line that it reads is a task, for a process that owns what it makes. The line after it
# asks for its end: until then its id is no other's, though it may have ended.
OWNER = """
    import os, sys, time
    from pathlib import Path
    import small_experiment
    from testbed.emulation.capabilities import probe_engines
    from testbed.emulation.processes import die_with
    from testbed.trial.laboratory import Laboratory
    from testbed.trial.runner import run_trial

    folder, parent = Path(sys.argv[1]), os.getpid()
    changes = [("[native, p4p]", "[p4p]"), ("within: 2 s", "within: 1 s"), ("timeout: 60", "timeout: 20")]
    plan, engines = small_experiment.plans(folder, *changes)[0], probe_engines()

    def perform(task):
        die_with(parent)
        if task == "trial":
            run_trial(plan, folder / "results", engines, lambda _: None)
            return
        with Laboratory(plan, folder / "build", engines, lambda _: None) as lab:
            lab.build_network()

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            perform(line.strip())
            os._exit(0)
        print(child, flush=True)
        sys.stdin.readline()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Owners:
    """Processes that build networks and run trials, one after the other."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(OWNER), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def start(self, task: str) -> int:
        """Returns the id of the process that does the task."""
        assert self._process.stdin is not None
        print(task, file=self._process.stdin, flush=True)
        return self._answer()

    def exit_code(self) -> int:
        """Waits for the end of that process."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        self._process.communicate()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


@pytest.fixture(scope="module")
def owners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owners]:
    made = Owners(tmp_path_factory.mktemp("owned"))
    yield made
    made.close()


def whole_s(owners: Owners, task: str) -> float:
    """How long a task takes to its end, which leaves nothing either."""
    before = {run.tag for run in runs()}
    pid = owners.start(task)
    start = time.monotonic()
    tag = ""
    while not tag:
        assert time.monotonic() < start + 30
        tag = next((run.tag for run in runs() if run.pid == pid and run.tag not in before), "")
    assert owners.exit_code() == 0
    duration_s = time.monotonic() - start
    assert traces.of_run(tag) == []
    return duration_s


def left_by(pid: int, before: set[str]) -> list[RunInfo]:
    """The runs of a process: one, or none where it was killed early. A run killed at birth names no owner."""
    return [
        run
        for run in runs()
        if run.tag not in before and (run.pid == pid or (run.pid == 0 and not run.alive))
    ]


@pytest.mark.parametrize(("task", "count"), [("build", BUILDS), ("trial", TRIALS)])
def test_nothing_is_left_of_an_owner_that_is_killed_at_any_moment_and_cleaned(
    owners: Owners, tmp_path: Path, task: str, count: int
) -> None:
    rng = random.Random(f"{SEED} {task}")
    # The first of a new machine compiles what delays frames.
    duration_s = min(whole_s(owners, task) for _ in range(2))
    found = 0
    for number in range(count):
        moment_s = (number + rng.random()) / count * duration_s
        before = {run.tag for run in runs()}
        pid = owners.start(task)
        time.sleep(moment_s)
        os.kill(pid, signal.SIGKILL)
        # 0: it was done a little faster than the one before it.
        assert owners.exit_code() in (-signal.SIGKILL, 0)
        for run in left_by(pid, before):
            found += 1
            done = testbed("clean", "--run", run.tag, "--json", folder=tmp_path)
            assert done.returncode == 0, f"killed after {moment_s:.3f} s: {done.stderr}"
            assert [row["run"] for row in json.loads(done.stdout)] == [run.tag]
            assert traces.of_run(run.tag) == [], f"killed after {moment_s:.3f} s"
    assert found >= count - 2


def test_what_a_reboot_leaves_on_a_disk_is_a_dead_run_s(tmp_path: Path) -> None:
    """Where /run is no tmpfs, the files stay: of the journal, and those that namespaces were mounted on."""
    tag = f"tb{os.getpid() % 2**16:04x}r"
    folder, mount_point = RUNS / tag, NAMESPACES / f"{tag}.host"
    memory = Path("/dev/shm") / f"testbed-{tag}"
    lines = [
        {"kind": "run", "experiment": "rebooted", "pid": 1, "started_s": 0.0, "user": "root"},
        {"kind": "netns", "name": mount_point.name},
        {"kind": "netns", "name": f"{tag}.never.made"},
        {"kind": "folder", "path": str(memory)},
    ]
    for path in (folder, memory):
        path.mkdir(parents=True)
    (folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (memory / "content").write_bytes(b"x")
    NAMESPACES.mkdir(exist_ok=True)
    mount_point.touch()
    shown = testbed("status", "--json", folder=tmp_path)
    assert {row["run"]: row["state"] for row in json.loads(shown.stdout)}[tag] == "dead"
    done = testbed("clean", "--run", tag, "--json", folder=tmp_path)
    assert json.loads(done.stdout) == [{"run": tag, "namespaces": 1, "processes": 0}]
    assert traces.of_run(tag) == []


def test_cleaning_twice_at_once_is_no_error(owners: Owners) -> None:
    before = {run.tag for run in runs()}
    pid = owners.start("trial")
    until = time.monotonic() + 30
    while not any(run.pid == pid and run.namespaces for run in runs()):
        assert time.monotonic() < until
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    owners.exit_code()
    (run,) = left_by(pid, before)
    command = [sys.executable, "-m", "testbed", "clean"]
    cleaners = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [(cleaner.communicate()[1], cleaner.returncode) for cleaner in cleaners] == [("", 0), ("", 0)]
    assert traces.of_run(run.tag) == []
