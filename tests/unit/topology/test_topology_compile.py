from __future__ import annotations

from ipaddress import ip_address, ip_network
from itertools import pairwise
from pathlib import Path

import pytest
import small_topology
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import UserError
from testbed.spec.topology import PopSpec, load_topology
from testbed.topology.addressing import host_addresses, isp_prefixes, mac_of, pop_prefixes
from testbed.topology.compile import HostRequest, compile_network, great_circle_delay_s
from testbed.topology.model import Network


def test_a_compiled_network_survives_json(tmp_path: Path) -> None:
    network = small_topology.network(tmp_path)
    assert Network.from_json(network.to_json()) == network


def test_hosts_are_named_after_where_they_are_and_what_they_do(tmp_path: Path) -> None:
    network = small_topology.network(tmp_path)
    assert [host.id for host in network.hosts] == [
        "left.one.portal",
        "left.one.leecher1",
        "carrier.hub.tracker",
        "carrier.hub.seed1",
        "left.two.leecher1",
        "right.only.leecher1",
    ]


def test_every_host_lives_in_the_prefix_of_its_pop_and_that_in_its_isp(tmp_path: Path) -> None:
    network = small_topology.network(tmp_path)
    assert len({host.ip for host in network.hosts}) == len(network.hosts)
    for host in network.hosts:
        pop = network.pop_by_id[host.pop]
        assert ip_address(host.ip) in ip_network(pop.prefix)
        assert host.ip != pop.gateway_ip
        assert ip_network(pop.prefix).subnet_of(ip_network(network.isp_by_name[pop.isp].prefix))


def test_an_access_line_sends_up_from_the_host_and_down_from_the_pop(tmp_path: Path) -> None:
    network = small_topology.network(tmp_path)
    host = network.host_by_id["left.one.leecher1"]
    link = network.link_by_id[host.link]
    assert link.direction(host.id).rate_bps == 1_000_000
    assert link.direction(host.pop).rate_bps == 8_000_000
    with pytest.raises(ValueError, match="no end"):
        link.direction("carrier.hub")


def test_a_link_without_a_delay_takes_the_great_circle_at_two_thirds_of_light() -> None:
    # New York to Los Angeles: 3936 km, at 199,862 km/s.
    delay = great_circle_delay_s(PopSpec(at=(40.71, -74.01)), PopSpec(at=(34.05, -118.24)))
    assert delay == pytest.approx(3936e3 / 199_862e3, rel=0.002)
    assert great_circle_delay_s(PopSpec(at=(40.71, -74.01)), PopSpec()) == 0.0


def test_parallel_links_get_names_of_their_own(tmp_path: Path) -> None:
    line = "      - {between: [hub, edge], capacity: 50 Mbit/s, weight: 3}\n"
    text = small_topology.TEXT.replace(line, line + line)
    path = small_topology.write(tmp_path, text)
    network = compile_network(load_topology(path)[0])
    assert [link.id for link in network.links[:2]] == [
        "carrier.hub--carrier.edge",
        "carrier.hub--carrier.edge~2",
    ]


def test_given_prefixes_are_kept_and_others_avoid_them() -> None:
    given = ip_network("10.1.0.0/16")
    prefixes = isp_prefixes({"a": None, "b": given, "c": None})  # type: ignore[dict-item]
    assert [str(prefixes[name]) for name in "abc"] == ["10.2.0.0/16", "10.1.0.0/16", "10.3.0.0/16"]


@given(st.integers(1, 800))
def test_pops_get_disjoint_subnets_of_their_isp(count: int) -> None:
    parent = ip_network("10.7.0.0/16")
    names = [f"p{number}" for number in range(count)]
    subnets = list(pop_prefixes(parent, names).values())  # type: ignore[arg-type]
    assert len(subnets) == count
    assert all(subnet.subnet_of(parent) for subnet in subnets)
    ordered = sorted(subnets)
    assert all(not a.overlaps(b) for a, b in pairwise(ordered))


@given(st.integers(0, 16000))
def test_the_subnets_of_a_few_pops_have_room_for_the_hosts_of_the_largest(hosts: int) -> None:
    subnet = pop_prefixes(ip_network("10.7.0.0/16"), ["a", "b"], hosts)["b"]  # type: ignore[arg-type]
    assert len(host_addresses(subnet, hosts, "b")) == hosts


def test_a_pop_that_is_too_small_for_its_hosts_says_how_many_fit(tmp_path: Path) -> None:
    spec = small_topology.specification(tmp_path)
    with pytest.raises(UserError, match=r"left\.one has room for 16381 hosts .* 20000 are to live there"):
        compile_network(spec, [HostRequest("left.one", "leecher", "line")] * 20000)


def test_a_mac_address_is_local_and_made_of_the_address() -> None:
    address = host_addresses(ip_network("10.1.2.0/24"), 1, "pop")[0]  # type: ignore[arg-type]
    assert (str(address), mac_of(address)) == ("10.1.2.2", "02:00:0a:01:02:02")
