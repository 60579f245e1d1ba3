"""The portal's configuration file: what an ISP knows of itself, what it publishes, where and to whom.

In comes the YAML mapping, out a checked `PortalConfig`; every PID and PoP that is named elsewhere in the file
exists. docs/portal.md explains the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from testbed.config_file import SocketPath
from testbed.portal.prefixes import PrefixTable
from testbed.service import Listen
from testbed.spec.units import EachWay

# RFC 7285 sections 10.1 and 10.2: at most 64 of these characters; '.' is reserved.
_ID_PATTERN = r"^[A-Za-z0-9\-:@_]{1,64}$"
PidName = Annotated[str, StringConstraints(pattern=_ID_PATTERN)]
ResourceId = Annotated[str, StringConstraints(pattern=_ID_PATTERN)]


def _canonical(prefix: str) -> str:
    return str(ip_network(prefix))


Prefix = Annotated[str, AfterValidator(_canonical)]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PidConfig(_Model):
    """One of the ISP's own PIDs, the prefixes of its hosts and the PoPs where these are.

    Without `pops` the PID is one PoP, which has the PID's name.
    """

    pid: PidName
    prefixes: tuple[Prefix, ...]
    pops: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[str, ...]:
        """The names of its PoPs."""
        return self.pops or (self.pid,)


class _Way(_Model):
    """What a link is like in each direction: one value for both, or [there, back]."""

    id: str = ""
    """The link's name in the controller's `/loads`; a link without one has no measured load."""
    capacity_bps: EachWay[Positive] | None = None
    background_bps: EachWay[NotNegative] = (0.0, 0.0)
    """Load of others than P2P, as far as it is known beforehand."""
    delay_s: EachWay[NotNegative] = (0.0, 0.0)
    loss: EachWay[Fraction] = (0.0, 0.0)
    length_km: NotNegative = 0.0


class LinkConfig(_Way):
    """A link inside the ISP between two of its PoPs. `weight` decides the route."""

    a: str
    b: str
    weight: EachWay[Positive] = (1.0, 1.0)


class ExternalConfig(_Way):
    """One way out of the ISP towards an external PID; a PID with several ways out has several entries.

    It leaves at the ISP's own PoP `exit`. Of the exits of least `preference` whose links are up, packets take
    the one that is nearest by the weights inside (hot potato), of equally near ones that of the least
    `weight`, then the first of the file. `weight` is what a static distance adds for it; "there" of two
    values is out of the ISP. `hops` are the links from the exit to the external PID, 1 for a neighbour.
    `price` is what the neighbour charges for one Mbit/s of the charging volume. The prefixes of the entries
    of one PID are joined.
    """

    pid: PidName
    prefixes: tuple[Prefix, ...] = ()
    exit: str
    preference: Annotated[int, Field(ge=0)] = 0
    weight: Positive = 1.0
    hops: Count = 1
    price: NotNegative = 0.0


class StepConfig(_Model):
    """How far one update of the prices goes, as a share of what is priced: mu of Xie et al. 2008."""

    rule: Literal["constant", "diminishing"] = "constant"
    """`diminishing`: size / sqrt(update)."""
    size: Positive | None = None
    """Default: what suits the objective (docs/pricing.md)."""


class ChargingConfig(_Model):
    """How interdomain links are billed, and how the volume is predicted."""

    percentile: Annotated[float, Field(gt=0, le=100)] = 95.0
    slot_s: Positive = 300.0
    period_slots: Count = 8640
    background_slots: Count = 12
    """Slots of the moving average that predicts the background."""


class PricingConfig(_Model):
    """What the p-distances are meant to do."""

    objective: Literal["static", "mlu", "bdp", "multihoming"] = "static"
    metric: Literal["weight", "hops", "delay", "length"] = "weight"
    """The distance d_e of a link: what `static` sums, and what `bdp` minimises."""
    update_s: Positive = 10.0
    projection: Literal["euclidean", "clip-normalise"] = "euclidean"
    step: StepConfig = StepConfig()
    charging: ChargingConfig = ChargingConfig()


class DisclosureConfig(_Model):
    """What the ISP does to its exact distances before anyone sees them."""

    perturbation: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.0
    """Each distance is multiplied by a random factor of 1 ± this, always the same for a pair."""
    levels: Annotated[int, Field(ge=2)] | None = None
    """Publish ranks in so many levels, 1 the nearest, instead of distances."""
    seed: Annotated[int, Field(ge=0)] = 0


class FaultsConfig(_Model):
    """What is wrong with this portal, on purpose. All off by default."""

    stale: bool = False
    """The maps stay as they were when this was set; from the start on, as they were first."""
    noise: NotNegative = 0.0
    """Each cost is multiplied by e to the power of a normal variate with this standard deviation."""
    inverted: bool = False
    """What is near is said to be far, and the other way round."""
    selfish: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    """Costs to external PIDs are multiplied by this: the ISP lies in its favour."""
    missing: Fraction = 0.0
    """This share of the ISP's own PIDs is left out of the maps."""
    delay_s: NotNegative = 0.0
    """Every answer comes so much later."""
    absent: bool = False
    """Every connection is closed without an answer."""
    seed: Annotated[int, Field(ge=0)] = 0


class TlsConfig(_Model):
    """Files in PEM."""

    certificate: Path
    key: Path


class AccessConfig(_Model):
    """Who may ask how much."""

    tls: TlsConfig | None = None
    digest_file: Path | None = None
    """Lines `user:realm:hash` (htdigest; MD5 or SHA-256): only these clients are answered."""
    requests_per_s: Positive | None = None
    """Of one client address; above it the answer is 503 with Retry-After."""
    burst: Count = 50
    connections: Count = 1000
    request_bytes: Count = 1_048_576
    streams: Count = 100
    """Update streams (RFC 8895) that are open at a time."""


class TimeOfDayConfig(_Model):
    """Costs over the day: in each interval routingcost is multiplied by its factor. Midnight is UTC's."""

    factors: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=1440)]

    @property
    def interval_s(self) -> float:
        return 86400 / len(self.factors)


class PolicyConfig(_Model):
    """P4P's policy interface: how the ISP wants its network used (Xie et al. 2008, section 3)."""

    time_of_day: TimeOfDayConfig | None = None
    near_congestion: Fraction = 0.8
    """Utilisation from which a link counts as nearly congested."""
    heavy_usage: Fraction = 0.95


class CapabilityConfig(_Model):
    """P4P's capability interface: what the ISP offers to applications."""

    kind: Literal["cache", "server", "on-demand-server"]
    pid: PidName
    address: str
    capacity_bps: Positive | None = None


Costs = Mapping[PidName, Mapping[PidName, NotNegative]]
Groups = Mapping[PidName, Annotated[tuple[PidName, ...], Field(min_length=1)]]


class PortalConfig(_Model):
    """Everything that `python -m testbed.portal` reads.

    What is published comes from one of three: `topology` (a topology file; the portal is that of `isp` in
    it), `costs` (a map made by hand), or `links` and `external` with `pricing`.
    """

    isp: str
    asn: int = Field(default=0, ge=0)
    listen: Listen
    topology: Path | None = None
    """A topology file. Then `pids`, `links`, `external` and `costs` are not given."""
    pids: tuple[PidConfig, ...] = ()
    links: tuple[LinkConfig, ...] = ()
    external: tuple[ExternalConfig, ...] = ()
    intra_pid_distance: NotNegative = 0.0
    default_distance: NotNegative | None = None
    """Of a pair of PIDs without a route; without it the pair is left out."""
    costs: Costs | Path | None = None
    """Distances by source and destination PID, or the file (YAML or JSON) where they are."""
    aggregations: Mapping[ResourceId, Groups] = Field(default_factory=dict)
    """Further network maps by id: new PIDs, each of several PIDs of the full map. Others stay as they are."""
    metrics: tuple[Literal["hopcount", "delay-ow", "tput", "lossrate"], ...] | None = None
    """What is published beside routingcost, of a network whose links are known (RFC 9439). Default: all, or
    nothing where `disclosure` hides the exact distances."""
    pricing: PricingConfig = PricingConfig()
    disclosure: DisclosureConfig = DisclosureConfig()
    policy: PolicyConfig = PolicyConfig()
    capabilities: tuple[CapabilityConfig, ...] = ()
    access: AccessConfig = AccessConfig()
    faults: FaultsConfig = FaultsConfig()
    loads: SocketPath | None = None
    """The Unix socket of the controller, which knows the loads of the ISP's links."""
    control_socket: SocketPath | None = None
    """A Unix socket for GET /status and PUT /faults."""
    ready_file: Path | None = None
    distances_log: Path | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @model_validator(mode="after")
    def _names_fit(self) -> PortalConfig:
        if self.topology is not None:
            for key in ("pids", "links", "external", "costs"):
                if getattr(self, key):
                    raise ValueError(f"{key}: the topology says it; give one of the two")
            return self
        if not self.pids:
            raise ValueError("pids: give at least one, or a topology")
        own = [entry.pid for entry in self.pids]
        if len(own) != len(set(own)):
            raise ValueError("pids: a PID is given twice")
        pops = [pop for entry in self.pids for pop in entry.places]
        if len(pops) != len(set(pops)):
            raise ValueError("pids: a PoP is given twice")
        named = [end for link in self.links for end in (link.a, link.b)] + [way.exit for way in self.external]
        for name in named:
            if name not in pops:
                raise ValueError(f"'{name}' is none of this ISP's PoPs: {', '.join(pops)}")
        for way in self.external:
            if way.pid in own:
                raise ValueError(f"external: '{way.pid}' is one of this ISP's own PIDs")
        for link in self.links:
            if link.a == link.b:
                raise ValueError(f"links: '{link.a}' is linked to itself")
        PrefixTable((prefix, pid) for pid, prefixes in self.pid_prefixes().items() for prefix in prefixes)
        self._groups_fit()
        return self

    def _groups_fit(self) -> None:
        every = [entry.pid for entry in self.pids] + list(self.external_pids())
        for name, groups in self.aggregations.items():
            members = [pid for group in groups.values() for pid in group]
            for pid in members:
                if pid not in every:
                    raise ValueError(f"aggregations: {name}: there is no PID '{pid}'")
            if len(members) != len(set(members)):
                raise ValueError(f"aggregations: {name}: a PID is in two groups")
            for pid in groups:
                if pid in every and pid not in members:
                    raise ValueError(f"aggregations: {name}: '{pid}' is a PID that stays as it is")
        for offer in self.capabilities:
            if offer.pid not in every:
                raise ValueError(f"capabilities: there is no PID '{offer.pid}'")

    def external_pids(self) -> tuple[str, ...]:
        """The external PIDs, each once, in the order of the file."""
        return tuple(dict.fromkeys(way.pid for way in self.external))

    def pid_prefixes(self) -> dict[str, tuple[str, ...]]:
        """Prefixes of every PID, own ones first, each prefix of a PID once."""
        prefixes: dict[str, tuple[str, ...]] = {entry.pid: entry.prefixes for entry in self.pids}
        for way in self.external:
            prefixes[way.pid] = tuple(dict.fromkeys(prefixes.get(way.pid, ()) + way.prefixes))
        return prefixes
