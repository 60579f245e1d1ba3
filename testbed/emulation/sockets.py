"""Another process's packet sockets and TAP devices, borrowed (pidfd_getfd): to enlarge, or to close fast.

A userspace Open vSwitch sends all packets of all ports through one socket, and what waits in the queues of
shaped links stays charged to it. With the kernel's default of 208 KiB a few full queues use that up, and the
switch then loses packets of links that are idle. Open vSwitch has no setting for it, so it is set from here.

The kernel closes a packet socket or a TAP device only after a grace period of RCU, some 10 ms, and a process
that ends closes its own one after the other: seconds for a network of hundreds of links. Whoever holds copies
lets it end at once, and closes the copies side by side, so that they share the grace periods.
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from testbed.errors import RunError

_PIDFD_GETFD = 438  # the same number on every architecture: pidfd_getfd(2), Linux 5.6
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_TAP = "/dev/net/tun"
_CLOSERS = 64
_libc = ctypes.CDLL(None, use_errno=True)


def enlarge_packet_buffers(pid: int, send_bytes: int, receive_bytes: int) -> int:
    """Set the buffers of all packet sockets of process `pid`; returns how many it has.

    Raises RunError where the kernel refuses, for example without root.
    """
    count = 0
    try:
        for descriptor in _borrow(pid, taps=False):
            with socket.socket(fileno=descriptor) as shared:
                shared.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, send_bytes)
                shared.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, receive_bytes)
            count += 1
    except OSError as error:
        raise RunError(f"a switch's socket can't be borrowed: {error}") from None
    return count


def hold_open(pid: int) -> list[int]:
    """Copies of all packet sockets and TAP devices of process `pid`: those that the kernel lets us have."""
    held: list[int] = []
    # Without them the process ends as well, only slower.
    with suppress(OSError):
        held.extend(_borrow(pid, taps=True))
    return held


def close_together(descriptors: Sequence[int]) -> None:
    """Close them side by side."""
    with ThreadPoolExecutor(max_workers=_CLOSERS) as pool:
        list(pool.map(os.close, descriptors))


def _borrow(pid: int, *, taps: bool) -> Iterator[int]:
    """Copies of the packet sockets of a process, and of its TAP devices. Raises OSError."""
    pidfd = os.pidfd_open(pid)
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(link)
            if not (target.startswith("socket:") or (taps and target == _TAP)):
                continue
            descriptor = _libc.syscall(_PIDFD_GETFD, pidfd, int(link.name), 0)
            if descriptor < 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), target)
            if target == _TAP or _is_packet_socket(descriptor):
                yield descriptor
            else:
                os.close(descriptor)
    finally:
        os.close(pidfd)


def _is_packet_socket(descriptor: int) -> bool:
    shared = socket.socket(fileno=descriptor)
    family = shared.family
    shared.detach()
    return family == socket.AF_PACKET
