from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from itertools import pairwise
from pathlib import Path

import pytest
import small_topology
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import UserError
from testbed.spec.topology import load_topology
from testbed.topology.addressing import host_addresses, isp_prefixes, mac_of, pop_prefixes
from testbed.topology.compile import HostRequest, compile_network, great_circle_delay_s
from testbed.topology.model import Direction, Network


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
    delay = great_circle_delay_s((40.71, -74.01), (34.05, -118.24))
    assert delay == pytest.approx(3936e3 / 199_862e3, rel=0.002)
    assert great_circle_delay_s((40.71, -74.01), None) == 0.0


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


@given(st.integers(1, 6000))
def test_isps_get_disjoint_prefixes_as_large_as_there_is_room_for(count: int) -> None:
    prefixes = list(isp_prefixes({f"isp{number}": None for number in range(count)}).values())
    assert len({prefix.prefixlen for prefix in prefixes}) == 1
    assert prefixes[0].prefixlen == max(16, 8 + count.bit_length())
    assert all(not a.overlaps(b) for a, b in pairwise(sorted(prefixes)))
    assert ip_network("10.0.0.0/24").overlaps(prefixes[0]) is False


def test_a_pop_keeps_the_prefix_that_it_is_given_and_others_avoid_it() -> None:
    wanted = {"a": None, "b": ip_network("10.7.1.0/24"), "c": None}
    prefixes = pop_prefixes(ip_network("10.7.0.0/16"), wanted)  # type: ignore[arg-type]
    assert [str(prefixes[pop]) for pop in "abc"] == ["10.7.2.0/24", "10.7.1.0/24", "10.7.3.0/24"]


def test_pops_share_what_a_large_given_prefix_leaves() -> None:
    wanted = {"a": ip_network("10.7.128.0/17"), "b": None, "c": None, "d": None}
    prefixes = pop_prefixes(ip_network("10.7.0.0/16"), wanted, 20000)  # type: ignore[arg-type]
    ordered = sorted(prefixes.values())
    assert all(not a.overlaps(b) for a, b in pairwise(ordered))
    assert str(prefixes["a"]) == "10.7.128.0/17"


@given(st.integers(1, 800))
def test_pops_get_disjoint_subnets_of_their_isp(count: int) -> None:
    parent = ip_network("10.7.0.0/16")
    wanted = {f"p{number}": None for number in range(count)}
    subnets = list(pop_prefixes(parent, wanted).values())  # type: ignore[arg-type]
    assert len(subnets) == count
    assert all(subnet.subnet_of(parent) for subnet in subnets)
    ordered = sorted(subnets)
    assert all(not a.overlaps(b) for a, b in pairwise(ordered))


@given(st.integers(0, 16000))
def test_the_subnets_of_a_few_pops_have_room_for_the_hosts_of_the_largest(hosts: int) -> None:
    subnet = pop_prefixes(ip_network("10.7.0.0/16"), {"a": None, "b": None}, hosts)["b"]  # type: ignore[arg-type]
    assert len(host_addresses(subnet, hosts, "b")) == hosts


def test_a_pop_that_is_too_small_for_its_hosts_says_how_many_fit(tmp_path: Path) -> None:
    spec = small_topology.specification(tmp_path)
    with pytest.raises(UserError, match=r"left\.one has room for 16381 hosts .* 20000 are to live there"):
        compile_network(spec, [HostRequest("left.one", "leecher", "line")] * 20000)


def test_a_mac_address_is_local_and_made_of_the_address() -> None:
    address = host_addresses(ip_network("10.1.2.0/24"), 1, "pop")[0]  # type: ignore[arg-type]
    assert (str(address), mac_of(address)) == ("10.1.2.2", "02:00:0a:01:02:02")


def compiled(folder: Path, old: str, new: str) -> Network:
    assert old in small_topology.TEXT
    path = small_topology.write(folder, small_topology.TEXT.replace(old, new, 1))
    return compile_network(load_topology(path)[0])


def test_the_two_directions_of_a_link_may_differ(tmp_path: Path) -> None:
    there_and_back = (
        "capacity: [20 Mbit/s, 5 Mbit/s], delay: [1 ms, 3 ms], weight: [2, 4], "
        "background: [0.5 Mbit/s, 4 Mbit/s]"
    )
    network = compiled(tmp_path, "capacity: 20 Mbit/s, weight: 2", there_and_back)
    link = network.link_by_id["left.one--left.two"]
    assert link.forward == Direction(19_500_000, 0.001, 2.0, 500_000)
    assert link.backward == Direction(1_000_000, 0.003, 4.0, 4_000_000)
    assert link.backward.capacity_bps == 5_000_000
    assert link.backward.utilisation(500_000) == pytest.approx(0.9)


def test_loss_and_queue_of_each_direction_are_a_share_and_packets_or_bytes(tmp_path: Path) -> None:
    given_both = "capacity: 20 Mbit/s, weight: 2, loss: 0.5 %, queue: [50 packets, 64 KiB]"
    link = compiled(tmp_path, "capacity: 20 Mbit/s, weight: 2", given_both).link_by_id["left.one--left.two"]
    assert (link.forward.loss, link.backward.loss) == (0.005, 0.005)
    assert (link.forward.queue_packets, link.forward.queue_bytes) == (50, None)
    assert (link.backward.queue_packets, link.backward.queue_bytes) == (None, 65536)


def test_a_queue_in_time_is_that_at_the_rate_which_background_load_leaves(tmp_path: Path) -> None:
    loaded = "capacity: 5 Mbit/s\n    queue: 20 ms\n    background: [1 Mbit/s, 3 Mbit/s]\n    tariff"
    network = compiled(tmp_path, "capacity: 5 Mbit/s\n    tariff", loaded)
    link = network.link_by_id["left.one--carrier.hub"]
    assert (link.forward.queue_bytes, link.backward.queue_bytes) == (10_000, 5_000)


def test_an_access_line_gives_loss_and_queue_towards_the_host_first(tmp_path: Path) -> None:
    line = "delay: 2 ms, loss: [1 %, 2 %], queue: [80 ms, 30 packets]}"
    text = small_topology.TEXT.replace("delay: 2 ms}", line)
    spec, _ = load_topology(small_topology.write(tmp_path, text))
    network = compile_network(spec, small_topology.REQUESTS)
    link = network.link_by_id["left.one.leecher1--left.one"]
    assert link.backward == Direction(8_000_000, 0.002, loss=0.01, queue_bytes=80_000)
    assert link.forward == Direction(1_000_000, 0.002, loss=0.02, queue_packets=30)
    assert Network.from_json(json.loads(json.dumps(network.to_json()))) == network


def test_a_network_written_before_there_were_loss_and_queues_is_read(tmp_path: Path) -> None:
    network = small_topology.network(tmp_path)
    data = network.to_json()
    for link in data["links"]:
        for way in ("forward", "backward"):
            for key in ("loss", "queue_bytes", "queue_packets"):
                del link[way][key]
    assert Network.from_json(data) == network


@pytest.mark.parametrize(
    ("pids", "expected"),
    [
        ("pop", ["left:one", "left:two", "left:three"]),
        ("metro", ["left:north", "left:two", "left:north"]),
        ("isp", ["left", "left", "left"]),
        ("{far: [two], near: [one, three]}", ["left:near", "left:far", "left:near"]),
    ],
)
def test_an_isp_groups_its_pops_into_pids(tmp_path: Path, pids: str, expected: list[str]) -> None:
    network = compiled(
        tmp_path,
        """\
      one: {at: [51.0, 0.0]}
      two: {at: [53.0, -2.0]}
    links:
""",
        f"""\
      one: {{at: [51.0, 0.0], metro: north}}
      two: {{at: [53.0, -2.0]}}
      three: {{metro: north}}
    pids: {pids}
    links:
      - {{between: [one, three], capacity: 1 Mbit/s}}
""",
    )
    assert [pop.pid for pop in network.pops if pop.isp == "left"] == expected
    assert len({pop.pid for pop in network.pops if pop.isp != "left"}) == 3


def test_an_exchange_point_without_a_place_makes_no_detour(tmp_path: Path) -> None:
    only = "ixps: {nowhere: {members: {left.one: 1 Mbit/s, carrier.hub: 1 Mbit/s}}}\naccess:"
    text = small_topology.TEXT.replace("access:", only)
    text = text.replace(
        "customer-provider\n    capacity: 5 Mbit/s\n    tariff: {kind: percentile-95, price: 2}",
        "peer-peer\n    capacity: 5 Mbit/s",
    )
    network = compile_network(load_topology(small_topology.write(tmp_path, text))[0])
    link = next(link for link in network.core_links if link.ixp)
    assert link.forward.delay_s == great_circle_delay_s((51.0, 0.0), (50.0, 8.0)) > 0


def test_members_of_an_exchange_point_peer_in_pairs_over_its_place(tmp_path: Path) -> None:
    text = small_topology.TEXT.replace("only: {}", "only: {at: [40.0, 5.0]}")
    text = text.replace(
        "access:",
        """\
ixps:
  middle:
    at: [50.0, 0.0]
    members: {left.one: 3 Mbit/s, left.two: 2 Mbit/s, right.only: 1 Mbit/s, carrier.hub: 9 Mbit/s}
access:""",
    )
    network = compile_network(load_topology(small_topology.write(tmp_path, text))[0])
    peerings = [link for link in network.core_links if link.ixp]
    # Both ISPs buy from carrier, so they do not peer with it; the two PoPs of left do not with each other.
    assert [(link.id, link.ixp, link.forward.rate_bps) for link in peerings] == [
        ("left.one--right.only", "middle", 1_000_000),
        ("left.two--right.only", "middle", 1_000_000),
    ]
    assert all(link.relationship == "peer-peer" and link.kind == "interdomain" for link in peerings)
    there, back = (
        great_circle_delay_s((51.0, 0.0), (50.0, 0.0)),
        great_circle_delay_s((50.0, 0.0), (40.0, 5.0)),
    )
    assert peerings[0].forward.delay_s == pytest.approx(there + back)
    assert Network.from_json(network.to_json()) == network
