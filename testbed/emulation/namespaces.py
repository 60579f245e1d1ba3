"""Inside named network namespaces: a process for good, a thread for some work, a device's counters."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from testbed.emulation.journal import NAMESPACES

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

Result = TypeVar("Result")


def enter_namespace(name: str) -> None:
    """Move the calling thread, or a process of one thread, into a named namespace. Raises OSError."""
    descriptor = os.open(NAMESPACES / name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), name)
    finally:
        os.close(descriptor)


def within(namespace: str, work: Callable[[], Result]) -> Result:
    """What `work` returns, done by a thread inside a namespace. Raises OSError, and what `work` raises."""
    returned: list[Result] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            enter_namespace(namespace)
            returned.append(work())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name=f"within {namespace}")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return returned[0]


class DeviceCounters:
    """What a device of another namespace has counted. It keeps the namespace until it is closed."""

    def __init__(self, namespace: str, device: str) -> None:
        """Raises OSError where there is no such namespace."""
        self._device = device.encode() + b":"
        # A file of /proc/net speaks of the namespace that it was opened in.
        self._file = within(
            namespace, lambda: os.open("/proc/thread-self/net/dev", os.O_RDONLY | os.O_CLOEXEC)
        )

    def dropped_sending(self) -> int:
        """Packets that could not leave by the device; 0 where it is not there."""
        for line in os.pread(self._file, 2**16, 0).splitlines():
            name, *values = line.split()
            if name == self._device:
                return int(values[11])
        return 0

    def close(self) -> None:
        os.close(self._file)
