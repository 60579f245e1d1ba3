"""The ALTO server over HTTP: GET of the directory, the network map and the cost map, each with its ETag.

In comes a checked `PortalConfig`; the maps are computed once, before the first request.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from testbed.portal.alto import documents as alto
from testbed.portal.config import PortalConfig
from testbed.portal.pricing import PDistances, static_distances
from testbed.service import split_listen, stop_signal, write_ready

log = logging.getLogger("portal")


async def serve(config: PortalConfig) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError where the address cannot be had."""
    distances = static_distances(config)
    runner = web.AppRunner(build_app(config, distances), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, *split_listen(config.listen)).start()
        log.info(
            "portal of %s (AS%d) serves %d PIDs on %s",
            config.isp,
            config.asn,
            len(distances.pids),
            ", ".join("{}:{}".format(*address[:2]) for address in runner.addresses),
        )
        if config.distances_log is not None:
            append_distances(config.distances_log, distances, time.monotonic_ns())
        write_ready(config.ready_file)
        await stop_signal()
    finally:
        await runner.cleanup()


def build_app(config: PortalConfig, distances: PDistances) -> web.Application:
    """The three resources as routes of an aiohttp application."""
    network_map = alto.network_map(config.pid_prefixes())
    cost_map = alto.cost_map(distances, network_map.tag)
    app = web.Application()
    app.router.add_get("/", _get_directory)
    app.router.add_get(alto.NETWORK_MAP_PATH, _getter(network_map))
    app.router.add_get(alto.COST_MAP_PATH, _getter(cost_map))
    return app


def append_distances(path: Path, distances: PDistances, t_ns: int) -> None:
    """Append one JSON line for each pair of a cost map that is published at `t_ns` (CLOCK_MONOTONIC)."""
    with path.open("a", encoding="utf-8") as file:
        for source, target, distance in distances.rows():
            row = {"t_ns": t_ns, "src_pid": source, "dst_pid": target, "p_distance": distance}
            file.write(json.dumps(row) + "\n")


async def _get_directory(request: web.Request) -> web.Response:
    """URIs are made from the address that the client reached, never from a header that it sent."""
    if request.transport is None:
        raise ConnectionResetError("the client went away")
    host, port = request.transport.get_extra_info("sockname")[:2]
    return _answer(
        request, alto.directory(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
    )


def _getter(resource: alto.Resource) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def get(request: web.Request) -> web.Response:
        return _answer(request, resource)

    return get


def _answer(request: web.Request, resource: alto.Resource) -> web.Response:
    """The document, or 304 where the client's copy is current (RFC 9110 section 13.1.2)."""
    known = {tag.value for tag in request.if_none_match or ()}
    response = web.Response(status=304) if known & {resource.tag, "*"} else web.Response(body=resource.body)
    response.etag = resource.tag
    if response.status == 200:
        response.content_type = resource.media_type
    return response
