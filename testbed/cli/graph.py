"""`testbed graph`: a picture of a topology."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed.errors import Problem, UserError

if TYPE_CHECKING:
    from testbed.spec.topology import TopologySpec
    from testbed.topology.drawing import Format, Route
    from testbed.topology.model import Network


def graph(
    topology: Annotated[
        Path, typer.Argument(help="A topology file, or an experiment, whose topology is drawn.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="FILE.svg, .png or .pdf.  [default: NAME.svg in this folder]"),
    ] = None,
    width: Annotated[
        float | None, typer.Option(min=4, max=60, help="Inches.  [default: what the network needs]")
    ] = None,
    labels: Annotated[bool, typer.Option(help="Write the names of PoPs and ISPs.")] = True,
    failed: Annotated[
        list[str] | None,
        typer.Option("--failed", metavar="LINK", help="Cross out this link. May be repeated."),
    ] = None,
    path: Annotated[
        tuple[str, str] | None,
        typer.Option("--path", metavar="POP POP", help="Highlight the route between two PoPs."),
    ] = None,
    links: Annotated[
        bool, typer.Option("--links", help="Print the names of all links, one a line, and draw nothing.")
    ] = False,
) -> None:
    """Draw a topology: ISPs by colour, capacities by width, relationships by arrows and dashes.

    A PoP is named `isp.pop`, a link `isp.pop--isp.pop`, its ends in either order. The second of parallel
    links has `~2` at its end; --links lists all names.

    Example: testbed graph topologies/quickstart.yaml -o net.svg --path dslnet.lyon fibrenet.rome
    """
    from testbed.cli.output import write_output
    from testbed.topology.compile import compile_network
    from testbed.topology.drawing import Wish, compose, render

    spec = _topology_of(topology)
    network = compile_network(spec)
    if links:
        for link in network.core_links:
            typer.echo(link.id)
        return
    target = output or Path(f"{spec.name}.svg")
    form = _format_of(target)
    down = _links_called(failed or (), network)
    route = _route(network, down, *path) if path else None
    drawing = compose(network, Wish(width, labels, down, route))
    write_output(target, render(drawing, form))
    if drawing.left_out:
        typer.echo(f"{drawing.left_out:,} names are left out: there is no room for them", err=True)
    for name in sorted(drawing.failed_unseen()):
        typer.echo(f"{name} is not crossed out: in this picture it shares a line with other links", err=True)
    for name in route.links if route else ():
        typer.echo(name)
    typer.echo(f"{target}: {drawing.subtitle}")


def _topology_of(path: Path) -> TopologySpec:
    """The topology of a topology file or of an experiment."""
    from testbed.spec.experiment import load_experiment
    from testbed.spec.loading import load_document
    from testbed.spec.topology import load_topology

    if "swarm" in load_document(path).data:
        return load_experiment(path)[2]
    return load_topology(path)[0]


def _format_of(target: Path) -> Format:
    from testbed.topology.drawing import FORMATS

    for form in FORMATS:
        if target.suffix.lower() == f".{form}":
            return form
    what = f"can't draw into '{target}': its ending names no format"
    raise UserError(Problem(what, where="-o", allowed=", ".join(f".{form}" for form in FORMATS)))


def _links_called(names: Sequence[str], network: Network) -> frozenset[str]:
    """The ids of the links that --failed names."""
    from testbed.topology.link_names import find_link

    found = [find_link(network, name, "--failed") for name in names]
    problems = [problem for problem in found if isinstance(problem, Problem)]
    if problems:
        raise UserError(problems)
    return frozenset(link for link in found if isinstance(link, str))


def _route(network: Network, failed: frozenset[str], source: str, destination: str) -> Route:
    from testbed.spec.loading import unknown
    from testbed.topology.drawing import Route
    from testbed.topology.routing import compute_routes

    problems = [
        unknown("PoP", pop, network.pop_by_id, "--path")
        for pop in (source, destination)
        if pop not in network.pop_by_id
    ]
    if problems:
        raise UserError(problems)
    try:
        return Route(source, destination, tuple(compute_routes(network, failed).path(source, destination)))
    except KeyError:
        without = " without the failed links" if failed else ""
        what = f"there is no route from {source} to {destination}{without}"
        raise UserError(Problem(what, where="--path")) from None
