"""Single values of a topology file that are no quantities: names, places, weights, address prefixes.

Each is an annotation for pydantic models: what a user wrote comes in, a checked value goes out, and what is
wrong is said in words. Quantities with units are in `testbed.spec.units`.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Network, NetmaskValueError
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError


def _text(pattern: str, what: str, allowed: str) -> Any:
    """Text that matches `pattern` as a whole; anything else is not `what`."""
    compiled = re.compile(pattern)

    def checked(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise PydanticCustomError(
                "name", f"'{{given}}' is not {what}", {"given": text, "allowed": allowed}
            )
        return text

    return Annotated[
        str, AfterValidator(checked), WithJsonSchema({"type": "string", "pattern": f"^{pattern}$"})
    ]


_NAME = "[a-z][a-z0-9-]{0,23}"

Name = _text(_NAME, "a name", "lower case letters, digits and dashes, at most 24, starting with a letter")
"""It becomes part of addresses, file names and PIDs."""


def is_name(text: str) -> bool:
    """Whether the text can be a `Name`."""
    return re.fullmatch(_NAME, text) is not None


PopId = _text(rf"{_NAME}\.{_NAME}", "a PoP of an ISP", "isp.pop, both of them names as in the file")
"""A PoP from outside its ISP."""


def isp_of(pop_id: str) -> str:
    """`isp.pop` -> `isp`."""
    return pop_id.partition(".")[0]


Currency = _text("[A-Z]{3}", "a currency", "three capital letters such as EUR")

Latitude = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-180, le=180)]
Place = Annotated[tuple[Latitude, Longitude], Field(strict=False)]
"""Latitude and longitude in degrees, north and east positive."""


def _in_thousandths(weight: float) -> float:
    if abs(weight * 1000 - round(weight * 1000)) > 1e-6:
        raise PydanticCustomError(
            "weight",
            "{given} has more than three decimals",
            {"given": weight, "allowed": "such as 1 or 2.125"},
        )
    return weight


Weight = Annotated[float, Field(ge=0.001, le=1e6), AfterValidator(_in_thousandths)]
"""A routing weight. Thousandths are the finest step, so that sums and ties of paths are exact."""

_EXAMPLE = "an IPv4 network such as 10.1.0.0/16"
_PREFIX = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}/[0-9]{1,2}")
# RFC 6890 and RFC 5771: what no host of the Internet can have as its address.
_NO_HOSTS = {
    IPv4Network("0.0.0.0/8"): "'this network'",
    IPv4Network("127.0.0.0/8"): "the loopback addresses",
    IPv4Network("169.254.0.0/16"): "the link-local addresses",
    IPv4Network("224.0.0.0/3"): "the multicast and reserved addresses",
}


def parse_prefix(given: Any) -> IPv4Network:
    """`10.1.0.0/16` -> IPv4Network. Raises PydanticCustomError for anything that hosts can't live in."""
    if isinstance(given, IPv4Network):
        return given
    if not isinstance(given, str) or _PREFIX.fullmatch(given) is None:
        raise _no_prefix("'{given}' is not a prefix", given, _EXAMPLE)
    try:
        network = IPv4Network(given, strict=False)
    except (AddressValueError, NetmaskValueError):
        raise _no_prefix("'{given}' is not a prefix", given, _EXAMPLE) from None
    if given.partition("/")[0] != str(network.network_address):
        raise _no_prefix("{given} is an address inside a network", given, f"the network itself, {network}")
    for reserved, name in _NO_HOSTS.items():
        if network.overlaps(reserved):
            raise _no_prefix(f"{{given}} holds {name}, where no host can be", given, _EXAMPLE)
    return network


def _no_prefix(what: str, given: Any, allowed: str) -> PydanticCustomError:
    return PydanticCustomError("prefix", what, {"given": str(given), "allowed": allowed})


Prefix = Annotated[
    IPv4Network,
    BeforeValidator(parse_prefix),
    WithJsonSchema({"type": "string", "pattern": f"^{_PREFIX.pattern}$", "examples": ["10.1.0.0/16"]}),
]
