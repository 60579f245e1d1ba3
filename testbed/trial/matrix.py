"""All trials of an experiment: those that are missing are run, one after the other, and finished ones kept.

Planned trials come in; each ends as a whole folder under `<results>/<experiment>/`. Two runs that would write
into the same folder are kept apart by a lock.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from testbed.emulation.capabilities import Engines
from testbed.errors import Problem, RunError, UserError
from testbed.trial import record
from testbed.trial.events import Emit, Event
from testbed.trial.plan import TrialPlan
from testbed.trial.runner import run_trial


def is_whole(results: Path, trial: str) -> bool:
    """Whether the trial has been run to its end."""
    return (results / trial / record.MANIFEST).is_file()


def run_missing(
    trials: Sequence[TrialPlan], results: Path, engines: Engines, emit: Emit, again: bool = False
) -> None:
    """Run the trials that `results` does not hold yet, or all of them with `again`.

    Raises RunError where a trial fails; those that were finished before stay.
    """
    with _locked(results):
        for number, plan in enumerate(trials, start=1):
            name = f"trial {number} of {len(trials)}: {plan.policy}, repeat {plan.repeat + 1}"
            if is_whole(results, plan.id) and not again:
                emit(Event("kept", f"{name}: already there ({plan.id})"))
                continue
            emit(Event("trial", name))
            result = run_trial(plan, results, engines, emit)
            with suppress(OSError):  # it stays where it still holds another trial's
                (results / record.UNFINISHED).rmdir()
            emit(Event("finished", f"{result.verdict}", {"reasons": result.reasons}))


@contextmanager
def _locked(results: Path) -> Iterator[None]:
    """Hold the results folder for this process. Raises RunError where another one has it."""
    try:
        results.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"results can't be written there: {error.strerror}"
        raise UserError(Problem(what, where=str(results), mend="--results DIR")) from None
    with (results / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise RunError(
                f"process {file.read().strip() or '?'} is running this experiment into {results}",
                mend="wait for it, or give another folder: --results DIR",
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
