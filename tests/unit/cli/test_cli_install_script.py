"""scripts/install.sh on machines where it must refuse: one clear sentence, and nothing is changed.

The real script runs; other answers of the machine come from small programs put first on its PATH.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "install.sh"


@pytest.fixture
def answers(tmp_path: Path) -> dict[str, str]:
    """Programs by name and the shell line that is all they do; filled by each test."""
    return {"apt-get": f"touch {tmp_path}/installed", "id": "echo 1000"}


def install(folder: Path, answers: dict[str, str]) -> subprocess.CompletedProcess[str]:
    programs = folder / "programs"
    programs.mkdir()
    for name, line in answers.items():
        program = programs / name
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", SCRIPT], capture_output=True, text=True, check=False, env=environment)
    assert not (folder / "installed").exists()
    return done


def test_another_system_than_linux_gets_one_sentence(tmp_path: Path, answers: dict[str, str]) -> None:
    done = install(tmp_path, {**answers, "uname": "echo Darwin"})
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "needs Linux; on Darwin" in done.stderr


def test_missing_packages_without_root_are_named_with_the_command_that_mends_it(
    tmp_path: Path, answers: dict[str, str]
) -> None:
    installed = "echo 'installed iproute2'; echo 'not-installed ethtool'"
    done = install(tmp_path, {**answers, "dpkg-query": installed})
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert " mininet " in done.stderr
    assert " ethtool " in done.stderr
    assert "iproute2" not in done.stderr
    assert done.stderr.endswith("Run: sudo make install\n")
