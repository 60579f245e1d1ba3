"""The `portals:` section of an experiment: what the ISPs' portals say, to whom, and what is wrong with them.

What stands there holds for all ISPs; `isps` has what is different for some. `PortalsSpec.of` joins the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from testbed.errors import Problem
from testbed.spec.fields import Name
from testbed.spec.loading import Document, Spec, SpecT, unknown
from testbed.spec.topology import TopologySpec
from testbed.spec.units import Delay, Duration, Share

Objective = Literal["static", "mlu", "bdp", "multihoming"]


class StepSpec(Spec):
    """How far an update moves the prices (docs/pricing.md)."""

    rule: Literal["damped", "constant", "diminishing"] = "damped"
    """`damped`: steps shrink while prices turn back. `diminishing`: size / sqrt(update). Default: damped."""
    size: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Default: what suits the objective."""
    ahead: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """How many steps ahead of the prices the published ones are. Default: what suits the objective."""


def _size(value: Any) -> Any:
    return {"size": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class PricingSpec(Spec):
    """What the p-distances of a portal are meant to do (docs/pricing.md)."""

    objective: Objective = "static"
    """`static` distances, or prices that follow the loads: `mlu` evens out links, `bdp` shortens ways within
    the capacities, `multihoming` keeps the bill of a 95th percentile low."""
    metric: Literal["weight", "hops", "delay", "length"] = "weight"
    """The distance of a link, for `static` and `bdp`."""
    update: Duration = Field(default=5.0, ge=1)
    """How often a portal reads its links' loads and publishes a new map, from 1 s. Default: 5 s."""
    projection: Literal["euclidean", "clip-normalise"] = "euclidean"
    """How prices are brought back to their scale."""
    step: Annotated[StepSpec, BeforeValidator(_size)] = StepSpec()
    """How far an update moves the prices: a size, or {size, rule, ahead}. Default: what suits."""
    slot: Duration | None = Field(default=None, gt=0)
    """A billing slot of the trial, for `multihoming`, no less than `update`. Default: `update`."""
    period: int = Field(default=100, ge=2, le=100000)
    """Billing slots that the percentile is taken over, for `multihoming`. Default: 100."""
    percentile: float = Field(default=95.0, gt=0, le=100)
    """The percentile of the slots that is billed, for `multihoming`. Default: 95."""

    @property
    def billing_slot_s(self) -> float:
        """The slot, where none is given that of an update."""
        return float(self.update if self.slot is None else self.slot)

    def to_portal(self) -> dict[str, Any]:
        """As `pricing` of a portal's configuration."""
        return {
            "objective": self.objective,
            "metric": self.metric,
            "update_s": self.update,
            "projection": self.projection,
            "step": self.step.model_dump(exclude_none=True),
            "charging": {
                "slot_s": self.billing_slot_s,
                "period_slots": self.period,
                "percentile": self.percentile,
            },
        }


class FaultsSpec(Spec):
    """What is wrong with a portal, on purpose."""

    stale: bool = False
    """Its maps stay as they were when this was set; from the start on, as they were first."""
    noise: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Costs are multiplied by e to the power of a normal variate with this standard deviation."""
    inverted: bool = False
    """It says that what is near is far."""
    selfish: float = Field(default=1.0, ge=1, allow_inf_nan=False)
    """Costs to other ISPs are multiplied by this: the ISP lies in its favour."""
    missing: Share = 0.0
    """The share of the ISP's PIDs that is not in the map, such as 30 %."""
    delay: Delay = 0.0
    """How much later each answer comes."""
    absent: bool = False
    """It hangs up on everyone."""

    def to_portal(self) -> dict[str, Any]:
        """As `faults` of a portal's configuration, but for the seed, which is the trial's."""
        return {**self.model_dump(exclude={"delay"}), "delay_s": self.delay}


def _objective(value: Any) -> Any:
    return {"objective": value} if isinstance(value, str) else value


class PortalSettings(Spec):
    """How a portal is set up."""

    pricing: Annotated[PricingSpec, BeforeValidator(_objective)] = PricingSpec()
    """An objective, or {objective: mlu, update: 5 s} and more."""
    maps: Literal["open", "password", "closed"] = "open"
    """Who may read its maps: anyone; who has a password, as the tracker has; others than this tracker."""
    perturbation: float = Field(default=0.0, ge=0, lt=1, allow_inf_nan=False)
    """Distances are published up to this share too high or too low."""
    levels: int | None = Field(default=None, ge=2)
    """Distances are published as ranks in so many levels. Default: as they are."""
    faults: FaultsSpec = FaultsSpec()
    """What is wrong with it. Default: nothing."""


class PortalsSpec(PortalSettings):
    """The ISPs' portals: one an ISP, in a host at its first PoP."""

    access: Name = "server"
    """An access profile of the topology."""
    refresh: Duration = Field(default=10.0, gt=0)
    """How often the tracker asks them. Default: 10 s."""
    https: bool = False
    """Whether they speak HTTPS, with certificates of the run's own authority."""
    isps: Mapping[Name, PortalSettings] = Field(default_factory=dict)
    """What is different for some ISPs."""

    def of(self, isp: str) -> PortalSettings:
        """The settings of one ISP: what `isps` gives for it, and for the rest what holds for all.

        Also inside `pricing` and `faults`: who gives a `step` of its own keeps the common objective.
        """
        common = PortalSettings.model_construct(
            **{name: getattr(self, name) for name in PortalSettings.model_fields}
        )
        own = self.isps.get(isp)
        return common if own is None else _joined(common, own)

    def slowed(self, scale: float) -> PortalsSpec:
        """The same with times divided by `scale`, which is what a trial at scaled rates takes."""
        changed: dict[str, Any] = {
            "refresh": self.refresh / scale,
            "pricing": _slowed(self.pricing, scale),
            "isps": {
                isp: own.model_copy(update={"pricing": _slowed(own.pricing, scale)})
                if "pricing" in own.model_fields_set
                else own
                for isp, own in self.isps.items()
            },
        }
        return self.model_copy(update=changed)


def _joined(common: SpecT, own: SpecT) -> SpecT:
    """`common` with what was given in `own`, at any depth."""
    changed = {}
    for name in own.model_fields_set:
        before, given = getattr(common, name), getattr(own, name)
        nested = isinstance(before, Spec) and isinstance(given, Spec)
        changed[name] = _joined(before, given) if nested else given
    return common.model_copy(update=changed)


def _slowed(pricing: PricingSpec, scale: float) -> PricingSpec:
    times = {name: getattr(pricing, name) for name in ("update", "slot")}
    slowed = {name: value / scale for name, value in times.items() if value is not None}
    return pricing.model_copy(update=slowed)


def problems_in_portals(
    portals: PortalsSpec, document: Document, topology: TopologySpec
) -> Iterator[Problem]:
    """What is wrong with the section beyond each value, each problem with its line."""
    for name in portals.isps:
        where = document.where(("portals", "isps", name))
        if name not in topology.isps:
            yield unknown("ISP", name, topology.isps, where)
        elif not topology.isps[name].portal:
            yield Problem(f"ISP {name} has no portal: the topology says 'portal: false'", where)
    for name, isp in topology.isps.items():
        if isp.portal:
            where = document.where(("portals", "isps", name) if name in portals.isps else ("portals",))
            yield from _problems_in_pricing(portals.of(name).pricing, name, where)


def _problems_in_pricing(pricing: PricingSpec, isp: str, where: str) -> Iterator[Problem]:
    if pricing.objective == "multihoming" and pricing.billing_slot_s < pricing.update:
        what = f"portal of {isp}: a billing slot of {pricing.slot:g} s is over before an update of"
        yield Problem(f"{what} {pricing.update:g} s", where, mend="make slot as long as update, or longer")
    if pricing.projection == "clip-normalise" and pricing.objective != "mlu":
        what = f"portal of {isp}: clip-normalise is a projection of mlu, and the objective is"
        yield Problem(f"{what} {pricing.objective}", where, mend="leave projection out")
