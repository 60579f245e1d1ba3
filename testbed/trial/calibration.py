"""What things cost on a machine, in seconds of one core: measured figures, kept in a file, or built-in ones.

`testbed calibrate` measures (testbed.trial.calibration_runs) and stores here; the planner loads. What was
stored holds for one kernel, Open vSwitch, processor and choice of engines, and for no other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from testbed.errors import RunError

FOLDER_VARIABLE = "TESTBED_CACHE"
"""Of the environment: the folder where calibrations are kept instead of the machine's."""


@dataclass(frozen=True)
class Costs:
    """Processor time, in seconds of one core."""

    frame_hop_s: float
    """To move one frame through one switch, where many come at once."""
    port_poll_s: float
    """To ask one port for frames, of a userspace datapath: it asks all of them whenever one has any."""
    client_byte_s: float
    """Of both clients together, to transfer a byte of payload."""
    client_s: float
    """Of a client that transfers nothing, each second."""
    switch_s: float
    """To poll and keep up one switch, each second, with the controller and the trial's own samples."""
    delayed_frame_s: float
    """To delay one frame, where a process does that."""


BUILT_IN: Mapping[str, Costs] = {
    "netdev": Costs(6e-6, 5e-6, 4e-8, 5e-4, 3e-3, 3e-5),
    "system": Costs(2.5e-6, 0.0, 4e-8, 5e-4, 3e-3, 3e-5),
}
"""By datapath. Measured on a virtual machine of two cores, but for a hop in the kernel, which is assumed."""


@dataclass(frozen=True)
class Calibration:
    """Costs with the machine that they were measured on (testbed.emulation.machine.identity)."""

    machine: Mapping[str, str]
    costs: Costs
    written: str


def store(calibration: Calibration) -> Path:
    """Keep a calibration, readable by all users. Returns its path. Raises RunError where it can't be kept."""
    path = _path()
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(asdict(calibration), indent=1) + "\n", encoding="utf-8")
        part.chmod(0o644)
        os.replace(part, path)
    except OSError as error:
        raise RunError(f"the calibration can't be kept in {path}: {error.strerror}") from None
    return path


def load(machine: Mapping[str, str]) -> Calibration | None:
    """The calibration of this machine. None where there is none: missing, damaged, or of another machine."""
    try:
        data = json.loads(_path().read_text(encoding="utf-8"))
        costs = Costs(**{name: float(value) for name, value in data["costs"].items()})
        found = Calibration(dict(data["machine"]), costs, str(data["written"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return found if found.machine == machine else None


def _path() -> Path:
    return Path(os.environ.get(FOLDER_VARIABLE) or "/var/cache/testbed") / "calibration.json"
