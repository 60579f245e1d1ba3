"""The `portals:` section of an experiment: what the ISPs' portals say, to whom, and what is wrong with them.

What stands there holds for all ISPs; `isps` has what is different for some. `PortalsSpec.of` joins the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from testbed.spec.fields import Name
from testbed.spec.loading import Spec
from testbed.spec.units import Delay, Duration, Share

Objective = Literal["static", "mlu", "bdp", "multihoming"]


_PATIENCE_S = 3.0


class PricingSpec(Spec):
    """What the p-distances of a portal are meant to do (docs/pricing.md)."""

    objective: Objective = "static"
    """`static` distances, or prices that follow the loads: `mlu` evens out links, `bdp` shortens ways within
    the capacities, `multihoming` keeps the bill of a 95th percentile low."""
    metric: Literal["weight", "hops", "delay", "length"] = "weight"
    """The distance of a link, for `static` and `bdp`."""
    update: Duration = Field(default=5.0, gt=0)
    """How often a portal reads its links' loads and publishes a new map. Default: 5 s."""
    projection: Literal["euclidean", "clip-normalise"] = "euclidean"
    """How prices are brought back to their scale."""
    step: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """How far an update moves the prices. Default: what suits the objective."""
    slot: Duration = Field(default=1.0, gt=0)
    """A billing slot of the trial, for `multihoming`. Default: 1 s."""
    period: int = Field(default=100, ge=2, le=100000)
    """Billing slots that the percentile is taken over, for `multihoming`."""


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

    def to_portal(self, seed: int) -> dict[str, Any]:
        """As `faults` of a portal's configuration."""
        return {**self.model_dump(exclude={"delay"}), "delay_s": self.delay, "seed": seed}


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

    @property
    def says_nothing(self) -> bool:
        """Whether the trial's tracker gets no map of it, or so late that its start can't wait for it."""
        return self.maps == "closed" or self.faults.absent or self.faults.delay > _PATIENCE_S


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
        """The settings of one ISP: what `isps` gives for it, and for the rest what holds for all."""
        common = {name: getattr(self, name) for name in PortalSettings.model_fields}
        own = self.isps.get(isp)
        given = {} if own is None else {name: getattr(own, name) for name in own.model_fields_set}
        return PortalSettings.model_construct(**{**common, **given})

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


def _slowed(pricing: PricingSpec, scale: float) -> PricingSpec:
    return pricing.model_copy(update={"update": pricing.update / scale, "slot": pricing.slot / scale})
