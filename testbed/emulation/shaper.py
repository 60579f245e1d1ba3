"""The qdiscs of a network as they are now: set, changed under traffic wholly or not at all, and read back.

A blueprint goes in. What is wanted becomes batches of `tc`, one process for each namespace that they touch,
and the same process says what the kernel has set afterwards.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from testbed.emulation.blueprint import Blueprint, Device, WireEnd
from testbed.emulation.commands import Batch, attempt
from testbed.emulation.links import (
    Shaping,
    all_mismatches,
    change_lines,
    questions,
    read_back,
    wire_change_lines,
)
from testbed.errors import RunError

Way = tuple[str, str]
"""A direction of a link: (link id, sending end)."""

_End = Device | WireEnd
_Lines = Mapping[str, Sequence[str]]
"""Namespace -> lines for `tc`."""


class Shaper:
    """Sets the qdiscs of all links of a network. Used from one thread at a time."""

    def __init__(self, plan: Blueprint) -> None:
        self._plan = plan
        self._devices = dict(plan.devices)
        self._wires = dict(plan.wires)

    def set_up(self) -> None:
        """Give every device its qdiscs. Raises RunError where they are not as they should be afterwards."""
        self._check({batch.namespace: batch.lines for batch in self._plan.shaping_batches()})

    def check(self) -> None:
        """Raises RunError with both values where the kernel has something else than what was set."""
        self._check({})

    def can_delay(self, way: Way) -> bool:
        """Whether there is a wire in the link, on which netem delays."""
        return way in self._wires

    def change(self, wanted: Mapping[Way, Shaping]) -> None:
        """Change these directions in place: what waits in a queue or is on its way stays there.

        Raises RunError where the kernel refuses or has set something else. What was done is undone then, and
        the error says whether that went well.
        """
        devices = {way: replace(self._devices[way], shaping=shaping) for way, shaping in wanted.items()}
        wires = {way: replace(self._wires[way], shaping=wanted[way]) for way in wanted.keys() & self._wires}
        pairs: list[tuple[_End, _End]] = [(self._devices[way], later) for way, later in devices.items()]
        pairs += [(self._wires[way], later) for way, later in wires.items()]
        pairs = [(earlier, later) for earlier, later in pairs if earlier != later]
        if wrong := self._wrong([later for _, later in pairs], _between(pairs)):
            undoing = _between([(later, earlier) for earlier, later in pairs])
            attempt([Batch("tc", place, tuple(lines), go_on=True) for place, lines in undoing.items()])
            left = self._wrong([earlier for earlier, _ in pairs], {})
            undone = f"and is not undone:\n  {_listed(left)}" if left else "and is undone"
            raise RunError(f"the change was refused:\n  {_listed(wrong)}\n{undone}")
        self._devices.update(devices)
        self._wires.update(wires)

    def _check(self, first: _Lines) -> None:
        ends: list[_End] = [*self._devices.values(), *self._wires.values()]
        if wrong := self._wrong(ends, first, everywhere=True):
            raise RunError(f"links are not as they were set:\n  {_listed(wrong)}")

    def _wrong(self, ends: Iterable[_End], first: _Lines, *, everywhere: bool = False) -> list[str]:
        """What of `ends` is not as it says, in words, after the lines of `first` were applied.

        `everywhere` asks for all qdiscs of a namespace at once.
        """
        shaped: dict[str, dict[str, Shaping]] = defaultdict(dict)
        wires: dict[str, dict[str, Shaping]] = defaultdict(dict)
        for end in ends:
            group = wires if isinstance(end, WireEnd) else shaped
            group[end.namespace][end.name] = end.shaping
        places = list(dict.fromkeys([*shaped, *wires]))
        only = {place: () if everywhere else (*shaped[place], *wires[place]) for place in places}
        asking = {place: questions(shaped[place], only[place]) for place in places}
        batches = [Batch("tc", place, (*first.get(place, ()), *asking[place])) for place in places]
        wrong = []
        for place, answer in zip(places, attempt(batches), strict=True):
            if isinstance(answer, RunError):
                wrong.append(answer.what)
                continue
            found = read_back(answer, shaped[place], only[place])
            wrong += [f"{place} {line}" for line in all_mismatches(shaped[place], wires[place], found)]
        return wrong


def _between(pairs: Iterable[tuple[_End, _End]]) -> dict[str, list[str]]:
    """The lines that turn the first of each pair into the second, by namespace."""
    lines: dict[str, list[str]] = defaultdict(list)
    for before, after in pairs:
        if isinstance(after, WireEnd):
            lines[after.namespace] += wire_change_lines(after.name, after.shaping)
        else:
            lines[after.namespace] += change_lines(after.name, before.shaping, after.shaping)
    return lines


def _listed(lines: Iterable[str]) -> str:
    return "\n  ".join(lines)
