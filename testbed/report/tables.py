"""Tables of a summary: rows for the HTML page, and the same as Rich tables for a terminal.

In goes a `Summary`; out come rows of ready strings, or something that a Rich console prints.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from testbed.analysis.definitions import METRICS
from testbed.analysis.summary import Summary
from testbed.report.wording import Judgement, answer, interval, judge, percent, percent_interval, quantity

MAIN_METRICS = (
    "completion_s.mean",
    "completion_s.median",
    "completion_s.p95",
    "completion_s.max",
    "unfinished",
    "rate_bps",
    "interdomain_bytes",
    "transit_bytes",
    "peering_bytes",
    "locality",
    "unit_bdp",
    "max_utilisation",
    "charge",
    "server_bytes",
    "fairness",
    "residual",
)
ISP_METRICS = (
    "completion_s.mean",
    "rate_bps",
    "locality",
    "interdomain_in_bytes",
    "interdomain_out_bytes",
    "charge",
)
_STYLES: dict[Judgement, str] = {"better": "green", "worse": "red", "same": "dim", "unclear": "dim", "": ""}


@dataclass(frozen=True)
class Value:
    """A cell: the value, its interval, and how it differs from the first policy; empty where it has none."""

    text: str = "–"
    interval: str = ""
    difference: str = ""
    difference_interval: str = ""
    judgement: Judgement = ""
    detail: str = ""


@dataclass(frozen=True)
class MetricRow:
    """A metric and its value under each policy."""

    name: str
    label: str
    meaning: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class IspRows:
    """An ISP and, for each policy, its values in the order of `ISP_METRICS`."""

    isp: str
    by_policy: tuple[tuple[str, tuple[Value, ...]], ...]


def metric_rows(summary: Summary) -> list[MetricRow]:
    """The main metrics by policy, those that no policy has left out."""
    rows = []
    for name in MAIN_METRICS:
        if any(summary.cell(policy, name) for policy in summary.policies):
            values = tuple(_value(summary, policy, name, "all") for policy in summary.policies)
            rows.append(MetricRow(name, METRICS[name].label, METRICS[name].meaning, values))
    return rows


def isp_rows(summary: Summary) -> list[IspRows]:
    """What each ISP and its users got under each policy."""
    return [
        IspRows(
            isp,
            tuple(
                (policy, tuple(_value(summary, policy, name, f"isp:{isp}") for name in ISP_METRICS))
                for policy in summary.policies
            ),
        )
        for isp in summary.isps
    ]


def losers(summary: Summary) -> list[str]:
    """A sentence for each ISP and policy that got worse than under the first policy, in anything of
    `ISP_METRICS`.
    """
    found = []
    for policy in summary.policies[1:]:
        for isp in summary.isps:
            worse = [
                f"{METRICS[name].label.lower()} {percent(difference.mean)}"
                for name in ISP_METRICS
                if (difference := summary.difference(policy, name, f"isp:{isp}"))
                and judge(difference, name) == "worse"
            ]
            if worse:
                found.append(f"{isp} got worse with {policy}: {', '.join(worse)}.")
    return found


def render_terminal(summary: Summary) -> RenderableType:
    """The answer, the verdicts and both tables, for a Rich console."""
    bad = [
        f"suspect: {trial.policy}, repeat {trial.repeat + 1}: {'; '.join(trial.reasons)}"
        for trial in summary.suspect
    ]
    verdict = (
        Text("\n".join(bad), "bold red") if bad else Text(f"{len(summary.trials)} trials, all valid", "green")
    )
    return Group(
        Text(" ".join(answer(summary)), "bold"),
        verdict,
        _terminal_metrics(summary),
        *([_terminal_isps(summary)] if summary.isps else []),
    )


def _terminal_metrics(summary: Summary) -> Table:
    table = Table(title=escape(summary.experiment), title_justify="left")
    table.add_column("metric")
    for policy in summary.policies:
        table.add_column(escape(policy), justify="right")
    for row in metric_rows(summary):
        table.add_row(row.label, *(_terminal_value(value) for value in row.values))
    return table


def _terminal_isps(summary: Summary) -> Table:
    table = Table(title="by ISP", title_justify="left")
    table.add_column("ISP")
    table.add_column("policy")
    for name in ISP_METRICS:
        table.add_column(METRICS[name].label, justify="right")
    for rows in isp_rows(summary):
        for number, (policy, values) in enumerate(rows.by_policy):
            table.add_row(
                "" if number else escape(rows.isp),
                escape(policy),
                *(_terminal_value(replace(value, interval="")) for value in values),
                end_section=number == len(rows.by_policy) - 1,
            )
    return table


def _terminal_value(value: Value) -> Text:
    text = Text(value.text)
    for part in (value.interval, value.detail):
        if part:
            text.append(f"\n{part}", "dim")
    if value.difference:
        text.append(f"\n{value.difference} {value.judgement}".rstrip(), _STYLES[value.judgement])
    return text


def _value(summary: Summary, policy: str, metric: str, scope: str) -> Value:
    cell = summary.cell(policy, metric, scope)
    if cell is None:
        return Value()
    difference = summary.difference(policy, metric, scope) if METRICS[metric].better else None
    link = summary.busiest_link.get(policy, "") if (metric, scope) == ("max_utilisation", "all") else ""
    return Value(
        text=quantity(cell.estimate.mean, cell.unit),
        interval=interval(cell.estimate, cell.unit),
        difference=percent(difference.mean) if difference else "",
        difference_interval=percent_interval(difference) if difference else "",
        judgement=judge(difference, metric),
        detail=link,
    )
