"""What a client may ask of the northbound API: a JSON text in, a checked request or the reason out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from testbed.controller.openflow import IP_TCP, IP_UDP
from testbed.controller.rules import BITTORRENT_PORT, TrafficClass
from testbed.topology.model import Direction, Link

MOST_BYTES = 65536
"""Of a request's body."""

_SLOWEST_BPS, _FASTEST_BPS = 1000, 10**12
_LONGEST_DELAY_S = 60.0
_PROTOCOLS = {"tcp": IP_TCP, "udp": IP_UDP}

Rate = Annotated[int, Field(ge=_SLOWEST_BPS, le=_FASTEST_BPS)]
Delay = Annotated[float, Field(ge=0, lt=_LONGEST_DELAY_S, allow_inf_nan=False)]
Loss = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Model = TypeVar("Model", bound=BaseModel)


class BadRequest(ValueError):
    """The request is malformed; the text says how."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DirectionPatch(_Request):
    """New values for one direction of a link; what is not named stays."""

    rate_bps: Rate | None = None
    delay_s: Delay | None = None
    loss: Loss | None = None


class LinkPatch(DirectionPatch):
    """PATCH /links/ID: a state, values for both directions, or for one."""

    state: Literal["up", "down"] | None = None
    forward: DirectionPatch | None = None
    backward: DirectionPatch | None = None


class PortClass(_Request):
    """Packets of a protocol to or from a port."""

    protocol: Literal["tcp", "udp"]
    port: Annotated[int, Field(ge=1, le=65535)]


class MeterSpec(_Request):
    """PUT /meters/NAME: what of an ISP's traffic passes at what rate, at each of its PoPs or at one."""

    isp: str
    pop: str | None = None
    traffic: Literal["bittorrent", "all"] | PortClass = Field(alias="class")
    direction: Literal["out", "in"] = "out"
    rate_bps: Rate

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(by_alias=True, exclude_none=True)

    def traffic_class(self) -> TrafficClass:
        if self.traffic == "all":
            return TrafficClass()
        if self.traffic == "bittorrent":
            return TrafficClass((IP_TCP, IP_UDP), BITTORRENT_PORT)
        assert isinstance(self.traffic, PortClass)
        return TrafficClass((_PROTOCOLS[self.traffic.protocol],), self.traffic.port)


_PARTS: dict[str, type[BaseModel]] = {
    "forward": DirectionPatch,
    "backward": DirectionPatch,
    "class": PortClass,
}


def parse(body: bytes, model: type[Model]) -> Model:
    """The body as a `model`. Raises BadRequest, which names the field, what is wrong and what is allowed."""
    try:
        data = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise BadRequest(f"the body has to be a JSON object with some of {_fields(model)}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise BadRequest("; ".join(_reason(item, model) for item in error.errors())) from None


def changed(link: Link, patch: LinkPatch) -> tuple[Direction, Direction]:
    """The two directions of a link after a patch. Raises BadRequest if it says nothing, or a thing twice."""
    both = patch.model_dump(include={"rate_bps", "delay_s", "loss"}, exclude_none=True)
    ways = []
    for name, now in (("forward", link.forward), ("backward", link.backward)):
        one: DirectionPatch | None = getattr(patch, name)
        own = one.model_dump(exclude_none=True) if one else {}
        twice = sorted(both.keys() & own.keys())
        if twice:
            raise BadRequest(f"{twice[0]} is given for both directions and for {name} as well: give it once")
        if one is not None and not own:
            raise BadRequest(f"{name} says nothing: give some of rate_bps, delay_s, loss")
        ways.append(replace(now, **both, **own))
    if patch.state is None and not both and patch.forward is None and patch.backward is None:
        raise BadRequest(f"nothing is asked for: give some of {_fields(LinkPatch)}")
    return ways[0], ways[1]


def _reason(item: Any, model: type[BaseModel]) -> str:
    place = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        inner: dict[str, type[BaseModel]] = {
            "forward": DirectionPatch,
            "backward": DirectionPatch,
            "class": PortClass,
        }
        at = inner.get(str(item["loc"][0]), model) if len(item["loc"]) > 1 else model
        return f"{place} is unknown; there are {_fields(at)}"
    return f"{place}: {item['msg']}"


def _fields(model: type[BaseModel]) -> str:
    return ", ".join(field.alias or name for name, field in model.model_fields.items())
