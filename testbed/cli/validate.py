"""`testbed validate`: check topology and experiment files without building anything."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.errors import Problem, UserError
from testbed.topology.writing import counted

if TYPE_CHECKING:
    from testbed.spec.loading import Document
    from testbed.spec.topology import TopologySpec
    from testbed.topology.model import Network

_MOST_WARNINGS = 20


def validate(
    files: Annotated[list[str], typer.Argument(help="Topology and experiment files.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Check files: every error with its line, what is wrong, and what is allowed.

    A file with the key `swarm` is an experiment, any other a topology. Warnings point at what is allowed and
    looks like a mistake; they do not change the exit code.

    Example: testbed validate topologies/*.yaml experiments/*.yaml
    """
    wrong: list[UserError] = []
    reports: list[dict[str, Any]] = []
    shows_errors = len(files) > 1 and not as_json
    for name in files:
        try:
            report = {"file": name, **_report(name)}
        except UserError as error:
            wrong.append(error)
            report = {"file": name, "errors": [asdict(problem) for problem in error.problems]}
        reports.append(report)
        if not as_json:
            _show(report, shows_errors=shows_errors)
    if as_json:
        import json

        typer.echo(json.dumps(reports, indent=2))
    if wrong and shows_errors:
        raise UserError(
            Problem(f"{len(wrong)} of {len(files)} files {'has' if len(wrong) == 1 else 'have'} errors")
        )
    if wrong:
        raise UserError([problem for error in wrong for problem in error.problems])


def _show(report: dict[str, Any], *, shows_errors: bool) -> None:
    errors = report.get("errors", []) if shows_errors else []
    if errors:
        typer.echo(f"{report['file'] or repr('')}: {counted(len(errors), 'error')}", err=True)
    for error in errors:
        typer.echo(str(Problem(**error)), err=True)
    warnings = report.get("warnings", [])
    for warning in warnings[:_MOST_WARNINGS]:
        problem = Problem(**warning)
        typer.echo(str(replace(problem, what=f"warning: {problem.what}")), err=True)
    if len(warnings) > _MOST_WARNINGS:
        more = counted(len(warnings) - _MOST_WARNINGS, "more warning")
        typer.echo(f"{report['file']}: {more}; --json prints all", err=True)
    if "kind" in report:
        text = _topology_text(report) if report["kind"] == "topology" else _experiment_text(report)
        typer.echo(f"{report['file']}: {text}")


def _report(name: str) -> dict[str, Any]:
    """What the file holds and what looks wrong in it. Raises UserError with every problem found."""
    if not name:  # as an unset variable gives it; its path would be the folder here
        raise UserError(Problem("an empty file name", allowed="topology and experiment files"))
    from testbed.spec.loading import load_document
    from testbed.spec.topology import topology_of

    path = Path(name)
    document = load_document(path)
    if "swarm" in document.data:
        return _experiment_report(path)
    return _topology_report(*topology_of(document))


def _experiment_report(path: Path) -> dict[str, Any]:
    from testbed.spec.experiment import load_experiment
    from testbed.trial.plan import plan_trials

    spec, document, topology, _ = load_experiment(path)
    trials = plan_trials(spec, document, topology, {})
    return {"kind": "experiment", "trials": len(trials), "leechers": len(trials[0].leechers)}


def _topology_report(spec: TopologySpec, document: Document) -> dict[str, Any]:
    from testbed.topology.plausibility import pairs_without_route, warning_of_routes, warnings_in
    from testbed.topology.routing import compute_routes

    network = _compiled(spec, document)
    pairs = pairs_without_route(network, compute_routes(network))
    warnings = [*warning_of_routes(pairs, document), *warnings_in(spec, document)]
    links = [link.kind if link.relationship is None else link.relationship for link in network.links]
    return {
        "kind": "topology",
        "isps": len(network.isps),
        "pops": len(network.pops),
        "links": {kind: links.count(kind) for kind in ("internal", "customer-provider", "peer-peer")},
        "ixps": len(network.ixps),
        "without_route": asdict(pairs),
        "warnings": [asdict(warning) for warning in warnings],
    }


def _compiled(spec: TopologySpec, document: Document) -> Network:
    """The network. Addresses that run out are said with the line of the ISPs."""
    from testbed.topology.compile import compile_network

    try:
        return compile_network(spec)
    except UserError as error:
        where = document.where(("isps",))
        raise UserError([replace(p, where=p.where or where) for p in error.problems]) from None


def _topology_text(report: dict[str, Any]) -> str:
    links = report["links"]
    parts = [
        counted(report["isps"], "ISP"),
        counted(report["pops"], "PoP"),
        f"{counted(sum(links.values()), 'link')} ({_kinds(links)})",
    ]
    if report["ixps"]:
        parts.append(counted(report["ixps"], "exchange point"))
    if cut := report["without_route"]["count"]:
        parts.append(f"{counted(cut, 'pair')} of ISPs without a route")
    return f"a topology of {', '.join(parts)}"


def _kinds(links: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in links.items() if count) or "none"


def _experiment_text(report: dict[str, Any]) -> str:
    trials, leechers = counted(report["trials"], "trial"), counted(report["leechers"], "leecher")
    return f"an experiment of {trials} with {leechers}"
