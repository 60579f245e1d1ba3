"""`testbed meter`: throttles of classes of an ISP's traffic in a running network: list, set, remove.

What is asked goes to the run's controller, which sets meters in the ISP's switches; a table, or its JSON,
goes to stdout.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from testbed.cli.living import AsJson, Run, reach
from testbed.cli.options import quantity
from testbed.errors import Problem, UserError

if TYPE_CHECKING:
    from rich.table import Table

    from testbed.topology.model import Network

_CLASSES = "bittorrent, all, tcp:PORT or udp:PORT"
_MOST_PORT = 65535


def meter(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Yours to choose.")] = "",
    isp: Annotated[str, typer.Option("--isp", metavar="ISP", help="Whose traffic.")] = "",
    traffic: Annotated[str, typer.Option("--class", metavar="CLASS", help=f"{_CLASSES}.")] = "",
    rate: Annotated[
        str, typer.Option("--rate", help="What passes at each PoP's switch, such as '1 Mbit/s'.")
    ] = "",
    pop: Annotated[str, typer.Option("--pop", metavar="POP", help="Only at this PoP of the ISP.")] = "",
    direction: Annotated[
        Literal["out", "in"] | None,
        typer.Option("--direction", help="What its hosts send or receive.  [default: out]"),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Let everything pass again.")] = False,
    run: Run = "",
    as_json: AsJson = False,
) -> None:
    """Show, set or remove throttles of an ISP's traffic in a network that runs.

    Without NAME all are listed. Setting one again changes it. A change is over when the command returns.

    Example: sudo .venv/bin/testbed meter slow --isp dslnet --class bittorrent --rate '1 Mbit/s'
    """
    from testbed.cli.tables import show
    from testbed.cli.values import effect

    wish = wanted_meter(isp, traffic, rate, pop, direction)
    _check_together(name, wish, remove)
    api = reach(run)
    resource = f"/meters/{name}"
    if remove:
        _known(name, api.get("/meters")["meters"])
        answer = api.delete(resource)
        shown: list[Any] = [f"meter {name} is removed", effect(answer)]
    elif wish:
        _check_places(wish, api.network())
        answer = api.put(resource, wish)
        shown = [meter_table({name: answer}, {}), effect(answer)]
    else:
        answer = api.get("/meters")
        if name:
            answer = {"meters": {name: _known(name, answer["meters"])}}
        dropped = dropped_bytes(api.get("/counters"))
        shown = [meter_table(answer["meters"], dropped) if answer["meters"] else "no traffic is throttled"]
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
    else:
        show(shown)


def wanted_meter(isp: str, traffic: str, rate: str, pop: str, direction: str | None) -> dict[str, Any]:
    """What the options describe, as the API takes it; empty where there are none. Raises UserError."""
    from testbed.spec.units import parse_rate

    if not (isp or traffic or rate or pop or direction):
        return {}
    missing = [
        option for option, given in (("--isp", isp), ("--class", traffic), ("--rate", rate)) if not given
    ]
    if missing:
        what = f"a meter needs {' and '.join(missing)}"
        raise UserError(Problem(what, allowed=f"--isp ISP, --class {_CLASSES}, --rate '1 Mbit/s'"))
    wish = {
        "isp": isp,
        "class": traffic_class(traffic),
        "direction": direction or "out",
        "rate_bps": quantity(rate, parse_rate, "--rate"),
    }
    return {**wish, "pop": pop} if pop else wish


def traffic_class(text: str) -> str | dict[str, Any]:
    """`tcp:80` -> {"protocol": "tcp", "port": 80}. Raises UserError."""
    if text in ("bittorrent", "all"):
        return text
    protocol, _, port = text.partition(":")
    if protocol in ("tcp", "udp") and port.isdecimal() and 1 <= int(port) <= _MOST_PORT:
        return {"protocol": protocol, "port": int(port)}
    raise UserError(Problem(f"'{text}' is no class of traffic", "--class", allowed=_CLASSES))


def _check_together(name: str, wish: Mapping[str, Any], remove: bool) -> None:
    """Raises UserError where the options do not go together."""
    if not name and (wish or remove):
        mend = "`testbed meter` without options lists all"
        raise UserError(Problem("which meter?", allowed="a name of your own", mend=mend))
    if remove and wish:
        raise UserError(Problem("a meter is either set or removed", "--remove", allowed="a name alone"))


def _known(name: str, meters: Mapping[str, Any]) -> Any:
    from testbed.spec.loading import unknown

    if name not in meters:
        raise UserError(unknown("meter", name, meters, ""))
    return meters[name]


def _check_places(wish: Mapping[str, Any], network: Network) -> None:
    """Raises UserError where the ISP or its PoP does not exist."""
    from testbed.spec.loading import unknown

    isp = wish["isp"]
    if isp not in network.isp_by_name:
        raise UserError(unknown("ISP", isp, network.isp_by_name, "--isp"))
    pops = [pop.id for pop in network.pops if pop.isp == isp]
    if "pop" in wish and wish["pop"] not in pops:
        raise UserError(unknown("PoP", wish["pop"], pops, "--pop", owner=f"ISP {isp}"))


def dropped_bytes(counters: Mapping[str, Any]) -> dict[str, int]:
    """By meter, what all switches dropped for it."""
    dropped: dict[str, int] = {}
    for of_pop in counters.get("metered", {}).values():
        for name, (size, _) in of_pop.items():
            dropped[name] = dropped.get(name, 0) + size
    return dropped


def meter_table(meters: Mapping[str, Mapping[str, Any]], dropped: Mapping[str, int]) -> Table:
    """A row for each meter."""
    from testbed.cli.tables import table
    from testbed.cli.values import bytes_text, known
    from testbed.topology.writing import rate_text

    rows = table(["meter", "at", "class", "direction"], ["rate", "dropped"])
    for name, found in meters.items():
        rows.add_row(
            name,
            found.get("pop") or f"each PoP of {found['isp']}",
            class_text(found["class"]),
            found.get("direction", "out"),
            rate_text(found["rate_bps"]),
            known(dropped.get(name), bytes_text),
        )
    return rows


def class_text(traffic: str | Mapping[str, Any]) -> str:
    """The inverse of `traffic_class`."""
    return traffic if isinstance(traffic, str) else f"{traffic['protocol']}:{traffic['port']}"
