"""`testbed counters`: what the links of a running network carry, and who sends to whom.

The counters of the run's switches come from its controller; tables, or its JSON, go to stdout.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.cli.living import AsJson, Run, reach

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from testbed.cli.flows import Flow

_REFRESH_S = 1.0
_OLD_S = 4.0
_OTHER_LINES = 5  # of the screen: the heading, how many are left out, two notes, and the cursor's


def counters(
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Who sends to whom: ISPs by ISPs, and not links.")
    ] = False,
    top: Annotated[int, typer.Option("--top", min=0, metavar="N", help="Only the busiest N; 0: all.")] = 0,
    watch: Annotated[bool, typer.Option("--watch", help="Show them anew each second, until Ctrl-C.")] = False,
    run: Run = "",
    as_json: AsJson = False,
) -> None:
    """Show what each direction of each link carries in a network that runs, the busiest first.

    Switches are asked each second. Bytes are those of Ethernet frames since the network was built; shares are
    of the capacity, with the background load. --pairs counts IP packets that reached the destination's PoP.

    Example: sudo .venv/bin/testbed counters --watch --top 10
    """
    from rich.live import Live

    from testbed.cli.flows import busiest, flows
    from testbed.cli.tables import console

    api = reach(run)
    if as_json:
        indent = None if watch else 1
        _show(watch, lambda: typer.echo(json.dumps(api.get("/counters"), indent=indent)))
        return
    there, network = console(), api.network()

    def view() -> RenderableType:
        found = api.get("/counters")
        if pairs:
            return pairs_view(found["pairs"], [isp.name for isp in network.isps], top, there)
        links = [link for link in api.get("/links")["links"] if link["kind"] != "access"]
        carried = busiest(flows(links, found["links"], network))
        most = there.height - _OTHER_LINES if watch and there.is_terminal else len(carried)
        notes = [*not_routed(found["unrouted"]), *out_of_date(found["polled"], time.monotonic_ns())]
        return links_view(carried, top or most, notes)

    if watch and there.is_terminal:
        with Live(console=there, auto_refresh=False) as live:
            _show(watch, lambda: live.update(view(), refresh=True))
    else:
        _show(watch, lambda: there.print(view()))


def _show(again: bool, show: Callable[[], None]) -> None:
    """Once; or each second, be it ever so slow, until Ctrl-C, which is how this ends."""
    with suppress(KeyboardInterrupt):
        next_s = time.monotonic()
        show()
        while again:
            next_s = max(next_s + _REFRESH_S, time.monotonic())
            time.sleep(next_s - time.monotonic())
            show()


def links_view(carried: Sequence[Flow], most: int, notes: Sequence[str]) -> RenderableType:
    """The table of the first `most`, how many are left out, and the notes."""
    from rich.console import Group

    left = len(carried) - most
    return Group(links_table(carried[:most]), *([f"and {left} less busy"] if left > 0 else []), *notes)


def not_routed(unrouted: Mapping[str, int]) -> list[str]:
    """A line about packets that switches had no rule for, where there are any."""
    found = [f"{packets:,} packets at {pop}" for pop, packets in unrouted.items() if packets]
    return [f"without a route: {', '.join(found)}"] if found else []


def out_of_date(polled: Mapping[str, int], now_ns: int) -> list[str]:
    """A line about switches that have not said for a while what they count."""
    ages = {pop: (now_ns - then_ns) / 1e9 for pop, then_ns in polled.items()}
    found = [f"{pop} {age:.0f} s ago" for pop, age in ages.items() if age > _OLD_S]
    return [f"last counted: {', '.join(found)}"] if found else []


def links_table(carried: Sequence[Flow]) -> Table:
    """A row for each direction of each link."""
    from testbed.cli.tables import state, table
    from testbed.cli.values import bytes_text, known, measured_rate, share_text

    rows = table(["link"], ["now", "share", "bytes", "dropped"])
    for flow in carried:
        rows.add_row(
            flow.name,
            known(flow.rate_bps, measured_rate),
            known(flow.utilisation, share_text) if flow.state == "up" else state(flow.state),
            known(flow.bytes, bytes_text),
            known(flow.dropped, "{:,}".format),
        )
    return rows


def pairs_view(
    pairs: Sequence[Mapping[str, Any]], isps: Sequence[str], top: int, there: Console
) -> RenderableType:
    """The matrix where it fits and all are wanted, else a list, the busiest first."""
    from testbed.cli.tables import fits

    matrix = pairs_matrix(pairs, isps)
    return matrix if not top and fits(matrix, there) else pairs_list(pairs, top)


def pairs_matrix(pairs: Sequence[Mapping[str, Any]], isps: Sequence[str]) -> Table:
    """Sources down, destinations across; in each cell the rate of now over the bytes so far."""
    from testbed.cli.tables import table
    from testbed.cli.values import bytes_text, measured_rate

    cells = {
        (
            pair["source"],
            pair["destination"],
        ): f"{measured_rate(pair['rate_bps'])}\n{bytes_text(pair['bytes'])}"
        for pair in pairs
    }
    rows = table(["from"], [f"to {isp}" for isp in isps])
    for source in isps:
        rows.add_row(source, *(cells.get((source, destination), "–") for destination in isps))
    return rows


def pairs_list(pairs: Sequence[Mapping[str, Any]], top: int) -> Table:
    """A row for each pair."""
    from testbed.cli.tables import table
    from testbed.cli.values import bytes_text, measured_rate

    rows = table(["from", "to"], ["now", "bytes", "packets"])
    for pair in sorted(pairs, key=lambda pair: (-pair["rate_bps"], -pair["bytes"]))[: top or len(pairs)]:
        rows.add_row(
            pair["source"],
            pair["destination"],
            measured_rate(pair["rate_bps"]),
            bytes_text(pair["bytes"]),
            f"{pair['packets']:,}",
        )
    return rows
