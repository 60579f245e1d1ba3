"""The tracker's configuration file: where it listens, how it picks peers, which portals it reads.

In comes the YAML mapping, out a checked `TrackerConfig`; the policy and its parameters are checked when it is
loaded.
"""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from testbed.service import Listen


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PolicyConfig(_Model):
    """A policy by name (or `module:function`) and its parameters."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class IspConfig(_Model):
    """One ISP: the prefix by which its addresses are known, and its portal's directory if it has one.

    `authority_file` (PEM) is whose certificates the portal's must be signed by, beside those that the system
    trusts. `user` and the first line of `password_file` are for HTTP Digest (RFC 7616).
    """

    isp: str
    prefix: Annotated[str, AfterValidator(lambda prefix: str(ip_network(prefix)))]
    uri: str | None = Field(default=None, pattern=r"^https?://")
    authority_file: Path | None = None
    user: str | None = None
    password_file: Path | None = None

    @model_validator(mode="after")
    def _user_and_password(self) -> IspConfig:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("give user and password_file, or neither")
        return self


class TrackerConfig(_Model):
    """Everything that `python -m testbed.tracker` reads."""

    listen: Listen
    ready_file: Path | None = None
    control_socket: Path | None = None
    announce_log: Path | None = None
    policy: PolicyConfig
    seed: int
    interval_s: int = Field(default=1800, ge=1)
    min_interval_s: int = Field(default=60, ge=1)
    max_numwant: int = Field(default=50, ge=1)
    portals: tuple[IspConfig, ...] = ()
    refresh_s: float = Field(default=30.0, gt=0)
    stale_after_s: float = Field(default=120.0, gt=0)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @model_validator(mode="after")
    def _times_and_names_fit(self) -> TrackerConfig:
        if self.min_interval_s > self.interval_s:
            raise ValueError("min_interval_s is more than interval_s")
        if self.stale_after_s < self.refresh_s:
            raise ValueError("stale_after_s is less than refresh_s: every map would be stale in between")
        for what in ("isp", "prefix"):
            values = [getattr(entry, what) for entry in self.portals]
            if len(values) != len(set(values)):
                raise ValueError(f"portals: the same {what} is given twice")
        return self
