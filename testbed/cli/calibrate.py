"""`testbed calibrate`: measure once what frames, bytes and clients cost on this machine, for the planner."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Annotated

import typer


def calibrate(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Measure what this machine carries, in about 40 s, for `testbed plan` and `testbed run`.

    A chain of switches is flooded, then a small swarm of real clients downloads. The result is kept for all
    users and holds until the kernel, Open vSwitch or the processor changes. Close other programs before.

    Example: sudo .venv/bin/testbed calibrate
    """
    from testbed.cli.machine import need_root
    from testbed.cli.progress import Display
    from testbed.emulation.capabilities import probe_engines
    from testbed.emulation.machine import identity
    from testbed.trial.calibration import Calibration, store
    from testbed.trial.calibration_runs import measure

    need_root("calibrating")
    engines = probe_engines()
    with Display() as display:
        costs = measure(engines, display.show)
    written = datetime.now(timezone.utc).isoformat(timespec="seconds")
    calibration = Calibration(identity(engines), costs, written)
    path = store(calibration)
    if as_json:
        typer.echo(json.dumps({"file": str(path), **asdict(calibration)}, indent=1))
        return
    rows = (
        ("frames through one switch", f"{1 / costs.frame_hop_s:,.0f} a second and core"),
        ("asking one port for frames", f"{costs.port_poll_s * 1e6:.2f} us"),
        ("payload between two clients", f"{8e-6 / max(costs.client_byte_s, 1e-12):,.0f} Mbit/s a core"),
        ("a client that waits", f"{costs.client_s:.2%} of a core"),
        ("keeping up one switch", f"{costs.switch_s:.2%} of a core"),
        ("frames delayed", f"{1 / costs.delayed_frame_s:,.0f} a second and core")
        if costs.delayed_frame_s
        else ("frames delayed", "no process does that"),
    )
    for name, value in rows:
        typer.echo(f"{name:<28} {value}")
    typer.echo(f"Kept in {path}")
