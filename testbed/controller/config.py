"""What the controller is told: one YAML file in, one `ControllerConfig` out."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from testbed.config_file import SocketPath


class ControllerConfig(BaseModel):
    """One controller. `topology` is the file that a trial keeps; it holds network and routes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    topology: Path
    # The Unix socket that switches connect to: it reaches across network namespaces.
    openflow_socket: SocketPath
    # The northbound API: JSON over HTTP on this Unix socket, which only the owner may open.
    socket: SocketPath
    # JSON lines, one for each reply of a switch with its port counters.
    counters: Path
    poll_interval_s: float = Field(default=1.0, gt=0)
    ready_file: Path | None = None
