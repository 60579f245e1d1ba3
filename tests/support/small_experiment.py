"""An experiment on the small topology, as text and as planned trials: what tests of trials start from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import small_topology

from testbed.spec.experiment import load_experiment
from testbed.trial.plan import TrialPlan, plan_trials

TEXT = """\
name: tiny
topology: small.yaml
seed: 7
policies: [native, p4p]
swarm:
  content: {size: 512 KiB, piece: 32 KiB}
  seeds:
    - {isp: carrier, pop: hub, access: server}
  leechers:
    - {isp: left, count: 2, access: line}
    - {isp: right, count: 1, access: line}
  arrival: {within: 2 s}
tracker: {at: carrier.hub, interval: 10 s}
timeout: 60 s
"""


def write(folder: Path, *changes: tuple[str, str], topology: str = small_topology.TEXT) -> Path:
    """The experiment's file with each (old, new) of `changes` made in its text, beside its topology."""
    text = TEXT
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    small_topology.write(folder, topology)
    path = folder / "tiny.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def plans(
    folder: Path,
    *changes: tuple[str, str],
    topology: str = small_topology.TEXT,
    environment: Mapping[str, str] | None = None,
    scale: float = 1.0,
) -> tuple[TrialPlan, ...]:
    """The trials of the experiment with `changes`."""
    spec, document, topology_spec, _ = load_experiment(write(folder, *changes, topology=topology))
    return plan_trials(spec, document, topology_spec, environment or {}, scale)
