"""events.jsonl: its times, and what the controller noted among the rest."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from testbed.trial.events import EventLog, json_lines


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_times_count_from_the_start_and_are_null_before_it(path: Path) -> None:
    log = EventLog(path)
    log.write("built", at_ns=time.monotonic_ns())
    log.start()
    log.write("change", at_ns=log.start_ns + 5, number=1)
    log.close()
    assert lines(path) == [{"t_ns": None, "event": "built"}, {"t_ns": 5, "event": "change", "number": 1}]


def test_what_the_controller_noted_is_put_where_it_belongs(path: Path) -> None:
    log = EventLog(path)
    log.write("built")
    log.start()
    log.write("first", at_ns=log.start_ns + 10)
    log.write("third", at_ns=log.start_ns + 30)
    log.merge(
        [
            {"monotonic_ns": log.start_ns - 1, "event": "ready"},
            {"monotonic_ns": log.start_ns + 20, "event": "link", "link": "a--b", "state": "down"},
        ]
    )
    log.write("fourth", at_ns=log.start_ns + 40)
    log.close()
    assert lines(path) == [
        {"t_ns": None, "event": "built"},
        {"t_ns": None, "event": "controller", "kind": "ready"},
        {"t_ns": 10, "event": "first"},
        {"t_ns": 20, "event": "controller", "kind": "link", "link": "a--b", "state": "down"},
        {"t_ns": 30, "event": "third"},
        {"t_ns": 40, "event": "fourth"},
    ]
    assert list(path.parent.iterdir()) == [path]


def test_a_torn_last_line_and_a_missing_file_are_left_out(path: Path) -> None:
    assert list(json_lines(path)) == []
    path.write_text('{"a": 1}\n{"b": ')
    assert list(json_lines(path)) == [{"a": 1}]
