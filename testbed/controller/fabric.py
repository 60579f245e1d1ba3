"""What the controller knows of its switches: their programs, who is connected, the last counters.

The Ryu app writes it, the northbound API reads it. It knows no OpenFlow library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.controller.rules import Rule, port_numbers, switch_rules
from testbed.errors import Problem, UserError
from testbed.topology.model import Network
from testbed.topology.routes import Routes

COUNTERS = ("tx_bytes", "tx_packets", "rx_bytes", "rx_packets", "tx_dropped", "rx_dropped")


@dataclass
class Switch:
    """One PoP's switch. `rules` is how many of its program the switch said it has when last asked."""

    pop: str
    program: tuple[Rule, ...]
    link_of_port: Mapping[int, str]
    connected: bool = False
    confirmed: bool = False
    rules: int = 0
    error: str = ""
    # {"monotonic_ns", "pop", "ports": {link id: values in the order of COUNTERS}}
    counters: dict[str, Any] = field(default_factory=dict)


class Fabric:
    """All switches of a network, by PoP and by datapath id."""

    def __init__(self, network: Network, routes: Routes) -> None:
        programs, ports = switch_rules(network, routes), port_numbers(network)
        self.by_pop = {
            pop.id: Switch(pop.id, programs[pop.id], {number: link for link, number in ports[pop.id].items()})
            for pop in network.pops
        }
        self.by_datapath = {pop.datapath_id: self.by_pop[pop.id] for pop in network.pops}

    @property
    def ready(self) -> bool:
        """Whether every switch is connected and said that it has its whole program, and nothing else."""
        return all(switch.connected and switch.confirmed for switch in self.by_pop.values())

    def status(self) -> dict[str, Any]:
        return {
            "ready": self.ready,
            "switches": {
                pop: {
                    "connected": switch.connected,
                    "confirmed": switch.confirmed,
                    "rules": switch.rules,
                    "error": switch.error,
                }
                for pop, switch in self.by_pop.items()
            },
        }


def load_fabric(path: Path) -> Fabric:
    """The fabric of a `topology.json`. Raises UserError where the file is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Fabric(Network.from_json(data["network"]), Routes.from_json(data["routes"]))
    except OSError as error:
        raise UserError(Problem(where=str(path), what=f"can't be read: {error.strerror}")) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(Problem(where=str(path), what=f"is no compiled topology: {error!r}")) from error
