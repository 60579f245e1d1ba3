"""The rate of a link from what people label links with: `10 Gbps`, `2x STM-1`, `<2.5 Gbit/s`, `E3`. Pure."""

from __future__ import annotations

import re

_PREFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
# Rates of names, in bit/s: STM and OC from ITU-T G.707 and GR-253, E and T carriers from ITU-T G.702.
_STM_BPS, _OC_BPS = 155_520_000, 51_840_000
_NAMED_BPS = {
    "e1": 2_048_000,
    "e2": 8_448_000,
    "e3": 34_368_000,
    "e4": 139_264_000,
    "t1": 1_544_000,
    "t2": 6_312_000,
    "t3": 44_736_000,
    "ds1": 1_544_000,
    "ds3": 44_736_000,
    "fe": 10**8,
    "fast ethernet": 10**8,
    "ge": 10**9,
    "gige": 10**9,
    "gigabit": 10**9,
    "gigabit ethernet": 10**9,
}
_TIMES = r"(?:(?P<times>[0-9]{1,3})\s*[x*×]\s*)?"
_NUMBER = r"(?P<number>[0-9]+(?:[.,][0-9]+)?)"
_QUANTITY = re.compile(
    rf"(?<![a-z0-9.,]){_TIMES}{_NUMBER}\s*(?P<prefix>[kmgt])"
    r"(?:ig(?:abits?|e)?|ega(?:bits?)?|ilo(?:bits?)?|era(?:bits?)?)?"
    r"\s*(?:bits?|be?|e|eth|ethernet)?\s*(?:/\s*s(?:ec)?|p/?s|ps|per second)?(?![a-z])"
)
_BARE_BITS = re.compile(rf"(?<![a-z0-9.,]){_TIMES}{_NUMBER}\s*(?:bits?/s|bps|b/s)(?![a-z])")
_LEVEL = re.compile(rf"(?<![a-z0-9]){_TIMES}(?P<kind>stm|oc)\s*-?\s*(?P<level>[0-9]{{1,3}})(?![0-9])")
_NAMED = re.compile(
    rf"(?<![a-z0-9]){_TIMES}(?P<named>{'|'.join(sorted(_NAMED_BPS, key=len, reverse=True))})(?![a-z0-9])"
)
_SLOWEST_BPS, _FASTEST_BPS = 1_000, 10**15


def plausible(rate_bps: float | None) -> int | None:
    """The rate in whole bit/s if a link may have it (1 kbit/s to 1 Pbit/s), else None."""
    if rate_bps is None or not _SLOWEST_BPS <= rate_bps <= _FASTEST_BPS:
        return None
    return round(rate_bps)


def read_rate(label: str) -> int | None:
    """The first rate that a label names, in bit/s, None where it names none.

    Of a bound (`<2.5 Gbit/s`) it is the bound, of a range its first end, of a bundle (`4x10G`) the whole.
    """
    text = label.lower()
    found = [match for match in (p.search(text) for p in (_QUANTITY, _BARE_BITS, _LEVEL, _NAMED)) if match]
    if not found:
        return None
    return plausible(_value(min(found, key=lambda match: match.start())))


def _value(match: re.Match[str]) -> float:
    groups = match.groupdict()
    times = int(groups["times"] or 1)
    if "level" in groups:
        return times * int(groups["level"]) * (_STM_BPS if groups["kind"] == "stm" else _OC_BPS)
    if "named" in groups:
        return times * _NAMED_BPS[groups["named"]]
    return times * float(groups["number"].replace(",", ".")) * _PREFIXES[groups.get("prefix") or ""]
