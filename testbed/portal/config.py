"""The portal's configuration file: what the ISP publishes and where.

In comes the YAML mapping, out a checked `PortalConfig`; every PID that is named elsewhere in the file exists.
"""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from testbed.portal.prefixes import PrefixTable
from testbed.service import Listen
from testbed.spec.units import EachWay

# RFC 7285 section 10.1: at most 64 of these characters; '.' is reserved.
PidName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9\-:@_]{1,64}$")]


def _canonical(prefix: str) -> str:
    return str(ip_network(prefix))


Prefix = Annotated[str, AfterValidator(_canonical)]


PositiveWeight = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PidConfig(_Model):
    """One of the ISP's own PIDs and the prefixes of its hosts."""

    pid: PidName
    prefixes: tuple[Prefix, ...]


class LinkConfig(_Model):
    """A link inside the ISP between two of its PIDs; `weight` is one for both ways, or [a to b, b to a]."""

    a: PidName
    b: PidName
    weight: EachWay[PositiveWeight]


class ExternalConfig(_Model):
    """One way out of the ISP towards an external PID; a PID with several ways out has several entries.

    `weight` counts from the ISP's own PID `exit` to the external PID. The prefixes of the entries of one PID
    are joined.
    """

    pid: PidName
    prefixes: tuple[Prefix, ...] = ()
    exit: PidName
    weight: PositiveWeight


class PortalConfig(_Model):
    """Everything that `python -m testbed.portal` reads."""

    isp: str
    asn: int = Field(ge=0)
    listen: Listen
    ready_file: Path | None = None
    distances_log: Path | None = None
    pids: tuple[PidConfig, ...] = Field(min_length=1)
    links: tuple[LinkConfig, ...] = ()
    external: tuple[ExternalConfig, ...] = ()
    intra_pid_distance: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @model_validator(mode="after")
    def _names_fit(self) -> PortalConfig:
        own = [entry.pid for entry in self.pids]
        if len(own) != len(set(own)):
            raise ValueError("pids: a PID is given twice")
        named = [end for link in self.links for end in (link.a, link.b)] + [way.exit for way in self.external]
        for name in named:
            if name not in own:
                raise ValueError(f"'{name}' is none of this ISP's PIDs: {', '.join(own)}")
        for way in self.external:
            if way.pid in own:
                raise ValueError(f"external: '{way.pid}' is one of this ISP's own PIDs")
        for link in self.links:
            if link.a == link.b:
                raise ValueError(f"links: '{link.a}' is linked to itself")
        PrefixTable((prefix, pid) for pid, prefixes in self.pid_prefixes().items() for prefix in prefixes)
        return self

    def external_pids(self) -> tuple[str, ...]:
        """The external PIDs, each once, in the order of the file."""
        return tuple(dict.fromkeys(way.pid for way in self.external))

    def pid_prefixes(self) -> dict[str, tuple[str, ...]]:
        """Prefixes of every PID, own ones first, each prefix of a PID once."""
        prefixes: dict[str, tuple[str, ...]] = {entry.pid: entry.prefixes for entry in self.pids}
        for way in self.external:
            prefixes[way.pid] = tuple(dict.fromkeys(prefixes.get(way.pid, ()) + way.prefixes))
        return prefixes
