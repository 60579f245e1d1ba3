"""Progress on stderr: a live line on a terminal, plain lines otherwise. Events come in from the core."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.live import Live
from rich.text import Text

from testbed.spec.units import format_rate
from testbed.trial.events import Event, Progress

_PLAIN_EVERY_S = 10.0


class Display:
    """A context in which `show` takes events."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = (
            Live(Text(""), console=self._console, refresh_per_second=4, transient=True)
            if sys.stderr.isatty()
            else None
        )
        self._last_line_s = 0.0

    def __enter__(self) -> Display:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._live:
            self._live.stop()

    def show(self, event: Event) -> None:
        if event.kind == "progress":
            self._show_progress(event.data["progress"])
        elif event.kind == "finished":
            self._print(f"  verdict: {event.text}")
            for reason in event.data["reasons"]:
                self._print(f"    {reason}")
        else:
            self._print(event.text if event.kind in ("trial", "kept") else f"  {event.text}")
            self._last_line_s = 0.0

    def _show_progress(self, progress: Progress) -> None:
        line = progress_line(progress)
        if self._live:
            self._live.update(Text(f"  {line}"))
        elif time.monotonic() - self._last_line_s >= _PLAIN_EVERY_S or progress.done == progress.leechers:
            self._last_line_s = time.monotonic()
            self._print(f"  {line}")

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def progress_line(progress: Progress) -> str:
    """One line for people: who is done, how fast, how long to go."""
    left = progress.time_left_s()
    return (
        f"{progress.elapsed_s:4.0f} s  {progress.done}/{progress.leechers} leechers done"
        f"  {progress.fraction:4.0%}  {format_rate(progress.rate_bps)}"
        + (f"  about {left:.0f} s left" if left is not None and progress.done < progress.leechers else "")
    )
