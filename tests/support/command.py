"""The command line as a user runs it: a process of its own, whose words and exit code are kept."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testbed.emulation.journal import RunInfo, runs

TESTBED = (sys.executable, "-m", "testbed")
PATIENCE_S = 90.0


def testbed(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end, in `folder`."""
    command = [*TESTBED, *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )


def made_again(text: str) -> str:
    """What the command in the head of a generated topology file writes."""
    command = re.search(r"^# Made by: testbed (.*)$", text, re.MULTILINE)
    assert command is not None
    line = f"{sys.executable} -m testbed {command[1]}"
    return subprocess.run(line, shell=True, capture_output=True, text=True, check=True).stdout


testbed.__test__ = False  # type: ignore[attr-defined]  # so that pytest does not take it for a test


def _hear_signals() -> None:
    """A shell that starts pytest in the background makes its children deaf to Ctrl-C, nohup to SIGHUP."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Running:
    """A verb that runs. A context: what still lives at its end is killed."""

    def __init__(
        self, *arguments: str | Path, folder: Path, name: str = "command", stdin: int = subprocess.DEVNULL
    ) -> None:
        self.stdout, self.stderr = folder / f"{name}.stdout", folder / f"{name}.stderr"
        with self.stdout.open("w") as out, self.stderr.open("w") as errors:
            self.process = subprocess.Popen(
                [*TESTBED, *map(str, arguments)],
                cwd=folder,
                stdin=stdin,
                stdout=out,
                stderr=errors,
                start_new_session=True,
                preexec_fn=_hear_signals,  # noqa: PLW1509
            )

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(PATIENCE_S)

    @property
    def run(self) -> RunInfo:
        """The run as the machine's journals show it. Raises StopIteration where there is none."""
        return next(run for run in runs() if run.pid == self.process.pid)

    def said(self) -> str:
        """What it wrote to stderr."""
        return self.stderr.read_text(encoding="utf-8")

    def ends_with(self) -> int:
        """Wait for its end; returns the exit code."""
        return self.process.wait(PATIENCE_S)

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait for something that happens while it runs; returns what the condition did."""
        deadline = time.monotonic() + PATIENCE_S
        while not (value := condition()):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)
        return value
