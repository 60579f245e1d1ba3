"""The controller's application: switches come and go, links fail and heal, clients ask for changes.

`fabric` knows what should be, `installer` brings switches there, `northbound` is what clients talk to. Here
is what ties them together in green threads, under Ryu or os-ken (`framework`).
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn, TextIO

from testbed.controller import encoding, framework
from testbed.controller.config import ControllerConfig
from testbed.controller.counters import NS_PER_S, PORT_COUNTERS, Poll
from testbed.controller.fabric import (
    Asked,
    Fabric,
    MeterState,
    Switch,
    asked_from,
    changeable,
    load_topology,
)
from testbed.controller.feed import Feed
from testbed.controller.framework import (
    CONFIG_DISPATCHER,
    DEAD_DISPATCHER,
    MAIN_DISPATCHER,
    handles,
    ofp_event,
)
from testbed.controller.icmp import time_exceeded
from testbed.controller.installer import install
from testbed.controller.northbound import Api, Refusal, wsgi_application
from testbed.controller.requests import MeterSpec
from testbed.controller.rules import ANSWER_TTL, NOT_IP, TTL_METER, UNROUTED, pair_source
from testbed.controller.session import Gone, Session
from testbed.errors import Problem, RunError, TestbedError, UserError
from testbed.service import split_listen, write_ready
from testbed.topology.model import Direction, Network
from testbed.topology.routes import Routes

eventlet = framework.eventlet
LOG = logging.getLogger("testbed.controller")
_IN_FORCE_S = 8.0
_LOOK_S = 0.002
_AGENT_S = 5.0
_AGENT_LATEST_S = 3.0
_LINE_BYTES = 65536
_REQUEST_S = 10.0


class Controller(framework.Application):
    """The framework calls the handlers with events of the switches; state goes to the fabric."""

    OFP_VERSIONS = (framework.protocol.OFP_VERSION,)

    def __init__(
        self,
        *args: Any,
        config: ControllerConfig,
        fabric: Fabric,
        feed: Feed,
        log: TextIO,
        **more: Any,
    ) -> None:
        super().__init__(*args, **more)
        self._config = config
        self._fabric = fabric
        self._feed = feed
        self._log = log
        self._sessions: dict[str, Session] = {}
        self._told_ready = False
        self._woken = eventlet.event.Event()
        self._announced: frozenset[str] = frozenset()
        self._followed: frozenset[str] = frozenset()
        self._one_change = eventlet.semaphore.Semaphore()

    def start(self) -> Any:
        eventlet.spawn(self._settle_forever)
        eventlet.spawn(self._poll_forever)
        return super().start()

    # What switches say.

    @handles(ofp_event.EventOFPStateChange, MAIN_DISPATCHER, DEAD_DISPATCHER)
    def on_state(self, event: Any) -> None:
        datapath = event.datapath
        switch = self._fabric.by_datapath.get(datapath.id) if datapath.id is not None else None
        if switch is None:
            LOG.warning("a switch with unknown datapath id %s came or went", datapath.id)
        elif event.state == MAIN_DISPATCHER:
            LOG.info("%s: switch connected", switch.pop)
            replaced = self._sessions.get(switch.pop)
            if replaced:
                replaced.end()
            self._sessions[switch.pop] = Session(switch.pop, datapath)
            switch.connected, switch.confirmed, switch.error = True, False, ""
            self._feed.add("switch", pop=switch.pop, state="connected")
            self._want()
        elif switch.pop in self._sessions and self._sessions[switch.pop].datapath is datapath:
            self._sessions.pop(switch.pop).end()
            switch.connected = switch.confirmed = False
            LOG.warning("%s: switch disconnected", switch.pop)
            self._feed.add("switch", pop=switch.pop, state="disconnected")

    @handles(
        [
            ofp_event.EventOFPFlowStatsReply,
            ofp_event.EventOFPGroupDescStatsReply,
            ofp_event.EventOFPMeterConfigStatsReply,
            ofp_event.EventOFPMeterStatsReply,
            ofp_event.EventOFPPortDescStatsReply,
            ofp_event.EventOFPPortStatsReply,
        ],
        MAIN_DISPATCHER,
    )
    def on_answer(self, event: Any) -> None:
        session, message = self._session_of(event), event.msg
        if session:
            more = bool(message.flags & framework.protocol.OFPMPF_REPLY_MORE)
            session.answer(message, more, message.body)

    @handles(ofp_event.EventOFPBarrierReply, MAIN_DISPATCHER)
    def on_barrier(self, event: Any) -> None:
        session = self._session_of(event)
        if session:
            session.answer(event.msg, more=False)

    @handles(ofp_event.EventOFPErrorMsg, CONFIG_DISPATCHER, MAIN_DISPATCHER)
    def on_error(self, event: Any) -> None:
        message, session = event.msg, self._session_of(event)
        name = message.datapath.ofproto.ofp_error_type_to_str(message.type)
        text = f"OpenFlow error {name}, code {message.code}"
        if session is None:
            LOG.error("a switch: %s", text)
        elif session.fail(message.xid):
            LOG.warning("%s does not answer a question: %s", session.pop, text)
        else:
            LOG.error("%s: %s", session.pop, text)
            session.refused = text

    @handles(ofp_event.EventOFPPortStatus, MAIN_DISPATCHER)
    def on_port(self, event: Any) -> None:
        session, message = self._session_of(event), event.msg
        if session is None:
            return
        protocol = message.datapath.ofproto
        gone = message.reason == protocol.OFPPR_DELETE
        session.addresses[message.desc.port_no] = message.desc.hw_addr
        down = gone or encoding.is_down(protocol, message.desc)
        self._port_is(session, message.desc.port_no, down)

    @handles(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def on_packet(self, event: Any) -> None:
        """A packet whose TTL has ended: the PoP says so to its sender."""
        session = self._session_of(event)
        if session is None:
            return
        pop = self._fabric.network.pop_by_id[session.pop]
        # ROUTE takes one off the TTL.
        answer = time_exceeded(event.msg.data, pop.gateway_ip, pop.gateway_mac, ANSWER_TTL + 1)
        if answer is not None:
            session.send([encoding.through_rules(session.datapath, answer)])

    def _session_of(self, event: Any) -> Session | None:
        """The connection that an event is of, unless it was replaced meanwhile."""
        switch = self._fabric.by_datapath.get(event.msg.datapath.id)
        session = self._sessions.get(switch.pop) if switch else None
        return session if session and session.datapath is event.msg.datapath else None

    def _port_is(self, session: Session, number: int, down: bool) -> None:
        link = self._fabric.by_pop[session.pop].link_of_port.get(number)
        if link is None or not self._fabric.port_is(session.pop, link, down):
            return
        state = "down" if self._fabric.is_down(link) else "up"
        LOG.info("link %s is %s", link, state)
        self._feed.add("link", link=link, state=state)
        if self._fabric.failed != self._fabric.planned_failed:
            self._want()

    # Bringing switches to their programs.

    def _want(self) -> None:
        """Something is to be otherwise: the settling thread sees to it."""
        self._fabric.wanted += 1
        if not self._woken.ready():
            self._woken.send()

    def _settle_forever(self) -> NoReturn:
        while True:
            if self._fabric.settled == self._fabric.wanted:
                self._woken = eventlet.event.Event()
                self._woken.wait()
            try:
                self._settle()
            except Exception:
                LOG.exception("switches could not be brought to their programs")
                eventlet.sleep(1)

    def _settle(self) -> None:
        fabric = self._fabric
        wanted, failed = fabric.wanted, fabric.failed
        if failed != fabric.planned_failed:
            fabric.plan()
        begun_s = time.monotonic()
        done = install(list(self._sessions.values()), fabric.programs, self._learned, self._confirmed)
        if failed != self._announced or done.switches:
            self._feed.add(
                "routes",
                failed=sorted(failed),
                switches=done.switches,
                rules_added=done.rules_added,
                rules_deleted=done.rules_deleted,
                took_s=round(time.monotonic() - begun_s, 6),
            )
        if failed != self._announced:
            self._announced = failed
            self._keep()
            if self._config.link_agent is not None:
                eventlet.spawn(self._follow)
        fabric.settled = wanted
        if fabric.ready and not self._told_ready:
            self._told_ready = True
            LOG.info("ready: all %d switches confirmed", len(fabric.by_pop))
            self._feed.add("ready")
            write_ready(self._config.ready_file)
            eventlet.spawn_after(0.5, self._load_routing)

    def _follow(self) -> None:
        """Tell the delay line of the links without which routes are found now, until it has heard."""
        while self._followed != self._announced:
            failed = self._announced
            try:
                self._ask_agent({"do": "follow", "failed": sorted(failed)})
                self._followed = failed
            except Refusal as error:
                LOG.error("delays do not follow the routes yet: %s", error)
                eventlet.sleep(1)

    def _load_routing(self) -> None:
        """Compute routes once before a link fails: to load what does it takes half a second."""
        network = self._fabric.network
        _find_routes(network, frozenset(link.id for link in network.core_links[:1]))

    def _learned(self, session: Session, ports: list[Any]) -> None:
        """Take up the state of a switch's ports. A link that a client wants down stays down."""
        switch, described = self._fabric.by_pop[session.pop], {port.port_no: port for port in ports}
        for number, link in switch.link_of_port.items():
            port = described.get(number)
            down = port is None or encoding.is_down(framework.protocol, port)
            self._port_is(session, number, down)
            if not down and link in self._fabric.asked_down:
                self._set_port(session, link, down=True)

    def _confirmed(self, session: Session, error: str) -> None:
        if self._sessions.get(session.pop) is not session:
            return
        switch = self._fabric.by_pop[session.pop]
        if error:
            LOG.error("%s: %s", session.pop, error)
        if (switch.confirmed, switch.error) != (not error, error):
            self._feed.add("switch", pop=session.pop, state="refuses" if error else "confirmed")
        switch.confirmed, switch.error = not error, error
        switch.rules = len(self._fabric.programs[session.pop].rules) if not error else 0

    # What clients ask for (northbound.Control).

    def rule_counts(self, pop: str) -> dict[int, tuple[int, int]]:
        session = self._sessions.get(pop)
        if session is None:
            return {}
        try:
            (rules,) = session.ask([session.datapath.ofproto_parser.OFPFlowStatsRequest(session.datapath)])
        except Gone:
            return {}
        return {rule.cookie: (rule.packet_count, rule.byte_count) for rule in rules}

    @property
    def one_at_a_time(self) -> Any:
        return self._one_change

    def change_link(self, link: str, state: str | None, directions: tuple[Direction, Direction]) -> int:
        if state is not None:
            self._need_sessions(link)
        now = self._fabric.links[link]
        before, effective_ns = (now.forward, now.backward), time.monotonic_ns()
        # Without a state, values are asked for: they are set even where they are what is believed to be.
        if directions != before or state is None:
            effective_ns = self._change_directions(link, directions)
        if state is not None and (state == "down") != self._fabric.is_down(link):
            try:
                effective_ns = self._change_state(link, down=state == "down")
            except Refusal:
                if directions != before:
                    self._change_directions(link, before)
                raise
        if state is not None:
            (self._fabric.asked_down.add if state == "down" else self._fabric.asked_down.discard)(link)
        self._keep()
        return effective_ns

    def set_meter(self, name: str, spec: MeterSpec) -> int:
        state = MeterState(spec, self._fabric.number_for(name))
        return self._change_meters({**self._fabric.meters, name: state}, name, "set")

    def remove_meter(self, name: str) -> int:
        left = {other: meter for other, meter in self._fabric.meters.items() if other != name}
        return self._change_meters(left, name, "removed")

    def _change_meters(self, meters: dict[str, MeterState], name: str, what: str) -> int:
        waiting = [
            pop for pop, switch in self._fabric.by_pop.items() if not (switch.confirmed or switch.error)
        ]
        if waiting:
            reason = f"not all switches are ready: {', '.join(waiting[:3])}"
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        before = self._fabric.meters
        try:
            self._settle_with(meters)
            refusing = [switch for switch in self._fabric.by_pop.values() if switch.error]
            if refusing and what == "set":
                raise Refusal(HTTPStatus.CONFLICT, f"{refusing[0].pop} can't: {refusing[0].error}")
        except Refusal:
            with suppress(Refusal):
                self._settle_with(before)
            raise
        effective_ns = self._feed.add("meter", meter=name, state=what)
        self._keep()
        return effective_ns

    def _settle_with(self, meters: dict[str, MeterState]) -> None:
        self._fabric.meters = meters
        self._fabric.plan()
        self._want()
        self._until_settled("the switches did not confirm it")

    def _change_directions(self, link: str, directions: tuple[Direction, Direction]) -> int:
        """Let the link agent set both directions. Returns when the kernel had them."""
        now = self._fabric.links[link]
        changes = []
        for source, way in ((now.a, directions[0]), (now.b, directions[1])):
            values = changeable(way)
            if way.delay_s == now.direction(source).delay_s:
                del values["delay_s"]  # where nothing can delay, none can be set
            changes.append({"link": link, "source": source, **values})
        # An agent that comes to it after we have given up must not do it.
        until_ns = time.monotonic_ns() + round(_AGENT_LATEST_S * NS_PER_S)
        effective_ns = self._ask_agent({"do": "change", "changes": changes, "until_ns": until_ns})
        self._fabric.set_directions(link, *directions)
        self._feed.add(
            "change", link=link, forward=changeable(directions[0]), backward=changeable(directions[1])
        )
        return effective_ns

    def _change_state(self, link: str, *, down: bool) -> int:
        """Take the ports at a link's ends down or up, and wait until the routes follow."""
        self._set_ports(link, down)
        ends = [(session.pop, link) for session in self._ends(link)]
        try:
            self._until(
                lambda: all(self._fabric.port_down(*end) == down for end in ends),
                f"{link} did not go {'down' if down else 'up'}: its other side may be "
                f"{'up' if down else 'down'} by other hands",
            )
            self._until_settled("the switches did not confirm the new routes")
        except Refusal:
            self._set_ports(link, not down)
            raise
        if self._config.link_agent is not None:
            with suppress(Refusal):  # delays that follow late are logged, and no reason to undo it
                self._until(lambda: self._followed == self._announced, "", seconds=1.0)
        return time.monotonic_ns()

    def _set_ports(self, link: str, down: bool) -> None:
        for session in self._ends(link):
            self._set_port(session, link, down)

    def _set_port(self, session: Session, link: str, down: bool) -> None:
        number = self._fabric.ports[session.pop][link]
        address = session.addresses.get(number, "00:00:00:00:00:00")
        session.send([encoding.port_mod(session.datapath, number, address, down)])

    def _ends(self, link: str) -> list[Session]:
        ends = self._fabric.links[link]
        return [self._sessions[end] for end in (ends.a, ends.b) if end in self._sessions]

    def _need_sessions(self, link: str) -> None:
        ends = self._fabric.links[link]
        for end in (ends.a, ends.b):
            if end in self._fabric.by_pop and not self._fabric.by_pop[end].confirmed:
                raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"the switch of {end} is not ready")

    def _until_settled(self, otherwise: str) -> None:
        """Wait until all that is wanted by now is in force. Raises Refusal where it takes too long."""
        wanted = self._fabric.wanted
        self._until(lambda: self._fabric.settled >= wanted, otherwise)

    def _until(self, reached: Callable[[], bool], otherwise: str, seconds: float = _IN_FORCE_S) -> None:
        """Wait until it is so. Raises Refusal where it takes too long."""
        deadline_s = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > deadline_s:
                raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"{otherwise} within {seconds:.0f} s")
            eventlet.sleep(_LOOK_S)

    def _ask_agent(self, request: dict[str, Any]) -> int:
        """The time at which the link agent has done it. Raises Refusal where it can't be done."""
        agent = self._config.link_agent
        if agent is None:
            reason = "this controller has no link agent, and can't change rate, delay or loss"
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_AGENT_S)
                connection.connect(str(agent))
                connection.sendall(json.dumps(request).encode() + b"\n")
                answer = json.loads(connection.makefile("rb").readline(_LINE_BYTES))
        except (OSError, ValueError) as error:
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE, f"the link agent does not answer: {error}"
            ) from None
        if not answer["ok"]:
            raise Refusal(HTTPStatus.CONFLICT, str(answer["error"]))
        return int(answer["monotonic_ns"])

    def _keep(self) -> None:
        """Write what was asked for, whole or not at all, for a controller that starts after this one."""
        path = self._config.state_file
        if path is None:
            return
        part = path.with_name(f"{path.name}.part")
        with suppress(OSError):  # a full disk does not stop the network
            part.write_text(json.dumps(self._fabric.asked_json()), encoding="utf-8")
            os.replace(part, path)

    # Counting.

    def _poll_forever(self) -> NoReturn:
        """Ask all switches at once, at fixed times: a slow answer does not put off the next question."""
        next_s = time.monotonic()
        while True:
            for session in list(self._sessions.values()):
                if not session.polling:
                    session.polling = True
                    eventlet.spawn(self._poll, session)
            now_s = time.monotonic()
            next_s = max(next_s + self._config.poll_interval_s, now_s)
            eventlet.sleep(next_s - now_s)

    def _poll(self, session: Session) -> None:
        try:
            meters = any(meter.id != TTL_METER for meter in self._fabric.programs[session.pop].meters)
            ports, rules, *rest = session.ask(encoding.count_requests(session.datapath, meters))
            arrived_ns = time.monotonic_ns()
        except Gone:
            return
        finally:
            session.polling = False
        if not ports:
            return
        age_ns = max(port.duration_sec * NS_PER_S + port.duration_nsec for port in ports)
        written_ns = session.clock.written_ns(arrived_ns, age_ns)
        counted = self._counted(session, written_ns, ports, rules, rest[0] if rest else [])
        poll = replace(counted, age_ns=age_ns)
        self._fabric.totals[session.pop].add(poll)
        with suppress(OSError):  # a full disk does not stop the network
            self._log.write(json.dumps(poll.to_json()) + "\n")
            self._log.flush()

    def _counted(
        self, session: Session, written_ns: int, ports: list[Any], rules: list[Any], meters: list[Any]
    ) -> Poll:
        fabric, total = self._fabric, self._fabric.totals[session.pop]
        switch: Switch = fabric.by_pop[session.pop]
        names = {rule.cookie: rule.counts for rule in fabric.programs[session.pop].rules if rule.counts}
        pairs: dict[str, list[int]] = {}
        unrouted = 0
        for rule in rules:
            name = names.get(rule.cookie, "")
            source = pair_source(name)
            age_ns = rule.duration_sec * NS_PER_S + rule.duration_nsec
            packets = total.grown(f"{name} packets", rule.packet_count, age_ns)
            if source is not None:
                pairs[source] = [total.grown(f"{name} bytes", rule.byte_count, age_ns), packets]
            elif name in (UNROUTED, NOT_IP):
                unrouted += packets
        meter_names = {meter.number: name for name, meter in fabric.meters.items()}
        metered = {}
        for item in meters:
            if item.meter_id in meter_names:
                name, age_ns = meter_names[item.meter_id], item.duration_sec * NS_PER_S + item.duration_nsec
                metered[name] = [
                    total.grown(
                        f"meter {name} {what}", sum(getattr(b, what) for b in item.band_stats), age_ns
                    )
                    for what in ("byte_band_count", "packet_band_count")
                ]
        return Poll(
            written_ns,
            session.pop,
            {
                switch.link_of_port[port.port_no]: [getattr(port, name) for name in PORT_COUNTERS]
                for port in ports
                if port.port_no in switch.link_of_port
            },
            pairs,
            unrouted,
            metered,
        )


def _find_routes(network: Network, failed: frozenset[str]) -> Routes:
    from testbed.topology.routing import compute_routes

    return compute_routes(network, failed)


@contextmanager
def _listening(path: Path) -> Iterator[Any]:
    """A listening Unix socket that its owner alone may open; what a killed controller left is replaced."""
    path.unlink(missing_ok=True)
    old_mask = os.umask(0o177)
    try:
        listener = eventlet.listen(str(path), family=socket.AF_UNIX)
    finally:
        os.umask(old_mask)
    try:
        yield listener
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _switch_socket(path: Path) -> Iterator[None]:
    """Remove what a killed controller left, and in the end our own.

    Raises RunError where one listens: the framework would only log it.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
        else:
            raise RunError(f"can't listen for switches on {path}: another controller does")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _wait_for_signal() -> None:
    """Let the green threads work until SIGTERM or SIGINT. A pipe wakes eventlet, which sleeps in poll(2)."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writer)
    eventlet.hubs.trampoline(reader, read=True)


def _asked_before(path: Path | None, network: Network) -> Asked | None:
    """What an earlier controller of the run was asked for; nothing where it left nothing that can be read."""
    if path is None or not path.exists():
        return None
    try:
        return asked_from(json.loads(path.read_text(encoding="utf-8")), network)
    except (OSError, ValueError, KeyError, TypeError) as error:
        LOG.error("%s can't be read, and what it said is forgotten: %r", path, error)
        return None


def _token(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UserError(Problem(where=str(path), what=f"can't be read: {error.strerror}")) from error


def _serve(config: ControllerConfig) -> None:
    network, routes = load_topology(config.topology)
    asked = _asked_before(config.state_file, network)
    fabric = Fabric(network, routes, _find_routes, config.largest_frame_bytes, asked)
    token = _token(config.token_file)
    with ExitStack() as stack:
        log = stack.enter_context(config.counters.open("a", encoding="utf-8"))
        events = stack.enter_context(config.events.open("a", encoding="utf-8")) if config.events else None
        feed = Feed(events)
        stack.enter_context(_switch_socket(config.openflow_socket))
        listeners = []
        if config.socket is not None:
            listeners.append(stack.enter_context(_listening(config.socket)))
        if config.listen is not None:
            address = split_listen(config.listen)
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            listeners.append(eventlet.listen(address, family=family))
        control = framework.start(
            __name__,
            str(config.openflow_socket),
            config=config,
            fabric=fabric,
            feed=feed,
            log=log,
        )
        names = {"name": framework.NAME, "version": framework.VERSION}
        application = wsgi_application(Api(fabric, control, feed, names, token), eventlet.sleep)
        for listener in listeners:
            eventlet.spawn(
                eventlet.wsgi.server,
                listener,
                application,
                log_output=False,
                debug=False,
                socket_timeout=_REQUEST_S,
            )
        LOG.info(
            "%s %s listens for switches on %s", framework.NAME, framework.VERSION, config.openflow_socket
        )
        _wait_for_signal()


def run(config: ControllerConfig) -> int:
    """The whole life of a controller. Returns its exit code: 0 stopped as told, 1 failed, 2 wrong input."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    try:
        _serve(config)
    except TestbedError as error:
        LOG.error("%s", error)
        return 2 if isinstance(error, UserError) else 1
    except OSError as error:
        LOG.error("%s", error)
        return 1
    return 0
