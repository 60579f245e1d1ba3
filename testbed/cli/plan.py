"""`testbed plan`: what an experiment would build and ask of this machine, without building it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def plan(
    experiment: Annotated[Path, typer.Argument(help="The experiment's YAML file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Dry run: trials, hosts, switches, links, and the expected load against what this machine has.

    Example: testbed plan experiments/quickstart.yaml
    """
    from testbed.cli.machine import planned
    from testbed.emulation.fidelity import available_memory_bytes
    from testbed.trial.capacity import expected_load

    trials, engines = planned(experiment)
    first = trials[0]
    network, content = first.network, first.experiment.swarm.content
    load = expected_load(network, first.routes, content.size, engines.datapath)
    facts: dict[str, Any] = {
        "experiment": first.experiment.name,
        "trials": [{"id": t.id, "policy": t.policy, "repeat": t.repeat, "seed": t.seed} for t in trials],
        "isps": len(network.isps),
        "switches": len(network.pops),
        "hosts": len(network.hosts),
        "links": len(network.links),
        "peers": load.peers,
        "memory_bytes": load.memory_bytes,
        "cores": round(load.cores, 2),
        "datapath": engines.datapath,
        "delay": engines.delay,
        "longest_s": len(trials) * first.experiment.timeout,
        "addresses": {host.id: host.ip for host in network.hosts},
    }
    if os.geteuid() != 0:
        print(
            "testbed: without root the kernel's features are unknown; this plan is for one without any",
            file=sys.stderr,
        )
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    typer.echo(f"{facts['experiment']}: {len(trials)} trials, at most {facts['longest_s']:.0f} s to download")
    for trial in trials:
        typer.echo(f"  {trial.id}  {trial.policy}, repeat {trial.repeat + 1}")
    typer.echo(
        f"{facts['isps']} ISPs, {facts['switches']} switches, {facts['hosts']} hosts, {facts['links']} links,"
        f" {load.peers} peers\n"
        f"needs about {load.cores:.1f} of {os.cpu_count()} cores and {load.memory_bytes / 2**30:.1f} of "
        f"{available_memory_bytes() / 2**30:.1f} GiB free; "
        f"datapath {engines.datapath}, delay {engines.delay}"
    )
