"""What several verbs ask before they start: is this root, what can the machine do, does it carry the plan."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.errors import Problem, RunError, UserError

if TYPE_CHECKING:
    from testbed.emulation.capabilities import Engines
    from testbed.trial.calibration import Calibration
    from testbed.trial.capacity import Load, Machine
    from testbed.trial.plan import TrialPlan


def need_root(what: str) -> None:
    """Raises RunError where the process is not root."""
    if os.geteuid() != 0:
        raise RunError(
            f"{what} needs root: runs are namespaces and processes of root",
            mend="put sudo before the command",
        )


@dataclass(frozen=True)
class Assessment:
    """The trials of an experiment on this machine, and what it thinks of them.

    `calibration` is None where costs are built in. `problems` hinder a run; `doubts` are those that the user
    has overruled by naming a scale.
    """

    trials: tuple[TrialPlan, ...]
    engines: Engines
    machine: Machine
    calibration: Calibration | None
    load: Load
    problems: tuple[Problem, ...]
    doubts: tuple[Problem, ...]


def planned(experiment: Path, scale: str = "") -> tuple[tuple[TrialPlan, ...], Engines]:
    """The trials of an experiment on this machine, checked. Raises UserError with every problem found."""
    found = assess(experiment, scale)
    if found.problems:
        raise UserError(found.problems)
    for doubt in found.doubts:
        print(f"testbed: warning: {doubt.what}; going on, as a scale was given", file=sys.stderr)
    return found.trials, found.engines


def assess(experiment: Path, scale: str = "") -> Assessment:
    """Plan the trials and judge their load.

    `scale` is a factor on all rates as the user wrote it, `auto` for the largest that fits, empty for none.
    Raises UserError where the files or the scale are wrong.
    """
    from testbed.emulation.capabilities import probe_engines
    from testbed.emulation.probes import loss
    from testbed.spec.experiment import load_experiment
    from testbed.trial.capacity import (
        cannot_lose,
        expected_load,
        fitting_scale,
        too_little_cores,
        too_little_memory,
    )
    from testbed.trial.plan import plan_trials
    from testbed.trial.provenance import deciding_environment

    factor = _factor(scale)
    spec, document, topology, _ = load_experiment(experiment)
    engines = probe_engines()
    environment = deciding_environment(engines)
    machine, calibration = _machine(engines)
    content_bytes = spec.swarm.content.size

    def judged(factor: float) -> tuple[tuple[TrialPlan, ...], Load]:
        trials = plan_trials(spec, document, topology, environment, factor)
        return trials, expected_load(trials[0].network, trials[0].routes, content_bytes, machine)

    trials, load = judged(factor or 1.0)
    cores = too_little_cores(load, machine, document, None)
    if cores and not factor:
        fitting = fitting_scale(trials[0].network, trials[0].routes, content_bytes, machine)
        if scale and fitting:
            trials, load = judged(fitting)
            cores = []
        else:
            cores = too_little_cores(load, machine, document, fitting)
    hard = [*too_little_memory(load, machine, document), *cannot_lose(trials[0].network, document, loss)]
    problems, doubts = (hard, cores) if factor else (hard + cores, [])
    return Assessment(trials, engines, machine, calibration, load, tuple(problems), tuple(doubts))


def _machine(engines: Engines) -> tuple[Machine, Calibration | None]:
    from testbed.emulation.machine import available_memory_bytes, free_download_bytes, identity
    from testbed.trial.calibration import BUILT_IN, load
    from testbed.trial.capacity import Machine

    calibration = load(identity(engines))
    machine = Machine(
        cores=os.cpu_count() or 1,
        memory_bytes=available_memory_bytes(),
        downloads_bytes=free_download_bytes(),
        datapath=engines.datapath,
        delay=engines.delay,
        costs=calibration.costs if calibration else BUILT_IN[engines.datapath],
    )
    return machine, calibration


def _factor(scale: str) -> float | None:
    """The factor that the user wrote; None for `auto` and for nothing. Raises UserError."""
    if scale in ("", "auto"):
        return None
    try:
        factor = float(scale)
    except ValueError:
        factor = 0.0
    if not 0.001 <= factor <= 1:
        raise UserError(
            Problem(f"'{scale}' is no scale", "--scale", allowed="auto, or a number from 0.001 to 1")
        )
    return factor
