"""What happens in a trial, as it happens: emitted by the core, shown by the command line, kept on disk."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
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
        self._path = path
        self._file = path.open("w", encoding="utf-8")
        self._started = False
        self.start_ns = 0

    def start(self) -> None:
        """Count from now on."""
        self._started = True
        self.start_ns = time.monotonic_ns()

    def write(self, event: str, *, at_ns: int | None = None, **data: Any) -> None:
        """Note what happened at `at_ns` of the monotonic clock. Default: now."""
        line = {"t_ns": self._since(time.monotonic_ns() if at_ns is None else at_ns), "event": event, **data}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def merge(self, controller: Iterable[Mapping[str, Any]]) -> None:
        """Take in what the controller noted, each with its `monotonic_ns`, and put all in order of time."""
        lines = list(json_lines(self._path))
        for noted in controller:
            fields = {key: value for key, value in noted.items() if key not in ("monotonic_ns", "event")}
            t_ns = self._since(noted["monotonic_ns"])
            lines.append({"t_ns": t_ns, "event": "controller", "kind": noted["event"], **fields})
        # What was before the start has no time, and keeps the order in which it came.
        lines.sort(key=lambda line: -1 if line["t_ns"] is None else line["t_ns"])
        part = self._path.with_suffix(".part")
        part.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        os.replace(part, self._path)
        self._file.close()
        self._file = self._path.open("a", encoding="utf-8")

    def close(self) -> None:
        self._file.close()

    def _since(self, monotonic_ns: int) -> int | None:
        t_ns = monotonic_ns - self.start_ns
        return t_ns if self._started and t_ns >= 0 else None


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file that a process may have been writing when it ended: a torn last one is left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return
