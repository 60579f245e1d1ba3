"""What links and switches really do, measured from inside the network.

Pairs of namespaces come in, the rates of TCP transfers between them come out; one thread serves all of them,
so that those of disjoint paths run side by side. `round_trips_s` pings. `Echoes` asks switches all through a
trial, and says how late they answer. Answers count from when the kernel got them.
"""

from __future__ import annotations

import itertools
import secrets
import selectors
import socket
import statistics
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from testbed.emulation.namespaces import within
from testbed.errors import RunError

PING_FRAME_BYTES = 98
"""A ping of 64 bytes on the link: with the headers of IP and Ethernet."""

_CHUNK = bytes(64 * 1024)
_UNSENT_BYTES = 16 * 1024
_CONNECT_S = 3.0
_DRAIN_S = 2.0
_ECHO_EVERY_S = 0.1
_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")  # RFC 826
_ETH_P_ARP, _ARP_REQUEST, _ARP_REPLY = 0x0806, 1, 2
_ICMP = struct.Struct("!BBHHH")  # RFC 792
_ICMP_ECHO, _ICMP_ECHO_REPLY = 8, 0
_SO_TIMESTAMPNS = 35  # asm-generic/socket.h
_TIMESPEC = struct.Struct("=qq")
_RESET = struct.pack("=ii", 1, 0)
# Of struct tcp_info (linux/tcp.h): tcpi_snd_mss and tcpi_delivered, which Linux 4.18 brought.
_DELIVERED = struct.Struct("=16x I 172x I")


@dataclass(frozen=True)
class Ends:
    """A transfer to make: the namespaces of both hosts, and the address of the receiver."""

    sender: str
    receiver: str
    address: str


@dataclass(frozen=True)
class _Progress:
    t_s: float
    delivered_bytes: int


@dataclass
class _Transfer:
    sending: socket.socket
    receiving: socket.socket

    def progress(self) -> _Progress:
        """What has arrived, as the sender knows from acknowledgements.

        What arrived behind a lost packet counts too: the receiver gets it only once the loss is mended, and
        then at once, so that what it counts goes in jumps.
        """
        info = self.sending.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _DELIVERED.size)
        segment_bytes, segments = _DELIVERED.unpack(info)
        return _Progress(time.monotonic(), segments * segment_bytes)


def transfer_rates_bps(transfers: Sequence[Ends], settle_s: float, count_s: float) -> list[float | None]:
    """The TCP payload rate of each transfer, sent for `settle_s` and `count_s` more, which count.

    None where nothing came meanwhile. Returns when all that was sent has arrived: queues are empty then.
    Raises RunError where a connection can't be made.
    """
    with ExitStack() as stack:
        begun = [_connect(ends, stack) for ends in transfers]
        first_s = time.monotonic() + settle_s
        _move(begun, first_s, sending=True)
        before = [transfer.progress() for transfer in begun]
        _move(begun, first_s + count_s, sending=True)
        after = [transfer.progress() for transfer in begun]
        for transfer in begun:
            transfer.sending.shutdown(socket.SHUT_WR)
        _move(begun, time.monotonic() + _DRAIN_S, sending=False)
    return [_rate_bps(*both) for both in zip(before, after, strict=True)]


def _rate_bps(before: _Progress, after: _Progress) -> float | None:
    delivered = after.delivered_bytes - before.delivered_bytes
    return delivered * 8 / (after.t_s - before.t_s) if delivered else None


def _connect(ends: Ends, stack: ExitStack) -> _Transfer:
    with _socket_in(ends.receiver) as listener:
        sending = stack.enter_context(_socket_in(ends.sender))
        # The rest waits here and not in the kernel: at the end little is on its way.
        sending.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        try:
            listener.bind((ends.address, 0))
            listener.listen(1)
            listener.settimeout(_CONNECT_S)
            sending.settimeout(_CONNECT_S)
            sending.connect(listener.getsockname())
            receiving = stack.enter_context(listener.accept()[0])
        except OSError as error:
            raise RunError(f"no TCP connection from {ends.sender} to {ends.receiver}: {error}") from None
    for end in (sending, receiving):
        end.setblocking(False)
        # Closed by a reset, it leaves nothing of what TCP learned for later connections between these hosts.
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    return _Transfer(sending, receiving)


def _socket_in(
    namespace: str, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, protocol: int = 0
) -> socket.socket:
    """A socket of another network namespace, for TCP if nothing else is said."""
    try:
        return within(namespace, lambda: socket.socket(family, kind, protocol))
    except OSError as error:
        raise RunError(f"no socket in namespace {namespace}: {error}") from None


def _move(transfers: Sequence[_Transfer], until_s: float, *, sending: bool) -> None:
    """Send and receive until then. Not sending, it ends when all that was sent has arrived."""
    with selectors.DefaultSelector() as selector:
        for transfer in transfers:
            if sending:
                selector.register(transfer.sending, selectors.EVENT_WRITE)
            selector.register(transfer.receiving, selectors.EVENT_READ)
        while selector.get_map() and (left_s := until_s - time.monotonic()) > 0:
            for key, events in selector.select(left_s):
                end = key.fileobj
                assert isinstance(end, socket.socket)
                if events & selectors.EVENT_WRITE:
                    end.send(_CHUNK)
                elif not end.recv(len(_CHUNK)):
                    selector.unregister(end)


def round_trips_s(namespace: str, address: str, count: int, every_s: float, most_s: float) -> list[float]:
    """The round trip times of the first `count` pings from a namespace to an address that get an answer.

    They are sent `every_s`, others for those that a link loses, until so many are back or `most_s` are over.
    `ping` would do, but it rounds to a millisecond above 100. Raises RunError where the namespace is missing.
    """
    with _socket_in(namespace, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as connection:
        connection.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        mark = secrets.randbits(16)
        sent_ns: list[int] = []
        times: dict[int, float] = {}
        begun_s = time.monotonic()
        try:
            connection.connect((address, 0))  # others' answers do not come here
        except OSError:  # no way there
            return []
        while len(times) < count and (now_s := time.monotonic()) < begun_s + most_s:
            due_s = begun_s + len(sent_ns) * every_s
            if now_s >= due_s:
                request = _echo_request(mark, len(sent_ns))
                sent_ns.append(time.time_ns())
                with suppress(OSError):  # refused by who is on the way, for once
                    connection.send(request)
                continue
            connection.settimeout(due_s - now_s)
            with suppress(OSError):  # nothing came in time, or word that the other can't be reached
                packet, notes, _, _ = connection.recvmsg(256, 64)
                kind, _, _, its_mark, number = _ICMP.unpack_from(packet, 4 * (packet[0] & 15))
                if (kind, its_mark) == (_ICMP_ECHO_REPLY, mark) and number < len(sent_ns):
                    times.setdefault(number, (_noted_ns(notes) - sent_ns[number]) / 1e9)
    return [times[number] for number in sorted(times)]


def _echo_request(mark: int, number: int) -> bytes:
    """A ping of 64 bytes without its IP header, as `ping` sends it."""
    body = bytes(56)
    words = struct.unpack("!4H", _ICMP.pack(_ICMP_ECHO, 0, 0, mark, number))
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    return _ICMP.pack(_ICMP_ECHO, 0, ~(total + (total >> 16)) & 0xFFFF, mark, number) + body


def _noted_ns(notes: Sequence[tuple[int, int, bytes]]) -> int:
    """When the kernel got a packet, of the notes that came with it."""
    seconds, nanoseconds = _TIMESPEC.unpack_from(notes[0][2])
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


@dataclass(frozen=True)
class Echo:
    """Whom to ask: from a host's namespace and device the gateway of its PoP, and how long that is to take.

    The gateway is the switch, which answers requests for its address by a rule like all others.
    """

    namespace: str
    device: str
    mac: str
    ip: str
    gateway: str
    expected_s: float
    lossy: bool = False
    """Whether requests and answers may be lost on the way; those without an answer do not count then."""


class Echoes:
    """Asks ten times a second, from hosts that send little else: no queue of theirs is in the way."""

    def __init__(self, echoes: Sequence[Echo]) -> None:
        self._stop = threading.Event()
        self._late_s: list[list[float]] = [[] for _ in echoes]
        self._threads = [
            threading.Thread(target=self._ask, args=pair, name=f"echo of {pair[0].gateway}", daemon=True)
            for pair in zip(echoes, self._late_s, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def late_s(self) -> float | None:
        """By how much answers since the last call came too late: the median, of the worst switch."""
        found = []
        for late in self._late_s:
            count = len(late)
            if count:
                found.append(statistics.median(late[:count]))
                del late[:count]
        return max(found, default=None)

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, echo: Echo, late_s: list[float]) -> None:
        every_s = max(_ECHO_EVERY_S, 2 * echo.expected_s)
        with _socket_in(echo.namespace, socket.AF_PACKET, socket.SOCK_RAW) as connection:
            connection.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            connection.bind((echo.device, _ETH_P_ARP))
            for number in itertools.count():
                begun_s = time.monotonic()
                took_s = _round_trip_s(connection, echo, number, begun_s + every_s)
                if took_s is None and not echo.lossy:
                    took_s = time.monotonic() - begun_s
                if took_s is not None:
                    late_s.append(took_s - echo.expected_s)
                if self._stop.wait(max(0.0, begun_s + every_s - time.monotonic())):
                    return


def _arp_request(echo: Echo, mark: bytes) -> bytes:
    """A request whose answer has `mark` (6 bytes): the switch sends back whatever sender is named inside."""
    mac, ip = bytes.fromhex(echo.mac.replace(":", "")), socket.inet_aton(echo.ip)
    frame = _ETHERNET.pack(b"\xff" * 6, mac, _ETH_P_ARP)
    return frame + _ARP.pack(
        1, 0x0800, 6, 4, _ARP_REQUEST, mark, ip, bytes(6), socket.inet_aton(echo.gateway)
    )


def _round_trip_s(connection: socket.socket, echo: Echo, number: int, until_s: float) -> float | None:
    """One request, known by its number; None where no answer comes in time.

    The kernel notes when the answer came, so that a busy machine's delay in waking this thread is not in it.
    """
    mark = number.to_bytes(6, "big")
    request = _arp_request(echo, mark)
    sent_ns = time.time_ns()
    try:
        connection.send(request)
        while (left_s := until_s - time.monotonic()) > 0:
            connection.settimeout(left_s)
            frame, notes, _, _ = connection.recvmsg(256, 64)
            answer = _ARP.unpack_from(frame, _ETHERNET.size)
            if (answer[4], answer[7]) == (_ARP_REPLY, mark):
                return (_noted_ns(notes) - sent_ns) / 1e9
    except OSError:  # no answer in time, or a network that is being taken down
        pass
    return None
