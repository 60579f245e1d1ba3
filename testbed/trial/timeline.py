"""What an experiment changes in mid-trial, performed while the swarm runs, without holding it up.

A trial's `Change`s come in. Each turn of the swarm's loop starts those that are due and looks after those
that are under way; every one leaves a line in events.jsonl: when it was asked for and took effect, why it
failed, or that it was not reached. Requests to the controller and to portals wait in a thread of their own;
programs are started and stopped from the swarm's thread, which owns the supervisor.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from testbed.emulation.processes import ProcessDeath
from testbed.errors import RunError
from testbed.trial.changes import Change, PortalFaults, Program, Request, due
from testbed.trial.events import EventLog

Work = Generator[None, None, int]
"""Something under way: it yields while there is nothing to do but wait, and returns when it took effect, in
ns of the monotonic clock. It raises RunError or OSError where it fails."""


class Northbound(Protocol):
    """What is needed of the controller's client."""

    def patch(self, resource: str, body: Any) -> Any: ...

    def put(self, resource: str, body: Any) -> Any: ...

    def delete(self, resource: str) -> Any: ...


class Programs(Protocol):
    """What is needed of a trial's services: each by the name of its process."""

    def start(self, name: str) -> Work: ...

    def stop(self, name: str) -> Work: ...

    def restart(self, name: str) -> Work: ...

    def set_faults(self, name: str, faults: Mapping[str, Any]) -> int: ...


@dataclass
class _Lane:
    """Changes that follow each other, each with when it was asked for; `work` is that of the first."""

    changes: deque[tuple[Change, int]] = field(default_factory=deque)
    work: Work | None = None


class Timeline:
    """The changes of one trial. Used from the swarm's thread; `close` lets go of the other one."""

    def __init__(
        self,
        changes: Sequence[Change],
        northbound: Callable[[], Northbound],
        programs: Programs,
        events: EventLog,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`northbound` makes a client of the controller that runs now; `tell` gets a sentence for people."""
        self.failed: list[str] = []
        self.not_reached: list[str] = []
        self._waiting = list(changes)
        self._northbound = northbound
        self._programs = programs
        self._events = events
        self._tell = tell
        self._lanes: dict[str, _Lane] = defaultdict(_Lane)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="northbound")

    def turn(self, elapsed_s: float, share_done: float) -> None:
        """Start what is due, and look after what is under way."""
        for change in due(self._waiting, elapsed_s, share_done):
            self._waiting.remove(change)
            self._lanes[change.lane].changes.append((change, time.monotonic_ns()))
        self._look()

    def settled(self) -> bool:
        """Look after what is under way; whether nothing is left of it. Nothing more is started."""
        self._look()
        return not any(lane.changes for lane in self._lanes.values())

    def end(self) -> None:
        """The swarm is over: what is still waiting was not reached."""
        for change in self._waiting:
            self.not_reached.append(change.text)
            self._events.write("change_not_reached", **_of(change))
        self._waiting.clear()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _look(self) -> None:
        for lane in self._lanes.values():
            while self._advance(lane):
                pass

    def _advance(self, lane: _Lane) -> bool:
        """A step of a lane; whether there may be another one at once."""
        if not lane.changes:
            return False
        change, asked_ns = lane.changes[0]
        lane.work = lane.work or self._begun(change)
        try:
            next(lane.work)
            return False
        except StopIteration as done:
            self._took_effect(change, asked_ns, done.value)
        except ProcessDeath:
            raise
        except (RunError, OSError) as error:
            self._went_wrong(change, asked_ns, str(error))
        lane.changes.popleft()
        lane.work = None
        return True

    def _begun(self, change: Change) -> Work:
        action = change.action
        if isinstance(action, Program):
            verbs = {
                "start": self._programs.start,
                "stop": self._programs.stop,
                "restart": self._programs.restart,
            }
            return verbs[action.verb](action.name)
        if isinstance(action, PortalFaults):
            return _awaited(self._pool.submit(self._programs.set_faults, action.name, action.faults))
        return _awaited(self._pool.submit(_ask, self._northbound, action))

    def _took_effect(self, change: Change, asked_ns: int, effective_ns: int) -> None:
        start_ns = self._events.start_ns
        self._tell(change.text)
        self._events.write(
            "change",
            at_ns=effective_ns,
            **_of(change),
            asked_ns=asked_ns - start_ns,
            effective_ns=effective_ns - start_ns,
        )

    def _went_wrong(self, change: Change, asked_ns: int, error: str) -> None:
        first_line = error.partition("\n")[0]
        self.failed.append(f"a change of the experiment failed ({change.text}): {first_line}")
        self._tell(f"{change.text}: failed, {first_line}")
        self._events.write(
            "change_failed", **_of(change), asked_ns=asked_ns - self._events.start_ns, error=error
        )


def _awaited(answer: Future[int]) -> Work:
    while not answer.done():
        yield
    return answer.result()


def _of(change: Change) -> dict[str, Any]:
    return {"number": change.number, "text": change.text, "spec": change.spec}


def _ask(northbound: Callable[[], Northbound], request: Request) -> int:
    """Runs in the thread of requests. Returns when it took effect."""
    client = northbound()
    if request.method == "delete":
        return int(client.delete(request.resource)["effective_ns"])
    ask = client.patch if request.method == "patch" else client.put
    return int(ask(request.resource, request.body)["effective_ns"])
