"""Verbs in the test's own process: what they print, and the exit code and message of their errors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from testbed.cli.main import EXIT_FAILED, EXIT_WRONG_INPUT, app
from testbed.emulation import journal
from testbed.errors import RunError, UserError


@dataclass(frozen=True)
class Done:
    """How a verb ended: `error` is what its user reads on stderr, without the command's name before it."""

    code: int
    stdout: str
    error: str

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.stdout.splitlines()]


def verb(*arguments: str, width: int = 0) -> Done:
    """Call a verb; `width` is that of its terminal, and 0 stands for a pipe."""
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": str(width) if width else None})
    if isinstance(result.exception, UserError):
        return Done(EXIT_WRONG_INPUT, result.stdout, str(result.exception))
    if isinstance(result.exception, RunError):
        return Done(EXIT_FAILED, result.stdout, str(result.exception))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def own_place(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Runs of the test's own, looked at as root looks at them."""
    for name, attribute in (("run", "RUNS"), ("netns", "NAMESPACES"), ("shm", "_MEMORY")):
        patch.setattr(journal, attribute, folder / name)
    (folder / "shm").mkdir()
    patch.setattr("os.geteuid", lambda: 0)
