"""The JSON Schema that editors use: what is checked in is what the code says, and it flags what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from testbed.spec.loading import load_document
from testbed.spec.schema import MODELS, json_schema

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "topologies").glob("**/*.yaml")) + sorted((ROOT / "experiments").glob("**/*.yaml"))

TOPOLOGY: dict[str, Any] = {
    "name": "small",
    "isps": {"left": {"asn": 1, "pops": {"a": {}, "b": {}}, "links": []}},
    "access": {"line": {"down": "8 Mbit/s", "up": "1 Mbit/s"}},
}


def complaints(kind: str, data: Any) -> list[str]:
    return [error.message for error in Draft202012Validator(json_schema(kind)).iter_errors(data)]


@pytest.mark.parametrize("kind", MODELS)
def test_the_schema_is_valid_and_the_copy_in_docs_is_up_to_date(kind: str) -> None:
    schema = json_schema(kind)
    Draft202012Validator.check_schema(schema)
    copy = ROOT / "docs" / "schema" / f"{kind}.json"
    assert json.loads(copy.read_text(encoding="utf-8")) == schema, (
        f"run: .venv/bin/testbed schema {kind} -o docs/schema/{kind}.json"
    )


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_file_that_ships_is_valid_by_its_schema(path: Path) -> None:
    data = load_document(path).data
    assert complaints("experiment" if "swarm" in data else "topology", data) == []


@pytest.mark.parametrize(
    "change",
    [
        {"isps": {"Left": {"asn": 1, "pops": {"a": {}}}}},
        {"isps": {"left": {"asn": "one", "pops": {"a": {}}}}},
        {"isps": {"left": {"asn": 1, "pops": {"a": {}}, "prefix": "10.0.0.0"}}},
        {"isps": {"left": {"asn": 1, "pops": {"a": {"place": [1, 2]}}}}},
        {"isps": {"left": {"asn": 1, "pops": {"a": {}}, "links": [{"between": ["a", "b"], "capacity": 5}]}}},
        {"isps": {"left": {"asn": 1, "pops": {"a": {}}, "pids": "city"}}},
        {"access": {"line": {"down": "8 Mbit", "up": "1 Mbit/s"}}},
        {"access": {"line": "no-such-profile"}},
        {"access": {"line": {"down": "8 Mbit/s", "up": "1 Mbit/s", "loss": 0.5}}},
        {"access": {"line": {"down": "8 Mbit/s", "up": "1 Mbit/s", "queue": ["50 packets", "5 Mbit/s"]}}},
        {"ixps": {"x": {"members": {"left": "1 Gbit/s", "right.b": "1 Gbit/s"}}}},
        {"links": []},
    ],
)
def test_an_editor_flags_what_the_testbed_would_refuse(change: dict[str, Any]) -> None:
    assert complaints("topology", TOPOLOGY) == []
    assert complaints("topology", {**TOPOLOGY, **change}) != []


def test_both_directions_may_differ_and_one_value_stands_for_both() -> None:
    for capacity in ("5 Mbit/s", ["5 Mbit/s", "1 Mbit/s"]):
        link = {"between": ["a", "b"], "capacity": capacity}
        isps = {"left": {"asn": 1, "pops": {"a": {}, "b": {}}, "links": [link]}}
        assert complaints("topology", {**TOPOLOGY, "isps": isps}) == []


@pytest.mark.parametrize("queue", ["50 packets", "64 KiB", ["20 ms", "1 packet"]])
def test_a_queue_may_be_packets_or_a_size_or_a_time(queue: Any) -> None:
    line = {"down": "8 Mbit/s", "up": "1 Mbit/s", "loss": ["0.5 %", "0 %"], "queue": queue}
    assert complaints("topology", {**TOPOLOGY, "access": {"line": line}}) == []


def test_a_part_that_others_include_needs_no_name_and_a_whole_one_needs_isps() -> None:
    assert complaints("topology", {"access": TOPOLOGY["access"]}) == []
    assert complaints("topology", {"name": "small", "include": ["isps.yaml"]}) == []
    assert complaints("topology", {"name": "small"}) != []


def test_every_key_has_a_description_for_the_editor() -> None:
    for kind in MODELS:
        schema = json_schema(kind)
        models = [schema, *schema["$defs"].values()]
        parts = [part for model in models for part in model.get("anyOf", ())]
        for model in [*models, *parts]:
            for key, value in model.get("properties", {}).items():
                assert value.get("description"), f"{model.get('title')}.{key}"
