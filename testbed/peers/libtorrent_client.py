"""A BitTorrent client on libtorrent: it joins the swarm of one torrent through its tracker, and stays.

In comes a `ClientConfig`; out come a row for every 16 KiB block received (testbed.peers.transfers), a JSON
record of the peer's life, and progress as datagrams. Importing this module is the dear part and starts
nothing, so that a server may import it once and fork many clients.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, cast

import libtorrent as lt

from testbed.config_file import load_config
from testbed.errors import Problem, RunError, TestbedError, UserError
from testbed.peers.config import ClientConfig

LOG = logging.getLogger("testbed.peers")
BLOCK_BYTES = 16384  # libtorrent's only block size, and the largest that BEP 3 clients grant
POLL_S = 0.5
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
MOST_ERRORS = 100
_ROW = struct.Struct("<qIiii")  # TRANSFER_DTYPE, without numpy's memory in every client


def session_settings(config: ClientConfig) -> lt.settings_pack:
    """libtorrent's settings for this client: those that decide an outcome, each with its reason.

    Left at libtorrent 2.1's defaults, on purpose: `choking_algorithm` (fixed slots, tit for tat),
    `unchoke_interval` (15 s) and one optimistic slot in five, `allowed_fast_set_size` (5: a new peer gets
    that many pieces from each neighbour while choked), `torrent_connect_boost` (30 connections at once after
    the first announce), `connection_speed` (30/s), `smooth_connects`, `peer_turnover` (4 % each 300 s, only
    near the connection limit), `close_redundant_connections` (two seeds part), `strict_end_game_mode`,
    `suggest_mode` (none), `initial_picker_threshold` (4 random pieces, then rarest first),
    `request_queue_time` (3 s), no rate limits: only the emulated links limit.
    """
    encryption = lt.enc_policy.pe_enabled if config.encryption == "prefer" else lt.enc_policy.pe_disabled
    categories = lt.alert_category
    return {
        "listen_interfaces": config.listen,
        # A host with several addresses (loopback) would otherwise connect from another than it announces.
        "outgoing_interfaces": config.listen_ip,
        # A taken port is an error: neighbours, tracker and record all know this one.
        "max_retry_port_bind": 0,
        "listen_system_port_fallback": False,
        # TCP only: uTP yields to queueing delay (LEDBAT), which would measure the queues and not the policy.
        "enable_outgoing_utp": False,
        "enable_incoming_utp": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_ip_notifier": False,
        "enable_lsd": config.local_discovery,
        "enable_dht": config.dht,
        "dht_bootstrap_nodes": "",
        # libtorrent takes 10/8 for its own LAN: by default it unchokes every such neighbour at once, whatever
        # the slots, and exempts it from limits. In an emulated Internet all are in 10/8.
        "ignore_limits_on_local_network": False,
        "connections_limit": config.connections,
        "unchoke_slots_limit": config.unchoke_slots,
        "max_out_request_queue": config.request_queue,
        "num_want": config.numwant,
        # It raises the interval that the tracker asks for to this at least.
        "min_announce_interval": config.min_announce_interval_s,
        # A dead tracker must not hold up the end of a trial.
        "stop_tracker_timeout": 2,
        "in_enc_policy": int(encryption),
        "out_enc_policy": int(encryption),
        "announce_crypto_support": config.encryption == "prefer",
        "alert_mask": int(
            categories.block_progress
            | categories.piece_progress
            | categories.status
            | categories.storage
            | categories.tracker
            | categories.error
        ),
        # Two alerts a block, each POLL_S: room for gigabits. A dropped alert is an error in the record.
        "alert_queue_size": 200_000,
    }


@dataclass
class PeerRecord:
    """The life of a peer. Times are CLOCK_MONOTONIC ns or null where the thing did not happen.

    `bytes_down` and `bytes_up` are payload. `bytes_wasted` is what came in vain: `bytes_hash_failed`, which
    the block log has too, and blocks received twice, which it has not. `hash_ok` is null until the content is
    complete; then it says whether the file on disk has the torrent's hashes.
    """

    host: str
    role: str
    client: str
    joined_ns: int | None = None
    first_byte_ns: int | None = None
    completed_ns: int | None = None
    left_ns: int | None = None
    bytes_down: int = 0
    bytes_up: int = 0
    bytes_wasted: int = 0
    bytes_hash_failed: int = 0
    # Address -> payload received from it and sent to it, wasted bytes included.
    neighbours: dict[str, tuple[int, int]] = field(default_factory=dict)
    hash_ok: bool | None = None
    errors: list[str] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Replace the file at `path` as a whole."""
        part = path.with_name(f"{path.name}.part")
        part.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")
        os.replace(part, path)


class NeighbourBytes:
    """Payload exchanged with each neighbour, wasted bytes included, over all connections to it.

    libtorrent counts by connection, and a connection's counts go with it: what came between the last look
    and its end is missing, so that sums here may be a little below the session's.
    """

    def __init__(self) -> None:
        self._connections: dict[tuple[str, int], tuple[int, int]] = {}
        self._ended: dict[str, tuple[int, int]] = {}

    def look(self, peers: Sequence[Any]) -> None:
        """Take libtorrent's list of connections (`torrent_handle.get_peer_info`)."""
        for peer in peers:
            key, now = tuple(peer.ip), (peer.total_download, peer.total_upload)
            before = self._connections.get(key, (0, 0))
            if now[0] < before[0] or now[1] < before[1]:  # the same ports again: a new connection
                self._ended[key[0]] = _add(self._ended.get(key[0], (0, 0)), before)
            self._connections[key] = now

    def totals(self) -> dict[str, tuple[int, int]]:
        """Address -> (bytes received from it, bytes sent to it)."""
        totals = dict(self._ended)
        for (address, _), counts in self._connections.items():
            totals[address] = _add(totals.get(address, (0, 0)), counts)
        return totals


def _add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return a[0] + b[0], a[1] + b[1]


class ProgressSender:
    """Datagrams to whoever watches. Nobody watching, or a full queue, never holds up the client."""

    def __init__(self, host: str, path: Path | None) -> None:
        self._host = host
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if path else None
        if self._socket:
            self._socket.setblocking(False)

    def send(self, event: str, fraction: float, rate_bps: float, completed: bool) -> None:
        """One datagram: JSON with host, event, monotonic_ns, fraction (0 to 1), rate_bps, completed.

        Each says all there is to know, because any of them may get lost in a full queue.
        """
        if self._socket is None:
            return
        message = {
            "host": self._host,
            "event": event,
            "monotonic_ns": time.monotonic_ns(),
            "fraction": fraction,
            "rate_bps": rate_bps,
            "completed": completed,
        }
        try:
            self._socket.sendto(json.dumps(message).encode(), str(self._path))
        except OSError:
            LOG.debug("progress not delivered", exc_info=True)


class Client:
    """One session with one torrent. `run` returns when a stop signal came; it is called once."""

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._record = PeerRecord(config.host, config.role, f"libtorrent {lt.version}")
        self._progress = ProgressSender(config.host, config.progress_socket)
        self._torrent = load_torrent(config)
        self._rows: list[bytes] = []
        self._neighbours = NeighbourBytes()
        self._paused = False
        self._fatal = ""
        self._wall_to_monotonic_ns = 0
        self._session: Any = None
        self._handle: Any = None

    def run(self) -> None:
        """Join, note what happens until SIGTERM or SIGINT, leave. Raises RunError if it can't go on."""
        with self._config.transfers.open("ab", buffering=0) as log:
            try:
                self._join()
                self._watch(log)
            finally:
                self._leave(log)
        if self._fatal:
            raise RunError(self._fatal)

    def _join(self) -> None:
        parameters = lt.session_params()
        parameters.settings = session_settings(self._config)
        # The disk back end that works in the network thread. The others write in threads of their own, and a
        # block whose write ends after its piece's hash was checked gets no block_finished_alert once the
        # torrent is complete: the log would lack the last pieces. It also saves three threads a client.
        parameters.disk_io_constructor = "posix_disk_io_constructor"
        self._session = lt.session(parameters)
        self._handle = self._session.add_torrent(self._torrent)
        self._record.joined_ns = time.monotonic_ns()
        self._record.write(self._config.record)
        self._progress.send("joined", self._fraction(), 0.0, self._completed)
        LOG.info("%s joined as %s on %s", self._config.host, self._config.role, self._config.listen)

    def _watch(self, log: Any) -> None:
        """Sleep, then look at what came, until a signal. Alerts carry their time: sleeping loses nothing."""
        pause_s = min(POLL_S, self._config.progress_interval_s)
        next_progress_s = time.monotonic() + self._config.progress_interval_s
        while not self._fatal:
            if signal.sigtimedwait(STOP_SIGNALS, pause_s):
                return
            self._take_alerts(log)
            if time.monotonic() >= next_progress_s:
                next_progress_s = time.monotonic() + self._config.progress_interval_s
                self._neighbours.look(self._handle.get_peer_info())
                self._report_progress()

    def _leave(self, log: Any) -> None:
        """Stop transfers first, so that log and counters tell of the same blocks; then tell the tracker."""
        self._record.left_ns = time.monotonic_ns()
        if self._handle is not None:
            self._neighbours.look(self._handle.get_peer_info())
            self._handle.pause()
            deadline_s = time.monotonic() + 2.0
            while not self._paused and time.monotonic() < deadline_s:
                self._session.wait_for_alert(100)
                self._take_alerts(log)
            self._count_bytes()
        self._record.write(self._config.record)
        self._progress.send("error" if self._fatal else "left", self._fraction(), 0.0, self._completed)
        LOG.info("%s left", self._config.host)
        # Ends the session: it waits for the tracker's answer to `stopped`, at most stop_tracker_timeout.
        self._handle = None
        self._session = None

    def _take_alerts(self, log: Any) -> None:
        """Handle all waiting alerts, then write the new rows in one call: a reader sees whole rows."""
        self._wall_to_monotonic_ns = time.monotonic_ns() - _wall_ns(datetime.now())
        for alert in self._session.pop_alerts():
            handler = _HANDLERS.get(type(alert))
            if handler:
                handler(self, alert)
        if self._rows:
            log.write(b"".join(self._rows))
            self._rows.clear()

    def _time_ns(self, alert: Any) -> int:
        """When the alert was posted, CLOCK_MONOTONIC ns to 1 us: the binding gives a naive local datetime."""
        posted: datetime = alert.timestamp()
        return _wall_ns(posted) + self._wall_to_monotonic_ns

    def _on_block(self, alert: Any) -> None:
        t_ns = self._time_ns(alert)
        piece, block = alert.piece_index, alert.block_index
        size = min(BLOCK_BYTES, self._torrent.ti.piece_size(piece) - block * BLOCK_BYTES)
        self._rows.append(_ROW.pack(t_ns, int(IPv4Address(alert.ip[0])), size, piece, block))
        if self._record.first_byte_ns is None:
            self._record.first_byte_ns = t_ns

    def _on_finished(self, alert: Any) -> None:
        if self._config.role == "seed" or self._record.completed_ns is not None:
            return
        self._record.completed_ns = self._time_ns(alert)
        self._record.hash_ok = file_matches(self._torrent.ti, self._config.payload_folder)
        if not self._record.hash_ok:
            self._note_error("the finished file does not have the torrent's hashes")
        self._count_bytes()
        self._record.write(self._config.record)
        self._progress.send("completed", 1.0, 0.0, self._completed)
        LOG.info("%s completed", self._config.host)

    def _on_paused(self, _: Any) -> None:
        self._paused = True

    def _on_error(self, alert: Any) -> None:
        self._note_error(f"{alert.what()}: {alert.message()}")

    def _on_fatal(self, alert: Any) -> None:
        self._on_error(alert)
        self._fatal = self._fatal or f"{self._config.host}: {alert.message()}"

    def _on_reply(self, alert: Any) -> None:
        LOG.info("%s: %d peers from the tracker", self._config.host, alert.num_peers)

    def _note_error(self, text: str) -> None:
        LOG.warning("%s: %s", self._config.host, text)
        if len(self._record.errors) < MOST_ERRORS:
            self._record.errors.append(text)

    def _count_bytes(self) -> None:
        self._record.neighbours = self._neighbours.totals()
        status = self._handle.status()
        self._record.bytes_down = status.total_payload_download
        self._record.bytes_up = status.total_payload_upload
        self._record.bytes_hash_failed = status.total_failed_bytes
        self._record.bytes_wasted = status.total_failed_bytes + status.total_redundant_bytes

    @property
    def _completed(self) -> bool:
        return self._record.completed_ns is not None

    def _fraction(self) -> float:
        if self._config.role == "seed" or self._completed:
            return 1.0
        return float(self._handle.status(0).progress) if self._handle is not None else 0.0

    def _report_progress(self) -> None:
        if self._config.progress_socket is None:
            return
        status = self._handle.status(0)
        self._progress.send("progress", self._fraction(), status.download_payload_rate * 8.0, self._completed)


_HANDLERS: Mapping[type, Callable[[Client, Any], None]] = {
    lt.block_finished_alert: Client._on_block,
    lt.torrent_finished_alert: Client._on_finished,
    lt.torrent_paused_alert: Client._on_paused,
    lt.tracker_reply_alert: Client._on_reply,
    lt.alerts_dropped_alert: Client._on_error,
    lt.hash_failed_alert: Client._on_error,
    lt.tracker_error_alert: Client._on_error,
    lt.tracker_warning_alert: Client._on_error,
    lt.listen_failed_alert: Client._on_fatal,
    lt.file_error_alert: Client._on_fatal,
    lt.torrent_error_alert: Client._on_fatal,
}


def _wall_ns(naive: datetime) -> int:
    return round(naive.timestamp() * 1e6) * 1000


def load_torrent(config: ClientConfig) -> Any:
    """The torrent with its flags. Raises UserError where there is none or it forbids what is asked."""
    try:
        torrent = lt.load_torrent_file(str(config.torrent))
    except RuntimeError as error:
        raise UserError(Problem(where=str(config.torrent), what=f"is no torrent: {error}")) from error
    if cast(Any, torrent.ti).priv() and (config.peer_exchange or config.dht or config.local_discovery):
        raise UserError(
            Problem(
                where=f"{config.host}: {config.torrent}",
                what="a private torrent forbids peer exchange, DHT and local discovery (BEP 27)",
                mend="make the torrent public, or leave them off",
            )
        )
    torrent.save_path = str(config.payload_folder)
    torrent.flags = _torrent_flags(config)
    return torrent


def _torrent_flags(config: ClientConfig) -> Any:
    flags = lt.torrent_flags
    # Auto-managed torrents are queued, paused and resumed by libtorrent's own idea of what to seed.
    chosen = flags.default_flags & ~(flags.auto_managed | flags.paused)
    if config.role == "seed":
        # The content is known to be whole: no check of all hashes before the first upload.
        chosen |= flags.seed_mode
    if not config.peer_exchange:
        chosen |= flags.disable_pex
    if not config.dht:
        chosen |= flags.disable_dht
    if not config.local_discovery:
        chosen |= flags.disable_lsd
    return chosen


def file_matches(info: Any, folder: Path) -> bool:
    """Whether `<folder>/<name>` has the SHA-1 of every piece of the torrent (BEP 3) and no byte more."""
    path = folder / info.name()
    try:
        with path.open("rb") as file:
            pieces_right = all(
                hashlib.sha1(file.read(info.piece_size(piece))).digest() == bytes(info.hash_for_piece(piece))
                for piece in range(info.num_pieces())
            )
            return pieces_right and not file.read(1)
    except OSError:
        return False


def run(config_path: Path) -> int:
    """The whole life of a client. Returns its exit code: 0 left as told, 1 failed, 2 wrong input."""
    # Before the session's threads exist, so that they inherit it and the signal reaches sigtimedwait.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    try:
        Client(load_config(config_path, ClientConfig)).run()
    except TestbedError as error:
        LOG.error("%s", error)
        return 2 if isinstance(error, UserError) else 1
    return 0
