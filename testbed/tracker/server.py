"""The tracker over HTTP: /announce, /scrape and /stats, and /stats again on a Unix socket.

In comes a checked `TrackerConfig`. One process and one thread: an announce is answered from memory, portals
are read in the background.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TextIO

import aiohttp
from aiohttp import web

from testbed.service import split_listen, stop_signal, write_ready
from testbed.tracker.alto_client import Credentials, PortalReader
from testbed.tracker.announce import Limits, Tracker
from testbed.tracker.answer import announce_answer, failure_answer, scrape_answer
from testbed.tracker.config import TrackerConfig
from testbed.tracker.guidance import GuidanceBook
from testbed.tracker.policies import load
from testbed.tracker.query import BadQuery, parse_announce, parse_scrape

log = logging.getLogger("tracker")


async def serve(config: TrackerConfig) -> None:
    """Serve until SIGTERM or SIGINT. UserError for a wrong policy, OSError for an address that is taken."""
    async with AsyncExitStack() as stack:
        service = await start(config, stack)
        log.info("tracker with policy %s on %s", config.policy.name, service.url)
        write_ready(config.ready_file)
        await stop_signal()


async def start(config: TrackerConfig, stack: AsyncExitStack) -> TrackerService:
    """Start the tracker that `config` describes; closing `stack` stops all of it."""
    book = GuidanceBook(
        [(entry.prefix, entry.isp) for entry in config.portals],
        [entry.isp for entry in config.portals if entry.uri],
    )
    limits = Limits(config.interval_s, config.min_interval_s, config.max_numwant)
    policy = load(config.policy.name, config.policy.parameters)
    readers = [
        PortalReader(
            entry.isp,
            entry.uri,
            book,
            refresh_s=config.refresh_s,
            stale_after_s=config.stale_after_s,
            credentials=Credentials.of(entry),
        )
        for entry in config.portals
        if entry.uri
    ]
    record = stack.enter_context(config.announce_log.open("a", buffering=1)) if config.announce_log else None
    service = TrackerService(Tracker(policy, book, limits, config.seed), readers, record)
    service.url = await _listen(config.listen, service, stack)
    if config.control_socket is not None:
        await _listen_control(config.control_socket, service, stack)
    session = await stack.enter_async_context(aiohttp.ClientSession())
    for work in [*(reader.poll(session) for reader in readers), service.sweep_for_ever()]:
        stack.callback(asyncio.create_task(work).cancel)
    return service


class TrackerService:
    """The handlers, around one `Tracker`. `url` is where it listens, with the port that was really given."""

    url: str = ""

    def __init__(self, tracker: Tracker, readers: Sequence[PortalReader], record: TextIO | None) -> None:
        self.tracker = tracker
        self._readers = readers
        self._record = record

    async def announce(self, request: web.Request) -> web.Response:
        """BEP 3: errors are answers too, so the HTTP status is always 200."""
        try:
            query = parse_announce(_raw_query(request), request.remote or "")
        except BadQuery as error:
            return _bencoded(failure_answer(str(error)))
        peers, swarm, row = self.tracker.announce(query, time.monotonic_ns())
        if self._record is not None:
            self._record.write(json.dumps(row) + "\n")
        return _bencoded(
            announce_answer(
                peers,
                interval_s=self.tracker.limits.interval_s,
                min_interval_s=self.tracker.limits.min_interval_s,
                complete=swarm.complete,
                incomplete=swarm.incomplete,
                compact=query.compact,
                with_peer_id=query.with_peer_id,
            )
        )

    async def scrape(self, request: web.Request) -> web.Response:
        """BEP 48: unknown info hashes do not appear."""
        try:
            hashes = parse_scrape(_raw_query(request))
        except BadQuery as error:
            return _bencoded(failure_answer(str(error)))
        swarms = self.tracker.swarms
        return _bencoded(scrape_answer({key: swarms[key] for key in hashes or swarms if key in swarms}))

    async def stats(self, _request: web.Request) -> web.Response:
        """The tracker's state as JSON."""
        return web.json_response(self.snapshot())

    def snapshot(self) -> dict[str, Any]:
        """Policy, swarms by info hash (hex), portals by ISP, and how many answers had guidance or why not."""
        return {
            "policy": self.tracker.policy.name,
            "swarms": {
                info_hash.hex(): {
                    "complete": swarm.complete,
                    "incomplete": swarm.incomplete,
                    "downloaded": swarm.downloaded,
                }
                for info_hash, swarm in self.tracker.swarms.items()
            },
            "portals": {
                reader.isp: {"state": reader.state, "tag": reader.tag, "failures": dict(reader.failures)}
                for reader in self._readers
            },
            "answers": dict(self.tracker.reasons),
        }

    async def sweep_for_ever(self) -> None:
        """Forget who is gone, once an interval."""
        while True:
            await asyncio.sleep(self.tracker.limits.interval_s)
            self.tracker.sweep(time.monotonic_ns())


async def _listen(listen: str, service: TrackerService, stack: AsyncExitStack) -> str:
    """Serve clients; returns the URL."""
    app = web.Application()
    app.router.add_get("/announce", service.announce)
    app.router.add_get("/scrape", service.scrape)
    app.router.add_get("/stats", service.stats)
    runner = await _runner(app, stack)
    await web.TCPSite(runner, *split_listen(listen), backlog=1024).start()
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _listen_control(path: Path, service: TrackerService, stack: AsyncExitStack) -> None:
    """Serve /stats on a Unix socket, which reaches us from other network namespaces; for this user alone."""
    app = web.Application()
    app.router.add_get("/stats", service.stats)
    runner = await _runner(app, stack)
    await web.UnixSite(runner, path).start()
    stack.callback(path.unlink, missing_ok=True)
    os.chmod(path, 0o600)


async def _runner(app: web.Application, stack: AsyncExitStack) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return runner


def _raw_query(request: web.Request) -> str:
    """The query as it was sent: aiohttp's parsed one has decoded the bytes as UTF-8, which they are not."""
    return request.raw_path.partition("?")[2]


def _bencoded(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="text/plain")
