"""Access lines that ship by name: rates, one-way delay, and where each figure comes from.

A topology file may write such a name in place of an access line (`access: {dsl: adsl2plus}`); `profile` turns
it into the line. Standards give limits, shops sell less, and lines deliver less again: a profile is what a
usual customer had, and its `source` says which figures are measured, which a product's, which only typical.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticCustomError

# FCC, Measuring Broadband America, Thirteenth Report (data of autumn 2022): idle round trips to the nearest
# test server were 23-34 ms for DSL, 12-24 ms for cable, 7-14 ms for fibre. Half of the middle is the delay
# one way; it holds a short way behind the access network, so it is rather too long than too short.
_FCC_2022 = "delay: half of the middle of idle round trips to the nearest server, {}, FCC MBA 13 (2022)"
# An edition with data of 2012 or 2013, the oldest figures by technology that could be checked: at peak hours
# 49 ms for DSL, 32 ms for cable, 24 ms for fibre.
_FCC_EARLY = "delay: half of the mean round trip at peak hours, {}, FCC MBA (about 2013; older was not found)"

PROFILES: Mapping[str, Mapping[str, str]] = {
    "dsl-2008": {
        "down": "3 Mbit/s",
        "up": "768 kbit/s",
        "delay": "24 ms",
        "source": "down: median of what US lines delivered in 2009, FCC; up: typical, unverified; "
        + _FCC_EARLY.format("49 ms"),
    },
    "cable-2008": {
        "down": "6 Mbit/s",
        "up": "1 Mbit/s",
        "delay": "16 ms",
        "source": "rates: Comcast's 6 Mbit/s product of 2008 as sold; " + _FCC_EARLY.format("32 ms"),
    },
    "fibre-2008": {
        "down": "20 Mbit/s",
        "up": "20 Mbit/s",
        "delay": "12 ms",
        "source": "rates: Verizon FiOS 20/20, sold in parts of the US from October 2007; "
        + _FCC_EARLY.format("24 ms"),
    },
    "adsl2plus": {
        "down": "10 Mbit/s",
        "up": "1 Mbit/s",
        "delay": "14 ms",
        "source": "rates: typical, unverified, of what is sold as up to 24 Mbit/s; limit 24/1.4 Mbit/s, "
        "ITU-T G.992.5 (2003); " + _FCC_2022.format("23-34 ms"),
    },
    "vdsl2": {
        "down": "40 Mbit/s",
        "up": "10 Mbit/s",
        "delay": "14 ms",
        "source": "down: the smaller UK fibre-to-the-cabinet product as sold (40 or 80 Mbit/s); up: typical, "
        "unverified; limit 200 Mbit/s both ways together, ITU-T G.993.2 (2006); "
        + _FCC_2022.format("23-34 ms (DSL)"),
    },
    "docsis3": {
        "down": "100 Mbit/s",
        "up": "10 Mbit/s",
        "delay": "9 ms",
        "source": "rates: typical, unverified; limit 1 Gbit/s / 200 Mbit/s, shared, DOCSIS 3.0 "
        "(CableLabs, 2006); " + _FCC_2022.format("12-24 ms"),
    },
    "docsis31": {
        "down": "500 Mbit/s",
        "up": "35 Mbit/s",
        "delay": "9 ms",
        "source": "rates: typical, unverified; limit 10 Gbit/s / 1-2 Gbit/s, shared, DOCSIS 3.1 "
        "(CableLabs, 2013); " + _FCC_2022.format("12-24 ms"),
    },
    "gpon": {
        "down": "300 Mbit/s",
        "up": "300 Mbit/s",
        "delay": "5 ms",
        "source": "rates: typical, unverified; limit 2.488/1.244 Gbit/s, shared, ITU-T G.984 (2003); "
        + _FCC_2022.format("7-14 ms"),
    },
    "lte": {
        "down": "27 Mbit/s",
        "up": "8.6 Mbit/s",
        "delay": "28 ms",
        "source": "rates: mean of US mobile tests in the first half of 2018, Ookla; limit 150/50 Mbit/s, "
        "3GPP category 4; delay: half of the middle of US latencies, 44-66 ms, Opensignal (early 2019)",
    },
    "5g": {
        "down": "166 Mbit/s",
        "up": "21 Mbit/s",
        "delay": "15 ms",
        "source": "rates: median of 5G tests worldwide, third quarter of 2021, Ookla; limit 20/10 Gbit/s, "
        "ITU-R IMT-2020; delay: typical, unverified",
    },
}


ALLOWED = f"{', '.join(PROFILES)}, or {{down, up, delay, loss, queue}}"
"""What may stand for an access line, in words."""


def profile(name: str) -> Mapping[str, str]:
    """The access line that ships under a name. Raises PydanticCustomError where there is none."""
    if name in PROFILES:
        return PROFILES[name]
    context: dict[str, Any] = {"given": name, "allowed": ALLOWED}
    close = _nearest(name)
    if not close:
        raise PydanticCustomError("profile", "no access profile '{given}' ships", context)
    what = "no access profile '{given}' ships; did you mean '{close}'?"
    raise PydanticCustomError("profile", what, {**context, "close": close})


def _nearest(name: str) -> str:
    """The likest profile with the same first letter, so that `adsl2+` is not taken for a misspelt `vdsl2`."""
    known = [other for other in PROFILES if other[0] == name[:1]]
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.5)), "")
