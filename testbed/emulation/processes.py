"""The run's processes: started in namespaces, logged to files, watched, ended together.

A `Supervisor` starts programs directly, or Python programs from a fork server that has already imported what
they need. It never blocks on a pipe (all output goes to files, which stay small), knows a death at once
(pidfd) with its exit code, and ends everything. Should the supervisor itself be killed, the kernel ends its
children.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from testbed.emulation.journal import NAMESPACES, RUN_VARIABLE, Journal
from testbed.emulation.sockets import close_together, hold_open
from testbed.errors import RunError

_PR_SET_PDEATHSIG = 1
_TAIL_BYTES = 4000
_TAIL_LINES = 15
# A log that outgrows its bound keeps this much of its beginning and of its end.
_KEPT_BYTES = 2**20
_LOG_CHECK_S = 0.5
_LAST_GRACE_S = 1.2
# A killed process is gone as soon as the kernel has closed what it had open.
_KILLED_S = 10.0
_libc = ctypes.CDLL(None, use_errno=True)


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when the thread of `parent` that started it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before this could be asked for
        os._exit(1)


@dataclass(frozen=True)
class Limits:
    """What one process of a run may take. No process leaves a core dump."""

    open_files: int = 65536
    """Or as many as the machine's own limit allows."""

    memory_bytes: int = 4 * 2**30
    """Of memory of its own, heap and stacks (RLIMIT_DATA): shared mappings such as content do not count."""

    log_bytes: int = 64 * 2**20
    """Of its log. Beyond, the middle of what it wrote is cut out, whenever the supervisor looks."""

    def set(self) -> None:
        """Limit this process, and what it starts."""
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _set_limit(resource.RLIMIT_NOFILE, self.open_files)
        _set_limit(resource.RLIMIT_DATA, self.memory_bytes)


def _set_limit(kind: int, wanted: int) -> None:
    _, most = resource.getrlimit(kind)
    value = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(kind, (value, value))


def _allow_all_descriptors() -> None:
    """Each process costs this one a descriptor, and each link of a dying switch: 1024 are soon used up."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


DEFAULT_LIMITS = Limits()


def _prepare(parent: int, limits: Limits) -> None:
    """Between the fork and the program."""
    die_with(parent)
    limits.set()


class ProcessDeath(RunError):
    """A process of the run ended and was not asked to."""


@dataclass
class Process:
    """A process of the run. `exit_code` is None while it lives, negative for a signal.

    What is `expendable` the run can go on without: its death is no error, and noted in the supervisor's
    `lost`.
    """

    name: str
    pid: int
    log: Path
    pidfd: int
    log_bytes: int = DEFAULT_LIMITS.log_bytes
    exit_code: int | None = None
    ending: bool = False
    expendable: bool = False
    child: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def tail(self) -> str:
        """The last lines of its log."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-_TAIL_LINES:])

    def trim_log(self) -> None:
        """Cut the middle out of a log that is too long. Who writes it appends, and goes on at its new end."""
        kept = min(_KEPT_BYTES, self.log_bytes // 4)
        try:
            size = self.log.stat().st_size
            if size <= self.log_bytes:
                return
            with self.log.open("r+b") as file:
                file.seek(size - kept)
                end = file.read(kept)
                file.truncate(kept)
            with self.log.open("ab") as file:
                file.write(b"\n[%d bytes were cut out here, to spare the disk]\n" % (size - 2 * kept) + end)
        except OSError:
            return  # a disk that is full stops the program itself

    def death(self) -> ProcessDeath:
        """The error that says how it died, with the end of its log."""
        code = self.exit_code
        if code is not None and code < 0:
            how = f"was killed by signal {signal.Signals(-code).name}"
        else:
            how = f"ended with exit code {code}"
        return ProcessDeath(f"{self.name} {how}", tail=self.tail(), mend=f"see {self.log}")


class Supervisor:
    """Starts, watches and ends the processes of one run. Used from one thread."""

    def __init__(self, journal: Journal) -> None:
        _allow_all_descriptors()
        self._next_log_check_s = 0.0
        self.lost: list[Process] = []
        self._journal = journal
        self._living: dict[int, Process] = {}
        self._poll = select.poll()
        self._by_descriptor: dict[int, Process] = {}
        self._servers: list[ForkServer] = []
        self._unseen: list[Process] = []

    def start(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        log: Path,
        namespace: str = "",
        environment: Mapping[str, str] | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Process:
        """Start a program, in a namespace where one is named. Raises RunError where it can't be started."""
        self._journal.process(name, arguments)
        # nsenter replaces itself with the program, so the id stays.
        prefix = ["nsenter", f"--net={NAMESPACES / namespace}", "--"] if namespace else []
        with log.open("ab") as output:
            try:
                child = subprocess.Popen(
                    [*prefix, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self._environment(), **(environment or {})},
                    start_new_session=True,
                    preexec_fn=partial(_prepare, os.getpid(), limits),  # noqa: PLW1509 (one thread starts)
                )
            except (OSError, subprocess.SubprocessError) as error:
                raise RunError(f"{name} can't be started: {error}") from None
        pidfd = os.pidfd_open(child.pid)
        return self._watch(Process(name, child.pid, log, pidfd, limits.log_bytes, child=child))

    def fork_server(self, module: str, log: Path, limits: Limits = DEFAULT_LIMITS) -> ForkServer:
        """A server that has imported `module` and forks processes that call its `run(config path)`.

        The limits hold for the server and for each process that it forks.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        arguments = [sys.executable, "-m", "testbed.emulation.forkserver", module, str(theirs.fileno())]
        self._journal.process("fork server", arguments)
        with theirs, log.open("ab") as output:
            child = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment()},
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                preexec_fn=partial(_prepare, os.getpid(), limits),  # noqa: PLW1509 (one thread starts)
            )
        pidfd = os.pidfd_open(child.pid)
        process = self._watch(Process("fork server", child.pid, log, pidfd, limits.log_bytes, child=child))
        server = ForkServer(ours, process)
        self._servers.append(server)
        return server

    def fork(self, server: ForkServer, name: str, config: Path, *, log: Path, namespace: str = "") -> Process:
        """Start a process from a fork server. Raises RunError where the server died."""
        self._journal.process(name, [str(config)])
        pid = server.fork(config, log, namespace)
        try:
            return self._watch(Process(name, pid, log, os.pidfd_open(pid), server.process.log_bytes))
        except ProcessLookupError:
            raise Process(name, pid, log, -1, exit_code=server.exit_code(pid)).death() from None

    def deaths(self, timeout_s: float = 0.0) -> list[Process]:
        """Processes that ended since the last call and were not asked to, each with its exit code.

        To be called all along: this is also when logs are kept short.
        """
        if time.monotonic() >= self._next_log_check_s:
            for process in self._living.values():
                process.trim_log()
            self._next_log_check_s = time.monotonic() + _LOG_CHECK_S
        unseen, self._unseen = self._unseen, []
        return unseen + [p for p in self._reap(0 if unseen else timeout_s) if not p.ending]

    def stop(self, processes: Sequence[Process], grace_s: float = 2.0) -> list[Process]:
        """End these processes: asked first, killed after `grace_s`. Returns those that had to be killed."""
        waiting = [process for process in processes if process.pid in self._living]
        for process in waiting:
            process.ending = True
            self._signal(process, signal.SIGTERM)
        self._wait(waiting, grace_s)
        killed = [process for process in waiting if process.exit_code is None]
        for process in killed:
            self._signal(process, signal.SIGKILL)
            # What it has started may be as deaf. It is not reaped yet: the group's number is still its own.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        self._wait(killed, _KILLED_S)
        return killed

    def kill(self, process: Process) -> None:
        """Kill a process at once, which is no death then. One that has just died by itself is none either."""
        if process.pid not in self._living:
            return
        process.ending = True
        held = hold_open(process.pid)
        try:
            self._signal(process, signal.SIGKILL)
            self._wait([process], _KILLED_S)
        finally:
            close_together(held)

    def stop_all(self) -> None:
        """End every process of the run: within two seconds, whether they listen or not."""
        held = [
            descriptor
            for process in self._living.values()
            if process.child is not None
            for descriptor in hold_open(process.pid)
        ]
        try:
            servers = {server.process.pid for server in self._servers}
            # The servers last, as they tell how their children ended.
            self.stop([p for p in self._living.values() if p.pid not in servers], _LAST_GRACE_S)
            self.stop(list(self._living.values()), grace_s=0.2)
        finally:
            close_together(held)
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _environment(self) -> dict[str, str]:
        # NumPy's threads wait for work by looking for it all the time: that is time taken from the network.
        return {RUN_VARIABLE: self._journal.tag, "PYTHONUNBUFFERED": "1", "OPENBLAS_NUM_THREADS": "1"}

    def _watch(self, process: Process) -> Process:
        self._living[process.pid] = process
        self._by_descriptor[process.pidfd] = process
        self._poll.register(process.pidfd, select.POLLIN)
        return process

    def _wait(self, processes: Sequence[Process], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while any(process.exit_code is None for process in processes):
            left = deadline - time.monotonic()
            if left <= 0:
                return
            # Who dies meanwhile and was not asked to is told with the next deaths.
            self._unseen += [process for process in self._reap(min(left, 0.05)) if not process.ending]

    def _reap(self, timeout_s: float) -> list[Process]:
        ended = []
        # A fork server's death may end its children while one look at all of them is under way. In a second
        # look the server comes first, as it was registered before them: the cause before what follows.
        ready = self._poll.poll(timeout_s * 1000) and self._poll.poll(0)
        for descriptor, _ in ready:
            process = self._by_descriptor.pop(descriptor)
            process.exit_code = self._exit_code(process)
            self._poll.unregister(descriptor)
            os.close(descriptor)
            del self._living[process.pid]
            if process.expendable and not process.ending:
                self.lost.append(process)
            else:
                ended.append(process)
        return ended

    def _exit_code(self, process: Process) -> int:
        if process.child is not None:
            return process.child.wait()
        for server in self._servers:
            code = server.exit_code(process.pid)
            if code is not None:
                return code
        return -int(signal.SIGKILL)  # its fork server died first, and took it along

    def _signal(self, process: Process, number: signal.Signals) -> None:
        try:
            signal.pidfd_send_signal(process.pidfd, number)
        except (ProcessLookupError, OSError):
            return


class ForkServer:
    """Our end of a fork server: requests go out, ids and exit codes come back."""

    _ANSWER_S = 10.0

    def __init__(self, connection: socket.socket, process: Process) -> None:
        self.process = process
        self._connection = connection
        self._exit_codes: dict[int, int] = {}
        self._forked: list[int] = []

    def fork(self, config: Path, log: Path, namespace: str) -> int:
        """Fork one process; returns its id. Raises RunError where the server died or does not answer."""
        request = {"config": str(config), "log": str(log), "namespace": namespace}
        deadline = time.monotonic() + self._ANSWER_S
        try:
            self._connection.settimeout(self._ANSWER_S)
            self._connection.send(json.dumps(request).encode())
            while not self._forked:
                self._receive(deadline - time.monotonic())
        except TimeoutError:
            raise RunError("the fork server does not answer", tail=self.process.tail()) from None
        except OSError:
            raise self._death() from None
        return self._forked.pop()

    def exit_code(self, pid: int) -> int | None:
        """The exit code of a forked process that ended; None if this server knows of none."""
        try:
            while pid not in self._exit_codes:
                self._receive(1.0)
        except OSError:
            return None
        return self._exit_codes.pop(pid)

    def close(self) -> None:
        self._connection.close()

    def _receive(self, timeout_s: float) -> None:
        """Take one message. Raises TimeoutError where none came in time, OSError where the server is gone."""
        self._connection.settimeout(max(timeout_s, 0.001))
        data = self._connection.recv(65536)
        if not data:
            raise ConnectionResetError("the fork server closed its end")
        message = json.loads(data)
        if "forked" in message:
            self._forked.append(message["forked"])
        else:
            self._exit_codes[message["ended"]] = message["code"]

    def _death(self) -> RunError:
        """How the server ended, whose end of the connection is closed."""
        if self.process.child is not None:
            self.process.exit_code = self.process.child.wait()
        return self.process.death()
