"""Tables for a terminal, and for a pipe, where no name is cut: plain columns, numbers to the right.

Ready strings come in; they are printed as they are, without Rich's markup.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from testbed.cli.plain import plain

_WIDE = 400  # where there is no terminal, no line is too long
_STATES = {"down": "red", "up": ""}


def console() -> Console:
    """The console of stdout."""
    piped = Console().is_terminal is False and "COLUMNS" not in os.environ
    return Console(width=_WIDE if piped else None, highlight=False)


class _PlainTable(Table):
    """A table whose cells can't do anything to a terminal, whoever wrote them."""

    def add_row(self, *cells: RenderableType | None, **how: Any) -> None:
        super().add_row(*(plain(cell) if isinstance(cell, str) else cell for cell in cells), **how)


def table(names: Sequence[str], numbers: Sequence[str]) -> Table:
    """An empty table, its columns of names first."""
    made = _PlainTable(box=None, pad_edge=False, header_style="dim")
    for heading in names:
        made.add_column(heading, overflow="fold")
    for heading in numbers:
        made.add_column(heading, justify="right")
    return made


def heading(text: str) -> Text:
    """What stands over a group of rows."""
    return Text(text, style="dim italic")


def state(text: str) -> Text:
    """`up`, or `down` in red."""
    return Text(text, style=_STATES.get(text, ""))


def show(parts: Iterable[RenderableType]) -> None:
    """Print to stdout, each part on lines of its own; plain text as it is, however long."""
    there = console()
    for part in parts:
        if isinstance(part, str):
            there.print(plain(part), markup=False, soft_wrap=True)
        else:
            there.print(part, markup=False)


def fits(made: Table, there: Console) -> bool:
    """Whether the table needs no folding."""
    return Measurement.get(there, there.options.update(max_width=_WIDE), made).maximum <= there.width
