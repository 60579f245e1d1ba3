"""Calibrating for real, and a scaled trial: what is stored is used, and the factor is told everywhere."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import small_experiment
from command import testbed

from testbed.trial.calibration import FOLDER_VARIABLE

pytestmark = [
    pytest.mark.emulation,
    pytest.mark.trial,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="building networks needs root"),
]


def test_a_calibration_is_measured_kept_and_used_by_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))
    done = testbed("calibrate", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    costs = found["costs"]
    # Between a fast machine and a slow one that does something else too: orders of magnitude, not speed.
    assert 1e-7 < costs["frame_hop_s"] < 1e-4
    assert 1e-9 < costs["client_byte_s"] < 1e-6
    assert 0 <= costs["client_s"] < 0.05
    assert 0 < costs["switch_s"] < 0.2
    assert (costs["delayed_frame_s"] > 0) == (found["machine"]["delay"] == "line")
    small_experiment.write(tmp_path)
    plan = testbed("plan", "tiny.yaml", folder=tmp_path)
    assert f"by this machine's calibration of {found['written'][:10]}" in plan.stdout


def test_a_scaled_run_says_its_factor_in_manifest_summary_and_report(tmp_path: Path) -> None:
    small_experiment.write(tmp_path, ("[native, p4p]", "[native]"), ("512 KiB", "128 KiB"))
    done = testbed("run", "tiny.yaml", "--scale", "0.5", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    results = tmp_path / "results/tiny"
    (manifest,) = (json.loads(path.read_text()) for path in results.glob("*/manifest.json"))
    assert manifest["scale"] == 0.5
    assert manifest["spec"]["timeout"] == 120
    assert json.loads((results / "summary.json").read_text())["scale"] == 0.5
    words = "All rates were those of the topology times 0.5"
    assert words in done.stdout
    assert words in (results / "report.html").read_text(encoding="utf-8")
