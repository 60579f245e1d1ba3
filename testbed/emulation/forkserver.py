"""A process that imports a module once and forks programs that use it.

Importing a BitTorrent library costs a quarter of a second of processor time; a fork costs a few milliseconds
and shares its memory. Requests come as JSON over a socket: configuration, log, namespace; the answers are the
new process's id and, when it ends, its exit code.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from testbed.emulation.namespaces import enter_namespace
from testbed.emulation.processes import die_with

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main() -> int:
    module, descriptor = sys.argv[1], int(sys.argv[2])
    run: Callable[[Path], int] = importlib.import_module(module).run
    # What was imported is never freed: keep the collector from writing to those pages, which would copy them.
    gc.collect()
    gc.freeze()
    connection = socket.socket(fileno=descriptor)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(connection, wake_read, run)
    return 0


def serve(connection: socket.socket, wake: int, run: Callable[[Path], int]) -> None:
    """Answer requests until the other end closes."""
    server = os.getpid()
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    poll.register(wake, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == wake:
                os.read(wake, 4096)
                _report_ended(connection)
                continue
            data = connection.recv(65536)
            if not data:
                return
            request = json.loads(data)
            # Python forgets a signal that comes between the fork and the child's own handling of it.
            signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
            pid = os.fork()
            if pid == 0:
                _become(request, connection, server, run)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
            _send(connection, {"forked": pid})


def _report_ended(connection: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _send(connection, {"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _send(connection: socket.socket, message: dict[str, int]) -> None:
    try:
        connection.send(json.dumps(message).encode())
    except OSError:
        return  # nobody is there to know; the poll loop ends next


def _become(
    request: dict[str, str], connection: socket.socket, server: int, run: Callable[[Path], int]
) -> NoReturn:
    """The child's life: its own session, log and namespace, then the program."""
    code = 1
    try:
        die_with(server)
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, *_STOP_SIGNALS):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
        connection.close()
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if request["namespace"]:
            enter_namespace(request["namespace"])
        code = run(Path(request["config"]))
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
