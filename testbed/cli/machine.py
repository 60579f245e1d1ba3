"""What several verbs ask before they start: is this root, what can the machine do, does it carry the plan."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.errors import RunError, UserError

if TYPE_CHECKING:
    from testbed.emulation.capabilities import Engines
    from testbed.trial.plan import TrialPlan


def need_root(what: str) -> None:
    """Raises RunError where the process is not root."""
    if os.geteuid() != 0:
        raise RunError(
            f"{what} needs root: runs are namespaces and processes of root",
            mend="put sudo before the command",
        )


def planned(experiment: Path) -> tuple[tuple[TrialPlan, ...], Engines]:
    """The trials of an experiment on this machine, checked. Raises UserError with every problem found."""
    from testbed.emulation.capabilities import probe_engines
    from testbed.emulation.fidelity import available_memory_bytes
    from testbed.spec.experiment import load_experiment
    from testbed.trial.capacity import Machine, expected_load, too_much
    from testbed.trial.plan import plan_trials
    from testbed.trial.provenance import deciding_environment

    spec, document, topology, _ = load_experiment(experiment)
    engines = probe_engines()
    trials = plan_trials(spec, document, topology, deciding_environment(engines))
    machine = Machine(os.cpu_count() or 1, available_memory_bytes(), engines.datapath)
    load = expected_load(trials[0].network, trials[0].routes, spec.swarm.content.size, engines.datapath)
    problems = too_much(load, machine, document)
    if problems:
        raise UserError(problems)
    return trials, engines
