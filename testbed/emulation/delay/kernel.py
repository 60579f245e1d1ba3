"""The loop of the delay line: read a frame, hold it for the time of its path, write it. Compiled by numba.

Descriptors of TAP devices and packet sockets come in with a delay table; frames go out, and counters into an
array that others see. The loop leaves Python behind: a frame costs two system calls and no object. Frames
wait in slots of one large array, and a heap holds their slots by the moment at which they are due.
"""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from testbed.compiled import njit
from testbed.emulation.delay.table import ARRIVES

VNET_HEADER_BYTES = 10
"""In front of each frame, in reading and writing: struct virtio_net_hdr, which says what is offloaded."""

FRAMES, LOST_FULL, LOST_SENDING = range(3)
LATE = 3
"""From here on, frames by how late they left: below 1, 2, 4, ... microseconds, the last without bound."""
LATE_CLASSES = 24
COUNTERS = LATE + LATE_CLASSES

CONTROL, FAILED = -1, -2
"""What is no host's number: the control socket's, and that of a kernel that did not wait for frames."""

_MONOTONIC = 1
_READS_IN_A_ROW = 64
_ROUND_NS = 250_000
"""Under load the loop goes round this often and no more: waking up costs more than moving a frame."""
_WINDOW_NS, _BUSY_FRAMES = 10_000_000, 20
"""So many frames in such a time are load. Fewer are worth a wake-up each, and are the more exact for it."""
_EVENTS = 256
# struct epoll_event is packed on x86-64, and nowhere else.
_EVENT_BYTES, _EVENT_DATA = (12, 4) if platform.machine() in ("x86_64", "AMD64") else (16, 8)
_EPOLLERR_OR_HUP = 0x008 | 0x010

_read = types.ExternalFunction("read", types.intp(types.int32, types.intp, types.intp))
_write = types.ExternalFunction("write", types.intp(types.int32, types.intp, types.intp))
_clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.intp))
_nanosleep = types.ExternalFunction("nanosleep", types.int32(types.intp, types.intp))
_epoll_pwait2 = types.ExternalFunction(
    "epoll_pwait2", types.int32(types.int32, types.intp, types.int32, types.intp, types.intp)
)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _now_ns(clock: NDArray[np.int64]) -> int:
    _clock_gettime(_MONOTONIC, clock.ctypes.data)
    return int(clock[0] * 1_000_000_000 + clock[1])


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def delay_of(
    frame: NDArray[np.uint8],
    host: int,
    host_pop: NDArray[np.int64],
    up_ns: NDArray[np.int64],
    back_ns: NDArray[np.int64],
    addresses: NDArray[np.int64],
    target_pop: NDArray[np.int64],
    down_ns: NDArray[np.int64],
    is_gateway: NDArray[np.bool_],
    between_ns: NDArray[np.int64],
) -> int:
    """The delay in ns of an Ethernet frame (bytes) that `host` sends; the columns of a `DelayTable`.

    Negative where forwarding alone takes longer. What is no IPv4, or for an address that the table does not
    know, takes the host's own access link's.
    """
    if frame[12] != 0x08 or frame[13] != 0x00:
        return int(up_ns[host])
    address = np.int64(0)
    for byte in frame[30:34]:
        address = address << 8 | np.int64(byte)
    place = np.searchsorted(addresses, address)
    if place == addresses.size or addresses[place] != address:
        return int(up_ns[host])
    source, target = host_pop[host], target_pop[place]
    ttl = int(frame[22])
    if ttl < between_ns.shape[2]:
        there_and_back = between_ns[source, target, max(1, ttl)]
        if there_and_back != ARRIVES:
            return int(up_ns[host] + there_and_back + back_ns[host])
    delay = up_ns[host] + between_ns[source, target, 0] + down_ns[place]
    if is_gateway[place]:
        delay += between_ns[target, source, 0] + back_ns[host]
    return int(delay)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def push(due: NDArray[np.int64], order: NDArray[np.int64], slots: NDArray[np.int32], size: int) -> None:
    """Sift the last of `size` heap entries up to its place; earlier `due` first, then lower `order`."""
    child = size - 1
    while child > 0:
        parent = (child - 1) // 2
        if not _before(due, order, child, parent):
            return
        _swap(due, order, slots, child, parent)
        child = parent


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def pop(due: NDArray[np.int64], order: NDArray[np.int64], slots: NDArray[np.int32], size: int) -> None:
    """Take the first of `size` heap entries away; it lies behind the others afterwards."""
    _swap(due, order, slots, 0, size - 1)
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= size - 1:
            return
        if child + 1 < size - 1 and _before(due, order, child + 1, child):
            child += 1
        if not _before(due, order, child, parent):
            return
        _swap(due, order, slots, child, parent)
        parent = child


@njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _before(due: NDArray[np.int64], order: NDArray[np.int64], a: int, b: int) -> bool:
    return bool(due[a] < due[b] or (due[a] == due[b] and order[a] < order[b]))


@njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _swap(due: NDArray[np.int64], order: NDArray[np.int64], slots: NDArray[np.int32], a: int, b: int) -> None:
    due[a], due[b] = due[b], due[a]
    order[a], order[b] = order[b], order[a]
    slots[a], slots[b] = slots[b], slots[a]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def relay(
    epoll: int,
    numbers: NDArray[np.int32],
    taps: NDArray[np.int32],
    uplinks: NDArray[np.int32],
    table: tuple[Any, ...],
    frames: NDArray[np.uint8],
    lengths: NDArray[np.int64],
    senders: NDArray[np.int32],
    due: NDArray[np.int64],
    order: NDArray[np.int64],
    slots: NDArray[np.int32],
    state: NDArray[np.int64],
    counters: NDArray[np.int64],
) -> int:
    """Relay frames until the control socket has something to say (CONTROL) or a TAP is gone (its host).

    FAILED where waiting was refused or interrupted by a signal: calling again goes on.
    `numbers` says which host's TAP a descriptor is, or CONTROL. `frames` is (slots, bytes); the first
    `state[0]` entries of the heap (`due`, `order`, `slots`) hold frames, the `slots` behind them are free.
    `state[1]` numbers frames. All of it lives on between calls.
    """
    capacity, slot_bytes = frames.shape
    base = frames.ctypes.data
    events = np.zeros(_EVENTS * _EVENT_BYTES, np.uint8)
    clock, pause = np.zeros(2, np.int64), np.zeros(2, np.int64)
    scratch = np.empty(slot_bytes, np.uint8)
    begun = window_ns = _now_ns(clock)
    window_frames, busy = state[1], False
    while True:
        now = _now_ns(clock)
        if now - window_ns > _WINDOW_NS:
            came = state[1] - window_frames
            busy = came * _WINDOW_NS >= _BUSY_FRAMES * (now - window_ns)
            window_ns, window_frames = now, state[1]
        if busy and begun + _ROUND_NS > now:
            pause[0], pause[1] = 0, begun + _ROUND_NS - now
            _nanosleep(pause.ctypes.data, 0)
            now = _now_ns(clock)
        # What comes or is due within a round waits for its end: half a round in the mean, each of both.
        early = _ROUND_NS // 2 if busy else 0
        begun = now
        while state[0] > 0 and due[0] - early <= now:
            _send(uplinks, base, slot_bytes, lengths, senders, due, order, slots, state, counters, now)
            now = _now_ns(clock)
        wait = 0
        if state[0] > 0:
            left = max(0, due[0] - now)
            pause[0], pause[1] = left // 1_000_000_000, left % 1_000_000_000
            wait = pause.ctypes.data
        ready = _epoll_pwait2(epoll, events.ctypes.data, _EVENTS, wait, 0)
        if ready < 0:
            return FAILED
        for number in range(ready):
            event = events[number * _EVENT_BYTES : (number + 1) * _EVENT_BYTES]
            flags = event[:4].view(np.uint32)[0]
            host = int(numbers[event[_EVENT_DATA : _EVENT_DATA + 4].view(np.int32)[0]])
            if host == CONTROL:
                return CONTROL
            if flags & _EPOLLERR_OR_HUP:
                return host
            for _ in range(_READS_IN_A_ROW):
                size = state[0]
                if size == capacity:
                    if _read(taps[host], scratch.ctypes.data, slot_bytes) <= 0:
                        break
                    counters[LOST_FULL] += 1
                    continue
                slot = slots[size]
                length = _read(taps[host], base + np.intp(slot) * slot_bytes, slot_bytes)
                if length <= 0:
                    break
                counters[FRAMES] += 1
                lengths[slot], senders[slot] = length, host
                delay = delay_of(frames[slot, VNET_HEADER_BYTES:], host, *table)
                due[size] = _now_ns(clock) + max(0, delay - early)
                order[size] = state[1]
                state[0], state[1] = size + 1, state[1] + 1
                push(due, order, slots, size + 1)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _send(
    uplinks: NDArray[np.int32],
    base: int,
    slot_bytes: int,
    lengths: NDArray[np.int64],
    senders: NDArray[np.int32],
    due: NDArray[np.int64],
    order: NDArray[np.int64],
    slots: NDArray[np.int32],
    state: NDArray[np.int64],
    counters: NDArray[np.int64],
    now: int,
) -> None:
    slot = slots[0]
    late_us = (now - due[0]) // 1000
    late_class = 0
    while late_us > 0 and late_class < LATE_CLASSES - 1:
        late_us >>= 1
        late_class += 1
    counters[LATE + late_class] += 1
    if _write(uplinks[senders[slot]], base + np.intp(slot) * slot_bytes, lengths[slot]) < 0:
        counters[LOST_SENDING] += 1
    pop(due, order, slots, state[0])
    state[0] -= 1
