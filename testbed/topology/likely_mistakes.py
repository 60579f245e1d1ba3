"""The kinds of likely mistake in a topology file: what counts as one, and how one and many are said.

Only limits and wording are here; `testbed.topology.plausibility` looks for them.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed.spec.units import format_rate

LONGEST_DELAY_S = 1.0
SLOWEST_LINK_BPS, FASTEST_LINK_BPS = 64_000, 10**13
SLOWEST_ACCESS_BPS = 16_000
MUCH_LOSS = 0.1
LONGEST_QUEUE_S = 1.0
"""How long a queue takes to drain at the rate of its link."""
LIGHT_TOLERANCE = 0.9
"""A given delay may be this part of what light needs over the great circle, as places are rounded."""
NEAR_S = 0.0005
"""Delays below this are not compared with light: within a city, places are rounded too much."""
DETOUR_TIMES, DETOUR_S = 20.0, 0.05
"""A delay that is so many times light's over the great circle, and above this many seconds, is no detour."""
FEWEST_LINKS, FEW_LINKS, OUTLIER_TIMES = 4, 0.1, 100.0
"""With so many links or more an ISP has a usual capacity; a link that is so many times faster or slower is a
slip where at most this part of its links is. More of them are how the network is."""


@dataclass(frozen=True)
class Kind:
    """A kind of likely mistake. `one` and `many` have {name} and what else its findings say of themselves."""

    one: str
    many: str
    """With {count} too; of the findings, the first is the example."""
    mend: str = ""


_LINK = "the link between {name}"
_UNIT = "check the unit"
_PERCENT = "check the figure: it is in percent"
SLOW_LINK = Kind(
    _LINK + " is very slow: {given}",
    f"{{count}} links are slower than {format_rate(SLOWEST_LINK_BPS)}, such as that between {{name}}: "
    "{given}",
    _UNIT,
)
FAST_LINK = Kind(
    _LINK + " is very fast: {given}",
    "{count} links are faster than 10 Tbit/s, such as that between {name}: {given}",
    _UNIT,
)
OUTLIER = Kind(
    _LINK + " has {given}, where the median of ISP {isp} is {usual}",
    f"{{count}} links have more than {OUTLIER_TIMES:g} times more or less than the median of their ISP, such "
    "as that between {name}: {given}, where it is {usual}",
    _UNIT,
)
SLOW_PORT = Kind(
    "the port of {name} is very slow: {given}",
    f"{{count}} ports are slower than {format_rate(SLOWEST_LINK_BPS)}, such as that of {{name}}: {{given}}",
    _UNIT,
)
FAST_PORT = Kind(
    "the port of {name} is very fast: {given}",
    "{count} ports are faster than 10 Tbit/s, such as that of {name}: {given}",
    _UNIT,
)
LONG_DELAY = Kind(
    _LINK + " has a very long delay: {given}",
    f"{{count}} links have delays above {LONGEST_DELAY_S:g} s, such as that between {{name}}: {{given}}",
    _UNIT,
)
DETOUR = Kind(
    _LINK + " takes {given}, where light takes {light} over the great circle",
    f"{{count}} links take more than {DETOUR_TIMES:g} times longer than light over the great circle, such as "
    "that between {name}: {given} and {light}",
    "check the delay's unit and the places of both PoPs",
)
ABOVE_LIGHT = Kind(
    _LINK + " is faster than light in fibre: {given}, where light takes {light}",
    "{count} links are faster than light in fibre, such as that between {name}: {given}, where light takes "
    "{light}",
    "check the delay's unit and the places of both PoPs",
)
NO_METRO = Kind(
    "ISP {name} groups PoPs by metro, and none of its PoPs has a metro: each is a PID of its own",
    "{count} ISPs group PoPs by metro, and none of their PoPs has a metro, such as {name}: each is a PID of "
    "its own",
)
SWAPPED = Kind(
    "PoP {name} is {written} on average from the PoPs it is linked to; with latitude and longitude swapped, "
    "{swapped}",
    "{count} PoPs are far from those they are linked to and near with latitude and longitude swapped, such "
    "as {name}: {written} and {swapped}",
    "check its place and its neighbours': 'at' is [latitude, longitude]",
)
NOWHERE = Kind(
    "{name} lies at [0, 0], in the sea off Africa",
    "{count} lie at [0, 0], in the sea off Africa, such as {name}",
    "give the place, or leave out 'at' where it is unknown",
)
ACCESS_SLOW = Kind(
    "access profile {name} is very slow ({way}): {given}",
    f"{{count}} rates of access profiles are slower than {format_rate(SLOWEST_ACCESS_BPS)}, such as {{name}} "
    "({way}): {given}",
    _UNIT,
)
ACCESS_FAST = Kind(
    "access profile {name} is very fast ({way}): {given}",
    "{count} rates of access profiles are faster than 10 Tbit/s, such as {name} ({way}): {given}",
    _UNIT,
)
ACCESS_DELAY = Kind(
    "access profile {name} has a very long delay: {given}",
    f"{{count}} access profiles have delays above {LONGEST_DELAY_S:g} s, such as {{name}}: {{given}}",
    _UNIT,
)
MUCH_LOSS_OF_LINK = Kind(
    _LINK + " loses {given} of its packets",
    f"{{count}} links lose {100 * MUCH_LOSS:g} % of their packets or more, such as that between {{name}}: "
    "{given}",
    _PERCENT,
)
LONG_QUEUE = Kind(
    _LINK + " has a queue that takes {given} to drain",
    f"{{count}} links have queues that take more than {LONGEST_QUEUE_S:g} s to drain, such as that between "
    "{name}: {given}",
    _UNIT,
)
ACCESS_LOSS = Kind(
    "access profile {name} loses {given} of its packets",
    f"{{count}} access profiles lose {100 * MUCH_LOSS:g} % of their packets or more, such as {{name}}: "
    "{given}",
    _PERCENT,
)
ACCESS_QUEUE = Kind(
    "access profile {name} has a queue that takes {given} to drain",
    f"{{count}} access profiles have queues that take more than {LONGEST_QUEUE_S:g} s to drain, such as "
    "{name}: {given}",
    _UNIT,
)
ALONE = Kind(
    "ISP {name} has no link to another ISP",
    "{count} ISPs have no link to another ISP, such as {name}",
    "add a link of it under 'interdomain', or make it a member of an exchange point",
)
