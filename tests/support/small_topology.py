"""A topology of three small ISPs, as text, as specification and as a network: what most tests start from."""

from __future__ import annotations

from pathlib import Path

from testbed.spec.topology import TopologySpec, load_topology
from testbed.topology.compile import HostRequest, compile_network
from testbed.topology.model import Network

TEXT = """\
name: small
isps:
  carrier:
    asn: 10
    pops:
      hub: {at: [50.0, 8.0]}
      edge: {at: [48.0, 2.0]}
    links:
      - {between: [hub, edge], capacity: 50 Mbit/s, weight: 3}
  left:
    asn: 20
    pops:
      one: {at: [51.0, 0.0]}
      two: {at: [53.0, -2.0]}
    links:
      - {between: [one, two], capacity: 20 Mbit/s, weight: 2}
  right:
    asn: 30
    pops:
      only: {}
interdomain:
  - between: [left.one, carrier.hub]
    relationship: customer-provider
    capacity: 5 Mbit/s
    tariff: {kind: percentile-95, price: 2}
  - between: [right.only, carrier.edge]
    relationship: customer-provider
    capacity: 5 Mbit/s
    delay: 4 ms
access:
  line: {down: 8 Mbit/s, up: 1 Mbit/s, delay: 2 ms}
  server: {down: 20 Mbit/s, up: 20 Mbit/s}
"""

REQUESTS = (
    HostRequest("left.one", "portal", "server"),
    HostRequest("carrier.hub", "tracker", "server"),
    HostRequest("carrier.hub", "seed", "server"),
    HostRequest("left.one", "leecher", "line"),
    HostRequest("left.two", "leecher", "line"),
    HostRequest("right.only", "leecher", "line"),
)


def write(folder: Path, text: str = TEXT) -> Path:
    path = folder / "small.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def specification(folder: Path) -> TopologySpec:
    return load_topology(write(folder))[0]


def network(folder: Path) -> Network:
    return compile_network(specification(folder), REQUESTS)
