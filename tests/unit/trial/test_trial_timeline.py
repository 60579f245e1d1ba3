"""Changes as they are performed: in their lanes, without waiting, each with its line in events.jsonl."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from testbed.emulation.processes import ProcessDeath
from testbed.errors import RunError
from testbed.trial.changes import Change, PortalFaults, Program, Request
from testbed.trial.events import EventLog
from testbed.trial.timeline import Timeline, Work

DEADLINE_S = 20.0


class Programs:
    """Programs that take as many looks as they are told to until they have started, stopped, restarted."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.under_way: set[str] = set()
        self.free = True
        self.error: Exception | None = None

    def _work(self, what: str) -> Work:
        self.under_way.add(what)
        while not self.free:
            yield
        if self.error:
            raise self.error
        self.under_way.discard(what)
        self.done.append(what)
        return time.monotonic_ns()

    def start(self, name: str) -> Work:
        return self._work(f"start {name}")

    def stop(self, name: str) -> Work:
        return self._work(f"stop {name}")

    def restart(self, name: str) -> Work:
        return self._work(f"restart {name}")

    def set_faults(self, name: str, faults: Mapping[str, Any]) -> int:
        if self.error:
            raise self.error
        self.done.append(f"faults of {name}: {dict(faults)}")
        return time.monotonic_ns()


class Northbound:
    """A controller that answers when it is let to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.free = threading.Event()
        self.free.set()
        self.error: Exception | None = None

    def _answer(self, *asked: Any) -> dict[str, int]:
        self.asked.append(asked)
        assert self.free.wait(DEADLINE_S)
        if self.error:
            raise self.error
        return {"asked_ns": 0, "effective_ns": time.monotonic_ns()}

    def patch(self, resource: str, body: Any) -> Any:
        return self._answer("patch", resource, body)

    def put(self, resource: str, body: Any) -> Any:
        return self._answer("put", resource, body)

    def delete(self, resource: str) -> Any:
        return self._answer("delete", resource, None)


class Lab:
    """A timeline of some changes, and all that happens in it."""

    def __init__(self, folder: Path, *changes: Change) -> None:
        self.programs, self.northbound = Programs(), Northbound()
        self.events = EventLog(folder / "events.jsonl")
        self.events.start()
        self.told: list[str] = []
        self.path = folder / "events.jsonl"
        self.timeline = Timeline(
            changes, lambda: self.northbound, self.programs, self.events, self.told.append
        )

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def settle(self) -> None:
        until_s = time.monotonic() + DEADLINE_S
        while not self.timeline.settled():
            assert time.monotonic() < until_s
            time.sleep(0.005)


@pytest.fixture
def labs(tmp_path: Path) -> Iterator[Any]:
    made: list[Lab] = []

    def make(*changes: Change) -> Lab:
        made.append(Lab(tmp_path, *changes))
        return made[-1]

    yield make
    for lab in made:
        lab.northbound.free.set()
        lab.timeline.close()
        lab.events.close()


def program(number: int, verb: Any, name: str, at_s: float | None = 0.0, when: float | None = None) -> Change:
    return Change(number, f"{verb} {name}", {"of": name}, at_s, when, Program(verb, name))


def request(number: int, at_s: float = 0.0) -> Change:
    spec = {"link": "a--b"}
    return Change(number, f"request {number}", spec, at_s, None, Request("patch", f"/links/{number}", {}))


def test_a_change_is_noted_with_when_it_was_asked_for_and_took_effect(labs: Any) -> None:
    lab = labs(request(0))
    lab.timeline.turn(0.0, 0.0)
    lab.settle()
    (line,) = lab.lines()
    assert (line["event"], line["number"], line["text"]) == ("change", 0, "request 0")
    assert line["spec"] == {"link": "a--b"}
    assert 0 <= line["asked_ns"] <= line["effective_ns"] == line["t_ns"]
    assert lab.northbound.asked == [("patch", "/links/0", {})]
    assert (lab.told, lab.timeline.failed) == (["request 0"], [])


def test_each_kind_of_request_has_its_method(labs: Any) -> None:
    lab = labs(
        Change(0, "", {}, 0.0, None, Request("put", "/meters/m", {"isp": "x"})),
        Change(1, "", {}, 0.0, None, Request("delete", "/meters/m")),
    )
    lab.timeline.turn(0.0, 0.0)
    lab.settle()
    assert lab.northbound.asked == [("put", "/meters/m", {"isp": "x"}), ("delete", "/meters/m", None)]


def test_faults_are_told_to_the_portal_after_it_was_started(labs: Any) -> None:
    faults = Change(1, "faults", {}, 0.0, None, PortalFaults("p", {"stale": True}))
    lab = labs(program(0, "start", "p"), faults)
    lab.timeline.turn(0.0, 0.0)
    lab.settle()
    assert lab.programs.done == ["start p", "faults of p: {'stale': True}"]
    assert [line["event"] for line in lab.lines()] == ["change", "change"]


def test_a_portal_that_takes_no_faults_is_a_failed_change(labs: Any) -> None:
    lab = labs(Change(0, "faults", {}, 0.0, None, PortalFaults("p", {})))
    lab.programs.error = OSError("nobody there")
    lab.timeline.turn(0.0, 0.0)
    lab.settle()
    assert lab.timeline.failed == ["a change of the experiment failed (faults): nobody there"]


def test_nothing_comes_before_its_time_and_nothing_twice(labs: Any) -> None:
    lab = labs(program(0, "stop", "p", at_s=5.0), program(1, "start", "q", at_s=None, when=0.5))
    lab.timeline.turn(4.9, 0.4)
    assert lab.programs.done == []
    lab.timeline.turn(5.0, 0.4)
    lab.timeline.turn(5.1, 0.4)
    assert lab.programs.done == ["stop p"]
    lab.timeline.turn(5.2, 0.5)
    lab.timeline.turn(5.3, 0.6)
    assert lab.programs.done == ["stop p", "start q"]


def test_a_request_that_waits_holds_up_neither_the_turn_nor_programs(labs: Any) -> None:
    lab = labs(request(0), program(1, "restart", "tracker"))
    lab.northbound.free.clear()
    lab.timeline.turn(0.0, 0.0)
    assert lab.programs.done == ["restart tracker"]
    assert not lab.timeline.settled()
    lab.northbound.free.set()
    lab.settle()
    assert [line["number"] for line in lab.lines()] == [1, 0]


def test_what_concerns_one_program_or_the_controller_comes_one_after_the_other(labs: Any) -> None:
    lab = labs(
        program(0, "stop", "p"), program(1, "start", "p"), program(2, "restart", "controller"), request(3)
    )
    lab.programs.free = False
    lab.timeline.turn(0.0, 0.0)
    assert lab.programs.under_way == {"stop p", "restart controller"}
    assert lab.northbound.asked == []
    lab.programs.free = True
    lab.settle()
    assert lab.programs.done.index("stop p") < lab.programs.done.index("start p")
    assert [asked[1] for asked in lab.northbound.asked] == ["/links/3"]


@pytest.mark.parametrize("error", [RunError("no such link"), OSError("nobody answers")])
def test_a_request_that_fails_is_a_line_and_a_reason_and_the_next_is_asked(
    labs: Any, error: Exception
) -> None:
    lab = labs(request(0), request(1, at_s=1.0))
    lab.northbound.error = error
    lab.timeline.turn(0.0, 0.0)
    lab.settle()
    lab.northbound.error = None
    lab.timeline.turn(1.0, 0.0)
    lab.settle()
    failed, done = lab.lines()
    assert (failed["event"], failed["error"]) == ("change_failed", str(error))
    assert (done["event"], done["number"]) == ("change", 1)
    assert lab.timeline.failed == [f"a change of the experiment failed (request 0): {error}"]


def test_a_program_that_fails_is_a_reason_of_one_line(labs: Any) -> None:
    lab = labs(program(0, "start", "p"))
    lab.programs.error = RunError("p is not ready after 20 s", tail="its log")
    lab.timeline.turn(0.0, 0.0)
    lab.settle()
    assert lab.timeline.failed == ["a change of the experiment failed (start p): p is not ready after 20 s"]
    assert "its log" in lab.lines()[0]["error"]


def test_a_death_that_shows_meanwhile_ends_the_trial(labs: Any) -> None:
    lab = labs(program(0, "start", "p"))
    lab.programs.error = ProcessDeath("p ended with exit code 1")
    with pytest.raises(ProcessDeath):
        lab.timeline.turn(0.0, 0.0)


def test_what_is_under_way_at_the_swarms_end_is_waited_for_and_the_rest_was_not_reached(labs: Any) -> None:
    lab = labs(request(0), program(1, "stop", "p", at_s=None, when=0.9))
    lab.northbound.free.clear()
    lab.timeline.turn(0.0, 0.0)
    assert not lab.timeline.settled()
    lab.northbound.free.set()
    lab.settle()
    lab.timeline.end()
    assert [line["event"] for line in lab.lines()] == ["change", "change_not_reached"]
    assert lab.timeline.not_reached == ["stop p"]
    assert lab.programs.done == []
