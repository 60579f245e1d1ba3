"""`testbed doctor`: what this machine can emulate, what is missing, and how to mend it.

Nothing comes in but the machine; a table or JSON goes to stdout. Exit code 0: experiments can run, 1: not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from testbed.errors import RunError

if TYPE_CHECKING:
    from rich.console import Console

    from testbed.emulation.capabilities import Capabilities, Command

STATE_STYLES = {"ok": "green", "degraded": "yellow", "missing": "red", "unknown": "dim"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Run the commands that mend what is missing, then look again.")
    ] = False,
) -> None:
    """Show what this machine can emulate, what is missing, and how to mend it.

    Kernel features are tried in a throwaway network namespace, which needs root; without root the doctor says
    what it could not try. Exit code 0 where experiments can run, 1 where they cannot.

    Example: sudo .venv/bin/testbed doctor --fix
    """
    from testbed.emulation.capabilities import all_checks, fixes, probe

    capabilities = probe(all_checks())
    if fix:
        commands = fixes(capabilities)
        _run_fixes(commands)
        capabilities = probe(all_checks()) if commands else capabilities
    if as_json:
        typer.echo(json.dumps(capabilities.to_json(), indent=2))
    else:
        _print_table(capabilities)
    raise typer.Exit(0 if capabilities.ready else 1)


def _run_fixes(commands: tuple[Command, ...]) -> None:
    """Run the mending commands, their output on stderr; one that fails is shown by the second look."""
    if commands and os.geteuid() != 0:
        raise RunError(
            "mending installs packages and loads modules, which needs root",
            mend="sudo .venv/bin/testbed doctor --fix",
        )
    if not commands:
        print("testbed: no command can mend more on this machine", file=sys.stderr)
    for command in commands:
        print(f"testbed: {' '.join(command)}", file=sys.stderr)
        try:
            done = subprocess.run(command, stdout=sys.stderr, stdin=subprocess.DEVNULL, check=False)
        except OSError as error:
            print(f"testbed: {command[0]}: {error.strerror}", file=sys.stderr)
            continue
        if done.returncode != 0:
            print(f"testbed: {command[0]} failed with exit code {done.returncode}", file=sys.stderr)


def _print_table(capabilities: Capabilities) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from testbed.emulation.capabilities import choose_engines

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    for heading in ("state", "what"):
        table.add_column(heading, no_wrap=True)
    table.add_column("found", max_width=24)
    table.add_column("what it means, and how to mend it", overflow="fold")
    for result in capabilities.results:
        table.add_row(
            f"[{STATE_STYLES[result.state]}]{result.state}",
            result.check.name,
            escape(result.finding.found),
            escape("\n".join([result.check.meaning, *([f"> {result.mend}"] if result.mend else [])])),
        )
    console.print(table)
    engines = choose_engines(capabilities)
    console.print(f"\nRuns here would use: datapath {engines.datapath}, delay {engines.delay}.")
    _print_closing(console, capabilities)


def _print_closing(console: Console, capabilities: Capabilities) -> None:
    if capabilities.ready:
        console.print("Experiments can run on this machine.")
        return
    lacking = [result for result in capabilities.results if result.check.required and result.state != "ok"]
    known = [result for result in lacking if result.state != "unknown"]
    names = ", ".join(result.check.name for result in known or lacking)
    console.print(f"Experiments cannot run yet. First mend: {names}.")
