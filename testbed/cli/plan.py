"""`testbed plan`: what an experiment would build and ask of this machine, without building it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.cli.options import SCALE_HELP
from testbed.errors import UserError

if TYPE_CHECKING:
    from testbed.cli.machine import Assessment


def plan(
    experiment: Annotated[Path, typer.Argument(help="The experiment's YAML file.")],
    scale: Annotated[str, typer.Option("--scale", metavar="auto|FACTOR", help=SCALE_HELP)] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Dry run: trials, hosts, switches, links, and the expected load against what this machine has.

    What things cost on this machine comes from `testbed calibrate`, or from built-in figures where that has
    not run. Exit code 2 where this machine does not carry the experiment; the message says which scale fits.

    Example: testbed plan experiments/quickstart.yaml
    """
    from testbed.cli.machine import assess

    found = assess(experiment, scale)
    if os.geteuid() != 0:
        print(
            "testbed: without root the kernel's features are unknown; this plan is for one without any",
            file=sys.stderr,
        )
    typer.echo(json.dumps(_facts(found), indent=1) if as_json else "\n".join(_lines(found)))
    if found.problems:
        raise UserError(found.problems)
    for doubt in found.doubts:
        print(f"testbed: warning: {doubt.what}", file=sys.stderr)


def _facts(found: Assessment) -> dict[str, Any]:
    trials, load, machine = found.trials, found.load, found.machine
    network = trials[0].network
    return {
        "experiment": trials[0].experiment.name,
        "scale": trials[0].scale,
        "trials": [{"id": t.id, "policy": t.policy, "repeat": t.repeat, "seed": t.seed} for t in trials],
        "isps": len(network.isps),
        "switches": len(network.pops),
        "hosts": len(network.hosts),
        "links": len(network.links),
        "peers": load.peers,
        "memory_bytes": load.memory_bytes,
        "downloads_bytes": load.downloads_bytes,
        "cores": round(load.cores, 2),
        "busy_cores": [round(cores, 2) for cores in load.busy_cores],
        "busiest_process": round(load.busiest_process, 2),
        "frame_hops_per_s": round(load.frame_hops_per_s),
        "machine": {
            "cores": machine.cores,
            "memory_bytes": machine.memory_bytes,
            "downloads_bytes": machine.downloads_bytes,
            "calibrated": found.calibration.written if found.calibration else None,
        },
        "carried": not (found.problems or found.doubts),
        "datapath": found.engines.datapath,
        "delay": found.engines.delay,
        "longest_s": len(trials) * trials[0].experiment.timeout,
        "addresses": {host.id: host.ip for host in network.hosts},
    }


def _lines(found: Assessment) -> list[str]:
    """The plan for people."""
    from testbed.topology.writing import counted

    trials, load, machine = found.trials, found.load, found.machine
    network, spec = trials[0].network, trials[0].experiment
    parts = (
        counted(len(network.isps), "ISP"),
        counted(len(network.pops), "switch", "switches"),
        counted(len(network.hosts), "host"),
        counted(len(network.links), "link"),
        counted(load.peers, "peer"),
    )
    least, most = sorted(load.busy_cores)
    if found.calibration:
        origin = f"by this machine's calibration of {found.calibration.written[:10]}"
    else:
        origin = "by built-in costs; measure this machine's once: sudo .venv/bin/testbed calibrate"
    return [
        f"{spec.name}: {counted(len(trials), 'trial')}, "
        f"at most {len(trials) * spec.timeout:.0f} s to download",
        *(f"  {trial.id}  {trial.policy}, repeat {trial.repeat + 1}" for trial in trials),
        ", ".join(parts),
        *([f"all rates times {trials[0].scale:g}"] if trials[0].scale != 1 else []),
        f"needs about {load.cores:.1f} of {counted(machine.cores, 'core')} ({least:.1f} to {most:.1f} will be"
        f" busy), {load.memory_bytes / 2**30:.1f} of {machine.memory_bytes / 2**30:.1f} GiB memory and "
        f"{load.downloads_bytes / 2**30:.1f} of {machine.downloads_bytes / 2**30:.1f} GiB for downloads",
        f"  {origin}",
        f"datapath {found.engines.datapath}, delay {found.engines.delay}",
    ]
