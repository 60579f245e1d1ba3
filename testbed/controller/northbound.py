"""The controller's northbound API: JSON over HTTP, read only. A request comes in, a status and a body go out.

GET /status          {"ready", "switches": {pop: {"connected", "confirmed", "rules", "error"}}}
GET /counters        the last counters of each switch, by PoP
GET /rules?pop=ID    the program of one switch
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from testbed.controller.fabric import Fabric

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


def respond(fabric: Fabric, method: str, path: str, query: str) -> tuple[HTTPStatus, Any]:
    """The status and the body, still unencoded; a bad request gets 4xx and `{"error": reason}`."""
    routes = {"/status": _status, "/counters": _counters, "/rules": _rules}
    if path not in routes:
        return HTTPStatus.NOT_FOUND, {"error": f"no {path}; there are {', '.join(routes)}"}
    if method != "GET":
        return HTTPStatus.METHOD_NOT_ALLOWED, {"error": f"{method} {path}: only GET is allowed"}
    try:
        return routes[path](fabric, parse_qs(query, keep_blank_values=True, max_num_fields=16))
    except ValueError as error:
        return HTTPStatus.BAD_REQUEST, {"error": str(error)}


def _status(fabric: Fabric, query: dict[str, list[str]]) -> tuple[HTTPStatus, Any]:
    _allow(query)
    return HTTPStatus.OK, fabric.status()


def _counters(fabric: Fabric, query: dict[str, list[str]]) -> tuple[HTTPStatus, Any]:
    _allow(query)
    return HTTPStatus.OK, {pop: switch.counters for pop, switch in fabric.by_pop.items()}


def _rules(fabric: Fabric, query: dict[str, list[str]]) -> tuple[HTTPStatus, Any]:
    _allow(query, "pop")
    pops = query.get("pop", [])
    if len(pops) != 1:
        raise ValueError("say which switch: /rules?pop=ID, once")
    if pops[0] not in fabric.by_pop:
        return HTTPStatus.NOT_FOUND, {"error": f"no PoP {pops[0]!r}"}
    return HTTPStatus.OK, [rule.to_json() for rule in fabric.by_pop[pops[0]].program]


def _allow(query: dict[str, list[str]], *names: str) -> None:
    unknown = sorted(query.keys() - set(names))
    if unknown:
        raise ValueError(f"unknown parameter {unknown[0]!r}")


def wsgi_application(fabric: Fabric) -> Callable[[dict[str, Any], StartResponse], Iterable[bytes]]:
    """`respond` as a WSGI application (PEP 3333)."""

    def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        status, payload = respond(
            fabric, environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", "")
        )
        body = json.dumps(payload).encode() + b"\n"
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", "GET"))
        start_response(f"{status.value} {status.phrase}", headers)
        return [body]

    return application
