"""Every rendered configuration file is one that its program takes, and says what the plan says."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import pytest
import small_experiment
import small_topology

from testbed.config_file import load_config
from testbed.controller.config import ControllerConfig
from testbed.errors import UserError
from testbed.peers.config import ClientConfig
from testbed.portal.config import PortalConfig
from testbed.topology.model import Network
from testbed.topology.routes import Routes
from testbed.tracker.config import TrackerConfig
from testbed.trial import configuration
from testbed.trial.configuration import Paths
from testbed.trial.plan import TrialPlan

HARSH = 'it\'s a "folder": {with} [all] # kinds, é'


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    # Sockets live in /run, whatever the results folder is called.
    made = Paths(tmp_path / HARSH, Path("/run/testbed/tb1234"), tmp_path / "memory")
    made.make()
    return made


def plans(folder: Path, *changes: tuple[str, str], topology: str = small_topology.TEXT) -> list[TrialPlan]:
    return list(small_experiment.plans(folder, *changes, topology=topology))


def test_the_topology_file_holds_network_and_routes(tmp_path: Path, paths: Paths) -> None:
    plan = plans(tmp_path)[0]
    configuration.write_topology(plan, paths)
    written = json.loads(paths.topology.read_text())
    assert Network.from_json(written["network"]) == plan.network
    assert Routes.from_json(written["routes"]) == plan.routes


@pytest.mark.parametrize("framework", ["ryu", "os-ken"])
def test_the_controllers_file_is_one_that_it_takes(tmp_path: Path, paths: Paths, framework: str) -> None:
    plan = plans(tmp_path, ("name: tiny", f"name: tiny\ncontroller: {framework}"))[0]
    file = configuration.write_controller(plan, paths, paths.run / "openflow.sock", 3028)
    config = load_config(file, ControllerConfig)
    assert config.topology == paths.topology
    assert config.openflow_socket == paths.run / "openflow.sock"
    assert config.counters.parent == paths.raw
    assert config.ready_file == paths.ready("controller")
    assert config.framework == framework
    assert config.largest_frame_bytes == 3028
    assert config.token_file == paths.controller_token


def test_the_token_is_its_owners_alone_and_another_each_time(tmp_path: Path) -> None:
    paths = Paths(tmp_path, tmp_path, tmp_path)
    words = set()
    for _ in range(2):
        configuration.write_token(paths)
        words.add(paths.controller_token.read_text())
    assert len(words) == 2
    assert paths.controller_token.stat().st_mode & 0o777 == 0o600


def test_each_portals_file_is_one_that_it_takes_and_covers_every_other_isp(
    tmp_path: Path, paths: Paths
) -> None:
    plan = plans(tmp_path)[0]
    for isp, host in plan.portal_hosts.items():
        config = load_config(configuration.write_portal(plan, paths, host), PortalConfig)
        assert config.isp == isp
        assert config.listen == f"{host.ip}:80"
        covered = {prefix for prefixes in config.pid_prefixes().values() for prefix in prefixes}
        assert {other.prefix for other in plan.network.isps if other.name != isp} <= covered
        assert {pop.prefix for pop in plan.network.pops if pop.isp == isp} <= covered


def test_the_trackers_file_is_one_that_it_takes_and_names_policy_and_portals(
    tmp_path: Path, paths: Paths
) -> None:
    change = ("[native, p4p]", "[native, {p4p: {gamma: 0.7}}]")
    without = small_topology.TEXT.replace("asn: 30", "asn: 30\n    portal: false")
    for plan in plans(tmp_path, change, topology=without):
        config = load_config(configuration.write_tracker(plan, paths), TrackerConfig)
        assert config.policy.name == plan.policy
        assert config.policy.parameters == ({} if plan.policy == "native" else {"gamma": 0.7})
        assert config.seed == plan.seed
        assert config.listen == f"{plan.tracker_host.ip}:6969"
        assert f"http://{config.listen}/announce" == configuration.announce_url(plan)
        assert config.interval_s == 10
        uris = {entry.isp: entry.uri for entry in config.portals}
        assert uris["left"] == f"http://{plan.portal_hosts['left'].ip}:80/"
        assert uris["right"] is None


def secret_paths(tmp_path: Path) -> Paths:
    made = Paths(tmp_path / "trial", tmp_path / "run", tmp_path / "memory")
    made.run.mkdir()
    made.make()
    return made


def test_what_portals_are_told_to_do_is_in_their_files(tmp_path: Path, paths: Paths) -> None:
    portals = """portals:
  pricing: {objective: mlu, metric: hops, update: 2 s, step: 0.5, projection: clip-normalise}
  perturbation: 0.1
  isps:
    left:
      pricing: {objective: multihoming, projection: euclidean, slot: 3 s, period: 50}
      levels: 5
      faults: {stale: true}
"""
    plan = plans(tmp_path, ("timeout: 60 s", f"timeout: 60 s\n{portals}"))[0]
    found = {
        isp: load_config(configuration.write_portal(plan, paths, host), PortalConfig)
        for isp, host in plan.portal_hosts.items()
    }
    right, left = found["right"], found["left"]
    assert (right.pricing.objective, right.pricing.update_s, right.pricing.step.size) == ("mlu", 2, 0.5)
    assert (right.pricing.projection, right.pricing.metric) == ("clip-normalise", "hops")
    assert left.faults.seed == left.disclosure.seed == plan.seed, (
        "another in each repeat, one for all policies"
    )
    assert (right.disclosure.perturbation, right.disclosure.levels) == (0.1, None)
    assert (left.pricing.objective, left.disclosure.levels, left.faults.stale) == ("multihoming", 5, True)
    assert (left.pricing.charging.slot_s, left.pricing.charging.period_slots) == (3, 50)
    assert left.loads == right.loads == paths.controller_socket
    assert left.control_socket != right.control_socket


def test_https_has_the_runs_own_authority_which_the_tracker_trusts(tmp_path: Path) -> None:
    paths = secret_paths(tmp_path)
    plan = plans(tmp_path, ("timeout: 60 s", "timeout: 60 s\nportals: {https: true}"))[0]
    configuration.write_secrets(plan, paths)
    for host in plan.portal_hosts.values():
        config = load_config(configuration.write_portal(plan, paths, host), PortalConfig)
        assert config.listen.endswith(":443")
        assert config.access.tls is not None
        chain = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        chain.load_cert_chain(config.access.tls.certificate, config.access.tls.key)
    tracker = load_config(configuration.write_tracker(plan, paths), TrackerConfig)
    assert {entry.authority_file for entry in tracker.portals} == {paths.authority}
    assert all(entry.uri and entry.uri.startswith("https://") for entry in tracker.portals)
    assert paths.secrets.stat().st_mode & 0o77 == 0
    assert not list((tmp_path / "trial").rglob("*key*"))


def test_a_password_is_for_the_tracker_and_a_closed_map_is_for_others(tmp_path: Path) -> None:
    paths = secret_paths(tmp_path)
    portals = "portals: {maps: password, isps: {left: {maps: closed}, right: {maps: open}}}"
    plan = plans(tmp_path, ("timeout: 60 s", f"timeout: 60 s\n{portals}"))[0]
    configuration.write_secrets(plan, paths)
    tracker = load_config(configuration.write_tracker(plan, paths), TrackerConfig)
    logins = {entry.isp: entry.user for entry in tracker.portals}
    assert logins == {"carrier": "tracker", "left": None, "right": None}
    files = {
        isp: load_config(configuration.write_portal(plan, paths, host), PortalConfig).access.digest_file
        for isp, host in plan.portal_hosts.items()
    }
    assert files["right"] is None
    assert files["carrier"] is not None
    assert files["carrier"].read_text().startswith("tracker:")
    assert files["left"] is not None
    assert not files["left"].read_text().startswith("tracker:")


@pytest.mark.parametrize(
    "client",
    [
        "client: {connections: 2, unchoke_slots: 1, request_queue: 2}",
        "client: {encryption: prefer, peer_exchange: true, dht: true, local_discovery: true}",
    ],
)
def test_each_clients_file_is_one_that_it_takes(tmp_path: Path, paths: Paths, client: str) -> None:
    plan = plans(tmp_path, ("timeout: 60 s", f"timeout: 60 s\n{client}"))[0]
    for host in plan.network.hosts:
        if host.role not in ("leecher", "seed"):
            continue
        payload = paths.memory / host.id
        file = configuration.write_client(plan, paths, host, paths.memory / "x.torrent", payload)
        config = load_config(file, ClientConfig)
        assert (config.host, config.role) == (host.id, host.role)
        assert config.listen == f"{host.ip}:6881"
        assert config.payload_folder == payload
        assert config.numwant == plan.experiment.tracker.numwant
        spec = plan.experiment.client
        for name in ("connections", "unchoke_slots", "request_queue", "peer_exchange", "dht", "encryption"):
            assert getattr(config, name) == getattr(spec, name), name


@pytest.mark.parametrize(
    "words",
    [
        "client: {connections: 1}",
        "client: {request_queue: 1}",
        "portals: {refresh: 0 s}",
        "timeout: 0 s",
    ],
)
def test_what_a_program_would_refuse_is_refused_before_anything_is_built(tmp_path: Path, words: str) -> None:
    with pytest.raises(UserError, match=r"tiny\.yaml:14: "):
        plans(tmp_path, ("timeout: 60 s", words))


def test_announce_intervals_below_a_second_still_make_a_valid_file(tmp_path: Path, paths: Paths) -> None:
    plan = plans(tmp_path, ("interval: 10 s", "interval: 100 ms"))[0]
    config = load_config(configuration.write_tracker(plan, paths), TrackerConfig)
    assert (config.interval_s, config.min_interval_s) == (1, 1)
