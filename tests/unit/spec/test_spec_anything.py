"""Whatever stands in place of a value: the file is taken, or refused with a place in it. No traceback."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import small_topology
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import UserError
from testbed.spec.experiment import load_experiment
from testbed.spec.topology import load_topology
from testbed.spec.yaml_reader import Places, read_yaml
from testbed.topology.compile import compile_network
from testbed.topology.plausibility import warnings_in

TOPOLOGY = read_yaml(
    small_topology.TEXT.replace("delay: 4 ms", "delay: 4 ms\n    loss: 1 %\n    queue: 20 ms").replace(
        "delay: 2 ms", "delay: 2 ms, loss: [1 %, 0 %], queue: [50 packets, 64 KiB]"
    )
    + "ixps: {market: {at: [1, 2], members: {left.two: 1 Gbit/s, right.only: 1 Gbit/s}, weight: 3}}\n",
    Path("small.yaml"),
    Places(),
)
EXPERIMENT = {
    "name": "tiny",
    "topology": "small.yaml",
    "policies": ["native", {"p4p": {"gamma": 0.7}}],
    "swarm": {
        "content": {"size": "1 MiB"},
        "seeds": [{"isp": "carrier", "pop": "hub", "access": "server"}],
        "leechers": [{"isp": "left", "count": 2, "access": "line"}],
    },
    "tracker": {"at": "carrier.hub"},
}

WORDS = st.sampled_from(
    [
        "",
        "0 s",
        "1 Gbit/s",
        "1e99 Gbit/s",
        "5 %",
        "20 ms",
        "1e17 s",
        "50 packets",
        "9 kB",
        "left",
        "left.one",
        "10.0.0.0/8",
        "10.0.0.0/30",
        "isp",
        "metro",
        ".",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | WORDS, inner, max_size=3)
    ),
    max_leaves=5,
)


def places_in(data: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The location of every value in `data`."""
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for step, value in entries:
        yield (*above, step)
        yield from places_in(value, (*above, step))


def replaced(data: Any, location: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(data))
    node = copy
    for step in location[:-1]:
        node = node[step]
    node[location[-1]] = value
    return copy


def write(folder: str, name: str, data: Any) -> Path:
    path = Path(folder) / name
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def assert_placed(error: UserError, path: Path) -> None:
    for problem in error.problems:
        assert problem.what
        assert problem.where.startswith(f"{path}:") or problem.what.startswith("there are more")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*places_in(TOPOLOGY)]), VALUES)
def test_any_value_anywhere_in_a_topology(location: tuple[Any, ...], value: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(folder, "small.yaml", replaced(TOPOLOGY, location, value))
        try:
            spec, document = load_topology(path)
        except UserError as error:
            assert_placed(error, path)
            return
        list(warnings_in(spec, document))
        compile_network(spec)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*places_in(EXPERIMENT)]), VALUES)
def test_any_value_anywhere_in_an_experiment(location: tuple[Any, ...], value: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(folder, "small.yaml", TOPOLOGY)
        path = write(folder, "tiny.yaml", replaced(EXPERIMENT, location, value))
        try:
            load_experiment(path)
        except UserError as error:
            assert_placed(error, path)
