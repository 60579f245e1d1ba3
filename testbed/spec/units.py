"""Quantities with units, as a user writes them: `10 Mbit/s`, `20 ms`, `0.5 %`. SI in, SI out, no guessing.

Each type here is an annotation for pydantic models: text with a unit comes in, a plain number of bit/s,
seconds, bytes or a share of one goes out; a queue's length, which is given in several kinds of unit, keeps
its kind. A bare number is an error, because a forgotten unit is how wrong results start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from testbed.spec.unit_names import Meant, percent_meant, queue_meant, rate_meant, size_meant, time_meant
from testbed.spec.wording import shown

FRAME_BYTES = 1514
"""A full Ethernet frame without its checksum: 1500 bytes of IP and 14 of header."""

PAYLOAD_BYTES = 1448
"""What a full frame carries of TCP with timestamps: 52 bytes are headers of IP and TCP."""

LONGEST_QUEUE = 2**31 - 1
"""In bytes or in packets: the most that queues of the kernel can be given."""

_LARGEST = 1e18  # whole numbers up to here fit into 64 bits
_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_QUANTITY = re.compile(rf"\s*({_NUMBER})\s*([A-Za-zµμ/%]*)\s*")  # with both signs for micro, to name the unit


@dataclass(frozen=True)
class _Kind:
    """A kind of quantity: its units, how it is written, and what a unit with another name stands for."""

    units: Mapping[str, float]
    example: str
    meant: Callable[[str], Meant]
    below: float = _LARGEST
    """In base units, what a quantity must be less than."""


_RATE = _Kind({"bit/s": 1, "kbit/s": 10**3, "Mbit/s": 10**6, "Gbit/s": 10**9}, "10 Mbit/s", rate_meant)
_TIME = _Kind(
    {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0},
    "20 ms",
    time_meant,
)
_DELAY = _Kind(_TIME.units, "20 ms", time_meant, below=60)
_SIZE = _Kind(
    {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
    "16 MiB",
    size_meant,
)
_PERCENT = _Kind({"%": 1}, "0.5 %", percent_meant, below=100)
_SHARE = _Kind(_PERCENT.units, "50 %", percent_meant, below=100)
_PACKETS = _Kind({"packet": 1, "packets": 1}, "50 packets", queue_meant)
_QUEUE = _Kind({**_PACKETS.units, **_SIZE.units, **_TIME.units}, _PACKETS.example, queue_meant)


def _split(text: Any, kind: _Kind) -> tuple[float, str]:
    """The number and the unit that `text` has; raises PydanticCustomError on anything else."""
    one_of = "one of " if len(kind.units) > 1 else ""
    allowed = f"a number and {one_of}{', '.join(kind.units)}, such as {kind.example}"
    context = {"given": str(text), "allowed": allowed}
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        context["given"] = shown(text)
        raise PydanticCustomError("quantity", "{given} is not a quantity", context)
    match = _QUANTITY.fullmatch(str(text))
    if match is None and _QUANTITY.fullmatch(str(text).strip().removeprefix("-")):
        raise PydanticCustomError("quantity", "'{given}' is negative", context)
    if match is None:
        raise PydanticCustomError("quantity", "'{given}' is not a quantity", context)
    number, unit = match.groups()
    if not unit:
        raise PydanticCustomError("missing_unit", "{given} has no unit", context)
    if unit not in kind.units:
        raise _unknown_unit(number, unit, kind, context)
    return float(number), unit


def _parse(text: Any, kind: _Kind) -> float:
    """The number of base units that `text` stands for; raises PydanticCustomError on anything else."""
    number, unit = _split(text, kind)
    value = number * kind.units[unit]
    if not value < kind.below:
        base = next(name for name, factor in kind.units.items() if factor == 1)
        context = {"given": str(text), "allowed": f"less than {kind.below:g} {base}"}
        raise PydanticCustomError("quantity", "'{given}' is too large", context)
    return value


def _unknown_unit(number: str, unit: str, kind: _Kind, context: dict[str, Any]) -> PydanticCustomError:
    what = "'{given}' has an unknown unit"
    if (meant := kind.meant(unit)) is not None:
        factor, name = meant
        number = number if factor == 1 else f"{float(number) * factor:.12g}"
        what += "; did you mean '{meant}'?"
        context = {**context, "meant": f"{number} {name}"}
    return PydanticCustomError("unknown_unit", what, context)


def parse_rate(text: Any) -> int:
    """`10 Mbit/s` -> 10_000_000 (bit/s), at least 1 kbit/s."""
    rate = parse_load(text)
    if rate < 1000:
        raise PydanticCustomError(
            "quantity", "{given} is too slow for a link", {"given": str(text), "allowed": "at least 1 kbit/s"}
        )
    return rate


def parse_load(text: Any) -> int:
    """As `parse_rate`, but there may be no load at all: `0 bit/s` -> 0."""
    return round(_parse(text, _RATE))


def parse_duration(text: Any) -> float:
    """`20 ms` -> 0.02 (seconds)."""
    return _parse(text, _TIME)


def parse_delay(text: Any) -> float:
    """As `parse_duration`, less than a minute."""
    return _parse(text, _DELAY)


def parse_size(text: Any) -> int:
    """`16 MiB` -> 16_777_216 (bytes), at least one byte."""
    size = round(_parse(text, _SIZE))
    if size < 1:
        raise PydanticCustomError(
            "quantity", "{given} is less than a byte", {"given": str(text), "allowed": "at least 1 B"}
        )
    return size


def parse_loss(text: Any) -> float:
    """`0.5 %` -> 0.005 (of all packets), less than all."""
    return _parse(text, _PERCENT) / 100


def parse_share(text: Any) -> float:
    """`50 %` -> 0.5, less than all."""
    return _parse(text, _SHARE) / 100


@dataclass(frozen=True)
class QueueLength:
    """How much a queue holds, as given: exactly one of packets, bytes, and the time it takes to drain."""

    packets: int | None = None
    size_bytes: int | None = None
    drain_s: float | None = None

    def bytes_at(self, rate_bps: int) -> int | None:
        """What it holds in bytes when it drains at a rate; None where it is given in packets."""
        return self.size_bytes if self.drain_s is None else round(rate_bps * self.drain_s / 8)

    def drain_s_at(self, rate_bps: int) -> float:
        """How long it takes to drain at a rate, with full frames."""
        size_bytes = self.bytes_at(rate_bps)
        return (FRAME_BYTES * (self.packets or 0) if size_bytes is None else size_bytes) * 8 / rate_bps


def parse_queue(text: Any) -> QueueLength:
    """`50 packets`, `64 KiB` or `20 ms` (to drain at the link's rate); of packets, at least one."""
    number, unit = _split(text, _QUEUE)
    if unit in _TIME.units:
        return QueueLength(drain_s=_parse(text, _TIME))
    if unit in _SIZE.units:
        return QueueLength(size_bytes=round(_parse(text, _SIZE)))
    if not (1 <= number <= LONGEST_QUEUE and number.is_integer()):
        raise PydanticCustomError(
            "quantity",
            "{given} are no queue",
            {"given": str(text), "allowed": f"a whole number of packets from 1 to {LONGEST_QUEUE}"},
        )
    return QueueLength(packets=int(number))


def _annotation(parse: Callable[[Any], Any], kind: _Kind, base: type) -> Any:
    """What a parser makes of a quantity; its JSON Schema makes an editor flag a missing unit."""
    pattern = rf"^\s*{_NUMBER}\s*({'|'.join(kind.units)})\s*$"
    schema = {"type": "string", "pattern": pattern, "examples": [kind.example]}
    return Annotated[base, BeforeValidator(parse), WithJsonSchema(schema)]


Rate = _annotation(parse_rate, _RATE, int)
Load = _annotation(parse_load, _RATE, int)
Duration = _annotation(parse_duration, _TIME, float)
Delay = _annotation(parse_delay, _DELAY, float)
Size = _annotation(parse_size, _SIZE, int)
Loss = _annotation(parse_loss, _PERCENT, float)
Share = _annotation(parse_share, _SHARE, float)
Queue = _annotation(parse_queue, _QUEUE, QueueLength)


class _OneOrTwo:
    """Lets a pair of values be written as one, for both directions of a link."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def pair(given: Any) -> Any:
            return tuple(given) if isinstance(given, list | tuple) else (given, given)

        return core_schema.no_info_before_validator_function(pair, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        pair = handler(schema)
        return {"anyOf": [pair["prefixItems"][0], pair]}


ValueT = TypeVar("ValueT")
EachWay = Annotated[tuple[ValueT, ValueT], _OneOrTwo()]
"""Of a link: from its first end to its second, and back. One value stands for both."""


def format_rate(rate_bps: float) -> str:
    """The shortest usual way to write a rate: 1500000 -> `1.5 Mbit/s`."""
    for unit, factor in reversed(list(_RATE.units.items())):
        if rate_bps >= 0.9995 * factor:  # what would be rounded to the next unit has it
            number = rate_bps / factor
            return f"{number:.0f} {unit}" if number >= 1000 else f"{number:.3g} {unit}"
    return f"{rate_bps:.3g} bit/s"
