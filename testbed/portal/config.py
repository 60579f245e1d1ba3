"""The portal's configuration file: what an ISP knows of itself, what it publishes, where and to whom.

In comes the YAML mapping, out a checked `PortalConfig`; every PID and PoP that is named elsewhere in the file
exists. docs/portal.md explains the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from testbed.config_file import SocketPath
from testbed.portal.prefixes import PrefixTable
from testbed.service import Listens
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


def _base_uri(uri: str) -> str:
    """Without the slash at its end, to which paths are added."""
    parts = urlsplit(uri)
    printable = uri.isascii() and uri.isprintable() and not set(uri) & set(' "<>\\^`{|}')
    if not printable or parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError(f"'{uri}' is no base URI: write https://alto.example.net:8443/")
    if "?" in uri or "#" in uri or parts.port == 0:  # `port` raises ValueError where it is none
        raise ValueError(f"'{uri}' is no base URI: it has a query, a fragment or port 0")
    return uri.rstrip("/")


BaseUri = Annotated[str, AfterValidator(_base_uri)]

MOST_CALENDAR_COSTS = 20_000_000
"""In one answer, which takes some 20 s and 0.5 GB to make."""
DEFAULT_MAP = "networkmap"


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
    length_km: NotNegative | None = None
    """None where it is not known."""
    cost: EachWay[NotNegative] | None = None
    """What `metric: cost` sums. Default: the weight."""


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

    rule: Literal["damped", "constant", "diminishing"] = "damped"
    """`damped`: steps shrink while the prices turn back, and grow again to `size` while they go on;
    clip-normalise has constant ones instead. `diminishing`: size / sqrt(update)."""
    size: Positive | None = None
    """Default: what suits the objective (docs/pricing.md)."""
    ahead: NotNegative = 3.0
    """What is published is so many steps ahead of the prices; 0 is the rule of the paper. `clip-normalise`
    is published as it is."""


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
    metric: Literal["weight", "hops", "delay", "length", "cost"] = "weight"
    """The distance d_e of a link: what `static` sums, and what `bdp` minimises."""
    interdomain_alone: bool = False
    """The distance to and from an external PID counts the way out alone, and not the way to it inside."""
    update_s: Positive = 10.0
    projection: Literal["euclidean", "clip-normalise"] = "euclidean"
    step: StepConfig = StepConfig()
    charging: ChargingConfig = ChargingConfig()

    @model_validator(mode="after")
    def _rules_fit(self) -> PricingConfig:
        if self.projection == "clip-normalise" and self.objective != "mlu":
            raise ValueError(
                f"clip-normalise is a projection of objective mlu; objective {self.objective} takes euclidean"
            )
        if self.objective == "multihoming" and self.update_s > self.charging.slot_s:
            raise ValueError(
                f"update_s is {self.update_s:g} and charging.slot_s {self.charging.slot_s:g}: a billing slot "
                "has to last for one update at least; make update_s shorter, or slots longer"
            )
        return self


class DisclosureConfig(_Model):
    """What the ISP does to its exact distances before anyone sees them."""

    perturbation: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.0
    """Each distance is multiplied by a random factor of 1 ± this, always the same for a pair."""
    levels: Annotated[int, Field(ge=2)] | None = None
    """Publish ranks in so many levels, 1 the nearest and 0 within a PID, instead of distances."""
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
    connections_per_client: Count = 100
    """Of one client address, an IPv6 client being its /64."""
    request_bytes: Count = 1_048_576
    streams: Count = 100
    """Update streams (RFC 8895) that are open at a time."""
    streams_per_client: Count = 10
    public_uri: BaseUri | None = None
    """Where clients reach this portal, if not at the addresses that it has itself: behind a proxy or NAT, or
    by the name that its certificate is for."""


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
    listen: Listens
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
        self._pricing_fits()
        PrefixTable((prefix, pid) for pid, prefixes in self.pid_prefixes().items() for prefix in prefixes)
        self._groups_fit()
        self._calendar_fits()
        return self

    def _pricing_fits(self) -> None:
        objective, every = self.pricing.objective, (*self.links, *self.external)
        for name, count in Counter(link.id for link in self.links if link.id).items():
            if count > 1:
                raise ValueError(f"links: the id '{name}' is given twice; loads are known by it")
        if self.costs is not None:
            if objective != "static":
                raise ValueError(
                    f"costs: objective {objective} makes the distances itself; leave `costs` out, or take "
                    "objective static"
                )
            return
        if objective in ("mlu", "bdp") and every and not any(way.capacity_bps for way in every):
            raise ValueError(
                f"pricing: objective {objective} is about the use of capacities, and no link has one; give "
                "capacity_bps"
            )
        if objective == "multihoming" and not self.external:
            raise ValueError(
                "pricing: objective multihoming is about the bill for ways out, and there is none; give "
                "`external`, or take another objective"
            )
        if objective != "mlu":
            self._metric_is_known()

    def _metric_is_known(self) -> None:
        metric, every = self.pricing.metric, (*self.links, *self.external)
        if metric == "delay" and every and not any(any(way.delay_s) for way in every):
            raise ValueError("pricing: metric delay: no link has one; give delay_s, or take another metric")
        if metric == "length":
            # Who is linked inside is apart. Two ISPs may meet in one house.
            nowhere = [f"links: '{link.a}' to '{link.b}'" for link in self.links if not link.length_km]
            nowhere += [
                f"external: '{way.exit}' to '{way.pid}'" for way in self.external if way.length_km is None
            ]
            if nowhere:
                raise ValueError(
                    f"{nowhere[0]}: its length is not known; give length_km (in a topology: `at` of both "
                    "PoPs), or take another pricing.metric than length"
                )

    def _groups_fit(self) -> None:
        every = [entry.pid for entry in self.pids] + list(self.external_pids())
        for name, groups in self.aggregations.items():
            if name == DEFAULT_MAP:
                raise ValueError(f"aggregations: '{name}' is the id of the full map; take another")
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

    def _calendar_fits(self) -> None:
        """Any client may ask for the calendar of all PIDs."""
        day = self.policy.time_of_day
        pids = len(self.pids) + len(self.external_pids()) + 1  # the last is `world`
        costs = pids**2 * len(day.factors) if day else 0
        if costs > MOST_CALENDAR_COSTS:
            raise ValueError(
                f"policy: time_of_day: intervals times pairs of PIDs are {costs} costs in one map, more than "
                f"{MOST_CALENDAR_COSTS}; give fewer factors"
            )

    def external_pids(self) -> tuple[str, ...]:
        """The external PIDs, each once, in the order of the file."""
        return tuple(dict.fromkeys(way.pid for way in self.external))

    def pid_prefixes(self) -> dict[str, tuple[str, ...]]:
        """Prefixes of every PID, own ones first, each prefix of a PID once."""
        prefixes: dict[str, tuple[str, ...]] = {entry.pid: entry.prefixes for entry in self.pids}
        for way in self.external:
            prefixes[way.pid] = tuple(dict.fromkeys(prefixes.get(way.pid, ()) + way.prefixes))
        return prefixes
