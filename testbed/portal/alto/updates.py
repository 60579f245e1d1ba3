"""Incremental updates over server-sent events (RFC 8895), the part without a network.

In come what the portal publishes now and what a client asks of its stream; out come the events that the
client is to be sent: control updates, full replacements, JSON merge patches (RFC 7396).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count
from typing import Any, NoReturn, Protocol
from weakref import WeakKeyDictionary

from testbed.portal.alto import encoding
from testbed.portal.alto.costs import CostMapParts
from testbed.portal.alto.model import (
    NETWORK_MAP_TYPE,
    Document,
    Entry,
    ProtocolError,
    Query,
    TooMuchWork,
)
from testbed.portal.alto.requests import (
    as_object,
    as_text,
    as_texts,
    parsed_object,
    required,
    wrong_value,
)

STREAM_TYPE = "text/event-stream"
STREAM_PARAMS_TYPE = "application/alto-updatestreamparams+json"
STREAM_CONTROL_TYPE = "application/alto-updatestreamcontrol+json"
MERGE_PATCH_TYPE = "application/merge-patch+json"
STREAM_ID = "updates"
STREAM_PATH = "/updates"
CONTROL_PATH = "/updates/control/"
KEEP_ALIVE = b":\n\n"
"""A comment, which clients ignore (section 6.8)."""

_ID = re.compile(r"[A-Za-z0-9\-:@_]{1,64}")
_MOST_ACTIVE = 100
"""Substreams of one stream at a time."""
_MOST_USED = 10_000
"""Over a stream's life: substream ids are remembered, because none may come twice (section 7.5)."""
_MOST_BYTES = 2**24
"""Of answers to a stream's own inputs: they are kept until the next, to tell what changed."""
_MOST_WORK = 1_000_000
"""What these answers take each time that something is published, in costs that are looked at."""
_LARGEST_READ = 2**20
"""A longer text is not read again to tell what changed: reading it holds up everyone."""


class Content:
    """A document that was published, parsed when a change has to be told."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._patches: WeakKeyDictionary[Content, bytes | None] = WeakKeyDictionary()

    @cached_property
    def parsed(self) -> Any:
        return json.loads(self.document.body)

    def has_tag(self, tag: str) -> bool:
        """Whether a client that has this version tag, or ETag, has this content."""
        if tag == self.document.tag:
            return True
        if self.document.media_type != NETWORK_MAP_TYPE:  # only these have a vtag of their own
            return False
        meta = self.parsed.get("meta", {})
        return bool(tag == meta.get("vtag", {}).get("tag"))

    def patch_from(self, before: Content) -> bytes | None:
        """The merge patch that turns `before` into this, None where the whole is as short or none does it."""
        if before not in self._patches:
            self._patches[before] = self._patch_from(before)
        return self._patches[before]

    def _patch_from(self, before: Content) -> bytes | None:
        now, was = self.document.parts, before.document.parts
        if now is not None and was is not None:
            patch = _cost_map_patch(was, now)
        elif max(len(self.document.body), len(before.document.body)) > _LARGEST_READ:
            return None
        else:
            try:
                patch = encoding.text(merge_patch(before.parsed, self.parsed)).encode()
            except _NoPatch:
                return None
        return patch if len(patch) < len(self.document.body) else None


class _NoPatch(Exception):
    """A merge patch can't say it: in one, null means that a member goes (RFC 8895 section 6.3)."""


def _cost_map_patch(before: CostMapParts, after: CostMapParts) -> bytes:
    """The patch between two cost maps, by their matrices: their texts are long."""
    costs = after.table.patch_from(before.table)
    members = []
    if before.meta != after.meta:
        members.append(f'"meta":{encoding.text(merge_patch(before.meta, after.meta))}')
    if costs != "{}":
        members.append(f'"cost-map":{costs}')
    return f"{{{','.join(members)}}}".encode()


def merge_patch(before: Any, after: Any) -> Any:
    """The patch that turns `before` into `after` (RFC 7396). Raises _NoPatch where none does."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return _without_null(after)
    patch = {name: None for name in before if name not in after}
    for name, value in after.items():
        if name not in before:
            patch[name] = _without_null(value)
        elif before[name] != value:
            patch[name] = merge_patch(before[name], value)
    return patch


def _without_null(value: Any) -> Any:
    """`value`, if a patch may hold it: no member of an object in it is null. Arrays are taken whole."""
    if value is None:
        raise _NoPatch
    if isinstance(value, dict):
        for member in value.values():
            _without_null(member)
    return value


class Resources(Protocol):
    """What is published at one moment."""

    @property
    def streamed(self) -> Mapping[str, Entry]:
        """Resource id -> the entry, for all that updates are offered of."""

    def content(self, entry: Entry) -> Content:
        """The document of an entry that is asked with GET, always the same object."""


@dataclass(frozen=True)
class Addition:
    """An AddUpdateReq (section 6.5). `input` is what is posted to the resource, None without."""

    resource_id: str
    tag: str
    incremental: bool
    input: Mapping[str, Any] | None


@dataclass(frozen=True)
class StreamRequest:
    """An UpdateStreamReq (section 6.5). `remove` is None where the field is not there."""

    add: Mapping[str, Addition]
    remove: tuple[str, ...] | None = None


def stream_entry(entries: Sequence[Entry]) -> Entry:
    """The directory's entry of the stream (sections 6.1 to 6.4), which gives updates of all of `entries`."""
    taken = {entry.id for entry in entries}
    names = chain([STREAM_ID], (f"{STREAM_ID}:{number}" for number in count()))
    return Entry(
        id=next(name for name in names if name not in taken),
        path=STREAM_PATH,
        answers=STREAM_TYPE,
        accepts=STREAM_PARAMS_TYPE,
        answer=_not_one_document,
        capabilities={
            "incremental-change-media-types": {entry.id: MERGE_PATCH_TYPE for entry in entries},
            "support-stream-control": True,
        },
        uses=tuple(entry.id for entry in entries),
    )


def _not_one_document(_query: Query) -> NoReturn:
    raise TypeError("a stream has no one answer: the server asks a `Stream` for its events")


def parse_stream_request(body: bytes) -> StreamRequest:
    """A request for a new stream. Raises ProtocolError. `remove` is ignored, as section 6.5 says."""
    document = parsed_object(body)
    add = _additions(document)
    if not add:
        raise ProtocolError("E_MISSING_FIELD", field="add")
    return StreamRequest(add)


def parse_control_request(body: bytes) -> StreamRequest:
    """A request to a stream's control URI (section 7.5). Raises ProtocolError."""
    document = parsed_object(body)
    add = _additions(document)
    if "remove" not in document:
        if not add:
            raise ProtocolError("E_MISSING_FIELD", field="add")
        return StreamRequest(add)
    remove = tuple(as_texts(document["remove"], "remove"))
    if add and not remove:
        raise wrong_value("remove", [])
    return StreamRequest(add, remove)


def _additions(document: Mapping[str, Any]) -> dict[str, Addition]:
    given = as_object(document.get("add", {}), "add")
    for substream in given:
        if not _ID.fullmatch(substream):
            raise wrong_value("add", substream)
    return {substream: _addition(value, f"add/{substream}") for substream, value in given.items()}


def _addition(value: Any, path: str) -> Addition:
    request = as_object(value, path)
    resource_id = as_text(required(request, "resource-id", f"{path}/resource-id"), f"{path}/resource-id")
    tag = as_text(request.get("tag", ""), f"{path}/tag")
    incremental = request.get("incremental-changes", True)
    if not isinstance(incremental, bool):
        raise ProtocolError("E_INVALID_FIELD_TYPE", field=f"{path}/incremental-changes")
    given = as_object(request["input"], f"{path}/input") if "input" in request else None
    return Addition(resource_id, tag, incremental, given)


@dataclass(frozen=True)
class Event:
    """One server-sent event: `kind` is its event field, `data` one JSON text."""

    kind: str
    data: bytes

    def encoded(self) -> bytes:
        """As it goes over the wire; a line end in the data would end the field."""
        lines = b"".join(b"data: " + line + b"\n" for line in self.data.splitlines())
        return b"event: " + self.kind.encode() + b"\n" + lines + b"\n"


@dataclass
class _Substream:
    request: Addition
    now: Content
    made_of: Resources
    is_own: bool
    """Its answers are made, and kept, for it alone."""
    sent: Content | None = None

    @property
    def kept_bytes(self) -> int:
        return len(self.now.document.body) if self.is_own else 0

    @property
    def work(self) -> int:
        return self.now.document.work if self.is_own else 0

    def is_current(self, resources: Resources, now_s: float) -> bool:
        """Whether the resource still says what it said."""
        return self.made_of is resources and now_s < self.now.document.until_s


class Stream:
    """One client's stream: its substreams, and what the client has of each.

    `events` is asked for again whenever something was published or the client asked for a change. When
    `over`, the events are the last.
    """

    def __init__(
        self, request: StreamRequest, resources: Resources, client_ip: str, control_uri: str, now_s: float
    ) -> None:
        """Raises ProtocolError where the request has an error; then there is no stream (section 6.5)."""
        self._client_ip = client_ip
        self._active: dict[str, _Substream] = {}
        self._used: set[str] = set()
        self._control: list[Event] = [_control({"control-uri": control_uri})]
        self.over = False
        self._add(request, resources, now_s)

    def change(self, request: StreamRequest, resources: Resources, now_s: float) -> None:
        """What the client asks on the control URI. Raises ProtocolError, and then nothing has changed.

        `add` is done before `remove`; what `remove` names must be of an earlier request (section 7.6).
        """
        unknown = [substream for substream in request.remove or () if substream not in self._used]
        if unknown:
            raise wrong_value("remove", unknown[0])
        if request.add:
            self._add(request, resources, now_s)
            self._control.append(_control({"started": list(request.add)}))
        if request.remove is not None:
            self._stop(request.remove or tuple(self._active), "the client asked for it")

    def stop(self, why: str) -> None:
        """End the stream; the next events are its last."""
        self._stop(tuple(self._active), why)
        self.over = True

    def events(self, resources: Resources, now_s: float) -> list[Event]:
        """What the client is to be sent now; what it has of each resource is then what `resources` say.

        A resource comes after all that it uses: the network map before its cost maps (section 6.7.1).
        """
        data: list[Event] = []
        for name in sorted(self._active, key=lambda name: _depth(self._active[name], resources.streamed)):
            substream = self._active[name]
            if not substream.is_current(resources, now_s):
                budget = _MOST_WORK - sum(other.work for key, other in self._active.items() if key != name)
                try:
                    substream.now = self._content(substream.request, name, resources, now_s, budget)
                except (ProtocolError, TooMuchWork):
                    self._stop((name,), "there is no such resource any more, or not with this input")
                    continue
                substream.made_of = resources
            if substream.sent is substream.now:
                continue
            if substream.sent is None or substream.sent.document.body != substream.now.document.body:
                data.append(_update(name, substream))
            substream.sent = substream.now
        control, self._control = self._control, []
        return control + data

    def _add(self, request: StreamRequest, resources: Resources, now_s: float) -> None:
        reused = [substream for substream in request.add if substream in self._used]
        if reused:
            raise wrong_value("add", reused[0])
        added: dict[str, _Substream] = {}
        budget = _MOST_WORK - sum(substream.work for substream in self._active.values())
        for name, addition in request.add.items():
            try:
                content = self._content(addition, name, resources, now_s, budget)
            except TooMuchWork:
                raise wrong_value("add", name) from None
            is_current = bool(addition.tag) and content.has_tag(addition.tag)
            is_own = bool(resources.streamed[addition.resource_id].accepts)
            added[name] = _Substream(addition, content, resources, is_own, content if is_current else None)
            budget -= added[name].work
            if self._too_much(added.values()):
                raise wrong_value("add", name)
        self._active.update(added)
        self._used.update(added)

    def _too_much(self, added: Collection[_Substream]) -> bool:
        every = [*self._active.values(), *added]
        return (
            len(every) > _MOST_ACTIVE
            or len(self._used) + len(added) > _MOST_USED
            or sum(substream.kept_bytes for substream in every) > _MOST_BYTES
        )

    def _content(
        self, request: Addition, name: str, resources: Resources, now_s: float, budget: int
    ) -> Content:
        """What the resource says.

        Raises ProtocolError: an unknown resource, no input where it needs one, or what the resource itself
        says of the input; and TooMuchWork where the answer is more than `budget`.
        """
        entry = resources.streamed.get(request.resource_id)
        if entry is None:
            raise wrong_value(f"add/{name}/resource-id", request.resource_id)
        if not entry.accepts:
            return resources.content(entry)
        path = f"add/{name}/input"
        if request.input is None:
            raise ProtocolError("E_MISSING_FIELD", field=path)
        try:
            return Content(entry.answer(Query(b"", self._client_ip, now_s, request.input, budget)))
        except ProtocolError as error:
            field = f"{path}/{error.field}" if error.field else path
            raise ProtocolError(error.code, field=field, value=error.value) from None

    def _stop(self, substreams: Iterable[str], why: str) -> None:
        """Removing a substream twice is no error, but is told once."""
        stopped = [name for name in substreams if self._active.pop(name, None) is not None]
        if stopped:
            self._control.append(_control({"stopped": stopped, "description": why}))
        self.over = self.over or not self._active


def _update(name: str, substream: _Substream) -> Event:
    now = substream.now
    if substream.request.incremental and substream.sent is not None:
        patch = now.patch_from(substream.sent)
        if patch is not None:
            return Event(f"{MERGE_PATCH_TYPE},{name}", patch)
    return Event(f"{now.document.media_type},{name}", now.document.body)


def _depth(substream: _Substream, streamed: Mapping[str, Entry]) -> int:
    """How long the longest chain of resources is that this one uses."""

    def of(resource_id: str) -> int:
        entry = streamed.get(resource_id)
        return 1 + max((of(used) for used in entry.uses), default=0) if entry else 0

    return of(substream.request.resource_id)


def _control(fields: Mapping[str, Any]) -> Event:
    return Event(STREAM_CONTROL_TYPE, encoding.text(fields).encode())
