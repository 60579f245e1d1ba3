"""The portal's control socket: what goes on, and what is to be wrong with it from now on.

JSON over HTTP on a Unix socket, for the portal's user alone: GET /status, PUT /faults. Refusals are
`{"error": text}`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from http import HTTPStatus
from pathlib import Path

from aiohttp import web
from pydantic import ValidationError

from testbed.portal.config import FaultsConfig
from testbed.portal.site import Site
from testbed.spec.wording import problems_of

_SHUTDOWN_S = 1.0
Status = Callable[[], Mapping[str, object]]


async def listen(path: Path, site: Site, status: Status, stack: AsyncExitStack) -> None:
    """Serve on the socket `path` until `stack` closes. Raises OSError."""
    app = web.Application()
    control = _Control(site, status)
    app.router.add_get("/status", control.status)
    app.router.add_put("/faults", control.put_faults)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.UnixSite(runner, path).start()
    stack.callback(path.unlink, missing_ok=True)
    os.chmod(path, 0o600)


class _Control:
    def __init__(self, site: Site, status: Status) -> None:
        self._site = site
        self._status = status

    async def status(self, _request: web.Request) -> web.Response:
        return web.json_response({**self._status(), "faults": self._site.faults.model_dump()})

    async def put_faults(self, request: web.Request) -> web.Response:
        """The faults are what the body says; what it does not name is off. Answers with all of them."""
        try:
            body = json.loads(await request.read())
        except (ValueError, RecursionError) as error:
            return _refused(f"the body is no JSON: {error}")
        try:
            faults = FaultsConfig.model_validate(body)
        except ValidationError as error:
            found = problems_of(error, body, lambda _location: "", FaultsConfig)
            return _refused("; ".join(str(problem).replace("\n  ", ", ") for problem in found))
        self._site.set_faults(faults)
        return web.json_response(faults.model_dump())


def _refused(reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=HTTPStatus.BAD_REQUEST)
