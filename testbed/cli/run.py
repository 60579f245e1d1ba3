"""`testbed run`: run what is missing of an experiment, analyse it, write the report.

An experiment's file comes in; trial folders, `summary.json` and `report.html` go to the results folder.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed.cli.options import SCALE_HELP

DEFAULT_RESULTS = Path("results")

if TYPE_CHECKING:
    from testbed.trial.plan import TrialPlan


def run(
    experiment: Annotated[Path, typer.Argument(help="The experiment's YAML file.")],
    results: Annotated[
        Path, typer.Option("--results", help="Where result folders go.", file_okay=False)
    ] = DEFAULT_RESULTS,
    scale: Annotated[str, typer.Option("--scale", metavar="auto|FACTOR", help=SCALE_HELP)] = "",
    again: Annotated[bool, typer.Option("--again", help="Run finished trials once more.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Run the trials of an experiment that are missing, with live progress, and write the report.

    Finished trials are kept, so the same command goes on after an interruption. Ctrl-C stops at once and
    removes everything that was built. An experiment that this machine does not carry is refused, unless a
    scale is given.

    Example: sudo .venv/bin/testbed run experiments/quickstart.yaml
    """
    from testbed.cli.machine import need_root, planned
    from testbed.cli.progress import Display
    from testbed.cli.report import present
    from testbed.trial.matrix import run_missing

    trials, engines = planned(experiment, scale)
    need_root("running an experiment")
    folder = results.resolve() / trials[0].experiment.name
    with Display() as display:
        try:
            run_missing(trials, folder, engines, display.show, again)
        except (KeyboardInterrupt, SystemExit):
            with suppress(OSError):  # the terminal may be gone
                display.close()
                _say_what_was_kept(trials, folder, experiment, results, scale, again)
            raise
    present(folder, [trial.id for trial in trials], as_json)


def _say_what_was_kept(
    trials: tuple[TrialPlan, ...], folder: Path, experiment: Path, results: Path, scale: str, again: bool
) -> None:
    from testbed.trial.matrix import is_whole
    from testbed.trial.record import UNFINISHED

    kept = sum(is_whole(folder, trial.id) for trial in trials)
    elsewhere = "" if results == DEFAULT_RESULTS else f" --results {results}"
    once_more = " --again" if again else ""
    # What fits may change in between, and with it the trials.
    same = "" if trials[0].scale == 1 and not scale else f" --scale {trials[0].scale:g}"
    print(
        f"Interrupted; everything that was built is removed. Kept: {kept} of {len(trials)} trials in {folder}"
        f" (and the logs of the interrupted one, with what it had measured, in {folder / UNFINISHED}).\n"
        f"To go on: sudo .venv/bin/testbed run {experiment}{elsewhere}{same}{once_more}",
        file=sys.stderr,
    )
