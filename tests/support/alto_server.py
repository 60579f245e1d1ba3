"""Small ALTO servers of tests' own, real HTTP on loopback: documents as facts, right or wrong.

Pages come in by method and path; a page is a document, or a function of the request's body that gives one.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Page:
    """What is answered. Bytes go out as they are, anything else as JSON."""

    media_type: str
    content: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else json.dumps(self.content).encode()


Pages = Mapping[tuple[str, str], Page | Callable[[bytes], Page]]
NOWHERE = Page("text/html", b"<p>not here", 404)


@dataclass
class AltoServer:
    """A server that runs: where it is, and which requests came, each (method, path, headers)."""

    uri: str
    requests: list[tuple[str, str, Mapping[str, str]]]


@contextmanager
def serving(pages: Pages, context: ssl.SSLContext | None = None) -> Iterator[AltoServer]:
    """Serve these pages until the end of the context; with `context` over TLS."""
    requests: list[tuple[str, str, Mapping[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536  # head and body in one packet: the client's kernel would wait 40 ms between them

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            requests.append((self.command, self.path, dict(self.headers)))
            found = pages.get((self.command, self.path), NOWHERE)
            page = found if isinstance(found, Page) else found(body)
            self.send_response(page.status)
            if page.media_type:
                self.send_header("Content-Type", page.media_type)
            for name, value in page.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(page.body)))
            self.end_headers()
            self.wfile.write(page.body)

        do_GET = do_POST = _answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        scheme = "http" if context is None else "https"
        yield AltoServer(f"{scheme}://127.0.0.1:{server.server_address[1]}", requests)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
