"""`testbed import`: networks of the Topology Zoo, SNDlib, Rocketfuel and CAIDA as topology files."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from testbed.cli.options import quantity
from testbed.errors import Problem, UserError

if TYPE_CHECKING:
    from testbed.topology.importers import Choices, Imported, Source


def import_(
    file: Annotated[
        Path,
        typer.Argument(help="GraphML, SNDlib native, Rocketfuel or CAIDA as-rel; .gz and .bz2 too."),
    ],
    isp: Annotated[str | None, typer.Option("--as", metavar="ISP", help="Name of the ISP.")] = None,
    asn: Annotated[int | None, typer.Option("--asn", min=1, max=4294967295, help="Its number.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the topology.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; without it, stdout.")
    ] = None,
    capacity: Annotated[
        str | None, typer.Option("--capacity", help="Of links whose capacity the file does not say.")
    ] = None,
    delay: Annotated[
        str | None, typer.Option("--delay", help="Of links whose delay nothing in the file says.")
    ] = None,
    scale: Annotated[
        float, typer.Option("--scale", help="All capacities times this, to fit on one machine.")
    ] = 1.0,
    external: Annotated[
        Literal["drop", "keep", "peers", "customers"] | None,
        typer.Option(
            "--external",
            help="GraphML: neighbours that the file marks as external: drop (the default), keep as PoPs, "
            "or make ISPs that are peers or customers.",
        ),
    ] = None,
    latencies: Annotated[
        Path | None,
        typer.Option(
            "--latencies",
            help="Rocketfuel: the file with the latencies.  [default: the one beside FILE, if there]",
        ),
    ] = None,
    by_city: Annotated[
        bool, typer.Option("--by-city", help="Rocketfuel: the routers of a city as one PoP.")
    ] = False,
    around: Annotated[
        str | None, typer.Option("--around", metavar="ASN", help="CAIDA: the AS to cut around, such as 3356.")
    ] = None,
    radius: Annotated[
        int | None,
        typer.Option(
            "--radius", min=0, help="CAIDA: at most so many links away.  [default: what --limit needs]"
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="CAIDA: at most so many ASes.  [default: 200]")
    ] = None,
) -> None:
    """Make a topology file of a network that others published. The format is found by the content.

    What was guessed or left out is said on stderr and in the head of the file.

    Example: testbed import Geant2012.graphml --as geant -o geant.yaml
    """
    from testbed.cli.output import write_output
    from testbed.spec.units import parse_duration, parse_rate
    from testbed.topology.importers import Choices, import_topology

    choices = Choices(
        isp=_name(isp, "--as"),
        asn=asn,
        name=_name(name, "--name"),
        capacity_bps=None if capacity is None else quantity(capacity, parse_rate, "--capacity"),
        delay_s=None if delay is None else quantity(delay, parse_duration, "--delay"),
        scale=_factor(scale),
        external=external,
        by_city=by_city,
        around=_asn(around),
        radius=radius,
        limit=limit,
    )
    source = _source(file, latencies)
    imported = import_topology(source, choices)
    text = _checked(imported, source, choices)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_output(output, text)
    for note in imported.notes:
        typer.echo(f"{source.name}: {note}", err=True)
    if output is not None:
        typer.echo(f"{output}: {_summary(imported)}", err=True)


def _name(text: str | None, option: str) -> str | None:
    from testbed.spec.fields import is_name

    if text is None or is_name(text):
        return text
    allowed = "a letter, then up to 23 letters, digits or dashes, all lower case"
    raise UserError(Problem(f"'{text}' is no name", where=option, allowed=allowed))


def _asn(text: str | None) -> int | None:
    """The number of an AS: `3356`, or as people write it, `AS3356`."""
    if text is None:
        return None
    match = re.fullmatch(r"(?:AS)?\s*([0-9]{1,10})", text.strip(), re.IGNORECASE)
    if match is None:
        raise UserError(Problem(f"'{text}' is no number of an AS", where="--around", allowed="such as 3356"))
    return int(match.group(1))


def _factor(scale: float) -> float:
    if not 1e-9 <= scale <= 1e9:
        raise UserError(
            Problem(f"{scale} is no factor", where="--scale", allowed="1e-9 to 1e9, such as 0.001")
        )
    return scale


def _source(file: Path, latencies: Path | None) -> Source:
    """The file and, of Rocketfuel's pair, the other one if it is there."""
    from testbed.topology.importers import Source, other_name

    other = latencies
    if other is not None and _are_one(file, other):
        what = f"{other} is the file to import itself"
        raise UserError(Problem(what, where="--latencies", allowed="the file with the latencies"))
    if other is None and (name := other_name(file.name)) is not None:
        beside = file.with_name(name)
        other = beside if beside.is_file() else None
    return Source(
        where=str(file),
        name=file.name if file.name else str(file),
        data=_read(file),
        folder=file.resolve().parent.name,
        other=None if other is None else _read(other),
        other_where="" if other is None else str(other),
        other_chosen=latencies is not None,
    )


def _are_one(file: Path, other: Path) -> bool:
    try:
        return file.samefile(other)
    except OSError:  # what can't be looked at is reported where it is read
        return False


def _read(file: Path) -> bytes:
    from testbed.topology.importers import unpacked

    try:
        return unpacked(file.read_bytes(), str(file))
    except FileNotFoundError:
        raise UserError(Problem("there is no such file", where=str(file))) from None
    except IsADirectoryError:
        raise UserError(Problem("is a folder", where=str(file), allowed="a file")) from None
    except OSError as error:
        raise UserError(Problem(f"can't be read: {error.strerror}", where=str(file))) from None


def _checked(imported: Imported, source: Source, choices: Choices) -> str:
    """The text of the topology file, which the testbed itself reads without a complaint."""
    from testbed.spec.loading import Document
    from testbed.spec.topology import topology_of
    from testbed.spec.yaml_reader import Places, read_yaml
    from testbed.topology.writing import topology_yaml

    text = topology_yaml(imported.data, _comment(imported, source, choices))
    places = Places()
    path = Path("imported.yaml")
    try:
        topology_of(Document(path, read_yaml(text, path, places), places))
    except UserError as error:
        raise RuntimeError(f"a bug of the importer: what it wrote does not validate: {error}") from error
    return text


def _comment(imported: Imported, source: Source, choices: Choices) -> list[str]:
    """The head of the file: where it is from, what was done to it, what was guessed or left out."""
    from testbed.topology.importers import format_of

    said = [f"Imported from {source.name} ({format_of(source).name}) by `testbed import`."]
    if choices.scale != 1:
        said.append(f"All capacities are times {choices.scale:g}.")
    lines = textwrap.wrap(" ".join(said), 106)
    for note in imported.notes:
        lines += textwrap.wrap(f"- {note}", 106, subsequent_indent="  ", break_long_words=False)
    return lines


def _summary(imported: Imported) -> str:
    from testbed.topology.writing import counted

    isps = imported.data["isps"]
    pops = sum(len(isp["pops"]) for isp in isps.values())
    links = sum(len(isp.get("links", ())) for isp in isps.values())
    parts = [counted(len(isps), "ISP"), counted(pops, "PoP"), counted(links, "internal link")]
    outer = len(imported.data.get("interdomain", ()))
    return ", ".join(parts) + (f", {outer} between ISPs" if outer else "")
