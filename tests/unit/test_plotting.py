"""Matplotlib keeps quiet and keeps its fonts, whoever runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed import plotting

HEARD = "import testbed.{package}; import matplotlib; print(matplotlib.get_cachedir())"


@pytest.mark.parametrize("package", ["topology.drawing", "report.plots"])
def test_matplotlib_says_nothing_to_a_user_without_a_home(package: str, tmp_path: Path) -> None:
    # Root may write everywhere, but not into a folder below a file.
    (tmp_path / "file").touch()
    environment = {**os.environ, "HOME": str(tmp_path / "file" / "home"), "TMPDIR": str(tmp_path)}
    for variable in ("MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        environment.pop(variable, None)
    command = [sys.executable, "-c", HEARD.format(package=package)]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/testbed-matplotlib-{os.getuid()}\n"


def test_matplotlib_finds_its_own_place_at_home_or_where_it_is_told(tmp_path: Path) -> None:
    assert plotting.folder({}, tmp_path, tmp_path) is None
    assert plotting.folder({"MPLCONFIGDIR": "/somewhere"}, None, tmp_path) is None
    told = {"XDG_CONFIG_HOME": str(tmp_path / "a"), "XDG_CACHE_HOME": str(tmp_path / "b")}
    assert plotting.folder(told, None, tmp_path) is None


def test_one_place_of_two_is_not_enough_for_matplotlib(tmp_path: Path) -> None:
    told = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert plotting.folder(told, None, tmp_path) == tmp_path / f"testbed-matplotlib-{os.getuid()}"
