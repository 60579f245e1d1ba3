"""One trial from its plan to a whole folder of results.

It works in `<results>/unfinished/<id>` and renames that folder at the end, so that a folder with the final
name is whole. Whatever happens, nothing is left running.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from testbed.emulation.capabilities import Engines
from testbed.trial import record
from testbed.trial.events import Emit
from testbed.trial.laboratory import Laboratory
from testbed.trial.plan import TrialPlan


@dataclass(frozen=True)
class TrialResult:
    """How a trial ended: where its record is, and whether it can be trusted."""

    folder: Path
    verdict: str
    reasons: tuple[str, ...]


def run_trial(plan: TrialPlan, results: Path, engines: Engines, emit: Emit) -> TrialResult:
    """Run one trial. Raises RunError where something fails or dies; what was measured until then is kept."""
    folder = results / record.UNFINISHED / plan.id
    shutil.rmtree(folder, ignore_errors=True)
    with Laboratory(plan, folder, engines, emit) as lab:
        lab.build_network()
        lab.install_rules()
        lab.check_paths()
        lab.measure_links()
        lab.start_portals()
        lab.start_tracker()
        lab.run_swarm()
        lab.wait_for_last_counters()
        lab.keep_record()
        manifest = lab.write_manifest()
    final = results / plan.id
    shutil.rmtree(folder / "raw")
    replaced = results / record.UNFINISHED / f"{plan.id}.replaced"
    if final.exists():
        os.replace(final, replaced)
    os.replace(folder, final)
    shutil.rmtree(replaced, ignore_errors=True)
    return TrialResult(final, manifest["verdict"], tuple(manifest["reasons"]))
