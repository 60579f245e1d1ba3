"""`testbed routes`: which way packets go in a running network, and the rules of its switches.

The controller says what it has installed; tables, or its JSON, go to stdout.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.cli.living import AsJson, Run, reach
from testbed.errors import Problem, RunError, UserError

if TYPE_CHECKING:
    from rich.table import Table

    from testbed.topology.model import Network


def routes(
    source: Annotated[str, typer.Argument(metavar="FROM", help="A PoP, a host or an address.")] = "",
    destination: Annotated[str, typer.Argument(metavar="TO", help="The same.")] = "",
    rules: Annotated[
        str, typer.Option("--rules", metavar="POP", help="Show the rules of this PoP's switch instead.")
    ] = "",
    run: Run = "",
    as_json: AsJson = False,
) -> None:
    """Show the PoPs and links that packets pass in a network that runs, or the rules of one switch.

    Exit code 1 where there is no route.

    Example: sudo .venv/bin/testbed routes dslnet.lyon fibrenet.rome
    """
    from testbed.cli.rules import rules_table
    from testbed.cli.tables import show

    _check_asked(source, destination, rules)
    api = reach(run)
    network = api.network()
    if rules:
        _check_pop(rules, network)
        answer = api.get("/rules", {"pop": rules})
        shown: list[Any] = [rules_table(answer, rules, network)]
    else:
        check_ends(source, destination, network)
        answer = api.get("/routes", {"from": source, "to": destination})
        states = {link["id"]: link["state"] for link in api.get("/links")["links"]}
        shown = [summary(answer)] if answer["reachable"] else []
        shown += [route_table(answer, states, network)] if answer["links"] else []
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
    else:
        show(shown)
    if not answer.get("reachable", True):
        cut = [link for link, state in states.items() if state == "down"]
        why = f"; down: {', '.join(cut)}" if cut else ""
        mend = f"heal a link: testbed link {cut[0]} --up" if cut else ""
        raise RunError(f"there is no route from {source} to {destination}{why}", mend=mend)


def _check_asked(source: str, destination: str, rules: str) -> None:
    """Raises UserError unless either a pair or a switch is asked for."""
    if bool(rules) == bool(destination) or (rules and source):
        what = "ask either for a route or for the rules of a switch"
        raise UserError(Problem(what, allowed="testbed routes FROM TO, or testbed routes --rules POP"))


def _check_pop(name: str, network: Network) -> None:
    from testbed.spec.loading import unknown

    if name not in network.pop_by_id:
        raise UserError(unknown("PoP", name, network.pop_by_id, "--rules"))


def check_ends(source: str, destination: str, network: Network) -> None:
    """Raises UserError where an end is neither PoP nor host nor address, with what may have been meant."""
    problems = [
        _unknown_end(name, where, network)
        for name, where in ((source, "FROM"), (destination, "TO"))
        if not (name in network.pop_by_id or name in network.host_by_id or _is_address(name))
    ]
    if problems:
        raise UserError(problems)


def _is_address(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


def _unknown_end(name: str, where: str, network: Network) -> Problem:
    """Hosts are many: the nearest name is sought among them too, but PoPs alone are listed."""
    from dataclasses import replace

    from testbed.spec.loading import listed, unknown

    problem = unknown("PoP or host", name, [*network.pop_by_id, *network.host_by_id], where)
    return replace(problem, allowed=f"an IPv4 address, a host, or a PoP: {listed(list(network.pop_by_id))}")


def summary(route: Mapping[str, Any]) -> str:
    """The pair, how many PoPs are on the way, and the links' delay between the first and the last of them."""
    from testbed.cli.values import delay_text
    from testbed.topology.writing import counted

    way = f"{counted(len(route['pops']), 'PoP')}, {counted(len(route['links']), 'link')}"
    delay = f", {delay_text(route['delay_s'])} one way" if route["links"] else ""
    return f"{route['from']} to {route['to']}: {way}{delay}"


def route_table(route: Mapping[str, Any], states: Mapping[str, str], network: Network) -> Table:
    """A row for each PoP, with the link that packets come by."""
    from testbed.cli.tables import state, table
    from testbed.cli.values import delay_text

    rows = table(["PoP", "by link"], ["delay", "state"])
    rows.add_row(route["pops"][0])
    for before, pop, link in zip(route["pops"], route["pops"][1:], route["links"], strict=False):
        delay_s = network.link_by_id[link].direction(before).delay_s
        rows.add_row(pop, link, delay_text(delay_s), state(states[link]))
    return rows
