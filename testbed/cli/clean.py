"""`testbed status` and `testbed clean`: what runs, and removing what a dead run left, and nothing else."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from testbed.errors import Problem, RunError, UserError


def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False) -> None:
    """Show the runs on this machine: since when, by whom, and whether they live.

    Example: sudo .venv/bin/testbed status
    """
    from testbed.cli.machine import need_root
    from testbed.emulation.journal import processes_of, runs

    need_root("looking into runs")
    rows = [
        {
            "run": run.tag,
            "experiment": run.experiment,
            "state": "running" if run.alive else "dead",
            "pid": run.pid,
            "user": run.user,
            "since": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.started_s)),
            "namespaces": len(run.namespaces),
            "processes": len(processes_of(run.tag)),
        }
        for run in runs()
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    if not rows:
        typer.echo("nothing runs, and nothing was left")
    for row in rows:
        typer.echo(
            f"{row['run']}  {row['state']:7}  {row['experiment']}  since {row['since']} by {row['user']} "
            f"(process {row['pid']})  {row['namespaces']} namespaces, {row['processes']} processes"
        )
    if any(row["state"] == "dead" for row in rows):
        typer.echo("to remove what dead runs left: sudo .venv/bin/testbed clean")


def clean(
    run: Annotated[str, typer.Option("--run", help="Only this run (its tag, see `testbed status`).")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Remove every namespace, switch, interface, process and file of runs that died, and nothing else.

    Example: sudo .venv/bin/testbed clean
    """
    from testbed.cli.machine import need_root
    from testbed.emulation.journal import remove_run, runs

    need_root("cleaning")
    found = {info.tag: info for info in runs()}
    if run and run not in found:
        raise UserError(Problem(f"there is no run '{run}'", allowed=", ".join(found) or "none is there"))
    if run and found[run].alive:
        pid = found[run].pid
        raise RunError(f"run {run} is alive (process {pid})", mend=f"stop it first: kill {pid}")
    dead = [info for info in found.values() if not info.alive and run in ("", info.tag)]
    rows, failures = [], []
    for info in dead:
        try:
            done = remove_run(info.tag, info.folder)
        except OSError as error:
            failures.append(f"run {info.tag} could not be removed whole: {error}")
            continue
        rows.append({"run": done.tag, "namespaces": done.namespaces, "processes": done.processes})
        if not as_json:
            typer.echo(f"{done.tag}: removed {done.namespaces} namespaces, ended {done.processes} processes")
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    elif not dead:
        typer.echo("nothing to clean")
    if failures:
        raise RunError("\n".join(failures))
