"""From a results folder to summary.json and metrics.parquet."""

from __future__ import annotations

import json
import os
import shutil

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from synthetic_results import four_isps, write_results

from testbed.analysis.definitions import METRICS
from testbed.analysis.summary import METRICS_SCHEMA, analyze
from testbed.errors import RunError, UserError

POLICIES = {"native": (0.2, 60.0), "p4p": (0.8, 40.0)}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "quickstart"
    return write_results(folder, four_isps(2), policies=POLICIES, repeats=2, blocks=24)


@pytest.fixture
def copy(results, tmp_path):
    return shutil.copytree(results, tmp_path / "quickstart")


def test_summary_json_has_the_agreed_form(results):
    analyze(results)
    summary = json.loads((results / "summary.json").read_text())
    assert summary["experiment"] == "quickstart"
    assert summary["scale"] == 1.0
    assert list(summary["policies"]) == ["native", "p4p"]
    completion = summary["policies"]["p4p"]["completion_s.mean"]
    assert completion["n"] == 2
    assert completion["unit"] == "s"
    assert completion["low"] < completion["mean"] < completion["high"]
    assert set(completion["isp"]) == {"backbone", "cablenet", "dslnet", "fibrenet"}
    assert set(completion["isp"]["dslnet"]) == {"mean", "low", "high", "n", "unit"}
    assert list(summary["differences"]) == ["p4p"]
    assert set(summary["differences"]["p4p"]["interdomain_bytes"]) == {"mean", "low", "high"}
    assert summary["differences"]["p4p"]["interdomain_bytes"]["mean"] < -0.5
    assert summary["trials"][0] == {
        "id": "native-0-a1b2c3",
        "policy": "native",
        "repeat": 0,
        "scale": 1.0,
        "verdict": "valid",
        "reasons": [],
    }
    assert summary["policies"]["p4p"]["max_utilisation"]["link"].count("--") == 1


def test_every_policy_metric_has_a_value_for_the_whole(results):
    summary = analyze(results).to_json()
    for metrics in summary["policies"].values():
        assert all("mean" in entry for entry in metrics.values())


def test_metrics_parquet_is_long_and_names_known_metrics(results):
    analyze(results)
    table = pq.read_table(results / "metrics.parquet")
    assert table.schema == METRICS_SCHEMA
    assert set(table.column("metric").to_pylist()) <= METRICS.keys()
    assert pc.count_distinct(table.column("trial")).as_py() == 4
    kinds = {scope.partition(":")[0] for scope in table.column("scope").to_pylist()}
    assert kinds == {"all", "isp", "link", "peer"}


def test_both_sides_of_the_accounting_agree(results):
    summary = analyze(results)
    for policy in POLICIES:
        cell = summary.cell(policy, "residual")
        assert cell is not None
        assert cell.estimate.mean < 0.03


def test_unfinished_trials_and_stray_folders_do_not_count(copy):
    shutil.copytree(copy / "p4p-0-a1b2c3", copy / "unfinished" / "p4p-9")
    (copy / "stray").mkdir()
    assert len(analyze(copy).trials) == 4


def test_of_two_trials_of_one_cell_the_newer_counts(copy):
    old = copy / "p4p-1-a1b2c3"
    new = shutil.copytree(old, copy / "p4p-1-ffffff")
    manifest = json.loads((new / "manifest.json").read_text())
    (new / "manifest.json").write_text(json.dumps({**manifest, "trial": new.name}))
    os.utime(old / "manifest.json", (1, 1))
    assert [trial.id for trial in analyze(copy).trials if trial.policy == "p4p"] == ["p4p-0-a1b2c3", new.name]


def test_only_the_named_trials_count(copy):
    summary = analyze(copy, trials={"native-0-a1b2c3", "p4p-1-a1b2c3"})
    assert len(summary.trials) == 2
    assert summary.differences == {}  # repeat 0 of one, repeat 1 of the other: no pair
    with pytest.raises(UserError, match="no-such"):
        analyze(copy, trials={"no-such"})


def test_the_order_of_policies_is_that_of_the_experiment(copy):
    for folder in copy.glob("p4p-*"):
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, "policy_index": -1}))
    assert analyze(copy).policies == ("p4p", "native")


def test_no_trials_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match="holds no finished trial"):
        analyze(tmp_path)
    with pytest.raises(UserError, match="no such results folder"):
        analyze(tmp_path / "missing")


@pytest.mark.parametrize("name", ["links.parquet", "topology.json", "manifest.json", "transfers.parquet"])
def test_a_damaged_trial_is_named(copy, name):
    (copy / "p4p-0-a1b2c3" / name).write_text("{}")
    with pytest.raises(RunError, match="p4p-0-a1b2c3"):
        analyze(copy)
