"""`testbed plan`: what it says where the experiment fits, where it does not, and with a scale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import small_experiment
from command import testbed

from testbed.trial.calibration import FOLDER_VARIABLE

SMALL = ("512 KiB", "256 KiB")
TOO_MANY = (("isp: left, count: 2", "isp: left, count: 300"), ("access: line}", "access: server}"))


@pytest.fixture(autouse=True)
def no_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))


def test_a_plan_counts_things_in_words_and_says_where_its_costs_come_from(tmp_path: Path) -> None:
    small_experiment.write(tmp_path, SMALL)
    done = testbed("plan", "tiny.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 ISPs, 5 switches, 8 hosts, 12 links, 4 peers" in done.stdout
    assert "by built-in costs; measure this machine's once: sudo .venv/bin/testbed calibrate" in done.stdout
    assert "rates times" not in done.stdout


def test_a_plan_that_is_too_much_is_printed_whole_and_then_refused_with_a_scale(tmp_path: Path) -> None:
    small_experiment.write(tmp_path, *TOO_MANY)
    done = testbed("plan", "tiny.yaml", folder=tmp_path)
    assert done.returncode == 2
    assert "302 peers" in done.stdout
    assert done.stderr.rpartition("testbed: ")[2].startswith("tiny.yaml:9: 302 peers at these upload rates")
    assert "--scale auto, which is 0." in done.stderr


def test_the_automatic_scale_makes_it_fit_and_is_named(tmp_path: Path) -> None:
    small_experiment.write(tmp_path, *TOO_MANY)
    done = testbed("plan", "tiny.yaml", "--scale", "auto", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["carried"] is True
    assert 0 < facts["scale"] < 1
    whole = json.loads(testbed("plan", "tiny.yaml", "--scale", "1", "--json", folder=tmp_path).stdout)
    assert whole["carried"] is False
    assert whole["scale"] == 1
    assert facts["longest_s"] == pytest.approx(whole["longest_s"] / facts["scale"])
    assert {t["id"] for t in facts["trials"]}.isdisjoint(t["id"] for t in whole["trials"])


def test_where_all_fits_the_automatic_scale_is_one_and_ids_are_those_without(tmp_path: Path) -> None:
    small_experiment.write(tmp_path, SMALL)
    plain, automatic = (
        json.loads(testbed("plan", "tiny.yaml", "--json", *more, folder=tmp_path).stdout)
        for more in ((), ("--scale", "auto"))
    )
    assert automatic["scale"] == 1
    assert automatic["trials"] == plain["trials"]


@pytest.mark.parametrize("scale", ["0", "2", "-1", "half", "nan"])
def test_a_wrong_scale_is_told_with_what_is_allowed(tmp_path: Path, scale: str) -> None:
    small_experiment.write(tmp_path)
    done = testbed("plan", "tiny.yaml", f"--scale={scale}", folder=tmp_path)
    assert done.returncode == 2
    assert f"--scale: '{scale}' is no scale" in done.stderr
    assert "auto, or a number from 0.001 to 1" in done.stderr
