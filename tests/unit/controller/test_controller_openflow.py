"""What turns what a switch has into its program: against a model of a switch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_networks import failures, internets
from rule_interpreter import addressed

from testbed.controller.openflow import (
    COUNTED,
    Bucket,
    Change,
    Group,
    Installed,
    Meter,
    Output,
    Program,
    Rule,
    ToGroup,
    difference,
)
from testbed.controller.rules import ROUTE, Throttle, TrafficClass, switch_programs
from testbed.spec.topology import load_topology
from testbed.topology.compile import HostRequest, compile_network
from testbed.topology.routing import compute_routes

law = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
damaged = (
    internets(most_isps=3)
    .map(addressed)
    .flatmap(lambda network: st.tuples(st.just(network), failures(network), failures(network)))
)


@dataclass
class ModelSwitch:
    """A switch as OpenFlow 1.3.5 says it (6.4 to 6.6): a rule replaces one of the same match and priority."""

    rules: dict[object, Rule] = field(default_factory=dict)
    groups: dict[int, Group] = field(default_factory=dict)
    meters: dict[int, Meter] = field(default_factory=dict)
    replaced: list[Rule] = field(default_factory=list)

    @property
    def installed(self) -> Installed:
        cookies = frozenset(rule.cookie for rule in self.rules.values())
        return Installed(cookies, frozenset(self.groups), dict(self.meters))

    def add(self, change: Change) -> None:
        """Additions, each of which finds what it refers to."""
        for meter in change.add_meters:
            assert meter.id not in self.meters
            self.meters[meter.id] = meter
        for meter in change.modify_meters:
            assert meter.id in self.meters
            self.meters[meter.id] = meter
        for group in change.add_groups:
            assert group.id not in self.groups
            self.groups[group.id] = group
        for rule in change.add_rules:
            assert rule.meter is None or rule.meter in self.meters
            assert groups_of(rule) <= self.groups.keys()
            place = rule.table, rule.priority, frozenset(rule.match)
            self.replaced += [self.rules[place]] if place in self.rules else []
            self.rules[place] = rule

    def delete(self, change: Change) -> None:
        self.rules = {
            place: rule for place, rule in self.rules.items() if rule.cookie not in change.delete_cookies
        }
        for group in change.delete_groups:
            assert all(group not in groups_of(rule) for rule in self.rules.values()), "a rule would go too"
            del self.groups[group]
        for meter in change.delete_meters:
            assert all(meter != rule.meter for rule in self.rules.values()), "a rule would go too"
            del self.meters[meter]


def groups_of(rule: Rule) -> set[int]:
    return {action.group for action in rule.actions if isinstance(action, ToGroup)}


def switch_with(program: Program) -> ModelSwitch:
    switch = ModelSwitch()
    switch.add(difference(Installed(), program))
    assert not switch.replaced
    return switch


def check_brought(switch: ModelSwitch, wanted: Program) -> Change:
    """The switch is brought to its program, and what was right already has not been touched."""
    before = switch.installed
    change = difference(before, wanted)
    right = before.cookies & wanted.installed.cookies
    assert not right & {rule.cookie for rule in change.add_rules}
    assert not right & set(change.delete_cookies)
    switch.add(change)
    switch.delete(change)
    assert set(switch.rules.values()) == set(wanted.rules)
    assert set(switch.groups.values()) == set(wanted.groups)
    assert switch.meters == {meter.id: meter for meter in wanted.meters}
    assert not difference(switch.installed, wanted)
    return change


def test_what_a_switch_has_is_not_told_again() -> None:
    program = Program((Rule(0, 1, (), meter=2),), (group(1),), (Meter(2, 1000, 200),))
    assert not difference(program.installed, program)
    assert not difference(Installed(), Program(()))
    assert difference(Installed(), program) == Change(program.groups, program.meters, (), program.rules)


def group(port: int) -> Group:
    return Group((Bucket(port, (Output(port),)),))


def test_strays_go_and_a_changed_meter_stays_in_place() -> None:
    rule = Rule(0, 1, (), meter=2)
    program = Program((rule,), (), (Meter(2, 1000, 200),))
    has = Installed(
        frozenset({rule.cookie, 9, 7}), frozenset({5}), {2: Meter(2, 500, 200), 3: Meter(3, 1, 1)}
    )
    change = difference(has, program)
    assert change == Change(
        modify_meters=program.meters, delete_cookies=(7, 9), delete_groups=(5,), delete_meters=(3,)
    )
    assert change.adds
    assert change.deletes


def test_a_meter_in_packets_is_another_than_one_in_kilobits() -> None:
    program = Program((), (), (Meter(1, 100, 100, in_packets=True),))
    assert difference(Installed(meters={1: Meter(1, 100, 100)}), program).modify_meters == program.meters


@law
@given(damaged)
def test_any_program_is_reached_from_any_other(case: tuple) -> None:  # type: ignore[type-arg]
    network, first, second = case
    slow = [Throttle("slow", 2, pop.id, TrafficClass(), "out", 10**6) for pop in network.pops]
    fast = [Throttle("slow", 2, pop.id, TrafficClass(), "out", 10**7) for pop in network.pops[::2]]
    before = switch_programs(network, compute_routes(network, first), first, slow)
    after = switch_programs(network, compute_routes(network, second), second, fast)
    for pop, program in before.items():
        switch = switch_with(program)
        check_brought(switch, after[pop])
        check_brought(switch, program)


@law
@given(damaged)
def test_no_destination_is_without_a_rule_on_the_way(case: tuple) -> None:  # type: ignore[type-arg]
    """Between additions and deletions a switch has all that it had, but for what was replaced in place."""
    network, first, second = case
    before = switch_programs(network, compute_routes(network, first), first)
    after = switch_programs(network, compute_routes(network, second), second)
    for pop, program in before.items():
        switch = switch_with(program)
        switch.add(difference(switch.installed, after[pop]))
        there = {(rule.table, rule.priority, frozenset(rule.match)) for rule in switch.rules.values()}
        for rule in (*program.rules, *after[pop].rules):
            assert (rule.table, rule.priority, frozenset(rule.match)) in there


@given(st.sets(st.integers(0, 2**64 - 1), max_size=6))
def test_whatever_a_switch_has_the_change_leaves_the_program(strange: set[int]) -> None:
    rules = tuple(Rule(0, priority, ()) for priority in range(4))
    has = Installed(frozenset({rules[0].cookie, *strange}))
    change = difference(has, Program(rules))
    cookies = has.cookies - set(change.delete_cookies) | {rule.cookie for rule in change.add_rules}
    assert cookies == {rule.cookie for rule in rules}


# What a reroute costs.


def abilene() -> Mapping[str, Mapping[str, Program]]:
    """Programs of a shipped topology with four hosts a PoP, by the internal link that has failed."""
    spec = load_topology(Path(__file__).parents[3] / "topologies" / "abilene.yaml")[0]
    pops = [pop.id for pop in compile_network(spec).pops]
    network = compile_network(
        spec, [HostRequest(pop, "leecher", next(iter(spec.access), "cable")) for pop in pops * 4]
    )
    cases = [frozenset[str](), *(frozenset({link.id}) for link in network.core_links)]
    return {
        ",".join(failed): switch_programs(network, compute_routes(network, failed), failed)
        for failed in cases
    }


def test_a_reroute_touches_neither_hosts_nor_what_is_not_forwarding() -> None:
    by_failed = abilene()
    for failed, programs in by_failed.items():
        for pop, whole in by_failed[""].items():
            change = difference(whole.installed, programs[pop])
            assert all(
                not str(dict(rule.match).get("ipv4_dst", "")).endswith("/32") for rule in change.add_rules
            )
            labels = [rule for rule in change.add_rules if rule.table != ROUTE]
            assert all("eth_dst" in dict(rule.match) for rule in labels), failed
            gone = {rule.cookie: rule for rule in whole.rules if rule.cookie in change.delete_cookies}
            assert all(rule.table == ROUTE or "eth_dst" in dict(rule.match) for rule in gone.values())


@pytest.mark.parametrize("kind", ["add_rules", "delete_cookies"])
def test_a_reroute_changes_few_of_the_rules(kind: str) -> None:
    by_failed = abilene()
    total = sum(len(program.rules) for program in by_failed[""].values())
    for failed, programs in by_failed.items():
        changed = sum(
            len(getattr(difference(whole.installed, programs[pop]), kind))
            for pop, whole in by_failed[""].items()
        )
        assert changed <= (0.4 * total if failed else 0), (failed, changed, total)


def test_a_rules_cookie_says_whether_it_is_counted_and_all_that_it_says() -> None:
    plain = Rule(0, 1, (("eth_type", 0x0800),))
    others = [
        Rule(1, 1, plain.match),
        Rule(0, 2, plain.match),
        Rule(0, 1, ()),
        Rule(0, 1, plain.match, (Output(1),)),
        Rule(0, 1, plain.match, then=1),
        Rule(0, 1, plain.match, meter=1),
        Rule(0, 1, plain.match, counts="x"),
    ]
    assert len({plain.cookie, *(rule.cookie for rule in others)}) == 8
    assert others[-1].cookie & COUNTED == COUNTED
    assert all(rule.cookie >> 56 == 1 for rule in (plain, *others[:-1]))
    assert plain.cookie == Rule(0, 1, (("eth_type", 0x0800),)).cookie


@given(st.integers(1, 2**31))
def test_a_groups_number_is_one_that_openflow_allows(port: int) -> None:
    assert 1 <= group(port).id <= 0x7FFFFFFF
    assert group(port).id == group(port).id != group(port + 1).id


def test_values_are_shown_as_they_are() -> None:
    rule = Rule(3, 132, (("eth_type", 0x0800),), (ToGroup(4), Output(2)), meter=2, counts="unrouted")
    assert rule.to_json() == {
        **{"table": 3, "priority": 132, "cookie": f"{rule.cookie:#018x}", "match": {"eth_type": 0x0800}},
        "actions": [{"do": "ToGroup", "group": 4}, {"do": "Output", "port": 2}],
        **{"meter": 2, "counts": "unrouted"},
    }
    assert group(7).to_json()["buckets"] == [{"watch": 7, "actions": [{"do": "Output", "port": 7}]}]
    assert Meter(1, 100, 100, True).to_json() == {
        "meter": 1,
        "rate_packets_per_s": 100,
        "burst_packets": 100,
    }
