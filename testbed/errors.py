"""The errors that a user can cause, one family. Anything else that is raised is a bug, with its traceback.

The command line turns a `UserError` into one message on stderr and exit code 2 (the input was wrong) and a
`RunError` into one message and exit code 1 (the work failed).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, what, what is allowed, and how to mend it."""

    what: str
    where: str = ""
    allowed: str = ""
    mend: str = ""

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.allowed:
            parts.append(f"  allowed: {self.allowed}")
        if self.mend:
            parts.append(f"  to mend it: {self.mend}")
        return "\n".join(parts)


class TestbedError(Exception):
    """Base of all errors that are the user's or the machine's to mend, and no bug of ours."""

    __test__ = False  # so that pytest does not take the class for a test


class UserError(TestbedError):
    """The input is wrong; nothing was built. Carries every problem found, not just the first."""

    def __init__(self, problems: Problem | Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class RunError(TestbedError):
    """The work failed on good input: a process died, the kernel refused, the disk is full."""

    def __init__(self, what: str, *, mend: str = "", tail: str = "") -> None:
        self.what = what
        self.mend = mend
        self.tail = tail
        text = what
        if tail:
            text += "\n" + "\n".join(f"  | {line}" for line in tail.splitlines())
        if mend:
            text += f"\n  to mend it: {mend}"
        super().__init__(text)
