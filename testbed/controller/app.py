"""The Ryu application: brings every switch to its program, confirms it, and reads port counters.

This is the one module that imports Ryu (and so patches the process for eventlet): nothing but the program
`python -m testbed.controller` imports it. `rules` decides what to install, `fabric` keeps what is known.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeVar, cast

with warnings.catch_warnings():
    # Ryu 4.34 stands on eventlet, which asks its users to leave it.
    warnings.simplefilter("ignore")
    import eventlet
    import eventlet.wsgi

    eventlet.monkey_patch()
    # Ryu 4.34 looks for a name that eventlet dropped in 0.30.3; only its unused web server uses it.
    eventlet.wsgi.ALREADY_HANDLED = object()
    from ryu import cfg
    from ryu.base import app_manager
    from ryu.controller import controller, ofp_event
    from ryu.controller.handler import CONFIG_DISPATCHER, DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
    from ryu.lib import hub
    from ryu.ofproto import ofproto_common, ofproto_v1_3

from testbed.config_file import load_config
from testbed.controller.config import ControllerConfig
from testbed.controller.fabric import COUNTERS, Fabric, Switch, load_fabric
from testbed.controller.northbound import wsgi_application
from testbed.controller.rules import Action, Change, DecTtl, Move, Output, Rule, SetField, reconcile
from testbed.errors import RunError, TestbedError, UserError
from testbed.service import write_ready

LOG = logging.getLogger("testbed.controller")
Handler = TypeVar("Handler", bound=Callable[..., None])
ALL_COOKIE_BITS = 0xFFFFFFFFFFFFFFFF
# A switch that does not have its program after this many corrections has something against it.
MOST_CORRECTIONS = 3


def _handles(event: Any, *states: str) -> Callable[[Handler], Handler]:
    """Ryu's decorator with a type: the method gets `event` of switches in one of `states`."""
    return cast(Callable[[Handler], Handler], set_ev_cls(event, list(states)))


class Controller(app_manager.RyuApp):
    """Ryu calls the handlers with events of the switches; state goes to the fabric."""

    OFP_VERSIONS = (ofproto_v1_3.OFP_VERSION,)

    def __init__(
        self, *args: Any, config: ControllerConfig, fabric: Fabric, log: TextIO, **more: Any
    ) -> None:
        super().__init__(*args, **more)
        self._config = config
        self._fabric = fabric
        self._log = log
        self._datapaths: dict[str, Any] = {}
        self._corrections: dict[str, int] = {}
        # Replies come in parts; they are complete with the first that does not say "more".
        self._cookies: dict[str, list[int]] = defaultdict(list)
        self._port_stats: dict[str, list[Any]] = defaultdict(list)
        self._told_ready = False

    def start(self) -> Any:
        hub.spawn(self._poll)
        return super().start()

    @_handles(ofp_event.EventOFPStateChange, MAIN_DISPATCHER, DEAD_DISPATCHER)
    def on_state(self, event: Any) -> None:
        datapath = event.datapath
        switch = self._fabric.by_datapath.get(datapath.id) if datapath.id is not None else None
        if switch is None:
            LOG.warning("a switch with unknown datapath id %s came or went", datapath.id)
        elif event.state == MAIN_DISPATCHER:
            self._connected(switch, datapath)
        elif self._datapaths.get(switch.pop) is datapath:
            del self._datapaths[switch.pop]
            switch.connected = switch.confirmed = False
            LOG.warning("%s: switch disconnected", switch.pop)

    def _connected(self, switch: Switch, datapath: Any) -> None:
        LOG.info("%s: switch connected", switch.pop)
        self._datapaths[switch.pop] = datapath
        switch.connected, switch.confirmed, switch.error = True, False, ""
        self._corrections[switch.pop] = 0
        self._cookies.pop(switch.pop, None)
        self._port_stats.pop(switch.pop, None)
        _ask_for_rules(datapath)

    @_handles(ofp_event.EventOFPFlowStatsReply, MAIN_DISPATCHER)
    def on_rules(self, event: Any) -> None:
        """Compare what the switch has with its program; correct it, or call it confirmed."""
        switch = self._switch_of(event)
        if switch is None:
            return
        self._cookies[switch.pop] += [entry.cookie for entry in event.msg.body]
        if event.msg.flags & ofproto_v1_3.OFPMPF_REPLY_MORE:
            return
        cookies = self._cookies.pop(switch.pop)
        change = reconcile(cookies, switch.program)
        switch.rules = len(cookies) - len(change.delete_cookies)
        if not change:
            self._confirmed(switch)
        elif self._corrections[switch.pop] < MOST_CORRECTIONS:
            self._corrections[switch.pop] += 1
            _apply(event.msg.datapath, change)
        else:
            switch.error = switch.error or f"{len(change.add)} rules are refused"
            LOG.error("%s: the switch does not take its program: %s", switch.pop, switch.error)

    @_handles(ofp_event.EventOFPBarrierReply, MAIN_DISPATCHER)
    def on_barrier(self, event: Any) -> None:
        _ask_for_rules(event.msg.datapath)

    @_handles(ofp_event.EventOFPErrorMsg, CONFIG_DISPATCHER, MAIN_DISPATCHER)
    def on_error(self, event: Any) -> None:
        message = event.msg
        switch = self._fabric.by_datapath.get(message.datapath.id)
        text = f"OpenFlow error of type {message.type}, code {message.code}"
        LOG.error("%s: %s", switch.pop if switch else "a switch", text)
        if switch:
            switch.error = text

    @_handles(ofp_event.EventOFPPortStatsReply, MAIN_DISPATCHER)
    def on_counters(self, event: Any) -> None:
        now_ns = time.monotonic_ns()
        switch = self._switch_of(event)
        if switch is None:
            return
        self._port_stats[switch.pop] += event.msg.body
        if event.msg.flags & ofproto_v1_3.OFPMPF_REPLY_MORE:
            return
        ports = {
            switch.link_of_port[stats.port_no]: [getattr(stats, name) for name in COUNTERS]
            for stats in self._port_stats.pop(switch.pop)
            if stats.port_no in switch.link_of_port
        }
        switch.counters = {"monotonic_ns": now_ns, "pop": switch.pop, "ports": ports}
        self._log.write(json.dumps(switch.counters) + "\n")
        self._log.flush()

    def _switch_of(self, event: Any) -> Switch | None:
        """The switch that an event is about, unless its connection was replaced meanwhile."""
        switch = self._fabric.by_datapath.get(event.msg.datapath.id)
        current = switch is not None and self._datapaths.get(switch.pop) is event.msg.datapath
        return switch if current else None

    def _confirmed(self, switch: Switch) -> None:
        switch.confirmed = True
        LOG.info("%s: %d rules confirmed", switch.pop, switch.rules)
        if self._fabric.ready and not self._told_ready:
            self._told_ready = True
            LOG.info("ready: all %d switches confirmed", len(self._fabric.by_pop))
            write_ready(self._config.ready_file)

    def _poll(self) -> NoReturn:
        """Ask all switches at once, at fixed times: a slow reply does not put off the next question."""
        next_s = time.monotonic()
        while True:
            for datapath in list(self._datapaths.values()):
                parser, protocol = datapath.ofproto_parser, datapath.ofproto
                datapath.send_msg(parser.OFPPortStatsRequest(datapath, 0, protocol.OFPP_ANY))
            now_s = time.monotonic()
            next_s = max(next_s + self._config.poll_interval_s, now_s)
            hub.sleep(next_s - now_s)


def _ask_for_rules(datapath: Any) -> None:
    datapath.send_msg(datapath.ofproto_parser.OFPFlowStatsRequest(datapath))


def _apply(datapath: Any, change: Change) -> None:
    """Send a change and a barrier: the barrier's reply says that the switch has worked it off."""
    parser, protocol = datapath.ofproto_parser, datapath.ofproto
    for rule in change.add:
        datapath.send_msg(_flow_mod(datapath, rule))
    for cookie in change.delete_cookies:
        datapath.send_msg(
            parser.OFPFlowMod(
                datapath,
                command=protocol.OFPFC_DELETE,
                table_id=protocol.OFPTT_ALL,
                out_port=protocol.OFPP_ANY,
                out_group=protocol.OFPG_ANY,
                cookie=cookie,
                cookie_mask=ALL_COOKIE_BITS,
            )
        )
    datapath.send_msg(parser.OFPBarrierRequest(datapath))


def _flow_mod(datapath: Any, rule: Rule) -> Any:
    parser, protocol = datapath.ofproto_parser, datapath.ofproto
    actions = [_action(parser, action) for action in rule.actions]
    return parser.OFPFlowMod(
        datapath,
        table_id=rule.table,
        priority=rule.priority,
        cookie=rule.cookie,
        match=parser.OFPMatch(**{name: _match_value(value) for name, value in rule.match}),
        instructions=[parser.OFPInstructionActions(protocol.OFPIT_APPLY_ACTIONS, actions)] if actions else [],
    )


def _match_value(value: int | str) -> Any:
    """Ryu wants a prefix as address and mask."""
    if isinstance(value, str) and "/" in value:
        address, _, length = value.partition("/")
        mask = (0xFFFFFFFF << (32 - int(length))) & 0xFFFFFFFF
        return address, socket.inet_ntoa(mask.to_bytes(4, "big"))
    return value


def _action(parser: Any, action: Action) -> Any:
    if isinstance(action, Output):
        return parser.OFPActionOutput(action.port)
    if isinstance(action, SetField):
        return parser.OFPActionSetField(**{action.field: action.value})
    if isinstance(action, Move):
        return parser.NXActionRegMove(src_field=action.source, dst_field=action.target, n_bits=action.bits)
    assert isinstance(action, DecTtl)
    return parser.OFPActionDecNwTtl()


def _listen_northbound(path: Path) -> Any:
    """A listening Unix socket that its owner alone may open; what a killed controller left is replaced."""
    path.unlink(missing_ok=True)
    old_mask = os.umask(0o177)
    try:
        return eventlet.listen(str(path), family=socket.AF_UNIX)
    finally:
        os.umask(old_mask)


def _free_socket(path: Path) -> None:
    """Remove what a killed controller left. Raises RunError where one listens: Ryu would only log it."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise RunError(f"can't listen for switches on {path}: another controller does")


class _SwitchStream:
    """A Unix socket as Ryu's `Datapath` wants it: it sets a TCP option, which such a socket has not."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def setsockopt(self, *_: Any) -> None:
        return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _accept_unix_sockets() -> None:
    """Ryu's server listens on a path where its host is one; only what it does with a connection is mended."""
    serve = controller.datapath_connection_factory
    controller.datapath_connection_factory = lambda stream, address: serve(_SwitchStream(stream), address)


def _wait_for_signal() -> None:
    """Let the green threads work until SIGTERM or SIGINT. A pipe wakes eventlet, which sleeps in poll(2)."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writer)
    eventlet.hubs.trampoline(reader, read=True)


def _serve(config: ControllerConfig) -> None:
    fabric = load_fabric(config.topology)
    _free_socket(config.openflow_socket)
    _accept_unix_sockets()
    cfg.CONF(args=[], project="testbed", default_config_files=[], default_config_dirs=[])
    cfg.CONF.set_override("ofp_listen_host", str(config.openflow_socket))
    # Without a port of its own Ryu would listen a second time, for the old port 6633, on the same path.
    cfg.CONF.set_override("ofp_tcp_listen_port", ofproto_common.OFP_TCP_PORT)
    manager = app_manager.AppManager.get_instance()
    with config.counters.open("a", encoding="utf-8") as log:
        listener = _listen_northbound(config.socket)
        manager.load_apps([__name__])
        manager.instantiate_apps(config=config, fabric=fabric, log=log)
        eventlet.spawn(eventlet.wsgi.server, listener, wsgi_application(fabric), log_output=False)
        LOG.info("listening for switches on %s", config.openflow_socket)
        _wait_for_signal()
    for path in (config.socket, config.openflow_socket):
        path.unlink(missing_ok=True)


def run(config_path: Path) -> int:
    """The whole life of a controller. Returns its exit code: 0 stopped as told, 1 failed, 2 wrong input."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    try:
        _serve(load_config(config_path, ControllerConfig))
    except TestbedError as error:
        LOG.error("%s", error)
        return 2 if isinstance(error, UserError) else 1
    return 0
