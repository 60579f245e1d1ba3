"""`testbed alto`: a small ALTO client that follows a directory, shows maps, asks, watches and checks.

A URI comes in; tables or JSON go to stdout. The server may be anyone's.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from testbed.cli.plain import plain
from testbed.errors import Problem, RunError, UserError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from testbed.portal.alto.checking import Finding
    from testbed.portal.alto.probing import Answer
    from testbed.portal.alto.reading import CostKind, Resource
    from testbed.portal.client import Client, Login
    from testbed.portal.visiting import Visit

_AUTHORISATION_NEEDED = 401


def alto(
    uri: Annotated[str, typer.Argument(metavar="URL", help="A directory, or one of its GET resources.")],
    resource: Annotated[
        list[str] | None,
        typer.Option("--resource", "-r", metavar="ID", help="Show this resource. May be given again."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="List what breaks a rule of the RFCs, with its section.")
    ] = False,
    filtered: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--filter", metavar="FROM TO", help="Ask for the costs between PIDs: a,b c,d; '' stands for all."
        ),
    ] = None,
    endpoint_cost: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--endpoint-cost",
            metavar="FROM TO",
            help="Ask for the costs between addresses: a,b c,d; '' stands for this machine.",
        ),
    ] = None,
    properties: Annotated[
        str, typer.Option("--property", metavar="ADDRESSES", help="Ask what is known of addresses: a,b")
    ] = "",
    cost: Annotated[
        list[str] | None,
        typer.Option("--cost", metavar="NAME", help="The cost type to ask for; two or more: all at once."),
    ] = None,
    constraint: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="TEST", help="Only costs that meet it: 'le 10'. May be given again."),
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Watch the maps: print each update.")] = False,
    events: Annotated[
        int | None, typer.Option("--events", metavar="N", min=1, help="With --stream: end after N updates.")
    ] = None,
    authority: Annotated[
        Path | None,
        typer.Option("--ca", metavar="FILE", help="Trust this authority (PEM) instead of the system's."),
    ] = None,
    user: Annotated[
        str,
        typer.Option("--user", metavar="NAME:FILE", help="Log in; the file's first line is the password."),
    ] = "",
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="The longest wait for an answer.")
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the documents as JSON.")] = False,
) -> None:
    """Fetch, show, query and check the resources of an ALTO server (RFC 7285 and its extensions).

    Without options: the resources that the directory and those that it delegates to lead to, the default
    network map and its costs. Exit code 1 where the server fails, or where --check finds a violation.

    Example: testbed alto http://127.0.0.1:8080 --check
    """
    from testbed.portal.client import Client

    asked = [bool(filtered), bool(endpoint_cost), bool(properties), stream, check]
    if sum(asked) > 1:
        what = "ask for one thing at a time"
        raise UserError(
            Problem(what, allowed="one of --filter, --endpoint-cost, --property, --stream, --check")
        )
    _check_uri(uri)
    query = Query(tuple(cost or ()), tuple(constraint or ()), as_json)
    login = _login(user)
    try:
        client = Client(uri, authority=authority, login=login, timeout_s=timeout_s)
    except OSError as error:
        reason = error.strerror or "it holds no certificate in PEM"
        raise UserError(Problem(f"{authority}: {reason}", "--ca", "a file of certificates in PEM")) from None

    async def work(client: Client) -> None:
        if filtered:
            await _ask_costs(client, await _directory(client, uri, login), filtered, query)
        elif endpoint_cost:
            await _ask_endpoint_costs(client, await _directory(client, uri, login), endpoint_cost, query)
        elif properties:
            await _ask_properties(client, await _directory(client, uri, login), properties, query)
        elif stream:
            await _watch(
                client, await _directory(client, uri, login), resource or [], events, as_json=as_json
            )
        elif check:
            await _check(client, await _directory(client, uri, login), uri, as_json=as_json)
        else:
            await _show(client, uri, login, resource or [], as_json=as_json)

    _run(client, work)


@dataclass(frozen=True)
class Query:
    """What the queries share: cost types by name or metric, constraints, and how to print."""

    costs: tuple[str, ...]
    constraints: tuple[str, ...]
    as_json: bool


def _run(client: Client, work: Callable[[Client], Awaitable[None]]) -> None:
    """Do the work in an event loop. Raises RunError where the server does not answer as it should."""
    from testbed.portal.alto.reading import AltoError
    from testbed.portal.client import Refused, Unreachable
    from testbed.portal.visiting import NotAlto, status_text

    async def inside() -> None:
        async with client:
            await work(client)

    try:
        asyncio.run(inside())
    except Unreachable as error:
        raise RunError(str(error), mend=error.mend) from error
    except NotAlto as error:
        raise RunError(str(error)) from error
    except Refused as error:
        raise RunError(f"{error.answer.uri} gives no stream: {status_text(error.answer)}") from error
    except AltoError as error:
        raise RunError(f"{error}") from error


def _check_uri(uri: str) -> None:
    try:
        parts = urlsplit(uri)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        mend = f"testbed alto http://{uri}" if uri and "://" not in uri else ""
        raise UserError(Problem(f"'{uri}' is no address", "URL", "http://HOST:PORT/PATH or https://…", mend))


def _login(user: str) -> Login | None:
    """Name and password; the password comes from a file, as other users see a command's arguments."""
    from testbed.portal.client import Login

    if not user:
        return None
    name, colon, file = user.partition(":")
    if not name or not colon or not file:
        raise UserError(
            Problem(f"'{user}' is no name and file", "--user", "NAME:FILE, such as tracker:secret.txt")
        )
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UserError(Problem(f"{file} can't be read: {reason}", "--user")) from None
    if not lines or not lines[0]:
        raise UserError(Problem(f"{file} has no password in its first line", "--user"))
    return Login(name, lines[0])


async def _get_first(client: Client, uri: str, login: Login | None) -> Answer:
    from testbed.portal.alto.model import DIRECTORY_TYPE

    answer = await client.get(uri, f"{DIRECTORY_TYPE},*/*;q=0.5")  # a map by itself will do as well
    if answer.status == _AUTHORISATION_NEEDED:
        if login is not None:
            what = f"the server does not take {login.name} with this password"
            raise UserError(Problem(what, "--user", "a client of the server's, and its password"))
        raise RunError(f"{answer.uri} is closed: it wants a name and a password", mend="--user NAME:FILE")
    return answer


async def _directory(client: Client, uri: str, login: Login | None) -> Visit:
    from testbed.portal.visiting import follow

    return await follow(client, await _get_first(client, uri, login))


async def _show(client: Client, uri: str, login: Login | None, names: list[str], *, as_json: bool) -> None:
    """The directory and its default maps, or the resources that are named, or what else the URI answers."""
    from testbed.cli.alto_tables import directory_table, document_parts
    from testbed.cli.tables import console, show
    from testbed.portal.alto.model import DIRECTORY_TYPE
    from testbed.portal.visiting import fetch, follow, read_answer

    answer = await _get_first(client, uri, login)
    document = read_answer(answer)
    if answer.media_type != DIRECTORY_TYPE and not (isinstance(document, dict) and "resources" in document):
        if as_json:
            typer.echo(json.dumps(document, indent=1))
        else:
            show(document_parts(document, answer.media_type, "", console())[1:])
        return
    visit = await follow(client, answer)
    chosen = _chosen(visit, names)
    for entry in chosen:
        visit.documents[entry.id], _ = await fetch(client, entry)
    if as_json:
        typer.echo(json.dumps(_everything(uri, visit, None), indent=1))
        return
    parts: list[RenderableType] = []
    if not names:
        count = len(visit.directory_documents)
        its = f" in {count} directories" if count > 1 else ""
        parts = [
            f"{uri}: {len(visit.closure.resources)} resources{its}",
            directory_table(visit.closure, console()),
        ]
    for entry in chosen:
        parts += document_parts(visit.documents[entry.id], entry.media_type, entry.id, console())
    show(parts[1:] if names else parts)
    if visit.findings and not names:
        typer.echo(f"The directory breaks {len(visit.findings)} rules: testbed alto {uri} --check", err=True)


def _chosen(visit: Visit, names: list[str]) -> list[Resource]:
    """The resources to fetch: those named, else the default network map and its cost map."""
    closure = visit.closure
    if not names:
        return [entry for entry in closure.default_maps() if entry is not None]
    gettable = {
        name: entry
        for name, entry in closure.resources.items()
        if not entry.accepts and entry.media_type != "text/event-stream"
    }
    for name in names:
        _known(name, gettable, "resource", "--resource")
    return [gettable[name] for name in names]


async def _check(client: Client, visit: Visit, uri: str, *, as_json: bool) -> None:
    """Raises RunError where a MUST is broken."""
    from testbed.cli.tables import show, table
    from testbed.portal.visiting import examine
    from testbed.topology.writing import counted

    found = await examine(client, visit)
    broken = [finding for finding in found if finding.must]
    if as_json:
        typer.echo(json.dumps(_everything(uri, visit, found), indent=1))
    elif found:
        rows = table(["rule", "", "where", "what is wrong"], [])
        for finding in found:
            rows.add_row(finding.section, "MUST" if finding.must else "should", finding.where, finding.what)
        show([rows])
    if not broken:
        if not as_json:
            asides = f"; {counted(len(found), 'thing')} could be better" if found else ""
            typer.echo(f"{counted(len(visit.closure.resources), 'resource')}: no rule is broken{asides}")
        return
    raise RunError(f"{uri} breaks rules: {counted(len(broken), 'finding')}")


def _everything(uri: str, visit: Visit, findings: list[Finding] | None) -> dict[str, Any]:
    """What --json prints: every document as the server sent it."""
    said: dict[str, Any] = {
        "uri": uri,
        "directories": visit.directory_documents,
        "resources": visit.documents,
    }
    return said if findings is None else {**said, "findings": [asdict(finding) for finding in findings]}


async def _ask_costs(client: Client, visit: Visit, ends: tuple[str, str], query: Query) -> None:
    """The filtered cost map (RFC 7285, section 11.3.2) of the default network map, or else of another."""
    from testbed.portal.alto.model import COST_MAP_FILTER_TYPE, COST_MAP_TYPE
    from testbed.portal.visiting import fetch

    services = list(visit.closure.of_type(COST_MAP_TYPE, COST_MAP_FILTER_TYPE))
    services.sort(key=lambda entry: visit.closure.default_network_map not in entry.uses)
    service, kinds = _offering(services, query, "filtered cost map")
    sources, targets = _listed(ends[0]), _listed(ends[1])
    network_map = visit.closure.resources.get(service.uses[0]) if service.uses else None
    if network_map is not None:
        document, _ = await fetch(client, network_map)
        pids = document.get("network-map") if isinstance(document, dict) else None
        for name in (*sources, *targets):
            _known(name, pids if isinstance(pids, dict) else {}, "PID", "--filter")
    body = {**_cost_types(kinds, service, query), "pids": {"srcs": sources, "dsts": targets}}
    await _ask(client, service, body, query)


async def _ask_endpoint_costs(client: Client, visit: Visit, ends: tuple[str, str], query: Query) -> None:
    """The endpoint cost service (RFC 7285, section 11.5.1)."""
    from testbed.portal.alto.model import ENDPOINT_COST_PARAMS_TYPE, ENDPOINT_COST_TYPE

    services = visit.closure.of_type(ENDPOINT_COST_TYPE, ENDPOINT_COST_PARAMS_TYPE)
    service, kinds = _offering(services, query, "endpoint cost service")
    if not _listed(ends[0]) and not _listed(ends[1]):
        raise UserError(Problem("one side must name addresses", "--endpoint-cost", "FROM TO, one of them ''"))
    endpoints = {
        key: _addresses(text, "--endpoint-cost") for key, text in zip(("srcs", "dsts"), ends, strict=True)
    }
    await _ask(client, service, {**_cost_types(kinds, service, query), "endpoints": endpoints}, query)


async def _ask_properties(client: Client, visit: Visit, addresses: str, query: Query) -> None:
    """Everything that the endpoint property service offers (RFC 7285, section 11.4.1), else RFC 9240's."""
    from testbed.portal.alto.checking import PROPERTY_MAP_PARAMS_TYPE, PROPERTY_MAP_TYPE
    from testbed.portal.alto.model import ENDPOINT_PROPERTY_PARAMS_TYPE, ENDPOINT_PROPERTY_TYPE

    ends = _addresses(addresses, "--property")
    services = visit.closure.of_type(ENDPOINT_PROPERTY_TYPE, ENDPOINT_PROPERTY_PARAMS_TYPE)
    if services:
        body = {"properties": services[0].capabilities.get("prop-types", []), "endpoints": ends}
        await _ask(client, services[0], body, query)
        return
    services = visit.closure.of_type(PROPERTY_MAP_TYPE, PROPERTY_MAP_PARAMS_TYPE)
    if not services:
        raise RunError("the server has no endpoint property service and no entity properties")
    await _ask(client, services[0], {"entities": ends}, query)


def _offering(services: Iterable[Resource], query: Query, what: str) -> tuple[Resource, list[CostKind]]:
    """The first service that offers all cost types asked for, and these; by default its first.

    A cost type is asked for by its name in the directory or by its metric. Raises RunError where there is no
    such service, and UserError where none offers the cost type.
    """
    there = list(services)
    if not there:
        raise RunError(f"the server has no {what}")
    offers = [_by_name(entry) for entry in there]
    for entry, known in zip(there, offers, strict=True):
        if all(name in known for name in query.costs) and entry.cost_types:
            names = query.costs or (next(iter(entry.cost_types)),)
            return entry, [known[name] for name in names]
    if not any(offers):
        raise RunError(f"the server's {what} offers no cost type")
    for name in query.costs:
        _known(name, dict.fromkeys(key for known in offers for key in known), "cost type", "--cost")
    raise UserError(Problem(f"no {what} offers all of {', '.join(query.costs)}", "--cost"))


def _by_name(entry: Resource) -> dict[str, CostKind]:
    """Cost types by metric, the numerical first, and by name, which counts more."""
    kinds = sorted(entry.cost_types.values(), key=lambda kind: kind.mode == "numerical")
    return {**{kind.metric: kind for kind in kinds}, **entry.cost_types}


def _cost_types(kinds: list[CostKind], service: Resource, query: Query) -> dict[str, Any]:
    """The part of a request that names cost types and constraints (RFC 7285, 11.3.2.3; RFC 8189, 4.1.2)."""
    from testbed.portal.alto.model import COST_MAP_TYPE

    words = "filtered cost map" if service.media_type == COST_MAP_TYPE else "endpoint cost service"
    body: dict[str, Any] = {"cost-type": kinds[0].to_json()}
    if len(kinds) > 1:
        most = service.capabilities.get("max-cost-types", 1)
        if not isinstance(most, int) or len(kinds) > most:
            raise UserError(Problem(f"the {words} gives at most {most} at once", "--cost"))
        body = {"multi-cost-types": [kind.to_json() for kind in kinds]}
    if query.constraints:
        testable = service.capabilities.get("testable-cost-type-names")
        if service.capabilities.get("cost-constraints") is not True and not testable:
            raise UserError(Problem(f"the {words} takes no constraints", "--where"))
        body["constraints"] = list(query.constraints)
    return body


async def _ask(client: Client, service: Resource, body: dict[str, Any], query: Query) -> None:
    from testbed.cli.alto_tables import document_parts
    from testbed.cli.tables import console, show
    from testbed.portal.visiting import read_answer

    answer = await client.post(service.uri, json.dumps(body).encode(), service.accepts, service.media_type)
    document = read_answer(answer)
    if query.as_json:
        typer.echo(json.dumps(document, indent=1))
    else:
        show(document_parts(document, answer.media_type, service.id, console())[1:])


async def _watch(client: Client, visit: Visit, names: list[str], most: int | None, *, as_json: bool) -> None:
    """Print a line an update until the server ends the stream, or after so many (RFC 8895)."""
    from testbed.portal.alto.checking import UPDATE_STREAM_PARAMS_TYPE, UPDATE_STREAM_TYPE
    from testbed.portal.visiting import stream_request

    services = visit.closure.of_type(UPDATE_STREAM_TYPE, UPDATE_STREAM_PARAMS_TYPE)
    if not services:
        raise RunError("the server has no update stream")
    for name in names:
        _known(name, services[0].uses, "resource", "--resource")
    watch, body = stream_request(services[0], visit.closure, names)
    seen = 0
    async with aclosing(client.stream(services[0].uri, body, services[0].accepts)) as events:
        async for event in events:
            update = watch.take(event)
            seen += update.kind != "control"
            if as_json:
                typer.echo(json.dumps({**asdict(update), "event": event.name}))
            else:
                typer.echo(plain(_update_text(update.kind, update.id, update.changed, update.document)))
            for finding in update.findings:
                typer.echo(plain(f"  {finding}"), err=True)
            if most and seen >= most:
                return


def _update_text(kind: str, name: str, changed: int, document: Any) -> str:
    from datetime import datetime

    from testbed.topology.writing import counted

    now = datetime.now().strftime("%H:%M:%S.%f")[:-3]
    if kind == "control":
        return f"{now}  control  {json.dumps(document)}"
    if kind == "unknown":
        return f"{now}  {name or 'an event'} could not be used"
    meta = document.get("meta", {}) if isinstance(document, dict) else {}
    tags = [meta["vtag"]] if "vtag" in meta else meta.get("dependent-vtags", [])
    tag = next((f"  tag {one['tag']}" for one in tags if isinstance(one, dict) and "tag" in one), "")
    what = "whole" if kind == "full" else counted(changed, "change")
    return f"{now}  {name}  {what}{tag}"


def _addresses(text: str, where: str) -> list[str]:
    """Typed addresses of `a,b`. Raises UserError with all that are none."""
    from testbed.portal.alto.reading import typed_address

    found, problems = [], []
    for address in _listed(text):
        try:
            found.append(typed_address(address))
        except ValueError:
            problems.append(
                Problem(f"'{address}' is no address", where, "such as 10.0.0.1 or ipv6:2001:db8::1")
            )
    if problems:
        raise UserError(problems)
    return found


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _known(name: str, known: Iterable[str], kind: str, where: str) -> None:
    """Raises UserError where there is nothing of this name, with what may have been meant."""
    from testbed.spec.loading import unknown

    names = list(known)
    if name not in names:
        raise UserError(unknown(kind, name, names, where))
