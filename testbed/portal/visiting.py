"""One look at an ALTO server: its directories followed, its resources fetched, what is wrong listed.

In come a `Client` and the URI of a directory, out come documents as they were sent and `Finding`s. What
cannot be fetched is a finding too, except the directory itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from testbed.portal.alto import checking
from testbed.portal.alto.checking import UPDATE_STREAM_TYPE, Finding, base
from testbed.portal.alto.model import COST_MAP_TYPE, DIRECTORY_TYPE, NETWORK_MAP_TYPE
from testbed.portal.alto.probing import Answer, Known, Probe, probes
from testbed.portal.alto.reading import (
    AltoError,
    Closure,
    Directory,
    Resource,
    error_text,
    read_entries,
    read_json,
)
from testbed.portal.alto.watching import MERGE_PATCH_TYPE, Watch
from testbed.portal.client import Client, Refused, Unreachable

_MOST_DIRECTORIES = 32  # a server may not lead us around for ever
_MORE_LOOKS = 4  # at what is wrong, because the server may have published new maps between two questions


class NotAlto(Exception):
    """What the URI answers is no ALTO document: an HTTP error, or something else than JSON."""

    def __init__(self, answer: Answer, why: str) -> None:
        super().__init__(f"{answer.uri} {why}")
        self.answer = answer
        self.why = why


@dataclass
class Visit:
    """What is known of a server by now."""

    directories: list[Directory]
    """The root first."""
    directory_documents: dict[str, Any]
    """By URI."""
    findings: list[Finding]
    """What is wrong with the directories."""
    documents: dict[str, Any] = field(default_factory=dict)
    """What GET brought, by resource id."""

    @property
    def closure(self) -> Closure:
        return Closure.of(self.directories)

    @property
    def known(self) -> Known:
        """The whole maps among the documents."""
        closure = self.closure

        def of_type(media_type: str) -> dict[str, Any]:
            ids = {entry.id for entry in closure.of_type(media_type)}
            return {name: document for name, document in self.documents.items() if name in ids}

        return Known(of_type(NETWORK_MAP_TYPE), of_type(COST_MAP_TYPE))


def read_answer(answer: Answer) -> Any:
    """The JSON document of a good answer. Raises NotAlto where there is none."""
    try:
        document = read_json(answer.body)
    except AltoError as error:
        document, why = None, f"answers with {answer.media_type or 'something without a type'}: {error}"
    else:
        why = error_text(document)
    if answer.status != 200:
        its = error_text(document) if document is not None else ""
        raise NotAlto(answer, f"answers with HTTP status {answer.status}" + (f": {its}" if its else ""))
    if document is None:
        raise NotAlto(answer, why)
    return document


async def follow(client: Client, root: Answer) -> Visit:
    """Read the root directory and those that it delegates to (RFC 7285, sections 8.3.1 and 9.2.4).

    Raises AltoError or NotAlto where the root is no directory.
    """
    document = read_answer(root)
    visit = Visit([read_entries(document, root.uri)], {_canonical(root.uri): document}, [])
    visit.findings += checking.check_directory(document, "directory", root=True)
    if root.media_type != DIRECTORY_TYPE:
        what = f"the directory's type is {root.media_type or 'missing'} and not {DIRECTORY_TYPE}"
        visit.findings.append(Finding(base("9.2.1"), "directory", what))
    to_see = [*visit.directories[0].delegated]
    while to_see and len(visit.directories) < _MOST_DIRECTORIES:
        entry = to_see.pop(0)
        try:
            uri = _canonical(entry.uri)
        except ValueError as error:
            visit.findings.append(Finding(base("9.2.2"), entry.id, f"'{entry.uri}' is no URI: {error}"))
            continue
        if uri in visit.directory_documents:
            continue
        visit.directory_documents[uri] = None
        try:
            answer = await client.get(entry.uri)
            document = read_answer(answer)
            directory = read_entries(document, answer.uri)
        except (Unreachable, NotAlto, AltoError) as error:
            visit.findings.append(Finding(base("9.2.4"), entry.id, f"the directory cannot be had: {error}"))
            continue
        visit.directory_documents[uri] = document
        visit.findings += checking.check_media_type(entry, answer.media_type)
        visit.findings += checking.check_directory(document, entry.id, root=False)
        visit.directories.append(directory)
        to_see += directory.delegated
    visit.findings += checking.check_closure(visit.directories)
    return visit


def _canonical(uri: str) -> str:
    """One text for one place: without a path it is that of `/` (RFC 9110, section 4.2.3)."""
    parts = urlsplit(uri)
    return parts._replace(path=parts.path or "/", fragment="").geturl()


async def fetch(client: Client, resource: Resource) -> tuple[Any, list[Finding]]:
    """GET a resource. Raises NotAlto or Unreachable."""
    answer = await client.get(resource.uri, resource.media_type)
    return read_answer(answer), list(checking.check_media_type(resource, answer.media_type))


async def examine(client: Client, visit: Visit) -> list[Finding]:
    """Everything that is wrong: of the directories, of every resource that GET brings, and of the answers to
    requests with a body. The documents are kept in the visit.
    """
    findings = list(visit.findings)
    gets = [
        entry
        for entry in visit.closure.resources.values()
        if not entry.accepts and entry.media_type != UPDATE_STREAM_TYPE
    ]
    # Network maps first: what the others say of PIDs and tags is held against them.
    for entry in sorted(gets, key=lambda entry: entry.media_type != NETWORK_MAP_TYPE):
        findings += await _examined(client, visit, entry)
    for entry in visit.closure.resources.values():
        asked, unable = _probes_of(entry, visit)
        findings += unable
        for number, probe in enumerate(asked):
            findings += await _probed(client, visit, probe, number)
        if entry.media_type == UPDATE_STREAM_TYPE:
            findings += await _streamed(client, visit, entry)
    return list(dict.fromkeys(findings))


def _guarded(look: Callable[[], Iterable[Finding]], where: str) -> list[Finding]:
    """What `look` finds; a document that is not even of the right shape is a finding of its own."""
    found: list[Finding] = []
    try:
        found.extend(look())
    except (KeyError, IndexError, AttributeError, TypeError, ValueError, OverflowError) as error:
        what = f"it is of another shape than its type says, and can't be checked further ({error!r})"
        found.append(Finding(base("8.3.3"), where, what))
    return found


async def _examined(client: Client, visit: Visit, entry: Resource) -> list[Finding]:
    try:
        document, findings = await fetch(client, entry)
    except (Unreachable, NotAlto) as error:
        return [Finding(base("9.2.2"), entry.id, f"it cannot be had: {error}")]
    visit.documents[entry.id] = document
    wrong = _guarded(lambda: checking.check_get(document, entry, visit.known.network_maps), entry.id)
    for look in range(_MORE_LOOKS if entry.media_type == COST_MAP_TYPE else 0):
        if not wrong:
            break
        # Between our two questions a new network map may have been published: then the pair did not fit.
        changed = await _refresh(client, visit, [*entry.uses, entry.id])
        wrong = _guarded(
            lambda: checking.check_get(visit.documents[entry.id], entry, visit.known.network_maps), entry.id
        )
        if look and not changed:
            break
    return findings + wrong


async def _probed(client: Client, visit: Visit, probe: Probe, number: int) -> list[Finding]:
    findings = await _sent(client, probe)
    for look in range(_MORE_LOOKS if probe.of_maps else 0):
        if not findings:
            break
        # The maps may be of another time than this answer; with those of now it is asked once more.
        changed = await _refresh(client, visit, _about(visit, probe.resource))
        again, _ = _probes_of(probe.resource, visit)
        findings = await _sent(client, again[number] if number < len(again) else probe)
        if look and not changed:
            break
    return findings


def _probes_of(resource: Resource, visit: Visit) -> tuple[list[Probe], list[Finding]]:
    """The requests to a service; none where the maps that they would be made of are in no shape for it."""
    asked: list[Probe] = []

    def look() -> Iterable[Finding]:
        asked.extend(probes(resource, visit.known))
        return ()

    return asked, _guarded(look, resource.id)


def _about(visit: Visit, resource: Resource) -> list[str]:
    """The fetched maps that its answers are held against: those that it uses, and their cost maps."""
    used = set(resource.uses) or set(visit.documents)
    return [
        name for name in visit.documents if name in used or used & set(visit.closure.resources[name].uses)
    ]


async def _sent(client: Client, probe: Probe) -> list[Finding]:
    resource = probe.resource
    try:
        answer = await client.post(resource.uri, probe.body, resource.accepts, resource.media_type)
    except Unreachable as error:
        return [Finding(base("9.2.2"), f"{resource.id}: {probe.what}", f"no answer: {error}")]
    return _guarded(lambda: probe.findings(answer), f"{resource.id}: {probe.what}")


async def _refresh(client: Client, visit: Visit, names: Iterable[str]) -> bool:
    """Fetch these maps anew. Returns whether any is another now."""
    changed = False
    for name in names:
        entry = visit.closure.resources.get(name)
        if entry is None or entry.media_type not in (NETWORK_MAP_TYPE, COST_MAP_TYPE):
            continue
        try:
            document, _ = await fetch(client, entry)
        except (Unreachable, NotAlto):
            continue
        changed = changed or document != visit.documents.get(name)
        visit.documents[name] = document
    return changed


async def _streamed(client: Client, visit: Visit, entry: Resource) -> list[Finding]:
    """Open an update stream of what it offers, and look at it until every resource came whole."""
    watch, body = stream_request(entry, visit.closure)
    if not watch.resources:
        return []
    findings: list[Finding] = []
    try:
        async with aclosing(client.stream(entry.uri, body, entry.accepts)) as events:
            async for event in events:
                findings += watch.take(event).findings
                if len(watch.documents) == len(watch.resources) or findings:
                    break
            else:
                findings.append(Finding("RFC 8895, 6.6", entry.id, "the stream ended before everything came"))
    except (Unreachable, AltoError) as error:
        findings.append(Finding("RFC 8895, 6.6", entry.id, f"the stream: {error}"))
    except Refused as error:
        what = f"a request for what it offers was refused: {status_text(error.answer)}"
        findings.append(Finding("RFC 8895, 6.6", entry.id, what))
    return findings


def stream_request(stream: Resource, closure: Closure, names: Iterable[str] = ()) -> tuple[Watch, bytes]:
    """What to watch of an update stream, and the body that asks for it (RFC 8895, section 6.5).

    Those of `names`, or all that it offers and that need no input. Changes are taken where the server would
    send them as merge patches.
    """
    wanted = [
        closure.resources[name]
        for name in (tuple(names) or stream.uses)
        if name in closure.resources and not closure.resources[name].accepts
    ]
    media = stream.capabilities.get("incremental-change-media-types")
    types: Mapping[str, Any] = media if isinstance(media, Mapping) else {}
    add = {
        entry.id: {
            "resource-id": entry.id,
            "incremental-changes": MERGE_PATCH_TYPE
            in str(types.get(entry.id, "")).replace(" ", "").split(","),
        }
        for entry in wanted
    }
    controlled = stream.capabilities.get("support-stream-control") is True
    watch = Watch({entry.id: entry for entry in wanted}, controlled)
    return watch, json.dumps({"add": add}).encode()


def status_text(answer: Answer) -> str:
    """The HTTP status of an answer, and the ALTO error in it, if there is one."""
    try:
        text = error_text(read_json(answer.body))
    except AltoError:
        text = ""
    return f"HTTP status {answer.status}" + (f", {text}" if text else "")
