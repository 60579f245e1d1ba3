"""Costs between PIDs as JSON text that is made when first asked for, then only joined.

In comes a matrix of costs, out come the rows of a cost map for any sources, destinations and pairs that are
allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from testbed.portal.alto import encoding
from testbed.portal.alto.constraints import Allowed
from testbed.portal.alto.model import Calendar, CostType, Matrix

Place = tuple[str, int]
"""A name as JSON text with its colon, `"PID1":`, and the index of its PID."""

ValueTexts = Callable[[int, Sequence[int]], Sequence[str]]
"""(Source PID, destination PIDs) by index -> the JSON text of each cost, "" where there is none."""


class CostTable:
    """The costs of one cost type between the PIDs of one network map.

    `matrix` is (n, n), NaN where nothing is said. `names` are the PIDs as in `Place`.
    """

    def __init__(self, names: Sequence[str], matrix: Matrix) -> None:
        count = len(names)
        if matrix.shape != (count, count):
            raise ValueError(f"costs of shape {matrix.shape} do not fit {count} PIDs")
        self.matrix = np.where(np.isfinite(matrix), matrix, np.nan)
        self._names = names
        self._values: list[list[str] | None] = [None] * count
        self._cells: list[list[str] | None] = [None] * count
        self._rows: list[str | None] = [None] * count

    def values(self, source: int, targets: Sequence[int]) -> Sequence[str]:
        """The costs from one PID to some PIDs as JSON numbers, "" for NaN."""
        row = self._values_of(source)
        return [row[target] for target in targets]

    def everything(self) -> str:
        """The whole object of a cost map's data."""
        rows = [self._row(source) for source in range(len(self._names))]
        return _object([row for row in rows if row])

    def some(
        self, sources: Sequence[int] | None, targets: Sequence[int] | None, passed: Allowed | None
    ) -> str:
        """The object with the given sources and destinations, None for all, and pairs that `passed`.

        `passed` is (sources, targets). A source without a pair that is left does not appear.
        """
        if passed is None and targets is None and sources is None:
            return self.everything()
        if sources is None:
            sources = range(len(self._names))
        rows = []
        for number, source in enumerate(sources):
            if targets is None and passed is None:
                row = self._row(source)
                if row:
                    rows.append(row)
                continue
            cells = self._cells_of(source)
            chosen = cells if targets is None else [cells[target] for target in targets]
            if passed is not None:
                chosen = [
                    cell for cell, passes in zip(chosen, passed[number].tolist(), strict=True) if passes
                ]
            row = ",".join([cell for cell in chosen if cell])
            if row:
                rows.append(f"{self._names[source]}{{{row}}}")
        return _object(rows)

    def patch_from(self, before: CostTable) -> str:
        """The merge patch (RFC 7396) that turns `before.everything()` into that of this table."""
        count, names = len(self._names), [*dict.fromkeys((*self._names, *before._names))]
        now, was = self.matrix, before.matrix
        if self._names != before._names:
            now, was = _among(names, self), _among(names, before)
        is_there, was_there = ~np.isnan(now), ~np.isnan(was)
        changed = (is_there != was_there) | (is_there & (now != was))
        rows = []
        for source in np.flatnonzero(changed.any(axis=1)).tolist():
            if not is_there[source].any():
                rows.append(f"{names[source]}null")
                continue
            if (
                source < count
                and (changed[source, :count] == is_there[source, :count]).all()
                and not changed[source, count:].any()
            ):
                rows.append(self._row(source))  # all of it is new
                continue
            members = [
                self._cell(source, target) if target < count else f"{names[target]}null"
                for target in np.flatnonzero(changed[source]).tolist()
            ]
            rows.append(f"{names[source]}{{{','.join(members)}}}")
        return _object(rows)

    def _values_of(self, source: int) -> list[str]:
        known = self._values[source]
        if known is None:
            known = self._values[source] = self._made_values(source)
        return known

    def _cells_of(self, source: int) -> list[str]:
        known = self._cells[source]
        if known is None:
            known = self._cells[source] = self._made_cells(source)
        return known

    def _row(self, source: int) -> str:
        known = self._rows[source]
        if known is None:
            # Its cells are not kept: those of all rows are ten times as large as the text.
            cells = self._cells[source] or self._made_cells(source)
            row = ",".join([cell for cell in cells if cell])
            known = self._rows[source] = f"{self._names[source]}{{{row}}}" if row else ""
        return known

    def _made_cells(self, source: int) -> list[str]:
        values = zip(self._names, self._made_values(source), strict=True)
        return [name + value if value else "" for name, value in values]

    def _made_values(self, source: int) -> list[str]:
        row: list[float] = self.matrix[source].tolist()
        return ["" if cost != cost else encoding.number(cost) for cost in row]

    def _cell(self, source: int, target: int) -> str:
        """The member for one destination in a patch."""
        cost = float(self.matrix[source, target])
        return self._names[target] + ("null" if cost != cost else encoding.number(cost))


@dataclass(frozen=True)
class CostMapParts:
    """A full cost map before it is a text."""

    meta: Mapping[str, Any]
    table: CostTable


def rows(
    sources: Sequence[Place], targets: Sequence[Place], texts: ValueTexts, passed: Allowed | None
) -> str:
    """The object of costs from each source to each destination; `passed` is (sources, targets)."""
    lines = []
    pids = [target for _, target in targets]
    for number, (name, source) in enumerate(sources):
        pairs = zip(targets, texts(source, pids), strict=True)
        if passed is None:
            members = [to + cost for (to, _), cost in pairs if cost]
        else:
            passes = passed[number].tolist()
            members = [
                to + cost for ((to, _), cost), good in zip(pairs, passes, strict=True) if good and cost
            ]
        cells = ",".join(members)
        if cells:
            lines.append(f"{name}{{{cells}}}")
    return _object(lines)


@dataclass(frozen=True)
class CostOffer:
    """What a resource with costs can answer: its cost types, their tables, and which have a calendar."""

    types: tuple[CostType, ...]
    tables: Mapping[str, CostTable]
    calendars: Mapping[str, Calendar]


def names(pids: Sequence[str]) -> tuple[str, ...]:
    """PIDs as JSON text, each with its colon."""
    return tuple(encoding.text(pid) + ":" for pid in pids)


def _among(names: Sequence[str], table: CostTable) -> Matrix:
    """The costs of a table between more PIDs than it has, NaN for those that it has not."""
    where = {name: number for number, name in enumerate(names)}
    places = [where[name] for name in table._names]
    wider = np.full((len(names), len(names)), np.nan)
    wider[np.ix_(places, places)] = table.matrix
    return wider


def _object(members: Sequence[str]) -> str:
    return "{" + ",".join(members) + "}"
