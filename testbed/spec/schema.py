"""JSON Schemas of the files that a user writes, for editors that complete and check them.

The pydantic models come in; a JSON Schema (draft 2020-12) of the file as written goes out: quantities are
text with a unit, names have their pattern. What needs a look at several keys is left to `testbed validate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from testbed.spec.experiment import ExperimentSpec
from testbed.spec.loading import Spec
from testbed.spec.topology import TopologySpec

MODELS: Mapping[str, type[Spec]] = {"topology": TopologySpec, "experiment": ExperimentSpec}


class _AsWritten(GenerateJsonSchema):
    """Defaults are left out where they are no text that a user could write; titles of fields, as noise."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        written = super().default_schema(schema)
        default = written.get("default")
        if default is None or (written.get("pattern") and not isinstance(default, str)):
            written.pop("default", None)
        return written

    def dict_schema(self, schema: core_schema.DictSchema) -> dict[str, Any]:
        """A wrong name is to be flagged, where pydantic's schema lets it pass with anything behind it."""
        written = super().dict_schema(schema)
        for pattern, value in written.pop("patternProperties", {}).items():
            written |= {"propertyNames": {"pattern": pattern}, "additionalProperties": value}
        return written


def json_schema(kind: str) -> dict[str, Any]:
    """The schema of a `topology` or an `experiment` file. Raises KeyError for another kind."""
    schema = MODELS[kind].model_json_schema(schema_generator=_AsWritten)
    schema = {"$schema": _AsWritten.schema_dialect, **schema, "title": kind.capitalize()}
    if kind == "topology":
        # A file without a name is a part that others include; one that includes may leave the rest to them.
        del schema["required"]
        whole = [{"required": ["name", key]} for key in ("isps", "include")]
        schema["anyOf"] = [*whole, {"not": {"required": ["name"]}}]
    return schema
