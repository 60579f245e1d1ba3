"""Progress for people: one line, and how much of it a log gets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.cli.progress import Display, progress_line
from testbed.trial.events import Event, Progress

HALF = Progress(
    elapsed_s=30.0, timeout_s=240.0, leechers=64, started=65, done=3, fraction=0.5, rate_bps=41_000_000.0
)


def test_the_line_says_who_is_done_how_fast_and_how_long_to_go() -> None:
    assert progress_line(HALF) == "  30 s  3/64 leechers done   50%  41 Mbit/s  about 30 s left"


def test_no_time_left_is_guessed_at_the_beginning_nor_told_at_the_end() -> None:
    assert "left" not in progress_line(replace(HALF, fraction=0.01))
    assert "left" not in progress_line(replace(HALF, done=64, fraction=1.0))


def test_the_time_left_ends_with_the_timeout() -> None:
    slow = replace(HALF, elapsed_s=200.0, fraction=0.1)
    assert slow.time_left_s() == 40.0
    assert replace(HALF, fraction=0.0).time_left_s() is None


def test_without_a_terminal_events_are_plain_lines_and_progress_is_not_told_each_second(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Display() as display:
        display.show(Event("trial", "trial 1 of 2: native, repeat 1"))
        display.show(Event("step", "building 5 switches"))
        for second in range(5):
            display.show(Event("progress", "", {"progress": replace(HALF, elapsed_s=second)}))
        display.show(Event("progress", "", {"progress": replace(HALF, elapsed_s=9, done=64, fraction=1.0)}))
        display.show(Event("finished", "suspect", {"reasons": ("[the machine] was busy",)}))
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[:2] == ["trial 1 of 2: native, repeat 1", "  building 5 switches"]
    assert len([line for line in lines if "leechers done" in line]) == 2
    assert lines[-2:] == ["  verdict: suspect", "    [the machine] was busy"]
