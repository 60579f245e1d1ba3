"""One switch's connection: questions that wait for their answers, and what the switch is known to have.

Called from green threads; a question's thread sleeps until the answer is whole, the switch has gone, or the
time is up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from testbed.controller import encoding, framework
from testbed.controller.counters import SwitchClock
from testbed.controller.openflow import Change, Installed

_ANSWER_S = 3.0
_event = framework.eventlet.event.Event


class Gone(Exception):
    """The switch has disconnected, or does not answer."""


@dataclass
class _Question:
    answered: Any = field(default_factory=_event)
    parts: list[Any] = field(default_factory=list)


class Session:
    """The connection of the switch of `pop`. `has` is None until the switch has said what it has."""

    def __init__(self, pop: str, datapath: Any) -> None:
        self.pop = pop
        self.datapath = datapath
        self.has: Installed | None = None
        self.addresses: dict[int, str] = {}
        self.clock = SwitchClock()
        self.polling = False
        self.refused = ""
        self._questions: dict[int, _Question] = {}

    def ask(self, messages: Sequence[Any]) -> list[list[Any]]:
        """The answers to multipart requests, each as the list of its entries. Raises Gone."""
        questions = [self._send(message) for message in messages]
        return [self._wait(question) for question in questions]

    def barrier(self) -> None:
        """Wait until the switch has worked off all that was sent. Raises Gone."""
        self._wait(self._send(encoding.barrier(self.datapath)))

    def learn(self) -> list[Any]:
        """Ask what the switch has, into `has`. Returns its ports as it describes them. Raises Gone."""
        rules, groups, meters, ports = self.ask(encoding.has_requests(self.datapath))
        self.has = Installed(
            frozenset(rule.cookie for rule in rules),
            frozenset(group.group_id for group in groups),
            encoding.read_meters(self.datapath.ofproto, meters),
        )
        self.addresses = {port.port_no: port.hw_addr for port in ports}
        return ports

    def send_additions(self, change: Change) -> None:
        self.send(encoding.additions(self.datapath, change))

    def send_deletions(self, change: Change) -> None:
        self.send(encoding.deletions(self.datapath, change))

    def send(self, messages: Iterable[Any]) -> None:
        for message in messages:
            self.datapath.send_msg(message)

    def answer(self, message: Any, more: bool, parts: Iterable[Any] = ()) -> None:
        """A part of an answer has come."""
        question = self._questions.get(message.xid)
        if question is None:
            return
        question.parts += parts
        if not more:
            del self._questions[message.xid]
            question.answered.send(question.parts)

    def fail(self, xid: int) -> bool:
        """The switch refuses a question, which has no answer then. Returns whether it was one."""
        question = self._questions.pop(xid, None)
        if question is not None:
            question.answered.send([])
        return question is not None

    def end(self) -> None:
        """Wake all who wait: nothing comes any more."""
        questions, self._questions = self._questions, {}
        for question in questions.values():
            question.answered.send_exception(Gone(f"{self.pop} has disconnected"))

    def _send(self, message: Any) -> _Question:
        question = _Question()
        self._questions[self.datapath.set_xid(message)] = question
        self.datapath.send_msg(message)
        return question

    def _wait(self, question: _Question) -> list[Any]:
        try:
            with framework.eventlet.Timeout(_ANSWER_S):
                return list(question.answered.wait())
        except framework.eventlet.Timeout:
            self._questions = {x: other for x, other in self._questions.items() if other is not question}
            raise Gone(f"{self.pop} does not answer within {_ANSWER_S:.0f} s") from None
