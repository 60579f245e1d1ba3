"""Numbers of a running network as people read them: a rate, a delay, a loss, a share, an amount of bytes.

Base units come in, short texts go out. What a user sets comes out as it was written; what is measured has
three digits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_PREFIXES = (("G", 1e9), ("M", 1e6), ("k", 1e3))


def delay_text(delay_s: float) -> str:
    """0.00182012 -> `1.82 ms`: four digits."""
    from testbed.topology.writing import duration_text

    return duration_text(float(f"{delay_s:.4g}"))


def loss_text(loss: float) -> str:
    """0.005 -> `0.5 %`."""
    return f"{loss * 100:.4g} %"


def share_text(share: float) -> str:
    """0.51234 -> `51.2 %`."""
    return f"{share * 100:.1f} %"


def measured_rate(rate_bps: float) -> str:
    """999700 -> `1.00 Mbit/s`."""
    return _prefixed(rate_bps, "bit/s")


def bytes_text(number: float) -> str:
    """173412345 -> `173 MB`."""
    return _prefixed(number, "B")


def _prefixed(value: float, unit: str) -> str:
    for prefix, factor in _PREFIXES:
        if value >= 0.9995 * factor:  # what would be rounded to the next prefix has it
            number = value / factor
            digits = 0 if number >= 99.95 else 1 if number >= 9.995 else 2
            return f"{number:.{digits}f} {prefix}{unit}"
    return f"{value:.0f} {unit}"


def known(value: Any, text: Callable[[Any], str]) -> str:
    """A counted value, or a dash where nothing was counted yet."""
    return "–" if value is None else text(value)


def each_way(link: Mapping[str, Any], key: str, text: Callable[[Any], str]) -> str:
    """A value of both directions of a link, once where it is the same, else on two lines."""
    there, back = text(link["forward"][key]), text(link["backward"][key])
    return there if there == back else f"→ {there}\n← {back}"


def effect(answer: Mapping[str, Any]) -> str:
    """When a change took effect."""
    elapsed_ms = (answer["effective_ns"] - answer["asked_ns"]) / 1e6
    return f"in effect {elapsed_ms:.0f} ms after it was asked"
