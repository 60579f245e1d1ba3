"""Running batches of `ip` and `tc` commands inside namespaces: one process a batch, no shell.

Pure code elsewhere makes the batches; here they are applied, and a line that the kernel refuses becomes an
error that names it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from testbed.errors import RunError


@dataclass(frozen=True)
class Batch:
    """Lines for `ip -batch` or `tc -batch`, run in a namespace, or in the machine's own where it is empty.

    The first line that fails is the last, unless it shall `go_on`.
    """

    program: Literal["ip", "tc"]
    namespace: str
    lines: tuple[str, ...]
    go_on: bool = False


def apply(batches: Sequence[Batch]) -> list[str]:
    """Apply batches that do not depend on each other; returns what each printed, `tc` in JSON where it can.

    Raises RunError with the line that failed.
    """
    answers = []
    for answer in attempt(batches):
        if isinstance(answer, RunError):
            raise answer
        answers.append(answer)
    return answers


def attempt(batches: Sequence[Batch]) -> list[str | RunError]:
    """As `apply`, but what failed is returned, each in its place."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(_attempt_one, batches))


def query_json(program: Literal["ip", "tc"], namespace: str, command: str) -> list[Any]:
    """The JSON answer to one command, with statistics. Raises RunError where it fails."""
    answer = query_text(program, namespace, [command], options=("-j", "-s"))
    return list(json.loads(answer)) if answer.strip() else []


def query_text(
    program: Literal["ip", "tc"], namespace: str, commands: Sequence[str], options: Sequence[str] = ()
) -> str:
    """What `commands` print, one after the other. Raises RunError where one fails."""
    arguments = [program, *_inside(namespace), *options, "-batch", "-"]
    text = "".join(f"{command}\n" for command in commands)
    done = subprocess.run(arguments, input=text, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise RunError(f"{program} in {namespace or 'the machine'}: {done.stderr.strip()}")
    return done.stdout


def _attempt_one(batch: Batch) -> str | RunError:
    # Who is killed while this runs leaves a process inside the namespace, where a cleaning finds it.
    parent = () if batch.namespace else WITH_PARENT
    arguments = [*parent, batch.program, *_inside(batch.namespace), "-j", *_force(batch), "-batch", "-"]
    text = "".join(f"{line}\n" for line in batch.lines)
    done = subprocess.run(arguments, input=text, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        line = _failed_line(done.stderr, batch.lines)
        where = batch.namespace or "the machine"
        return RunError(f"{batch.program} {line} in {where}: {done.stderr.strip()}")
    return done.stdout


# Should the run's own process be killed, its commands go too: nobody would find what they still make.
WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")


def _inside(namespace: str) -> list[str]:
    return ["-n", namespace] if namespace else []


def _force(batch: Batch) -> list[str]:
    return ["-force"] if batch.go_on else []


def _failed_line(stderr: str, lines: Sequence[str]) -> str:
    """The line that `Command failed -:<number>` names."""
    _, _, number = stderr.rpartition("Command failed -:")
    try:
        return lines[int(number.split()[0]) - 1]
    except (ValueError, IndexError):
        return f"-batch of {len(lines)} lines"
