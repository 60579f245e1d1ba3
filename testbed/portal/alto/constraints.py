"""Constraints of a cost request (RFC 7285 section 11.3.2.3): only pairs that pass them are answered.

In come strings such as `ge 5`, with RFC 8189's index of a cost type `[1] ge 5`; out come tests, and from
tests and matrices of costs the pairs that pass.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from testbed.portal.alto.model import Matrix
from testbed.portal.alto.requests import wrong_value

Allowed = npt.NDArray[np.bool_]

MOST = 1000  # constraints of one request: each is a look at all the costs that are asked for

_OPERATORS: dict[str, Callable[[Matrix, float], Any]] = {
    "gt": operator.gt,
    "lt": operator.lt,
    "ge": operator.ge,
    "le": operator.le,
    "eq": operator.eq,
}
# At most nine digits of an index, for Python refuses to read a number of thousands; a cost is a JSON number.
_CONSTRAINT = re.compile(
    r"\s*(?:\[\s*([0-9]{1,9})\s*\]\s*)?(gt|lt|ge|le|eq)\s+(-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*",
    re.ASCII,
)


@dataclass(frozen=True)
class Test:
    """The cost of the tested type `index` has to be in this relation to `target`."""

    index: int
    operator: str
    target: float


Tests = tuple[tuple[Test, ...], ...]
"""Alternatives, of which all tests of at least one have to pass; none of them at all lets every pair pass."""


def read_all(constraints: Sequence[Any], types: int, field: str) -> tuple[Test, ...]:
    """The tests of one array; `types` is how many cost types are tested. Raises E_INVALID_FIELD_VALUE."""
    return tuple(_read(constraint, types, field) for constraint in constraints)


def allowed(tests: Tests, costs: Sequence[Matrix]) -> Allowed:
    """Which pairs pass. `costs` are the tested types' in order, all of one shape; NaN passes no test."""
    passed: Allowed = np.zeros(costs[0].shape, dtype=np.bool_)
    for alternative in tests:
        every: Allowed = np.ones(costs[0].shape, dtype=np.bool_)
        for test in alternative:
            every &= _OPERATORS[test.operator](costs[test.index], test.target)
        passed |= every
    return passed


def _read(constraint: Any, types: int, field: str) -> Test:
    match = _CONSTRAINT.fullmatch(constraint) if isinstance(constraint, str) else None
    if match is None or int(match[1] or 0) >= types:
        raise wrong_value(field, constraint)
    return Test(int(match[1] or 0), match[2], float(match[3]))
