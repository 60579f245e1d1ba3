"""What a BitTorrent client of the testbed is told: one YAML file in, one `ClientConfig` out."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from testbed.config_file import SocketPath


def _ip_and_port(text: str) -> str:
    ip, _, port = text.partition(":")
    if not (IPv4Address(ip) and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError("is not <IPv4 address>:<port>")
    return text


class ClientConfig(BaseModel):
    """One client. Fields with a default have libtorrent's own, except where the comment says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str
    role: Literal["leecher", "seed"]
    listen: Annotated[str, AfterValidator(_ip_and_port)]
    torrent: Path
    # A seed's folder holds the whole content and is only read; a leecher's is its own, to write into.
    payload_folder: Path
    connections: int = Field(default=200, ge=2)
    unchoke_slots: int = Field(default=8, ge=1)
    # Most requests (of 16 KiB) outstanding at one neighbour.
    request_queue: int = Field(default=500, ge=2)
    # Most peers wanted of the tracker.
    numwant: int = Field(default=200, ge=0)
    # libtorrent has 300: it would ignore that a tracker asks a swarm of minutes to come back sooner.
    min_announce_interval_s: int = Field(default=5, ge=1)
    # Each of these three lets a client find neighbours behind the tracker's back. libtorrent has them on.
    peer_exchange: bool = False
    dht: bool = False
    local_discovery: bool = False
    # libtorrent has "prefer"; encryption costs CPU and changes nothing that is measured.
    encryption: Literal["off", "prefer"] = "off"
    transfers: Path
    record: Path
    progress_socket: SocketPath | None = None
    progress_interval_s: float = Field(default=1.0, gt=0)

    @property
    def listen_ip(self) -> str:
        return self.listen.partition(":")[0]
