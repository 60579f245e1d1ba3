"""What a network becomes in the kernel, decided before anything is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import small_topology

from testbed.controller.rules import port_numbers
from testbed.emulation.blueprint import Blueprint, switch_groups
from testbed.emulation.capabilities import Engines
from testbed.topology.model import Network

TAG = "tb12ef"


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return small_topology.network(tmp_path)


def blueprint(
    network: Network, engines: Engines | None = None, cores: int = 4, ipv6: bool = True
) -> Blueprint:
    return Blueprint(
        TAG, network, port_numbers(network), engines or Engines("netdev", "none"), cores, "cubic", ipv6
    )


def test_every_name_is_the_kernels_length_at_most_and_carries_the_tag(network: Network) -> None:
    plan = blueprint(network)
    in_switches = {
        device.name for device in plan.devices.values() if device.namespace in plan.switch_namespaces.values()
    }
    names = [*in_switches, *plan.bridge_names.values()]
    assert len(names) == len(set(names))
    for name in names:
        assert name.startswith(TAG)
        assert len(name) <= 15
    assert all(name.startswith(f"{TAG}.") for name in plan.namespaces)
    assert len(plan.namespaces) == len(set(plan.namespaces)) == len(network.hosts) + len(plan.groups)


def test_every_veth_pair_is_made_once_with_its_ends_where_they_belong(network: Network) -> None:
    plan = blueprint(network)
    made = []
    for batch in plan.pair_batches():
        assert batch.program == "ip"
        for line in batch.lines:
            words = line.split()
            near, peer = words[3], words[8]
            far = words[10] if "netns" in words else batch.namespace
            made.append({(batch.namespace, near), (far, peer)})
    wanted = [
        {(plan.devices[link.id, end].namespace, plan.devices[link.id, end].name) for end in (link.a, link.b)}
        for link in network.links
    ]
    assert len(made) == len(wanted)
    assert all(made.count(pair) == 1 for pair in wanted)


@pytest.mark.parametrize("delay", ["none", "netem"])
def test_every_direction_of_every_link_is_shaped_at_its_sending_end(network: Network, delay: str) -> None:
    plan = blueprint(network, Engines("netdev", delay))  # type: ignore[arg-type]
    lines = {(batch.namespace, line) for batch in plan.shaping_batches() for line in batch.lines}
    delayed = [link for link in network.links if link.forward.delay_s or link.backward.delay_s]
    assert len(plan.wires) == (2 * len(delayed) if delay == "netem" else 0)
    assert len(lines) == 3 * 2 * len(network.links) + 3 * len(plan.wires)
    for link in network.links:
        for end in (link.a, link.b):
            device, direction = plan.devices[link.id, end], link.direction(end)
            mine = [
                line for place, line in lines if place == device.namespace and f" dev {device.name} " in line
            ]
            assert sum(f"rate {direction.rate_bps}bit" in line for line in mine) == 1
            assert not any("netem" in line for line in mine)
            if (link.id, end) in plan.wires:
                wire = plan.wires[link.id, end]
                netem = f"root handle 1: netem delay {direction.delay_s * 1e6:.0f}us"
                assert any(
                    line.startswith(f"qdisc add dev {wire.name} {netem}")
                    for place, line in lines
                    if place == wire.namespace
                )


def test_a_wire_stands_between_the_two_ends_of_a_link_that_has_a_delay(network: Network) -> None:
    plan = blueprint(network, Engines("system", "netem"))
    cables: dict[tuple[str, str], tuple[str, str]] = {}
    for batch in plan.pair_batches():
        for line in batch.lines:
            words = line.split()
            near = (batch.namespace, words[3])
            far = (words[10] if "netns" in words else batch.namespace, words[8])
            cables[near], cables[far] = far, near
    for link in network.links:
        for source, target in ((link.a, link.b), (link.b, link.a)):
            sender, receiver = plan.devices[link.id, source], plan.devices[link.id, target]
            there = cables[sender.namespace, sender.name]
            wire = plan.wires.get((link.id, source))
            if wire is None:
                assert there == (receiver.namespace, receiver.name)
                continue
            # What comes in at the near end of the wire leaves by the far one, whose netem delays it.
            assert there == (wire.namespace, wire.other)
            assert cables[wire.namespace, wire.name] == (receiver.namespace, receiver.name)
            assert len(wire.name) <= 15
            assert wire.name.startswith(TAG)


def test_with_a_delay_line_hosts_are_plugged_in_by_another_device_than_they_send_through(
    network: Network,
) -> None:
    plan = blueprint(network, Engines("netdev", "line"))
    assert [host.namespace for host in plan.line_hosts] == [f"{TAG}.{host.id}" for host in network.hosts]
    assert {(host.tap, host.uplink) for host in plan.line_hosts} == {("eth0", "up0")}
    made = " ".join(line for batch in plan.pair_batches() for line in batch.lines)
    assert made.count(" up0") == len(network.hosts)
    assert "eth0" not in made
    assert not plan.wires
    assert {plan.devices[host.link, host.id].name for host in network.hosts} == {"eth0"}


def test_a_network_without_any_delay_needs_no_delay_line(network: Network) -> None:
    links = tuple(
        replace(
            link, forward=replace(link.forward, delay_s=0.0), backward=replace(link.backward, delay_s=0.0)
        )
        for link in network.links
    )
    plan = blueprint(replace(network, links=links), Engines("netdev", "line"))
    assert not plan.has_delay_line
    assert plan.line_hosts == ()


def test_a_host_has_one_address_and_knows_its_gateway_without_asking(network: Network) -> None:
    host = network.host_by_id["left.two.leecher1"]
    pop = network.pop_by_id["left.two"]
    (batch,) = (b for b in blueprint(network).host_batches() if b.namespace == f"{TAG}.{host.id}")
    assert f"addr add {host.ip}/32 dev eth0" in batch.lines
    assert f"neigh add {pop.gateway_ip} lladdr {pop.gateway_mac} dev eth0 nud permanent" in batch.lines
    assert f"route add default via {pop.gateway_ip} dev eth0 congctl cubic" in batch.lines
    assert f"link set dev eth0 address {host.mac} gso_max_segs 1" in batch.lines


def test_interfaces_make_no_ipv6_addresses_and_a_kernel_without_ipv6_is_not_asked(network: Network) -> None:
    for ipv6 in (True, False):
        plan = blueprint(network, ipv6=ipv6)
        lines = [line for batch in (*plan.host_batches(), *plan.switch_batches()) for line in batch.lines]
        ups = [line for line in lines if line.endswith(" up") and " lo " not in line]
        assert len(ups) == 2 * len(network.links)
        for up in ups:
            before = up.removesuffix("up") + "addrgenmode none"
            assert (before in lines and lines.index(before) < lines.index(up)) is ipv6


def test_bridges_have_a_port_for_each_link_with_the_number_that_rules_name(network: Network) -> None:
    plan, ports = blueprint(network), port_numbers(network)
    for pop in network.pops:
        bridge = plan.bridges()[pop.id]
        assert bridge.datapath_id == pop.datapath_id
        assert {(port.device, port.number) for port in bridge.ports} == {
            (plan.devices[link.id, pop.id].name, ports[pop.id][link.id])
            for link in network.links
            if pop.id in (link.a, link.b)
        }


def test_isps_are_spread_over_half_the_cores_and_stay_whole(network: Network) -> None:
    for cores, count in ((1, 1), (2, 1), (4, 2), (6, 3), (64, 3)):
        groups = switch_groups(network, "netdev", cores)
        assert len(groups) == count
        assert sorted(pop for group in groups for pop in group.pops) == sorted(p.id for p in network.pops)
        for isp in network.isps:
            pops = {pop.id for pop in network.pops if pop.isp == isp.name}
            assert sum(bool(pops & set(group.pops)) for group in groups) == 1


def test_daemons_get_about_as_many_ports_each(network: Network) -> None:
    first, second = switch_groups(network, "netdev", 4)
    # carrier has 6 ends of links, left 7, right 2.
    assert {pop.split(".")[0] for pop in first.pops} == {"carrier", "right"}
    assert {pop.split(".")[0] for pop in second.pops} == {"left"}


def test_the_kernel_forwards_for_all_in_one_group(network: Network) -> None:
    assert len(switch_groups(network, "system", 64)) == 1


def test_links_inside_a_group_and_between_groups_name_the_right_namespaces(network: Network) -> None:
    plan = blueprint(network, cores=2)
    inside = [line for batch in plan.pair_batches() for line in batch.lines if "netns" not in line]
    assert len(inside) == len(network.core_links)
    assert all(batch.namespace == f"{TAG}.switches1" for batch in plan.pair_batches())


def test_hosts_leave_segmentation_to_the_kernels_datapath_alone(network: Network) -> None:
    assert blueprint(network, Engines("system", "none")).offload
    assert not blueprint(network).offload
