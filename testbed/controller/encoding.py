"""From our values of OpenFlow to the messages of a switch's connection, and back from what it says it has.

The connection (`datapath`) brings its protocol and its parser, so that this knows neither Ryu nor os-ken.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from typing import Any

from testbed.controller.openflow import (
    CONTROLLER,
    COUNTED,
    KIND_BITS,
    TABLE,
    Action,
    Change,
    DecTtl,
    ForgetPort,
    Group,
    Meter,
    Move,
    Output,
    Rule,
    SetField,
    SetTtl,
    ToController,
    ToGroup,
)

_ALL_COOKIE_BITS = 0xFFFFFFFFFFFFFFFF
_WHOLE_PORT = 15  # bits 0 to 15, as NXAST_REG_LOAD says it: the first times 64, plus how many more


def additions(datapath: Any, change: Change) -> Iterator[Any]:
    """The messages that add what is new, in an order in which each finds what it refers to."""
    parser, protocol = datapath.ofproto_parser, datapath.ofproto
    for meter in change.add_meters:
        yield _meter_mod(datapath, protocol.OFPMC_ADD, meter)
    for meter in change.modify_meters:
        yield _meter_mod(datapath, protocol.OFPMC_MODIFY, meter)
    for group in change.add_groups:
        yield parser.OFPGroupMod(
            datapath, protocol.OFPGC_ADD, protocol.OFPGT_FF, group.id, _buckets(datapath, group)
        )
    for rule in change.add_rules:
        yield _flow_mod(datapath, rule)


def deletions(datapath: Any, change: Change) -> Iterator[Any]:
    """The messages that take away strays: rules before the groups and meters that they use."""
    parser, protocol = datapath.ofproto_parser, datapath.ofproto
    for cookie in change.delete_cookies:
        yield parser.OFPFlowMod(
            datapath,
            command=protocol.OFPFC_DELETE,
            table_id=protocol.OFPTT_ALL,
            out_port=protocol.OFPP_ANY,
            out_group=protocol.OFPG_ANY,
            cookie=cookie,
            cookie_mask=_ALL_COOKIE_BITS,
        )
    for group in change.delete_groups:
        yield parser.OFPGroupMod(datapath, protocol.OFPGC_DELETE, protocol.OFPGT_FF, group, [])
    for meter in change.delete_meters:
        yield parser.OFPMeterMod(datapath, protocol.OFPMC_DELETE, 0, meter, [])


def has_requests(datapath: Any) -> list[Any]:
    """The questions whose answers say what a switch has: rules, groups, meters, and its ports."""
    parser, protocol = datapath.ofproto_parser, datapath.ofproto
    return [
        parser.OFPFlowStatsRequest(datapath),
        parser.OFPGroupDescStatsRequest(datapath, 0),
        parser.OFPMeterConfigStatsRequest(datapath, 0, protocol.OFPM_ALL),
        parser.OFPPortDescStatsRequest(datapath, 0),
    ]


def count_requests(datapath: Any, meters: bool) -> list[Any]:
    """The questions of a poll: ports, counted rules, and where there are some, meters."""
    parser, protocol = datapath.ofproto_parser, datapath.ofproto
    rules = parser.OFPFlowStatsRequest(datapath, cookie=COUNTED, cookie_mask=KIND_BITS)
    asked = [parser.OFPPortStatsRequest(datapath, 0, protocol.OFPP_ANY), rules]
    if meters:
        asked.append(parser.OFPMeterStatsRequest(datapath, 0, protocol.OFPM_ALL))
    return asked


def barrier(datapath: Any) -> Any:
    return datapath.ofproto_parser.OFPBarrierRequest(datapath)


def port_mod(datapath: Any, number: int, hardware_address: str, down: bool) -> Any:
    """Take a port down or up: Open vSwitch does so with the device itself."""
    protocol = datapath.ofproto
    config = protocol.OFPPC_PORT_DOWN if down else 0
    return datapath.ofproto_parser.OFPPortMod(
        datapath, number, hardware_address, config, protocol.OFPPC_PORT_DOWN, 0
    )


def through_rules(datapath: Any, frame: bytes) -> Any:
    """A packet of the controller's own, which goes through the switch's rules."""
    parser, protocol = datapath.ofproto_parser, datapath.ofproto
    actions = [parser.OFPActionOutput(TABLE)]
    return parser.OFPPacketOut(datapath, protocol.OFP_NO_BUFFER, CONTROLLER, actions, frame)


def is_down(protocol: Any, port: Any) -> bool:
    """Whether a port as the switch describes it carries nothing."""
    return bool(port.config & protocol.OFPPC_PORT_DOWN or port.state & protocol.OFPPS_LINK_DOWN)


def read_meters(protocol: Any, configurations: Iterable[Any]) -> dict[int, Meter]:
    return {
        item.meter_id: Meter(
            item.meter_id,
            item.bands[0].rate,
            item.bands[0].burst_size,
            in_packets=bool(item.flags & protocol.OFPMF_PKTPS),
        )
        for item in configurations
        if item.bands
    }


def _flow_mod(datapath: Any, rule: Rule) -> Any:
    parser, protocol = datapath.ofproto_parser, datapath.ofproto
    instructions = []
    if rule.meter is not None:
        instructions.append(parser.OFPInstructionMeter(rule.meter))
    if rule.actions:
        actions = [_action(parser, action) for action in rule.actions]
        instructions.append(parser.OFPInstructionActions(protocol.OFPIT_APPLY_ACTIONS, actions))
    if rule.then is not None:
        instructions.append(parser.OFPInstructionGotoTable(rule.then))
    return parser.OFPFlowMod(
        datapath,
        table_id=rule.table,
        priority=rule.priority,
        cookie=rule.cookie,
        match=parser.OFPMatch(**{name: _match_value(value) for name, value in rule.match}),
        instructions=instructions,
    )


def _buckets(datapath: Any, group: Group) -> list[Any]:
    parser, protocol = datapath.ofproto_parser, datapath.ofproto
    return [
        parser.OFPBucket(
            0, bucket.watch, protocol.OFPG_ANY, [_action(parser, action) for action in bucket.actions]
        )
        for bucket in group.buckets
    ]


def _meter_mod(datapath: Any, command: int, meter: Meter) -> Any:
    parser, protocol = datapath.ofproto_parser, datapath.ofproto
    unit = protocol.OFPMF_PKTPS if meter.in_packets else protocol.OFPMF_KBPS
    flags = unit | protocol.OFPMF_BURST | protocol.OFPMF_STATS
    bands = [parser.OFPMeterBandDrop(meter.rate, meter.burst)]
    return parser.OFPMeterMod(datapath, command, flags, meter.id, bands)


def _match_value(value: int | str) -> Any:
    """The libraries want a prefix as address and mask."""
    if isinstance(value, str) and "/" in value:
        address, _, length = value.partition("/")
        mask = (0xFFFFFFFF << (32 - int(length))) & 0xFFFFFFFF
        return address, socket.inet_ntoa(mask.to_bytes(4, "big"))
    return value


def _action(parser: Any, action: Action) -> Any:
    match action:
        case Output():
            return parser.OFPActionOutput(action.port)
        case SetField():
            return parser.OFPActionSetField(**{action.field: action.value})
        case Move():
            return parser.NXActionRegMove(
                src_field=action.source, dst_field=action.target, n_bits=action.bits
            )
        case ToGroup():
            return parser.OFPActionGroup(action.group)
        case ToController():
            return parser.OFPActionOutput(CONTROLLER, action.bytes)
        case SetTtl():
            return parser.OFPActionSetNwTtl(action.ttl)
        case ForgetPort():
            return parser.NXActionRegLoad(ofs_nbits=_WHOLE_PORT, dst="in_port_nxm", value=0)
        case DecTtl():
            return parser.OFPActionDecNwTtl()
