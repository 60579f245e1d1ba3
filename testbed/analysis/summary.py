"""From a results folder to metrics.parquet and summary.json: metrics of every trial, then policies compared.

`study` reads the folder's whole trials and returns a `Study` (with what the report draws); `analyze` writes
the two files from it. Trials that do not belong to the question can be left out by id.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from testbed.analysis.definitions import METRICS
from testbed.analysis.details import TrialDetails, trial_details
from testbed.analysis.load import Manifest, load_trial, read_manifest, trial_folders
from testbed.analysis.metrics import Row, accounting_doubts, measure, trial_rows
from testbed.analysis.statistics import Estimate, mean_interval, paired_difference
from testbed.errors import Problem, UserError
from testbed.trial.record import MANIFEST

METRICS_FILE = "metrics.parquet"
SUMMARY_FILE = "summary.json"
METRICS_SCHEMA = pa.schema(
    [
        ("trial", pa.string()),
        ("policy", pa.string()),
        ("repeat", pa.int32()),
        ("metric", pa.string()),
        ("scope", pa.string()),
        ("value", pa.float64()),
        ("unit", pa.string()),
    ]
)


@dataclass(frozen=True)
class Cell:
    """A metric of a policy in one scope: its estimate over repeats."""

    estimate: Estimate
    unit: str


@dataclass(frozen=True)
class TrialVerdict:
    """Whether one trial can be trusted, and the factor on all rates that it ran with."""

    id: str
    policy: str
    repeat: int
    verdict: str
    reasons: tuple[str, ...]
    scale: float = 1.0


@dataclass(frozen=True)
class Summary:
    """The comparison of an experiment's policies, `policies` in the order of the experiment.

    `cells[policy, metric, scope]` and `differences[policy, metric, scope]` (relative to the first policy,
    paired by repeat) hold the scopes `all` and `isp:<name>`. `busiest_link[policy]` is the link with the
    highest mean of `max_utilisation`.
    """

    experiment: str
    policies: tuple[str, ...]
    isps: tuple[str, ...]
    cells: Mapping[tuple[str, str, str], Cell]
    differences: Mapping[tuple[str, str, str], Estimate]
    busiest_link: Mapping[str, str]
    trials: tuple[TrialVerdict, ...]

    def cell(self, policy: str, metric: str, scope: str = "all") -> Cell | None:
        """A metric of a policy, None where no trial has it."""
        return self.cells.get((policy, metric, scope))

    def difference(self, policy: str, metric: str, scope: str = "all") -> Estimate | None:
        """The difference to the first policy, None where there is none to tell."""
        return self.differences.get((policy, metric, scope))

    @property
    def suspect(self) -> tuple[TrialVerdict, ...]:
        return tuple(trial for trial in self.trials if trial.verdict != "valid")

    @property
    def scale(self) -> float | None:
        """The factor on all rates of every trial; None where trials differ in it."""
        scales = {trial.scale for trial in self.trials}
        return scales.pop() if len(scales) == 1 else None

    def to_json(self) -> dict[str, Any]:
        """The content of summary.json."""
        return {
            "experiment": self.experiment,
            "scale": self.scale,
            "policies": {policy: self._policy_json(policy) for policy in self.policies},
            "differences": {policy: self._differences_json(policy) for policy in self.policies[1:]},
            "trials": [
                {
                    "id": t.id,
                    "policy": t.policy,
                    "repeat": t.repeat,
                    "scale": t.scale,
                    "verdict": t.verdict,
                    "reasons": list(t.reasons),
                }
                for t in self.trials
            ],
        }

    def _policy_json(self, policy: str) -> dict[str, Any]:
        def value(cell: Cell) -> dict[str, Any]:
            estimate = cell.estimate
            return {
                "mean": estimate.mean,
                "low": estimate.low,
                "high": estimate.high,
                "n": estimate.n,
                "unit": cell.unit,
            }

        result: dict[str, Any] = {}
        for metric in METRICS:
            whole = self.cell(policy, metric)
            by_isp = {isp: self.cell(policy, metric, f"isp:{isp}") for isp in self.isps}
            entry = value(whole) if whole else {}
            if metric == "max_utilisation" and policy in self.busiest_link:
                entry["link"] = self.busiest_link[policy]
            if any(by_isp.values()):
                entry["isp"] = {isp: value(cell) for isp, cell in by_isp.items() if cell}
            if entry:
                result[metric] = entry
        return result

    def _differences_json(self, policy: str) -> dict[str, Any]:
        found = {metric: self.difference(policy, metric) for metric in METRICS}
        return {
            metric: {"mean": difference.mean, "low": difference.low, "high": difference.high}
            for metric, difference in found.items()
            if difference
        }


@dataclass(frozen=True)
class Study:
    """All that came out of a results folder: the long table, the summary, and what the report draws."""

    metrics: pa.Table
    summary: Summary
    trials: tuple[TrialDetails, ...]
    left_out: tuple[str, ...]


def analyze(results_folder: Path, trials: Collection[str] | None = None) -> Summary:
    """Compute every metric of a results folder and write metrics.parquet and summary.json into it.

    `trials` names the trial ids that count, all whole ones where None. Of several trials with the same policy
    and repeat (the experiment was changed in between) the newest counts. Raises UserError where there is no
    trial, RunError where one is damaged.
    """
    result = study(results_folder, trials)
    write_study(results_folder, result)
    return result.summary


def write_study(results_folder: Path, result: Study) -> None:
    """Write metrics.parquet and summary.json, each whole or not at all."""
    part = results_folder / f"{METRICS_FILE}.part"
    pq.write_table(result.metrics, part, compression="zstd")
    os.replace(part, results_folder / METRICS_FILE)
    write_text(
        results_folder / SUMMARY_FILE, json.dumps(result.summary.to_json(), indent=1, allow_nan=False) + "\n"
    )


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def study(results_folder: Path, trials: Collection[str] | None = None) -> Study:
    """Read and measure the trials of a results folder, one after another. Errors are those of `analyze`."""
    chosen, left_out = _choose(results_folder, trials)
    details: list[TrialDetails] = []
    manifests: list[Manifest] = []
    records: list[dict[str, Any]] = []
    for folder, manifest in chosen:
        measured = measure(load_trial(folder))
        rows = trial_rows(measured)
        judged = _judged(manifest, accounting_doubts(measured, rows))
        manifests.append(judged)
        records.extend(_records(judged, rows))
        details.append(replace(trial_details(measured), manifest=judged))
    metrics = pa.Table.from_pylist(records, schema=METRICS_SCHEMA)
    return Study(metrics, summarize(manifests, metrics), tuple(details), left_out)


def _judged(manifest: Manifest, doubts: Sequence[str]) -> Manifest:
    """The manifest with what the analysis found to speak against the trial."""
    if not doubts:
        return manifest
    return manifest.model_copy(update={"verdict": "suspect", "reasons": (*manifest.reasons, *doubts)})


def summarize(manifests: Sequence[Manifest], metrics: pa.Table) -> Summary:
    """Compare policies over the long table of their trials' metrics, manifests in the order of policies."""
    policies = tuple(dict.fromkeys(manifest.policy for manifest in manifests))
    values: dict[tuple[str, str, str], dict[int, float]] = defaultdict(dict)
    units: dict[tuple[str, str, str], str] = {}
    for row in metrics.to_pylist():
        if row["scope"] == "all" or row["scope"].startswith("isp:"):
            key = row["policy"], row["metric"], row["scope"]
            values[key][row["repeat"]] = row["value"]
            units[key] = row["unit"]
    differences = {
        key: difference
        for key, repeats in values.items()
        if key[0] != policies[0]
        and (difference := paired_difference(values.get((policies[0], key[1], key[2]), {}), repeats))
    }
    return Summary(
        experiment=manifests[0].experiment,
        policies=policies,
        isps=tuple(dict.fromkeys(scope[4:] for _, _, scope in values if scope.startswith("isp:"))),
        cells={
            key: Cell(mean_interval(list(repeats.values())), units[key]) for key, repeats in values.items()
        },
        differences=differences,
        busiest_link=_busiest_links(metrics),
        trials=tuple(
            TrialVerdict(m.trial, m.policy, m.repeat, m.verdict, m.reasons, m.scale) for m in manifests
        ),
    )


def _busiest_links(metrics: pa.Table) -> dict[str, str]:
    """The link whose utilisation, mean over repeats, is highest under each policy."""
    by_link = pc.and_(
        pc.equal(metrics.column("metric"), "max_utilisation"),
        pc.starts_with(metrics.column("scope"), "link:"),
    )
    means = metrics.filter(by_link).group_by(["policy", "scope"]).aggregate([("value", "mean")])
    ranked = means.sort_by([("value_mean", "ascending"), ("scope", "ascending")]).to_pylist()
    return {row["policy"]: row["scope"].removeprefix("link:") for row in ranked}


def _choose(
    results_folder: Path, trials: Collection[str] | None
) -> tuple[list[tuple[Path, Manifest]], tuple[str, ...]]:
    """Folders that count, in the order of policies and repeats, and ids of older trials that they replace."""
    found = [(folder, read_manifest(folder)) for folder in trial_folders(results_folder)]
    if trials is not None:
        missing = sorted(set(trials) - {manifest.trial for _, manifest in found})
        if missing:
            raise UserError(Problem(where=str(results_folder), what=f"has no trial {', '.join(missing)}"))
        found = [item for item in found if item[1].trial in trials]
    found.sort(key=lambda item: (item[0] / MANIFEST).stat().st_mtime_ns)
    newest = {(manifest.policy, manifest.repeat): folder for folder, manifest in found}
    kept = [item for item in found if newest[item[1].policy, item[1].repeat] == item[0]]
    kept.sort(key=lambda item: (item[1].policy_index, item[1].policy, item[1].repeat))
    return kept, tuple(manifest.trial for folder, manifest in found if folder not in newest.values())


def _records(manifest: Manifest, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield {"trial": manifest.trial, "policy": manifest.policy, "repeat": manifest.repeat, **row._asdict()}
