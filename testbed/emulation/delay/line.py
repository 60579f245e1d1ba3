"""The delay line of a run, seen from the run: started, given its delays, watched, asked what it counted.

It stands in for netem where the kernel has none. Every frame that a host sends is held once, for the whole
delay of its path, between the host's shaped `eth0` (a TAP) and the veth that leads to its switch.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from testbed.emulation.delay import kernel
from testbed.emulation.delay.table import DelayTable
from testbed.emulation.namespaces import DeviceCounters
from testbed.emulation.processes import Process, Supervisor
from testbed.errors import RunError

_OPENED_S = 30.0
"""Long enough to compile the loop, once on each machine."""

_ANSWER_S = 5.0
_TRY_AGAIN_S = 0.01


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
    """The process that delays the frames of a run. Methods raise RunError where it does not answer.

    Its delays may be set from any thread.
    """

    def __init__(self, folder: Path, logs: Path, supervisor: Supervisor, hosts: Sequence[LineHost]) -> None:
        self._folder = folder
        self._logs = logs
        self._supervisor = supervisor
        self._hosts = hosts
        self._table = folder / "delays.npz"
        self._socket = folder / "delays.sock"
        self._counters = folder / "delays.counters"
        self._taps: list[DeviceCounters] = []
        self._asking = Lock()
        self._asked = 0
        self._pidfd = -1

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self, table: DelayTable, offload: bool) -> None:
        """Start the process, which gets ready meanwhile; `open` waits for it.

        With `offload`, hosts leave checksums and segmentation to who receives.
        """
        self._set(table)
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
        # The supervisor closes its own with the death that it sees, maybe in another thread.
        self._pidfd = os.pidfd_open(self._process.pid)

    def open(self) -> None:
        """Make the TAP of every host, whose namespace and uplink must be there."""
        with self._asking:
            self._ask(b"open", _OPENED_S)
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
        with self._asking:
            if self._pidfd >= 0:
                os.close(self._pidfd)
                self._pidfd = -1

    def set_delays(self, table: DelayTable) -> None:
        """Delay by another table from now on; frames that wait leave as they were to leave.

        Where this raises RunError, the table before is the one that it will read.
        """
        with self._asking:
            before = self._delays
            self._set(table)
            try:
                self._ask(b"table", _ANSWER_S)
            except RunError:
                self._set(before)
                raise

    def counters(self) -> LineCounters:
        values: NDArray[np.int64] = np.fromfile(self._counters, np.int64)
        return LineCounters(
            frames=int(values[kernel.FRAMES]),
            lost_untaken=sum(tap.dropped_sending() for tap in self._taps),
            lost_full=int(values[kernel.LOST_FULL]),
            lost_sending=int(values[kernel.LOST_SENDING]),
            late=tuple(int(value) for value in values[kernel.LATE :]),
        )

    def _set(self, table: DelayTable) -> None:
        table.save(self._table)
        self._delays = table

    def _ask(self, request: bytes, answer_s: float) -> None:
        """Send a request and wait until it is done."""
        if self._pidfd < 0:
            raise RunError("the delay line is closed")
        deadline = time.monotonic() + answer_s
        self._asked += 1  # an answer that came too late is for nobody
        answers = self._folder / f"delays.answers.{self._asked}.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as connection:
            connection.bind(str(answers))
            try:
                while not self._sent(connection, request):
                    self._wait(connection, deadline, _TRY_AGAIN_S)
                while not self._wait(connection, deadline, answer_s):
                    continue
            finally:
                answers.unlink(missing_ok=True)

    def _sent(self, connection: socket.socket, request: bytes) -> bool:
        try:
            connection.sendto(request, str(self._socket))
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            return False
        return True

    def _wait(self, connection: socket.socket, deadline: float, most_s: float) -> bool:
        """Whether the answer came. Raises RunError where none will come any more."""
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise RunError("the delay line does not answer", tail=self._process.tail())
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        poll.register(self._pidfd, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(min(left_s, most_s) * 1000)}
        if self._pidfd in ready:
            raise self._death()
        return connection.fileno() in ready

    def _death(self) -> RunError:
        """How the process ended, which is left for the supervisor to see."""
        with suppress(ChildProcessError):
            ended = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOWAIT)
            if ended is not None:
                code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
                return replace(self._process, exit_code=code).death()
        return self._process.death()
