"""`testbed doctor` on this very machine: its JSON, its table and its exit code agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-c", "from testbed.cli.main import run; run()", "doctor"]


def doctor(*arguments: str, columns: int = 100) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1"}
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, check=False, env=environment
    )


def test_json_has_the_verdict_the_engines_and_every_check() -> None:
    done = doctor("--json")
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["ready"] else 1)
    assert report["engines"]["datapath"] in ("system", "netdev")
    assert report["engines"]["delay"] in ("netem", "line", "none")
    for check in report["checks"]:
        assert set(check) == {"name", "group", "state", "found", "meaning", "mend", "required"}
        assert check["state"] in ("ok", "degraded", "missing", "unknown")
    required_ok = all(check["state"] == "ok" for check in report["checks"] if check["required"])
    assert report["ready"] is required_ok


@pytest.mark.parametrize("columns", [80, 160])
def test_the_table_names_every_check_and_fits_the_terminal(columns: int) -> None:
    names = [check["name"] for check in json.loads(doctor("--json").stdout)["checks"]]
    lines = doctor(columns=columns).stdout.splitlines()
    assert max(len(line) for line in lines) <= columns
    assert all(any(name in line for line in lines) for name in names)
    assert lines[-1].startswith("Experiments can")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to lose it")
def test_without_root_experiments_cannot_run_and_root_is_the_first_thing_to_mend() -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import os; os.setuid(65534); {COMMAND[2]}", "doctor"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "First mend: root" in done.stdout
