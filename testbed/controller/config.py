"""What the controller is told: one YAML file in, one `ControllerConfig` out."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from testbed.config_file import SocketPath
from testbed.service import Listen, split_listen


def _loopback(listen: str) -> str:
    host, _ = split_listen(listen)
    with suppress(ValueError):
        if ip_address(host).is_loopback:
            return listen
    raise ValueError("the northbound API listens on a loopback address only, such as 127.0.0.1:8080")


class ControllerConfig(BaseModel):
    """One controller. `topology` is the file that a trial keeps; it holds network and routes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    topology: Path
    framework: Literal["ryu", "os-ken"] = "ryu"
    # The Unix socket that switches connect to: it reaches across network namespaces.
    openflow_socket: SocketPath
    # The northbound API: JSON over HTTP on this Unix socket, which only the owner may open, or on a loopback
    # address, or on both.
    socket: SocketPath | None = None
    listen: Annotated[Listen, AfterValidator(_loopback)] | None = None
    # Holds the word that writes need; without it nothing can be changed through the API.
    token_file: Path | None = None
    # Where rates, delays and losses are set; without it they can't be changed.
    link_agent: SocketPath | None = None
    # What clients have asked for, for the controller that comes after this one.
    state_file: Path | None = None
    # JSON lines: one for each poll of a switch; one for each event.
    counters: Path
    events: Path | None = None
    poll_interval_s: float = Field(default=1.0, gt=0)
    # What senders hand down at once; a meter's burst holds two.
    largest_frame_bytes: int = Field(default=1514, ge=60, le=262144)
    ready_file: Path | None = None

    @model_validator(mode="after")
    def _reachable(self) -> ControllerConfig:
        if self.socket is None and self.listen is None:
            raise ValueError("socket or listen: say where the northbound API is")
        return self
