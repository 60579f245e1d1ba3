"""What every benchmark shares: its options, a run in a process of its own, the table, the JSON file.

A benchmark measures this project and a named peer in the same run and gives their ratio, better when higher.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Measure:
    """One comparison. For a time the ratio is the peer's over ours, for a throughput ours over the peer's."""

    name: str
    ours: float
    peer: float
    peer_name: str
    unit: str
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.peer / self.ours if self.unit in ("s", "MiB") else self.ours / self.peer


@dataclass(frozen=True)
class Cost:
    """What a call took: the median of its times, and by how much it raised its process's peak memory."""

    seconds: float
    peak_mib: float
    result: Any


def options(description: str) -> argparse.Namespace:
    return parser(description).parse_args()


def parser(description: str) -> argparse.ArgumentParser:
    """What all benchmarks take, for one that takes more."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a rough answer in under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measures as JSON")
    return parser


def cost(call: Callable[[], Any], times: int = 1) -> Cost:
    """Run `call` in a process of its own, so that memory is its own; `call` returns something small.

    The median of `times` runs is taken after one more that does not count where there are several (a compiled
    kernel is loaded then).
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_run, args=(call, times, there))
    process.start()
    there.close()
    try:
        return Cost(*here.recv())
    except EOFError:
        raise SystemExit("the measured process died") from None
    finally:
        process.join()


def _run(call: Callable[[], Any], times: int, pipe: Any) -> None:
    before = _peak_mib()
    if times > 1:
        call()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    pipe.send((median(seconds), _peak_mib() - before, result))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def show_rows(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print figures that have no peer; all columns but the first are numbers."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="right" if table.columns else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def show(title: str, measures: Sequence[Measure], json_file: Path | None) -> None:
    """Print the table, and write `{measure: {"ours", "peer", "peer_name", "ratio", "unit"}}`."""
    table = Table("measure", "ours", "peer", "ratio", "peer is", title=title)
    for column in table.columns[1:4]:
        column.justify = "right"
    for item in measures:
        table.add_row(
            item.name,
            f"{item.ours:.3g} {item.unit}",
            f"{item.peer:.3g} {item.unit}",
            f"{item.ratio:.3g}",
            item.peer_name + (f"; {item.note}" if item.note else ""),
        )
    Console().print(table)
    if json_file:
        fields = ("ours", "peer", "peer_name", "ratio", "unit")
        data = {item.name: {field: getattr(item, field) for field in fields} for item in measures}
        json_file.write_text(json.dumps(data, indent=1) + "\n")
