"""Importing a small text as a user's file: the mapping, the notes, and the network that it compiles to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from testbed.spec.loading import Document
from testbed.spec.topology import topology_of
from testbed.spec.yaml_reader import Places, read_yaml
from testbed.topology.compile import compile_network
from testbed.topology.importers import Choices, Imported, Source, import_topology
from testbed.topology.model import Network
from testbed.topology.writing import topology_yaml


def imported(text: str | bytes, name: str, choices: Choices | None = None, **source: Any) -> Imported:
    data = text.encode() if isinstance(text, str) else text
    return import_topology(Source(name, name, data, **source), choices or Choices())


def network_of(found: Imported) -> Network:
    """The network of what was imported, by way of the file that a user would get."""
    places, path = Places(), Path("imported.yaml")
    text = topology_yaml(found.data)
    spec, _ = topology_of(Document(path, read_yaml(text, path, places), places))
    return compile_network(spec)
