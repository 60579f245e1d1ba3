"""A portal as a process of its own on loopback, and plain HTTP to it: what tests of the protocol talk to."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

_PATIENCE_S = 60.0
_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Reply:
    """An answer of the portal."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0]

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the ALTO error that this is."""
        assert self.media_type == "application/alto-error+json", (self.status, self.body[:200])
        return str(self.document["meta"]["code"])

    @property
    def error(self) -> tuple[str, Any, Any]:
        """(code, field, value) of the ALTO error that this is."""
        meta = {"code": self.code, **self.document["meta"]}
        return meta["code"], meta.get("field"), meta.get("value")


@dataclass
class Portal:
    """A portal that runs."""

    uri: str
    folder: Path
    context: ssl.SSLContext | None = None
    _directory: dict[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.uri)
        return parts.hostname or "", parts.port or 0

    def request(
        self, method: str, uri: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One request on a connection of its own; a `uri` may be a path."""
        parts = urlsplit(uri)
        host, port = (parts.hostname, parts.port) if parts.hostname else self.address
        made = (
            http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
            if self.context is None
            else http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=self.context)
        )
        try:
            made.request(method, parts.path or "/", body, dict(headers or {}))
            answer = made.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, found, answer.read())
        finally:
            made.close()

    def get(self, uri: str = "/", **headers: str) -> Reply:
        """Header names are written with _ for -."""
        return self.request(
            "GET", uri, headers={key.replace("_", "-"): value for key, value in headers.items()}
        )

    @property
    def directory(self) -> dict[str, Any]:
        """The root directory, fetched once."""
        if not self._directory:
            self._directory = self.get().document
        return self._directory

    def entries(self, media_type: str, accepts: str = "") -> dict[str, Any]:
        """The directory's resources of this type, by id; without `accepts` those of GET."""
        return {
            name: entry
            for name, entry in self.directory["resources"].items()
            if (entry["media-type"], entry.get("accepts", "")) == (media_type, accepts)
        }

    def entry(self, media_type: str, accepts: str = "", uses: str = "") -> Any:
        """The first resource of this type, of those that use the network map `uses` where it is named."""
        return next(
            entry
            for entry in self.entries(media_type, accepts).values()
            if not uses or uses in entry.get("uses", [])
        )

    def ask(self, entry: Any, request: Any) -> Reply:
        """POST to a resource, a body as it is or made of JSON."""
        body = request if isinstance(request, bytes) else json.dumps(request).encode()
        return self.request("POST", entry["uri"], body, {"Content-Type": entry["accepts"]})

    def document(self, name: str) -> Any:
        """What GET of the resource with this id brings."""
        reply = self.get(self.directory["resources"][name]["uri"])
        assert reply.status == 200, reply
        return reply.document

    def put_faults(self, faults: Mapping[str, Any]) -> None:
        """What is wrong with the portal from now on, said on its control socket."""
        body = json.dumps(faults).encode()
        with socket.socket(socket.AF_UNIX) as there:
            there.settimeout(_TIMEOUT_S)
            there.connect(str(self.folder / "control.sock"))
            there.sendall(
                b"PUT /faults HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                + f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            answer = b"".join(iter(lambda: there.recv(65536), b""))
        assert b" 200 " in answer.splitlines()[0], answer


@contextmanager
def portal(
    config: Mapping[str, Any], folder: Path, context: ssl.SSLContext | None = None
) -> Iterator[Portal]:
    """A portal with this configuration, on a free port of loopback, until the end of the context.

    Its folder has to be short: it gets a Unix socket.
    """
    ready, log, file = folder / "ready", folder / "log", folder / "portal.yaml"
    whole = {
        "listen": "127.0.0.1:0",
        "ready_file": str(ready),
        "control_socket": str(folder / "control.sock"),
        **config,
    }
    file.write_text(yaml.safe_dump(whole, sort_keys=False))
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "testbed.portal", "--config", str(file)], stderr=errors, cwd=folder
        )
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while not ready.exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        found = re.search(r" on (\S+)$", log.read_text(), re.MULTILINE)
        assert found is not None, log.read_text()
        scheme = "http" if context is None else "https"
        yield Portal(f"{scheme}://{found[1]}", folder, context)
        assert process.poll() is None, log.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_PATIENCE_S)
    text = log.read_text()
    assert "Traceback" not in text, text
