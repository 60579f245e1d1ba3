"""Every process's configuration, rendered from `testbed/templates/` into the trial's folder.

A trial's plan comes in; files that a person can read, and start the program with by hand, come out.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import trustme

import testbed
from testbed.portal.access import REALM, digest_line
from testbed.portal.view import portal_config
from testbed.topology.model import Host, Isp, Network
from testbed.trial import record
from testbed.trial.plan import TrialPlan

CLIENT_PORT = 6881
_HTTP_PORT, _HTTPS_PORT = 80, 443
_USER = "tracker"
TRACKER_PORT = 6969
COUNTERS_INTERVAL_S = 1.0


@dataclass(frozen=True)
class Paths:
    """Where a trial keeps things: `folder` stays; `run` (sockets) and `memory` (downloads) go."""

    folder: Path
    run: Path
    memory: Path

    @property
    def config(self) -> Path:
        return self.folder / record.CONFIG

    @property
    def logs(self) -> Path:
        return self.folder / record.LOGS

    @property
    def raw(self) -> Path:
        """What processes write while the trial runs; the trial's tables are made of it."""
        return self.folder / "raw"

    @property
    def topology(self) -> Path:
        return self.folder / record.TOPOLOGY

    @property
    def progress_socket(self) -> Path:
        return self.run / "progress.sock"

    @property
    def controller_socket(self) -> Path:
        return self.run / "controller.sock"

    @property
    def controller_token(self) -> Path:
        return self.run / "controller.token"

    @property
    def link_agent_socket(self) -> Path:
        return self.run / "links.sock"

    @property
    def tracker_socket(self) -> Path:
        return self.run / "tracker.sock"

    def portal_socket(self, network: Network, isp: str) -> Path:
        """By number: a Unix socket's path has little room for names."""
        return self.run / f"portal{[item.name for item in network.isps].index(isp)}.sock"

    @property
    def authority(self) -> Path:
        """The certificate of the run's own authority, which signs those of portals that speak HTTPS."""
        return self.config / "authority.pem"

    @property
    def secrets(self) -> Path:
        """Keys and passwords, which are nobody's business and end with the run."""
        return self.run / "secrets"

    def ready(self, name: str) -> Path:
        return self.run / f"{name}.ready"

    def make(self) -> None:
        for folder in (self.config, self.logs, self.raw, self.memory):
            folder.mkdir(parents=True, exist_ok=True)


def write_topology(plan: TrialPlan, paths: Paths) -> None:
    text = json.dumps({"network": plan.network.to_json(), "routes": plan.routes.to_json()}, indent=1)
    paths.topology.write_text(text, encoding="utf-8")


def write_controller(plan: TrialPlan, paths: Paths, openflow_socket: Path, largest_frame_bytes: int) -> Path:
    return _render(
        paths,
        "controller.yaml.j2",
        "controller",
        {
            "topology": paths.topology,
            "framework": plan.experiment.controller,
            "openflow_socket": openflow_socket,
            "socket": paths.controller_socket,
            "token_file": paths.controller_token,
            "link_agent": paths.link_agent_socket,
            "state_file": paths.run / "controller.state.json",
            "counters": paths.raw / "counters.jsonl",
            "events": paths.raw / "controller-events.jsonl",
            "poll_interval_s": COUNTERS_INTERVAL_S,
            "largest_frame_bytes": largest_frame_bytes,
            "ready_file": paths.ready("controller"),
        },
    )


def write_secrets(plan: TrialPlan, paths: Paths) -> None:
    """The run's own certificates, and passwords of portals that want one, in files for the owner alone."""
    paths.secrets.mkdir(mode=0o700, exist_ok=True)
    portals = plan.experiment.portals
    if portals.https:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(paths.authority))
        for isp, host in plan.portal_hosts.items():
            issued = authority.issue_cert(host.ip)
            chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
            (paths.secrets / f"{isp}.certificate.pem").write_bytes(chain)
            issued.private_key_pem.write_to_path(str(paths.secrets / f"{isp}.key.pem"))
    for isp in plan.portal_hosts:
        maps = portals.of(isp).maps
        if maps != "open":
            user = _USER if maps == "password" else "others"
            password = secrets.token_urlsafe()
            (paths.secrets / f"{isp}.digest").write_text(digest_line(user, REALM, password) + "\n")
            (paths.secrets / f"{isp}.password").write_text(password + "\n")


def write_portal(plan: TrialPlan, paths: Paths, host: Host) -> Path:
    settings = plan.experiment.portals.of(host.isp)
    access: dict[str, Any] = {}
    if plan.experiment.portals.https:
        pem = {name: paths.secrets / f"{host.isp}.{name}.pem" for name in ("certificate", "key")}
        access["tls"] = pem
    if settings.maps != "open":
        access["digest_file"] = paths.secrets / f"{host.isp}.digest"
    view = portal_config(
        plan.network,
        plan.routes,
        host.isp,
        listen=f"{host.ip}:{portal_port(plan)}",
        pricing=settings.pricing.to_portal(),
        disclosure={
            "perturbation": settings.perturbation,
            "levels": settings.levels,
            "seed": plan.seed,
        },
        access=access,
        faults={**settings.faults.to_portal(), "seed": plan.seed},
        loads=paths.controller_socket,
        control_socket=paths.portal_socket(plan.network, host.isp),
        ready_file=paths.ready(host.id),
        distances_log=paths.raw / f"{host.id}.distances.jsonl",
    )
    return _render(paths, "portal.yaml.j2", host.id, view.model_dump(mode="json"))


def portal_port(plan: TrialPlan) -> int:
    return _HTTPS_PORT if plan.experiment.portals.https else _HTTP_PORT


def _portal_of(plan: TrialPlan, paths: Paths, isp: Isp) -> dict[str, Any]:
    """What the tracker knows of an ISP and its portal."""
    known: dict[str, Any] = {"isp": isp.name, "prefix": isp.prefix, "uri": None}
    host = plan.portal_hosts.get(isp.name)
    if host is not None:
        https = plan.experiment.portals.https
        known["uri"] = f"{'https' if https else 'http'}://{host.ip}:{portal_port(plan)}/"
        if https:
            known["authority_file"] = str(paths.authority)
        if plan.experiment.portals.of(isp.name).maps == "password":
            known["user"] = _USER
            known["password_file"] = str(paths.secrets / f"{isp.name}.password")
    return known


def write_tracker(plan: TrialPlan, paths: Paths) -> Path:
    tracker = plan.experiment.tracker
    interval_s = max(1, round(tracker.interval))
    refresh_s = plan.experiment.portals.refresh
    return _render(
        paths,
        "tracker.yaml.j2",
        plan.tracker_host.id,
        {
            "listen": f"{plan.tracker_host.ip}:{TRACKER_PORT}",
            "ready_file": paths.ready(plan.tracker_host.id),
            "control_socket": paths.tracker_socket,
            "announce_log": paths.raw / "announces.jsonl",
            "policy": {"name": plan.policy, "parameters": dict(plan.parameters)},
            "seed": plan.seed,
            "interval_s": interval_s,
            "min_interval_s": max(1, interval_s // 2),
            "max_numwant": tracker.numwant,
            "portals": [_portal_of(plan, paths, isp) for isp in plan.network.isps],
            "refresh_s": refresh_s,
            "stale_after_s": 4 * refresh_s,
            "log_level": "INFO",
        },
    )


def announce_url(plan: TrialPlan) -> str:
    return f"http://{plan.tracker_host.ip}:{TRACKER_PORT}/announce"


def write_client(plan: TrialPlan, paths: Paths, host: Host, torrent: Path, payload: Path) -> Path:
    spec = plan.experiment
    settings = {
        **spec.client.model_dump(exclude={"program"}),
        "numwant": spec.tracker.numwant,
        "min_announce_interval_s": max(1, round(spec.tracker.interval) // 2),
    }
    return _render(
        paths,
        "client.yaml.j2",
        host.id,
        {
            "host": host,
            "port": CLIENT_PORT,
            "torrent": torrent,
            "payload_folder": payload,
            "client": settings,
            "transfers": paths.raw / f"{host.id}.transfers",
            "record": paths.raw / f"{host.id}.json",
            "progress_socket": paths.progress_socket,
        },
    )


_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(testbed.__file__).parent / "templates"),
    undefined=jinja2.StrictUndefined,
    autoescape=False,  # these are YAML files, whose templates quote with `tojson`
    keep_trailing_newline=True,
)


def write_token(paths: Paths) -> None:
    """Make up the word that changes of the network need, in a file that its owner alone can read."""
    descriptor = os.open(paths.controller_token, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(secrets.token_urlsafe() + "\n")


def _render(paths: Paths, template: str, name: str, variables: Mapping[str, Any]) -> Path:
    path = paths.config / f"{name}.yaml"
    path.write_text(_TEMPLATES.get_template(template).render(**variables), encoding="utf-8")
    return path
