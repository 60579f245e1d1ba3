"""A link direction as `tc` commands: rate by HTB, queue, loss, delay by netem where the kernel has it. Pure.

What goes in is a `Direction`; what comes out is lines for `tc -batch`, the lines that change it in place, and
the check that compares what the kernel says afterwards with what was asked for. Rates count whole Ethernet
frames, as HTB and switches do.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.spec.units import FRAME_BYTES, LONGEST_QUEUE
from testbed.topology.model import Direction, Network

QUEUE_S = 0.1
"""How long a full queue of the default length takes to drain: one bandwidth-delay product at 100 ms."""

SLOWEST_BPS, FASTEST_BPS = 1000, 10**12
LONGEST_DELAY_S = 60.0
LEAST_QUEUE_FRAMES = 10
_MOST_IN_TRANSIT = 2**31 - 1
_SHORTEST_FRAME_BYTES = 60
_BURST_S = 0.002
_SLOWEST_GSO_BPS = 100_000_000
_RATE = re.compile(r"class htb 1:1 root .*? rate ([0-9.]+)([KMGT]?)bit")
_SUFFIXES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True)
class Shaping:
    """What the qdiscs of one link direction are set to. The queue is in bytes, or else in packets."""

    rate_bps: int
    delay_s: float
    loss: float
    queue_bytes: int | None
    queue_packets: int | None
    burst_bytes: int

    @property
    def in_transit(self) -> int:
        """How many frames can be on the wire at once: the bandwidth-delay product in shortest frames."""
        return 1000 + round(self.delay_s * self.rate_bps / 8 / _SHORTEST_FRAME_BYTES)

    @property
    def loss_threshold(self) -> int:
        """Of a random number of 32 bits: a packet with a lower one is lost."""
        return min(2**32 - 1, round(self.loss * 2**32))


def shaping(direction: Direction, emulate_delay: bool) -> Shaping:
    """The settings for a direction. The burst is 2 ms of the rate, at least two frames."""
    queue_bytes = direction.queue_bytes
    if queue_bytes is None and direction.queue_packets is None:
        usual = max(LEAST_QUEUE_FRAMES * FRAME_BYTES, round(QUEUE_S * direction.rate_bps / 8))
        queue_bytes = min(usual, LONGEST_QUEUE)
    return Shaping(
        rate_bps=direction.rate_bps,
        delay_s=direction.delay_s if emulate_delay else 0.0,
        loss=direction.loss,
        queue_bytes=queue_bytes,
        queue_packets=direction.queue_packets,
        burst_bytes=min(max(2 * FRAME_BYTES, round(direction.rate_bps * _BURST_S / 8)), LONGEST_QUEUE),
    )


def tc_lines(device: str, wanted: Shaping) -> tuple[str, ...]:
    """Lines for `tc -batch` that give what leaves `device` its rate, queue and loss."""
    lines = (
        f"qdisc add dev {device} root handle 1: htb default 1",
        f"class add dev {device} {_rate_class(wanted)}",
        f"qdisc add dev {device} {_queue(wanted)}",
    )
    return lines + _loss_from_none(device, wanted) if wanted.loss else lines


def wire_lines(device: str, other: str, wanted: Shaping) -> tuple[str, ...]:
    """Lines that make `device` the end of a wire: what enters leaves by `other`, what leaves is delayed.

    netem has this device to itself: where it shares one with HTB, each disturbs the other's timing.
    """
    return (
        f"qdisc add dev {device} root handle 1: {_netem(wanted)}",
        *_passing_on(device, f"egress redirect dev {other}"),
    )


def receive_lines(device: str, other: str) -> tuple[str, ...]:
    """Lines that make what enters by `device` enter by `other`, as if it had never been elsewhere.

    Programs that bind to the device of their address then hear the answers to what they send through it.
    """
    return _passing_on(device, f"ingress redirect dev {other}")


def refusal(now: Direction, wanted: Direction) -> str:
    """Why a link direction can't change so under traffic; nothing where it can."""
    if not SLOWEST_BPS <= wanted.rate_bps <= FASTEST_BPS:
        return f"a rate of {wanted.rate_bps} bit/s is not between {SLOWEST_BPS} and {FASTEST_BPS}"
    if not 0 <= wanted.delay_s < LONGEST_DELAY_S:
        return f"a delay of {wanted.delay_s} s is not between 0 and {LONGEST_DELAY_S}"
    if not 0 <= wanted.loss < 1:
        return f"a loss of {wanted.loss} is not between 0 and 1"
    if shaping(wanted, emulate_delay=True).in_transit > _MOST_IN_TRANSIT:
        return f"{wanted.delay_s} s at {wanted.rate_bps} bit/s are more packets than a wire holds"
    if (now.queue_packets is None) != (wanted.queue_packets is None):
        return "its queue can't change between bytes and packets under traffic"
    for length in (wanted.queue_bytes, wanted.queue_packets):
        if length is not None and not 1 <= length <= LONGEST_QUEUE:
            return f"a queue of {length} is not between 1 and {LONGEST_QUEUE}"
    return ""


def change_lines(device: str, before: Shaping, wanted: Shaping) -> tuple[str, ...]:
    """Lines that change rate, queue and loss of a device in place: what waits in its queue stays.

    They can be undone by those of the opposite change, even where only some of them were done.
    """
    lines: tuple[str, ...] = ()
    if (before.rate_bps, before.burst_bytes) != (wanted.rate_bps, wanted.burst_bytes):
        lines += (f"class change dev {device} {_rate_class(wanted)}",)
    if (before.queue_bytes, before.queue_packets) != (wanted.queue_bytes, wanted.queue_packets):
        lines += (f"qdisc change dev {device} {_queue(wanted)}",)
    if before.loss != wanted.loss:
        changed = (f"filter replace dev {device} {_loss_filter(wanted)}",)
        lines += changed if before.loss else _loss_from_none(device, wanted)
    return lines


def wire_change_lines(device: str, wanted: Shaping) -> tuple[str, ...]:
    """Lines that change the delay at the end of a wire; what is on its way already keeps the old one."""
    return (f"qdisc change dev {device} root handle 1: {_netem(wanted)}",)


def _passing_on(device: str, where: str) -> tuple[str, ...]:
    return (
        f"qdisc add dev {device} handle ffff: ingress",
        f"filter add dev {device} parent ffff: protocol all u32 match u32 0 0 action mirred {where}",
    )


def _rate_class(wanted: Shaping) -> str:
    rate = f"{wanted.rate_bps}bit"
    return (
        f"parent 1: classid 1:1 htb rate {rate} ceil {rate}"
        f" burst {wanted.burst_bytes} cburst {wanted.burst_bytes} quantum {FRAME_BYTES}"
    )


def _queue(wanted: Shaping) -> str:
    if wanted.queue_packets is not None:
        return f"parent 1:1 handle 10: pfifo limit {wanted.queue_packets}"
    return f"parent 1:1 handle 10: bfifo limit {wanted.queue_bytes}"


def _loss_from_none(device: str, wanted: Shaping) -> tuple[str, ...]:
    """A class that swallows what it gets, and the filter that picks packets for it.

    Unlike netem's this loss is there on every kernel; and who sends is not told, as with a real wire. A loss
    that has gone leaves them behind, for the next one to replace.
    """
    rate = f"{wanted.rate_bps}bit"
    return (
        f"class replace dev {device} parent 1: classid 1:2 htb rate {rate} quantum {FRAME_BYTES}",
        f"qdisc replace dev {device} parent 1:2 handle 20: blackhole",
        f"filter replace dev {device} {_loss_filter(wanted)}",
    )


def _loss_filter(wanted: Shaping) -> str:
    # Classic BPF: load a random number; from the threshold on match nothing, below it match class 1:2.
    program = f"4,32 0 0 4294963256,53 1 0 {wanted.loss_threshold},6 0 0 65538,6 0 0 0"
    return f"parent 1: protocol all prio 1 handle 1 bpf bytecode '{program}'"


def _netem(wanted: Shaping) -> str:
    # netem's default limit of 1000 packets would drop silently.
    return f"netem delay {wanted.delay_s * 1e6:.0f}us limit {wanted.in_transit}"


def needs_offload(network: Network) -> bool:
    """Whether a host sends so fast that segments must cross the switches in one piece to keep up.

    In a userspace Open vSwitch segment offload costs a 64 KiB buffer for every frame: a fifth of its time at
    the rates of access lines. Where only slow hosts send, it is off, and so is checksum offload with it.
    """
    return any(
        gso_segments(network.link_by_id[host.link].direction(host.id).rate_bps) > 1 for host in network.hosts
    )


def gso_segments(rate_bps: int) -> int:
    """How many TCP segments a host may hand down as one: 1 below 100 Mbit/s, so that each frame is shaped.

    Beyond, about a millisecond's worth, because splitting costs processor time there.
    """
    if rate_bps < _SLOWEST_GSO_BPS:
        return 1
    return max(1, min(40, round(rate_bps * 0.001 / 8 / FRAME_BYTES)))


@dataclass(frozen=True)
class ReadBack:
    """What the kernel has set in a namespace. `rates_bps` and `losses` are in the order of the questions."""

    rates_bps: tuple[int, ...]
    losses: tuple[float, ...]
    qdiscs: Mapping[str, Sequence[Mapping[str, Any]]]
    """Device -> its qdiscs, as `tc -j` shows them."""


def questions(shaped: Collection[str], only: Collection[str] = ()) -> tuple[str, ...]:
    """Lines for `tc -j -batch` whose answers `read_back` reads: what `shaped` devices have, and all qdiscs.

    With `only`, the qdiscs of those devices.
    """
    return (
        *(f"class show dev {device}" for device in shaped),
        *(f"filter show dev {device}" for device in shaped),
        *([f"qdisc show dev {device}" for device in only] or ["qdisc show"]),
    )


def read_back(answers: str, shaped: Collection[str], only: Collection[str] = ()) -> ReadBack:
    """What `tc -j -batch` printed last, for `questions` on the same devices.

    That is a line of JSON each, but for classes, which are text before tc 6.2.
    """
    texts = [line for line in answers.splitlines() if not line.startswith("[")]
    lists = [json.loads(line) for line in answers.splitlines() if line.startswith("[")]
    rates = [round(float(number) * _SUFFIXES[unit]) for line in texts for number, unit in _RATE.findall(line)]
    rates += [
        8 * int(item["rate"])
        for items in lists
        for item in items
        if item.get("class") == "htb" and item["handle"] == "1:1"
    ]
    last = len(lists) - (len(only) or 1)
    qdiscs: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for number, items in enumerate(lists[last:]):
        for item in items:
            # Asked for the qdiscs of one device, tc does not name it.
            qdiscs[item.get("dev") or list(only)[number]].append(item)
    losses = tuple(_loss(items) for items in lists[last - len(shaped) : last])
    return ReadBack(tuple(rates), losses, qdiscs)


def _loss(filters: Iterable[Mapping[str, Any]]) -> float:
    """The share that the filter of a device picks; none where it has no filter."""
    programs = [
        item["options"]["bytecode"]["insns"] for item in filters if "bytecode" in item.get("options", {})
    ]
    return float(programs[0][1]["k"] / 2**32) if programs else 0.0


def all_mismatches(
    shaped: Mapping[str, Shaping], wires: Mapping[str, Shaping], found: ReadBack
) -> tuple[str, ...]:
    """What in a namespace is not as wanted, in words: `shaped` devices and ends of `wires`, by name."""
    if len(found.rates_bps) != len(shaped):
        return (f"{len(found.rates_bps)} shaped devices, wanted {len(shaped)}",)
    wrong = []
    for (device, wanted), rate_bps, loss in zip(shaped.items(), found.rates_bps, found.losses, strict=True):
        wrong += mismatches(device, wanted, rate_bps, found.qdiscs.get(device, ()))
        if loss != wanted.loss_threshold / 2**32:
            wrong.append(f"{device}: loss is {loss}, wanted {wanted.loss}")
    for device, wanted in wires.items():
        wrong += wire_mismatches(device, wanted, found.qdiscs.get(device, ()))
    return tuple(wrong)


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
    kind, limit = ("pfifo", wanted.queue_packets) if wanted.queue_packets else ("bfifo", wanted.queue_bytes)
    is_limit = leaves[0].get("options", {}).get("limit")
    if (leaves[0].get("kind"), is_limit) != (kind, limit):
        found.append(f"{device}: queue is {leaves[0].get('kind')} {is_limit}, wanted {kind} {limit}")
    return found


def wire_mismatches(device: str, wanted: Shaping, qdiscs: Iterable[Mapping[str, Any]]) -> list[str]:
    """The same for the end of a wire: its delay, and how many packets it holds."""
    roots = [item for item in qdiscs if item.get("kind") == "netem"]
    if len(roots) != 1:
        return [f"{device}: {len(roots)} netem qdiscs, wanted 1"]
    options = roots[0].get("options", {})
    delay = options.get("delay", {}).get("delay", 0.0)
    found = []
    # The kernel reports ticks of 64 ns, and tc cuts them to whole microseconds.
    if abs(delay - wanted.delay_s) > 2e-6:
        found.append(f"{device}: delay is {delay} s, wanted {wanted.delay_s}")
    if options.get("limit") != wanted.in_transit:
        found.append(f"{device}: it holds {options.get('limit')} packets, wanted {wanted.in_transit}")
    return found
