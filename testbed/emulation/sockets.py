"""Buffers of another process's packet sockets, made large enough that only links lose packets.

A userspace Open vSwitch sends all packets of all ports through one socket, and what waits in the queues of
shaped links stays charged to it. With the kernel's default of 208 KiB a few full queues use that up, and the
switch then loses packets of links that are idle. Open vSwitch has no setting for it, so the socket is
borrowed (pidfd_getfd) and enlarged from here.
"""

from __future__ import annotations

import ctypes
import os
import socket
from pathlib import Path

from testbed.errors import RunError

_PIDFD_GETFD = 438  # the same number on every architecture: pidfd_getfd(2), Linux 5.6
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_libc = ctypes.CDLL(None, use_errno=True)


def enlarge_packet_buffers(pid: int, send_bytes: int, receive_bytes: int) -> int:
    """Set the buffers of all packet sockets of process `pid`; returns how many it has.

    Raises RunError where the kernel refuses, for example without root.
    """
    pidfd = os.pidfd_open(pid)
    try:
        return sum(
            _enlarge(pidfd, int(link.name), send_bytes, receive_bytes)
            for link in Path(f"/proc/{pid}/fd").iterdir()
            if os.readlink(link).startswith("socket:")
        )
    finally:
        os.close(pidfd)


def _enlarge(pidfd: int, descriptor: int, send_bytes: int, receive_bytes: int) -> bool:
    borrowed = _libc.syscall(_PIDFD_GETFD, pidfd, descriptor, 0)
    if borrowed < 0:
        raise RunError(f"a switch's socket can't be borrowed: {os.strerror(ctypes.get_errno())}")
    with socket.socket(fileno=borrowed) as shared:
        if shared.family != socket.AF_PACKET:
            return False
        shared.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, send_bytes)
        shared.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, receive_bytes)
    return True
