"""`testbed shell`: build an experiment's network, with its controller, and hand over Mininet's own prompt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.options import SCALE_HELP

BESIDE = "In another terminal: sudo .venv/bin/testbed link, routes FROM TO, counters --watch, meter"


def shell(
    experiment: Annotated[Path, typer.Argument(help="The experiment's YAML file.")],
    scale: Annotated[str, typer.Option("--scale", metavar="auto|FACTOR", help=SCALE_HELP)] = "",
) -> None:
    """Build the network of an experiment and hand over Mininet's own CLI; leaving it removes everything.

    Example: sudo .venv/bin/testbed shell experiments/quickstart.yaml

    Then, at its prompt: dslnet.paris.leecher1 ping -c3 10.1.1.2
    """
    from mininet.cli import CLI

    from testbed.cli.machine import need_root, planned
    from testbed.cli.progress import Display
    from testbed.trial.laboratory import Laboratory

    class Prompt(CLI):  # type: ignore[misc]
        """Mininet's prompt, for host names with dots and dashes."""

        prompt = "testbed> "
        identchars = CLI.identchars + ".-"

    trials, engines = planned(experiment, scale)
    need_root("building a network")
    with Laboratory(trials[0], None, engines, Display().show) as lab:
        lab.build_network()
        lab.install_rules()
        lab.check_paths()
        lab.start_portals()
        lab.start_tracker()
        print(BESIDE, file=sys.stderr)
        Prompt(lab.net)
