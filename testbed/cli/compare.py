"""`testbed compare`: two policies of one results folder, or the policies of two folders, side by side.

Whole trials come in; a table of metrics with intervals and paired relative differences goes to stdout.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.errors import Problem, RunError, UserError

if TYPE_CHECKING:
    from rich.table import Table

    from testbed.analysis.summary import Study, Summary


def compare(
    results: Annotated[Path, typer.Argument(help="A results folder, such as results/quickstart.")],
    first: Annotated[str, typer.Argument(help="The first policy, or another results folder.")],
    second: Annotated[str | None, typer.Argument(help="The second policy.")] = None,
    suspect: Annotated[bool, typer.Option("--suspect", help="Compare suspect trials, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Compare two policies of a results folder, or each policy of one folder with the same of another.

    Differences are relative to what is named first, paired by repeat, with 95 % intervals. Trials whose
    verdict is suspect are refused unless --suspect is given.

    Example: testbed compare results/quickstart native p4p
    """
    if second is None:
        summaries = _of_folders(results, Path(first))
        command = f"testbed compare {results} {first}"
    else:
        summaries = [_of_policies(results, first, second)]
        command = f"testbed compare {results} {first} {second}"
    if not suspect:
        _refuse_suspect(summaries, f"{command} --suspect")
    if as_json:
        typer.echo(json.dumps({"comparisons": [_to_json(summary) for summary in summaries]}, indent=1))
        return
    from rich.console import Console

    for summary in summaries:
        Console().print(_table(summary))
        for note in _notes(summary):
            print(note)


def _of_policies(results: Path, first: str, second: str) -> Summary:
    from testbed.analysis.load import read_manifest, trial_folders
    from testbed.analysis.summary import study

    if first == second:
        raise UserError(Problem(f"{first} is named twice", allowed="two policies"))
    manifests = [read_manifest(folder) for folder in trial_folders(results)]
    policies = sorted({manifest.policy for manifest in manifests})
    for policy in (first, second):
        if policy not in policies:
            what, allowed = f"has no trial of policy {policy}", ", ".join(policies)
            raise UserError(Problem(what, where=str(results), allowed=allowed))
    chosen = [manifest.trial for manifest in manifests if manifest.policy in (first, second)]
    return _side_by_side([(study(results, chosen), policy, policy) for policy in (first, second)])


def _of_folders(one: Path, other: Path) -> list[Summary]:
    from testbed.analysis.summary import study

    if one.resolve() == other.resolve():
        raise UserError(
            Problem(f"{one} is named twice", allowed="two results folders, or two policies of one")
        )
    studies = [(folder, study(folder)) for folder in (one, other)]
    common = [policy for policy in studies[0][1].summary.policies if policy in studies[1][1].summary.policies]
    if not common:
        what = f"{one} and {other} have no policy in common"
        raise UserError(Problem(what, allowed="two results folders with trials of the same policies"))
    return [
        _side_by_side([(found, policy, f"{policy} in {folder}") for folder, found in studies])
        for policy in common
    ]


def _side_by_side(sides: list[tuple[Study, str, str]]) -> Summary:
    """The summary of two sides, each a policy of a study under another name; the first is the baseline."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from testbed.analysis.summary import summarize

    manifests, tables = [], []
    for found, policy, name in sides:
        manifests += [
            trial.manifest.model_copy(update={"policy": name})
            for trial in found.trials
            if trial.manifest.policy == policy
        ]
        rows = found.metrics.filter(pc.equal(found.metrics.column("policy"), policy))
        column = rows.schema.get_field_index("policy")
        tables.append(rows.set_column(column, "policy", pa.array([name] * len(rows), pa.string())))
    return summarize(manifests, pa.concat_tables(tables))


def _refuse_suspect(summaries: list[Summary], command: str) -> None:
    trials = [trial for summary in summaries for trial in summary.trials]
    bad = [trial for summary in summaries for trial in summary.suspect]
    if bad:
        reasons = [f"{trial.policy}, repeat {trial.repeat + 1}: {'; '.join(trial.reasons)}" for trial in bad]
        raise RunError(
            f"{len(bad)} of {len(trials)} trials are suspect:\n  " + "\n  ".join(reasons),
            mend=f"run them again on a calmer machine, or compare them all the same: {command}",
        )


def _notes(summary: Summary) -> list[str]:
    """What weakens the comparison."""
    notes = []
    if summary.suspect:
        notes.append(f"{len(summary.suspect)} of {len(summary.trials)} trials are suspect.")
    if summary.scale is None:
        notes.append("The trials ran at different scales of all rates.")
    if all(difference.low is None for difference in summary.differences.values()):
        notes.append("There is one pair of repeats, so chance is not ruled out.")
    return notes


def _table(summary: Summary) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from testbed.report.tables import metric_rows

    first, second = summary.policies
    table = Table("metric", title=escape(summary.experiment), title_justify="left")
    for name in (first, second, "difference"):
        table.add_column(escape(name), justify="right")
    table.add_column("")
    for row in metric_rows(summary):
        other = row.values[1]
        table.add_row(
            row.label,
            *("\n".join(filter(None, (value.text, value.interval))) for value in row.values),
            "\n".join(filter(None, (other.difference, other.difference_interval))),
            other.judgement,
        )
    return table


def _to_json(summary: Summary) -> dict[str, Any]:
    """One comparison: what summary.json says of both sides, and the one difference."""
    whole = summary.to_json()
    first, second = summary.policies
    return {
        "first": first,
        "second": second,
        "metrics": {
            metric: {
                "first": whole["policies"][first].get(metric),
                "second": whole["policies"][second].get(metric),
                "difference": whole["differences"][second].get(metric),
            }
            for metric in {**whole["policies"][first], **whole["policies"][second]}
        },
        "trials": whole["trials"],
    }
