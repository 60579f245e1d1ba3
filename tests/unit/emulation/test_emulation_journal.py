"""Who owns what: journals of living and dead runs, and removing exactly one run."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from testbed.emulation import journal
from testbed.emulation.journal import Journal, processes_of, remove_run, runs


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of the test's own for runs, namespaces and memory, so that no root is needed."""
    for name, attribute in (("run", "RUNS"), ("netns", "NAMESPACES"), ("shm", "_MEMORY")):
        monkeypatch.setattr(journal, attribute, tmp_path / name)
    (tmp_path / "shm").mkdir()
    return tmp_path


def test_a_living_run_is_told_from_one_whose_process_died(folders: Path) -> None:
    living = Journal.create("alive")
    program = f"""
        import os
        from pathlib import Path
        from testbed.emulation import journal
        journal.RUNS = Path({str(folders / "run")!r})
        made = journal.Journal.create("dead")
        made.namespace(made.tag + ".host")
        os._exit(9)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    found = {run.experiment: run for run in runs()}
    assert (found["alive"].alive, found["dead"].alive) == (True, False)
    assert found["alive"].tag == living.tag
    assert found["dead"].namespaces == (f"{found['dead'].tag}.host",)
    living.close()
    assert [run.experiment for run in runs()] == ["dead"]


def test_what_is_noted_is_on_disk_before_it_is_made() -> None:
    made = Journal.create("noted")
    made.namespace("tbx.host")
    made.process("tracker", ["python", "-m", "testbed.tracker"])
    folder = made.memory_folder()
    lines = [json.loads(line) for line in (made.folder / "journal.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["run", "netns", "process", "folder"]
    assert lines[3]["path"] == str(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    made.close()


def test_closing_a_run_removes_its_folders_and_no_others(folders: Path) -> None:
    made, other = Journal.create("one"), Journal.create("other")
    mine, others = made.memory_folder(), other.memory_folder()
    (mine / "content").write_text("x")
    cleaned = made.close()
    assert (cleaned.tag, cleaned.namespaces, cleaned.processes) == (made.tag, 0, 0)
    assert not mine.exists()
    assert not made.folder.exists()
    assert others.exists()
    assert other.folder.exists()
    other.close()
    assert list((folders / "run").iterdir()) == []


def test_removing_twice_is_as_good_as_once() -> None:
    made = Journal.create("one")
    made.close()
    assert remove_run(made.tag, made.folder).processes == 0


def test_a_journal_that_a_crash_cut_short_still_names_what_was_noted() -> None:
    made = Journal.create("torn")
    made.namespace(f"{made.tag}.host")
    with (made.folder / "journal.jsonl").open("a") as file:
        file.write('{"kind": "netns", "na')
    (run,) = runs()
    assert (run.experiment, run.namespaces) == ("torn", (f"{made.tag}.host",))
    made.close()


def test_a_run_is_never_seen_without_its_lock() -> None:
    """While runs are born and end, whoever lists them takes none for dead."""

    def live_and_go(number: int) -> None:
        Journal.create(f"n{number}").close()

    with ThreadPoolExecutor(max_workers=2) as pool:
        births = [pool.submit(live_and_go, number) for number in range(30)]
        while not all(birth.done() for birth in births):
            # A run that is being removed may still show a folder, without a journal in it.
            assert [run for run in runs() if not run.alive and run.experiment != "?"] == []
        for birth in births:
            birth.result()


def test_a_process_is_found_by_its_environment_alone() -> None:
    program = [sys.executable, "-c", "print('up', flush=True); input()"]
    tags = ("tbaaaa", "tbaaaab")
    children = [
        subprocess.Popen(
            program, env={"TESTBED_RUN": tag}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for tag in tags
    ]
    try:
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()
        assert processes_of("tbaaaa") == [children[0].pid]
        assert processes_of("tbaaaac") == []
    finally:
        for child in children:
            child.communicate("\n")


def test_without_any_run_there_is_nothing_to_list() -> None:
    assert runs() == []
