"""The report of an experiment: one HTML file with everything in it, readable without a network.

In goes a results folder; out comes its report.html, beside metrics.parquet and summary.json that the analysis
writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from markupsafe import Markup

from testbed.analysis.definitions import METRICS
from testbed.analysis.details import Changed, TrialDetails
from testbed.analysis.summary import Study, Summary, study, write_study, write_text
from testbed.report.plots import (
    ISP_FILLS,
    completion_plot,
    heat_legend,
    network_plot,
    policy_variable,
    utilisation_plots,
)
from testbed.report.tables import ISP_METRICS, isp_rows, losers, metric_rows
from testbed.report.wording import answer, quantity

REPORT_FILE = "report.html"
TEMPLATE = "report.html.j2"
MOST_LINKS = 12
MOST_EVENTS = 300
_CLASSES = (
    ("bytes_same_pid", "same PID"),
    ("bytes_same_isp", "same ISP"),
    ("bytes_other_isp", "other ISPs"),
)


@dataclass(frozen=True)
class MatrixCell:
    """Payload from one ISP to another. `heat` is its share of the largest cell of all matrices, 0 to 1."""

    text: str
    heat: float
    own: bool


@dataclass(frozen=True)
class Matrix:
    """Payload between ISPs under one policy: a row for each sending ISP."""

    policy: str
    variable: str
    rows: tuple[tuple[str, tuple[MatrixCell, ...]], ...]


@dataclass(frozen=True)
class Share:
    """A part of a bar: its label, share of the whole (0 to 1) and amount."""

    label: str
    share: float
    text: str


@dataclass(frozen=True)
class ChangeRow:
    """What was changed, and for each policy when it was asked for and when it took effect, in words."""

    number: int
    text: str
    by_policy: tuple[str, ...]


def write_report(results_folder: Path, trials: Collection[str] | None = None) -> Path:
    """Analyse a results folder and write metrics.parquet, summary.json and report.html into it.

    `trials` as for `testbed.analysis.summary.analyze`, and the same errors. Returns the path of the page.
    """
    result = study(results_folder, trials)
    write_study(results_folder, result)
    path = results_folder / REPORT_FILE
    write_text(path, render_page(result))
    return path


def render_page(result: Study) -> str:
    """The page of a study, complete."""
    summary = result.summary
    by_policy = _by_policy(result.trials)
    links = _busiest(by_policy, MOST_LINKS)
    network = result.trials[0].network
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files("testbed") / "templates" / TEMPLATE).read_text("utf-8"))
    return template.render(
        summary=summary,
        answer=answer(summary),
        notes=_notes(result),
        policies=[(policy, policy_variable(index)) for index, policy in enumerate(summary.policies)],
        metric_rows=metric_rows(summary),
        isp_rows=isp_rows(summary),
        isp_metrics=[METRICS[name] for name in ISP_METRICS],
        losers=losers(summary),
        completion=Markup(completion_plot(by_policy)),
        locality=_locality(summary),
        matrices=_matrices(summary, by_policy),
        isps=[isp.name for isp in network.isps],
        maps=[
            (policy, Markup(network_plot(network, _mean_utilisation(trials), f"map{number}")))
            for number, (policy, trials) in enumerate(by_policy.items())
        ],
        isp_fills=[(isp.name, ISP_FILLS[code % len(ISP_FILLS)]) for code, isp in enumerate(network.isps)],
        heat=heat_legend(),
        utilisation=[(link, Markup(svg)) for link, svg in utilisation_plots(by_policy, links)],
        hidden_links=_interdomain_links(by_policy) - len(links),
        changes=_changes(by_policy),
        trials=result.trials,
        events=[(trial.manifest, _events(trial)) for trial in result.trials],
        most_events=MOST_EVENTS,
        command=f"sudo .venv/bin/testbed run {_spec_file(result.trials[0])}",
        metrics=list(METRICS.values()),
    )


def _by_policy(trials: Sequence[TrialDetails]) -> dict[str, list[TrialDetails]]:
    found: dict[str, list[TrialDetails]] = defaultdict(list)
    for trial in trials:
        found[trial.manifest.policy].append(trial)
    return dict(found)


def _notes(result: Study) -> list[str]:
    """What a reader must know, once each: notes of the trials, and trials that were left out."""
    notes = list(dict.fromkeys(note for trial in result.trials for note in trial.manifest.notes))
    if result.left_out:
        notes.append(
            f"Older trials of the same policy and repeat do not count: {', '.join(result.left_out)}."
        )
    return notes


def _locality(summary: Summary) -> list[tuple[str, list[Share]]]:
    bars = []
    for policy in summary.policies:
        cells = [(label, summary.cell(policy, name)) for name, label in _CLASSES]
        amounts = [(label, cell.estimate.mean if cell else 0.0) for label, cell in cells]
        total = sum(amount for _, amount in amounts)
        if total:
            bars.append((policy, [Share(label, a / total, quantity(a, "bytes")) for label, a in amounts]))
    return bars


def _matrices(summary: Summary, by_policy: Mapping[str, Sequence[TrialDetails]]) -> list[Matrix]:
    """Mean payload over repeats. One heat scale for all policies, so that they can be compared by eye."""
    means = {policy: np.mean([t.isp_bytes for t in trials], axis=0) for policy, trials in by_policy.items()}
    largest = max((float(mean.max()) for mean in means.values()), default=0.0) or 1.0
    return [
        Matrix(
            policy,
            policy_variable(summary.policies.index(policy)),
            tuple(
                (
                    isp.name,
                    tuple(
                        MatrixCell(quantity(float(moved), "bytes"), float(moved) / largest, to == here)
                        for to, moved in enumerate(mean[here])
                    ),
                )
                for here, isp in enumerate(by_policy[policy][0].network.isps)
            ),
        )
        for policy, mean in means.items()
    ]


def _mean_utilisation(trials: Sequence[TrialDetails]) -> dict[str, float]:
    links = trials[0].utilisation
    return {link: float(np.mean([trial.utilisation.get(link, 0.0) for trial in trials])) for link in links}


def _busiest(by_policy: Mapping[str, Sequence[TrialDetails]], most: int) -> list[str]:
    """Interdomain links that were used most under any policy, at most `most`, in the order of the network."""
    used: dict[str, float] = {}
    for trials in by_policy.values():
        for link, value in _mean_utilisation(trials).items():
            if link in trials[0].series:
                used[link] = max(used.get(link, 0.0), value)
    kept = set(sorted(used, key=lambda link: -used[link])[:most])
    return [link for link in used if link in kept]


def _interdomain_links(by_policy: Mapping[str, Sequence[TrialDetails]]) -> int:
    return len({link for trials in by_policy.values() for link in trials[0].series})


def _changes(by_policy: Mapping[str, Sequence[TrialDetails]]) -> list[ChangeRow]:
    """A row for each change that the first repeat of any policy knows of."""
    first = [{change.number: change for change in trials[0].changes} for trials in by_policy.values()]
    texts = {number: change.text for changes in reversed(first) for number, change in changes.items()}
    return [
        ChangeRow(number + 1, text, tuple(_when(changes.get(number)) for changes in first))
        for number, text in sorted(texts.items())
    ]


def _when(change: Changed | None) -> str:
    if change is None:
        return "–"
    if change.asked_s is None:
        return "not reached"
    if change.effective_s is None:
        return f"asked at {change.asked_s:.1f} s, failed: {change.error}"
    took_s = change.effective_s - change.asked_s
    later = f"{took_s:.1f} s" if took_s >= 1 else f"{took_s * 1000:.0f} ms"
    return f"asked at {change.asked_s:.1f} s, in force {later} later"


def _events(trial: TrialDetails) -> list[tuple[str, str, str]]:
    """(time, event, the rest) of each event, as many as a page can hold."""
    return [
        (
            "before" if event.get("t_ns") is None else f"{event['t_ns'] / 1e9:.1f} s",
            str(event.get("event", "")),
            ", ".join(f"{key} {value}" for key, value in event.items() if key not in ("t_ns", "event")),
        )
        for event in trial.events[:MOST_EVENTS]
    ]


def _spec_file(trial: TrialDetails) -> str:
    extra: Mapping[str, Any] = trial.manifest.model_extra or {}
    return str(extra.get("spec_file") or f"experiments/{trial.manifest.experiment}.yaml")
