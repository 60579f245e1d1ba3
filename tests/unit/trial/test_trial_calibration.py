"""Costs of a machine, kept and found again, for that machine alone."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from testbed.errors import RunError
from testbed.trial.calibration import BUILT_IN, FOLDER_VARIABLE, Calibration, load, store

HERE = {"kernel": "6.1", "openvswitch": "3.1", "cores": "2"}
MEASURED = Calibration(HERE, BUILT_IN["netdev"], "2026-01-01T00:00:00+00:00")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "deep/cache"
    monkeypatch.setenv(FOLDER_VARIABLE, str(place))
    return place


def test_what_was_stored_is_found_again_and_all_may_read_it(folder: Path) -> None:
    path = store(MEASURED)
    assert load(HERE) == MEASURED
    assert path.parent == folder
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(folder.iterdir()) == [path]


def test_another_kernel_has_no_calibration() -> None:
    store(MEASURED)
    assert load({**HERE, "kernel": "6.2"}) is None
    assert load({**HERE, "more": "x"}) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"machine": {}, "costs": {"a": 1}, "written": ""}'])
def test_a_damaged_file_is_none(text: str) -> None:
    store(MEASURED).write_text(text, encoding="utf-8")
    assert load(HERE) is None
    assert load({}) is None


def test_an_older_version_with_fewer_costs_is_none() -> None:
    path = store(MEASURED)
    data = json.loads(path.read_text())
    del data["costs"]["switch_s"]
    path.write_text(json.dumps(data))
    assert load(HERE) is None


def test_a_folder_that_cant_be_written_is_told(folder: Path) -> None:
    folder.parent.write_text("a file in the way")
    with pytest.raises(RunError, match=r"the calibration can't be kept in .*calibration\.json"):
        store(MEASURED)
