"""What the controller knows: failed links, meters, what the one before was asked for; its configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_control import LINK, network

import testbed
from testbed.config_file import load_config
from testbed.controller.config import ControllerConfig
from testbed.controller.fabric import Asked, Fabric, MeterState, asked_from, load_topology
from testbed.controller.requests import MeterSpec
from testbed.controller.rules import TTL_METER, switch_programs
from testbed.errors import UserError
from testbed.topology.model import Direction
from testbed.topology.routing import compute_routes

ROUTES = compute_routes(network())
INSIDE = "left.one--left.two"


def fabric(asked: Asked | None = None) -> Fabric:
    return Fabric(network(), ROUTES, compute_routes, asked=asked)


def meter(isp: str = "left", **more: Any) -> MeterSpec:
    return MeterSpec.model_validate({"isp": isp, "class": "all", "rate_bps": 5000, **more})


# Links.


def test_a_core_link_is_down_while_either_of_its_ports_is() -> None:
    one = fabric()
    assert one.port_is("left.one", LINK, True)
    assert not one.port_is("left.one", LINK, True)
    assert not one.port_is("carrier.hub", LINK, True)
    assert one.failed == {LINK}
    assert not one.port_is("left.one", LINK, False)
    assert one.port_down("carrier.hub", LINK)
    assert one.failed == {LINK}
    assert one.port_is("carrier.hub", LINK, False)
    assert one.failed == frozenset()
    assert not one.port_is("carrier.hub", LINK, False)


def test_an_access_link_that_is_down_is_no_failure_of_the_core() -> None:
    one, host = fabric(), network().hosts[0]
    assert one.port_is(host.pop, host.link, True)
    assert one.is_down(host.link)
    assert one.failed == frozenset()
    assert one.link_json(host.link)["state"] == "down"


def test_routes_and_programs_follow_the_failed_links_when_planned() -> None:
    one = fabric()
    before = one.programs
    one.port_is("left.one", LINK, True)
    assert (one.programs, one.planned_failed) == (before, frozenset())
    one.plan()
    assert one.planned_failed == {LINK}
    assert one.programs == switch_programs(network(), compute_routes(network(), frozenset({LINK})), {LINK})
    assert not one.routes.reaches("left.one", "carrier.hub")
    one.port_is("left.one", LINK, False)
    one.plan()
    assert one.programs == before


def test_directions_change_what_is_shown_and_not_the_programs() -> None:
    one = fabric()
    before = one.programs
    one.set_directions(LINK, Direction(2000, 0.1, loss=0.2), Direction(3000))
    assert one.link_json(LINK)["forward"] == {
        "from": "left.one",
        "rate_bps": 2000,
        "delay_s": 0.1,
        "loss": 0.2,
    }
    assert one.network.link_by_id[LINK].backward == Direction(3000)
    assert [link.id for link in one.network.links] == [link.id for link in network().links]
    one.plan()
    assert one.programs == before


# Meters.


def test_meters_have_numbers_of_their_own_that_stay_when_others_go() -> None:
    one = fabric()
    for name in "abc":
        one.meters[name] = MeterState(meter(), one.number_for(name))
    numbers = {name: state.number for name, state in one.meters.items()}
    assert numbers == {"a": 2, "b": 3, "c": 4}
    del one.meters["b"]
    assert (one.number_for("a"), one.number_for("c"), one.number_for("d")) == (2, 4, 3)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=30))
def test_no_two_meters_have_one_number(steps: list[tuple[str, bool]]) -> None:
    one = fabric()
    for name, there in steps:
        if there:
            one.meters[name] = MeterState(meter(), one.number_for(name))
        else:
            one.meters.pop(name, None)
        numbers = [state.number for state in one.meters.values()]
        assert len(set(numbers)) == len(numbers)
        assert TTL_METER not in numbers
        assert all(number <= 7 for number in numbers)


def test_a_meter_is_at_every_pop_of_its_isp_or_at_one() -> None:
    one = fabric()

    def pops(number: int) -> set[str]:
        return {
            pop
            for pop, program in one.programs.items()
            if any(meter.id == number for meter in program.meters)
        }

    one.meters["all"] = MeterState(meter("left"), 2)
    one.meters["one"] = MeterState(meter("carrier", pop="carrier.edge", direction="in"), 3)
    assert pops(2) == set()
    one.plan()
    assert (pops(2), pops(3)) == ({"left.one", "left.two"}, {"carrier.edge"})


# What the next controller takes over.


def asked_again(one: Fabric) -> Fabric:
    return fabric(asked_from(json.loads(json.dumps(one.asked_json())), network()))


def test_nothing_asked_for_is_nothing_to_take_over() -> None:
    assert fabric().asked_json() == {"down": [], "failed": [], "meters": {}, "directions": {}}
    assert asked_again(fabric()).asked_json() == fabric().asked_json()


def test_what_was_asked_for_goes_on_under_the_next_controller() -> None:
    one = fabric()
    one.asked_down.add(INSIDE)
    one.port_is("left.one", INSIDE, True)
    one.port_is("right.only", "right.only--carrier.edge", True)
    way = Direction(2000, 0.1, weight=network().link_by_id[LINK].forward.weight, loss=0.2)
    one.set_directions(LINK, way, network().link_by_id[LINK].backward)
    one.meters["b"] = MeterState(meter(pop="left.two", direction="in"), 3)
    one.meters["a"] = MeterState(meter(**{"class": {"protocol": "udp", "port": 53}}), 2)
    one.plan()
    two = asked_again(one)
    assert two.asked_json() == one.asked_json()
    assert two.failed == one.failed == {INSIDE, "right.only--carrier.edge"}
    assert two.planned_failed == two.failed
    assert two.programs == one.programs
    assert two.links == one.links
    assert two.meters == one.meters
    assert two.asked_down == {INSIDE}


def test_a_link_that_healed_meanwhile_is_up_when_both_switches_say_so() -> None:
    one = fabric()
    one.port_is("left.one", LINK, True)
    two = asked_again(one)
    assert not two.port_is("left.one", LINK, False)
    assert two.port_is("carrier.hub", LINK, False)
    assert two.failed == frozenset()


@pytest.mark.parametrize(
    "change",
    [
        {"failed": ["a--b"]},
        {"failed": None},
        {"down": None},
        {"directions": {"a--b": [{}, {}]}},
        {"directions": {LINK: [{}]}},
        {"directions": {LINK: [{"speed": 1}, {}]}},
        {"meters": {"m": {"number": 2}}},
        {"meters": {"m": {"number": "x", "spec": {"isp": "left", "class": "all", "rate_bps": 5000}}}},
        {"meters": {"m": {"number": 2, "spec": {"isp": "left", "class": "all", "rate_bps": 5}}}},
        {"meters": []},
        {"directions": []},
    ],
    ids=str,
)
def test_what_is_no_such_file_is_said_so(change: dict[str, Any]) -> None:
    data = {**fabric().asked_json(), **change}
    with pytest.raises((KeyError, TypeError, ValueError)):
        asked_from(data, network())


@pytest.mark.parametrize("missing", ["down", "failed", "meters", "directions"])
def test_a_part_that_is_missing_is_said_so(missing: str) -> None:
    data = fabric().asked_json()
    del data[missing]
    with pytest.raises(KeyError):
        asked_from(data, network())


# Names and files.


def test_a_pop_is_found_by_its_hosts_and_addresses() -> None:
    one = fabric()
    for host in network().hosts:
        assert one.pop_of_name[host.id] == one.pop_of_name[host.ip] == host.pop
    for pop in network().pops:
        assert one.pop_of_name[pop.id] == one.pop_of_name[pop.gateway_ip] == pop.id
    assert one.isp_of_pop["left.one"] == "left"
    assert one.by_datapath[network().pops[0].datapath_id].pop == network().pops[0].id


def test_a_topology_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "topology.json"
    path.write_text(json.dumps({"network": network().to_json(), "routes": ROUTES.to_json()}))
    assert load_topology(path) == (network(), ROUTES)


def test_a_file_that_is_no_topology_is_the_users_error(tmp_path: Path) -> None:
    path = tmp_path / "topology.json"
    for text in ("", "{}", "[]", '{"network": {"name": 1}, "routes": {}}'):
        path.write_text(text)
        with pytest.raises(UserError, match="no compiled topology"):
            load_topology(path)
    with pytest.raises(UserError, match="can't be read"):
        load_topology(tmp_path / "absent")


TEMPLATE = Path(testbed.__file__).parent / "templates" / "controller.yaml.j2"
VALUES: dict[str, Any] = {
    "topology": Path("/run/topology.json"),
    "framework": "os-ken",
    "openflow_socket": Path("/run/of.sock"),
    "socket": Path("/run/api.sock"),
    "token_file": Path("/run/to ken: '\""),
    "link_agent": Path("/run/links.sock"),
    "state_file": Path("/run/state.json"),
    "counters": Path("/run/counters.jsonl"),
    "events": Path("/run/events.jsonl"),
    "ready_file": Path("/run/ready"),
    "poll_interval_s": 0.5,
    "largest_frame_bytes": 65000,
}


def test_the_template_makes_a_valid_configuration(tmp_path: Path) -> None:
    path = tmp_path / "controller.yaml"
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    path.write_text(environment.from_string(TEMPLATE.read_text()).render(**VALUES))
    config = load_config(path, ControllerConfig)
    assert config.model_dump(exclude={"listen"}) == VALUES
    assert config.listen is None


def written(folder: Path, **more: Any) -> Path:
    path = folder / "controller.yaml"
    least = {"topology": "t.json", "openflow_socket": "of.sock", "counters": "c.jsonl"}
    path.write_text(json.dumps({**least, **more}))
    return path


@pytest.mark.parametrize("listen", ["127.0.0.1:8080", "127.9.9.9:0", "[::1]:80"])
def test_it_listens_on_the_loopback(tmp_path: Path, listen: str) -> None:
    assert load_config(written(tmp_path, listen=listen), ControllerConfig).listen == listen


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:8080", "10.0.0.1:80", "[::]:80", "localhost:80", "127.0.0.1", ":80"]
)
def test_it_listens_nowhere_else(tmp_path: Path, listen: str) -> None:
    with pytest.raises(UserError, match="listen"):
        load_config(written(tmp_path, listen=listen), ControllerConfig)


def test_it_has_to_listen_somewhere(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="socket or listen: say where the northbound API is"):
        load_config(written(tmp_path), ControllerConfig)


@pytest.mark.parametrize(
    "more",
    [{"framework": "pox"}, {"largest_frame_bytes": 59}, {"poll_interval_s": 0}, {"link_agent": "x" * 108}],
    ids=str,
)
def test_a_wrong_value_is_named(tmp_path: Path, more: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(more))):
        load_config(written(tmp_path, socket="s", **more), ControllerConfig)


def test_a_wrong_configuration_lists_every_problem(tmp_path: Path) -> None:
    path = tmp_path / "controller.yaml"
    path.write_text(f"topology: t.json\nsocket: /{'x' * 120}\nkounters: c\npoll_interval_s: 0\n")
    with pytest.raises(UserError) as refused:
        load_config(path, ControllerConfig)
    text = str(refused.value)
    for part in ("socket", "107 bytes", "kounters", "the keys topology", "counters", "poll_interval_s"):
        assert part in text
    path.write_text("a: [\n")
    with pytest.raises(UserError, match=r"controller\.yaml:\d"):
        load_config(path, ControllerConfig)
