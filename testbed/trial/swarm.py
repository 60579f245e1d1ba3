"""The swarm of a trial: peers arrive on schedule, tell how far they are, and leave together.

Every peer is a real client process in its own host. It announces by itself; all that comes from here is when
it starts and when it stops.
"""

from __future__ import annotations

import json
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testbed.emulation.processes import ForkServer, Process, Supervisor
from testbed.trial.events import Progress
from testbed.trial.plan import Arrival

_TURN_S = 0.05
_LEAVE_GRACE_S = 5.0


@dataclass
class _PeerState:
    role: str
    fraction: float = 0.0
    rate_bps: float = 0.0
    completed: bool = False


@dataclass(frozen=True)
class PeerStart:
    """How to start the peer of a host."""

    role: str
    config: Path
    log: Path
    namespace: str


@dataclass
class Swarm:
    """The peers of one trial. `watch` runs it until all leechers are done or the time is up."""

    supervisor: Supervisor
    server: ForkServer
    peers: Mapping[str, PeerStart]
    progress_socket: Path
    note: Callable[[str, str], None]
    """Called with (event, host) when a peer starts or is done."""
    _states: dict[str, _PeerState] = field(default_factory=dict)
    _processes: list[Process] = field(default_factory=list)

    def watch(
        self,
        arrivals: Sequence[Arrival],
        timeout_s: float,
        each_second: Callable[[Progress], None],
        each_turn: Callable[[float, float], None] = lambda _, __: None,
    ) -> list[str]:
        """Run the swarm; returns the leechers that were not done in time. Raises RunError if a process dies.

        `each_turn` is called many times a second, until the swarm is over, with the seconds since its start
        and the share of the leechers that are done. Every process of the run counts: a dead portal, tracker,
        switch or controller ends the trial too.
        """
        self._states = {host: _PeerState(peer.role) for host, peer in self.peers.items()}
        inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        inbox.bind(str(self.progress_socket))
        try:
            return self._loop(arrivals, timeout_s, each_second, each_turn, inbox)
        finally:
            inbox.close()
            self.progress_socket.unlink(missing_ok=True)

    def leave(self) -> list[Process]:
        """Stop all peers; each writes its record and tells the tracker. Returns those that were killed."""
        return self.supervisor.stop(self._processes, grace_s=_LEAVE_GRACE_S)

    def _loop(
        self,
        arrivals: Sequence[Arrival],
        timeout_s: float,
        each_second: Callable[[Progress], None],
        each_turn: Callable[[float, float], None],
        inbox: socket.socket,
    ) -> list[str]:
        start = time.monotonic()
        waiting = deque(sorted(arrivals, key=lambda arrival: arrival.start_s))
        next_second = 1.0
        leechers = {host: state for host, state in self._states.items() if state.role == "leecher"}
        while True:
            elapsed = time.monotonic() - start
            while waiting and waiting[0].start_s <= elapsed:
                self._start(waiting.popleft().host)
            self._read(inbox)
            if elapsed >= next_second:
                next_second = max(next_second + 1.0, elapsed)
                each_second(self._progress(elapsed, timeout_s))
            unfinished = [host for host, state in leechers.items() if not state.completed]
            if not unfinished or elapsed > timeout_s:
                each_second(self._progress(elapsed, timeout_s))
                return unfinished
            each_turn(elapsed, (len(leechers) - len(unfinished)) / len(leechers))
            pause = min(_TURN_S, waiting[0].start_s - elapsed) if waiting else _TURN_S
            for process in self.supervisor.deaths(max(0.001, pause)):
                raise process.death()

    def _start(self, host: str) -> None:
        peer = self.peers[host]
        process = self.supervisor.fork(
            self.server, f"client {host}", peer.config, log=peer.log, namespace=peer.namespace
        )
        self._processes.append(process)
        self.note("peer_started", host)

    def _read(self, inbox: socket.socket) -> None:
        while True:
            try:
                message = json.loads(inbox.recv(65536))
            except BlockingIOError:
                return
            state = self._states[message["host"]]
            state.fraction, state.rate_bps = message["fraction"], message["rate_bps"]
            # Every message says whether it is done: a full queue may have swallowed the first that did.
            if message["completed"] and not state.completed:
                state.completed = True
                state.fraction = 1.0
                self.note("peer_completed", message["host"])

    def _progress(self, elapsed_s: float, timeout_s: float) -> Progress:
        leechers = [state for state in self._states.values() if state.role == "leecher"]
        return Progress(
            elapsed_s=elapsed_s,
            timeout_s=timeout_s,
            leechers=len(leechers),
            started=len(self._processes),
            done=sum(state.completed for state in leechers),
            fraction=sum(state.fraction for state in leechers) / len(leechers),
            rate_bps=sum(state.rate_bps for state in leechers if not state.completed),
        )
