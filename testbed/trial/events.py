"""What happens in a trial, as it happens: emitted by the core, shown by the command line, kept on disk."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Event:
    """Something that happened. `kind` is one word; `text` is for people."""

    kind: str
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)


Emit = Callable[[Event], None]


@dataclass(frozen=True)
class Progress:
    """How far a swarm is. Rates are sums over leechers, `fraction` of all bytes to download."""

    elapsed_s: float
    timeout_s: float
    leechers: int
    started: int
    done: int
    fraction: float
    rate_bps: float

    def time_left_s(self) -> float | None:
        """At the present pace; None at the beginning, when there is none yet."""
        if self.fraction < 0.02:
            return None
        return min(self.timeout_s, self.elapsed_s / self.fraction) - self.elapsed_s


class EventLog:
    """`events.jsonl` of a trial: one line an event, with ns since the trial's start, null before it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._started = False
        self.start_ns = 0

    def start(self) -> None:
        """Count from now on."""
        self._started = True
        self.start_ns = time.monotonic_ns()

    def write(self, event: str, **data: Any) -> None:
        t_ns = time.monotonic_ns() - self.start_ns if self._started else None
        line = {"t_ns": t_ns, "event": event, **data}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
