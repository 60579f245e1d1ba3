"""A network that runs: which of the runs on this machine is meant, and its controller's northbound API.

A tag or nothing comes in; an `Api` goes out, whose errors say what to do. The resources are in
docs/controller.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import typer

from testbed.errors import Problem, RunError, UserError

if TYPE_CHECKING:
    from testbed.emulation.journal import RunInfo
    from testbed.topology.model import Network

Run = Annotated[
    str, typer.Option("--run", metavar="TAG", help="The run, where there are several (`testbed status`).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the controller's answer as JSON.")]

_WRONG_INPUT = (400, 404, 413)  # what the API says of a request that can't be, whatever the network does
_SOCKET = "controller.sock"
_START_ONE = "start one in another terminal: sudo .venv/bin/testbed shell EXPERIMENT, or testbed run"


def chosen(found: Sequence[RunInfo], tag: str) -> RunInfo:
    """The living run called `tag`; where that is empty, the only one.

    Raises UserError where none is called so or several may be meant, RunError where nothing runs.
    """
    living = {run.tag: run for run in found if run.alive}
    there = ", ".join(f"{run.tag} ({run.experiment})" for run in living.values())
    if tag in living:
        return living[tag]
    if tag:
        dead = any(run.tag == tag for run in found)
        what = f"run {tag} is dead" if dead else f"there is no run '{tag}'"
        raise UserError(Problem(what, "--run", there or "none, as nothing runs", "" if there else _START_ONE))
    if not living:
        raise RunError("no network runs on this machine", mend=_START_ONE)
    if len(living) > 1:
        raise UserError(Problem(f"{len(living)} networks run; say which is meant", "--run", there))
    return next(iter(living.values()))


def reach(tag: str) -> Api:
    """The controller of the run that is meant. Raises UserError or RunError where there is none."""
    from testbed.cli.machine import need_root
    from testbed.emulation.journal import runs

    need_root("talking to a running network")
    return Api(chosen(runs(), tag))


class Api:
    """The northbound API of a run's controller: what `testbed.controller.client` gets, errors explained."""

    def __init__(self, run: RunInfo) -> None:
        from testbed.controller.client import Controller

        self.run = run
        self._controller = Controller(run.folder / _SOCKET, run.folder / "controller.token")

    def get(self, resource: str, query: Mapping[str, str] | None = None) -> Any:
        with _explained(self.run):
            return self._controller.get(f"{resource}?{urlencode(query)}" if query else resource)

    def patch(self, resource: str, body: Mapping[str, Any]) -> Any:
        with _explained(self.run):
            return self._controller.patch(resource, body)

    def put(self, resource: str, body: Mapping[str, Any]) -> Any:
        with _explained(self.run):
            return self._controller.put(resource, body)

    def delete(self, resource: str) -> Any:
        with _explained(self.run):
            return self._controller.delete(resource)

    def network(self) -> Network:
        """The network with the rates, delays and losses of now."""
        from testbed.topology.model import Network

        return Network.from_json(self.get("/topology")["network"])


@contextmanager
def _explained(run: RunInfo) -> Iterator[None]:
    """Raises UserError where the request was wrong, RunError where nobody answers."""
    from testbed.controller.client import Refused

    try:
        yield
    except Refused as error:
        if error.status in _WRONG_INPUT:
            raise UserError(Problem(error.what, mend=error.mend)) from error
        raise
    except OSError as error:
        raise _silence(run, error) from error


def _silence(run: RunInfo, error: OSError) -> RunError:
    """Why nobody answers. A controller writes its ready file once all switches are confirmed."""
    name = f"{run.tag} ({run.experiment})"
    if not run.folder.exists():
        return RunError(f"run {name} has ended")
    if not (run.folder / "controller.ready").exists():
        return RunError(f"run {name} is still being built", mend="wait for its prompt, then once more")
    if not (run.folder / _SOCKET).exists():  # a controller that is told to stop takes it away
        return RunError(f"run {name} is ending, or its controller was stopped")
    reason = error.strerror or str(error) or type(error).__name__
    return RunError(
        f"the controller of run {name} does not answer: {reason}",
        mend="its switches forward as they were told; docs/controller.md says how to start another by hand",
    )
