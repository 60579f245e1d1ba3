"""The one transaction that makes all bridges."""

from __future__ import annotations

from itertools import groupby

from testbed.emulation.ovs import Bridge, Port, connection, transaction

BRIDGES = (
    Bridge("tb1s0", 1, (Port("tb1l0a", 1), Port("tb1l1b", 7))),
    Bridge("tb1s1", 255, ()),
)


def commands(datapath: str = "netdev") -> list[list[str]]:
    return split(transaction(BRIDGES, datapath))


def split(words: list[str]) -> list[list[str]]:
    return [list(group) for separator, group in groupby(words, lambda word: word == "--") if not separator]


def test_each_bridge_speaks_openflow_1_3_and_is_silent_without_rules() -> None:
    for bridge, datapath_id in (("tb1s0", f"{1:016x}"), ("tb1s1", f"{255:016x}")):
        assert ["add-br", bridge] in commands()
        (settings,) = (c for c in commands() if c[:3] == ["set", "bridge", bridge])
        assert {
            "datapath_type=netdev",
            "fail_mode=secure",
            "protocols=OpenFlow13",
            f"other-config:datapath-id={datapath_id}",
            "other-config:disable-in-band=true",
        } == set(settings[3:])
    assert any("datapath_type=system" in command for command in commands("system"))


def test_each_bridge_gets_the_controller_that_it_soon_looks_for_again() -> None:
    assert split(connection(BRIDGES, "unix:/run/x.sock")) == [
        command
        for bridge in ("tb1s0", "tb1s1")
        for command in (
            ["set-controller", bridge, "unix:/run/x.sock"],
            ["set", "controller", bridge, "max_backoff=1000", "inactivity_probe=10000"],
        )
    ]


def test_each_port_gets_its_number_and_keeps_its_qdisc() -> None:
    for device, number in (("tb1l0a", 1), ("tb1l1b", 7)):
        assert ["add-port", "tb1s0", device] in commands()
        assert ["set", "interface", device, f"ofport_request={number}"] in commands()
        assert ["set", "port", device, "qos=@hands-off"] in commands()
    assert commands()[0] == ["--id=@hands-off", "create", "qos", "type=linux-noop"]


def test_a_bridge_is_made_before_what_is_set_on_it() -> None:
    made: set[str] = set()
    for command in commands():
        if command[0] in ("add-br", "add-port"):
            made.add(command[-1])
        if command[0] == "set":
            assert command[2] in made
