"""OpenFlow 1.3 as plain values: actions, rules, groups, meters, and a switch's whole program. Pure.

They know no library. Every rule and group is named by its content, so that two programs are compared, and a
switch is asked what it has, by names alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

ETH_IPV4 = 0x0800
ETH_ARP = 0x0806
IP_ICMP, IP_TCP, IP_UDP = 1, 6, 17
IN_PORT = 0xFFFFFFF8  # OFPP_IN_PORT: back through the port that the packet came by
TABLE = 0xFFFFFFF9  # OFPP_TABLE: what a controller sends goes through the rules
CONTROLLER = 0xFFFFFFFD  # OFPP_CONTROLLER

COUNTED = 0xC0 << 56
"""The cookie's high byte of rules whose packets are counted; a poll asks for these alone."""

_PLAIN = 0x01 << 56
KIND_BITS = 0xFF << 56


@dataclass(frozen=True)
class SetField:
    """Write a header field, named as in OpenFlow's extensible match (specification 1.3.5, 7.2.3.7)."""

    field: str
    value: int | str


@dataclass(frozen=True)
class Move:
    """Copy one header field of `bits` into another: the Nicira extension NXAST_REG_MOVE, which OVS has."""

    source: str
    target: str
    bits: int


@dataclass(frozen=True)
class DecTtl:
    """Decrement the IP TTL."""


@dataclass(frozen=True)
class SetTtl:
    """Write the IP TTL."""

    ttl: int


@dataclass(frozen=True)
class ForgetPort:
    """Let the packet be sent back through the port that it came by, which OpenFlow does not else."""


@dataclass(frozen=True)
class Output:
    """Send through a port."""

    port: int


@dataclass(frozen=True)
class ToController:
    """Send the first `bytes` of the packet to the controller."""

    bytes: int


@dataclass(frozen=True)
class ToGroup:
    """Do what a group says."""

    group: int


Action = SetField | Move | DecTtl | SetTtl | ForgetPort | Output | ToController | ToGroup


def _digest(of: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(of).encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True)
class Rule:
    """One flow entry; without actions and `then` it drops. `match` has OXM fields, prefixes `address/length`.

    `then` is the table to go on in, `meter` the one that the packet has to pass first, `counts` a name under
    which its packets are counted.
    """

    table: int
    priority: int
    match: tuple[tuple[str, int | str], ...]
    actions: tuple[Action, ...] = ()
    then: int | None = None
    meter: int | None = None
    counts: str = ""

    @property
    def cookie(self) -> int:
        """64 bits that say what the rule says: two rules of a switch differ in it, equal rules do not."""
        return (COUNTED if self.counts else _PLAIN) | _digest(self) & ~KIND_BITS

    def to_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "table": self.table,
            "priority": self.priority,
            "cookie": f"{self.cookie:#018x}",
            "match": dict(self.match),
            "actions": [_action_json(action) for action in self.actions],
        }
        extra = {"then": self.then, "meter": self.meter, "counts": self.counts or None}
        return shown | {name: value for name, value in extra.items() if value is not None}


@dataclass(frozen=True)
class Bucket:
    """What a group does as long as the port `watch` is up."""

    watch: int
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class Group:
    """A fast-failover group: the switch uses the first of its buckets whose port is up."""

    buckets: tuple[Bucket, ...]

    @property
    def id(self) -> int:
        """31 bits that say what the group says."""
        return 1 + _digest(self) % 0x7FFFFFFF

    def to_json(self) -> dict[str, Any]:
        buckets = [
            {"watch": bucket.watch, "actions": [_action_json(action) for action in bucket.actions]}
            for bucket in self.buckets
        ]
        return {"group": self.id, "buckets": buckets}


@dataclass(frozen=True)
class Meter:
    """Drops what comes faster than `rate`, but for bursts: in kbit/s and kbit, or in packets(/s)."""

    id: int
    rate: int
    burst: int
    in_packets: bool = False

    def to_json(self) -> dict[str, Any]:
        unit = "packets" if self.in_packets else "kbit"
        return {"meter": self.id, f"rate_{unit}_per_s": self.rate, f"burst_{unit}": self.burst}


@dataclass(frozen=True)
class Program:
    """All that a switch is told."""

    rules: tuple[Rule, ...]
    groups: tuple[Group, ...] = ()
    meters: tuple[Meter, ...] = ()

    @property
    def installed(self) -> Installed:
        """What a switch says that has just this program."""
        return Installed(
            frozenset(rule.cookie for rule in self.rules),
            frozenset(group.id for group in self.groups),
            {meter.id: meter for meter in self.meters},
        )


@dataclass(frozen=True)
class Installed:
    """What a switch has, by names: cookies of rules, ids of groups, and its meters."""

    cookies: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()
    meters: Mapping[int, Meter] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """What turns what a switch has into its program. First comes all that is new, then strays go.

    A rule that takes another's match and priority replaces it in one step; so no packet is without a rule.
    """

    add_groups: tuple[Group, ...] = ()
    add_meters: tuple[Meter, ...] = ()
    modify_meters: tuple[Meter, ...] = ()
    add_rules: tuple[Rule, ...] = ()
    delete_cookies: tuple[int, ...] = ()
    delete_groups: tuple[int, ...] = ()
    delete_meters: tuple[int, ...] = ()

    @property
    def adds(self) -> bool:
        return bool(self.add_groups or self.add_meters or self.modify_meters or self.add_rules)

    @property
    def deletes(self) -> bool:
        return bool(self.delete_cookies or self.delete_groups or self.delete_meters)

    def __bool__(self) -> bool:
        return self.adds or self.deletes


def difference(has: Installed, wanted: Program) -> Change:
    """The least change: what is there stays untouched, with its counters; strays go."""
    wants = wanted.installed
    return Change(
        add_groups=_missing(wanted.groups, has.groups, lambda group: group.id),
        add_meters=tuple(meter for meter in wanted.meters if meter.id not in has.meters),
        modify_meters=tuple(m for m in wanted.meters if m.id in has.meters and has.meters[m.id] != m),
        add_rules=_missing(wanted.rules, has.cookies, lambda rule: rule.cookie),
        delete_cookies=tuple(sorted(has.cookies - wants.cookies)),
        delete_groups=tuple(sorted(has.groups - wants.groups)),
        delete_meters=tuple(sorted(has.meters.keys() - wants.meters.keys())),
    )


def _missing(wanted: Iterable[Any], has: frozenset[int], name: Any) -> tuple[Any, ...]:
    """Those whose name the switch does not have, each once."""
    by_name = {name(item): item for item in wanted}
    return tuple(item for key, item in by_name.items() if key not in has)


def _action_json(action: Action) -> dict[str, Any]:
    return {"do": type(action).__name__, **vars(action)}
