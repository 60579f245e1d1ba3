"""P4P's policy and capability interfaces (Xie et al. 2008, section 3) as ALTO-style resources.

In comes what is published, out come two entries that answer GET with media types of their own, which
docs/alto.md explains: how the ISP wants its network used, and what it offers to applications.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from testbed.portal.alto import encoding
from testbed.portal.alto.model import Entry, Published
from testbed.portal.config import CapabilityConfig, PolicyConfig

POLICY_TYPE = "application/p4p-policy+json"
CAPABILITY_TYPE = "application/p4p-capability+json"


def entries(published: Published, named: Callable[[str], str]) -> tuple[Entry, ...]:
    """The policy, and the capabilities, whose PIDs are of the default network map."""
    default = published.network_maps[0]
    policy = {"meta": {}, "p4p-policy": {**_isp(published), **_policy(published.policy)}}
    offers = [_offer(offer) for offer in published.capabilities if offer.pid in default.prefixes]
    capabilities = {"meta": {"dependent-vtags": [encoding.vtag(default)]}, "p4p-capability": offers}
    return (
        Entry(
            id=named("p4p-policy"),
            path="/p4p/policy",
            answers=POLICY_TYPE,
            answer=encoding.always(encoding.document(POLICY_TYPE, policy)),
        ),
        Entry(
            id=named("p4p-capability"),
            path="/p4p/capability",
            answers=CAPABILITY_TYPE,
            answer=encoding.always(encoding.document(CAPABILITY_TYPE, capabilities)),
            uses=(default.id,),
        ),
    )


def _isp(published: Published) -> dict[str, Any]:
    return {"isp": published.isp, **({"asn": published.asn} if published.asn else {})}


def _policy(policy: PolicyConfig) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "near-congestion": encoding.plain(policy.near_congestion),
        "heavy-usage": encoding.plain(policy.heavy_usage),
    }
    if policy.time_of_day is not None:
        shown["time-of-day"] = {
            "time-interval-size": encoding.plain(policy.time_of_day.interval_s),
            "factors": [encoding.plain(factor) for factor in policy.time_of_day.factors],
        }
    return shown


def _offer(offer: CapabilityConfig) -> dict[str, Any]:
    shown: dict[str, Any] = {"kind": offer.kind, "pid": offer.pid, "address": offer.address}
    if offer.capacity_bps is not None:
        shown["capacity-bps"] = encoding.plain(offer.capacity_bps)
    return shown
