"""What happens in the network, numbered: kept for a while, written to a file, followed by readers."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TextIO

_KEPT = 1000


@dataclass(frozen=True)
class Entry:
    """One event. `number` counts from 1."""

    number: int
    kind: str
    data: dict[str, Any]


class Feed:
    """The events of one controller. The oldest of more than a thousand are forgotten; the file has all."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file
        self._entries: deque[Entry] = deque(maxlen=_KEPT)
        self._last = 0

    @property
    def last(self) -> int:
        """The number of the last event, 0 before the first."""
        return self._last

    def add(self, kind: str, **data: Any) -> int:
        """Note an event. Returns its time."""
        now_ns = time.monotonic_ns()
        self._last += 1
        self._entries.append(Entry(self._last, kind, {"monotonic_ns": now_ns, **data}))
        if self._file is not None:
            with suppress(OSError):  # a full disk does not stop the network
                self._file.write(json.dumps({"monotonic_ns": now_ns, "event": kind, **data}) + "\n")
                self._file.flush()
        return now_ns

    def after(self, number: int) -> Iterator[Entry]:
        """The events that came after the one of this number, as far as they are kept."""
        return iter([entry for entry in self._entries if entry.number > number])


def encoded(entry: Entry) -> bytes:
    """As one server-sent event (the WHATWG's HTML standard, section 9.2)."""
    return f"id: {entry.number}\nevent: {entry.kind}\ndata: {json.dumps(entry.data)}\n\n".encode()
