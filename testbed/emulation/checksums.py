"""Turning checksum offload off: a userspace switch without it gets frames that must be whole already.

Names of network namespaces come in; their device computes its checksums itself afterwards. Done from here,
by a thread that enters each namespace, because a process for each of hundreds is slow.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from testbed.emulation.namespaces import enter_namespace
from testbed.errors import RunError

# linux/sockios.h, linux/ethtool.h
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17


def compute_checksums(namespaces: Iterable[str], device: str) -> None:
    """Turn checksum offload (and with it segmentation) off for `device` in each. Raises RunError."""
    # The thread ends with its pool, and no other work ever runs in the namespace that it entered last.
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(_turn_off, list(namespaces), device).result()


def _turn_off(namespaces: list[str], device: str) -> None:
    for namespace in namespaces:
        enter_namespace(namespace)
        value = array.array("B", struct.pack("II", _ETHTOOL_STXCSUM, 0))
        address, _ = value.buffer_info()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            try:
                fcntl.ioctl(asked, _SIOCETHTOOL, struct.pack("16sP", device.encode(), address))
            except OSError as error:
                what = f"checksum offload of {device} in {namespace} can't be turned off: {error}"
                raise RunError(what) from None
