"""How many requests the portal answers on one core, how soon, and what a map costs that the client has.

`filtered_cost_maps_52`: filtered cost maps that a second of one core's time suffices for, of a map of 52 PIDs
with many different sources and destinations (about 26 x 26 pairs), against an aiohttp handler that reads the
request and sends the same bytes every time. `etag_match_52`: the processor time of a full cost map that has
not changed, against http.server doing no more than that. Then what a client sees, where other programs on the
core count too. The requests come from wrk on the other cores; without it there is nothing to measure.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.connection import Connection

import bench
import numpy as np
import psutil
from aiohttp import web

from testbed.portal.alto import documents
from testbed.portal.alto.model import COST_MAP_FILTER_TYPE, COST_MAP_TYPE, CostType, Published, Query
from testbed.portal.alto.updates import STREAM_PARAMS_TYPE, STREAM_PATH
from testbed.portal.config import AccessConfig
from testbed.portal.server import Service
from testbed.portal.site import Site

PIDS = 52
CONNECTIONS = 8
BODIES = 5000
MAP_PATH = "/costmap/num-routingcost"
WATCHED = ("networkmap", "costmap-num-routingcost")
FILTERED_PATH = "/costmap/filtered"

# The requests take turns, so that no two soon after each other are the same; each has each PID with
# probability 1/2. They are made beforehand: wrk would be the bottleneck. The result is one line of JSON.
SCRIPT = """
local names = {%(names)s}
local head = '{"cost-type":{"cost-mode":"numerical","cost-metric":"routingcost"},"pids":{"srcs":['
local headers = {["Content-Type"] = "%(accepts)s"}
local function some()
  local chosen = {}
  for _, name in ipairs(names) do
    if math.random() < 0.5 then chosen[#chosen + 1] = name end
  end
  return table.concat(chosen, ",")
end
local requests, turn = {}, 0
if "%(method)s" == "POST" then
  init = function()
    for number = 1, %(bodies)d do
      requests[number] = wrk.format("POST", nil, headers, head .. some() .. '],"dsts":[' .. some() .. "]}}")
    end
  end
  request = function()
    turn = turn %% #requests + 1
    return requests[turn]
  end
else
  wrk.headers["If-None-Match"] = '%(etag)s'
end
done = function(summary, latency, requests)
  local errors = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  print(string.format('{"requests":%%d,"seconds":%%f,"p50_s":%%f,"p99_s":%%f,"errors":%%d,"refused":%%d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    errors, summary.errors.status))
end
"""


@dataclass(frozen=True)
class Load:
    """What wrk saw of one server, and the processor time that the server took for a request."""

    per_s: float
    p50_s: float
    p99_s: float
    cpu_s: float


def main() -> None:
    arguments = bench.options(__doc__.splitlines()[0])
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not here, and it makes the requests; to mend it: apt-get install wrk")
    seconds = 3.0 if arguments.quick else 10.0
    published = portal_of(PIDS)
    with serving(ours, published) as server:
        filtered = load(server, FILTERED_PATH, "POST", seconds)
        unchanged = load(server, MAP_PATH, "GET", seconds, cost_map(published).tag)
    with serving(ours_that_changes, published) as server, watching(server) as events:
        changing = load(server, FILTERED_PATH, "POST", seconds)
    if len(events) < seconds:
        raise SystemExit(f"the stream told of {len(events)} new maps only")
    with serving(same_bytes, published) as server:
        filtered_peer = load(server, FILTERED_PATH, "POST", seconds)
    with serving(http_server, published) as server:
        unchanged_peer = load(server, MAP_PATH, "GET", seconds, cost_map(published).tag)
    measures = [
        bench.Measure(
            "filtered_cost_maps_52",
            1 / filtered.cpu_s,
            1 / filtered_peer.cpu_s,
            "an aiohttp handler that sends the same bytes to all",
            "requests/s",
            "in a second of processor time",
        ),
        bench.Measure(
            "etag_match_52",
            unchanged.cpu_s,
            unchanged_peer.cpu_s,
            "http.server that compares the tag",
            "s",
            "processor time",
        ),
    ]
    bench.show("portal, one core", measures, arguments.json)
    rows = [
        ("filtered cost maps", f"{filtered.per_s:.0f} a second", "2000 a second"),
        ("their 99th percentile", f"{1e3 * filtered.p99_s:.2f} ms", "10 ms"),
        ("their median", f"{1e3 * filtered.p50_s:.2f} ms", ""),
        ("processor time of one", f"{1e3 * filtered.cpu_s:.3f} ms", "0.5 ms"),
        ("with new maps every second, streamed", f"{changing.per_s:.0f} a second", "2000 a second"),
        ("their 99th percentile", f"{1e3 * changing.p99_s:.2f} ms", "10 ms"),
        ("full cost map, tag matches", f"{1e3 * unchanged.cpu_s:.3f} ms of processor time", "0.2 ms"),
    ]
    bench.show_rows(f"portal, {CONNECTIONS} connections", ("what", "measured", "bar"), rows)


def portal_of(count: int) -> Published:
    """What a portal with so many PIDs publishes, PID `world` among them, with random distances."""
    network_map = documents.network_map(
        "networkmap",
        {f"isp-a:pop-{number}": [f"10.{number // 256}.{number % 256}.0/24"] for number in range(count - 1)},
    )
    kind = CostType("num-routingcost", "numerical", "routingcost")
    matrix = np.round(100 * np.random.default_rng(1).random((count, count)), 3)
    return Published("isp-a", 65001, (network_map,), (kind,), {(network_map.id, kind.name): matrix})


def cost_map(published: Published) -> documents.Document:
    """The full cost map as it is sent."""
    (entry,) = [entry for entry in documents.entries(published) if entry.path == MAP_PATH]
    return entry.answer(Query(b"", "", 0.0))


def ours(published: Published, port: Connection) -> None:
    asyncio.run(_serve(published, port, changes=False))


def ours_that_changes(published: Published, port: Connection) -> None:
    """Every second all costs are others."""
    asyncio.run(_serve(published, port, changes=True))


async def _serve(published: Published, port: Connection, changes: bool) -> None:
    async with AsyncExitStack() as stack:
        site = Site(published)
        service = Service(site, AccessConfig())
        await service.listen("127.0.0.1:0", stack)
        port.send(int(service.addresses[0].rpartition(":")[2]))
        while True:
            await asyncio.sleep(1.0)
            if changes:
                costs = {key: np.round(matrix * 1.01, 3) for key, matrix in published.costs.items()}
                published = replace(published, costs=costs)
                site.publish(published)


def same_bytes(published: Published, port: Connection) -> None:
    """aiohttp as its tutorial has it: every answer is that to one request for half of the PIDs."""
    half = list(published.network_maps[0].prefixes)[::2]
    kind = {"cost-mode": "numerical", "cost-metric": "routingcost"}
    body = json.dumps({"cost-type": kind, "pids": {"srcs": half, "dsts": half}}).encode()
    (entry,) = [entry for entry in documents.entries(published) if entry.path == FILTERED_PATH]
    answer = entry.answer(Query(body, "127.0.0.1", 0.0)).body

    async def post(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=answer, content_type=COST_MAP_TYPE)

    async def serve() -> None:
        app = web.Application()
        app.router.add_post(FILTERED_PATH, post)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(serve())


def http_server(published: Published, port: Connection) -> None:
    """One connection at a time, which is all that wrk opens to it."""
    document = cost_map(published)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            same = self.headers.get("If-None-Match") == f'"{document.tag}"'
            self.send_response(304 if same else 200)
            self.send_header("ETag", f'"{document.tag}"')
            if not same:
                self.send_header("Content-Length", str(len(document.body)))
            self.end_headers()
            if not same:
                self.wfile.write(document.body)

        def log_message(self, *_words: object) -> None:
            pass

    class Quiet(HTTPServer):
        def handle_error(self, *_of: object) -> None:
            """wrk hangs up in the midst of an answer when its time is over."""

    with Quiet(("127.0.0.1", 0), Handler) as server:
        port.send(server.server_port)
        server.serve_forever()


@dataclass(frozen=True)
class Server:
    port: int
    process: psutil.Process
    connections: int


@contextmanager
def serving(serve: Callable[[Published, Connection], None], published: Published) -> Iterator[Server]:
    """A server in a process of its own, on the last core."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_pinned, args=(serve, published, there), daemon=True)
    process.start()
    try:
        port = here.recv()
        connections = 1 if serve is http_server else CONNECTIONS
        yield Server(port, psutil.Process(process.pid), connections)
    finally:
        process.terminate()
        process.join()


@contextmanager
def watching(server: Server) -> Iterator[list[bytes]]:
    """Has an update stream of the network map and its costs open; gives the events that have come."""
    add = {str(number): {"resource-id": name} for number, name in enumerate(WATCHED)}
    events: list[bytes] = []
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("POST", STREAM_PATH, json.dumps({"add": add}), {"Content-Type": STREAM_PARAMS_TYPE})
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"the stream does not begin: {answer.status} {answer.read()!r}")

    def read() -> None:
        with suppress(OSError, ValueError, http.client.HTTPException, AttributeError):  # it is closed
            while line := answer.readline():
                if line.startswith(b"event: "):
                    events.append(line)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield events
    finally:
        connection.sock.shutdown(socket.SHUT_RDWR)
        thread.join(10.0)
        connection.close()


def _pinned(serve: Callable[[Published, Connection], None], published: Published, port: Connection) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    serve(published, port)


def load(server: Server, path: str, method: str, seconds: float, tag: str = "") -> Load:
    """Let wrk ask for `seconds`, on the other cores, after one second that does not count."""
    _wrk(server, path, method, 1.0, tag)
    before = server.process.cpu_times()
    seen = _wrk(server, path, method, seconds, tag)
    after = server.process.cpu_times()
    busy_s = after.user + after.system - before.user - before.system
    per_s = seen["requests"] / seen["seconds"]
    return Load(per_s, seen["p50_s"], seen["p99_s"], busy_s / seen["requests"])


def _wrk(server: Server, path: str, method: str, seconds: float, tag: str) -> dict[str, float]:
    names = ",".join(f"'{json.dumps(pid)}'" for pid in portal_of(PIDS).network_maps[0].prefixes)
    words = {
        "names": names,
        "accepts": COST_MAP_FILTER_TYPE,
        "method": method,
        "etag": f'"{tag}"',
        "bodies": BODIES,
    }
    cores = os.sched_getaffinity(0)
    others = cores - {max(cores)} or cores
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % words)
        script.flush()
        url = f"http://127.0.0.1:{server.port}{path}"
        command = ["wrk", "-t1", f"-c{server.connections}", f"-d{seconds:.0f}s", "-s", script.name, url]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=lambda: os.sched_setaffinity(0, others),
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise SystemExit(f"wrk failed: {done.stdout}{done.stderr}")
    seen: dict[str, float] = json.loads(lines[0])
    if seen["errors"] or seen["refused"]:
        raise SystemExit(f"requests failed: {lines[0]}")
    return seen


if __name__ == "__main__":
    main()
