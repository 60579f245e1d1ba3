"""Peer selection policies by name: each a pure function in a file of its own, with its parameters as a model.

In come a policy's name (or `module:function` for a user's own) and its parameters, out comes a `Policy` that
is ready to pick. This package needs neither a network nor a BitTorrent library.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from testbed.errors import Problem, UserError
from testbed.tracker.guidance import Guidance
from testbed.tracker.policies import native, p4p
from testbed.tracker.swarm import Peer


class Pick(Protocol):
    """Choose at most `wanted` of `candidates`, each once. `guidance` is None where no portal has any."""

    def __call__(
        self,
        requester: Peer,
        candidates: Sequence[Peer],
        wanted: int,
        guidance: Guidance | None,
        rng: random.Random,
    ) -> list[Peer]: ...


@dataclass(frozen=True)
class Policy:
    """A policy with its parameters bound. `uses_guidance`: whether the portals change its choice."""

    name: str
    pick: Pick
    uses_guidance: bool


@dataclass(frozen=True)
class _Definition:
    """`pick` takes what `Pick` takes, and `parameters` by name where there is a model of them."""

    pick: Callable[..., list[Peer]]
    parameters: type[BaseModel] | None
    uses_guidance: bool


_BUILT_IN: Mapping[str, _Definition] = {
    "native": _Definition(native.pick, None, uses_guidance=False),
    "p4p": _Definition(p4p.pick, p4p.Parameters, uses_guidance=True),
}


class _NoParameters(BaseModel):
    model_config = ConfigDict(extra="forbid")


def names() -> tuple[str, ...]:
    """The names of the built-in policies."""
    return tuple(_BUILT_IN)


def parameters_model(name: str) -> type[BaseModel]:
    """The model that a policy's parameters must fit. Raises UserError for a name that is no policy."""
    return _definition(name).parameters or _NoParameters


def load(name: str, parameters: Mapping[str, Any]) -> Policy:
    """The policy `name` with `parameters`. Raises UserError where either is wrong.

    `name` is a built-in one, or `module:function` with a function like `Pick`; if its module has a pydantic
    model named `Parameters`, the function also gets `parameters=` by name.
    """
    definition = _definition(name)
    try:
        checked = parameters_model(name).model_validate(dict(parameters))
    except ValidationError as error:
        raise UserError(
            [
                Problem(
                    where=f"policy {name}: {'.'.join(map(str, item['loc'])) or 'parameters'}",
                    what=item["msg"],
                )
                for item in error.errors()
            ]
        ) from error
    pick = partial(definition.pick, parameters=checked) if definition.parameters else definition.pick
    return Policy(name, pick, definition.uses_guidance)


def _definition(name: str) -> _Definition:
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    module_name, separator, function_name = name.partition(":")
    if not separator:
        raise UserError(
            Problem(
                what=f"'{name}' is no policy",
                allowed=f"{', '.join(_BUILT_IN)}, or module:function for one of your own",
            )
        )
    try:
        module = importlib.import_module(module_name)
        pick = getattr(module, function_name)
        if not callable(pick):
            raise TypeError(f"{function_name} is no function")
    except Exception as error:  # a user's module may fail in any way
        raise UserError(
            Problem(
                what=f"policy '{name}' cannot be loaded: {error}",
                mend="check the spelling, and that its folder is on PYTHONPATH",
            )
        ) from error
    return _Definition(pick, getattr(module, "Parameters", None), uses_guidance=True)
