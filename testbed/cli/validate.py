"""`testbed validate`: check topology and experiment files without building anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed.errors import Problem, UserError


def validate(
    files: Annotated[list[Path], typer.Argument(help="Topology and experiment files.")],
) -> None:
    """Check files: every error with its line, what is wrong, and what is allowed.

    A file with the key `swarm` is an experiment, any other a topology.

    Example: testbed validate topologies/*.yaml experiments/*.yaml
    """
    problems: list[Problem] = []
    for path in files:
        try:
            typer.echo(f"{path}: {_check(path)}")
        except UserError as error:
            problems.extend(error.problems)
    if problems:
        raise UserError(problems)


def _check(path: Path) -> str:
    from testbed.spec.experiment import load_experiment
    from testbed.spec.loading import load_document
    from testbed.spec.topology import load_topology
    from testbed.topology.compile import compile_network
    from testbed.topology.routing import compute_routes, unreachable_pairs
    from testbed.trial.plan import plan_trials

    if "swarm" in load_document(path).data:
        spec, document, topology, _ = load_experiment(path)
        trials = plan_trials(spec, document, topology, {})
        return f"an experiment of {len(trials)} trials with {len(trials[0].leechers)} leechers"
    topology, _ = load_topology(path)
    network = compile_network(topology)
    cut = len(unreachable_pairs(network, compute_routes(network)))
    note = f", {cut} pairs of PoPs without a route" if cut else ""
    return (
        f"a topology of {len(network.isps)} ISPs, {len(network.pops)} PoPs, {len(network.links)} links{note}"
    )
