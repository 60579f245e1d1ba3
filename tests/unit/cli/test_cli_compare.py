"""`testbed compare`: what it prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import testbed
from synthetic_results import four_isps, write_results

POLICIES = {"native": (0.2, 60.0), "p4p": (0.8, 40.0), "biased": (0.5, 50.0)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds two results folders, `one` and `two`, of which `two` is local to nobody."""
    folder = tmp_path_factory.mktemp("compare")
    write_results(folder / "one", four_isps(2), policies=POLICIES, repeats=2, blocks=24)
    only_native = {"native": (0.0, 60.0)}
    write_results(folder / "two", four_isps(2), policies=only_native, repeats=2, blocks=24)
    return folder


def comparisons(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    done = testbed("compare", *arguments, "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["comparisons"]
    return found


def test_two_policies_are_compared_relative_to_the_one_named_first(folder: Path) -> None:
    (there,) = comparisons(folder, "one", "native", "p4p")
    (back,) = comparisons(folder, "one", "p4p", "native")
    assert (there["first"], there["second"]) == ("native", "p4p")
    assert {trial["policy"] for trial in there["trials"]} == {"native", "p4p"}
    metric = there["metrics"]["interdomain_bytes"]
    assert metric["first"]["n"] == metric["second"]["n"] == 2
    assert metric["difference"]["low"] < metric["difference"]["mean"] < metric["difference"]["high"]
    assert metric["difference"]["mean"] < -0.5
    assert back["metrics"]["interdomain_bytes"]["difference"]["mean"] > 1


def test_the_same_policy_of_two_folders_is_compared(folder: Path) -> None:
    (found,) = comparisons(folder, "one", "two")
    assert (found["first"], found["second"]) == ("native in one", "native in two")
    assert found["metrics"]["locality"]["second"]["mean"] == 0
    assert found["metrics"]["interdomain_bytes"]["difference"]["mean"] > 0


def test_the_table_has_both_sides_and_what_is_better(folder: Path) -> None:
    done = testbed("compare", "one", "native", "p4p", folder=folder)
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if "Locality" in line)
    assert line.count("%") == 3
    assert "better" in line


def test_suspect_trials_are_refused_with_their_reasons_until_told(tmp_path: Path) -> None:
    doubt = {"verdict": "suspect", "reasons": ["the machine was busy"]}
    results = tmp_path / "bad"
    write_results(results, four_isps(2), policies=POLICIES, blocks=24, manifest=doubt)
    arguments = ("compare", "bad", "native", "p4p")
    done = testbed(*arguments, folder=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(
        "testbed: 2 of 2 trials are suspect:\n  native, repeat 1: the machine was busy"
    )
    assert done.stderr.rstrip().endswith("testbed compare bad native p4p --suspect")
    done = testbed(*arguments, "--suspect", folder=tmp_path)
    assert done.returncode == 0
    assert "2 of 2 trials are suspect." in done.stdout
    assert "one pair of repeats" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("one", "native", "p4q"), "one: has no trial of policy p4q\n  allowed: biased, native, p4p"),
        (("one", "native", "native"), "native is named twice"),
        (("one", "./one"), "one is named twice"),
        (("one", "three"), "three: there is no such results folder"),
    ],
)
def test_what_cannot_be_compared_is_said(folder: Path, arguments: tuple[str, ...], words: str) -> None:
    done = testbed("compare", *arguments, folder=folder)
    assert done.returncode == 2
    assert words in done.stderr
