"""Quantities with units, as a user writes them: `10 Mbit/s`, `20 ms`, `16 MiB`. SI in, SI out, no guessing.

Each type here is an annotation for pydantic models: text with a unit comes in, a plain number of bit/s,
seconds or bytes goes out. A bare number is an error, because a forgotten unit is how wrong results start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

_RATES = {"bit/s": 1, "kbit/s": 10**3, "Mbit/s": 10**6, "Gbit/s": 10**9}
_TIMES = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z/]*)\s*")


def _parse(text: Any, units: Mapping[str, float], example: str) -> float:
    """The number of base units that `text` stands for; raises PydanticCustomError on anything else."""
    allowed = f"a number and one of {', '.join(units)}, such as {example}"
    context = {"given": str(text), "allowed": allowed}
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise PydanticCustomError("quantity", "{given} is not a quantity", context)
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise PydanticCustomError("quantity", "'{given}' is not a quantity", context)
    number, unit = match.groups()
    if not unit:
        raise PydanticCustomError("missing_unit", "{given} has no unit", context)
    if unit not in units:
        raise PydanticCustomError("unknown_unit", "'{given}' has an unknown unit", context)
    value = float(number) * units[unit]
    if not isfinite(value):
        raise PydanticCustomError("quantity", "'{given}' is too large", context)
    return value


def parse_rate(text: Any) -> int:
    """`10 Mbit/s` -> 10_000_000 (bit/s), at least 1 kbit/s."""
    rate = round(_parse(text, _RATES, "10 Mbit/s"))
    if rate < 1000:
        raise PydanticCustomError(
            "quantity", "{given} is too slow for a link", {"given": str(text), "allowed": "at least 1 kbit/s"}
        )
    return rate


def parse_duration(text: Any) -> float:
    """`20 ms` -> 0.02 (seconds)."""
    return _parse(text, _TIMES, "20 ms")


def parse_size(text: Any) -> int:
    """`16 MiB` -> 16_777_216 (bytes), at least one byte."""
    size = round(_parse(text, _SIZES, "16 MiB"))
    if size < 1:
        raise PydanticCustomError(
            "quantity", "{given} is less than a byte", {"given": str(text), "allowed": "at least 1 B"}
        )
    return size


def _annotation(parse: Callable[[Any], float], base: type, example: str) -> Any:
    schema = {"type": "string", "examples": [example]}
    return Annotated[base, BeforeValidator(parse), WithJsonSchema(schema)]


Rate = _annotation(parse_rate, int, "10 Mbit/s")
Duration = _annotation(parse_duration, float, "20 ms")
Size = _annotation(parse_size, int, "16 MiB")


def format_rate(rate_bps: float) -> str:
    """The shortest usual way to write a rate: 1500000 -> `1.5 Mbit/s`."""
    for unit, factor in reversed(_RATES.items()):
        if rate_bps >= factor:
            return f"{rate_bps / factor:.3g} {unit}"
    return f"{rate_bps:.3g} bit/s"


def format_size(size_bytes: float) -> str:
    """A size in binary units: 4194304 -> `4 MiB`."""
    for unit in ("GiB", "MiB", "KiB"):
        if size_bytes >= _SIZES[unit]:
            return f"{size_bytes / _SIZES[unit]:.3g} {unit}"
    return f"{size_bytes:.0f} B"
