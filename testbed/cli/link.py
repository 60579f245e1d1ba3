"""`testbed link`: the links of a running network: look at them, cut and heal them, make them slower or worse.

What is asked goes to the run's controller; tables, or its JSON, go to stdout.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.cli.living import AsJson, Run, reach
from testbed.cli.options import quantity
from testbed.errors import Problem, UserError

if TYPE_CHECKING:
    from rich.table import Table

    from testbed.topology.model import Network

_HEADINGS = {
    "internal": "internal",
    "customer-provider": "customer-provider, the customer first",
    "peer-peer": "peer-peer",
    "access": "access, the host first",
}


def link(
    name: Annotated[
        str, typer.Argument(metavar="LINK", help="isp.pop--isp.pop, the ends in either order.")
    ] = "",
    up: Annotated[bool | None, typer.Option("--up/--down", help="Heal the link, or cut it.")] = None,
    rate: Annotated[str | None, typer.Option("--rate", help="Such as '2 Mbit/s'.")] = None,
    delay: Annotated[str | None, typer.Option("--delay", help="One way, such as '50 ms'.")] = None,
    loss: Annotated[
        str | None, typer.Option("--loss", help="Share of packets at random, such as '0.5 %'.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="POP", help="Change only the direction that leaves this PoP."),
    ] = None,
    run: Run = "",
    as_json: AsJson = False,
) -> None:
    """Show or change the links between PoPs of a network that runs (`testbed shell`, `testbed run`).

    Without LINK, all are listed; with LINK alone, it is shown with what it carries. A change is over when the
    command returns: traffic goes another way, or meets the new rate, delay or loss.

    Example: sudo .venv/bin/testbed link dslnet.paris--backbone.frankfurt --rate '2 Mbit/s' --loss '1 %'
    """
    from testbed.cli.tables import show
    from testbed.cli.values import effect

    change = wanted_change(up, rate, delay, loss)
    _check_together(name, change, source)
    api = reach(run)
    if not name:
        answer = api.get("/links")
        shown: list[Any] = [link_table([link for link in answer["links"] if link["kind"] != "access"])]
    else:
        network = api.network()
        resource = f"/links/{link_called(name, network)}"
        answer = api.get(resource)
        if change:
            answer = api.patch(resource, directed(change, source, answer))
            shown = [link_table([answer]), effect(answer)]
        else:
            answer["counters"] = api.get("/counters")["links"].get(answer["id"], {})
            shown = [title(answer), detail_table(answer, network)]
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
    else:
        show(shown)


def wanted_change(up: bool | None, rate: str | None, delay: str | None, loss: str | None) -> dict[str, Any]:
    """What the API is to change, in base units. Raises UserError with the option's name."""
    from testbed.spec.units import parse_delay, parse_loss, parse_rate

    change: dict[str, Any] = {} if up is None else {"state": "up" if up else "down"}
    if rate is not None:
        change["rate_bps"] = quantity(rate, parse_rate, "--rate")
    if delay is not None:
        change["delay_s"] = quantity(delay, parse_delay, "--delay")
    if loss is not None:
        change["loss"] = quantity(loss, parse_loss, "--loss")
    return change


def _check_together(name: str, change: Mapping[str, Any], source: str | None) -> None:
    """Raises UserError where the options do not go together."""
    if change and not name:
        mend = "`testbed link` without options lists all links"
        raise UserError(Problem("which link is to be changed?", allowed="isp.pop--isp.pop", mend=mend))
    if source is not None and not change:
        allowed = "together with --rate, --delay or --loss"
        raise UserError(Problem("nothing is to be changed in this direction", "--from", allowed))
    if source is not None and "state" in change:
        what = "a link goes up or down in both directions"
        raise UserError(Problem(what, "--from", allowed="--rate, --delay and --loss without --up or --down"))


def link_called(name: str, network: Network) -> str:
    """The id of the link that `name` means. Raises UserError with what may have been meant."""
    from testbed.topology.link_names import find_link

    if name in network.link_by_id:  # find_link knows those between PoPs
        return name
    found = find_link(network, name, "")
    if isinstance(found, str):
        return found
    mend = found.mend if found.mend.startswith("did you mean") else "`testbed link` lists all links"
    raise UserError(replace(found, mend=mend))


def directed(change: Mapping[str, Any], source: str | None, link: Mapping[str, Any]) -> Mapping[str, Any]:
    """The change of the direction that leaves `source`; of both where that is None. Raises UserError."""
    from testbed.spec.loading import unknown

    if source is None:
        return change
    ends = {link["a"]: "forward", link["b"]: "backward"}
    if source not in ends:
        raise UserError(unknown("end", source, ends, "--from", owner=f"link {link['id']}"))
    return {ends[source]: change}


def link_table(links: Sequence[Mapping[str, Any]]) -> Table:
    """Links by kind, the values of their directions once where both are the same."""
    from testbed.cli.tables import heading, state, table
    from testbed.cli.values import delay_text, each_way, loss_text
    from testbed.topology.writing import rate_text

    rows = table(["link", "state"], ["rate", "delay", "loss"])
    for kind, words in _HEADINGS.items():
        of_kind = [link for link in links if (link["relationship"] or link["kind"]) == kind]
        if of_kind:
            rows.add_row(heading(words))
        for link in of_kind:
            rows.add_row(
                link["id"],
                state(link["state"]),
                each_way(link, "rate_bps", rate_text),
                each_way(link, "delay_s", delay_text),
                each_way(link, "loss", loss_text),
            )
    return rows


def title(link: Mapping[str, Any]) -> str:
    """`a--b: customer-provider, up`."""
    return f"{link['id']}: {link['relationship'] or link['kind']}, {link['state']}"


def detail_table(link: Mapping[str, Any], network: Network) -> Table:
    """One link: what each direction is set to, and what it carries and has carried."""
    from testbed.cli.flows import flows
    from testbed.cli.tables import table
    from testbed.cli.values import bytes_text, delay_text, known, loss_text, measured_rate, share_text
    from testbed.topology.writing import rate_text

    settings = (link["forward"], link["backward"])
    both = flows([link], {link["id"]: link["counters"]}, network)
    rows = table([""], [f"from {flow.source}" for flow in both])
    rows.add_row("rate", *(rate_text(setting["rate_bps"]) for setting in settings))
    rows.add_row("delay", *(delay_text(setting["delay_s"]) for setting in settings))
    rows.add_row("loss", *(loss_text(setting["loss"]) for setting in settings))
    if any(flow.background_bps for flow in both):
        rows.add_row("background", *(measured_rate(flow.background_bps) for flow in both))
    rows.add_row("carries now", *(known(flow.rate_bps, measured_rate) for flow in both))
    rows.add_row("of its capacity", *(known(flow.utilisation, share_text) for flow in both))
    rows.add_row("has carried", *(known(flow.bytes, bytes_text) for flow in both))
    rows.add_row("packets", *(known(flow.packets, "{:,}".format) for flow in both))
    rows.add_row("dropped", *(known(flow.dropped, "{:,}".format) for flow in both))
    return rows
