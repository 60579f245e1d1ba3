"""`testbed report`: analyse a result folder again and write its page."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from testbed.errors import Problem, UserError


def report(
    results: Annotated[Path, typer.Argument(help="A result folder, such as results/quickstart.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Compute the metrics of a result folder, print the tables, and write metrics, summary and report.html.

    Example: testbed report results/quickstart
    """
    if not results.is_dir():
        raise UserError(Problem("there is no such result folder", where=str(results)))
    present(results, None, as_json)


def present(results: Path, trials: Collection[str] | None, as_json: bool) -> None:
    """Analyse the trials (all whole ones where None), write the files, print tables and the page's path."""
    from rich.console import Console

    from testbed.analysis.summary import study, write_study, write_text
    from testbed.report.html import REPORT_FILE, render_page
    from testbed.report.tables import render_terminal

    result = study(results, trials)
    write_study(results, result)
    page = results / REPORT_FILE
    write_text(page, render_page(result))
    if as_json:
        typer.echo(json.dumps(result.summary.to_json(), indent=1))
    else:
        Console().print(render_terminal(result.summary))
        for note in dict.fromkeys(note for trial in result.trials for note in trial.manifest.notes):
            print(note)
    print(f"Report: {page.resolve()}", file=sys.stderr if as_json else sys.stdout)
