"""The delay line as a program: `python -m testbed.emulation.delay.process CONFIG`.

The configuration (JSON) names the hosts' namespaces, a socket, a file of counters and one of delays. Asked
over the socket it makes a TAP in each namespace, which its host sends through, and a packet socket on the
device that leads to the switch; then it relays frames from the one to the other until it is killed.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import select
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from testbed.emulation.delay.kernel import CONTROL, COUNTERS, FAILED, VNET_HEADER_BYTES, relay
from testbed.emulation.delay.table import DelayTable
from testbed.emulation.namespaces import enter_namespace

# linux/if_tun.h, linux/if_packet.h, linux/socket.h
TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6, TUN_F_TSO_ECN = 1, 2, 4, 8
SOL_PACKET, PACKET_VNET_HDR, SO_SNDBUFFORCE = 263, 15, 32

FRAME_SLOT_BYTES = 2048
SEGMENT_SLOT_BYTES = 68 * 1024
"""Room for one frame; with offload, a frame may be a segment of up to 64 KiB."""

MEMORY_BYTES = 256 * 2**20
"""The most that waiting frames may take; only what is used is ever touched."""

_SEND_BYTES = 8 * 2**20
_PRIORITY = 10
_PR_SET_TIMERSLACK = 29
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Port:
    """A host's two descriptors: frames come from `tap` and go to `uplink`."""

    tap: int
    uplink: int


def open_port(tap: str, uplink: str, offload: bool) -> Port:
    """Make the TAP `tap` in the present namespace, and bind to its device `uplink`. Raises OSError."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    request = struct.pack("16sH22x", tap.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
    fcntl.ioctl(descriptor, TUNSETIFF, request)
    fcntl.ioctl(descriptor, TUNSETVNETHDRSZ, struct.pack("i", VNET_HEADER_BYTES))
    flags = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN if offload else 0
    fcntl.ioctl(descriptor, TUNSETOFFLOAD, flags)
    # Protocol 0: it only sends.
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    packets.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    packets.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, _SEND_BYTES)
    packets.bind((uplink, 0))
    return Port(descriptor, packets.detach())


class _Line:
    """All that the loop works on, and the socket that speaks to it."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.counters: NDArray[np.int64] = np.memmap(config["counters"], np.int64, "r+", shape=(COUNTERS,))
        slot_bytes = SEGMENT_SLOT_BYTES if config["offload"] else FRAME_SLOT_BYTES
        capacity = MEMORY_BYTES // slot_bytes
        self.frames = np.empty((capacity, slot_bytes), np.uint8)
        self.lengths = np.zeros(capacity, np.int64)
        self.senders = np.zeros(capacity, np.int32)
        self.due = np.zeros(capacity, np.int64)
        self.order = np.zeros(capacity, np.int64)
        self.slots = np.arange(capacity, dtype=np.int32)
        self.state = np.zeros(2, np.int64)
        self.taps: NDArray[np.int32] = np.zeros(0, np.int32)
        self.uplinks: NDArray[np.int32] = np.zeros(0, np.int32)
        self.epoll = select.epoll()
        self.numbers: NDArray[np.int32] = np.zeros(0, np.int32)
        self.load_table()

    def load_table(self) -> None:
        self.table = tuple(vars(DelayTable.load(Path(self.config["table"]))).values())

    def open_ports(self) -> None:
        ports = []
        for host in self.config["hosts"]:
            enter_namespace(host["namespace"])
            ports.append(open_port(host["tap"], host["uplink"], self.config["offload"]))
        self.taps = np.array([port.tap for port in ports], np.int32)
        self.uplinks = np.array([port.uplink for port in ports], np.int32)
        for number, port in enumerate(ports):
            self.watch(port.tap, number)

    def watch(self, descriptor: int, number: int) -> None:
        """Wake up for it, and know it by `number`: a host's, or CONTROL."""
        missing = descriptor + 1 - self.numbers.size
        self.numbers = np.append(self.numbers, np.full(max(0, missing), CONTROL, np.int32))
        self.numbers[descriptor] = number
        self.epoll.register(descriptor, select.EPOLLIN)

    def relay(self) -> int:
        """Relay until there is a request (CONTROL) or the TAP of a host is gone (its number).

        Raises OSError where the kernel does not let it wait for frames.
        """
        while (reason := self._relay()) == FAILED:
            self._raise_if_it_cannot_wait()
        return reason

    def _raise_if_it_cannot_wait(self) -> None:
        event = (ctypes.c_char * 16)()
        if _libc.epoll_pwait2(self.epoll.fileno(), event, 1, (ctypes.c_long * 2)(0, 0), None) < 0:
            code = ctypes.get_errno()
            if code != errno.EINTR:
                raise OSError(code, os.strerror(code), "epoll_pwait2, which Linux 5.11 brought")

    def _relay(self) -> int:
        return int(
            relay(
                self.epoll.fileno(),
                self.numbers,
                self.taps,
                self.uplinks,
                self.table,
                self.frames,
                self.lengths,
                self.senders,
                self.due,
                self.order,
                self.slots,
                self.state,
                self.counters,
            )
        )


def be_punctual() -> None:
    """Wake up at the nanosecond that was asked for, and before all that is not urgent."""
    _libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    except OSError as error:
        print(f"no real-time priority, delays suffer when cores are busy: {error}", file=sys.stderr)


def main() -> int:
    config = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    line = _Line(config)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    control.bind(config["socket"])
    line.watch(control.fileno(), CONTROL)
    # Compiled or read from its cache before anything waits for it: the socket is spoken to at once.
    while True:
        broken = line.relay()
        if broken != CONTROL:
            print(f"the TAP device of {config['hosts'][broken]['namespace']} is gone", file=sys.stderr)
            return 1
        command, sender = control.recvfrom(4096)
        if command == b"open":
            line.open_ports()
            be_punctual()
        elif command == b"table":
            line.load_table()
        with suppress(OSError):  # who asked may have gone
            control.sendto(b"done", sender)


if __name__ == "__main__":
    sys.exit(main())
