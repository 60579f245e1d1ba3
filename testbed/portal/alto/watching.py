"""An update stream (RFC 8895) from the client's side: bytes come in, events and the documents of now go out.

Server-sent events are those of the WHATWG's HTML standard; changes are JSON merge patches (RFC 7396). What is
wrong becomes a `Finding`, and the stream goes on.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from testbed.portal.alto.checking import (
    UPDATE_STREAM_CONTROL_TYPE,
    Finding,
    check_get,
)
from testbed.portal.alto.model import COST_MAP_TYPE, NETWORK_MAP_TYPE
from testbed.portal.alto.reading import AltoError, Resource, read_json

MERGE_PATCH_TYPE = "application/merge-patch+json"
_MOST_CHARACTERS = 64 * 2**20  # of one event: no server may fill our memory


@dataclass(frozen=True)
class Event:
    """One server-sent event: its name and its data, whose lines are joined by line feeds."""

    name: str
    data: str


class EventReader:
    """Cuts a stream into events, however its bytes arrive."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._rest = ""
        self._name = ""
        self._data: list[str] = []
        self.comments = 0
        """Lines that only keep the connection alive (section 6.8)."""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that this chunk ends. Raises AltoError for an event that is larger than any map."""
        self._rest += self._decode(chunk)
        while (cut := _line_end(self._rest)) is not None:
            line, self._rest = self._rest[: cut[0]], self._rest[cut[1] :]
            yield from self._take(line)
        if len(self._rest) + sum(map(len, self._data)) > _MOST_CHARACTERS:
            raise AltoError(f"an event has more than {_MOST_CHARACTERS} characters")

    def _take(self, line: str) -> Iterator[Event]:
        if not line:
            if self._data:
                yield Event(self._name, "\n".join(self._data))
            self._name, self._data = "", []
            return
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not key:
            self.comments += 1
        elif key == "event":
            self._name = value
        elif key == "data":
            self._data.append(value)


def _line_end(text: str) -> tuple[int, int] | None:
    """Where the first line ends and the next begins; a CR that stands last may have its LF to come."""
    feed, back = text.find("\n"), text.find("\r")
    if back >= 0 and (feed < 0 or back < feed):
        if back + 1 == len(text):
            return None
        return back, back + (2 if text[back + 1] == "\n" else 1)
    return (feed, feed + 1) if feed >= 0 else None


def patched(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2: what `target` becomes; neither is changed."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = patched(merged.get(key), value)
    return merged


@dataclass(frozen=True)
class Update:
    """What one event was: `kind` is `control`, `full` or `patch`, or `unknown` where it could not be used."""

    kind: str
    id: str
    """The substream's id, "" of a control event."""
    document: Any
    """The whole document after the event; of a control event, its data."""
    changed: int
    """Values that a patch sets or removes, of a full document 0."""
    findings: tuple[Finding, ...]


@dataclass
class Watch:
    """The documents of a stream's resources, by substream id, kept up to date event by event."""

    resources: Mapping[str, Resource]
    controlled: bool = False
    """Whether the directory promises stream control, so that the first event is a control event."""
    documents: dict[str, Any] = field(default_factory=dict)
    control_uri: str = ""
    _events: int = 0

    def take(self, event: Event) -> Update:
        """What the event says. Never raises: what is wrong is a finding."""
        self._events += 1
        kind, comma, substream = event.name.partition(",")
        try:
            data = read_json(event.data.encode())
        except AltoError as error:
            return _useless(substream, Finding("RFC 8895, 5.2", f"event '{event.name}'", str(error)))
        if kind == UPDATE_STREAM_CONTROL_TYPE:
            return self._control(data)
        findings = []
        if self._events == 1 and self.controlled:
            what = "the first event is no control event with a control-uri"
            findings.append(Finding("RFC 8895, 6.6", f"event '{event.name}'", what))
        resource = self.resources.get(substream)
        if not comma or resource is None:
            what = "it names no substream that was asked for: media-type,substream-id"
            return _useless(substream, *findings, Finding("RFC 8895, 5.2", f"event '{event.name}'", what))
        if kind == MERGE_PATCH_TYPE:
            return self._patch(substream, resource, data, findings)
        if kind != resource.media_type:
            what = f"it is neither {resource.media_type} nor {MERGE_PATCH_TYPE}"
            return _useless(substream, *findings, Finding("RFC 8895, 5.2", f"event '{event.name}'", what))
        self.documents[substream] = data
        findings += self._wrong(resource, data)
        return Update("full", substream, data, 0, tuple(findings))

    def _control(self, data: Any) -> Update:
        found = []
        uri = data.get("control-uri") if isinstance(data, Mapping) else None
        if isinstance(uri, str):
            self.control_uri = uri
        if self._events == 1 and not isinstance(uri, str):
            what = "the first control event has no control-uri"
            found.append(Finding("RFC 8895, 5.3", "control event", what))
        return Update("control", "", data, 0, tuple(found))

    def _patch(self, substream: str, resource: Resource, data: Any, findings: Sequence[Finding]) -> Update:
        if substream not in self.documents:
            what = "a change comes before the whole document"
            return _useless(substream, *findings, Finding("RFC 8895, 6.7.1", resource.id, what))
        whole = patched(self.documents[substream], data)
        self.documents[substream] = whole
        found = (*findings, *self._wrong(resource, whole))
        return Update("patch", substream, whole, _leaves(data), found)

    def _wrong(self, resource: Resource, document: Any) -> list[Finding]:
        """The map itself, and that it fits the network map of this stream (section 6.7.1)."""
        network_maps = {
            self.resources[name].id: known
            for name, known in self.documents.items()
            if self.resources[name].media_type == NETWORK_MAP_TYPE
        }
        findings = list(check_get(document, resource, {}))
        if resource.media_type == COST_MAP_TYPE and len(resource.uses) == 1 and not findings:
            known = network_maps.get(resource.uses[0])
            if known is not None and _get(document, "meta", "dependent-vtags", 0) != _get(
                known, "meta", "vtag"
            ):
                what = "it depends on another version of the network map than the stream has sent"
                findings.append(Finding("RFC 8895, 6.7.1", resource.id, what))
        return findings


def _get(document: Any, *path: str | int) -> Any:
    """What stands there, None where the document has not that shape."""
    for key in path:
        try:
            document = document[key]
        except (KeyError, IndexError, TypeError):
            return None
    return document


def _useless(substream: str, *findings: Finding) -> Update:
    return Update("unknown", substream, None, 0, findings)


def _leaves(patch: Any) -> int:
    return sum(map(_leaves, patch.values())) if isinstance(patch, Mapping) else 1
