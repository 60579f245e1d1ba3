"""What is served now: the resources of the last `Published`, swapped at once for those of the next.

In come `Published`s and faults, out come `Snapshot`s. A request, and all of one round of a stream's updates,
are answered from one snapshot, so a cost map and its network map always belong together.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Mapping
from functools import cached_property

from testbed.portal.alto import documents, updates
from testbed.portal.alto.model import Document, Entry, Published, Query
from testbed.portal.alto.updates import Content
from testbed.portal.config import FaultsConfig
from testbed.portal.faults import with_faults

DIRECTORY_PATH = "/"

_GZIP_LEVEL = 6
_LARGE_BYTES = 262_144
_LARGE_COSTS = 20_000
_MOST_DIRECTORIES = 64
"""One for each address that clients reach us by."""


async def compressed(body: bytes, level: int) -> bytes:
    """`body` in gzip; a large one in a thread, so that others are answered meanwhile."""
    if len(body) < _LARGE_BYTES:
        return gzip.compress(body, level, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, level, mtime=0)


class Resource:
    """A document that is the same for everyone, with what a request for it may need, made when it does."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.etag = f'"{document.tag}"'
        self.gzip_etag = f'"{document.tag}-gzip"'
        """Another coding is another representation: its strong ETag differs (RFC 9110 section 8.8.3.3)."""

        self._zipping: asyncio.Future[bytes] | None = None

    async def zipped(self) -> bytes:
        """The body in gzip, which is made once, however many ask for it meanwhile."""
        if self._zipping is None:
            self._zipping = asyncio.ensure_future(compressed(self.document.body, _GZIP_LEVEL))
        return await asyncio.shield(self._zipping)

    @cached_property
    def content(self) -> Content:
        return Content(self.document)


class Snapshot:
    """The resources of one `Published`, with its faults already in it. Threads may ask for them, too."""

    def __init__(self, published: Published) -> None:
        self.published = published
        self.is_large = any(len(found.prefixes) ** 2 > _LARGE_COSTS for found in published.network_maps)
        """Making one of its cost maps takes so long that others are to be answered meanwhile."""

        entries = documents.entries(published)
        self.streamed: Mapping[str, Entry] = {entry.id: entry for entry in entries}
        self._entries = (*entries, updates.stream_entry(entries))
        self.by_path: Mapping[str, Entry] = {entry.path: entry for entry in self._entries}
        self._resources: dict[str, Resource] = {}
        self._directories: dict[str, Resource] = {}

    def resource(self, entry: Entry) -> Resource:
        """What a GET of `entry` gives, made once."""
        known = self._resources.get(entry.id)
        if known is None:
            made = Resource(entry.answer(Query(b"", "", 0.0)))
            known = self._resources.setdefault(entry.id, made)  # another thread may have been faster
        return known

    def is_made(self, entry: Entry) -> bool:
        return entry.id in self._resources

    def content(self, entry: Entry) -> Content:
        return self.resource(entry).content

    def directory(self, base_uri: str) -> Resource:
        """The information resource directory for clients that reach us by `base_uri`, such as http://[::1]:80."""
        known = self._directories.get(base_uri)
        if known is None:
            known = Resource(documents.directory(base_uri, self.published, self._entries))
            if len(self._directories) < _MOST_DIRECTORIES:
                self._directories[base_uri] = known
        return known


class Site:
    """The snapshot that is served now. It is changed in one thread, the event loop's."""

    def __init__(self, published: Published, faults: FaultsConfig | None = None) -> None:
        self.faults = faults or FaultsConfig()
        self.publications = 0
        self._listeners: list[Callable[[Snapshot], None]] = []
        self._true = published
        self._frozen = published if self.faults.stale else None
        self._serve()

    def publish(self, published: Published) -> None:
        """Serve this from now on."""
        self._true = published
        if self._frozen is None:
            self._serve()

    def set_faults(self, faults: FaultsConfig) -> None:
        """Have these faults from now on. With `stale` the maps stay as they were last published before."""
        if not faults.stale:
            self._frozen = None
        elif self._frozen is None:
            self._frozen = self._true
        self.faults = faults
        self._serve()

    def listen(self, listener: Callable[[Snapshot], None]) -> Callable[[], None]:
        """Call `listener` with each new snapshot; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _serve(self) -> None:
        self.snapshot = Snapshot(with_faults(self._frozen or self._true, self.faults))
        self.publications += 1
        for listener in tuple(self._listeners):
            listener(self.snapshot)
