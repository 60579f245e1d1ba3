"""Options that several verbs have: those that name a quantity with its unit (text in, base units out)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from testbed.errors import Problem, UserError

ValueT = TypeVar("ValueT")

SCALE_HELP = "A factor on all rates, so that a slower machine carries them: auto is the largest that fits."


def quantity(text: str, parse: Callable[[str], ValueT], option: str) -> ValueT:
    """What `parse` (of `testbed.spec.units`) makes of the text. Raises UserError, with the option's name."""
    from pydantic_core import PydanticCustomError

    try:
        return parse(text)
    except PydanticCustomError as error:
        allowed = str((error.context or {}).get("allowed", ""))
        raise UserError(Problem(error.message(), option, allowed)) from None
