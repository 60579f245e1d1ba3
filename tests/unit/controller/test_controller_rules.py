"""The program of the switches, walked packet by packet without a switch."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.controller.rules import (
    DecTtl,
    Output,
    Rule,
    SetField,
    port_numbers,
    reconcile,
    switch_rules,
)
from testbed.topology.model import Direction, Host, Isp, Link, Network, Pop
from testbed.topology.routes import Routes
from testbed.topology.routing import compute_routes

LINE = Direction(10_000_000)
TTL = 64


def network_of(pops_of_isps: Sequence[int], core: Sequence[tuple[str, str]], hosts_per_pop: int) -> Network:
    """ISPs a, b, ... with PoPs a.0, a.1, ...; `core` is ends of links; between ISPs the customer is first."""
    isps, pops, hosts = [], [], []
    links = [
        Link(
            f"{a}--{b}~{n}",
            "internal" if a[0] == b[0] else "interdomain",
            a,
            b,
            LINE,
            LINE,
            None if a[0] == b[0] else "customer-provider",
        )
        for n, (a, b) in enumerate(core)
    ]
    for i, count in enumerate(pops_of_isps):
        name = chr(ord("a") + i)
        isps.append(Isp(name, 65000 + i, f"10.{i + 1}.0.0/16"))
        for p in range(count):
            pop = f"{name}.{p}"
            pops.append(
                Pop(
                    pop,
                    name,
                    str(p),
                    f"10.{i + 1}.{p}.0/24",
                    f"10.{i + 1}.{p}.1",
                    f"02:00:00:{i:02x}:{p:02x}:01",
                    len(pops) + 1,
                )
            )
            for h in range(hosts_per_pop):
                host = Host(
                    f"{pop}.leecher{h}",
                    pop,
                    name,
                    "leecher",
                    f"10.{i + 1}.{p}.{h + 2}",
                    f"02:00:01:{i:02x}:{p:02x}:{h:02x}",
                    "line",
                    f"{pop}.leecher{h}--{pop}",
                )
                hosts.append(host)
                # Among the core links in the file: the numbering of ports must not depend on that.
                links.insert(0, Link(host.link, "access", host.id, pop, LINE, LINE))
    return Network("test", tuple(isps), tuple(pops), tuple(links), tuple(hosts))


def chosen(program: Sequence[Rule], destination: str) -> Rule:
    """The rule that a switch takes for an IPv4 packet: the matching one of highest priority."""

    def matches(rule: Rule) -> bool:
        fields = dict(rule.match)
        return fields.get("eth_type", 0x0800) == 0x0800 and IPv4Address(destination) in IPv4Network(
            str(fields.get("ipv4_dst", "0.0.0.0/0"))
        )

    matching = sorted((rule for rule in program if matches(rule)), key=lambda rule: -rule.priority)
    assert len(matching) == 1 or matching[0].priority > matching[1].priority, (
        "two rules of one priority match"
    )
    return matching[0]


def walk(
    network: Network, program: dict[str, tuple[Rule, ...]], source: Host, destination: str
) -> tuple[list[str], str, int, dict[str, str]]:
    """Core links taken, the host reached ("" if dropped), its TTL and the header fields that were set."""
    link_of_port = {
        pop: {port: link for link, port in ports.items()} for pop, ports in port_numbers(network).items()
    }
    here, ttl, links, fields = source.pop, TTL, [], {}
    while True:
        rule = chosen(program[here], destination)
        out = None
        for action in rule.actions:
            if isinstance(action, DecTtl):
                ttl -= 1
            elif isinstance(action, SetField):
                fields[action.field] = str(action.value)
            elif isinstance(action, Output):
                out = link_of_port[here][action.port]
        if out is None or ttl <= 0:
            return links, "", ttl, fields
        link = network.link_by_id[out]
        if link.kind == "access":
            return links, link.a, ttl, fields
        assert not links or out != links[-1], "sent back where it came from"
        links.append(out)
        here = link.other(here)


def check_everyone_is_reached(network: Network, routes: Routes) -> None:
    program = dict(switch_rules(network, routes))
    for source in network.hosts:
        for target in network.hosts:
            links, reached, ttl, fields = walk(network, program, source, target.ip)
            if source.pop != target.pop and not routes.reaches(source.pop, target.pop):
                assert reached == ""
                continue
            assert reached == target.id
            assert tuple(links) == routes.path(source.pop, target.pop)
            assert ttl == TTL - len(links) - 1
            assert fields == {
                "eth_src": network.pop_by_id[target.pop].gateway_mac,
                "eth_dst": target.mac,
            }


TWO_EXITS = network_of(
    (3, 2, 1),
    [("a.0", "a.1"), ("a.1", "a.2"), ("b.0", "b.1"), ("a.0", "b.0"), ("a.2", "b.1"), ("c.0", "b.0")],
    2,
)


def test_every_pair_of_hosts_is_joined_along_its_route() -> None:
    check_everyone_is_reached(TWO_EXITS, compute_routes(TWO_EXITS))


@pytest.mark.parametrize("failed", [link.id for link in TWO_EXITS.core_links])
def test_a_failed_link_leaves_the_routes_that_are_left_and_no_others(failed: str) -> None:
    check_everyone_is_reached(TWO_EXITS, compute_routes(TWO_EXITS, frozenset({failed})))


@st.composite
def networks(draw: st.DrawFn) -> Network:
    counts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    pops = [f"{chr(ord('a') + i)}.{p}" for i, count in enumerate(counts) for p in range(count)]
    inside = [(f"{pop[0]}.0", pop) for pop in pops if pop[2] != "0"]
    pairs = st.tuples(st.sampled_from(pops), st.sampled_from(pops)).filter(lambda ends: ends[0] != ends[1])
    # Customers have later letters, so that nobody is a customer of its own customer.
    between = [tuple(sorted(ends, reverse=True)) for ends in draw(st.lists(pairs, max_size=8))]
    return network_of(counts, [*inside, *((a, b) for a, b in between)], 1)


@settings(max_examples=60, deadline=None)
@given(networks())
def test_forwarding_follows_the_routes_of_any_network(network: Network) -> None:
    check_everyone_is_reached(network, compute_routes(network))


@settings(max_examples=60, deadline=None)
@given(networks())
def test_a_switch_has_as_many_rules_as_the_formula_says(network: Network) -> None:
    routes = compute_routes(network)
    for pop, program in switch_rules(network, routes).items():
        expected = 2 + sum(host.pop == pop for host in network.hosts)
        for isp in network.isps:
            pops = [other.id for other in network.pops if other.isp == isp.name and other.id != pop]
            towards = routes.next_links(pop)
            links = [towards[other] for other in pops if other in towards]
            if isp.name == network.isp_of_pop(pop) or len(links) < len(pops):
                expected += len(links)
            else:
                most = max(links.count(link) for link in links)
                expected += 1 + len(links) - most
        assert len(program) == expected


def test_any_exit_that_split_routes_need_is_an_exception_to_the_isps_prefix() -> None:
    # By hand, so that PoPs of b are left for by different links whatever the exit policy is.
    network = network_of((1, 3), [("b.0", "a.0"), ("b.1", "a.0"), ("b.0", "b.1"), ("b.0", "b.2")], 1)
    first, second, _, _ = (link.id for link in network.core_links)
    ends = {link.id: [link.a, link.b] for link in network.core_links}
    hops: dict[str, dict[str, str]] = {pop.id: {} for pop in network.pops}
    hops["a.0"] = {"b.0": first, "b.1": second, "b.2": first}
    program = switch_rules(network, Routes.from_json({"next_link": hops, "ends": ends}))["a.0"]
    ports = port_numbers(network)["a.0"]
    towards = {dict(rule.match)["ipv4_dst"]: rule for rule in program if "ipv4_dst" in dict(rule.match)}
    assert {prefix: rule.actions[-1] for prefix, rule in towards.items() if not prefix.endswith("/32")} == {
        "10.2.0.0/16": Output(ports[first]),
        "10.2.1.0/24": Output(ports[second]),
    }
    assert towards["10.2.1.0/24"].priority > towards["10.2.0.0/16"].priority


@pytest.mark.parametrize(
    "destination", ["10.1.0.1", "10.1.0.200", "10.9.0.2", "192.0.2.1", "255.255.255.255"]
)
def test_what_is_no_host_is_dropped(destination: str) -> None:
    program = dict(switch_rules(TWO_EXITS, compute_routes(TWO_EXITS)))
    for source in TWO_EXITS.hosts:
        assert walk(TWO_EXITS, program, source, destination)[1] == ""


def test_ports_of_the_core_come_first_and_do_not_depend_on_hosts() -> None:
    core = [("a.0", "a.1"), ("a.0", "a.2")]
    bare, full = network_of((3,), core, 0), network_of((3,), core, 3)
    for pop, ports in port_numbers(bare).items():
        assert list(ports.values()) == list(range(1, len(ports) + 1))
        assert port_numbers(full)[pop].items() >= ports.items()
        assert sorted(port_numbers(full)[pop].values()) == list(range(1, len(ports) + 4))


def test_a_rule_keeps_its_cookie_and_shares_it_with_no_other() -> None:
    routes = compute_routes(TWO_EXITS)
    for pop, program in switch_rules(TWO_EXITS, routes).items():
        cookies = [rule.cookie for rule in program]
        assert len(set(cookies)) == len(cookies)
        assert cookies == [rule.cookie for rule in switch_rules(TWO_EXITS, routes)[pop]]


def test_reconciling_adds_what_is_missing_and_deletes_what_is_strange() -> None:
    program = switch_rules(TWO_EXITS, compute_routes(TWO_EXITS))["a.0"]
    cookies = [rule.cookie for rule in program]
    assert not reconcile(cookies, program)
    change = reconcile([*cookies[1:], 7, 5, 7], program)
    assert change.add == program[:1]
    assert change.delete_cookies == (5, 7)
