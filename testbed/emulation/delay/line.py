"""The delay line of a run, seen from the run: started, given its delays, watched, asked what it counted.

It stands in for netem where the kernel has none. Every frame that a host sends is held once, for the whole
delay of its path, between the host's shaped `eth0` (a TAP) and the veth that leads to its switch.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from testbed.emulation.delay import kernel
from testbed.emulation.delay.table import DelayTable
from testbed.emulation.namespaces import DeviceCounters
from testbed.emulation.processes import Process, Supervisor
from testbed.errors import RunError

_ANSWER_S = 30.0
"""Long enough to compile the loop, once on each machine."""


@dataclass(frozen=True)
class LineHost:
    """Where the line stands in a host: it makes `tap` in `namespace` and sends through `uplink`."""

    namespace: str
    tap: str
    uplink: str


@dataclass(frozen=True)
class LineCounters:
    """What the line has counted since its start. `late` has frames by how late they left.

    Its classes are below 1 microsecond, below 2, below 4 and so on; the last has no upper end. Frames are
    lost where the line comes too late to take them from a full TAP (`lost_untaken`), where all its room is
    taken, and where the kernel refuses them.
    """

    frames: int
    lost_untaken: int
    lost_full: int
    lost_sending: int
    late: tuple[int, ...]

    @property
    def lost(self) -> int:
        return self.lost_untaken + self.lost_full + self.lost_sending

    def late_s(self, share: float, before: LineCounters | None = None) -> float:
        """How late at most this share of the frames left since `before`: the end of its class, 0 for none."""
        late = np.array(self.late) - (np.array(before.late) if before else 0)
        if late.sum() == 0:
            return 0.0
        return float(2 ** int(np.searchsorted(np.cumsum(late), share * late.sum()))) / 1e6


class DelayLine:
    """The process that delays the frames of a run. Methods raise RunError where it does not answer."""

    def __init__(self, folder: Path, logs: Path, supervisor: Supervisor, hosts: Sequence[LineHost]) -> None:
        self._folder = folder
        self._logs = logs
        self._supervisor = supervisor
        self._hosts = hosts
        self._table = folder / "delays.npz"
        self._socket = folder / "delays.sock"
        self._counters = folder / "delays.counters"
        self._taps: list[DeviceCounters] = []

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self, table: DelayTable, offload: bool) -> None:
        """Start the process, which gets ready meanwhile; `open` waits for it.

        With `offload`, hosts leave checksums and segmentation to who receives.
        """
        table.save(self._table)
        np.zeros(kernel.COUNTERS, np.int64).tofile(self._counters)
        config = self._folder / "delays.json"
        hosts = [vars(host) for host in self._hosts]
        files = {"table": self._table, "socket": self._socket, "counters": self._counters}
        paths = {name: str(path) for name, path in files.items()}
        config.write_text(json.dumps({**paths, "offload": offload, "hosts": hosts}), encoding="utf-8")
        self._process: Process = self._supervisor.start(
            "delay line",
            [sys.executable, "-m", "testbed.emulation.delay.process", str(config)],
            log=self._logs / "delay-line.log",
        )

    def open(self) -> None:
        """Make the TAP of every host, whose namespace and uplink must be there."""
        self._ask(b"open")
        for host in self._hosts:
            try:
                self._taps.append(DeviceCounters(host.namespace, host.tap))
            except OSError as error:
                raise RunError(f"the counters of {host.namespace} can't be read: {error}") from None

    def close(self) -> None:
        """Let go of the hosts' namespaces; the process ends with the run's others."""
        for tap in self._taps:
            tap.close()
        self._taps = []

    def set_delays(self, table: DelayTable) -> None:
        """Delay by another table from now on; frames that wait leave as they were to leave."""
        table.save(self._table)
        self._ask(b"table")

    def counters(self) -> LineCounters:
        values: NDArray[np.int64] = np.fromfile(self._counters, np.int64)
        return LineCounters(
            frames=int(values[kernel.FRAMES]),
            lost_untaken=sum(tap.dropped_sending() for tap in self._taps),
            lost_full=int(values[kernel.LOST_FULL]),
            lost_sending=int(values[kernel.LOST_SENDING]),
            late=tuple(int(value) for value in values[kernel.LATE :]),
        )

    def _ask(self, request: bytes) -> None:
        deadline = time.monotonic() + _ANSWER_S
        answers = self._folder / "delays.answers.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.bind(str(answers))
            connection.settimeout(0.2)
            sent = False
            try:
                while True:
                    for process in self._supervisor.deaths():
                        raise process.death()
                    if time.monotonic() > deadline:
                        raise RunError("the delay line does not answer", tail=self._process.tail())
                    try:
                        if not sent:
                            connection.sendto(request, str(self._socket))
                            sent = True
                        connection.recv(64)
                        return
                    except (FileNotFoundError, ConnectionRefusedError):
                        time.sleep(0.01)
                    except TimeoutError:
                        continue
            finally:
                answers.unlink(missing_ok=True)
