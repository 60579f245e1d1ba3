"""`testbed generate KIND`: topology files of made-up networks, from a seed, one command for each kind."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.cli.options import quantity
from testbed.errors import Problem, UserError

if TYPE_CHECKING:
    from random import Random

    from testbed.topology.generators.isp import IspOptions, Shape
    from testbed.topology.generators.places import Point
    from testbed.topology.generators.shapes import Pair

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

_REGIONS = "Where: africa, asia, europe, north-america, oceania, south-america or world."
_ATTACH = 2
_WEIGHTS = "Routing weights: distance (a point a km) or capacity (the highest over the link's)."

Pops = Annotated[int, typer.Option("--pops", help="How many PoPs.")]
Links = Annotated[
    int | None, typer.Option("--links", help="Exactly how many links, both directions being one.")
]
Region = Annotated[str, typer.Option("--region", help=_REGIONS)]
Name = Annotated[str, typer.Option("--name", help="Name of the topology and its ISP.")]
Asn = Annotated[int, typer.Option("--asn", help="The ISP's number.", min=1, max=4294967295)]
Capacity = Annotated[str, typer.Option("--capacity", help="Of a link, in each direction.")]
HubCapacity = Annotated[
    str, typer.Option("--capacity", help="Of a link; twice this with a hub at one end, four times with two.")
]
Weights = Annotated[str, typer.Option("--weights", help=_WEIGHTS)]
Seed = Annotated[int, typer.Option("--seed", help="The same seed and options give the same file.", min=0)]
Description = Annotated[str, typer.Option("--description", help="What the file is for: its first line.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="The file; without it, stdout.")]


@app.callback()
def generate() -> None:
    """Write a topology file of a made-up network, from a seed.

    The head of the file says how it was made and holds the command that makes it again.

    Example: testbed generate waxman --pops 20 --links 37 -o my-isp.yaml
    """


@app.command()
def ring(
    context: typer.Context,
    pops: Pops = 6,
    region: Region = "europe",
    name: Name = "ring",
    asn: Asn = 64512,
    capacity: Capacity = "100 Mbit/s",
    weights: Weights = "distance",
    seed: Seed = 1,
    description: Description = "",
    output: Output = None,
) -> None:
    """An ISP whose PoPs are a ring.

    Example: testbed generate ring --pops 8 --region north-america -o ring.yaml
    """
    from testbed.topology.generators import shapes

    def shape(points: Sequence[Point], _: Random) -> list[Pair]:
        return shapes.ring(points)

    options = _isp_options(name, pops, region, asn, capacity, weights, seed)
    _write_isp(context, options, shape, "each linked to the next around the middle", description, output)


@app.command()
def star(
    context: typer.Context,
    pops: Pops = 6,
    region: Region = "europe",
    name: Name = "star",
    asn: Asn = 64512,
    capacity: Capacity = "100 Mbit/s",
    weights: Weights = "distance",
    seed: Seed = 1,
    description: Description = "",
    output: Output = None,
) -> None:
    """An ISP with one PoP in the middle and a link from it to each other one.

    Example: testbed generate star --pops 8 --capacity "50 Mbit/s" -o star.yaml
    """
    from testbed.topology.generators import shapes

    def shape(points: Sequence[Point], _: Random) -> list[Pair]:
        return shapes.star(points)

    options = _isp_options(name, pops, region, asn, capacity, weights, seed)
    _write_isp(context, options, shape, "all linked to the one in their middle", description, output)


@app.command()
def waxman(
    context: typer.Context,
    pops: Pops = 20,
    links: Links = None,
    alpha: Annotated[
        float, typer.Option("--alpha", help="Higher: more long links. Above 0, at most 1.")
    ] = 0.2,
    beta: Annotated[
        float, typer.Option("--beta", help="Higher: more links. Above 0, at most 1. Not used with --links.")
    ] = 0.6,
    region: Region = "europe",
    name: Name = "waxman",
    asn: Asn = 64512,
    capacity: HubCapacity = "100 Mbit/s",
    weights: Weights = "distance",
    seed: Seed = 1,
    description: Description = "",
    output: Output = None,
) -> None:
    """An ISP where near PoPs are linked rather than far ones (Waxman 1988), connected always.

    A pair is linked with the chance beta * exp(-distance / (alpha * largest distance)).

    Example: testbed generate waxman --pops 20 --links 37 --region north-america -o isp.yaml
    """
    from testbed.topology.generators import shapes

    def shape(points: Sequence[Point], rng: Random) -> list[Pair]:
        return shapes.waxman(points, rng, alpha=alpha, beta=beta, links=links)

    options = _isp_options(name, pops, region, asn, capacity, weights, seed, hubs=True)
    words = "near ones linked rather than far ones (Waxman 1988)"
    _write_isp(context, options, shape, words, description, output)


@app.command()
def barabasi_albert(
    context: typer.Context,
    pops: Pops = 20,
    links: Links = None,
    attach: Annotated[
        int | None,
        typer.Option(
            "--attach",
            help="How many links a newcomer brings. Not used with --links.  [default: 2, if it can]",
        ),
    ] = None,
    region: Region = "europe",
    name: Name = "barabasi-albert",
    asn: Asn = 64512,
    capacity: HubCapacity = "100 Mbit/s",
    weights: Weights = "distance",
    seed: Seed = 1,
    description: Description = "",
    output: Output = None,
) -> None:
    """An ISP with few PoPs of many links and many of few (Barabasi and Albert 1999).

    Example: testbed generate barabasi-albert --pops 52 --links 56 -o isp.yaml
    """
    from testbed.topology.generators import shapes

    def shape(points: Sequence[Point], rng: Random) -> list[Pair]:
        count = len(points)
        brought = min(_ATTACH, shapes.most_attached(count)) if attach is None else attach
        return shapes.barabasi_albert(count, rng, attach=brought, links=links)

    options = _isp_options(name, pops, region, asn, capacity, weights, seed, hubs=True)
    words = "newcomers linked to those with many links (Barabasi and Albert 1999)"
    _write_isp(context, options, shape, words, description, output)


@app.command()
def internet(
    context: typer.Context,
    tier1: Annotated[int, typer.Option("--tier1", help="ISPs that all peer with each other.")] = 3,
    transit: Annotated[int, typer.Option("--transit", help="ISPs that buy and sell transit.")] = 8,
    stubs: Annotated[int, typer.Option("--stubs", help="ISPs that buy transit only.")] = 20,
    ixps: Annotated[int, typer.Option("--ixps", help="Exchange points.")] = 2,
    tier1_pops: Annotated[int, typer.Option("--tier1-pops", help="PoPs of a tier-1.")] = 4,
    transit_pops: Annotated[int, typer.Option("--transit-pops", help="PoPs of a transit ISP.")] = 3,
    stub_pops: Annotated[int, typer.Option("--stub-pops", help="PoPs of a stub.")] = 1,
    members: Annotated[int, typer.Option("--members", help="ISPs at an exchange point.")] = 6,
    peering: Annotated[
        float, typer.Option("--peering", help="Chance that two neighbouring transit ISPs peer, 0 to 1.")
    ] = 0.4,
    region: Region = "world",
    name: Annotated[str, typer.Option("--name", help="Name of the topology.")] = "internet",
    capacity: Annotated[
        str, typer.Option("--capacity", help="Of what a stub buys; all others are multiples of it.")
    ] = "10 Mbit/s",
    seed: Seed = 1,
    description: Description = "",
    output: Output = None,
) -> None:
    """An Internet of tiers: tier-1 ISPs that peer, transit ISPs, stubs, and exchange points.

    Transit ISPs and stubs have one to three providers in their part of the world; the more customers a
    provider has, the likelier it gets another. Everyone reaches everyone.

    Example: testbed generate internet --tier1 10 --transit 490 --stubs 4500 -o internet.yaml
    """
    from testbed.spec.units import parse_rate
    from testbed.topology.generators.internet import InternetOptions, generate_internet
    from testbed.topology.writing import counted

    options = InternetOptions(
        tier1=tier1,
        transit=transit,
        stubs=stubs,
        ixps=ixps,
        tier1_pops=tier1_pops,
        transit_pops=transit_pops,
        stub_pops=stub_pops,
        members=members,
        peering=peering,
        region=region,
        capacity_bps=quantity(capacity, parse_rate, "--capacity"),
        seed=seed,
    )
    what = (
        f"A made-up Internet: {tier1} tier-1, {transit} transit and {counted(stubs, 'stub ISP')}, "
        f"{counted(ixps, 'exchange point')}"
    )
    how = (
        f"No real network: ISPs at random places ({region}). Tier-1s peer with each other; transit ISPs "
        "and stubs buy from one to three providers in their part of the world, rather from those with many "
        "customers. Prices are random, and cheaper for transit ISPs. "
        "Routing weights are distances in km; delays follow from the places."
    )
    title = _description(description) or what
    _write(context, {"name": name, "description": title, **generate_internet(options)}, how, output)


def _isp_options(
    name: str,
    pops: int,
    region: str,
    asn: int,
    capacity: str,
    weights: str,
    seed: int,
    *,
    hubs: bool = False,
) -> IspOptions:
    from testbed.spec.units import parse_rate
    from testbed.topology.generators.isp import IspOptions

    capacity_bps = quantity(capacity, parse_rate, "--capacity")
    return IspOptions(name, pops, region, asn, capacity_bps, weights, hubs, seed)


def _write_isp(
    context: typer.Context,
    options: IspOptions,
    shape: Shape,
    words: str,
    description: str,
    output: Path | None,
) -> None:
    from testbed.topology.generators.isp import generate_isp
    from testbed.topology.writing import counted

    title = _description(description)
    data = generate_isp(options, shape)
    links = len(data["isps"][options.name].get("links", ()))
    pops = counted(options.pops, "PoP")
    what = f"A made-up ISP ({context.info_name}): {pops}, {counted(links, 'link')}, {2 * links} directed"
    rule = "distances in km" if options.weights == "distance" else "the highest capacity over the link's"
    how = (
        f"No real network: PoPs at random places ({options.region}), {words}. "
        + ("Links of PoPs with many links carry more. " if options.hubs else "")
        + f"Routing weights are {rule}; delays follow from the places."
    )
    _write(context, {"name": options.name, "description": title or what, **data}, how, output)


def _write(context: typer.Context, data: Mapping[str, Any], how: str, output: Path | None) -> None:
    """Put the topology under a head that says what it is and how to make it again, to a file or to stdout."""
    from testbed.cli.output import write_output
    from testbed.topology.writing import topology_yaml

    _check_name(data["name"])
    title = textwrap.wrap(f"{data['description']}.", 106)
    comment = [*title, *textwrap.wrap(how, 106), f"Made by: {_command(context)}"]
    text = topology_yaml(data, comment)
    if output is None:
        typer.echo(text, nl=False)
        return
    write_output(output, text)
    typer.echo(f"wrote {output}", err=True)


def _check_name(name: str) -> None:
    from testbed.spec.fields import is_name

    if not is_name(name):
        allowed = "up to 24 lower case letters, digits and dashes, a letter first"
        raise UserError(Problem(f"'{name}' is no name", "--name", allowed))


def _description(text: str) -> str:
    """The description on one line. Raises UserError on what a comment can't hold as it is."""
    line = _one_line(text)
    odd = next((letter for letter in line if not letter.isprintable()), None)
    if odd is not None:
        what = f"has the character {odd!a}, which can't be printed"
        raise UserError(Problem(what, "--description", allowed="letters, digits, signs and blanks"))
    return line


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _command(context: typer.Context) -> str:
    """The command that makes the same file again: every option that is not at its default, and the seed."""
    words = ["testbed", "generate", str(context.info_name)]
    for option in context.command.params:
        value = context.params[str(option.name)]
        if option.name != "output" and (value != option.default or option.name == "seed"):
            words += [option.opts[0], _one_line(str(value))]
    return shlex.join(words)
