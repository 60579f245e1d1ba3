"""Brings switches to their programs: make before break, confirmed by barriers, checked by asking.

One green thread does it, for all switches at once: first what is new goes to every switch, then strays go.
A switch that has just connected, or that refused something, is asked afterwards what it has; another that
confirmed what it was told is believed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from testbed.controller import framework
from testbed.controller.openflow import Change, Program, difference
from testbed.controller.session import Gone, Session

LOG = logging.getLogger("testbed.controller")
# A switch that does not have its program after this many corrections has something against it.
_MOST_CORRECTIONS = 3


@dataclass
class Round:
    """What one round has changed."""

    switches: int = 0
    rules_added: int = 0
    rules_deleted: int = 0


def install(
    sessions: Iterable[Session],
    programs: Mapping[str, Program],
    learned: Callable[[Session, list[Any]], None],
    confirmed: Callable[[Session, str], None],
) -> Round:
    """Bring the switches to their programs.

    `learned` gets the ports of a switch that was asked what it has, `confirmed` each switch that has its
    program, with an empty text, or that does not, with the reason.
    """
    done, waiting = Round(), list(sessions)
    for correction in range(_MOST_CORRECTIONS + 1):
        new = [session for session in waiting if session.has is None]
        waiting = [s for s in waiting if s.has is not None] + _each(new, lambda s: learned(s, s.learn()))
        changes = {s: difference(s.has, programs[s.pop]) for s in waiting if s.has is not None}
        todo = {session: change for session, change in changes.items() if change}
        for session in waiting:
            if session not in todo:
                confirmed(session, "")
        if not todo:
            return done
        if correction == _MOST_CORRECTIONS:
            for session, change in todo.items():
                why = session.refused or f"{len(change.add_rules)} rules are refused"
                confirmed(session, f"the switch does not take its program: {why}")
            return done
        waiting = _carry_out(todo, programs, new, done)
    return done


def _carry_out(
    todo: Mapping[Session, Change], programs: Mapping[str, Program], new: list[Session], done: Round
) -> list[Session]:
    """Additions everywhere, then deletions everywhere. Returns the switches that are still there."""
    for session in todo:
        session.refused = ""
    there = _each([s for s in todo if todo[s].adds], lambda s: _send(s, s.send_additions, todo[s]))
    there += [s for s in todo if not todo[s].adds]
    gone = set(todo) - set(there)
    # While a switch may still do what it did before, what others do for it stays: they are asked again.
    deleting = [] if gone else [s for s in there if todo[s].deletes]
    gone |= set(deleting) - set(_each(deleting, lambda s: _send(s, s.send_deletions, todo[s])))
    left = [session for session in todo if session not in gone]
    for session in left:
        change = todo[session]
        done.switches += 1
        done.rules_added += len(change.add_rules)
        done.rules_deleted += len(change.delete_cookies)
        trusted = session not in new and not session.refused and (session in deleting or not change.deletes)
        session.has = programs[session.pop].installed if trusted else None
    return left


def _send(session: Session, send: Callable[[Change], None], change: Change) -> None:
    send(change)
    session.barrier()


def _each(sessions: list[Session], work: Callable[[Session], None]) -> list[Session]:
    """Do `work` for all at the same time. Returns those that did not go away meanwhile."""

    def attempt(session: Session) -> bool:
        try:
            work(session)
        except Gone as error:
            LOG.warning("%s", error)
            session.datapath.close()
            return False
        return True

    threads = [(session, framework.eventlet.spawn(attempt, session)) for session in sessions]
    return [session for session, thread in threads if thread.wait()]
