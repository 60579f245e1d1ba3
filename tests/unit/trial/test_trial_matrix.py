"""Which trials are there, and that one results folder belongs to one run at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import small_experiment

from testbed.emulation.capabilities import Engines
from testbed.errors import RunError
from testbed.trial.events import Event
from testbed.trial.matrix import is_whole, run_missing

ENGINES = Engines("netdev", "none")


def test_a_trial_is_whole_when_it_has_its_manifest(tmp_path: Path) -> None:
    assert not is_whole(tmp_path, "abc")
    (tmp_path / "abc").mkdir()
    assert not is_whole(tmp_path, "abc")
    (tmp_path / "abc/manifest.json").write_text("{}")
    assert is_whole(tmp_path, "abc")


def test_trials_that_are_there_are_kept_and_said_so(tmp_path: Path) -> None:
    trials = small_experiment.plans(tmp_path)
    results = tmp_path / "results"
    for trial in trials:
        (results / trial.id).mkdir(parents=True)
        (results / trial.id / "manifest.json").write_text("{}")
    events: list[Event] = []
    run_missing(trials, results, ENGINES, events.append)
    assert [event.kind for event in events] == ["kept", "kept"]
    assert events[1].text == f"trial 2 of 2: p4p, repeat 1: already there ({trials[1].id})"


def test_a_folder_that_another_process_uses_is_refused_with_its_id(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from testbed.trial.matrix import _locked\n"
        "with _locked(Path(sys.argv[1])): print('up', flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(RunError, match=f"process {holder.pid} is running this experiment into") as caught:
            run_missing((), tmp_path, ENGINES, lambda _: None)
        assert "--results DIR" in str(caught.value)
    finally:
        holder.communicate("\n")
    run_missing((), tmp_path, ENGINES, lambda _: None)
    assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
