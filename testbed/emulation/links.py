"""A link direction as `tc` commands: its rate by HTB, its delay by netem where the kernel has it. Pure.

What goes in is a `Direction`; what comes out is lines for `tc -batch`, and the check that compares what the
kernel says afterwards with what was asked for. Rates count whole Ethernet frames, as HTB and switches do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from testbed.topology.model import Direction, Network

FRAME_BYTES = 1514
"""A full Ethernet frame without its checksum: 1500 bytes of IP and 14 of header."""

QUEUE_S = 0.1
"""How long a full queue takes to drain: one bandwidth-delay product at a round trip of 100 ms."""

LEAST_QUEUE_FRAMES = 10
_BURST_S = 0.002
_SLOWEST_GSO_BPS = 100_000_000
_RATE = re.compile(r"class htb \S+ root .*? rate ([0-9.]+)([KMG]?)bit")
_SUFFIXES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True)
class Shaping:
    """What the qdiscs of one link direction are set to."""

    rate_bps: int
    delay_s: float
    queue_frames: int
    burst_bytes: int


def shaping(direction: Direction, emulate_delay: bool) -> Shaping:
    """The settings for a direction. The burst is 2 ms of the rate and at least two frames."""
    delay_s = direction.delay_s if emulate_delay else 0.0
    frames_per_s = direction.rate_bps / 8 / FRAME_BYTES
    return Shaping(
        rate_bps=direction.rate_bps,
        delay_s=delay_s,
        queue_frames=max(LEAST_QUEUE_FRAMES, round(QUEUE_S * frames_per_s)),
        burst_bytes=max(2 * FRAME_BYTES, round(direction.rate_bps * _BURST_S / 8)),
    )


def tc_lines(device: str, wanted: Shaping) -> tuple[str, ...]:
    """Lines for `tc -batch` that shape what leaves `device`."""
    rate = f"{wanted.rate_bps}bit"
    return (
        f"qdisc add dev {device} root handle 1: htb default 1",
        f"class add dev {device} parent 1: classid 1:1 htb rate {rate} ceil {rate}"
        f" burst {wanted.burst_bytes} cburst {wanted.burst_bytes} quantum {FRAME_BYTES}",
        f"qdisc add dev {device} parent 1:1 handle 10: {_leaf(wanted)}",
    )


def _leaf(wanted: Shaping) -> str:
    if wanted.delay_s == 0:
        return f"pfifo limit {wanted.queue_frames}"
    # netem holds both the queue and what is on the wire; its default of 1000 packets would drop silently.
    on_the_wire = round(wanted.delay_s * wanted.rate_bps / 8 / FRAME_BYTES) + 1
    return f"netem delay {wanted.delay_s * 1e6:.0f}us limit {wanted.queue_frames + on_the_wire}"


def needs_offload(network: Network) -> bool:
    """Whether a host sends so fast that segments must cross the switches in one piece to keep up.

    In a userspace Open vSwitch segment offload costs a 64 KiB buffer for every frame: a fifth of its time at
    the rates of access lines. Where only slow hosts send, it is off, and so is checksum offload with it.
    """
    return any(
        gso_segments(network.link_by_id[host.link].direction(host.id).rate_bps) > 1 for host in network.hosts
    )


def gso_segments(rate_bps: int) -> int:
    """How many TCP segments a host may hand down as one: 1 below 100 Mbit/s, so that queues count frames.

    Beyond, about a millisecond's worth, because splitting costs processor time there.
    """
    if rate_bps < _SLOWEST_GSO_BPS:
        return 1
    return max(1, min(40, round(rate_bps * 0.001 / 8 / FRAME_BYTES)))


def rates_in(classes: str) -> list[int]:
    """The rates (bit/s) in what `tc class show` prints, in its order; tc has no JSON for classes."""
    return [round(float(number) * _SUFFIXES[suffix]) for number, suffix in _RATE.findall(classes)]


def mismatches(device: str, wanted: Shaping, rate_bps: int, qdiscs: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the kernel has set on `device` that is not as `wanted`, in words with both values.

    `rate_bps` is the rate of its class as read back, `qdiscs` the answer of `tc -j qdisc show` for it.
    """
    found = []
    # The kernel keeps bytes a second, and tc cuts what it prints to at least four digits.
    if not 0 <= wanted.rate_bps - rate_bps < max(8, wanted.rate_bps // 1000):
        found.append(f"{device}: rate is {rate_bps} bit/s, wanted {wanted.rate_bps}")
    leaves = [item for item in qdiscs if item.get("handle") == "10:"]
    if len(leaves) != 1:
        return [*found, f"{device}: {len(leaves)} leaf qdiscs, wanted 1"]
    options = leaves[0].get("options", {})
    if wanted.delay_s:
        delay = options.get("delay", {}).get("delay", 0.0)
        # The kernel reports ticks of 64 ns, and tc cuts them to whole microseconds.
        if abs(delay - wanted.delay_s) > 2e-6:
            found.append(f"{device}: delay is {delay} s, wanted {wanted.delay_s}")
    elif options.get("limit") != wanted.queue_frames:
        found.append(f"{device}: queue is {options.get('limit')} frames, wanted {wanted.queue_frames}")
    return found
